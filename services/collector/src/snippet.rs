//! `/v1/collect.js`: the page-view snippet.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// What pages load.
pub const SNIPPET: &str = include_str!("snippet.js");

pub(crate) async fn serve() -> Response {
    let mut response = SNIPPET.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    // Pages of any origin may load a script.
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    response
}
