//! Row keys, in two forms, of parts in an order-preserving encoding.
//!
//! ```text
//! table parts...                       rows about no node, or about one among other things
//! BY_NODE kind [namespace] id table parts...   rows about one node or subject: all of them lie together, the hot ones first
//! ```
//!
//! A text part ends in `00 00`; a zero byte inside it is written `00 ff`. So a part sorts as its
//! bytes do, a shorter text before its extensions, and no part runs into the next. Numbers are
//! big-endian, instants with the sign bit flipped.
//!
//! In front of a node, `kind` is one byte: twice the kind, for an id in the kind's own namespace,
//! which is then left out; one more if the namespace follows. A visit reads about ten rows of one
//! person: they are in one or two blocks of a file.

use millrace_model::{CanonicalId, Decimal, Identity, SourceKind, SubjectId, SubjectKind, Text, Timestamp, Value};
use millrace_segment::plan::EventQuery;
use millrace_segment::view::QueryId;
use xxhash_rust::xxh3::xxh3_64;

use crate::row::ActivationKey;
use crate::tx::prefix_end;

mod derived;

pub use derived::{
    Wake, agenda_entry, agenda_from, alias_of, aliases_of, dependent, dependent_of, dependents, link_timer, member, members, subject_timer, timers_from, turn,
    turned, turns, turns_at, turns_from, wake_of,
};

/// The first byte of keys that begin with a node.
const BY_NODE: u8 = 0x10;

/// The tables. Those from `DERIVED` (0x80) on are derived from the others and not in the changelog.
pub mod table {
    /// The runtime's own: input positions and clock.
    pub const META: u8 = 0x00;
    /// resolve: every source record by kind and key.
    pub const RECORD: u8 = 0x01;
    /// identity writer: the graph, under keys of its own making.
    pub const GRAPH: u8 = 0x04;

    // By node, in the order of the rows: those that a visit reads come first, those that grow with
    // history last.

    /// Changes with every event of a subject. The first table, so that a look after one subject
    /// finds the next.
    pub const SUBJECT: u8 = 0x11;
    /// The merged profile of a subject.
    pub const PROFILE: u8 = 0x12;
    /// resolve: routing of an identity node.
    pub const NODE: u8 = 0x13;
    /// The newest rows of event queries that keep a limited number, by the event types they ask
    /// for.
    pub const KEPT: u8 = 0x14;
    /// How far events lead through a chain.
    pub const SEQUENCE: u8 = 0x15;
    /// An aggregate over an event query.
    pub const TALLY: u8 = 0x16;
    /// Values of a subject's computed attributes.
    pub const COMPUTED: u8 = 0x17;
    /// The destination identities that a subject counts for.
    pub const ACTIVATED: u8 = 0x18;
    /// The thing of a referenced node, as this shard knows it.
    pub const ALIAS: u8 = 0x19;
    /// A thing's features, as this shard knows them.
    pub const REPLICA: u8 = 0x1a;
    /// A source record's fragment, by subject and node.
    pub const FRAGMENT: u8 = 0x1b;
    /// A relation row attached to a node.
    pub const ROW: u8 = 0x1c;
    /// resolve: the claimants of an identity node.
    pub const CLAIM: u8 = 0x1d;
    /// Nodes that moved away.
    pub const MOVED: u8 = 0x1e;
    /// How many retained events of a home node carry another identity.
    pub const EVENT_LINK: u8 = 0x1f;
    /// Things that named this subject as their parent.
    pub const CHILD: u8 = 0x20;
    /// How often a value counts for a tally.
    pub const TALLIED_VALUE: u8 = 0x21;
    /// The progress of a chain after an instant, latest first.
    pub const MILESTONE: u8 = 0x22;
    /// An event of a chain, in order of time.
    pub const SEQUENCED: u8 = 0x23;
    /// An event of a query that keeps all of them.
    pub const VERDICT: u8 = 0x24;
    /// The event ledger.
    pub const EVENT: u8 = 0x25;
    /// The last exit of a subject from a segment, by the segment's name, until the subject enters
    /// again.
    pub const EXITED: u8 = 0x26;
    /// resolve: what retained events of a home carry.
    pub const CARRIED: u8 = 0x27;
    /// Identities set aside that a node of a subject carries.
    pub const ASIDE: u8 = 0x28;
    /// The events of a long ledger by time.
    pub const DATED: u8 = 0x29;
    /// Aggregates over an account's children.
    pub const KIN: u8 = 0x2a;

    /// Fan-out jobs by node.
    pub const FANOUT: u8 = 0x30;
    /// The backfill's cursor.
    pub const BACKFILL: u8 = 0x31;
    /// The latest revision to which every subject has been brought.
    pub const BACKFILLED: u8 = 0x32;
    /// The cursor of a check of every home under changed guards.
    pub const REVIEW: u8 = 0x33;
    /// Work on long ledgers in portions, by subject.
    pub const CHORE: u8 = 0x34;
    /// The number of chores.
    pub const CHORES: u8 = 0x35;
    /// Members that hold a destination identity.
    pub const ACTIVATION: u8 = 0x38;
    /// The definition in force, by name.
    pub const DEFINITION: u8 = 0x40;
    /// Members per segment on this shard.
    pub const AUDIENCE: u8 = 0x41;
    /// The plan's revision and when each query was added.
    pub const REVISION: u8 = 0x42;
    /// The configuration that the rows were written under.
    pub const CONFIGURATION: u8 = 0x43;
    /// Versions of a definition, by name and number.
    pub const VERSION: u8 = 0x44;
    /// The draft of a definition in force, by name.
    pub const DRAFT: u8 = 0x45;
    /// The last record of the control topic that changed anything.
    pub const CONTROL: u8 = 0x46;
    /// Subjects of this shard.
    pub const POPULATION: u8 = 0x47;
    /// The last version of a deleted definition, by name: exits that its deletion causes carry it.
    pub const RETIRED: u8 = 0x48;
    /// Derived: wake-ups by instant.
    pub const TIMER: u8 = 0x80;
    /// Derived: subjects that refer to a node.
    pub const DEPENDENT: u8 = 0x81;
    /// Derived: nodes that are a thing.
    pub const ALIAS_OF: u8 = 0x82;
    /// Derived: members of a segment.
    pub const MEMBER: u8 = 0x83;
    /// Derived: verdicts of a tally by the instant at which they end.
    pub const AGENDA: u8 = 0x84;
    /// Derived: events of a chain by the instant at which time turns their verdict.
    pub const TURN: u8 = 0x85;
}

/// The event queries whose newest rows lie in one row, by a hash of the event types they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u64);

impl Bucket {
    pub fn of(query: &EventQuery) -> Bucket {
        // A type's name has no line break of its own, and if it had, two buckets would share one
        // row.
        Bucket(query.event_types.as_ref().map_or(0, |types| xxh3_64(types.join("\n").as_bytes())))
    }
}

/// Builds one key.
struct Key(Vec<u8>);

impl Key {
    pub fn new(table: u8) -> Key {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(table);
        Key(bytes)
    }

    /// A row of one of the tables by node.
    fn about(table: u8, kind: SubjectKind, node: &Identity) -> Key {
        debug_assert!((table::SUBJECT..=table::KIN).contains(&table), "{table:#x} is not a table by node");
        let place = Key::new(BY_NODE);
        let place = match node.namespace() {
            own if own == kind.namespace() => place.byte(2 * kind as u8),
            other => place.byte(2 * kind as u8 + 1).text(other),
        };
        place.text(node.id()).byte(table)
    }

    #[must_use]
    pub fn byte(mut self, byte: u8) -> Key {
        self.0.push(byte);
        self
    }

    #[must_use]
    pub fn text(mut self, text: &str) -> Key {
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self.0.extend([0, 0]);
        self
    }

    #[must_use]
    pub fn number(mut self, number: u64) -> Key {
        self.0.extend(number.to_be_bytes());
        self
    }

    #[must_use]
    pub fn instant(self, instant: Timestamp) -> Key {
        self.number((instant.0 as u64) ^ (1 << 63))
    }

    #[must_use]
    pub fn node(self, node: &Identity) -> Key {
        self.text(node.namespace()).text(node.id())
    }

    #[must_use]
    pub fn subject(self, subject: &SubjectId) -> Key {
        self.byte(subject.kind as u8).node(&subject.id.0)
    }

    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

pub fn record(kind: SourceKind, key: &str) -> Vec<u8> {
    Key::new(table::RECORD).byte(kind as u8).text(key).done()
}

pub fn node(node: &Identity) -> Vec<u8> {
    about_node(table::NODE, node).done()
}

pub fn claims(node: &Identity) -> Vec<u8> {
    about_node(table::CLAIM, node).done()
}

pub fn claim(node: &Identity, home: &Identity) -> Vec<u8> {
    about_node(table::CLAIM, node).node(home).done()
}

pub fn all_carried(home: &Identity) -> Vec<u8> {
    about_node(table::CARRIED, home).done()
}

pub fn carried(home: &Identity, node: &Identity) -> Vec<u8> {
    about_node(table::CARRIED, home).node(node).done()
}

pub fn aside(subject: &SubjectId, home: &Identity, node: &Identity) -> Vec<u8> {
    about(table::ASIDE, subject).node(home).node(node).done()
}

pub fn alias(node: &Identity) -> Vec<u8> {
    about_node(table::ALIAS, node).done()
}

/// A subject's row of a table that has one row per subject, or the common prefix of its rows in the
/// table.
pub fn of_subject(table: u8, subject: &SubjectId) -> Vec<u8> {
    about(table, subject).done()
}

pub fn of_subject_node(table: u8, subject: &SubjectId, node: &Identity) -> Vec<u8> {
    about(table, subject).node(node).done()
}

/// The last exit of a subject from a segment.
pub fn exited(subject: &SubjectId, segment: &str) -> Vec<u8> {
    about(table::EXITED, subject).text(segment).done()
}

fn about(table: u8, subject: &SubjectId) -> Key {
    Key::about(table, subject.kind, &subject.id.0)
}

fn about_node(table: u8, node: &Identity) -> Key {
    Key::about(table, SubjectKind::of_namespace(node.namespace()), node)
}

/// Of a key in either form.
pub fn table_of(row_key: &[u8]) -> Option<u8> {
    match row_key.first() {
        Some(&BY_NODE) => row_key.get(node_bytes(row_key)?).copied(),
        first => first.copied(),
    }
}

/// The subject, or node, that a key begins with.
pub fn subject_of(row_key: &[u8]) -> Option<SubjectId> {
    let (&BY_NODE, rest) = row_key.split_first()? else { return None };
    let mut parts = Parts(rest);
    let byte = parts.byte()?;
    let kind = SubjectKind::ALL.into_iter().find(|known| *known as u8 == byte / 2)?;
    let id = if byte % 2 == 0 {
        Identity::new(kind.namespace(), &parts.text()?)
    } else {
        parts.node()
    };
    Some(SubjectId { kind, id: CanonicalId(id?) })
}

pub fn node_of(row_key: &[u8]) -> Option<Identity> {
    subject_of(row_key).map(|subject| subject.id.0)
}

/// The common prefix of all keys of the same node.
pub fn place(row_key: &[u8]) -> Option<&[u8]> {
    node_bytes(row_key).and_then(|length| row_key.get(..length))
}

/// The range of rows by nodes of a kind.
pub fn nodes(kind: SubjectKind) -> (Vec<u8>, Vec<u8>) {
    let first = vec![BY_NODE, 2 * kind as u8];
    let end = vec![BY_NODE, 2 * kind as u8 + 2];
    (first, end)
}

/// The range of rows by nodes.
pub fn all_nodes() -> (Vec<u8>, Vec<u8>) {
    (vec![BY_NODE], vec![BY_NODE + 1])
}

/// The kind of the node that a key begins with.
pub fn kind_of(row_key: &[u8]) -> Option<SubjectKind> {
    match row_key {
        [BY_NODE, byte, ..] => SubjectKind::ALL.into_iter().find(|known| *known as u8 == byte / 2),
        _ => None,
    }
}

/// The least key above all those of the same node.
pub fn after_node(row_key: &[u8]) -> Vec<u8> {
    prefix_end(place(row_key).unwrap_or(row_key))
}

/// How many bytes of a key name its node.
fn node_bytes(row_key: &[u8]) -> Option<usize> {
    let [BY_NODE, byte, ..] = row_key else { return None };
    let mut at = 2;
    for _ in 0..=byte % 2 {
        at += text_bytes(row_key.get(at..)?)?;
    }
    Some(at)
}

/// Length of a text part, its end included.
fn text_bytes(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
        if bytes.get(at + 1)? == &0 {
            return Some(at + 2);
        }
        at += 2;
    }
}

/// The range of a subject's fragments and relation rows, fragments first.
pub fn records(subject: &SubjectId) -> (Vec<u8>, Vec<u8>) {
    const { assert!(table::FRAGMENT + 1 == table::ROW) };
    (of_subject(table::FRAGMENT, subject), of_subject(table::ROW + 1, subject))
}

pub fn row(subject: &SubjectId, node: &Identity, kind: SourceKind, key: &str) -> Vec<u8> {
    about(table::ROW, subject).node(node).byte(kind as u8).text(key).done()
}

pub fn event(subject: &SubjectId, id: &str) -> Vec<u8> {
    about(table::EVENT, subject).text(id).done()
}

/// The id in an event's key.
pub fn event_id(event_key: &[u8]) -> Option<Text> {
    Parts::of(event_key).text().map(Text::from)
}

pub fn dated(subject: &SubjectId, at: Timestamp, id: &str) -> Vec<u8> {
    about(table::DATED, subject).instant(at).text(id).done()
}

/// The range of the names by time of events up to and including an instant.
pub fn all_dated(subject: &SubjectId, to: Timestamp) -> (Vec<u8>, Vec<u8>) {
    let first = about(table::DATED, subject).done();
    let end = prefix_end(&about(table::DATED, subject).instant(to).done());
    (first, end)
}

/// The instant and the event of such a name.
pub fn date_of(dated_key: &[u8]) -> Option<(Timestamp, Text)> {
    let mut parts = Parts::of(dated_key);
    Some((parts.instant()?, parts.text()?.into()))
}

pub fn chore(subject: &SubjectId) -> Vec<u8> {
    Key::new(table::CHORE).subject(subject).done()
}

pub fn event_link(subject: &SubjectId, home: &Identity, other: &Identity) -> Vec<u8> {
    about(table::EVENT_LINK, subject).node(home).node(other).done()
}

pub fn kept(subject: &SubjectId, bucket: Bucket) -> Vec<u8> {
    about(table::KEPT, subject).number(bucket.0).done()
}

pub fn tally(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::TALLY, subject).number(query.0).done()
}

pub fn verdicts(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::VERDICT, subject).number(query.0).done()
}

pub fn verdict(subject: &SubjectId, query: QueryId, id: &str) -> Vec<u8> {
    about(table::VERDICT, subject).number(query.0).text(id).done()
}

pub fn agenda(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    Key::new(table::AGENDA).subject(subject).number(query.0).done()
}

pub fn tallied_values(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::TALLIED_VALUE, subject).number(query.0).done()
}

/// Sorts as the values do, or in reverse.
pub fn tallied_value(subject: &SubjectId, query: QueryId, value: &Value, descending: bool) -> Vec<u8> {
    let mut row_key = tallied_values(subject, query);
    let from = row_key.len();
    row_key.extend(ordered(value));
    if descending {
        row_key[from..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    row_key
}

/// Bytes that sort as values do, and are the same for equal ones. Lists and maps are only
/// distinguished, not ordered.
fn ordered(value: &Value) -> Vec<u8> {
    let signed = |number: i64| ((number as u64) ^ (1 << 63)).to_be_bytes();
    match value {
        Value::Null => vec![0],
        Value::Bool(flag) => vec![1, u8::from(*flag)],
        Value::Int(_) | Value::Decimal(_) => {
            let number = value.as_decimal().unwrap_or_default();
            // By the whole number below, then by what is above it, which is never negative.
            let below = number.floor();
            let whole = below.trunc().mantissa() / 10_i128.pow(below.scale());
            let rest = (number - below).normalize();
            let rest = rest.mantissa() * 10_i128.pow(Decimal::MAX_SCALE - rest.scale());
            let above = rest.unsigned_abs().to_be_bytes();
            [&[2][..], &((whole as u128) ^ (1 << 127)).to_be_bytes(), &above[4..]].concat()
        }
        Value::Text(text) => Key(vec![3]).text(text).done(),
        Value::Date(date) => [&[4][..], &signed(date.midnight_utc().0)].concat(),
        Value::Time(at) => [&[5][..], &signed(at.0)].concat(),
        Value::List(_) | Value::Map(_) => [vec![6], crate::format::encode(value)].concat(),
    }
}

pub fn sequence(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::SEQUENCE, subject).number(query.0).done()
}

pub fn all_sequenced(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::SEQUENCED, subject).number(query.0).done()
}

/// Before every event of an instant, and after those of earlier ones.
pub fn sequenced_from(subject: &SubjectId, query: QueryId, at: Timestamp) -> Vec<u8> {
    about(table::SEQUENCED, subject).number(query.0).instant(at).done()
}

pub fn sequenced(subject: &SubjectId, query: QueryId, at: Timestamp, id: &str) -> Vec<u8> {
    about(table::SEQUENCED, subject).number(query.0).instant(at).text(id).done()
}

pub fn milestones(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::MILESTONE, subject).number(query.0).done()
}

/// Latest first, so that a scan from here finds the last one up to an instant.
pub fn milestone(subject: &SubjectId, query: QueryId, at: Timestamp) -> Vec<u8> {
    about(table::MILESTONE, subject).number(query.0).instant(Timestamp(!at.0)).done()
}

/// The instant of a milestone.
pub fn milestone_at(milestone_key: &[u8]) -> Option<Timestamp> {
    let mut parts = Parts::of(milestone_key);
    parts.number().and_then(|_| parts.instant()).map(|at| Timestamp(!at.0))
}

pub fn child(parent: &SubjectId, child: &SubjectId) -> Vec<u8> {
    about(table::CHILD, parent).subject(child).done()
}

/// Aggregates over the children of one kind.
pub fn kin(parent: &SubjectId, kind: SubjectKind) -> Vec<u8> {
    about(table::KIN, parent).byte(kind as u8).done()
}

pub fn children(parent: &SubjectId, kind: SubjectKind) -> Vec<u8> {
    about(table::CHILD, parent).byte(kind as u8).done()
}

/// The only row of its table.
pub fn single(table: u8) -> Vec<u8> {
    Key::new(table).done()
}

pub fn version(name: &str, version: u64) -> Vec<u8> {
    Key::new(table::VERSION).text(name).number(version).done()
}

pub fn fanout(node: &Identity) -> Vec<u8> {
    Key::new(table::FANOUT).node(node).done()
}

pub fn activation(key: &ActivationKey) -> Vec<u8> {
    Key::new(table::ACTIVATION)
        .text(&key.destination)
        .text(&key.audience)
        .node(&key.identity)
        .done()
}

pub fn named(table: u8, name: &str) -> Vec<u8> {
    Key::new(table).text(name).done()
}

/// Reads keys back. Every method takes one part off the front; `None` where the key is not of that
/// form.
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// Starts after the table byte, in either form of keys.
    pub fn of(key: &'a [u8]) -> Parts<'a> {
        let table_at = node_bytes(key).unwrap_or(0);
        Parts(key.get(table_at + 1..).unwrap_or_default())
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn text(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let mut at = 0;
        loop {
            match (self.0.get(at)?, self.0.get(at + 1)) {
                (0, Some(0)) => break,
                (0, Some(0xff)) => {
                    bytes.push(0);
                    at += 2;
                }
                (0, _) => return None,
                (byte, _) => {
                    bytes.push(*byte);
                    at += 1;
                }
            }
        }
        self.0 = &self.0[at + 2..];
        String::from_utf8(bytes).ok()
    }

    pub fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*first))
    }

    pub fn instant(&mut self) -> Option<Timestamp> {
        self.number().map(|number| Timestamp((number ^ (1 << 63)) as i64))
    }

    pub fn node(&mut self) -> Option<Identity> {
        let namespace = self.text()?;
        let id = self.text()?;
        Identity::new(&namespace, &id)
    }

    pub fn subject(&mut self) -> Option<SubjectId> {
        let kind = self.byte()?;
        let kind = SubjectKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        Some(SubjectId {
            kind,
            id: CanonicalId(self.node()?),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallied_values_sort_as_values_do() {
        let number = |text: &str| Value::number_or_null(millrace_model::number::parse(text));
        let date = |day: i64| Value::Date(millrace_model::Date::new(2026, 11, day).expect("a day"));
        let values = [
            Value::Bool(false),
            Value::Bool(true),
            number("-7e28"),
            number("-9223372036854775808.5"),
            Value::Int(i64::MIN),
            Value::Int(-2),
            number("-1.5"),
            number("-1.4999999999999999999999999999"),
            number("-0.0000000000000000000000000001"),
            Value::Int(0),
            number("0.0000000000000000000000000001"),
            Value::Int(1),
            number("1.5"),
            number("1.51"),
            Value::Int(1 << 60),
            number("1152921504606846976.5"),
            Value::Int((1 << 60) + 1),
            number("7e28"),
            Value::text(""),
            Value::text("a"),
            Value::text("a\0"),
            Value::text("b"),
            date(1),
            date(2),
            Value::Time(Timestamp(-1)),
            Value::Time(Timestamp(1)),
        ];
        let keys: Vec<_> = values.iter().map(ordered).collect();
        assert!(values.is_sorted() && keys.is_sorted(), "{keys:?}");
        assert_eq!(ordered(&number("-0.0")), ordered(&Value::Int(0)));
        assert_eq!(ordered(&number("7.0")), ordered(&Value::Int(7)));
    }

    #[test]
    fn rows_of_a_node_lie_together() {
        let node = |namespace: &str, id: &str| Identity::new(namespace, id).unwrap();
        let nodes = [
            node("b2b_person", "a"),
            node("b2b_person", "a\0"),
            node("b2b_person", "ab"),
            node("ecid", "a\0b"),
            node("email", "a"),
            node("b2b_account", "a"),
        ];
        let mut keys = Vec::new();
        for node in &nodes {
            let subject = SubjectId::of_node(node);
            let rows = [
                of_subject(table::SUBJECT, &subject),
                of_subject(table::PROFILE, &subject),
                super::node(node),
                claim(node, &nodes[0]),
                event(&subject, "e\0"),
            ];
            for row_key in &rows {
                assert_eq!(subject_of(row_key).as_ref(), Some(&subject));
                assert_eq!(kind_of(row_key), Some(subject.kind));
                assert!(rows.iter().all(|other| place(other) == place(row_key) && after_node(row_key) > *other));
                let (first, end) = super::nodes(subject.kind);
                assert!(first < *row_key && *row_key < end);
            }
            assert_eq!(
                rows.each_ref().map(|row_key| table_of(row_key).unwrap()),
                [table::SUBJECT, table::PROFILE, table::NODE, table::CLAIM, table::EVENT]
            );
            assert_eq!(
                (Parts::of(&rows[3]).node().as_ref(), event_id(&rows[4]).as_deref()),
                (Some(&nodes[0]), Some("e\0"))
            );
            keys.extend(rows);
        }
        assert!(keys.is_sorted(), "{keys:?}");
        let by_table = named(table::DEFINITION, "a");
        assert_eq!(
            (table_of(&by_table), subject_of(&by_table), place(&by_table)),
            (Some(table::DEFINITION), None, None)
        );
        assert_eq!(Parts::of(&by_table).text().as_deref(), Some("a"));
    }

    #[test]
    fn parts_read_back_and_sort_as_their_values() {
        let key = Key::new(1).text("a\0b").instant(Timestamp(-5)).number(7).done();
        let mut parts = Parts::of(&key);
        assert_eq!(
            (parts.text().as_deref(), parts.instant(), parts.number()),
            (Some("a\0b"), Some(Timestamp(-5)), Some(7))
        );
        assert!(parts.is_empty());
        let texts = ["", "\0", "\0a", "a", "a\0", "a\0b", "aa", "b"];
        let keys: Vec<_> = texts.iter().map(|text| Key::new(1).text(text).text("z").done()).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        let instants: Vec<_> = [i64::MIN, -1, 0, 1, i64::MAX]
            .iter()
            .map(|ms| Key::new(1).instant(Timestamp(*ms)).done())
            .collect();
        assert!(instants.is_sorted());
    }
}
