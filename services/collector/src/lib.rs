//! The collector: events and traits over HTTP into the source topics.
//!
//! ```text
//! body ─▶ events (body) ─▶ facts (`millrace-events`) ─▶ records or dead letters (judge) ─▶ one append of many requests (intake) ─▶ answer
//! ```
//!
//! An answer of 200 means that the log has every record of the request, and that what could not be
//! used is a dead letter. `body` and `judge` are pure.
//!
//! What it is *not*: it knows no state and asks nobody who a person is. It is no part of the API:
//! it has a port of its own, because it faces the public (`decisions/0030`).

pub mod body;
mod cors;
pub mod intake;
pub mod judge;
pub mod keys;
mod routes;
pub mod snippet;

pub use routes::{Collector, collector_router};

#[cfg(test)]
mod tests;
