//! The record of one key of a source topic: its changes replayed in order of version, as leaves
//! with the versions that set them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::SourceRecord;
use crate::calendar::parse_instant;

/// A path of field names.
pub(crate) type Path = Vec<String>;

/// A leaf of a record: the smallest thing that is replaced as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    pub value: Json,
    /// Milliseconds since the epoch.
    pub modified_at: i64,
}

/// A live record: not deleted, and not removed by a tombstone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub key: String,
    pub leaves: BTreeMap<Path, Leaf>,
    /// The leaves as a tree.
    pub fields: Json,
}

const BOOKKEEPING: [&str; 3] = ["modifiedAt", "isDeleted", "changedFields"];

/// Replays the records of one key, given in the order of the topic. `None` where no record lives
/// there.
pub(crate) fn replay(key: &str, changes: &[&SourceRecord]) -> Option<Record> {
    let after_tombstone = changes.iter().rposition(|change| change.value.is_none()).map_or(0, |at| at + 1);
    let mut versions: Vec<(i64, Json)> = changes[after_tombstone..]
        .iter()
        .filter_map(|change| {
            let value = change.value.as_ref()?;
            let modified_at = modified_at(value, change.timestamp_ms);
            Some((modified_at, believed(value, modified_at, change.timestamp_ms)))
        })
        .collect();
    // The sort is stable: of equal versions the later in the topic is applied later, and wins.
    versions.sort_by_key(|(modified_at, _)| *modified_at);
    let mut held: Option<Record> = None;
    for (modified_at, value) in versions {
        held = apply(key, held, &value, modified_at);
    }
    held.map(|record| Record {
        fields: merge(&[&record]),
        ..record
    })
}

fn apply(key: &str, held: Option<Record>, value: &Json, modified_at: i64) -> Option<Record> {
    if value["isDeleted"] == Json::Bool(true) {
        return None;
    }
    let Some(paths) = value["changedFields"].as_array() else {
        let mut record = Record {
            key: key.to_owned(),
            ..Record::default()
        };
        for (path, value) in leaves(value) {
            record.leaves.insert(path, Leaf { value, modified_at });
        }
        if value["audience"].is_string() {
            // How long a membership of an external audience counts depends on its version.
            let value = Json::from(modified_at);
            record.leaves.insert(vec!["modifiedAt".to_owned()], Leaf { value, modified_at });
        }
        return Some(record);
    };
    if paths.is_empty() {
        return held;
    }
    let mut record = held.unwrap_or_else(|| Record {
        key: key.to_owned(),
        ..Record::default()
    });
    for path in paths.iter().filter_map(Json::as_str) {
        let path: Path = path.trim().split('.').map(str::to_owned).collect();
        settle(&mut record, &path, value, modified_at);
    }
    Some(record)
}

/// Sets `record` at `path` to `value`'s content there, which may be absent.
fn settle(record: &mut Record, path: &Path, value: &Json, modified_at: i64) {
    for depth in 1..path.len() {
        let (whole, part) = path.split_at(depth);
        let known = record.leaves.get(whole).map(|leaf| leaf.value.clone());
        let either = || [known.as_ref(), at(value, whole)].into_iter().flatten();
        // The parts of a key are one text taken apart, so a path into one means all of it. The `val` of a consent is a decision of its own.
        if either().any(is_key) || is_consent(whole) && part[0] == "val" {
            return settle(record, &whole.to_vec(), value, modified_at);
        }
        // A path into another value that counts as one changes that part of it. The whole is as new as its newest part, but a consent as its decision.
        if either().any(is_one_value) || is_consent(whole) {
            let decided_at = record.leaves.get(whole).filter(|_| is_consent(whole)).map(|leaf| leaf.modified_at);
            let modified_at = decided_at.unwrap_or(modified_at);
            let mut combined = known.unwrap_or_else(|| Json::Object(Map::new()));
            set(&mut combined, part, at(value, path).cloned().unwrap_or(Json::Null));
            record.leaves.remove(whole);
            if is_one_value(&combined) || is_consent(whole) && says_something(&combined) {
                record.leaves.insert(whole.to_vec(), Leaf { value: combined, modified_at });
            }
            return;
        }
    }
    record.leaves.retain(|known, _| !known.starts_with(path));
    let Some(said) = at(value, path) else { return };
    let mut found = Vec::new();
    collect(path.clone(), said, &mut found);
    for (path, value) in found {
        record.leaves.insert(path, Leaf { value, modified_at });
    }
}

/// The version of a change: the source's own instant, otherwise the broker's.
pub(crate) fn modified_at(value: &Json, broker_timestamp_ms: i64) -> i64 {
    match instant(&value["modifiedAt"]) {
        // A clock that is ahead by more than the default limit of five minutes is not believed.
        Some(said) if said <= broker_timestamp_ms + 300_000 => said,
        _ => broker_timestamp_ms,
    }
}

/// The record as it counts: a decision that a wrong clock puts more than five minutes ahead is as old as the record.
fn believed(value: &Json, version: i64, broker_timestamp_ms: i64) -> Json {
    let mut value = value.clone();
    let consents = value.get_mut("consents").and_then(Json::as_object_mut).into_iter().flatten();
    for (kind, consent) in consents {
        let decisions: Vec<&mut Json> = match (kind.as_str(), consent) {
            ("marketing", Json::Object(channels)) => channels.values_mut().collect(),
            ("collect" | "share", consent) => vec![consent],
            _ => Vec::new(),
        };
        for decision in decisions {
            if instant(&decision["time"]).is_some_and(|time| time > broker_timestamp_ms + 300_000) {
                decision["time"] = Json::from(version);
            }
        }
    }
    value
}

/// RFC 3339 text, a plain date, or a number of milliseconds.
pub(crate) fn instant(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|ms| ms as i64)),
        Json::String(text) => parse_instant(text),
        _ => None,
    }
}

/// An amount with its currency, and the key of a source: never taken apart.
fn is_one_value(value: &Json) -> bool {
    is_key(value) || !value["amount"].is_null() || !value["currencyCode"].is_null()
}

/// Whether a decision of a person about a channel stands at this path. It is never taken apart either.
fn is_consent(path: &[String]) -> bool {
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(steps.as_slice(), ["consents", "marketing", _] | ["consents", "collect" | "share"])
}

/// Whether any part is there.
fn says_something(consent: &Json) -> bool {
    consent.as_object().is_some_and(|parts| parts.values().any(|part| !part.is_null()))
}

/// Since when a leaf holds, and whether it is a refusal, which wins of two that hold since then.
fn since(path: &[String], leaf: &Leaf) -> (i64, bool) {
    if !is_consent(path) {
        return (leaf.modified_at, false);
    }
    let refused = ["n", "dn"].contains(&leaf.value["val"].as_str().unwrap_or_default());
    (instant(&leaf.value["time"]).unwrap_or(leaf.modified_at), refused)
}

fn is_key(value: &Json) -> bool {
    !value["sourceKey"].is_null() || !value["sourceID"].is_null()
}

/// Whether a leaf says nothing of what matters: the currency of no amount, words about no decision.
fn is_hollow(path: &[String], value: &Json) -> bool {
    if is_consent(path) {
        return value["val"].is_null();
    }
    value["amount"].is_null() && !value["currencyCode"].is_null()
}

fn leaves(value: &Json) -> Vec<(Path, Json)> {
    let mut found = Vec::new();
    for (name, field) in value.as_object().into_iter().flatten() {
        if !BOOKKEEPING.contains(&name.as_str()) {
            collect(vec![name.clone()], field, &mut found);
        }
    }
    found
}

fn collect(path: Path, value: &Json, found: &mut Vec<(Path, Json)>) {
    match value {
        Json::Null => {}
        // A blank text is null, except in custom fields.
        Json::String(text) if text.trim().is_empty() && path.first().is_none_or(|first| first != "extra") => {}
        Json::Object(_) if is_consent(&path) && !says_something(value) => {}
        Json::Object(fields) if !is_one_value(value) && !is_consent(&path) => {
            for (name, field) in fields {
                let mut inner = path.clone();
                inner.push(name.clone());
                collect(inner, field, found);
            }
        }
        _ => found.push((path, value.clone())),
    }
}

fn at<'a>(value: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

fn set(tree: &mut Json, path: &[String], value: Json) {
    if !tree.is_object() {
        *tree = Json::Object(Map::new());
    }
    let Some(fields) = tree.as_object_mut() else { return };
    match path {
        [] => {}
        [last] => {
            fields.insert(last.clone(), value);
        }
        [first, rest @ ..] => set(fields.entry(first).or_insert(Json::Null), rest, value),
    }
}

impl Record {
    /// The value at a dotted path, inner parts of leaves included.
    pub fn at(&self, dotted: &str) -> &Json {
        dotted.split('.').fold(&self.fields, |value, name| &value[name])
    }
}

/// The merged view of several records of one thing: per leaf the latest wins, of equally late ones
/// that of the least source key.
pub(crate) fn merge(records: &[&Record]) -> Json {
    let mut best: BTreeMap<&Path, (&Leaf, &str)> = BTreeMap::new();
    for record in records {
        for (path, leaf) in &record.leaves {
            // No amount wins over no amount only, whatever currency comes with it.
            let rank = |leaf: &Leaf, key| (!is_hollow(path, &leaf.value), since(path, leaf), leaf.modified_at, Reverse(key));
            let better = best.get(path).is_none_or(|(known, key)| rank(leaf, record.key.as_str()) > rank(known, key));
            if better {
                best.insert(path, (leaf, &record.key));
            }
        }
    }
    let mut tree = Json::Object(Map::new());
    for (path, (leaf, _)) in best {
        set(&mut tree, path, leaf.value.clone());
    }
    tree
}

#[cfg(test)]
mod tests;
