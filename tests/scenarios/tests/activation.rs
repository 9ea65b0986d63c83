//! Destinations: each receives the first subject of one of its identities that enters, and the last
//! that leaves.

use millrace_model::{Path, Timestamp};
use millrace_oracle::worlds::{NOON_MS, record};
use millrace_shard::deployment::Destination;
use millrace_test_scenarios::{Cluster, config};
use millrace_wire::Presence;
use serde_json::json;

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(3, 1, Timestamp(NOON_MS));
    let text = r#"
kind: Segment
metadata: { name: hot }
spec:
  subject: person
  pql: b2b.personScore > 80
  destinations: [marketo-1, linkedin]
"#;
    cluster.define("hot", Some(text));
    cluster.settle();
    cluster
}

fn person(key: &str, at: i64, email: &str, score: i64) -> millrace_oracle::SourceRecord {
    record(
        "person",
        key,
        NOON_MS + at,
        json!({ "workEmail": { "address": email }, "b2b": { "personScore": score } }),
    )
}

fn present(cluster: &Cluster) -> Vec<String> {
    let states = cluster.destinations.iter().filter(|(_, state)| state.state == Presence::Present);
    states.map(|((destination, key), _)| format!("{destination} {key}")).collect()
}

#[test]
fn entries_and_exits_reach_every_destination() {
    let mut cluster = cluster();
    cluster.source(&person("1@m1.Marketo", 0, "Ann@Acme.com", 90));
    cluster.settle();
    assert_eq!(present(&cluster), ["linkedin hot|email:ann@acme.com", "marketo-1 hot|email:ann@acme.com"]);
    cluster.source(&person("1@m1.Marketo", 1, "Ann@Acme.com", 10));
    cluster.settle();
    assert!(present(&cluster).is_empty());
    assert_eq!(cluster.activations.len(), 4);
}

#[test]
fn an_email_change_moves_the_presence() {
    let mut cluster = cluster();
    cluster.source(&person("1@m1.Marketo", 0, "ann@acme.com", 90));
    cluster.settle();
    cluster.source(&person("1@m1.Marketo", 1, "ann@acme.org", 90));
    cluster.settle();
    assert_eq!(present(&cluster), ["linkedin hot|email:ann@acme.org", "marketo-1 hot|email:ann@acme.org"]);
}

/// Two records share an address, so they are one person; when they come apart again, the
/// destination gets no change while either is in.
#[test]
fn merges_do_not_flicker_at_the_destination() {
    let mut cluster = cluster();
    cluster.source(&person("1@m1.Marketo", 0, "ann@acme.com", 90));
    cluster.settle();
    let before = cluster.activations.len();
    cluster.source(&person("0@m2.Marketo", 0, "ann@acme.com", 95));
    cluster.settle();
    assert_eq!(cluster.members("hot").into_iter().collect::<Vec<_>>(), ["b2b_person:0@m2.Marketo"]);
    assert_eq!(
        cluster.activations.len(),
        before,
        "entry came before exit, so the address stayed present: {:?}",
        cluster.activations
    );
    cluster.source(&person("0@m2.Marketo", 1, "bob@acme.com", 95));
    cluster.settle();
    let all = present(&cluster);
    assert_eq!(all.len(), 4, "{all:?}");
}

/// A destination that knows accounts by their domain: two accounts may have the same one, and it may
/// change.
#[test]
fn a_destination_may_know_its_members_by_a_field() {
    let mut config = config(3);
    let ads = Destination {
        namespace: "domain".into(),
        known_by: Path::parse("accountOrganization.website"),
        ..Destination::default()
    };
    config.destinations.insert("ads".into(), ads);
    let mut cluster = Cluster::with(config, 1, Timestamp(NOON_MS));
    let text = r#"
kind: Segment
metadata: { name: big }
spec:
  subject: account
  pql: accountOrganization.numberOfEmployees > 100
  destinations: [ads]
"#;
    cluster.define("big", Some(text));
    cluster.settle();
    let account = |key: &str, at: i64, website: &str, employees: i64| {
        let fields = json!({ "accountName": key, "accountOrganization": { "website": website, "numberOfEmployees": employees } });
        record("account", key, NOON_MS + at, fields)
    };
    let mut desired = |records: &[millrace_oracle::SourceRecord]| {
        records.iter().for_each(|record| cluster.source(record));
        cluster.settle();
        present(&cluster)
    };
    let townsend = [
        account("1@c1.Crm", 0, "https://www.Townsend.example/", 500),
        account("2@c2.Crm", 0, "townsend.example", 200),
    ];
    assert_eq!(desired(&townsend), ["ads big|domain:townsend.example"]);
    // One of the two leaves.
    assert_eq!(desired(&[account("2@c2.Crm", 1, "townsend.example", 20)]), ["ads big|domain:townsend.example"]);
    // The other one moves to another domain.
    assert_eq!(desired(&[account("1@c1.Crm", 2, "townsend.test", 500)]), ["ads big|domain:townsend.test"]);
    // It is known by nothing, and by something again.
    assert!(desired(&[account("1@c1.Crm", 3, " ", 500)]).is_empty());
    assert_eq!(desired(&[account("1@c1.Crm", 4, "WWW.townsend.test", 500)]), ["ads big|domain:townsend.test"]);
    assert!(desired(&[account("1@c1.Crm", 5, "townsend.test", 50)]).is_empty());
}
