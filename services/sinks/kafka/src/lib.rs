//! The sink for another topic of the same log: copies of an audience's changes under a key and in a
//! form of their own, exactly once (`decisions/0036`).
//!
//! `config` holds the operator's settings, `mapping` makes the record of a change, `sink` is the
//! destination.
//!
//! What it is *not*: it writes nothing. The frame appends the records in the transaction that
//! acknowledges their changes.

mod config;
mod mapping;
mod sink;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Exits, Key};
pub use sink::KafkaSink;
