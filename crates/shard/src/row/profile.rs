//! The merged view of a subject's records.

use std::collections::BTreeSet;

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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRelation {
    pub kind: SourceKind,
    pub key: Text,
    pub value: Value,
    /// The node on the row's other side, where it names one.
    pub target: Option<Identity>,
}

/// What a reference of a profile means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reference {
    /// A person's, or an opportunity's, account.
    Account,
    /// An account's parent.
    Parent,
    /// An account's related account.
    Related,
    /// An opportunity's campaign.
    Campaign,
}
