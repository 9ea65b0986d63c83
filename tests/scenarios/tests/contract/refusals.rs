//! Unusable records: each is a dead letter with its bytes, its place and the reason, and the
//! records around it are unaffected.

use bytes::Bytes;
use millrace_model::Timestamp;
use millrace_oracle::worlds::{NOON_MS, record};
use millrace_test_scenarios::Cluster;
use serde_json::json;

use super::stage::{check, ids};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(3, 1, Timestamp(NOON_MS));
    cluster.define("all", Some("kind: Segment\nmetadata: { name: all }\nspec: { pql: true }"));
    cluster.settle();
    cluster
}

#[test]
fn a_dead_letter_is_the_record_itself_with_place_and_reason() {
    let mut cluster = cluster();
    cluster.source(&record("person", "1@m.M", NOON_MS, json!({})));
    let wrong = br#"{"workEmail":{"address":5}}"#;
    cluster.source_bytes("person", Some(b"1@m.M"), Some(Bytes::from_static(wrong)), NOON_MS);
    cluster.source_bytes("person", Some(b"1@m.M"), Some(Bytes::from_static(&[0xFF, 0x00])), NOON_MS);
    cluster.source(&record("person", "2@m.M", NOON_MS, json!({})));
    cluster.settle();
    assert_eq!(cluster.members("all"), ids(&["b2b_person:1@m.M", "b2b_person:2@m.M"]));
    assert_eq!(cluster.dead_letters, ["wrong-type", "unknown-encoding"]);
    let letter = &cluster.refused[0];
    assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (Some(&b"1@m.M"[..]), Some(&wrong[..])));
    let header = |name: &str| {
        letter
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    assert_eq!(header("__connect.errors.topic").as_deref(), Some("millrace.source.person"));
    assert!(header("__connect.errors.partition").is_some_and(|partition| partition.parse::<u32>().is_ok_and(|partition| partition < 3)));
    assert_eq!(header("__connect.errors.offset").as_deref(), Some("1"));
    assert_eq!(header("millrace.reason").as_deref(), Some("wrong-type"));
    assert_eq!(
        header("millrace.detail").as_deref(),
        Some("`workEmail.address`: expected a text, found number 5")
    );
}

/// A record that is wrong in one version is right in the next, and the other way round.
#[test]
fn a_record_turns_from_bad_to_good_and_back() {
    let mut cluster = cluster();
    let versions = [
        (r#"{"b2b":{"personScore":"high"},"modifiedAt":1}"#, 0),
        (r#"{"b2b":{"personScore":90},"modifiedAt":2}"#, 1),
        (r#"{"b2b":{"personScore":90},"isDeleted":"yes","modifiedAt":3}"#, 1),
        (r#"{"isDeleted":true,"modifiedAt":4}"#, 0),
        (r#"{"personKey":{"sourceKey":"2@m.M"},"modifiedAt":5}"#, 0),
        (r#"{"personKey":{"sourceKey":"1@m.M"},"modifiedAt":6}"#, 1),
    ];
    for (version, members) in versions {
        cluster.source_bytes("person", Some(b"1@m.M"), Some(Bytes::from_static(version.as_bytes())), NOON_MS);
        cluster.settle();
        assert_eq!(cluster.members("all").len(), members, "{version}");
    }
    assert_eq!(cluster.dead_letters, ["wrong-type", "wrong-type", "key-mismatch"]);
}

#[test]
fn what_is_only_unusual_is_taken() {
    let me: &[&str] = &["b2b_person:1@m.M"];
    let unusual = json!({
        "tier": "gold", "web": { "deep": [1, { "x": null }] }, "workEmail": { "address": "ann@acme.com", "verified": true },
        "extra": { "when": "2026-03-01", "list": ["a", 1, true], "map": { "b": 2.5 }, "text": "12.5" },
    });
    let cases: &[(&str, &[&str])] = &[
        (r#"extra.tier = "gold""#, me),
        ("extra.workEmail.verified", me),
        (r#"workEmail.address = "ann@acme.com""#, me),
        (r#"extra.list.includes("a")"#, me),
        ("extra.map.b > 2 and extra.map.b < 3", me),
        ("extra.when occurs <= 1 month before now", me),
        ("extra.nothing.at.all = 1", &[]),
    ];
    let mut taken = record("person", "1@m.M", NOON_MS, unusual);
    // The oracle is given the meaning of unknown fields, the engine finds it out.
    let mut meant = taken.clone();
    let fields = meant.value.as_mut().expect("just made");
    fields["extra"]["tier"] = fields["tier"].take();
    fields["extra"]["workEmail"] = json!({ "verified": true });
    check("fields under extra", &[meant], cases);
    let mut cluster = cluster();
    for (at, (pql, _)) in cases.iter().enumerate() {
        cluster.define(
            &format!("c{at}"),
            Some(&json!({ "kind": "Segment", "metadata": { "name": format!("c{at}") }, "spec": { "pql": pql } }).to_string()),
        );
    }
    taken.timestamp_ms = NOON_MS;
    cluster.source(&taken);
    cluster.settle();
    for (at, (pql, expected)) in cases.iter().enumerate() {
        assert_eq!(cluster.members(&format!("c{at}")), ids(expected), "{pql}");
    }
    assert!(cluster.dead_letters.is_empty(), "{:?}", cluster.refused);
}
