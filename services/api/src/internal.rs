//! `/internal/v1/shards/{shard}/get|scan`: committed rows of the shards of this process, for other
//! instances of the deployment.
//!
//! Bodies are postcard: `get` takes the key's bytes and answers `Option<Vec<u8>>`; `scan` takes a
//! `ScanRequest` and answers a `RowsPage`. For a shard that is not open here the answer is 421: the
//! caller looks up its owner again, and nothing is forwarded twice.
//!
//! Rows hold everything that is known of persons. Where a token is configured, only its bearer gets
//! an answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::auth::same;
use crate::problem::Problem;

/// The most rows of one answer; the caller continues after the last one.
pub const ROWS_MAX: usize = 500;

/// Rows with `lower <= key < upper`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanRequest {
    pub lower: Vec<u8>,
    pub upper: Vec<u8>,
    /// At most this number; an answer holds at most `ROWS_MAX`.
    pub limit: u64,
}

/// The first rows of a range, in ascending order of keys. If the range holds more than requested,
/// exactly the number requested, or `ROWS_MAX`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsPage {
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error("shard {0} is not open here")]
    NotHere(u32),
    #[error("reading the state")]
    Failure(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Committed rows of this process's shards. Both methods block.
pub trait ShardRows: Send + Sync {
    /// # Errors
    /// `NotHere` where the shard is not open in this process.
    fn get(&self, shard: u32, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError>;

    /// # Errors
    /// As for `get`.
    fn scan(&self, shard: u32, request: &ScanRequest) -> Result<RowsPage, RowsError>;
}

#[derive(Clone)]
struct Internal {
    rows: Arc<dyn ShardRows>,
    /// The threads that read: separate from those that wait for other instances, so that two
    /// instances cannot wait for each other.
    threads: Handle,
}

/// The router of internal reads, to merge into the API's. `token`: the token that callers must
/// send, if there is one.
pub fn internal_router(rows: Arc<dyn ShardRows>, token: Option<String>, threads: Handle) -> Router {
    let router = Router::new()
        .route("/internal/v1/shards/{shard}/get", post(get))
        .route("/internal/v1/shards/{shard}/scan", post(scan))
        .with_state(Internal { rows, threads });
    guarded(router, token)
}

/// Only callers with the instances' token come through, if there is one.
pub(crate) fn guarded(router: Router, token: Option<String>) -> Router {
    match token {
        Some(token) => router.layer(from_fn_with_state(Arc::<str>::from(format!("Bearer {token}")), guard)),
        None => router,
    }
}

async fn guard(State(expected): State<Arc<str>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    if shown.is_some_and(|shown| same(shown, expected.as_bytes())) {
        return next.run(request).await;
    }
    let detail = "internal reads ask for the token in `http.internal_token`; give all instances the same";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "The token is missing or wrong", detail).into_response()
}

async fn get(State(internal): State<Internal>, Path(shard): Path<u32>, key: Bytes) -> Result<Vec<u8>, Problem> {
    let rows = Arc::clone(&internal.rows);
    answer(&internal, move || rows.get(shard, &key)).await
}

async fn scan(State(internal): State<Internal>, Path(shard): Path<u32>, body: Bytes) -> Result<Vec<u8>, Problem> {
    let request: ScanRequest = postcard::from_bytes(&body).map_err(|_| Problem::bad_request("the body is no range of keys"))?;
    let rows = Arc::clone(&internal.rows);
    answer(&internal, move || rows.scan(shard, &request)).await
}

async fn answer<T: Serialize + Send + 'static>(internal: &Internal, read: impl FnOnce() -> Result<T, RowsError> + Send + 'static) -> Result<Vec<u8>, Problem> {
    let read = move || read().map(|answer| postcard::to_stdvec(&answer).map_err(|error| RowsError::Failure(Box::new(error))))?;
    match internal.threads.spawn_blocking(read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(RowsError::NotHere(shard))) => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "not-here",
            "Another instance has it",
            RowsError::NotHere(shard).to_string(),
        )),
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "internal read");
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "failure",
                "The server failed; its log says why",
                error.to_string(),
            ))
        }
        Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Not available now; ask again",
            "the instance is ending",
        )),
    }
}
