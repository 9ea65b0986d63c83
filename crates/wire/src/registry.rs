//! Schemas by id, as Confluent-compatible registries keep them: a cache that never forgets, and a
//! bounded number of attempts for unknown ids.
//!
//! The meaning of an id never changes, so an answer is kept for the life of the process. An unknown
//! id may be one that is being registered at this moment: the caller must retry
//! [`RegistryClient::UNKNOWN_ATTEMPTS`] times before records with it are rejected. The wait for a
//! registry that does not answer has no end, because rejecting good records would lose them.

mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::decode::DecodeError;
use crate::{AvroSchema, Reason};
use millrace_model::{Cause, chain};

pub use http::{HttpSchemaSource, HttpSettings};

/// Why a schema is not available now. Trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The registry refuses, or does not answer.
    #[error(transparent)]
    RegistryUnavailable(SchemaSourceError),
    /// The registry does not know the id yet.
    #[error("schema registry does not know schema id {id}, attempt {attempt} of {of}")]
    SchemaIdUnknown {
        /// The id.
        id: i32,
        /// How often it was asked for.
        attempt: u32,
        /// After this number of attempts, records with it are rejected.
        of: u32,
    },
}

/// The error of a [`SchemaSource`] that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaSourceError {
    /// No such schema, now.
    #[error("unknown schema")]
    Unknown,
    /// There is a schema, but an unusable one; that will not change.
    #[error("unusable schema")]
    Unusable(#[source] Cause),
    /// The registry refuses until a person changes something: bad credentials, incompatible schema.
    #[error("schema registry refuses")]
    Refused(#[source] Cause),
    /// No answer, or one that means "later": time-out, 5xx, 429.
    #[error("schema registry does not answer")]
    Unavailable(#[source] Cause),
}

/// A schema as a registry returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// `AVRO`, `JSON` or `PROTOBUF`.
    pub schema_type: String,
    /// The schema itself.
    pub text: String,
    /// Texts of all schemas it refers to, directly or not.
    pub references: Vec<String>,
}

/// The origin of schemas. The decoder asks once per id; implementations need no cache, and try each
/// address once without further retries.
pub trait SchemaSource: Send + Sync {
    /// The schema of an id.
    ///
    /// # Errors
    /// [`SchemaSourceError`]; none of them may be cached.
    fn schema(&self, id: i32) -> Result<RegisteredSchema, SchemaSourceError>;

    /// Registers an Avro schema under a subject and returns its id. Registering it again returns
    /// the same id.
    ///
    /// # Errors
    /// [`SchemaSourceError::Refused`] where the subject's compatibility rules forbid it.
    fn register(&self, subject: &str, schema: &str) -> Result<i32, SchemaSourceError>;
}

/// How the bytes after a schema id are written.
#[derive(Debug)]
pub enum Payload {
    /// The payload is an Avro datum of this schema.
    Avro(AvroSchema),
    /// JSON Schema: the payload is JSON text.
    Json,
}

/// The process's view of a schema registry; shared by threads.
pub struct RegistryClient {
    source: Box<dyn SchemaSource>,
    known: Mutex<BTreeMap<i32, Result<Arc<Payload>, String>>>,
    /// How often an id was requested without success.
    unknown: Mutex<BTreeMap<i32, u32>>,
    registered: Mutex<BTreeMap<(String, String), i32>>,
}

impl RegistryClient {
    /// Attempts for one unknown id before its records are rejected. With a pause of one second
    /// between them, they outlast the replication of a registry.
    pub const UNKNOWN_ATTEMPTS: u32 = 5;

    /// Most ids whose failures are remembered; hostile ids must not fill the memory.
    const UNKNOWN_IDS_MAX: usize = 10_000;

    /// A client that knows no schema yet.
    pub fn new(source: Box<dyn SchemaSource>) -> RegistryClient {
        RegistryClient {
            source,
            known: Mutex::default(),
            unknown: Mutex::default(),
            registered: Mutex::default(),
        }
    }

    /// How the bytes after `id` are written.
    ///
    /// # Errors
    /// Rejected once the id was unknown too often, or its schema cannot be used; to be retried
    /// before that and while the registry does not answer.
    pub fn payload(&self, id: i32) -> Result<Arc<Payload>, DecodeError> {
        // No lock is held while the source is called: two threads may request one id, and get the
        // same answer.
        let known = lock(&self.known).get(&id).cloned();
        let payload = match known {
            Some(payload) => payload,
            None => match self.source.schema(id) {
                Ok(schema) => self.keep(id, payload(&schema).map(Arc::new)),
                Err(SchemaSourceError::Unusable(reason)) => self.keep(id, Err(chain(&reason))),
                Err(SchemaSourceError::Unknown) => return Err(self.unknown(id)),
                Err(error) => return Err(DecodeError::Retry(WireError::RegistryUnavailable(error))),
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
            .map_err(|error| chain(&error)),
        "JSON" => Ok(Payload::Json),
        other => Err(format!("schemas of type {other} are not supported")),
    }
}

/// A thread that panicked while it held the lock left a valid map: every change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
