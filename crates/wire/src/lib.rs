//! The bytes of topics: what source records, output records and dead letters look like on the wire.
//!
//! [`Decoder`] turns a source record's key and value into a [`millrace_model::SourceChange`]; [`OutputCodec`] writes memberships and destination states;
//! [`dead_letter_headers`] says why a record could not be used. The first byte distinguishes
//! encodings:
//!
//! ```text
//! '{'          JSON text (blanks before it are allowed)
//! C3 01        Avro single-object encoding: 8 bytes fingerprint (CRC-64-AVRO, little-endian) of a schema in `schemas/`, then the datum
//! 00           Confluent wire format: 4 bytes schema id (big-endian), then an Avro datum or JSON text, as the registry says
//! ```
//!
//! All three end in the same visitor over the field types of `schemas/source`, so a record means
//! the same in every encoding, and a record that does not fit is a [`millrace_model::Rejection`]
//! that names the field. Nothing here panics or allocates without bound on hostile bytes.
//!
//! What it is *not*: it knows no topics, no Kafka and no state, and it decides nothing about
//! identities or order. It has no clock either: `now` is an argument. The one impure part is
//! [`HttpSchemaSource`], which calls a schema registry; everything else reaches it through
//! [`SchemaSource`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use millrace_model::{Schema, SourceChange, SourceKind, Timestamp};
//! use millrace_wire::Decoder;
//!
//! let schema = Arc::new(Schema::built_in().expect("the schemas of the build parse"));
//! let decoder = Decoder::builder(schema).expect("the schemas of the build are Avro").build();
//! let now = Timestamp(1_793_534_400_000);
//! let record = br#"{"personKey":{"sourceKey":"1@crm.Salesforce"},"workEmail":{"address":"ann@acme.com"}}"#;
//! let decoded = decoder.decode(SourceKind::Person, Some(b"1@crm.Salesforce"), Some(record), now, now).expect("a good record");
//! let SourceChange::Record(change) = decoded.change else { panic!("an event") };
//! assert_eq!((change.key.as_str(), change.modified_at), ("1@crm.Salesforce", now));
//! ```

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

mod avro;
mod batch;
mod dead_letter;
mod decode;
mod output;
mod reason;
mod registry;

pub use avro::{AvroSchema, AvroSchemaError};
pub use batch::Batch;
pub use dead_letter::{DeadLetterOrigin, dead_letter_headers, header};
pub use decode::{DecodeError, Decoded, Decoder, DecoderBuilder, Limits};
pub use output::{Cause, CauseKind, DestinationState, Membership, OutputCodec, OutputError, Presence, Status};
pub use reason::Reason;
pub use registry::{HttpSchemaSource, HttpSettings, Payload, RegisteredSchema, RegistryClient, SchemaSource, SchemaSourceError, WireError};
