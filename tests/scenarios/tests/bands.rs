//! Numbers that rules only compare with constants: a subject with one account receives no change
//! within a band (`decisions/0011`).

use millrace_model::Timestamp;
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{NOON_MS, record};
use millrace_test_scenarios::Cluster;
use millrace_test_seeds::seeds;
use serde_json::{Value, json};

const PERSONS: u32 = 20;

fn key(id: &str) -> Value {
    json!({ "sourceKey": id })
}

fn account(id: &str) -> SourceRecord {
    record("account", id, NOON_MS, json!({ "accountName": id }))
}

fn person(number: u32, account: &str) -> SourceRecord {
    let fields = json!({ "b2b": { "accountKey": key(account) } });
    record("person", &format!("{number}@m1.Marketo"), NOON_MS, fields)
}

fn deal(id: &str, at: i64, account: &str, amount: i64) -> SourceRecord {
    let fields = json!({ "accountKey": key(account), "opportunityAmount": { "amount": amount }, "isWon": true });
    record("opportunity", id, NOON_MS + at, fields)
}

/// Everybody is on account A, under one rule about the sum of its won deals, and the shards know
/// each other's things.
fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(4, seed, Timestamp(NOON_MS));
    let text = "kind: Segment\nmetadata: { name: rich }\nspec: { subject: person, pql: sum(select o.opportunityAmount.amount from accounts.opportunities where o.isWon) > 1000 }";
    cluster.define("rich", Some(text));
    cluster.source(&account("A"));
    cluster.source(&account("B"));
    (0..PERSONS).for_each(|number| cluster.source(&person(number, "A")));
    cluster.settle();
    cluster
}

fn take(cluster: &mut Cluster, record: &SourceRecord) -> (usize, usize) {
    let before = cluster.feature_messages;
    cluster.source(record);
    cluster.settle();
    (cluster.feature_messages - before, cluster.members("rich").len())
}

#[test]
fn a_deal_that_crosses_nothing_sends_no_message() {
    for seed in seeds!(0..20) {
        let mut cluster = cluster(seed);
        let all = PERSONS as usize;
        assert_eq!(take(&mut cluster, &deal("1", 0, "A", 400)), (0, 0));
        let (shards, members) = take(&mut cluster, &deal("2", 0, "A", 600));
        assert!(
            shards > 0 && members == 0,
            "the bound itself is a band of its own: every shard with somebody of the account gets a message"
        );
        assert_eq!(take(&mut cluster, &deal("3", 0, "A", 1)), (shards, all));
        assert_eq!(take(&mut cluster, &deal("4", 0, "A", 900)), (0, all));
        assert_eq!(take(&mut cluster, &deal("2", 1, "A", 50)), (0, all));
        assert_eq!(take(&mut cluster, &deal("4", 1, "A", 0)), (shards, 0));
        cluster.check_derived();
    }
}

#[test]
fn a_person_of_two_accounts_receives_the_numbers() {
    for seed in seeds!(0..20) {
        let mut cluster = cluster(seed);
        cluster.source(&deal("1", 0, "A", 700));
        cluster.source(&deal("2", 0, "B", 100));
        let relation = |at: i64, active: bool| {
            let fields = json!({ "accountKey": key("B"), "personKey": key("0@m1.Marketo"), "isDeleted": !active });
            record("account-person", "r", NOON_MS + at, fields)
        };
        cluster.source(&relation(0, true));
        cluster.settle();
        assert!(cluster.members("rich").is_empty());
        let (sent, members) = take(&mut cluster, &deal("2", 1, "B", 301));
        assert!(sent <= 1 && members == 1, "only the shard of person 0 needs the number: {sent} {members}");
        let (sent, members) = take(&mut cluster, &deal("1", 1, "A", 699));
        assert!(sent <= 1 && members == 0, "{sent} {members}");
        assert_eq!(take(&mut cluster, &deal("1", 2, "A", 701)).1, 1);
        // Back to one account: bands again, and nothing of the second account is left in the sum.
        assert_eq!(take(&mut cluster, &relation(1, false)).1, 0);
        assert_eq!(take(&mut cluster, &deal("1", 3, "A", 999)), (0, 0));
        assert_eq!(take(&mut cluster, &deal("1", 4, "A", 1001)).1, PERSONS as usize);
        cluster.check_derived();
    }
}

#[test]
fn a_new_bound_finds_the_band_it_needs() {
    for seed in seeds!(0..20) {
        let mut cluster = cluster(seed);
        cluster.source(&deal("1", 0, "A", 400));
        cluster.settle();
        let text = "kind: Segment\nmetadata: { name: fair }\nspec: { subject: person, pql: sum(select o.opportunityAmount.amount from accounts.opportunities where o.isWon) > 500 }";
        cluster.define("fair", Some(text));
        cluster.settle();
        assert!(cluster.changes.is_empty(), "below both bounds all along: {:?}", cluster.changes);
        cluster.source(&deal("1", 1, "A", 600));
        cluster.settle();
        assert_eq!((cluster.members("fair").len(), cluster.members("rich").len()), (PERSONS as usize, 0));
    }
}
