//! What an event makes the engine read.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_model::{SourceKind, Timestamp};
use millrace_shard::key::table;
use millrace_test_scenarios::{Solo, config};
use serde_json::json;

const NOW: i64 = 1_780_000_000_000;
const PERSON: &str = "1@m1.Marketo";

const UPSELL: &str = r#"sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
    and b2b.personScore > 50
    and exists v from xEvent where v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now"#;

/// A person with an account that has a won deal of a million and more, under the rule, and a first
/// visit.
fn visited(page: &str) -> Solo {
    let mut solo = Solo::new(config(1), Timestamp(NOW));
    let account = json!({ "sourceKey": "a@c1.SFDC" });
    let deal = json!({ "accountKey": account, "opportunityAmount": { "amount": 1_200_000 }, "isClosed": true, "isWon": true });
    let person = json!({ "b2b": { "accountKey": account, "personScore": 60 } });
    solo.define("upsell", UPSELL);
    for (kind, key, fields) in [
        (SourceKind::Account, "a@c1.SFDC", json!({ "accountName": "A" })),
        (SourceKind::Opportunity, "o@c1.SFDC", deal),
        (SourceKind::Person, PERSON, person),
    ] {
        solo.take(kind, key, Bytes::from(fields.to_string()));
    }
    solo.take(SourceKind::Activity, PERSON, visit("v1", page));
    solo
}

fn visit(id: &str, page: &str) -> Bytes {
    let fields =
        json!({ "_id": id, "timestamp": NOW - 1, "personKey": { "sourceKey": PERSON }, "eventType": "view", "web": { "webPageDetails": { "name": page } } });
    Bytes::from(fields.to_string())
}

#[test]
fn a_visit_reads_what_a_visit_can_change() {
    // The owner of its home, the event, the subject, the rows that the rule keeps of events; neither the
    // profile nor the account.
    let expected = BTreeMap::from([table::NODE, table::EVENT, table::SUBJECT, table::KEPT].map(|table| (table, 1)));
    let mut solo = visited("New product");
    assert_eq!(solo.reads(SourceKind::Activity, PERSON, visit("v2", "New product")), expected);
}

#[test]
fn a_visit_that_changes_a_membership_reads_who_it_is() {
    let mut solo = visited("Home");
    let read = solo.reads(SourceKind::Activity, PERSON, visit("v2", "New product"));
    assert!(read.contains_key(&table::PROFILE), "{read:?}");
}
