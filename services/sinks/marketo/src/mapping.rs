//! Bodies of calls, and the results of single records in answers.

use std::collections::BTreeMap;

use millrace_connect::sink::{Change, Refusal};
use serde_json::{Value, json};

use crate::config::{Duplicates, Parent};

/// A person of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    pub id: u64,
    /// As Marketo writes it; the shape sorts as the instants do.
    pub updated_at: String,
}

/// The result of one record in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The record is as requested, by this call or before it. The lead's id if the answer names it.
    Done(Option<u64>),
    /// There is no such lead (any more): 1004.
    Gone,
    /// The lead exists already, or several do: 1005, 1007.
    Exists,
    /// Marketo will never accept it.
    Refused(String),
}

/// The outcome of one record of a successful answer.
pub fn outcome(row: &Value) -> Outcome {
    let status = row["status"].as_str().unwrap_or_default();
    let reason = &row["reasons"][0];
    let code = reason["code"].as_str().unwrap_or_default();
    match (status, code) {
        // Skipped without a reason, or because nothing was to do (1015: not in the list), counts as
        // done.
        ("created" | "updated" | "added" | "removed" | "memberof" | "notmemberof", _) | ("skipped", "" | "1015") => Outcome::Done(row["id"].as_u64()),
        (_, "1004") => Outcome::Gone,
        (_, "1005" | "1007") => Outcome::Exists,
        _ => Outcome::Refused(format!("{code}: {}", reason["message"].as_str().unwrap_or(status))),
    }
}

/// The key under which an id of the destination and a field's value match: addresses in lower case.
pub fn match_key(field: &str, value: &str) -> String {
    if field == "email" {
        value.trim().to_lowercase()
    } else {
        value.trim().to_owned()
    }
}

/// The leads of an answer by the value of a field, without those that have none.
pub fn leads(rows: &[Value], field: &str, into: &mut BTreeMap<String, Vec<Lead>>) {
    for row in rows {
        let value = match &row[field] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        let Some(id) = row["id"].as_u64() else { continue };
        let lead = Lead {
            id,
            updated_at: row["updatedAt"].as_str().unwrap_or_default().to_owned(),
        };
        let known = into.entry(match_key(field, &value)).or_default();
        if known.iter().all(|other| other.id != id) {
            known.push(lead);
        }
    }
}

/// The leads of one identity for a change: all of them for a removal, those that the rule chooses
/// for an addition.
pub fn chosen(leads: &[Lead], present: bool, rule: Duplicates) -> Vec<u64> {
    if !present || rule == Duplicates::All {
        return leads.iter().map(|lead| lead.id).collect();
    }
    let latest = leads.iter().max_by(|a, b| a.updated_at.cmp(&b.updated_at).then(b.id.cmp(&a.id)));
    latest.map(|lead| lead.id).into_iter().collect()
}

/// Members to add to a list or remove from it.
pub fn members(ids: &[u64]) -> Value {
    let input: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    json!({ "input": input })
}

/// New persons, by the field that they are matched by.
pub fn new_persons(changes: &[&Change], field: &str) -> Value {
    let person = |change: &&Change| {
        let mut person = json!(change.attributes);
        person[field] = json!(change.identity.id());
        person
    };
    let input: Vec<Value> = changes.iter().map(person).collect();
    json!({"action": "createOnly", "lookupField": field, "input": input})
}

/// Attributes of existing persons.
pub fn updates(changes: &[(u64, &Change)]) -> Value {
    let person = |(id, change): &(u64, &Change)| {
        let mut person = json!(change.attributes);
        person["id"] = json!(id);
        person
    };
    let input: Vec<Value> = changes.iter().map(person).collect();
    json!({"action": "updateOnly", "lookupField": "id", "input": input})
}

/// The form that creates a list.
pub fn new_list(name: &str, place: Parent) -> Vec<(&'static str, String)> {
    let (id, kind) = match place {
        Parent::Folder(id) => (id, "Folder"),
        Parent::Program(id) => (id, "Program"),
    };
    vec![("folder", json!({"id": id, "type": kind}).to_string()), ("name", name.to_owned())]
}

/// The refusal of one change. `request` names the request without the person's attributes.
pub fn refusal(change: &Change, list: &str, reason: &str) -> Refusal {
    let act = if change.present { "add" } else { "remove" };
    Refusal {
        reason: reason.to_owned(),
        request: format!("{act} {} at list {list}", change.identity),
        answer: reason.to_owned(),
    }
}
