//! Which web pages may send, and the headers that say so to browsers.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_api::Problem;

/// That a request comes from no page, a page of the collector's own host, or one of these origins.
///
/// # Errors
/// Where a page of another origin sends.
pub(crate) fn allowed(origin: Option<&HeaderValue>, host: Option<&HeaderValue>, origins: &[String]) -> Result<(), Problem> {
    let Some(origin) = origin else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
    let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase());
    let own = origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host.as_deref());
    if own || origins.contains(&origin) {
        return Ok(());
    }
    let detail = format!("pages of `{origin}` may not send; where they may, name the origin in `collector.origins`");
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "foreign-origin",
        "A web page of another origin sends",
        detail,
    ))
}

/// The answer to a browser, or to a sender of CloudEvents, that asks before it sends.
pub(crate) fn preflight(headers: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let said = response.headers_mut();
    said.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    said.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET"));
    said.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, content-encoding, x-retry-count"),
    );
    said.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    if let Some(asker) = headers.get("webhook-request-origin") {
        said.insert("webhook-allowed-origin", asker.clone());
        said.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    }
    response
}

/// Lets the page read the answer.
pub(crate) fn admit(response: &mut Response, origin: HeaderValue) {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
}
