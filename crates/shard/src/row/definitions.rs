//! Definitions and the configuration under which rows were written.

use std::collections::BTreeMap;

use millrace_model::{Text, Timestamp};
use millrace_segment::view::QueryId;
use serde::{Deserialize, Serialize};

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
    pub revision: u64,
}

/// `REVISION`: the plan's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRow {
    /// Grows with every change of the set of definitions.
    pub revision: u64,
    /// The revision at which each query of the plan was added.
    pub queries: BTreeMap<QueryId, u64>,
    /// The last revision at which a query left the plan.
    pub queries_left: u64,
    /// The fingerprint of each segment of the plan, and the revision at which it was added.
    pub segments: BTreeMap<Text, (u64, u64)>,
    /// The revision at which everything computed before became void.
    pub all_anew: u64,
}
