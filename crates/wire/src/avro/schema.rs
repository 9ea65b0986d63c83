//! Writer schemas, flattened into an arena so that a schema may refer to itself.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};

use super::canonical;
use millrace_model::Cause;

/// The text is not an Avro schema this reader can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unusable Avro schema")]
pub struct AvroSchemaError(#[source] pub Cause);

/// A schema data was written with.
#[derive(Debug)]
pub struct AvroSchema {
    pub(super) nodes: Vec<SchemaNode>,
    pub(super) top: NodeId,
    fingerprint: [u8; 8],
    text: String,
}

/// Index of a node in the arena.
pub(super) type NodeId = usize;

/// The shape of one place of a datum.
#[derive(Debug)]
pub(super) enum SchemaNode {
    Null,
    Bool,
    /// `int`, `long` and times of day.
    Int,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// Sixteen bytes shown as text.
    Uuid {
        fixed: bool,
    },
    Symbol(Vec<String>),
    /// Days since 1970.
    Date,
    /// Units since 1970; this many make a millisecond.
    Instant {
        per_ms: i64,
    },
    /// Two's complement, big-endian, with this number of digits after the point; of fixed size or
    /// with a length before it.
    Decimal {
        scale: u32,
        fixed: Option<usize>,
    },
    List(NodeId),
    Map {
        values: NodeId,
        json: bool,
    },
    Union(Vec<NodeId>),
    Record(Vec<(String, NodeId)>),
}

impl AvroSchema {
    /// Reads a schema, with the texts of the schemas it refers to.
    ///
    /// # Errors
    /// Where a text is not an Avro schema, or refers to a missing one.
    pub fn parse(text: &str, references: &[String]) -> Result<AvroSchema, AvroSchemaError> {
        let fail = |error: apache_avro::Error| AvroSchemaError(Cause::of("it cannot be parsed", error));
        let (schema, others) = match references {
            [] => (Schema::parse_str(text).map_err(fail)?, Vec::new()),
            _ => Schema::parse_str_with_list(text, references).map_err(fail)?,
        };
        let fingerprint = canonical::fingerprint(&serde_json::from_str(text).map_err(|error| AvroSchemaError(Cause::of("it is no JSON", error)))?);
        let others = others.iter().filter_map(|other| Some((other.name()?.fullname(None), other))).collect();
        let mut compiler = Compiler {
            nodes: Vec::new(),
            known: BTreeMap::new(),
            others,
        };
        let top = compiler.add(&schema, None)?;
        Ok(AvroSchema {
            nodes: compiler.nodes,
            top,
            fingerprint,
            text: text.to_owned(),
        })
    }

    /// The schema as it was given: attributes that Avro does not know, such as `connect.name`, are
    /// in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// CRC-64-AVRO of the schema's canonical form, little-endian, as single-object encoding writes
    /// it.
    pub fn fingerprint(&self) -> [u8; 8] {
        self.fingerprint
    }
}

struct Compiler<'a> {
    nodes: Vec<SchemaNode>,
    /// Named types by full name.
    known: BTreeMap<String, NodeId>,
    /// Referenced schemas not met yet, by full name.
    others: BTreeMap<String, &'a Schema>,
}

impl<'a> Compiler<'a> {
    fn add(&mut self, schema: &'a Schema, namespace: Option<&str>) -> Result<NodeId, AvroSchemaError> {
        if let Schema::Ref { name } = schema {
            return self.reference(name, namespace);
        }
        // The place is taken first, so that a type can be referred to from within itself.
        let id = self.nodes.len();
        self.nodes.push(SchemaNode::Null);
        if let Some(name) = schema.name() {
            self.known.insert(name.fullname(namespace), id);
        }
        self.nodes[id] = match schema {
            Schema::Null => SchemaNode::Null,
            Schema::Boolean => SchemaNode::Bool,
            Schema::Int | Schema::Long | Schema::TimeMillis | Schema::TimeMicros => SchemaNode::Int,
            Schema::Float => SchemaNode::Float,
            Schema::Double => SchemaNode::Double,
            Schema::Bytes | Schema::BigDecimal => SchemaNode::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => SchemaNode::Text,
            Schema::Uuid(UuidSchema::Bytes) => SchemaNode::Uuid { fixed: false },
            Schema::Uuid(UuidSchema::Fixed(_)) => SchemaNode::Uuid { fixed: true },
            Schema::Fixed(fixed) | Schema::Duration(fixed) => SchemaNode::Fixed(fixed.size),
            Schema::Enum(symbols) => SchemaNode::Symbol(symbols.symbols.clone()),
            Schema::Date => SchemaNode::Date,
            Schema::TimestampMillis | Schema::LocalTimestampMillis => SchemaNode::Instant { per_ms: 1 },
            Schema::TimestampMicros | Schema::LocalTimestampMicros => SchemaNode::Instant { per_ms: 1_000 },
            Schema::TimestampNanos | Schema::LocalTimestampNanos => SchemaNode::Instant { per_ms: 1_000_000 },
            Schema::Decimal(decimal) => {
                let fixed = match &decimal.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                };
                SchemaNode::Decimal {
                    scale: u32::try_from(decimal.scale).map_err(|_| AvroSchemaError(format!("decimal of scale {}", decimal.scale).into()))?,
                    fixed,
                }
            }
            Schema::Array(array) => SchemaNode::List(self.add(&array.items, namespace)?),
            Schema::Map(map) => {
                let json = matches!(*map.types, Schema::String) && map.attributes.get("millrace.any").is_some_and(|mark| *mark == true);
                SchemaNode::Map {
                    values: self.add(&map.types, namespace)?,
                    json,
                }
            }
            Schema::Union(union) => SchemaNode::Union(union.variants().iter().map(|branch| self.add(branch, namespace)).collect::<Result<_, _>>()?),
            Schema::Record(record) => {
                let inner = record.name.namespace().or(namespace);
                let fields = record.fields.iter().map(|field| Ok((field.name.clone(), self.add(&field.schema, inner)?)));
                SchemaNode::Record(fields.collect::<Result<_, AvroSchemaError>>()?)
            }
            // Followed above.
            Schema::Ref { .. } => SchemaNode::Null,
        };
        Ok(id)
    }

    fn reference(&mut self, name: &Name, namespace: Option<&str>) -> Result<NodeId, AvroSchemaError> {
        let full = name.fullname(namespace);
        match (self.known.get(&full), self.others.get(&full).copied()) {
            (Some(id), _) => Ok(*id),
            (None, Some(other)) => self.add(other, None),
            (None, None) => Err(AvroSchemaError(format!("`{full}` is not defined").into())),
        }
    }
}
