//! The source connector for change streams of databases, as Debezium writes them to Kafka: any
//! table becomes any contract record.
//!
//! `document` reads the bytes of a record, `shape` the values of columns, `envelope` what happened
//! to a row, `order` when. `millrace_connect::row` turns that into contract records by the rules that
//! `config` checked. `source` joins them to the reader of foreign topics in `millrace-connect`.
//!
//! What it is *not*: it knows no Kafka client and no database; it never asks a table for what an
//! event leaves out.

mod config;
mod document;
mod envelope;
mod order;
mod shape;
mod source;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Raw, RegistrySettings};
pub use document::Documents;
pub use source::ChangeStream;
