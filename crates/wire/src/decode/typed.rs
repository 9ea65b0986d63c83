//! The one visitor all encodings end in: it builds a typed, normalised [`Value`] straight from a
//! deserializer.
//!
//! What "normalised" means: null fields and null list items are left out; numbers keep all their
//! digits; instants come as epoch milliseconds, RFC 3339 or plain date; blank texts are left out,
//! others are in NFC; a key object has a trimmed `sourceKey` and, as far as they can be derived,
//! its three parts, or is left out. Fields that are not in the schema are set aside with their
//! path; inside list items they have no path of their own and are dropped.

use std::fmt;

use millrace_model::json::NUMBER;
use millrace_model::text::{composed, named};
use millrace_model::{Date, Decimal, Field, Map, RecordType, Rejection, Text, Timestamp, Type, Value, number, source_key};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::Reason;

/// The instants a record can carry: the years 1 to 9999, which RFC 3339 can write and calendars can
/// compute with.
const INSTANT_MIN: Timestamp = Timestamp(-62_135_596_800_000);
const INSTANT_MAX: Timestamp = Timestamp(253_402_300_799_999);

/// The state while one record is read.
#[derive(Default)]
pub(crate) struct Reading {
    /// Where the reader is. Items of lists have no step.
    path: Vec<Text>,
    /// How many lists the reader is inside.
    lists: usize,
    /// Set before a deserializer stops, because its error type cannot carry it.
    pub rejection: Option<Rejection>,
    /// Fields that are not in the schema, in order of reading. `None`: inside a list, dropped.
    pub unknown: Vec<(Vec<Text>, Option<Value>)>,
}

impl Reading {
    /// Reads a record of this type, nulls left out.
    ///
    /// # Errors
    /// The format's own error, or any error at all with `self.rejection` set.
    pub fn record<'de, D: Deserializer<'de>>(&mut self, record: &RecordType, deserializer: D) -> Result<Map, D::Error> {
        let read = deserializer.deserialize_any(RecordVisitor { record, reading: self })?;
        Ok(if let Value::Map(map) = read { map } else { Map::new() })
    }

    fn wrong_type<E: Error>(&mut self, expected: &str, found: impl fmt::Display) -> E {
        let place = if self.path.is_empty() {
            "the record".to_owned()
        } else {
            format!("`{}`", self.path.join("."))
        };
        self.reject(Reason::WrongType.because(format!("{place}: expected {expected}, found {found}")))
    }

    fn reject<E: Error>(&mut self, rejection: Rejection) -> E {
        let error = E::custom(&rejection.detail);
        self.rejection.get_or_insert(rejection);
        error
    }

    /// Sorted fields, each name once.
    fn map<E: Error>(&mut self, mut fields: Vec<(Text, Value)>) -> Result<Map, E> {
        if !fields.is_sorted_by(|a, b| a.0 < b.0) {
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            if let Some(pair) = fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                self.path.push(pair[0].0.clone());
                let rejection = Reason::MalformedJson.because(format!("`{}` is there twice", self.path.join(".")));
                return Err(self.reject(rejection));
            }
        }
        Ok(fields.into_iter().collect())
    }
}

/// Reads one value of a type.
struct Typed<'a> {
    ty: &'a Type,
    reading: &'a mut Reading,
}

impl<'de> DeserializeSeed<'de> for Typed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.ty {
            Type::Record(record) => deserializer.deserialize_any(RecordVisitor { record, reading: self.reading }),
            Type::Any => deserializer.deserialize_any(AnyVisitor { reading: self.reading }),
            Type::Bool | Type::Int | Type::Number | Type::Text | Type::Date | Type::Time | Type::List(_) | Type::Map(_) => deserializer.deserialize_any(self),
        }
    }
}

impl Typed<'_> {
    fn mismatch<E: Error>(self, found: impl fmt::Display) -> E {
        let expected = match self.ty {
            Type::Bool => "true or false",
            Type::Int => "a whole number",
            Type::Number => "a number",
            Type::Text => "a text",
            Type::Date => "a date (2026-11-01, or a date with a time)",
            Type::Time => "an instant (RFC 3339 with its zone, plain date or epoch milliseconds)",
            Type::List(_) => "a list",
            Type::Map(_) | Type::Record(_) | Type::Any => "an object",
        };
        self.reading.wrong_type(expected, found)
    }

    fn instant<E: Error>(self, instant: Timestamp) -> Result<Value, E> {
        if (INSTANT_MIN..=INSTANT_MAX).contains(&instant) {
            Ok(Value::Time(instant))
        } else {
            Err(self.mismatch(format_args!("{} ms, which is outside the years 1 to 9999", instant.0)))
        }
    }
}

impl Typed<'_> {
    /// A number with a fraction or an exponent, or too great for 64 bits.
    fn decimal<E: Error>(self, number: Option<Decimal>, found: impl fmt::Display) -> Result<Value, E> {
        match (self.ty, number.map(Value::number)) {
            (Type::Number, Some(number)) => Ok(number),
            (Type::Int, Some(Value::Int(whole))) => Ok(Value::Int(whole)),
            (Type::Time, Some(Value::Int(whole))) => self.instant(Timestamp(whole)),
            (Type::Number, None) => Err(self.reading.wrong_type(number::BOUNDS, found)),
            _ => Err(self.mismatch(found)),
        }
    }
}

impl<'de> Visitor<'de> for Typed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the field's type")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        if *self.ty == Type::Bool {
            Ok(Value::Bool(flag))
        } else {
            Err(self.mismatch(flag))
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        match self.ty {
            Type::Int | Type::Number => Ok(Value::Int(number)),
            Type::Time => self.instant(Timestamp(number)),
            Type::Bool | Type::Text | Type::Date | Type::List(_) | Type::Map(_) | Type::Record(_) | Type::Any => {
                Err(self.mismatch(format_args!("number {number}")))
            }
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        match (i64::try_from(number), self.ty) {
            (Ok(number), _) => self.visit_i64(number),
            (Err(_), Type::Number) => Ok(Value::number(Decimal::from(number))),
            (Err(_), _) => Err(self.mismatch(format_args!("number {number}"))),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        self.decimal(number::of_double(number), format_args!("number {number:?}"))
    }

    fn visit_f32<E: Error>(self, number: f32) -> Result<Value, E> {
        self.decimal(number::of_single(number), format_args!("number {number:?}"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        let read = match self.ty {
            Type::Text => Some(Value::text(composed(text))),
            Type::Date => Date::parse_written(text).map(Value::Date),
            Type::Time => match Timestamp::parse(text) {
                Ok(instant) => return self.instant(instant),
                Err(_) => None,
            },
            Type::Bool | Type::Int | Type::Number | Type::List(_) | Type::Map(_) | Type::Record(_) | Type::Any => None,
        };
        read.ok_or_else(|| self.mismatch(format_args!("text `{}`", head(text))))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Err(self.mismatch(format_args!("{} bytes", bytes.len())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Type::List(ty) = self.ty else { return Err(self.mismatch("a list")) };
        let mut list = Vec::new();
        self.reading.lists += 1;
        while let Some(item) = items.next_element_seed(Typed { ty, reading: self.reading })? {
            if !item.is_null() {
                list.push(item);
            }
        }
        self.reading.lists -= 1;
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut name = entries.next_key_seed(NameSeed)?;
        if let Some(text) = exact(name.as_ref(), &mut entries)? {
            return self.decimal(number::parse(&text), format_args!("number {}", head(&text)));
        }
        let Type::Map(ty) = self.ty else { return Err(self.mismatch("an object")) };
        let mut fields = Vec::new();
        while let Some(known) = name {
            self.reading.path.push(known.clone());
            let value = entries.next_value_seed(Typed { ty, reading: self.reading })?;
            self.reading.path.pop();
            if !value.is_null() {
                fields.push((known, value));
            }
            name = entries.next_key_seed(NameSeed)?;
        }
        self.reading.map(fields).map(Value::Map)
    }
}

/// The text of a number that no integer holds. The format passes it as a map with one entry, whose
/// name marks it as a number.
fn exact<'de, A: MapAccess<'de>>(name: Option<&Text>, entries: &mut A) -> Result<Option<String>, A::Error> {
    if name.is_some_and(|name| name == NUMBER) {
        entries.next_value().map(Some)
    } else {
        Ok(None)
    }
}

/// Reads the fields of a record; `Null` for a key object that names nothing.
struct RecordVisitor<'a> {
    record: &'a RecordType,
    reading: &'a mut Reading,
}

impl RecordVisitor<'_> {
    fn mismatch<E: Error>(self, found: impl fmt::Display) -> E {
        self.reading.wrong_type("an object", found)
    }
}

impl<'de> Visitor<'de> for RecordVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Err(self.mismatch(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Err(self.mismatch(format_args!("number {number}")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Err(self.mismatch(format_args!("number {number}")))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Err(self.mismatch(format_args!("number {number:?}")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        if text.trim().is_empty() && !self.reading.path.is_empty() {
            return Ok(Value::Null);
        }
        Err(self.mismatch(format_args!("text `{}`", head(text))))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Err(self.mismatch(format_args!("{} bytes", bytes.len())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self.mismatch("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let RecordVisitor { record, reading } = self;
        let mut fields = Vec::with_capacity(record.fields.len().min(8));
        while let Some(name) = entries.next_key_seed(FieldSeed { record })? {
            match name {
                Name::Known(name, field) => {
                    reading.path.push(name.clone());
                    let value = entries.next_value_seed(Typed { ty: &field.ty, reading })?;
                    reading.path.pop();
                    if !value.is_null() {
                        fields.push((name.clone(), value));
                    }
                }
                Name::Unknown(name) if name == NUMBER => {
                    let text: String = entries.next_value()?;
                    return Err(reading.wrong_type("an object", format_args!("number {}", head(&text))));
                }
                Name::Unknown(name) => {
                    reading.path.push(name);
                    let value = entries.next_value_seed(Typed { ty: &Type::Any, reading })?;
                    let path = reading.path.clone();
                    reading.path.pop();
                    if !value.is_null() {
                        reading.unknown.push((path, (reading.lists == 0).then_some(value)));
                    }
                }
            }
        }
        let map = reading.map(fields)?;
        if is_key(record) {
            return Ok(key_object(map).map_or(Value::Null, Value::Map));
        }
        Ok(Value::Map(map))
    }
}

/// Whether this is the type of key objects.
pub(crate) fn is_key(record: &RecordType) -> bool {
    record.name == "B2BSource"
}

/// A key object from the text of its `sourceKey`; `None` where it is blank.
pub(crate) fn key_object_of(source_key: &str) -> Option<Map> {
    key_object([(Text::const_new("sourceKey"), Value::text(source_key))].into_iter().collect())
}

/// Trims the four texts, builds `sourceKey` from its parts or the parts from it, and leaves out
/// blank ones. `None` where nothing names the thing.
fn key_object(map: Map) -> Option<Map> {
    let part = |name: &str| map.get(name).and_then(Value::as_str).map(named).filter(|text| !text.is_empty());
    let (own, given) = (part("sourceKey"), ["sourceID", "sourceInstanceID", "sourceType"].map(part));
    let [mut id, mut instance, mut ty] = given.each_ref().map(Option::as_deref);
    let key = match (own.as_deref(), id, instance, ty) {
        (Some(key), ..) => Text::new(key),
        (None, Some(id), Some(instance), Some(ty)) => Text::from(format!("{id}@{instance}.{ty}")),
        _ => return None,
    };
    if let Some([key_id, key_instance, key_type]) = source_key::parts(&key) {
        id = id.or(Some(key_id));
        instance = instance.or(Some(key_instance));
        ty = ty.or(Some(key_type));
    }
    let fields = [
        ("sourceID", id),
        ("sourceInstanceID", instance),
        ("sourceKey", Some(key.as_str())),
        ("sourceType", ty),
    ];
    Some(
        fields
            .into_iter()
            .filter_map(|(name, text)| Some((Text::const_new(name), Value::text(text?))))
            .collect(),
    )
}

/// Reads any value as is: the values under `extra`.
struct AnyVisitor<'a> {
    reading: &'a mut Reading,
}

impl AnyVisitor<'_> {
    fn decimal<E: Error>(self, number: Option<Decimal>, found: impl fmt::Display) -> Result<Value, E> {
        match number {
            Some(number) => Ok(Value::number(number)),
            None => Err(self.reading.wrong_type(number::BOUNDS, found)),
        }
    }
}

impl<'de> Visitor<'de> for AnyVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::number(Decimal::from(number)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        self.decimal(number::of_double(number), number)
    }

    fn visit_f32<E: Error>(self, number: f32) -> Result<Value, E> {
        self.decimal(number::of_single(number), number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(composed(text)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Err(self.reading.wrong_type("anything JSON can say", format_args!("{} bytes", bytes.len())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Typed {
            ty: &Type::Any,
            reading: self.reading,
        })? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        let mut name = entries.next_key_seed(NameSeed)?;
        if let Some(text) = exact(name.as_ref(), &mut entries)? {
            return self.decimal(number::parse(&text), head(&text));
        }
        while let Some(known) = name {
            let value = entries.next_value_seed(Typed {
                ty: &Type::Any,
                reading: self.reading,
            })?;
            if !value.is_null() {
                fields.push((known, value));
            }
            name = entries.next_key_seed(NameSeed)?;
        }
        self.reading.map(fields).map(Value::Map)
    }
}

enum Name<'a> {
    Known(&'a Text, &'a Field),
    Unknown(Text),
}

/// Looks a field name up without copying it.
struct FieldSeed<'a> {
    record: &'a RecordType,
}

impl<'de, 'a> DeserializeSeed<'de> for FieldSeed<'a> {
    type Value = Name<'a>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name<'a>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, 'a> Visitor<'de> for FieldSeed<'a> {
    type Value = Name<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name<'a>, E> {
        Ok(match self.record.fields.get_key_value(name) {
            Some((name, field)) => Name::Known(name, field),
            None => Name::Unknown(Text::new(name)),
        })
    }
}

struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Text;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Text, E> {
        Ok(Text::new(name))
    }
}

/// The beginning of a text, short enough for a header.
fn head(text: &str) -> &str {
    let end = (0..=60).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests;
