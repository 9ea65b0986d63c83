//! The machine port: what the runtime drives, and all it knows of the stages.
//!
//! One machine holds one shard. The runtime reads inputs, calls `step`, commits the result to the
//! log and only then to the store, so a machine never meets its own uncommitted effects in the
//! view. It may keep memory of its own (programs, caches), as long as that memory can be rebuilt
//! from the view.

use std::fmt;

use bytes::Bytes;
use millrace_model::metric::{Counter, Gauge, Histogram};
use millrace_model::{ShardId, SourceKind, Text, Timestamp};

use crate::state::{RowChange, StateError, StateView};

/// Where an input was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputTopic {
    /// Definitions: one partition, read whole by every shard.
    Control,
    /// Messages from other shards, or from this one.
    Inbox,
    /// Validated, normalised source records of this shard.
    Records,
    /// Source topics, of which a shard reads the partitions `q` with `q % shards == shard`.
    Source(SourceKind),
}

/// The topic's name after the deployment's prefix. The runtime stores positions under it, so it must
/// never change.
impl fmt::Display for InputTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputTopic::Control => f.write_str("control.segments"),
            InputTopic::Inbox => f.write_str("internal.inbox"),
            InputTopic::Records => f.write_str("internal.records"),
            InputTopic::Source(kind) => write!(f, "source.{}", kind.name()),
        }
    }
}

/// One record of an input partition. Offsets of one partition ascend and never come twice, gaps are
/// allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The topic it was read from.
    pub topic: InputTopic,
    /// The partition of that topic.
    pub partition: u32,
    /// Its place in the partition.
    pub offset: i64,
    /// When the log accepted the record, or what its producer claimed.
    pub timestamp: Timestamp,
    /// The record's key.
    pub key: Option<Bytes>,
    /// `None`: a tombstone.
    pub value: Option<Bytes>,
    /// The record's headers, in order.
    pub headers: Vec<(String, Bytes)>,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputTopic {
    /// Source records that change their shard.
    Records,
    /// Messages to stages of other shards.
    Inbox,
    /// Changes of membership.
    Membership,
    /// `destination.<name>`; the topic is created at its first use.
    Destination(Text),
    /// Input that nobody can use, with its reason.
    DeadLetter,
}

/// The topic's name after the deployment's prefix.
impl fmt::Display for OutputTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputTopic::Records => f.write_str("internal.records"),
            OutputTopic::Inbox => f.write_str("internal.inbox"),
            OutputTopic::Membership => f.write_str("audience.membership"),
            OutputTopic::Destination(name) => write!(f, "destination.{name}"),
            OutputTopic::DeadLetter => f.write_str("dead-letter"),
        }
    }
}

/// The partition of its topic that an output goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// This one; for topics with one partition per shard.
    Shard(ShardId),
    /// As a Kafka client would place a record with this key: murmur2 modulo the number of
    /// partitions.
    Hash(Bytes),
}

/// One record to be appended. Outputs for one partition are appended in the order of
/// `Effects::outputs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The topic it is appended to.
    pub topic: OutputTopic,
    /// The partition of that topic.
    pub partition: Partition,
    /// The record's key.
    pub key: Option<Bytes>,
    /// `None`: a tombstone.
    pub value: Option<Bytes>,
    /// The record's headers, in order.
    pub headers: Vec<(String, Bytes)>,
}

/// One measurement for the operator's metrics. Lost if the step is not committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Values of the metric's labels, in the order in which it declares them.
    pub labels: Vec<Text>,
    /// The metric and its change.
    pub value: Measure,
}

/// A metric and how a measurement changes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// The counter grows by this amount.
    Add(Counter, u64),
    /// The gauge has this value now.
    Set(Gauge, f64),
    /// The histogram takes one sample.
    Sample(Histogram, f64),
    /// The histogram takes the seconds from this instant to the commit of the step.
    SecondsSince(Histogram, Timestamp),
}

impl Measurement {
    /// A measurement with a value for each label that the metric declares.
    pub fn new<const N: usize>(value: Measure, labels: [Text; N]) -> Measurement {
        debug_assert_eq!(value.labels().len(), N, "{value:?}");
        Measurement { labels: labels.into(), value }
    }
}

impl Measure {
    fn labels(self) -> &'static [&'static str] {
        match self {
            Measure::Add(counter, _) => counter.labels(),
            Measure::Set(gauge, _) => gauge.labels(),
            Measure::Sample(histogram, _) | Measure::SecondsSince(histogram, _) => histogram.labels(),
        }
    }
}

/// How much a step may do in addition to its inputs, so that a transaction stays short. A bound,
/// not a goal.
pub struct Budget<'a> {
    /// Due timers to fire. Those left over stay due, and `next_timer` says so.
    pub timers_max: usize,
    /// Called before each portion of fan-out and backfill: how many subjects to evaluate, or rows
    /// to scan; 0 leaves the rest to a later step.
    pub background: &'a mut dyn FnMut() -> usize,
}

/// The effects of a step; all of them become visible together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// The final value of each changed row, one entry per key, rows of derived tables included.
    /// Those from `DERIVED` on stay out of the changelog; the keys that begin with `RESERVED`
    /// belong to the runtime.
    pub rows: Vec<RowChange>,
    /// The records to append.
    pub outputs: Vec<Output>,
    /// Measurements of the step.
    pub measurements: Vec<Measurement>,
    /// Background work waits: step again at once, inputs or not.
    pub more: bool,
}

impl Effects {
    /// Whether there is nothing to commit.
    pub fn nothing(&self) -> bool {
        self.rows.is_empty() && self.outputs.is_empty()
    }
}

/// The first byte of keys that the runtime keeps for itself (its meta row). A machine neither reads
/// nor writes them.
pub const RESERVED: u8 = 0x00;

/// The stages of one shard.
///
/// Protocol: `derive` any number of times while the store is restored; `start` once; then `step`
/// and `committed` in turn, `next_timer` whenever. A machine whose step was not committed, or that
/// returned an error, is dropped, and a new one is built, restored and started: memory that depends
/// on uncommitted effects cannot survive.
///
/// Determinism: equal view, inputs, `now` and portions give equal effects, in the same order.
pub trait Machine: Send {
    /// The derived rows that follow from a change of base rows during a restore. `view` shows the
    /// rows, base and derived, before the change; `rows` holds at most one entry per key, in
    /// ascending order of keys. Changes come in changelog order, but those that later ones replaced
    /// may be missing, and a commit may come in several parts.
    ///
    /// # Errors
    /// Where the view failed.
    fn derive(&mut self, view: &dyn StateView, rows: &[RowChange]) -> Result<Vec<RowChange>, StateError>;

    /// Builds the machine's memory from the restored state.
    ///
    /// # Errors
    /// Where the view failed.
    fn start(&mut self, view: &dyn StateView) -> Result<(), StateError>;

    /// Processes the inputs in the given order, then due timers and background work within the
    /// budget, as at `now`. Inputs may be empty. `now` is never earlier than at an earlier step of
    /// this shard, on any owner.
    ///
    /// # Errors
    /// Where the view failed. Bad input is not an error: it is an output to `DeadLetter`.
    fn step(&mut self, view: &dyn StateView, inputs: &[Input], now: Timestamp, budget: Budget<'_>) -> Result<Effects, StateError>;

    /// The last step's effects are committed, and the view shows them.
    fn committed(&mut self);

    /// The instant of the earliest timer, so that an idle loop knows when to wake; `Timestamp::MAX`
    /// where there is none.
    ///
    /// # Errors
    /// Where the view failed.
    fn next_timer(&self, view: &dyn StateView) -> Result<Timestamp, StateError>;
}
