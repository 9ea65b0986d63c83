//! `validUntil` where the condition of time is not the subject's own: it is at a deal, at an
//! account's parent, at a person of the account, in another segment.

use millrace_model::{Identity, SubjectId, Timestamp};
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{DAY_MS, NOON_MS, event, key, record};
use millrace_test_scenarios::Cluster;
use millrace_test_seeds::seeds;
use millrace_wire::{CauseKind, Membership, Status};
use serde_json::{Value as Json, json};

const PERSON: &str = "b2b_person:1@m.M";
const ACCOUNT: &str = "b2b_account:a@1.S";
/// Of a deal expected a day ago, under `occurs <= 5 days before now`.
const END: Timestamp = Timestamp(NOON_MS + 4 * DAY_MS + 1);

fn define(cluster: &mut Cluster, name: &str, subject: &str, pql: &str) {
    let spec = json!({ "subject": subject, "pql": pql });
    cluster.define(
        name,
        Some(&json!({ "kind": "Segment", "metadata": { "name": name }, "spec": spec }).to_string()),
    );
    cluster.settle();
}

fn send(cluster: &mut Cluster, record: &SourceRecord) {
    cluster.source(record);
    cluster.settle();
}

/// A deal of account A that is expected this many days from noon, with an amount.
fn deal(id: &str, at: i64, days: i64, amount: i64) -> SourceRecord {
    let expected = Timestamp(NOON_MS + days * DAY_MS).to_string();
    let fields = json!({ "accountKey": key("a@1.S"), "extra": { "expected": expected }, "opportunityAmount": { "amount": amount } });
    record("opportunity", id, NOON_MS + at, fields)
}

fn account(id: &str, fields: Json) -> SourceRecord {
    record("account", id, NOON_MS, fields)
}

fn person(account: &str) -> SourceRecord {
    record(
        "person",
        "1@m.M",
        NOON_MS,
        json!({ "b2b": { "accountKey": key(account) }, "workEmail": { "address": "ann@acme.com" } }),
    )
}

fn visit(id: &str, days: i64) -> SourceRecord {
    event(
        id,
        NOON_MS + days * DAY_MS,
        &["b2b_person:1@m.M"],
        json!({ "eventType": "web.webpagedetails.pageViews" }),
    )
}

/// A person of account A with a role on its deal, expected a day ago, and a visit that is three
/// days old, under one rule named `s`.
fn cluster(seed: u64, subject: &str, pql: &str) -> Cluster {
    let mut cluster = Cluster::new(4, seed, Timestamp(NOON_MS));
    define(&mut cluster, "s", subject, pql);
    let role = record(
        "opportunity-person",
        "r@1.S",
        NOON_MS,
        json!({ "opportunityKey": key("o@1.S"), "personKey": key("1@m.M") }),
    );
    for record in [account("a@1.S", json!({})), deal("o@1.S", 0, -1, 10), role, person("a@1.S"), visit("v", -3)] {
        send(&mut cluster, &record);
    }
    cluster
}

fn last(cluster: &Cluster) -> &Membership {
    cluster.changes.last().expect("something changed")
}

fn subject(id: &str) -> SubjectId {
    SubjectId::of_node(&Identity::parse(id).expect("an identity"))
}

/// The explanation of a subject in `s`, and the list of its memberships with it.
fn explained(cluster: &Cluster, id: &str) -> (Option<bool>, Timestamp) {
    let query = cluster.query();
    let explained = query
        .explain(&subject(id), "s", cluster.now)
        .expect("tables in memory can be read")
        .expect("the segment is there");
    let profile = query
        .profile(&subject(id), cluster.now)
        .expect("tables in memory can be read")
        .expect("the subject is there");
    let listed = profile.memberships.iter().find(|membership| *membership.segment == *"s").expect("a member");
    assert_eq!(listed.valid_until, explained.explanation.valid_until);
    (explained.explanation.value, explained.explanation.valid_until)
}

/// In from noon on, and out at `end` because of time alone, as announced.
fn ends(pql: &str, kind: &str, id: &str, end: Timestamp) {
    for seed in seeds!(0..4) {
        let mut cluster = cluster(seed, kind, pql);
        let entry = last(&cluster);
        assert_eq!(
            (entry.status, entry.subject_id.as_str(), entry.valid_until),
            (Status::Realized, id, Some(end)),
            "{pql}"
        );
        assert_eq!(explained(&cluster, id), (Some(true), end), "{pql}");
        cluster.advance(end.plus_ms(-1));
        assert_eq!(cluster.changes.len(), 1, "{pql}");
        assert_eq!(explained(&cluster, id), (Some(true), end), "{pql}");
        cluster.advance(end);
        let exit = last(&cluster);
        assert_eq!(
            (exit.status, exit.evaluated_at, exit.valid_until, exit.cause.kind),
            (Status::Exited, end, None, CauseKind::Timer),
            "{pql}"
        );
        assert_eq!(cluster.changes.len(), 2);
        cluster.check_derived();
    }
}

#[test]
fn a_deal_of_the_person_s_account() {
    ends(
        "exists o from accounts.opportunities where o.extra.expected occurs <= 5 days before now",
        "person",
        PERSON,
        END,
    );
}

#[test]
fn a_deal_on_which_the_person_has_a_role() {
    ends(
        "exists r from opportunityRoles where r.opportunity.extra.expected occurs <= 5 days before now",
        "person",
        PERSON,
        END,
    );
}

#[test]
fn a_deal_of_the_account() {
    ends(
        "exists o from opportunities where o.extra.expected occurs <= 5 days before now",
        "account",
        ACCOUNT,
        END,
    );
}

#[test]
fn a_visit_of_a_person_of_the_account() {
    let end = Timestamp(NOON_MS + 4 * DAY_MS + 1);
    ends("persons[xEvent[timestamp occurs <= 7 days before now]].count() >= 1", "account", ACCOUNT, end);
}

#[test]
fn a_total_sent_in_bands() {
    let pql = "sum(select o.opportunityAmount.amount from accounts.opportunities where o.extra.expected occurs <= 5 days before now) > 5";
    ends(pql, "person", PERSON, END);
}

/// Through a chain of segments; instants at which nothing changes are skipped.
#[test]
fn another_segment() {
    let deals = "exists o from accounts.opportunities where o.extra.expected occurs <= 5 days before now";
    for (visited, last_end) in [("exists v from xEvent where v.timestamp occurs <= 7 days before now", END), (deals, END)] {
        let mut cluster = Cluster::new(4, 1, Timestamp(NOON_MS));
        define(&mut cluster, "first", "person", visited);
        define(&mut cluster, "second", "person", r#"inSegment("first")"#);
        define(
            &mut cluster,
            "s",
            "person",
            r#"inSegment("second") and (inSegment("first") or b2b.personScore > 5)"#,
        );
        for record in [account("a@1.S", json!({})), deal("o@1.S", 0, -1, 10), person("a@1.S"), visit("v", -3)] {
            send(&mut cluster, &record);
        }
        let entered: Vec<_> = cluster
            .changes
            .iter()
            .map(|entry| (entry.segment.as_str(), entry.status, entry.valid_until))
            .collect();
        assert_eq!(entered, ["first", "second", "s"].map(|name| (name, Status::Realized, Some(last_end))));
        assert_eq!(explained(&cluster, PERSON), (Some(true), last_end));
        cluster.advance(last_end.plus_ms(-1));
        assert_eq!(cluster.changes.len(), 3);
        cluster.advance(last_end);
        let left: Vec<_> = cluster.changes[3..]
            .iter()
            .map(|exit| (exit.segment.as_str(), exit.status, exit.evaluated_at))
            .collect();
        assert_eq!(left, ["first", "second", "s"].map(|name| (name, Status::Exited, last_end)));
    }
}

/// An exit says when time alone brings the subject back.
#[test]
fn an_exit_has_an_end_elsewhere_too() {
    let pql = "not(exists o from accounts.opportunities where o.extra.expected occurs <= 5 days before now)";
    let mut cluster = Cluster::new(4, 2, Timestamp(NOON_MS));
    define(&mut cluster, "s", "person", pql);
    send(&mut cluster, &account("a@1.S", json!({})));
    send(&mut cluster, &person("a@1.S"));
    assert_eq!((last(&cluster).status, last(&cluster).valid_until), (Status::Realized, None));
    send(&mut cluster, &deal("o@1.S", 0, -1, 10));
    assert_eq!((last(&cluster).status, last(&cluster).valid_until), (Status::Exited, Some(END)));
    cluster.advance(END);
    assert_eq!((last(&cluster).status, last(&cluster).evaluated_at), (Status::Realized, END));
}

/// The value stays and holds for longer: that is sent, and no person is evaluated.
#[test]
fn a_deal_that_moves_moves_the_end() {
    let mut cluster = cluster(
        3,
        "person",
        "exists o from accounts.opportunities where o.extra.expected occurs <= 5 days before now",
    );
    let later = END.plus_ms(DAY_MS);
    send(&mut cluster, &deal("o@1.S", 1, 0, 10));
    assert_eq!((explained(&cluster, PERSON), cluster.changes.len()), ((Some(true), later), 1));
    cluster.advance(END);
    assert_eq!(cluster.changes.len(), 1);
    cluster.advance(later);
    assert_eq!((last(&cluster).status, last(&cluster).evaluated_at), (Status::Exited, later));
}

/// An account passes on what it receives from its parent.
#[test]
fn a_deal_of_the_parent_s_moves_the_end() {
    let pql = "exists a from accounts where (exists o from a.parent.opportunities where o.extra.expected occurs <= 5 days before now)";
    let mut cluster = cluster(4, "person", pql);
    assert!(cluster.changes.is_empty());
    send(&mut cluster, &account("b@1.S", json!({ "accountParentKey": key("a@1.S") })));
    let moved = SourceRecord {
        timestamp_ms: NOON_MS + 1,
        ..record("person", "1@m.M", NOON_MS + 1, json!({ "b2b": { "accountKey": key("b@1.S") } }))
    };
    send(&mut cluster, &moved);
    assert_eq!((last(&cluster).status, last(&cluster).valid_until), (Status::Realized, Some(END)));
    let sooner = END.plus_ms(-DAY_MS);
    send(&mut cluster, &deal("o@1.S", 1, -2, 10));
    assert_eq!((explained(&cluster, PERSON), cluster.changes.len()), ((Some(true), sooner), 1));
    cluster.advance(sooner);
    assert_eq!(
        (last(&cluster).status, last(&cluster).evaluated_at, cluster.changes.len()),
        (Status::Exited, sooner, 2)
    );
}

/// A visit that changes no value causes no message: the account knows an end as of the last
/// message.
#[test]
fn a_visit_that_flips_nothing_sends_no_message() {
    let mut cluster = cluster(5, "account", "persons[xEvent[timestamp occurs <= 7 days before now]].count() >= 1");
    send(&mut cluster, &visit("w", 0));
    assert_eq!(explained(&cluster, ACCOUNT), (Some(true), Timestamp(NOON_MS + 4 * DAY_MS + 1)));
    cluster.advance(Timestamp(NOON_MS + 7 * DAY_MS));
    assert_eq!(cluster.changes.len(), 1);
    cluster.advance(Timestamp(NOON_MS + 7 * DAY_MS + 1));
    assert_eq!(last(&cluster).status, Status::Exited);
}
