//! Segment definitions as data: they arrive on the control topic, which every shard reads whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use millrace_model::{ShardId, Text};
use millrace_segment::Diagnostic;
use millrace_wire::{Batch, Reason};

use super::Step;
use super::ingest::dead_letter;
use crate::key::{self, Parts, table};
use crate::lifecycle::{Accepted, Arrival, Taken, outdated};
use crate::machine::{Input, InputTopic};
use crate::origin::{CauseKind, Origin};
use crate::program::{self, Program};
use crate::row::{DefinitionRow, VersionRow, WaitingRow};
use crate::state::StateError;

impl Step<'_> {
    /// A definition was added, changed or deleted. An unusable one is a dead letter, and the
    /// previous one stays.
    pub(super) fn define(&mut self, input: &Input) -> Result<(), StateError> {
        let key = input.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let name = Text::from(key.as_ref());
        let version = u64::try_from(input.offset).unwrap_or_default() + 1;
        let accepted = match input.value.as_deref().map(std::str::from_utf8) {
            None => None,
            Some(Err(_)) => return self.refuse(input, Reason::BadUtf8, "the definition is not UTF-8 text".to_owned()),
            Some(Ok(text)) => {
                let compiled = match program::compile(text, &self.deployment) {
                    Ok(compiled) => compiled,
                    Err(problems) => return self.refuse(input, Reason::BadDefinition, problems),
                };
                if compiled.definition().name != name {
                    let detail = format!(
                        "the record's key is `{name}`, the definition's name is `{}`; they must be equal",
                        compiled.definition().name
                    );
                    return self.refuse(input, Reason::KeyMismatch, detail);
                }
                let row = DefinitionRow {
                    text: text.to_owned(),
                    version,
                    accepted_at: self.tx.now,
                };
                Some(Arc::new(Accepted { row, compiled }))
            }
        };
        self.agenda.definitions.push(Arrival {
            name,
            version,
            arrived_at: self.tx.now,
            accepted,
            prepared: None,
            batch: Batch::of(&input.headers),
        });
        Ok(())
    }

    /// Puts the definitions that arrived since the last time in force, and those that have waited
    /// long enough, and plans once for all of them.
    pub(super) fn plan(&mut self) -> Result<(), StateError> {
        let arrivals = std::mem::take(&mut self.agenda.definitions);
        if arrivals.is_empty() && self.intake.deadline().is_none_or(|deadline| deadline > self.tx.now) {
            return Ok(());
        }
        let mut definitions = self.program.definitions.clone();
        let waited = self.intake.versions();
        let mut news: Vec<Arrival> = Vec::new();
        let mut changed: BTreeSet<Text> = BTreeSet::new();
        let schema = &self.deployment.schema;
        let mut verdicts = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            verdicts.extend(self.intake.take(&mut definitions, arrival, schema));
        }
        verdicts.extend(self.intake.take_overdue(&mut definitions, self.tx.now, schema));
        for (arrival, outcome) in verdicts {
            match outcome {
                Ok(Taken::Nothing) => continue,
                Ok(Taken::Noted) => {}
                Ok(Taken::Changed) => drop(changed.insert(arrival.name.clone())),
                Err(problems) => {
                    let problems: Vec<Diagnostic> = problems.into_iter().map(|(_, problem)| problem).collect();
                    self.refuse(&record(&arrival), Reason::BadDefinition, program::describe(&problems, ""))?;
                    continue;
                }
            }
            news.push(arrival);
        }
        self.write_waiting(&waited)?;
        let Some(last) = news.iter().map(|arrival| arrival.version).max() else {
            return Ok(());
        };
        let mut revision = self.program.revision_row();
        if !changed.is_empty() {
            revision.revision = revision.revision.next();
        }
        self.put_in_force(Program::new(definitions, revision));
        self.tx.put(key::single(table::CONTROL), &last);
        for arrival in &news {
            self.write_definition(arrival)?;
            self.out.count_record("definitions", "control.segments", "accepted");
        }
        if !changed.is_empty() {
            self.tx.put(key::single(table::REVISION), &self.program.revision_row());
            self.start_backfill(Origin {
                cause: CauseKind::Definition,
                topic: self.deployment.topic(InputTopic::Control),
                // Of several, each change of membership names its own segment.
                key: if changed.len() == 1 {
                    changed.pop_first().unwrap_or_default()
                } else {
                    Text::default()
                },
                ..Origin::timer()
            });
        }
        Ok(())
    }

    /// Stores those that wait and did not before, and deletes those that do no longer.
    fn write_waiting(&mut self, before: &BTreeMap<Text, u64>) -> Result<(), StateError> {
        let after = self.intake.versions();
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            self.tx.delete_if_present(key::named(table::WAITING, name))?;
        }
        for arrival in self.intake.iter().filter(|arrival| before.get(&arrival.name) != Some(&arrival.version)) {
            let accepted = arrival.accepted.as_ref();
            let row = WaitingRow {
                text: accepted.map(|accepted| accepted.row.text.clone()),
                version: arrival.version,
                arrived_at: arrival.arrived_at,
                batch: arrival.batch.as_ref().map(|batch| batch.id.clone()).unwrap_or_default(),
            };
            self.tx.put(key::named(table::WAITING, &arrival.name), &row);
        }
        Ok(())
    }

    /// Stores the new state of a name: its definition in force, its draft, and the version that
    /// arrived; `None`: it is deleted.
    fn write_definition(&mut self, arrival: &Arrival) -> Result<(), StateError> {
        let program = Arc::clone(&self.program);
        let (name, version) = (&arrival.name, arrival.version);
        let last: Option<DefinitionRow> = self.tx.get(&key::named(table::DEFINITION, name))?;
        match (program.definitions.get(name), last) {
            (Some(_), _) => self.tx.delete_if_present(key::named(table::RETIRED, name))?,
            (None, Some(last)) => self.tx.put(key::named(table::RETIRED, name), &last.version),
            (None, None) => {}
        }
        for (of, accepted) in [
            (table::DEFINITION, program.definitions.get(name)),
            (table::DRAFT, program.definitions.draft(name)),
        ] {
            let row_key = key::named(of, name);
            match accepted {
                Some(accepted) => self.tx.put(row_key, &accepted.row),
                None => self.tx.delete_if_present(row_key)?,
            }
        }
        if let Some(accepted) = &arrival.accepted {
            let row = VersionRow {
                text: accepted.row.text.clone(),
                accepted_at: accepted.row.accepted_at,
                revision: program.revision,
            };
            self.tx.put(key::version(name, version), &row);
        }
        let mut kept = Vec::new();
        for (version_key, _) in self.tx.scan_prefix(&key::named(table::VERSION, name))? {
            let mut parts = Parts::of(&version_key);
            let _ = parts.text();
            kept.extend(parts.number());
        }
        let in_force = program.definitions.get(name).map(|accepted| accepted.row.version);
        let gone = match in_force {
            // A name that comes back after its deletion starts over.
            Some(in_force) if arrival.accepted.is_some() => outdated(&kept, in_force).into_iter().collect(),
            _ => kept,
        };
        for version in gone {
            self.tx.delete(key::version(name, version));
        }
        Ok(())
    }

    /// Every shard reads the control topic; only the first reports its errors.
    fn refuse(&mut self, input: &Input, reason: Reason, detail: String) -> Result<(), StateError> {
        if self.id == ShardId::FIRST {
            dead_letter(&self.deployment, &mut self.out, input, &reason.because(detail));
        }
        Ok(())
    }
}

/// The record that an arrival was.
fn record(arrival: &Arrival) -> Input {
    let accepted = arrival.accepted.as_ref();
    Input {
        topic: InputTopic::Control,
        partition: 0,
        offset: i64::try_from(arrival.version).unwrap_or(i64::MAX) - 1,
        timestamp: arrival.arrived_at,
        key: Some(Bytes::copy_from_slice(arrival.name.as_bytes())),
        value: accepted.map(|accepted| Bytes::copy_from_slice(accepted.row.text.as_bytes())),
        headers: Vec::new(),
    }
}
