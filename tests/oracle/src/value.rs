//! Values of expressions, and how they compare.

use std::cmp::Ordering;

use serde_json::Value as Json;

use crate::calendar::parse_instant;
use crate::graph::Thing;
use crate::record::instant;

/// What an expression yields. Lists are flat and hold no nulls.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    /// Milliseconds since the epoch.
    Time(i64),
    List(Vec<Value>),
    /// Entries in order; keys are mostly texts.
    Map(Vec<(Value, Value)>),
    Thing(Thing),
}

impl Value {
    /// A field's value. Outside `extra` the name tells which texts and numbers are instants.
    pub fn of_field(name: &str, json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::String(_) | Json::Number(_) if is_time(name) => instant(json).map_or(Value::Null, Value::Time),
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => number.as_f64().map_or(Value::Null, Value::Number),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::list(items.iter().map(|item| Value::of_field(name, item))),
            Json::Object(_) if name == "extra" => Value::of_untyped(json),
            Json::Object(fields) => {
                let mut entries: Vec<(Value, Value)> = fields
                    .iter()
                    .map(|(name, field)| (Value::Text(name.clone()), Value::of_field(name, field)))
                    .collect();
                if let Some(key) = json["sourceKey"].as_str() {
                    for (part, text) in key_parts(key) {
                        if json[part].is_null() {
                            entries.push((Value::Text(part.to_owned()), Value::Text(text.to_owned())));
                        }
                    }
                }
                Value::Map(entries)
            }
        }
    }

    fn of_untyped(json: &Json) -> Value {
        match json {
            Json::Array(items) => Value::list(items.iter().map(Value::of_untyped)),
            Json::Object(fields) => Value::Map(
                fields
                    .iter()
                    .map(|(name, field)| (Value::Text(name.clone()), Value::of_untyped(field)))
                    .collect(),
            ),
            _ => Value::of_field("", json),
        }
    }

    /// A flat list without nulls; a thing that comes twice is in it once.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
        let mut flat = Vec::new();
        for item in items {
            match item {
                Value::Null => {}
                Value::List(inner) => inner.into_iter().for_each(|item| push(&mut flat, item)),
                item => push(&mut flat, item),
            }
        }
        Value::List(flat)
    }

    /// The items of a list; nothing of null; anything else is its own only item.
    pub fn items(self) -> Vec<Value> {
        match self {
            Value::Null => Vec::new(),
            Value::List(items) => items,
            one => vec![one],
        }
    }

    pub fn is_null(&self) -> bool {
        *self == Value::Null
    }

    /// A value in the place of a condition: null is false, a non-empty array is true.
    pub fn holds(&self) -> bool {
        match self {
            Value::Bool(flag) => *flag,
            Value::List(items) => !items.is_empty(),
            _ => false,
        }
    }

    pub fn entry(&self, key: &Value) -> Value {
        match self {
            Value::Map(entries) => entries
                .iter()
                .find(|(known, _)| equal(known, key) == Some(true))
                .map_or(Value::Null, |(_, value)| value.clone()),
            _ => Value::Null,
        }
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn time(&self) -> Option<i64> {
        match self {
            Value::Time(ms) => Some(*ms),
            Value::Number(ms) => Some(*ms as i64),
            Value::Text(text) => parse_instant(text),
            _ => None,
        }
    }
}

fn push(flat: &mut Vec<Value>, item: Value) {
    if !matches!(item, Value::Thing(_)) || !flat.contains(&item) {
        flat.push(item);
    }
}

fn is_time(name: &str) -> bool {
    name.ends_with("Date") || ["timestamp", "validFrom", "validTo", "time", "date"].contains(&name)
}

/// `1001@marketo1.Marketo` taken apart.
fn key_parts(key: &str) -> Vec<(&'static str, &str)> {
    let Some((id, rest)) = key.rsplit_once('@') else { return Vec::new() };
    let Some((instance, kind)) = rest.rsplit_once('.') else { return Vec::new() };
    vec![("sourceID", id), ("sourceInstanceID", instance), ("sourceType", kind)]
}

/// Whether two values are equal, the second taken for the first's type; `None` where a side is null or they cannot be compared.
pub(crate) fn equal(a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::List(a), Value::List(b)) => Some(subset(a, b) && subset(b, a)),
        (Value::Map(a), Value::Map(b)) => Some(a == b),
        (Value::Thing(a), Value::Thing(b)) => Some(a == b),
        _ => compare(a, b).map(Ordering::is_eq),
    }
}

/// The order of two values, the second taken for the first's type; `None` where a side is null or they have no order.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Text(b)) => Some(a.cmp(&b.to_ascii_lowercase().parse().ok()?)),
        (Value::Time(a), _) => Some(a.cmp(&b.time()?)),
        (_, Value::Time(b)) => Some(a.time()?.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
        (Value::Number(a), Value::Text(b)) => a.partial_cmp(&b.trim().parse().ok()?),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Number(b)) => Some(a.cmp(&b.to_string())),
        (Value::Text(a), Value::Bool(b)) => Some(a.cmp(&b.to_string())),
        _ => None,
    }
}

pub(crate) fn contains(items: &[Value], item: &Value) -> bool {
    items.iter().any(|known| equal(item, known) == Some(true))
}

pub(crate) fn subset(a: &[Value], b: &[Value]) -> bool {
    a.iter().all(|item| contains(b, item))
}
