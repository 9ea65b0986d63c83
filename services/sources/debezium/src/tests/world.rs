//! A random table and its envelopes: applying the mapped records in the order of the topic gives the
//! table, whatever the connector repeats, leaves out or withholds.

use std::collections::BTreeMap;

use millrace_connect::source::Emitted;
use millrace_test_seeds::seeds;
use serde_json::{Value, json};

use super::{Stream, event};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

type Row = (Option<String>, Option<String>);

/// What the contract says a reader of the records knows: versions per field, deletions with one.
#[derive(Default)]
struct Known {
    fields: BTreeMap<&'static str, (String, Value)>,
    deleted: Option<String>,
}

/// Applies a record as `schemas/` describe it: older fields change nothing, of equal ones the later
/// wins.
fn learn(known: &mut BTreeMap<String, Known>, emitted: Emitted) {
    let Emitted::Record { key, value, .. } = emitted else {
        panic!("a record that cannot be used: {emitted:?}")
    };
    let Some(value) = value else {
        known.remove(&key);
        return;
    };
    let at = value["modifiedAt"].as_str().expect("a version").to_owned();
    let entry = known.entry(key).or_default();
    if entry.deleted.as_ref().is_some_and(|deleted| *deleted > at) {
        return;
    }
    if value["isDeleted"] == true {
        entry.fields.retain(|_, (version, _)| *version > at);
        entry.deleted = Some(at);
        return;
    }
    let paths = [("workEmail.address", "/workEmail/address"), ("extra.bio", "/extra/bio")];
    for (path, pointer) in paths {
        let named = value["changedFields"].as_array().is_none_or(|changed| changed.iter().any(|one| one == path));
        let newer = entry.fields.get(path).is_none_or(|(version, _)| *version <= at);
        if named && newer {
            entry.fields.insert(path, (at.clone(), value.pointer(pointer).cloned().unwrap_or_default()));
        }
    }
}

/// The table with its changes as Debezium reports them.
struct Table {
    random: Random,
    rows: BTreeMap<u64, Row>,
    clock: i64,
    lsn: u64,
    /// Key and value of every record so far.
    sent: Vec<(Value, Value)>,
}

impl Table {
    fn text(&mut self) -> Option<String> {
        let number = self.random.below(5);
        (number > 0).then(|| format!("v{number}"))
    }

    fn shown(id: u64, row: &Row) -> Value {
        json!({"id": id, "email": row.0, "bio": row.1})
    }

    fn send(&mut self, op: &str, id: u64, before: Value, after: Value) {
        self.lsn += 1;
        self.sent.push((json!({"id": id}), event(op, before, after, self.clock, self.lsn)));
    }

    fn change(&mut self) {
        self.clock += i64::try_from(self.random.below(3)).expect("small");
        let id = self.random.below(6);
        match self.rows.remove(&id) {
            None => {
                let row = (self.text(), self.text());
                self.send("c", id, Value::Null, Table::shown(id, &row));
                self.rows.insert(id, row);
            }
            Some(row) if self.random.chance(30) => {
                let before = if self.random.chance(50) {
                    Table::shown(id, &row)
                } else {
                    json!({"id": id, "email": null, "bio": null})
                };
                self.send("d", id, before, Value::Null);
                if self.random.chance(70) {
                    self.sent.push((json!({"id": id}), Value::Null));
                }
            }
            Some(mut row) => {
                row.0 = self.text();
                let mut after = Table::shown(id, &row);
                if self.random.chance(60) {
                    row.1 = self.text();
                    after = Table::shown(id, &row);
                } else if row.1.is_some() {
                    after["bio"] = json!("__debezium_unavailable_value");
                }
                self.send("u", id, Value::Null, after);
                self.rows.insert(id, row);
            }
        }
    }

    /// A snapshot, whose rows bear the time of reading; changes committed before it follow.
    fn snapshot(&mut self) {
        let read_at = self.clock + 2;
        for (id, row) in self.rows.clone() {
            self.sent
                .push((json!({"id": id}), event("r", Value::Null, Table::shown(id, &row), read_at, self.lsn)));
        }
    }
}

#[test]
fn mapped_records_equal_the_table() {
    for seed in seeds!(0..300) {
        let mut stream = Stream::new("{ records: [ { record: person, key: id, fields: { workEmail.address: email, extra.bio: bio } } ] }");
        let mut table = Table {
            random: Random(seed),
            rows: BTreeMap::new(),
            clock: 1_000,
            lsn: 0,
            sent: Vec::new(),
        };
        let (mut known, mut sent) = (BTreeMap::new(), 0);
        for _ in 0..40 {
            match table.random.below(20) {
                0 => table.snapshot(),
                // A crash of the connector: the end of the stream comes again. A snapshot does not:
                // it is taken anew.
                1 => {
                    let snapshot = table.sent.iter().rposition(|(_, value)| value["op"] == "r").map_or(0, |last| last + 1);
                    let from = table.sent.len().saturating_sub(5).max(snapshot);
                    table.sent.extend_from_within(from..);
                }
                _ => table.change(),
            }
            for (key, value) in &table.sent[sent..] {
                let text = |value: &Value| (!value.is_null()).then(|| value.to_string().into_bytes());
                for emitted in stream.bytes(text(key), text(value)) {
                    learn(&mut known, emitted);
                }
            }
            sent = table.sent.len();
            let expected: BTreeMap<String, Row> = table.rows.iter().map(|(id, row)| (format!("{id}@db1.Database"), row.clone())).collect();
            let found = known.iter().filter_map(|(key, known)| {
                let field = |path| {
                    known
                        .fields
                        .get(path)
                        .and_then(|(_, value): &(String, Value)| value.as_str().map(str::to_owned))
                };
                (!known.fields.is_empty()).then(|| (key.clone(), (field("workEmail.address"), field("extra.bio"))))
            });
            assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
        }
    }
}
