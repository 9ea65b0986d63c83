//! Scenarios, one line a step: `+ p1 e1 r1` is the record r1 asserting that p1 and e1 are one, `-`
//! withdraws.

use expect_test::{Expect, expect};

use super::*;
use crate::explain;

/// Plays a script and shows what each step changed; after every step the graph is compared with the
/// law.
fn check(policy: Policy, script: &str, expect: Expect) -> World {
    let mut world = World::new(policy);
    let mut shown = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [what, a, b, claim] = words[..] else { panic!("no step: {line}") };
        let edge = edge(a, b);
        let outcome = world.take(&if what == "+" { assert_of(edge, claim) } else { withdraw_of(edge, claim) });
        world.check();
        shown += &format!("{line}{}\n", show(&outcome));
    }
    expect.assert_eq(&shown);
    world
}

fn show(outcome: &Outcome) -> String {
    let mut parts = Vec::new();
    parts.extend(
        outcome
            .moves
            .iter()
            .map(|step| format!("{} {}→{} @{}", short(&step.node), short(&step.from.0), short(&step.to.0), step.epoch)),
    );
    parts.extend(
        outcome
            .parked
            .iter()
            .map(|parked| format!("parked {}-{} ({})", short(parked.edge.home()), short(parked.edge.node()), parked.reason)),
    );
    parts.extend(
        outcome
            .unparked
            .iter()
            .map(|edge| format!("unparked {}-{}", short(edge.home()), short(edge.node()))),
    );
    parts.iter().map(|part| format!("\n    {part}")).collect()
}

fn at_most(max: u64) -> Policy {
    policy().with_identities_max(SubjectKind::Person, max)
}

#[test]
fn merge_and_split() {
    check(
        policy(),
        "+ p2 e1 r2
         + p1 e2 r1
         + p1 e1 r1
         - p1 e1 r1
         - p1 e2 r1
         - p2 e1 r2",
        expect![[r#"
            + p2 e1 r2
                e1 e1→p2 @1
            + p1 e2 r1
                e2 e2→p1 @2
            + p1 e1 r1
                p2 p2→p1 @3
                e1 p2→p1 @3
            - p1 e1 r1
                p2 p1→p2 @4
                e1 p1→p2 @4
            - p1 e2 r1
                e2 p1→e2 @5
            - p2 e1 r2
                e1 p2→e1 @6
        "#]],
    );
}

#[test]
fn twin_claims_hold_an_edge_until_the_last_goes() {
    check(
        policy(),
        "+ p1 p2 r1
         + p1 p2 r2
         + p1 p2 r2
         - p1 p2 r1
         - p1 p2 r1
         - p1 p2 r2",
        expect![[r#"
            + p1 p2 r1
                p2 p2→p1 @1
            + p1 p2 r2
            + p1 p2 r2
            - p1 p2 r1
            - p1 p2 r1
            - p1 p2 r2
                p2 p1→p2 @2
        "#]],
    );
}

#[test]
fn another_path_holds_a_cluster() {
    check(
        policy(),
        "+ p1 e1 r1
         + p2 e1 r2
         + p1 p2 link
         - p1 p2 link
         - p1 e1 r1",
        expect![[r#"
            + p1 e1 r1
                e1 e1→p1 @1
            + p2 e1 r2
                p2 p2→p1 @2
            + p1 p2 link
            - p1 p2 link
            - p1 e1 r1
                p2 p1→p2 @3
                e1 p1→p2 @3
        "#]],
    );
}

#[test]
fn a_chain_breaks_in_the_middle() {
    check(
        policy(),
        "+ p1 p2 a
         + p2 p3 b
         + p3 p4 c
         - p2 p3 b",
        expect![[r#"
            + p1 p2 a
                p2 p2→p1 @1
            + p2 p3 b
                p3 p3→p1 @2
            + p3 p4 c
                p4 p4→p1 @3
            - p2 p3 b
                p3 p1→p3 @4
                p4 p1→p3 @4
        "#]],
    );
}

#[test]
fn a_link_unites_accounts_until_it_goes() {
    check(
        policy(),
        "+ a1 a2 mdm
         + a1 a3 mdm
         - a1 a2 mdm
         - a1 a3 mdm",
        expect![[r#"
            + a1 a2 mdm
                a2 a2→a1 @1
            + a1 a3 mdm
                a3 a3→a1 @2
            - a1 a2 mdm
                a2 a1→a2 @3
            - a1 a3 mdm
                a3 a1→a3 @4
        "#]],
    );
}

#[test]
fn a_new_least_member_renames_the_cluster() {
    check(
        policy(),
        "+ e1 d1 visit
         + p5 e1 r5
         + p4 e1 r4",
        expect![[r#"
            + e1 d1 visit
                d1 d1→e1 @1
            + p5 e1 r5
                d1 e1→p5 @2
                e1 e1→p5 @2
            + p4 e1 r4
                p5 p5→p4 @3
                d1 p5→p4 @3
                e1 p5→p4 @3
        "#]],
    );
}

#[test]
fn a_full_cluster_parks_and_takes_up_again() {
    check(
        at_most(3),
        "+ p2 e1 r2
         + p3 e1 r3
         + p4 e1 r4
         + p1 e1 r1
         - p2 e1 r2
         - p4 e1 r4",
        expect![[r#"
            + p2 e1 r2
                e1 e1→p2 @1
            + p3 e1 r3
                p3 p3→p2 @2
            + p4 e1 r4
                p3 p2→p3 @3
                e1 p2→e1 @3
                parked p2-e1 (all that carry it would together hold more than 3 identities)
                parked p3-e1 (all that carry it would together hold more than 3 identities)
                parked p4-e1 (all that carry it would together hold more than 3 identities)
            + p1 e1 r1
                parked p1-e1 (all that carry it would together hold more than 3 identities)
            - p2 e1 r2
                unparked p2-e1
            - p4 e1 r4
                p3 p3→p1 @4
                e1 e1→p1 @4
                unparked p1-e1
                unparked p3-e1
                unparked p4-e1
        "#]],
    );
}

#[test]
fn stronger_evidence_displaces_weaker() {
    check(
        at_most(3),
        "+ p1 d1 visit
         + p1 d2 visit
         + p1 e1 r1
         + p1 p2 crm",
        expect![[r#"
            + p1 d1 visit
                d1 d1→p1 @1
            + p1 d2 visit
                d2 d2→p1 @2
            + p1 e1 r1
                d2 p1→d2 @3
                e1 e1→p1 @3
                parked p1-d2 (all that carry it would together hold more than 3 identities)
            + p1 p2 crm
                p2 p2→p1 @4
                d1 p1→d1 @4
                parked p1-d1 (all that carry it would together hold more than 3 identities)
        "#]],
    );
}

#[test]
fn a_cluster_holds_one_of_a_unique_namespace() {
    check(
        policy().with_unique("CRM"),
        "+ p1 c1 r1
         + p2 c2 r2
         + p1 e1 r1
         + p2 e1 r2
         - p1 c1 r1",
        expect![[r#"
            + p1 c1 r1
                c1 c1→p1 @1
            + p2 c2 r2
                c2 c2→p2 @2
            + p1 e1 r1
                e1 e1→p1 @3
            + p2 e1 r2
                e1 p1→e1 @4
                parked p1-e1 (all that carry it would together hold more than one identity of crm)
                parked p2-e1 (all that carry it would together hold more than one identity of crm)
            - p1 c1 r1
                p2 p2→p1 @5
                c1 p1→c1 @5
                c2 p2→p1 @5
                e1 e1→p1 @5
                unparked p1-e1
                unparked p2-e1
        "#]],
    );
}

#[test]
fn a_blocked_value_links_nothing() {
    check(
        policy().with_blocked("Email", " INFO* "),
        "+ p1 einfo@x r1
         + p2 einfo@x r2
         + p1 ejim@x r1
         - p1 einfo@x r1",
        expect![[r#"
            + p1 einfo@x r1
                parked p1-einfo@x (email:info@x is blocked)
            + p2 einfo@x r2
                parked p2-einfo@x (email:info@x is blocked)
            + p1 ejim@x r1
                ejim@x ejim@x→p1 @1
            - p1 einfo@x r1
                unparked p1-einfo@x
        "#]],
    );
}

#[test]
fn a_mailbox_of_too_many_links_nothing() {
    check(
        policy().with_claims_max("email", 2),
        "+ p1 e1 r1
         + p2 e1 r2
         + p3 e1 r3
         + p4 e1 r4
         - p1 e1 r1
         - p4 e1 r4",
        expect![[r#"
            + p1 e1 r1
                e1 e1→p1 @1
            + p2 e1 r2
                p2 p2→p1 @2
            + p3 e1 r3
                p2 p1→p2 @3
                e1 p1→e1 @3
                parked p1-e1 (more than 2 records carry email:1)
                parked p2-e1 (more than 2 records carry email:1)
                parked p3-e1 (more than 2 records carry email:1)
            + p4 e1 r4
                parked p4-e1 (more than 2 records carry email:1)
            - p1 e1 r1
                unparked p1-e1
            - p4 e1 r4
                p3 p3→p2 @4
                e1 e1→p2 @4
                unparked p2-e1
                unparked p3-e1
                unparked p4-e1
        "#]],
    );
}

#[test]
fn kinds_never_mix() {
    check(
        policy(),
        "+ p1 a1 r1
         + a1 a2 mdm
         - p1 a1 r1",
        expect![[r#"
            + p1 a1 r1
                parked p1-a1 (the identities name different kinds of thing)
            + a1 a2 mdm
                a2 a2→a1 @1
            - p1 a1 r1
                unparked p1-a1
        "#]],
    );
}

#[test]
fn withdrawing_what_was_never_said_is_nothing() {
    check(
        policy(),
        "- p1 e1 r1
         + p1 e1 r1
         - p1 e1 r2",
        expect![[r#"
            - p1 e1 r1
            + p1 e1 r1
                e1 e1→p1 @1
            - p1 e1 r2
        "#]],
    );
}

#[test]
fn explains_a_cluster() {
    let world = check(
        at_most(3).with_blocked("email", "9"),
        "+ p1 e1 r1
         + p1 e1 r1b
         + p2 e1 r2
         + p3 e1 r3
         + p2 e9 r2",
        expect![[r#"
            + p1 e1 r1
                e1 e1→p1 @1
            + p1 e1 r1b
            + p2 e1 r2
                p2 p2→p1 @2
            + p3 e1 r3
                p2 p1→p2 @3
                e1 p1→e1 @3
                parked p1-e1 (all that carry it would together hold more than 3 identities)
                parked p2-e1 (all that carry it would together hold more than 3 identities)
                parked p3-e1 (all that carry it would together hold more than 3 identities)
            + p2 e9 r2
                parked p2-e9 (email:9 is blocked)
        "#]],
    );
    let show = |limit| {
        let report = explain(&world.graph, &world.policy, &node("p2"), limit).unwrap();
        let mut shown = format!("{} of {} @{} with", short(&report.node), short(&report.canonical.0), report.epoch);
        report.members.iter().for_each(|member| shown += &format!(" {}", short(member)));
        for edge in report.edges {
            let claims: Vec<_> = edge.claims.iter().map(|claim| claim.0.as_str()).collect();
            shown += &format!(
                "\n{}-{} by {} ({})",
                short(edge.edge.home()),
                short(edge.edge.node()),
                edge.claim_count,
                claims.join(" ")
            );
            shown += &edge.parked.map(|reason| format!(": {reason}")).unwrap_or_default();
        }
        shown + if report.truncated { "\n…\n" } else { "\n" }
    };
    expect![[r#"
        p2 of p2 @0 with p2
        p2-e1 by 1 (r2): all that carry it would together hold more than 3 identities
        p2-e9 by 1 (r2): email:9 is blocked
    "#]]
    .assert_eq(&show(10));
    expect![[r#"
        p2 of p2 @0 with p2
        p2-e1 by 1 (r2): all that carry it would together hold more than 3 identities
        …
    "#]]
    .assert_eq(&show(1));
}

#[test]
fn a_node_never_mentioned_is_its_own() {
    let graph = MemoryGraph::default();
    assert_eq!(canonical(&graph, &node("p1")).unwrap(), CanonicalId(node("p1")));
    assert_eq!(members(&graph, &CanonicalId(node("p1"))).unwrap(), [node("p1")]);
    assert_eq!(explain(&graph, &policy(), &node("p1"), 10).unwrap().edges, []);
}

#[test]
fn a_damaged_row_is_an_error() {
    let mut graph = MemoryGraph::default();
    apply(&mut graph, &policy(), &[assert_of(edge("p1", "e1"), "r1")]).unwrap();
    // A withdrawal reads every row but the cluster's, which it makes again.
    let steps = |key: &[u8]| {
        if key[0] == b'k' {
            assert_of(edge("p2", "e1"), "r2")
        } else {
            withdraw_of(edge("p1", "e1"), "r1")
        }
    };
    let damaged: Vec<Vec<u8>> = graph.rows().iter().filter(|(_, value)| value.len() > 1).map(|(key, _)| key.clone()).collect();
    for key in damaged {
        for value in [vec![], vec![9, 9], vec![1]] {
            let mut graph = graph.clone();
            crate::GraphStore::put(&mut graph, key.clone(), Some(value)).unwrap();
            let result = apply(&mut graph, &policy(), &[steps(&key)]);
            assert!(matches!(result, Err(crate::GraphError::Damaged { key: found }) if found == key), "{key:?}");
        }
    }
}
