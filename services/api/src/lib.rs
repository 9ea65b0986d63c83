//! The HTTP API: profiles, segments, explanations, records in and changes out; metrics and health on a port of their own.
//!
//! ```text
//! request ─▶ router ─▶ handler ─▶ blocking thread ─▶ Queries / Commands (the process behind) ─▶ DTO ─▶ JSON
//! ```
//!
//! What it is *not*: it knows neither the engine nor the log. `backend` says what it asks of them, `dto` what it answers.

pub mod backend;
pub mod destinations;
pub mod dto;
mod health;
pub mod internal;
mod openapi;
mod problem;
mod routes;
mod server;
pub mod sources;
mod stream;

pub use health::health_router;
pub use openapi::openapi;
pub use problem::Problem;
pub use routes::api_router;
pub use server::serve;
pub use sources::{sources_health_router, sources_router};

#[cfg(test)]
mod tests;
