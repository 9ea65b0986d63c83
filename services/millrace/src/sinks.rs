//! The sinks of this process: one thread for each destination that has one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Context;
use millrace_api::backend::BackendError;
use millrace_api::destinations::Sinks;
use millrace_config::{Config, Destination as Configured};
use millrace_connect::sink::{Answers, Brake, Destination, NoFaults, Order, SinkContext, SinkStatus, SinkTask};
use millrace_connect::source::{Status, system_clock};
use millrace_log::{Disposition, Log, TopicPartition};
use millrace_model::Timestamp;
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_runtime::host::{OpenStore, Ownership};
use millrace_shard::machine::OutputTopic;
use millrace_telemetry::{Counter, Gauge, Metrics};

use crate::budgets::Budgets;
use crate::engine;
use crate::refusal::Refusal;
use crate::settings::revealed;

/// How long a partition rests after a failure before it is reopened, in milliseconds.
const REOPEN_MS: i64 = 1_000;

/// The least time between two statuses, in milliseconds.
const STATUS_EVERY_MS: i64 = 500;

/// Keys that may wait in memory, per destination; about 600 bytes each.
const PENDING_MAX: usize = 500_000;

/// How long an idle sink waits for records: a change is seen this late at most, plus its own wait
/// for others.
const IDLE_WAIT_MS: u64 = 50;

/// Decides which partitions of a destination's topic this process owns, by the destination's name.
pub type Owners = dyn Fn(&str) -> anyhow::Result<Box<dyn Ownership>>;

/// Opens ledgers by the destination's name.
pub type OpenLedgers = dyn Fn(&str) -> Arc<OpenStore>;

/// The parts of a process's sinks, by the destination's name.
pub struct SinkParts {
    pub owners: Box<Owners>,
    pub ledgers: Box<OpenLedgers>,
}

/// The running sinks.
#[derive(Default)]
pub struct SinkThreads {
    running: BTreeMap<String, Running>,
    stop: Arc<AtomicBool>,
}

struct Running {
    status: Arc<Mutex<SinkStatus>>,
    orders: Mutex<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// The foreign system that a destination's settings describe; `None` where it has no sink.
///
/// # Errors
/// A refusal where the settings cannot be used.
pub fn destination(name: &str, config: &Config, budgets: &Budgets) -> anyhow::Result<Option<Box<dyn Destination>>> {
    let Some(configured) = config.destinations.get(name) else { return Ok(None) };
    let Some(kind) = configured.sink.as_deref() else { return Ok(None) };
    match kind {
        "http" | "webhook" => http(name, configured).map(Some),
        "marketo" => marketo(name, configured, config, budgets).map(Some),
        other => Err(Refusal(format!(
            "destinations.{name}.sink: `{other}` is no kind of sink; expected `http`, `webhook` or `marketo`"
        ))
        .into()),
    }
}

fn http(name: &str, configured: &Configured) -> anyhow::Result<Box<dyn Destination>> {
    let refused = |error: anyhow::Error| Refusal(format!("destinations.{name}.settings: {error:#}"));
    let config = millrace_sink_http::Config::from_json(configured.settings.clone()).map_err(|error| refused(error.into()))?;
    let sink = millrace_sink_http::HttpSink::new(config).map_err(|error| refused(error.into()))?;
    Ok(Box::new(sink))
}

/// Keys that identify a Marketo instance. A destination that names a source takes them from it.
const INSTANCE: [&str; 7] = ["munchkin", "client_id", "client_secret", "url", "day_calls", "reserve_calls", "shares"];

fn marketo(name: &str, configured: &Configured, config: &Config, budgets: &Budgets) -> anyhow::Result<Box<dyn Destination>> {
    let key = format!("destinations.{name}.settings");
    let mut settings = configured.settings.as_object().cloned().unwrap_or_default();
    if let Some(source) = settings.remove("source") {
        let found = source
            .as_str()
            .and_then(|source| config.sources.get(source))
            .filter(|source| source.kind == "marketo");
        let found = found.ok_or_else(|| Refusal(format!("{key}.source: {source} is no source of type `marketo`")))?;
        let of_source = INSTANCE.iter().filter_map(|key| Some(((*key).to_owned(), found.settings.get(*key)?.clone())));
        settings = of_source.chain(settings).collect();
    }
    let raw = serde_json::from_value(revealed(&key, &settings)?).map_err(|error| Refusal(format!("{key}: {error}")))?;
    let config = millrace_sink_marketo::Config::new(raw).map_err(|error| Refusal::keys(&key, &error.0))?;
    let budget = budgets.of(config.instance.budget_key(), &config.instance.limits);
    let client = millrace_marketo::Client::new(&config.instance, budget, Arc::new(Status::new(name, "marketo"))).context("cannot set an HTTP client up")?;
    let sink = millrace_sink_marketo::MarketoSink::new(config, &configured.namespace, Arc::new(client), system_clock());
    Ok(Box::new(sink.context("cannot set an event queue up")?))
}

impl SinkThreads {
    /// Starts a sink for each destination that has one.
    ///
    /// # Errors
    /// A refusal where settings cannot be used; the log's error where a topic cannot be created.
    pub fn start(config: &Config, log: &Arc<dyn Log>, parts: &SinkParts, metrics: &Metrics, budgets: &Budgets) -> anyhow::Result<SinkThreads> {
        let mut threads = SinkThreads::default();
        let topology = engine::topology(config);
        for (name, configured) in &config.destinations {
            let Some(destination) = destination(name, config, budgets)? else { continue };
            for spec in [topology.destination_spec(name), topology.sink_changelog_spec(name)] {
                log.create_topic(&spec).with_context(|| format!("topic {}", spec.name))?;
            }
            let context = context(config, name, configured, log, (parts.ledgers)(name))?;
            let task = SinkTask::new(Arc::new(context), destination);
            let (orders, received) = channel();
            let status = Arc::new(Mutex::new(SinkStatus {
                destination: name.clone(),
                ..SinkStatus::default()
            }));
            let worker = Worker {
                name: name.clone(),
                task,
                ownership: (parts.owners)(name)?,
                orders: received,
                status: Arc::clone(&status),
                stop: Arc::clone(&threads.stop),
                metrics: metrics.clone(),
                reopen: BTreeMap::new(),
                shown_at: 0,
                counted: Answers::default(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("sink {name}"))
                .spawn(move || worker.run())
                .context("cannot start a thread")?;
            threads.running.insert(
                name.clone(),
                Running {
                    status,
                    orders: Mutex::new(orders),
                    thread: Some(thread),
                },
            );
        }
        Ok(threads)
    }

    /// Ends the threads after their present step.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for SinkThreads {
    fn drop(&mut self) {
        self.stop();
        for running in self.running.values_mut() {
            if let Some(thread) = running.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("the thread of a sink panicked");
            }
        }
    }
}

impl Sinks for SinkThreads {
    fn all(&self) -> Vec<serde_json::Value> {
        self.running.keys().filter_map(|name| self.one(name)).collect()
    }

    fn one(&self, name: &str) -> Option<serde_json::Value> {
        let status = self.running.get(name)?.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        serde_json::to_value(status).ok()
    }

    fn order(&self, name: &str, order: serde_json::Value) -> Result<(), BackendError> {
        let running = self.running.get(name);
        let running = running.ok_or_else(|| BackendError::NotFound(format!("no sink of this process serves a destination `{name}`")))?;
        let order: Order = serde_json::from_value(order).map_err(|error| BackendError::Refused(format!("this is no order: {error}")))?;
        let sent = running.orders.lock().unwrap_or_else(PoisonError::into_inner).send(order);
        sent.map_err(|_| BackendError::Unavailable(format!("the sink of `{name}` has ended")))
    }
}

fn context(config: &Config, name: &str, configured: &Configured, log: &Arc<dyn Log>, open_ledger: Arc<OpenStore>) -> anyhow::Result<SinkContext> {
    let topology = engine::topology(config);
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
        clock: Arc::new(|| SystemClock.now()),
        open_ledger,
        registry: engine::registry(config)?,
        brake: Brake {
            share: configured.brake_share,
            least: configured.brake_least,
            ..Brake::default()
        },
        pending_max: PENDING_MAX,
        idle_wait_ms: IDLE_WAIT_MS,
        suppressed: Arc::new(move |identity| suppressed.contains(identity.id())),
        faults: Arc::new(NoFaults),
    })
}

/// The state of one thread.
struct Worker {
    name: String,
    task: SinkTask,
    ownership: Box<dyn Ownership>,
    orders: Receiver<Order>,
    status: Arc<Mutex<SinkStatus>>,
    stop: Arc<AtomicBool>,
    metrics: Metrics,
    /// Partitions to open, each with its earliest time.
    reopen: BTreeMap<u32, i64>,
    shown_at: i64,
    /// The answers that the metrics count already.
    counted: Answers,
}

impl Worker {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.follow_ownership();
            self.open_due();
            while let Ok(order) = self.orders.try_recv() {
                tracing::info!(destination = self.name, ?order, "ordered");
                if let Err((partition, error)) = self.task.order(&order) {
                    self.failed(partition, &error);
                }
            }
            if self.task.partitions().is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            } else if let Err((partition, error)) = self.task.step() {
                self.failed(partition, &error);
            }
            self.show();
        }
        for partition in self.task.partitions() {
            self.close(partition);
        }
    }

    fn follow_ownership(&mut self) {
        let changes = match self.ownership.changes(0) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(destination = self.name, error = &error as &dyn std::error::Error, "cannot ask for partitions");
                return;
            }
        };
        for partition in &changes.revoked {
            self.reopen.remove(partition);
            self.close(*partition);
        }
        if !changes.revoked.is_empty() {
            let stopped: BTreeSet<u32> = changes.revoked;
            if let Err(error) = self.ownership.stopped(&stopped) {
                tracing::warn!(destination = self.name, error = &error as &dyn std::error::Error, "partitions not given back");
            }
        }
        self.reopen.extend(changes.assigned.into_iter().map(|partition| (partition, 0)));
    }

    fn open_due(&mut self) {
        let now = now().0;
        let due: Vec<u32> = self.reopen.iter().filter(|(_, at)| **at <= now).map(|(partition, _)| *partition).collect();
        for partition in due {
            self.reopen.remove(&partition);
            if let Err(error) = self.task.open(partition) {
                self.failed(partition, &error);
            }
        }
    }

    /// Rows that a ledger has not flushed are in its changelog: the next owner reads them from
    /// there.
    fn close(&mut self, partition: u32) {
        if let Err(error) = self.task.close(partition) {
            tracing::warn!(
                destination = self.name,
                partition,
                error = &error as &dyn std::error::Error,
                "ledger not flushed"
            );
        }
    }

    /// Closes the partition; reopens it unless it is another's or a person must act.
    fn failed(&mut self, partition: u32, error: &millrace_connect::sink::SinkError) {
        tracing::warn!(
            destination = self.name,
            partition,
            error = error as &dyn std::error::Error,
            "partition of the sink fails"
        );
        self.close(partition);
        match error.disposition() {
            Disposition::Recover => {
                self.reopen.insert(partition, now().0 + REOPEN_MS);
            }
            Disposition::Release | Disposition::Stop => {}
        }
    }

    fn show(&mut self) {
        let at = now().0;
        if at - self.shown_at < STATUS_EVERY_MS {
            return;
        }
        self.shown_at = at;
        let status = self.task.status();
        self.metrics.set(Gauge::SinkBacklog, &[&self.name], status.pending as f64);
        self.count_answers();
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Adds what was answered since the last time.
    fn count_answers(&mut self) {
        let before = std::mem::replace(&mut self.counted, self.task.answers());
        for ((outcome, now), (_, then)) in self.counted.by_outcome().into_iter().zip(before.by_outcome()) {
            self.metrics.add(Counter::SinkDeliveries, &[&self.name, outcome], now - then);
        }
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}
