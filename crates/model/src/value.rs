//! The one value tree: the value of a record's field, a feature or an expression.

use std::cmp::Ordering;

use compact_str::CompactString;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use crate::{Date, Timestamp, number};

/// Short texts (up to 24 bytes) live inline.
pub type Text = CompactString;

/// A value. `Null` and an absent field mean the same to every reader.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub enum Value {
    /// No value; the same as an absent field.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// Made only by `Value::number`. Invariant: no whole number within `i64`, and no zero at the
    /// end of its fraction.
    Decimal(#[serde(with = "number::stored")] Decimal),
    /// A text.
    Text(Text),
    /// A calendar date, in no zone.
    Date(Date),
    /// An instant.
    Time(Timestamp),
    /// Values in order.
    List(Vec<Value>),
    /// Fields by name.
    Map(Map),
}

/// Fields in ascending byte order of their names, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Map(Vec<(Text, Value)>);

/// A map, serialised as the `Value::Map` of those of its fields that `keeps` keeps.
pub struct Pick<'m, F> {
    /// The whole map.
    pub map: &'m Map,
    /// Whether a field of this name is kept.
    pub keeps: F,
}

impl<F: Fn(&str) -> bool> Pick<'_, F> {
    fn fields(&self) -> impl Iterator<Item = &(Text, Value)> {
        self.map.0.iter().filter(|(name, _)| (self.keeps)(name))
    }
}

impl<F: Fn(&str) -> bool> Serialize for Pick<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Fields<'p, 'm, F>(&'p Pick<'m, F>);
        impl<F: Fn(&str) -> bool> Serialize for Fields<'_, '_, F> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut fields = serializer.serialize_seq(Some(self.0.fields().count()))?;
                self.0.fields().try_for_each(|field| fields.serialize_element(field))?;
                fields.end()
            }
        }
        // The place of `Map` among the variants of `Value`.
        serializer.serialize_newtype_variant("Value", 8, "Map", &Fields(self))
    }
}

impl Value {
    /// A text value.
    pub fn text(text: impl AsRef<str>) -> Value {
        Value::Text(Text::new(text))
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The text; everything else is none.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// The truth value; everything else is none.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The whole number; everything else is none.
    pub fn as_i64(&self) -> Option<i64> {
        if let Value::Int(number) = self { Some(*number) } else { None }
    }

    /// A number in its one form: `Int` if it is whole and fits.
    pub fn number(number: Decimal) -> Value {
        let number = number.normalize();
        match number.to_i64() {
            Some(whole) if number.scale() == 0 => Value::Int(whole),
            _ => Value::Decimal(number),
        }
    }

    /// A number too great for a decimal is null.
    pub fn number_or_null(number: Option<Decimal>) -> Value {
        number.map_or(Value::Null, Value::number)
    }

    /// Whether it is a number, whole or not.
    pub fn is_number(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Decimal(_))
    }

    /// The number; `None` for everything else.
    pub fn as_decimal(&self) -> Option<Decimal> {
        match self {
            Value::Int(number) => Some(Decimal::from(*number)),
            Value::Decimal(number) => Some(*number),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Date(_) | Value::Time(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The nearest double: for numbers that are not amounts, such as a number of hours.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Decimal(number) => number.to_f64(),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Date(_) | Value::Time(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The date; everything else is none.
    pub fn as_date(&self) -> Option<Date> {
        if let Value::Date(date) = self { Some(*date) } else { None }
    }

    /// The instant; everything else is none.
    pub fn as_time(&self) -> Option<Timestamp> {
        if let Value::Time(instant) = self { Some(*instant) } else { None }
    }

    /// The items; everything else is none.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List(items) = self { Some(items) } else { None }
    }

    /// The fields; everything else is none.
    pub fn as_map(&self) -> Option<&Map> {
        if let Value::Map(map) = self { Some(map) } else { None }
    }

    /// The field `name` of a map; `Null` where this is not a map or has no such field.
    pub fn field(&self, name: &str) -> &Value {
        const NULL: &Value = &Value::Null;
        self.as_map().and_then(|map| map.get(name)).unwrap_or(NULL)
    }

    /// The value at a dotted path of map fields; `Null` where any step is missing.
    pub fn at(&self, dotted: &str) -> &Value {
        dotted.split('.').fold(self, |value, step| value.field(step))
    }

    /// JSON as users see it: numbers with all their digits, instants as RFC 3339 text, dates as
    /// `2026-11-01`.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Int(number) => (*number).into(),
            Value::Decimal(number) => number.to_string().parse().map_or(serde_json::Value::Null, serde_json::Value::Number),
            Value::Text(text) => text.as_str().into(),
            Value::Date(date) => date.to_string().into(),
            Value::Time(instant) => instant.to_string().into(),
            Value::List(items) => items.iter().map(Value::to_json).collect(),
            Value::Map(map) => serde_json::Value::Object(map.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect()),
        }
    }

    /// Untyped JSON as a value: whole numbers within `i64` are `Int`, texts stay texts.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(flag) => Value::Bool(*flag),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::number_or_null(number::parse(number.as_str())),
            },
            serde_json::Value::String(text) => Value::text(text),
            serde_json::Value::Array(items) => Value::List(items.iter().map(Value::from_json).collect()),
            serde_json::Value::Object(fields) => Value::Map(fields.iter().map(|(name, value)| (Text::new(name), Value::from_json(value))).collect()),
        }
    }

    /// A rank per variant, so that values of different types have a (meaningless but fixed) order.
    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Int(_) | Value::Decimal(_) => 2,
            Value::Text(_) => 3,
            Value::Date(_) => 4,
            Value::Time(_) => 5,
            Value::List(_) => 6,
            Value::Map(_) => 7,
        }
    }
}

/// A total order: numbers by value whatever their variant, lists and maps by their items. It serves
/// sorting and de-duplication; the comparison operators of the segment language have their own null
/// rule.
impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
            (Value::Int(a), Value::Decimal(b)) => Decimal::from(*a).cmp(b),
            (Value::Decimal(a), Value::Int(b)) => a.cmp(&Decimal::from(*b)),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::List(a), Value::List(b)) => a.cmp(b),
            (Value::Map(a), Value::Map(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Bool(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<Decimal> for Value {
    fn from(number: Decimal) -> Value {
        Value::number(number)
    }
}

impl From<Date> for Value {
    fn from(date: Date) -> Value {
        Value::Date(date)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::text(text)
    }
}

impl From<Timestamp> for Value {
    fn from(instant: Timestamp) -> Value {
        Value::Time(instant)
    }
}

impl Map {
    /// A map without fields.
    pub fn new() -> Map {
        Map::default()
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.position(name).ok().map(|at| &self.0[at].1)
    }

    /// The value of a field, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.position(name).ok().map(|at| &mut self.0[at].1)
    }

    /// Sets `name`, returning its previous value.
    pub fn insert(&mut self, name: impl AsRef<str>, value: Value) -> Option<Value> {
        let name = name.as_ref();
        match self.position(name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (Text::new(name), value));
                None
            }
        }
    }

    /// Takes a field out, and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.position(name).ok().map(|at| self.0.remove(at).1)
    }

    /// In ascending order of names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Text, &Value)> + ExactSizeIterator {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// In ascending order of names.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }
}

/// Of equal names the last wins.
impl FromIterator<(Text, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Text, Value)>>(fields: I) -> Map {
        let mut map = Map::new();
        for (name, value) in fields {
            match map.0.last() {
                Some((last, _)) if *last >= name => {
                    map.insert(name, value);
                }
                _ => map.0.push((name, value)),
            }
        }
        map
    }
}

impl IntoIterator for Map {
    type Item = (Text, Value);
    type IntoIter = std::vec::IntoIter<(Text, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_keep_names_sorted_and_unique() {
        let map: Map = [("b", 1), ("a", 2), ("b", 3)]
            .into_iter()
            .map(|(name, n)| (Text::new(name), Value::Int(n)))
            .collect();
        assert_eq!(
            map.iter().map(|(name, value)| (name.as_str(), value.as_i64())).collect::<Vec<_>>(),
            [("a", Some(2)), ("b", Some(3))]
        );
    }

    #[test]
    fn numbers_compare_by_value() {
        let number = |text: &str| Value::number_or_null(number::parse(text));
        assert_eq!(Value::Int(1), number("1.0"));
        assert!(Value::Int(2) > number("1.5"));
        assert!(number("9223372036854775808") > Value::Int(i64::MAX));
        assert!(number("-0.1") < Value::Int(0));
    }

    #[test]
    fn rows_keep_every_value() {
        for text in [
            "0.1",
            "-7.25",
            "18446744073709551615",
            "-0.0000000000000000000000000001",
            "79228162514264337593543950335",
        ] {
            let value = Value::number_or_null(number::parse(text));
            let bytes = postcard::to_allocvec(&value).expect("values serialise");
            assert_eq!(postcard::from_bytes::<Value>(&bytes).expect("our own bytes"), value);
        }
        let date = Value::Date(Date::new(1990, 2, 28).expect("a day"));
        let bytes = postcard::to_allocvec(&date).expect("values serialise");
        assert_eq!(postcard::from_bytes::<Value>(&bytes).expect("our own bytes"), date);
    }

    #[test]
    fn json_keeps_every_digit() {
        for text in [
            "9007199254740993",
            "18446744073709551615",
            "12345678901234567.89",
            "0.1234567890123456789012345678",
            "-1000000.5",
        ] {
            let json: serde_json::Value = serde_json::from_str(text).expect("a number");
            assert_eq!(Value::from_json(&json).to_json().to_string(), text);
        }
    }

    #[test]
    fn json_reads_back_but_for_instants() {
        let json = serde_json::json!({"a": [1, 2.5, "x", null, true], "b": {"c": {}}});
        assert_eq!(Value::from_json(&json).to_json(), json);
        assert_eq!(Value::Time(Timestamp(0)).to_json(), serde_json::json!("1970-01-01T00:00:00.000Z"));
    }
}
