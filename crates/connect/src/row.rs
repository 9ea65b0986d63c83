//! From rows of a foreign system to contract records: a row is any record of named values, and a
//! rule says which kind of record it becomes, under which key, with which fields. Pure.
//!
//! Connectors that read rows of systems they do not know share this: `settings` is what an operator
//! writes, the same for each of them.

mod settings;

use std::collections::BTreeSet;

use millrace_model::{Rejection, SourceKind, Timestamp};
use millrace_wire::Reason;
use serde_json::{Map, Value, json};

pub use self::settings::{RawRecord, key_suffix, rule};
use crate::mapping::{Fields, Mapping, MappingError};
use crate::source::Emitted;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The row is new.
    Created,
    /// The row is there: a snapshot, a change, or a plain row.
    Present,
    /// The row is gone.
    Deleted,
}

/// A change of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub operation: Operation,
    /// The row as it is, for a deletion as it was as far as that is known.
    pub row: Fields,
    /// The row as it was; empty where that is not known.
    pub before: Fields,
    /// Columns that have a value which the change does not carry.
    pub withheld: BTreeSet<String>,
    /// How the foreign system is made to deliver every column, for messages: `set REPLICA IDENTITY
    /// FULL`.
    pub remedy: &'static str,
}

/// The target under which a rule's key, or its condition, is computed.
const ONE: &str = "value";

/// What a row becomes: one kind of record.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The kind of record.
    pub kind: SourceKind,
    /// The record's key, under [`ONE`]; for an activity its `_id`.
    key: Mapping,
    /// Under [`ONE`]: present where the row has such a record. `None`: every row has.
    when: Option<Mapping>,
    fields: Mapping,
    /// Whether a deleted row withdraws the record.
    pub deletes: bool,
}

/// The records that a change makes, in order; a rejection for each rule that it does not fit.
/// `key` are the columns of the Kafka key.
pub fn apply(rules: &[Rule], change: &Change, key: &Fields, version: Timestamp) -> Vec<Result<Emitted, Rejection>> {
    let mut made = Vec::new();
    for rule in rules {
        let before = made.len();
        if let Err(rejection) = rule.change(change, key, version, &mut made) {
            made.truncate(before);
            made.push(Err(Rejection {
                reason: rejection.reason,
                detail: format!("{}: {}", rule.kind.name(), rejection.detail),
            }));
        }
    }
    made
}

/// The records that a tombstone makes which stands alone: whatever these keys hold is removed.
/// `remedy` as in [`Change`].
pub fn bury(rules: &[Rule], key: &Fields, remedy: &str) -> Vec<Result<Emitted, Rejection>> {
    let buried = rules.iter().filter(|rule| rule.deletes).map(|rule| {
        let named = rule
            .delivered(key, key)
            .map_err(|missing| undelivered(&missing, remedy))
            .and_then(|()| rule.key(key));
        let record = match (rule.kind, named) {
            (SourceKind::Activity, _) => Err(Reason::TombstoneOnActivity.because("a tombstone names no person; keep the deletions before tombstones")),
            (kind, Ok(key)) => Ok(Emitted::Record { kind, key, value: None }),
            (_, Err(rejection)) => Err(rejection),
        };
        record.map_err(|rejection| Rejection {
            reason: rejection.reason,
            detail: format!("{}: {}", rule.kind.name(), rejection.detail),
        })
    });
    buried.collect()
}

type Made = Vec<Result<Emitted, Rejection>>;

impl Rule {
    /// The key of the record that a row has; `None` where the row has none. A row whose fields cannot
    /// be mapped has its key all the same.
    ///
    /// # Errors
    /// Where it cannot be said which record the row has, if any: it may be any of them.
    pub fn listed(&self, row: &Fields) -> Result<Option<String>, Rejection> {
        if let Some(when) = &self.when
            && !one(when, row)?.is_some_and(|holds| holds == true)
        {
            return Ok(None);
        }
        self.key(row).map(Some)
    }

    fn change(&self, change: &Change, key: &Fields, version: Timestamp, made: &mut Made) -> Result<(), Rejection> {
        if change.operation == Operation::Deleted {
            if self.deletes {
                self.delivered(&change.row, key).map_err(|missing| undelivered(&missing, change.remedy))?;
                made.push(Ok(self.withdrawn(&change.row, version)?));
            }
            return Ok(());
        }
        self.readable(&self.key, change)?;
        let own = self.key(&change.row)?;
        if self.deletes && self.delivered(&change.before, key).is_ok() && self.key(&change.before).is_ok_and(|former| former != own) {
            made.push(Ok(self.withdrawn(&change.before, version)?));
        }
        if let Some(when) = &self.when {
            self.readable(when, change)?;
            if !one(when, &change.row)?.is_some_and(|holds| holds == true) {
                // A new row never had the record.
                if change.operation != Operation::Created && self.deletes {
                    made.push(Ok(self.withdrawn(&change.row, version)?));
                }
                return Ok(());
            }
        }
        made.push(Ok(self.present(own, change, version)?));
        Ok(())
    }

    /// The record as the row now says it: whole, or in part where values are withheld.
    fn present(&self, key: String, change: &Change, version: Timestamp) -> Result<Emitted, Rejection> {
        let partial = self.fields.apply_partial(&change.row, &change.withheld).map_err(unreadable)?;
        let mut record = partial.mapped;
        let whole = !self.reads_any(&change.withheld);
        let mut paths = partial.paths;
        if self.kind == SourceKind::AccountLink && (whole || paths.iter().any(|path| path == "members")) && !linked(&mut record) {
            // A group of one links nothing.
            return self.withdrawn(&change.row, version);
        }
        record.entry("modifiedAt").or_insert_with(|| json!(version.to_string()));
        if !whole {
            if self.kind == SourceKind::Activity {
                let names = change.withheld.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                return Err(Reason::WrongType.because(format!("an event counts whole, but the change does not carry {names}: {}", change.remedy)));
            }
            paths.retain(|path| !["modifiedAt", "isDeleted", "changedFields"].contains(&path.as_str()));
            record.insert("changedFields".to_owned(), json!(paths));
        }
        self.keyed(key, record)
    }

    /// The record with its own name in it, under the key of its topic.
    fn keyed(&self, key: String, mut record: Map<String, Value>) -> Result<Emitted, Rejection> {
        let topic_key = match self.kind.key_field() {
            Some(field) => {
                record.insert(field.to_owned(), json!({"sourceKey": key}));
                key
            }
            None => {
                record.insert("_id".to_owned(), json!(key));
                person(&record).ok_or_else(|| Reason::NoIdentity.because("neither `personKey` nor `identities` names a person"))?
            }
        };
        Ok(Emitted::Record {
            kind: self.kind,
            key: topic_key,
            value: Some(Value::Object(record)),
        })
    }

    /// A deletion is a change with a version like any other.
    fn withdrawn(&self, row: &Fields, version: Timestamp) -> Result<Emitted, Rejection> {
        let mut record = Map::new();
        if self.kind.key_field().is_none() {
            let mapped = self.fields.apply(row).map_err(unreadable)?;
            record.extend(mapped.into_iter().filter(|(name, _)| name == "personKey" || name == "identities"));
        }
        record.insert("isDeleted".to_owned(), json!(true));
        record.insert("modifiedAt".to_owned(), json!(version.to_string()));
        self.keyed(self.key(row)?, record)
    }

    fn key(&self, row: &Fields) -> Result<String, Rejection> {
        let key = match one(&self.key, row)? {
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        if key.is_empty() {
            return Err(Reason::MissingKey.because(format!("the key reads {}, which the row does not have", names(&self.key_columns()))));
        }
        Ok(key)
    }

    fn key_columns(&self) -> BTreeSet<String> {
        self.key.reads().unwrap_or_default()
    }

    /// Whether `row`, which may consist of the primary key alone, has what the record's key reads.
    fn delivered(&self, row: &Fields, key: &Fields) -> Result<(), BTreeSet<String>> {
        let full = row.iter().any(|(name, value)| !value.is_null() && !key.contains_key(name));
        let missing: BTreeSet<String> = self.key_columns().into_iter().filter(|name| row.get(name).is_none_or(Value::is_null)).collect();
        if full || missing.is_empty() {
            return Ok(());
        }
        Err(missing)
    }

    /// What decides about the whole record must not be withheld.
    fn readable(&self, rule: &Mapping, change: &Change) -> Result<(), Rejection> {
        let reads = rule.reads().unwrap_or_default();
        match reads.intersection(&change.withheld).next() {
            None => Ok(()),
            Some(name) => Err(Reason::WrongType.because(format!(
                "`{name}` decides about the record, but the change does not carry it: {}",
                change.remedy
            ))),
        }
    }

    fn reads_any(&self, withheld: &BTreeSet<String>) -> bool {
        let column = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
        match self.fields.reads() {
            None => !withheld.is_empty(),
            Some(read) => read.iter().any(|name| withheld.contains(name) || withheld.contains(&column(name))),
        }
    }
}

fn undelivered(missing: &BTreeSet<String>, remedy: &str) -> Rejection {
    Reason::MissingKey.because(format!("the key reads {}, which the deletion does not carry: {remedy}", names(missing)))
}

fn names(columns: &BTreeSet<String>) -> String {
    columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn one(rule: &Mapping, row: &Fields) -> Result<Option<Value>, Rejection> {
    Ok(rule.apply(row).map_err(unreadable)?.remove(ONE))
}

fn unreadable(error: MappingError) -> Rejection {
    Reason::WrongType.because(error.to_string())
}

/// Members given as texts become key objects. False where fewer than two different ones are left.
fn linked(record: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(members)) = record.get_mut("members") else {
        return false;
    };
    let mut different = BTreeSet::new();
    for member in members.iter_mut() {
        if let Value::String(text) = member {
            *member = json!({"sourceKey": text.trim()});
        }
        different.extend(member["sourceKey"].as_str().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()));
    }
    different.len() > 1
}

/// The key of an activity's topic: an identity of its person.
fn person(record: &Map<String, Value>) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned).filter(|text| !text.is_empty());
    if let Some(key) = record.get("personKey").and_then(|key| text(&key["sourceKey"])) {
        return Some(key);
    }
    let first = record.get("identities")?.as_array()?.first()?;
    Some(format!("{}:{}", text(&first["namespace"])?, text(&first["id"])?))
}
