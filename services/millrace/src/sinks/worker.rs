//! The thread of one sink: follows the ownership of partitions, steps the task, looks after what
//! fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_connect::sink::{Answers, Order, SinkError, SinkStatus, SinkTask};
use millrace_log::{Disposition, LogError};
use millrace_model::chain;
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_runtime::host::Ownership;
use millrace_telemetry::{Counter, Gauge, Metrics};

/// How long a partition rests after a failure before it is reopened, in milliseconds.
const REOPEN_MS: i64 = 1_000;

/// And after another process took it over: long enough to learn from the group that it is the other
/// one's. If the group leaves it here, it is opened again.
const REOPEN_FENCED_MS: i64 = 3_000;

/// How long the group is not asked after it could not answer, in milliseconds.
const ASK_AGAIN_MS: i64 = 1_000;

/// The least time between two statuses, in milliseconds.
const STATUS_EVERY_MS: i64 = 500;

/// The pause of a sink without partitions.
const IDLE: Duration = Duration::from_millis(50);

/// What others may know of a sink.
pub struct Shown {
    pub status: SinkStatus,
    /// Why it does not do its work; `None`: it does.
    pub waiting_for: Option<String>,
}

impl Shown {
    pub fn of(name: &str) -> Shown {
        Shown {
            status: SinkStatus {
                destination: name.to_owned(),
                ..SinkStatus::default()
            },
            waiting_for: Some("no partition is assigned yet".to_owned()),
        }
    }
}

/// The state of one thread.
pub struct Worker {
    name: String,
    task: SinkTask,
    ownership: Box<dyn Ownership>,
    orders: Receiver<Order>,
    shown: Arc<Mutex<Shown>>,
    stop: Arc<AtomicBool>,
    metrics: Metrics,
    /// Whether the group has assigned anything yet.
    assigned_once: bool,
    /// Assigned partitions that are not open, each with the earliest time to open it.
    reopen: BTreeMap<u32, i64>,
    /// Assigned partitions that a person must look at, with the reason.
    failed: BTreeMap<u32, String>,
    ask_at: i64,
    settle_at: i64,
    shown_at: i64,
    /// The answers that the metrics count already.
    counted: Answers,
}

impl Worker {
    pub fn new(
        name: &str,
        task: SinkTask,
        ownership: Box<dyn Ownership>,
        orders: Receiver<Order>,
        shown: Arc<Mutex<Shown>>,
        stop: Arc<AtomicBool>,
        metrics: Metrics,
    ) -> Worker {
        Worker {
            name: name.to_owned(),
            task,
            ownership,
            orders,
            shown,
            stop,
            metrics,
            assigned_once: false,
            reopen: BTreeMap::new(),
            failed: BTreeMap::new(),
            ask_at: 0,
            settle_at: 0,
            shown_at: 0,
            counted: Answers::default(),
        }
    }

    /// Works until it is stopped, or cannot know any more what it owns.
    pub fn run(mut self) {
        let ended = self.work();
        let open: BTreeSet<u32> = self.task.partitions().into_iter().collect();
        for partition in &open {
            self.close(*partition);
        }
        self.settle_doubts();
        if !open.is_empty()
            && let Err(error) = self.ownership.stopped(&open)
        {
            tracing::warn!(destination = self.name, reason = chain(&error), "partitions not given back");
        }
        if let Err(error) = ended {
            let reason = chain(&error);
            tracing::error!(destination = self.name, reason, "the sink ends: it cannot know which partitions are its own");
            self.shown.lock().unwrap_or_else(PoisonError::into_inner).waiting_for = Some(reason);
        }
    }

    fn work(&mut self) -> Result<(), LogError> {
        while !self.stop.load(Ordering::Relaxed) {
            self.follow_ownership()?;
            self.settle_doubts();
            self.open_due();
            while let Ok(order) = self.orders.try_recv() {
                tracing::info!(destination = self.name, ?order, "ordered");
                if let Err((partition, error)) = self.task.order(&order) {
                    self.failed(partition, &error);
                }
            }
            if self.task.partitions().is_empty() {
                std::thread::sleep(IDLE);
            } else if let Err((partition, error)) = self.task.step() {
                self.failed(partition, &error);
            }
            self.show();
        }
        Ok(())
    }

    /// # Errors
    /// Where the group has no answer for this process any more.
    fn follow_ownership(&mut self) -> Result<(), LogError> {
        if now() < self.ask_at {
            return Ok(());
        }
        match self.ask() {
            Err(error) if error.disposition() == Disposition::Stop => Err(error),
            Err(error) => {
                tracing::warn!(destination = self.name, reason = chain(&error), "cannot ask for partitions");
                self.ask_at = now() + ASK_AGAIN_MS;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn ask(&mut self) -> Result<(), LogError> {
        let changes = self.ownership.changes(0)?;
        for partition in &changes.revoked {
            self.reopen.remove(partition);
            self.failed.remove(partition);
            self.close(*partition);
        }
        if !changes.assigned.is_empty() || !changes.revoked.is_empty() {
            tracing::info!(destination = self.name, assigned = ?changes.assigned, revoked = ?changes.revoked, "partitions of the sink");
        }
        self.assigned_once |= !changes.assigned.is_empty();
        self.reopen.extend(changes.assigned.into_iter().map(|partition| (partition, 0)));
        if changes.revoked.is_empty() {
            Ok(())
        } else {
            self.ownership.stopped(&changes.revoked)
        }
    }

    /// Keys that were sent after their partition was lost are sent again by its owner.
    fn settle_doubts(&mut self) {
        if now() < self.settle_at {
            return;
        }
        for partition in self.task.doubtful() {
            if let Err(error) = self.task.settle_doubts(partition) {
                tracing::warn!(destination = self.name, partition, reason = chain(&error), "doubts are not settled yet");
                self.settle_at = now() + REOPEN_MS;
            }
        }
    }

    fn open_due(&mut self) {
        let now = now();
        let due: Vec<u32> = self.reopen.iter().filter(|(_, at)| **at <= now).map(|(partition, _)| *partition).collect();
        for partition in due {
            self.reopen.remove(&partition);
            if let Err(error) = self.task.open(partition) {
                self.failed(partition, &error);
            }
        }
    }

    fn close(&mut self, partition: u32) {
        if let Err(error) = self.task.close(partition) {
            tracing::warn!(
                destination = self.name,
                partition,
                reason = chain(&error),
                "the last commit of the partition failed"
            );
        }
    }

    /// Gives the partition up, and opens it again later unless a person must act: whether it is this
    /// process's is for the group to say.
    fn failed(&mut self, partition: u32, error: &SinkError) {
        let reason = chain(error);
        tracing::warn!(destination = self.name, partition, reason, "partition of the sink fails");
        self.task.abandon(partition);
        match error.disposition() {
            Disposition::Recover => drop(self.reopen.insert(partition, now() + REOPEN_MS)),
            Disposition::Release => drop(self.reopen.insert(partition, now() + REOPEN_FENCED_MS)),
            Disposition::Stop => drop(self.failed.insert(partition, reason)),
        }
    }

    fn waiting_for(&self) -> Option<String> {
        if let Some((partition, reason)) = self.failed.first_key_value() {
            return Some(format!("partition {partition}: {reason}"));
        }
        match self.reopen.keys().next() {
            Some(partition) => Some(format!("partition {partition} is being opened")),
            None => (!self.assigned_once).then(|| "no partition is assigned yet".to_owned()),
        }
    }

    fn show(&mut self) {
        let at = now();
        if at - self.shown_at < STATUS_EVERY_MS {
            return;
        }
        self.shown_at = at;
        let status = self.task.status();
        self.metrics.set(Gauge::SinkBacklog, &[&self.name], status.pending as f64);
        self.count_answers();
        let waiting_for = self.waiting_for();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Shown { status, waiting_for };
    }

    /// Adds what was answered since the last time.
    fn count_answers(&mut self) {
        let before = std::mem::replace(&mut self.counted, self.task.answers());
        for ((outcome, now), (_, then)) in self.counted.by_outcome().into_iter().zip(before.by_outcome()) {
            self.metrics.add(Counter::SinkDeliveries, &[&self.name, outcome], now - then);
        }
    }
}

fn now() -> i64 {
    SystemClock.now().0
}
