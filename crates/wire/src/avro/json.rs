//! A datum of any schema as a JSON value, for readers that have no type of their own for it.

use std::fmt;

use base64::Engine as _;
use millrace_model::Rejection;
use millrace_model::json::NUMBER;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::read::Input;
use super::schema::AvroSchema;
use crate::Reason;

impl AvroSchema {
    /// The datum that `bytes` consist of. Bytes become base64 text, as Kafka Connect's JSON has
    /// them; numbers keep their digits; a number that is not finite is null. Logical instants,
    /// dates and decimals arrive as source records have them.
    ///
    /// # Errors
    /// Where the bytes do not fit the schema.
    pub fn json(&self, bytes: &[u8]) -> Result<Value, Rejection> {
        let mut input = Input::new(bytes);
        let Plain(value) = Plain::deserialize(self.datum(&mut input)).map_err(|error| Reason::BadAvro.because(error.to_string()))?;
        match input.left() {
            0 => Ok(value),
            left => Err(Reason::BadAvro.because(format!("{left} bytes are left over after the datum"))),
        }
    }
}

struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Plain)
    }
}

struct AnyValue;

/// The number that a text spells; null where it is none.
fn spelled(text: &str) -> Value {
    serde_json::from_str::<Number>(text).map_or(Value::Null, Value::Number)
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f32<E>(self, value: f32) -> Result<Value, E> {
        // By its own digits: widened, 0.1 would become 0.10000000149011612.
        Ok(spelled(&value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::String(base64::engine::general_purpose::STANDARD.encode(value)))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Plain(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Plain(value))) = members.next_entry::<String, Plain>()? {
            if name == NUMBER {
                return Ok(value.as_str().map_or(Value::Null, spelled));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_has_its_value() {
        let table = [
            (json!("null"), vec![], json!(null)),
            (json!("boolean"), vec![1], json!(true)),
            (json!("long"), vec![0x54], json!(42)),
            (json!("string"), vec![2, b'a'], json!("a")),
            (json!("bytes"), vec![4, 0xfb, 0xff], json!("+/8=")),
            (json!({"type": "fixed", "name": "f", "size": 2}), vec![0xfb, 0xff], json!("+/8=")),
            (json!({"type": "array", "items": "int"}), vec![4, 2, 4, 0], json!([1, 2])),
            (json!({"type": "map", "values": "int"}), vec![2, 2, b'a', 2, 0], json!({"a": 1})),
            (json!(["null", "string"]), vec![2, 2, b'a'], json!("a")),
            (json!({"type": "int", "logicalType": "date"}), vec![2], json!("1970-01-02")),
            (json!({"type": "long", "logicalType": "timestamp-micros"}), vec![0xd0, 0x0f], json!(1)),
        ];
        for (schema, bytes, expected) in table {
            let parsed = AvroSchema::parse(&schema.to_string(), &[]).expect("a schema");
            assert_eq!(parsed.json(&bytes).expect("a datum"), expected, "{schema}");
        }
        let float = AvroSchema::parse("\"float\"", &[]).expect("a schema");
        assert_eq!(float.json(&0.1f32.to_le_bytes()).map(|value| value.to_string()), Ok("0.1".to_owned()));
        assert_eq!(float.json(&f32::NAN.to_le_bytes()), Ok(Value::Null));
        let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2});
        let decimal = AvroSchema::parse(&decimal.to_string(), &[]).expect("a schema");
        let digits = decimal.json(&[6, 0x01, 0xe2, 0x41]).map(|value| value.to_string());
        assert_eq!(digits, Ok("1234.57".to_owned()));
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let schema = AvroSchema::parse("\"string\"", &[]).expect("a schema");
        for bytes in [&[][..], &[6, b'a'], &[2, b'a', 0]] {
            assert_eq!(
                schema.json(bytes).map_err(|rejection| rejection.reason.to_string()),
                Err("bad-avro".to_owned()),
                "{bytes:?}"
            );
        }
    }
}
