//! Values of expressions, and their comparison.

use std::cmp::Ordering;

use bigdecimal::BigDecimal;
use chrono::NaiveDate;
use chrono_tz::Tz;
use serde_json::Value as Json;
use unicode_normalization::UnicodeNormalization;

use crate::calendar::{midnight, parse_date, parse_instant, written_date};
use crate::graph::Thing;
use crate::record::instant;

/// The value of an expression. Lists are flat and hold no nulls.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(BigDecimal),
    Text(String),
    /// A calendar date; and the instant of its midnight in the rule's zone.
    Date(NaiveDate, i64),
    /// Milliseconds since the epoch.
    Time(i64),
    List(Vec<Value>),
    /// Entries in order; keys are mostly texts.
    Map(Vec<(Value, Value)>),
    Thing(Thing),
    /// A truth, number or text that no schema gives a type; the rule's zone, in which the text of a
    /// date has its midnight.
    Untyped(Box<Value>, Tz),
}

impl Value {
    /// A field's value. Outside `extra`, the name decides which texts and numbers are instants.
    pub fn of_field(name: &str, json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::String(_) | Json::Number(_) if is_time(name) => instant(json).map_or(Value::Null, Value::Time),
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => read_number(number.as_str()),
            Json::String(text) if is_date(name) => written_date(text).map_or(Value::Null, |date| Value::Date(date, midnight(Tz::UTC, date))),
            // A blank text of the schema is null.
            Json::String(text) if text.trim().is_empty() => Value::Null,
            Json::String(text) => Value::Text(text.nfc().collect()),
            Json::Array(items) => Value::list(items.iter().map(|item| Value::of_field(name, item))),
            Json::Object(_) if name == "extra" || name.starts_with('_') => Value::of_untyped(json),
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
            Json::Null => Value::Null,
            Json::String(text) => Value::Untyped(Box::new(Value::Text(text.nfc().collect())), Tz::UTC),
            scalar => Value::Untyped(Box::new(Value::of_field("", scalar)), Tz::UTC),
        }
    }

    /// With dates where they begin in the rule's zone.
    pub fn in_zone(self, zone: Tz) -> Value {
        match self {
            Value::Date(date, _) => Value::Date(date, midnight(zone, date)),
            Value::Untyped(value, _) => Value::Untyped(value, zone),
            Value::List(items) => Value::List(items.into_iter().map(|item| item.in_zone(zone)).collect()),
            Value::Map(entries) => Value::Map(entries.into_iter().map(|(key, value)| (key, value.in_zone(zone))).collect()),
            other => other,
        }
    }

    /// A number, if it is small enough for a decimal.
    pub fn decimal(number: BigDecimal) -> Value {
        if number.abs() < 2_u128.pow(96) { Value::Number(number) } else { Value::Null }
    }

    /// The value below the type, or below the lack of it.
    fn bare(&self) -> &Value {
        if let Value::Untyped(value, _) = self { value } else { self }
    }

    /// A flat list without nulls; a thing that occurs twice is in it once.
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
        match self.bare() {
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

    pub fn number(&self) -> Option<&BigDecimal> {
        match self.bare() {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The whole part of a number.
    pub fn whole(&self) -> Option<i64> {
        use bigdecimal::ToPrimitive;
        self.number()?.to_i64()
    }

    pub fn text(&self) -> Option<&str> {
        match self.bare() {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn time(&self) -> Option<i64> {
        match self {
            Value::Time(ms) | Value::Date(_, ms) => Some(*ms),
            Value::Untyped(value, zone) => value.text().and_then(|text| text_time(text, *zone)),
            // A text in a rule: the checker reads it in the rule's zone, and rules of tests that
            // write one do so in UTC.
            Value::Text(text) => text_time(text, Tz::UTC),
            _ => None,
        }
    }
}

fn text_time(text: &str, zone: Tz) -> Option<i64> {
    parse_date(text).map(|date| midnight(zone, date)).or_else(|| parse_instant(text))
}

/// By JSON's grammar: a number of JSON is read by its parser, and nothing else is one.
fn read_number(text: &str) -> Value {
    let json = serde_json::from_str::<serde_json::Number>(text.trim());
    let number = json.ok().and_then(|number| number.as_str().parse().ok());
    number.map_or(Value::Null, Value::decimal)
}

fn push(flat: &mut Vec<Value>, item: Value) {
    if !matches!(item, Value::Thing(_)) || !flat.contains(&item) {
        flat.push(item);
    }
}

fn is_date(name: &str) -> bool {
    ["birthDate", "expectedCloseDate", "actualCloseDate"].contains(&name)
}

fn is_time(name: &str) -> bool {
    name.ends_with("Date") && !is_date(name) || ["timestamp", "validFrom", "validTo", "validUntil", "modifiedAt", "time", "date"].contains(&name)
}

/// `1001@marketo1.Marketo` taken apart.
fn key_parts(key: &str) -> Vec<(&'static str, &str)> {
    let Some((id, rest)) = key.rsplit_once('@') else { return Vec::new() };
    let Some((instance, kind)) = rest.rsplit_once('.') else { return Vec::new() };
    vec![("sourceID", id), ("sourceInstanceID", instance), ("sourceType", kind)]
}

/// Whether two values are equal, the second taken for the first's type; `None` where a side is null
/// or they cannot be compared.
pub(crate) fn equal(a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::List(a), Value::List(b)) => Some(subset(a, b) && subset(b, a)),
        (Value::Map(a), Value::Map(b)) => Some(a == b),
        (Value::Thing(a), Value::Thing(b)) => Some(a == b),
        _ => compare(a, b).map(Ordering::is_eq),
    }
}

/// The order of two values, the second taken for the first's type, an untyped one for the typed
/// one's; `None` where a side is null or they have no order.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Untyped(a, _), Value::Untyped(b, _)) => match (&**a, &**b) {
            (Value::Bool(_), Value::Bool(_)) | (Value::Number(_), Value::Number(_)) | (Value::Text(_), Value::Text(_)) => compare(a, b),
            _ => None,
        },
        (Value::Untyped(..), typed) => compare(&as_typed(a, typed)?, typed),
        (typed, Value::Untyped(..)) => compare(typed, &as_typed(b, typed)?),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Date(a, _), Value::Date(b, _)) => Some(a.cmp(b)),
        (Value::Date(a, _), Value::Text(b)) => Some(a.cmp(&parse_date(b)?)),
        (Value::Time(_) | Value::Date(..), Value::Time(_) | Value::Date(..) | Value::Text(_)) => Some(a.time()?.cmp(&b.time()?)),
        (Value::Number(a), Value::Number(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.nfc().cmp(b.nfc())),
        (Value::Text(a), Value::Number(b)) => Some(a.as_str().cmp(&shortest(b))),
        (Value::Text(a), Value::Bool(b)) => Some(a.as_str().cmp(&b.to_string())),
        (Value::Bool(_) | Value::Number(_), Value::Text(text)) => compare(a, &text_as(text, a)?),
        _ => None,
    }
}

/// An untyped value as the type of the typed one; `None` where it is not of that type.
fn as_typed(untyped: &Value, typed: &Value) -> Option<Value> {
    match (untyped.bare(), typed) {
        (_, Value::Time(_)) => untyped.time().map(Value::Time),
        (Value::Text(text), Value::Date(..)) => parse_date(text).map(|date| Value::Date(date, 0)),
        (Value::Text(text), Value::Bool(_) | Value::Number(_)) => text_as(text, typed),
        (Value::Number(number), Value::Text(_)) => Some(Value::Text(shortest(number))),
        (Value::Bool(flag), Value::Text(_)) => Some(Value::Text(flag.to_string())),
        (same, typed) if std::mem::discriminant(same) == std::mem::discriminant(typed) => Some(same.clone()),
        _ => None,
    }
}

fn text_as(text: &str, typed: &Value) -> Option<Value> {
    match typed {
        Value::Number(_) => Some(read_number(text)).filter(|number| !number.is_null()),
        _ => serde_json::from_str::<bool>(text.trim()).ok().map(Value::Bool),
    }
}

fn shortest(number: &BigDecimal) -> String {
    number.normalized().to_plain_string()
}

pub(crate) fn contains(items: &[Value], item: &Value) -> bool {
    items.iter().any(|known| equal(item, known) == Some(true))
}

/// Whether a value is in a list, or (`wanted` false) is not; false where it is of no type that the items have.
pub(crate) fn member(items: &[Value], value: &Value, wanted: bool) -> bool {
    let goes_beside = |item: &Value| match (value, item) {
        (Value::List(_), item) => matches!(item, Value::List(_)),
        (_, Value::Untyped(..)) => true,
        (value, item) => equal(value, item).is_some(),
    };
    let untyped = matches!(value, Value::Untyped(..) | Value::List(_));
    let comparable = !untyped || items.is_empty() || items.iter().any(goes_beside);
    comparable && contains(items, value) == wanted
}

pub(crate) fn subset(a: &[Value], b: &[Value]) -> bool {
    a.iter().all(|item| contains(b, item))
}
