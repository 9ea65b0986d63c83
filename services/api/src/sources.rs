//! `/v1/sources`: what the sources of this process do, and their pauses.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::middleware::map_response;
use axum::routing::{get, post};
use axum::{Json, Router};
use millrace_telemetry::Metrics;
use serde_json::{Value, json};

use crate::backend::BackendError;
use crate::dto::ReadyView;
use crate::problem::{Problem, tell_as_problem};
use crate::routes::blocking;

/// The sources of a process. All methods block.
pub trait Sources: Send + Sync {
    /// Every source of this process, by name.
    fn views(&self) -> Vec<Value>;

    /// Pauses a source, or lets it go on; outlives restarts.
    ///
    /// # Errors
    /// `NotFound`; where the log cannot be written.
    fn pause(&self, name: &str, paused: bool) -> Result<(), BackendError>;

    /// Whether every source does its work, and otherwise why not.
    fn ready(&self) -> ReadyView;
}

/// The routes under `/v1/sources`.
pub fn sources_router(sources: Arc<dyn Sources>) -> Router {
    Router::new()
        .route("/v1/sources", get(list))
        .route("/v1/sources/{name}", get(one))
        .route("/v1/sources/{name}/pause", post(pause))
        .route("/v1/sources/{name}/resume", post(resume))
        .layer(map_response(tell_as_problem))
        .with_state(sources)
}

/// The metrics port of a process that runs sources and nothing else.
pub fn sources_health_router(sources: Arc<dyn Sources>, metrics: Metrics) -> Router {
    let readyz = {
        let sources = Arc::clone(&sources);
        move || {
            let view = sources.ready();
            let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            async move { (status, Json(view)) }
        }
    };
    let expose = move || {
        let text = metrics.text();
        async move { text.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failure", "The metrics cannot be written", error.to_string())) }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(expose))
}

type Shared = State<Arc<dyn Sources>>;

async fn list(State(sources): Shared) -> Result<Json<Value>, Problem> {
    blocking(move || Ok(Json(json!({"items": sources.views()})))).await
}

async fn one(State(sources): Shared, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    blocking(move || {
        let found = sources.views().into_iter().find(|view| view["name"] == name.as_str());
        found
            .map(Json)
            .ok_or_else(|| BackendError::NotFound(format!("this process runs no source `{name}`")))
    })
    .await
}

async fn pause(State(sources): Shared, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    blocking(move || sources.pause(&name, true).map(|()| Json(json!({"name": name, "paused": true})))).await
}

async fn resume(State(sources): Shared, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    blocking(move || sources.pause(&name, false).map(|()| Json(json!({"name": name, "paused": false})))).await
}
