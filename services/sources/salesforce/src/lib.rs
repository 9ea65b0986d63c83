//! The source connector for Salesforce: accounts, contacts, leads, opportunities, contact roles,
//! account–contact relations, campaigns and their members of one org.
//!
//! A first load by query jobs of Bulk API 2.0, then changes by polling `SystemModstamp`. `config`
//! holds the operator's settings, `client` speaks the REST API, `mapping` turns Salesforce's records
//! into contract records, `source` decides what to read next.

mod client;
mod config;
mod mapping;
mod source;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use config::{Config, ConfigError, Raw};
pub use source::SalesforceSource;
