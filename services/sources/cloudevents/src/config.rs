//! The operator's settings of one set of topics. The comments are the manual.

use std::collections::{BTreeMap, BTreeSet};

use millrace_connect::settings::choice;
use millrace_events::Sender;
use serde::Deserialize;

pub use millrace_connect::settings::ConfigError;

/// Topics as written. `kafka` may hold `file:` references; the code that reads the file resolves
/// them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The Kafka that holds the topics, as properties of its client (`bootstrap.servers` at least).
    /// Left out: the deployment's own.
    #[serde(default)]
    pub kafka: Option<BTreeMap<String, String>>,
    /// The topics to read.
    pub topics: Vec<String>,
    /// Whose user ids the subjects are that name no identity namespace: the middle part of keys,
    /// `42@shop.Segment`. Write keys of the collector with this `source` share them.
    pub instance: String,
    /// What happens where the next record to read is no longer in its topic: `stop` (the source
    /// waits for a person) or `earliest` (it goes on with what is left). Left out: `stop`.
    #[serde(default)]
    pub lost_records: Option<String>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub kafka: Option<BTreeMap<String, String>>,
    pub restarts_at_earliest: bool,
    pub(crate) topics: Vec<String>,
    pub(crate) sender: Sender,
}

impl Config {
    /// Checks everything. No IO.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let name = raw.instance.trim().to_owned();
        let plain = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '-';
        if name.is_empty() || !name.chars().all(plain) {
            wrong.push("instance: expected a name of a-z, 0-9 and hyphens; it is part of keys".to_owned());
        }
        if raw.topics.is_empty() {
            wrong.push("topics: at least one is needed".to_owned());
        }
        let mut seen = BTreeSet::new();
        for (at, topic) in raw.topics.iter().enumerate() {
            if topic.trim().is_empty() {
                wrong.push(format!("topics[{at}]: the name is blank"));
            } else if !seen.insert(topic) {
                wrong.push(format!("topics[{at}]: `{topic}` is named twice"));
            }
        }
        let restarts_at_earliest = choice("lost_records", raw.lost_records.as_deref(), ["stop", "earliest"], &mut wrong);
        if !wrong.is_empty() {
            return Err(ConfigError(wrong));
        }
        Ok(Config {
            kafka: raw.kafka,
            restarts_at_earliest,
            topics: raw.topics,
            // CloudEvents name no devices, and their subjects are user ids of nobody else.
            sender: Sender {
                name,
                user_namespace: None,
                device_namespace: String::new(),
            },
        })
    }
}
