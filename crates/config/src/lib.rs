//! Configuration: compiled defaults, then one TOML or YAML file, then `MILLRACE__SECTION__KEY`.
//!
//! ```text
//! defaults ─▶ file ─▶ environment ─▶ Raw ─ validate ─▶ Config
//! ```
//!
//! `Raw` is what operators write: texts with units, unknown keys refused. `Config` is what the
//! program reads: typed, checked, complete. Every problem of a configuration is reported at once,
//! each with its key. The comments on the fields of `Raw` are the operator's manual (`manual`).
//!
//! What it is *not*: `parse` reads no file, no environment, no secret and opens nothing; `load`
//! reads the one file it is given and nothing else.
//!
//! ```
//! use millrace_config::{Document, Format, parse};
//!
//! let document = Document { name: "millrace.toml", format: Format::Toml, text: "[topics]\nshards = 4\n" };
//! let environment = [("MILLRACE__TOPICS__SHARDS".to_owned(), "8".to_owned())];
//! let config = parse(Some(document), environment)?;
//! assert_eq!(config.topics.shards, 8, "the environment wins over the file");
//! # Ok::<(), millrace_config::ConfigError>(())
//! ```

mod environment;
mod layers;
mod manual;
mod raw;
mod secret;
mod suggest;
mod text;
mod units;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use millrace_model::{Decimal, Identity, Path};

pub use layers::{Document, Format, load, parse};
pub use manual::manual;
pub use raw::{LogFormat, LogKind, OutputEncoding, Role};
pub use secret::{Secret, SecretError};
pub use text::{NotText, text_of};
pub use validate::TOKEN_BYTES_MIN;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub topics: Topics,
    pub log: Log,
    pub kafka: Kafka,
    pub registry: Registry,
    pub output: OutputEncoding,
    pub state: State,
    pub identity: IdentityRules,
    pub events: Events,
    pub currency: Currency,
    pub destinations: BTreeMap<String, Destination>,
    pub sources: BTreeMap<String, Source>,
    pub http: Http,
    /// By name; empty: no authentication.
    pub tokens: BTreeMap<String, (Secret, Role)>,
    /// The token that commands send to a running instance.
    pub client_token: Option<Secret>,
    pub budget: Loop,
    pub logging: Logging,
    /// Settings that are accepted, but probably not meant: for the person who started the process.
    pub warnings: Vec<String>,
    /// What the layers came to, secrets left out: for `--check-config`.
    pub effective: serde_json::Value,
}

impl Config {
    /// The effective configuration as YAML, secrets hidden.
    pub fn shown(&self) -> String {
        // Numbers of `serde_json` are decimals, which only its own formats write as numbers. JSON
        // is YAML, so its text is read as that.
        let tree: Result<serde_norway::Value, _> = serde_norway::from_str(&self.effective.to_string());
        tree.and_then(|tree| serde_norway::to_string(&tree)).expect("JSON is YAML")
    }

    /// Reads every secret and forgets it, to find out now whether each can be read.
    ///
    /// # Errors
    /// `Invalid`, with each one that cannot.
    pub fn check_secrets(&self) -> Result<(), ConfigError> {
        let properties = self.kafka.properties.iter().map(|(name, secret)| (format!("kafka.properties.{name}"), secret));
        let named = [
            ("http.internal_token", self.http.internal_token.as_ref()),
            ("auth.client_token", self.client_token.as_ref()),
            ("registry.password", self.registry.basic.as_ref().map(|(_, password)| password)),
            ("registry.token", self.registry.token.as_ref()),
        ];
        let named = named.into_iter().filter_map(|(key, secret)| Some((key.to_owned(), secret?)));
        let tokens = self.tokens.iter().map(|(name, (secret, _))| (format!("auth.tokens.{name}.token"), secret));
        let problem = |(key, secret): (String, &Secret)| {
            let error = secret.reveal().err()?;
            Some(Problem {
                key,
                detail: format!("{error}: {}", error.source),
                origin: None,
            })
        };
        let problems: Vec<Problem> = named.chain(tokens).chain(properties).filter_map(problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }
}

/// A foreign system that facts are read from. What is in `settings` is checked by the connector of
/// its type.
#[derive(Clone)]
pub struct Source {
    pub kind: String,
    /// As written: may hold secrets.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Ends as the operator wrote it, usually in a dot.
    pub prefix: String,
    /// 1 to 1024.
    pub shards: u32,
    /// 1 to 1024.
    pub source_partitions: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub kind: LogKind,
    pub path: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port` pairs; not empty where the log is Kafka.
    pub bootstrap: Vec<String>,
    pub application_id: String,
    /// Not empty; `None`: to be made of machine and process.
    pub instance: Option<String>,
    /// Client properties under librdkafka's names, `bootstrap.servers` left out.
    pub properties: BTreeMap<String, Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Without a trailing slash; empty: no registry.
    pub urls: Vec<String>,
    /// Certificates in PEM form, trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Name and password.
    pub basic: Option<(String, Secret)>,
    pub token: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub path: PathBuf,
    pub cache_bytes: u64,
    pub write_buffers_bytes: u64,
    pub disk_free_min_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRules {
    /// Lower case, each once; namespaces not named come after these, by name.
    pub namespace_priority: Vec<String>,
    pub max_identities_person: u32,
    pub max_identities_account: u32,
    pub unique_per_cluster: BTreeSet<String>,
    pub max_claims_per_identity: BTreeMap<String, u32>,
    pub settle: Duration,
    pub blocked: BTreeSet<Identity>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    pub retention: Duration,
    pub future_limit: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Currency {
    /// ISO 4217, upper case.
    pub default: String,
    /// What one unit is worth in the default currency; greater than zero. The default currency itself is among them, at 1.
    pub rates: BTreeMap<String, Decimal>,
}

#[derive(Clone, PartialEq)]
pub struct Destination {
    /// The identity namespace the destination knows people by; lower case.
    pub namespace: String,
    /// The destination's field name to a path of the person's or account's profile.
    pub attributes: BTreeMap<String, Path>,
    /// The kind of sink to start; `None`: none.
    pub sink: Option<String>,
    /// Checked by the sink of its kind. As written: may hold secrets.
    pub settings: serde_json::Value,
    /// 0 to 1; more: no brake.
    pub brake_share: f64,
    pub brake_least: u64,
    pub suppressed: BTreeSet<String>,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Destination");
        shown.field("namespace", &self.namespace).field("sink", &self.sink).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub api_address: SocketAddr,
    pub metrics_address: SocketAddr,
    /// A URL without a trailing slash; `None`: to be made of `api_address`.
    pub advertised_address: Option<String>,
    pub internal_token: Option<Secret>,
    /// Lower case.
    pub hosts: Vec<String>,
    /// Lower case, without a trailing slash.
    pub origins: Vec<String>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    pub poll_records: usize,
    pub poll_bytes: usize,
    pub poll_wait: Duration,
    pub timers: usize,
    pub background: usize,
    pub background_time: Duration,
    pub step_time_max: Duration,
    pub flush_interval: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// A filter as `tracing` reads it: `info`, or `info,millrace_shard=debug`.
    pub filter: String,
    pub format: LogFormat,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted, such as `topics.shards`; empty where it concerns a file as a whole.
    pub key: String,
    pub detail: String,
    /// The file or environment variable it came from, where that is known.
    pub origin: Option<String>,
}

/// A configuration that cannot be used. The process exits with status 64 and has touched nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// At least one problem, in the order of keys.
    #[error("configuration: {}", list(.0))]
    Invalid(Vec<Problem>),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.key.is_empty(), &self.origin) {
            (false, Some(origin)) => write!(f, "{}: {} ({origin})", self.key, self.detail),
            (false, None) => write!(f, "{}: {}", self.key, self.detail),
            (true, Some(origin)) => write!(f, "{} ({origin})", self.detail),
            (true, None) => f.write_str(&self.detail),
        }
    }
}

/// One problem on the line itself, several on a line each.
fn list(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        _ => problems.iter().map(|problem| format!("\n  {problem}")).collect(),
    }
}

#[cfg(test)]
mod tests;
