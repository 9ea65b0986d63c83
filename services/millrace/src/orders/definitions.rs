//! The definitions of the control topic, against which a command is checked before it is executed.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use millrace_api::backend::BackendError;
use millrace_log::Reader;
use millrace_model::{Schema, Timestamp};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_segment::{Compiled, Settings, Status, warnings};
use millrace_shard::lifecycle::{Accepted, Arrival, Definitions, Intake};
use millrace_shard::row::DefinitionRow;
use millrace_wire::Batch;

use super::{caught_up, poll};
use crate::rules::{Checked, check_one, rendered};

/// Reads on from one command to the next.
pub struct ControlTopic {
    reader: Box<dyn Reader>,
    definitions: Definitions,
    intake: Intake,
}

impl ControlTopic {
    /// `reader` is at the topic's beginning.
    pub fn new(reader: Box<dyn Reader>, settings: &Settings) -> ControlTopic {
        ControlTopic {
            reader,
            definitions: Definitions::new(settings),
            intake: Intake::default(),
        }
    }

    /// The definitions as they are now, without those that the shards refuse.
    pub fn read(&mut self, schema: &Schema) -> Result<&Definitions, BackendError> {
        while !caught_up(&mut *self.reader)? {
            for delivered in poll(&mut *self.reader)? {
                let name = String::from_utf8_lossy(delivered.record.key.as_deref().unwrap_or_default()).into_owned();
                let version = u64::try_from(delivered.offset).unwrap_or_default() + 1;
                let accepted = match delivered.record.value {
                    None => None,
                    Some(value) => {
                        let Some(compiled) = readable(&name, &value, schema) else { continue };
                        let text = String::from_utf8_lossy(&value).into_owned();
                        let accepted_at = delivered.timestamp;
                        let row = DefinitionRow { text, version, accepted_at };
                        Some(Arc::new(Accepted { row, compiled }))
                    }
                };
                let arrival = Arrival {
                    name: name.into(),
                    version,
                    arrived_at: delivered.timestamp,
                    accepted,
                    prepared: None,
                    batch: Batch::of(&delivered.record.headers),
                };
                self.intake.take(&mut self.definitions, arrival, schema);
            }
        }
        // All that was appended is read: what waits still, and is not new, is all that compaction left.
        self.intake.take_overdue(&mut self.definitions, SystemClock.now(), schema);
        Ok(&self.definitions)
    }
}

fn readable(name: &str, value: &Bytes, schema: &Schema) -> Option<Compiled> {
    let compiled = check_one(std::str::from_utf8(value).ok()?, schema).ok()?;
    (compiled.definition().name == name).then_some(compiled)
}

/// Whether the shards take definitions that come as one batch; returns their warnings.
///
/// # Errors
/// `InUse` where one removes a published definition that others depend on; `InvalidDefinition` for
/// a circle, a definition about another kind of subject, or one that others cannot use as it is.
pub fn check_put(definitions: &Definitions, checked: &[Checked], schema: &Schema) -> Result<Vec<String>, BackendError> {
    let arrival = |new: &Checked| {
        let row = DefinitionRow {
            text: new.text.clone(),
            version: u64::MAX,
            accepted_at: Timestamp::MAX,
        };
        let compiled = new.compiled.clone();
        Arrival {
            name: new.name.as_str().into(),
            version: u64::MAX,
            arrived_at: Timestamp::MAX,
            accepted: Some(Arc::new(Accepted { row, compiled })),
            prepared: None,
            batch: None,
        }
    };
    let mut after = definitions.clone();
    let put = after.put(&checked.iter().map(arrival).collect::<Vec<_>>(), schema);
    put.map_err(|problems| BackendError::InvalidDefinition(rendered(checked, &problems)))?;
    for new in checked.iter().filter(|new| new.compiled.definition().status == Status::Inactive) {
        if is_published(definitions, &new.name) {
            check_unused(&after, &new.name, "made inactive")?;
        }
    }
    let names: BTreeSet<&str> = checked.iter().map(|new| new.name.as_str()).collect();
    let warnings = warnings(after.rules(), &|name| names.contains(name.as_str()), SystemClock.now());
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
    definitions.get(name).is_some_and(Accepted::is_published)
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
