//! The collector of this process: its port, its write keys, its threads.
//!
//! The port has threads of its own: however much is sent to it, the API answers.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use millrace_api::{Door, Full, Router, Tls, serve};
use millrace_collector::intake::{Intake, Topics};
use millrace_collector::judge::Judge;
use millrace_collector::keys::{Keys, WriteKey};
use millrace_collector::{Collector, collector_router};
use millrace_config::{Config, TOKEN_BYTES_MIN};
use millrace_events::Sender;
use millrace_log::Log;
use millrace_model::{Schema, SourceKind, Timestamp};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_shard::machine::{InputTopic, OutputTopic};
use millrace_shard::murmur::partition_of;
use millrace_telemetry::Metrics;
use tokio::runtime::Runtime;

use crate::assembly;

/// Connections of the collector's port at a time. Browsers keep theirs for seconds.
pub const CONNECTIONS_MAX: usize = 1_024;

/// How soon changed write keys and certificates take effect.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// How long requests under way may take at the end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The port, claimed before anything else begins.
pub struct CollectorPort {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    keys: Keys,
}

impl CollectorPort {
    /// `None` where no write key is configured.
    ///
    /// # Errors
    /// Where the port is not available, or a write key or certificate cannot be used.
    pub fn take(config: &Config) -> anyhow::Result<Option<CollectorPort>> {
        if config.collector.keys.is_empty() {
            return Ok(None);
        }
        let keys = Keys::new(write_keys(config)?);
        let tls = config.http.tls.as_ref().map(|(certificate, key)| Tls::load(certificate, key)).transpose()?;
        let address = config.collector.address;
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address} (collector.address)"))?;
        listener.set_nonblocking(true)?;
        Ok(Some(CollectorPort {
            listener,
            tls: tls.map(Arc::new),
            keys,
        }))
    }
}

/// A collector that takes events.
pub struct RunningCollector {
    runtime: Option<Runtime>,
    router: Router,
    intake: Arc<Intake>,
    address: SocketAddr,
}

impl RunningCollector {
    /// # Errors
    /// Where the machine lacks threads.
    pub fn start(config: &Config, port: CollectorPort, log: &Arc<dyn Log>, metrics: &Metrics) -> anyhow::Result<RunningCollector> {
        let topics = topics(config);
        let intake = Arc::new(Intake::start(Arc::clone(log), topics.clone(), metrics.clone()).context("cannot start a thread")?);
        let decoder = assembly::decoder(config, &Arc::new(Schema::built_in()?), None)?;
        let judge = Judge { decoder, topics };
        let origins = config.collector.origins.clone();
        let collector = Collector::new(port.keys.clone(), origins, Arc::clone(&intake), judge, metrics.clone(), now);
        let router = collector_router(Arc::new(collector));
        let door = Door {
            connections_max: CONNECTIONS_MAX,
            full: Full::TurnAway,
            tls: port.tls.clone(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("collector")
            .enable_all()
            .build()?;
        let address = port.listener.local_addr()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(port.listener)?
        };
        runtime.spawn(serve(listener, router.clone(), door));
        runtime.spawn(refresh(config.clone(), port.keys, port.tls));
        tracing::info!(collector = %address, "listening");
        Ok(RunningCollector {
            runtime: Some(runtime),
            router,
            intake,
            address,
        })
    }

    /// What its port serves.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why it takes no events now; empty where it does.
    pub fn waiting_for(&self) -> Vec<String> {
        self.intake.failing().into_iter().collect()
    }
}

impl Drop for RunningCollector {
    /// Stops the port; what is queued is written.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(END_WITHIN);
        }
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn topics(config: &Config) -> Topics {
    let topology = assembly::topology(config);
    Topics {
        records: SourceKind::ALL
            .into_iter()
            .map(|kind| (kind, topology.input(InputTopic::Source(kind)).into()))
            .collect(),
        dead_letters: topology.output(&OutputTopic::DeadLetter).into(),
        place: partition_of,
    }
}

fn write_keys(config: &Config) -> anyhow::Result<Vec<WriteKey>> {
    let one = |(name, key): (&String, &millrace_config::WriteKey)| {
        let place = format!("collector.keys.{name}.key");
        let secret = key.key.reveal().with_context(|| place.clone())?;
        anyhow::ensure!(
            secret.len() >= TOKEN_BYTES_MIN,
            "{place} has {} bytes; a write key has at least {TOKEN_BYTES_MIN}",
            secret.len()
        );
        Ok(WriteKey {
            secret,
            public: key.public,
            source: Sender {
                name: key.source.clone(),
                user_namespace: key.user_namespace.clone(),
                device_namespace: key.device_namespace.clone(),
            },
        })
    };
    config.collector.keys.iter().map(one).collect()
}

/// Reloads write keys and the certificate when their files change, for as long as the process
/// lives.
async fn refresh(config: Config, keys: Keys, tls: Option<Arc<Tls>>) {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        match write_keys(&config) {
            Ok(fresh) => keys.replace(fresh),
            Err(error) => tracing::warn!(error = %format!("{error:#}"), "write keys cannot be read; those before stay"),
        }
        if let Some(Err(error)) = tls.as_deref().map(Tls::refresh) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the certificate cannot be taken; the one before stays"
            );
        }
    }
}
