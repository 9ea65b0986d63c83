//! Schemas by id, as Confluent-compatible registries keep them: a cache that never forgets, and bounded patience with ids it does not know.
//!
//! What an id means never changes, so an answer is kept for the life of the process. An id the registry does not know may be one that is being
//! registered at this moment: the caller is told to come back [`RegistryClient::UNKNOWN_ATTEMPTS`] times before records with it are rejected. A registry
//! that does not answer is waited for without end, because rejecting good records would lose them.

mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::decode::DecodeError;
use crate::{AvroSchema, Reason};

pub use http::{HttpSchemaSource, HttpSettings};

/// Why a schema cannot be had now. Trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("schema registry does not answer: {0}")]
    RegistryUnavailable(String),
    #[error("schema registry does not know schema id {id}, attempt {attempt} of {of}")]
    SchemaIdUnknown { id: i32, attempt: u32, of: u32 },
}

/// What a [`SchemaSource`] says when it has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaSourceError {
    /// No such schema, now.
    #[error("unknown schema")]
    Unknown,
    /// There is a schema, but not one that can be used; that will not change.
    #[error("unusable schema: {0}")]
    Unusable(String),
    /// The registry refuses until somebody changes something: bad credentials, incompatible schema.
    #[error("schema registry refuses: {0}")]
    Refused(String),
    /// No answer, or one that means "later": time-out, 5xx, 429.
    #[error("schema registry does not answer: {0}")]
    Unavailable(String),
}

/// A schema as a registry gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// `AVRO`, `JSON` or `PROTOBUF`.
    pub schema_type: String,
    pub text: String,
    /// Texts of all schemas it refers to, directly or not.
    pub references: Vec<String>,
}

/// Where schemas come from. The decoder asks once per id; implementations need no cache and do no retries of their own beyond trying each address once.
pub trait SchemaSource: Send + Sync {
    /// The schema of an id.
    ///
    /// # Errors
    /// [`SchemaSourceError`]; none of them may be cached.
    fn schema(&self, id: i32) -> Result<RegisteredSchema, SchemaSourceError>;

    /// Registers an Avro schema under a subject and returns its id. Registering it again returns the same id.
    ///
    /// # Errors
    /// [`SchemaSourceError::Refused`] where the subject's compatibility rules forbid it.
    fn register(&self, subject: &str, schema: &str) -> Result<i32, SchemaSourceError>;
}

/// How the bytes behind a schema id are written.
#[derive(Debug)]
pub enum Payload {
    Avro(AvroSchema),
    /// JSON Schema: the payload is JSON text.
    Json,
}

/// The process's view of a schema registry; shared by threads.
pub struct RegistryClient {
    source: Box<dyn SchemaSource>,
    known: Mutex<BTreeMap<i32, Result<Arc<Payload>, String>>>,
    /// How often an id was asked for in vain.
    unknown: Mutex<BTreeMap<i32, u32>>,
    registered: Mutex<BTreeMap<(String, String), i32>>,
}

impl RegistryClient {
    /// How often the same unknown id is worth another attempt. With a pause of a second between attempts this outlasts a registry's replication.
    pub const UNKNOWN_ATTEMPTS: u32 = 5;

    /// Most ids whose failures are remembered; hostile ids must not fill the memory.
    const UNKNOWN_IDS_MAX: usize = 10_000;

    pub fn new(source: Box<dyn SchemaSource>) -> RegistryClient {
        RegistryClient {
            source,
            known: Mutex::default(),
            unknown: Mutex::default(),
            registered: Mutex::default(),
        }
    }

    /// How the bytes behind `id` are written.
    ///
    /// # Errors
    /// Rejected once the id was unknown too often, or its schema cannot be used; to be retried before that and while the registry does not answer.
    pub fn payload(&self, id: i32) -> Result<Arc<Payload>, DecodeError> {
        // No lock is held while the source is asked: two threads may ask for one id, and get the same answer.
        let known = lock(&self.known).get(&id).cloned();
        let payload = match known {
            Some(payload) => payload,
            None => match self.source.schema(id) {
                Ok(schema) => self.keep(id, payload(&schema).map(Arc::new)),
                Err(SchemaSourceError::Unusable(reason)) => self.keep(id, Err(reason)),
                Err(SchemaSourceError::Unknown) => return Err(self.unknown(id)),
                Err(error) => return Err(DecodeError::Retry(WireError::RegistryUnavailable(error.to_string()))),
            },
        };
        payload.map_err(|reason| Reason::UnusableSchema.because(format!("schema id {id}: {reason}")).into())
    }

    /// Registers an Avro schema under a subject, once per process.
    ///
    /// # Errors
    /// See [`SchemaSource::register`].
    pub fn register(&self, subject: &str, schema: &str) -> Result<i32, SchemaSourceError> {
        let key = (subject.to_owned(), schema.to_owned());
        if let Some(id) = lock(&self.registered).get(&key) {
            return Ok(*id);
        }
        let id = self.source.register(subject, schema)?;
        lock(&self.registered).insert(key, id);
        Ok(id)
    }

    fn keep(&self, id: i32, payload: Result<Arc<Payload>, String>) -> Result<Arc<Payload>, String> {
        lock(&self.unknown).remove(&id);
        lock(&self.known).insert(id, payload.clone());
        payload
    }

    fn unknown(&self, id: i32) -> DecodeError {
        let mut unknown = lock(&self.unknown);
        if unknown.len() >= RegistryClient::UNKNOWN_IDS_MAX && !unknown.contains_key(&id) {
            unknown.clear();
        }
        let attempt = unknown.entry(id).or_default();
        *attempt = attempt.saturating_add(1);
        if *attempt < RegistryClient::UNKNOWN_ATTEMPTS {
            DecodeError::Retry(WireError::SchemaIdUnknown {
                id,
                attempt: *attempt,
                of: RegistryClient::UNKNOWN_ATTEMPTS,
            })
        } else {
            Reason::UnknownSchemaId
                .because(format!("the registry does not know schema id {id} after {attempt} attempts"))
                .into()
        }
    }
}

fn payload(schema: &RegisteredSchema) -> Result<Payload, String> {
    match schema.schema_type.as_str() {
        "AVRO" => AvroSchema::parse(&schema.text, &schema.references)
            .map(Payload::Avro)
            .map_err(|error| error.to_string()),
        "JSON" => Ok(Payload::Json),
        other => Err(format!("schemas of type {other} are not supported")),
    }
}

/// A thread that panicked while it held the lock left a whole map behind: every change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
