//! The life cycle of a shard in one process.
//!
//! ```text
//!                 ┌───────── Waiting ◀────────┐ recoverable error
//!                 ▼                           │
//!   created ▶ Opening ───────────────────▶ Running
//!                 │ fenced                    │ fenced
//!                 ├────────▶ Released ◀───────┤
//!                 │ stop, or cannot recover   │
//!                 └────────▶ Failed ◀─────────┘
//! ```
//!
//! Released and Failed are final: the owner drops the task. `Opening` may go to `Waiting` as well.

use millrace_model::Timestamp;

/// A shard's state in its life cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// Takes the shard over and restores its store.
    Opening,
    /// Reads, steps, commits.
    Running,
    /// An attempt failed; the next one begins at `until`.
    Waiting {
        /// When the next attempt is made.
        until: Timestamp,
        /// Why the last one failed, with its causes.
        reason: String,
    },
    /// Another process owns the shard.
    Released,
    /// A person must act. The other shards continue.
    Failed {
        /// Why, with its causes.
        reason: String,
    },
}

impl ShardState {
    /// One word, for metrics and health.
    pub fn name(&self) -> &'static str {
        match self {
            ShardState::Opening => "opening",
            ShardState::Running => "running",
            ShardState::Waiting { .. } => "waiting",
            ShardState::Released => "released",
            ShardState::Failed { .. } => "failed",
        }
    }

    /// Whether the chart has an arrow to `next`.
    pub fn may_become(&self, next: &ShardState) -> bool {
        use ShardState::{Failed, Opening, Released, Running, Waiting};
        match self {
            Opening => matches!(next, Running | Waiting { .. } | Released | Failed { .. }),
            Running => matches!(next, Waiting { .. } | Released | Failed { .. }),
            Waiting { .. } => matches!(next, Opening),
            Released | Failed { .. } => false,
        }
    }

    /// Whether the task does nothing more.
    pub fn ended(&self) -> bool {
        matches!(self, ShardState::Released | ShardState::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arrows_of_the_chart() {
        let waiting = ShardState::Waiting {
            until: Timestamp(0),
            reason: String::new(),
        };
        let states = [
            ShardState::Opening,
            ShardState::Running,
            waiting,
            ShardState::Released,
            ShardState::Failed { reason: String::new() },
        ];
        let table = states
            .iter()
            .map(|from| states.iter().map(|to| if from.may_become(to) { 'x' } else { '.' }).collect::<String>());
        assert_eq!(table.collect::<Vec<_>>(), [".xxxx", "..xxx", "x....", ".....", "....."]);
    }
}
