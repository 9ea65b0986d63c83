//! Selects streams in the catalogue of a tap. Pure.
//!
//! Taps differ in where they look: in the metadata with an empty breadcrumb, in the entry itself, in
//! its schema. The selection is written to all of these places.

use std::collections::{BTreeMap, BTreeSet};

use millrace_child::{Config, Mode};
use serde_json::{Map, Value, json};

/// Selects the configured streams, and those alone; the names of streams that a complete run lists
/// whole.
///
/// # Errors
/// A sentence: what the catalogue lacks.
pub fn select(catalog: &mut Value, config: &Config) -> Result<BTreeSet<String>, String> {
    let streams = catalog.get_mut("streams").and_then(Value::as_array_mut);
    let streams = streams
        .filter(|streams| streams.iter().all(Value::is_object))
        .ok_or("the tap's catalogue has no list `streams`")?;
    let offered: BTreeMap<String, usize> = streams.iter().enumerate().map(|(at, entry)| (name(entry), at)).collect();
    let offered_names = offered.keys().cloned().collect::<Vec<_>>().join(", ");
    let missing: Vec<&str> = config.streams.keys().filter(|name| !offered.contains_key(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(format!("the tap has no stream `{}`; it has {offered_names}", missing.join("`, `")));
    }
    if config.refuses_unmapped
        && let Some(other) = offered.keys().find(|name| !config.streams.contains_key(*name))
    {
        return Err(format!("stream `{other}` has no entry under `streams`, and `unmapped` is `refuse`"));
    }
    let mut whole = BTreeSet::new();
    for entry in streams.iter_mut() {
        let name = name(entry);
        let stream = config.streams.get(&name);
        mark(entry, "selected", json!(stream.is_some()));
        entry["selected"] = json!(stream.is_some());
        if let Some(schema) = entry["schema"].as_object_mut() {
            schema.insert("selected".to_owned(), json!(stream.is_some()));
        }
        let Some(stream) = stream else { continue };
        select_columns(entry);
        if let Some(mode) = stream.mode {
            mark(entry, "replication-method", json!(method(mode)));
            entry["replication_method"] = json!(method(mode));
        }
        if let Some(cursor) = &stream.cursor {
            mark(entry, "replication-key", json!(cursor));
            entry["replication_key"] = json!(cursor);
        }
        if method_of(entry).as_deref() == Some(method(Mode::Full)) {
            whole.insert(name);
        }
    }
    Ok(whole)
}

/// Singer's word for a mode.
fn method(mode: Mode) -> &'static str {
    match mode {
        Mode::Full => "FULL_TABLE",
        Mode::Incremental => "INCREMENTAL",
        Mode::Log => "LOG_BASED",
    }
}

/// The name that records of a stream bear.
fn name(entry: &Value) -> String {
    let name = entry["stream"].as_str().or_else(|| entry["tap_stream_id"].as_str());
    name.unwrap_or_default().to_owned()
}

/// How the tap will read the stream: what is set, else what it forces.
fn method_of(entry: &Value) -> Option<String> {
    let own = own_metadata(entry);
    let found = [&entry["replication_method"], &own["replication-method"], &own["forced-replication-method"]];
    found.into_iter().filter_map(Value::as_str).find(|method| !method.is_empty()).map(str::to_owned)
}

/// The metadata of the stream itself.
fn own_metadata(entry: &Value) -> &Value {
    let all = entry["metadata"].as_array().into_iter().flatten();
    all.filter(|one| one["breadcrumb"].as_array().is_some_and(Vec::is_empty))
        .map(|one| &one["metadata"])
        .next()
        .unwrap_or(&Value::Null)
}

fn mark(entry: &mut Value, key: &str, value: Value) {
    if !entry["metadata"].is_array() {
        entry["metadata"] = json!([]);
    }
    let Some(all) = entry["metadata"].as_array_mut() else { return };
    all.retain(Value::is_object);
    let at = all.iter().position(|one| one["breadcrumb"].as_array().is_some_and(Vec::is_empty));
    let at = at.unwrap_or_else(|| {
        all.push(json!({"breadcrumb": [], "metadata": {}}));
        all.len() - 1
    });
    set(&mut all[at], key, value);
}

fn set(one: &mut Value, key: &str, value: Value) {
    if !one["metadata"].is_object() {
        one["metadata"] = Value::Object(Map::new());
    }
    one["metadata"][key] = value;
}

/// Every column that the tap can read: which of them matter is the mapping's choice.
fn select_columns(entry: &mut Value) {
    for one in entry["metadata"].as_array_mut().into_iter().flatten() {
        let column = one["breadcrumb"].as_array().is_some_and(|path| path.len() == 2 && path[0] == "properties");
        if column && one["metadata"]["inclusion"] != "unsupported" {
            set(one, "selected", json!(true));
        }
    }
}
