//! The operator's settings of a LinkedIn destination. The comments are the manual.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_connect::budget::Limits;
use millrace_connect::secret::Confidential;
use millrace_model::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::mapping::Ids;

pub use millrace_connect::settings::ConfigError;

/// The newest version that this sink was written for.
const VERSION: &str = "202608";

/// One destination as written. Secrets may be `file:` references; the code that reads the file
/// resolves them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The ad account: its number, or `urn:li:sponsoredAccount:<number>`.
    pub account: String,
    /// The value that LinkedIn assigned to your app for `sourcePlatform`.
    pub source_platform: String,
    /// The app. Needed with a refresh token; with an access token alone they let the sink ask when it
    /// ends.
    #[serde(default)]
    pub client_id: String,
    #[serde(default)]
    pub client_secret: String,
    /// From the consent of a member who may change audiences of the account. It lives a year, and
    /// each access token that it brings two months.
    #[serde(default)]
    pub refresh_token: String,
    /// For apps without refresh tokens: renewed by hand every two months.
    #[serde(default)]
    pub access_token: String,
    /// The version of the interface, `YYYYMM`; left out: 202608. LinkedIn ends each after about a
    /// year; the status warns two months ahead.
    #[serde(default = "version")]
    pub version: String,
    /// What the destination's ids are. People: `email` (hashed here), `sha256`, `sha512` (hashed
    /// addresses), `google_aid`. Companies: `domain`, `name`, `page` (of LinkedIn), `organization`
    /// (its URN). Left out: `email`.
    #[serde(default)]
    pub ids: Ids,
    /// The segment of each audience, by its id, or the name that it gets. An audience that is not
    /// named here gets a segment of the same name.
    #[serde(default)]
    pub segments: BTreeMap<String, Value>,
    /// Whether missing segments are created. Left out: they are.
    #[serde(default = "yes")]
    pub create_segments: bool,
    /// Members of one call. Left out: 5000.
    #[serde(default = "records_per_call")]
    pub records_per_call: usize,
    /// Calls in any minute, of all destinations with the same account and app in this process. Left
    /// out: 300, where LinkedIn allows 500.
    #[serde(default = "calls_per_minute")]
    pub calls_per_minute: u32,
    /// Calls a day, as the developer portal shows the limit; left out: as many as LinkedIn answers.
    #[serde(default)]
    pub day_calls: Option<u64>,
    /// How long a change waits for others to fill a call. Left out: 60. LinkedIn itself takes hours.
    #[serde(default = "wait_seconds")]
    pub wait_seconds: f64,
    /// The address of the interface; left out: LinkedIn's.
    #[serde(default)]
    pub url: Option<String>,
    /// The address of the service that grants tokens; left out: LinkedIn's.
    #[serde(default)]
    pub auth_url: Option<String>,
}

fn version() -> String {
    VERSION.to_owned()
}

const fn yes() -> bool {
    true
}

const fn records_per_call() -> usize {
    5_000
}

const fn calls_per_minute() -> u32 {
    300
}

const fn wait_seconds() -> f64 {
    60.0
}

/// A segment by id, or the name of one that is found or created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentRef {
    Id(u64),
    Name(String),
}

/// What the sink proves itself with.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Asks for access tokens.
    Refresh {
        client_id: String,
        client_secret: Confidential,
        refresh_token: Confidential,
    },
    /// One access token; the app, where it is known, can ask when it ends.
    Access {
        access_token: Confidential,
        app: Option<(String, Confidential)>,
    },
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `urn:li:sponsoredAccount:<number>`.
    pub account: String,
    pub source_platform: String,
    pub credentials: Credentials,
    /// `YYYYMM`.
    pub version: String,
    /// When LinkedIn is expected to end the version.
    pub version_ends: Timestamp,
    pub ids: Ids,
    pub segments: BTreeMap<String, SegmentRef>,
    pub create_segments: bool,
    pub records_per_call: usize,
    pub limits: Limits,
    pub wait: Duration,
    pub url: Url,
    pub auth_url: Url,
}

impl Config {
    /// Checks everything. No IO. `attributes`: the names under which the destination sends fields.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw, attributes: &[&str]) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let account = account(&raw.account, &mut wrong);
        let credentials = credentials(&raw, &mut wrong);
        let version_ends = version_ends(&raw.version, &mut wrong);
        let url = address("url", raw.url.as_deref().unwrap_or("https://api.linkedin.com"), &mut wrong);
        let auth_url = address("auth_url", raw.auth_url.as_deref().unwrap_or("https://www.linkedin.com"), &mut wrong);
        if raw.source_platform.is_empty() {
            wrong.push("source_platform: the value that LinkedIn assigned is needed".to_owned());
        }
        if !(1..=5_000).contains(&raw.records_per_call) {
            wrong.push(format!("records_per_call: {} is not in 1 to 5000", raw.records_per_call));
        }
        let known = raw.ids.attributes();
        for name in attributes.iter().filter(|name| !known.contains(name)) {
            wrong.push(format!("attributes.{name}: these ids can be sent with {} only", known.join(", ")));
        }
        let mut segments = BTreeMap::new();
        for (audience, segment) in raw.segments {
            match (segment.as_u64(), segment.as_str()) {
                (Some(id), _) => drop(segments.insert(audience, SegmentRef::Id(id))),
                (_, Some(name)) if !name.is_empty() => drop(segments.insert(audience, SegmentRef::Name(name.to_owned()))),
                _ => wrong.push(format!("segments.{audience}: {segment} is neither an id nor a name")),
            }
        }
        let wait = Duration::try_from_secs_f64(raw.wait_seconds).ok();
        if wait.is_none() {
            wrong.push(format!("wait_seconds: `{}` is no time in seconds", raw.wait_seconds));
        }
        match (account, credentials, version_ends, url, auth_url, wait) {
            (Some(account), Some(credentials), Some(version_ends), Some(url), Some(auth_url), Some(wait)) if wrong.is_empty() => Ok(Config {
                account,
                source_platform: raw.source_platform,
                credentials,
                version: raw.version,
                version_ends,
                ids: raw.ids,
                segments,
                create_segments: raw.create_segments,
                records_per_call: raw.records_per_call,
                limits: limits(raw.calls_per_minute, raw.day_calls),
                wait,
                url,
                auth_url,
            }),
            _ => Err(ConfigError(wrong)),
        }
    }

    /// The key under which all connectors of a process find the one budget of this account and app.
    pub fn budget_key(&self) -> String {
        let app = match &self.credentials {
            Credentials::Refresh { client_id, .. } => client_id,
            Credentials::Access { app: Some((client_id, _)), .. } => client_id,
            Credentials::Access { app: None, .. } => "",
        };
        format!("linkedin {} {app}", self.account)
    }
}

fn limits(calls_per_minute: u32, day_calls: Option<u64>) -> Limits {
    Limits {
        window_calls: calls_per_minute.max(1),
        window: Duration::from_secs(60),
        concurrent: 1,
        day_calls,
        day_zone: chrono_tz::UTC,
        reserve: 0,
        shares: BTreeMap::new(),
    }
}

fn account(text: &str, wrong: &mut Vec<String>) -> Option<String> {
    let number = text.trim().trim_start_matches("urn:li:sponsoredAccount:");
    if number.is_empty() || !number.bytes().all(|sign| sign.is_ascii_digit()) {
        wrong.push(format!("account: `{text}` is no number of an ad account"));
        return None;
    }
    Some(format!("urn:li:sponsoredAccount:{number}"))
}

fn credentials(raw: &Raw, wrong: &mut Vec<String>) -> Option<Credentials> {
    let app = (!raw.client_id.is_empty() && !raw.client_secret.is_empty()).then(|| (raw.client_id.clone(), Confidential::new(&raw.client_secret)));
    match (raw.refresh_token.is_empty(), raw.access_token.is_empty(), app) {
        (false, true, Some((client_id, client_secret))) => Some(Credentials::Refresh {
            client_id,
            client_secret,
            refresh_token: Confidential::new(&raw.refresh_token),
        }),
        (true, false, app) => Some(Credentials::Access {
            access_token: Confidential::new(&raw.access_token),
            app,
        }),
        (false, true, None) => {
            wrong.push("refresh_token: `client_id` and `client_secret` are needed with it".to_owned());
            None
        }
        _ => {
            wrong.push("refresh_token: either this or `access_token` is needed, not both".to_owned());
            None
        }
    }
}

/// Versions live about a year: that of August 2025 ended on 17 August 2026, that of October on the
/// 15th.
fn version_ends(version: &str, wrong: &mut Vec<String>) -> Option<Timestamp> {
    let month = (version.len() == 6).then(|| Some((version.get(..4)?.parse::<i32>().ok()?, version.get(4..)?.parse::<u32>().ok()?)));
    let end = month
        .flatten()
        .and_then(|(year, month)| chrono::NaiveDate::from_ymd_opt(year.checked_add(1)?, month, 15));
    if end.is_none() {
        wrong.push(format!("version: `{version}` is not of the form YYYYMM"));
    }
    end.map(|end| Timestamp(end.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()))
}

fn address(key: &str, text: &str, wrong: &mut Vec<String>) -> Option<Url> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    if url.is_none() {
        wrong.push(format!("{key}: `{text}` is no address that begins with http:// or https://"));
    }
    url
}
