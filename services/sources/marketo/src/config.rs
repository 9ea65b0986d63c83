//! The operator's settings of one Marketo instance. The comments are the manual.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_connect::mapping::{Mapping, RuleError};
use millrace_marketo::Instance;
use millrace_model::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::mapping::{ActivityTypes, Mappings};

pub use millrace_connect::settings::ConfigError;

/// One instance as written. `client_id` and `client_secret` may be `file:` references; the code
/// that reads the file resolves them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The Munchkin account id, `AAA-BBB-CCC`. Part of every key, so that lead 42 of two instances
    /// never meet.
    pub munchkin: String,
    pub client_id: String,
    pub client_secret: String,
    /// The REST address; left out: `https://<munchkin>.mktorest.com`.
    #[serde(default)]
    pub url: Option<String>,
    /// Persons created before this are not loaded: an RFC 3339 instant or a date. Left out:
    /// 2010-01-01.
    #[serde(default)]
    pub created_from: Option<String>,
    /// How many days of activities the first load takes. Left out: 400, as long as events count by
    /// default.
    #[serde(default)]
    pub activity_days: Option<u32>,
    /// Time between two rounds of the change feeds when the day's calls suffice: `60s`.
    #[serde(default)]
    pub interval_seconds: Option<f64>,
    /// Time between two checks of a running extract; Marketo updates its status once a minute.
    #[serde(default)]
    pub extract_interval_seconds: Option<f64>,
    /// Calls per day of the instance, as Marketo sells them: 50,000.
    #[serde(default)]
    pub day_calls: Option<u64>,
    /// Calls per day left to other integrations; left out: half of them.
    #[serde(default)]
    pub reserve_calls: Option<u64>,
    /// Calls per day for this source or a sink of the same instance alone, by its name.
    #[serde(default)]
    pub shares: BTreeMap<String, u64>,
    /// The source instance of the CRM that Marketo is synchronised with,
    /// `00D000000000001.Salesforce`: contact, lead and account ids of the CRM become identities.
    #[serde(default)]
    pub crm: Option<String>,
    /// Static lists that are not read because audiences are written to them, by id.
    #[serde(default)]
    pub own_lists: Vec<u64>,
    /// Fields of persons that go to `extra` under their own names: a list, or `*` for all that no
    /// rule reads.
    #[serde(default)]
    pub custom_fields: Option<Value>,
    /// Rules over the built-in ones, by kind: `person`, `account`.
    #[serde(default)]
    pub mapping: BTreeMap<String, Map<String, Value>>,
    /// Activity types over the built-in ones: Marketo's id to an event type, `false` for none.
    /// Custom activities have ids from 100000 on.
    #[serde(default)]
    pub activities: BTreeMap<String, Value>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub instance: Instance,
    pub created_from: Timestamp,
    pub activity_days: u32,
    pub interval: Duration,
    pub extract_interval: Duration,
    pub crm: Option<String>,
    pub own_lists: Vec<u64>,
    pub mappings: Mappings,
    pub activities: ActivityTypes,
}

impl Config {
    /// Checks everything. No IO.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let instance = Instance::new(millrace_marketo::Raw {
            munchkin: raw.munchkin.clone(),
            client_id: raw.client_id.clone(),
            client_secret: raw.client_secret.clone(),
            url: raw.url.clone(),
            day_calls: raw.day_calls,
            reserve_calls: raw.reserve_calls,
            shares: raw.shares.clone(),
        });
        let instance = instance.map_err(|errors| wrong.extend(errors)).ok();
        let from = raw.created_from.as_deref().unwrap_or("2010-01-01");
        let created_from = Timestamp::parse(from)
            .map_err(|error| wrong.push(format!("created_from: {error}")))
            .unwrap_or_default();
        let interval = seconds("interval_seconds", raw.interval_seconds.unwrap_or(60.0), &mut wrong);
        let extract_interval = seconds("extract_interval_seconds", raw.extract_interval_seconds.unwrap_or(60.0), &mut wrong);
        let mappings = mappings(&raw, &mut wrong);
        let activities = ActivityTypes::over(&raw.activities).map_err(|error| wrong.push(error)).unwrap_or_default();
        match (instance, wrong.is_empty()) {
            (Some(instance), true) => Ok(Config {
                instance,
                created_from,
                activity_days: raw.activity_days.unwrap_or(400),
                interval,
                extract_interval,
                crm: raw.crm,
                own_lists: raw.own_lists,
                mappings,
                activities,
            }),
            _ => Err(ConfigError(wrong)),
        }
    }
}

fn seconds(key: &str, seconds: f64, wrong: &mut Vec<String>) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_else(|_| {
        wrong.push(format!("{key}: `{seconds}` is no time in seconds"));
        Duration::from_secs(60)
    })
}

fn mappings(raw: &Raw, wrong: &mut Vec<String>) -> Mappings {
    let mut own = raw.mapping.clone();
    if let Some(fields) = &raw.custom_fields {
        own.entry("person".to_owned())
            .or_default()
            .insert("extra".to_owned(), json!({"fields": fields}));
    }
    if let Some(kind) = own.keys().find(|kind| !matches!(kind.as_str(), "person" | "account")) {
        wrong.push(format!("mapping.{kind}: rules exist for `person` and `account`"));
    }
    let mut parse = |kind: &str| {
        let rules = own.get(kind).cloned().unwrap_or_default();
        Mapping::parse(&rules).unwrap_or_else(|errors: Vec<RuleError>| {
            wrong.extend(errors.into_iter().map(|error| format!("mapping.{kind}: {error}")));
            Mapping::default()
        })
    };
    Mappings::built_in().under(&parse("person"), &parse("account"))
}
