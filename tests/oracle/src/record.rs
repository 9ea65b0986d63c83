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
    let mut versions: Vec<(i64, &Json)> = changes[after_tombstone..]
        .iter()
        .filter_map(|change| change.value.as_ref().map(|value| (modified_at(value, change.timestamp_ms), value)))
        .collect();
    // The sort is stable: of equal versions the later in the topic is applied later, and wins.
    versions.sort_by_key(|(modified_at, _)| *modified_at);
    let mut held: Option<Record> = None;
    for (modified_at, value) in versions {
        held = apply(key, held, value, modified_at);
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
        // The parts of a key come from one text, so a path into one means all of it.
        if either().any(|value| is_key(value) || is_consent(value)) {
            return settle(record, &whole.to_vec(), value, modified_at);
        }
        // A path into another value that counts as one changes that part of it, and the whole is as
        // new as its newest part.
        if either().any(is_one_value) {
            let mut combined = known.unwrap_or_else(|| Json::Object(Map::new()));
            set(&mut combined, part, at(value, path).cloned().unwrap_or(Json::Null));
            record.leaves.remove(whole);
            if is_one_value(&combined) {
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
    is_key(value) || is_consent(value) || !value["amount"].is_null() || !value["currencyCode"].is_null()
}

/// A decision of a person about a channel.
fn is_consent(value: &Json) -> bool {
    !value["val"].is_null()
}

/// Since when a leaf holds, and whether it is a refusal, which wins over another value since the
/// same time.
fn since(leaf: &Leaf) -> (i64, bool) {
    if !is_consent(&leaf.value) {
        return (leaf.modified_at, false);
    }
    let refused = ["n", "dn"].contains(&leaf.value["val"].as_str().unwrap_or_default());
    (instant(&leaf.value["time"]).unwrap_or(leaf.modified_at), refused)
}

fn is_key(value: &Json) -> bool {
    !value["sourceKey"].is_null() || !value["sourceID"].is_null()
}

/// Whether a leaf is a currency without an amount.
fn lacks_amount(value: &Json) -> bool {
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
        Json::Object(fields) if !is_one_value(value) => {
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
            let rank = |leaf: &Leaf, key| (!lacks_amount(&leaf.value), since(leaf), leaf.modified_at, Reverse(key));
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
