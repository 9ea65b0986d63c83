//! What an operator writes for a program of others. The comments are the manual.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use millrace_connect::row::{RawRecord, Rule, key_suffix, rule};
use millrace_connect::secret::Confidential;
use millrace_connect::settings::{ConfigError, choice};
use millrace_model::Schema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A source as written. `config` and `env` may hold `file:` references; the code that reads the file
/// resolves them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The program and its first arguments: `["tap-postgres"]`. It is looked for in `PATH`.
    pub command: Vec<String>,
    /// The foreign system, as the middle part of keys: `7@crm1.HubSpot`.
    pub instance: String,
    /// The kind of system, as the last part of keys. Left out: `Singer` or `Airbyte`.
    #[serde(default)]
    pub system: Option<String>,
    /// The program's own configuration. It reaches the program in a file that this user alone can
    /// read. A value `file:<path>` is read from that file, at any depth.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Variables of the program's environment beside those of this process. Variables that begin
    /// with `MILLRACE_` are not passed on.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// From the beginning of one run to the beginning of the next: `15m`. A run that takes longer is
    /// followed by the next one at once. Left out: `15m`.
    #[serde(default)]
    pub interval: Option<String>,
    /// A program that writes nothing for this long is ended and started again. Left out: `30m`.
    #[serde(default)]
    pub silence_max: Option<String>,
    /// Streams that have no entry under `streams`: `ignore`, or `refuse` (the source does not run
    /// while the program offers one). Left out: `ignore`.
    #[serde(default)]
    pub unmapped: Option<String>,
    /// Singer alone. `discover`: the tap is asked which streams it has, and the configured ones are
    /// selected. `none`: the tap knows no catalogue. Anything else is the path of a catalogue file,
    /// in which the configured streams are selected. Left out: `discover`.
    #[serde(default)]
    pub catalog: Option<String>,
    /// The streams to read, each with what its records become.
    pub streams: BTreeMap<String, RawStream>,
}

/// One stream as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawStream {
    /// `full`: every run lists the whole stream, and what is no longer listed is withdrawn.
    /// `incremental`: a run reads what changed. `log` (Singer alone): a run reads the log of the
    /// database. Left out: for Singer as the tap has it, for Airbyte `incremental` where the
    /// connector can.
    #[serde(default)]
    pub mode: Option<String>,
    /// The column that grows with every change, for `incremental`. Left out: the program's choice.
    #[serde(default)]
    pub cursor: Option<String>,
    /// The namespace of the stream, for Airbyte connectors that have several streams of one name.
    #[serde(default)]
    pub namespace: Option<String>,
    /// What a full listing without any record means. `keep`: nothing, it is more likely that a right
    /// was lost. `take`: everything is gone. Left out: `keep`.
    #[serde(default)]
    pub empty_listing: Option<String>,
    /// What a record becomes: one entry per kind of record. The columns are the record's fields.
    pub records: Vec<RawRecord>,
}

/// How a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of it, each time.
    Full,
    /// What changed.
    Incremental,
    /// The log of the database.
    Log,
}

impl Mode {
    fn parse(word: &str) -> Option<Mode> {
        match word {
            "full" => Some(Mode::Full),
            "incremental" => Some(Mode::Incremental),
            "log" => Some(Mode::Log),
            _ => None,
        }
    }
}

/// How one stream is read and mapped.
#[derive(Clone, Debug)]
pub struct Stream {
    /// `None`: the program's choice.
    pub mode: Option<Mode>,
    /// The cursor column; `None`: the program's choice.
    pub cursor: Option<String>,
    /// `None`: the stream of this name, whatever its namespace.
    pub namespace: Option<String>,
    /// Whether a listing without records withdraws everything.
    pub takes_empty: bool,
    /// What a record becomes.
    pub rules: Vec<Rule>,
}

/// A checked configuration.
#[derive(Clone)]
pub struct Config {
    /// The program and its first arguments; not empty.
    pub command: Vec<String>,
    /// The program's own configuration, secrets revealed: never for a log.
    pub config: Map<String, Value>,
    /// Variables for the program.
    pub env: Vec<(String, Confidential)>,
    /// What must not appear in logs.
    pub secrets: Vec<Confidential>,
    /// From the beginning of one run to that of the next.
    pub interval: Duration,
    /// A silent program is ended after this.
    pub silence_max: Duration,
    /// Whether a stream without an entry stops the source.
    pub refuses_unmapped: bool,
    /// As written.
    pub catalog: Option<String>,
    /// By name.
    pub streams: BTreeMap<String, Stream>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("command", &self.command)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Checks everything. No IO. `secrets` are values in `raw` that must not appear in logs;
    /// `system` is the kind of system where none is written, `modes` are those of the protocol.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw, secrets: Vec<Confidential>, system: &str, modes: &[Mode]) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let suffix = key_suffix(&raw.instance, raw.system.as_deref().unwrap_or(system), &mut wrong);
        if raw.command.first().is_none_or(|program| program.trim().is_empty()) {
            wrong.push("command: a program is needed, such as `[\"tap-postgres\"]`".to_owned());
        }
        if raw.streams.is_empty() {
            wrong.push("streams: at least one is needed".to_owned());
        }
        let interval = duration("interval", raw.interval.as_deref().unwrap_or("15m"), &mut wrong);
        let silence_max = duration("silence_max", raw.silence_max.as_deref().unwrap_or("30m"), &mut wrong);
        let refuses_unmapped = choice("unmapped", raw.unmapped.as_deref(), ["ignore", "refuse"], &mut wrong);
        let schema = Schema::built_in().map_err(|error| ConfigError(vec![error.to_string()]))?;
        let streams = raw.streams.into_iter().map(|(name, stream)| {
            let stream = checked(&format!("streams.{name}"), stream, &suffix, &schema, modes, &mut wrong);
            (name, stream)
        });
        let streams = streams.collect();
        if !wrong.is_empty() {
            return Err(ConfigError(wrong));
        }
        Ok(Config {
            command: raw.command,
            config: raw.config,
            env: raw.env.into_iter().map(|(name, value)| (name, Confidential::new(value))).collect(),
            secrets,
            interval,
            silence_max,
            refuses_unmapped,
            catalog: raw.catalog,
            streams,
        })
    }
}

fn duration(key: &str, text: &str, wrong: &mut Vec<String>) -> Duration {
    let parsed = humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero());
    parsed.unwrap_or_else(|| {
        wrong.push(format!("{key}: `{text}` is no time such as `15m`"));
        Duration::from_secs(900)
    })
}

fn checked(key: &str, raw: RawStream, suffix: &str, schema: &Schema, modes: &[Mode], wrong: &mut Vec<String>) -> Stream {
    let mode = raw.mode.as_deref().and_then(|word| {
        let mode = Mode::parse(word).filter(|mode| modes.contains(mode));
        if mode.is_none() {
            let known = if modes.contains(&Mode::Log) {
                "`full`, `incremental` and `log`"
            } else {
                "`full` and `incremental`"
            };
            wrong.push(format!("{key}.mode: `{word}` is no mode; known are {known}"));
        }
        mode
    });
    if raw.records.is_empty() {
        wrong.push(format!("{key}.records: at least one is needed"));
    }
    let takes_empty = choice(&format!("{key}.empty_listing"), raw.empty_listing.as_deref(), ["keep", "take"], wrong);
    let records = raw.records.iter().enumerate();
    let rules = records.filter_map(|(at, record)| rule(&format!("{key}.records[{at}]"), record, suffix, schema, wrong));
    Stream {
        mode,
        cursor: raw.cursor,
        namespace: raw.namespace,
        takes_empty,
        rules: rules.collect(),
    }
}
