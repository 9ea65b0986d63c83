//! The merged view of a subject's records.

use std::collections::BTreeSet;

use millrace_model::relation::{By, Reference};
use millrace_model::{Identity, SourceKind, Text, Value};
use serde::{Deserialize, Serialize};

/// `PROFILE`: what changes with records, not with events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// Merged fields.
    pub attributes: Value,
    /// Every identity of the cluster that a live record names.
    pub identities: BTreeSet<Identity>,
    /// Relation rows, ascending by kind and key.
    pub rows: Vec<ProfileRelation>,
    /// Nodes the records themselves refer to, by relation.
    pub references: Vec<(Reference, Identity)>,
}

/// A relation row of a subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRelation {
    /// The kind of its source record.
    pub kind: SourceKind,
    /// The source key of that record.
    pub key: Text,
    /// The record's fields as they hold now.
    pub value: Value,
    /// The node on the row's other side, where it names one.
    pub target: Option<Identity>,
}

impl ProfileRow {
    /// The nodes that the subject's records name in this sense.
    pub fn referred(&self, sense: Reference) -> impl Iterator<Item = &Identity> {
        self.references.iter().filter(move |(reference, _)| *reference == sense).map(|(_, node)| node)
    }

    /// The nodes that a hop from the subject leads to; rows of this kind lead to some of them.
    pub fn named(&self, by: By) -> Vec<&Identity> {
        match by {
            By::Reference(sense) => self.referred(sense).collect(),
            By::ReferenceOrRows(sense, kind) => {
                let rows = self.rows.iter().filter(|row| row.kind == kind).filter_map(|row| row.target.as_ref());
                self.referred(sense).chain(rows).collect()
            }
            By::Rows | By::Children(_) | By::Target => Vec::new(),
        }
    }
}
