//! Taking a shard over: one path for a cold start, a take-over and an unknown outcome.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_log::{Delivered, EARLIEST, LogError, Offset, ShardIdentity, ShardSession, TopicPartition};
use millrace_model::metric::Histogram;
use millrace_model::{ShardId, Timestamp};
use millrace_shard::machine::{InputTopic, Machine, Measure, Measurement};
use millrace_shard::state::{DERIVED, RowChange, StateError, StateStore};

use super::{Live, ShardTask, TaskError};
use crate::meta::{META_KEY, Meta};

/// A longer restore reports its progress this often.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// A restore applies rows in batches of about this size.
const BATCH_ROWS: usize = 10_000;
const BATCH_BYTES: usize = 8 << 20;

impl ShardTask {
    /// Fences earlier owners, brings the store up to the changelog's end, and reads on from the
    /// last commit.
    pub(super) fn open(&mut self) -> Result<Live, TaskError> {
        let begun = Instant::now();
        let topology = self.context.topology.clone();
        let changelog = TopicPartition {
            topic: topology.changelog().into(),
            partition: self.shard.0,
        };
        let identity = ShardIdentity {
            transactional_id: topology.transactional_id(self.shard),
            group: topology.positions_group(),
            changelog: changelog.clone(),
        };
        self.store.room()?;
        let mut session = self.context.log.open_shard(&identity)?;

        if let Some(reason) = self.store_unfit()? {
            tracing::warn!(shard = self.shard.0, reason, "store discarded, to be restored from the changelog");
            self.store.clear()?;
        }
        let mut machine = match self.restore(&mut *session) {
            // The changelog ends before the store does: the log lost commits that the store has
            // seen.
            Err(TaskError::Log(LogError::OffsetLost { offset, .. })) if self.store.changelog_position()?.is_some() => {
                if self.context.log.keeps_what_it_acknowledged() {
                    return Err(TaskError::Broken(ahead(self.shard, offset)));
                }
                tracing::warn!(shard = self.shard.0, "store is not on the changelog, to be restored from its begin");
                self.store.clear()?;
                self.restore(&mut *session)?
            }
            other => other?,
        };
        let meta = match Meta::load(&*self.store)? {
            None => Meta::of(topology.shards()),
            Some(Ok(meta)) if meta.shards == topology.shards() => meta,
            Some(Ok(meta)) => {
                return Err(TaskError::Broken(format!(
                    "state was made by {} shards, {} are configured",
                    meta.shards,
                    topology.shards()
                )));
            }
            Some(Err(unknown)) => return Err(unknown.into()),
        };
        if meta.clock.0 > self.now.0.saturating_add(60_000) {
            tracing::warn!(shard = self.shard.0, committed_at = %meta.clock, now = %self.now, "the clock is earlier than the last commit, so time stands still until then");
        }
        self.now = self.now.max(meta.clock);

        let inputs: BTreeMap<_, _> = topology.inputs(&*self.context.log, self.shard)?.into_iter().collect();
        let position = |source: &TopicPartition, topic: InputTopic| meta.positions.get(&(topic.to_string(), source.partition)).copied().unwrap_or(EARLIEST);
        let positions: Vec<_> = inputs.iter().map(|(source, topic)| (source.clone(), position(source, *topic))).collect();
        session.assign(&positions)?;
        machine.start(&*self.store)?;
        self.report(vec![Measurement::new(Measure::Sample(Histogram::Restore, begun.elapsed().as_secs_f64()), [])]);
        Ok(Live {
            session,
            machine,
            inputs,
            changelog,
            committed_at: meta.clock.max(Timestamp(0)),
            meta,
            moved: BTreeMap::new(),
            outputs: BTreeMap::new(),
            // Fan-out and backfill may have been interrupted.
            more: true,
            held: Vec::new(),
            topology_checked_at: self.now,
            measured_at: self.now,
        })
    }

    /// Why the store cannot be used.
    fn store_unfit(&mut self) -> Result<Option<&'static str>, TaskError> {
        if self.store.is_damaged() {
            return Ok(Some("a part of it is damaged"));
        }
        if self.store_failures >= 2 {
            return Ok(Some("it failed twice"));
        }
        if self.store.changelog_position()?.is_none() {
            return Ok(None);
        }
        Ok(match Meta::load(&*self.store)? {
            None => Some("an earlier restore was cut off before the meta row"),
            Some(Ok(meta)) if meta.shard.is_some_and(|shard| shard != self.shard.0) => Some("it is the state of another shard"),
            Some(Ok(meta)) if self.now.0 - meta.clock.0 > self.context.config.store_age_ms_max => Some("it is older than the changelog's memory of deletions"),
            // An unreadable one comes up again after the restore, with the changelog's own.
            Some(_) => None,
        })
    }

    /// Applies the changelog from the store's position to the end, derived rows included, with a
    /// new machine.
    fn restore(&mut self, session: &mut dyn ShardSession) -> Result<Box<dyn Machine>, TaskError> {
        let mut machine = (self.context.make_machine)(self.shard);
        let from = self.store.changelog_position()?;
        let mut restore = Restore {
            store: &mut *self.store,
            machine: &mut *machine,
            rows: BTreeMap::new(),
            bytes: 0,
            position: from,
            failed: None,
        };
        let (shard, begun) = (self.shard.0, Instant::now());
        let (mut records, mut said) = (0_u64, begun);
        let end = session.restore(from.unwrap_or(EARLIEST), &mut |delivered| {
            records += 1;
            if said.elapsed() >= SAID_EVERY {
                said = Instant::now();
                tracing::info!(
                    shard,
                    records,
                    offset = delivered.offset,
                    seconds = begun.elapsed().as_secs(),
                    "restoring from the changelog"
                );
            }
            restore.take(delivered);
        })?;
        restore.finish(end)?;
        self.flush_due = true;
        Ok(machine)
    }
}

/// A log that never forgets has forgotten: only a person can say which of the two is right.
fn ahead(shard: ShardId, position: Offset) -> String {
    format!(
        "the state of shard {shard} is ahead of the log: it holds all changes before offset {position} of its changelog, and the log no longer has that \
         offset. Commits that were acknowledged are missing there. Nothing was changed: put the log back as it was, or, to go on with what it still holds, \
         remove the folder of the state"
    )
}

struct Restore<'a> {
    store: &'a mut dyn StateStore,
    machine: &'a mut dyn Machine,
    /// Final values, in order of keys.
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
    /// After the last record taken.
    position: Option<Offset>,
    failed: Option<StateError>,
}

impl Restore<'_> {
    fn take(&mut self, delivered: Delivered) {
        if self.failed.is_some() {
            return;
        }
        self.position = Some(delivered.offset + 1);
        let Some(key) = delivered.record.key else { return };
        self.bytes += key.len() + delivered.record.value.as_ref().map_or(0, |value| value.len());
        self.rows.insert(key.to_vec(), delivered.record.value.map(|value| value.to_vec()));
        if self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.failed = self.apply().err();
        }
    }

    /// A batch may end in the middle of a commit. That does no harm: nobody reads until the restore
    /// is complete, and the next one begins at the position.
    fn apply(&mut self) -> Result<(), StateError> {
        let Some(position) = self.position else { return Ok(()) };
        let mut rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let meta = rows.remove_entry(META_KEY);
        let mut changes: Vec<RowChange> = rows.into_iter().collect();
        debug_assert!(changes.iter().all(|(key, _)| key.first().is_some_and(|table| *table < DERIVED)));
        self.store.room()?;
        let derived = self.machine.derive(self.store, &changes)?;
        changes.extend(derived);
        changes.extend(meta);
        self.store.apply(changes, position)
    }

    /// Applies the rest. The end may be after the last record, where the changelog ends in gaps.
    fn finish(mut self, end: Offset) -> Result<(), TaskError> {
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        if end > 0 || self.position.is_some() {
            self.position = Some(self.position.unwrap_or(0).max(end));
        }
        let unchanged = self.rows.is_empty() && self.store.changelog_position()? == self.position;
        if !unchanged {
            self.apply()?;
        }
        Ok(())
    }
}
