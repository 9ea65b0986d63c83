//! Identities, and the clusters they form: plain sets, merged as often as two of them share a member.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::Config;

/// A pair of namespace and id, normalised: the namespace lower case, the id trimmed, an e-mail lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub namespace: String,
    pub id: String,
}

impl Identity {
    /// `None` where a part is empty.
    pub fn new(namespace: &str, id: &str) -> Option<Identity> {
        let namespace = namespace.trim().to_lowercase();
        let hidden = |letter: char| letter.is_whitespace() || ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}'].contains(&letter);
        let id: String = id.nfc().collect();
        let id = id.trim_matches(hidden);
        let id = if namespace == "email" { id.to_lowercase() } else { id.to_owned() };
        (!namespace.is_empty() && !id.is_empty()).then_some(Identity { namespace, id })
    }

    /// Orders members of a cluster: the least names it. `b2b_*` namespaces first, then the configured ones in their order, then all others.
    pub fn rank(&self, config: &Config) -> (usize, String, String) {
        let place = if self.namespace.starts_with("b2b_") {
            0
        } else {
            let configured = config.namespace_priority.iter().position(|name| *name == self.namespace);
            1 + configured.unwrap_or(config.namespace_priority.len())
        };
        (place, self.namespace.clone(), self.id.clone())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.id)
    }
}

/// Disjoint sets of identities.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    sets: Vec<BTreeSet<Identity>>,
    canonical: BTreeMap<Identity, String>,
}

impl Clusters {
    /// The connected components of `claims`, each claim saying that its identities belong together.
    pub fn of(claims: &[Vec<Identity>], config: &Config) -> Clusters {
        let mut sets: Vec<BTreeSet<Identity>> = Vec::new();
        for claim in claims.iter().filter(|claim| !claim.is_empty()) {
            let mut united: BTreeSet<Identity> = claim.iter().cloned().collect();
            let (touched, rest): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| !set.is_disjoint(&united));
            united.extend(touched.into_iter().flatten());
            sets = rest;
            sets.push(united);
        }
        let mut canonical = BTreeMap::new();
        for set in &sets {
            let least = set
                .iter()
                .min_by_key(|identity| identity.rank(config))
                .expect("a set is made of a claim that is not empty");
            canonical.extend(set.iter().map(|identity| (identity.clone(), least.to_string())));
        }
        Clusters { sets, canonical }
    }

    /// The canonical id of the cluster `identity` is in; an identity nobody spoke of names itself.
    pub fn canonical(&self, identity: &Identity) -> String {
        self.canonical.get(identity).cloned().unwrap_or_else(|| identity.to_string())
    }

    /// Every cluster with its canonical id.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &BTreeSet<Identity>)> {
        self.sets.iter().filter_map(|set| set.first().map(|member| (&self.canonical[member], set)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> Identity {
        let (namespace, id) = text.split_once(':').unwrap();
        Identity::new(namespace, id).unwrap()
    }

    #[test]
    fn clusters_are_connected_components_named_by_their_least_member() {
        /// Claims, and what members are called then.
        type Case = (&'static [&'static [&'static str]], &'static [(&'static str, &'static str)]);
        let table: &[Case] = &[
            (&[&["email:a@x"]], &[("email:a@x", "email:a@x"), ("email:b@x", "email:b@x")]),
            (
                &[&["email:a@x", "b2b_person:9"], &["email:a@x", "b2b_person:10"]],
                &[("b2b_person:9", "b2b_person:10"), ("email:a@x", "b2b_person:10")],
            ),
            // Configured before others, others by name.
            (&[&["zeta:1", "alpha:1"]], &[("zeta:1", "alpha:1")]),
            (&[&["alpha:1", "ecid:1"]], &[("alpha:1", "ecid:1")]),
            (&[&["ecid:1", "email:z@x"]], &[("ecid:1", "email:z@x")]),
            // A later claim that joins two older sets.
            (&[&["ecid:1", "ecid:2"], &["ecid:3", "ecid:4"], &["ecid:2", "ecid:3"]], &[("ecid:4", "ecid:1")]),
            (&[&["Email: A@X "]], &[("email:a@x", "email:a@x")]),
        ];
        for (claims, expected) in table {
            let claims: Vec<Vec<Identity>> = claims.iter().map(|claim| claim.iter().map(|text| identity(text)).collect()).collect();
            let clusters = Clusters::of(&claims, &Config::default());
            for (member, canonical) in *expected {
                assert_eq!(clusters.canonical(&identity(member)), *canonical, "{claims:?}");
            }
        }
    }
}
