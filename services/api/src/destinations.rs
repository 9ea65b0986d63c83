//! Destinations: status of their sinks, and commands to them.
//!
//! Under `/v1` an instance answers for all processes of the deployment; under `/internal/v1` for
//! its own sinks alone, to other instances.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;

use crate::Problem;
use crate::backend::BackendError;
use crate::internal::guarded;
use crate::queue::Queue;

/// Sinks: of this process, or of all processes. All methods may block.
pub trait Sinks: Send + Sync {
    /// The status of each, by name.
    fn all(&self) -> Vec<Value>;

    /// One; `None` where no sink has the name.
    fn one(&self, name: &str) -> Option<Value>;

    /// What a sink would send now, with this number of changes of each audience; nothing is sent.
    ///
    /// # Errors
    /// Where there is no such sink; where the log cannot be read.
    fn preview(&self, name: &str, sample: usize) -> Result<Value, BackendError>;

    /// Passes a command, as JSON, to a sink.
    ///
    /// # Errors
    /// Where there is no such sink or no such command.
    fn order(&self, name: &str, order: Value) -> Result<(), BackendError>;
}

/// Questions and commands to sinks at a time: each may wait for other instances.
const AT_A_TIME: usize = 2;

/// Those that may wait for their turn.
const WAITING_MAX: usize = 100;

#[derive(Clone)]
struct Shared {
    sinks: Arc<dyn Sinks>,
    queue: Arc<Queue>,
}

impl Shared {
    fn new(sinks: Arc<dyn Sinks>) -> Shared {
        Shared {
            sinks,
            queue: Arc::new(Queue::new("questions to destinations", AT_A_TIME, WAITING_MAX)),
        }
    }

    async fn ask<T: Send + 'static>(self, work: impl FnOnce(&dyn Sinks) -> Result<T, BackendError> + Send + 'static) -> Result<T, Problem> {
        let sinks = self.sinks;
        self.queue.run(move |_| work(&*sinks)).await
    }
}

/// The routes under `/v1/destinations`.
pub fn destinations_router(sinks: Arc<dyn Sinks>) -> Router {
    Router::new()
        .route("/v1/destinations", get(all))
        .route("/v1/destinations/{name}", get(one))
        .route("/v1/destinations/{name}/orders", post(order))
        .route("/v1/destinations/{name}/preview", get(preview))
        .with_state(Shared::new(sinks))
}

/// The routes by which instances ask for each other's sinks. `token`: the token that callers must
/// send, if there is one.
pub fn internal_destinations_router(sinks: Arc<dyn Sinks>, token: Option<String>) -> Router {
    let router = Router::new()
        .route("/internal/v1/destinations/{name}", get(one))
        .route("/internal/v1/destinations/{name}/orders", post(order))
        .with_state(Shared::new(sinks));
    guarded(router, token)
}

async fn all(State(shared): State<Shared>) -> Result<Json<Vec<Value>>, Problem> {
    shared.ask(|sinks| Ok(sinks.all())).await.map(Json)
}

async fn one(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let found = shared.ask(move |sinks| {
        let missing = || BackendError::NotFound(format!("no sink serves a destination `{name}`"));
        sinks.one(&name).ok_or_else(missing)
    });
    found.await.map(Json)
}

#[derive(Deserialize)]
struct Sample {
    sample: Option<u16>,
}

/// Changes of an audience that a preview shows, unless another number is asked for.
const SAMPLE: u16 = 5;

async fn preview(State(shared): State<Shared>, Path(name): Path<String>, Query(Sample { sample }): Query<Sample>) -> Result<Json<Value>, Problem> {
    let sample = sample.unwrap_or(SAMPLE).into();
    shared.ask(move |sinks| sinks.preview(&name, sample)).await.map(Json)
}

/// Answers with the command once the sink has it; the sink executes it after its present step.
async fn order(State(shared): State<Shared>, Path(name): Path<String>, body: String) -> Result<(StatusCode, Json<Value>), Problem> {
    let order: Value = serde_json::from_str(&body).map_err(|error| Problem::from(BackendError::Refused(format!("the order is no JSON: {error}"))))?;
    let given = order.clone();
    shared.ask(move |sinks| sinks.order(&name, given)).await?;
    Ok((StatusCode::ACCEPTED, Json(order)))
}
