//! The operator's settings of one change stream. The comments are the manual.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use millrace_connect::mapping::{Mapping, RuleError};
use millrace_connect::settings::choice;
use millrace_model::{Schema, SourceKind, Text};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::envelope::Reading;
use crate::mapping::{ONE, Rule};
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

/// One kind of record as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecord {
    /// `person`, `account`, `account-link` …: the last part of the source topic's name.
    pub record: String,
    /// The columns that name the row, usually its primary key: a column or a list of them becomes
    /// `<values joined by ->@<instance>.<system>`. An expression gives the whole key. For an
    /// activity this is its `_id`.
    pub key: Value,
    /// Rows that have this record, as a condition of the mapping language: `{ field: account_id,
    /// exists: true }`. A row that stops to meet it withdraws the record. Left out: all rows.
    #[serde(default)]
    pub when: Option<Value>,
    /// Rules of the mapping language: contract fields from columns.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// `take`: a deleted row withdraws the record. `ignore`: it stays, for tables that are emptied
    /// from time to time. Left out: `take`.
    #[serde(default)]
    pub deletes: Option<String>,
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

/// Instance and system, which stand after the `@` of every key.
fn check_names(raw: &Raw, wrong: &mut Vec<String>) {
    if raw.instance.trim().is_empty() {
        wrong.push("instance: a name is needed, it is part of every key".to_owned());
    }
    let of_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    for (setting, name) in [("instance", Some(&raw.instance)), ("system", raw.system.as_ref())] {
        if let Some(name) = name.filter(|name| !name.trim().chars().all(of_name)) {
            wrong.push(format!(
                "{setting}: `{name}` is part of every key, `…@instance.system`; write letters, digits, `-` and `_`"
            ));
        }
    }
}

impl Config {
    /// Checks everything. No IO.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        check_names(&raw, &mut wrong);
        let suffix = format!("@{}.{}", raw.instance.trim(), raw.system.as_deref().unwrap_or("Database").trim());
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

fn rule(key: &str, raw: &RawRecord, suffix: &str, schema: &Schema, wrong: &mut Vec<String>) -> Option<Rule> {
    let kind = SourceKind::from_name(&raw.record);
    if kind.is_none() {
        let known = SourceKind::ALL.map(SourceKind::name).join(", ");
        wrong.push(format!("{key}.record: `{}` is no kind of record; known are {known}", raw.record));
    }
    let mut parse = |place: &str, rules: Map<String, Value>| {
        let parsed = Mapping::parse(&rules);
        let complain = |errors: Vec<RuleError>| wrong.extend(errors.into_iter().map(|error| format!("{key}.{place}: {}", error.detail)));
        parsed.map_err(complain).ok()
    };
    let own = parse("key", Map::from_iter([(ONE.to_owned(), key_expression(&raw.key, suffix))]));
    let when = raw.when.as_ref().map(|when| {
        let rule = json!({"when": when, "then": {"constant": true}});
        parse("when", Map::from_iter([(ONE.to_owned(), rule)]))
    });
    let fields = Mapping::parse(&raw.fields).map_err(|errors| wrong.extend(errors.iter().map(|error| format!("{key}.{error}"))));
    let ignored = choice(&format!("{key}.deletes"), raw.deletes.as_deref(), ["take", "ignore"], wrong);
    let (kind, own, fields) = (kind?, own?, fields.ok()?);
    for target in fields.targets() {
        let steps: Vec<Text> = target.split('.').map(Text::new).collect();
        if schema.record(kind).type_at(&steps).is_none() {
            wrong.push(format!(
                "{key}.fields: `{target}` is no field of {}; custom fields go under `extra.`",
                kind.name()
            ));
        }
    }
    if kind == SourceKind::AccountLink && !fields.targets().any(|target| target == "members") {
        wrong.push(format!("{key}.fields: a link needs `members`"));
    }
    if let Some(own) = kind.key_field()
        && fields
            .targets()
            .any(|target| target == own || target.strip_prefix(own).is_some_and(|rest| rest.starts_with('.')))
    {
        wrong.push(format!("{key}.fields: `{own}` comes from `key`"));
    }
    Some(Rule {
        kind,
        key: own,
        when: when.map(|when| when.unwrap_or_default()),
        fields,
        deletes: !ignored,
    })
}

/// A column or a list of columns in the form of an expression.
fn key_expression(key: &Value, suffix: &str) -> Value {
    match key {
        Value::String(_) => json!({"of": key, "suffix": suffix}),
        Value::Array(_) => json!({"of": {"all": key, "separator": "-"}, "suffix": suffix}),
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) => key.clone(),
    }
}
