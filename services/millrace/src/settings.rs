//! The environment of a command: the checked configuration and the common arguments.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use millrace_config::{Config, ENVIRONMENT_PREFIX, LogFormat, LogKind, Secret};
use millrace_log::TopicSpec;
use millrace_runtime::topology::Topology;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use crate::assembly;
use crate::cli::{Common, Output};
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
        let file = common.config.clone().or_else(named_by_environment);
        let config = millrace_config::load(file.as_deref(), environment()?)?;
        Ok(Settings {
            config,
            output: common.output,
            server: common.server.clone(),
        })
    }

    /// The address of the running instance.
    pub fn server_url(&self) -> String {
        match &self.server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let http = &self.config.http;
                let scheme = if http.tls.is_some() { "https" } else { "http" };
                match &http.advertised_address {
                    // The certificate is for its name.
                    Some(url) if http.tls.is_some() => url.clone(),
                    _ => format!("{scheme}://{}", reachable(http.api_address)),
                }
            }
        }
    }

    /// Whether this process may use the log itself: Kafka, and no instance was named.
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
        assembly::topology(&self.config)
    }

    /// Topics of the configured destinations: the desired state of each, and the ledger of those
    /// that have a sink.
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

    /// Prints warnings about the configuration to standard error; for commands that have no logs.
    pub fn warn(&self) {
        for warning in &self.config.warnings {
            crate::shown::note(&format!("millrace: warning: {warning}"));
        }
    }
}

/// The file that `MILLRACE_CONFIG` names. Empty counts as absent, as compose files and unit files write it.
fn named_by_environment() -> Option<PathBuf> {
    std::env::var_os("MILLRACE_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// The environment's variables. A name that is no text is none of ours.
fn environment() -> Result<Vec<(String, String)>, Refusal> {
    let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named
        .filter_map(|(name, value)| match value.into_string() {
            Ok(value) => Some(Ok((name, value))),
            Err(_) if name.starts_with(ENVIRONMENT_PREFIX) => Some(Err(Refusal(format!("the value of the environment variable `{name}` is not UTF-8")))),
            Err(_) => None,
        })
        .collect()
}

/// The settings of a connector with `file:` references replaced by the files' contents; `key` is
/// their place in the configuration.
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

/// The settings of a connector in its own form; `key` is their place in the configuration.
///
/// # Errors
/// A refusal that names the setting that does not fit. Never shows the value: it may be a secret.
pub fn typed<T: DeserializeOwned>(key: &str, mut settings: Value) -> Result<T, Refusal> {
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&settings) {
            Ok(typed) => return Ok(typed),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let place = error.path().iter().try_fold(&mut settings, |part, step| match step {
            Segment::Map { key } => part.get_mut(key),
            Segment::Seq { index } => part.get_mut(index),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        // A variable of the environment says nothing of its type: where a text is expected, digits are one.
        match place {
            Some(value) if (value.is_number() || value.is_boolean()) && error.inner().to_string().contains("expected a string") => {
                *value = Value::String(value.to_string());
            }
            _ => {
                let place = if path == "." { key.to_owned() } else { format!("{key}.{path}") };
                return Err(Refusal(format!("{place}: {}", without_value(&error.inner().to_string()))));
            }
        }
    }
}

/// "invalid type: string "secret", expected u64" as "expected u64".
fn without_value(error: &str) -> &str {
    match error.find("expected ") {
        Some(at) if error.starts_with("invalid ") => &error[at..],
        _ => error,
    }
}

/// A callable address, in place of an address that means all of the machine.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_take_digits_for_texts_and_never_show_values() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            secret: String,
            #[serde(default)]
            calls: u64,
            #[serde(default)]
            keys: Vec<String>,
        }
        let typed = |settings: Value| typed::<Form>("sources.crm", settings).map_err(|refusal| refusal.0);
        let form = Form {
            secret: "123456".to_owned(),
            calls: 5,
            keys: vec!["7".to_owned()],
        };
        assert_eq!(typed(json!({"secret": 123_456, "calls": 5, "keys": [7]})), Ok(form));
        for (settings, refusal) in [
            (json!({"secret": "s", "calls": "hush"}), "sources.crm.calls: expected u64"),
            (json!({"secret": "s", "keys": ["a", ["hush"]]}), "sources.crm.keys[1]: expected a string"),
            (json!({"calls": 1}), "sources.crm: missing field `secret`"),
            (
                json!({"secret": "s", "call": 1}),
                "sources.crm.call: unknown field `call`, expected one of `secret`, `calls`, `keys`",
            ),
        ] {
            assert_eq!(typed(settings).unwrap_err(), refusal);
        }
    }

    #[test]
    fn every_address_is_called_at_the_loopback_one() {
        let cases = [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.1.2.3:9090", "10.1.2.3:9090"),
        ];
        for (configured, called) in cases {
            assert_eq!(reachable(configured.parse().unwrap()).to_string(), called);
        }
    }
}
