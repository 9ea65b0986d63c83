//! Bounded work on blocking threads: a limit on running work, a limit on waiting work, and no work
//! for clients that have disconnected.
//!
//! Each kind of question has a queue of its own, so that expensive ones never keep cheap ones
//! waiting. A client that disconnects while waiting frees its place at once; one that disconnects
//! while being served cancels the work, which checks `Cancel` between its portions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::backend::BackendError;
use crate::problem::Problem;

/// How long a request waits for its turn. Clients give up at about the same time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reports whether the client has disconnected.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For `?` between two portions of work.
    ///
    /// # Errors
    /// `Cancelled` once the client has disconnected.
    pub fn check(&self) -> Result<(), BackendError> {
        if self.cancelled() { Err(BackendError::Cancelled) } else { Ok(()) }
    }
}

/// Cancels when it is dropped with the request.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Work of one kind.
pub struct Queue {
    name: &'static str,
    running: Arc<Semaphore>,
    running_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A place in the queue.
struct InLine<'q>(&'q AtomicUsize);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    /// `name` appears in refusals: "the queue of previews".
    pub fn new(name: &'static str, running_max: usize, waiting_max: usize) -> Queue {
        Queue {
            name,
            running: Arc::new(Semaphore::new(running_max)),
            running_max,
            waiting: AtomicUsize::new(0),
            waiting_max,
        }
    }

    /// Runs blocking work on a thread meant for it, when its turn has come.
    ///
    /// # Errors
    /// The work's error; too many waiting; its turn did not come in time.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Cancel) -> Result<T, BackendError> + Send + 'static) -> Result<T, Problem> {
        let turn = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => self.wait().await?,
        };
        let cancel = Cancel::default();
        let left = CancelOnDrop(cancel.clone());
        let outcome = tokio::task::spawn_blocking(move || {
            let outcome = work(&cancel);
            drop(turn);
            outcome
        })
        .await;
        drop(left);
        match outcome {
            Ok(outcome) => outcome.map_err(Problem::from),
            Err(panic) => {
                tracing::error!(error = %panic, "request handler panicked");
                Err(Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "failure",
                    "The server failed; its log says why",
                    "internal error",
                ))
            }
        }
    }

    async fn wait(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = InLine(&self.waiting);
        if before >= self.waiting_max {
            return Err(self.busy("and as many as may are waiting"));
        }
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.running).acquire_owned()).await;
        drop(place);
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.busy("and none ended within 30 s")),
        }
    }

    fn busy(&self, why: &str) -> Problem {
        let detail = format!(
            "the queue of {} is full: {} run at a time, {} may wait, {why}; ask again later",
            self.name, self.running_max, self.waiting_max
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many such requests at a time", detail)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn whoever_comes_when_all_places_are_taken_is_refused_with_the_numbers() {
        let queue = Arc::new(Queue::new("tests", 1, 0));
        let (go, held) = mpsc::channel::<()>();
        let (started, runs) = tokio::sync::oneshot::channel();
        let first = Arc::clone(&queue);
        let first = tokio::spawn(async move {
            first
                .run(move |_| {
                    let _ = started.send(());
                    let _ = held.recv();
                    Ok(1)
                })
                .await
        });
        runs.await.unwrap();
        let second = queue.run(|_| Ok(2)).await.unwrap_err();
        assert_eq!(second.status, 503);
        assert!(second.detail.contains("1 run at a time, 0 may wait"), "{}", second.detail);
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(queue.run(|_| Ok(3)).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn work_of_an_asker_who_left_hears_of_it_and_frees_its_place() {
        let queue = Arc::new(Queue::new("tests", 1, 1));
        let (started, runs) = tokio::sync::oneshot::channel();
        let (ended, end) = tokio::sync::oneshot::channel();
        let first = Arc::clone(&queue);
        let asker = tokio::spawn(async move {
            first
                .run(move |cancel| {
                    let _ = started.send(());
                    while !cancel.cancelled() {
                        std::thread::yield_now();
                    }
                    let _ = ended.send(());
                    cancel.check()
                })
                .await
        });
        runs.await.unwrap();
        asker.abort();
        end.await.unwrap();
        queue.run(|_| Ok(())).await.unwrap();
    }
}
