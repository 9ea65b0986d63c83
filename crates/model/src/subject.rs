//! Unified things: their kinds and ids.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::{CanonicalId, Identity, namespace};
use crate::value::Text;

/// A unified thing that has a profile. Persons and accounts can be subjects of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SubjectKind {
    /// A unified person.
    Person,
    /// A unified account.
    Account,
    /// A unified opportunity.
    Opportunity,
    /// A unified campaign.
    Campaign,
    /// A unified marketing list.
    List,
}

/// A unified thing: its kind and canonical id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectId {
    /// Its kind.
    pub kind: SubjectKind,
    /// The id of its identity cluster.
    pub id: CanonicalId,
}

impl SubjectKind {
    /// Every kind.
    pub const ALL: [SubjectKind; 5] = [
        SubjectKind::Person,
        SubjectKind::Account,
        SubjectKind::Opportunity,
        SubjectKind::Campaign,
        SubjectKind::List,
    ];

    /// The identity namespace of this kind's source keys.
    pub fn namespace(self) -> &'static str {
        match self {
            SubjectKind::Person => namespace::PERSON,
            SubjectKind::Account => namespace::ACCOUNT,
            SubjectKind::Opportunity => namespace::OPPORTUNITY,
            SubjectKind::Campaign => namespace::CAMPAIGN,
            SubjectKind::List => namespace::LIST,
        }
    }

    /// The kind whose identities are in `namespace`: any namespace that is not one of the other
    /// four kinds' names a person.
    pub fn of_namespace(namespace: &str) -> SubjectKind {
        SubjectKind::ALL
            .into_iter()
            .find(|kind| kind.namespace() == namespace)
            .unwrap_or(SubjectKind::Person)
    }

    /// The word for it in records and messages.
    pub fn name(self) -> &'static str {
        match self {
            SubjectKind::Person => "person",
            SubjectKind::Account => "account",
            SubjectKind::Opportunity => "opportunity",
            SubjectKind::Campaign => "campaign",
            SubjectKind::List => "list",
        }
    }
}

impl SubjectId {
    /// The thing that a node is, under its canonical id.
    pub fn of(node: &Identity, canonical: CanonicalId) -> SubjectId {
        SubjectId {
            kind: SubjectKind::of_namespace(node.namespace()),
            id: canonical,
        }
    }

    /// The thing that a node is when nothing links it to others.
    pub fn of_node(node: &Identity) -> SubjectId {
        SubjectId::of(node, CanonicalId(node.clone()))
    }

    /// The canonical id as users see it: `namespace:id`.
    pub fn text(&self) -> Text {
        Text::from(self.id.0.to_string())
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.id.0)
    }
}
