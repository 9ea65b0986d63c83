//! What the source and the sink of Marketo Engage share: one instance with its limits, and the client that calls it.
//!
//! What it is *not*: it knows no topic and no record. What is read or written, and when, is the connectors' own.

mod client;
mod instance;

pub use client::{CallError, Client, Parameters, result};
pub use instance::{Instance, Raw};
