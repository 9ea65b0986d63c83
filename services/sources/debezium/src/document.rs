//! From the bytes of a key or value to a JSON value and the shape that its schema describes: JSON
//! with and without a schema, and Confluent's wire format.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_wire::{DecodeError, Payload, Reason, RegistryClient};
use serde_json::Value;

use crate::shape::RowSchema;

/// A key or value with its schema, where it has one.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub value: Value,
    pub shape: Arc<RowSchema>,
}

/// Reads keys and values; remembers the shapes of registered schemas.
#[derive(Default)]
pub struct Documents {
    registry: Option<Arc<RegistryClient>>,
    shapes: Mutex<BTreeMap<i32, Arc<RowSchema>>>,
}

impl Documents {
    /// Without a registry, records in Confluent's wire format cannot be read.
    pub fn new(registry: Option<Arc<RegistryClient>>) -> Documents {
        Documents {
            registry,
            shapes: Mutex::default(),
        }
    }

    /// # Errors
    /// Rejected where the bytes cannot be read; to be retried while the registry does not answer.
    pub fn read(&self, bytes: &[u8]) -> Result<Document, DecodeError> {
        match bytes {
            [] => Err(Reason::Empty.because("value of 0 bytes; a deletion is a null value").into()),
            [0x00, rest @ ..] => self.registered(rest),
            _ => Ok(unwrapped(json(bytes)?)),
        }
    }

    /// As [`Documents::read`]; a key that is no JSON is text.
    ///
    /// # Errors
    /// See [`Documents::read`].
    pub fn read_key(&self, bytes: &[u8]) -> Result<Document, DecodeError> {
        match (self.read(bytes), str::from_utf8(bytes)) {
            (Err(DecodeError::Rejected(_)), Ok(text)) if !text.starts_with('\0') => Ok(Document {
                value: Value::String(text.to_owned()),
                shape: Arc::default(),
            }),
            (read, _) => read,
        }
    }

    fn registered(&self, bytes: &[u8]) -> Result<Document, DecodeError> {
        let Some(registry) = &self.registry else {
            return Err(Reason::UnknownEncoding
                .because("Confluent wire format, but the source has no schema registry")
                .into());
        };
        let Some((id, payload)) = bytes.split_first_chunk::<4>() else {
            return Err(Reason::BadAvro.because("Confluent wire format ends before its schema id does").into());
        };
        let id = i32::from_be_bytes(*id);
        match &*registry.payload(id)? {
            Payload::Json => Ok(unwrapped(json(payload)?)),
            Payload::Avro(schema) => {
                let known = self.shapes().get(&id).cloned();
                let shape = known.unwrap_or_else(|| {
                    let shape = Arc::new(RowSchema::of_avro(schema.text()));
                    self.shapes().insert(id, Arc::clone(&shape));
                    shape
                });
                Ok(Document {
                    value: schema.json(payload)?,
                    shape,
                })
            }
        }
    }

    fn shapes(&self) -> std::sync::MutexGuard<'_, BTreeMap<i32, Arc<RowSchema>>> {
        // Every change is one insertion: a thread that panicked left a valid map.
        self.shapes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(bytes: &[u8]) -> Result<Value, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| Reason::MalformedJson.because(millrace_model::json::unreadable(&error)).into())
}

/// Kafka Connect's JSON with schemas is `{schema, payload}`.
fn unwrapped(value: Value) -> Document {
    match value {
        Value::Object(mut object) if object.len() == 2 && object.contains_key("schema") && object.contains_key("payload") => {
            let schema = object.remove("schema").unwrap_or_default();
            Document {
                value: object.remove("payload").unwrap_or_default(),
                shape: Arc::new(RowSchema::of_connect(&schema)),
            }
        }
        value => Document { value, shape: Arc::default() },
    }
}
