//! Why something is done: the fact at the beginning of a chain of effects.

use millrace_model::{Text, Timestamp};
use serde::{Deserialize, Serialize};

/// The fact at the beginning of a chain of effects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The kind of the fact, as output records name it.
    pub cause: CauseKind,
    /// The topic the fact came from; empty for timers.
    pub topic: Text,
    /// The record's key, or the segment's name.
    pub key: Text,
    /// The event's id, where the fact is an event.
    pub event_id: Option<Text>,
    /// When the log accepted the fact: the beginning of `millrace_end_to_end_seconds`. None for
    /// timers and definitions.
    pub ingested_at: Option<Timestamp>,
    /// W3C `traceparent` of the source record.
    pub trace: Option<Text>,
}

/// The kinds of fact that effects begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CauseKind {
    /// A source record.
    Record,
    /// The passing of time.
    Timer,
    /// A change of the definitions, or of the configuration.
    Definition,
    /// A link between identities, or between a person and an account.
    Link,
    /// Two subjects became one.
    Merge,
    /// A request to erase a subject.
    Erasure,
}

impl From<CauseKind> for millrace_wire::CauseKind {
    fn from(cause: CauseKind) -> millrace_wire::CauseKind {
        match cause {
            CauseKind::Record => millrace_wire::CauseKind::Record,
            CauseKind::Timer => millrace_wire::CauseKind::Timer,
            CauseKind::Definition => millrace_wire::CauseKind::Definition,
            CauseKind::Link => millrace_wire::CauseKind::Link,
            CauseKind::Merge => millrace_wire::CauseKind::Merge,
            CauseKind::Erasure => millrace_wire::CauseKind::Erasure,
        }
    }
}

impl Origin {
    /// The passing of time.
    pub fn timer() -> Origin {
        Origin {
            cause: CauseKind::Timer,
            topic: Text::default(),
            key: Text::default(),
            event_id: None,
            ingested_at: None,
            trace: None,
        }
    }
}
