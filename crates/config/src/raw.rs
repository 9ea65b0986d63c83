//! The configuration as operators write it. The comments here are their manual:
//! `docs/configuration.md` is generated from them.

mod collector;
mod http;

use std::collections::BTreeMap;

use millrace_model::number::{self, Misfit};
use millrace_model::{Decimal, namespace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use collector::{Collector, WriteKey};
pub use http::{Auth, Http, Role};

/// Everything that can be configured. An empty file is a valid configuration: one process, with its
/// own log on the local disk.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    pub topics: Topics,
    pub log: Log,
    pub kafka: Kafka,
    pub registry: Registry,
    pub output: Output,
    pub state: State,
    pub identity: Identity,
    pub events: Events,
    pub currency: Currency,
    /// One entry per foreign system that audiences are sent to, under the name segment definitions
    /// use.
    pub destinations: BTreeMap<String, Destination>,
    /// One entry per foreign system that facts are read from, under the name of the source.
    pub sources: BTreeMap<String, Source>,
    pub http: Http,
    pub auth: Auth,
    pub collector: Collector,
    #[serde(rename = "loop")]
    pub budget: Loop,
    /// What the process logs to standard error: `error`, `warn`, `info`, `debug`, `trace`, or per
    /// module as in `info,millrace_runtime=debug`.
    pub log_level: String,
    /// `text` for people, `json` for collectors (one object per line).
    pub log_format: LogFormat,
}

/// Names and numbers of topics.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// Prefix of every topic's name. Two deployments on one Kafka need two prefixes.
    pub prefix: String,
    /// The number of shards that the work is divided into: partitions of the internal topics. More
    /// shards use more cores and machines. Fixed when the topics are created; 64 suits a deployment
    /// that will grow.
    pub shards: u32,
    /// Partitions of each source topic that this command creates: as many as shards, or a multiple,
    /// so that records reach their shard without a detour. Existing topics keep theirs.
    pub source_partitions: u32,
}

/// Where records are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `embedded`: on this machine's disk, for one process. `kafka`: on Apache Kafka, for any
    /// number of processes. Left out: `kafka` where `kafka.bootstrap` is given, else `embedded`.
    pub kind: Option<LogKind>,
    /// Directory of the embedded log. Only one process at a time can open it. Left out:
    /// `.millrace/log`.
    pub path: Option<String>,
}

/// Where records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// On this machine's disk, for one process.
    Embedded,
    /// On Apache Kafka, for any number of processes.
    Kafka,
}

/// The Kafka cluster. Read only where `log.kind` is `kafka`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// `host:port` of one or more brokers, separated by commas. `bootstrap.servers` under
    /// `kafka.properties` does as well.
    pub bootstrap: String,
    /// The name of this deployment in Kafka: its consumer groups (`<id>.shards`, `<id>.positions`)
    /// and transactional ids (`<id>.shard.<n>`, `<id>.orders`) begin with it. Two deployments on
    /// one Kafka need two.
    pub application_id: String,
    /// The name of this process within the deployment; the same after its restart (a pod's name),
    /// never the same for two. With it a restart within the session time-out moves no shard. Left
    /// out: a name made from this machine and process.
    pub instance: Option<String>,
    /// Passed to the Kafka client as they are, under librdkafka's names: `security.protocol`,
    /// `sasl.username`, `ssl.ca.location` … A value `file:<path>` is read from that file at start.
    /// In environment variables a single underscore stands for the dot:
    /// `MILLRACE__KAFKA__PROPERTIES__SASL_PASSWORD=file:/run/secrets/kafka`.
    pub properties: BTreeMap<String, Scalar>,
}

/// A Confluent schema registry.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// Tried in order. With a registry, records in Confluent wire format can be read, and Avro
    /// output is written in it.
    pub urls: Vec<String>,
    /// Certificates in PEM form: authorities that are trusted in addition to the system's, for
    /// `https` addresses.
    pub ca_file: Option<String>,
    /// For a registry that asks for a name and a password.
    pub user: Option<String>,
    /// The password to `user`; may be a `file:<path>`.
    pub password: Option<String>,
    /// For a registry that asks for a token; may be a `file:<path>`.
    pub token: Option<String>,
}

/// What is written to the output topics.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// `avro`: Confluent wire format where a registry is configured, single-object encoding
    /// otherwise. `json`: plain JSON.
    pub encoding: OutputEncoding,
}

/// How records of the output topics are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputEncoding {
    /// Confluent wire format where a registry is configured, single-object encoding otherwise.
    Avro,
    /// Plain JSON.
    Json,
}

/// The local copy of each shard's state. It can be lost: it is rebuilt from the log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Directory of the state stores; one sub-directory per shard. A disk that survives restarts
    /// makes them quick.
    pub path: String,
    /// Memory for blocks read from disk, for all shards of the process together.
    pub cache: String,
    /// Memory for rows not yet written to disk, for all shards of the process together.
    pub write_buffers: String,
    /// The space to keep free on the disk of the state. Below it, no input is taken, `/readyz` says
    /// so, and the shards resume by themselves once a quarter more is free. Rows in memory need
    /// that room to be written, and a compaction writes before it deletes: twice `write_buffers`
    /// suits.
    pub disk_free_min: String,
}

/// Which identities are united, and the guards against uniting too much. An identity that trips a
/// guard is set aside whole: none of the records that carry it has it. It is listed with the
/// reason, counted, and united when it fits.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// The canonical id of a profile is its least identity: source keys first, then by this order
    /// of namespaces, then all others by name; of one namespace the least id. Changing it changes
    /// canonical ids.
    pub namespace_priority: Vec<String>,
    /// The most identities one person may have. An identity that would exceed it is set aside, with
    /// all records that carry it.
    pub max_identities_person: u32,
    /// The most identities one account may have.
    pub max_identities_account: u32,
    /// Namespaces of which one profile may hold a single value, such as a national company number.
    /// An identity that would unite two of them unites nobody.
    pub unique_per_cluster: Vec<String>,
    /// Per namespace, how many records may claim one identity before it counts as shared.
    pub max_claims_per_identity: BTreeMap<String, u32>,
    /// How long changes of membership are held back where accounts, opportunities, campaigns or lists that
    /// a person refers to were united or taken apart. The consequences arrive in parts, and without
    /// the delay people would leave and come back in between. `0s`: no delay.
    pub settle: String,
    /// Identities that unite nobody, as `namespace:id`; `*` in the id stands for any text:
    /// `email:info@*`.
    pub blocked: Vec<String>,
}

/// How long events count, and how far their clocks may be off.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// An event older than this is forgotten. No segment can look back further.
    pub retention: String,
    /// An event further ahead of now than this is a dead letter; up to this it counts from its own
    /// time on.
    pub future_limit: String,
}

/// How monetary amounts of several currencies compare.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Currency {
    /// The currency of amounts that name none, and the one that all are converted to. ISO 4217.
    pub default: String,
    /// What one unit of a currency is worth in the default currency: `EUR = 1.08`. An amount in a currency without a rate compares as null.
    /// A rate of more than 15 digits stands in quotes, `EUR = "1.0812345678901234567"`: numbers of the file have no more.
    pub rates: BTreeMap<String, Scalar>,
}

/// A foreign system that audiences are sent to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// The identity namespace the system knows people by, such as `email`.
    pub namespace: String,
    /// A field of the person or account whose text is the id in that namespace, such as
    /// `accountOrganization.domain`; in the namespace `domain` an address becomes its domain. Left
    /// out: the identities of the namespace.
    #[serde(default)]
    pub known_by: Option<String>,
    /// Fields sent along: the system's field name, and a path in the profile of the person or
    /// account: `company = "b2b.companyName"`, or `tier = "extra.tier"` for a custom field.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The kind of sink that `millrace run` or `millrace sink` runs for it: `http`, `webhook`,
    /// `marketo`, `linkedin`, `kafka` or `postgres`. Left out: none, another program reads the topic.
    #[serde(default)]
    pub sink: Option<String>,
    /// The settings of that sink: `services/sinks/<kind>/README.md` lists them.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// The share of an audience that one edit may add or remove before the brake holds it until
    /// `millrace destination confirm`. Left out: 0.5; 1: no brake.
    #[serde(default = "half")]
    pub brake_share: f64,
    /// This number of changes of an audience always passes the brake. Left out: 100.
    #[serde(default = "hundred")]
    pub brake_least: u64,
    /// Ids that must never be present there, compared as identities are: surrounding space never
    /// counts, and letter case only where the namespace has it.
    #[serde(default)]
    pub suppressed: Vec<String>,
}

const fn half() -> f64 {
    0.5
}

const fn hundred() -> u64 {
    100
}

/// A foreign system that facts are read from: `millrace source <type>` reads all sources of its
/// type, `millrace run` reads all.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `airbyte`, `cloudevents`, `debezium`, `marketo`, `salesforce` or `singer`. Its further keys are those of the type:
    /// `services/sources/<type>/README.md` lists them. A secret may be a `file:<path>`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(flatten)]
    #[schemars(skip)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// How much work a shard takes on at once. The defaults suit; larger polls raise throughput,
/// smaller ones lower latency.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Loop {
    /// The most records of one transaction.
    pub poll_records: u32,
    /// The most bytes of one transaction.
    pub poll_bytes: String,
    /// How long to wait for a first record before looking at timers and deferred work.
    pub poll_wait: String,
    /// The most due timers of one transaction.
    pub timers: u32,
    /// The most subjects looked at for deferred work (members of a changed account, profiles under
    /// a new segment) in one transaction.
    pub background: u32,
    /// How long a transaction goes on with deferred work while live input waits for it. A lower
    /// value makes deferred work take longer.
    pub background_time: String,
    /// How long a transaction should take at most. A longer one is counted
    /// (`millrace_slow_steps_total`) and logged with what it did, and the following ones take fewer
    /// records.
    pub step_time_max: String,
    /// How often the local state is made to survive a crash. Longer means more to re-read after
    /// one.
    pub flush_interval: String,
}

/// How a log message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people, coloured on a terminal.
    Text,
    /// For collectors: one object per line.
    Json,
}

/// A text, number or flag; all count as text.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    pub fn text(&self) -> String {
        match self {
            Scalar::Bool(flag) => flag.to_string(),
            Scalar::Int(number) => number.to_string(),
            Scalar::Float(number) => number.to_string(),
            Scalar::Text(text) => text.clone(),
        }
    }

    /// # Errors
    /// Why it is no decimal.
    pub fn decimal(&self) -> Result<Decimal, Misfit> {
        match self {
            Scalar::Bool(_) => Err(Misfit::NoNumber),
            Scalar::Int(number) => Ok(Decimal::from(*number)),
            Scalar::Float(number) => number::read(&format!("{number:e}")),
            Scalar::Text(text) => number::read(text),
        }
    }
}

impl Default for Raw {
    fn default() -> Raw {
        Raw {
            topics: Topics::default(),
            log: Log::default(),
            kafka: Kafka::default(),
            registry: Registry::default(),
            output: Output::default(),
            state: State::default(),
            identity: Identity::default(),
            events: Events::default(),
            currency: Currency::default(),
            destinations: BTreeMap::new(),
            sources: BTreeMap::new(),
            http: Http::default(),
            auth: Auth::default(),
            collector: Collector::default(),
            budget: Loop::default(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

impl Default for Topics {
    fn default() -> Topics {
        Topics {
            prefix: "millrace.".to_owned(),
            shards: 4,
            source_partitions: 4,
        }
    }
}

impl Default for Kafka {
    fn default() -> Kafka {
        Kafka {
            bootstrap: String::new(),
            application_id: "millrace".to_owned(),
            instance: None,
            properties: BTreeMap::new(),
        }
    }
}

impl Default for Output {
    fn default() -> Output {
        Output {
            encoding: OutputEncoding::Avro,
        }
    }
}

impl Default for State {
    fn default() -> State {
        State {
            path: ".millrace/state".to_owned(),
            cache: "256MiB".to_owned(),
            write_buffers: "128MiB".to_owned(),
            disk_free_min: "256MiB".to_owned(),
        }
    }
}

impl Default for Identity {
    fn default() -> Identity {
        Identity {
            namespace_priority: vec![namespace::EMAIL.to_owned(), namespace::ECID.to_owned()],
            max_identities_person: 50,
            max_identities_account: 1_000,
            unique_per_cluster: Vec::new(),
            max_claims_per_identity: BTreeMap::new(),
            settle: "500ms".to_owned(),
            blocked: Vec::new(),
        }
    }
}

impl Default for Events {
    fn default() -> Events {
        Events {
            retention: "400d".to_owned(),
            future_limit: "5m".to_owned(),
        }
    }
}

impl Default for Currency {
    fn default() -> Currency {
        Currency {
            default: "USD".to_owned(),
            rates: BTreeMap::new(),
        }
    }
}

impl Default for Loop {
    fn default() -> Loop {
        Loop {
            poll_records: 2_000,
            poll_bytes: "4MiB".to_owned(),
            poll_wait: "50ms".to_owned(),
            timers: 1_000,
            background: 5_000,
            background_time: "10ms".to_owned(),
            step_time_max: "100ms".to_owned(),
            flush_interval: "60s".to_owned(),
        }
    }
}
