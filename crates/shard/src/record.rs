//! One source record through its changes: the value at each path, and its version.
//!
//! Versions are per field path. A whole record covers every path; a partial update its own paths.
//! Of two that cover a path the later `modified_at` holds, of equal ones the later in the topic. A
//! deletion is a whole record without values.

use millrace_model::{Change, Operation, Path, Text, Timestamp, Value};
use serde::{Deserialize, Serialize};

/// All that is known of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordState {
    whole: Option<Whole>,
    /// Invariant: ascending by `at`, each newer than or as new as `whole`, none covered by a later
    /// one.
    patches: Vec<Patch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Whole {
    at: Timestamp,
    /// `None`: deleted.
    value: Option<Value>,
}

/// The value of one path, set by a partial update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// The version of the update.
    pub at: Timestamp,
    /// The field that it sets, and everything below.
    pub path: Path,
    /// Its value; null where the update says that there is none.
    pub value: Value,
}

/// A live record: what the merge of a profile reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// The version of `value`; meaningless if that is empty.
    pub at: Timestamp,
    /// The fields as the last whole record had them.
    pub value: Value,
    /// Ascending by `at`.
    pub patches: Vec<Patch>,
}

/// The effect of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The record differs, or its version is newer.
    Changed,
    /// Something newer covers every path of it.
    Stale,
}

impl RecordState {
    /// Takes one change of the record, in the order of its topic.
    pub fn apply(&mut self, change: Change) -> Applied {
        let at = change.modified_at;
        match change.operation {
            Operation::Tombstone => {
                let known = self.whole.is_some() || !self.patches.is_empty();
                *self = RecordState::default();
                if known { Applied::Changed } else { Applied::Stale }
            }
            Operation::Delete => self.replace(at, None),
            Operation::Replace(value) => self.replace(at, Some(value)),
            Operation::Patch { paths, value } => {
                let mut applied = Applied::Stale;
                for path in paths {
                    let found = path.steps().iter().fold(&value, |value, step| value.field(step)).clone();
                    if self.patch(Patch { at, path, value: found }) == Applied::Changed {
                        applied = Applied::Changed;
                    }
                }
                applied
            }
        }
    }

    /// The record as it is; `None` if it was never seen or is deleted.
    pub fn fragment(&self) -> Option<Fragment> {
        match &self.whole {
            Some(Whole { at, value: Some(value) }) => Some(Fragment {
                at: *at,
                value: value.clone(),
                patches: self.patches.clone(),
            }),
            _ if self.patches.is_empty() => None,
            _ => Some(Fragment {
                at: Timestamp::MIN,
                value: Value::Map(Default::default()),
                patches: self.patches.clone(),
            }),
        }
    }

    fn replace(&mut self, at: Timestamp, value: Option<Value>) -> Applied {
        if self.whole.as_ref().is_some_and(|whole| whole.at > at) {
            return Applied::Stale;
        }
        self.whole = Some(Whole { at, value });
        self.patches.retain(|patch| patch.at > at);
        Applied::Changed
    }

    fn patch(&mut self, patch: Patch) -> Applied {
        let newer = |known: &Patch| known.at > patch.at && known.path.covers(&patch.path);
        if self.whole.as_ref().is_some_and(|whole| whole.at > patch.at) || self.patches.iter().any(newer) {
            return Applied::Stale;
        }
        self.patches.retain(|known| known.at > patch.at || !patch.path.covers(&known.path));
        let after = self.patches.partition_point(|known| known.at <= patch.at);
        self.patches.insert(after, patch);
        Applied::Changed
    }
}

impl Fragment {
    /// The record's fields as they hold now.
    pub fn current(&self) -> Value {
        let mut value = self.value.clone();
        for patch in &self.patches {
            set(&mut value, patch.path.steps(), patch.value.clone());
        }
        value
    }
}

/// Sets the value at a path, and creates missing maps on the way.
pub(crate) fn set(target: &mut Value, path: &[Text], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *target = value;
        return;
    };
    if !matches!(target, Value::Map(_)) {
        *target = Value::Map(Default::default());
    }
    let Value::Map(map) = target else { return };
    if map.get(first).is_none() {
        map.insert(first, Value::Null);
    }
    if let Some(inner) = map.get_mut(first) {
        set(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::SourceKind;

    use super::*;

    fn change(at: i64, operation: Operation) -> Change {
        Change {
            kind: SourceKind::Person,
            key: "k".into(),
            modified_at: Timestamp(at),
            operation,
        }
    }

    fn whole(at: i64, json: serde_json::Value) -> Change {
        change(at, Operation::Replace(Value::from_json(&json)))
    }

    fn partial(at: i64, paths: &[&str], json: serde_json::Value) -> Change {
        let paths = paths.iter().filter_map(|path| Path::parse(path)).collect();
        change(
            at,
            Operation::Patch {
                paths,
                value: Value::from_json(&json),
            },
        )
    }

    fn outcome(changes: Vec<Change>) -> Option<serde_json::Value> {
        let mut state = RecordState::default();
        for change in changes {
            state.apply(change);
        }
        state.fragment().map(|fragment| fragment.current().to_json())
    }

    #[test]
    fn the_later_version_of_each_path_holds() {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("valid in the table");
        let a = || whole(10, json(r#"{"x":1,"n":{"f":"a","l":"b"}}"#));
        let p = || partial(20, &["n.f"], json(r#"{"n":{"f":"c"}}"#));
        let table: Vec<(&str, Vec<Change>, Option<&str>)> = vec![
            ("partial on whole", vec![a(), p()], Some(r#"{"x":1,"n":{"f":"c","l":"b"}}"#)),
            ("whole arrives late", vec![p(), a()], Some(r#"{"x":1,"n":{"f":"c","l":"b"}}"#)),
            ("newer whole settles all", vec![p(), whole(30, json(r#"{"x":2}"#))], Some(r#"{"x":2}"#)),
            (
                "stale partial",
                vec![a(), partial(5, &["x"], json(r#"{"x":9}"#))],
                Some(r#"{"x":1,"n":{"f":"a","l":"b"}}"#),
            ),
            (
                "equal version, later in the topic",
                vec![a(), whole(10, json(r#"{"x":2}"#))],
                Some(r#"{"x":2}"#),
            ),
            ("deleted", vec![a(), change(11, Operation::Delete)], None),
            ("older after delete", vec![change(11, Operation::Delete), a()], None),
            ("partial after delete", vec![change(11, Operation::Delete), p()], Some(r#"{"n":{"f":"c"}}"#)),
            (
                "tombstone forgets versions",
                vec![change(50, Operation::Delete), change(0, Operation::Tombstone), a()],
                Some(r#"{"x":1,"n":{"f":"a","l":"b"}}"#),
            ),
            (
                "nested older partial under newer one",
                vec![partial(20, &["n"], json(r#"{"n":{"l":"z"}}"#)), p(), a()],
                Some(r#"{"x":1,"n":{"f":"c","l":"z"}}"#),
            ),
            (
                "absent in a partial is null",
                vec![a(), partial(20, &["x"], json("{}"))],
                Some(r#"{"x":null,"n":{"f":"a","l":"b"}}"#),
            ),
        ];
        for (name, changes, expected) in table {
            assert_eq!(outcome(changes), expected.map(json), "{name}");
        }
    }
}
