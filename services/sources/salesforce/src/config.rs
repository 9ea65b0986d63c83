//! The operator's settings of one org. The comments are the manual.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::EncodingKey;
use millrace_connect::budget::Limits;
use millrace_connect::mapping::Mapping;
use millrace_connect::secret::Confidential;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use crate::mapping::{Object, Rules};

pub use millrace_connect::settings::ConfigError;

/// What an org of the smallest edition with an API allows in 24 hours, licences apart.
const DAY_CALLS: u64 = 100_000;

/// The calls at the same time that a Developer org allows.
const CONCURRENT: u32 = 5;

/// One org as written. `client_secret` and `private_key` may be `file:` references; the code that
/// reads the file resolves them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The org's own domain, `https://acme.my.salesforce.com`; with a private key also
    /// `https://login.salesforce.com`.
    pub url: String,
    /// The consumer key of the connected app.
    pub client_id: String,
    /// The consumer secret: the app acts as the user that its client-credentials flow names.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// The name of the user to act as, where the app has a certificate.
    #[serde(default)]
    pub user: Option<String>,
    /// The private key of that certificate, RSA in PEM.
    #[serde(default)]
    pub private_key: Option<String>,
    /// For whom assertions are signed. Left out: `https://test.salesforce.com` for addresses of
    /// sandboxes, otherwise `https://login.salesforce.com`.
    #[serde(default)]
    pub audience: Option<String>,
    /// The version of the API. Left out: `60.0`.
    #[serde(default)]
    pub version: Option<String>,
    /// Time between two rounds of reading changes when the day's calls suffice: 30.
    #[serde(default)]
    pub interval_seconds: Option<f64>,
    /// How far before the last round each round begins: 300. A transaction that ran longer before
    /// it committed is missed.
    #[serde(default)]
    pub overlap_seconds: Option<f64>,
    /// Time between two checks of a running query job: 5.
    #[serde(default)]
    pub job_interval_seconds: Option<f64>,
    /// Time between two readings of the log of deletions, which names records that left the recycle
    /// bin before a round saw them: 3600.
    #[serde(default)]
    pub deletions_interval_seconds: Option<f64>,
    /// Rows of one page of a query job: 2000. They are appended in one transaction.
    #[serde(default)]
    pub page_rows: Option<u32>,
    /// Calls in 24 hours. Left out: as many as the org says that it allows.
    #[serde(default)]
    pub day_calls: Option<u64>,
    /// Calls per day left to other integrations; left out: half of them.
    #[serde(default)]
    pub reserve_calls: Option<u64>,
    /// Calls per day for this source alone, by its name.
    #[serde(default)]
    pub shares: BTreeMap<String, u64>,
    /// The objects to read, by Salesforce's names. Left out: all that this source knows and the user
    /// may read.
    #[serde(default)]
    pub objects: Option<Vec<String>>,
    /// The currency of an org that has one currency. Left out: the deployment's default.
    #[serde(default)]
    pub currency: Option<String>,
    /// Fields that go to `extra` under their own names, by object: a list, or `*` for all custom
    /// fields that no rule reads.
    #[serde(default)]
    pub custom_fields: BTreeMap<String, Value>,
    /// Rules over the built-in ones, by object.
    #[serde(default)]
    pub mapping: BTreeMap<String, Map<String, Value>>,
}

/// How the source proves who it is.
#[derive(Clone)]
pub enum Credentials {
    Secret(Confidential),
    Key { user: String, audience: String, key: EncodingKey },
}

/// Shows the kind and nothing of the secret.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::Secret(_) => "a client secret",
            Credentials::Key { .. } => "a private key",
        })
    }
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub url: Url,
    pub client_id: String,
    pub credentials: Credentials,
    pub version: String,
    pub interval: Duration,
    pub overlap: Duration,
    pub job_interval: Duration,
    pub deletions_interval: Duration,
    pub page_rows: u32,
    pub limits: Limits,
    /// The org's own word on its calls counts, because the operator gave none.
    pub learns_limits: bool,
    pub objects: Vec<Object>,
    pub currency: Option<String>,
    pub rules: Rules,
}

impl Config {
    /// Checks everything. No IO.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let url = Url::parse(&raw.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
        if url.is_none() {
            wrong.push(format!("url: `{}` is no address that begins with http:// or https://", raw.url));
        }
        let credentials = credentials(&raw, &mut wrong);
        let version = raw.version.clone().unwrap_or_else(|| "60.0".to_owned());
        if !version.split_once('.').is_some_and(|(whole, part)| whole.parse::<u16>().is_ok() && part == "0") {
            wrong.push(format!("version: `{version}` is no version of the API such as `60.0`"));
        }
        let mut seconds = |key: &str, given: Option<f64>, usual: f64| seconds(key, given.unwrap_or(usual), &mut wrong);
        let interval = seconds("interval_seconds", raw.interval_seconds, 30.0);
        let overlap = seconds("overlap_seconds", raw.overlap_seconds, 300.0);
        let job_interval = seconds("job_interval_seconds", raw.job_interval_seconds, 5.0);
        let deletions_interval = seconds("deletions_interval_seconds", raw.deletions_interval_seconds, 3_600.0);
        if overlap < Duration::from_secs(2) {
            wrong.push("overlap_seconds: at least 2, because Salesforce counts whole seconds".to_owned());
        }
        let objects = objects(raw.objects.as_deref(), &mut wrong);
        let rules = rules(&raw, &mut wrong);
        let day_calls = raw.day_calls.unwrap_or(DAY_CALLS);
        let limits = Limits {
            // Salesforce counts calls by the day alone.
            window_calls: 1_000,
            window: Duration::from_secs(1),
            concurrent: CONCURRENT,
            day_calls: Some(day_calls),
            day_zone: chrono_tz::UTC,
            reserve: raw.reserve_calls.unwrap_or(day_calls / 2),
            shares: raw.shares,
        };
        match (url, credentials, wrong.is_empty()) {
            (Some(url), Some(credentials), true) => Ok(Config {
                url,
                client_id: raw.client_id,
                credentials,
                version,
                interval,
                overlap,
                job_interval,
                deletions_interval,
                page_rows: raw.page_rows.unwrap_or(2_000).max(1),
                limits,
                learns_limits: raw.day_calls.is_none(),
                objects,
                currency: raw.currency,
                rules,
            }),
            _ => Err(ConfigError(wrong)),
        }
    }

    /// The key under which all connectors of a process find the one budget of this org.
    pub fn budget_key(&self) -> String {
        format!("salesforce {}", self.url.host_str().unwrap_or_default())
    }
}

fn credentials(raw: &Raw, wrong: &mut Vec<String>) -> Option<Credentials> {
    match (&raw.client_secret, &raw.user, &raw.private_key) {
        (Some(secret), None, None) => Some(Credentials::Secret(Confidential::new(secret.clone()))),
        (None, Some(user), Some(pem)) => {
            let key = EncodingKey::from_rsa_pem(pem.as_bytes());
            let key = key.map_err(|error| wrong.push(format!("private_key: no RSA key in PEM: {error}"))).ok()?;
            let usual = if raw.url.contains(".sandbox.") || raw.url.contains("//test.") {
                "https://test.salesforce.com"
            } else {
                "https://login.salesforce.com"
            };
            Some(Credentials::Key {
                user: user.clone(),
                audience: raw.audience.clone().unwrap_or_else(|| usual.to_owned()),
                key,
            })
        }
        _ => {
            wrong.push("client_secret: give either `client_secret`, or `user` and `private_key`".to_owned());
            None
        }
    }
}

fn seconds(key: &str, seconds: f64, wrong: &mut Vec<String>) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_else(|_| {
        wrong.push(format!("{key}: `{seconds}` is no time in seconds"));
        Duration::from_secs(60)
    })
}

fn object(key: &str, name: &str, wrong: &mut Vec<String>) -> Option<Object> {
    let known = Object::ALL.into_iter().find(|object| object.name() == name);
    if known.is_none() {
        let names = Object::ALL.map(Object::name).join(", ");
        wrong.push(format!("{key}: `{name}` is no object that this source reads; known are {names}"));
    }
    known
}

fn objects(names: Option<&[String]>, wrong: &mut Vec<String>) -> Vec<Object> {
    let Some(names) = names else {
        return Object::ALL.to_vec();
    };
    let chosen: Vec<Object> = names.iter().filter_map(|name| object("objects", name, wrong)).collect();
    // In the order of loading, whatever the order of writing.
    Object::ALL.into_iter().filter(|object| chosen.contains(object)).collect()
}

/// The operator's rules as text, checked; the fields that `*` stands for are known only with the
/// org's description of the object.
fn rules(raw: &Raw, wrong: &mut Vec<String>) -> Rules {
    let mut rules = Rules::built_in();
    for (name, own) in &raw.mapping {
        let key = format!("mapping.{name}");
        let Some(object) = object(&key, name, wrong) else { continue };
        if let Err(errors) = Mapping::parse(own) {
            wrong.extend(errors.into_iter().map(|error| format!("{key}: {error}")));
        }
        rules.over(object, own.clone());
    }
    for (name, fields) in &raw.custom_fields {
        let key = format!("custom_fields.{name}");
        let Some(object) = object(&key, name, wrong) else { continue };
        let own = Map::from_iter([("extra".to_owned(), json!({"fields": fields}))]);
        if let Err(errors) = Mapping::parse(&own) {
            wrong.extend(errors.into_iter().map(|error| format!("{key}: {}", error.detail)));
        }
        rules.over(object, own);
    }
    rules
}
