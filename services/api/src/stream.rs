//! A stream of changes as a response body: read on a blocking thread, sent as it comes, ended when the asker leaves.

use axum::body::Body;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::backend::{BackendError, Changes};

/// Chunks between the reader and a slow asker; beyond it the reader waits.
const CHUNKS_MAX: usize = 16;

/// The body that sends `changes` as JSON lines; without `follow` it ends once everything that was there has been sent.
pub fn body(mut changes: Box<dyn Changes>, follow: bool) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Vec<u8>, BackendError>>(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        loop {
            let done = !follow && changes.caught_up().unwrap_or(false);
            let chunk = changes
                .next()
                .map(|lines| lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect::<Vec<u8>>());
            let failed = chunk.is_err();
            let silent = matches!(&chunk, Ok(bytes) if bytes.is_empty());
            if !silent && sender.blocking_send(chunk).is_err() || failed || done && silent || sender.is_closed() {
                break;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}
