//! Stored rows are found by the names of features, queries and aggregates: a name that changes
//! empties what it named, and everything is computed again.

use chrono_tz::Tz;
use expect_test::expect_file;
use millrace_model::SubjectKind;

use crate::testing::{definition, schema_once, settings};
use crate::{Plan, compile};

/// A rule of every kind that is kept in a way of its own.
const RULES: [(SubjectKind, &str); 16] = [
    (SubjectKind::Person, "b2b.personScore > 50 and homeAddress.city like \"B%\""),
    (
        SubjectKind::Person,
        "exists a from accounts where a.accountName = \"Acme\" and a.accountOrganization.annualRevenue.amount > 10",
    ),
    (
        SubjectKind::Person,
        "exists a from accounts, o from a.opportunities where o.isWon and o.opportunityAmount.amount > b2b.personScore",
    ),
    (SubjectKind::Person, "sum(accounts.opportunities.opportunityAmount.amount) > 1000000"),
    (
        SubjectKind::Person,
        "accounts.related.opportunities[isClosed].count() > 1 and accounts.parent.accountName.count() > 0",
    ),
    (
        SubjectKind::Person,
        "exists r from opportunityRoles where r.personRole = \"Decision Maker\" and r.opportunity.isClosed",
    ),
    (
        SubjectKind::Person,
        "(select v from xEvent where v.eventType = \"a\" and v.timestamp occurs < 7 days before now).count() > 60",
    ),
    (
        SubjectKind::Person,
        "exists v from xEvent where v.eventType = \"a\" and v.timestamp occurs today",
    ),
    (
        SubjectKind::Person,
        "xEvent[eventType = \"a\"].extra.n.sum() > 10 or xEvent.eventType.distinct().count() > 3",
    ),
    (SubjectKind::Person, "xEvent[eventType = \"a\"].timestamp.max() occurs < 3 days before now"),
    (SubjectKind::Person, "exists v from xEvent where v.extra.n > b2b.personScore"),
    (
        SubjectKind::Person,
        "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: WHAT(eventType = \"b\") WHEN(<= 8 days after A.timestamp)])",
    ),
    (
        SubjectKind::Person,
        "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\") COUNT(2), B: not WHAT(eventType = \"b\"), C: WHAT(eventType = \"c\")])",
    ),
    (SubjectKind::Person, "inSegment(\"other\") or date(2026, 1, 1) occurs before now"),
    (
        SubjectKind::Account,
        "(exists p from persons where p.b2b.personScore > 50) and persons.b2b.personScore.max() < 90",
    ),
    (
        SubjectKind::Account,
        "opportunities[isWon].opportunityAmount.amount.sum() > 5 and persons[b2b.isConverted].count() > 3",
    ),
];

#[test]
fn names_stay() {
    let mut shown = String::new();
    for (subject, pql) in RULES {
        let compiled = compile(&definition(subject, Tz::Europe__Berlin, pql), schema_once()).expect("the test's own rule");
        let plan = Plan::build(&[compiled], &settings()).expect("a plan");
        shown += &format!("{pql}\n");
        for segment in &plan.segments {
            shown += &format!("  segment {:016x}\n", segment.fingerprint);
        }
        for feature in &plan.features {
            let bands = plan.bands.get(&feature.id).map(|bands| format!(" {:?}", bands.id)).unwrap_or_default();
            shown += &format!("  {:?}{bands}\n", feature.id);
        }
        for query in &plan.queries {
            shown += &format!("  {:?}\n", query.id);
        }
        for kin in &plan.kin {
            shown += &format!("  {:?}\n", kin.id);
        }
    }
    expect_file!["names.txt"].assert_eq(&shown);
}
