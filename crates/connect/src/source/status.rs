//! What a source is doing: its task and its client write it; metrics, the API and readiness read
//! it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_model::Timestamp;
use serde::Serialize;

use crate::budget::Left;

/// ```text
/// Starting -> Reading <-> Waiting (an error, the day's calls) | Paused
///    any   -> Released (another process runs it) | Failed (a person must act)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// The rows are being restored.
    #[default]
    Starting,
    /// The last step was committed.
    Reading,
    /// Until the next attempt; the reason says after what.
    Waiting,
    /// A person paused it.
    Paused,
    /// Another process runs it.
    Released,
    /// The log has a fault that a person must repair.
    Failed,
}

/// How far a first load has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotProgress {
    /// Parts done and parts in all; a part is what the source divides its load into.
    pub done: u64,
    /// Parts in all.
    pub total: u64,
}

/// The status that a source shows.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceView {
    /// The name under which the deployment configures it.
    pub name: String,
    /// The type of source, such as `marketo`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the source does now.
    pub state: SourceState,
    /// Why it is not reading.
    pub reason: Option<String>,
    /// Records appended since the process started.
    pub records: u64,
    /// Records that went to the dead letters.
    pub rejected: u64,
    /// Calls of the foreign system, by outcome.
    pub requests: BTreeMap<String, u64>,
    /// Everything up to this instant has been read, RFC 3339.
    pub read_to: Option<String>,
    /// Seconds from `read_to` to now, never negative; `None`: nothing is known to be read up to an
    /// instant.
    pub lag_seconds: Option<f64>,
    /// While the first load runs.
    pub snapshot: Option<SnapshotProgress>,
    /// Seconds until the first load is done, at the pace so far.
    pub snapshot_seconds_left: Option<f64>,
    /// Calls left of the day, and when the quota resets.
    pub quota_left: Option<u64>,
    /// When the day's calls are counted anew, RFC 3339.
    pub quota_resets_at: Option<String>,
}

/// Shared between a source's task, its client and its readers.
#[derive(Debug)]
pub struct Status {
    name: String,
    kind: String,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: SourceState,
    reason: Option<String>,
    records: u64,
    rejected: u64,
    requests: BTreeMap<String, u64>,
    read_to: Option<Timestamp>,
    snapshot: Option<SnapshotProgress>,
    /// Parts that were done when this process began, and when that was.
    began: Option<(u64, Timestamp)>,
    quota: Option<Left>,
}

impl Status {
    /// `Starting`, with nothing counted. `kind` is the type of source.
    pub fn new(name: &str, kind: &str) -> Status {
        Status {
            name: name.to_owned(),
            kind: kind.to_owned(),
            inner: Mutex::default(),
        }
    }

    /// The name under which the deployment configures the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a call of the foreign system; `outcome` is `ok` or the system's own word for what
    /// went wrong.
    pub fn request(&self, outcome: &str) {
        *self.inner().requests.entry(outcome.to_owned()).or_default() += 1;
    }

    /// The calls left, as the last call found them.
    pub fn quota(&self, left: Left) {
        self.inner().quota = Some(left);
    }

    /// Replaces state and reason.
    pub fn set(&self, state: SourceState, reason: Option<String>) {
        let mut inner = self.inner();
        inner.state = state;
        inner.reason = reason;
    }

    pub(super) fn committed(&self, records: u64, rejected: u64, read_to: Option<Timestamp>, snapshot: Option<SnapshotProgress>, now: Timestamp) {
        let mut inner = self.inner();
        inner.records += records;
        inner.rejected += rejected;
        inner.read_to = read_to.or(inner.read_to);
        inner.snapshot = snapshot;
        match snapshot {
            Some(progress) => {
                inner.began.get_or_insert((progress.done, now));
            }
            None => inner.began = None,
        }
        inner.state = SourceState::Reading;
        inner.reason = None;
    }

    /// Whether the source does its work, and otherwise why not: paused on purpose is ready.
    pub fn ready(&self) -> Result<(), String> {
        let inner = self.inner();
        match inner.state {
            SourceState::Reading | SourceState::Paused | SourceState::Released => Ok(()),
            SourceState::Starting => Err(format!("source {} starts", self.name)),
            SourceState::Waiting | SourceState::Failed => Err(format!("source {}: {}", self.name, inner.reason.as_deref().unwrap_or("waits"))),
        }
    }

    /// A copy as at `now`.
    pub fn view(&self, now: Timestamp) -> SourceView {
        let inner = self.inner();
        let seconds_left = inner.snapshot.zip(inner.began).and_then(|(progress, (before, since))| {
            let done = progress.done.checked_sub(before).filter(|done| *done > 0)?;
            let seconds = (now.0 - since.0) as f64 / 1_000.0;
            Some(seconds / done as f64 * progress.total.saturating_sub(progress.done) as f64)
        });
        SourceView {
            name: self.name.clone(),
            kind: self.kind.clone(),
            state: inner.state,
            reason: inner.reason.clone(),
            records: inner.records,
            rejected: inner.rejected,
            requests: inner.requests.clone(),
            read_to: inner.read_to.map(|at| at.to_string()),
            lag_seconds: inner.read_to.map(|at| (now.0 - at.0).max(0) as f64 / 1_000.0),
            snapshot: inner.snapshot,
            snapshot_seconds_left: seconds_left,
            quota_left: inner.quota.and_then(|left| left.calls),
            quota_resets_at: inner.quota.map(|left| left.resets_at.to_string()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
