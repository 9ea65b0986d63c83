//! A deployment of one process that exists for the measurement: its log, its shards, its folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use millrace_config::{Config, LogKind};
use millrace_log::{Log, LogError, Record, TopicPartition};
use millrace_model::metric::{Gauge, Histogram};
use millrace_model::{ShardId, Timestamp};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_runtime::host::{Host, HostHandle};
use millrace_runtime::observe::Observer;
use millrace_runtime::state::ShardState;
use millrace_runtime::task::TaskContext;
use millrace_shard::deployment::Deployment;
use millrace_shard::machine::{InputTopic, Measure, Measurement};
use millrace_shard::query::{Query, Reader, Shards};

use super::meter::{Meter, MeteredLog, Reading};
use super::watch::Watch;
use super::world::{self, Placed};
use crate::assembly;
use crate::commands::topics;
use crate::instance::{configured_parts, machines};
use crate::settings::Settings;

/// Records appended at once.
const BATCH: usize = 1_000;
/// Records that may wait while they are appended at full speed: enough for full polls of every
/// shard.
const AHEAD_MAX: u64 = 20_000;
/// After this time without progress a measurement is aborted.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this time without a commit no work is deferred any more.
const QUIET: Duration = Duration::from_millis(300);
/// Segments whose changes are waited for.
const WATCHED: &[&str] = &[world::LAUNCH, world::UPSELL];

/// The deployment while it runs in this process.
pub struct Site {
    settings: Settings,
    meter: Arc<Meter>,
    pub watch: Watch,
    pub query: Query,
    log: Arc<dyn Log>,
    observed: Arc<Observed>,
    handle: HostHandle,
    host: JoinHandle<Result<(), LogError>>,
}

/// The shards' own reports.
#[derive(Default)]
struct Observed {
    board: Mutex<Board>,
}

#[derive(Default)]
struct Board {
    state_bytes: BTreeMap<ShardId, f64>,
    failed: Option<String>,
    commit_seconds: f64,
}

impl Observer for Observed {
    fn measured(&self, shard: ShardId, measurements: &[Measurement]) {
        for measurement in measurements {
            match measurement.value {
                Measure::Set(Gauge::StateBytes, bytes) => {
                    self.board.lock().unwrap_or_else(PoisonError::into_inner).state_bytes.insert(shard, bytes);
                }
                Measure::Sample(Histogram::Commit, seconds) => {
                    self.board.lock().unwrap_or_else(PoisonError::into_inner).commit_seconds += seconds;
                }
                _ => {}
            }
        }
    }

    fn state_changed(&self, shard: ShardId, state: &ShardState) {
        if let ShardState::Failed { reason } = state {
            self.board.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(format!("shard {shard}: {reason}"));
        }
    }
}

struct Hosted(HostHandle);

impl Shards for Hosted {
    fn here(&self, shard: ShardId) -> Option<Reader> {
        self.0.reader(shard)
    }
}

/// The settings of a separate deployment: its own folder, or its own topics on the configured
/// Kafka.
pub fn settings_apart(settings: &Settings, folder: &Path, on_kafka: bool) -> anyhow::Result<Settings> {
    let mut config = settings.config.clone();
    config.state.path = folder.join("state");
    config.log.path = folder.join("log");
    config.destinations.clear();
    if on_kafka {
        settings.require_kafka("bench --kafka")?;
        let name = format!("bench-{}", std::process::id());
        config.topics.prefix = format!("{name}.");
        config.kafka.instance = Some(name.clone());
        config.kafka.application_id = name;
    } else {
        config.log.kind = LogKind::Embedded;
    }
    Ok(Settings {
        config,
        output: settings.output,
        server: None,
    })
}

impl Site {
    /// Starts the shards, and the reader of their changes.
    pub fn start(settings: Settings) -> anyhow::Result<Site> {
        let config = &settings.config;
        if config.log.kind == LogKind::Kafka {
            topics::create_missing(&settings)?;
        }
        let parts = configured_parts(&settings)?;
        let topology = settings.topology();
        let (meter, observed) = (Arc::new(Meter::default()), Arc::new(Observed::default()));
        let log: Arc<dyn Log> = Arc::new(MeteredLog::new(parts.log, &topology, Arc::clone(&meter)));
        let watch = Watch::start(&*log, &topology, WATCHED)?;
        let engine: Arc<Deployment> = Arc::new(assembly::deployment(config)?);
        let context = TaskContext {
            topology,
            log: Arc::clone(&log),
            clock: Arc::new(SystemClock),
            observer: Arc::clone(&observed) as Arc<dyn Observer>,
            make_machine: machines(&engine),
            config: assembly::task_config(config),
        };
        let host = Host::new(context, parts.open_store);
        let handle = host.handle();
        let query = Query::new(engine, Arc::new(Hosted(handle.clone())));
        let ownership = parts.ownership;
        let host = std::thread::Builder::new()
            .name("host".to_owned())
            .spawn(move || host.run(ownership))
            .context("cannot start a thread")?;
        Ok(Site {
            settings,
            meter,
            watch,
            query,
            log,
            observed,
            handle,
            host,
        })
    }

    /// Waits until all shards run.
    pub fn ready(&self) -> anyhow::Result<()> {
        self.wait("shards that run", || Ok(self.handle.ready()))
    }

    /// Puts a definition in force.
    pub fn define(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let target = TopicPartition {
            topic: self.settings.topology().input(InputTopic::Control).into(),
            partition: 0,
        };
        let record = Record {
            key: Some(Bytes::copy_from_slice(name.as_bytes())),
            value: Some(Bytes::copy_from_slice(text.as_bytes())),
            headers: Vec::new(),
        };
        Ok(self.log.append(vec![(target, record)])?)
    }

    /// Appends, and waits until it is durable.
    pub fn append(&self, records: Vec<Placed>) -> anyhow::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        Ok(self.log.append(records)?)
    }

    /// Appends as fast as the shards process; returns when the last one is appended.
    pub fn feed(&self, records: impl Iterator<Item = Placed>) -> anyhow::Result<()> {
        let mut records = records.peekable();
        while records.peek().is_some() {
            let batch: Vec<Placed> = records.by_ref().take(BATCH).collect();
            self.wait("room for more records", || {
                let reading = self.meter.read();
                Ok(reading.appended.saturating_sub(reading.handled) + reading.sent.saturating_sub(reading.received) < AHEAD_MAX)
            })?;
            self.append(batch)?;
        }
        Ok(())
    }

    /// Waits until everything appended, and everything that follows from it, is processed; returns
    /// when the last commit was seen.
    pub fn settle(&self) -> anyhow::Result<Instant> {
        let (mut seen, mut since) = (self.meter.read(), Instant::now());
        self.wait("records to be dealt with", || {
            let now = self.meter.read();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            Ok(now.nothing_waits() && since.elapsed() >= QUIET)
        })?;
        Ok(since)
    }

    /// Polls as long as shards commit.
    pub fn wait(&self, what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let (mut seen, mut since) = (self.meter.read(), Instant::now());
        while !done()? {
            if let Some(failed) = &self.observed.board.lock().unwrap_or_else(PoisonError::into_inner).failed {
                bail!("{failed}");
            }
            let now = self.meter.read();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                bail!("no progress for {} s while waiting for {what}: {now:?}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The log's traffic so far.
    pub fn reading(&self) -> Reading {
        self.meter.read()
    }

    /// The shards' clock.
    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// Bytes of the shards' state, as last reported.
    pub fn state_bytes(&self) -> f64 {
        let board = self.observed.board.lock().unwrap_or_else(PoisonError::into_inner);
        // The sum of nothing is -0.
        board.state_bytes.values().fold(0.0, |whole, bytes| whole + bytes)
    }

    /// Seconds that shards have spent in commits, log and store together.
    pub fn commit_seconds(&self) -> f64 {
        self.observed.board.lock().unwrap_or_else(PoisonError::into_inner).commit_seconds
    }

    /// Stops the shards cleanly.
    pub fn stop(self) -> anyhow::Result<Stopped> {
        let Site {
            settings,
            watch,
            log,
            handle,
            host,
            ..
        } = self;
        drop(watch);
        handle.stop();
        match host.join() {
            Ok(outcome) => outcome.context("the shards ended")?,
            Err(_) => bail!("the host thread panicked"),
        }
        Ok(Stopped { settings, log })
    }
}

/// A deployment whose shards do not run.
pub struct Stopped {
    settings: Settings,
    log: Arc<dyn Log>,
}

impl Stopped {
    /// Appends records that no shard processes yet.
    pub fn pile_up(&self, records: impl Iterator<Item = Placed>) -> anyhow::Result<()> {
        let mut records = records.peekable();
        while records.peek().is_some() {
            self.log.append(records.by_ref().take(BATCH).collect())?;
        }
        Ok(())
    }

    /// Releases the log; another process may open it.
    pub fn leave(self) -> Settings {
        self.settings
    }
}

/// The effective settings of a separate deployment, as variables of a child process.
pub fn variables(config: &Config) -> Vec<(String, String)> {
    let mut variables = vec![
        ("TOPICS__PREFIX", config.topics.prefix.clone()),
        ("TOPICS__SHARDS", config.topics.shards.to_string()),
        ("TOPICS__SOURCE_PARTITIONS", config.topics.source_partitions.to_string()),
        ("STATE__PATH", config.state.path.display().to_string()),
        ("LOG_LEVEL", "warn".to_owned()),
    ];
    match config.log.kind {
        LogKind::Embedded => variables.extend([("LOG__KIND", "embedded".to_owned()), ("LOG__PATH", config.log.path.display().to_string())]),
        LogKind::Kafka => {
            variables.extend([
                ("LOG__KIND", "kafka".to_owned()),
                ("KAFKA__BOOTSTRAP", config.kafka.bootstrap.join(",")),
                ("KAFKA__APPLICATION_ID", config.kafka.application_id.clone()),
            ]);
            variables.extend(config.kafka.instance.clone().map(|instance| ("KAFKA__INSTANCE", instance)));
        }
    }
    variables.into_iter().map(|(name, value)| (format!("MILLRACE__{name}"), value)).collect()
}
