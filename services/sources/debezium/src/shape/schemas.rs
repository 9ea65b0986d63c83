//! Shapes from the schemas that records carry: Kafka Connect's in JSON, and Avro's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Meaning, RowSchema};

/// Deepest nesting of a schema that is followed; below it values are as they are.
const DEPTH_MAX: usize = 32;

impl RowSchema {
    /// From the `schema` of a JSON record.
    pub fn of_connect(schema: &Value) -> RowSchema {
        connect(schema, DEPTH_MAX)
    }

    /// From the text of an Avro schema.
    pub fn of_avro(text: &str) -> RowSchema {
        let mut named = BTreeMap::new();
        let schema = serde_json::from_str(text).unwrap_or_default();
        avro(&schema, "", &mut named, DEPTH_MAX)
    }
}

fn meaning(name: Option<&Value>, scale: Option<&Value>) -> Meaning {
    match name.and_then(Value::as_str).and_then(Meaning::named).unwrap_or_default() {
        Meaning::Decimal { .. } => Meaning::Decimal {
            scale: scale.and_then(Value::as_str).and_then(|scale| scale.parse().ok()).unwrap_or_default(),
        },
        other => other,
    }
}

fn connect(schema: &Value, depth: usize) -> RowSchema {
    if depth == 0 {
        return RowSchema::default();
    }
    let fields = schema["fields"].as_array().into_iter().flatten();
    RowSchema {
        meaning: meaning(schema.get("name"), schema["parameters"].get("scale")),
        fields: fields
            .filter_map(|field| Some((field["field"].as_str()?.to_owned(), connect(field, depth - 1))))
            .collect(),
        items: schema.get("items").map(|items| Box::new(connect(items, depth - 1))),
    }
}

/// `space` is the namespace of the enclosing record, `named` the records so far: Debezium defines
/// the row under `before` and refers to it under `after`.
fn avro(schema: &Value, space: &str, named: &mut BTreeMap<String, RowSchema>, depth: usize) -> RowSchema {
    if depth == 0 {
        return RowSchema::default();
    }
    match schema {
        Value::String(name) => named.get(&full(name, space)).cloned().unwrap_or_default(),
        // A column that may be null is a union of null and its type.
        Value::Array(branches) => {
            let mut branches = branches.iter().filter(|branch| *branch != "null");
            branches.next().map(|branch| avro(branch, space, named, depth - 1)).unwrap_or_default()
        }
        Value::Object(object) => {
            if let Some(inner @ (Value::Object(_) | Value::Array(_))) = object.get("type") {
                return avro(inner, space, named, depth - 1);
            }
            let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
            let dotted = name.rsplit_once('.').map(|(before, _)| before);
            let own = dotted.or_else(|| object.get("namespace").and_then(Value::as_str)).unwrap_or(space);
            let mut shape = RowSchema {
                meaning: meaning(object.get("connect.name"), schema["connect.parameters"].get("scale")),
                ..RowSchema::default()
            };
            for field in schema["fields"].as_array().into_iter().flatten() {
                if let Some(name) = field["name"].as_str() {
                    shape.fields.insert(name.to_owned(), avro(&field["type"], own, named, depth - 1));
                }
            }
            shape.items = object.get("items").map(|items| Box::new(avro(items, own, named, depth - 1)));
            if !name.is_empty() {
                named.insert(full(name, own), shape.clone());
            }
            shape
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => RowSchema::default(),
    }
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() {
        name.to_owned()
    } else {
        format!("{space}.{name}")
    }
}
