//! The first load: one query job per object, its results read page by page.

use millrace_connect::mapping::Fields;
use millrace_connect::source::{Batch, Rows, SnapshotProgress, SourceError};
use millrace_model::Cause;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AT_ONCE, Overlay, SalesforceSource};
use crate::client::{CallError, Reply};
use crate::mapping::{self, Keys, Object, Relations, Shape};

/// The parts that a first load counts for each object.
const PARTS: u64 = 1_000;

/// The row `load/<Object>`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Load {
    job: Option<String>,
    /// The next page; `None`: the first.
    locator: Option<String>,
    /// Rows read, and rows of the job.
    read: u64,
    total: u64,
    /// Jobs that failed, and why the last one did.
    failures: u32,
    why: Option<String>,
}

/// Nothing is loaded yet.
pub fn first() -> Value {
    shown(&Load::default())
}

fn shown(load: &Load) -> Value {
    serde_json::to_value(load).expect("a row of texts and numbers is JSON")
}

impl SalesforceSource {
    pub(super) async fn load(&mut self, rows: &Rows, shapes: &[Shape], shape: &Shape, row: Value, keys: &Keys) -> Result<Batch, SourceError> {
        let load: Load = serde_json::from_value(row).map_err(|error| SourceError::Refused(Cause::of("a row of a first load", error)))?;
        let mut batch = match load.job.clone() {
            None => self.create(load, shape).await?,
            Some(job) => self.go_on(rows, load, shape, &job, keys).await?,
        };
        batch.snapshot = progress(rows, shapes, shape, &batch);
        Ok(batch)
    }

    async fn create(&mut self, mut load: Load, shape: &Shape) -> Result<Batch, SourceError> {
        if let Some(why) = &load.why
            && self.failures_said < load.failures
        {
            self.failures_said = load.failures;
            return Err(SourceError::Retry {
                reason: format!("a query job of {} failed: {why}", shape.object.name()).into(),
                after: Some(self.config.job_interval),
            });
        }
        let body = json!({"operation": "query", "query": shape.select(), "contentType": "CSV", "columnDelimiter": "COMMA", "lineEnding": "LF"});
        let job = match self.client.post("jobs/query", body).await {
            Ok(reply) => reply.json()?,
            Err(CallError::Code { code, message }) if matches!(code.as_str(), "INVALID_FIELD" | "INVALID_TYPE") => {
                return Err(self.describe_again(&code, &message));
            }
            Err(error) => return Err(error.into()),
        };
        let id = job["id"].as_str().ok_or_else(|| SourceError::Refused("Salesforce names no query job".into()))?;
        load.job = Some(id.to_owned());
        (load.locator, load.read, load.total) = (None, 0, 0);
        Ok(kept(shape, &load, AT_ONCE))
    }

    async fn go_on(&mut self, rows: &Rows, mut load: Load, shape: &Shape, id: &str, keys: &Keys) -> Result<Batch, SourceError> {
        if load.total == 0 {
            let job = match self.client.get(&format!("jobs/query/{id}"), &[]).await {
                Ok(reply) => reply.json()?,
                Err(CallError::Code { code, message }) => return Ok(self.again(load, shape, format!("{code}: {message}"))),
                Err(error) => return Err(error.into()),
            };
            match job["state"].as_str().unwrap_or_default() {
                "JobComplete" => load.total = job["numberRecordsProcessed"].as_u64().unwrap_or_default(),
                state @ ("Failed" | "Aborted") => {
                    let why = job["errorMessage"].as_str().unwrap_or(state).to_owned();
                    return Ok(self.again(load, shape, why));
                }
                _ => return Ok(kept(shape, &load, self.config.job_interval)),
            }
            if load.total == 0 {
                return Ok(done(shape, keys));
            }
        }
        self.page(rows, load, shape, id, keys).await
    }

    async fn page(&mut self, rows: &Rows, mut load: Load, shape: &Shape, id: &str, keys: &Keys) -> Result<Batch, SourceError> {
        let size = self.config.page_rows.to_string();
        let mut parameters = vec![("maxRecords", size.as_str())];
        parameters.extend(load.locator.as_deref().map(|locator| ("locator", locator)));
        let reply = match self.client.get(&format!("jobs/query/{id}/results"), &parameters).await {
            Ok(reply) => reply,
            // Results are deleted after a week.
            Err(CallError::Code { code, message }) => return Ok(self.again(load, shape, format!("{code}: {message}"))),
            Err(error) => return Err(error.into()),
        };
        let read = table(&reply)?;
        load.read += read.len() as u64;
        // The word `null` means the end.
        load.locator = reply.header("sforce-locator").filter(|locator| *locator != "null").map(str::to_owned);
        let mut overlay = Overlay::new(rows);
        let records = self
            .page_records(shape, read.iter().map(|row| mapping::read(shape, row, keys)), &mut overlay, keys)
            .await?;
        let mut batch = if load.locator.is_some() {
            kept(shape, &load, AT_ONCE)
        } else {
            done(shape, keys)
        };
        batch.records = records;
        batch.rows.extend(overlay.set);
        Ok(batch)
    }

    /// The same object with a new job.
    fn again(&self, mut load: Load, shape: &Shape, why: String) -> Batch {
        tracing::warn!(object = shape.object.name(), why, "a query job gives no results; a new one is made");
        load.job = None;
        load.failures += 1;
        load.why = Some(why);
        kept(shape, &load, AT_ONCE)
    }
}

fn kept(shape: &Shape, load: &Load, pause: std::time::Duration) -> Batch {
    Batch {
        rows: vec![(format!("load/{}", shape.object.name()), Some(shown(load)))],
        pause,
        ..Batch::default()
    }
}

fn done(shape: &Shape, keys: &Keys) -> Batch {
    let mut rows = vec![(format!("load/{}", shape.object.name()), None)];
    if shape.object == Object::Contact && keys.relations == Relations::NoLongerDerived {
        // All contacts were read since, and their derived relations withdrawn.
        rows.push(("derived".to_owned(), None));
    }
    Batch { rows, ..Batch::default() }
}

/// Thousandths of objects; `None` when the batch ends the last load.
fn progress(rows: &Rows, shapes: &[Shape], shape: &Shape, batch: &Batch) -> Option<SnapshotProgress> {
    let left = rows.under("load/").count() as u64;
    let total = PARTS * (shapes.len() as u64).max(left);
    let name = format!("load/{}", shape.object.name());
    let row = batch.rows.iter().find(|(row, _)| *row == name).map(|(_, row)| row.clone());
    let of_this = match row {
        Some(None) if left == 1 => return None,
        Some(None) => PARTS,
        Some(Some(row)) => {
            let load: Load = serde_json::from_value(row).unwrap_or_default();
            (PARTS * load.read).checked_div(load.total).unwrap_or_default().min(PARTS)
        }
        None => 0,
    };
    let done = total - PARTS * left + of_this;
    Some(SnapshotProgress { done, total })
}

/// The rows of a page: texts by the names of their columns. An empty cell is absent.
fn table(reply: &Reply) -> Result<Vec<Fields>, SourceError> {
    let broken = |error: csv::Error| SourceError::Retry {
        reason: Cause::of("a page of results is no CSV", error),
        after: None,
    };
    let mut reader = csv::Reader::from_reader(reply.text.as_bytes());
    let columns = reader.headers().map_err(broken)?.clone();
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row.map_err(broken)?;
        let cell = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        rows.push(columns.iter().map(str::to_owned).zip(row.iter().map(cell)).collect());
    }
    let counted = reply.header("sforce-numberofrecords").and_then(|count| count.parse::<usize>().ok());
    if counted.is_some_and(|counted| counted != rows.len()) {
        return Err(SourceError::Retry {
            reason: format!(
                "a page of results holds {} rows, and Salesforce counts {}",
                rows.len(),
                counted.unwrap_or_default()
            )
            .into(),
            after: None,
        });
    }
    Ok(rows)
}
