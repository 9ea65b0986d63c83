//! Streams of membership changes to many followers: one tail of the topic for all of them, and no
//! thread per follower.
//!
//! ```text
//! follower:  catching up ── own reader, portion by portion, among READERS_MAX ──▶ caught up ──▶ following the tail
//!                 ▲                                                                              │
//!                 └────────────── fell further back than the tail keeps ─────────────────────────┘
//! ```
//!
//! A follower knows the next offset of each partition to send. It joins the tail first, and reads
//! on by itself until it has everything that was there then; it drops changes of the tail below its
//! offsets. So no change is missed and none is sent twice.
//!
//! The tail is a thread that lives as long as anyone follows. If the topic cannot be read, it ends,
//! and so do the streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::stream::{Stream, unfold};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::backend::{BackendError, ChangeLog, ChangeReader, ChangesFrom, Placed, Positions};
use crate::problem::Problem;

/// Followers at a time. Each holds a connection, and some kilobytes.
pub const FOLLOWERS_MAX: usize = 1_024;

/// Followers that read the topic by themselves at a time; the others wait. On Kafka each is a
/// consumer with threads of its own.
const READERS_MAX: usize = 8;

/// Portions that the tail keeps for slow followers. One that falls further back reads by itself
/// again.
const TAIL_PORTIONS: usize = 256;

/// The feed of one process.
pub struct Feed {
    log: Arc<dyn ChangeLog>,
    followers: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    tail: Mutex<Weak<Tail>>,
}

/// Shared by followers and the thread that reads for them.
struct Tail(Mutex<Shared>);

/// Locked while a portion is sent, so that a new follower knows exactly which changes will come.
struct Shared {
    /// `None` once the topic could not be read.
    sender: Option<broadcast::Sender<Arc<Vec<Placed>>>>,
    /// The next offsets of the tail.
    positions: Positions,
}

impl Tail {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` once it has ended.
    fn join(self: &Arc<Tail>) -> Option<(Joined, Positions)> {
        let shared = self.shared();
        let receiver = shared.sender.as_ref()?.subscribe();
        let tail = Arc::clone(self);
        Some((Joined { _tail: tail, receiver }, shared.positions.clone()))
    }

    /// Sends what arrives until the last follower lets go of the tail.
    fn run(tail: &Weak<Tail>, mut reader: Box<dyn ChangeReader>) {
        while tail.strong_count() > 0 {
            let portion = reader.next(true);
            let Some(tail) = tail.upgrade() else { return };
            let mut shared = tail.shared();
            match portion {
                Ok(portion) => {
                    shared.positions = reader.positions();
                    if let Some(sender) = shared.sender.as_ref().filter(|_| !portion.is_empty()) {
                        // Fails where nobody listens at this moment; a later follower learns the
                        // positions.
                        let _ = sender.send(Arc::new(portion));
                    }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the membership topic cannot be followed");
                    shared.sender = None;
                    return;
                }
            }
        }
    }
}

impl Feed {
    pub fn new(log: Arc<dyn ChangeLog>) -> Arc<Feed> {
        Arc::new(Feed {
            log,
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            tail: Mutex::default(),
        })
    }

    /// Joins the present tail, or starts one. Blocks.
    fn join(&self) -> Result<(Joined, Positions), BackendError> {
        let mut known = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(joined) = known.upgrade().and_then(|tail| tail.join()) {
            return Ok(joined);
        }
        let reader = self.log.open(&ChangesFrom::End)?;
        let (sender, _) = broadcast::channel(TAIL_PORTIONS);
        let tail = Arc::new(Tail(Mutex::new(Shared {
            sender: Some(sender),
            positions: reader.positions(),
        })));
        let joined = tail.join();
        let weak = Arc::downgrade(&tail);
        *known = Weak::clone(&weak);
        let thread = std::thread::Builder::new().name("changes".to_owned());
        let started = thread.spawn(move || Tail::run(&weak, reader));
        started.map_err(|error| BackendError::Unavailable(format!("cannot start a thread: {error}")))?;
        joined.ok_or_else(|| BackendError::Unavailable("the membership topic cannot be followed now".to_owned()))
    }

    /// A body of JSON lines; without `follow` it ends once everything present has been sent.
    ///
    /// # Errors
    /// Where too many follow, or the topic cannot be read.
    pub async fn body(self: &Arc<Feed>, from: ChangesFrom, follow: bool) -> Result<Body, Problem> {
        let Ok(place) = Arc::clone(&self.followers).try_acquire_owned() else {
            let detail = format!("{FOLLOWERS_MAX} follow the changes already; ask again later, or consume the membership topic");
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many such requests at a time",
                detail,
            ));
        };
        let mut follower = Follower {
            feed: Arc::clone(self),
            _place: place,
            follow,
            state: State::Away(from),
        };
        if follow {
            // A topic that cannot be read is a refusal, not a stream that breaks off.
            follower.join().await?;
        }
        Ok(Body::from_stream(stream_of(follower)))
    }
}

/// Where a follower is.
enum State {
    /// Reads from there as soon as a reader's place is free.
    Away(ChangesFrom),
    /// With the tail joined, if it will follow it.
    Catching(Box<dyn ChangeReader>, OwnedSemaphorePermit, Option<Joined>),
    Following(Joined, Positions),
    Ended,
}

struct Joined {
    /// Keeps the tail alive.
    _tail: Arc<Tail>,
    receiver: broadcast::Receiver<Arc<Vec<Placed>>>,
}

struct Follower {
    feed: Arc<Feed>,
    _place: OwnedSemaphorePermit,
    follow: bool,
    state: State,
}

impl Follower {
    /// From the end on: there is nothing to catch up with.
    async fn join(&mut self) -> Result<(), Problem> {
        if matches!(self.state, State::Away(ChangesFrom::End)) {
            let (joined, positions) = join(&self.feed).await?;
            self.state = State::Following(joined, positions);
        }
        Ok(())
    }

    /// The next lines; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Result<Bytes, BackendError>> {
        loop {
            let step = match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return None,
                State::Away(from) => self.open(from).await,
                State::Catching(reader, place, tail) => self.catch_up(reader, place, tail).await,
                State::Following(joined, positions) => self.listen(joined, positions).await,
            };
            match step {
                Ok(lines) if lines.is_empty() => {}
                other => return Some(other),
            }
        }
    }

    async fn open(&mut self, from: ChangesFrom) -> Result<Bytes, BackendError> {
        let place = Arc::clone(&self.feed.readers).acquire_owned().await.map_err(|_| BackendError::Cancelled)?;
        let tail = match self.follow {
            true => Some(join(&self.feed).await?.0),
            false => None,
        };
        let log = Arc::clone(&self.feed.log);
        let reader = blocking(move || log.open(&from)).await?;
        self.state = State::Catching(reader, place, tail);
        Ok(Bytes::new())
    }

    async fn catch_up(&mut self, mut reader: Box<dyn ChangeReader>, place: OwnedSemaphorePermit, tail: Option<Joined>) -> Result<Bytes, BackendError> {
        let (reader, portion, done) = blocking(move || {
            let done = reader.caught_up()?;
            let portion = if done { Vec::new() } else { reader.next(false)? };
            Ok((reader, portion, done))
        })
        .await?;
        self.state = match (done, tail) {
            (false, tail) => State::Catching(reader, place, tail),
            (true, Some(joined)) => State::Following(joined, reader.positions()),
            (true, None) => State::Ended,
        };
        Ok(lines(portion.iter()))
    }

    async fn listen(&mut self, mut joined: Joined, mut positions: Positions) -> Result<Bytes, BackendError> {
        match joined.receiver.recv().await {
            Ok(portion) => {
                let fresh = |placed: &&Placed| positions.get(&placed.partition).is_none_or(|next| placed.offset >= *next);
                let bytes = lines(portion.iter().filter(fresh));
                for placed in portion.iter() {
                    let next = positions.entry(placed.partition).or_default();
                    *next = (*next).max(placed.offset + 1);
                }
                self.state = State::Following(joined, positions);
                Ok(bytes)
            }
            Err(RecvError::Lagged(_)) => {
                self.state = State::Away(ChangesFrom::At(positions));
                Ok(Bytes::new())
            }
            Err(RecvError::Closed) => Err(BackendError::Unavailable("the membership topic cannot be followed now".to_owned())),
        }
    }
}

async fn join(feed: &Arc<Feed>) -> Result<(Joined, Positions), BackendError> {
    let feed = Arc::clone(feed);
    blocking(move || feed.join()).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, BackendError> + Send + 'static) -> Result<T, BackendError> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|panic| {
        tracing::error!(error = %panic, "reading changes panicked");
        Err(BackendError::Unavailable("reading the changes failed".to_owned()))
    })
}

fn lines<'p>(portion: impl Iterator<Item = &'p Placed>) -> Bytes {
    let mut text = String::new();
    for placed in portion {
        text.push_str(&placed.line);
        text.push('\n');
    }
    Bytes::from(text)
}

fn stream_of(follower: Follower) -> impl Stream<Item = Result<Bytes, BackendError>> + Send {
    unfold(follower, |mut follower| async move {
        let item = follower.next().await?;
        Some((item, follower))
    })
}
