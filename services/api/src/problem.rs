//! Errors as RFC 9457 problem documents.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::BackendError;

/// A problem document, sent as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:millrace:problem:<word>`, by which programs distinguish problems.
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

/// Turns the framework's own answers into problem documents: paths and bodies that are not UTF-8,
/// bodies over the limit, methods that are not served. Their other headers (`Allow`) stay.
pub(crate) async fn tell_as_problem(response: Response) -> Response {
    let status = response.status();
    let own = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
    if own || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // If the text cannot be read any more, the status must suffice.
    let text = axum::body::to_bytes(body, DETAIL_BYTES_MAX).await.unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or_default();
    let detail = if text.is_empty() {
        reason.to_owned()
    } else {
        String::from_utf8_lossy(&text).into_owned()
    };
    let problem = match status {
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(status, "method-not-allowed", "The method is not served here", detail),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(status, "too-large", "The body is larger than is taken at once", detail),
        StatusCode::NOT_FOUND => Problem::not_found(detail),
        status if status.is_server_error() => Problem::new(status, "failure", "The server failed; its log says why", detail),
        status => Problem {
            status: status.as_u16(),
            ..Problem::bad_request(detail)
        },
    };
    let mut answer = problem.into_response();
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    answer.headers_mut().extend(parts.headers);
    answer
}

/// The framework's own texts are shorter.
const DETAIL_BYTES_MAX: usize = 4_096;

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
            // Nobody reads it.
            BackendError::Cancelled => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "cancelled", "The asker has left", error.to_string()),
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
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
