//! The sink for tables of PostgreSQL: an audience is a table, or a part of one, that always equals
//! the desired state.
//!
//! `config` holds the operator's settings, `mapping` makes values and statements, `client` the
//! connection and what an error of the server means, `layout` compares tables with the settings,
//! `sink` is the destination.
//!
//! What it is *not*: a migration tool. It creates its tables and adds columns if it may; it changes
//! and drops none.

mod client;
mod config;
mod layout;
mod mapping;
mod sink;
#[cfg(test)]
mod tests;
mod tls;

pub use config::{Config, ConfigError, Kind, Raw, Tls};
pub use sink::PostgresSink;
