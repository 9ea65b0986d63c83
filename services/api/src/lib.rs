//! The HTTP API: profiles, segments, explanations, records in and changes out; metrics and health
//! on a port of their own.
//!
//! ```text
//! connection ─▶ gate (client, origin, body) ─▶ handler ─▶ queue ─▶ blocking thread ─▶ Queries / Commands (the process) ─▶ DTO ─▶ JSON
//! ```
//!
//! What it is *not*: it knows neither the engine nor the log. `backend` is its port to them, `dto`
//! its answers.

pub mod access;
pub mod auth;
pub mod backend;
pub mod destinations;
pub mod dto;
mod feed;
mod gate;
mod health;
pub mod internal;
pub mod limits;
mod mask;
mod openapi;
mod portions;
mod problem;
mod queue;
mod routes;
mod server;
pub mod sources;
mod tls;

pub use axum::Router;
pub use gate::Policy;
pub use health::{Readiness, health_router, service_health_router};
pub use mask::is_impersonal;
pub use openapi::openapi;
pub use problem::Problem;
pub use queue::Cancel;
pub use routes::{BLOCKING_THREADS_MAX, Backend, api_router, gated};
pub use server::{Door, Full, serve};
pub use sources::{sources_health_router, sources_router};
pub use tls::{Tls, TlsError};

#[cfg(test)]
mod tests;
