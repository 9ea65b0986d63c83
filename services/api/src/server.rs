//! Serving a router on a port, with a limit on every resource that a client can hold: connections,
//! the time for a request's head, the time without progress.
//!
//! ```text
//! listener ─▶ a place among the connections ─▶ TLS, where configured ─▶ HTTP/1.1 ─▶ router
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use crate::problem::Problem;
use crate::tls::Tls;

/// How long a client may take to send the head of a request. An idle connection is closed after the
/// same time.
const HEAD_WITHIN: Duration = Duration::from_secs(20);

/// How long a client may leave its answer unread.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// How long the handshake of TLS may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// The most bytes of a request's head. The longest head that a browser or a proxy sends is half of
/// it.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// If accepting fails for lack of descriptors, others must end first.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What a port admits.
#[derive(Clone, Default)]
pub struct Door {
    /// Connections at a time.
    pub connections_max: usize,
    pub full: Full,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// What becomes of one more connection while all places are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Full {
    /// It is answered with 503 and closed.
    #[default]
    TurnAway,
    /// It takes the place of the oldest, which is closed: for a port whose answers are short, so that whoever holds a place for long asks for nothing.
    CloseOldest,
}

/// Serves for as long as the listener lives; ends when the future is dropped.
pub async fn serve(listener: TcpListener, router: Router, door: Door) {
    let places = Arc::new(Semaphore::new(door.connections_max));
    let mut held = VecDeque::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let place = match door.full {
            Full::TurnAway => Arc::clone(&places).try_acquire_owned().ok(),
            Full::CloseOldest => None,
        };
        if place.is_none() && door.full == Full::TurnAway {
            tokio::spawn(turn_away(stream, door.connections_max));
            continue;
        }
        let (router, tls) = (router.clone(), door.tls.clone());
        let connection = tokio::spawn(async move {
            if let Err(error) = admit(stream, peer, router, tls).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(place);
        });
        if door.full == Full::CloseOldest {
            close_oldest(&mut held, door.connections_max);
            held.push_back(connection.abort_handle());
        }
    }
}

/// Leaves room for one more.
fn close_oldest(held: &mut VecDeque<AbortHandle>, connections_max: usize) {
    held.retain(|connection| !connection.is_finished());
    while held.len() >= connections_max
        && let Some(oldest) = held.pop_front()
    {
        oldest.abort();
    }
}

async fn admit(stream: TcpStream, peer: SocketAddr, router: Router, tls: Option<Arc<Tls>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => converse(stream, peer, router).await,
        Some(tls) => {
            let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, tls.acceptor().accept(stream));
            let stream = handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            converse(stream, peer, router).await
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: SocketAddr, router: Router) -> io::Result<()> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALLED_AFTER));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let router = router.clone();
        async move {
            // The reader's buffer grows in steps: what it takes is no exact limit.
            if head_bytes(&request) > HEAD_BYTES_MAX {
                return Ok(head_too_large());
            }
            router.oneshot(request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX / 2 * 3)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    connection.await.map_err(io::Error::other)
}

/// What the head of a request took, written without needless blanks.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let line = request.method().as_str().len() + request.uri().to_string().len() + "  HTTP/1.1\r\n".len();
    let fields = request.headers().iter();
    line + fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum::<usize>() + "\r\n".len()
}

fn head_too_large() -> Response {
    let detail = format!("the head of a request takes {} KiB at most", HEAD_BYTES_MAX >> 10);
    Problem::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head-too-large",
        "The request's head is larger than is taken",
        detail,
    )
    .into_response()
}

/// Says why before it closes. Whoever does not read it at once does not hear it.
async fn turn_away(mut stream: TcpStream, connections_max: usize) {
    let body = format!(
        "{{\"type\":\"urn:millrace:problem:too-many-connections\",\"title\":\"Too many connections\",\"status\":503,\"detail\":\"the server takes {connections_max} connections at a time; try again\"}}"
    );
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // The answer fits a socket's buffer, so this does not wait; a client that has gone needs none.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(answer.as_bytes())).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn started(door: Door) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Router::new(), door));
        address
    }

    async fn ask(address: SocketAddr, field_bytes: usize) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let field = "x".repeat(field_bytes);
        let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {field}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_head_over_the_limit_is_refused_with_the_limit() {
        let address = started(Door {
            connections_max: 8,
            ..Door::default()
        })
        .await;
        assert!(ask(address, 60_000).await.starts_with("HTTP/1.1 404 "));
        for bytes in [66_000, 90_000] {
            let answer = ask(address, bytes).await;
            assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("64 KiB"), "{bytes}: {answer}");
        }
    }

    #[tokio::test]
    async fn idle_connections_keep_nobody_out_where_the_oldest_is_closed() {
        let address = started(Door {
            connections_max: 3,
            full: Full::CloseOldest,
            tls: None,
        })
        .await;
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address, 1).await.starts_with("HTTP/1.1 404 "));
        // The first was closed, without a word.
        assert_eq!(idle[0].read(&mut [0; 8]).await.unwrap_or_default(), 0);
    }
}
