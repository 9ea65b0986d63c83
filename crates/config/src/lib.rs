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

#![warn(missing_docs)]

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

pub use environment::ENVIRONMENT_PREFIX;
pub use layers::{Document, Format, load, parse};
pub use manual::manual;
pub use raw::{LogFormat, LogKind, OutputEncoding, Role};
pub use secret::{Secret, SecretError};
pub use text::{NotText, text_of};
pub use validate::TOKEN_BYTES_MIN;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `topics`: names and numbers of topics.
    pub topics: Topics,
    /// `log`: which log holds the records.
    pub log: Log,
    /// `kafka`: read only where the log is Kafka.
    pub kafka: Kafka,
    /// `registry`: the schema registry; empty `urls` mean none.
    pub registry: Registry,
    /// `output.encoding`: how records of the output topics are encoded.
    pub output: OutputEncoding,
    /// `state`: the local copy of the shards' state.
    pub state: State,
    /// `identity`: which identities are united.
    pub identity: IdentityRules,
    /// `events`: how long events count.
    pub events: Events,
    /// `currency`: how amounts of several currencies compare.
    pub currency: Currency,
    /// `destinations`, by the name that segment definitions use: a-z, 0-9 and hyphens.
    pub destinations: BTreeMap<String, Destination>,
    /// `sources`, by name: a-z, 0-9 and hyphens.
    pub sources: BTreeMap<String, Source>,
    /// `http`: where the process listens.
    pub http: Http,
    /// By name; empty: no authentication.
    pub tokens: BTreeMap<String, (Secret, Role)>,
    /// The token that commands send to a running instance.
    pub client_token: Option<Secret>,
    /// `collector`: events over HTTP.
    pub collector: Collector,
    /// `loop`: how much work a shard takes on at once.
    pub budget: Loop,
    /// `log_level` and `log_format`.
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
        let write_keys = self.collector.keys.iter().map(|(name, one)| (format!("collector.keys.{name}.key"), &one.key));
        let problem = |(key, secret): (String, &Secret)| {
            let error = secret.reveal().err()?;
            Some(Problem {
                key,
                detail: format!("{error}: {}", error.source),
                origin: None,
            })
        };
        let problems: Vec<Problem> = named.chain(tokens).chain(write_keys).chain(properties).filter_map(problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }
}

/// A foreign system that facts are read from. What is in `settings` is checked by the connector of
/// its type.
#[derive(Clone)]
pub struct Source {
    /// The type of the source, such as `marketo`; not empty, and not checked against the types
    /// there are.
    pub kind: String,
    /// As written: may hold secrets.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Names and numbers of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Ends as the operator wrote it, usually in a dot.
    pub prefix: String,
    /// 1 to 1024.
    pub shards: u32,
    /// 1 to 1024.
    pub source_partitions: u32,
}

/// Which log holds the records, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Embedded or Kafka; never left open.
    pub kind: LogKind,
    /// Directory of the embedded log; unused where the log is Kafka.
    pub path: PathBuf,
}

/// The Kafka cluster and this deployment's names in it.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port` pairs; not empty where the log is Kafka.
    pub bootstrap: Vec<String>,
    /// How the names of consumer groups and transactional ids begin; not empty where the log is
    /// Kafka.
    pub application_id: String,
    /// Not empty; `None`: to be made of machine and process.
    pub instance: Option<String>,
    /// Client properties under librdkafka's names, `bootstrap.servers` left out.
    pub properties: BTreeMap<String, Secret>,
}

/// A Confluent schema registry, and how to log in to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Without a trailing slash; empty: no registry.
    pub urls: Vec<String>,
    /// Certificates in PEM form, trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Name and password.
    pub basic: Option<(String, Secret)>,
    /// Sent as a bearer token.
    pub token: Option<Secret>,
}

/// The local copy of the shards' state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Directory with a sub-directory per shard.
    pub path: PathBuf,
    /// Memory for blocks read from disk, in bytes, for all shards of the process together.
    pub cache_bytes: u64,
    /// Memory for rows not yet written to disk, in bytes, for all shards of the process together.
    pub write_buffers_bytes: u64,
    /// With less space free on the disk, in bytes, no input is taken.
    pub disk_free_min_bytes: u64,
}

/// Which identities are united, and the guards against uniting too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRules {
    /// Lower case, each once; namespaces not named come after these, by name.
    pub namespace_priority: Vec<String>,
    /// The most identities of one person, 2 to 10,000.
    pub max_identities_person: u32,
    /// The most identities of one account, 2 to 100,000.
    pub max_identities_account: u32,
    /// Namespaces, in lower case, of which one profile may hold a single value.
    pub unique_per_cluster: BTreeSet<String>,
    /// By namespace, in lower case: how many records may claim one identity, at least 1. A
    /// namespace that is missing has no limit.
    pub max_claims_per_identity: BTreeMap<String, u32>,
    /// How long a change of membership is held back while clusters are united or taken apart; zero:
    /// not at all.
    pub settle: Duration,
    /// Identities that unite nobody; `*` in the id stands for any text.
    pub blocked: BTreeSet<Identity>,
}

/// How long events count, and how far their clocks may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// An older event is forgotten; longer than zero.
    pub retention: Duration,
    /// An event further ahead of now is a dead letter.
    pub future_limit: Duration,
}

/// How monetary amounts of several currencies compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Currency {
    /// ISO 4217, upper case.
    pub default: String,
    /// What one unit is worth in the default currency; greater than zero. The default currency itself is among them, at 1.
    pub rates: BTreeMap<String, Decimal>,
}

/// A foreign system that audiences are sent to.
#[derive(Clone, PartialEq)]
pub struct Destination {
    /// The identity namespace the destination knows people by; lower case.
    pub namespace: String,
    /// The field whose texts it knows them by; `None`: the identities of the namespace.
    pub known_by: Option<Path>,
    /// The destination's field name to a path of the person's or account's profile.
    pub attributes: BTreeMap<String, Path>,
    /// The kind of sink to start; `None`: none.
    pub sink: Option<String>,
    /// Checked by the sink of its kind. As written: may hold secrets.
    pub settings: serde_json::Value,
    /// 0 to 1; more: no brake.
    pub brake_share: f64,
    /// A change of an audience by no more members than this passes the brake.
    pub brake_least: u64,
    /// Ids of `namespace` that must never be present in the destination.
    pub suppressed: BTreeSet<String>,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Destination");
        shown.field("namespace", &self.namespace).field("sink", &self.sink).finish_non_exhaustive()
    }
}

/// Where the process listens, and what it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The address of the API; other machines reach it only if `tokens` is not empty.
    pub api_address: SocketAddr,
    /// The address of metrics, health and readiness; never `api_address`, unless its port is 0.
    pub metrics_address: SocketAddr,
    /// A URL without a trailing slash; `None`: to be made of `api_address`.
    pub advertised_address: Option<String>,
    /// The token with which instances read each other's rows; `None`: anybody who reaches the port
    /// can.
    pub internal_token: Option<Secret>,
    /// Lower case.
    pub hosts: Vec<String>,
    /// Lower case, without a trailing slash.
    pub origins: Vec<String>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Where events are taken over HTTP, and from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// A port of its own.
    pub address: SocketAddr,
    /// Lower case, without a trailing slash.
    pub origins: Vec<String>,
    /// By name; empty: no collector.
    pub keys: BTreeMap<String, WriteKey>,
}

/// A write key of the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteKey {
    /// At least `TOKEN_BYTES_MIN` bytes.
    pub key: Secret,
    /// Letters of a-z, digits and hyphens: the instance in the keys of records.
    pub source: String,
    /// Everybody can read it.
    pub public: bool,
    /// The identity namespace of user ids, lower case; `None`: they are known by source keys alone.
    pub user_namespace: Option<String>,
    /// The identity namespace of anonymous ids, lower case.
    pub device_namespace: String,
}

/// The most that one transaction of a shard takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Records, 1 to 100,000.
    pub poll_records: usize,
    /// Bytes of records, 1 KiB to 1 GiB.
    pub poll_bytes: usize,
    /// The wait for a first record.
    pub poll_wait: Duration,
    /// Due timers, 1 to 1,000,000.
    pub timers: usize,
    /// Subjects of deferred work, 1 to 1,000,000.
    pub background: usize,
    /// Time for deferred work while live input waits.
    pub background_time: Duration,
    /// A longer transaction is counted as slow and logged, and the next ones take fewer records.
    pub step_time_max: Duration,
    /// Time between two moments at which the local state survives a crash.
    pub flush_interval: Duration,
}

/// What the process logs to standard error, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// A filter as `tracing` reads it: `info`, or `info,millrace_shard=debug`.
    pub filter: String,
    /// One line per message: text for people, or a JSON object.
    pub format: LogFormat,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted, such as `topics.shards`; empty where it concerns a file as a whole.
    pub key: String,
    /// What is wrong and what was expected: a lowercase fragment without full stop.
    pub detail: String,
    /// The file or environment variable it came from, where that is known.
    pub origin: Option<String>,
}

/// A configuration that cannot be used. The process exits with status 64 and has touched nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not open, or is no UTF-8 text.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// As it was given.
        path: PathBuf,
        /// Of the file system, or a `NotText`.
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
