//! What a complete listing of a foreign system no longer contains.
//!
//! Some systems report no deletions: what is gone is missing from their next full listing. So a
//! source *marks* every record of a listing with the number of the run that listed it, and after a
//! run that ended completely asks for a *sweep*: records under an older mark are withdrawn.
//!
//! ```text
//! mark/["<listing>","<kind>","<key>"]   the run that listed the record last
//! sweep/<listing>                       {"keep": run}: a sweep that is not finished
//! ```
//!
//! Marks lie on the topic of the source's rows and are written in the transaction of their records,
//! but the frame keeps none of them in memory. A sweep reads the topic and holds only keys that look
//! gone; where those are too many it takes them in parts, by hash, one reading of the topic each.
//!
//! The row of the sweep follows all marks of its run on the one partition of the topic. A reader
//! that has seen it has seen them, so a record is never withdrawn because its mark was not visible
//! yet.

use std::collections::BTreeMap;

use millrace_log::{EARLIEST, Log, LogError, PollLimits, TopicPartition};
use millrace_model::SourceKind;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::Rows;

/// Names of marks begin with this; `Rows` takes none of them.
pub(super) const MARK: &str = "mark/";

/// Names of pending sweeps begin with this.
const SWEEP: &str = "sweep/";

/// The most keys that one reading of the topic holds: some 20 MiB.
pub(super) const KEYS_MAX: usize = 100_000;

const SCAN: PollLimits = PollLimits {
    records_max: 10_000,
    bytes_max: 4 << 20,
    wait_ms_max: 100,
};

/// A record that a listing contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which listing: one table or stream of the foreign system.
    pub listing: String,
    /// The record's topic. Activities cannot be marked: no tombstone removes one.
    pub kind: SourceKind,
    /// The record's key.
    pub key: String,
    /// The run that lists it.
    pub run: i64,
}

/// The end of a complete listing: records of it under any other mark than `keep` are withdrawn, by
/// tombstones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Which listing.
    pub listing: String,
    /// The run whose marks stay.
    pub keep: i64,
}

impl Mark {
    pub(super) fn row(&self) -> (String, Option<Value>) {
        (name(&self.listing, self.kind, &self.key), Some(json!(self.run)))
    }
}

impl Sweep {
    pub(super) fn row(&self) -> (String, Option<Value>) {
        (format!("{SWEEP}{}", self.listing), Some(json!({"keep": self.keep})))
    }

    /// The row that ends the sweep.
    pub(super) fn done(&self) -> (String, Option<Value>) {
        (format!("{SWEEP}{}", self.listing), None)
    }

    /// The first sweep that is not finished.
    pub(super) fn pending(rows: &Rows) -> Option<Sweep> {
        rows.under(SWEEP).find_map(|(listing, value)| {
            Some(Sweep {
                listing: listing.to_owned(),
                keep: value["keep"].as_i64()?,
            })
        })
    }
}

/// A record that is gone.
pub(super) type Gone = (SourceKind, String);

/// The name of a record's mark.
pub(super) fn name(listing: &str, kind: SourceKind, key: &str) -> String {
    format!("{MARK}{}", json!([listing, kind.name(), key]))
}

/// Part `index` of `of`, by the hash of the mark's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub index: u64,
    pub of: u64,
}

impl Part {
    pub const WHOLE: Part = Part { index: 0, of: 1 };

    fn holds(self, name: &str) -> bool {
        xxh3_64(name.as_bytes()) % self.of == self.index
    }
}

/// What one reading of the topic found.
#[derive(Debug)]
pub(super) enum Found {
    Gone(Vec<Gone>),
    /// More than `keys_max` looked gone at one time: take smaller parts.
    TooMany,
    /// As asked.
    Stopped,
}

/// Reads the topic once, for the records of a part that are gone.
pub(super) fn scan(log: &dyn Log, rows: &TopicPartition, sweep: &Sweep, part: Part, keys_max: usize, stopped: &dyn Fn() -> bool) -> Result<Found, LogError> {
    let mut reader = log.reader(&[(rows.clone(), EARLIEST)])?;
    let (barrier, wanted) = sweep.row();
    let mut passed = false;
    let mut stale: BTreeMap<String, Gone> = BTreeMap::new();
    while !(passed && reader.caught_up()?) {
        if stopped() {
            return Ok(Found::Stopped);
        }
        for one in reader.poll(SCAN)? {
            let Some(name) = one.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) else {
                continue;
            };
            let value = one.record.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
            passed |= name == barrier && value == wanted;
            let Some(gone) = marked(name, &sweep.listing).filter(|_| part.holds(name)) else {
                continue;
            };
            if value.and_then(|run| run.as_i64()).is_none_or(|run| run == sweep.keep) {
                stale.remove(name);
            } else {
                stale.insert(name.to_owned(), gone);
            }
            if stale.len() > keys_max {
                return Ok(Found::TooMany);
            }
        }
    }
    Ok(Found::Gone(stale.into_values().collect()))
}

/// The record of a mark, if it is one of the listing.
fn marked(name: &str, listing: &str) -> Option<Gone> {
    let (of, kind, key): (String, String, String) = serde_json::from_str(name.strip_prefix(MARK)?).ok()?;
    (of == listing).then_some((SourceKind::from_name(&kind)?, key))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millrace_log::simulated::{Faults, SimulatedLog};
    use millrace_log::{Record, TopicSpec};
    use millrace_model::Timestamp;

    use super::*;

    fn place() -> TopicPartition {
        TopicPartition {
            topic: "rows".into(),
            partition: 0,
        }
    }

    fn append(log: &SimulatedLog, rows: impl IntoIterator<Item = (String, Option<Value>)>) {
        let records = rows.into_iter().map(|(name, value)| {
            let record = Record {
                key: Some(Bytes::from(name)),
                value: value.map(|value| Bytes::from(value.to_string())),
                headers: Vec::new(),
            };
            (place(), record)
        });
        log.append(records.collect()).expect("no faults");
    }

    fn mark(listing: &str, key: u64, run: i64) -> (String, Option<Value>) {
        let mark = Mark {
            listing: listing.to_owned(),
            kind: SourceKind::Person,
            key: format!("{key}@crm\"1\".Crm"),
            run,
        };
        mark.row()
    }

    /// Two runs; what the second does not list, and no other listing, is gone.
    fn two_runs() -> (SimulatedLog, Sweep) {
        let log = SimulatedLog::new(1, Faults::default(), Timestamp(1_000));
        let spec = TopicSpec {
            name: "rows".to_owned(),
            partitions: 1,
            compacted: true,
            settings: Vec::new(),
        };
        log.create_topic(&spec).expect("no faults");
        let sweep = Sweep {
            listing: "users".to_owned(),
            keep: 2,
        };
        append(&log, (0..40).map(|key| mark("users", key, 1)));
        append(&log, (0..40).map(|key| mark("orders", key, 1)));
        append(&log, [(mark("users", 39, 1).0, None)]);
        append(&log, (0..30).map(|key| mark("users", key, 2)).chain([sweep.row()]));
        (log, sweep)
    }

    fn found(log: &SimulatedLog, sweep: &Sweep, part: Part, keys_max: usize) -> Option<Vec<String>> {
        match scan(log, &place(), sweep, part, keys_max, &|| false).expect("no faults") {
            Found::Gone(gone) => Some(gone.into_iter().map(|(_, key)| key).collect()),
            Found::TooMany => None,
            Found::Stopped => panic!("nobody asked it to stop"),
        }
    }

    #[test]
    fn what_the_last_run_does_not_list_is_gone() {
        let (log, sweep) = two_runs();
        let expected: Vec<String> = (30..39).map(|key| format!("{key}@crm\"1\".Crm")).collect();
        assert_eq!(found(&log, &sweep, Part::WHOLE, 100), Some(expected));
        let stopped = scan(&log, &place(), &sweep, Part::WHOLE, 100, &|| true).expect("no faults");
        assert!(matches!(stopped, Found::Stopped), "{stopped:?}");
    }

    #[test]
    fn what_does_not_fit_is_found_in_parts() {
        let (log, sweep) = two_runs();
        assert_eq!(found(&log, &sweep, Part::WHOLE, 20), None);
        let parts = (0..8).map(|index| found(&log, &sweep, Part { index, of: 8 }, 20).expect("it fits"));
        let mut all: Vec<String> = parts.flatten().collect();
        all.sort();
        assert_eq!(Some(all), found(&log, &sweep, Part::WHOLE, 100));
    }

    #[test]
    fn a_sweep_is_pending_until_its_row_is_gone() {
        let mut rows = Rows::default();
        let (_, sweep) = two_runs();
        let (name, value) = sweep.row();
        rows.set(&name, value);
        assert_eq!(Sweep::pending(&rows), Some(sweep.clone()));
        let (name, value) = sweep.done();
        rows.set(&name, value);
        assert_eq!(Sweep::pending(&rows), None);
    }
}
