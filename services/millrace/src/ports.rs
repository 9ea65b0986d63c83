//! The ports of a process: claimed before anything else begins, served until the process is
//! stopped.
//!
//! The port for health and metrics has threads of its own: it answers however busy the API is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use millrace_api::access::Role;
use millrace_api::auth::{Auth, Token};
use millrace_api::{BLOCKING_THREADS_MAX, Door, Full, Policy, Router, Tls, serve};
use millrace_config::Config;
use tokio::net::TcpListener;

use crate::collector;

/// Connections of the API's port at a time: as many as may follow the changes, and as many again.
const CONNECTIONS_MAX: usize = 2 * 1_024;

/// Connections of the port for health and metrics at a time; one more closes the oldest, so that idle ones keep no probe out.
const HEALTH_CONNECTIONS_MAX: usize = 64;

/// Connections, and as many again for the files of shards and log.
const OPEN_FILES: u64 = 2 * (CONNECTIONS_MAX + collector::CONNECTIONS_MAX) as u64;

/// How soon changed certificates and tokens take effect.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Both ports, and the access rules of the API's.
pub struct Ports {
    api: std::net::TcpListener,
    metrics: std::net::TcpListener,
    config: Config,
    /// `None`: clients need not authenticate.
    auth: Option<Arc<Auth>>,
    tls: Option<Arc<Tls>>,
}

impl Ports {
    /// # Errors
    /// Where a port is not available, or a token or certificate cannot be used.
    pub fn take(config: &Config) -> anyhow::Result<Ports> {
        allow_open_files();
        let auth = (!config.tokens.is_empty()).then(|| tokens(config).map(Auth::new)).transpose()?;
        let tls = config.http.tls.as_ref().map(|(certificate, key)| Tls::load(certificate, key)).transpose()?;
        Ok(Ports {
            api: listen("http.api_address", config.http.api_address)?,
            metrics: listen("http.metrics_address", config.http.metrics_address)?,
            config: config.clone(),
            auth: auth.map(Arc::new),
            tls: tls.map(Arc::new),
        })
    }

    pub fn asks_who(&self) -> bool {
        self.auth.is_some()
    }

    /// The access rules for requests of the API.
    pub fn policy(&self) -> Policy {
        let http = &self.config.http;
        // A request under the instance's advertised name is meant for it.
        let advertised = http.advertised_address.as_deref().and_then(host_of).filter(|_| self.auth.is_none());
        Policy {
            hosts: http.hosts.iter().cloned().chain(advertised).collect(),
            origins: http.origins.clone(),
            auth: self.auth.clone(),
            internal_token: http.internal_token.is_some(),
        }
    }

    /// Serves both ports until the process is stopped (interrupt or terminate), or `ended` is
    /// ready.
    ///
    /// # Errors
    /// Where a port fails.
    pub fn serve(self, api: Router, health: Router, ended: impl Future<Output = ()>) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .enable_all()
            .build()?;
        let of_health = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .enable_all()
            .build()?;
        let served = runtime.block_on(self.until_stopped(api, health, of_health.handle(), ended));
        // Streams of changes have no end of their own.
        runtime.shutdown_background();
        of_health.shutdown_background();
        served
    }

    async fn until_stopped(self, api: Router, health: Router, of_health: &tokio::runtime::Handle, ended: impl Future<Output = ()>) -> anyhow::Result<()> {
        let api_listener = TcpListener::from_std(self.api)?;
        tracing::info!(api = %api_listener.local_addr()?, metrics = %self.metrics.local_addr()?, "listening");
        let metrics = self.metrics;
        let mut health = of_health.spawn(async move {
            let door = Door {
                connections_max: HEALTH_CONNECTIONS_MAX,
                full: Full::CloseOldest,
                tls: None,
            };
            serve(TcpListener::from_std(metrics)?, health, door).await;
            std::io::Result::Ok(())
        });
        let door = Door {
            connections_max: CONNECTIONS_MAX,
            full: Full::TurnAway,
            tls: self.tls.clone(),
        };
        let refreshed = refresh(&self.config, self.auth.as_deref(), self.tls.as_deref());
        tokio::select! {
            () = serve(api_listener, api, door) => anyhow::bail!("the API ended"),
            outcome = &mut health => outcome?.context("the metrics port ended"),
            () = refreshed => anyhow::bail!("certificates and tokens are no longer looked at"),
            outcome = stop_signal() => outcome,
            () = ended => Ok(()),
        }
    }
}

/// Shells often allow 1,024 open files by default, and more where a process asks: connections of
/// the API alone may be more.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    // If it is refused, the limit stays; connections beyond it wait.
    if current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum,
            },
        );
    }
}

fn listen(key: &str, address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address} ({key})"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn tokens(config: &Config) -> anyhow::Result<Vec<Token>> {
    let token = |(name, (secret, role)): (&String, &(millrace_config::Secret, millrace_config::Role))| {
        let secret = secret.reveal().with_context(|| format!("auth.tokens.{name}.token"))?;
        anyhow::ensure!(
            secret.len() >= millrace_config::TOKEN_BYTES_MIN,
            "auth.tokens.{name}.token has {} bytes; a token has at least {}",
            secret.len(),
            millrace_config::TOKEN_BYTES_MIN
        );
        let role = match role {
            millrace_config::Role::Viewer => Role::Viewer,
            millrace_config::Role::Operator => Role::Operator,
            millrace_config::Role::Admin => Role::Admin,
            millrace_config::Role::Service => Role::Service,
        };
        let name = name.clone();
        Ok(Token { name, secret, role })
    };
    config.tokens.iter().map(token).collect()
}

/// Reloads certificates and tokens when their files change, for as long as the process lives.
async fn refresh(config: &Config, auth: Option<&Auth>, tls: Option<&Tls>) {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        if let Some(auth) = auth {
            match tokens(config) {
                Ok(tokens) => auth.replace(tokens),
                Err(error) => tracing::warn!(error = %format!("{error:#}"), "tokens cannot be read; those before stay"),
            }
        }
        match tls.map(Tls::refresh) {
            None | Some(Ok(false)) => {}
            Some(Ok(true)) => tracing::info!("a changed certificate is served"),
            Some(Err(error)) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the certificate cannot be taken; the one before stays"
            ),
        }
    }
}

/// The host of a URL, lower case.
fn host_of(url: &str) -> Option<String> {
    reqwest::Url::parse(url).ok()?.host_str().map(str::to_ascii_lowercase)
}

async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("received a signal to terminate"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
    }
    Ok(())
}
