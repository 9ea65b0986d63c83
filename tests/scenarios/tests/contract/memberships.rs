//! A record of the membership topic: when, why, by which cause, until when.

use bytes::Bytes;
use millrace_model::{Identity, Timestamp};
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{DAY_MS, NOON_MS, event, key, record, tombstone};
use millrace_test_scenarios::Cluster;
use millrace_wire::{Cause, CauseKind, Membership, Status};
use serde_json::{Value as Json, json};

const VISITED: &str = "exists v from xEvent where v.timestamp occurs <= 7 days before now";

fn cluster(pql: &str) -> Cluster {
    let mut cluster = Cluster::new(3, 1, Timestamp(NOON_MS));
    define(&mut cluster, pql);
    cluster.settle();
    cluster
}

fn define(cluster: &mut Cluster, pql: &str) {
    cluster.define(
        "s",
        Some(&json!({ "kind": "Segment", "metadata": { "name": "s" }, "spec": { "pql": pql } }).to_string()),
    );
}

fn send(cluster: &mut Cluster, record: &SourceRecord) {
    cluster.source(record);
    cluster.settle();
}

fn person(source_key: &str, at: i64, fields: Json) -> SourceRecord {
    record("person", source_key, NOON_MS + at, fields)
}

fn scored(source_key: &str, at: i64, address: &str, score: i64) -> SourceRecord {
    person(source_key, at, json!({ "workEmail": { "address": address }, "b2b": { "personScore": score } }))
}

fn visit(id: &str, at: i64) -> SourceRecord {
    event(
        id,
        NOON_MS + at,
        &["email:ann@acme.com"],
        json!({ "eventType": "web.webpagedetails.pageViews" }),
    )
}

fn last(cluster: &Cluster) -> &Membership {
    cluster.changes.last().expect("something changed")
}

/// The changes of a person; until its e-mail is known as its own, visits by that address are
/// another's.
fn of_person(cluster: &Cluster) -> Vec<&Membership> {
    cluster.changes.iter().filter(|change| change.subject_id == "b2b_person:1@m.M").collect()
}

fn cause(kind: CauseKind, topic: Option<&str>, key: Option<&str>, event_id: Option<&str>) -> Cause {
    Cause {
        kind,
        topic: topic.map(str::to_owned),
        key: key.map(str::to_owned),
        event_id: event_id.map(str::to_owned),
    }
}

#[test]
fn a_visit_and_its_end() {
    let mut cluster = cluster(VISITED);
    send(
        &mut cluster,
        &person(
            "1@m.M",
            0,
            json!({ "workEmail": { "address": "Ann@Acme.com" }, "identities": [{ "namespace": "ECID", "id": "e1" }] }),
        ),
    );
    send(&mut cluster, &visit("v1", -DAY_MS));
    let entry = of_person(&cluster)[0].clone();
    assert_eq!(
        entry.cause,
        cause(CauseKind::Record, Some("millrace.source.activity"), Some("email:ann@acme.com"), Some("v1"))
    );
    assert_eq!(
        (entry.segment.as_str(), entry.subject_type.as_str(), entry.subject_id.as_str()),
        ("s", "person", "b2b_person:1@m.M")
    );
    assert_eq!((entry.evaluated_at, entry.last_qualification_time), (Timestamp(NOON_MS), Timestamp(NOON_MS)));
    assert_eq!(entry.valid_until, Some(Timestamp(NOON_MS + 6 * DAY_MS + 1)));
    let identities: Vec<String> = entry.identities.iter().map(Identity::to_string).collect();
    assert_eq!(identities, ["b2b_person:1@m.M", "ecid:e1", "email:ann@acme.com"]);

    cluster.advance(Timestamp(NOON_MS + 7 * DAY_MS));
    let exit = last(&cluster).clone();
    assert_eq!((exit.status, &exit.cause), (Status::Exited, &cause(CauseKind::Timer, None, None, None)));
    assert_eq!(
        (exit.evaluated_at, exit.last_qualification_time),
        (Timestamp(NOON_MS + 6 * DAY_MS + 1), Timestamp(NOON_MS))
    );
    assert_eq!((exit.valid_until, exit.sequence > entry.sequence), (None, true));

    send(&mut cluster, &visit("v2", 7 * DAY_MS));
    let again = last(&cluster);
    assert_eq!(
        (again.status, again.last_qualification_time),
        (Status::Realized, Timestamp(NOON_MS + 7 * DAY_MS))
    );
    assert_eq!(of_person(&cluster).len(), 3);
}

/// Another visit prolongs the membership silently: the record is valid as of its `evaluatedAt`.
#[test]
fn only_changes_are_written() {
    let mut cluster = cluster(VISITED);
    for at in 0..5 {
        cluster.advance(Timestamp(NOON_MS + at * DAY_MS));
        send(&mut cluster, &visit(&format!("v{at}"), at * DAY_MS));
    }
    cluster.advance(Timestamp(NOON_MS + 11 * DAY_MS));
    assert_eq!(cluster.changes.len(), 1);
    cluster.advance(Timestamp(NOON_MS + 11 * DAY_MS + 1));
    assert_eq!(cluster.changes.len(), 2);
}

/// Time alone brings it back, and the exit gives the instant.
#[test]
fn an_exit_has_an_end_too() {
    let mut cluster = cluster(&format!("not({VISITED})"));
    send(&mut cluster, &person("1@m.M", 0, json!({ "workEmail": { "address": "ann@acme.com" } })));
    assert_eq!((last(&cluster).status, last(&cluster).valid_until), (Status::Realized, None));
    send(&mut cluster, &visit("v1", 0));
    let end = Timestamp(NOON_MS + 7 * DAY_MS + 1);
    assert_eq!((last(&cluster).status, last(&cluster).valid_until), (Status::Exited, Some(end)));
    cluster.advance(end);
    assert_eq!(
        (last(&cluster).status, last(&cluster).evaluated_at, last(&cluster).cause.kind),
        (Status::Realized, end, CauseKind::Timer)
    );
}

#[test]
fn a_definition_is_a_cause() {
    let mut cluster = cluster("b2b.personScore > 80");
    send(&mut cluster, &scored("1@m.M", 0, "ann@acme.com", 70));
    define(&mut cluster, "b2b.personScore > 60");
    cluster.settle();
    let by_definition = cause(CauseKind::Definition, Some("millrace.control.segments"), Some("s"), None);
    let entry = last(&cluster).clone();
    assert_eq!((entry.status, &entry.cause), (Status::Realized, &by_definition));
    cluster.define("s", None);
    cluster.settle();
    assert_eq!((last(&cluster).status, &last(&cluster).cause), (Status::Exited, &by_definition));
    assert!(entry.segment_version > 0);
}

#[test]
fn a_link_is_a_cause_and_so_is_its_end() {
    let mut cluster = cluster("sum(select o.opportunityAmount.amount from accounts.opportunities) > 10");
    let deal = |source_key: &str, account: &str| {
        record(
            "opportunity",
            source_key,
            NOON_MS,
            json!({ "accountKey": key(account), "opportunityAmount": { "amount": 6 } }),
        )
    };
    for record in [
        record("account", "a@1.S", NOON_MS, json!({})),
        record("account", "b@2.S", NOON_MS, json!({})),
        deal("o@1.S", "a@1.S"),
        deal("p@2.S", "b@2.S"),
        person("1@m.M", 0, json!({ "b2b": { "accountKey": key("b@2.S") } })),
    ] {
        send(&mut cluster, &record);
    }
    assert!(cluster.changes.is_empty());
    let link = |at: i64, to: Json| {
        record(
            "account-link",
            "k@mdm.MDM",
            NOON_MS + at,
            json!({ "members": [key("a@1.S"), key("b@2.S")], "validTo": to }),
        )
    };
    let by_link = cause(CauseKind::Link, Some("millrace.source.account-link"), Some("k@mdm.MDM"), None);
    send(&mut cluster, &link(0, Json::Null));
    assert_eq!((last(&cluster).status, &last(&cluster).cause), (Status::Realized, &by_link));
    send(&mut cluster, &tombstone("account-link", "k@mdm.MDM", NOON_MS));
    assert_eq!((last(&cluster).status, &last(&cluster).cause), (Status::Exited, &by_link));
    send(&mut cluster, &link(1, json!(NOON_MS + DAY_MS)));
    cluster.advance(Timestamp(NOON_MS + DAY_MS));
    let end = last(&cluster);
    assert_eq!(
        (end.status, end.cause.kind, end.evaluated_at),
        (Status::Exited, CauseKind::Timer, Timestamp(NOON_MS + DAY_MS))
    );
}

#[test]
fn a_merge_is_a_cause_and_names_the_heir() {
    let mut cluster = cluster("b2b.personScore > 80");
    send(&mut cluster, &scored("2@m.M", 0, "ann@acme.com", 90));
    send(&mut cluster, &scored("1@m.M", 0, "ann@acme.com", 85));
    let exit = last(&cluster);
    assert_eq!(
        (exit.subject_id.as_str(), exit.status, exit.cause.kind),
        ("b2b_person:2@m.M", Status::Exited, CauseKind::Merge)
    );
    assert_eq!(exit.merged_into.as_deref(), Some("b2b_person:1@m.M"));
    assert!(
        cluster
            .changes
            .iter()
            .filter(|change| change.status == Status::Realized)
            .all(|change| change.merged_into.is_none())
    );
}

/// A subject that was absorbed once, or lost a record to another, and is deleted later, was not
/// absorbed by that deletion.
#[test]
fn a_deletion_after_a_split_is_no_merge() {
    let mut cluster = cluster("b2b.personScore > 80");
    send(&mut cluster, &scored("2@m.M", 0, "ann@acme.com", 90));
    send(&mut cluster, &scored("1@m.M", 0, "ann@acme.com", 85));
    send(&mut cluster, &scored("2@m.M", 1, "bob@acme.com", 90));
    assert_eq!(cluster.members("s").len(), 2, "apart again");
    for source_key in ["2@m.M", "1@m.M"] {
        send(&mut cluster, &person(source_key, 2, json!({ "isDeleted": true })));
        let exit = last(&cluster);
        assert_eq!(
            (exit.subject_id.as_str(), exit.status),
            (format!("b2b_person:{source_key}").as_str(), Status::Exited)
        );
        assert_eq!(
            (exit.cause.kind, exit.cause.key.as_deref(), exit.merged_into.as_deref()),
            (CauseKind::Record, Some(source_key), None)
        );
    }
}

#[test]
fn the_trace_of_a_record_is_passed_on() {
    let mut cluster = cluster("sum(select o.opportunityAmount.amount from accounts.opportunities) > 10");
    send(&mut cluster, &record("account", "a@1.S", NOON_MS, json!({})));
    send(&mut cluster, &person("1@m.M", 0, json!({ "b2b": { "accountKey": key("a@1.S") } })));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let deal = record(
        "opportunity",
        "o@1.S",
        NOON_MS,
        json!({ "accountKey": key("a@1.S"), "opportunityAmount": { "amount": 11 } }),
    );
    let headers = [("other", "x"), ("traceparent", trace)].map(|(name, value)| (name.to_owned(), Bytes::from(value)));
    cluster.source_with(&deal, headers.to_vec());
    cluster.settle();
    let written = cluster.written.last().expect("the person is in");
    assert_eq!(written.headers, [("traceparent".to_owned(), Bytes::from(trace))]);
    assert_eq!(
        last(&cluster).cause,
        cause(CauseKind::Record, Some("millrace.source.opportunity"), Some("o@1.S"), None)
    );
}

#[test]
fn accounts_are_subjects_too() {
    let mut cluster = Cluster::new(3, 1, Timestamp(NOON_MS));
    let spec = json!({ "subject": "account", "pql": "opportunities.count() >= 1" });
    cluster.define("s", Some(&json!({ "kind": "Segment", "metadata": { "name": "s" }, "spec": spec }).to_string()));
    send(
        &mut cluster,
        &record("account", "a@1.S", NOON_MS, json!({ "extSourceSystemAudit": { "externalKey": key("0@2.S") } })),
    );
    send(&mut cluster, &record("opportunity", "o@1.S", NOON_MS, json!({ "accountKey": key("a@1.S") })));
    let entry = last(&cluster);
    assert_eq!(
        (entry.subject_type.as_str(), entry.subject_id.as_str(), entry.status),
        ("account", "b2b_account:0@2.S", Status::Realized)
    );
    let identities: Vec<String> = entry.identities.iter().map(Identity::to_string).collect();
    assert_eq!(identities, ["b2b_account:0@2.S", "b2b_account:a@1.S"]);
}

/// As JSON the record has just the fields that the contract names.
#[test]
fn the_json_has_the_contract_s_names() {
    let mut cluster = cluster(VISITED);
    send(&mut cluster, &visit("v1", 0));
    let value: Json = serde_json::from_slice(cluster.written[0].value.as_ref().expect("a value")).expect("JSON");
    let expected = json!({
        "segment": "s", "segmentVersion": 1, "subjectType": "person", "subjectId": "email:ann@acme.com", "status": "realized",
        "lastQualificationTime": "2026-03-18T12:00:00.000Z", "evaluatedAt": "2026-03-18T12:00:00.000Z", "validUntil": "2026-03-25T12:00:00.001Z",
        "sequence": 1, "identities": [{ "namespace": "email", "id": "ann@acme.com" }],
        "cause": { "kind": "record", "topic": "millrace.source.activity", "key": "email:ann@acme.com", "eventId": "v1" }, "mergedInto": null,
    });
    assert_eq!(value, expected);
}
