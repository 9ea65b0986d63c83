//! The desired state of destinations: the present identities, with their attributes, whatever
//! happened in which order.

use std::collections::BTreeMap;

use millrace_model::{Path, Text, Timestamp};
use millrace_oracle::worlds::random::{self, Random};
use millrace_oracle::worlds::{NOON_MS, event, record, rules};
use millrace_oracle::{Oracle, Rule, SourceRecord};
use millrace_shard::deployment::{Deployment, Destination};
use millrace_test_scenarios::{Cluster, config};
use millrace_test_seeds::seeds;
use millrace_wire::Presence;
use serde_json::{Value as Json, json};

/// Attributes of the destination `crm`, and their sources.
const ATTRIBUTES: [(&str, &str); 3] = [
    ("first", "person.name.firstName"),
    ("title", "extendedWorkDetails.jobTitle"),
    ("mail", "workEmail.address"),
];

fn configured(shards: u32) -> Deployment {
    let mut config = config(shards);
    let attributes = ATTRIBUTES
        .iter()
        .map(|(name, path)| (Text::from(*name), Path::parse(path).expect("a path")))
        .collect();
    config.destinations.insert(
        "crm".into(),
        Destination {
            namespace: "email".into(),
            known_by: None,
            attributes,
        },
    );
    config.destinations.insert(
        "ads".into(),
        Destination {
            namespace: "ecid".into(),
            known_by: None,
            attributes: BTreeMap::new(),
        },
    );
    config
}

fn definition(name: &str, pql: &str) -> String {
    json!({ "kind": "Segment", "metadata": { "name": name }, "spec": { "pql": pql, "destinations": ["crm", "ads", "unheard-of"] } }).to_string()
}

fn cluster(shards: u32, pql: &str) -> Cluster {
    let mut cluster = Cluster::with(configured(shards), 1, Timestamp(NOON_MS));
    cluster.define("hot", Some(&definition("hot", pql)));
    cluster.settle();
    cluster
}

fn person(source_key: &str, at: i64, address: &str, name: &str, score: Option<i64>) -> SourceRecord {
    let fields = json!({ "workEmail": { "address": address }, "person": { "name": { "firstName": name } }, "b2b": { "personScore": score } });
    record("person", source_key, NOON_MS + at, fields)
}

fn send(cluster: &mut Cluster, records: &[SourceRecord]) {
    records.iter().for_each(|record| cluster.source(record));
    cluster.settle();
}

/// The identities present at a destination, by key, with their attributes.
fn present(cluster: &Cluster, destination: &str) -> BTreeMap<String, BTreeMap<String, Json>> {
    let states = cluster
        .destinations
        .iter()
        .filter(|((name, _), state)| name == destination && state.state == Presence::Present);
    states.map(|((_, key), state)| (key.clone(), state.attributes.clone())).collect()
}

/// The first name under which an address is present at `crm`.
fn name(cluster: &Cluster, address: &str) -> Json {
    present(cluster, "crm")
        .get(&format!("hot|email:{address}"))
        .map_or(Json::Null, |attributes| attributes["first"].clone())
}

/// The desired state after a change of an attribute is the same as if the attribute had always had
/// that value.
#[test]
fn a_mapped_attribute_changes_while_present() {
    let mut cluster = cluster(3, "b2b.personScore > 80");
    send(&mut cluster, &[person("1@m.M", 0, "ann@acme.com", "Ann", Some(90))]);
    assert_eq!(name(&cluster, "ann@acme.com"), "Ann");
    let before = cluster.activations.len();
    send(&mut cluster, &[person("1@m.M", 1, "ann@acme.com", "Anna", Some(95))]);
    assert_eq!(name(&cluster, "ann@acme.com"), "Anna");
    assert_eq!(cluster.activations.len(), before + 1, "of the destination that maps it only");
    send(&mut cluster, &[person("1@m.M", 2, "ann@acme.com", "Anna", Some(99))]);
    assert_eq!(cluster.activations.len(), before + 1, "what no destination maps is no news");
    send(&mut cluster, &[person("1@m.M", 3, "ann@acme.com", "Anna", Some(1))]);
    assert!(present(&cluster, "crm").is_empty());
    let gone = &cluster.destinations[&("crm".to_owned(), "hot|email:ann@acme.com".to_owned())];
    assert!(gone.attributes.is_empty());
}

/// An address that the deployment blocks unites nobody and is nobody's identity: destinations do
/// not receive it.
#[test]
fn an_address_that_is_set_aside_stands_for_nobody() {
    let mut config = configured(3);
    config.policy = config.policy.with_blocked("email", "info@acme.com");
    let mut cluster = Cluster::with(config, 1, Timestamp(NOON_MS));
    cluster.define("hot", Some(&definition("hot", "b2b.personScore > 80")));
    send(
        &mut cluster,
        &[
            person("1@m.M", 0, "info@acme.com", "Ann", Some(90)),
            person("2@m.M", 0, "info@acme.com", "Bob", Some(90)),
        ],
    );
    assert_eq!(cluster.members("hot").len(), 2);
    assert!(present(&cluster, "crm").is_empty());
    send(&mut cluster, &[person("1@m.M", 1, "ann@acme.com", "Ann", Some(90))]);
    assert_eq!(name(&cluster, "ann@acme.com"), "Ann");
    send(&mut cluster, &[person("1@m.M", 2, "info@acme.com", "Ann", Some(90))]);
    assert!(present(&cluster, "crm").is_empty());
}

/// The heir was not in before: its entry reaches the destination before the absorbed one's exit.
#[test]
fn a_merge_does_not_flicker() {
    let mut cluster = cluster(1, "b2b.personScore > 80");
    send(&mut cluster, &[person("2@m.M", 0, "ann@acme.com", "Ann", Some(90))]);
    send(&mut cluster, &[person("1@m.M", -1, "ann@acme.com", "Ann", None)]);
    assert_eq!(cluster.members("hot").into_iter().collect::<Vec<_>>(), ["b2b_person:1@m.M"]);
    let absent: Vec<_> = cluster.activations.iter().filter(|state| state.state == Presence::Absent).collect();
    assert!(absent.is_empty(), "{absent:?}");
    send(&mut cluster, &[person("2@m.M", 1, "bob@acme.com", "Bob", Some(90))]);
    assert_eq!(
        (name(&cluster, "ann@acme.com"), name(&cluster, "bob@acme.com")),
        (Json::Null, json!("Bob")),
        "the score goes with its record"
    );
}

#[test]
fn devices_are_present_by_the_events_that_carry_them() {
    let mut cluster = cluster(3, "b2b.personScore > 80");
    let login = event("login", NOON_MS - 1, &["email:ann@acme.com", "ecid:e1"], json!({ "eventType": "login" }));
    send(&mut cluster, &[person("1@m.M", 0, "ann@acme.com", "Ann", Some(90)), login.clone()]);
    assert_eq!(present(&cluster, "ads").into_keys().collect::<Vec<_>>(), ["hot|ecid:e1"]);
    assert_eq!(
        present(&cluster, "unheard-of").into_keys().collect::<Vec<_>>(),
        ["hot|email:ann@acme.com"],
        "by e-mail where nothing is configured"
    );
    let mut withdrawn = login;
    let fields = withdrawn.value.as_mut().expect("an event");
    fields["isDeleted"] = json!(true);
    fields["modifiedAt"] = json!(NOON_MS);
    send(&mut cluster, &[withdrawn]);
    assert!(present(&cluster, "ads").is_empty());
}

#[test]
fn definitions_bring_and_take_presence() {
    let mut cluster = cluster(3, "b2b.personScore > 80");
    send(&mut cluster, &[person("1@m.M", 0, "ann@acme.com", "Ann", Some(90))]);
    let elsewhere = definition("hot", "b2b.personScore > 80").replace(r#""crm","#, "");
    cluster.define("hot", Some(&elsewhere));
    cluster.settle();
    assert!(present(&cluster, "crm").is_empty(), "the destination is struck from the definition");
    assert_eq!(present(&cluster, "unheard-of").len(), 1);
    cluster.define("hot", Some(&definition("hot", "b2b.personScore > 80")));
    cluster.settle();
    assert_eq!(name(&cluster, "ann@acme.com"), "Ann", "and back on it");
    assert_eq!(cluster.changes.len(), 1, "all that is no change of membership");
    cluster.define("hot", None);
    cluster.settle();
    assert!(cluster.destinations.values().all(|state| state.state == Presence::Absent));
}

/// The destinations' state from the oracle's members, identities and profiles.
fn desired(records: &[SourceRecord], rules: &[Rule], now_ms: i64) -> Option<BTreeMap<String, BTreeMap<String, Json>>> {
    let world = Oracle::evaluate(records, rules, now_ms, &millrace_oracle::Config::default());
    let mut desired = BTreeMap::new();
    for (rule, members) in &world.members {
        // Of several with one address the least is written last.
        for profile in members.iter().rev().map(|member| &world.persons[member]) {
            let at = |path: &str| path.split('.').fold(&profile.attributes, |value, step| &value[step]);
            let attributes: BTreeMap<String, Json> = ATTRIBUTES
                .iter()
                .filter(|(_, path)| !at(path).is_null())
                .map(|(name, path)| ((*name).to_owned(), at(path).clone()))
                .collect();
            let addresses = profile.identities.iter().filter(|identity| identity.starts_with("email:"));
            desired.extend(addresses.map(|address| (format!("{rule}|{address}"), attributes.clone())));
        }
    }
    Some(desired)
}

#[test]
fn desired_states_are_the_oracle_s_whatever_the_stream() {
    let names = ["high-score", "never-visited", "mail-domain", "one-account"];
    let rules: Vec<Rule> = rules::all().into_iter().filter(|rule| names.contains(&rule.name.as_str())).collect();
    assert_eq!(rules.len(), 4);
    for seed in seeds!(0..80) {
        let stream = random::stream(seed, 40);
        let mut schedule = Random::new(seed);
        let mut cluster = Cluster::with(configured(3), seed, Timestamp(stream.start_ms));
        rules
            .iter()
            .for_each(|rule| cluster.define(&rule.name, Some(&definition(&rule.name, &rule.pql))));
        for (at, record) in stream.records.iter().enumerate() {
            cluster.advance_unsettled(Timestamp(record.timestamp_ms));
            cluster.source(record);
            if schedule.chance(20) || at + 1 == stream.records.len() {
                cluster.settle();
                let Some(expected) = desired(&stream.records[..=at], &rules, cluster.now.0) else {
                    break;
                };
                assert_eq!(present(&cluster, "crm"), expected, "seed {seed}, after record {at}");
            }
        }
    }
}
