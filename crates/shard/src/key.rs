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

use millrace_model::{Identity, SourceKind, SubjectId, SubjectKind};

use crate::row::ActivationKey;

mod derived;
mod events;
mod parts;
pub mod table;

use parts::Key;

pub use derived::{
    Wake, agenda_entry, agenda_from, alias_of, aliases_of, dependent, dependent_of, dependents, link_timer, member, members, subject_timer, timers_from, turn,
    turned, turns, turns_at, turns_from, wake_of,
};
pub use events::{
    Bucket, agenda, all_dated, all_sequenced, date_of, dated, event, event_id, kept, milestone, milestone_at, milestones, sequence, sequenced, sequenced_from,
    tallied_value, tallied_values, tally, verdict, verdicts,
};
pub use parts::{Parts, after_node, all_nodes, kind_of, node_of, nodes, place, subject_of, table_of};

/// A source record, at resolve.
pub fn record(kind: SourceKind, key: &str) -> Vec<u8> {
    Key::new(table::RECORD).byte(kind as u8).text(key).done()
}

/// The routing of a node, at resolve.
pub fn node(node: &Identity) -> Vec<u8> {
    about_node(table::NODE, node).done()
}

/// The common prefix of all claims on a node.
pub fn claims(node: &Identity) -> Vec<u8> {
    about_node(table::CLAIM, node).done()
}

/// The claim of a home on a node.
pub fn claim(node: &Identity, home: &Identity) -> Vec<u8> {
    about_node(table::CLAIM, node).node(home).done()
}

/// The common prefix of what the retained events of a home carry.
pub fn all_carried(home: &Identity) -> Vec<u8> {
    about_node(table::CARRIED, home).done()
}

/// Whether retained events of a home carry a node.
pub fn carried(home: &Identity, node: &Identity) -> Vec<u8> {
    about_node(table::CARRIED, home).node(node).done()
}

/// Whether an identity that a home of the subject carries is set aside.
pub fn aside(subject: &SubjectId, home: &Identity, node: &Identity) -> Vec<u8> {
    about(table::ASIDE, subject).node(home).node(node).done()
}

/// The thing of a referenced node, as this shard knows it.
pub fn alias(node: &Identity) -> Vec<u8> {
    about_node(table::ALIAS, node).done()
}

/// A subject's row of a table that has one row per subject, or the common prefix of its rows in the
/// table.
pub fn of_subject(table: u8, subject: &SubjectId) -> Vec<u8> {
    about(table, subject).done()
}

/// A row of a table that has one row per subject and node, or the common prefix of the rows of
/// both.
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

/// The range of a subject's fragments and relation rows, fragments first.
pub fn records(subject: &SubjectId) -> (Vec<u8>, Vec<u8>) {
    const { assert!(table::FRAGMENT + 1 == table::ROW) };
    (of_subject(table::FRAGMENT, subject), of_subject(table::ROW + 1, subject))
}

/// A relation row of a node, by the kind and key of its source record.
pub fn row(subject: &SubjectId, node: &Identity, kind: SourceKind, key: &str) -> Vec<u8> {
    about(table::ROW, subject).node(node).byte(kind as u8).text(key).done()
}

/// The work on a subject that runs in portions.
pub fn chore(subject: &SubjectId) -> Vec<u8> {
    Key::new(table::CHORE).subject(subject).done()
}

/// How many retained events of a home carry another identity.
pub fn event_link(subject: &SubjectId, home: &Identity, other: &Identity) -> Vec<u8> {
    about(table::EVENT_LINK, subject).node(home).node(other).done()
}

/// What a child sent to its parent.
pub fn child(parent: &SubjectId, child: &SubjectId) -> Vec<u8> {
    about(table::CHILD, parent).subject(child).done()
}

/// Aggregates over the children of one kind.
pub fn kin(parent: &SubjectId, kind: SubjectKind) -> Vec<u8> {
    about(table::KIN, parent).byte(kind as u8).done()
}

/// The common prefix of the children of one kind.
pub fn children(parent: &SubjectId, kind: SubjectKind) -> Vec<u8> {
    about(table::CHILD, parent).byte(kind as u8).done()
}

/// The only row of its table.
pub fn single(table: u8) -> Vec<u8> {
    Key::new(table).done()
}

/// A version of a definition. Those of one name sort by number.
pub fn version(name: &str, version: u64) -> Vec<u8> {
    Key::new(table::VERSION).text(name).number(version).done()
}

/// The evaluation of everyone who refers to a node.
pub fn fanout(node: &Identity) -> Vec<u8> {
    Key::new(table::FANOUT).node(node).done()
}

/// The members that hold a destination identity, for one audience at one destination.
pub fn activation(key: &ActivationKey) -> Vec<u8> {
    Key::new(table::ACTIVATION)
        .text(&key.destination)
        .text(&key.audience)
        .node(&key.identity)
        .done()
}

/// The row of a name, such as a segment's, in a table that has one per name.
pub fn named(table: u8, name: &str) -> Vec<u8> {
    Key::new(table).text(name).done()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
