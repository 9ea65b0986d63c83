//! Segment definitions as data: they arrive on the control topic, which every shard reads whole.

use std::sync::Arc;

use millrace_model::{ShardId, Text};
use millrace_segment::{Compiled, Diagnostic};
use millrace_wire::Reason;

use super::Step;
use super::ingest::dead_letter;
use crate::key::{self, Parts, table};
use crate::lifecycle::{Accepted, Taken, outdated};
use crate::machine::{Input, InputTopic};
use crate::origin::{CauseKind, Origin};
use crate::program::{self, Program};
use crate::row::{DefinitionRow, VersionRow};
use crate::state::StateError;

/// The content of a control record for a name, until the step plans.
pub(super) struct Control {
    input: Input,
    name: Text,
    version: u64,
    /// `None`: the name is deleted.
    definition: Option<(String, Compiled)>,
}

impl Step<'_> {
    /// A definition was added, changed or deleted. An unusable one is a dead letter, and the
    /// previous one stays.
    pub(super) fn define(&mut self, input: &Input) -> Result<(), StateError> {
        let key = input.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let name = Text::from(key.as_ref());
        let definition = match input.value.as_deref().map(std::str::from_utf8) {
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
                Some((text.to_owned(), compiled))
            }
        };
        let version = u64::try_from(input.offset).unwrap_or_default() + 1;
        self.agenda.controls.push(Control {
            input: input.clone(),
            name,
            version,
            definition,
        });
        Ok(())
    }

    /// Plans for the definitions that arrived since the last time: once for all of them, because a
    /// plan costs as much as all rules together. If they conflict, it finds out one by one which
    /// do.
    pub(super) fn plan(&mut self) -> Result<(), StateError> {
        let controls = std::mem::take(&mut self.agenda.controls);
        if controls.is_empty() || self.adopt(&controls)?.is_ok() {
            return Ok(());
        }
        for control in &controls {
            if let Err(problems) = self.adopt(std::slice::from_ref(control))? {
                self.refuse(&control.input, Reason::BadDefinition, program::describe(&problems, ""))?;
            }
        }
        Ok(())
    }

    /// Puts definitions in force: all of them or, if they conflict with the others, none.
    fn adopt(&mut self, controls: &[Control]) -> Result<Result<(), Vec<Diagnostic>>, StateError> {
        let mut definitions = self.program.definitions.clone();
        let mut news: Vec<(&Control, Taken)> = Vec::with_capacity(controls.len());
        for control in controls {
            let taken = match &control.definition {
                None => definitions.remove(&control.name),
                Some((text, compiled)) => {
                    let row = DefinitionRow {
                        text: text.clone(),
                        version: control.version,
                        accepted_at: self.tx.now,
                    };
                    definitions.put(Accepted {
                        row,
                        compiled: compiled.clone(),
                    })
                }
            };
            if taken != Taken::Nothing {
                news.push((control, taken));
            }
        }
        let Some((last, _)) = news.last() else { return Ok(Ok(())) };
        let changed: Vec<&Text> = news
            .iter()
            .filter(|(_, taken)| *taken == Taken::Changed)
            .map(|(control, _)| &control.name)
            .collect();
        let mut revision = self.program.revision_row();
        if !changed.is_empty() {
            revision.revision = revision.revision.next();
        }
        match Program::build(definitions, revision, &self.deployment) {
            Ok(program) => self.put_in_force(program),
            Err(problems) => return Ok(Err(problems)),
        }
        self.tx.put(key::single(table::CONTROL), &last.version);
        for (control, _) in &news {
            self.write_definition(control)?;
            self.out.count_record("definitions", "control.segments", "accepted");
        }
        if !changed.is_empty() {
            self.tx.put(key::single(table::REVISION), &self.program.revision_row());
            let topic = self.deployment.topic(InputTopic::Control);
            // Of several, each change of membership names its own segment.
            let key = if let [name] = changed[..] { name.clone() } else { Text::default() };
            self.start_backfill(Origin {
                cause: CauseKind::Definition,
                topic,
                key,
                ..Origin::timer()
            });
        }
        Ok(Ok(()))
    }

    /// Stores the new state of a name: its definition in force, its draft, and the version that
    /// arrived; `None`: it is deleted.
    fn write_definition(&mut self, control: &Control) -> Result<(), StateError> {
        let program = Arc::clone(&self.program);
        let (name, version) = (&control.name, control.version);
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
        if let Some((text, _)) = &control.definition {
            let row = VersionRow {
                text: text.clone(),
                accepted_at: self.tx.now,
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
            Some(in_force) if control.definition.is_some() => outdated(&kept, in_force).into_iter().collect(),
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
