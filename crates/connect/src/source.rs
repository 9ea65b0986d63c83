//! The port of sources, and their parts.
//!
//! A source is a state machine over *rows*: named values that the frame keeps in a compacted topic
//! of the source's own. `next` reads the foreign system and returns records together with the rows
//! that say how far it got; the frame appends both in one transaction. So the frame owns the loop,
//! the commits, the waits and the end; a source cannot append records without recording that in its
//! rows (`decisions/0017`).

mod listing;
mod rows;
mod status;
mod task;
mod topics;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use millrace_log::{Offset, Record, TopicPartition};
use millrace_model::{Cause, Rejection, SourceKind, Timestamp};
use serde_json::Value;

pub use listing::{Mark, Sweep};
pub use rows::Rows;
pub use status::{SnapshotProgress, SourceState, SourceView, Status};
pub use task::{Ended, Make, SOURCE_HEADER, SourceTask, Stop, Topics, system_clock};
pub use topics::{Interpret, RECORD_BYTES_MAX, TopicSource};

use crate::budget::Spent;

/// A future on the heap, as a trait object returns it.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// A foreign system as the frame sees it.
///
/// Protocol: the frame calls `next` again and again, one call at a time, each with the rows as
/// committed. The result of `next` is committed as a whole before the next call, or not at all. A
/// source may be dropped at any await, by a stop, a crash or a lost commit, and a new one continues
/// from the rows alone: anything it keeps in memory is a cache. After an error it is called with
/// the same rows. Repeating a read must therefore give records with the same keys and `modifiedAt`,
/// or at least records that change nothing the second time.
pub trait Source: Send {
    /// Reads on. Returns soon: about one page, not a whole table.
    fn next<'a>(&'a mut self, rows: &'a Rows) -> Step<'a, Batch>;

    /// A handful of records as the system returns them, with their mapped form. Changes nothing.
    fn preview(&mut self) -> Step<'_, Vec<Sample>>;
}

/// What one step read. All of it becomes visible together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Appended in this order.
    pub records: Vec<Emitted>,
    /// New values of rows; `None` deletes a row.
    pub rows: Vec<(String, Option<Value>)>,
    /// Records that a full listing contains, read by this step.
    pub marks: Vec<Mark>,
    /// Full listings that are complete with this step.
    pub sweeps: Vec<Sweep>,
    /// Everything the system had up to this instant has been read; `None`: unknown, or not yet.
    pub read_to: Option<Timestamp>,
    /// While a first load runs.
    pub snapshot: Option<SnapshotProgress>,
    /// How long to wait before the next step; zero while there is more.
    pub pause: Duration,
}

/// A record on its way to a source topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Emitted {
    /// A record of a source topic.
    Record {
        /// Which topic it goes to.
        kind: SourceKind,
        /// The key of the record: one thing of the foreign system keeps its key.
        key: String,
        /// `None`: a tombstone.
        value: Option<Value>,
    },
    /// A record that the mapping cannot take: it goes to the dead letters, the source goes on.
    Rejected {
        /// Which topic it would have gone to.
        kind: SourceKind,
        /// The record's id in the foreign system.
        id: String,
        /// The record as the system gave it.
        raw: Value,
        /// Which field cannot be mapped, and why.
        detail: String,
    },
    /// A record of a foreign topic that cannot be used: it goes to the dead letters as it is.
    Unusable(Box<Unusable>),
}

/// A record of a foreign topic, with the reason why it cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Unusable {
    /// Where the record is; the topic is one of the foreign system.
    pub place: TopicPartition,
    /// Its place within the partition.
    pub offset: Offset,
    /// Key, value and headers as they were read.
    pub record: Record,
    /// Why it cannot be used; the detail names the field.
    pub rejection: Rejection,
}

/// A record of a preview: as the system gave it, and as it would be appended.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Sample {
    /// The topic that the record would go to.
    pub topic: String,
    /// The record as the system gave it.
    pub raw: Value,
    /// The mapped record, or why there is none.
    pub mapped: Result<Value, String>,
}

impl Sample {
    /// What a record of the system became.
    pub fn of(raw: Value, emitted: Emitted) -> Sample {
        match emitted {
            Emitted::Record { kind, value, .. } => Sample {
                topic: kind.name().to_owned(),
                raw,
                mapped: Ok(value.unwrap_or_default()),
            },
            Emitted::Rejected { kind, detail, .. } => Sample {
                topic: kind.name().to_owned(),
                raw,
                mapped: Err(detail),
            },
            Emitted::Unusable(unusable) => Sample {
                topic: unusable.place.topic.to_string(),
                raw,
                mapped: Err(unusable.rejection.detail),
            },
        }
    }
}

/// Why a step returned nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system is unavailable, or asks for patience.
    #[error("the system cannot be read now")]
    Retry {
        /// What the system answered, or why it did not.
        #[source]
        reason: Cause,
        /// The wait that the system asks for; `None`: the frame's back-off.
        after: Option<Duration>,
    },
    /// The day's calls are spent.
    #[error(transparent)]
    Spent(#[from] Spent),
    /// The system refuses the credentials, or their rights. A person must act; the frame retries
    /// now and then.
    #[error("the system denies access")]
    Denied(#[source] Cause),
    /// The system refuses a call that should be right, or returns an unreadable answer.
    #[error("the system gives no usable answer")]
    Refused(#[source] Cause),
}
