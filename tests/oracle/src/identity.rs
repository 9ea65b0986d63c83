//! Identities, and the clusters they form: plain sets, merged by one identity after the other,
//! without those that would break a guard.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::Config;

/// A pair of namespace and id, normalised: the namespace lower case, the id trimmed, an e-mail
/// lower case.
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

    /// Orders members of a cluster: the least names it. `b2b_*` namespaces first, then the
    /// configured ones in their order, then all others.
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
    /// Pairs of a member and an identity set aside.
    aside: BTreeSet<(Identity, Identity)>,
}

impl Clusters {
    /// The identities that result from `claims`, each of which says that its first identity, the
    /// *home*, carries all the others; `may_unite` says whether two identities can be one thing at
    /// all, `size_max` how many a cluster may hold.
    ///
    /// Identity by identity, those of unique namespaces first, then best rank first, the sets of an identity and of all homes that carry
    /// it become one. If that set would break a guard, the identity is set aside whole: none of
    /// them has it.
    pub fn of(claims: &[Vec<Identity>], size_max: usize, may_unite: impl Fn(&Identity, &Identity) -> bool, config: &Config) -> Clusters {
        let mut sets: Vec<BTreeSet<Identity>> = Vec::new();
        let mut homes: BTreeMap<&Identity, BTreeSet<&Identity>> = BTreeMap::new();
        let mut aside = BTreeSet::new();
        for claim in claims {
            for identity in claim {
                if !sets.iter().any(|set| set.contains(identity)) {
                    sets.push(BTreeSet::from([identity.clone()]));
                }
            }
            let Some((home, carried)) = claim.split_first() else { continue };
            for identity in carried.iter().filter(|identity| *identity != home) {
                let blocked = |identity: &Identity| config.guards.blocked.contains(&identity.to_string());
                if blocked(home) || blocked(identity) || !may_unite(home, identity) {
                    aside.insert((home.clone(), identity.clone()));
                } else {
                    homes.entry(identity).or_default().insert(home);
                }
            }
        }
        let mut order: Vec<&Identity> = homes.keys().copied().collect();
        // Those of unique namespaces first: what could unite two of them must meet both.
        order.sort_by_key(|identity| (!config.guards.unique.contains(&identity.namespace), identity.rank(config)));
        for identity in order {
            let of = &homes[identity];
            let concerned = |set: &BTreeSet<Identity>| set.contains(identity) || of.iter().any(|home| set.contains(home));
            let united: BTreeSet<Identity> = sets.iter().filter(|set| concerned(set)).flatten().cloned().collect();
            let crowd = config.guards.claims_max.get(&identity.namespace).is_some_and(|max| of.len() > *max);
            let twice = |namespace: &String| united.iter().filter(|member| member.namespace == *namespace).count() > 1;
            if crowd || united.len() > size_max || config.guards.unique.iter().any(twice) {
                aside.extend(of.iter().map(|home| ((*home).clone(), identity.clone())));
            } else {
                sets.retain(|set| !concerned(set));
                sets.push(united);
            }
        }
        let mut canonical = BTreeMap::new();
        for set in &sets {
            let least = set.iter().min_by_key(|identity| identity.rank(config)).expect("no set is empty");
            canonical.extend(set.iter().map(|identity| (identity.clone(), least.to_string())));
        }
        Clusters { sets, canonical, aside }
    }

    /// The identities set aside that members of a cluster carry.
    pub fn aside(&self, canonical: &str) -> BTreeSet<&Identity> {
        let of_cluster = self.aside.iter().filter(|(home, _)| self.canonical(home) == canonical);
        of_cluster.map(|(_, identity)| identity).collect()
    }

    /// The canonical id of the cluster of `identity`; an unknown identity names itself.
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
    use crate::Guards;

    fn identity(text: &str) -> Identity {
        let (namespace, id) = text.split_once(':').unwrap();
        Identity::new(namespace, id).unwrap()
    }

    #[test]
    fn clusters_are_connected_components_named_by_their_least_member() {
        /// Claims, and the resulting names of members.
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
            let clusters = Clusters::of(&claims, 50, |_, _| true, &Config::default());
            for (member, canonical) in *expected {
                assert_eq!(clusters.canonical(&identity(member)), *canonical, "{claims:?}");
            }
        }
    }

    #[test]
    fn what_would_break_a_guard_is_set_aside_whole() {
        let guarded = |change: fn(&mut Guards)| {
            let mut config = Config::default();
            change(&mut config.guards);
            config
        };
        /// Claims, the greatest cluster, and the resulting clusters.
        type Case = (
            &'static str,
            Config,
            usize,
            &'static [&'static [&'static str]],
            &'static [&'static [&'static str]],
        );
        let table: &[Case] = &[
            (
                "two e-mails never meet over a device",
                guarded(|guards| guards.unique.push("email".to_owned())),
                50,
                &[&["b2b_person:1", "email:a", "ecid:d"], &["b2b_person:2", "email:b", "ecid:d"]],
                &[&["b2b_person:1", "email:a"], &["b2b_person:2", "email:b"], &["ecid:d"]],
            ),
            (
                "an address of too many unites nobody",
                Config::default(),
                3,
                &[&["b2b_person:1", "email:a"], &["b2b_person:2", "email:a"], &["b2b_person:3", "email:a"]],
                &[&["b2b_person:1"], &["b2b_person:2"], &["b2b_person:3"], &["email:a"]],
            ),
            (
                "of a record's own the first by rank fit",
                Config::default(),
                3,
                &[&["b2b_person:1", "zeta:1", "ecid:2", "ecid:1", "email:a"]],
                &[&["b2b_person:1", "ecid:1", "email:a"], &["ecid:2"], &["zeta:1"]],
            ),
            (
                "claims are counted by home",
                guarded(|guards| guards.claims_max.extend([("email".to_owned(), 1)])),
                50,
                &[
                    &["b2b_person:1", "email:a"],
                    &["b2b_person:1", "email:a"],
                    &["b2b_person:2", "email:b"],
                    &["b2b_person:3", "email:b"],
                ],
                &[&["b2b_person:1", "email:a"], &["b2b_person:2"], &["b2b_person:3"], &["email:b"]],
            ),
            (
                "blocked",
                guarded(|guards| guards.blocked.extend(["email:info".to_owned()])),
                50,
                &[&["b2b_person:1", "email:info"], &["email:info", "ecid:1"]],
                &[&["b2b_person:1"], &["ecid:1"], &["email:info"]],
            ),
            (
                "what is set aside belongs to whom its other evidence names",
                Config::default(),
                3,
                &[
                    &["b2b_person:1", "email:a"],
                    &["b2b_person:2", "email:a"],
                    &["b2b_person:3", "email:a", "ecid:1"],
                    &["email:a", "ecid:1"],
                ],
                &[&["b2b_person:1"], &["b2b_person:2"], &["b2b_person:3", "ecid:1", "email:a"]],
            ),
        ];
        for (about, config, size_max, claims, expected) in table {
            let claims: Vec<Vec<Identity>> = claims.iter().map(|claim| claim.iter().map(|text| identity(text)).collect()).collect();
            let clusters = Clusters::of(&claims, *size_max, |_, _| true, config);
            let found: BTreeSet<&BTreeSet<Identity>> = clusters.iter().map(|(_, set)| set).collect();
            let expected: BTreeSet<BTreeSet<Identity>> = expected.iter().map(|set| set.iter().map(|text| identity(text)).collect()).collect();
            assert_eq!(found, expected.iter().collect(), "{about}");
        }
    }
}
