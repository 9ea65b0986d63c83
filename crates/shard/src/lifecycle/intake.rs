//! The control topic as it is read, record by record, with batches that wait for their end.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_model::{Schema, Text, Timestamp};
use millrace_segment::plan::{Prepared, Problems};
use millrace_wire::Batch;

use super::{Accepted, Definitions, Taken};

/// A record of the control topic: what will become of a name.
#[derive(Clone)]
pub struct Arrival {
    /// The name.
    pub name: Text,
    /// The number of the version: the place of the record in the topic, from 1.
    pub version: u64,
    /// When it was taken in.
    pub arrived_at: Timestamp,
    /// `None`: the name is deleted.
    pub accepted: Option<Arc<Accepted>>,
    /// The rule, if it is taken apart already.
    pub prepared: Option<Prepared>,
    /// The batch that the record came in, if there was one.
    pub batch: Option<Batch>,
}

impl Arrival {
    /// The rule to put in force, if there is one.
    pub(super) fn rule(&self) -> Option<Prepared> {
        let published = self.accepted.as_ref().filter(|accepted| accepted.is_published())?;
        Some(self.prepared.clone().unwrap_or_else(|| published.compiled.clone().into()))
    }
}

/// Whether an arrival is in force, and what it changed; or why it is refused.
pub type Verdict = (Arrival, Result<Taken, Problems>);

/// The control topic as it is read: the records of a batch wait for its last one, and are put in
/// force together, so that nothing is ever evaluated under a part of it.
#[derive(Default)]
pub struct Intake {
    waiting: Vec<Arrival>,
}

/// How long the records of a batch wait for its last one, after the latest that came. A batch is in
/// the topic as a whole, so one that is not complete by then never will be: its last record was
/// superseded and compaction removed it. What is left is taken as it is.
pub const BATCH_WAIT_MS: i64 = 60_000;

impl Intake {
    /// With records that wait.
    pub fn waiting(waiting: Vec<Arrival>) -> Intake {
        Intake { waiting }
    }

    /// Takes a record, and puts in force what is complete with it: all of a batch or, where it
    /// conflicts with the others, nothing. The outcome depends on the records alone, however they
    /// fall into steps.
    pub fn take(&mut self, definitions: &mut Definitions, mut arrival: Arrival, schema: &Schema) -> Vec<Verdict> {
        self.waiting.retain(|other| other.name != arrival.name);
        let mut together = Vec::new();
        if let Some(batch) = &arrival.batch {
            if !batch.last {
                let published = arrival.accepted.as_ref().filter(|accepted| accepted.is_published());
                arrival.prepared = published.map(|accepted| definitions.rules().prepare(accepted.compiled.clone()));
                self.waiting.push(arrival);
                return Vec::new();
            }
            let is_of_batch = |other: &mut Arrival| other.batch.as_ref().is_some_and(|other| other.id == batch.id);
            together.extend(self.waiting.extract_if(.., is_of_batch));
        }
        together.push(arrival);
        put(definitions, together, schema)
    }

    /// When those that wait will be taken as they are.
    pub fn deadline(&self) -> Option<Timestamp> {
        let latest = self.waiting.iter().map(|arrival| arrival.arrived_at).max()?;
        Some(latest.plus_ms(BATCH_WAIT_MS))
    }

    /// Takes those that wait as they are, batch by batch, if their time is over.
    pub fn take_overdue(&mut self, definitions: &mut Definitions, now: Timestamp, schema: &Schema) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return verdicts;
        }
        while let Some(batch) = self.waiting.first().map(|arrival| arrival.batch.clone()) {
            let together = self.waiting.extract_if(.., |arrival: &mut Arrival| arrival.batch == batch).collect();
            verdicts.extend(put(definitions, together, schema));
        }
        verdicts
    }

    /// Those that wait, by name: the version of each.
    pub fn versions(&self) -> BTreeMap<Text, u64> {
        self.waiting.iter().map(|arrival| (arrival.name.clone(), arrival.version)).collect()
    }

    /// Those that wait.
    pub fn iter(&self) -> impl Iterator<Item = &Arrival> {
        self.waiting.iter()
    }
}

/// Puts arrivals in force: all of them or, where they conflict with the others, none.
fn put(definitions: &mut Definitions, together: Vec<Arrival>, schema: &Schema) -> Vec<Verdict> {
    match definitions.put(&together, schema) {
        Ok(taken) => together.into_iter().zip(taken.into_iter().map(Ok)).collect(),
        Err(problems) => together.into_iter().map(|arrival| (arrival, Err(problems.clone()))).collect(),
    }
}
