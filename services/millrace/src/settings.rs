//! What a command works under: the checked configuration and the common arguments.

use anyhow::Context;
use millrace_config::{Config, LogFormat, LogKind, Secret};
use millrace_log::TopicSpec;
use millrace_runtime::topology::Topology;
use serde_json::{Map, Value};

use crate::cli::{Common, Output};
use crate::engine;
use crate::refusal::Refusal;

/// Configuration and common arguments of one call.
pub struct Settings {
    pub config: Config,
    pub output: Output,
    /// Given by `--server`.
    pub server: Option<String>,
}

impl Settings {
    /// Reads file and environment, and checks them.
    pub fn load(common: &Common) -> anyhow::Result<Settings> {
        let config = millrace_config::load(common.config.as_deref(), std::env::vars())?;
        Ok(Settings {
            config,
            output: common.output,
            server: common.server.clone(),
        })
    }

    /// Where the running instance answers.
    pub fn server_url(&self) -> String {
        match &self.server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.config.http.api_address),
        }
    }

    /// Whether this process may talk to the log itself: Kafka, and no instance was named.
    pub fn log_is_shared(&self) -> bool {
        self.config.log.kind == LogKind::Kafka && self.server.is_none()
    }

    /// # Errors
    /// A refusal where the log is embedded: one process holds it, so the command has no meaning.
    pub fn require_kafka(&self, command: &str) -> anyhow::Result<()> {
        match self.config.log.kind {
            LogKind::Kafka => Ok(()),
            LogKind::Embedded => Err(Refusal(format!(
                "`{command}` works on Kafka: set kafka.bootstrap; on the embedded log `millrace run` is the one process"
            ))
            .into()),
        }
    }

    pub fn topology(&self) -> Topology {
        engine::topology(&self.config)
    }

    /// Topics of the configured destinations: the desired state of each, and the ledger of those that have a sink.
    pub fn destination_topics(&self) -> Vec<TopicSpec> {
        let topology = self.topology();
        let desired = self.config.destinations.keys().map(|name| topology.destination_spec(name));
        let with_sinks = self.config.destinations.iter().filter(|(_, destination)| destination.sink.is_some());
        desired.chain(with_sinks.map(|(name, _)| topology.sink_changelog_spec(name))).collect()
    }

    /// Sets logs up; for commands that run services.
    pub fn init_logs(&self) -> anyhow::Result<()> {
        millrace_telemetry::init_logs(&self.config.logging.filter, self.config.logging.format == LogFormat::Json)
            .map_err(|error| Refusal(format!("log_level: {error}")))?;
        for warning in &self.config.warnings {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// Says on standard error what is accepted of the configuration, but probably not meant; for commands that have no logs.
    pub fn warn(&self) {
        for warning in &self.config.warnings {
            eprintln!("millrace: warning: {warning}");
        }
    }
}

/// The settings of a connector with `file:` references replaced by what is in the files; `key` is where they stand in the configuration.
///
/// # Errors
/// Where a file cannot be read.
pub fn revealed(key: &str, settings: &Map<String, Value>) -> anyhow::Result<Value> {
    let mut revealed = settings.clone();
    for (name, value) in &mut revealed {
        if let Value::String(text) = value
            && text.starts_with("file:")
        {
            *text = Secret::new(name, text).reveal().with_context(|| format!("{key}.{name}"))?;
        }
    }
    Ok(Value::Object(revealed))
}
