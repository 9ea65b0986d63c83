//! When a change happened, as the version of its record. Pure.
//!
//! A version is the commit time at the database (`source.ts_ms`), except for two corrections that
//! keep the order of the topic:
//!
//! * A change that follows rows of a snapshot may have been committed before they were read, and
//!   bears the earlier time although it is the later state. So a version is never below that of the
//!   change before it in the partition. (It is never lifted above the time of the Kafka record, so
//!   that one wrong clock does not win for ever.)
//! * After a crash the connector repeats the end of what it sent. A repeated change, recognised by
//!   its position in the database's log, keeps its own time: it is older than what is known by now,
//!   and changes nothing.

use millrace_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A place in a database's log. Places of one log compare.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position(Vec<String>);

/// What a partition has shown so far; kept with the cursor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The version of the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// The furthest place in the database's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The Kafka key of the last record, base64, if that was a deletion: the tombstone after it is
    /// part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
}

impl Position {
    /// From the `source` of an event; `None` where the database has no place that compares.
    ///
    /// PostgreSQL gives `sequence`: the last commit before, and the change. Its `lsn` alone is the
    /// place where the change was written, which is not the order of commits. MySQL and MariaDB give
    /// file, position and row; SQL Server two log sequence numbers of fixed width; Oracle change
    /// numbers.
    pub fn of(source: &Value) -> Option<Position> {
        if let Some(sequence) = source["sequence"].as_str() {
            let parts: Vec<Value> = serde_json::from_str(sequence).ok()?;
            return Some(Position(parts.iter().map(part).collect()));
        }
        let named = |names: &[&str]| {
            let found = names.iter().map(|name| source.get(*name).filter(|value| !value.is_null()).map(part));
            found.collect::<Option<Vec<String>>>().map(Position)
        };
        named(&["file", "pos", "row"])
            .or_else(|| named(&["commit_lsn", "change_lsn", "event_serial_no"]))
            .or_else(|| named(&["commit_lsn", "change_lsn"]))
            .or_else(|| named(&["commit_scn", "scn"]))
    }
}

/// Numbers, which may be texts, with leading zeros: then texts compare as they do.
fn part(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.parse::<u128>() {
        Ok(number) => format!("{number:020}"),
        Err(_) if value.is_null() => String::new(),
        Err(_) => text,
    }
}

impl Order {
    /// The version of a change that was committed `at`; `recorded` is the time of its Kafka record.
    pub fn version(&mut self, at: Option<Timestamp>, position: Option<&Position>, recorded: Timestamp) -> Timestamp {
        let own = at.unwrap_or(recorded);
        let Some(position) = position else {
            self.at = Some(self.at.map_or(own.0, |last| last.max(own.0)));
            return own;
        };
        // Several changes may share a place: rows that one statement wrote, both halves of a new key.
        if self.position.as_ref().is_some_and(|furthest| furthest > position) {
            return own;
        }
        self.position = Some(position.clone());
        let lifted = own.0.max(self.at.unwrap_or(i64::MIN).min(recorded.0));
        self.at = Some(lifted);
        Timestamp(lifted)
    }
}
