//! Clients that are closed on a thread of their own.
//!
//! Closing a librdkafka client waits for its threads, and for a consumer without a deadline: with
//! an unreachable broker that would hold up the recovery of a shard. Nothing depends on the end of
//! a closing client: the next owner's session fences it.

use std::ops::Deref;

/// Dereferences to its content until it is dropped.
pub struct Detached<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Detached<T> {
    pub fn new(content: T) -> Self {
        Self(Some(content))
    }
}

impl<T: Send + 'static> Deref for Detached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("the content is taken by drop alone")
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        let content = self.0.take();
        let closing = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(content));
        if let Err(error) = closing {
            // The closure, and the client with it, was dropped here instead.
            tracing::warn!(%error, "no thread to close a kafka client on");
        }
    }
}
