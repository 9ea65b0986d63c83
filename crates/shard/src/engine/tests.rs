//! Each stage alone: messages in, rows and messages out. The stages together: tests/scenarios.

use expect_test::expect;
use millrace_identity::{Claim, Edge, Evidence};
use millrace_model::{SourceKind, Value};
use serde_json::json;

use super::testing::{Bench, attributes, canonical, node, subject};
use crate::message::{Bundle, Data};
use crate::origin::Origin;
use crate::row::{ActivationKey, Arrival, Detail, Standing};

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
    // The same again is stale.
    bench.check(|step| step.resolve().change(ann), expect![""]);
    let without = bench.record(SourceKind::Person, "1@a.Salesforce", json!({"modifiedAt": 20}));
    bench.check(|step| step.resolve().change(without), expect![""]);
}

#[test]
fn a_node_matters_to_its_homes_once_two_claim_it() {
    let mut bench = Bench::new();
    let (shared, first, second) = (node("email:ann@acme.com"), node("b2b_person:1@a.Salesforce"), node("b2b_person:2@a.Salesforce"));
    bench.check(|step| step.resolve().claim(&shared, &first, true), expect![""]);
    bench.check(|step| step.resolve().claim(&shared, &second, true), expect![""]);
    bench.check(|step| step.resolve().claim(&shared, &second, true), expect![""]);
    bench.check(|step| step.resolve().claim(&shared, &first, false), expect![""]);
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
    bench.check(|step| step.resolve().change(first), expect![""]);
    bench.check(|step| step.resolve().change(second), expect![""]);
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
    bench.check(|step| step.resolve().change(link), expect![""]);
    bench.at(2_000).check(|step| step.resolve().link_due("5@mdm.MDM"), expect![""]);
    bench.at(3_000).check(|step| step.resolve().link_due("5@mdm.MDM"), expect![""]);
}

#[test]
fn a_moved_node_tells_its_followers_and_its_former_owner_once() {
    let mut bench = Bench::new();
    let (moved, from, to) = (
        node("email:ann@acme.com"),
        canonical("email:ann@acme.com"),
        canonical("b2b_person:1@a.Salesforce"),
    );
    bench.check(|step| step.resolve().follow(&moved, 3, true), expect![""]);
    bench.check(|step| step.resolve().anchor(&moved), expect![""]);
    bench.check(|step| step.resolve().canonical(moved.clone(), from.clone(), to.clone(), 4), expect![""]);
    // An older verdict changes nothing.
    bench.check(|step| step.resolve().canonical(moved.clone(), from, to, 3), expect![""]);
}

#[test]
fn data_of_a_node_that_left_is_passed_on() {
    let mut bench = Bench::new();
    let (here, there) = (subject("b2b_person:1@a.Salesforce"), canonical("b2b_person:0@a.Salesforce"));
    let moved = node("email:ann@acme.com");
    let fragment = |sequence| Data::Fragment { sequence, fragment: None };
    bench.check(|step| step.data(here.clone(), moved.clone(), 2, fragment(1)), expect![""]);
    // Older than what is known.
    bench.check(|step| step.data(here.clone(), moved.clone(), 2, fragment(1)), expect![""]);
    bench.check(|step| step.depart(here.clone(), moved.clone(), there.clone(), 3), expect![""]);
    bench.check(|step| step.data(here.clone(), moved.clone(), 2, fragment(2)), expect![""]);
    let late = Arrival {
        from: there,
        node: moved.clone(),
        epoch: 2,
    };
    bench.check(|step| step.arrive(here.clone(), late, Bundle::default(), true), expect![""]);
    bench.check(|step| step.arrived(&here), expect![""]);
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
    bench.check(|step| step.writer().weigh(evidence), expect![""]);
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
    bench.check(|step| step.activation().activate(&key, two.clone(), true, named("Ann")), expect![""]);
    // The least one's attributes count.
    bench.check(|step| step.activation().activate(&key, one.clone(), true, named("Ann")), expect![""]);
    bench.check(|step| step.activation().activate(&key, one.clone(), true, named("Anna")), expect![""]);
    bench.check(|step| step.activation().activate(&key, one, false, Value::Null), expect![""]);
    bench.check(|step| step.activation().activate(&key, two, false, Value::Null), expect![""]);
}

#[test]
fn a_shard_follows_a_node_once_and_subscribes_in_the_detail_that_is_needed() {
    let mut bench = Bench::new();
    let account = node("b2b_account:1@a.Salesforce");
    let refers = |detail| [(account.clone(), detail)].into();
    let (one, two) = (subject("b2b_person:1@a.Salesforce"), subject("b2b_person:2@a.Salesforce"));
    let none = Default::default();
    bench.check(|step| step.refer(&one, &none, &refers(Detail::Banded)), expect![""]);
    bench.check(|step| step.refer(&two, &none, &refers(Detail::Banded)), expect![""]);
    bench.check(|step| step.alias(&account, canonical("b2b_account:1@a.Salesforce"), 0), expect![""]);
    bench.check(|step| step.refer(&one, &refers(Detail::Banded), &refers(Detail::Exact)), expect![""]);
    bench.check(
        |step| step.replica(&subject("b2b_account:1@a.Salesforce"), Standing::Alive, Default::default()),
        expect![""],
    );
    bench.check(|step| step.refer(&one, &refers(Detail::Exact), &none), expect![""]);
    bench.check(|step| step.refer(&two, &refers(Detail::Banded), &none), expect![""]);
}
