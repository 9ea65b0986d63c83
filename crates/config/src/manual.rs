//! The operator's manual, generated from the comments, types and defaults of `Raw`.

use schemars::Schema;
use serde_json::Value;

use crate::raw::Raw;

const INTRODUCTION: &str = "# Configuration

<!-- Made from the comments in crates/config/src/raw.rs; a test keeps it in step. Refresh with UPDATE_EXPECT=1 cargo test -p millrace-config. -->

Three layers, each over the one before: compiled defaults, one file (`--config FILE`, TOML, or YAML where it ends in `.yaml` or `.yml`), environment variables.
The variable of a key is `MILLRACE__` and the key in capitals with two underscores for each dot: `topics.shards` is `MILLRACE__TOPICS__SHARDS`.

Unknown keys are refused, and every problem is reported at once; the process then exits with status 64 and has touched nothing.
A variable that is no key and nearly the name of one, such as `MILLRACE_TOPICS_SHARDS`, is reported with the right name.
Files may begin with a byte-order mark and end lines with CRLF.
`--check-config` on any command shows what the layers come to and the topics it means, and touches nothing.

Durations and sizes carry their units: `50ms`, `30s`, `5m`, `400d`; `512KiB`, `64MiB`, `2GiB`.
";

/// Markdown, one table per section, keys in ascending order.
pub fn manual() -> String {
    let schema = schemars::schema_for!(Raw);
    let defaults = serde_json::to_value(Raw::default()).expect("a tree of texts and numbers is JSON");
    let mut top = Vec::new();
    let mut sections = String::new();
    for (name, property) in fields(schema.as_value()) {
        match resolve(&schema, property) {
            target if target.get("properties").is_some() => section(&mut sections, name, &schema, property, &defaults[name]),
            target => match resolve(&schema, target.get("additionalProperties").unwrap_or(&Value::Null)) {
                entry if entry.get("properties").is_some() => section(&mut sections, &format!("{name}.<name>"), &schema, entry, &Value::Null),
                _ => top.push(row(name, &schema, property, &defaults[name])),
            },
        }
    }
    format!("{INTRODUCTION}\n## Top level\n\n{HEAD}{}{sections}", top.concat())
}

/// Every key in dotted form, in ascending order. Where an operator chooses the rest of the name, it
/// ends in a dot: `kafka.properties.`.
pub fn keys() -> Vec<String> {
    let schema = schemars::schema_for!(Raw);
    let mut keys = Vec::new();
    walk(&schema, schema.as_value(), "", &mut keys);
    keys
}

fn walk(schema: &Schema, part: &Value, before: &str, keys: &mut Vec<String>) {
    for (name, property) in fields(part) {
        let (key, target) = (format!("{before}{name}"), resolve(schema, property));
        if target.get("properties").is_some() {
            walk(schema, target, &format!("{key}."), keys);
        } else if target.get("additionalProperties").is_some() {
            keys.push(format!("{key}."));
        } else {
            keys.push(key);
        }
    }
}

const HEAD: &str = "| key | default | meaning |\n|---|---|---|\n";

fn section(out: &mut String, name: &str, schema: &Schema, property: &Value, defaults: &Value) {
    let target = resolve(schema, property);
    out.push_str(&format!("\n## {name}\n\n{}\n\n{HEAD}", description(target)));
    for (field, inner) in fields(target) {
        out.push_str(&row(&format!("{name}.{field}"), schema, inner, &defaults[field]));
    }
}

fn row(key: &str, schema: &Schema, property: &Value, default: &Value) -> String {
    let text = match description(property) {
        "" => description(resolve(schema, property)),
        text => text,
    };
    let default = match default {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) if items.is_empty() => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        other => format!("`{other}`"),
    };
    format!("| `{key}` | {default} | {} |\n", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// What a `$ref` stands for; the schema itself where it is none.
fn resolve<'a>(schema: &'a Schema, part: &'a Value) -> &'a Value {
    let reference = part.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    reference.and_then(|pointer| schema.as_value().pointer(pointer)).unwrap_or(part)
}
