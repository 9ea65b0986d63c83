//! Deliveries in the name of an owner, for destinations that distinguish owners.
//!
//! Each owner has an epoch. It is a row of the ledger, so the log keeps the order: an owner reads the
//! last epoch after it has fenced the owner before, and a commit of a higher one fails where another
//! owner has come since. Only an epoch that is committed is claimed at the destination. So of two
//! owners the later one has the higher epoch, whichever of them claims first, and the destination
//! refuses the other.
//!
//! The destination may hold a higher epoch than the ledger, where the ledger was lost. The owner goes
//! above it, and commits that first.
//!
//! After a delivery that was put off the owner claims again. It may have been refused because
//! somebody else has claimed: the commit of the next epoch then finds out who owns the partition.

use std::collections::BTreeSet;

use millrace_model::chain;
use millrace_shard::murmur::partition_of;

use super::{Answer, Delivery, SinkError, SinkTask};
use crate::sink::{Change, Claim, Tenure};

/// One claim above what the destination holds is enough, unless others claim at the same time.
const CLAIMS_MAX: usize = 3;

impl SinkTask {
    /// Delivers a batch as the owner of its partitions.
    pub(super) fn deliver_as(&mut self, changes: &[Change]) -> Result<Delivery, (u32, SinkError)> {
        if !self.destination.fences() {
            return Ok(self.destination.deliver(changes));
        }
        let keys: BTreeSet<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        let number_of = |key: &&str| {
            let waiting = self.pending.get(key).map(|waiting| waiting.partition);
            waiting.unwrap_or_else(|| partition_of(key.as_bytes(), self.context.partitions))
        };
        let numbers: BTreeSet<u32> = keys.iter().map(number_of).collect();
        let mut tenures = Vec::new();
        for number in &numbers {
            if let Some(reason) = self.claim(*number).map_err(|error| (*number, error))? {
                return Ok(Delivery::all(&Answer::Later(reason), changes.len(), 0));
            }
            let waiting = self.pending.first_offset_without(*number, &keys);
            let Some(partition) = self.partitions.get(number) else { continue };
            tenures.push(Tenure {
                partition: *number,
                epoch: partition.epoch(),
                position: waiting.unwrap_or(partition.read),
            });
        }
        let delivery = self.destination.deliver_as(changes, &tenures);
        if delivery.answers.iter().any(|answer| matches!(answer, Answer::Later(_))) {
            for number in numbers {
                if let Some(partition) = self.partitions.get_mut(&number) {
                    partition.claimed = false;
                }
            }
        }
        Ok(delivery)
    }

    /// Claims a partition at the destination, if that is not done. Returns why it could not be.
    fn claim(&mut self, number: u32) -> Result<Option<String>, SinkError> {
        let mut above = 0;
        for _ in 0..CLAIMS_MAX {
            let Some(partition) = self.partitions.get_mut(&number) else {
                return Ok(Some("the partition is not open".to_owned()));
            };
            if partition.claimed {
                return Ok(None);
            }
            let epoch = partition.next_epoch(above);
            self.commit(number, true)?;
            match self.destination.claim(number, epoch) {
                Ok(Claim::Taken) => {
                    if let Some(partition) = self.partitions.get_mut(&number) {
                        partition.claimed = true;
                    }
                    return Ok(None);
                }
                Ok(Claim::Behind(there)) => above = there,
                Err(error) => return Ok(Some(chain(&error))),
            }
        }
        Ok(Some("others claim the partition at the destination as well".to_owned()))
    }
}
