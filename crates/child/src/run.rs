//! A run: what the lines of a program become, until it ends.
//!
//! Lines are taken in their order, and a batch is always a prefix of what was not committed yet:
//! records, and the last state among them. A state is thus never committed before the records that
//! it covers, however a program mixes them; records without a state are read again after a crash,
//! under the same keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_connect::mapping::Fields;
use millrace_connect::row::{self, Change, Operation};
use millrace_connect::source::{Batch, Emitted, Mark, RECORD_BYTES_MAX, Rows, SourceError, Status, Sweep};
use millrace_model::{SourceKind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::mask::Masks;
use crate::process::{Folder, Line, Process};
use crate::protocol::{Message, Protocol, Row};
use crate::settings::{Config, Stream};

/// A batch is full with this number of records and marks, or bytes.
const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;

/// How long what was read waits for more.
const GATHERED_WITHIN: Duration = Duration::from_millis(250);

/// How long a program that has ended may hold its output open by what it started.
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// How much of a line that is no message the log shows.
const SHOWN_CHARACTERS: usize = 200;

/// What a run leaves in the row `sync` until it is complete: a program that ends in the middle is
/// started again within the same run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// The run's number: when it began, epoch milliseconds.
    pub run: i64,
    /// A line was lost or could not be read: no listing of this run is trusted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubted: bool,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<String, Seen>,
}

/// What a run has seen of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// It has a record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listed: bool,
    /// The version of its last record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The version that the program activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<i64>,
    /// It has a row of which it cannot be said which record it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub illegible: bool,
    /// Whether the program says that it was read to its end; `None`: it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
}

impl Sync {
    pub fn of(rows: &Rows) -> Option<Sync> {
        serde_json::from_value(rows.get("sync")?.clone()).ok()
    }
}

/// A started program, and what was read of it.
pub struct Run {
    process: Process,
    pub folder: Folder,
    /// The configuration that it was started with.
    pub given: Map<String, Value>,
    pub sync: Sync,
    pending: Batch,
    bytes: usize,
    /// When the oldest pending line came.
    since: Option<Instant>,
    heard_at: Instant,
    exited_at: Option<Instant>,
    /// Why we end it.
    failed: Option<SourceError>,
    /// What went wrong, in its own words.
    said: Option<SourceError>,
    /// A configuration that the program handed over.
    pub changed: Option<Map<String, Value>>,
    garbage: u64,
    /// Streams without an entry, each reported once.
    ignored: BTreeMap<String, u64>,
}

/// What reading on came to.
pub enum Filled {
    /// Something to commit.
    Batch,
    /// The program has ended; `Err`: not well.
    Ended(Result<(), SourceError>),
}

/// What a line is judged by.
pub struct Judge<'a> {
    pub config: &'a Config,
    pub protocol: &'a dyn Protocol,
    pub status: &'a Arc<Status>,
    pub masks: &'a Masks,
    pub now: Timestamp,
}

impl Run {
    pub fn new(process: Process, folder: Folder, sync: Sync, given: Map<String, Value>) -> Run {
        Run {
            process,
            folder,
            given,
            sync,
            pending: Batch::default(),
            bytes: 0,
            since: None,
            heard_at: Instant::now(),
            exited_at: None,
            failed: None,
            said: None,
            changed: None,
            garbage: 0,
            ignored: BTreeMap::new(),
        }
    }

    /// Reads until there is a batch or the program has ended. May be dropped at any await: nothing
    /// that was read is lost.
    pub async fn fill(&mut self, judge: &Judge<'_>) -> Filled {
        loop {
            let gathered = self.since.map(|since| GATHERED_WITHIN.saturating_sub(since.elapsed()));
            if self.full() || self.failed.is_some() && self.since.is_some() || gathered == Some(Duration::ZERO) {
                return Filled::Batch;
            }
            if let Some(error) = self.failed.take() {
                self.process.kill();
                return Filled::Ended(Err(error));
            }
            match tokio::time::timeout(gathered.unwrap_or(GATHERED_WITHIN), self.process.lines.recv()).await {
                Ok(Some(chunk)) => {
                    self.heard_at = Instant::now();
                    chunk.into_iter().for_each(|line| self.take(line, judge));
                }
                Ok(None) if self.since.is_some() => return Filled::Batch,
                Ok(None) => return Filled::Ended(self.end(judge).await),
                Err(_) => self.idle(judge),
            }
        }
    }

    fn full(&self) -> bool {
        self.pending.records.len() + self.pending.marks.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    async fn end(&mut self, judge: &Judge<'_>) -> Result<(), SourceError> {
        let ended = self.process.end().await;
        if let Some(said) = self.said.take() {
            return Err(said);
        }
        ended.map_err(|reason| SourceError::Retry {
            reason: judge.masks.apply(&reason).into(),
            after: None,
        })
    }

    /// Nothing was heard for a moment.
    fn idle(&mut self, judge: &Judge<'_>) {
        if self.process.exited() {
            let since = *self.exited_at.get_or_insert_with(Instant::now);
            if since.elapsed().min(self.heard_at.elapsed()) > DRAINED_WITHIN {
                let reason = self.process.failure("has ended, but what it started holds its output open");
                self.fail(reason, judge);
            }
        } else if self.heard_at.elapsed() > judge.config.silence_max {
            let reason = self
                .process
                .failure(&format!("has written nothing for {} s", judge.config.silence_max.as_secs()));
            self.fail(reason, judge);
        }
    }

    fn fail(&mut self, reason: String, judge: &Judge<'_>) {
        self.failed.get_or_insert_with(|| SourceError::Retry {
            reason: judge.masks.apply(&reason).into(),
            after: None,
        });
    }

    /// What is ready to be committed, with the row of the run.
    pub fn batch(&mut self) -> Batch {
        self.bytes = 0;
        self.since = None;
        let mut batch = std::mem::take(&mut self.pending);
        batch.rows.push(("sync".to_owned(), serde_json::to_value(&self.sync).ok()));
        batch
    }

    /// What a complete run leaves: sweeps of its full listings.
    pub fn completed(&self, judge: &Judge<'_>) -> Vec<Sweep> {
        let streams = judge.config.streams.iter();
        streams.filter_map(|(name, stream)| self.swept(name, stream, judge)).collect()
    }

    fn swept(&self, name: &str, stream: &Stream, judge: &Judge<'_>) -> Option<Sweep> {
        let seen = self.sync.streams.get(name);
        let keep = match seen.and_then(|seen| seen.version) {
            // The program numbers its listings, and says which of them is whole.
            Some(version) => seen.and_then(|seen| seen.activated).filter(|activated| *activated == version)?,
            None if judge.protocol.lists_all(name) => self.sync.run,
            None => seen.filter(|seen| !seen.listed).and_then(|seen| seen.activated)?,
        };
        let refuse = |reason: &str| {
            judge.status.request("listing_not_taken");
            tracing::warn!(source = judge.status.name(), stream = name, "{reason}; nothing is withdrawn");
            None
        };
        match seen {
            None => refuse("the program did not offer the stream"),
            Some(_) if self.sync.doubted => refuse("a line of the run could not be read, so its listings are not trusted"),
            Some(seen) if seen.illegible => refuse("the key of a row could not be read, so it may be any of them"),
            Some(seen) if seen.complete == Some(false) => refuse("the program did not read the stream to its end"),
            Some(seen) if !seen.listed && !stream.takes_empty => refuse("the listing is empty; `empty_listing = \"take\"` takes it"),
            Some(_) => Some(Sweep {
                listing: name.to_owned(),
                keep,
            }),
        }
    }

    fn take(&mut self, line: Line, judge: &Judge<'_>) {
        if self.failed.is_some() {
            return;
        }
        let text = match line {
            Line::Text(text) => text,
            Line::TooLong(bytes) => return self.not_a_message(&format!("a line of {bytes} bytes"), true, judge),
        };
        if text.trim_ascii().is_empty() {
            return;
        }
        self.bytes += text.len();
        let message = serde_json::from_slice(&text).ok().and_then(|line| judge.protocol.message(line));
        match message {
            Some(message) => self.message(message, judge),
            None => {
                let trimmed = text.trim_ascii();
                // A part of a line whose rest was written elsewhere may have been a record.
                let broken = trimmed.iter().any(|byte| matches!(byte, b'{' | b'}'));
                self.not_a_message(&String::from_utf8_lossy(trimmed), broken, judge);
            }
        }
    }

    /// Logged and counted, never a stop.
    fn not_a_message(&mut self, text: &str, broken: bool, judge: &Judge<'_>) {
        judge.status.request("line_not_read");
        self.garbage += 1;
        if broken && !self.sync.doubted {
            self.sync.doubted = true;
            self.touched();
        }
        if self.garbage == 1 || broken {
            let shown: String = judge.masks.apply(text).chars().take(SHOWN_CHARACTERS).collect();
            tracing::warn!(source = judge.status.name(), line = shown, "a line is no message of the protocol");
        }
    }

    fn touched(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn seen(&mut self, stream: &str) -> &mut Seen {
        self.sync.streams.entry(stream.to_owned()).or_default()
    }

    fn message(&mut self, message: Message, judge: &Judge<'_>) {
        match message {
            Message::Record(row) => self.record(*row, judge),
            Message::Stream(stream) => {
                if self.known(&stream, judge) {
                    self.seen(&stream);
                }
            }
            Message::State { row, value } => self.state(row, value, judge),
            Message::Activate { stream, version } => {
                if self.known(&stream, judge) {
                    self.seen(&stream).activated = Some(version);
                    self.touched();
                }
            }
            Message::Status { stream, complete } => {
                if self.known(&stream, judge) {
                    self.seen(&stream).complete = Some(complete);
                    self.touched();
                }
            }
            Message::Config(config) => {
                self.changed = Some(config);
                self.touched();
            }
            Message::Log { loud, text } => {
                let text = judge.masks.apply(&text);
                if loud {
                    tracing::warn!(source = judge.status.name(), "{text}");
                } else {
                    tracing::debug!(source = judge.status.name(), "{text}");
                }
            }
            Message::Failed { text, denied } => {
                let reason = judge.masks.apply(&text).into();
                self.said.get_or_insert(if denied {
                    SourceError::Denied(reason)
                } else {
                    SourceError::Retry { reason, after: None }
                });
            }
            Message::Nothing => {}
        }
    }

    fn state(&mut self, row: String, value: Value, judge: &Judge<'_>) {
        let bytes = value.to_string().len();
        if bytes > RECORD_BYTES_MAX {
            let reason = format!("the program's state has {bytes} bytes, {RECORD_BYTES_MAX} are possible");
            self.failed.get_or_insert(SourceError::Refused(reason.into()));
            return;
        }
        judge.status.request("state");
        self.pending.rows.retain(|(name, _)| *name != row);
        self.pending.rows.push((row, Some(value)));
        self.touched();
    }

    /// Whether a stream has an entry; otherwise it is counted, or stops the run.
    fn known(&mut self, stream: &str, judge: &Judge<'_>) -> bool {
        if judge.config.streams.contains_key(stream) {
            return true;
        }
        if judge.config.refuses_unmapped {
            let reason = format!("stream `{stream}` has no entry under `streams`, and `unmapped` is `refuse`");
            self.failed.get_or_insert(SourceError::Refused(reason.into()));
            return false;
        }
        let count = self.ignored.entry(stream.to_owned()).or_default();
        if *count == 0 {
            tracing::info!(
                source = judge.status.name(),
                stream,
                "the stream has no entry under `streams`, and is passed over"
            );
        }
        *count += 1;
        false
    }

    fn record(&mut self, row: Row, judge: &Judge<'_>) {
        if !self.known(&row.stream, judge) {
            judge.status.request("record_passed_over");
            return;
        }
        let Some(stream) = judge.config.streams.get(&row.stream) else { return };
        if stream.namespace.is_some() && stream.namespace != row.namespace {
            return judge.status.request("record_passed_over");
        }
        self.touched();
        let version = row.version;
        let seen = self.seen(&row.stream);
        seen.listed = true;
        seen.version = version.or(seen.version);
        let lists_all = judge.protocol.lists_all(&row.stream);
        let listing = if lists_all || version.is_some() {
            Some(version.unwrap_or(self.sync.run))
        } else {
            None
        };
        let mapped = mapped(&row, stream, listing.filter(|_| row.deleted_at.is_none()), judge.now);
        self.seen(&row.stream).illegible |= mapped.illegible;
        self.pending.records.extend(mapped.records);
        self.pending.marks.extend(mapped.marks);
    }
}

/// What a row becomes.
#[derive(Default)]
pub struct Mapped {
    pub records: Vec<Emitted>,
    /// That the listing has these records.
    pub marks: Vec<Mark>,
    /// It cannot be said which record of the listing the row is.
    pub illegible: bool,
}

/// What a row becomes. `run` is the number of the listing that it belongs to, if any.
pub fn mapped(row: &Row, stream: &Stream, run: Option<i64>, now: Timestamp) -> Mapped {
    let operation = match (row.deleted_at, run) {
        (Some(_), _) => Operation::Deleted,
        // What a listing does not have is withdrawn at its end.
        (None, Some(_)) => Operation::Created,
        (None, None) => Operation::Present,
    };
    let version = row.deleted_at.or(row.read_at).map_or(now, |at| at.min(now));
    let change = Change {
        operation,
        row: row.fields.clone(),
        before: Fields::new(),
        withheld: std::collections::BTreeSet::new(),
        remedy: "select the column",
    };
    let mut mapped = Mapped::default();
    for rule in &stream.rules {
        let listed = rule.listed(&row.fields);
        let key = listed.as_ref().ok().and_then(Option::as_ref);
        let id = key.map_or_else(|| row.stream.clone(), |key| format!("{} {key}", row.stream));
        for made in row::apply(std::slice::from_ref(rule), &change, &Fields::new(), version) {
            let rejected = |detail| Emitted::Rejected {
                kind: rule.kind,
                id: id.clone(),
                raw: shown(row),
                detail,
            };
            mapped.records.push(match made {
                Ok(emitted) => bounded(emitted, rejected),
                Err(rejection) => rejected(rejection.detail),
            });
        }
        let Some(run) = run.filter(|_| rule.deletes && rule.kind != SourceKind::Activity) else {
            continue;
        };
        match listed {
            Ok(Some(key)) => mapped.marks.push(Mark {
                listing: row.stream.clone(),
                kind: rule.kind,
                key,
                run,
            }),
            Ok(None) => {}
            Err(_) => mapped.illegible = true,
        }
    }
    mapped
}

fn bounded(emitted: Emitted, rejected: impl Fn(String) -> Emitted) -> Emitted {
    match &emitted {
        Emitted::Record { key, value: Some(value), .. } => {
            let bytes = key.len() + value.to_string().len();
            if bytes > RECORD_BYTES_MAX {
                return rejected(format!("a record of {bytes} bytes, {RECORD_BYTES_MAX} allowed"));
            }
            emitted
        }
        Emitted::Record { value: None, .. } | Emitted::Rejected { .. } | Emitted::Unusable(_) => emitted,
    }
}

/// The row for a dead letter, which has a limit as well.
pub fn shown(row: &Row) -> Value {
    let whole = json!({"stream": row.stream, "record": row.fields});
    let bytes = whole.to_string().len();
    if bytes > RECORD_BYTES_MAX - 10_000 {
        return json!({"stream": row.stream, "bytes": bytes});
    }
    whole
}
