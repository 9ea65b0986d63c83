//! What is kept up to date in the place of an expression. Residuals only.

use super::{Asked, QueryRef};
use crate::view::{KinId, PartId};

/// What is kept, and where.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// An aggregate of an event query's rows.
    Tally { query: QueryRef, asked: Asked },
    /// The progress of a chain over an event query's rows.
    Sequence(QueryRef),
    /// An aggregate over the account's children.
    Kin { kin: KinId, asked: Asked },
    /// The truth of a condition that reads no event.
    Truth(PartId),
}

impl Kept {
    /// With its query named.
    pub fn named(self, name: &dyn Fn(QueryRef) -> QueryRef) -> Kept {
        match self {
            Kept::Tally { query, asked } => Kept::Tally { query: name(query), asked },
            Kept::Sequence(query) => Kept::Sequence(name(query)),
            kept @ (Kept::Kin { .. } | Kept::Truth(_)) => kept,
        }
    }
}
