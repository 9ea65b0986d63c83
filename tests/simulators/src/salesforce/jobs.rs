//! Query jobs of Bulk API 2.0: their states, and results as CSV in pages with locators.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use millrace_model::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use super::gate::Gate;
use super::rest::not_found;
use super::schema::Field;
use super::server::Answer;
use super::soql;
use super::world::{Row, World, stamp};

/// Results are deleted after this.
const KEPT_MS: i64 = 7 * DAY_MS;

/// All jobs, by id.
#[derive(Default)]
pub struct Jobs {
    jobs: BTreeMap<String, Job>,
    /// The place in the results of a job that each locator stands for.
    locators: BTreeMap<String, (String, usize)>,
}

struct Job {
    operation: String,
    object: String,
    fields: Vec<Field>,
    rows: Vec<Row>,
    created: Timestamp,
    ready: Timestamp,
    fails: bool,
    aborted: bool,
}

impl Job {
    fn state(&self, now: Timestamp) -> &'static str {
        match (self.aborted, now.0 - self.created.0, now >= self.ready) {
            (true, _, _) => "Aborted",
            (false, _, true) if self.fails => "Failed",
            (false, _, true) => "JobComplete",
            (false, 0, false) => "UploadComplete",
            (false, _, false) => "InProgress",
        }
    }

    fn shown(&self, id: &str, now: Timestamp) -> Value {
        let state = self.state(now);
        let mut shown = json!({
            "id": id, "operation": self.operation, "object": self.object, "createdById": "0055g00000AbCdEAAV", "createdDate": stamp(self.created),
            "systemModstamp": stamp(now), "state": state, "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": 67.0,
            "lineEnding": "LF", "columnDelimiter": "COMMA", "retries": 0, "totalProcessingTime": 100,
        });
        if state == "JobComplete" {
            shown["numberRecordsProcessed"] = json!(self.rows.len());
        }
        if state == "Failed" {
            shown["errorMessage"] = json!("InternalServerError");
        }
        shown
    }
}

impl Jobs {
    pub fn create(&mut self, world: &mut World, gate: &Gate, body: &Value) -> Answer {
        let operation = body["operation"].as_str().unwrap_or_default();
        if !matches!(operation, "query" | "queryAll") {
            return Answer::refused(400, "INVALIDJOB", "operation: an enum value was not recognised");
        }
        let query = match soql::parse(world, body["query"].as_str().unwrap_or_default()) {
            Ok(query) => query,
            Err((code, message)) => return Answer::refused(400, code, message),
        };
        if let Some(compound) = query.fields.iter().find(|field| field.kind == "address") {
            let message = format!("Selecting compound data not supported in Bulk Query: {}", compound.name);
            return Answer::refused(400, "FEATURENOTENABLED", message);
        }
        let rows = world.objects.get(&query.object).map(|object| query.run(object, operation == "queryAll"));
        let id = format!("7505g{:013x}", world.random.next_u64() >> 12);
        let job = Job {
            operation: operation.to_owned(),
            object: query.object,
            fields: query.fields,
            rows: rows.unwrap_or_default(),
            created: world.now,
            ready: world.now.plus_ms(world.settings.job_ms),
            fails: world.random.chance(gate.faults.job_fails),
            aborted: false,
        };
        let mut shown = job.shown(&id, world.now);
        shown["state"] = json!("UploadComplete");
        self.jobs.insert(id, job);
        Answer::Json(StatusCode::OK, shown)
    }

    pub fn status(&self, world: &World, id: &str) -> Answer {
        match self.jobs.get(id) {
            Some(job) => Answer::Json(StatusCode::OK, job.shown(id, world.now)),
            None => not_found(),
        }
    }

    pub fn abort(&mut self, world: &World, id: &str) -> Answer {
        match self.jobs.get_mut(id) {
            Some(job) => {
                job.aborted = true;
                Answer::Json(StatusCode::OK, job.shown(id, world.now))
            }
            None => not_found(),
        }
    }

    pub fn delete(&mut self, id: &str) -> Answer {
        match self.jobs.remove(id) {
            Some(_) => Answer::Json(StatusCode::NO_CONTENT, Value::Null),
            None => not_found(),
        }
    }

    pub fn results(&mut self, world: &mut World, gate: &Gate, id: &str, locator: Option<&str>, rows_max: Option<usize>) -> Answer {
        let gone = world.random.chance(gate.faults.results_gone);
        let job = self.jobs.get(id).filter(|job| job.ready.plus_ms(KEPT_MS) > world.now && !gone);
        let Some(job) = job else { return not_found() };
        if job.state(world.now) != "JobComplete" {
            return Answer::refused(400, "INVALIDJOBSTATE", "The job is not complete");
        }
        let from = match locator.map(|locator| self.locators.get(locator)) {
            None => 0,
            Some(Some((of, at))) if of == id => *at,
            Some(_) => return Answer::refused(400, "INVALID_LOCATOR", "The locator is invalid"),
        };
        let mut size = rows_max.unwrap_or(50_000).max(1);
        if world.random.chance(gate.faults.short_page) {
            size = 1 + world.random.below(size as u64) as usize;
        }
        let end = (from + size).min(job.rows.len());
        let body = csv(&job.fields, &job.rows[from..end]);
        let next = (end < job.rows.len()).then(|| format!("MT{:012x}", world.random.next_u64() >> 16));
        if let Some(next) = &next {
            self.locators.insert(next.clone(), (id.to_owned(), end));
        }
        Answer::Csv {
            locator: next.unwrap_or_else(|| "null".to_owned()),
            rows: end - from,
            body,
        }
    }
}

/// Every cell in quotes, an empty one for null.
fn csv(fields: &[Field], rows: &[Row]) -> String {
    let line = |cells: Vec<String>| {
        let quoted: Vec<String> = cells.into_iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
        format!("{}\n", quoted.join(","))
    };
    let mut text = line(fields.iter().map(|field| field.name.clone()).collect());
    for row in rows {
        let cell = |field: &Field| match &row[&field.name] {
            Value::Null => String::new(),
            Value::String(text) if field.kind == "datetime" => text.replace("+0000", "Z"),
            Value::String(text) => text.clone(),
            Value::Number(number) if field.kind == "currency" => number.as_f64().map(|number| format!("{number:?}")).unwrap_or_default(),
            other => other.to_string(),
        };
        text.push_str(&line(fields.iter().map(cell).collect()));
    }
    text
}
