//! What a record says happened to a row: Debezium's envelope, and the flat rows that its
//! `ExtractNewRecordState` and other connectors write. Pure.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono_tz::Tz;
use millrace_connect::mapping::Fields;
use millrace_connect::row::{Change, Operation};
use millrace_model::{Rejection, Timestamp};
use millrace_wire::Reason;
use serde_json::Value;

use crate::document::Document;
use crate::order::Position;
use crate::shape::RowSchema;

/// How the rows of a topic are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Types of columns that records do not state, or state otherwise.
    pub types: std::collections::BTreeMap<String, RowSchema>,
    /// The zone of date-times without one.
    pub zone: Tz,
    /// The text that stands for a value that the database did not deliver.
    pub placeholder: String,
}

/// How PostgreSQL is made to deliver every column.
pub const REMEDY: &str = "set REPLICA IDENTITY FULL";

/// A change of one row, and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct RowChange {
    pub change: Change,
    /// When it was committed, by the database's clock.
    pub at: Option<Timestamp>,
    /// Where in the database's log; `None` for rows of a snapshot.
    pub position: Option<Position>,
}

/// What a value says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Row(Box<RowChange>),
    /// A null value in the form that carries schemas.
    Tombstone,
    /// Nothing about rows: heartbeats, transaction borders, changes of tables, logical messages.
    Nothing,
}

/// Reads the columns of a key; text that is no object names no column.
///
/// # Errors
/// Where a column cannot be read.
pub fn key_columns(key: &Document, reading: &Reading) -> Result<Fields, Rejection> {
    let (columns, _) = columns(&key.value, &key.shape, "key", reading)?;
    Ok(columns)
}

/// Reads a value; `key` are the columns of its key.
///
/// # Errors
/// Where the value is none of the known forms, or a column cannot be read; the detail names it.
pub fn read(value: &Document, key: &Fields, reading: &Reading) -> Result<Said, Rejection> {
    let Some(object) = value.value.as_object() else {
        return match value.value {
            Value::Null => Ok(Said::Tombstone),
            _ => Err(Reason::WrongType.because("the value is no object: neither a change event nor a row")),
        };
    };
    let operation = object.get("op").and_then(Value::as_str);
    match (operation, object.get("source")) {
        (Some("m"), Some(_)) => Ok(Said::Nothing),
        (Some("t"), Some(_)) => Err(Reason::WrongType.because("the table was truncated: which rows are gone is not known; withdraw them by another snapshot")),
        (Some(operation), Some(source)) => envelope(operation, source, value, key, reading),
        _ if says_nothing(object) => Ok(Said::Nothing),
        _ => flat(value, key, reading),
    }
}

/// Heartbeats hold times alone; transaction borders a status; changes of tables their DDL.
fn says_nothing(object: &Fields) -> bool {
    let has = |name: &str| object.contains_key(name);
    let heartbeat = has("ts_ms") && object.keys().all(|name| name.starts_with("ts_"));
    let border = matches!(object.get("status").and_then(Value::as_str), Some("BEGIN" | "END")) && has("id") && has("ts_ms");
    let tables = has("source") && (has("ddl") || has("tableChanges"));
    heartbeat || border || tables
}

fn envelope(operation: &str, source: &Value, value: &Document, key: &Fields, reading: &Reading) -> Result<Said, Rejection> {
    let part = |name: &str| {
        let shape = value.shape.fields.get(name).cloned().unwrap_or_default();
        columns(&value.value[name], &shape, name, reading)
    };
    let (before, hidden_before) = part("before")?;
    let (mut after, mut withheld) = part("after")?;
    let snapshot = !matches!(&source["snapshot"], Value::Null | Value::Bool(false)) && source["snapshot"] != "false";
    let operation = match operation {
        "c" => Operation::Created,
        "r" | "u" => Operation::Present,
        "d" => Operation::Deleted,
        other => return Err(Reason::WrongType.because(format!("`op`: `{other}` is no operation on rows"))),
    };
    if operation == Operation::Deleted {
        after = known(&before, &hidden_before);
        after.extend(key.iter().map(|(name, value)| (name.clone(), value.clone())));
        withheld.clear();
    } else if value.value["after"].is_null() {
        return Err(Reason::WrongType.because("`after` is missing"));
    }
    // A large value that did not change is in `before`, where the table delivers it.
    let delivered: Vec<String> = withheld
        .iter()
        .filter(|name| before.get(*name).is_some_and(|value| !value.is_null()) && !hidden_before.contains(*name))
        .cloned()
        .collect();
    for name in delivered {
        after.insert(name.clone(), before[&name].clone());
        withheld.remove(&name);
    }
    Ok(Said::Row(Box::new(RowChange {
        change: Change {
            operation,
            row: after,
            before: known(&before, &hidden_before),
            withheld,
            remedy: REMEDY,
        },
        at: source["ts_ms"].as_i64().map(Timestamp),
        position: if snapshot { None } else { Position::of(source) },
    })))
}

fn known(columns: &Fields, hidden: &BTreeSet<String>) -> Fields {
    let known = columns.iter().filter(|(name, value)| !value.is_null() && !hidden.contains(*name));
    known.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A row with fields about the event beside its columns, all of which begin with `__`.
fn flat(value: &Document, key: &Fields, reading: &Reading) -> Result<Said, Rejection> {
    let raw = &value.value;
    let deleted = raw["__deleted"] == true || raw["__deleted"] == "true" || raw["__op"] == "d";
    let (mut row, mut withheld) = columns(raw, &value.shape, "the row", reading)?;
    row.retain(|name, _| !name.starts_with("__"));
    if deleted {
        row = known(&row, &withheld);
        row.extend(key.iter().map(|(name, value)| (name.clone(), value.clone())));
        withheld.clear();
    }
    Ok(Said::Row(Box::new(RowChange {
        change: Change {
            operation: if deleted { Operation::Deleted } else { Operation::Present },
            before: if deleted { row.clone() } else { Fields::new() },
            row,
            withheld,
            remedy: REMEDY,
        },
        at: raw["__source_ts_ms"].as_i64().map(Timestamp),
        position: None,
    })))
}

/// The columns of a row, and those of them whose value is withheld.
fn columns(row: &Value, shape: &RowSchema, part: &str, reading: &Reading) -> Result<(Fields, BTreeSet<String>), Rejection> {
    let mut withheld = BTreeSet::new();
    let mut columns = Fields::new();
    for (name, value) in row.as_object().into_iter().flatten() {
        let stated = reading.types.get(name).or_else(|| shape.fields.get(name));
        let read = if hidden(value, &reading.placeholder) {
            withheld.insert(name.clone());
            Value::Null
        } else if let Some(shape) = stated {
            let read = shape.read(value.clone(), reading.zone);
            read.map_err(|detail| Reason::WrongType.because(format!("column `{name}` of {part}: {detail}")))?
        } else {
            value.clone()
        };
        columns.insert(name.clone(), read);
    }
    Ok((columns, withheld))
}

/// Whether a value stands for one that was not delivered: the placeholder as text, as base64 of
/// bytes, alone in a list, or as the one entry of a map.
fn hidden(value: &Value, placeholder: &str) -> bool {
    match value {
        Value::String(text) => text == placeholder || (text.len() == placeholder.len().div_ceil(3) * 4 && *text == BASE64.encode(placeholder)),
        Value::Array(items) => matches!(items.as_slice(), [one] if hidden(one, placeholder)),
        Value::Object(object) => object.len() == 1 && object.keys().all(|name| name == placeholder),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
