//! The sink for Marketo Engage: static lists of one instance, kept equal to audiences.
//!
//! `config` is what the operator writes, `mapping` turns changes into bodies of calls and answers into results, `sink` decides what is called.
//! The client is that of `millrace-marketo`, which the source uses as well.
//!
//! What it is *not*: it remembers nobody. Every batch looks its persons up anew, because an id that was right an hour ago may be another person's address now.

mod config;
mod mapping;
mod sink;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Raw};
pub use sink::MarketoSink;
