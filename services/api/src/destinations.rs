//! Destinations: status of their sinks, and commands to them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

use crate::Problem;
use crate::backend::BackendError;

/// The sinks of this process.
pub trait Sinks: Send + Sync {
    /// The status of each, by name.
    fn all(&self) -> Vec<Value>;

    /// One; `None` where no sink of this process has the name.
    fn one(&self, name: &str) -> Option<Value>;

    /// Passes a command, as JSON, to a sink.
    ///
    /// # Errors
    /// Where there is no such sink or no such command.
    fn order(&self, name: &str, order: Value) -> Result<(), BackendError>;
}

/// The routes under `/v1/destinations`.
pub fn destinations_router(sinks: Arc<dyn Sinks>) -> Router {
    Router::new()
        .route("/v1/destinations", get(all))
        .route("/v1/destinations/{name}", get(one))
        .route("/v1/destinations/{name}/orders", post(order))
        .with_state(sinks)
}

async fn all(State(sinks): State<Arc<dyn Sinks>>) -> Json<Vec<Value>> {
    Json(sinks.all())
}

async fn one(State(sinks): State<Arc<dyn Sinks>>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let missing = || BackendError::NotFound(format!("no sink of this process serves a destination `{name}`"));
    sinks.one(&name).map(Json).ok_or_else(|| Problem::from(missing()))
}

/// Answers with the command once the sink has it; the sink executes it after its present step.
async fn order(State(sinks): State<Arc<dyn Sinks>>, Path(name): Path<String>, body: String) -> Result<(StatusCode, Json<Value>), Problem> {
    let order: Value = serde_json::from_str(&body).map_err(|error| Problem::from(BackendError::Refused(format!("the order is no JSON: {error}"))))?;
    sinks.order(&name, order.clone()).map_err(Problem::from)?;
    Ok((StatusCode::ACCEPTED, Json(order)))
}
