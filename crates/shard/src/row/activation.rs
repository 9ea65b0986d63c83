//! Who counts for an identity at a destination.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Identity, SubjectId, Text, Value};
use serde::{Deserialize, Serialize};

/// `ACTIVATED`: the destination identities that a subject counts for.
pub type ActivatedRow = BTreeSet<ActivationKey>;

/// `ACTIVATION`: a destination identity of an audience at a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActivationKey {
    /// The destination's name.
    pub destination: Text,
    /// The name of the segment.
    pub audience: Text,
    /// The identity by which the destination knows the member.
    pub identity: Identity,
}

/// The subjects that hold a destination identity, with the attributes each would send.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ActivationRow {
    /// The attributes of each; a row without members is deleted.
    pub members: BTreeMap<SubjectId, Value>,
}
