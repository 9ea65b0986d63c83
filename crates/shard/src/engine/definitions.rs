//! Segment definitions as data: they come on the control topic, which every shard reads whole.

use std::sync::Arc;

use millrace_model::{Rejection, Text};
use millrace_segment::Diagnostic;

use super::Step;
use crate::key::{Key, table};
use crate::machine::Input;
use crate::message::{CauseKind, Origin};
use crate::program::{self, Accepted, Program};
use crate::row::DefinitionRow;
use crate::state::StateError;

impl Step<'_> {
    /// A definition came, changed or went. One that cannot be used is a dead letter, and the one before it stays.
    pub(super) fn define(&mut self, input: &Input) -> Result<(), StateError> {
        let key = input.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let name = Text::from(key.as_ref());
        let mut definitions = self.program.definitions.clone();
        let row_key = Key::new(table::DEFINITION).text(&name).done();
        let row = match input.value.as_deref().map(std::str::from_utf8) {
            None => None,
            Some(Err(_)) => return self.refuse(input, "bad-utf8", "the definition is not UTF-8 text".to_owned()),
            Some(Ok(text)) => {
                let compiled = match program::compile(text, &self.config) {
                    Ok(compiled) => compiled,
                    Err(problems) => return self.refuse(input, "bad-definition", describe(&problems, text)),
                };
                if compiled.definition().name != name {
                    let detail = format!("the record's key is `{name}`, the definition's name is `{}`; they must be equal", compiled.definition().name);
                    return self.refuse(input, "key-mismatch", detail);
                }
                let version = u64::try_from(input.offset).unwrap_or_default() + 1;
                Some((DefinitionRow { text: text.to_owned(), version, accepted_at: self.now }, compiled))
            }
        };
        let unchanged = match (&row, definitions.get(&name)) {
            (None, None) => true,
            (Some((row, _)), Some(known)) => row.text == known.row.text,
            _ => false,
        };
        if unchanged {
            return Ok(());
        }
        match &row {
            Some((row, compiled)) => definitions.insert(name.clone(), Accepted { row: row.clone(), compiled: compiled.clone() }),
            None => definitions.remove(&name),
        };
        let mut revision = self.program.revision_row();
        revision.revision += 1;
        let program = match Program::build(definitions, revision, &self.config) {
            Ok(program) => program,
            Err(problems) => return self.refuse(input, "bad-definition", describe(&problems, "")),
        };
        match &row {
            Some((row, _)) => self.tx.put(row_key, row),
            None => self.tx.delete(row_key),
        }
        self.program = Arc::new(program);
        self.tx.put(Key::new(table::REVISION).done(), &self.program.revision_row());
        let topic = format!("{}control.segments", self.config.topic_prefix);
        self.start_backfill(Origin { cause: CauseKind::Definition, topic: topic.into(), key: name, ..Origin::timer() });
        self.count_record("definitions", "control.segments", "accepted");
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

fn describe(problems: &[Diagnostic], text: &str) -> String {
    problems.iter().map(|problem| problem.render(text)).collect::<Vec<_>>().join("\n")
}
