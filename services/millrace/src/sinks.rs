//! The sinks of this process: one thread for each destination that has one.

mod everywhere;
mod make;
mod preview;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Context;
use millrace_api::backend::BackendError;
use millrace_api::destinations::Sinks;
use millrace_config::{Config, Destination as Configured};
use millrace_connect::sink::{Brake, NoFaults, Order, SinkContext, SinkStatus, SinkTask};
use millrace_log::{Log, TopicPartition};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_runtime::host::{OpenStore, Ownership};
use millrace_shard::machine::OutputTopic;
use millrace_telemetry::Metrics;

pub use self::everywhere::Everywhere;
pub use self::make::{KINDS, destination};
pub use self::preview::Previews;
use self::worker::{Shown, Worker};
use crate::assembly;
use crate::budgets::Budgets;

/// Keys that may wait in memory, per destination; about 600 bytes each.
const PENDING_MAX: usize = 500_000;

/// How long an idle sink waits for records: a change is seen this late at most, plus its own wait
/// for others.
const IDLE_WAIT_MS: u64 = 50;

/// Decides which partitions of a destination's topic this process owns, by the destination's name.
pub type Owners = dyn Fn(&str) -> anyhow::Result<Box<dyn Ownership>>;

/// Opens ledgers by the destination's name.
pub type OpenLedgers = dyn Fn(&str) -> anyhow::Result<Arc<OpenStore>>;

/// The parts of a process's sinks, by the destination's name.
pub struct SinkParts {
    pub owners: Box<Owners>,
    pub ledgers: Box<OpenLedgers>,
    /// Whether other processes may own partitions.
    pub contested: bool,
}

/// The running sinks.
#[derive(Default)]
pub struct SinkThreads {
    running: BTreeMap<String, Running>,
    stop: Arc<AtomicBool>,
}

struct Running {
    shown: Arc<Mutex<Shown>>,
    orders: Mutex<Sender<Order>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SinkThreads {
    /// Starts a sink for each destination that has one; of those in `only`, where it is given.
    ///
    /// # Errors
    /// A refusal where settings cannot be used; the log's error where a topic cannot be created.
    pub fn start(
        config: &Config,
        log: &Arc<dyn Log>,
        parts: &SinkParts,
        metrics: &Metrics,
        budgets: &Budgets,
        only: Option<&BTreeSet<String>>,
    ) -> anyhow::Result<SinkThreads> {
        let mut threads = SinkThreads::default();
        let topology = assembly::topology(config);
        for (name, configured) in config.destinations.iter().filter(|(name, _)| only.is_none_or(|only| only.contains(*name))) {
            let Some(destination) = destination(name, config, budgets)? else { continue };
            for spec in [topology.destination_spec(name), topology.sink_changelog_spec(name)] {
                log.create_topic(&spec).with_context(|| format!("topic {}", spec.name))?;
            }
            let context = context(config, name, configured, log, parts)?;
            let task = SinkTask::new(Arc::new(context), destination);
            let (orders, received) = channel();
            let shown = Arc::new(Mutex::new(Shown::of(name)));
            let stop = Arc::clone(&threads.stop);
            let worker = Worker::new(name, task, (parts.owners)(name)?, received, Arc::clone(&shown), stop, metrics.clone());
            let thread = std::thread::Builder::new()
                .name(format!("sink {name}"))
                .spawn(move || worker.run())
                .context("cannot start a thread")?;
            let running = Running {
                shown,
                orders: Mutex::new(orders),
                thread: Mutex::new(Some(thread)),
            };
            threads.running.insert(name.clone(), running);
        }
        Ok(threads)
    }

    /// Ends the threads after their present step.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the threads and waits for them, whoever still shares them.
    pub fn end(&self) {
        self.stop();
        for running in self.running.values() {
            let thread = running.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the thread of a sink panicked");
            }
        }
    }

    /// The destinations whose sinks run here.
    pub fn names(&self) -> BTreeSet<String> {
        self.running.keys().cloned().collect()
    }

    /// What the sinks wait for before they do their work; empty where all do. A destination that
    /// does not answer is no reason: its status says so.
    pub fn waiting_for(&self) -> Vec<String> {
        let reasons = self.running.iter().filter_map(|(name, running)| {
            let thread = running.thread.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = thread.as_ref().is_none_or(JoinHandle::is_finished);
            let waits = running.shown.lock().unwrap_or_else(PoisonError::into_inner).waiting_for.clone();
            let reason = waits.or_else(|| ended.then(|| "its thread ended".to_owned()))?;
            Some(format!("sink {name}: {reason}"))
        });
        reasons.collect()
    }

    /// The open partitions of each sink.
    pub fn partitions(&self) -> BTreeMap<String, BTreeSet<u32>> {
        let open = |name: &String| self.status(name).map(|status| status.partitions.into_iter().collect()).unwrap_or_default();
        self.running.keys().map(|name| (name.clone(), open(name))).collect()
    }

    /// The status of one sink of this process.
    pub fn status(&self, name: &str) -> Option<SinkStatus> {
        let shown = self.running.get(name)?.shown.lock().unwrap_or_else(PoisonError::into_inner);
        Some(shown.status.clone())
    }
}

impl Drop for SinkThreads {
    fn drop(&mut self) {
        self.end();
    }
}

/// For other instances: a preview needs no sink, so no instance asks another one for it.
impl Sinks for SinkThreads {
    fn preview(&self, name: &str, _: usize) -> Result<serde_json::Value, BackendError> {
        Err(BackendError::NotFound(format!("no preview of `{name}` is made here")))
    }

    fn all(&self) -> Vec<serde_json::Value> {
        self.running.keys().filter_map(|name| self.one(name)).collect()
    }

    fn one(&self, name: &str) -> Option<serde_json::Value> {
        serde_json::to_value(self.status(name)?).ok()
    }

    fn order(&self, name: &str, order: serde_json::Value) -> Result<(), BackendError> {
        let running = self.running.get(name);
        let running = running.ok_or_else(|| BackendError::NotFound(format!("no sink of this process serves a destination `{name}`")))?;
        let order: Order = serde_json::from_value(order).map_err(|error| BackendError::Refused(format!("this is no order: {error}")))?;
        let sent = running.orders.lock().unwrap_or_else(PoisonError::into_inner).send(order);
        sent.map_err(|_| BackendError::Unavailable(format!("the sink of `{name}` has ended")))
    }
}

fn context(config: &Config, name: &str, configured: &Configured, log: &Arc<dyn Log>, parts: &SinkParts) -> anyhow::Result<SinkContext> {
    let topology = assembly::topology(config);
    let suppressed = configured.suppressed.clone();
    Ok(SinkContext {
        name: name.to_owned(),
        log: Arc::clone(log),
        topic: topology.output(&OutputTopic::Destination(name.into())),
        partitions: topology.shards(),
        changelog: topology.sink_changelog(name),
        dead_letters: TopicPartition {
            topic: topology.output(&OutputTopic::DeadLetter).into(),
            partition: 0,
        },
        application: topology.sink_application(name),
        contested: parts.contested,
        clock: Arc::new(|| SystemClock.now()),
        open_ledger: (parts.ledgers)(name)?,
        registry: assembly::registry(config)?,
        brake: brake(configured),
        pending_max: PENDING_MAX,
        idle_wait_ms: IDLE_WAIT_MS,
        suppressed: Arc::new(move |identity| suppressed.contains(identity.id())),
        faults: Arc::new(NoFaults),
    })
}

fn brake(configured: &Configured) -> Brake {
    Brake {
        share: configured.brake_share,
        least: configured.brake_least,
        ..Brake::default()
    }
}
