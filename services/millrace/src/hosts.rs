//! Which instance has which shard open, and which partitions of which sinks: published and read on the compacted topic `internal.hosts`.
//!
//! Every instance keeps one row there, under its name: its address, the shards it has open, and
//! since when. It rewrites the row whenever they change, and deletes it at a clean shutdown. All
//! instances follow the topic. Where two rows claim a shard, the later one is believed first: the
//! earlier one's writer was killed, or does not know yet that it lost the shard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use millrace_log::{Delivered, EARLIEST, Log, LogError, PollLimits, Reader, Record, TopicPartition};
use millrace_model::{Cause, ShardId, chain};
use millrace_runtime::clock::Clock;
use serde::{Deserialize, Serialize};

/// How soon a change of shards is published.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The pause if the topic cannot be read or written.
const REST: Duration = Duration::from_secs(5);

/// A row of the topic, JSON under the instance's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    pub instance: String,
    /// The base of the instance's API, such as `http://10.0.0.7:8080`.
    pub address: String,
    /// The shards it has open.
    pub shards: BTreeSet<u32>,
    /// The partitions of destinations whose sinks it runs, by the destination's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, BTreeSet<u32>>,
    /// Since when it has had exactly these, RFC 3339.
    pub since: String,
}

/// What an instance claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub shards: BTreeSet<u32>,
    /// Partitions by destination.
    pub sinks: BTreeMap<String, BTreeSet<u32>>,
}

/// The rows of all instances. Shared by the callers and the thread that follows the topic.
#[derive(Default)]
pub struct Hosts {
    /// By instance, with the offset of the row.
    rows: RwLock<BTreeMap<String, (i64, HostRow)>>,
}

impl Hosts {
    /// Addresses of the instances that claim a shard, the latest claim first.
    pub fn claimants(&self, shard: ShardId) -> Vec<String> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut claims: Vec<&(i64, HostRow)> = rows.values().filter(|(_, row)| row.shards.contains(&shard.0)).collect();
        claims.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        claims.into_iter().map(|(_, row)| row.address.clone()).collect()
    }

    /// The destinations with a sink somewhere.
    pub fn destinations(&self) -> BTreeSet<String> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.values().flat_map(|(_, row)| row.sinks.keys().cloned()).collect()
    }

    /// Addresses of the instances that run a destination's sink. For each partition the latest claim
    /// counts alone. `own`: partitions that this process has itself.
    pub fn sinks(&self, name: &str, own: &BTreeSet<u32>) -> BTreeSet<String> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut latest: BTreeMap<u32, (i64, &str)> = BTreeMap::new();
        for (offset, row) in rows.values() {
            for partition in row.sinks.get(name).into_iter().flatten() {
                let claim = latest.entry(*partition).or_insert((*offset, &row.address));
                if claim.0 < *offset {
                    *claim = (*offset, &row.address);
                }
            }
        }
        let others = latest.into_iter().filter(|(partition, _)| !own.contains(partition));
        others.map(|(_, (_, address))| address.to_owned()).collect()
    }

    /// Takes a record of the topic. An unreadable one is ignored: a row of a later version.
    pub fn hear(&self, delivered: &Delivered) {
        let Some(instance) = delivered.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) else {
            return;
        };
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        match delivered.record.value.as_deref().map(serde_json::from_slice::<HostRow>) {
            None => drop(rows.remove(instance)),
            Some(Ok(row)) => drop(rows.insert(instance.to_owned(), (delivered.offset, row))),
            Some(Err(error)) => tracing::warn!(instance, %error, "row of an instance cannot be read"),
        }
    }
}

/// An instance on the topic.
pub struct Presence {
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    /// The topic's full name.
    pub topic: String,
    pub instance: String,
    pub address: String,
    /// What this process has open now.
    pub open: Box<dyn Fn() -> Claims + Send>,
}

/// The thread that publishes and follows.
pub struct PresenceThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Presence {
    /// Starts the thread; it writes other instances' rows into `hosts`, and leaves out its own.
    pub fn start(self, hosts: Arc<Hosts>) -> anyhow::Result<PresenceThread> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let follow = move || self.run(&hosts, &stopping);
        let thread = std::thread::Builder::new()
            .name("hosts".to_owned())
            .spawn(follow)
            .context("cannot start a thread")?;
        Ok(PresenceThread { stop, thread })
    }

    fn run(&self, hosts: &Hosts, stop: &AtomicBool) {
        let mut reader = None;
        let mut published = None;
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.turn(hosts, &mut reader, &mut published) {
                tracing::warn!(
                    reason = chain(&error),
                    "other instances do not hear of this one's shards now, nor this one of theirs; `millrace topics check` looks for the topic"
                );
                reader = None;
                std::thread::park_timeout(REST);
            }
        }
        if published.is_some()
            && let Err(error) = self.publish(None)
        {
            tracing::warn!(reason = chain(&error), "cannot take this instance's row back");
        }
    }

    fn turn(&self, hosts: &Hosts, reader: &mut Option<Box<dyn Reader>>, published: &mut Option<Claims>) -> Result<(), LogError> {
        let reader = match reader {
            Some(reader) => reader,
            // Checked first: writing to a missing topic may create it, and not as a compacted one.
            None if self.log.partitions(&self.topic)?.is_none() => return Err(LogError::NoSuchTopic(self.topic.clone())),
            None => reader.insert(self.log.reader(&[(self.partition(), EARLIEST)])?),
        };
        let open = (self.open)();
        if published.as_ref() != Some(&open) {
            self.publish(Some(&open))?;
            *published = Some(open);
        }
        let limits = PollLimits {
            records_max: 1_000,
            bytes_max: 1 << 20,
            wait_ms_max: LOOK_EVERY.as_millis() as u64,
        };
        for delivered in reader.poll(limits)? {
            if delivered.record.key.as_deref() != Some(self.instance.as_bytes()) {
                hosts.hear(&delivered);
            }
        }
        Ok(())
    }

    fn partition(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topic.as_str().into(),
            partition: 0,
        }
    }

    fn publish(&self, open: Option<&Claims>) -> Result<(), LogError> {
        let row = open.map(|claims| HostRow {
            instance: self.instance.clone(),
            address: self.address.clone(),
            shards: claims.shards.clone(),
            sinks: claims.sinks.clone(),
            since: self.clock.now().to_string(),
        });
        let value = row
            .map(|row| serde_json::to_vec(&row))
            .transpose()
            .map_err(|error| LogError::Failure(Cause::of("writing the row of this instance", error)))?;
        let record = Record {
            key: Some(Bytes::copy_from_slice(self.instance.as_bytes())),
            value: value.map(Bytes::from),
            headers: Vec::new(),
        };
        self.log.append(vec![(self.partition(), record)])
    }
}

impl PresenceThread {
    /// Deletes the instance's row and waits until that is done.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // It does not panic; if it did, the row stays, as after a crash.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::{ShardId, Timestamp};

    use super::*;

    fn record(offset: i64, instance: &str, shards: Option<&[u32]>) -> Delivered {
        let row = |shards: &[u32]| HostRow {
            instance: instance.to_owned(),
            address: format!("http://{instance}:8080"),
            shards: shards.iter().copied().collect(),
            sinks: BTreeMap::from([("crm".to_owned(), shards.iter().copied().collect())]),
            since: "2026-01-01T00:00:00.000Z".to_owned(),
        };
        let value = shards.map(|shards| Bytes::from(serde_json::to_vec(&row(shards)).unwrap()));
        Delivered {
            source: TopicPartition {
                topic: "t.internal.hosts".into(),
                partition: 0,
            },
            offset,
            timestamp: Timestamp(0),
            record: Record {
                key: Some(Bytes::copy_from_slice(instance.as_bytes())),
                value,
                headers: Vec::new(),
            },
        }
    }

    #[test]
    fn the_latest_claim_comes_first_and_a_tombstone_takes_it_back() {
        let hosts = Hosts::default();
        hosts.hear(&record(1, "a", Some(&[0, 1])));
        hosts.hear(&record(2, "b", Some(&[1, 2])));
        assert_eq!(hosts.claimants(ShardId(1)), ["http://b:8080", "http://a:8080"]);
        hosts.hear(&record(3, "a", Some(&[0, 1, 3])));
        assert_eq!(hosts.claimants(ShardId(1)), ["http://a:8080", "http://b:8080"]);
        hosts.hear(&record(4, "a", None));
        assert_eq!(hosts.claimants(ShardId(1)), ["http://b:8080"]);
        assert!(hosts.claimants(ShardId(0)).is_empty());
    }

    #[test]
    fn a_partition_of_a_sink_is_asked_for_where_it_was_claimed_last() {
        let hosts = Hosts::default();
        hosts.hear(&record(1, "a", Some(&[0, 1])));
        hosts.hear(&record(2, "b", Some(&[1, 2])));
        let asked = |own: &[u32]| hosts.sinks("crm", &own.iter().copied().collect()).into_iter().collect::<Vec<_>>();
        assert_eq!(asked(&[]), ["http://a:8080", "http://b:8080"]);
        assert_eq!(asked(&[0]), ["http://b:8080"]);
        hosts.hear(&record(3, "b", Some(&[0, 1, 2])));
        assert_eq!(asked(&[]), ["http://b:8080"], "what `a` claims is out of date");
        assert!(hosts.sinks("erp", &BTreeSet::new()).is_empty());
        assert_eq!(hosts.destinations(), BTreeSet::from(["crm".to_owned()]));
    }

    #[test]
    fn a_row_that_cannot_be_read_changes_nothing() {
        let hosts = Hosts::default();
        hosts.hear(&record(1, "a", Some(&[0])));
        let mut strange = record(2, "b", None);
        strange.record.value = Some(Bytes::from_static(b"{\"instance\":7}"));
        hosts.hear(&strange);
        assert_eq!(hosts.claimants(ShardId(0)), ["http://a:8080"]);
    }
}
