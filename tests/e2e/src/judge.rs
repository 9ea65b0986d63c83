//! What must hold of the output, whatever happened to the processes that wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_oracle::{Config, Oracle, Rule, SourceRecord};
use serde_json::Value as Json;

use crate::deployment::{Deployment, Node};
use crate::outside::{self, Read};
use crate::{now_ms, wait_for, worlds};

/// The schema of the membership topic.
const MEMBERSHIP: &str = "schemas/output/audience-membership.avsc";

/// The source topics but that of activities, which comes last.
const SOURCES: [&str; 12] = [
    "person",
    "account",
    "opportunity",
    "account-person",
    "opportunity-person",
    "campaign",
    "campaign-member",
    "marketing-list",
    "marketing-list-member",
    "audience-member",
    "account-link",
    "activity",
];

/// A timer, and its effects, may be late by this.
const TIMERS_LATE_MS: i64 = 3_000;

/// Members by segment; segments that never had any are left out.
pub type Members = BTreeMap<String, BTreeSet<String>>;

/// A record of the membership topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub partition: i64,
    pub segment: String,
    pub subject_type: String,
    pub subject: String,
    pub status: String,
    pub sequence: i64,
    pub evaluated_at_ms: i64,
    pub qualified_at_ms: i64,
    pub record: Json,
}

/// All changes of a deployment so far, read and decoded by Python: partition by partition, each in
/// its order.
///
/// # Errors
/// Why they cannot be read.
pub fn changes(deployment: &Deployment) -> Result<Vec<Change>, String> {
    let rows = outside::read(&deployment.bootstrap, &[deployment.topic("audience.membership")], Some(MEMBERSHIP))?;
    let mut changes: Vec<Change> = rows.into_iter().map(change).collect();
    // Between partitions a consumer's order is chance.
    changes.sort_by_key(|change| change.partition);
    Ok(changes)
}

fn change(row: Read) -> Change {
    let record = row.record.expect("a change of membership has a value");
    let text = |name: &str| record[name].as_str().unwrap_or_else(|| panic!("{name} is no text: {record}")).to_owned();
    let number = |name: &str| record[name].as_i64().unwrap_or_else(|| panic!("{name} is no number: {record}"));
    let change = Change {
        partition: row.partition,
        segment: text("segment"),
        subject_type: text("subjectType"),
        subject: text("subjectId"),
        status: text("status"),
        sequence: number("sequence"),
        evaluated_at_ms: number("evaluatedAt"),
        qualified_at_ms: number("lastQualificationTime"),
        record: record.clone(),
    };
    let key = row.key.map(|key| String::from_utf8_lossy(&key).into_owned());
    assert_eq!(key, Some(format!("{}|{}", change.segment, change.subject)), "{record}");
    change
}

/// The promises of the membership topic: `realized` and `exited` alternate per key and begin with
/// `realized`; per subject `sequence` counts from 1 without gap or repeat, `evaluatedAt` never runs
/// backwards, and all changes lie in one partition.
///
/// # Panics
/// At the first that is broken.
pub fn check_stream(changes: &[Change]) {
    let mut by_key: BTreeMap<(&str, &str), &Change> = BTreeMap::new();
    let mut by_subject: BTreeMap<&str, &Change> = BTreeMap::new();
    for change in changes {
        let last = by_key.insert((&change.segment, &change.subject), change);
        let expected = if last.is_some_and(|last| last.status == "realized") {
            "exited"
        } else {
            "realized"
        };
        assert_eq!(change.status, expected, "{change:#?}\nafter {last:#?}");
        if let Some(last) = last.filter(|_| expected == "exited") {
            assert_eq!(change.qualified_at_ms, last.qualified_at_ms, "{change:#?}\nafter {last:#?}");
        }
        let last = by_subject.insert(&change.subject, change);
        assert_eq!(change.sequence, last.map_or(0, |last| last.sequence) + 1, "{change:#?}\nafter {last:#?}");
        if let Some(last) = last {
            assert!(change.evaluated_at_ms >= last.evaluated_at_ms, "{change:#?}\nafter {last:#?}");
            assert_eq!(change.partition, last.partition, "{change:#?}\nafter {last:#?}");
        }
    }
}

/// The members of each segment, from the changes.
pub fn members(changes: &[Change]) -> Members {
    let mut members = Members::new();
    for change in changes {
        let of_segment = members.entry(change.segment.clone()).or_default();
        if change.status == "realized" {
            of_segment.insert(change.subject.clone());
        } else {
            of_segment.remove(&change.subject);
        }
    }
    members.retain(|_, ids| !ids.is_empty());
    members
}

/// The expected members. The oracle is slow on large worlds, and worlds side by side have nothing
/// in common: it judges each on its own.
///
/// # Panics
/// Where a world is not one that the oracle can judge: a defect of the test.
pub fn expected(records: &[SourceRecord], rules: &[Rule], now_ms: i64) -> Members {
    let mut apart: BTreeMap<Option<usize>, Vec<SourceRecord>> = BTreeMap::new();
    for record in records {
        apart.entry(worlds::of(&record.key)).or_default().push(record.clone());
    }
    let mut members = Members::new();
    for records in apart.values() {
        let world = Oracle::evaluate(records, rules, now_ms, &Config::default());
        for (rule, ids) in world.members.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            members.entry(rule).or_default().extend(ids);
        }
    }
    members
}

/// Everything in the source topics that is JSON or a tombstone, without the records that `unusable`
/// selects.
///
/// # Panics
/// Where the topics cannot be read.
pub fn sources(deployment: &Deployment, unusable: impl Fn(&Read) -> bool) -> Vec<SourceRecord> {
    let topics: Vec<String> = SOURCES.iter().map(|name| deployment.topic(&format!("source.{name}"))).collect();
    let rows = outside::read(&deployment.bootstrap, &topics, None).unwrap_or_else(|error| panic!("{error}"));
    let prefix = deployment.topic("source.");
    let good = rows.iter().filter(|row| !unusable(row));
    let record = |row: &Read| SourceRecord {
        topic: row.topic.strip_prefix(&prefix).expect("asked for").to_owned(),
        key: String::from_utf8(row.key.clone().expect("a good record has a key")).expect("a good key is UTF-8"),
        value: row.value.as_ref().map(|value| serde_json::from_slice(value).expect("a good value is JSON")),
        timestamp_ms: row.timestamp_ms,
    };
    good.map(record).collect()
}

/// Waits until the processes have nothing left to read, and the members equal the oracle's; returns
/// the changes then, checked.
///
/// # Panics
/// With the difference and the ends of the logs where that does not happen in time, or a process
/// ends.
pub fn settled(deployment: &Deployment, nodes: &mut [Node], records: &[SourceRecord], rules: &[Rule], within: Duration) -> Vec<Change> {
    let mut seen = 0;
    let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("the memberships to be right", within, || {
            for node in nodes.iter_mut() {
                if let Some(status) = node.ended() {
                    panic!("{} has ended: {status}", node.instance);
                }
                let lag = node.metric("millrace_consumer_lag", "")?;
                if lag > 0.0 {
                    return Err(format!("{} lags by {lag} records", node.instance));
                }
            }
            let begun_ms = now_ms();
            let changes = changes(deployment)?;
            let found = members(&changes);
            let late = expected(records, rules, now_ms());
            // Memberships that time changes during the check can be right and not equal.
            if expected(records, rules, begun_ms - TIMERS_LATE_MS) != late {
                return Err("time changes memberships just now".to_owned());
            }
            if found != late {
                return Err(difference(&found, &late));
            }
            if changes.len() != std::mem::replace(&mut seen, changes.len()) {
                return Err(format!("right, and not at rest: {seen} changes"));
            }
            Ok(changes)
        })
    }));
    match verdict {
        Ok(changes) => {
            check_stream(&changes);
            changes
        }
        Err(panic) => {
            nodes.iter().for_each(|node| eprintln!("{}\n{}", node.tail(), node.counts()));
            std::panic::resume_unwind(panic)
        }
    }
}

/// The missing and the surplus members, by segment.
fn difference(found: &Members, expected: &Members) -> String {
    let none = BTreeSet::new();
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let mut text = String::from("members differ");
    for name in names {
        let (found, expected) = (found.get(name).unwrap_or(&none), expected.get(name).unwrap_or(&none));
        if found != expected {
            let missing: Vec<_> = expected.difference(found).take(5).collect();
            let wrong: Vec<_> = found.difference(expected).take(5).collect();
            text.push_str(&format!(
                "\n{name}: {} found, {} expected; missing {missing:?}, wrong {wrong:?}",
                found.len(),
                expected.len()
            ));
        }
    }
    text
}

/// A dead letter: its origin, its content, and its reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetter {
    pub topic: String,
    pub partition: i64,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub reason: String,
}

/// All dead letters of a deployment, by origin.
///
/// # Errors
/// Why they cannot be read.
///
/// # Panics
/// Where one lacks a promised header.
pub fn dead_letters(deployment: &Deployment) -> Result<Vec<DeadLetter>, String> {
    let rows = outside::read(&deployment.bootstrap, &[deployment.topic("dead-letter")], None)?;
    let mut letters: Vec<DeadLetter> = rows.into_iter().map(dead_letter).collect();
    letters.sort();
    Ok(letters)
}

fn dead_letter(row: Read) -> DeadLetter {
    let header = |name: &str| row.header(name).unwrap_or_else(|| panic!("no header {name}: {row:?}"));
    let number = |name: &str| header(name).parse().unwrap_or_else(|error| panic!("header {name}: {error}: {row:?}"));
    assert!(
        !header("__connect.errors.stage").is_empty() && !header("__connect.errors.exception.message").is_empty(),
        "{row:?}"
    );
    DeadLetter {
        topic: header("__connect.errors.topic"),
        partition: number("__connect.errors.partition"),
        offset: number("__connect.errors.offset"),
        reason: header("millrace.reason"),
        key: row.key,
        value: row.value,
    }
}
