//! The first load: bulk extracts of windows of time, first of persons, then of activities, each
//! read in parts.

use std::time::Duration;

use millrace_connect::mapping::Fields;
use millrace_connect::source::{Batch, Rows, SnapshotProgress, SourceError};
use millrace_model::{Cause, DAY_MS, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{AT_ONCE, MarketoSource, Overlay, stamp, whole_seconds};
use crate::csv::{self, Row};
use crate::mapping;
use millrace_marketo::{CallError, result};

/// Bytes of a file read in one step: some thousand persons, a transaction of a few megabytes.
pub const CHUNK_BYTES: u64 = 256 << 10;

/// Marketo allows spans of 31 days.
const WINDOW_MS: i64 = 30 * DAY_MS;

/// How soon to request a file that does not exist yet again.
const FILE_AGAIN: Duration = Duration::from_secs(5);

/// An extract whose number of rows differs from Marketo's count is made again this often; then the
/// rows present are taken.
const TRIES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Leads,
    Activities,
}

/// The row `load`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Load {
    stage: Stage,
    /// Beginning of the window, epoch milliseconds.
    from: i64,
    export: Option<String>,
    /// When the extract was begun: its company values are as of then.
    begun: i64,
    columns: Vec<String>,
    offset: u64,
    rows: u64,
    tries: u32,
}

/// The load of everything from an instant on.
pub fn first(from: Timestamp) -> Value {
    shown(&Load {
        stage: Stage::Leads,
        from: from.0,
        export: None,
        begun: 0,
        columns: Vec::new(),
        offset: 0,
        rows: 0,
        tries: 0,
    })
}

fn shown(load: &Load) -> Value {
    serde_json::to_value(load).expect("a row of texts and numbers is JSON")
}

/// Marketo's status of an extract.
struct Job {
    status: String,
    bytes: u64,
    rows: u64,
    checksum: Option<String>,
}

impl MarketoSource {
    pub(super) async fn load(&mut self, rows: &Rows, row: Value) -> Result<Batch, SourceError> {
        let load: Load = serde_json::from_value(row).map_err(|error| SourceError::Refused(Cause::of("row `load`", error)))?;
        let until = stamp(rows.get("since"));
        let mut batch = match load.export.clone() {
            None => self.create(load.clone(), until).await?,
            Some(id) => match self.job(&load, &id).await {
                Ok(job) => self.go_on(rows, load.clone(), &id, job, until).await?,
                // Extracts are forgotten after a week, and belong to the user that made them.
                Err(CallError::Code { code, .. }) if code == "1013" => again(load.clone()),
                Err(error) => return Err(error.into()),
            },
        };
        let load = batch
            .rows
            .iter()
            .find(|(name, _)| name == "load")
            .map_or_else(|| rows.get("load").cloned(), |(_, load)| load.clone());
        batch.snapshot = load
            .and_then(|load| serde_json::from_value(load).ok())
            .map(|load: Load| self.progress(&load, until));
        Ok(batch)
    }

    /// Windows done and in all, of both stages.
    fn progress(&self, load: &Load, until: Timestamp) -> SnapshotProgress {
        let windows = |from: i64, to: i64| u64::try_from((to - from).max(0) / WINDOW_MS + 1).unwrap_or(1);
        let leads = windows(self.config.created_from.0, until.0);
        let activities_from = self.activities_from(until);
        let done = match load.stage {
            Stage::Leads => windows(self.config.created_from.0, load.from) - 1,
            Stage::Activities => leads + windows(activities_from, load.from) - 1,
        };
        SnapshotProgress {
            done,
            total: leads + windows(activities_from, until.0),
        }
    }

    fn activities_from(&self, until: Timestamp) -> i64 {
        until.0 - i64::from(self.config.activity_days) * DAY_MS
    }

    fn path(load: &Load, rest: &str) -> String {
        let object = match load.stage {
            Stage::Leads => "leads",
            Stage::Activities => "activities",
        };
        format!("bulk/v1/{object}/export/{rest}.json")
    }

    /// Makes an extract. A separate step starts it, once its id is kept: a crash in between leaves
    /// one that was never started.
    async fn create(&mut self, mut load: Load, until: Timestamp) -> Result<Batch, SourceError> {
        let to = (load.from + WINDOW_MS).min(until.0);
        let (fields, more) = match load.stage {
            Stage::Leads => (self.lead_fields().await?, json!({})),
            Stage::Activities => {
                let types: Vec<u32> = self.config.activities.groups().concat();
                (Vec::new(), json!({"activityTypeIds": types}))
            }
        };
        let mut body = extract_by_creation(&fields, &whole_seconds(Timestamp(load.from)), &whole_seconds(Timestamp(to + 999)), &more);
        if load.stage == Stage::Activities
            && let Some(body) = body.as_object_mut()
        {
            body.remove("fields");
        }
        let begun = (self.now)();
        let envelope = self
            .client
            .post(&Self::path(&load, "create"), body)
            .await
            .map_err(|error| self.queue_full(error))?;
        let id = result(&envelope).first().and_then(|job| job["exportId"].as_str());
        let Some(id) = id else {
            return Err(SourceError::Refused("Marketo names no extract".into()));
        };
        load.export = Some(id.to_owned());
        load.begun = begun.0;
        Ok(rows_only(&load, AT_ONCE))
    }

    /// Code 1029 means that the queue is full, or the day's megabytes are used: both pass.
    fn queue_full(&self, error: CallError) -> SourceError {
        match error {
            CallError::Code { code, message } if code == "1029" => SourceError::Retry {
                reason: format!("Marketo answers {code}: {message}").into(),
                after: Some(self.config.extract_interval),
            },
            error => error.into(),
        }
    }

    async fn job(&self, load: &Load, id: &str) -> Result<Job, CallError> {
        let envelope = self.client.get(&Self::path(load, &format!("{id}/status")), &Vec::new()).await?;
        let job = result(&envelope).first().cloned().unwrap_or_default();
        Ok(Job {
            status: job["status"].as_str().unwrap_or_default().to_owned(),
            bytes: job["fileSize"].as_u64().unwrap_or_default(),
            rows: job["numberOfRecords"].as_u64().unwrap_or_default(),
            checksum: job["fileChecksum"].as_str().map(str::to_owned),
        })
    }

    async fn go_on(&mut self, rows: &Rows, load: Load, id: &str, job: Job, until: Timestamp) -> Result<Batch, SourceError> {
        match job.status.as_str() {
            "Created" => {
                self.client
                    .post(&Self::path(&load, &format!("{id}/enqueue")), json!({}))
                    .await
                    .map_err(|error| self.queue_full(error))?;
                Ok(rows_only(&load, self.config.extract_interval))
            }
            "Queued" | "Processing" => Ok(rows_only(&load, self.config.extract_interval)),
            "Completed" if job.rows == 0 => Ok(self.window_done(&load, until)),
            "Completed" => self.part(rows, load, id, &job, until).await,
            other => {
                tracing::warn!(status = other, "an extract did not complete; it is made again");
                let mut batch = again(load);
                batch.pause = self.config.extract_interval;
                Ok(batch)
            }
        }
    }

    /// Reads the next part of a file.
    async fn part(&mut self, rows: &Rows, mut load: Load, id: &str, job: &Job, until: Timestamp) -> Result<Batch, SourceError> {
        let bytes = match self.client.file(&Self::path(&load, &format!("{id}/file")), load.offset, self.chunk_bytes).await {
            Ok(bytes) => bytes,
            Err(CallError::NotFound) => return Ok(rows_only(&load, FILE_AGAIN.min(self.config.extract_interval))),
            Err(CallError::Code { code, .. }) if matches!(code.as_str(), "601" | "602") => return Ok(rows_only(&load, AT_ONCE)),
            Err(error) => return Err(error.into()),
        };
        let end = load.offset + bytes.len() as u64;
        let last = end >= job.bytes || bytes.is_empty();
        if load.offset == 0 && last {
            check(&bytes, job.checksum.as_deref())?;
        }
        let (mut read, taken) = csv::rows(&bytes, last).map_err(|error| SourceError::Refused(Cause::of(format!("extract {id}"), error)))?;
        if taken == 0 && !last {
            // One row is longer than the part.
            self.chunk_bytes *= 2;
            return Ok(rows_only(&load, AT_ONCE));
        }
        if load.offset == 0 && !read.is_empty() {
            load.columns = read.remove(0).into_iter().map(Option::unwrap_or_default).collect();
        }
        load.offset += taken as u64;
        load.rows += read.len() as u64;
        let mut overlay = Overlay::new(rows);
        let records = self.mapped(&load, read, &mut overlay);
        let mut batch = if !last {
            rows_only(&load, AT_ONCE)
        } else if load.rows == job.rows || load.tries + 1 >= TRIES {
            self.window_done(&load, until)
        } else {
            tracing::warn!(
                read = load.rows,
                counted = job.rows,
                "an extract holds other than Marketo counts; it is made again"
            );
            again(load)
        };
        batch.records = records;
        batch.rows.extend(overlay.set);
        Ok(batch)
    }

    fn mapped(&self, load: &Load, read: Vec<Row>, overlay: &mut Overlay<'_>) -> Vec<millrace_connect::source::Emitted> {
        let fields = |row: Row| -> Fields {
            let value = |cell: Option<String>| cell.map_or(Value::Null, Value::String);
            load.columns.iter().cloned().zip(row.into_iter().map(value)).collect()
        };
        let mut records = Vec::new();
        for row in read {
            let row = fields(row);
            match load.stage {
                Stage::Leads => records.extend(mapping::lead(&row, &self.config.mappings, &self.keys, Timestamp(load.begun))),
                Stage::Activities => self.activity(&row, overlay, &mut records),
            }
        }
        records
    }

    /// The next window, the next stage, or the end.
    fn window_done(&self, load: &Load, until: Timestamp) -> Batch {
        let to = load.from + WINDOW_MS;
        let next = match (load.stage, to < until.0) {
            (stage, true) => Some((stage, to)),
            (Stage::Leads, false) => Some((Stage::Activities, self.activities_from(until))),
            (Stage::Activities, false) => None,
        };
        let row = next.map(|(stage, from)| {
            let mut row = first(Timestamp(from));
            row["stage"] = json!(stage);
            row
        });
        Batch {
            rows: vec![("load".to_owned(), row)],
            ..Batch::default()
        }
    }
}

fn rows_only(load: &Load, pause: Duration) -> Batch {
    Batch {
        rows: vec![("load".to_owned(), Some(shown(load)))],
        pause,
        ..Batch::default()
    }
}

/// The same window with a new extract.
fn again(mut load: Load) -> Batch {
    load.export = None;
    load.offset = 0;
    load.rows = 0;
    load.tries += 1;
    rows_only(&load, AT_ONCE)
}

/// A file that is read whole must have Marketo's checksum.
fn check(bytes: &[u8], checksum: Option<&str>) -> Result<(), SourceError> {
    let Some(expected) = checksum.and_then(|text| text.strip_prefix("sha256:")) else {
        return Ok(());
    };
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(SourceError::Retry {
        reason: "an extract's file is not the one Marketo made".into(),
        after: None,
    })
}

/// The body of a request for an extract of everything created within a span.
fn extract_by_creation(fields: &[String], from: &str, to: &str, more: &Value) -> Value {
    let mut filter = json!({"createdAt": {"startAt": from, "endAt": to}});
    if let (Some(filter), Some(more)) = (filter.as_object_mut(), more.as_object()) {
        filter.extend(more.clone());
    }
    json!({"format": "CSV", "fields": fields, "filter": filter})
}
