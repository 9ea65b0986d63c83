//! The Bodea case and its family: every story about Bodea and Townsend, on three shards, each step
//! compared with the oracle.

use std::collections::BTreeSet;

use millrace_model::Timestamp;
use millrace_oracle::worlds::bodea::{self, PERSONS};
use millrace_oracle::worlds::{DAY_MS, MINUTE_MS, NOON_MS, key, record, tombstone, visit};
use millrace_oracle::{Config, Oracle, SourceRecord};
use millrace_test_scenarios::{Cluster, definition};
use serde_json::{Value as Json, json};

const SEGMENT: &str = "new-product-upsell";
const P1: &str = PERSONS[0];
const P2: &str = PERSONS[1];
const P3: &str = PERSONS[2];

/// A cluster with the rule, and everything published so far.
struct Story {
    cluster: Cluster,
    sent: Vec<SourceRecord>,
}

impl Story {
    fn new(seed: u64) -> Story {
        let mut cluster = Cluster::new(3, seed, Timestamp(NOON_MS));
        cluster.publish(&bodea::rule());
        Story { cluster, sent: Vec::new() }
    }

    /// Everything of the case but the facts named.
    fn without(seed: u64, missing: &[&str]) -> Story {
        let mut story = Story::new(seed);
        bodea::without(missing).into_iter().for_each(|record| story.publish(record));
        story
    }

    fn publish(&mut self, record: SourceRecord) {
        self.cluster.source(&record);
        self.sent.push(record);
    }

    fn send(&mut self, record: SourceRecord, expected: &[&str]) {
        let shown = format!("after {} {}", record.topic, record.key);
        self.publish(record);
        self.expect(&shown, expected);
    }

    fn expect(&mut self, when: &str, expected: &[&str]) {
        self.cluster.settle();
        let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
        let world = Oracle::evaluate(&self.sent, &[bodea::rule()], self.cluster.now.0, &Config::default());
        assert_eq!(world.members[SEGMENT], expected, "the oracle, {when}");
        assert_eq!(self.cluster.members(SEGMENT), expected, "the engine, {when}");
        self.cluster.check_derived();
    }

    fn at(&mut self, instant_ms: i64, expected: &[&str]) {
        self.cluster.advance(Timestamp(instant_ms));
        self.expect(&format!("at {}", Timestamp(instant_ms)), expected);
    }
}

fn deal(source_key: &str, at: i64, account: &str, amount: i64, won: bool) -> SourceRecord {
    let fields = json!({ "accountKey": key(account), "opportunityAmount": { "amount": amount }, "isClosed": won, "isWon": won });
    record("opportunity", source_key, at, fields)
}

fn link(at: i64, members: &[&str], more: Json) -> SourceRecord {
    let mut fields = json!({ "members": members.iter().map(|member| key(member)).collect::<Vec<_>>() });
    fields.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    record("account-link", "townsend@mdm.MDM", at, fields)
}

const A: &str = "001A@crm1.Salesforce";
const B: &str = "001B@crm2.Salesforce";

/// Every order of the facts that p1's membership needs, deals and link among them.
#[test]
fn every_order_of_arrival() {
    let needed = ["account-crm-1", "account-marketo-1", "person-1", "deal-1", "deal-2", "link", "visit-1"];
    let facts: Vec<SourceRecord> = bodea::facts()
        .into_iter()
        .filter(|fact| needed.contains(&fact.name))
        .map(|fact| fact.record)
        .collect();
    assert_eq!(facts.len(), needed.len());
    let mut order: Vec<usize> = (0..facts.len()).collect();
    let mut count = 0u64;
    loop {
        let mut story = Story::new(count);
        for (step, at) in order.iter().enumerate() {
            story.cluster.source(&facts[*at]);
            // Some facts arrive while others are still in transit, some when all is quiet.
            if (count >> step) & 1 == 1 {
                story.cluster.settle();
            }
        }
        story.cluster.settle();
        assert_eq!(story.cluster.members(SEGMENT), BTreeSet::from([P1.to_owned()]), "order {order:?}");
        count += 1;
        if !next_permutation(&mut order) {
            break;
        }
    }
    assert_eq!(count, 5_040);
}

fn next_permutation(order: &mut [usize]) -> bool {
    let Some(pivot) = order.windows(2).rposition(|pair| pair[0] < pair[1]) else {
        return false;
    };
    let swap = order
        .iter()
        .rposition(|item| *item > order[pivot])
        .expect("the pivot's right neighbour is greater");
    order.swap(pivot, swap);
    order[pivot + 1..].reverse();
    true
}

#[test]
fn as_the_demo_tells_it() {
    let mut story = Story::without(1, &["link", "visit-1", "visit-2", "visit-3"]);
    story.expect("both silos loaded", &[]);
    let now = NOON_MS;
    story.send(link(now, &[A, B], json!({})), &[]);
    story.send(visit("v2", now, "New product", &["email:p2@townsend.com"]), &[P2]);
    story.send(visit("v1", now, "New product", &["email:p1@townsend.com"]), &[P1, P2]);
    story.send(tombstone("account-link", "townsend@mdm.MDM", now), &[P2]);
    story.send(deal("006B@crm2.Salesforce", now + 1, B, 900_000, false), &[]);
    story.send(deal("006B@crm2.Salesforce", now + 2, B, 900_000, true), &[P2]);
    story.at(now + 31 * DAY_MS, &[P2]);
    story.at(now + 31 * DAY_MS + 1, &[]);
}

#[test]
fn duplicates_change_nothing() {
    let mut story = Story::without(2, &[]);
    story.expect("everything sent", &[P1, P2, P3]);
    let changes = story.cluster.changes.len();
    for record in bodea::without(&[]).into_iter().chain(bodea::without(&[])) {
        story.publish(record);
    }
    story.expect("everything sent three times", &[P1, P2, P3]);
    assert_eq!(story.cluster.changes.len(), changes);
}

#[test]
fn a_visit_inside_and_outside_the_month() {
    // February 18th, noon, to March 18th, noon: the window's month.
    let month_ago = NOON_MS - 28 * DAY_MS;
    for (at, expected) in [
        (month_ago, &[P1][..]),
        (month_ago + 1_000, &[P1]),
        (month_ago - 1_000, &[]),
        (month_ago - 1, &[]),
    ] {
        let mut story = Story::without(3, &["visit-1", "visit-2", "visit-3"]);
        story.send(visit("late", at, "New product", &["email:p1@townsend.com"]), expected);
        let visited = Timestamp(at);
        story.at(NOON_MS + 1, if visited.0 > month_ago { expected } else { &[] });
    }
}

#[test]
fn the_wrong_page_and_the_future() {
    let mut story = Story::without(4, &["visit-1", "visit-2", "visit-3"]);
    story.send(visit("w", NOON_MS, "Pricing", &["email:p1@townsend.com"]), &[]);
    story.send(visit("soon", NOON_MS + 4 * MINUTE_MS, "New product", &["email:p1@townsend.com"]), &[]);
    story.at(NOON_MS + 4 * MINUTE_MS - 1, &[]);
    story.at(NOON_MS + 4 * MINUTE_MS, &[P1]);
    // Further ahead than five minutes is a dead letter; the oracle does not get it.
    let dead = story.cluster.dead_letters.len();
    story
        .cluster
        .source(&visit("far", NOON_MS + 20 * MINUTE_MS, "New product", &["email:p2@townsend.com"]));
    story.expect("a visit from the future", &[P1]);
    assert_eq!(story.cluster.dead_letters[dead..], ["from-the-future"]);
}

#[test]
fn a_million_exactly_is_not_more() {
    let mut story = Story::without(5, &["deal-2", "visit-2", "visit-3"]);
    story.send(deal("006B@crm2.Salesforce", NOON_MS, B, 800_000, true), &[]);
    story.send(deal("006B@crm2.Salesforce", NOON_MS + 1, B, 800_001, true), &[P1]);
    story.send(deal("006B@crm2.Salesforce", NOON_MS + 2, B, 800_000, true), &[]);
}

#[test]
fn a_deal_is_corrected_moved_and_deleted() {
    let mut story = Story::without(6, &[]);
    story.expect("everything sent", &[P1, P2, P3]);
    story.send(deal("006A@crm1.Salesforce", NOON_MS + 1, A, 20_000, true), &[]);
    story.send(deal("006A@crm1.Salesforce", NOON_MS, A, 200_000, true), &[]);
    story.send(deal("006A@crm1.Salesforce", NOON_MS + 2, A, 200_000, true), &[P1, P2, P3]);
    story.send(deal("006A@crm1.Salesforce", NOON_MS + 3, "001C@crm1.Salesforce", 200_000, true), &[]);
    story.send(deal("006A@crm1.Salesforce", NOON_MS + 4, B, 200_000, true), &[P1, P2, P3]);
    story.send(record("opportunity", "006A@crm1.Salesforce", NOON_MS + 5, json!({ "isDeleted": true })), &[]);
    story.send(deal("006A@crm1.Salesforce", NOON_MS + 4, B, 200_000, true), &[]);
    story.send(tombstone("opportunity", "006A@crm1.Salesforce", NOON_MS), &[]);
    story.send(deal("006A@crm1.Salesforce", NOON_MS, A, 200_000, true), &[P1, P2, P3]);
}

/// Marketo copies the CRM's deals: one deal under two keys counts once, whichever copy comes first.
#[test]
fn a_deal_arrives_twice_under_two_keys() {
    let copy = |at| {
        let mut record = deal("77@marketo1.Marketo", at, "501.mkto_org@marketo1.Marketo", 200_000, true);
        let value = record.value.as_mut().expect("just made");
        value["extSourceSystemAudit"] = json!({ "externalKey": key("006A@crm1.Salesforce") });
        record
    };
    let mut story = Story::without(7, &["deal-1", "deal-2"]);
    story.send(deal("006B@crm2.Salesforce", NOON_MS, B, 700_000, true), &[]);
    story.send(copy(NOON_MS), &[]);
    story.send(deal("006A@crm1.Salesforce", NOON_MS, A, 200_000, true), &[]);
    // Both copies together are 200,000, so another 100,001 are missing.
    story.send(deal("006D@crm1.Salesforce", NOON_MS, A, 100_001, true), &[P1, P2, P3]);
    // The later copy's amount holds.
    story.send(deal("006A@crm1.Salesforce", NOON_MS + 1, A, 100_000, true), &[]);
    story.send(tombstone("opportunity", "77@marketo1.Marketo", NOON_MS), &[]);
}

#[test]
fn a_link_of_three() {
    let c = "001C@crm3.Salesforce";
    let mut story = Story::without(8, &["link", "deal-2"]);
    story.publish(record("account", c, NOON_MS, json!({ "accountName": "Townsend North" })));
    story.publish(deal("006C@crm3.Salesforce", NOON_MS, c, 400_000, true));
    story.send(deal("006B@crm2.Salesforce", NOON_MS, B, 500_000, true), &[]);
    story.send(link(NOON_MS, &[A, B], json!({})), &[]);
    story.send(link(NOON_MS + 1, &[A, B, c], json!({})), &[P1, P2, P3]);
    // p2 is on both sides of the rest.
    story.send(link(NOON_MS + 2, &[A, c], json!({})), &[P2]);
    story.send(link(NOON_MS + 3, &[c, B, A], json!({})), &[P1, P2, P3]);
}

#[test]
fn a_link_valid_for_a_time() {
    let mut story = Story::without(9, &["link"]);
    story.expect("no link", &[P2]);
    let from = NOON_MS + 3 * DAY_MS;
    let to = NOON_MS + 5 * DAY_MS;
    story.send(link(NOON_MS, &[A, B], json!({ "validFrom": from, "validTo": to })), &[P2]);
    story.at(from - 1, &[P2]);
    story.at(from, &[P1, P2, P3]);
    story.at(to - 1, &[P1, P2, P3]);
    story.at(to, &[P2]);
}

/// Only the e-mail makes p2's two records one person: after it changes in one of them, the visit
/// stays with the owner of the address.
#[test]
fn an_email_change_splits_p2() {
    let mut story = Story::without(10, &["link", "visit-1", "visit-3"]);
    story.expect("one p2", &[P2]);
    let moved = record(
        "person",
        "2002@marketo2.Marketo",
        NOON_MS,
        json!({ "workEmail": { "address": "p2@elsewhere.com" }, "b2b": { "accountKey": key(B) } }),
    );
    story.send(moved, &[]);
    let back = record(
        "person",
        "2002@marketo2.Marketo",
        NOON_MS + 1,
        json!({ "workEmail": { "address": "P2@townsend.com" }, "b2b": { "accountKey": key(B) } }),
    );
    story.send(back, &[P2]);
}

#[test]
fn the_second_record_is_deleted() {
    let mut story = Story::without(11, &["link", "visit-1", "visit-3"]);
    story.expect("one p2", &[P2]);
    story.send(record("person", "2002@marketo2.Marketo", NOON_MS, json!({ "isDeleted": true })), &[]);
    story.send(link(NOON_MS + 1, &[A, B], json!({})), &[P2]);
    story.send(tombstone("person", "1002@marketo1.Marketo", NOON_MS), &[]);
}

#[test]
fn a_segment_lives_and_dies() {
    let mut story = Story::without(12, &[]);
    story.expect("published", &[P1, P2, P3]);
    let mut stricter = bodea::rule();
    stricter.pql = stricter.pql.replace("1000000", "2000000");
    let version = |story: &Story| story.cluster.changes.last().expect("there were changes").segment_version;
    let first = version(&story);
    let sent = std::mem::take(&mut story.sent);
    story.cluster.publish(&stricter);
    story.cluster.settle();
    assert!(story.cluster.members(SEGMENT).is_empty(), "a stricter rule");
    let mut looser = bodea::rule();
    looser.pql = looser.pql.replace("1000000", "500000");
    story.cluster.publish(&looser);
    story.cluster.settle();
    assert_eq!(story.cluster.members(SEGMENT).len(), 3, "a looser rule");
    assert!(version(&story) > first);
    let changes = story.cluster.changes.len();
    story.cluster.define(SEGMENT, Some(&definition(&bodea::rule(), "published")));
    story.sent = sent;
    story.expect("the rule as it was", &[P1, P2, P3]);
    assert_eq!(story.cluster.changes.len(), changes, "an edit that changes nobody's membership emits nothing");
    story.cluster.define(SEGMENT, Some(&definition(&bodea::rule(), "inactive")));
    story.cluster.settle();
    assert!(story.cluster.members(SEGMENT).is_empty(), "inactive");
    assert_eq!(story.cluster.changes.len(), changes + 3, "everyone left once");
    story.cluster.define(SEGMENT, Some(&definition(&bodea::rule(), "published")));
    story.expect("published again", &[P1, P2, P3]);
    let last = version(&story);
    story.cluster.define(SEGMENT, None);
    story.cluster.settle();
    assert!(story.cluster.members(SEGMENT).is_empty(), "deleted");
    assert!(last > 0 && version(&story) == last, "exits name the version that was deleted");
    assert_eq!(
        story.cluster.rows(millrace_shard::key::table::KEPT),
        0,
        "nothing is kept for rules that are gone"
    );
}

/// A definition that cannot be used is a dead letter, once, and the one before it stays.
#[test]
fn a_bad_definition_changes_nothing() {
    let mut story = Story::without(13, &[]);
    story.expect("published", &[P1, P2, P3]);
    let mut unknown = bodea::rule();
    unknown.pql = "workEmail.adress = \"x\"".to_owned();
    story.cluster.publish(&unknown);
    story.cluster.define("another-name", Some(&definition(&bodea::rule(), "published")));
    story.cluster.define("broken", Some("kind: Segment\nmetadata: ["));
    story.expect("refused", &[P1, P2, P3]);
    let mut reasons = story.cluster.dead_letters.clone();
    reasons.sort();
    assert_eq!(reasons, ["bad-definition", "bad-definition", "key-mismatch"]);
}

/// An absorbed person leaves, and its exit names its heir.
#[test]
fn an_absorbed_profile_exits_with_its_successor() {
    let mut story = Story::without(14, &["person-2-marketo-1", "visit-1", "visit-3"]);
    let alone = "b2b_person:2002@marketo2.Marketo";
    story.expect("p2 known to system 2 alone", &[alone]);
    let twin = bodea::facts()
        .into_iter()
        .find(|fact| fact.name == "person-2-marketo-1")
        .expect("a fact of the case")
        .record;
    story.send(twin, &[P2]);
    let entry = story.cluster.changes.iter().rposition(|change| change.subject_id == P2).expect("p2 entered");
    let exit = story
        .cluster
        .changes
        .iter()
        .rposition(|change| change.subject_id == alone)
        .expect("the absorbed left");
    assert_eq!(story.cluster.changes[exit].merged_into.as_deref(), Some(P2));
    assert!(entry < exit, "entry before exit");
}
