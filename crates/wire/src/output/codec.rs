//! The encodings of output records.
//!
//! The two schemas are part of the build, so their parsed forms are made once per process.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DestinationState, Membership};
use crate::avro::Input;
use crate::decode::DecodeError;
use crate::registry::{Payload, RegistryClient, SchemaSourceError};
use crate::{AvroSchema, Reason};

/// An output record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A record that does not fit its own schema: a defect of ours.
    #[error("output record cannot be written")]
    Unwritable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Bytes that are not an output record this version knows ([`DecodeError::Rejected`]), or whose
    /// schema is unavailable now ([`DecodeError::Retry`]).
    #[error("output record cannot be read")]
    Unreadable(#[source] DecodeError),
}

/// How output values are encoded. Readers detect the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputCodec {
    /// JSON text.
    Json,
    /// Avro single-object encoding.
    SingleObject,
    /// Avro in the Confluent wire format, with the ids under which a registry keeps the two
    /// schemas.
    Confluent {
        /// The id of the schema of memberships.
        membership: i32,
        /// The id of the schema of destination states.
        destination_state: i32,
    },
}

/// One kind of output record.
struct Output {
    text: &'static str,
    fingerprint: [u8; 8],
    writer: GenericDatumWriter<'static>,
    /// This build's schema and its predecessors, by fingerprint.
    known: BTreeMap<[u8; 8], AvroSchema>,
}

// When a file of `schemas/output` changes, its former text goes to `schemas/output/earlier/` and
// into the list here.
static MEMBERSHIP: LazyLock<Output> = LazyLock::new(|| Output::new(include_str!("../../../../schemas/output/audience-membership.avsc"), &[]));
static DESTINATION_STATE: LazyLock<Output> = LazyLock::new(|| Output::new(include_str!("../../../../schemas/output/destination-state.avsc"), &[]));

impl OutputCodec {
    /// Registers both schemas, each under `{topic}-value`, and writes with the ids the registry
    /// gives.
    ///
    /// # Errors
    /// Where the registry does not answer or refuses. Nothing can be written before it has
    /// answered.
    pub fn confluent(registry: &RegistryClient, membership_topic: &str, destination_topics: &[String]) -> Result<OutputCodec, SchemaSourceError> {
        let membership = registry.register(&format!("{membership_topic}-value"), MEMBERSHIP.text)?;
        // A registry has one id for one schema, under any number of subjects. Without destinations
        // the id is never written.
        let mut destination_state = 0;
        for topic in destination_topics {
            destination_state = registry.register(&format!("{topic}-value"), DESTINATION_STATE.text)?;
        }
        Ok(OutputCodec::Confluent { membership, destination_state })
    }

    /// # Errors
    /// [`OutputError::Unwritable`], a defect.
    pub fn encode_membership(&self, record: &Membership) -> Result<Vec<u8>, OutputError> {
        match *self {
            OutputCodec::Json => json(record),
            OutputCodec::SingleObject => MEMBERSHIP.single_object(record),
            OutputCodec::Confluent { membership, .. } => MEMBERSHIP.confluent(membership, record),
        }
    }

    /// # Errors
    /// [`OutputError::Unwritable`], a defect.
    pub fn encode_destination_state(&self, record: &DestinationState) -> Result<Vec<u8>, OutputError> {
        match *self {
            OutputCodec::Json => json(record),
            OutputCodec::SingleObject => DESTINATION_STATE.single_object(record),
            OutputCodec::Confluent { destination_state, .. } => DESTINATION_STATE.confluent(destination_state, record),
        }
    }

    /// Reads a membership in any encoding. Without a registry, Confluent wire format is assumed to
    /// use this build's schema.
    ///
    /// # Errors
    /// [`OutputError::Unreadable`].
    pub fn decode_membership(bytes: &[u8], registry: Option<&RegistryClient>) -> Result<Membership, OutputError> {
        MEMBERSHIP.decode(bytes, registry).map_err(OutputError::Unreadable)
    }

    /// Reads a destination state in any encoding. Without a registry, Confluent wire format is
    /// assumed to use this build's schema.
    ///
    /// # Errors
    /// [`OutputError::Unreadable`].
    pub fn decode_destination_state(bytes: &[u8], registry: Option<&RegistryClient>) -> Result<DestinationState, OutputError> {
        DESTINATION_STATE.decode(bytes, registry).map_err(OutputError::Unreadable)
    }
}

fn json<T: Serialize>(record: &T) -> Result<Vec<u8>, OutputError> {
    serde_json::to_vec(record).map_err(|error| OutputError::Unwritable(Box::new(error)))
}

impl Output {
    /// # Panics
    /// Where a schema of this build does not parse, which a test finds.
    fn new(text: &'static str, earlier: &[&str]) -> Output {
        let parse = |text: &str| AvroSchema::parse(text, &[]).expect("output schemas of this build parse");
        // The writer borrows its schema, and both live as long as the process.
        let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(text).expect("output schemas of this build parse")));
        let writer = GenericDatumWriter::builder(schema)
            .human_readable(false)
            .build()
            .expect("output schemas of this build resolve");
        let known = earlier
            .iter()
            .copied()
            .chain([text])
            .map(parse)
            .map(|schema| (schema.fingerprint(), schema))
            .collect();
        Output {
            text,
            fingerprint: parse(text).fingerprint(),
            writer,
            known,
        }
    }

    fn single_object<T: Serialize>(&self, record: &T) -> Result<Vec<u8>, OutputError> {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend([0xC3, 0x01]);
        bytes.extend(self.fingerprint);
        self.datum(bytes, record)
    }

    fn confluent<T: Serialize>(&self, id: i32, record: &T) -> Result<Vec<u8>, OutputError> {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(0x00);
        bytes.extend(id.to_be_bytes());
        self.datum(bytes, record)
    }

    fn datum<T: Serialize>(&self, mut bytes: Vec<u8>, record: &T) -> Result<Vec<u8>, OutputError> {
        self.writer
            .write_ser(&mut bytes, record)
            .map_err(|error| OutputError::Unwritable(Box::new(error)))?;
        Ok(bytes)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8], registry: Option<&RegistryClient>) -> Result<T, DecodeError> {
        match bytes {
            [0xC3, 0x01, rest @ ..] => {
                let (fingerprint, datum) = rest
                    .split_first_chunk::<8>()
                    .ok_or_else(|| Reason::BadAvro.because("ends before its fingerprint does"))?;
                let known = self.known.get(fingerprint);
                let schema = known.ok_or_else(|| Reason::UnknownFingerprint.because(format!("fingerprint {:016x}", u64::from_le_bytes(*fingerprint))))?;
                read(schema, datum)
            }
            [0x00, rest @ ..] => {
                let (id, datum) = rest
                    .split_first_chunk::<4>()
                    .ok_or_else(|| Reason::BadAvro.because("ends before its schema id does"))?;
                match registry {
                    None => read(&self.known[&self.fingerprint], datum),
                    Some(registry) => match &*registry.payload(i32::from_be_bytes(*id))? {
                        Payload::Avro(schema) => read(schema, datum),
                        Payload::Json => read_json(datum),
                    },
                }
            }
            _ => read_json(bytes),
        }
    }
}

fn read<T: DeserializeOwned>(schema: &AvroSchema, datum: &[u8]) -> Result<T, DecodeError> {
    let mut input = Input::new(datum);
    let record = T::deserialize(schema.datum(&mut input)).map_err(|error| Reason::BadAvro.because(error.to_string()))?;
    match input.left() {
        0 => Ok(record),
        left => Err(Reason::BadAvro.because(format!("{left} bytes are left over after the datum")).into()),
    }
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| Reason::MalformedJson.because(error.to_string()).into())
}
