//! Definitions and the configuration under which rows were written.

use std::collections::BTreeMap;

use millrace_model::{Text, Timestamp};
use millrace_segment::view::QueryId;
use serde::{Deserialize, Serialize};

/// The number of a plan of a shard: it grows with each change of what is evaluated. A subject that
/// stands at an older one is brought up to it when it is touched or when the backfill reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

/// `DEFINITION` and `DRAFT`: a definition as accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionRow {
    /// The definition document, YAML or JSON.
    pub text: String,
    /// Grows with every accepted change of the name.
    pub version: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// `WAITING`: a definition, or a deletion, that waits for the rest of its batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRow {
    /// `None`: the name will be deleted.
    pub text: Option<String>,
    /// The version that it will be.
    pub version: u64,
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// The batch's id.
    pub batch: Text,
}

/// `CONFIGURATION`: hashes of the one that the rows were written under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationRow {
    /// The settings that rules and destinations depend on.
    pub rules: u64,
    /// The settings that verdicts on identities depend on.
    pub identity: u64,
}

/// `VERSION`: a text that a name had, or has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// The definition document, YAML or JSON.
    pub text: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The plan's revision from then on.
    pub revision: Revision,
}

/// `REVISION`: the plan's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRow {
    /// Grows with every change of the set of definitions.
    pub revision: Revision,
    /// The revision at which each query of the plan was added.
    pub queries: BTreeMap<QueryId, Revision>,
    /// The last revision at which a query left the plan.
    pub queries_left: Revision,
    /// The fingerprint of each segment of the plan, and the revision at which it was added.
    pub segments: BTreeMap<Text, (u64, Revision)>,
    /// The revision at which everything computed before became void.
    pub all_anew: Revision,
}
