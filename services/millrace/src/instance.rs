//! One process of a deployment: its shards, its ports, its end.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use anyhow::Context;
use millrace_api::backend::{ChangeLog, Commands, Queries};
use millrace_api::destinations::{Sinks, destinations_router, internal_destinations_router};
use millrace_api::dto::ReadyView;
use millrace_api::internal::{ShardRows, internal_router};
use millrace_api::sources::Sources;
use millrace_api::{Backend, Router, api_router, health_router, sources_router};
use millrace_config::{Config, LogKind, Secret};
use millrace_kafka::KafkaLog;
use millrace_log::{EmbeddedConfig, EmbeddedLog, Log, LogError};
use millrace_model::ShardId;
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_runtime::host::{AllShards, Host, HostHandle, OpenStore, Ownership};
use millrace_runtime::state::ShardState;
use millrace_runtime::task::{MakeMachine, TaskContext};
use millrace_shard::deployment::Deployment;
use millrace_shard::engine::Shard;
use millrace_shard::query::Query;
use millrace_telemetry::{Gauge, Metrics};

use crate::answers::EngineQueries;
use crate::assembly;
use crate::budgets::Budgets;
use crate::collector::{CollectorPort, RunningCollector};
use crate::commands::topics;
use crate::disk::{self, LogDisk};
use crate::hosts::{Claims, Hosts, Presence, PresenceThread};
use crate::observer::MetricsObserver;
use crate::orders::LogOrders;
use crate::ports::Ports;
use crate::refusal::Refusal;
use crate::remote::{OwnRows, Peers, ShardsEverywhere};
use crate::settings::Settings;
use crate::sinks::{Everywhere, SinkParts, SinkThreads};
use crate::sources::RunningSources;

/// Threads for reads by other instances. Separate from those of requests, which may themselves wait
/// for other instances.
const READS_MAX: usize = 8;

/// A running process.
pub struct Instance {
    handle: HostHandle,
    host: JoinHandle<Result<(), LogError>>,
    pub queries: Arc<dyn Queries>,
    pub commands: Arc<dyn Commands>,
    changes: Arc<dyn ChangeLog>,
    metrics: Metrics,
    /// If other instances share the log.
    presence: Option<PresenceThread>,
    /// Set where this process runs sources too.
    sources: Arc<OnceLock<Arc<RunningSources>>>,
    /// Set where this process collects too.
    collector: Arc<OnceLock<RunningCollector>>,
    log: Arc<dyn Log>,
    rows: Arc<dyn ShardRows>,
    token: Option<String>,
    sinks: Arc<SinkThreads>,
    everywhere: Arc<Everywhere>,
    /// For the foreign instances that sources and sinks call.
    budgets: Arc<Budgets>,
}

/// The parts of an instance that vary.
pub struct Parts {
    pub log: Arc<dyn Log>,
    pub ownership: Box<dyn Ownership>,
    pub open_store: Arc<OpenStore>,
    /// The name of this process among others on the same log; `None`: there are no others.
    pub instance: Option<String>,
    /// The needs of sinks; `None`: this process serves no destination.
    pub sinks: Option<SinkParts>,
}

impl Instance {
    /// Starts the shards; the topics must exist.
    pub fn start(config: &Config, parts: Parts) -> anyhow::Result<Instance> {
        let engine = Arc::new(assembly::deployment(config)?);
        let metrics = Metrics::new()?;
        metrics.set(Gauge::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1.0);
        metrics.set(Gauge::Shards, &[], f64::from(config.topics.shards));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let context = TaskContext {
            topology: assembly::topology(config),
            log: Arc::clone(&parts.log),
            clock: Arc::clone(&clock),
            observer: Arc::new(MetricsObserver::new(metrics.clone())),
            make_machine: machines(&engine),
            config: assembly::task_config(config),
        };
        let host = Host::new(context, parts.open_store);
        let handle = host.handle();
        let token = config.http.internal_token.as_ref().map(Secret::reveal).transpose()?;
        let budgets = Arc::new(Budgets::configured(config));
        let sinks = Arc::new(match &parts.sinks {
            Some(parts_of_sinks) => SinkThreads::start(config, &parts.log, parts_of_sinks, &metrics, &budgets, None)?,
            None => SinkThreads::default(),
        });
        let announced = parts
            .instance
            .map(|instance| announce(config, instance, &parts.log, token.clone(), claims(&handle, &sinks)));
        let (peers, presence) = announced.transpose()?.unzip();
        let everywhere = Everywhere::new(config, &parts.log, &sinks, peers.clone(), &budgets);
        let shards = ShardsEverywhere { here: handle.clone(), peers };
        let query = Query::new(engine, Arc::new(shards));
        let own = handle.clone();
        let (sources, collector) = (Arc::default(), Arc::default());
        let readiness = readiness(&handle, &sources, &collector, &sinks, LogDisk::watch(config, &metrics)?);
        let queries = Arc::new(EngineQueries::new(query, clock, readiness));
        let commands = Arc::new(LogOrders::new(Arc::clone(&parts.log), config)?);
        let ownership = parts.ownership;
        let host = std::thread::Builder::new()
            .name("host".to_owned())
            .spawn(move || host.run(ownership))
            .context("cannot start a thread")?;
        Ok(Instance {
            handle,
            host,
            queries,
            changes: Arc::clone(&commands) as Arc<dyn ChangeLog>,
            commands,
            metrics,
            presence,
            sources,
            collector,
            log: parts.log,
            rows: Arc::new(OwnRows(move |shard| own.reader(ShardId(shard)))),
            token,
            sinks,
            everywhere: Arc::new(everywhere),
            budgets,
        })
    }

    /// Starts the configured sources in this process.
    ///
    /// # Errors
    /// Where the configuration of one is invalid.
    pub fn with_sources(self, config: &Config) -> anyhow::Result<Instance> {
        let started = RunningSources::start(config, &self.log, &self.metrics, &self.budgets, None).map(Arc::new);
        match started {
            Ok(started) => {
                // Nobody else sets it.
                let _ = self.sources.set(started);
                Ok(self)
            }
            Err(error) => self.stop().and(Err(error)),
        }
    }

    /// Starts the collector in this process, where its port was taken.
    ///
    /// # Errors
    /// Where the machine lacks threads.
    pub fn with_collector(self, config: &Config, port: Option<CollectorPort>) -> anyhow::Result<Instance> {
        let started = port.map(|port| RunningCollector::start(config, port, &self.log, &self.metrics)).transpose();
        match started {
            Ok(started) => {
                // Nobody else sets it.
                started.map(|started| self.collector.set(started).ok());
                Ok(self)
            }
            Err(error) => self.stop().and(Err(error)),
        }
    }

    /// Serves both ports until the process is stopped (interrupt or terminate), or the shards end
    /// by themselves; then stops cleanly.
    pub fn serve(self, ports: Ports) -> anyhow::Result<()> {
        let reads = tokio::runtime::Builder::new_current_thread().max_blocking_threads(READS_MAX).build()?;
        let api = self.routes(&ports, reads.handle());
        let health = health_router(Arc::clone(&self.queries), self.metrics.clone());
        let served = ports.serve(api, health, self.host_ended());
        reads.shutdown_background();
        let stopped = self.stop();
        served.and(stopped)
    }

    /// Stops the shards and waits for them.
    pub fn stop(mut self) -> anyhow::Result<()> {
        // The last handle waits for the sources to stop.
        self.sources = Arc::default();
        self.collector = Arc::default();
        if let Some(presence) = self.presence {
            presence.stop();
        }
        self.sinks.stop();
        self.handle.stop();
        self.sinks.end();
        match self.host.join() {
            Ok(outcome) => outcome.context("the shards ended"),
            Err(_) => anyhow::bail!("the host thread panicked"),
        }
    }

    fn routes(&self, ports: &Ports, reads: &tokio::runtime::Handle) -> Router {
        let backend = Backend {
            queries: Arc::clone(&self.queries),
            commands: Arc::clone(&self.commands),
            changes: Arc::clone(&self.changes),
        };
        let mut others = destinations_router(Arc::clone(&self.everywhere) as Arc<dyn Sinks>);
        // Where clients must authenticate, only those with the instances' token read rows.
        if !ports.asks_who() || self.token.is_some() {
            others = others.merge(internal_router(Arc::clone(&self.rows), self.token.clone(), reads.clone()));
            others = others.merge(internal_destinations_router(Arc::clone(&self.sinks) as Arc<dyn Sinks>, self.token.clone()));
        }
        if let Some(sources) = self.sources.get() {
            others = others.merge(sources_router(Arc::clone(sources) as Arc<dyn Sources>));
        }
        api_router(backend, ports.policy(), others)
    }

    /// Returns once the host thread has ended by itself; `stop` returns the reason.
    async fn host_ended(&self) {
        while !self.host.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

/// What this process has open: the shards that run, and the partitions of its sinks.
fn claims(handle: &HostHandle, sinks: &Arc<SinkThreads>) -> Box<dyn Fn() -> Claims + Send> {
    let (handle, sinks) = (handle.clone(), Arc::clone(sinks));
    Box::new(move || {
        let running = handle.health().into_iter().filter(|health| health.state == ShardState::Running);
        Claims {
            shards: running.map(|health| health.shard.0).collect(),
            sinks: sinks.partitions(),
        }
    })
}

/// Makes this process known to the others, and them to it.
pub fn announce(
    config: &Config,
    instance: String,
    log: &Arc<dyn Log>,
    token: Option<String>,
    open: Box<dyn Fn() -> Claims + Send>,
) -> anyhow::Result<(Peers, PresenceThread)> {
    let hosts = Arc::new(Hosts::default());
    let presence = Presence {
        log: Arc::clone(log),
        clock: Arc::new(SystemClock),
        topic: assembly::topology(config).hosts(),
        instance,
        address: advertised(config),
        open,
    };
    Ok((Peers::new(Arc::clone(&hosts), token)?, presence.start(hosts)?))
}

/// Where others reach the API of this process.
fn advertised(config: &Config) -> String {
    let address = config.http.api_address;
    match &config.http.advertised_address {
        Some(url) => url.clone(),
        None if address.ip().is_unspecified() => format!("http://{}:{}", machine(), address.port()),
        None => format!("http://{address}"),
    }
}

fn machine() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned())
}

fn readiness(
    handle: &HostHandle,
    sources: &Arc<OnceLock<Arc<RunningSources>>>,
    collector: &Arc<OnceLock<RunningCollector>>,
    sinks: &Arc<SinkThreads>,
    log_disk: Option<Arc<LogDisk>>,
) -> Box<dyn Fn() -> ReadyView + Send + Sync> {
    let (handle, sources, sinks) = (handle.clone(), Arc::clone(sources), Arc::clone(sinks));
    // It ends with the instance, not with this question.
    let collector = Arc::downgrade(collector);
    Box::new(move || {
        let mut others = sources.get().map(|sources| sources.waiting_for()).unwrap_or_default();
        let collector = collector.upgrade();
        let collector = collector.as_ref().and_then(|collector| collector.get());
        others.extend(collector.into_iter().flat_map(RunningCollector::waiting_for));
        others.extend(sinks.waiting_for());
        others.extend(log_disk.as_deref().and_then(LogDisk::shortage));
        ready(&handle, others)
    })
}

/// `others_waiting`: what everything but the shards waits for.
fn ready(handle: &HostHandle, others_waiting: Vec<String>) -> ReadyView {
    let waiting = handle.health().into_iter().filter(|health| health.state != ShardState::Running);
    let mut waiting_for: Vec<String> = waiting
        .map(|health| match health.state {
            ShardState::Waiting { reason, .. } | ShardState::Failed { reason } => format!("shard {}: {reason}", health.shard),
            state => format!("shard {} is {}", health.shard, state.name()),
        })
        .collect();
    let ready = handle.ready() && others_waiting.is_empty();
    waiting_for.extend(others_waiting);
    if !ready && waiting_for.is_empty() {
        waiting_for.push("no shard is assigned yet".to_owned());
    }
    ReadyView { ready, waiting_for }
}

/// Machines over the engine.
pub fn machines(engine: &Arc<Deployment>) -> Arc<MakeMachine> {
    let engine = Arc::clone(engine);
    Arc::new(move |shard| Box::new(Shard::new(shard, Arc::clone(&engine))))
}

/// The embedded log in its folder, with its topics. Existing source topics keep their partitions,
/// as on Kafka.
pub fn embedded_log(settings: &Settings, config: EmbeddedConfig) -> anyhow::Result<EmbeddedLog> {
    let path: PathBuf = settings.config.log.path.clone();
    if !EmbeddedLog::exists(&path) {
        disk::refuse_without_log(&settings.config)?;
    }
    let log = EmbeddedLog::open(&path, config).with_context(|| format!("cannot open the log {}", path.display()))?;
    for spec in settings.topology().specs(settings.config.topics.source_partitions) {
        match log.partitions(&spec.name)? {
            Some(_) if topics::is_source(settings, &spec) => continue,
            Some(found) if found != spec.partitions => {
                let refusal = format!(
                    "topics.shards: the log in {} has {found} partitions in {}, not {}. The number of shards is fixed when a log is made: set `topics.shards` to what \
                     it was, or begin another log (`log.path`)",
                    path.display(),
                    spec.name,
                    spec.partitions
                );
                return Err(Refusal(refusal).into());
            }
            _ => {}
        }
        log.create_topic(&spec).with_context(|| format!("topic {}", spec.name))?;
    }
    Ok(log)
}

/// The parts of a process by configuration: all shards on the embedded log, the group's assignment
/// on Kafka.
pub fn configured_parts(settings: &Settings) -> anyhow::Result<Parts> {
    let config = &settings.config;
    let state = disk::hold_state(config)?;
    match config.log.kind {
        LogKind::Embedded => {
            let log = Arc::new(embedded_log(settings, EmbeddedConfig::default())?);
            let shards = config.topics.shards;
            let origin = disk::origin(settings, &*log)?;
            let sinks = SinkParts {
                owners: Box::new(move |_| Ok(Box::new(AllShards::new(shards)) as Box<dyn Ownership>)),
                ledgers: disk::ledgers(config, origin.clone()),
                contested: false,
            };
            Ok(Parts {
                open_store: disk::rocks_stores(config, state, origin)?,
                log,
                ownership: Box::new(AllShards::new(shards)),
                instance: None,
                sinks: Some(sinks),
            })
        }
        LogKind::Kafka => {
            let log = assembly::kafka_log(config)?;
            let origin = disk::origin(settings, &log)?;
            let open_store = disk::rocks_stores(config, state, origin.clone())?;
            let instance = name(config);
            let ownership = join(settings, &log, &instance)?;
            let log = Arc::new(log);
            let sinks = shared_sinks(settings, &log, origin);
            Ok(Parts {
                log,
                ownership: Box::new(ownership),
                open_store,
                instance: Some(instance),
                sinks: Some(sinks),
            })
        }
    }
}

/// The parts of sinks that share the partitions with those of other processes.
pub fn shared_sinks(settings: &Settings, log: &Arc<KafkaLog>, origin: Option<String>) -> SinkParts {
    let (groups, topology, member) = (Arc::clone(log), settings.topology(), name(&settings.config));
    let owners = move |name: &str| {
        let joined = groups.join(&topology.sink_owners_group(name), &topology.ownership(), &member);
        Ok(Box::new(joined.context("cannot join the group of a destination's sinks")?) as Box<dyn Ownership>)
    };
    SinkParts {
        owners: Box::new(owners),
        ledgers: disk::ledgers(&settings.config, origin),
        contested: true,
    }
}

/// The name of this process among those of the deployment.
pub fn name(config: &Config) -> String {
    let named = config.kafka.instance.clone();
    named.unwrap_or_else(|| format!("{}-{}", machine(), std::process::id()))
}

fn join(settings: &Settings, log: &KafkaLog, instance: &str) -> anyhow::Result<millrace_kafka::GroupOwnership> {
    let topology = settings.topology();
    log.join(&topology.owners_group(), &topology.ownership(), instance)
        .context("cannot join the group of shard owners")
}
