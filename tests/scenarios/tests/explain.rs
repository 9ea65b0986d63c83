//! The evidence of an explanation: sums with their deals, and things reached through several
//! relations, each with its source records.

use std::fmt::Write;

use millrace_model::{Identity, SubjectId, Timestamp};
use millrace_oracle::worlds::{NOON_MS, event, record};
use millrace_oracle::{Rule, Subject};
use millrace_segment::Explanation;
use millrace_test_scenarios::Cluster;
use serde_json::{Value, json};

const SHARDS: u32 = 3;

fn key(source_key: &str) -> Value {
    json!({ "sourceKey": source_key })
}

/// Ann is of the first of two accounts, each with a deal.
fn cluster(pql: &str) -> Cluster {
    let mut cluster = Cluster::new(SHARDS, 1, Timestamp(NOON_MS));
    cluster.publish(&Rule {
        name: "upsell".to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: pql.to_owned(),
    });
    for (account, deal, amount) in [("1@a.A", "1@o.O", 200_000), ("2@a.A", "2@o.O", 900_000)] {
        cluster.source(&record("account", account, NOON_MS, json!({})));
        cluster.source(&record(
            "opportunity",
            deal,
            NOON_MS,
            json!({ "accountKey": key(account), "opportunityAmount": { "amount": amount }, "isWon": true }),
        ));
    }
    cluster.source(&record("person", "ann@m.M", NOON_MS, json!({ "b2b": { "accountKey": key("1@a.A") } })));
    cluster.settle();
    cluster
}

/// The conditions without parts, with their compared values and evidence; then the records.
fn shown(cluster: &Cluster) -> String {
    let query = cluster.query();
    let ann = query
        .resolve(&Identity::new("b2b_person", "ann@m.M").expect("an identity"))
        .expect("tables in memory can be read");
    let explained = query
        .explain(&ann, "upsell", cluster.now)
        .expect("tables in memory can be read")
        .expect("published");
    let member = explained.membership.as_ref().is_some_and(|membership| membership.realized);
    assert_eq!(explained.explanation.value, Some(member), "the answer is the membership's");
    let mut out = String::new();
    fn leaves(explanation: &Explanation, out: &mut String) {
        if explanation.of.is_empty() {
            let sides = explanation
                .compared
                .as_ref()
                .map(|sides| format!(" {:?} against {:?}", sides.left, sides.right));
            let _ = writeln!(out, "{:?}{}", explanation.value, sides.unwrap_or_default());
            for piece in &explanation.evidence {
                let _ = writeln!(out, "  {piece:?}");
            }
        }
        explanation.of.iter().for_each(|child| leaves(child, out));
    }
    leaves(&explained.explanation, &mut out);
    for (thing, records) in &explained.records {
        let _ = writeln!(out, "{thing}: {}", records.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    }
    out
}

#[test]
fn a_sum_over_linked_accounts_names_its_deals() {
    let mut cluster = cluster("sum(select o.opportunityAmount.amount from accounts.opportunities where o.isWon) > 1000000 and accounts.count() >= 1");
    let apart = shown(&cluster);
    cluster.source(&record("account-link", "l@mdm.M", NOON_MS, json!({ "members": [key("1@a.A"), key("2@a.A")] })));
    cluster.settle();
    let linked = shown(&cluster);
    assert_eq!(format!("{apart}\n{linked}"), SUM);
}

#[test]
fn what_related_accounts_decide_is_named() {
    let mut cluster = cluster("exists o from accounts.related.opportunities where o.opportunityAmount.amount > 500000");
    let apart = shown(&cluster);
    cluster.source(&record("account", "1@a.A", NOON_MS + 1, json!({ "relatedAccountKeys": [key("2@a.A")] })));
    cluster.settle();
    let related = shown(&cluster);
    assert_eq!(format!("{apart}\n{related}"), RELATED);
}

const SUM: &str = r#"Some(false) Int(200000) against Int(1000000)
  Thing { kind: Opportunity, id: "b2b_opportunity:1@o.O", value: Int(200000) }
Some(true) Int(1) against Int(1)
  Thing { kind: Account, id: "b2b_account:1@a.A", value: Bool(true) }
b2b_account:1@a.A: b2b_account:1@a.A b2b_opportunity:1@o.O
b2b_opportunity:1@o.O: b2b_opportunity:1@o.O

Some(true) Int(1100000) against Int(1000000)
  Thing { kind: Opportunity, id: "b2b_opportunity:1@o.O", value: Int(200000) }
  Thing { kind: Opportunity, id: "b2b_opportunity:2@o.O", value: Int(900000) }
Some(true) Int(1) against Int(1)
  Thing { kind: Account, id: "b2b_account:1@a.A", value: Bool(true) }
b2b_account:1@a.A: b2b_account:1@a.A b2b_account:2@a.A b2b_opportunity:1@o.O b2b_opportunity:2@o.O
b2b_opportunity:1@o.O: b2b_opportunity:1@o.O
b2b_opportunity:2@o.O: b2b_opportunity:2@o.O
"#;

/// An explanation with too much evidence for one question is answered from kept rows.
#[test]
fn long_histories_are_explained_without_their_events() {
    let mut cluster = cluster(r#"count(select v from xEvent where v.eventType = "visit") >= 60"#);
    for number in 0..60 {
        let id = format!("{number}");
        cluster.source(&event(&id, NOON_MS - number, &["b2b_person:ann@m.M"], json!({ "eventType": "visit" })));
    }
    cluster.settle();
    let ann = SubjectId::of_node(&Identity::parse("b2b_person:ann@m.M").expect("an identity"));
    for (explained_max, shortened, shown) in [(1_000, false, 20), (50, true, 0)] {
        let query = cluster.query().explaining_at_most(explained_max);
        let explained = query
            .explain(&ann, "upsell", cluster.now)
            .expect("rows in memory")
            .expect("the segment is there");
        let (value, evidence) = (explained.explanation.value, explained.explanation.evidence.len());
        assert_eq!((explained.shortened, value, evidence), (shortened, Some(true), shown));
    }
}

const RELATED: &str = r#"Some(false)
b2b_account:1@a.A: b2b_account:1@a.A b2b_opportunity:1@o.O

Some(true)
  Thing { kind: Opportunity, id: "b2b_opportunity:2@o.O", value: Bool(true) }
b2b_account:1@a.A: b2b_account:1@a.A b2b_opportunity:1@o.O
b2b_account:2@a.A: b2b_account:2@a.A b2b_opportunity:2@o.O
b2b_opportunity:2@o.O: b2b_opportunity:2@o.O
"#;
