//! The shards of one process: one thread each, started and stopped as ownership changes.
//!
//! A shard that fails reports it in its health and leaves the others alone. If another process took
//! over a shard that is still assigned here, this one retries after a while: either the revocation
//! is coming, or the other process was wrong.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millrace_log::{Disposition, LogError};
use millrace_model::{ShardId, chain};
use millrace_shard::state::{StateError, StateStore, StateView};

use crate::state::ShardState;
use crate::task::{ShardTask, Stepped, TaskContext};

/// The shards that were gained and lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Shards that are this process's from now on.
    pub assigned: BTreeSet<u32>,
    /// Shards that it must stop and give back.
    pub revoked: BTreeSet<u32>,
}

/// Decides which shards this process owns.
///
/// Protocol: `changes` in a loop, from one thread; after changes with revoked shards, `stopped`
/// with the same ones once their threads have ended. A wrong belief does no harm: opening a shard
/// fences its earlier owner.
pub trait Ownership: Send {
    /// Waits at most this long for changes; returns none where nothing changed in time.
    ///
    /// # Errors
    /// Those with disposition `Stop` end the process; after others it is called again.
    fn changes(&mut self, wait_ms_max: u64) -> Result<Changes, LogError>;

    /// These shards are released and may go to others.
    ///
    /// # Errors
    /// As `changes`.
    fn stopped(&mut self, shards: &BTreeSet<u32>) -> Result<(), LogError>;
}

/// One process owns all shards, for ever.
#[derive(Clone, Debug)]
pub struct AllShards {
    shards: u32,
    reported: bool,
}

impl AllShards {
    /// All shards from 0 up to `shards`.
    pub fn new(shards: u32) -> AllShards {
        AllShards { shards, reported: false }
    }
}

impl Ownership for AllShards {
    fn changes(&mut self, wait_ms_max: u64) -> Result<Changes, LogError> {
        if std::mem::replace(&mut self.reported, true) {
            std::thread::sleep(Duration::from_millis(wait_ms_max));
            return Ok(Changes::default());
        }
        Ok(Changes {
            assigned: (0..self.shards).collect(),
            revoked: BTreeSet::new(),
        })
    }

    fn stopped(&mut self, _: &BTreeSet<u32>) -> Result<(), LogError> {
        Ok(())
    }
}

/// Opens a shard's store; called on the shard's thread, and again only after the store before is
/// dropped.
pub type OpenStore = dyn Fn(u32) -> Result<Box<dyn StateStore>, StateError> + Send + Sync;

/// A shard of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHealth {
    /// The shard.
    pub shard: ShardId,
    /// Its state.
    pub state: ShardState,
}

/// Runs the shards of one process.
pub struct Host {
    context: TaskContext,
    open_store: Arc<OpenStore>,
    shared: Arc<Shared>,
    threads: BTreeMap<ShardId, ShardThread>,
}

/// A view of a running host for other threads. Cheap to clone.
#[derive(Clone)]
pub struct HostHandle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: Signal,
    board: Mutex<Board>,
}

#[derive(Default)]
struct Board {
    /// Whether ownership has reported anything yet.
    assigned_once: bool,
    shards: BTreeMap<ShardId, Entry>,
}

struct Entry {
    state: ShardState,
    /// While running.
    reader: Option<Arc<dyn StateView + Send + Sync>>,
}

struct ShardThread {
    stop: Arc<Signal>,
    thread: Option<JoinHandle<Ending>>,
    ended_at: Option<Instant>,
}

/// How a shard's thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Stopped,
    /// Try again after a while.
    Again,
    /// Leave it.
    Failed,
}

/// An event that is raised once and waited for.
#[derive(Default)]
struct Signal {
    raised: Mutex<bool>,
    wake: Condvar,
}

/// How long a shard that ended while assigned waits before it is reopened.
const REST: Duration = Duration::from_secs(10);
/// How often the host checks threads and the stop signal.
const LOOK_EVERY_MS: u64 = 100;

impl Host {
    /// A host that runs nothing until `run`.
    pub fn new(context: TaskContext, open_store: Arc<OpenStore>) -> Host {
        Host {
            context,
            open_store,
            shared: Arc::default(),
            threads: BTreeMap::new(),
        }
    }

    /// A handle for threads that ask about the shards.
    pub fn handle(&self) -> HostHandle {
        HostHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Runs until `HostHandle::stop`; then stops every shard cleanly.
    ///
    /// # Errors
    /// Where ownership cannot be known any more.
    pub fn run(mut self, mut ownership: Box<dyn Ownership>) -> Result<(), LogError> {
        let outcome = self.run_until_stopped(&mut *ownership);
        let all: BTreeSet<u32> = self.threads.keys().map(|shard| shard.0).collect();
        self.stop(&all);
        let released = if all.is_empty() { Ok(()) } else { ownership.stopped(&all) };
        outcome.and(released)
    }

    fn run_until_stopped(&mut self, ownership: &mut dyn Ownership) -> Result<(), LogError> {
        while !self.shared.stop.raised() {
            match self.follow(ownership) {
                Ok(()) => {}
                Err(error) if error.disposition() == Disposition::Stop => return Err(error),
                Err(error) => {
                    tracing::warn!(reason = chain(&error), "ownership is not known now");
                    self.shared.stop.wait(Duration::from_secs(1));
                }
            }
            self.look_after();
        }
        Ok(())
    }

    fn follow(&mut self, ownership: &mut dyn Ownership) -> Result<(), LogError> {
        let changes = ownership.changes(LOOK_EVERY_MS)?;
        if !changes.revoked.is_empty() {
            self.stop(&changes.revoked);
            ownership.stopped(&changes.revoked)?;
        }
        if !changes.assigned.is_empty() {
            self.shared.board().assigned_once = true;
        }
        for shard in changes.assigned.into_iter().map(ShardId) {
            if !self.threads.contains_key(&shard) {
                self.start(shard);
            }
        }
        Ok(())
    }

    fn start(&mut self, shard: ShardId) {
        self.shared.post(shard, &ShardState::Opening, None);
        let stop = Arc::new(Signal::default());
        let (context, open_store, shared, signal) = (self.context.clone(), Arc::clone(&self.open_store), Arc::clone(&self.shared), Arc::clone(&stop));
        let work = move || {
            let drive = AssertUnwindSafe(|| drive(shard, context, &*open_store, &shared, &signal));
            catch_unwind(drive).unwrap_or_else(|_| {
                shared.post(
                    shard,
                    &ShardState::Failed {
                        reason: "the shard's thread panicked".to_owned(),
                    },
                    None,
                );
                Ending::Failed
            })
        };
        match std::thread::Builder::new().name(format!("shard-{shard}")).spawn(work) {
            Ok(thread) => {
                self.threads.insert(
                    shard,
                    ShardThread {
                        stop,
                        thread: Some(thread),
                        ended_at: None,
                    },
                );
            }
            Err(error) => {
                tracing::error!(shard = shard.0, %error, "cannot start a shard's thread");
                self.shared.post(shard, &ShardState::Failed { reason: error.to_string() }, None);
                self.threads.insert(
                    shard,
                    ShardThread {
                        stop,
                        thread: None,
                        ended_at: Some(Instant::now()),
                    },
                );
            }
        }
    }

    /// Stops threads, all at the same time, and forgets them.
    fn stop(&mut self, shards: &BTreeSet<u32>) {
        let stopping: Vec<(ShardId, ShardThread)> = shards.iter().filter_map(|shard| self.threads.remove_entry(&ShardId(*shard))).collect();
        stopping.iter().for_each(|(_, thread)| thread.stop.raise());
        for (shard, thread) in stopping {
            // A panic was caught inside and reported.
            let _ = thread.thread.map(JoinHandle::join);
            self.shared.board().shards.remove(&shard);
            // Whatever the thread's last state, its measurements no longer apply here.
            self.context.observer.state_changed(shard, &ShardState::Released);
        }
    }

    /// Finds threads that ended by themselves, and restarts those that may restart.
    fn look_after(&mut self) {
        let mut again = Vec::new();
        for (shard, thread) in &mut self.threads {
            if thread.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                let ending = thread.thread.take().map(JoinHandle::join);
                thread.ended_at = matches!(ending, Some(Ok(Ending::Again))).then(Instant::now);
            }
            if thread.ended_at.is_some_and(|ended| ended.elapsed() >= REST) {
                again.push(*shard);
            }
        }
        again.into_iter().for_each(|shard| self.start(shard));
    }
}

/// A shard's thread.
fn drive(shard: ShardId, context: TaskContext, open_store: &OpenStore, shared: &Shared, stop: &Signal) -> Ending {
    let clock = Arc::clone(&context.clock);
    let store = match open_store(shard.0) {
        Ok(store) => store,
        Err(error) => {
            let reason = chain(&error);
            tracing::error!(shard = shard.0, reason, "cannot open the store");
            shared.post(shard, &ShardState::Failed { reason }, None);
            return Ending::Again;
        }
    };
    let mut task = ShardTask::new(shard, context, store);
    let mut posted = task.state().clone();
    while !stop.raised() {
        let progress = task.step();
        if *task.state() != posted {
            posted = task.state().clone();
            let reader = (posted == ShardState::Running).then(|| task.reader());
            shared.post(shard, &posted, reader);
        }
        match progress {
            Stepped::Worked | Stepped::Idle(_) => {}
            Stepped::Waiting(until) => {
                let wait_ms = until.0.saturating_sub(clock.now().0).clamp(1, 10_000);
                stop.wait(Duration::from_millis(wait_ms as u64));
            }
            Stepped::Ended => break,
        }
    }
    if let Err(error) = task.close() {
        tracing::warn!(
            shard = shard.0,
            reason = chain(&error),
            "cannot flush the store; its next owner restores the rest"
        );
    }
    match posted {
        ShardState::Failed { .. } => Ending::Failed,
        ShardState::Released => Ending::Again,
        _ => Ending::Stopped,
    }
}

impl HostHandle {
    /// Every shard that is assigned to this process, in order.
    pub fn health(&self) -> Vec<ShardHealth> {
        let board = self.shared.board();
        board
            .shards
            .iter()
            .map(|(shard, entry)| ShardHealth {
                shard: *shard,
                state: entry.state.clone(),
            })
            .collect()
    }

    /// Whether ownership is known and every assigned shard runs.
    pub fn ready(&self) -> bool {
        let board = self.shared.board();
        board.assigned_once && board.shards.values().all(|entry| entry.state == ShardState::Running)
    }

    /// Committed state of a shard; `None` where it does not run in this process now.
    pub fn reader(&self, shard: ShardId) -> Option<Arc<dyn StateView + Send + Sync>> {
        self.shared.board().shards.get(&shard).and_then(|entry| entry.reader.clone())
    }

    /// Asks the host to stop. `Host::run` returns when every shard has stopped.
    pub fn stop(&self) {
        self.shared.stop.raise();
    }
}

impl Shared {
    // Entries are replaced whole, so one left by a panic is valid.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, shard: ShardId, state: &ShardState, reader: Option<Arc<dyn StateView + Send + Sync>>) {
        self.board().shards.insert(shard, Entry { state: state.clone(), reader });
    }
}

impl Signal {
    fn raised(&self) -> bool {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    fn wait(&self, at_most: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        // The caller checks why it woke.
        let _ = self.wake.wait_timeout_while(raised, at_most, |raised| !*raised);
    }
}
