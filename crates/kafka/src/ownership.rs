//! Which shards this process owns: group membership on a topic with one partition per shard, which
//! is always empty.
//!
//! Classic protocol, cooperative-sticky, static member: a restart within the session time-out moves
//! nothing, and a joining process takes only the shards assigned to it.
//!
//! ```text
//!             assigned                revoked                  stopped
//!   (others) ──────────▶ this process ────────▶ being stopped ─────────▶ (others)
//!                              └── lost: out of touch for longer than the session ──▶ (others)
//! ```
//!
//! The group says who *should* own a shard; who *does* is decided by the shard's transactional id.
//! So shards that are lost, or that a process stops too slowly, do no harm: the next owner fences
//! this one.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millrace_log::LogError;
use millrace_model::{Cause, chain};
use millrace_runtime::host::{Changes, Ownership};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};

use crate::contexts;
use crate::detached::Detached;
use crate::errors;
use crate::properties::Properties;

/// Rebalances that the owner has not yet handled, and what the group waits for.
#[derive(Default)]
struct Pending {
    changes: Changes,
    /// Revoked, and to be given back once they are stopped.
    giving_back: Option<TopicPartitionList>,
    /// Nobody will report stopped shards any more.
    closing: bool,
}

#[derive(Default)]
struct Rebalances(Mutex<Pending>);

impl Rebalances {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// A shard that came and went between two calls is neither.
    fn assigned(&mut self, shards: BTreeSet<u32>) {
        for shard in shards {
            self.changes.revoked.remove(&shard);
            self.changes.assigned.insert(shard);
        }
    }

    fn revoked(&mut self, shards: BTreeSet<u32>) {
        for shard in shards {
            self.changes.assigned.remove(&shard);
            self.changes.revoked.insert(shard);
        }
    }

    fn take(&mut self) -> Option<Changes> {
        (self.changes != Changes::default()).then(|| std::mem::take(&mut self.changes))
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        contexts::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        contexts::client_error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Rebalances {
    /// Called within `poll`, on its thread.
    fn rebalance(&self, member: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.pending().assigned(shards(partitions));
            member.incremental_assign(partitions)
        } else {
            let lost = member.assignment_lost();
            let mut pending = self.pending();
            pending.revoked(shards(partitions));
            if lost || pending.closing {
                drop(pending);
                member.incremental_unassign(partitions)
            } else {
                pending.giving_back = Some(partitions.clone());
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "rebalance failed");
        }
    }
}

fn shards(partitions: &TopicPartitionList) -> BTreeSet<u32> {
    partitions.elements().iter().map(|element| element.partition().cast_unsigned()).collect()
}

/// Membership in the group of a deployment's processes. Dropping it returns nothing: the shards
/// wait a session time-out for the process to come back.
pub struct GroupOwnership {
    member: Detached<BaseConsumer<Rebalances>>,
}

impl GroupOwnership {
    pub(crate) fn join(properties: &Properties, group: &str, topic: &str, instance: &str) -> Result<Self, LogError> {
        let joining = |error| errors::request("joining the group of shard owners", &error);
        let member: BaseConsumer<Rebalances> = properties.member(group, instance).create_with_context(Rebalances::default()).map_err(joining)?;
        member.subscribe(&[topic]).map_err(joining)?;
        Ok(Self { member: Detached::new(member) })
    }

    /// Completes a revocation, so that the group can go on.
    fn give_back(&self) {
        let giving_back = self.member.context().pending().giving_back.take();
        if let Some(Err(error)) = giving_back.map(|partitions| self.member.incremental_unassign(&partitions)) {
            // Lost in the meantime: there is nothing to give back any more.
            tracing::debug!(%error, "shards cannot be given back");
        }
    }
}

impl Ownership for GroupOwnership {
    /// Membership ends where this is not called for `max.poll.interval.ms`.
    ///
    /// # Errors
    /// `Failure` where a person must act; above all where another process has joined under the same
    /// instance name: this one would stay idle for ever.
    fn changes(&mut self, wait_ms_max: u64) -> Result<Changes, LogError> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms_max);
        loop {
            if let Some(changes) = self.member.context().pending().take() {
                return Ok(changes);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.member.poll(left) {
                None if left.is_zero() => return Ok(self.member.context().pending().take().unwrap_or_default()),
                // A rebalance, another event, or a record, which nobody should have written.
                None | Some(Ok(_)) => {}
                Some(Err(error)) => match errors::request("owning shards", &error) {
                    LogError::Fenced => return Err(LogError::Failure(Cause::of("another process has this one's instance name", error))),
                    LogError::Unavailable(cause) if matches!(error, KafkaError::MessageConsumptionFatal(_)) => return Err(LogError::Failure(cause)),
                    LogError::Unavailable(cause) => tracing::debug!(reason = chain(&cause), "shard ownership"),
                    error => return Err(error),
                },
            }
        }
    }

    fn stopped(&mut self, _: &BTreeSet<u32>) -> Result<(), LogError> {
        // The group revokes once, and waits; all revoked shards are stopped.
        self.give_back();
        Ok(())
    }
}

impl Drop for GroupOwnership {
    fn drop(&mut self) {
        // Closing revokes the rest, and would wait for ever for their return.
        self.member.context().pending().closing = true;
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_came_and_went_between_two_calls_is_reported_as_it_ended() {
        let mut pending = Pending::default();
        assert_eq!(pending.take(), None);
        pending.assigned(BTreeSet::from([1, 2]));
        pending.revoked(BTreeSet::from([2, 3]));
        pending.assigned(BTreeSet::from([3]));
        let expected = Changes {
            assigned: BTreeSet::from([1, 3]),
            revoked: BTreeSet::from([2]),
        };
        assert_eq!(pending.take(), Some(expected));
        assert_eq!(pending.take(), None);
    }
}
