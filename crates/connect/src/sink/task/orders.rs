//! Commands to a running sink: confirm, retry, reconcile.

use std::sync::Arc;

use millrace_model::chain;

use super::{SinkError, SinkTask, reconcile};
use crate::sink::ledger::{LedgerRow, Window};
use crate::sink::order::{Order, OrderKind};
use crate::sink::partition::audience_of;

impl SinkTask {
    /// Executes a command.
    ///
    /// # Errors
    /// As `step`.
    pub fn order(&mut self, order: &Order) -> Result<(), (u32, SinkError)> {
        match order.order {
            OrderKind::Confirm => {
                let audiences = self.audiences(order.audience.as_deref());
                for partition in self.partitions.values_mut() {
                    for audience in &audiences {
                        let window = partition.window(audience);
                        partition.set_window(audience, Window { confirmed: true, ..window });
                    }
                }
                Ok(())
            }
            OrderKind::Retry => self.retry(order.audience.as_deref()),
            OrderKind::Reconcile => self.reconcile(order.audience.as_deref()),
        }
    }

    pub(super) fn audiences(&self, only: Option<&str>) -> Vec<String> {
        let mut names: Vec<String> = self
            .partitions
            .values()
            .flat_map(|partition| partition.members.keys().cloned())
            .chain(self.pending.all().map(|waiting| waiting.change.audience.clone()))
            .filter(|name| only.is_none_or(|only| only == name))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Forgets refusals, and reads the partitions concerned again from the start: only the log
    /// holds desired states.
    fn retry(&mut self, audience: Option<&str>) -> Result<(), (u32, SinkError)> {
        self.read_anew(
            |key, row| row.refused.is_some() && audience.is_none_or(|audience| audience_of(key) == audience),
            |row| LedgerRow {
                refused: None,
                error: None,
                ..row
            },
        )
        .map(|_| ())
    }

    /// Changes the rows that `concerned` picks by `changed`, commits with the position at the
    /// start, and reopens the partitions. Returns the number of rows.
    pub(super) fn read_anew(
        &mut self,
        concerned: impl Fn(&str, &LedgerRow) -> bool,
        changed: impl Fn(LedgerRow) -> LedgerRow,
    ) -> Result<u64, (u32, SinkError)> {
        let mut count = 0;
        for number in self.partitions() {
            let now = self.now();
            let context = Arc::clone(&self.context);
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            let mut rows = Vec::new();
            let scanned = partition.each_row(|key, row| {
                if concerned(key, &row) {
                    rows.push((key.to_owned(), changed(row)));
                }
            });
            scanned.map_err(|error| (number, error.into()))?;
            if rows.is_empty() {
                continue;
            }
            count += rows.len() as u64;
            for (key, row) in &rows {
                let kept = row.acknowledged.is_some().then_some(row);
                partition.put_row(key, kept).map_err(|error| (number, error.into()))?;
            }
            partition.commit(&context, millrace_log::EARLIEST, now).map_err(|error| (number, error))?;
            self.open(number).map_err(|error| (number, error))?;
        }
        Ok(count)
    }

    /// Compares the destination with what it acknowledged. Members that somebody else removed are
    /// sent again; members that nobody desires are removed; the brake counts both like any other
    /// change.
    pub(super) fn reconcile(&mut self, audience: Option<&str>) -> Result<(), (u32, SinkError)> {
        if !self.destination.readable() {
            return Ok(());
        }
        let audiences = self.audiences(audience);
        let actual = match self.destination.actual(&audiences) {
            Ok(actual) => actual,
            Err(error) => {
                tracing::warn!(destination = self.context.name, error = chain(&error), "cannot compare");
                return Ok(());
            }
        };
        reconcile::run(self, &audiences, &actual)
    }
}
