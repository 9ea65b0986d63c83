//! `values.yaml` as data: README.md and values.schema.json are generated from it.
//!
//! The file is the authority: a comment above a key is its description, its default gives its type.
//! `ENUMS` holds what a default cannot express.

use anyhow::Context;
use serde_json::{Map, Value, json};

/// Keys with these values only.
const ENUMS: [(&str, &[&str]); 7] = [
    ("image.pullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("kafka.sasl.mechanism", &["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
    ("service.type", &["ClusterIP", "NodePort", "LoadBalancer"]),
    ("metrics.serviceMonitor.enabled", &["true", "false", "auto"]),
    ("metrics.prometheusRule.enabled", &["true", "false", "auto"]),
    ("strimzi.apiVersion", &["kafka.strimzi.io/v1", "kafka.strimzi.io/v1beta2"]),
    ("strimzi.user.authentication", &["scram-sha-512", "tls"]),
];

/// Objects whose keys the chart does not know.
const OPEN: [&str; 6] = [
    "config",
    "processor.resources",
    "processor.probes",
    "metrics.dashboards.labels",
    "kafka.properties",
    "definitions.files",
];

/// Maps of roles: every entry has the keys of a pod, and some of its own.
const ROLES: [&str; 3] = ["deployments", "sources", "sinks"];

/// Keys of a role that the processor does not have.
const ROLE_KEYS: [(&str, &str); 8] = [
    ("enabled", "boolean"),
    ("type", "string"),
    ("args", "array"),
    ("replicas", "integer"),
    ("strategy", "object"),
    ("service", "boolean"),
    ("autoscaling", "object"),
    ("configSecrets", "array"),
];

/// Keys of the processor that are not those of a pod.
const PROCESSOR_KEYS: [&str; 4] = ["replicas", "persistence", "restoreTimeoutSeconds", "podDisruptionBudget"];

/// One key of the file.
#[derive(Debug)]
pub struct Entry {
    pub path: String,
    pub doc: String,
    pub default: Value,
}

/// The keys in the order of the file.
///
/// # Errors
/// Where the file is not YAML.
pub fn entries(text: &str) -> anyhow::Result<Vec<Entry>> {
    let defaults: Value = serde_norway::from_str(text).context("values.yaml")?;
    let mut entries = Vec::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        let depth = line.len() - content.len();
        if let Some(comment) = content.strip_prefix('#') {
            doc.push(comment.trim());
            continue;
        }
        let Some((key, _)) = content.split_once(':') else {
            doc.clear();
            continue;
        };
        open.retain(|(outer, _)| *outer < depth);
        open.push((depth, key.to_owned()));
        let path = open.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
        let pointer = format!("/{}", path.replace('.', "/"));
        if let Some(default) = defaults.pointer(&pointer) {
            entries.push(Entry {
                path,
                doc: std::mem::take(&mut doc).join(" "),
                default: default.clone(),
            });
        }
    }
    Ok(entries)
}

/// The table of README.md: leaves with their defaults.
pub fn table(entries: &[Entry]) -> String {
    let mut lines = vec!["| key | default | meaning |".to_owned(), "|---|---|---|".to_owned()];
    let shown = entries.iter().filter(|entry| !is_section(entry) && !below_open(&entry.path));
    lines.extend(shown.map(|entry| format!("| `{}` | `{}` | {} |", entry.path, entry.default, entry.doc.replace('|', "\\|"))));
    lines.join("\n") + "\n"
}

fn is_section(entry: &Entry) -> bool {
    let filled = entry.default.as_object().is_some_and(|keys| !keys.is_empty());
    filled && !OPEN.contains(&entry.path.as_str())
}

fn below_open(path: &str) -> bool {
    OPEN.iter().any(|open| path.strip_prefix(open).is_some_and(|rest| rest.starts_with('.')))
}

/// The schema: unknown keys are refused, so that a misspelt one is not silently ignored.
///
/// # Errors
/// Where the defaults are not an object.
pub fn schema(entries: &[Entry]) -> anyhow::Result<String> {
    let mut properties = Map::new();
    for entry in entries.iter().filter(|entry| !entry.path.contains('.')) {
        properties.insert(entry.path.clone(), of_entry(entries, entry));
    }
    // Helm passes the values of all charts of a release on under this name.
    properties.insert("global".to_owned(), json!({"type": "object"}));
    let schema = json!({
        "$schema": "https://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "definitions": {"role": role(entries)},
    });
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

fn of_entry(entries: &[Entry], entry: &Entry) -> Value {
    let mut schema = of_path(entries, entry);
    if let (Some(object), false) = (schema.as_object_mut(), entry.doc.is_empty()) {
        object.insert("description".to_owned(), Value::from(entry.doc.clone()));
    }
    schema
}

fn of_path(entries: &[Entry], entry: &Entry) -> Value {
    let path = entry.path.as_str();
    if let Some((_, words)) = ENUMS.iter().find(|(name, _)| *name == path) {
        return json!({"enum": words.iter().flat_map(|word| choices(word)).collect::<Vec<_>>()});
    }
    if ROLES.contains(&path) {
        return json!({"type": "object", "additionalProperties": {"$ref": "#/definitions/role"}});
    }
    if path.ends_with("maxUnavailable") {
        return json!({"type": ["integer", "string"]});
    }
    match &entry.default {
        Value::Object(keys) if !keys.is_empty() && !OPEN.contains(&path) => {
            json!({"type": "object", "additionalProperties": false, "properties": children(entries, path)})
        }
        Value::Object(_) => json!({"type": "object"}),
        Value::Array(_) => json!({"type": "array"}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(_) => json!({"type": "integer", "minimum": 0}),
        _ => json!({"type": "string"}),
    }
}

/// `true` and `false` are flags in YAML, not words.
fn choices(word: &str) -> Vec<Value> {
    match word {
        "true" => vec![Value::Bool(true)],
        "false" => vec![Value::Bool(false)],
        word => vec![Value::from(word)],
    }
}

fn children(entries: &[Entry], path: &str) -> Map<String, Value> {
    let child = |entry: &&Entry| {
        let rest = entry.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| !rest.contains('.'))
    };
    let name = |entry: &Entry| entry.path.rsplit('.').next().unwrap_or_default().to_owned();
    entries.iter().filter(child).map(|entry| (name(entry), of_entry(entries, entry))).collect()
}

fn role(entries: &[Entry]) -> Value {
    let mut properties = children(entries, "processor");
    properties.retain(|name, _| !PROCESSOR_KEYS.contains(&name.as_str()));
    for (name, kind) in ROLE_KEYS {
        properties.insert(name.to_owned(), json!({"type": kind}));
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}
