//! The operator's settings of one change stream. The comments are the manual.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use millrace_connect::row::{RawRecord, Rule, key_suffix, rule};
use millrace_connect::settings::choice;
use millrace_model::Schema;
use serde::Deserialize;

use crate::envelope::Reading;
use crate::shape::{Meaning, RowSchema};

pub use millrace_connect::settings::ConfigError;

/// A change stream as written. `kafka` and `registry` may hold `file:` references; the code that
/// reads the file resolves them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The Kafka that holds the topics, as properties of its client (`bootstrap.servers` at least).
    /// Left out: the deployment's own.
    #[serde(default)]
    pub kafka: Option<BTreeMap<String, String>>,
    /// The schema registry of the topics. Left out: the deployment's own, if it has one.
    #[serde(default)]
    pub registry: Option<RegistrySettings>,
    /// The database, as the middle part of keys: `7@crm2.Postgres`.
    pub instance: String,
    /// The kind of system, as the last part of keys. Left out: `Database`.
    #[serde(default)]
    pub system: Option<String>,
    /// The zone of date-times without one, such as `Europe/Berlin`. Left out: UTC.
    #[serde(default)]
    pub zone: Option<String>,
    /// The connector's `unavailable.value.placeholder`. Left out: Debezium's own.
    #[serde(default)]
    pub unavailable_value: Option<String>,
    /// What happens where the next record to read is no longer in its topic: `stop` (the source
    /// waits for a person) or `earliest` (it goes on with what is left). Left out: `stop`.
    #[serde(default)]
    pub lost_records: Option<String>,
    /// The topics to read, each with what its rows become.
    pub topics: BTreeMap<String, RawTopic>,
}

/// A schema registry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySettings {
    /// Base addresses in order of preference.
    pub urls: Vec<String>,
    /// For HTTP Basic, with `password`.
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub password: Option<String>,
    /// A bearer token.
    #[serde(default)]
    pub token: Option<String>,
}

/// One topic as written: the changes of one table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTopic {
    /// Types of columns, where records come without a schema: `amount = "Decimal(2)"`, `created =
    /// "MicroTimestamp"`. The names are the last parts of Debezium's semantic types.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    /// What a row becomes: one entry per kind of record.
    pub records: Vec<RawRecord>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub kafka: Option<BTreeMap<String, String>>,
    pub registry: Option<RegistrySettings>,
    pub restarts_at_earliest: bool,
    pub(crate) topics: BTreeMap<String, Topic>,
}

/// How one topic is read.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub reading: Reading,
    pub rules: Vec<Rule>,
}

impl Config {
    /// Checks everything. No IO.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let suffix = key_suffix(&raw.instance, raw.system.as_deref().unwrap_or("Database"), &mut wrong);
        let zone = raw.zone.as_deref().unwrap_or("UTC");
        let zone = zone.parse::<Tz>().unwrap_or_else(|_| {
            wrong.push(format!("zone: `{zone}` is no time zone such as `Europe/Berlin`"));
            Tz::UTC
        });
        let restarts_at_earliest = choice("lost_records", raw.lost_records.as_deref(), ["stop", "earliest"], &mut wrong);
        if raw.topics.is_empty() {
            wrong.push("topics: at least one is needed".to_owned());
        }
        let schema = Schema::built_in().map_err(|error| ConfigError(vec![error.to_string()]))?;
        let placeholder = raw.unavailable_value.unwrap_or_else(|| "__debezium_unavailable_value".to_owned());
        let mut topics = BTreeMap::new();
        for (name, topic) in raw.topics {
            let key = format!("topics.{name}");
            let types = types(&key, &topic.types, &mut wrong);
            if topic.records.is_empty() {
                wrong.push(format!("{key}.records: at least one is needed"));
            }
            let records = topic.records.iter().enumerate();
            let rules = records.filter_map(|(at, record)| rule(&format!("{key}.records[{at}]"), record, &suffix, &schema, &mut wrong));
            let reading = Reading {
                types,
                zone,
                placeholder: placeholder.clone(),
            };
            let rules = rules.collect();
            topics.insert(name, Topic { reading, rules });
        }
        if !wrong.is_empty() {
            return Err(ConfigError(wrong));
        }
        Ok(Config {
            kafka: raw.kafka,
            registry: raw.registry,
            restarts_at_earliest,
            topics,
        })
    }
}

fn types(key: &str, given: &BTreeMap<String, String>, wrong: &mut Vec<String>) -> BTreeMap<String, RowSchema> {
    let mut types = BTreeMap::new();
    for (column, name) in given {
        match Meaning::named(name) {
            Some(meaning) => {
                types.insert(column.clone(), RowSchema::of(meaning));
            }
            None => wrong.push(format!("{key}.types.{column}: `{name}` is no type such as `MicroTimestamp` or `Decimal(2)`")),
        }
    }
    types
}
