//! `/healthz`, `/readyz`, `/metrics`: for orchestrators and Prometheus, on a port of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use millrace_telemetry::Metrics;

use crate::backend::Queries;
use crate::dto::ReadyView;
use crate::problem::{Problem, tell_as_problem};
use crate::routes::no_such_route;

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

/// Whether a process is ready, and otherwise why not. Returns at once.
pub type Readiness = dyn Fn() -> ReadyView + Send + Sync;

/// The metrics port of a process without shards. `ready` answers at once.
pub fn service_health_router(ready: Arc<Readiness>, metrics: Metrics) -> Router {
    let readyz = move || {
        let view = ready();
        let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        async move { (status, Json(view)) }
    };
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(move || async move { text_of(&metrics) }))
        .fallback(no_such_route)
        .layer(map_response(tell_as_problem))
}

/// The process lives: it answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Shards that do not report within this time are not ready.
const SAID_WITHIN: Duration = Duration::from_secs(5);

async fn readyz(State(health): State<Health>) -> Result<Response, Problem> {
    let asked = tokio::task::spawn_blocking(move || health.queries.ready());
    match tokio::time::timeout(SAID_WITHIN, asked).await {
        Ok(Ok(view)) => {
            let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Ok((status, Json(view)).into_response())
        }
        Ok(Err(_)) | Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Not available now; ask again",
            format!("the shards did not say how they are within {} s", SAID_WITHIN.as_secs()),
        )),
    }
}

async fn expose(State(health): State<Health>) -> Response {
    text_of(&health.metrics)
}

fn text_of(metrics: &Metrics) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failure", "The metrics cannot be written", error.to_string()).into_response(),
    }
}
