//! The oracle's worlds, adapted to a real deployment: moved into the present, and side by side.

use chrono::{Days, NaiveDate};
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::random::{self, Random};
use millrace_oracle::worlds::{DAY_MS, event, visit};
use serde_json::{Value as Json, json};

/// Moves a record in time: its versions, events, validities and dates.
pub fn moved(record: &SourceRecord, by_ms: i64) -> SourceRecord {
    let mut moved = record.clone();
    moved.timestamp_ms += by_ms;
    if let Some(fields) = moved.value.as_mut().and_then(Json::as_object_mut) {
        for name in ["modifiedAt", "timestamp", "validFrom", "validTo"] {
            if let Some(at) = fields.get(name).and_then(Json::as_i64) {
                fields.insert(name.to_owned(), json!(at + by_ms));
            }
        }
        if let Some(date) = fields.get("expectedCloseDate").and_then(Json::as_str) {
            let date: NaiveDate = date.parse().expect("a date");
            let days = u64::try_from(by_ms.div_euclid(DAY_MS)).expect("worlds are moved forward");
            let date = date.checked_add_days(Days::new(days)).expect("a date within the calendar");
            fields.insert("expectedCloseDate".to_owned(), json!(date.to_string()));
        }
    }
    moved
}

/// Renames everything that a record names, so that worlds can stand side by side.
fn renamed(record: &SourceRecord, world: usize) -> SourceRecord {
    let mut renamed = record.clone();
    renamed.key = match record.key.split_once(':') {
        Some((namespace, id)) => format!("{namespace}:{}", name(id, world)),
        None => name(&record.key, world),
    };
    if let Some(value) = &mut renamed.value {
        rename(value, world);
    }
    renamed
}

/// The world a key belongs to; `None` where it was not renamed.
pub fn of(key: &str) -> Option<usize> {
    let id = key.split_once(':').map_or(key, |(_, id)| id);
    id.trim_start().strip_prefix('w')?.split_once('.')?.0.parse().ok()
}

/// The name in front, after any blanks: they belong to the case.
fn name(id: &str, world: usize) -> String {
    let blanks = id.len() - id.trim_start().len();
    format!("{}w{world}.{}", &id[..blanks], &id[blanks..])
}

fn rename(value: &mut Json, world: usize) {
    match value {
        Json::Object(fields) => {
            for (field, value) in fields {
                match value {
                    Json::String(text) if ["sourceKey", "address", "_id", "id"].contains(&field.as_str()) => *text = name(text, world),
                    value => rename(value, world),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| rename(item, world)),
        _ => {}
    }
}

/// `count` random worlds of `changes` records each that have nothing in common, ending at `end_ms`,
/// as one stream in order of time.
pub fn side_by_side(seed: u64, count: usize, changes: usize, end_ms: i64) -> Vec<SourceRecord> {
    let mut records = Vec::new();
    for world in 0..count {
        let stream = random::stream(seed + world as u64, changes);
        records.extend(stream.records.iter().map(|record| renamed(&moved(record, end_ms - stream.end_ms), world)));
    }
    records.sort_by_key(|record| record.timestamp_ms);
    records
}

/// An act of a person of the first `worlds` worlds at `at_ms`.
pub fn act(random: &mut Random, number: usize, worlds: usize, at_ms: i64) -> SourceRecord {
    let who = [
        "email:ann@townsend.com",
        "email:BOB@acme.com",
        "ecid:e1",
        "ecid:e3",
        "b2b_person:1@m1.Marketo",
        "b2b_person:2@m2.Marketo",
    ];
    let (namespace, id) = random.pick(&who).split_once(':').expect("an identity");
    let who = format!("{namespace}:{}", name(id, random.below(worlds)));
    let id = format!("act-{number}");
    if random.chance(10) {
        event(&id, at_ms, &[&who], json!({ "eventType": "web.formFilledOut" }))
    } else {
        visit(&id, at_ms, random.pick(&["New product", "Pricing", "Support"]), &[&who])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millrace_oracle::worlds::rules;
    use millrace_oracle::{Config, Oracle};

    use super::*;

    /// Worlds side by side have the same members as alone.
    #[test]
    fn worlds_do_not_touch() {
        let (end_ms, count) = (random::stream(1, 60).end_ms + 5_000 * DAY_MS, 4);
        let members = |records: &[SourceRecord]| Oracle::evaluate(records, &rules::all(), end_ms, &Config::default()).members;
        let all = side_by_side(1, count, 60, end_ms);
        let together: BTreeSet<(String, String)> = flat(members(&all)).collect();
        let mut alone = BTreeSet::new();
        for world in 0..count {
            let own = side_by_side(1, count, 60, end_ms).into_iter().filter(|record| of(&record.key) == Some(world));
            alone.extend(flat(members(&own.collect::<Vec<_>>())));
        }
        assert!(together.len() > 20, "{}", together.len());
        assert_eq!(together, alone);
    }

    fn flat(members: std::collections::BTreeMap<String, BTreeSet<String>>) -> impl Iterator<Item = (String, String)> {
        members.into_iter().flat_map(|(rule, ids)| ids.into_iter().map(move |id| (rule.clone(), id)))
    }
}
