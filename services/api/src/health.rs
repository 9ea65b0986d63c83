//! `/healthz`, `/readyz`, `/metrics`: for orchestrators and Prometheus, on a port of their own.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use millrace_telemetry::Metrics;

use crate::backend::Queries;
use crate::problem::{Problem, tell_as_problem};
use crate::routes::{blocking, no_such_route};

#[derive(Clone)]
struct Health {
    queries: Arc<dyn Queries>,
    metrics: Metrics,
}

/// The router of the metrics port.
pub fn health_router(queries: Arc<dyn Queries>, metrics: Metrics) -> Router {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(expose));
    router
        .fallback(no_such_route)
        .layer(map_response(tell_as_problem))
        .with_state(Health { queries, metrics })
}

/// The process lives: it answers.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(health): State<Health>) -> Result<Response, Problem> {
    let view = blocking(move || Ok(health.queries.ready())).await?;
    let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(view)).into_response())
}

async fn expose(State(health): State<Health>) -> Response {
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failure", "The metrics cannot be written", error.to_string()).into_response(),
    }
}
