//! The far side of an audience: whether it is still the one that was acknowledged, and the work at
//! it that no change causes.

use millrace_model::chain;

use super::{SinkError, SinkTask, reconcile};
use crate::sink::ledger::LedgerRow;
use crate::sink::partition::audience_of;

impl SinkTask {
    /// Lets the destination do its upkeep where that is due.
    pub(super) fn upkeep(&mut self) -> Result<(), (u32, SinkError)> {
        let now = self.now();
        if self.upkeep_at.is_none_or(|at| now < at) || self.partitions.is_empty() {
            return Ok(());
        }
        let mut audiences = self.audiences(None);
        audiences.retain(|audience| self.partitions.values().any(|partition| partition.delivered(audience) > 0));
        let upkeep = self.destination.upkeep(&audiences);
        self.upkeep_at = upkeep.again.map(|after| now.plus_ms(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)));
        for audience in &audiences {
            self.follow_place(audience)?;
        }
        for audience in &upkeep.touch {
            self.touch(audience)?;
        }
        Ok(())
    }

    /// Where the far side of an audience is no longer the one that the ledger knows, members that are
    /// missing there are sent again.
    ///
    /// The new place is written last: a process that dies before finds the old one, and repeats this.
    pub(super) fn follow_place(&mut self, audience: &str) -> Result<(), (u32, SinkError)> {
        let Some(place) = self.destination.place(audience) else { return Ok(()) };
        let mut known = Vec::new();
        for (number, partition) in &self.partitions {
            known.push((*number, partition.place(audience).map_err(|error| (*number, error.into()))?));
        }
        let moved = known.iter().any(|(_, known)| known.as_ref().is_some_and(|known| *known != place));
        if moved && !self.sent_anew(audience, &place)? {
            return Ok(());
        }
        for (number, known) in known {
            if known.as_ref() != Some(&place)
                && let Some(partition) = self.partitions.get_mut(&number)
            {
                partition.set_place(audience, &place);
            }
        }
        Ok(())
    }

    /// Sends what is missing at the new place of an audience; false: whether anything is missing is
    /// not known now.
    fn sent_anew(&mut self, audience: &str, place: &str) -> Result<bool, (u32, SinkError)> {
        tracing::warn!(
            destination = self.context.name,
            audience,
            place,
            "the destination holds the audience at a new place; what is missing there is sent again"
        );
        if !self.destination.readable() {
            let forgotten = |row: LedgerRow| LedgerRow { acknowledged: None, ..row };
            self.read_anew(|key, row| audience_of(key) == audience && row.acknowledged.is_some(), forgotten)?;
            return Ok(true);
        }
        let audiences = [audience.to_owned()];
        match self.destination.actual(&audiences) {
            Ok(actual) => reconcile::run(self, &audiences, &actual).map(|()| true),
            Err(error) => {
                tracing::warn!(destination = self.context.name, audience, error = chain(&error), "cannot compare");
                Ok(false)
            }
        }
    }

    /// Sends one member of an audience again.
    fn touch(&mut self, audience: &str) -> Result<(), (u32, SinkError)> {
        let mut one = None;
        for (number, partition) in &self.partitions {
            let scanned = partition.each_row(|key, row| {
                if one.is_none() && row.delivered() && audience_of(key) == audience {
                    one = Some(key.to_owned());
                }
            });
            scanned.map_err(|error| (*number, error.into()))?;
        }
        let Some(one) = one else { return Ok(()) };
        self.read_anew(|key, _| key == one, |row| LedgerRow { acknowledged: None, ..row }).map(|_| ())
    }
}
