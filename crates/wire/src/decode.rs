//! From the key and value of a source record to a change: this file distinguishes encodings,
//! `typed` reads fields, `record` gives them meaning.

mod consent;
mod record;
mod typed;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_model::json::unreadable;
use millrace_model::text::named;
use millrace_model::{Map, Rejection, Schema, SourceChange, SourceKind, Timestamp};
use serde::de::Deserializer;

use crate::avro::{AvroSchema, AvroSchemaError};
use crate::registry::{Payload, RegistryClient, WireError};
use crate::{Reason, avro};
use typed::Reading;

/// Limits of a record. A record beyond them is rejected as `oversize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest value in bytes. 1 MiB, because that is the broker's own default bound on a batch.
    pub value_bytes_max: usize,
    /// Longest key, `_id`, `sourceKey` or identity in bytes. 1,024, because identities are keys of
    /// state rows.
    pub key_bytes_max: usize,
    /// How far an activity may be ahead of now, and a `modifiedAt` or the time of a consent ahead of
    /// the record's timestamp, in milliseconds. 5 minutes, because clocks differ.
    pub future_ms_max: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            value_bytes_max: 1 << 20,
            key_bytes_max: 1_024,
            future_ms_max: 5 * 60 * 1_000,
        }
    }
}

/// A usable record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What the record says.
    pub change: SourceChange,
    /// Dotted paths of fields that are not in the schema, ascending, each once: kept under `extra`,
    /// or, inside lists, dropped.
    pub unknown_fields: Vec<String>,
    /// Whether `modifiedAt` or the time of a consent was further ahead of the record's own timestamp
    /// than [`Limits::future_ms_max`]. Such a `modifiedAt` counts as that timestamp, such a consent as
    /// given at the record's version.
    pub clock_ahead: bool,
}

/// Why there is no change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Bad data, a value: dead-letter the record and continue.
    #[error("record rejected as {}: {}", .0.reason, .0.detail)]
    Rejected(Rejection),
    /// The registry did not answer, or does not know the schema id yet: pause and decode the same
    /// record again. Attempts are bounded, so that this turns into a change or a rejection.
    #[error("record cannot be decoded yet")]
    Retry(#[source] WireError),
}

impl From<Rejection> for DecodeError {
    fn from(rejection: Rejection) -> DecodeError {
        DecodeError::Rejected(rejection)
    }
}

/// Decodes source records. One per process; shared by threads.
pub struct Decoder {
    schema: Arc<Schema>,
    limits: Limits,
    /// By fingerprint as on the wire: the writer schemas of single-object encoding.
    writers: BTreeMap<[u8; 8], (SourceKind, AvroSchema)>,
    registry: Option<Arc<RegistryClient>>,
}

/// Builds a [`Decoder`].
pub struct DecoderBuilder {
    decoder: Decoder,
}

impl DecoderBuilder {
    /// Other bounds than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> DecoderBuilder {
        self.decoder.limits = limits;
        self
    }

    /// Without a registry the Confluent wire format is an unknown encoding.
    #[must_use]
    pub fn registry(mut self, registry: Arc<RegistryClient>) -> DecoderBuilder {
        self.decoder.registry = Some(registry);
        self
    }

    /// Adds one more version of a kind's schema, recognised by its fingerprint.
    ///
    /// # Errors
    /// Where the text is not an Avro schema.
    pub fn writer_schema(mut self, kind: SourceKind, text: &str) -> Result<DecoderBuilder, AvroSchemaError> {
        let schema = AvroSchema::parse(text, &[])?;
        self.decoder.writers.insert(schema.fingerprint(), (kind, schema));
        Ok(self)
    }

    /// The decoder.
    pub fn build(self) -> Decoder {
        self.decoder
    }
}

impl Decoder {
    /// Begins a decoder for these field types. It knows the Avro schemas of this build and every
    /// earlier one by their fingerprints.
    ///
    /// # Errors
    /// Where a schema of this build does not parse: a defect a test finds.
    pub fn builder(schema: Arc<Schema>) -> Result<DecoderBuilder, AvroSchemaError> {
        let decoder = Decoder {
            schema,
            limits: Limits::default(),
            writers: BTreeMap::new(),
            registry: None,
        };
        let mut builder = DecoderBuilder { decoder };
        for kind in SourceKind::ALL {
            builder = builder.writer_schema(kind, Schema::avro_text(kind))?;
        }
        for (kind, text) in EARLIER_SCHEMAS {
            builder = builder.writer_schema(*kind, text)?;
        }
        Ok(builder)
    }

    /// Decodes one record of the topic of `kind`.
    ///
    /// `record_timestamp` is the Kafka record's, used where the record has no `modifiedAt`; `now`
    /// is the instant beyond which activities lie in the future.
    ///
    /// # Errors
    /// [`DecodeError::Rejected`] is for the dead-letter topic, [`DecodeError::Retry`] for a later attempt at the same record.
    pub fn decode(
        &self,
        kind: SourceKind,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        record_timestamp: Timestamp,
        now: Timestamp,
    ) -> Result<Decoded, DecodeError> {
        let key = self.key(key)?;
        let Some(value) = value else {
            let change = record::tombstone(kind, key.as_deref(), record_timestamp)?;
            return Ok(Decoded {
                change,
                unknown_fields: Vec::new(),
                clock_ahead: false,
            });
        };
        if value.len() > self.limits.value_bytes_max {
            return Err(Reason::Oversize
                .because(format!("value of {} bytes, {} allowed", value.len(), self.limits.value_bytes_max))
                .into());
        }
        let mut reading = Reading::default();
        let fields = self.fields(kind, value, &mut reading)?;
        let (fields, unknown_fields) = record::graft_unknown(fields, reading.unknown)?;
        let context = record::Context {
            limits: &self.limits,
            record_type: self.schema.record(kind),
            key: key.as_deref(),
            record_timestamp,
            now,
            clock_ahead: std::cell::Cell::new(false),
        };
        let change = if kind == SourceKind::Activity {
            SourceChange::Event(context.event(fields)?)
        } else {
            SourceChange::Record(context.change(kind, fields)?)
        };
        Ok(Decoded {
            change,
            unknown_fields,
            clock_ahead: context.clock_ahead.get(),
        })
    }

    /// The Kafka key as the text that identities are compared by; `None` where it is absent or
    /// blank.
    fn key<'a>(&self, key: Option<&'a [u8]>) -> Result<Option<Cow<'a, str>>, Rejection> {
        let Some(key) = key else { return Ok(None) };
        if key.len() > self.limits.key_bytes_max {
            return Err(Reason::Oversize.because(format!("key of {} bytes, {} allowed", key.len(), self.limits.key_bytes_max)));
        }
        let key = named(str::from_utf8(key).map_err(|error| Reason::BadUtf8.because(format!("key: {error}")))?);
        Ok((!key.is_empty()).then_some(key))
    }

    fn fields(&self, kind: SourceKind, value: &[u8], reading: &mut Reading) -> Result<Map, DecodeError> {
        match value {
            [] => Err(Reason::Empty.because("value of 0 bytes; a deletion is a null value").into()),
            [0xC3, 0x01, rest @ ..] => self.single_object(kind, rest, reading),
            [0x00, rest @ ..] => self.confluent(kind, rest, reading),
            _ if value.trim_ascii_start().first() == Some(&b'{') => self.json(kind, value, reading),
            [first, ..] => Err(Reason::UnknownEncoding
                .because(format!("first byte is {first:#04x}; expected `{{`, c3 01 or 00"))
                .into()),
        }
    }

    fn json(&self, kind: SourceKind, value: &[u8], reading: &mut Reading) -> Result<Map, DecodeError> {
        let text = str::from_utf8(value).map_err(|error| Reason::BadUtf8.because(format!("value: {error}")))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let fields = self.read(kind, &mut json, reading, Reason::MalformedJson)?;
        json.end().map_err(|error| Reason::MalformedJson.because(error.to_string()))?;
        Ok(fields)
    }

    fn single_object(&self, kind: SourceKind, bytes: &[u8], reading: &mut Reading) -> Result<Map, DecodeError> {
        let Some((fingerprint, datum)) = bytes.split_first_chunk::<8>() else {
            return Err(Reason::BadAvro.because("single-object encoding ends before its fingerprint does").into());
        };
        match self.writers.get(fingerprint) {
            Some((of, schema)) if *of == kind => self.datum(kind, schema, datum, reading),
            Some((of, _)) => Err(Reason::UnknownFingerprint
                .because(format!(
                    "fingerprint {:016x} is the schema of {}, not of {}",
                    u64::from_le_bytes(*fingerprint),
                    of.name(),
                    kind.name()
                ))
                .into()),
            None => Err(Reason::UnknownFingerprint
                .because(format!(
                    "fingerprint {:016x} is of no known schema of {}",
                    u64::from_le_bytes(*fingerprint),
                    kind.name()
                ))
                .into()),
        }
    }

    fn confluent(&self, kind: SourceKind, bytes: &[u8], reading: &mut Reading) -> Result<Map, DecodeError> {
        let Some(registry) = &self.registry else {
            return Err(Reason::UnknownEncoding
                .because("Confluent wire format, but no schema registry is configured")
                .into());
        };
        let Some((id, payload)) = bytes.split_first_chunk::<4>() else {
            return Err(Reason::BadAvro.because("Confluent wire format ends before its schema id does").into());
        };
        match &*registry.payload(i32::from_be_bytes(*id))? {
            Payload::Avro(schema) => self.datum(kind, schema, payload, reading),
            Payload::Json => self.json(kind, payload, reading),
        }
    }

    /// Reads with the writer's schema and fits the result to ours field by field, by name: the
    /// result equals that of a reader schema with the same field names and null for every default,
    /// except that fields only the writer knows are kept and not dropped.
    fn datum(&self, kind: SourceKind, schema: &AvroSchema, bytes: &[u8], reading: &mut Reading) -> Result<Map, DecodeError> {
        let mut input = avro::Input::new(bytes);
        let fields = self.read(kind, schema.datum(&mut input), reading, Reason::BadAvro)?;
        match input.left() {
            0 => Ok(fields),
            left => Err(Reason::BadAvro.because(format!("{left} bytes are left over after the datum")).into()),
        }
    }

    fn read<'de, D: Deserializer<'de>>(&self, kind: SourceKind, deserializer: D, reading: &mut Reading, malformed: Reason) -> Result<Map, DecodeError>
    where
        D::Error: std::fmt::Display,
    {
        let record = self.schema.record(kind);
        reading
            .record(record, deserializer)
            .map_err(|error| reading.rejection.take().unwrap_or_else(|| malformed.because(unreadable(&error))).into())
    }
}

/// Source schemas of earlier builds that producers may still write with. When a file of
/// `schemas/source` changes, its former text goes to `schemas/source/earlier/` and here.
const EARLIER_SCHEMAS: &[(SourceKind, &str)] = &[];

#[cfg(test)]
mod tests;
