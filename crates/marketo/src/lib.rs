//! Shared by the source and the sink of Marketo Engage: one instance with its limits, and the
//! client that calls it.
//!
//! What it is *not*: it knows no topic and no record. The connectors decide what is read or
//! written, and when.

mod client;
mod instance;

pub use client::{CallError, Client, Parameters, result};
pub use instance::{Instance, Raw};
