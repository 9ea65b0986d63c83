//! A graph built step by step equals the law's answer for the set, whatever the steps.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::rebuild;

/// Few nodes, so that guardrails bite: persons, addresses, devices, numbers and an account.
const NODES: [&str; 14] = ["p1", "p2", "p3", "p4", "p5", "p6", "e1", "e2", "e3", "d1", "d2", "c1", "c2", "a1"];

fn edges() -> impl Strategy<Value = Edge> {
    (select(&NODES[..]), select(&NODES[..])).prop_filter_map("two nodes", |(a, b)| Edge::new(node(a), node(b)))
}

fn policies() -> impl Strategy<Value = Policy> {
    let unique = prop::option::weighted(0.4, select(vec!["crm", "email", "b2b_person"]));
    let crowd = prop::option::weighted(0.3, (select(vec!["email", "ecid", "b2b_person"]), 0u64..5));
    let blocked = prop::option::weighted(0.2, select(vec!["1", "2*"]));
    let priority = select(vec![vec!["crm", "email", "ecid"], vec!["ecid"], vec![]]);
    (1u64..9, unique, crowd, blocked, priority).prop_map(|(max, unique, crowd, blocked, priority)| {
        let mut policy = Policy::default()
            .with_priority(Priority::new(priority))
            .with_identities_max(SubjectKind::Person, max);
        if let Some(namespace) = unique {
            policy = policy.with_unique(namespace);
        }
        if let Some((namespace, max)) = crowd {
            policy = policy.with_claims_max(namespace, max);
        }
        if let Some(pattern) = blocked {
            policy = policy.with_blocked("email", pattern);
        }
        policy
    })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (edges(), prop::bool::weighted(0.6), select(vec!["x", "x", "y"]))
        .prop_map(|(edge, assert, claim)| if assert { assert_of(edge, claim) } else { withdraw_of(edge, claim) })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// After every step all rows and all reported moves equal the law; in the end nothing is left.
    #[test]
    fn every_step_keeps_the_law(policy in policies(), steps in prop::collection::vec(evidence(), 1..60)) {
        let mut world = World::new(policy);
        for step in &steps {
            world.take(step);
            world.check();
            let rows = world.graph.clone();
            prop_assert_eq!(world.take(step), Outcome::default(), "a repetition changes nothing");
            prop_assert_eq!(&rows, &world.graph);
        }
        for (edge, claim) in world.law.claims.clone() {
            world.take(&Evidence::Withdraw { edge, claim });
            world.check();
        }
        prop_assert!(world.graph.rows().len() <= 1, "only the epoch is left");
    }

    /// A batch changes what its parts would, and needs no order.
    #[test]
    fn batches_keep_the_law(policy in policies(), steps in prop::collection::vec(evidence(), 1..80), sizes in prop::collection::vec(1usize..20, 80)) {
        let mut world = World::new(policy);
        let (mut rest, mut sizes) = (&steps[..], sizes.into_iter());
        while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
            let (batch, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            world.take_all(batch);
            world.check();
        }
        let all: Vec<Evidence> = world.law.claims.iter().map(|(edge, claim)| Evidence::Withdraw { edge: edge.clone(), claim: claim.clone() }).collect();
        world.take_all(&all);
        world.check();
    }

    /// Hubs with many edges in ascending, descending and mixed order: the lazy reading of waiting
    /// edges loses none.
    #[test]
    fn hubs_keep_the_law(max in 2u64..7, unique in any::<bool>(), picks in prop::collection::vec((any::<Index>(), 0u8..8), 1..160)) {
        let mut policy = policy().with_identities_max(SubjectKind::Person, max);
        if unique {
            policy = policy.with_unique("crm");
        }
        let persons: Vec<String> = (10..50).map(|n| format!("p{n}")).collect();
        let mut world = World::new(policy);
        for (step, (index, what)) in picks.iter().enumerate() {
            let person = index.get(&persons).as_str();
            let edge = match what {
                0..=3 => edge(person, "e1"),
                4 => edge(person, "e2"),
                5 => edge(person, "d1"),
                6 => edge("e1", ["e2", "d1", "d2"][index.index(3)]),
                _ => edge(person, ["c1", "c2", "c3"][index.index(3)]),
            };
            let known = world.law.claims.contains(&(edge.clone(), Claim("x".into())));
            world.take(&if known { withdraw_of(edge, "x") } else { assert_of(edge, "x") });
            if step % 4 == 0 {
                world.check();
            }
        }
        world.check();
    }

    /// The same set in another order gives the same ids and verdicts.
    #[test]
    fn order_is_nothing(policy in policies(), set in prop::collection::btree_set(edges(), 1..40), keys in prop::collection::vec(any::<u32>(), 40)) {
        let mut shuffled: Vec<(u32, Edge)> = keys.into_iter().zip(set.iter().cloned()).collect();
        shuffled.sort();
        let mut one = World::new(policy.clone());
        let mut other = World::new(policy);
        set.into_iter().for_each(|edge| { one.take(&assert_of(edge, "x")); });
        shuffled.into_iter().for_each(|(_, edge)| { other.take(&assert_of(edge, "x")); });
        one.check();
        other.check();
        prop_assert_eq!(one.law.claims, other.law.claims);
    }

    /// A changed policy gives the result that it would have given from the beginning, by moves.
    #[test]
    fn rebuild_keeps_the_law(before in policies(), after in policies(), set in prop::collection::vec(evidence(), 1..40)) {
        let mut world = World::new(before);
        set.iter().for_each(|step| { world.take(step); });
        world.policy = after;
        let outcome = rebuild(&mut world.graph, &world.policy).unwrap();
        world.follow(&outcome);
        world.check();
        prop_assert_eq!(rebuild(&mut world.graph, &world.policy).unwrap(), Outcome::default());
    }
}
