//! The transactional log port, the embedded log and the simulated log.
//!
//! The runtime is written against this port alone; `millrace-kafka` implements it on Apache Kafka. It promises what Kafka promises and no more:
//! records of one partition keep their order; what one commit produces becomes visible together with the positions it sends; a shard opened again
//! fences whoever held it before; readers see committed records only.
//!
//! What it is *not*: it knows no shard logic and no record formats.

mod embedded;
pub mod random;
pub mod simulated;

pub use embedded::{Damage, Durability, EmbeddedConfig, EmbeddedLog, Inspection, Rescue, SegmentReport, TopicReport};

use bytes::Bytes;
use millrace_model::Timestamp;

/// A topic's name and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: std::sync::Arc<str>,
    pub partition: u32,
}

/// The offset of a record within its partition; gaps are allowed.
pub type Offset = i64;

/// Where a reader asks for it instead of an offset: the earliest record that the log still holds, whatever its offset.
pub const EARLIEST: Offset = -2;

/// A setting in `TopicSpec::settings`: with value `true`, records below the positions of every group that sent positions for their partition may go.
/// Settings that begin with `millrace.` are for logs that have no such thing of their own; the Kafka log leaves them out.
pub const DELETE_CONSUMED: &str = "millrace.delete.consumed";

/// A record to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Bytes>,
    /// `None`: a tombstone.
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
}

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub source: TopicPartition,
    pub offset: Offset,
    /// When the log took it, or what its producer claimed.
    pub timestamp: Timestamp,
    pub record: Record,
}

/// How a topic is to be created, or what a topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
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

/// What a commit tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The offset behind the last record this commit appended to the shard's changelog; `None` where it appended none.
    pub changelog_end: Option<Offset>,
}

/// What a read of at most so much, waiting at most so long, is bounded by.
#[derive(Clone, Copy, Debug)]
pub struct PollLimits {
    pub records_max: usize,
    pub bytes_max: usize,
    pub wait_ms_max: u64,
}

/// Why a log operation failed. What the caller does about it is in `disposition`.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another session took the shard over. Nothing of this session's open transaction is visible. Give the shard up.
    #[error("fenced: another process owns this shard now")]
    Fenced,
    /// Whether the transaction is committed is not known. Drop the session and recover: the changelog tells.
    #[error("outcome of the transaction is unknown: {0}")]
    OutcomeUnknown(String),
    /// The transaction was aborted, nothing of it is visible. Drop the session and recover.
    #[error("transaction aborted: {0}")]
    Aborted(String),
    /// An input position is no longer in the log: records were lost to retention. Stop the shard loudly.
    #[error("offset {offset} of {topic}/{partition} is not in the log any more")]
    OffsetLost { topic: String, partition: u32, offset: Offset },
    /// The topic does not exist.
    #[error("topic {0} does not exist")]
    NoSuchTopic(String),
    /// The log cannot be reached now; try again.
    #[error("log unavailable: {0}")]
    Unavailable(String),
    /// A broken promise or a damaged file; stop.
    #[error("log failure: {0}")]
    Failure(String),
}

/// A log as a whole. Cheap to share.
pub trait Log: Send + Sync {
    /// What tells this log from any other, so that state built from one is not taken for state of another. `None` where the log has nothing of the kind.
    ///
    /// # Errors
    /// Where the log cannot be asked now.
    fn identity(&self) -> Result<Option<String>, LogError> {
        Ok(None)
    }

    /// Whether every commit that was acknowledged is still there after whatever crash. State that is ahead of such a log proves that the log was damaged;
    /// ahead of another one it is discarded.
    fn keeps_what_it_acknowledged(&self) -> bool {
        true
    }

    /// The number of partitions; `None` where the topic does not exist.
    fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError>;

    /// Creates a topic. One that exists with the same number of partitions is left as it is.
    fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError>;

    /// Appends outside of any transaction, in order per partition, and waits until it is durable. For tools and tests, not for shards.
    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<(), LogError>;

    /// Takes a shard over: fences earlier sessions of the same shard, aborts what they left open. Blocks until that is done.
    fn open_shard(&self, shard: &ShardIdentity) -> Result<Box<dyn ShardSession>, LogError>;

    /// A reader of committed records from given offsets (`0` or less: from the earliest), for tools and sinks.
    fn reader(&self, from: &[(TopicPartition, Offset)]) -> Result<Box<dyn Reader>, LogError>;
}

/// Who opens a shard session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIdentity {
    /// `transactional.id`: the same for every owner of the shard, distinct between shards and deployments.
    pub transactional_id: String,
    /// Consumer group under which input positions are sent.
    pub group: String,
    pub changelog: TopicPartition,
}

/// One owner's hold on one shard.
///
/// Protocol: `restore` to the end, then `assign` once, then `poll` and `commit` in turn. After any error of `commit` or `poll` the session is dropped
/// and the shard opened anew; nothing is retried inside.
pub trait ShardSession: Send {
    /// Reads the changelog from `from` (negative: from the earliest record) to the end as it is now (committed records only), in order. Returns the
    /// offset behind the last one. Ends too where the changelog is empty, or ends in aborted or control records.
    /// A `from` beyond the end is `OffsetLost`: the log has lost what the store holds.
    fn restore(&mut self, from: Offset, apply: &mut dyn FnMut(Delivered)) -> Result<Offset, LogError>;

    /// Sets the inputs and where to read each from; a negative offset, such as `EARLIEST`, stands for the earliest record.
    fn assign(&mut self, inputs: &[(TopicPartition, Offset)]) -> Result<(), LogError>;

    /// The next committed records of the inputs; per partition in order. Empty where nothing came in time.
    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError>;

    /// Appends and moves positions atomically. An empty transaction is not sent.
    fn commit(&mut self, transaction: Transaction) -> Result<Receipt, LogError>;

    /// Records not yet read, per input; for metrics, so it may be stale.
    fn lag(&self) -> Vec<(TopicPartition, u64)>;
}

/// What a session's owner does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Give the shard up; its new owner goes on.
    Release,
    /// Drop the session, wait a little, open the shard anew.
    Recover,
    /// Stop the shard and say so: a person must act.
    Stop,
}

impl LogError {
    /// The same error once more, for each of several that one cause befell.
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
