//! Variables, including those with a fixed meaning, and what an expression reads before its queries
//! have names.

use std::fmt;

use crate::view::QueryId;

/// A variable of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Var {
    /// The thing an expression is about.
    Subject,
    /// Bound by a list or a chain. Numbers are unique within one rule, so that substitution cannot
    /// capture.
    Bound(u32),
    /// While an expression is split: the host of a far list, whose rows are not known yet.
    Host,
    /// The one thing or event, while testing whether an expression depends on it alone.
    Anchor,
    /// In the window between two steps of a sequence: the event before.
    Previous,
}

/// The thing an expression is about.
pub const SUBJECT: Var = Var::Subject;

/// Makes variables that nothing uses yet.
#[derive(Clone, Copy, Debug)]
pub struct Fresh(u32);

impl Fresh {
    /// Of a rule that has none yet.
    pub fn new() -> Fresh {
        Fresh(1)
    }

    pub fn var(&mut self) -> Var {
        self.0 += 1;
        Var::Bound(self.0 - 1)
    }
}

/// The event query that an expression reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum QueryRef {
    /// While an expression is split: its query of this index, which has no name until all questions
    /// about its events are known.
    Open(usize),
    Named(QueryId),
}

impl QueryRef {
    pub fn id(self) -> Option<QueryId> {
        match self {
            QueryRef::Open(_) => None,
            QueryRef::Named(id) => Some(id),
        }
    }
}

/// As the id: the text is part of stored names.
impl fmt::Debug for QueryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryRef::Open(index) => write!(f, "open query {index}"),
            QueryRef::Named(id) => id.fmt(f),
        }
    }
}
