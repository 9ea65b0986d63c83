//! Segment definitions as data: they come on the control topic, which every shard reads whole.

use std::sync::Arc;

use millrace_model::{Rejection, Text};

use super::Step;
use crate::key::{self, Key, Parts, table};
use crate::lifecycle::{Accepted, Taken, outdated};
use crate::machine::Input;
use crate::message::{CauseKind, Origin};
use crate::program::{self, Program};
use crate::row::{DefinitionRow, VersionRow};
use crate::state::StateError;

impl Step<'_> {
    /// A definition came, changed or went. One that cannot be used is a dead letter, and the one before it stays.
    pub(super) fn define(&mut self, input: &Input) -> Result<(), StateError> {
        let key = input.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let name = Text::from(key.as_ref());
        let version = u64::try_from(input.offset).unwrap_or_default() + 1;
        let mut definitions = self.program.definitions.clone();
        let taken = match input.value.as_deref().map(std::str::from_utf8) {
            None => definitions.remove(&name),
            Some(Err(_)) => return self.refuse(input, "bad-utf8", "the definition is not UTF-8 text".to_owned()),
            Some(Ok(text)) => {
                let compiled = match program::compile(text, &self.config) {
                    Ok(compiled) => compiled,
                    Err(problems) => return self.refuse(input, "bad-definition", problems),
                };
                if compiled.definition().name != name {
                    let detail = format!("the record's key is `{name}`, the definition's name is `{}`; they must be equal", compiled.definition().name);
                    return self.refuse(input, "key-mismatch", detail);
                }
                definitions.put(Accepted { row: DefinitionRow { text: text.to_owned(), version, accepted_at: self.now }, compiled })
            }
        };
        if taken == Taken::Nothing {
            return Ok(());
        }
        let mut revision = self.program.revision_row();
        revision.revision += u64::from(taken == Taken::Changed);
        let program = match Program::build(definitions, revision, &self.config) {
            Ok(program) => program,
            Err(problems) => return self.refuse(input, "bad-definition", program::describe(&problems, "")),
        };
        self.program = Arc::new(program);
        self.write_definition(&name, version, input.value.as_deref())?;
        self.tx.put(Key::new(table::CONTROL).done(), &version);
        if taken == Taken::Changed {
            self.tx.put(Key::new(table::REVISION).done(), &self.program.revision_row());
            let topic = format!("{}control.segments", self.config.topic_prefix);
            self.start_backfill(Origin { cause: CauseKind::Definition, topic: topic.into(), key: name, ..Origin::timer() });
        }
        self.count_record("definitions", "control.segments", "accepted");
        Ok(())
    }

    /// Stores what a name has become: its definition in force, the draft beside it, and the version that came in; `None`: it is no more.
    fn write_definition(&mut self, name: &Text, version: u64, text: Option<&[u8]>) -> Result<(), StateError> {
        let program = Arc::clone(&self.program);
        for (of, accepted) in [(table::DEFINITION, program.definitions.get(name)), (table::DRAFT, program.definitions.draft(name))] {
            let row_key = key::named(of, name);
            match accepted {
                Some(accepted) => self.tx.put(row_key, &accepted.row),
                None => self.tx.delete_if_present(row_key)?,
            }
        }
        if let Some(text) = text {
            let row = VersionRow { text: String::from_utf8_lossy(text).into_owned(), accepted_at: self.now, revision: program.revision };
            self.tx.put(Key::new(table::VERSION).text(name).number(version).done(), &row);
        }
        let mut kept = Vec::new();
        for (version_key, _) in self.tx.scan_prefix(&key::named(table::VERSION, name))? {
            let mut parts = Parts::of(&version_key);
            let _ = parts.text();
            kept.extend(parts.number());
        }
        let in_force = program.definitions.get(name).map(|accepted| accepted.row.version);
        let gone = match in_force {
            Some(in_force) => outdated(&kept, in_force).into_iter().collect(),
            None => kept,
        };
        for version in gone {
            self.tx.delete(Key::new(table::VERSION).text(name).number(version).done());
        }
        Ok(())
    }

    /// Every shard reads the control topic; the first alone reports what is wrong with it.
    fn refuse(&mut self, input: &Input, reason: &'static str, detail: String) -> Result<(), StateError> {
        if self.number == 0 {
            self.dead_letter(input, &Rejection { reason: Text::const_new(reason), detail });
        }
        Ok(())
    }
}
