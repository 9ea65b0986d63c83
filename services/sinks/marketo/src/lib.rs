//! The sink for Marketo Engage: static lists of one instance, kept equal to audiences.
//!
//! `config` holds the operator's settings, `mapping` turns changes into bodies of calls and answers
//! into results, `sink` decides which calls to make.
//! The client is that of `millrace-marketo`, which the source uses as well.
//!
//! What it is *not*: it remembers no person. Every batch looks its persons up again, because an id
//! that was right an hour ago may be another person's address now.

mod config;
mod mapping;
mod pages;
mod sink;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Raw};
pub use sink::MarketoSink;
