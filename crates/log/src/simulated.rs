//! The simulated log: in memory, under virtual time, with every fault of the real one, decided by a
//! seed.
//!
//! The faults: abort a commit; leave its outcome unknown, committed or not; make committed records
//! readable late, per partition in order; leave gaps in offsets, as control records and aborted
//! transactions do; deliver fewer records than there are; be unreachable; cut a restore short;
//! append a source record twice; compact before a restore; lose records to retention, on demand. A
//! session that saw an error, or that is fenced, never commits again.
//!
//! It never does what the port excludes: reorder a partition, show part of a commit, forget a
//! commit.
//!
//! One thread at a time; calls never block. Only `advance` moves time.

mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_model::Timestamp;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::session::{Cursor, PlainReader, Session};
use crate::random::Random;
use crate::{Delivered, Log, LogError, Offset, Reader, Receipt, Record, ShardIdentity, ShardSession, TopicPartition, TopicSpec, Transaction};

/// How often each fault occurs, in times per thousand. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A shard cannot be opened now.
    pub open_unavailable: u32,
    /// A poll finds the log unavailable.
    pub poll_unavailable: u32,
    /// A poll returns fewer records than it could.
    pub poll_short: u32,
    /// A commit is aborted; nothing of it is visible.
    pub commit_aborted: u32,
    /// Half of these are committed.
    pub commit_unknown: u32,
    /// A commit's records become readable late.
    pub delayed: u32,
    /// How long at most, in milliseconds.
    pub delay_ms_max: i64,
    /// Offsets are left out after a commit or an append.
    pub gap: u32,
    /// An appended record is appended twice.
    pub duplicate: u32,
    /// A restore fails midway.
    pub restore_cut: u32,
    /// The changelog is compacted before a shard is opened.
    pub compacted: u32,
}

/// A log that fails as its seed decides. Clones are the same log.
#[derive(Clone)]
pub struct SimulatedLog {
    broker: Arc<Mutex<Broker>>,
}

/// What all clones share: topics, sessions, and the dice.
struct Broker {
    random: Random,
    faults: Faults,
    now: Timestamp,
    topics: BTreeMap<Arc<str>, Topic>,
    epochs: BTreeMap<String, u64>,
    positions: BTreeMap<(String, TopicPartition), Offset>,
    /// Committed transactions that are not readable yet: number to owner and instant.
    hidden: BTreeMap<u64, (String, Timestamp)>,
    transactions: u64,
    trace: Trace,
}

struct Topic {
    spec: TopicSpec,
    partitions: Vec<Partition>,
}

#[derive(Default)]
struct Partition {
    start: Offset,
    next: Offset,
    entries: VecDeque<Entry>,
}

struct Entry {
    offset: Offset,
    timestamp: Timestamp,
    transaction: u64,
    record: Record,
}

/// The trace of everything that happened: a hash over all of it and its last lines.
#[derive(Default)]
struct Trace {
    hash: u64,
    lines: VecDeque<String>,
}

const TRACE_LINES_MAX: usize = 400;

impl Trace {
    fn add(&mut self, line: String) {
        self.hash = xxh3_64_with_seed(line.as_bytes(), self.hash);
        if self.lines.len() == TRACE_LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl SimulatedLog {
    /// An empty log whose clock stands at `now`.
    pub fn new(seed: u64, faults: Faults, now: Timestamp) -> SimulatedLog {
        let broker = Broker {
            random: Random::new(seed),
            faults,
            now,
            topics: BTreeMap::new(),
            epochs: BTreeMap::new(),
            positions: BTreeMap::new(),
            hidden: BTreeMap::new(),
            transactions: 0,
            trace: Trace::default(),
        };
        SimulatedLog {
            broker: Arc::new(Mutex::new(broker)),
        }
    }

    /// Moves time on; it never runs backwards.
    pub fn advance(&self, now: Timestamp) {
        let mut broker = self.broker();
        broker.now = broker.now.max(now);
        let now = broker.now;
        broker.hidden.retain(|_, (_, until)| *until > now);
    }

    /// Takes other faults from the next call on.
    pub fn set_faults(&self, faults: Faults) {
        self.broker().faults = faults;
    }

    /// When the last of the hidden commits becomes readable; `None` where all are.
    pub fn hidden_until(&self) -> Option<Timestamp> {
        self.broker().hidden.values().map(|(_, until)| *until).max()
    }

    /// Deletes the records below an offset, as retention does.
    ///
    /// # Errors
    /// `NoSuchTopic`.
    pub fn lose(&self, partition: &TopicPartition, below: Offset) -> Result<(), LogError> {
        let mut broker = self.broker();
        let held = broker.partition_mut(partition)?;
        held.start = held.start.max(below.min(held.next));
        let start = held.start;
        held.entries.retain(|entry| entry.offset >= start);
        Ok(())
    }

    /// Every readable record of a topic, partition by partition.
    pub fn content(&self, topic: &str) -> Vec<Delivered> {
        let broker = self.broker();
        let Some((name, topic)) = broker.topics.get_key_value(topic) else {
            return Vec::new();
        };
        let mut content = Vec::new();
        for (number, held) in topic.partitions.iter().enumerate() {
            let source = TopicPartition {
                topic: Arc::clone(name),
                partition: number as u32,
            };
            content.extend(broker.readable(held, held.start).map(|entry| entry.delivered(&source)));
        }
        content
    }

    /// Names of all topics, in order.
    pub fn topics(&self) -> Vec<String> {
        self.broker().topics.keys().map(ToString::to_string).collect()
    }

    /// Adds a line of the caller's to the trace.
    pub fn note(&self, line: String) {
        self.broker().trace.add(line);
    }

    /// A hash over everything that happened so far: equal seeds and calls give equal hashes.
    pub fn trace_hash(&self) -> u64 {
        self.broker().trace.hash
    }

    /// What happened last, oldest first.
    pub fn trace(&self) -> Vec<String> {
        self.broker().trace.lines.iter().cloned().collect()
    }

    fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    fn partition(&self, partition: &TopicPartition) -> Result<&Partition, LogError> {
        let topic = self
            .topics
            .get(&partition.topic)
            .ok_or_else(|| LogError::NoSuchTopic(partition.topic.to_string()))?;
        topic.partitions.get(partition.partition as usize).ok_or_else(|| no_partition(partition))
    }

    fn partition_mut(&mut self, partition: &TopicPartition) -> Result<&mut Partition, LogError> {
        let topic = self
            .topics
            .get_mut(&partition.topic)
            .ok_or_else(|| LogError::NoSuchTopic(partition.topic.to_string()))?;
        topic.partitions.get_mut(partition.partition as usize).ok_or_else(|| no_partition(partition))
    }

    /// The records from an offset up to the first that is still hidden.
    fn readable<'a>(&'a self, held: &'a Partition, from: Offset) -> impl Iterator<Item = &'a Entry> {
        let first = held.entries.partition_point(|entry| entry.offset < from);
        held.entries.range(first..).take_while(|entry| !self.hidden.contains_key(&entry.transaction))
    }

    fn fault(&mut self, choose: impl Fn(&Faults) -> u32) -> bool {
        let per_mille = choose(&self.faults);
        self.random.chance(per_mille)
    }

    /// Appends and leaves gaps, as the faults decide; the records belong to transaction
    /// `self.transactions`.
    fn append(&mut self, records: Vec<(TopicPartition, Record)>) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        for (partition, _) in &records {
            self.partition(partition)?;
        }
        let (now, transaction) = (self.now, self.transactions);
        let mut ends = BTreeMap::new();
        for (partition, record) in records {
            let held = self.partition_mut(&partition)?;
            held.entries.push_back(Entry {
                offset: held.next,
                timestamp: now,
                transaction,
                record,
            });
            held.next += 1;
            ends.insert(partition, held.next);
        }
        for partition in ends.keys() {
            if self.fault(|faults| faults.gap) {
                let gap = 1 + self.random.below(3) as Offset;
                self.partition_mut(partition)?.next += gap;
            }
        }
        Ok(ends)
    }

    fn commit(&mut self, owner: &ShardIdentity, transaction: Transaction) -> Result<Receipt, LogError> {
        for (partition, offset) in &transaction.positions {
            let before = self.positions.insert((owner.group.clone(), partition.clone()), *offset);
            assert!(
                before.is_none_or(|before| before <= *offset),
                "position of {partition:?} runs back from {before:?} to {offset}"
            );
        }
        self.transactions += 1;
        let ends = self.append(transaction.records)?;
        if self.fault(|faults| faults.delayed) {
            let delay_ms = 1 + self.random.below(self.faults.delay_ms_max.max(1) as u64) as i64;
            self.hidden
                .insert(self.transactions, (owner.transactional_id.clone(), self.now.plus_ms(delay_ms)));
        }
        Ok(Receipt {
            changelog_end: ends.get(&owner.changelog).copied(),
        })
    }

    /// An aborted transaction's records still take offsets.
    fn abort(&mut self, transaction: &Transaction) -> Result<(), LogError> {
        for (partition, _) in &transaction.records {
            self.partition_mut(partition)?.next += 1;
        }
        Ok(())
    }

    /// Drops values replaced by newer records of the same key, and tombstones past their time.
    fn compact(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        let now = self.now;
        let spec = &self
            .topics
            .get(&partition.topic)
            .ok_or_else(|| LogError::NoSuchTopic(partition.topic.to_string()))?
            .spec;
        let setting = spec
            .settings
            .iter()
            .find(|(name, _)| name == "delete.retention.ms")
            .and_then(|(_, value)| value.parse().ok());
        let tombstones_ms: i64 = setting.unwrap_or(millrace_model::DAY_MS);
        let hidden: BTreeSet<u64> = self.hidden.keys().copied().collect();
        let held = self.partition_mut(partition)?;
        let mut newest = BTreeMap::new();
        for entry in &held.entries {
            if hidden.contains(&entry.transaction) {
                break;
            }
            newest.insert(entry.record.key.clone(), entry.offset);
        }
        held.entries.retain(|entry| {
            let replaced = entry.record.key.is_some() && newest.get(&entry.record.key).is_some_and(|offset| *offset > entry.offset);
            let forgotten = entry.record.value.is_none() && entry.timestamp.plus_ms(tombstones_ms) < now;
            !replaced && !forgotten
        });
        Ok(())
    }
}

impl Entry {
    fn delivered(&self, source: &TopicPartition) -> Delivered {
        Delivered {
            source: source.clone(),
            offset: self.offset,
            timestamp: self.timestamp,
            record: self.record.clone(),
        }
    }
}

fn no_partition(partition: &TopicPartition) -> LogError {
    LogError::Failure(format!("topic {} has no partition {}", partition.topic, partition.partition).into())
}

impl Log for SimulatedLog {
    fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        Ok(self.broker().topics.get(topic).map(|topic| topic.partitions.len() as u32))
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let mut broker = self.broker();
        if let Some(topic) = broker.topics.get(spec.name.as_str()) {
            let found = topic.partitions.len();
            return if found == spec.partitions as usize {
                Ok(())
            } else {
                Err(LogError::Failure(
                    format!("topic {} has {found} partitions, not {}", spec.name, spec.partitions).into(),
                ))
            };
        }
        let partitions = (0..spec.partitions).map(|_| Partition::default()).collect();
        broker.topics.insert(
            spec.name.as_str().into(),
            Topic {
                spec: spec.clone(),
                partitions,
            },
        );
        Ok(())
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<(), LogError> {
        let mut broker = self.broker();
        let mut sent = Vec::with_capacity(records.len());
        for record in records {
            if broker.fault(|faults| faults.duplicate) {
                sent.push(record.clone());
            }
            sent.push(record);
        }
        broker.transactions += 1;
        broker.append(sent).map(|_| ())
    }

    fn open_shard(&self, shard: &ShardIdentity) -> Result<Box<dyn ShardSession>, LogError> {
        let mut broker = self.broker();
        if broker.fault(|faults| faults.open_unavailable) {
            return Err(LogError::Unavailable("simulated".into()));
        }
        broker.partition(&shard.changelog)?;
        let epoch = broker.epochs.entry(shard.transactional_id.clone()).or_default();
        *epoch += 1;
        let epoch = *epoch;
        // Taking over waits until the transactions of earlier sessions are complete.
        broker.hidden.retain(|_, (owner, _)| *owner != shard.transactional_id);
        if broker.fault(|faults| faults.compacted) {
            broker.compact(&shard.changelog)?;
        }
        broker.trace.add(format!("open {} epoch {epoch}", shard.transactional_id));
        Ok(Box::new(Session {
            log: self.clone(),
            identity: shard.clone(),
            epoch,
            broken: false,
            cursor: Cursor::default(),
        }))
    }

    fn reader(&self, from: &[(TopicPartition, Offset)]) -> Result<Box<dyn Reader>, LogError> {
        let broker = self.broker();
        let from: Vec<_> = from
            .iter()
            .map(|(partition, offset)| (partition.clone(), if *offset <= 0 { crate::EARLIEST } else { *offset }))
            .collect();
        let cursor = Cursor::new(&broker, &from)?;
        Ok(Box::new(PlainReader { log: self.clone(), cursor }))
    }
}
