//! The sink for LinkedIn Matched Audiences: DMP segments of one ad account, kept equal to
//! audiences.
//!
//! `config` holds the operator's settings, `mapping` turns changes into elements of calls and
//! answers into results, `client` makes single calls (tokens, versions, throttles), `sink` finds,
//! creates and fills segments.
//!
//! What it is *not*: it remembers no member. LinkedIn does not let members be read, so the frame's
//! ledger is all that is known of them.

mod client;
mod config;
mod mapping;
mod sink;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use config::{Config, ConfigError, Raw};
pub use mapping::Ids;
pub use sink::LinkedInSink;
