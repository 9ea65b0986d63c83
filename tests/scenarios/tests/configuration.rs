//! A configuration that differs from the one the state was written under: its consequences follow
//! without an input.

use std::collections::BTreeSet;

use millrace_model::{DAY_MS, Timestamp};
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{NOON_MS, key, record};
use millrace_shard::deployment::Deployment;
use millrace_test_scenarios::{Cluster, config};
use millrace_wire::CauseKind;
use serde_json::json;

const SHARDS: u32 = 3;

fn cluster(config: Deployment, pql: &str, records: &[SourceRecord]) -> Cluster {
    let mut cluster = Cluster::with(config, 1, Timestamp(NOON_MS));
    let definition = json!({ "kind": "Segment", "metadata": { "name": "s" }, "spec": { "subject": "person", "pql": pql } });
    cluster.define("s", Some(&definition.to_string()));
    records.iter().for_each(|record| cluster.source(record));
    cluster.settle();
    assert!(cluster.dead_letters.is_empty(), "{:?}", cluster.dead_letters);
    cluster
}

fn restart(cluster: &mut Cluster, config: Deployment) -> BTreeSet<String> {
    cluster.restart(config);
    cluster.settle();
    cluster.members("s")
}

fn with_rate(rate: f64) -> Deployment {
    let mut config = config(SHARDS);
    config
        .settings
        .rates
        .insert("EUR".into(), millrace_model::number::of_double(rate).expect("a number"));
    config
}

fn members(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| format!("b2b_person:{id}@m1.Marketo")).collect()
}

#[test]
fn rates_reach_deals_and_kept_events() {
    let account = "a@crm1.Salesforce";
    let records = [
        record("account", account, NOON_MS, json!({ "accountName": "Townsend" })),
        record(
            "opportunity",
            "o@crm1.Salesforce",
            NOON_MS,
            json!({ "accountKey": key(account), "opportunityAmount": { "amount": 100, "currencyCode": "EUR" } }),
        ),
        record("person", "1@m1.Marketo", NOON_MS, json!({ "b2b": { "accountKey": key(account) } })),
        record("person", "2@m1.Marketo", NOON_MS, json!({})),
    ];
    let mut cluster = cluster(
        config(SHARDS),
        "sum(select o.opportunityAmount.amount from accounts.opportunities) > 150",
        &records,
    );
    assert_eq!(cluster.members("s"), members(&[]), "no rate, no value");
    assert_eq!(cluster.counted["EUR"], 1, "and somebody can see it");
    assert_eq!(restart(&mut cluster, with_rate(2.0)), members(&["1"]));
    assert_eq!(cluster.changes.last().map(|change| change.cause.kind), Some(CauseKind::Definition));
    let changes = cluster.changes.len();
    assert_eq!(restart(&mut cluster, with_rate(1.9)), members(&["1"]));
    assert_eq!(cluster.changes.len(), changes, "only differences are emitted");
    assert_eq!(restart(&mut cluster, with_rate(1.0)), members(&[]));
    cluster.check_derived();
}

#[test]
fn a_shorter_retention_forgets_at_once() {
    let visit = |id: &str, person: &str, days: i64| {
        let at = NOON_MS - days * DAY_MS;
        let value = json!({ "_id": id, "timestamp": at, "personKey": key(person), "eventType": "web.webpagedetails.pageViews" });
        SourceRecord {
            topic: "activity".to_owned(),
            key: person.to_owned(),
            value: Some(value),
            timestamp_ms: at,
        }
    };
    let records = [
        record("person", "1@m1.Marketo", NOON_MS, json!({})),
        record("person", "2@m1.Marketo", NOON_MS, json!({})),
        visit("v1", "1@m1.Marketo", 100),
        visit("v2", "2@m1.Marketo", 10),
    ];
    let mut cluster = cluster(
        config(SHARDS),
        r#"exists v from xEvent where v.eventType = "web.webpagedetails.pageViews""#,
        &records,
    );
    assert_eq!(cluster.members("s"), members(&["1", "2"]));
    let mut shorter = config(SHARDS);
    shorter.settings.retention_ms = 50 * DAY_MS;
    assert_eq!(restart(&mut cluster, shorter), members(&["2"]));
    cluster.check_derived();
}

#[test]
fn identity_rules_decide_anew() {
    let person = |key: &str, status: &str| {
        record(
            "person",
            key,
            NOON_MS,
            json!({ "workEmail": { "address": "info@acme.com" }, "b2b": { "personStatus": status } }),
        )
    };
    let mut cluster = cluster(
        config(SHARDS),
        r#"b2b.personStatus != "x""#,
        &[person("1@m1.Marketo", "a"), person("2@m1.Marketo", "b")],
    );
    assert_eq!(cluster.members("s"), members(&["1"]), "one address, one person");
    let mut blocked = config(SHARDS);
    blocked.policy = blocked.policy.with_blocked("email", "info@acme.com");
    assert_eq!(restart(&mut cluster, blocked), members(&["1", "2"]));
    assert_eq!(restart(&mut cluster, config(SHARDS)), members(&["1"]));
    cluster.check_derived();
}
