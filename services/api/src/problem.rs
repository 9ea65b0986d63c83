//! Errors as RFC 9457 problem documents.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::BackendError;

/// A problem document, sent as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:millrace:problem:<word>`; programs tell problems apart by it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence in words.
    pub detail: String,
    /// Each single fault, with its place, where there can be several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl Problem {
    /// A problem of a kind; `word` and the title never change once published.
    pub fn new(status: StatusCode, word: &str, title: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:millrace:problem:{word}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }
}

impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Problem {
        match error {
            BackendError::NotFound(detail) => Problem::not_found(detail),
            BackendError::Refused(detail) => Problem::bad_request(detail),
            BackendError::InUse(detail) => Problem::new(StatusCode::CONFLICT, "in-use", "Others rest on it", detail),
            BackendError::InvalidDefinition(errors) => {
                let detail = format!(
                    "{} to correct",
                    if errors.len() == 1 {
                        "1 fault".to_owned()
                    } else {
                        format!("{} faults", errors.len())
                    }
                );
                Problem {
                    errors,
                    ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-definition", "The definition does not hold", detail)
                }
            }
            BackendError::Unavailable(detail) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now; ask again", detail),
            BackendError::Failure { context, source } => {
                tracing::error!(error = source.as_ref(), "{context}");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failure", "The server failed; its log says why", context)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}
