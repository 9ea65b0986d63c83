//! Walks a writer schema over the bytes of a datum and passes what it finds to a serde visitor.

use std::fmt;

use millrace_model::json::NUMBER;
use millrace_model::{Date, number};
use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::schema::{AvroSchema, NodeId, SchemaNode};

/// Deepest nesting of lists, maps, records and unions; each level is a stack frame.
const DEPTH_MAX: usize = 128;

/// Most values in one datum. Items may take no bytes at all, so the length of the input bounds
/// nothing.
const STEPS_MAX: usize = 4_000_000;

/// The datum does not fit its schema.
#[derive(Debug)]
pub(crate) struct AvroError(String);

impl fmt::Display for AvroError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AvroError {}

impl serde::de::Error for AvroError {
    fn custom<T: fmt::Display>(message: T) -> AvroError {
        AvroError(message.to_string())
    }
}

type Result<T> = std::result::Result<T, AvroError>;

/// The bytes still to be read.
pub(crate) struct Input<'de> {
    bytes: &'de [u8],
    depth: usize,
    steps: usize,
}

impl<'de> Input<'de> {
    pub(crate) fn new(bytes: &'de [u8]) -> Input<'de> {
        Input { bytes, depth: 0, steps: 0 }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Result<&'de [u8]> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or_else(|| AvroError(format!("{length} bytes expected, {} left", self.bytes.len())))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or_else(|| AvroError(format!("{N} bytes expected, {} left", self.bytes.len())))?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// Zig-zag, seven bits per byte, least significant first, at most ten bytes.
    fn long(&mut self) -> Result<i64> {
        let mut number = 0u64;
        for (at, byte) in self.bytes.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7F);
            if at == 9 && bits > 1 {
                break;
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.bytes = &self.bytes[at + 1..];
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(AvroError("a number of at most ten bytes expected".to_owned()))
    }

    fn length(&mut self) -> Result<usize> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| AvroError(format!("length {length}")))
    }

    fn bytes(&mut self) -> Result<&'de [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'de str> {
        str::from_utf8(self.bytes()?).map_err(|error| AvroError(format!("text is no UTF-8: {error}")))
    }

    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            Err(AvroError(format!("more than {STEPS_MAX} values")))
        } else {
            Ok(())
        }
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            Err(AvroError(format!("nested deeper than {DEPTH_MAX}")))
        } else {
            Ok(())
        }
    }
}

impl AvroSchema {
    /// A deserializer of one datum at the start of the input.
    pub(crate) fn datum<'a, 'de>(&'a self, input: &'a mut Input<'de>) -> Datum<'a, 'de> {
        Datum {
            schema: self,
            node: self.top,
            input,
        }
    }
}

/// One value of a datum.
pub(crate) struct Datum<'a, 'de> {
    schema: &'a AvroSchema,
    node: NodeId,
    input: &'a mut Input<'de>,
}

impl<'a, 'de> Datum<'a, 'de> {
    /// Follows unions to the branch that is present.
    fn settle(mut self) -> Result<(&'a SchemaNode, Datum<'a, 'de>)> {
        self.input.step()?;
        let schema = self.schema;
        // A union may not hold a union directly, but may refer to nothing else either, so this
        // ends.
        while let SchemaNode::Union(branches) = &schema.nodes[self.node] {
            let index = self.input.length()?;
            self.node = *branches
                .get(index)
                .ok_or_else(|| AvroError(format!("branch {index} of a union of {}", branches.len())))?;
        }
        Ok((&schema.nodes[self.node], self))
    }

    fn visit<V: Visitor<'de>>(node: &'a SchemaNode, datum: Datum<'a, 'de>, visitor: V) -> Result<V::Value> {
        let Datum { schema, input, .. } = datum;
        match node {
            SchemaNode::Null | SchemaNode::Union(_) => visitor.visit_unit(),
            SchemaNode::Bool => match input.array::<1>()? {
                [0] => visitor.visit_bool(false),
                [1] => visitor.visit_bool(true),
                [other] => Err(AvroError(format!("boolean of byte {other}"))),
            },
            SchemaNode::Int => visitor.visit_i64(input.long()?),
            SchemaNode::Float => visitor.visit_f32(f32::from_le_bytes(input.array()?)),
            SchemaNode::Double => visitor.visit_f64(f64::from_le_bytes(input.array()?)),
            SchemaNode::Bytes => visitor.visit_borrowed_bytes(input.bytes()?),
            SchemaNode::Fixed(size) => visitor.visit_borrowed_bytes(input.take(*size)?),
            SchemaNode::Text => visitor.visit_borrowed_str(input.text()?),
            SchemaNode::Uuid { fixed } => {
                let bytes = if *fixed { input.take(16)? } else { input.bytes()? };
                visitor.visit_str(&uuid_text(bytes)?)
            }
            SchemaNode::Symbol(symbols) => {
                let index = input.length()?;
                visitor.visit_str(symbols.get(index).ok_or_else(|| AvroError(format!("symbol {index} of {}", symbols.len())))?)
            }
            SchemaNode::Date => {
                let date = Date::of_days(input.long()?).ok_or_else(|| AvroError("a date outside the years 1 to 9999".to_owned()))?;
                visitor.visit_str(&date.to_string())
            }
            SchemaNode::Instant { per_ms } => visitor.visit_i64(input.long()?.div_euclid(*per_ms)),
            SchemaNode::Decimal { scale, fixed } => {
                let bytes = match fixed {
                    Some(size) => input.take(*size)?,
                    None => input.bytes()?,
                };
                let number = number::of_unscaled(bytes, *scale).ok_or_else(|| AvroError(format!("a decimal that is not {}", number::BOUNDS)))?;
                visitor.visit_map(MapDeserializer::new(std::iter::once((NUMBER, number.to_string()))))
            }
            SchemaNode::List(items) => nested(input, |input| {
                visitor.visit_seq(Blocks {
                    schema,
                    node: *items,
                    input,
                    remaining: 0,
                    done: false,
                    json: false,
                })
            }),
            SchemaNode::Map { values, json } => nested(input, |input| {
                visitor.visit_map(Blocks {
                    schema,
                    node: *values,
                    input,
                    remaining: 0,
                    done: false,
                    json: *json,
                })
            }),
            SchemaNode::Record(fields) => nested(input, |input| {
                visitor.visit_map(Fields {
                    schema,
                    fields: fields.iter(),
                    value: schema.top,
                    input,
                })
            }),
        }
    }
}

fn nested<'a, 'de, T>(input: &'a mut Input<'de>, read: impl FnOnce(&mut Input<'de>) -> Result<T>) -> Result<T> {
    input.enter()?;
    let value = read(input)?;
    input.depth -= 1;
    Ok(value)
}

impl<'de> Deserializer<'de> for Datum<'_, 'de> {
    type Error = AvroError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let (node, datum) = self.settle()?;
        Datum::visit(node, datum, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let (node, datum) = self.settle()?;
        if matches!(node, SchemaNode::Null) {
            visitor.visit_none()
        } else {
            visitor.visit_some(datum)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value> {
        let (node, datum) = self.settle()?;
        visitor.visit_enum(Variant { node, datum })
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// A unit variant by its name.
struct Variant<'a, 'de> {
    node: &'a SchemaNode,
    datum: Datum<'a, 'de>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = AvroError;
    type Variant = UnitOnly;

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type, known or new, names a variant")]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, UnitOnly)> {
        let input = self.datum.input;
        let name = match self.node {
            SchemaNode::Symbol(symbols) => {
                let index = input.length()?;
                symbols.get(index).ok_or_else(|| AvroError(format!("symbol {index} of {}", symbols.len())))?
            }
            SchemaNode::Text => input.text()?,
            _ => return Err(AvroError("a symbol or text expected".to_owned())),
        };
        let deserializer: StrDeserializer<'_, AvroError> = name.into_deserializer();
        Ok((seed.deserialize(deserializer)?, UnitOnly))
    }
}

struct UnitOnly;

impl<'de> VariantAccess<'de> for UnitOnly {
    type Error = AvroError;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value> {
        Err(AvroError("a symbol carries no data".to_owned()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value> {
        Err(AvroError("a symbol carries no data".to_owned()))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value> {
        Err(AvroError("a symbol carries no data".to_owned()))
    }
}

/// The items of an array or map: blocks of a count and that many items, ended by a count of 0. A
/// negative count is followed by the block's size in bytes.
struct Blocks<'a, 'de> {
    schema: &'a AvroSchema,
    node: NodeId,
    input: &'a mut Input<'de>,
    remaining: u64,
    done: bool,
    json: bool,
}

impl<'de> Blocks<'_, 'de> {
    fn more(&mut self) -> Result<bool> {
        if self.remaining == 0 && !self.done {
            let count = self.input.long()?;
            if count < 0 {
                // The block's size in bytes, for readers that skip it.
                self.input.length()?;
            }
            self.remaining = count.unsigned_abs();
            self.done = count == 0;
        }
        Ok(!self.done)
    }

    fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.remaining -= 1;
        if self.json {
            let text = self.input.text()?;
            let mut json = serde_json::Deserializer::from_str(text);
            let value = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
            return value.map_err(|error| AvroError(format!("value of a map of JSON texts is none: {error}")));
        }
        seed.deserialize(Datum {
            schema: self.schema,
            node: self.node,
            input: self.input,
        })
    }
}

impl<'de> SeqAccess<'de> for Blocks<'_, 'de> {
    type Error = AvroError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.more()? { self.value(seed).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for Blocks<'_, 'de> {
    type Error = AvroError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if !self.more()? {
            return Ok(None);
        }
        seed.deserialize(BorrowedStrDeserializer::new(self.input.text()?)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.value(seed)
    }
}

/// The fields of a record, in the schema's order. Null branches of unions are skipped: absent and
/// null mean the same, and most fields of a record are null, so this is most of the speed.
struct Fields<'a, 'de> {
    schema: &'a AvroSchema,
    fields: std::slice::Iter<'a, (String, NodeId)>,
    value: NodeId,
    input: &'a mut Input<'de>,
}

impl Fields<'_, '_> {
    /// Takes the union branch that comes next if it is null; takes nothing otherwise.
    fn null(&mut self, node: NodeId) -> bool {
        let (SchemaNode::Union(branches), Some((&byte, rest))) = (&self.schema.nodes[node], self.input.bytes.split_first()) else {
            return false;
        };
        // Zig-zag of a branch below 64 is one even byte.
        let null = byte & 0x81 == 0
            && branches
                .get(usize::from(byte >> 1))
                .is_some_and(|branch| matches!(self.schema.nodes[*branch], SchemaNode::Null));
        if null {
            self.input.bytes = rest;
        }
        null
    }
}

impl<'de> MapAccess<'de> for Fields<'_, 'de> {
    type Error = AvroError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let (name, node) = loop {
            match self.fields.next() {
                None => return Ok(None),
                Some((_, node)) if self.null(*node) => self.input.step()?,
                Some(field) => break field,
            }
        };
        self.value = *node;
        let name: StrDeserializer<'_, AvroError> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(Datum {
            schema: self.schema,
            node: self.value,
            input: self.input,
        })
    }
}

fn uuid_text(bytes: &[u8]) -> Result<String> {
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| AvroError::custom(format_args!("UUID of {} bytes", bytes.len())))?;
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}
