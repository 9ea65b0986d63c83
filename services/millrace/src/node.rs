//! One process of a deployment: its shards, its ports, its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use millrace_api::access::Role;
use millrace_api::auth::{Auth, Token};
use millrace_api::backend::{ChangeLog, Commands, Queries};
use millrace_api::dto::ReadyView;
use millrace_api::internal::{ShardRows, internal_router};
use millrace_api::{BLOCKING_THREADS_MAX, Backend, Door, Policy, Tls, api_router, health_router, serve};
use millrace_config::{Config, LogKind, Secret};
use millrace_kafka::KafkaLog;
use millrace_log::{EmbeddedConfig, EmbeddedLog, Log, LogError};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_runtime::host::{AllShards, Host, HostHandle, OpenStore, Ownership};
use millrace_runtime::state::ShardState;
use millrace_runtime::task::{MakeMachine, TaskContext};
use millrace_shard::engine::{Config as EngineConfig, Shard};
use millrace_shard::query::Query;
use millrace_shard::state::{StateError, StateStore};
use millrace_store::{Disposition, Limits, Resources, RocksStore};
use millrace_telemetry::{Gauge, Metrics};
use tokio::net::TcpListener;

use crate::backend::EngineQueries;
use crate::commands::topics;
use crate::engine;
use crate::hosts::{Hosts, Presence, PresenceThread};
use crate::observer::MetricsObserver;
use crate::orders::LogOrders;
use crate::remote::{Deployment, OwnRows, Peers};
use crate::settings::Settings;

/// Connections of the API's port at a time: as many as may follow the changes, and as many again.
const CONNECTIONS_MAX: usize = 2 * 1_024;

/// Connections of the port for health and metrics at a time.
const HEALTH_CONNECTIONS_MAX: usize = 64;

/// How soon changed certificates and tokens are taken.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Threads for reads of other instances. Apart from those of requests, which may themselves wait for other instances.
const READS_MAX: usize = 8;

/// A running process.
pub struct Node {
    handle: HostHandle,
    host: JoinHandle<Result<(), LogError>>,
    pub queries: Arc<dyn Queries>,
    pub commands: Arc<dyn Commands>,
    changes: Arc<dyn ChangeLog>,
    metrics: Metrics,
    /// Where other instances share the log.
    presence: Option<PresenceThread>,
    rows: Arc<dyn ShardRows>,
    token: Option<String>,
}

/// What a node is made of where there is a choice.
pub struct Parts {
    pub log: Arc<dyn Log>,
    pub ownership: Box<dyn Ownership>,
    pub open_store: Arc<OpenStore>,
    /// The name of this process among others on the same log; `None`: there are no others.
    pub instance: Option<String>,
}

impl Node {
    /// Starts the shards; the topics must exist.
    pub fn start(config: &Config, parts: Parts) -> anyhow::Result<Node> {
        let engine = Arc::new(engine::engine_config(config)?);
        let metrics = Metrics::new()?;
        metrics.set(Gauge::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1.0);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let context = TaskContext {
            topology: engine::topology(config),
            log: Arc::clone(&parts.log),
            clock: Arc::clone(&clock),
            observer: Arc::new(MetricsObserver::new(metrics.clone())),
            make_machine: machines(&engine),
            config: engine::task_config(config),
        };
        let host = Host::new(context, parts.open_store);
        let handle = host.handle();
        let token = config.http.internal_token.as_ref().map(Secret::reveal).transpose()?;
        let (peers, presence) = match parts.instance {
            None => (None, None),
            Some(instance) => {
                let hosts = Arc::new(Hosts::default());
                let presence = presence(config, instance, &parts.log, &clock, &handle);
                (Some(Peers::new(Arc::clone(&hosts), token.clone())?), Some(presence.start(hosts)?))
            }
        };
        let deployment = Deployment { here: handle.clone(), peers };
        let query = Query::new(engine, Arc::new(deployment));
        let own = handle.clone();
        let readiness = handle.clone();
        let queries = Arc::new(EngineQueries::new(query, clock, Box::new(move || ready(&readiness))));
        let commands = Arc::new(LogOrders::new(parts.log, config)?);
        let ownership = parts.ownership;
        let host = std::thread::Builder::new()
            .name("host".to_owned())
            .spawn(move || host.run(ownership))
            .context("cannot start a thread")?;
        Ok(Node {
            handle,
            host,
            queries,
            changes: Arc::clone(&commands) as Arc<dyn ChangeLog>,
            commands,
            metrics,
            presence,
            rows: Arc::new(OwnRows(move |shard| own.reader(shard))),
            token,
        })
    }

    /// Serves both ports until the process is told to end (interrupt or terminate), or the shards end by themselves; then stops in good order.
    pub fn serve(self, config: &Config) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .enable_all()
            .build()?;
        let reads = tokio::runtime::Builder::new_current_thread().max_blocking_threads(READS_MAX).build()?;
        // Whatever the API is asked, health answers: it has threads of its own.
        let health = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .enable_all()
            .build()?;
        let served = runtime.block_on(self.until_told(config, reads.handle(), health.handle()));
        // Streams of changes have no end of their own.
        for runtime in [runtime, reads, health] {
            runtime.shutdown_background();
        }
        let stopped = self.stop();
        served.and(stopped)
    }

    /// Stops the shards and waits for them.
    pub fn stop(self) -> anyhow::Result<()> {
        if let Some(presence) = self.presence {
            presence.stop();
        }
        self.handle.stop();
        match self.host.join() {
            Ok(outcome) => outcome.context("the shards ended"),
            Err(_) => anyhow::bail!("the host thread panicked"),
        }
    }

    async fn until_told(&self, config: &Config, reads: &tokio::runtime::Handle, health: &tokio::runtime::Handle) -> anyhow::Result<()> {
        let (policy, auth) = self.policy(config)?;
        // With authentication, only who knows the token of instances reads rows.
        let internal = (auth.is_none() || self.token.is_some())
            .then(|| internal_router(Arc::clone(&self.rows), self.token.clone(), reads.clone()));
        let backend = Backend {
            queries: Arc::clone(&self.queries),
            commands: Arc::clone(&self.commands),
            changes: Arc::clone(&self.changes),
        };
        let api = api_router(backend, policy, internal);
        let health_routes = health_router(Arc::clone(&self.queries), self.metrics.clone());
        let tls = config.http.tls.as_ref().map(|(certificate, key)| Tls::load(certificate, key)).transpose()?.map(Arc::new);
        let api_listener = listen(config.http.api_address).await?;
        let health_listener = listen(config.http.metrics_address).await?;
        if auth.is_none() && !config.http.api_address.ip().is_loopback() {
            tracing::warn!("no tokens are configured under `auth.tokens`: the API answers this machine only");
        }
        tracing::info!(api = %api_listener.local_addr()?, metrics = %health_listener.local_addr()?, "listening");
        let door = |connections_max, tls| Door { connections_max, tls };
        let health_door = door(HEALTH_CONNECTIONS_MAX, None);
        let health_listener = health_listener.into_std()?;
        health.spawn(async move {
            match TcpListener::from_std(health_listener) {
                Ok(listener) => serve(listener, health_routes, health_door).await,
                Err(error) => tracing::error!(%error, "health cannot be served"),
            }
        });
        let refreshed = refresh(config, auth, tls.clone(), self.token.clone());
        tokio::select! {
            () = serve(api_listener, api, door(CONNECTIONS_MAX, tls)) => anyhow::bail!("the API ended"),
            () = refreshed => anyhow::bail!("certificates and tokens are no longer looked at"),
            outcome = told_to_end() => outcome,
            () = self.host_ended() => Ok(()),
        }
    }

    /// Whom the API hears.
    fn policy(&self, config: &Config) -> anyhow::Result<(Policy, Option<Arc<Auth>>)> {
        let tokens = tokens(config, self.token.as_deref())?;
        let auth = (!config.tokens.is_empty()).then(|| Arc::new(Auth::new(tokens)));
        let advertised = config.http.advertised_address.as_deref().and_then(host_of);
        let policy = Policy {
            hosts: config.http.hosts.iter().cloned().chain(advertised.filter(|_| auth.is_none())).collect(),
            origins: config.http.origins.clone(),
            auth: auth.clone(),
            internal_token: self.token.is_some(),
        };
        Ok((policy, auth))
    }

    /// Returns once the host thread has ended by itself: why, `stop` tells.
    async fn host_ended(&self) {
        while !self.host.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

/// All tokens that are known, that of the instances among themselves included.
fn tokens(config: &Config, internal: Option<&str>) -> anyhow::Result<Vec<Token>> {
    let mut tokens = Vec::new();
    for (name, (secret, role)) in &config.tokens {
        let (name, secret) = (name.clone(), secret.reveal().with_context(|| format!("auth.tokens.{name}.token"))?);
        anyhow::ensure!(!secret.is_empty(), "auth.tokens.{name}.token is empty");
        let role = match role {
            millrace_config::Role::Viewer => Role::Viewer,
            millrace_config::Role::Operator => Role::Operator,
            millrace_config::Role::Admin => Role::Admin,
            millrace_config::Role::Service => Role::Service,
        };
        tokens.push(Token { name, secret, role });
    }
    tokens.extend(internal.map(|secret| Token {
        name: "http.internal_token".to_owned(),
        secret: secret.to_owned(),
        role: Role::Service,
    }));
    Ok(tokens)
}

/// Takes certificates and tokens anew when their files change, for as long as the process lives.
async fn refresh(config: &Config, auth: Option<Arc<Auth>>, tls: Option<Arc<Tls>>, internal: Option<String>) {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        if let Some(auth) = &auth {
            match tokens(config, internal.as_deref()) {
                Ok(tokens) => auth.replace(tokens),
                Err(error) => tracing::warn!(error = %format!("{error:#}"), "tokens cannot be read; those before stay"),
            }
        }
        match tls.as_ref().map(|tls| tls.refresh()) {
            None | Some(Ok(false)) => {}
            Some(Ok(true)) => tracing::info!("a changed certificate is served"),
            Some(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "the certificate cannot be taken; the one before stays"),
        }
    }
}

/// The host of a URL, lower case.
fn host_of(url: &str) -> Option<String> {
    reqwest::Url::parse(url).ok()?.host_str().map(str::to_ascii_lowercase)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn told_to_end() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("told to terminate"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
    }
    Ok(())
}

fn presence(config: &Config, instance: String, log: &Arc<dyn Log>, clock: &Arc<dyn Clock>, handle: &HostHandle) -> Presence {
    let handle = handle.clone();
    let running = move || {
        handle
            .health()
            .into_iter()
            .filter(|health| health.state == ShardState::Running)
            .map(|health| health.shard)
            .collect()
    };
    Presence {
        log: Arc::clone(log),
        clock: Arc::clone(clock),
        topic: engine::topology(config).hosts(),
        instance,
        address: advertised(config),
        open: Box::new(running),
    }
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

fn ready(handle: &HostHandle) -> ReadyView {
    let waiting = handle.health().into_iter().filter(|health| health.state != ShardState::Running);
    let mut waiting_for: Vec<String> = waiting
        .map(|health| match health.state {
            ShardState::Waiting { reason, .. } | ShardState::Failed { reason } => format!("shard {}: {reason}", health.shard),
            state => format!("shard {} is {}", health.shard, state.name()),
        })
        .collect();
    let ready = handle.ready();
    if !ready && waiting_for.is_empty() {
        waiting_for.push("no shard is assigned yet".to_owned());
    }
    ReadyView { ready, waiting_for }
}

/// Machines over the engine.
pub fn machines(engine: &Arc<EngineConfig>) -> Arc<MakeMachine> {
    let engine = Arc::clone(engine);
    Arc::new(move |shard| Box::new(Shard::new(shard, Arc::clone(&engine))))
}

/// RocksDB stores under the configured folder; a damaged one is made anew and restored from the changelog.
pub fn rocks_stores(config: &Config) -> Arc<OpenStore> {
    let limits = Limits {
        block_cache_bytes: bytes(config.state.cache_bytes),
        write_buffers_bytes: bytes(config.state.write_buffers_bytes),
    };
    let (resources, root) = (Resources::new(limits), config.state.path.clone());
    Arc::new(move |shard| open_store(&root.join(format!("shard-{shard}")), &resources))
}

fn open_store(path: &Path, resources: &Resources) -> Result<Box<dyn StateStore>, StateError> {
    let opened = match RocksStore::open(path, resources) {
        Err(error) if error.disposition() == Disposition::Rebuild => {
            tracing::warn!(path = %path.display(), %error, "store is damaged; it is rebuilt from the changelog");
            RocksStore::destroy(path).and_then(|()| RocksStore::open(path, resources))
        }
        other => other,
    };
    opened
        .map(|store| Box::new(store) as Box<dyn StateStore>)
        .map_err(|error| StateError(Box::new(error)))
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The embedded log in its folder, with its topics. Source topics that are there keep the partitions they have, as on Kafka.
pub fn embedded_log(settings: &Settings, config: EmbeddedConfig) -> anyhow::Result<EmbeddedLog> {
    let path: PathBuf = settings.config.log.path.clone();
    let log = EmbeddedLog::open(&path, config).with_context(|| format!("cannot open the log {}", path.display()))?;
    for spec in settings.topology().specs(settings.config.topics.source_partitions) {
        if topics::is_source(settings, &spec) && log.partitions(&spec.name)?.is_some() {
            continue;
        }
        log.create_topic(&spec).with_context(|| format!("topic {}", spec.name))?;
    }
    Ok(log)
}

/// The parts of a process by configuration: all shards on the embedded log, those the group gives it on Kafka.
pub fn configured_parts(settings: &Settings) -> anyhow::Result<Parts> {
    let open_store = rocks_stores(&settings.config);
    match settings.config.log.kind {
        LogKind::Embedded => {
            let log = Arc::new(embedded_log(settings, EmbeddedConfig::default())?);
            Ok(Parts {
                log,
                ownership: Box::new(AllShards::new(settings.config.topics.shards)),
                open_store,
                instance: None,
            })
        }
        LogKind::Kafka => {
            let log = engine::kafka_log(&settings.config)?;
            let instance = instance(&settings.config);
            let ownership = join(settings, &log, &instance)?;
            Ok(Parts {
                log: Arc::new(log),
                ownership: Box::new(ownership),
                open_store,
                instance: Some(instance),
            })
        }
    }
}

/// The name of this process among those of the deployment.
fn instance(config: &Config) -> String {
    let named = config.kafka.instance.clone();
    named.unwrap_or_else(|| format!("{}-{}", machine(), std::process::id()))
}

fn join(settings: &Settings, log: &KafkaLog, instance: &str) -> anyhow::Result<millrace_kafka::GroupOwnership> {
    let topology = settings.topology();
    log.join(&topology.owners_group(), &topology.ownership(), instance)
        .context("cannot join the group of shard owners")
}
