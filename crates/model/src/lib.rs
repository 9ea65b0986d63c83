//! The vocabulary of Millrace: values, instants, identities, the kinds of source record and the
//! change of one.
//!
//! What it is *not*: it decodes nothing, stores nothing and decides nothing. Every other crate may
//! depend on it; it depends on no other.
//!
//! ```
//! use millrace_model::{Identity, Value};
//!
//! let address = Identity::parse("Email: Ann@Acme.com ")?;
//! assert_eq!(address.to_string(), "email:ann@acme.com");
//!
//! let person = Value::from_json(&serde_json::json!({ "b2b": { "personScore": 80 } }));
//! assert_eq!(person.at("b2b.personScore").as_i64(), Some(80));
//! assert!(person.at("b2b.personStatus").is_null());
//! # Ok::<(), millrace_model::IdentityParseError>(())
//! ```

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

mod chain;
mod change;
mod identity;
pub mod json;
mod kind;
pub mod metric;
pub mod number;
mod path;
pub mod relation;
mod schema;
mod shard;
pub mod source_key;
mod subject;
pub mod text;
mod time;
mod value;

pub use chain::{Cause, chain};
pub use change::{Change, Event, EventOperation, Operation, Rejection, SourceChange};
pub use identity::{CanonicalId, Identity, IdentityParseError, namespace};
pub use kind::SourceKind;
pub use path::Path;
pub use relation::Relation;
pub use rust_decimal::Decimal;
pub use schema::{Field, RecordType, Schema, SchemaError, Type};
pub use shard::ShardId;
pub use subject::{SubjectId, SubjectKind};
pub use time::{DAY_MS, Date, Timestamp, TimestampParseError};
pub use value::{Map, Pick, Text, Value};
