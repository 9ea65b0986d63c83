//! Leads, activities and statistics.

use std::collections::BTreeSet;

use chrono::DateTime;
use millrace_log::random::Random;
use millrace_model::Timestamp;
use serde_json::{Map, Value, json};

use super::gate::Gate;
use super::server::{Answer, Call};
use super::world::{Activity, Fields, Lead, READ_THROUGH, World, instant};

/// Records of one page or one write.
pub const PAGE_MAX: usize = 300;

/// Leads that a filter may match.
const MATCHES_MAX: usize = 1_000;

/// Entries of the log that one page looks at.
const SCAN_MAX: u64 = 400;

const LEAD_FIELDS: [(&str, &str); 31] = [
    ("id", "integer"),
    ("email", "email"),
    ("firstName", "string"),
    ("middleName", "string"),
    ("lastName", "string"),
    ("salutation", "string"),
    ("title", "string"),
    ("department", "string"),
    ("phone", "phone"),
    ("mobilePhone", "phone"),
    ("address", "text"),
    ("city", "string"),
    ("state", "string"),
    ("postalCode", "string"),
    ("country", "string"),
    ("leadScore", "score"),
    ("leadSource", "string"),
    ("leadStatus", "string"),
    ("unsubscribed", "boolean"),
    ("doNotCall", "boolean"),
    ("isAnonymous", "boolean"),
    ("emailInvalid", "boolean"),
    ("marketingSuspended", "boolean"),
    ("dateOfBirth", "date"),
    ("createdAt", "datetime"),
    ("updatedAt", "datetime"),
    ("sfdcContactId", "string"),
    ("sfdcLeadId", "string"),
    ("externalCompanyId", "string"),
    ("region", "string"),
    ("renewalDate", "date"),
];

pub fn describe(world: &World, second: bool) -> Answer {
    let mut fields: Vec<(&str, &str)> = LEAD_FIELDS.to_vec();
    fields.extend(READ_THROUGH.map(|name| (name, "string")));
    if world.settings.contact_company {
        fields.push(("contactCompany", "reference"));
    }
    if second {
        let fields: Vec<Value> = fields
            .iter()
            .map(|(name, kind)| json!({"name": name, "displayName": name, "dataType": kind}))
            .collect();
        let searchable = json!([["id"], ["email"], ["sfdcContactId"], ["sfdcLeadId"]]);
        return Answer::result(json!([{"name": "API Lead", "searchableFields": searchable, "fields": fields}]));
    }
    let shown = (1..).zip(fields).map(|(id, (name, kind))| {
        let read_only = matches!(name, "id" | "createdAt" | "updatedAt");
        json!({"id": id, "displayName": name, "dataType": kind, "rest": {"name": name, "readOnly": read_only}})
    });
    Answer::result(shown.collect::<Vec<_>>())
}

/// The fields asked for, null where the record has none.
pub fn picked(fields: &Fields, asked: &[String], default: &[&str]) -> Value {
    let names: Vec<&str> = if asked.is_empty() {
        default.to_vec()
    } else {
        asked.iter().map(String::as_str).collect()
    };
    let pick = |name: &str| (name.to_owned(), fields.get(name).cloned().unwrap_or_default());
    let mut picked: Fields = names.into_iter().map(pick).collect();
    if let Some(id) = fields.get("id") {
        picked.insert("id".to_owned(), id.clone());
    }
    Value::Object(picked)
}

const LEAD_DEFAULT: [&str; 6] = ["id", "email", "firstName", "lastName", "createdAt", "updatedAt"];

pub fn lead(world: &World, call: &Call, id: &str) -> Answer {
    match id.parse().ok().and_then(|id| world.leads.get(&id)) {
        Some(lead) => Answer::result(json!([picked(&world.shown_lead(lead), &call.all("fields"), &LEAD_DEFAULT)])),
        None => Answer::refused("1004", format!("Lead with id '{id}' not found")),
    }
}

pub fn leads(world: &World, call: &Call) -> Answer {
    let Some(filter) = call.parameter("filterType") else {
        return Answer::refused("1003", "filterType not specified");
    };
    let values: Vec<String> = call.all("filterValues").iter().map(|value| value.to_lowercase()).collect();
    if values.is_empty() || values.len() > PAGE_MAX {
        return Answer::refused("1003", "filterValues must hold 1 to 300 values");
    }
    let wanted: BTreeSet<&str> = values.iter().map(String::as_str).collect();
    let matches: Vec<Fields> = world
        .leads
        .values()
        .map(|lead| world.shown_lead(lead))
        .filter(|lead| lead.get(filter).is_some_and(|value| wanted.contains(text(value).to_lowercase().as_str())))
        .collect();
    if matches.len() > MATCHES_MAX {
        return Answer::refused("1003", "Too many results match the filter");
    }
    let shown: Vec<Value> = matches.iter().map(|lead| picked(lead, &call.all("fields"), &LEAD_DEFAULT)).collect();
    page(shown, call)
}

/// One page of a list; the token is the place where the next begins.
pub fn page(all: Vec<Value>, call: &Call) -> Answer {
    let size = call.number("batchSize").unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let from: usize = call
        .parameter("nextPageToken")
        .and_then(|token| token.strip_prefix("PG").and_then(|token| token.trim_end_matches('=').parse().ok()))
        .unwrap_or(0);
    let rest = all.len().saturating_sub(from);
    let shown: Vec<Value> = all.into_iter().skip(from).take(size).collect();
    if rest > size {
        Answer::with([("result", json!(shown)), ("nextPageToken", json!(format!("PG{}====", from + size)))])
    } else {
        Answer::result(shown)
    }
}

pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub fn sync_leads(world: &mut World, call: &Call) -> Answer {
    let Some(input) = call.body.get("input").and_then(Value::as_array) else {
        return Answer::refused("609", "Invalid JSON");
    };
    if input.is_empty() || input.len() > PAGE_MAX {
        return Answer::refused("1003", "input must hold 1 to 300 records");
    }
    let action = call.body.get("action").and_then(Value::as_str).unwrap_or("createOrUpdate");
    let lookup = call.body.get("lookupField").and_then(Value::as_str).unwrap_or("email");
    let result: Vec<Value> = input.iter().map(|fields| sync_lead(world, action, lookup, fields)).collect();
    Answer::result(result)
}

fn sync_lead(world: &mut World, action: &str, lookup: &str, fields: &Value) -> Value {
    let Some(key) = fields.get(lookup).filter(|key| !key.is_null()) else {
        return skipped("1002", format!("Missing value for '{lookup}'"));
    };
    if fields
        .as_object()
        .is_some_and(|fields| fields.keys().any(|name| READ_THROUGH[1..].contains(&name.as_str())))
    {
        return skipped("1021", "Update operation for fields of companies is not supported");
    }
    if lookup == "email" && !text(key).is_ascii() {
        return skipped("1003", "Email address is invalid");
    }
    let same = |lead: &&Lead| {
        world
            .shown_lead(lead)
            .get(lookup)
            .is_some_and(|value| text(value).eq_ignore_ascii_case(&text(key)))
    };
    let found: Vec<u64> = world.leads.values().filter(same).map(|lead| lead.id).collect();
    match (action, found.as_slice()) {
        ("createDuplicate", _) | ("createOrUpdate" | "createOnly", []) => json!({"id": world.create_lead(fields.clone()), "status": "created"}),
        ("createOnly", _) => skipped("1005", "Lead already exists"),
        (_, []) => skipped("1004", "Lead not found"),
        (_, [id]) => {
            let id = *id;
            let mut fields = fields.clone();
            if let Some(fields) = fields.as_object_mut() {
                fields.remove("id");
            }
            world.update_lead(id, fields);
            json!({"id": id, "status": "updated"})
        }
        _ => skipped("1007", "Multiple leads match lookup criteria"),
    }
}

pub fn skipped(code: &str, message: impl Into<String>) -> Value {
    json!({"status": "skipped", "reasons": [{"code": code, "message": message.into()}]})
}

/// The ids of a write: repeated in the query, or objects in the body.
pub fn ids(call: &Call) -> Vec<u64> {
    let body = call.body.get("input").and_then(Value::as_array).into_iter().flatten();
    let body = body.filter_map(|one| one.get("id").and_then(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok())));
    call.all("id").iter().filter_map(|id| id.parse().ok()).chain(body).collect()
}

pub fn delete_leads(world: &mut World, call: &Call) -> Answer {
    let ids = ids(call);
    if ids.is_empty() || ids.len() > PAGE_MAX {
        return Answer::refused("1003", "input must hold 1 to 300 records");
    }
    let delete = |id: u64| match world.delete_lead(id) {
        true => json!({"id": id, "status": "deleted"}),
        false => skipped("1004", "Lead not found"),
    };
    Answer::result(ids.into_iter().map(delete).collect::<Vec<_>>())
}

pub fn merge(world: &mut World, call: &Call, winner: &str) -> Answer {
    let mut losers: Vec<u64> = call.all("leadIds").iter().filter_map(|id| id.parse().ok()).collect();
    losers.extend(call.number("leadId").map(|id| id as u64));
    let winner = winner.parse().unwrap_or_default();
    if losers.is_empty() || losers.len() > 25 || !world.merge_leads(winner, &losers) {
        return Answer::refused("1080", "Leads cannot be merged");
    }
    Answer::Done(Map::new())
}

const TYPES: [(u32, &str); 22] = [
    (1, "Visit Webpage"),
    (2, "Fill Out Form"),
    (3, "Click Link"),
    (6, "Send Email"),
    (7, "Email Delivered"),
    (8, "Email Bounced"),
    (9, "Unsubscribe Email"),
    (10, "Open Email"),
    (11, "Click Email"),
    (12, "New Lead"),
    (13, "Change Data Value"),
    (22, "Change Score"),
    (24, "Add to List"),
    (25, "Remove from List"),
    (27, "Email Bounced Soft"),
    (32, "Merge Leads"),
    (34, "Add to Opportunity"),
    (35, "Remove from Opportunity"),
    (36, "Update Opportunity"),
    (37, "Delete Lead"),
    (46, "Interesting Moment"),
    (104, "Change Status in Progression"),
];

pub fn types() -> Answer {
    let mut types: Vec<Value> = TYPES
        .iter()
        .map(|(id, name)| json!({"id": id, "name": name, "description": name, "attributes": []}))
        .collect();
    types.push(json!({"id": 100_001, "name": "Attended Webinar", "apiName": "attendedWebinar", "attributes": []}));
    Answer::result(types)
}

pub fn paging_token(world: &mut World, call: &Call) -> Answer {
    let Some(since) = call.parameter("sinceDatetime").and_then(|text| Timestamp::parse(text).ok()) else {
        return Answer::refused("1003", "sinceDatetime is not a valid date");
    };
    let place = world.activities.iter().position(|one| one.date >= since || one.logged_at >= since);
    let token = issue(world, place.unwrap_or(world.activities.len()));
    Answer::with([("nextPageToken", json!(token))])
}

/// A new opaque token for a place in the log.
fn issue(world: &mut World, place: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut token: String = (0..28).map(|_| ALPHABET[world.random.below(32) as usize] as char).collect();
    token.push_str("====");
    let life = world.settings.paging_token_ms;
    let ends = if life == 0 { Timestamp::MAX } else { world.now.plus_ms(life) };
    world.paging.insert(token.clone(), (place, ends));
    token
}

/// One page of a feed: a stretch of the log, filtered.
fn feed(world: &mut World, gate: &Gate, call: &Call, wanted: impl Fn(&Activity) -> bool, show: impl Fn(&mut Random, &Activity) -> Value) -> Answer {
    let size = call.number("batchSize").unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let Some(token) = call.parameter("nextPageToken") else {
        return Answer::refused("1003", "nextPageToken not specified");
    };
    let lost = world.random.chance(gate.faults.paging_lost);
    let Some((mut place, _)) = world.paging.get(token).copied().filter(|(_, ends)| *ends > world.now && !lost) else {
        world.paging.remove(token);
        return Answer::refused("1003", "nextPageToken is invalid or has expired");
    };
    if world.random.chance(gate.faults.repeated) {
        place = place.saturating_sub(3);
    }
    // A page looks at a stretch of random length, so that it may be short or empty although more
    // follows.
    let scanned = if world.random.chance(gate.faults.empty_page) {
        0
    } else {
        1 + world.random.below(SCAN_MAX) as usize
    };
    let mut shown = Vec::new();
    let end = world.activities.len().min(place.saturating_add(scanned));
    while place < end && shown.len() < size {
        if wanted(&world.activities[place]) {
            shown.push(world.activities[place].clone());
        }
        place += 1;
    }
    if world.random.chance(gate.faults.shuffled) {
        shown.reverse();
    }
    let rows: Vec<Value> = shown.iter().map(|activity| show(&mut world.random, activity)).collect();
    let more = place < world.activities.len();
    let next = issue(world, place);
    let mut members = vec![("nextPageToken", json!(next)), ("moreResult", json!(more))];
    if !rows.is_empty() {
        members.push(("result", json!(rows)));
    }
    Answer::Done(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub fn activities(world: &mut World, gate: &Gate, call: &Call) -> Answer {
    let kinds: BTreeSet<u32> = call.all("activityTypeIds").iter().filter_map(|id| id.parse().ok()).collect();
    if kinds.is_empty() || kinds.len() > 10 {
        return Answer::refused("1003", "activityTypeIds must hold 1 to 10 values");
    }
    let leads: BTreeSet<u64> = call.all("leadIds").iter().filter_map(|id| id.parse().ok()).collect();
    if leads.len() > 30 {
        return Answer::refused("1003", "leadIds must hold at most 30 values");
    }
    let wanted = |one: &Activity| one.kind != 37 && kinds.contains(&one.kind) && (leads.is_empty() || leads.contains(&one.lead));
    feed(world, gate, call, wanted, shown)
}

/// An activity as the feed shows it; empty attributes are left out, dates come in two shapes.
pub fn shown(random: &mut Random, activity: &Activity) -> Value {
    let attributes = activity.attributes.iter().filter(|(_, value)| *value != "" && !value.is_null());
    let attributes: Vec<Value> = attributes.map(|(name, value)| json!({"name": name, "value": value})).collect();
    let mut date = instant(activity.date);
    if random.chance(500) {
        date = date.replace('Z', "+0000");
    }
    let mut shown = json!({
        "id": activity.id,
        "marketoGUID": activity.guid,
        "leadId": activity.lead,
        "activityDate": date,
        "activityTypeId": activity.kind,
        "attributes": attributes,
    });
    if let Some((id, value)) = &activity.primary {
        shown["primaryAttributeValueId"] = json!(id);
        shown["primaryAttributeValue"] = json!(value);
    }
    shown
}

pub fn lead_changes(world: &mut World, gate: &Gate, call: &Call) -> Answer {
    let fields: BTreeSet<String> = call.all("fields").into_iter().collect();
    if fields.is_empty() {
        return Answer::refused("1002", "Missing value for required parameter 'fields'");
    }
    let wanted = |one: &Activity| match (&one.change, one.kind) {
        (Some((name, _, _)), 13) => fields.contains(name),
        (_, kind) => kind == 12,
    };
    feed(world, gate, call, wanted, |random, one| {
        let mut row = shown(random, one);
        let change = one.change.as_ref();
        row["fields"] = change.map_or(
            json!([]),
            |(name, new, old)| json!([{"id": name.len(), "name": name, "newValue": new, "oldValue": old}]),
        );
        row
    })
}

pub fn deleted_leads(world: &mut World, gate: &Gate, call: &Call) -> Answer {
    let oldest = world.now.plus_ms(-world.settings.deletions_kept_ms);
    feed(world, gate, call, |one| one.kind == 37 && one.logged_at >= oldest, shown)
}

pub fn add_activities(world: &mut World, call: &Call) -> Answer {
    let input = call.body.get("input").and_then(Value::as_array).cloned().unwrap_or_default();
    if input.is_empty() || input.len() > PAGE_MAX {
        return Answer::refused("1003", "input must hold 1 to 300 records");
    }
    let result = input.iter().map(|one| {
        let lead = one.get("leadId").and_then(Value::as_u64).filter(|lead| world.leads.contains_key(lead));
        let kind = one.get("activityTypeId").and_then(Value::as_u64).and_then(|kind| u32::try_from(kind).ok());
        let date = one.get("activityDate").and_then(Value::as_str).and_then(|date| Timestamp::parse(date).ok());
        let value = one.get("primaryAttributeValue").map(text);
        match (lead, kind, date, value) {
            (Some(lead), Some(kind), Some(date), Some(value)) => {
                let attributes = one.get("attributes").and_then(Value::as_array).cloned().unwrap_or_default();
                let named = attributes.iter().filter_map(|one| {
                    let name = one.get("apiName").or_else(|| one.get("name"))?.as_str()?;
                    Some((name, one.get("value").cloned().unwrap_or_default()))
                });
                let guid = world.log(lead, kind, date, Some((0, value)), named.collect());
                json!({"marketoGUID": guid, "status": "added"})
            }
            _ => json!({"status": "skipped", "errors": [{"code": "1003", "message": "Invalid activity"}]}),
        }
    });
    let result: Vec<Value> = result.collect();
    Answer::result(result)
}

pub fn usage(world: &World, gate: &Gate) -> Answer {
    let users = json!([{"userId": "api-user@example.com", "count": gate.spent}]);
    Answer::result(json!([{"date": day(world.now), "total": gate.spent, "users": users}]))
}

pub fn errors(world: &World, gate: &Gate) -> Answer {
    let errors: Vec<Value> = gate.errors.iter().map(|(code, count)| json!({"errorCode": code, "count": count})).collect();
    let total: u64 = gate.errors.values().sum();
    Answer::result(json!([{"date": day(world.now), "total": total, "errors": errors}]))
}

fn day(at: Timestamp) -> String {
    DateTime::from_timestamp_millis(at.0).map_or_else(String::new, |at| at.with_timezone(&chrono_tz::America::Chicago).date_naive().to_string())
}
