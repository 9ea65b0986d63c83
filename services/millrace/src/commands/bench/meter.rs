//! A log that counts its traffic: work done, bytes written and messages sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_log::{
    Delivered, Log, LogError, Offset, PollLimits, Reader, Receipt, Record, ShardIdentity, ShardSession, TopicPartition, TopicSpec, Transaction,
};
use millrace_runtime::topology::Topology;
use millrace_shard::format;
use millrace_shard::machine::{InputTopic, OutputTopic};
use millrace_shard::message::{Envelope, Message};

/// Records and the bytes of their keys and values.
#[derive(Debug, Default)]
pub struct Flow {
    records: AtomicU64,
    bytes: AtomicU64,
}

/// Traffic of the log since the beginning. Only grows; compare two readings.
#[derive(Debug, Default)]
pub struct Meter {
    /// Source records and definitions, appended from outside.
    appended: AtomicU64,
    /// Those that shards have processed; a definition counts once per shard.
    handled: AtomicU64,
    /// Records that shards committed for shards.
    sent: AtomicU64,
    /// Those that shards have processed.
    received: AtomicU64,
    commits: AtomicU64,
    changelog: Flow,
    membership: Flow,
    inbox: Flow,
    /// Messages that carry features of an entity to a shard that subscribed to it.
    features: AtomicU64,
}

/// A reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub appended: u64,
    pub handled: u64,
    pub sent: u64,
    pub received: u64,
    pub commits: u64,
    pub changelog_records: u64,
    pub changelog_bytes: u64,
    pub membership_records: u64,
    pub inbox_records: u64,
    pub features: u64,
}

impl Reading {
    /// Whether everything that was appended, and everything that followed from it, is processed.
    /// Deferred work may still wait.
    pub fn nothing_waits(&self) -> bool {
        self.handled >= self.appended && self.received >= self.sent
    }
}

impl Meter {
    pub fn read(&self) -> Reading {
        let load = |number: &AtomicU64| number.load(Ordering::SeqCst);
        // The processed count first, so that it never exceeds the count of arrivals.
        let (handled, received) = (load(&self.handled), load(&self.received));
        Reading {
            appended: load(&self.appended),
            handled,
            sent: load(&self.sent),
            received,
            commits: load(&self.commits),
            changelog_records: load(&self.changelog.records),
            changelog_bytes: load(&self.changelog.bytes),
            membership_records: load(&self.membership.records),
            inbox_records: load(&self.inbox.records),
            features: load(&self.features),
        }
    }
}

fn add(number: &AtomicU64, amount: u64) {
    number.fetch_add(amount, Ordering::SeqCst);
}

impl Flow {
    fn take(&self, record: &Record) {
        let bytes = record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |value| value.len());
        add(&self.records, 1);
        add(&self.bytes, bytes as u64);
    }
}

/// The topics that are distinguished.
struct Names {
    shards: u64,
    control: String,
    records: String,
    inbox: String,
    membership: String,
    changelog: String,
}

/// A log with its meter.
pub struct MeteredLog {
    inner: Arc<dyn Log>,
    meter: Arc<Meter>,
    names: Arc<Names>,
}

impl MeteredLog {
    pub fn new(inner: Arc<dyn Log>, topology: &Topology, meter: Arc<Meter>) -> MeteredLog {
        let names = Names {
            shards: topology.shards().into(),
            control: topology.input(InputTopic::Control),
            records: topology.input(InputTopic::Records),
            inbox: topology.input(InputTopic::Inbox),
            membership: topology.output(&OutputTopic::Membership),
            changelog: topology.changelog(),
        };
        MeteredLog {
            inner,
            meter,
            names: Arc::new(names),
        }
    }
}

impl Log for MeteredLog {
    fn identity(&self) -> Result<Option<String>, LogError> {
        self.inner.identity()
    }

    fn keeps_what_it_acknowledged(&self) -> bool {
        self.inner.keeps_what_it_acknowledged()
    }

    fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.inner.partitions(topic)
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.create_topic(spec)
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<(), LogError> {
        let readers = |(target, _): &(TopicPartition, Record)| if *target.topic == *self.names.control { self.names.shards } else { 1 };
        add(&self.meter.appended, records.iter().map(readers).sum());
        self.inner.append(records)
    }

    fn open_shard(&self, shard: &ShardIdentity) -> Result<Box<dyn ShardSession>, LogError> {
        Ok(Box::new(MeteredSession {
            inner: self.inner.open_shard(shard)?,
            meter: Arc::clone(&self.meter),
            names: Arc::clone(&self.names),
            polled: (0, 0),
        }))
    }

    fn reader(&self, from: &[(TopicPartition, Offset)]) -> Result<Box<dyn Reader>, LogError> {
        self.inner.reader(from)
    }
}

struct MeteredSession {
    inner: Box<dyn ShardSession>,
    meter: Arc<Meter>,
    names: Arc<Names>,
    /// From outside and from shards, of the last poll: processed when the next one comes.
    polled: (u64, u64),
}

impl ShardSession for MeteredSession {
    fn restore(&mut self, from: Offset, apply: &mut dyn FnMut(Delivered)) -> Result<Offset, LogError> {
        self.inner.restore(from, apply)
    }

    fn assign(&mut self, inputs: &[(TopicPartition, Offset)]) -> Result<(), LogError> {
        self.inner.assign(inputs)
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        let (outside, inside) = std::mem::take(&mut self.polled);
        add(&self.meter.handled, outside);
        add(&self.meter.received, inside);
        let delivered = self.inner.poll(limits)?;
        let internal = |delivered: &&Delivered| *delivered.source.topic == *self.names.records || *delivered.source.topic == *self.names.inbox;
        let inside = delivered.iter().filter(internal).count() as u64;
        self.polled = (delivered.len() as u64 - inside, inside);
        Ok(delivered)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<Receipt, LogError> {
        let meter = &self.meter;
        let mut sent = 0;
        for (target, record) in &transaction.records {
            let topic = &*target.topic;
            if topic == self.names.changelog {
                meter.changelog.take(record);
            } else if topic == self.names.records {
                sent += 1;
            } else if topic == self.names.inbox {
                sent += 1;
                meter.inbox.take(record);
                add(&meter.features, u64::from(tells_features(record)));
            } else if topic == self.names.membership {
                meter.membership.take(record);
            }
        }
        // Before another shard can read them.
        add(&meter.sent, sent);
        let receipt = self.inner.commit(transaction)?;
        add(&meter.commits, 1);
        Ok(receipt)
    }

    fn lag(&self) -> Vec<(TopicPartition, u64)> {
        self.inner.lag()
    }
}

fn tells_features(record: &Record) -> bool {
    let envelope = record.value.as_deref().map(format::decode::<Envelope>);
    matches!(
        envelope,
        Some(Ok(Envelope {
            message: Message::Features { .. },
            ..
        }))
    )
}
