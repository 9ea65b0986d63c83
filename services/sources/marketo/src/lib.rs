//! The source connector for Marketo Engage: persons, companies, activities, static lists and
//! programs of one instance.
//!
//! A first load by bulk extract, then Marketo's change feeds. `config` holds the operator's
//! settings, `mapping` turns Marketo's records into contract records, `source` decides what to read
//! next. The client is that of `millrace-marketo`.

mod config;
mod csv;
mod mapping;
mod source;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Raw};
pub use source::MarketoSource;
