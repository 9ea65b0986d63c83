//! The transactional log port, the embedded log and the simulated log.
//!
//! The runtime is written against this port alone; `millrace-kafka` implements it on Apache Kafka.
//! It promises what Kafka promises and no more: records of one partition keep their order; the
//! records of one commit become visible together with the positions it sends; opening a shard
//! fences its earlier owner; readers see committed records only.
//!
//! What it is *not*: it knows no shard logic and no record formats.
//!
//! ```
//! use millrace_log::simulated::{Faults, SimulatedLog};
//! use millrace_log::{EARLIEST, Log, PollLimits, Record, TopicPartition, TopicSpec};
//! use millrace_model::Timestamp;
//!
//! let log = SimulatedLog::new(1, Faults::default(), Timestamp(0));
//! log.create_topic(&TopicSpec { name: "input".to_owned(), partitions: 1, compacted: false, settings: Vec::new() })?;
//! let place = TopicPartition { topic: "input".into(), partition: 0 };
//! let record = Record { key: Some("k".into()), value: Some("v".into()), headers: Vec::new() };
//! log.append(vec![(place.clone(), record.clone())])?;
//!
//! let mut reader = log.reader(&[(place, EARLIEST)])?;
//! let read = reader.poll(PollLimits { records_max: 10, bytes_max: 1_000, wait_ms_max: 0 })?;
//! assert_eq!(read.len(), 1);
//! assert_eq!(read[0].record, record);
//! # Ok::<(), millrace_log::LogError>(())
//! ```

#![warn(missing_docs)]

mod embedded;
pub mod random;
pub mod simulated;

pub use embedded::{Damage, Durability, EmbeddedConfig, EmbeddedLog, Inspection, Rescue, SegmentReport, TopicReport};

use bytes::Bytes;
use millrace_model::{Cause, Timestamp};

/// A topic's name and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The full name of the topic.
    pub topic: std::sync::Arc<str>,
    /// Counted from 0.
    pub partition: u32,
}

/// The offset of a record within its partition; gaps are allowed.
pub type Offset = i64;

/// Read from the earliest record that the log still holds, whatever its offset.
pub const EARLIEST: Offset = -2;

/// A setting in `TopicSpec::settings`: with value `true`, records below the positions of every
/// group that sent positions for their partition may be deleted. Settings that begin with
/// `millrace.` are for logs without such a feature of their own; the Kafka log leaves them out.
pub const DELETE_CONSUMED: &str = "millrace.delete.consumed";

/// A record to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `None` where the record has no key.
    pub key: Option<Bytes>,
    /// `None`: a tombstone.
    pub value: Option<Bytes>,
    /// In order; names may repeat.
    pub headers: Vec<(String, Bytes)>,
}

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where it was read.
    pub source: TopicPartition,
    /// Its place within the partition.
    pub offset: Offset,
    /// When the log accepted it, or what its producer claimed.
    pub timestamp: Timestamp,
    /// Key, value and headers.
    pub record: Record,
}

/// How to create a topic, or how a topic is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// The full name.
    pub name: String,
    /// How many; not 0.
    pub partitions: u32,
    /// Keep the last value per key instead of deleting by age.
    pub compacted: bool,
    /// Further broker settings, such as `retention.ms`.
    pub settings: Vec<(String, String)>,
}

/// One commit of one shard.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// In order; records for one partition are appended in this order.
    pub records: Vec<(TopicPartition, Record)>,
    /// The next offset to read, per input partition that moved.
    pub positions: Vec<(TopicPartition, Offset)>,
}

/// The result of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The offset after the last record this commit appended to the shard's changelog; `None` where
    /// it appended none.
    pub changelog_end: Option<Offset>,
}

/// The bounds of one read: records, bytes and time.
#[derive(Clone, Copy, Debug)]
pub struct PollLimits {
    /// Records at most.
    pub records_max: usize,
    /// Bytes of keys and values at most; one record that is larger comes alone.
    pub bytes_max: usize,
    /// How long to wait for the first record, in milliseconds; 0: not at all.
    pub wait_ms_max: u64,
}

/// Why a log operation failed. `disposition` says what the caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another session took the shard over. Nothing of this session's open transaction is visible.
    /// Release the shard.
    #[error("fenced: another process owns this shard now")]
    Fenced,
    /// Whether the transaction is committed is not known. Drop the session and recover: the
    /// changelog shows it.
    #[error("outcome of the transaction is unknown")]
    OutcomeUnknown(#[source] Cause),
    /// The transaction was aborted, nothing of it is visible. Drop the session and recover.
    #[error("transaction aborted")]
    Aborted(#[source] Cause),
    /// An input position is no longer in the log: records were lost to retention. Stop the shard
    /// and report it.
    #[error("offset {offset} of {topic}/{partition} is not in the log any more")]
    OffsetLost {
        /// The full name of the topic.
        topic: String,
        /// Its partition.
        partition: u32,
        /// The offset that was asked for.
        offset: Offset,
    },
    /// The topic does not exist.
    #[error("topic {0} does not exist")]
    NoSuchTopic(String),
    /// The log cannot be reached now; try again.
    #[error("log unavailable")]
    Unavailable(#[source] Cause),
    /// A broken promise or a damaged file; stop.
    #[error("log failure")]
    Failure(#[source] Cause),
}

/// A log as a whole. Cheap to share.
pub trait Log: Send + Sync {
    /// The identity of this log, so that state built from one is not taken for state of another.
    /// `None` where the log has no identity.
    ///
    /// # Errors
    /// Where the log does not answer now.
    fn identity(&self) -> Result<Option<String>, LogError> {
        Ok(None)
    }

    /// Whether every acknowledged commit survives any crash. State that is ahead of such a log
    /// proves that the log was damaged; state ahead of another log is discarded.
    fn keeps_what_it_acknowledged(&self) -> bool {
        true
    }

    /// The number of partitions; `None` where the topic does not exist.
    fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError>;

    /// Creates a topic. One that exists with the same number of partitions is left as it is.
    fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError>;

    /// Appends outside of any transaction, in order per partition, and waits until it is durable.
    /// For tools and tests, not for shards.
    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<(), LogError>;

    /// Takes a shard over: fences earlier sessions of the same shard, aborts their open
    /// transactions. Blocks until that is done.
    fn open_shard(&self, shard: &ShardIdentity) -> Result<Box<dyn ShardSession>, LogError>;

    /// A reader of committed records from given offsets (`0` or less: from the earliest), for tools
    /// and sinks.
    fn reader(&self, from: &[(TopicPartition, Offset)]) -> Result<Box<dyn Reader>, LogError>;
}

/// The identity of a shard session's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIdentity {
    /// `transactional.id`: the same for every owner of the shard, distinct between shards and
    /// deployments.
    pub transactional_id: String,
    /// Consumer group under which input positions are sent.
    pub group: String,
    /// The partition that holds the changed rows of the shard.
    pub changelog: TopicPartition,
}

/// One owner's session of one shard.
///
/// Protocol: `restore` to the end, then `assign` once, then `poll` and `commit` in turn. After any
/// error of `commit` or `poll` the session is dropped and the shard reopened; nothing is retried
/// inside.
pub trait ShardSession: Send {
    /// Reads the changelog from `from` (negative: from the earliest record) to its present end
    /// (committed records only), in order. Returns the offset after the last one. Also ends where
    /// the changelog is empty, or ends in aborted or control records. A `from` beyond the end is
    /// `OffsetLost`: the log has lost records that the store holds.
    fn restore(&mut self, from: Offset, apply: &mut dyn FnMut(Delivered)) -> Result<Offset, LogError>;

    /// Sets the inputs and where to read each from; a negative offset, such as `EARLIEST`, stands
    /// for the earliest record.
    fn assign(&mut self, inputs: &[(TopicPartition, Offset)]) -> Result<(), LogError>;

    /// The next committed records of the inputs; per partition in order. Empty where nothing
    /// arrived in time.
    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError>;

    /// Appends and moves positions atomically. An empty transaction is not sent.
    fn commit(&mut self, transaction: Transaction) -> Result<Receipt, LogError>;

    /// Records not yet read, per input; for metrics, so it may be stale.
    fn lag(&self) -> Vec<(TopicPartition, u64)>;
}

/// What a session's owner does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Release the shard; its new owner takes over.
    Release,
    /// Drop the session, wait a little, reopen the shard.
    Recover,
    /// Stop the shard and report it: a person must act.
    Stop,
}

impl LogError {
    /// The same error again, for each of several operations with one cause.
    pub(crate) fn again(&self) -> LogError {
        match self {
            LogError::Fenced => LogError::Fenced,
            LogError::OutcomeUnknown(cause) => LogError::OutcomeUnknown(cause.clone()),
            LogError::Aborted(cause) => LogError::Aborted(cause.clone()),
            LogError::OffsetLost { topic, partition, offset } => LogError::OffsetLost {
                topic: topic.clone(),
                partition: *partition,
                offset: *offset,
            },
            LogError::NoSuchTopic(topic) => LogError::NoSuchTopic(topic.clone()),
            LogError::Unavailable(cause) => LogError::Unavailable(cause.clone()),
            LogError::Failure(cause) => LogError::Failure(cause.clone()),
        }
    }

    /// What the caller does about the error.
    pub fn disposition(&self) -> Disposition {
        match self {
            LogError::Fenced => Disposition::Release,
            LogError::OutcomeUnknown(_) | LogError::Aborted(_) | LogError::Unavailable(_) | LogError::NoSuchTopic(_) => Disposition::Recover,
            LogError::OffsetLost { .. } | LogError::Failure(_) => Disposition::Stop,
        }
    }
}

/// A plain reader of committed records.
pub trait Reader: Send {
    /// As `ShardSession::poll`.
    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError>;
    /// Whether everything that was committed when this was called has been returned by `poll`.
    fn caught_up(&mut self) -> Result<bool, LogError>;
}
