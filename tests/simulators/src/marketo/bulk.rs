//! Bulk extract: jobs that advance with the clock, and their files.

use axum::http::StatusCode;
use millrace_model::{DAY_MS, Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::calls::text;
use super::lists::member_fields;
use super::server::{Answer, Call};
use super::world::{Activity, World, instant};

/// Days that a filter of instants may span.
const DAYS_MAX: i64 = 31;

const RUNNING_MAX: usize = 2;
const QUEUED_MAX: usize = 10;

pub struct Export {
    kind: &'static str,
    fields: Vec<String>,
    filter: Value,
    created_at: Timestamp,
    queued_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    canceled: bool,
    file: Vec<u8>,
    rows: usize,
    /// A finished job's file is not there at once.
    asked: bool,
}

impl Export {
    fn status(&self, spelling: bool) -> &'static str {
        match self {
            Export { canceled: true, .. } => {
                if spelling {
                    "Canceled"
                } else {
                    "Cancelled"
                }
            }
            Export { finished_at: Some(_), .. } => "Completed",
            Export { started_at: Some(_), .. } => "Processing",
            Export { queued_at: Some(_), .. } => "Queued",
            _ => "Created",
        }
    }
}

pub fn call(world: &mut World, call: &Call, kind: &'static str, rest: &[&str]) -> Answer {
    advance(world);
    match rest {
        ["export", "create"] => create(world, call, kind),
        ["export"] => {
            let all = world.exports.iter().filter(|(_, export)| export.kind == kind);
            Answer::result(all.map(|(id, export)| shown(id, export, true)).collect::<Vec<_>>())
        }
        ["export", id, action] => {
            if world.exports.get(*id).is_none_or(|export| export.kind != kind) {
                return Answer::refused("1013", format!("Export job {id} not found"));
            }
            match *action {
                "enqueue" => enqueue(world, id),
                "status" => status(world, id),
                "cancel" => cancel(world, id),
                "file" => file(world, id, call.range.as_deref()),
                _ => Answer::refused("610", "Requested resource not found"),
            }
        }
        _ => Answer::refused("610", "Requested resource not found"),
    }
}

fn shown(id: &str, export: &Export, spelling: bool) -> Value {
    let mut shown = json!({"exportId": id, "format": "CSV", "status": export.status(spelling), "createdAt": instant(export.created_at)});
    let instants = [
        ("queuedAt", export.queued_at),
        ("startedAt", export.started_at),
        ("finishedAt", export.finished_at),
    ];
    for (name, at) in instants {
        if let Some(at) = at {
            shown[name] = json!(instant(at));
        }
    }
    if export.finished_at.is_some() {
        shown["numberOfRecords"] = json!(export.rows);
        shown["fileSize"] = json!(export.file.len());
        let digest: String = Sha256::digest(&export.file).iter().map(|byte| format!("{byte:02x}")).collect();
        shown["fileChecksum"] = json!(format!("sha256:{digest}"));
    }
    shown
}

/// The span of a filter of instants.
fn span(filter: &Value) -> Option<(Timestamp, Timestamp)> {
    let at = |name: &str| filter.get(name).and_then(Value::as_str).and_then(|text| Timestamp::parse(text).ok());
    Some((at("startAt")?, at("endAt")?))
}

fn create(world: &mut World, call: &Call, kind: &'static str) -> Answer {
    let filter = call.body.get("filter").cloned().unwrap_or_default();
    let names: Vec<&str> = filter.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if kind == "leads" && names.contains(&"updatedAt") && !world.settings.extract_by_update {
        return Answer::refused("1035", "Unsupported filter type for target subscription: updatedAt");
    }
    for name in ["createdAt", "updatedAt"] {
        if let Some(instants) = filter.get(name) {
            match span(instants) {
                Some((from, to)) if to.0 - from.0 <= DAYS_MAX * DAY_MS && from <= to => {}
                _ => return Answer::refused("1003", format!("{name} must span at most {DAYS_MAX} days")),
            }
        }
    }
    let fits = match kind {
        "leads" => names.len() == 1,
        "activities" => names.contains(&"createdAt"),
        _ => names.contains(&"programId") || names.contains(&"programIds"),
    };
    if !fits {
        return Answer::refused("1003", "The filter is invalid");
    }
    let fields = call
        .body
        .get("fields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut fields: Vec<String> = fields.map(str::to_owned).collect();
    if fields.is_empty() && kind == "activities" {
        fields = ACTIVITY_COLUMNS.map(str::to_owned).to_vec();
    }
    if fields.is_empty() {
        return Answer::refused("1002", "Missing value for required parameter 'fields'");
    }
    let id = world.fresh_guid();
    let export = Export {
        kind,
        fields,
        filter,
        created_at: world.now,
        queued_at: None,
        started_at: None,
        finished_at: None,
        canceled: false,
        file: Vec::new(),
        rows: 0,
        asked: false,
    };
    let answer = shown(&id, &export, true);
    world.exports.insert(id, export);
    Answer::result(json!([answer]))
}

const ACTIVITY_COLUMNS: [&str; 8] = [
    "marketoGUID",
    "leadId",
    "activityDate",
    "activityTypeId",
    "campaignId",
    "primaryAttributeValueId",
    "primaryAttributeValue",
    "attributes",
];

fn enqueue(world: &mut World, id: &str) -> Answer {
    let waiting = world
        .exports
        .values()
        .filter(|export| matches!(export.status(true), "Queued" | "Processing"))
        .count();
    if waiting >= QUEUED_MAX + RUNNING_MAX {
        return Answer::refused("1029", "Too many jobs (10) in queue");
    }
    let now = world.now;
    let Some(export) = world.exports.get_mut(id) else { return Answer::NotFound };
    if export.queued_at.is_some() {
        return Answer::refused("1029", "Export job already queued");
    }
    export.queued_at = Some(now);
    let answer = shown(id, export, true);
    Answer::result(json!([answer]))
}

fn status(world: &mut World, id: &str) -> Answer {
    let spelling = world.random.chance(500);
    world
        .exports
        .get(id)
        .map_or(Answer::NotFound, |export| Answer::result(json!([shown(id, export, spelling)])))
}

fn cancel(world: &mut World, id: &str) -> Answer {
    let Some(export) = world.exports.get_mut(id) else { return Answer::NotFound };
    export.canceled = export.finished_at.is_none();
    let answer = shown(id, export, true);
    Answer::result(json!([answer]))
}

fn file(world: &mut World, id: &str, range: Option<&str>) -> Answer {
    let Some(export) = world.exports.get_mut(id) else { return Answer::NotFound };
    // Shortly after the end the file may still be missing.
    if export.finished_at.is_none() || !std::mem::replace(&mut export.asked, true) {
        return Answer::NotFound;
    }
    let bounds = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = bounds else {
        return Answer::File(StatusCode::OK, export.file.clone());
    };
    let from: usize = from.parse().unwrap_or(0);
    let to = to.parse::<usize>().map_or(export.file.len(), |to| to.saturating_add(1)).min(export.file.len());
    Answer::File(StatusCode::PARTIAL_CONTENT, export.file.get(from..to).unwrap_or_default().to_vec())
}

/// Advances every job as far as the clock says.
fn advance(world: &mut World) {
    let (now, step) = (world.now, world.settings.extract_step_ms);
    let due = |since: Option<Timestamp>| since.is_some_and(|since| since.plus_ms(step) <= now);
    let mut running = world.exports.values().filter(|export| export.status(true) == "Processing").count();
    let ids: Vec<String> = world.exports.keys().cloned().collect();
    for id in ids {
        let Some(export) = world.exports.get(&id) else { continue };
        match export.status(true) {
            "Queued" if running < RUNNING_MAX && due(export.queued_at) => {
                running += 1;
                let (file, rows) = write(world, &id);
                if let Some(export) = world.exports.get_mut(&id) {
                    (export.file, export.rows, export.started_at) = (file, rows, Some(now));
                }
            }
            "Processing" if due(export.started_at) => {
                if let Some(export) = world.exports.get_mut(&id) {
                    export.finished_at = Some(now);
                }
            }
            _ => {}
        }
    }
}

/// The file of a job as of now.
fn write(world: &World, id: &str) -> (Vec<u8>, usize) {
    let Some(export) = world.exports.get(id) else {
        return (Vec::new(), 0);
    };
    let rows: Vec<Map<String, Value>> = match export.kind {
        "leads" => world
            .leads
            .values()
            .map(|lead| world.shown_lead(lead))
            .filter(|lead| matches(world, &export.filter, lead))
            .collect(),
        "activities" => world.activities.iter().filter(|one| wanted(&export.filter, one)).map(activity_row).collect(),
        _ => member_rows(world, &export.filter),
    };
    let mut csv = export.fields.join(",");
    csv.push('\n');
    for row in &rows {
        let cells: Vec<String> = export.fields.iter().map(|name| cell(row.get(name).unwrap_or(&Value::Null))).collect();
        csv.push_str(&cells.join(","));
        csv.push('\n');
    }
    (csv.into_bytes(), rows.len())
}

fn matches(world: &World, filter: &Value, lead: &Map<String, Value>) -> bool {
    for name in ["createdAt", "updatedAt"] {
        if let Some((from, to)) = filter.get(name).and_then(span) {
            let at = lead.get(name).and_then(Value::as_str).and_then(|text| Timestamp::parse(text).ok());
            return at.is_some_and(|at| from <= at && at <= to);
        }
    }
    let list = filter
        .get("staticListId")
        .map(text)
        .and_then(|id| id.parse().ok())
        .and_then(|id: u64| world.lists.get(&id));
    let id = lead.get("id").and_then(Value::as_u64);
    list.zip(id).is_some_and(|(list, id)| list.members.contains(&id))
}

fn wanted(filter: &Value, one: &Activity) -> bool {
    let kinds = filter.get("activityTypeIds").and_then(Value::as_array);
    let kind = kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind.as_u64() == Some(u64::from(one.kind))));
    let span = filter.get("createdAt").and_then(span);
    kind && one.kind != 37 && span.is_some_and(|(from, to)| from <= one.date && one.date <= to)
}

fn activity_row(one: &Activity) -> Map<String, Value> {
    let attributes: Map<String, Value> = one.attributes.iter().filter(|(_, value)| *value != "").cloned().collect();
    let mut row = Map::new();
    row.insert("marketoGUID".to_owned(), json!(one.guid));
    row.insert("leadId".to_owned(), json!(one.lead));
    row.insert("activityDate".to_owned(), json!(instant(one.date)));
    row.insert("activityTypeId".to_owned(), json!(one.kind));
    if let Some((id, value)) = &one.primary {
        row.insert("primaryAttributeValueId".to_owned(), json!(id));
        row.insert("primaryAttributeValue".to_owned(), json!(value));
    }
    row.insert("attributes".to_owned(), json!(Value::Object(attributes).to_string()));
    row
}

fn member_rows(world: &World, filter: &Value) -> Vec<Map<String, Value>> {
    let one = filter.get("programId").cloned().into_iter();
    let several = filter.get("programIds").and_then(Value::as_array).cloned().unwrap_or_default();
    let ids = one.chain(several).filter_map(|id| text(&id).parse::<u64>().ok());
    let programs = ids.filter_map(|id| world.programs.get(&id).map(|program| (id, program)));
    programs
        .flat_map(|(id, program)| program.members.iter().map(move |(lead, member)| member_fields(id, *lead, member)))
        .collect()
}

/// A cell of CSV: an absent value is the text `null`, a text that is `null` or holds a separator,
/// quote or line end is quoted.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return "null".to_owned(),
        other => text(other),
    };
    if text == "null" || text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
