//! The ledger of a person's events, and the newest rows that event queries keep of it.

use std::collections::BTreeMap;

use millrace_model::{Identity, Pick, SubjectId, Text, Timestamp, Value, namespace, source_key};
use millrace_segment::view::QueryId;
use serde::{Deserialize, Serialize};

use crate::format::{decode, encode};
use crate::state::StateError;
use millrace_identity::Epoch;

/// `EVENT`: one event id in a subject's ledger, as each home node reported it. Read and written
/// with its key, which holds a part of it: `StoredCopy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerRow {
    /// Ascending by home.
    pub copies: Vec<EventCopy>,
}

/// An event as one home node reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCopy {
    /// The node that reported it.
    pub home: Identity,
    /// The version: of two copies the later counts.
    pub modified_at: Timestamp,
    /// When it occurred.
    pub occurred_at: Timestamp,
    /// The identities apart from the home.
    pub others: Vec<Identity>,
    /// `None`: deleted.
    pub body: Option<Value>,
}

/// An `EventCopy` without what the row's key, or the copy itself, already holds. `Home` and `Body`
/// are borrowed for writing.
#[derive(Serialize, Deserialize)]
struct StoredCopy<Home, Others, Body> {
    /// `None`: the subject's canonical id.
    home: Option<Home>,
    modified_at: Timestamp,
    occurred_at: Timestamp,
    others: Others,
    body: Body,
    left_out: LeftOut,
}

/// Parts of the body that are not repeated there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LeftOut {
    /// `_id` and `timestamp`: the id of the key, and `occurred_at`.
    name: bool,
    /// `personKey`: the home's.
    person: bool,
}

impl LeftOut {
    fn names(self, field: &str) -> bool {
        match field {
            "_id" | "timestamp" => self.name,
            "personKey" => self.person,
            _ => false,
        }
    }
}

/// An event's body without what is left out of it: read back as an `Option<Value>`.
struct StoredBody<'c> {
    body: &'c Option<Value>,
    left_out: LeftOut,
}

impl Serialize for StoredBody<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.body {
            Some(Value::Map(map)) if self.left_out != LeftOut::default() => serializer.serialize_some(&Pick {
                map,
                keeps: |field: &str| !self.left_out.names(field),
            }),
            body => body.serialize(serializer),
        }
    }
}

impl LedgerRow {
    /// The copy that counts: the latest version, of equal ones the one with the greatest home.
    /// `None` if that one is deleted.
    pub fn effective(&self) -> Option<&EventCopy> {
        self.copies
            .iter()
            .max_by(|a, b| (a.modified_at, &a.home).cmp(&(b.modified_at, &b.home)))
            .filter(|copy| copy.body.is_some())
    }

    /// As stored under the key of this subject and event id.
    pub fn encode(&self, subject: &SubjectId, id: &str) -> Vec<u8> {
        let stored: Vec<_> = self.copies.iter().map(|copy| copy.stored(subject, id)).collect();
        encode(&stored)
    }

    /// The row under the key of this subject and event id.
    ///
    /// # Errors
    /// Where the bytes are of a newer version, or damaged.
    pub fn decode(subject: &SubjectId, id: &str, bytes: &[u8]) -> Result<LedgerRow, StateError> {
        let restored = |stored: StoredCopy<Identity, Vec<Identity>, Option<Value>>| {
            let StoredCopy {
                home,
                modified_at,
                occurred_at,
                others,
                body,
                left_out,
            } = stored;
            let mut copy = EventCopy {
                home: home.unwrap_or_else(|| subject.id.0.clone()),
                modified_at,
                occurred_at,
                others,
                body,
            };
            copy.put_back(id, left_out);
            copy
        };
        let copies: Vec<_> = decode(bytes)?;
        Ok(LedgerRow {
            copies: copies.into_iter().map(restored).collect(),
        })
    }
}

impl EventCopy {
    fn stored(&self, subject: &SubjectId, id: &str) -> StoredCopy<&Identity, &[Identity], StoredBody<'_>> {
        let left_out = self.left_out(id);
        let EventCopy {
            home,
            modified_at,
            occurred_at,
            others,
            body,
        } = self;
        StoredCopy {
            home: (*home != subject.id.0).then_some(home),
            modified_at: *modified_at,
            occurred_at: *occurred_at,
            others,
            body: StoredBody { body, left_out },
            left_out,
        }
    }

    /// What the row holds anyway.
    fn left_out(&self, id: &str) -> LeftOut {
        let Some(Value::Map(fields)) = &self.body else {
            return LeftOut::default();
        };
        let name = fields.get("_id").and_then(Value::as_str) == Some(id) && fields.get("timestamp").and_then(Value::as_time) == Some(self.occurred_at);
        let key = fields.get("personKey").and_then(Value::as_map);
        let person = self.home.namespace() == namespace::PERSON && key.is_some_and(|key| source_key::is_object_of(key, self.home.id()));
        LeftOut { name, person }
    }

    fn put_back(&mut self, id: &str, left_out: LeftOut) {
        let Some(Value::Map(fields)) = &mut self.body else { return };
        if left_out.name {
            fields.insert("_id", Value::text(id));
            fields.insert("timestamp", Value::Time(self.occurred_at));
        }
        if left_out.person {
            fields.insert("personKey", Value::Map(source_key::object(self.home.id())));
        }
    }
}

/// The newest rows of a query that keeps a limited number, ascending by `(at, id)`.
pub type QueryRows = Vec<millrace_segment::view::EventRow>;

/// `KEPT`: the newest rows of all queries that ask for the same event types, so that an event
/// reads and writes them together. No query is without rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptRow(pub BTreeMap<QueryId, QueryRows>);

/// `KeptRow` as stored: an event that several queries keep is named once.
#[derive(Serialize, Deserialize)]
struct StoredKeptRow {
    /// Ascending.
    events: Vec<(Timestamp, Text)>,
    queries: Vec<(QueryId, Vec<StoredEventRow>)>,
}

/// A place in `events`, and the columns.
type StoredEventRow = (usize, Vec<Value>);

impl Serialize for KeptRow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut events: Vec<(Timestamp, Text)> = self.0.values().flatten().map(|row| (row.at, row.id.clone())).collect();
        events.sort();
        events.dedup();
        let place = |row: &millrace_segment::view::EventRow| events.partition_point(|(at, id)| (at, id) < (&row.at, &row.id));
        let stored = |rows: &QueryRows| rows.iter().map(|row| (place(row), row.columns.clone())).collect();
        let queries = self.0.iter().map(|(id, rows)| (*id, stored(rows))).collect();
        StoredKeptRow { events, queries }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeptRow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<KeptRow, D::Error> {
        let StoredKeptRow { events, queries } = StoredKeptRow::deserialize(deserializer)?;
        let row = |(place, columns): (usize, Vec<Value>)| {
            let (at, id) = events.get(place).cloned().ok_or_else(|| serde::de::Error::custom("a row names no event"))?;
            Ok(millrace_segment::view::EventRow { at, id, columns })
        };
        let rows = |(id, rows): (QueryId, Vec<_>)| Ok((id, rows.into_iter().map(row).collect::<Result<_, D::Error>>()?));
        queries.into_iter().map(rows).collect::<Result<_, D::Error>>().map(KeptRow)
    }
}

/// `EVENT_LINK`: how many retained events of a home carry another identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLinkRow {
    /// The number of those events.
    pub events: u64,
    /// The last known epoch of the home: under it this owner speaks about the home's events.
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let node = |text: &str| Identity::parse(text).expect("an identity");
        let subject = SubjectId::of_node(&node("b2b_person:1@m1.Marketo"));
        let key = |text: &str| Value::Map(source_key::object(text));
        let body = |fields: &[(&str, Value)]| Some(Value::Map(fields.iter().map(|(name, value)| (Text::new(name), value.clone())).collect()));
        let (id, at) = (("_id", Value::text("e")), ("timestamp", Value::Time(Timestamp(7))));
        let person = ("personKey", key("1@m1.Marketo"));
        let bodies = [
            body(&[id.clone(), at.clone(), person.clone(), ("eventType", Value::text("x"))]),
            body(&[id.clone(), at, ("personKey", key("2@m1.Marketo"))]),
            body(&[id, ("timestamp", Value::Time(Timestamp(8))), person]),
            body(&[]),
            None,
        ];
        let mut lengths = Vec::new();
        for (body, home) in bodies.iter().flat_map(|body| [(body, "b2b_person:1@m1.Marketo"), (body, "ecid:1@m1.Marketo")]) {
            let copy = EventCopy {
                home: node(home),
                modified_at: Timestamp(9),
                occurred_at: Timestamp(7),
                others: vec![node("email:a@b.c")],
                body: body.clone(),
            };
            let row = LedgerRow { copies: vec![copy] };
            let bytes = row.encode(&subject, "e");
            assert_eq!(LedgerRow::decode(&subject, "e", &bytes).expect("our own bytes"), row);
            lengths.push(bytes.len());
        }
        assert!(lengths[0] + 60 < lengths[1], "what the key says is not repeated: {lengths:?}");
    }

    #[test]
    fn kept_rows_are_read_as_they_were_written() {
        let row = |at: i64, id: &str, columns: &[i64]| millrace_segment::view::EventRow {
            at: Timestamp(at),
            id: id.into(),
            columns: columns.iter().map(|column| Value::Int(*column)).collect(),
        };
        let kept = KeptRow([(QueryId(1), vec![row(1, "b", &[]), row(2, "a", &[])]), (QueryId(7), vec![row(2, "a", &[5, 6])])].into());
        assert_eq!(decode::<KeptRow>(&encode(&kept)).expect("our own bytes"), kept);
    }
}
