//! Each stage alone: messages in, rows and messages out. The stages together: tests/scenarios.

use expect_test::expect;
use millrace_identity::{Claim, Edge, Epoch, Evidence};
use millrace_model::{ShardId, SourceKind, Value};
use serde_json::json;

use super::testing::{Bench, attributes, canonical, node, subject};
use crate::message::{Bundle, Data};
use crate::origin::Origin;
use crate::row::{ActivationKey, Arrival, Detail, PartialArrival, Sequence, Standing};

#[test]
fn a_record_goes_to_the_owner_of_its_node_and_claims_its_other_identities() {
    let mut bench = Bench::new();
    let ann = bench.record(
        SourceKind::Person,
        "1@a.Salesforce",
        json!({"modifiedAt": 10, "workEmail": {"address": "ann@acme.com"}}),
    );
    bench.check(
        |step| step.resolve().change(ann.clone()),
        expect![[r#"
            -> node email:ann@acme.com: +claim of b2b_person:1@a.Salesforce
            -> owner of person b2b_person:1@a.Salesforce: fragment 1 of b2b_person:1@a.Salesforce under 0
            put RECORD
            put NODE
        "#]],
    );
    // Of two versions with one instant the later in the topic holds; an older one is stale.
    bench.check(
        |step| step.resolve().change(ann),
        expect![[r#"
            -> owner of person b2b_person:1@a.Salesforce: fragment 2 of b2b_person:1@a.Salesforce under 0
            put RECORD
        "#]],
    );
    let older = bench.record(SourceKind::Person, "1@a.Salesforce", json!({"modifiedAt": 5}));
    bench.check(|step| step.resolve().change(older), expect![""]);
    let without = bench.record(SourceKind::Person, "1@a.Salesforce", json!({"modifiedAt": 20}));
    bench.check(
        |step| step.resolve().change(without),
        expect![[r#"
        -> node email:ann@acme.com: -claim of b2b_person:1@a.Salesforce
        -> owner of person b2b_person:1@a.Salesforce: fragment 3 of b2b_person:1@a.Salesforce under 0
        put RECORD
    "#]],
    );
}

#[test]
fn a_node_matters_to_its_homes_once_two_claim_it() {
    let mut bench = Bench::new();
    let (shared, first, second) = (node("email:ann@acme.com"), node("b2b_person:1@a.Salesforce"), node("b2b_person:2@a.Salesforce"));
    bench.check(
        |step| step.resolve().claim(&shared, &first, true),
        expect![[r#"
        put NODE
        put CLAIM
    "#]],
    );
    bench.check(
        |step| step.resolve().claim(&shared, &second, true),
        expect![[r#"
        -> node b2b_person:1@a.Salesforce: +matters
        -> node b2b_person:2@a.Salesforce: +matters
        put NODE
        put CLAIM
    "#]],
    );
    bench.check(|step| step.resolve().claim(&shared, &second, true), expect![""]);
    bench.check(
        |step| step.resolve().claim(&shared, &first, false),
        expect![[r#"
        -> node b2b_person:1@a.Salesforce: -matters
        -> node b2b_person:2@a.Salesforce: -matters
        put NODE
        delete CLAIM
    "#]],
    );
}

#[test]
fn a_relation_row_is_attached_to_its_ends_and_detached_from_former_ones() {
    let mut bench = Bench::new();
    let role = |bench: &Bench, at: i64, person: &str| {
        let key = |id: &str| json!({"sourceType": "Salesforce", "sourceInstanceID": "a", "sourceID": id, "sourceKey": format!("{id}@a.Salesforce")});
        bench.record(
            SourceKind::OpportunityPerson,
            "7@a.Salesforce",
            json!({"modifiedAt": at, "personKey": key(person), "opportunityKey": key("9")}),
        )
    };
    let (first, second) = (role(&bench, 10, "1"), role(&bench, 20, "2"));
    bench.check(
        |step| step.resolve().change(first),
        expect![[r#"
        -> node b2b_opportunity:9@a.Salesforce: +row 7@a.Salesforce as 1
        -> node b2b_person:1@a.Salesforce: +row 7@a.Salesforce as 1
        put RECORD
    "#]],
    );
    bench.check(
        |step| step.resolve().change(second),
        expect![[r#"
        -> node b2b_person:1@a.Salesforce: -row 7@a.Salesforce as 2
        -> node b2b_opportunity:9@a.Salesforce: +row 7@a.Salesforce as 2
        -> node b2b_person:2@a.Salesforce: +row 7@a.Salesforce as 2
        put RECORD
    "#]],
    );
}

#[test]
fn a_link_asserts_its_edges_while_it_is_valid() {
    let mut bench = Bench::new();
    let key = |id: &str| json!({"sourceType": "Salesforce", "sourceInstanceID": "a", "sourceID": id, "sourceKey": format!("{id}@a.Salesforce")});
    let link = bench.record(
        SourceKind::AccountLink,
        "5@mdm.MDM",
        json!({"modifiedAt": 10, "members": [key("1"), key("2"), key("3")], "validFrom": 2000, "validTo": 3000}),
    );
    bench.check(
        |step| step.resolve().change(link),
        expect![[r#"
        put RECORD
        put TIMER
    "#]],
    );
    bench.at(2_000).check(
        |step| step.resolve().link_due("5@mdm.MDM"),
        expect![[r#"
        -> node b2b_account:1@a.Salesforce: anchor
        -> node b2b_account:2@a.Salesforce: anchor
        -> writer: +edge b2b_account:1@a.Salesforce b2b_account:2@a.Salesforce
        -> node b2b_account:1@a.Salesforce: anchor
        -> node b2b_account:3@a.Salesforce: anchor
        -> writer: +edge b2b_account:1@a.Salesforce b2b_account:3@a.Salesforce
        put RECORD
        delete TIMER
        put TIMER
    "#]],
    );
    bench.at(3_000).check(
        |step| step.resolve().link_due("5@mdm.MDM"),
        expect![[r#"
        -> writer: -edge b2b_account:1@a.Salesforce b2b_account:2@a.Salesforce
        -> writer: -edge b2b_account:1@a.Salesforce b2b_account:3@a.Salesforce
        put RECORD
        delete TIMER
    "#]],
    );
}

#[test]
fn a_moved_node_tells_its_followers_and_its_former_owner_once() {
    let mut bench = Bench::new();
    let (moved, from, to) = (
        node("email:ann@acme.com"),
        canonical("email:ann@acme.com"),
        canonical("b2b_person:1@a.Salesforce"),
    );
    bench.check(
        |step| step.resolve().follow(&moved, ShardId(3), true),
        expect![[r#"
        post internal.inbox 
        put NODE
    "#]],
    );
    bench.check(
        |step| step.resolve().anchor(&moved),
        expect![[r#"
        put NODE
    "#]],
    );
    bench.check(
        |step| step.resolve().canonical(moved.clone(), from.clone(), to.clone(), Epoch(4)),
        expect![[r#"
        -> owner of person email:ann@acme.com: email:ann@acme.com moves to b2b_person:1@a.Salesforce under 4
        post internal.inbox 
        put NODE
    "#]],
    );
    // An older verdict changes nothing.
    bench.check(|step| step.resolve().canonical(moved.clone(), from, to, Epoch(3)), expect![""]);
}

#[test]
fn data_of_a_node_that_left_is_passed_on() {
    let mut bench = Bench::new();
    let (here, there) = (subject("b2b_person:1@a.Salesforce"), canonical("b2b_person:0@a.Salesforce"));
    let moved = node("email:ann@acme.com");
    let fragment = |sequence| Data::Fragment {
        sequence: Sequence(sequence),
        fragment: None,
    };
    bench.check(
        |step| step.data(here.clone(), moved.clone(), Epoch(2), fragment(1)),
        expect![[r#"
        evaluate person b2b_person:1@a.Salesforce, profile
        put FRAGMENT
    "#]],
    );
    // Older than what is known.
    bench.check(|step| step.data(here.clone(), moved.clone(), Epoch(2), fragment(1)), expect![""]);
    bench.check(
        |step| step.depart(here.clone(), moved.clone(), there.clone(), Epoch(3)),
        expect![[r#"
            -> owner of person b2b_person:0@a.Salesforce: email:ann@acme.com arrives under 3 with 1 fragment, 0 rows, 0 events, 0 unfinished, of 1 parts
            evaluate person b2b_person:1@a.Salesforce, profile
            put SUBJECT
            delete FRAGMENT
            put MOVED
            put POPULATION
        "#]],
    );
    bench.check(
        |step| step.data(here.clone(), moved.clone(), Epoch(2), fragment(2)),
        expect![[r#"
        -> owner of person b2b_person:0@a.Salesforce: no fragment 2 of email:ann@acme.com under 2
    "#]],
    );
    let late = Arrival {
        from: there,
        node: moved.clone(),
        epoch: Epoch(2),
    };
    bench.check(
        |step| step.arrive(here.clone(), late, Bundle::default(), Some(1)),
        expect![[r#"
            -> owner of person b2b_person:0@a.Salesforce: email:ann@acme.com arrives under 2 with 0 fragment, 0 rows, 0 events, 0 unfinished, of 1 parts
        "#]],
    );
    bench.check(
        |step| step.arrived(&here),
        expect![[r#"
        evaluate person b2b_person:1@a.Salesforce
        delete SUBJECT
        put POPULATION
    "#]],
    );
}

#[test]
fn a_part_may_come_after_the_one_that_was_sent_last() {
    let mut bench = Bench::new();
    let (here, there) = (subject("b2b_person:1@a.Salesforce"), canonical("b2b_person:0@a.Salesforce"));
    let moved = node("email:ann@acme.com");
    let arrival = |from: &str, epoch| Arrival {
        from: canonical(from),
        node: moved.clone(),
        epoch: Epoch(epoch),
    };
    let first = arrival("b2b_person:2@a.Salesforce", 1);
    // The first of three parts has come when the node moves on: what is missing goes after it.
    bench.check(
        |step| step.arrive(here.clone(), first.clone(), Bundle::default(), None),
        expect![[r#"
        put SUBJECT
        put POPULATION
    "#]],
    );
    bench.check(
        |step| step.depart(here.clone(), moved.clone(), there.clone(), Epoch(2)),
        expect![[r#"
        -> owner of person b2b_person:0@a.Salesforce: email:ann@acme.com arrives under 2 with 0 fragment, 0 rows, 0 events, 1 unfinished, of 1 parts
        evaluate person b2b_person:1@a.Salesforce, profile
        put SUBJECT
        put MOVED
    "#]],
    );
    // It comes back. The third part finds it here, the second was sent after it and returns.
    let mut part = Bundle::default();
    part.unfinished.push(PartialArrival {
        arrival: first.clone(),
        received: 1,
        of: None,
    });
    bench.check(
        |step| step.arrive(here.clone(), arrival("b2b_person:0@a.Salesforce", 3), part, Some(1)),
        expect![[r#"
        evaluate person b2b_person:1@a.Salesforce
        put SUBJECT
        delete MOVED
    "#]],
    );
    bench.check(
        |step| step.arrive(here.clone(), first.clone(), Bundle::default(), Some(3)),
        expect![[r#"
        put SUBJECT
    "#]],
    );
    bench.check(
        |step| step.arrive(here.clone(), first, Bundle::default(), None),
        expect![[r#"
        evaluate person b2b_person:1@a.Salesforce
        put SUBJECT
    "#]],
    );
}

#[test]
fn the_writer_moves_nodes_under_one_epoch() {
    let mut bench = Bench::new();
    let edge = |a: &str, b: &str| Edge::new(node(a), node(b)).expect("two nodes");
    let assert = |edge: Edge| {
        let claim = Claim("record".into());
        (Evidence::Assert { edge, claim }, Origin::timer())
    };
    let evidence = vec![
        assert(edge("b2b_person:1@a.Salesforce", "email:ann@acme.com")),
        assert(edge("b2b_person:2@a.Salesforce", "email:ann@acme.com")),
    ];
    bench.check(
        |step| step.writer().weigh(evidence),
        expect![[r#"
        -> node b2b_person:2@a.Salesforce: from b2b_person:2@a.Salesforce to b2b_person:1@a.Salesforce under 1
        -> node email:ann@acme.com: from email:ann@acme.com to b2b_person:1@a.Salesforce under 1
        put GRAPH, 15 rows
    "#]],
    );
}

#[test]
fn a_destination_gets_the_first_who_enters_and_the_last_who_leaves() {
    let mut bench = Bench::new();
    let key = ActivationKey {
        destination: "crm".into(),
        audience: "a".into(),
        identity: node("email:ann@acme.com"),
    };
    let (one, two) = (subject("b2b_person:1@a.Salesforce"), subject("b2b_person:2@a.Salesforce"));
    let named = |name: &str| attributes("firstName", name);
    bench.check(
        |step| step.activation().activate(&key, two.clone(), true, named("Ann")),
        expect![[r#"
        post destination.crm a|email:ann@acme.com
        put ACTIVATION
    "#]],
    );
    // The least one's attributes count.
    bench.check(
        |step| step.activation().activate(&key, one.clone(), true, named("Ann")),
        expect![[r#"
        put ACTIVATION
    "#]],
    );
    bench.check(
        |step| step.activation().activate(&key, one.clone(), true, named("Anna")),
        expect![[r#"
        post destination.crm a|email:ann@acme.com
        put ACTIVATION
    "#]],
    );
    bench.check(
        |step| step.activation().activate(&key, one, false, Value::Null),
        expect![[r#"
        post destination.crm a|email:ann@acme.com
        put ACTIVATION
    "#]],
    );
    bench.check(
        |step| step.activation().activate(&key, two, false, Value::Null),
        expect![[r#"
        post destination.crm a|email:ann@acme.com
        delete ACTIVATION
    "#]],
    );
}

#[test]
fn a_shard_follows_a_node_once_and_subscribes_in_the_detail_that_is_needed() {
    let mut bench = Bench::new();
    let account = node("b2b_account:1@a.Salesforce");
    let refers = |detail| [(account.clone(), detail)].into();
    let (one, two) = (subject("b2b_person:1@a.Salesforce"), subject("b2b_person:2@a.Salesforce"));
    let none = Default::default();
    bench.check(
        |step| step.refer(&one, &none, &refers(Detail::Banded)),
        expect![[r#"
        -> node b2b_account:1@a.Salesforce: +follow
        put ALIAS
        put DEPENDENT
    "#]],
    );
    bench.check(
        |step| step.refer(&two, &none, &refers(Detail::Banded)),
        expect![[r#"
        put ALIAS
        put DEPENDENT
    "#]],
    );
    bench.check(
        |step| step.alias(&account, canonical("b2b_account:1@a.Salesforce"), Epoch::NEVER),
        expect![[r#"
        -> owner of account b2b_account:1@a.Salesforce: +subscribe Some(Banded)
        put ALIAS
        put REPLICA
        put ALIAS_OF
    "#]],
    );
    bench.check(
        |step| step.refer(&one, &refers(Detail::Banded), &refers(Detail::Exact)),
        expect![[r#"
        -> owner of account b2b_account:1@a.Salesforce: +subscribe Some(Exact)
        put ALIAS
        put REPLICA
        put DEPENDENT
        delete DEPENDENT
    "#]],
    );
    bench.check(
        |step| step.replica(&subject("b2b_account:1@a.Salesforce"), Standing::Alive, Default::default()),
        expect![[r#"
            put REPLICA
        "#]],
    );
    bench.check(
        |step| step.refer(&one, &refers(Detail::Exact), &none),
        expect![[r#"
        -> owner of account b2b_account:1@a.Salesforce: +subscribe Some(Banded)
        put ALIAS
        put REPLICA
        delete DEPENDENT
    "#]],
    );
    bench.check(
        |step| step.refer(&two, &refers(Detail::Banded), &none),
        expect![[r#"
        -> node b2b_account:1@a.Salesforce: -follow
        -> owner of account b2b_account:1@a.Salesforce: -subscribe None
        delete ALIAS
        delete REPLICA
        delete DEPENDENT
        delete ALIAS_OF
    "#]],
    );
}
