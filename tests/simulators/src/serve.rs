//! Shared by the simulated systems: a server's task, and answers that break off.

use axum::body::Body;
use axum::http::header;
use axum::response::Response;

/// A server's task, which ends when this is dropped.
pub struct Task(pub tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer that announces a body and ends the connection in it.
pub fn dropped() -> Response {
    let broken = Body::from_stream(broken_off());
    Response::builder().header(header::CONTENT_LENGTH, "1000").body(broken).unwrap_or_default()
}

/// A stream with one error.
fn broken_off() -> impl tokio_stream::Stream<Item = Result<bytes::Bytes, std::io::Error>> + Send + 'static {
    tokio_stream::once(Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
}
