//! How far a person's events lead through a chain.

use millrace_model::{Text, Timestamp, Value};
use millrace_segment::sequence::{ChainProgress, Instant};
use serde::{Deserialize, Serialize};

/// `SEQUENCE`: how far the events of a query lead through its chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceRow {
    /// Events kept.
    pub events: u64,
    /// After every event up to and including `folded_to`, except for changes.
    pub progress: ChainProgress,
    /// Up to this instant, included, events are folded in.
    pub folded_to: Timestamp,
    /// Events folded since the last milestone.
    pub since: u32,
    /// The first and the last instant up to `folded_to` at which an event was added, deleted or
    /// changed its verdict since it was folded.
    pub changed: Option<(Timestamp, Timestamp)>,
    /// The first instant after `folded_to` with an event; may be earlier if one is gone.
    pub next_at: Timestamp,
    /// When time changes the first verdict on an event; may be earlier if one is gone.
    pub turns_at: Timestamp,
    /// The instant `folded_to`, if it has many events. Invariant: nothing before it, and nothing of
    /// it, is among the changes.
    pub instant: Option<Instant>,
    /// An unfinished walk. Invariant: `changed` or `next_at` says what it is for.
    pub walk: Option<WalkRow>,
}

/// A walk over the events of a chain, to continue in a later step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalkRow {
    /// It has reached the event `id` of this instant, or is after all of them.
    pub at: Timestamp,
    /// The event reached; `None`: it is after all of the instant.
    pub id: Option<Text>,
    /// The instant so far.
    pub instant: Instant,
    /// Events of the instant so far.
    pub taken: u32,
    /// Events since the last milestone.
    pub since: u32,
}

impl SequenceRow {
    /// Before the first event.
    pub fn new(start: ChainProgress) -> SequenceRow {
        let (folded_to, next_at, turns_at) = (Timestamp::MIN, Timestamp::MAX, Timestamp::MAX);
        SequenceRow {
            events: 0,
            progress: start,
            folded_to,
            since: 0,
            changed: None,
            next_at,
            turns_at,
            instant: None,
            walk: None,
        }
    }
}

/// `SEQUENCED`: an event that steps of a chain can take; its time and id are in the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequencedRow {
    /// The columns that the query keeps, in its order.
    pub columns: Vec<Value>,
    /// When time changes the verdict on it, apart from an end that progress knows of.
    pub turns_at: Timestamp,
}
