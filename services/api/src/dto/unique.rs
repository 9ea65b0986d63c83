//! JSON in which a field stands once. `serde_json` keeps the last of two fields of one name, and
//! which of the two was meant nobody knows.

use std::fmt;

use millrace_model::json::NUMBER;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a value; for `deserialize_with`.
///
/// # Errors
/// Where a field is there twice, at any depth.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    deserializer.deserialize_any(Unique)
}

struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        read(deserializer)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Unique)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if map.is_empty() && name == NUMBER {
                let digits: String = fields.next_value()?;
                return digits.parse::<Number>().map(Value::Number).map_err(A::Error::custom);
            }
            let value = fields.next_value_seed(Unique)?;
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("`{name}` is there twice")));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use crate::dto::RecordLine;

    #[test]
    fn a_field_stands_once() {
        let read = |value: &str| {
            let line = format!(r#"{{"topic":"person","value":{value}}}"#);
            serde_json::from_str::<RecordLine>(&line).map_or_else(|error| error.to_string(), |line| line.value.to_string())
        };
        for value in [
            "null",
            "true",
            r#""a text""#,
            r#"{"a":{"b":1},"b":{"b":1}}"#,
            r#"[1,-2,1.10,1e400,123456789012345678901234567890,"\u00e4",{}]"#,
        ] {
            assert_eq!(
                read(value),
                serde_json::from_str::<serde_json::Value>(value).map(|value| value.to_string()).unwrap()
            );
        }
        for value in [
            r#"{"b2b":{"personScore":1},"b2b":{"personScore":2}}"#,
            r#"{"extra":{"b2b":null,"b2b":null}}"#,
            r#"{"list":[{"b2b":1,"b2b":1}]}"#,
        ] {
            assert!(read(value).starts_with("`b2b` is there twice at line 1"), "{}", read(value));
        }
        // The line's own fields.
        for twice in [r#""topic":"account""#, r#""value":2"#] {
            let line = format!(r#"{{"topic":"person","value":1,{twice}}}"#);
            assert!(serde_json::from_str::<RecordLine>(&line).unwrap_err().to_string().contains("duplicate field"));
        }
        assert!(
            serde_json::from_str::<RecordLine>(r#"{"topic":"person"}"#)
                .unwrap_err()
                .to_string()
                .contains("missing field `value`")
        );
    }
}
