//! The source connector for CloudEvents 1.0 on Kafka topics, in binary and in structured form: each
//! event becomes an activity, the same that the collector makes of it over HTTP.
//!
//! `config` holds the operator's settings, `binding` takes a Kafka record apart. `millrace-events`
//! says what an event means. `source` judges the outcome and joins it to the reader of foreign
//! topics in `millrace-connect`.
//!
//! What it is *not*: a reader of batches, which the Kafka binding does not have, nor of events whose
//! envelope is Avro or Protobuf.

mod binding;
mod config;
mod source;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Raw};
pub use source::EventTopics;
