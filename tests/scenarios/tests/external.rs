//! External audiences: imported members, and what depends on them.

use std::collections::BTreeSet;

use millrace_model::{DAY_MS, Identity, Timestamp};
use millrace_oracle::worlds::{NOON_MS, record};
use millrace_test_scenarios::Cluster;
use millrace_test_seeds::seeds;
use serde_json::{Value, json};

const SHARDS: u32 = 3;

const PARTNERS: &str = "kind: ExternalAudience\nmetadata: { name: partners }\nspec: { expiresAfter: 10d }";

fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(SHARDS, seed, Timestamp(NOON_MS));
    cluster.define("partners", Some(PARTNERS));
    cluster
}

fn person(cluster: &mut Cluster, key: &str, at: i64, email: &str) {
    cluster.source(&record("person", key, NOON_MS + at, json!({ "workEmail": { "address": email } })));
}

/// A record of the membership `key`, version `at`; `None`: a tombstone.
fn membership(cluster: &mut Cluster, key: &str, at: i64, fields: Option<Value>) {
    let value = fields.map(|mut fields| {
        fields["modifiedAt"] = (NOON_MS + at).into();
        bytes::Bytes::from(fields.to_string())
    });
    cluster.source_bytes("audience-member", Some(key.as_bytes()), value, NOON_MS + at);
}

fn members(cluster: &Cluster, segment: &str) -> Vec<String> {
    cluster.members(segment).into_iter().collect()
}

#[test]
fn members_come_by_any_identity_and_go_with_their_records() {
    for seed in seeds!(0..20) {
        let mut cluster = cluster(seed);
        person(&mut cluster, "1@m.M", 0, "Ann@Acme.com");
        person(&mut cluster, "2@m.M", 0, "bob@acme.com");
        membership(
            &mut cluster,
            "any key",
            0,
            Some(json!({ "audience": "partners", "member": "email:ann@acme.com" })),
        );
        membership(
            &mut cluster,
            "b",
            0,
            Some(json!({ "audience": "partners", "personKey": { "sourceKey": "2@m.M" } })),
        );
        membership(&mut cluster, "c", 0, Some(json!({ "audience": "others", "member": "email:bob@acme.com" })));
        membership(&mut cluster, "d", 0, Some(json!({ "audience": "partners", "member": "email:nobody@acme.com" })));
        cluster.settle();
        assert_eq!(members(&cluster, "partners"), ["b2b_person:1@m.M", "b2b_person:2@m.M"], "seed {seed}");
        membership(
            &mut cluster,
            "any key",
            1,
            Some(json!({ "audience": "partners", "member": "email:ann@acme.com", "isDeleted": true })),
        );
        membership(&mut cluster, "b", 1, None);
        cluster.settle();
        assert_eq!(members(&cluster, "partners"), Vec::<String>::new(), "seed {seed}");
        person(&mut cluster, "3@m.M", 1, "nobody@acme.com");
        cluster.settle();
        assert_eq!(members(&cluster, "partners"), ["b2b_person:3@m.M"], "known only now: {seed}");
        assert_eq!(cluster.dead_letters, Vec::<String>::new());
        cluster.check_derived();
    }
}

#[test]
fn memberships_end_by_time_alone() {
    let mut cluster = cluster(1);
    person(&mut cluster, "1@m.M", 0, "a@b.c");
    person(&mut cluster, "2@m.M", 0, "d@e.f");
    let until = NOON_MS + 3 * DAY_MS;
    membership(
        &mut cluster,
        "a",
        0,
        Some(json!({ "audience": "partners", "member": "email:a@b.c", "validUntil": until })),
    );
    membership(&mut cluster, "d", 0, Some(json!({ "audience": "partners", "member": "email:d@e.f" })));
    cluster.settle();
    assert_eq!(cluster.changes[0].valid_until.is_some(), cluster.changes[1].valid_until.is_some());
    cluster.advance(Timestamp(until - 1));
    assert_eq!(members(&cluster, "partners").len(), 2);
    cluster.advance(Timestamp(until));
    assert_eq!(members(&cluster, "partners"), ["b2b_person:2@m.M"]);
    // Imported again: the days start over.
    membership(&mut cluster, "d", 5 * DAY_MS, Some(json!({ "audience": "partners", "member": "email:d@e.f" })));
    cluster.advance(Timestamp(NOON_MS + 15 * DAY_MS - 1));
    assert_eq!(members(&cluster, "partners"), ["b2b_person:2@m.M"]);
    cluster.advance(Timestamp(NOON_MS + 15 * DAY_MS));
    assert_eq!(members(&cluster, "partners"), Vec::<String>::new());
}

/// The membership belongs to an e-mail; it moves with the e-mail.
#[test]
fn memberships_move_with_their_identities() {
    for seed in seeds!(0..20) {
        let mut cluster = cluster(seed);
        let upsell =
            json!({ "kind": "Segment", "metadata": { "name": "upsell" }, "spec": { "pql": r#"inSegment("partners") and workEmail.address.isNotNull()"# } });
        cluster.define("upsell", Some(&upsell.to_string()));
        membership(&mut cluster, "m", 0, Some(json!({ "audience": "partners", "member": "email:ann@acme.com" })));
        person(&mut cluster, "2@m.M", 0, "ann@acme.com");
        cluster.settle();
        assert_eq!(members(&cluster, "upsell"), ["b2b_person:2@m.M"], "seed {seed}");
        person(&mut cluster, "1@m.M", 0, "ann@acme.com");
        cluster.settle();
        assert_eq!(members(&cluster, "upsell"), ["b2b_person:1@m.M"], "united, seed {seed}");
        person(&mut cluster, "1@m.M", 1, "other@acme.com");
        cluster.settle();
        assert_eq!(members(&cluster, "upsell"), ["b2b_person:2@m.M"], "apart again, seed {seed}");
        cluster.check_derived();
    }
}

#[test]
fn accounts_are_brought_in_and_explained_by_their_row() {
    let mut cluster = Cluster::new(SHARDS, 1, Timestamp(NOON_MS));
    cluster.define(
        "named",
        Some("kind: ExternalAudience\nmetadata: { name: named }\nspec: { subject: account, expiresAfter: never }"),
    );
    cluster.source(&record("account", "a1@crm.S", NOON_MS, json!({ "accountName": "Acme" })));
    membership(&mut cluster, "row 7", 0, Some(json!({ "audience": "named", "member": "b2b_account:a1@crm.S" })));
    cluster.settle();
    assert_eq!(members(&cluster, "named"), ["b2b_account:a1@crm.S"]);
    let query = cluster.query();
    let subject = query
        .resolve(&Identity::new("b2b_account", "a1@crm.S").expect("an identity"))
        .expect("tables in memory can be read");
    let explained = query
        .explain(&subject, "named", cluster.now)
        .expect("tables in memory can be read")
        .expect("the audience is there");
    let evidence = explained
        .explanation
        .evidence
        .iter()
        .chain(explained.explanation.of.iter().flat_map(|of| &of.evidence));
    let rows: BTreeSet<String> = evidence.map(|piece| format!("{piece:?}")).collect();
    assert!(rows.iter().any(|piece| piece.contains("row 7")), "{rows:?}");
    cluster.advance(Timestamp(NOON_MS + 4_000 * DAY_MS));
    assert_eq!(members(&cluster, "named"), ["b2b_account:a1@crm.S"]);
}
