//! A process that dies at an await.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that is dropped at one of its awaits, each poll that leaves it waiting being one.
/// Returns `None` then.
#[derive(Debug)]
pub struct Killed<F> {
    inner: Pin<Box<F>>,
    awaits: u64,
}

impl<F: Future> Killed<F> {
    /// Lets `future` pass this number of awaits.
    pub fn after(awaits: u64, future: F) -> Killed<F> {
        Killed {
            inner: Box::pin(future),
            awaits,
        }
    }
}

impl<F: Future> Future for Killed<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.awaits == 0 {
            return Poll::Ready(None);
        }
        self.awaits -= 1;
        self.inner.as_mut().poll(context).map(Some)
    }
}
