//! The definitions of the control topic, against which a command is checked before it is executed.

use std::collections::BTreeSet;

use bytes::Bytes;
use millrace_api::backend::BackendError;
use millrace_log::Reader;
use millrace_model::{Schema, Text, Timestamp};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_segment::{Compiled, Diagnostic, Plan, Settings, Severity, Status, link, lint_some};
use millrace_shard::lifecycle::{Accepted, Definitions};
use millrace_shard::row::DefinitionRow;

use super::{caught_up, poll};
use crate::rules::{Checked, check_one, rendered};

/// Reads on from one command to the next.
pub struct ControlTopic {
    reader: Box<dyn Reader>,
    definitions: Definitions,
}

impl ControlTopic {
    /// `reader` is at the topic's beginning.
    pub fn new(reader: Box<dyn Reader>) -> ControlTopic {
        ControlTopic {
            reader,
            definitions: Definitions::default(),
        }
    }

    /// The definitions as they are now, without those that the shards refuse.
    pub fn read(&mut self, schema: &Schema) -> Result<&Definitions, BackendError> {
        while !caught_up(&mut *self.reader)? {
            for delivered in poll(&mut *self.reader)? {
                let name = String::from_utf8_lossy(delivered.record.key.as_deref().unwrap_or_default()).into_owned();
                match delivered.record.value {
                    None => drop(self.definitions.remove(&name)),
                    Some(value) => {
                        if let Some(compiled) = readable(&name, &value, schema) {
                            let text = String::from_utf8_lossy(&value).into_owned();
                            let version = u64::try_from(delivered.offset).unwrap_or_default() + 1;
                            let accepted_at = delivered.timestamp;
                            let row = DefinitionRow { text, version, accepted_at };
                            self.definitions.put(Accepted { row, compiled });
                        }
                    }
                }
            }
        }
        Ok(&self.definitions)
    }
}

fn readable(name: &str, value: &Bytes, schema: &Schema) -> Option<Compiled> {
    let compiled = check_one(std::str::from_utf8(value).ok()?, schema).ok()?;
    (compiled.definition().name == name).then_some(compiled)
}

/// Whether definitions are valid together and with the others; returns their warnings. One plan for
/// all of them: a plan costs as much as all rules together.
///
/// # Errors
/// `InUse` where one removes a published definition that others depend on; `InvalidDefinition` for
/// a circle, a definition about another kind of subject, or one that others cannot use as it is.
pub fn check_put(definitions: &Definitions, checked: &[Checked], schema: &Schema, settings: &Settings) -> Result<Vec<String>, BackendError> {
    let mut after = definitions.clone();
    for new in checked {
        let row = DefinitionRow {
            text: new.text.clone(),
            version: u64::MAX,
            accepted_at: Timestamp::MAX,
        };
        let compiled = new.compiled.clone();
        after.put(Accepted { row, compiled });
    }
    for new in checked.iter().filter(|new| new.compiled.definition().status == Status::Inactive) {
        if is_published(definitions, &new.name) {
            check_unused(&after, &new.name, "made inactive")?;
        }
    }
    let published: Vec<Compiled> = after.published().map(|accepted| accepted.compiled.clone()).collect();
    let names: BTreeSet<&str> = checked.iter().map(|new| new.name.as_str()).collect();
    let found = match link(&published, schema) {
        Ok(linked) => lint_some(&linked, &|name| names.contains(name.as_str()), settings, SystemClock.now()),
        Err(problems) => problems.into_iter().map(|problem| (Text::default(), problem)).collect(),
    };
    let (errors, warnings): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, finding)| finding.severity == Severity::Error);
    // If the others are invalid together as they are, these are not to blame.
    if !errors.is_empty() && plan(definitions, schema, settings).is_ok() {
        return Err(BackendError::InvalidDefinition(rendered(checked, &errors)));
    }
    Ok(rendered(checked, &warnings))
}

/// Whether a definition may be deleted.
///
/// # Errors
/// `NotFound` where there is none; `InUse` where published segments depend on it.
pub fn check_delete(definitions: &Definitions, name: &str) -> Result<(), BackendError> {
    if definitions.get(name).is_none() {
        return Err(BackendError::NotFound(format!("there is no segment `{name}`")));
    }
    if is_published(definitions, name) {
        check_unused(definitions, name, "deleted")?;
    }
    Ok(())
}

fn is_published(definitions: &Definitions, name: &str) -> bool {
    definitions.get(name).is_some_and(|accepted| accepted.status() == Status::Published)
}

fn check_unused(definitions: &Definitions, name: &str, what: &str) -> Result<(), BackendError> {
    let dependents = definitions.dependents(name);
    if dependents.is_empty() {
        return Ok(());
    }
    let names = dependents.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let (rest, them) = if dependents.len() == 1 { ("rests", "that one") } else { ("rest", "those") };
    Err(BackendError::InUse(format!(
        "`{name}` cannot be {what}: {names} {rest} on it; change, deactivate or delete {them} first"
    )))
}

fn plan(definitions: &Definitions, schema: &Schema, settings: &Settings) -> Result<Plan, Vec<Diagnostic>> {
    let published: Vec<Compiled> = definitions.published().map(|accepted| accepted.compiled.clone()).collect();
    Plan::build(&link(&published, schema)?, settings)
}
