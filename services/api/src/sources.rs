//! `/v1/sources`: the status of this process's sources, and their pauses.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use millrace_telemetry::Metrics;
use serde_json::{Value, json};

use crate::backend::BackendError;
use crate::dto::ReadyView;
use crate::health::service_health_router;
use crate::problem::Problem;
use crate::queue::Queue;

/// The sources of a process. All methods block.
pub trait Sources: Send + Sync {
    /// Every source of this process, by name.
    fn views(&self) -> Vec<Value>;

    /// Pauses a source, or resumes it; survives restarts.
    ///
    /// # Errors
    /// `NotFound`; where the log cannot be written.
    fn pause(&self, name: &str, paused: bool) -> Result<(), BackendError>;

    /// Whether every source works, and otherwise why not.
    fn ready(&self) -> ReadyView;
}

/// Questions and commands to sources at a time. Each takes a moment.
pub const SOURCES_MAX: usize = 2;

/// Those that may wait for their turn.
const WAITING_MAX: usize = 100;

/// The routes under `/v1/sources`, to serve through the gate.
pub fn sources_router(sources: Arc<dyn Sources>) -> Router {
    Router::new()
        .route("/v1/sources", get(list))
        .route("/v1/sources/{name}", get(one))
        .route("/v1/sources/{name}/pause", post(pause))
        .route("/v1/sources/{name}/resume", post(resume))
        .with_state(Shared {
            sources,
            queue: Arc::new(Queue::new("questions to sources", SOURCES_MAX, WAITING_MAX)),
        })
}

/// The metrics port of a process that runs sources and nothing else.
pub fn sources_health_router(sources: Arc<dyn Sources>, metrics: Metrics) -> Router {
    service_health_router(Arc::new(move || sources.ready()), metrics)
}

#[derive(Clone)]
struct Shared {
    sources: Arc<dyn Sources>,
    queue: Arc<Queue>,
}

impl Shared {
    async fn ask(self, work: impl FnOnce(&dyn Sources) -> Result<Value, BackendError> + Send + 'static) -> Result<Json<Value>, Problem> {
        let sources = self.sources;
        self.queue.run(move |_| work(&*sources)).await.map(Json)
    }
}

async fn list(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    shared.ask(|sources| Ok(json!({"items": sources.views()}))).await
}

async fn one(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let found = shared.ask(move |sources| {
        let found = sources.views().into_iter().find(|view| view["name"] == name.as_str());
        found.ok_or_else(|| BackendError::NotFound(format!("this process runs no source `{name}`")))
    });
    found.await
}

async fn pause(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    set_paused(shared, name, true).await
}

async fn resume(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    set_paused(shared, name, false).await
}

async fn set_paused(shared: Shared, name: String, paused: bool) -> Result<Json<Value>, Problem> {
    shared
        .ask(move |sources| sources.pause(&name, paused).map(|()| json!({"name": name, "paused": paused})))
        .await
}
