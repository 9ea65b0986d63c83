//! A change stream as an interpretation of foreign records: reads, orders and maps them; what
//! cannot be used becomes a dead letter with its place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use millrace_connect::mapping::Fields;
use millrace_connect::row::{self, Operation};
use millrace_connect::source::{Emitted, Interpret, Unusable};
use millrace_log::Delivered;
use millrace_model::{Cause, Rejection};
use millrace_wire::{DecodeError, Reason};
use serde_json::Value;

use crate::config::{Config, Topic};
use crate::document::{Document, Documents};
use crate::envelope::{self, REMEDY, RowChange, Said};
use crate::order::Order;

/// The tables of one database, as topics.
pub struct ChangeStream {
    config: Config,
    documents: Documents,
}

impl ChangeStream {
    /// `documents` reads the bytes, with the registry of the topics where they have one.
    pub fn new(config: Config, documents: Documents) -> ChangeStream {
        ChangeStream { config, documents }
    }

    fn read(&self, delivered: &Delivered, order: &mut Order) -> Result<Vec<Result<Emitted, Rejection>>, DecodeError> {
        let Some(topic) = self.config.topics.get(&*delivered.source.topic) else {
            return Ok(Vec::new());
        };
        let raw_key = delivered.record.key.as_deref();
        let named = raw_key.map(|key| BASE64.encode(key));
        // Only the record right before a tombstone can be its deletion.
        let deleted = order.deleted.take();
        let key = match raw_key {
            Some(key) => envelope::key_columns(&self.documents.read_key(key)?, &topic.reading)?,
            None => Fields::new(),
        };
        let said = match delivered.record.value.as_deref() {
            Some(value) => envelope::read(&self.documents.read(value)?, &key, &topic.reading)?,
            None => Said::Tombstone,
        };
        match said {
            Said::Nothing => Ok(Vec::new()),
            Said::Tombstone if raw_key.is_none() => Err(Reason::TombstoneWithoutKey
                .because("null value and no key: nothing says what is removed")
                .into()),
            Said::Tombstone if deleted == named => Ok(Vec::new()),
            Said::Tombstone => Ok(row::bury(&topic.rules, &key, REMEDY)),
            Said::Row(change) => {
                if change.change.operation == Operation::Deleted {
                    order.deleted = named;
                }
                Ok(changed(topic, &change, &key, delivered, order))
            }
        }
    }

    fn document(&self, bytes: &[u8]) -> Option<Document> {
        self.documents.read(bytes).ok()
    }
}

fn changed(topic: &Topic, change: &RowChange, key: &Fields, delivered: &Delivered, order: &mut Order) -> Vec<Result<Emitted, Rejection>> {
    let version = order.version(change.at, change.position.as_ref(), delivered.timestamp);
    row::apply(&topic.rules, &change.change, key, version)
}

impl Interpret for ChangeStream {
    fn topics(&self) -> Vec<String> {
        self.config.topics.keys().cloned().collect()
    }

    fn interpret(&self, delivered: &Delivered, memory: &mut Value) -> Result<Vec<Emitted>, Cause> {
        let mut order: Order = serde_json::from_value(memory.clone()).unwrap_or_default();
        let unusable = |rejection| {
            Emitted::Unusable(Box::new(Unusable {
                place: delivered.source.clone(),
                offset: delivered.offset,
                record: delivered.record.clone(),
                rejection,
            }))
        };
        let read = self.read(delivered, &mut order);
        let emitted = match read {
            Ok(made) => made.into_iter().map(|one| one.unwrap_or_else(unusable)).collect(),
            Err(DecodeError::Rejected(rejection)) => vec![unusable(rejection)],
            Err(DecodeError::Retry(error)) => return Err(Cause::of("the schema of a record", error)),
        };
        *memory = serde_json::to_value(&order).unwrap_or_default();
        Ok(emitted)
    }

    fn shown(&self, delivered: &Delivered) -> Value {
        let value = delivered.record.value.as_deref();
        let read = value.and_then(|value| self.document(value)).map(|document| document.value);
        read.or_else(|| value.map(|value| Value::String(String::from_utf8_lossy(value).into_owned())))
            .unwrap_or_default()
    }
}
