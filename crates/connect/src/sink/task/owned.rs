//! Partitions that come, stay and go: the proof that this task still owns one, and what it does
//! about changes that it sent after it had lost one.
//!
//! The log fences an owner that was replaced; a foreign system does not. A process that is frozen
//! in the middle of a delivery may wake up after another one took its partition over, and send a
//! state that is older than what the other one sent since. Two rules keep the destination right:
//!
//! * **Proof.** Before a delivery, an owner whose last commit is older than `PROVED_MS` commits: a
//!   replaced one is refused there, before it sends anything. So only a freeze between the proof and
//!   the end of the delivery does harm.
//! * **Doubt.** Keys sent since the last commit are *in doubt* where the partition is lost before the
//!   next one. The task takes the partition over once more, marks their rows and sets the position
//!   back to the oldest of them; whoever owns the partition then sends their newest state again.
//!   A commit that succeeds removes the doubt: everything before it was sent by the owner.
//!
//! Neither concerns a log that one process holds alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_log::Offset;

use super::{SinkError, SinkTask};
use crate::sink::Change;
use crate::sink::partition::Partition;

/// How long a commit proves ownership. A group gives the partitions of a silent member to others
/// after its session time-out, which is 6 s at least by default of the broker
/// (`group.min.session.timeout.ms`).
const PROVED_MS: i64 = 3_000;

/// An owner commits this often, even if it has nothing to commit: so it learns of a replacement,
/// and of doubts of the process before it, which only its next owner sends again.
pub(super) const PROOF_EVERY_MS: i64 = 30_000;

/// Keys of one partition that were sent by an owner which had lost it by then, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubts {
    /// As in `Change::key`.
    pub keys: BTreeSet<String>,
    /// The newest desired state of none of them is older than this.
    pub from: Offset,
}

impl Doubts {
    fn and(&mut self, other: &Doubts) {
        self.keys.extend(other.keys.iter().cloned());
        self.from = self.from.min(other.from);
    }
}

impl SinkTask {
    /// Takes a partition over. An open one is reopened.
    ///
    /// # Errors
    /// Where the log or the store fails; the partition is not open then.
    pub fn open(&mut self, number: u32) -> Result<(), SinkError> {
        self.abandon(number);
        self.settle_doubts(number)?;
        let partition = Partition::open(&self.context, number, self.now())?;
        self.partitions.insert(number, partition);
        self.context.point(super::Point::Opened)
    }

    /// Releases a partition with its last commit: the next owner repeats nothing.
    ///
    /// # Errors
    /// Where the log or the store fails. The partition is released all the same; `doubtful` names it
    /// if something was sent that could not be committed.
    pub fn close(&mut self, number: u32) -> Result<(), SinkError> {
        // Where something was sent, the commit proves that it was sent by the owner.
        let sent = self.partitions.get(&number).is_some_and(|partition| partition.sent().is_some());
        let committed = self.commit(number, self.context.contested && sent);
        let partition = self.partitions.remove(&number);
        self.forget(number, partition.as_ref());
        let flushed = partition.map_or(Ok(()), Partition::close);
        committed?;
        Ok(flushed?)
    }

    /// Gives a partition up after a failure, without a commit.
    pub fn abandon(&mut self, number: u32) {
        let partition = self.partitions.remove(&number);
        self.forget(number, partition.as_ref());
    }

    /// Nothing of the partition waits any more; what was sent and not committed is in doubt.
    fn forget(&mut self, number: u32, partition: Option<&Partition>) {
        self.pending.forget(number);
        if let Some(doubts) = partition.and_then(Partition::sent).filter(|_| self.context.contested) {
            self.doubts.entry(number).and_modify(|known| known.and(&doubts)).or_insert(doubts);
        }
    }

    /// Partitions with keys in doubt, which `settle_doubts` settles.
    pub fn doubtful(&self) -> Vec<u32> {
        self.doubts.keys().copied().collect()
    }

    /// Sees to it that keys in doubt are sent again by whoever owns the partition next. Fences its
    /// present owner, which must reopen it.
    ///
    /// # Errors
    /// Where the log or the store fails; the doubts remain.
    pub fn settle_doubts(&mut self, number: u32) -> Result<(), SinkError> {
        let Some(doubts) = self.doubts.get(&number) else { return Ok(()) };
        let now = self.now();
        let mut partition = Partition::open(&self.context, number, now)?;
        partition.doubt(&doubts.keys, now)?;
        let position = partition.position().min(doubts.from);
        partition.commit(&self.context, position, now)?;
        tracing::warn!(
            destination = self.context.name,
            partition = number,
            keys = doubts.keys.len(),
            "these keys may have been sent after another process took the partition over; they are sent again"
        );
        self.doubts.remove(&number);
        Ok(partition.close()?)
    }

    /// Before changes are sent: proves that their partitions are still this task's, and remembers
    /// that they are sent.
    pub(super) fn prove(&mut self, changes: &[Change]) -> Result<(), (u32, SinkError)> {
        let now = self.now();
        let concerned: BTreeSet<u32> = changes
            .iter()
            .filter_map(|change| self.pending.get(&change.key))
            .map(|waiting| waiting.partition)
            .collect();
        for number in concerned {
            let proved = self
                .partitions
                .get(&number)
                .is_some_and(|partition| now.0 - partition.committed_at.0 < PROVED_MS);
            if self.context.contested && !proved {
                self.commit(number, true).map_err(|error| (number, error))?;
            }
        }
        if self.destination.topic().is_some() || self.destination.fences() {
            // What a replaced owner sends is refused.
            return Ok(());
        }
        for change in changes {
            let Some(waiting) = self.pending.get(&change.key) else { continue };
            let (number, offset) = (waiting.partition, waiting.first_offset);
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.sending(&change.key, offset);
            }
        }
        Ok(())
    }

    /// Commits what a partition has; if nothing, an empty step where `forced`.
    pub(super) fn commit(&mut self, number: u32, forced: bool) -> Result<bool, SinkError> {
        let (context, now) = (Arc::clone(&self.context), self.now());
        let waiting = self.pending.first_offset(number);
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Ok(false);
        };
        if forced {
            partition.must_commit();
        }
        let position = waiting.unwrap_or(partition.read);
        partition.commit(&context, position, now)
    }
}
