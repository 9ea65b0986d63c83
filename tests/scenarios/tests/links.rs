//! Links between accounts that come and go: a member of both accounts neither leaves nor comes back
//! (`identity.settle`).

use millrace_model::Timestamp;
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{NOON_MS, record};
use millrace_test_scenarios::{Cluster, config};
use millrace_test_seeds::seeds;
use millrace_wire::{CauseKind, Status};
use serde_json::{Value, json};

const SETTLE_MS: i64 = 500;
const RULE: &str =
    "kind: Segment\nmetadata: { name: rich }\nspec: { subject: person, pql: sum(select o.opportunityAmount.amount from accounts.opportunities) > 10 }";

fn key(id: &str) -> Value {
    json!({ "sourceKey": id })
}

fn person(id: &str, accounts: &[&str]) -> Vec<SourceRecord> {
    let row = |account: &&str| {
        let fields = json!({ "accountKey": key(account), "personKey": key(id) });
        record("account-person", &format!("{id}-{account}"), NOON_MS, fields)
    };
    let own = record("person", id, NOON_MS, json!({}));
    [own].into_iter().chain(accounts.iter().map(row)).collect()
}

/// Two accounts with a deal of 6 each, somebody on either and somebody on both.
fn cluster(shards: u32, seed: u64) -> Cluster {
    let mut cluster = Cluster::with(
        millrace_shard::deployment::Deployment {
            settle_ms: SETTLE_MS,
            ..config(shards)
        },
        seed,
        Timestamp(NOON_MS),
    );
    // A node's new thing is announced before everything that follows from it.
    cluster.one_inbox = true;
    cluster.define("rich", Some(RULE));
    for (account, deal) in [("a", "o"), ("b", "p")] {
        cluster.source(&record("account", account, NOON_MS, json!({})));
        let fields = json!({ "accountKey": key(account), "opportunityAmount": { "amount": 6 } });
        cluster.source(&record("opportunity", deal, NOON_MS, fields));
    }
    let people = [person("1", &["a"]), person("2", &["a", "b"]), person("3", &["b"])];
    people.iter().flatten().for_each(|record| cluster.source(record));
    cluster.settle();
    cluster
}

fn link(at: i64, withdrawn: bool) -> SourceRecord {
    record(
        "account-link",
        "k",
        NOON_MS + at,
        json!({ "members": [key("a"), key("b")], "isDeleted": withdrawn }),
    )
}

/// The changes, by person, once everything has settled.
fn changes(cluster: &mut Cluster, record: &SourceRecord) -> Vec<(String, Status, CauseKind)> {
    let before = cluster.changes.len();
    cluster.source(record);
    cluster.settle();
    cluster.advance(cluster.now.plus_ms(SETTLE_MS));
    let mut changes: Vec<_> = cluster.changes[before..]
        .iter()
        .map(|change| (change.subject_id.clone(), change.status, change.cause.kind))
        .collect();
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

#[test]
fn who_is_on_both_accounts_hears_nothing_of_their_link() {
    for (seed, shards) in seeds!(0..60).flat_map(|seed| [1, 3, 4].map(|shards| (seed, shards))) {
        let mut cluster = cluster(shards, seed);
        assert_eq!(cluster.members("rich").into_iter().collect::<Vec<_>>(), ["b2b_person:2"]);
        let expected = |status: Status| ["b2b_person:1", "b2b_person:3"].map(|id| (id.to_owned(), status, CauseKind::Link)).to_vec();
        assert_eq!(
            changes(&mut cluster, &link(0, false)),
            expected(Status::Realized),
            "{shards} shards, seed {seed}"
        );
        assert_eq!(changes(&mut cluster, &link(1, true)), expected(Status::Exited), "{shards} shards, seed {seed}");
        cluster.check_derived();
    }
}

/// The two accounts stay linked, and a third one joins and leaves them for ever, so that their
/// canonical id never rests.
#[test]
fn what_is_held_back_comes_although_things_never_rest() {
    let mut cluster = cluster(3, 7);
    cluster.source(&record("account", "A", NOON_MS, json!({})));
    cluster.source(&link(0, false));
    let start = cluster.now;
    let mut entered_at = None;
    for at in 0..60 {
        let fields = json!({ "members": [key("A"), key("a")], "isDeleted": at % 2 == 1 });
        cluster.source(&record("account-link", "l", NOON_MS + at, fields));
        cluster.settle();
        cluster.advance(cluster.now.plus_ms(SETTLE_MS / 2));
        let all = cluster.members("rich").len() == 3;
        entered_at = entered_at.or(all.then_some(cluster.now));
    }
    let taken_ms = entered_at.map(|at| at.0 - start.0);
    assert!(
        taken_ms.is_some_and(|taken_ms| taken_ms > SETTLE_MS && taken_ms <= 11 * SETTLE_MS),
        "{taken_ms:?}"
    );
}
