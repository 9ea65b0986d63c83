//! Avro data as a serde format: a parsed writer schema and a deserializer that walks it over the
//! bytes.
//!
//! The `apache-avro` crate parses schemas and writes data; reading is here, so that a datum flows
//! into the same visitors as JSON does without a tree of values in between, and so that hostile
//! bytes meet fixed bounds: nothing is allocated by a length that the input merely claims, nesting
//! ends at [`read::DEPTH_MAX`], and a datum takes at most [`read::STEPS_MAX`] steps however small
//! its items are.
//!
//! Fields of records that are null do not arrive at all, because absent means the same. A logical
//! instant arrives as epoch milliseconds, a date as text, a decimal with all its digits, an enum
//! symbol and a UUID as text. A map marked `"millrace.any": true` holds JSON texts, and its values
//! arrive as the JSON they contain.

mod canonical;
mod json;
mod read;
mod schema;

pub(crate) use read::Input;
pub use schema::{AvroSchema, AvroSchemaError};

#[cfg(test)]
mod tests;
