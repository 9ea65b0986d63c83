//! Chooses streams and their modes in the catalogue of a connector, and finds the secrets that its
//! specification names. Pure.

use std::collections::BTreeSet;

use millrace_child::{Config, Mode, Stream};
use serde_json::{Map, Value, json};

/// The streams to read.
#[derive(Debug, PartialEq)]
pub struct Chosen {
    /// As the connector takes it.
    pub catalog: Value,
    /// Streams that are read in full.
    pub whole: BTreeSet<String>,
}

/// Chooses the configured streams among those that the connector offers.
///
/// # Errors
/// A sentence: what the catalogue lacks.
pub fn choose(catalog: &Value, config: &Config) -> Result<Chosen, String> {
    let offered = catalog["streams"].as_array().ok_or("the connector's catalogue has no list `streams`")?;
    if config.refuses_unmapped
        && let Some(other) = offered.iter().map(name).find(|name| !config.streams.contains_key(*name))
    {
        return Err(format!("stream `{other}` has no entry under `streams`, and `unmapped` is `refuse`"));
    }
    let mut streams = Vec::new();
    let mut whole = BTreeSet::new();
    for (wanted, stream) in &config.streams {
        let found = find(offered, wanted, stream)?;
        let full = reads_all(wanted, found, stream)?;
        if full {
            whole.insert(wanted.clone());
        }
        let cursor = stream
            .cursor
            .as_ref()
            .map(|cursor| json!([cursor]))
            .unwrap_or_else(|| list(&found["default_cursor_field"]));
        let key = list(&found["source_defined_primary_key"]);
        let kept = match (full, key.as_array().is_some_and(Vec::is_empty)) {
            (true, _) => "overwrite",
            (false, true) => "append",
            (false, false) => "append_dedup",
        };
        streams.push(json!({
            "stream": found,
            "sync_mode": if full { "full_refresh" } else { "incremental" },
            "destination_sync_mode": kept,
            "cursor_field": cursor,
            "primary_key": key,
        }));
    }
    Ok(Chosen {
        catalog: json!({"streams": streams}),
        whole,
    })
}

fn name(stream: &Value) -> &str {
    stream["name"].as_str().unwrap_or_default()
}

fn list(value: &Value) -> Value {
    if value.is_array() { value.clone() } else { json!([]) }
}

fn find<'a>(offered: &'a [Value], wanted: &str, stream: &Stream) -> Result<&'a Value, String> {
    let of_name = offered.iter().filter(|one| name(one) == wanted);
    let matching: Vec<&Value> = of_name
        .filter(|one| stream.namespace.is_none() || one["namespace"].as_str() == stream.namespace.as_deref())
        .collect();
    match matching.as_slice() {
        [one] => Ok(one),
        [] => {
            let known = offered.iter().map(name).collect::<Vec<_>>().join(", ");
            Err(format!("the connector has no stream `{wanted}`; it has {known}"))
        }
        several => {
            let known: Vec<&str> = several.iter().filter_map(|one| one["namespace"].as_str()).collect();
            Err(format!(
                "stream `{wanted}` is there in several namespaces, {}; name one by `namespace`",
                known.join(", ")
            ))
        }
    }
}

/// Whether a stream is read in full: as configured, else where it cannot be read by changes.
fn reads_all(wanted: &str, found: &Value, stream: &Stream) -> Result<bool, String> {
    let modes = found["supported_sync_modes"].as_array();
    let can = |mode: &str| modes.is_none_or(|modes| modes.iter().any(|one| one == mode));
    let has_cursor =
        stream.cursor.is_some() || found["source_defined_cursor"] == true || found["default_cursor_field"].as_array().is_some_and(|field| !field.is_empty());
    match stream.mode {
        Some(Mode::Full) if can("full_refresh") => Ok(true),
        Some(Mode::Full) => Err(format!("the connector cannot read stream `{wanted}` in full")),
        Some(Mode::Incremental) if !can("incremental") => Err(format!("the connector cannot read stream `{wanted}` by changes; set `mode = \"full\"`")),
        Some(Mode::Incremental) if !has_cursor => Err(format!("stream `{wanted}` has no cursor of its own; name a column by `cursor`")),
        Some(Mode::Incremental) => Ok(false),
        Some(Mode::Log) | None => Ok(!(modes.is_some() && can("incremental") && has_cursor)),
    }
}

/// The values of the configuration that the specification calls secret.
pub fn secrets(specification: &Value, config: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    secret_values(specification, &Value::Object(config.clone()), &mut found);
    found
}

fn secret_values(schema: &Value, value: &Value, found: &mut Vec<String>) {
    if schema["airbyte_secret"] == true {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Number(number) => found.push(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        secret_values(inner, &value[name.as_str()], found);
    }
    for choice in ["oneOf", "anyOf", "allOf"].iter().filter_map(|word| schema[*word].as_array()).flatten() {
        secret_values(choice, value, found);
    }
    for item in value.as_array().into_iter().flatten() {
        secret_values(&schema["items"], item, found);
    }
}
