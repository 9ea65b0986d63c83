//! The REST API: queries and their pages, describe, single records, deletions, limits.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use millrace_log::random::Random;
use millrace_model::{DAY_MS, Timestamp};
use serde_json::{Map, Value, json};

use super::gate::Gate;
use super::schema::Field;
use super::server::Answer;
use super::soql;
use super::world::{Row, World, stamp};

/// Pages that are still to come: by locator, the rows left and how they are written.
#[derive(Default)]
pub struct Pages(BTreeMap<String, Pending>);

struct Pending {
    object: String,
    fields: Vec<Field>,
    rows: Vec<Row>,
    /// Where the next page begins.
    at: usize,
}

/// How many locators one user may hold; the oldest go first.
const LOCATORS_MAX: usize = 10;

/// A record as REST answers it.
fn shown(object: &str, fields: &[Field], row: &Row, version: &str) -> Value {
    let mut shown = Map::new();
    let id = row["Id"].as_str().unwrap_or_default();
    let url = format!("/services/data/{version}/sobjects/{object}/{id}");
    shown.insert("attributes".to_owned(), json!({"type": object, "url": url}));
    for field in fields {
        shown.insert(field.name.clone(), row.get(&field.name).cloned().unwrap_or_default());
    }
    Value::Object(shown)
}

/// The first page of a query; `all`: deleted records too.
pub fn query(world: &mut World, gate: &Gate, pages: &mut Pages, version: &str, text: &str, all: bool) -> Answer {
    if world.random.chance(gate.faults.query_timeout) {
        return Answer::refused(400, "QUERY_TIMEOUT", "Your query request was running for too long.");
    }
    let query = match soql::parse(world, text) {
        Ok(query) => query,
        Err((code, message)) => return Answer::refused(400, code, message),
    };
    let rows = world.objects.get(&query.object).map(|object| query.run(object, all)).unwrap_or_default();
    let pending = Pending {
        object: query.object,
        fields: query.fields,
        rows,
        at: 0,
    };
    page(world, gate, pages, version, pending)
}

/// A further page.
pub fn more(world: &mut World, gate: &Gate, pages: &mut Pages, version: &str, locator: &str) -> Answer {
    let lost = world.random.chance(gate.faults.locator_lost);
    match pages.0.get(locator) {
        Some(pending) if !lost => {
            let pending = Pending {
                object: pending.object.clone(),
                fields: pending.fields.clone(),
                rows: pending.rows.clone(),
                at: pending.at,
            };
            page(world, gate, pages, version, pending)
        }
        _ => Answer::refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
    }
}

fn page(world: &mut World, gate: &Gate, pages: &mut Pages, version: &str, mut pending: Pending) -> Answer {
    let mut size = world.settings.page_rows.max(1);
    if world.random.chance(gate.faults.short_page) {
        size = 1 + world.random.below(size as u64) as usize;
    }
    let total = pending.rows.len();
    let end = (pending.at + size).min(total);
    let records: Vec<Value> = pending.rows[pending.at..end]
        .iter()
        .map(|row| shown(&pending.object, &pending.fields, row, version))
        .collect();
    let mut answer = json!({"totalSize": total, "done": end == total, "records": records});
    if end < total {
        let locator = locator(&mut world.random, end);
        answer["nextRecordsUrl"] = json!(format!("/services/data/{version}/query/{locator}"));
        pending.at = end;
        while pages.0.len() >= LOCATORS_MAX {
            pages.0.pop_first();
        }
        pages.0.insert(locator, pending);
    }
    Answer::Json(StatusCode::OK, answer)
}

fn locator(random: &mut Random, at: usize) -> String {
    format!("01g{:015x}-{at}", random.next_u64() >> 4)
}

/// The fields of an object.
pub fn describe(world: &World, name: &str) -> Answer {
    let Some(object) = world.objects.get(name) else {
        return not_found();
    };
    let fields: Vec<Value> = object
        .fields
        .iter()
        .map(|field| json!({"name": field.name, "label": field.name, "type": field.kind, "custom": field.custom(), "nillable": true}))
        .collect();
    let answer = json!({"name": name, "keyPrefix": object.prefix, "custom": false, "queryable": true, "replicateable": true, "fields": fields});
    Answer::Json(StatusCode::OK, answer)
}

/// All objects.
pub fn objects(world: &World) -> Answer {
    let all: Vec<Value> = world
        .objects
        .iter()
        .map(|(name, object)| json!({"name": name, "keyPrefix": object.prefix, "queryable": true}))
        .collect();
    Answer::Json(StatusCode::OK, json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": all}))
}

/// One record that is not deleted.
pub fn record(world: &World, version: &str, name: &str, id: &str) -> Answer {
    let Some(object) = world.objects.get(name) else {
        return not_found();
    };
    match object.rows.get(id) {
        Some(row) if row["IsDeleted"] == json!(true) => Answer::refused(404, "ENTITY_IS_DELETED", "entity is deleted"),
        Some(row) => Answer::Json(StatusCode::OK, shown(name, &object.fields, row, version)),
        None => not_found(),
    }
}

/// Deletions within a span, without those that were undone.
pub fn deleted(world: &World, name: &str, start: Option<&str>, end: Option<&str>) -> Answer {
    let Some(object) = world.objects.get(name) else {
        return not_found();
    };
    let instant = |text: Option<&str>| text.and_then(|text| Timestamp::parse(text).ok());
    let (Some(start), Some(end)) = (instant(start), instant(end)) else {
        return Answer::refused(400, "INVALID_REPLICATION_DATE", "start and end are required");
    };
    // Seconds are ignored.
    let minute = |at: Timestamp| Timestamp(at.0 - at.0.rem_euclid(60_000));
    let (start, end) = (minute(start), minute(end));
    if end.0 - start.0 < 60_000 {
        return Answer::refused(400, "INVALID_REPLICATION_DATE", "endDate must be at least one minute greater than startDate");
    }
    let earliest = world.now.plus_ms(-15 * DAY_MS);
    if start < minute(earliest) {
        return Answer::refused(400, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date");
    }
    let within = object.deleted.iter().filter(|(_, at)| **at >= start && **at < end);
    let records: Vec<Value> = within.map(|(id, at)| json!({"id": id, "deletedDate": stamp(*at)})).collect();
    let answer = json!({"deletedRecords": records, "earliestDateAvailable": stamp(earliest), "latestDateCovered": stamp(end.min(world.now))});
    Answer::Json(StatusCode::OK, answer)
}

/// The limits that connectors read.
pub fn limits(world: &World, gate: &mut Gate) -> Answer {
    let left = gate.limits.day_calls.saturating_sub(gate.spent(world.now));
    let answer = json!({
        "DailyApiRequests": {"Max": gate.limits.day_calls, "Remaining": left},
        "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000},
    });
    Answer::Json(StatusCode::OK, answer)
}

pub fn not_found() -> Answer {
    Answer::refused(404, "NOT_FOUND", "The requested resource does not exist")
}
