//! Whole data, for evaluating rules without a plan: previews and tests.

use millrace_model::{Relation, SubjectKind, Text, Timestamp, Value};

use crate::view::Timed;

/// Everything that rules can use, of any thing. The evaluator that runs residuals over a `View`
/// also runs whole rules over this.
pub trait World {
    /// The merged record of a thing; null if it has no live record.
    fn attributes(&self, kind: SubjectKind, id: &str) -> &Value;
    /// The items of a relation, each once, in ascending order of `Link::id`. Things without a live
    /// record are left out.
    fn related(&self, kind: SubjectKind, id: &str, relation: Relation) -> &[Link];
    /// A person's events in ascending order of `(at, id)`, including those ahead of now.
    fn events(&self, person: &str) -> &[WorldEvent];
    /// Whether a thing is in a segment, and until when as far as time goes; false for segments that
    /// do not exist.
    fn in_segment(&self, kind: SubjectKind, id: &str, name: &str) -> Timed<bool>;
}

/// One item of a relation.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Canonical id of the thing, or the row's own source key.
    pub id: Text,
    /// The row's fields (`Relation::row` relations only), otherwise `Null`.
    pub row: Value,
    /// Canonical id of the row's target, if it has a live record; for a thing its own id.
    pub target: Option<Text>,
}

/// An event of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldEvent {
    /// When it occurred.
    pub at: Timestamp,
    /// Unique among the events of its person.
    pub id: Text,
    /// A map of typed fields; the evaluator reads `_id` and `timestamp` from `id` and `at`.
    pub value: Value,
}
