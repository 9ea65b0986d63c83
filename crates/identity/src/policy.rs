//! The policy of the deployment: the order of namespaces, which is also the order in which
//! identities are considered, and the guardrails.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Identity, SubjectKind, Text, namespace};

use serde::Serialize;

use crate::{Edge, Reason};

/// Identities in one person, unless configured: the bound customers know from other platforms.
const PERSON_IDENTITIES_MAX: u64 = 50;
/// Account records in one company, unless configured: a group with hundreds of subsidiaries in
/// several systems still fits.
const ACCOUNT_IDENTITIES_MAX: u64 = 1_000;
/// Identities in one opportunity, campaign or list, unless configured: a handful of systems know it.
const OTHER_IDENTITIES_MAX: u64 = 50;

/// The order of namespaces, most trusted first: decides which identity names a cluster and which
/// identities are considered first.
///
/// The five namespaces of source keys always come first, then those listed, then all others
/// alphabetically.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Priority {
    positions: BTreeMap<Text, u32>,
}

/// The guardrails and the priority: configuration of the whole deployment, the same for the whole
/// life of a graph.
///
/// Namespaces are case-insensitive here as everywhere. The rows of a graph hold verdicts, so a
/// changed policy needs [`crate::rebuild`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    priority: Priority,
    identities_max: BTreeMap<SubjectKind, u64>,
    unique: BTreeSet<Text>,
    claims_max: BTreeMap<Text, u64>,
    blocked: BTreeMap<Text, Vec<Text>>,
}

/// The place of an identity in the one order in which identities are considered: unique namespaces
/// first, then by priority of the namespace, then namespace, then id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    position: (bool, u32),
    pub node: Identity,
}

impl Priority {
    /// Names repeated, or those of source keys, count at their first place.
    pub fn new<'a>(namespaces: impl IntoIterator<Item = &'a str>) -> Priority {
        let mut positions = BTreeMap::new();
        let source_keys = SubjectKind::ALL.into_iter().map(|kind| normal(kind.namespace()));
        for name in source_keys.chain(namespaces.into_iter().map(normal)) {
            let next = u32::try_from(positions.len()).expect("a configuration lists fewer namespaces than u32 counts");
            positions.entry(name).or_insert(next);
        }
        Priority { positions }
    }

    fn position(&self, namespace: &str) -> u32 {
        self.positions.get(namespace).copied().unwrap_or(u32::MAX)
    }

    /// Compares by namespace priority, then namespace, then id: the least member of a cluster names
    /// it.
    pub fn compare(&self, a: &Identity, b: &Identity) -> Ordering {
        self.position(a.namespace()).cmp(&self.position(b.namespace())).then_with(|| a.cmp(b))
    }
}

impl Default for Priority {
    /// E-mail addresses before device ids: they outlive the device.
    fn default() -> Self {
        Priority::new([namespace::EMAIL, namespace::ECID])
    }
}

impl Default for Policy {
    /// The bounds on cluster sizes, and no other guardrail.
    fn default() -> Self {
        let identities_max = SubjectKind::ALL.into_iter().map(|kind| {
            let max = match kind {
                SubjectKind::Person => PERSON_IDENTITIES_MAX,
                SubjectKind::Account => ACCOUNT_IDENTITIES_MAX,
                SubjectKind::Opportunity | SubjectKind::Campaign | SubjectKind::List => OTHER_IDENTITIES_MAX,
            };
            (kind, max)
        });
        Policy {
            priority: Priority::default(),
            identities_max: identities_max.collect(),
            unique: BTreeSet::new(),
            claims_max: BTreeMap::new(),
            blocked: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// Replaces the order of namespaces.
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// At most `max` identities in a cluster of this kind. 0 counts as 1: an identity is always its
    /// own.
    pub fn with_identities_max(mut self, kind: SubjectKind, max: u64) -> Self {
        self.identities_max.insert(kind, max.max(1));
        self
    }

    /// At most one identity of this namespace in a cluster.
    pub fn with_unique(mut self, namespace: &str) -> Self {
        self.unique.insert(normal(namespace));
        self
    }

    /// An identity of this namespace that more than `max` homes carry is set aside.
    pub fn with_claims_max(mut self, namespace: &str, max: u64) -> Self {
        self.claims_max.insert(normal(namespace), max);
        self
    }

    /// Identities of this namespace whose id fits the pattern link nothing. `*` stands for any
    /// text, including none; every other character for itself.
    pub fn with_blocked(mut self, namespace: &str, pattern: &str) -> Self {
        let name = normal(namespace);
        let pattern = if name == namespace::EMAIL {
            pattern.trim().to_lowercase()
        } else {
            pattern.trim().to_owned()
        };
        self.blocked.entry(name).or_default().push(pattern.into());
        self
    }

    /// The order of namespaces.
    pub fn priority(&self) -> &Priority {
        &self.priority
    }

    /// Whether a home with all that it carries breaks no guardrail, as long as no other home
    /// carries any of it.
    pub fn holds(&self, home: &Identity, carried: &BTreeSet<Identity>) -> bool {
        let kind = SubjectKind::of_namespace(home.namespace());
        let counts = |node: &Identity| SubjectKind::of_namespace(node.namespace()) == kind && !self.is_blocked(node) && self.claims_max(node) > 0;
        let once = |namespace: &Text| carried.iter().chain([home]).filter(|node| node.namespace() == namespace.as_str()).count() <= 1;
        carried.is_empty()
            || (carried.len() as u64) < self.identities_max(home) && !self.is_blocked(home) && carried.iter().all(counts) && self.unique.iter().all(once)
    }

    /// The most identities a cluster of this identity's kind may hold.
    pub fn identities_max(&self, identity: &Identity) -> u64 {
        self.identities_max.get(&SubjectKind::of_namespace(identity.namespace())).copied().unwrap_or(1)
    }

    /// The most homes that may carry an identity before it is set aside.
    pub(crate) fn claims_max(&self, identity: &Identity) -> u64 {
        self.claims_max.get(identity.namespace()).copied().unwrap_or(u64::MAX)
    }

    /// The namespaces of which a cluster holds at most one identity.
    pub(crate) fn unique(&self) -> &BTreeSet<Text> {
        &self.unique
    }

    /// Why an edge can never count under this policy, whatever else is asserted.
    pub(crate) fn refusal(&self, edge: &Edge) -> Option<Reason> {
        if SubjectKind::of_namespace(edge.home().namespace()) != SubjectKind::of_namespace(edge.node().namespace()) {
            return Some(Reason::CrossKind);
        }
        [edge.home(), edge.node()]
            .into_iter()
            .find(|end| self.is_blocked(end))
            .map(|end| Reason::Blocked { identity: end.clone() })
    }

    fn is_blocked(&self, identity: &Identity) -> bool {
        self.blocked
            .get(identity.namespace())
            .is_some_and(|patterns| patterns.iter().any(|pattern| fits(pattern, identity.id())))
    }

    pub(crate) fn place(&self, node: &Identity) -> Place {
        Place {
            position: self.position(node.namespace()),
            node: node.clone(),
        }
    }

    /// How the nodes of a namespace compare with a place, as far as the namespace decides it.
    pub(crate) fn compare_namespace(&self, namespace: &str, place: &Place) -> Ordering {
        (self.position(namespace), namespace).cmp(&(place.position, place.node.namespace()))
    }

    /// A namespace of which a cluster may hold one identity comes before those that could unite two
    /// of them: so the guard counts every such identity of a record, whatever its priority.
    fn position(&self, namespace: &str) -> (bool, u32) {
        (!self.unique.contains(namespace), self.priority.position(namespace))
    }
}

fn normal(namespace: &str) -> Text {
    namespace.trim().to_ascii_lowercase().into()
}

/// Whether a text fits a pattern with `*`. Each star takes as little as it can; only the last one
/// may have to give way, so no search is needed.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let table = [
            ("info@x.com", "info@x.com", true),
            ("info@x.com", "info@x.com.au", false),
            ("info@*", "info@townsend.com", true),
            ("info@*", "xinfo@townsend.com", false),
            ("*@test.com", "a@test.com", true),
            ("*@test.com", "a@test.com.au", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "acb", false),
            ("ab*b", "ab", false),
            ("*", "", true),
            ("", "a", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn namespaces_in_order() {
        let priority = Priority::new(["CRM", "email"]);
        let mut list: Vec<_> = ["zeta:1", "email:1", "alpha:1", "crm:2", "crm:10", "b2b_person:z"]
            .into_iter()
            .map(|t| Identity::parse(t).unwrap())
            .collect();
        list.sort_by(|a, b| priority.compare(a, b));
        assert_eq!(format!("{list:?}"), "[b2b_person:z, crm:10, crm:2, email:1, alpha:1, zeta:1]");
    }
}
