//! The sink for any system with an HTTP interface, described by configuration alone; the webhook is
//! its built-in case.
//!
//! A batch becomes the calls that the template makes of it. The answer's status and, where
//! configured, a part of it per record give the result of each change. Credentials never reach a
//! log or a dead letter: only bodies do.
//!
//! What it is *not*: it keeps no state and repeats no call. The frame does both
//! (`millrace_connect::sink`).

mod client;
mod config;
mod mapping;
mod sink;
#[cfg(test)]
mod tests;
mod values;

pub use config::{Authentication, Config, ConfigError, Results};
pub use sink::HttpSink;
