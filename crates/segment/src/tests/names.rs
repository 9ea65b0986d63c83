//! Stored rows are found by the names of features, queries and aggregates: a name that changes empties what it named, and everything is computed anew.

use chrono_tz::Tz;
use expect_test::expect;
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
    (SubjectKind::Person, "(select v from xEvent where v.eventType = \"a\" and v.timestamp occurs < 7 days before now).count() > 60"),
    (SubjectKind::Person, "exists v from xEvent where v.eventType = \"a\" and v.timestamp occurs today"),
    (SubjectKind::Person, "xEvent[eventType = \"a\"].extra.n.sum() > 10 or xEvent.eventType.distinct().count() > 3"),
    (SubjectKind::Person, "xEvent[eventType = \"a\"].timestamp.max() occurs < 3 days before now"),
    (SubjectKind::Person, "exists v from xEvent where v.extra.n > b2b.personScore"),
    (SubjectKind::Person, "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: WHAT(eventType = \"b\") WHEN(<= 8 days after A.timestamp)])"),
    (
        SubjectKind::Person,
        "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\") COUNT(2), B: not WHAT(eventType = \"b\"), C: WHAT(eventType = \"c\")])",
    ),
    (SubjectKind::Person, "inSegment(\"other\") or date(2026, 1, 1) occurs before now"),
    (SubjectKind::Account, "(exists p from persons where p.b2b.personScore > 50) and persons.b2b.personScore.max() < 90"),
    (SubjectKind::Account, "opportunities[isWon].opportunityAmount.amount.sum() > 5 and persons[b2b.isConverted].count() > 3"),
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
            let bands = feature.bands.as_ref().map(|bands| format!(" {:?}", bands.id)).unwrap_or_default();
            shown += &format!("  {:?}{bands}\n", feature.id);
        }
        for query in &plan.queries {
            shown += &format!("  {:?}\n", query.id);
        }
        for kin in &plan.kin {
            shown += &format!("  {:?}\n", kin.id);
        }
    }
    expect![[r#"
        b2b.personScore > 50 and homeAddress.city like "B%"
          segment e1ac28581109e70d
        exists a from accounts where a.accountName = "Acme" and a.accountOrganization.annualRevenue.amount > 10
          segment 26f381002175cd15
          feature aad380051ae314c4
        exists a from accounts, o from a.opportunities where o.isWon and o.opportunityAmount.amount > b2b.personScore
          segment 74c7316e2b1c36ce
          feature 39cdf46eeca0de7b
          feature a30812fd589f4998
        sum(accounts.opportunities.opportunityAmount.amount) > 1000000
          segment e5a46ed0c2bc045d
          feature 4bb124e2f47214f5
          feature 9f9bd73cfd841b57 feature 0fefd3f3425fe8f5
          kin 7f735d7a13761cae
        accounts.related.opportunities[isClosed].count() > 1 and accounts.parent.accountName.count() > 0
          segment 55dba077d0bdae0a
          feature c600d5da9a21eec5
          feature 9a4bbb9890fad236
          feature e68caffb63d87b0e
          feature 235a5f2e5a217ca5
          feature 98eb1dea02b9a7f5
          kin be0354be74271f3d
        exists r from opportunityRoles where r.personRole = "Decision Maker" and r.opportunity.isClosed
          segment 24ea743b905e4f68
          feature c600d5da9a21eec5
        (select v from xEvent where v.eventType = "a" and v.timestamp occurs < 7 days before now).count() > 60
          segment a4ce8c225152a9d2
          query ff2ab410b60ee632
        exists v from xEvent where v.eventType = "a" and v.timestamp occurs today
          segment bf9f9b265bdd6c19
          query 35719f8c00704bb5
        xEvent[eventType = "a"].extra.n.sum() > 10 or xEvent.eventType.distinct().count() > 3
          segment 18cae240ca5998df
          query 000ee979e0617b26
          query af7e3bc9839fdb49
        xEvent[eventType = "a"].timestamp.max() occurs < 3 days before now
          segment 7e635510bc718c4b
          query 5b95522561d1c0a8
        exists v from xEvent where v.extra.n > b2b.personScore
          segment 578c5fecc9e3f1c2
          query d623d39193f7e9e9
        chain(xEvent, timestamp, [A: WHAT(eventType = "a"), B: WHAT(eventType = "b") WHEN(<= 8 days after A.timestamp)])
          segment 9a2449620218e651
          query 81198a53eebafcf2
        chain(xEvent, timestamp, [A: WHAT(eventType = "a") COUNT(2), B: not WHAT(eventType = "b"), C: WHAT(eventType = "c")])
          segment 4f30b199d5f0e8bd
          query 4e81319ef2a6126e
        inSegment("other") or date(2026, 1, 1) occurs before now
          segment a14d1120bc5b47cf
        (exists p from persons where p.b2b.personScore > 50) and persons.b2b.personScore.max() < 90
          segment 5c51a3821b777249
          feature ce820ee8ac00f948
          feature edac124df08fcac6
          kin 221a04135089a515
          kin e9f142495fd9a20b
        opportunities[isWon].opportunityAmount.amount.sum() > 5 and persons[b2b.isConverted].count() > 3
          segment 40ee9e77a465d296
          feature 762961e813e1ea35
          feature 244aac9a3207515b
          kin 5df44979421c7742
          kin ae90ca5116680a94
    "#]].assert_eq(&shown);
}
