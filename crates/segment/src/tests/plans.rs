//! The parts that rules are taken apart into.

use std::fmt::Write;

use chrono_tz::Tz;
use expect_test::{Expect, expect};
use millrace_model::{SubjectKind, Value};

use crate::plan::Keep;
use crate::testing::{Tree, TreeView, at, compiled, settings};
use crate::{Plan, explain};

/// The parts of a plan; the ids are named by their place.
fn show(subject: SubjectKind, pql: &str) -> String {
    let plan = Plan::build(&[compiled(subject, Tz::UTC, pql)], &settings()).expect("a plan");
    let mut out = String::new();
    for query in &plan.queries {
        let _ = writeln!(
            out,
            "{:?} keep {:?} types {:?} columns {}",
            query.id,
            query.keep,
            query.event_types,
            query.columns()
        );
    }
    for feature in &plan.features {
        let _ = writeln!(out, "{:?} of {}: {}", feature.id, feature.kind.name(), feature.residual.core.canonical());
    }
    let _ = writeln!(out, "residual: {}", plan.segments[0].residual.core.canonical());
    for (at, id) in plan
        .features
        .iter()
        .map(|feature| format!("{:?}", feature.id))
        .chain(plan.queries.iter().map(|query| format!("{:?}", query.id)))
        .enumerate()
    {
        out = out.replace(&format!("Feature({})", &id), &format!("#{at}")).replace(&id, &format!("#{at}"));
    }
    out
}

fn check(subject: SubjectKind, pql: &str, expected: Expect) {
    expected.assert_eq(&show(subject, pql));
}

#[test]
fn shapes() {
    check(
        SubjectKind::Person,
        r#"sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
           and exists v from xEvent where v.eventType = "view" and v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now"#,
        expect![[r##"
            #2 keep Newest(1) types Some(["view"]) columns 0
            #0 of opportunity: (If (And (."isClosed" $0) (."isWon" $0)) (Amount (."opportunityAmount" $0)) null)
            #1 of account: (Aggregate(Sum) (Map (Relation(Opportunities) $0) $1: (#0 $1 null)))
            residual: (And (Compare(Greater) (Aggregate(Sum) (Map (Relation(Accounts) $0) $1: (#1 $1 0))) 1000000) (AtLeast(1) #2 $1: (Window { comparison: LessOrEqual, unit: Month, direction: Before } (."timestamp" $1) 1 Now)))
        "##]],
    );
    check(
        SubjectKind::Person,
        r#"exists a from accounts where a.accountOrganization.industry = "Finance" and a.accountName = person.name.lastName"#,
        expect![[r##"
        #0 of account: (Compare(Equal) (."industry" (."accountOrganization" $0)) "Finance")
        #1 of account: (."accountName" $0)
        residual: (AtLeast(1) (Relation(Accounts) $0) $1: (And (#0 $1 false) (Compare(Equal) (#1 $1 null) (."lastName" (."name" (."person" $0))))))
    "##]],
    );
    check(
        SubjectKind::Person,
        "sum(accounts.related.opportunities.opportunityAmount.amount) > 5",
        expect![[r##"
            #0 of opportunity: (Amount (."opportunityAmount" $0))
            #1 of account: (Record(["#id", "c7900884621def143"]) (Id $0) (Aggregate(Sum) (Map (Relation(Opportunities) $0) $1: (#0 $1 null))))
            #2 of account: (Map (Relation(Related) $0) $1: (#1 $1 {"#id":null,"c7900884621def143":0,}))
            residual: (Compare(Greater) (Aggregate(Sum) (Map (DistinctThings (FlatMap (Relation(Accounts) $0) $1: (#2 $1 []))) $1: (."c7900884621def143" $1))) 5)
        "##]],
    );
    check(
        SubjectKind::Person,
        "exists o from accounts.opportunities where o.isWon and o.opportunityAmount.amount > b2b.personScore",
        expect![[r##"
            #0 of opportunity: (If (."isWon" $0) (Record(["#id", "c066b015729ad130f"]) (Id $0) (Amount (."opportunityAmount" $0))) null)
            #1 of account: (Map (Relation(Opportunities) $0) $1: (#0 $1 null))
            residual: (AtLeast(1) (Relation(Accounts) $0) $1: (AtLeast(1) (#1 $1 []) $2: (Compare(Greater) (."c066b015729ad130f" $2) (."personScore" (."b2b" $0)))))
        "##]],
    );
    check(
        SubjectKind::Account,
        "count(persons[xEvent[eventType in [\"a\", \"b\"] and timestamp occurs this week]]) >= 3",
        expect![[r##"
        #1 keep Newest(1) types Some(["a", "b"]) columns 0
        #0 of person: (AtLeast(1) #1 $1: (On (."timestamp" $1) This(Week)))
        residual: (AtLeast(3) (Relation(Persons) $0) $1: (#0 $1 (AtLeast(1) (Events null) $2: (And (In { negated: false } (."eventType" $2) ["a","b",]) (On (."timestamp" $2) This(Week))))))
    "##]],
    );
    check(
        SubjectKind::Person,
        r#"chain(xEvent, timestamp, [A: WHAT(eventType = "a"), B: WHAT(eventType = "b" and extra.x > 1) WHEN(today)])"#,
        expect![[r##"
            #0 keep Progress types Some(["a", "b"]) columns 2
            residual: (Chain [step 1 (Filter #0 $1: (Column(18094057608017497741) $1)): true] [step 1 (Filter #0 $2: (And (Column(8126244507387154891) $2) (On (."timestamp" $2) Today))): true])
        "##]],
    );
}

#[test]
fn what_an_event_must_say() {
    let name = "web.webPageDetails.name";
    for (condition, demand) in [
        ("eventType = \"x\"", Some(("eventType", vec!["x"]))),
        ("web.webPageDetails.name = \"p\" and eventType = \"x\"", Some((name, vec!["p"]))),
        (
            "eventType in [\"x\", \"y\"] and web.webPageDetails.name in [\"p\", \"q\", \"r\"]",
            Some(("eventType", vec!["x", "y"])),
        ),
        (
            "web.webPageDetails.name = \"p\" or web.webPageDetails.name.equals(\"q\")",
            Some((name, vec!["p", "q"])),
        ),
        (
            "(eventType = \"x\" and web.webPageDetails.name = \"p\") or eventType = \"y\"",
            Some(("eventType", vec!["x", "y"])),
        ),
        ("eventType in [\"x\", \"y\"] and eventType = \"x\"", Some(("eventType", vec!["x"]))),
        ("web.webPageDetails.name = \"p\" or eventType = \"x\"", None),
        ("not(eventType = \"x\")", None),
        ("eventType.equals(\"x\", false)", None),
        ("web.webPageDetails.name != \"p\"", None),
    ] {
        let plan = Plan::build(&[compiled(SubjectKind::Person, Tz::UTC, &format!("xEvent[{condition}]"))], &settings()).expect("a plan");
        let found = plan.queries[0]
            .demand
            .as_ref()
            .map(|demand| (demand.path.join("."), demand.texts.iter().map(|text| text.as_str()).collect()));
        assert_eq!(
            found.as_ref().map(|(path, texts): &(String, Vec<&str>)| (path.as_str(), texts.clone())),
            demand,
            "{condition}"
        );
    }
}

#[test]
fn ids_are_stable() {
    // Ids are part of stored state: a change here loses every feature and row that is kept.
    let plan = Plan::build(
        &[compiled(
            SubjectKind::Person,
            Tz::UTC,
            r#"(exists a from accounts where a.accountName = "Acme") and xEvent[eventType = "x"]"#,
        )],
        &settings(),
    )
    .expect("a plan");
    expect![[r#"
        (
            feature 379e92c33a0cdebe,
            query eb6920aa7b788869,
        )
    "#]]
    .assert_debug_eq(&(plan.features[0].id, plan.queries[0].id));
    let other = Plan::build(
        &[compiled(
            SubjectKind::Person,
            Tz::UTC,
            r#"accounts.exists((q) => q.accountName = "Acme") or xEvent[eventType = "x"].count() >= 1"#,
        )],
        &settings(),
    );
    let other = other.expect("a plan");
    assert_eq!((other.features[0].id, other.queries[0].id), (plan.features[0].id, plan.queries[0].id));
}

#[test]
fn fingerprints_tell_rules_apart() {
    let plan = |zone: Tz, pql: &str| Plan::build(&[compiled(SubjectKind::Person, zone, pql)], &settings()).expect("a plan");
    let fingerprint = |zone: Tz, pql: &str| plan(zone, pql).segments[0].fingerprint;
    let rule = "xEvent[eventType = \"x\" and timestamp occurs today].count() >= 2";
    assert_eq!(
        fingerprint(Tz::UTC, rule),
        fingerprint(Tz::UTC, "xEvent[(timestamp occurs today) and eventType = \"x\"].count() >= 2")
    );
    for (zone, other) in [
        (Tz::Europe__Berlin, rule),
        (Tz::UTC, "xEvent[eventType = \"x\" and timestamp occurs today].count() >= 3"),
        (Tz::UTC, "xEvent[eventType = \"y\" and timestamp occurs today].count() >= 2"),
        (Tz::UTC, "xEvent[eventType = \"x\" and timestamp occurs yesterday].count() >= 2"),
    ] {
        assert_ne!(fingerprint(Tz::UTC, rule), fingerprint(zone, other), "{other}");
    }
}

#[test]
fn kept_rows() {
    for (pql, keep) in [
        ("exists v from xEvent where v.eventType = \"x\"", Keep::Newest(1)),
        ("not(exists v from xEvent where v.timestamp occurs <= 3 days before now)", Keep::Newest(1)),
        ("xEvent[timestamp occurs < 1 month before now].count() >= 3", Keep::Newest(3)),
        ("xEvent[timestamp occurs today].count() > 3", Keep::Newest(4)),
        ("xEvent.count() = 2", Keep::Newest(3)),
        ("xEvent[timestamp occurs after date(2026, 1, 1)].count() < 3", Keep::Newest(3)),
        ("exists v from xEvent where v.timestamp occurs > 3 days before now", Keep::Tally),
        ("exists v from xEvent where v.timestamp occurs last month", Keep::Tally),
        ("exists v from xEvent where v.timestamp occurs <= 3 days before today", Keep::Tally),
        ("xEvent.productListItems.count() > 3", Keep::Tally),
        (
            "sum(select v.commerce.order.priceTotal from xEvent where v.timestamp occurs <= 3 days before now) > 3",
            Keep::Tally,
        ),
        (
            "max(select v.timestamp from xEvent where v.eventType = \"x\") occurs > 3 days before now",
            Keep::Tally,
        ),
        ("count(distinct(select v.web.webPageDetails.name from xEvent)) > 3", Keep::Tally),
        ("xEvent.count() = 60", Keep::Tally),
        ("exists v from xEvent where v.web.webPageDetails.name = workEmail.address", Keep::All),
    ] {
        let plan = Plan::build(&[compiled(SubjectKind::Person, Tz::UTC, pql)], &settings()).expect("a plan");
        assert_eq!(
            plan.queries
                .iter()
                .map(|query| query.keep)
                .max_by_key(|keep| if let Keep::Newest(n) = keep { *n } else { usize::MAX }),
            Some(keep),
            "{pql}\n{}",
            plan.segments[0].residual.core.canonical()
        );
    }
}

#[test]
fn explanations() {
    let tree = Tree::read(&serde_json::json!({
        "person": {"p": {"b2b": {"personScore": 90}}},
        "account": {"a": {"accountName": "Acme"}},
        "accountRelations": [{"id": "r", "person": "p", "to": "a", "row": {"personRole": "Boss"}}],
        "events": {"p": [{"_id": "e", "timestamp": "2026-06-01T00:00:00Z", "eventType": "x"}]},
    }));
    let pql = r#"b2b.personScore > 80 and (not(inSegment("s")) or false)
        and (exists a from accounts where a.accountName = "Acme") and (exists r from accountRelations where r.personRole = "Boss")
        and exists v from xEvent where v.eventType = "x" and v.timestamp occurs <= 1 month before now"#;
    let plan = Plan::build(&[compiled(SubjectKind::Person, Tz::UTC, pql)], &settings()).expect("a plan");
    let now = at("2026-06-15T00:00:00Z");
    let view = TreeView::new(&tree, &plan, SubjectKind::Person, "p", &plan.segments[0].reads, now);
    let explanation = explain(&plan.segments[0], &view, now);
    let whole = plan.segments[0].residual.foresee(&view, now, now).expect("known");
    assert_eq!(
        (explanation.value.map(Value::Bool), explanation.valid_until),
        (Some(whole.value), whole.valid_until)
    );
    expect![[r#"
        Some(true) until 2026-07-01T00:00:00.001Z: and
          Some(true) until 9223372036854775807: b2b.personScore > 80
            Int(90) against Int(80)
            Attribute { path: "b2b.personScore", value: Int(90) }
          Some(true) until 9223372036854775807: or
            Some(true) until 9223372036854775807: not
              Some(false) until 9223372036854775807: inSegment("s")
                Segment { name: "s", member: false }
            Some(false) until 9223372036854775807: false
          Some(true) until 9223372036854775807: exists a from accounts where a.accountName = "Acme"
            Thing { kind: Account, id: "a", value: Bool(true) }
          Some(true) until 9223372036854775807: exists r from accountRelations where r.personRole = "Boss"
            Row { relation: AccountRelations, id: "r" }
          Some(true) until 2026-07-01T00:00:00.001Z: exists v from xEvent where v.eventType = "x" and v.timestamp occurs <= 1 month before now
            Event { at: Timestamp(1780272000000), id: "e" }
    "#]]
    .assert_eq(&shown(&explanation));
}

/// An explanation as lines, each condition with the sides it compares and its evidence below it.
fn shown(explanation: &crate::Explanation) -> String {
    let mut out = format!(
        "{:?} until {}: {}\n",
        explanation.value,
        explanation.valid_until,
        explanation.text.replace('\n', " ")
    );
    if let Some(sides) = &explanation.compared {
        let _ = writeln!(out, "  {:?} against {:?}", sides.left, sides.right);
    }
    for piece in &explanation.evidence {
        let _ = writeln!(out, "  {piece:?}");
    }
    for line in explanation.of.iter().map(shown).collect::<String>().lines() {
        let _ = writeln!(out, "  {line}");
    }
    out
}

/// The maintained answer, shown by whole data.
fn explained(tree: &Tree, subject: SubjectKind, id: &str, pql: &str) -> crate::Explanation {
    let plan = Plan::build(&[compiled(subject, Tz::UTC, pql)], &settings()).expect("a plan");
    let (segment, now) = (&plan.segments[0], at("2026-06-15T00:00:00Z"));
    let view = TreeView::new(tree, &plan, subject, id, &segment.reads, now);
    let whole = segment.rule.whole(&settings()).explain(tree, id, now);
    explain(segment, &view, now).shown_by(whole)
}

#[test]
fn explanations_of_lists() {
    let key = |id: &str| serde_json::json!({ "sourceKey": id });
    let deal = |account: &str, amount: i64, won: bool| serde_json::json!({"accountKey": key(account), "opportunityAmount": {"amount": amount}, "isWon": won});
    let tree = Tree::read(&serde_json::json!({
        "person": {"p": {"b2b": {"personScore": 90}}, "q": {}, "r": {}},
        "account": {"a": {"accountName": "Acme", "relatedAccountKeys": [key("c")]}, "b": {"accountName": "Bolt"}, "c": {"accountName": "Core"}},
        "opportunity": {"a1": deal("a", 200_000, true), "a2": deal("a", 5, false), "b1": deal("b", 900_000, true), "c1": deal("c", 7, true)},
        "accountRelations": [
            {"id": "r1", "person": "p", "to": "a", "row": {"relationStartDate": "2026-06-01T00:00:00Z"}},
            {"id": "r2", "person": "p", "to": "b"}, {"id": "r3", "person": "q", "to": "a"},
        ],
        "events": {"p": [{"_id": "e", "timestamp": "2026-06-01T00:00:00Z", "eventType": "x", "commerce": {"order": {"priceTotal": 12}}}]},
    }));
    let person = r#"sum(select o.opportunityAmount.amount from accounts.opportunities where o.isWon) > 1000000
        and (sum(accounts.opportunities.opportunityAmount.amount) < 5 or b2b.personStatus != "Cold" or b2b.personScore > 100)
        and (forall o from accounts.opportunities where o.opportunityAmount.amount > 1) and (forall o from accounts.opportunities where o.isWon)
        and (exists o from accounts.opportunities where not(o.isWon))
        and (exists o from accounts.related.opportunities where o.isWon) and accounts.count() >= 2
        and (exists a from accounts where sum(select o.opportunityAmount.amount from a.opportunities) > 500000)
        and sum(select v.commerce.order.priceTotal from xEvent where v.eventType = "x") > 10
        and (min(select r.relationStartDate from accountRelations) occurs <= 1 month before now)"#;
    let account = "persons[b2b.personScore > 50].count() >= 3 and count(persons) = 2";
    let text = shown(&explained(&tree, SubjectKind::Person, "p", person)) + &shown(&explained(&tree, SubjectKind::Account, "a", account));
    expect![[r#"
        Some(false) until 9223372036854775807: and
          Some(true) until 9223372036854775807: sum(select o.opportunityAmount.amount from accounts.opportunities where o.isWon) > 1000000
            Int(1100000) against Int(1000000)
            Thing { kind: Opportunity, id: "a1", value: Int(200000) }
            Thing { kind: Opportunity, id: "b1", value: Int(900000) }
          Some(false) until 9223372036854775807: or
            Some(false) until 9223372036854775807: sum(accounts.opportunities.opportunityAmount.amount) < 5
              Int(1100005) against Int(5)
              Thing { kind: Opportunity, id: "a1", value: Bool(true) }
              Thing { kind: Opportunity, id: "a2", value: Bool(true) }
              Thing { kind: Opportunity, id: "b1", value: Bool(true) }
            Some(false) until 9223372036854775807: b2b.personStatus != "Cold"
              Null against Text("Cold")
              Attribute { path: "b2b.personStatus", value: Null }
            Some(false) until 9223372036854775807: b2b.personScore > 100
              Int(90) against Int(100)
              Attribute { path: "b2b.personScore", value: Int(90) }
          Some(true) until 9223372036854775807: forall o from accounts.opportunities where o.opportunityAmount.amount > 1
            Thing { kind: Opportunity, id: "a1", value: Bool(true) }
            Thing { kind: Opportunity, id: "a2", value: Bool(true) }
            Thing { kind: Opportunity, id: "b1", value: Bool(true) }
          Some(false) until 9223372036854775807: forall o from accounts.opportunities where o.isWon
            Thing { kind: Opportunity, id: "a2", value: Bool(false) }
          Some(true) until 9223372036854775807: exists o from accounts.opportunities where not(o.isWon)
            Thing { kind: Opportunity, id: "a2", value: Bool(true) }
          Some(true) until 9223372036854775807: exists o from accounts.related.opportunities where o.isWon
            Thing { kind: Opportunity, id: "c1", value: Bool(true) }
          Some(true) until 9223372036854775807: accounts.count() >= 2
            Int(2) against Int(2)
            Thing { kind: Account, id: "a", value: Bool(true) }
            Thing { kind: Account, id: "b", value: Bool(true) }
          Some(true) until 9223372036854775807: exists a from accounts where sum(select o.opportunityAmount.amount from a.opportunities) > 500000
            Thing { kind: Opportunity, id: "b1", value: Int(900000) }
            Thing { kind: Account, id: "b", value: Bool(true) }
          Some(true) until 9223372036854775807: sum(select v.commerce.order.priceTotal from xEvent where v.eventType = "x") > 10
            Int(12) against Int(10)
            Event { at: Timestamp(1780272000000), id: "e" }
          Some(true) until 2026-07-01T00:00:00.001Z: min(select r.relationStartDate from accountRelations) occurs <= 1 month before now
            Time(Timestamp(1780272000000)) against Time(Timestamp(1781481600000))
            Row { relation: AccountRelations, id: "r1" }
        Some(false) until 9223372036854775807: and
          Some(false) until 9223372036854775807: persons[b2b.personScore > 50].count() >= 3
            Int(1) against Int(3)
            Thing { kind: Person, id: "p", value: Bool(true) }
          Some(true) until 9223372036854775807: count(persons) = 2
            Int(2) against Int(2)
            Thing { kind: Person, id: "p", value: Bool(true) }
            Thing { kind: Person, id: "q", value: Bool(true) }
    "#]]
    .assert_eq(&text);
}

#[test]
fn an_explanation_keeps_to_its_own_answer() {
    let tree = |score: i64| Tree::read(&serde_json::json!({ "person": {"p": {"b2b": {"personScore": score}}} }));
    let plan = Plan::build(&[compiled(SubjectKind::Person, Tz::UTC, "b2b.personScore > 80")], &settings()).expect("a plan");
    let (segment, now, before) = (&plan.segments[0], at("2026-06-15T00:00:00Z"), tree(70));
    let own = explain(segment, &TreeView::new(&before, &plan, SubjectKind::Person, "p", &segment.reads, now), now);
    let whole = segment.rule.whole(&settings()).explain(&tree(90), "p", now);
    assert_eq!((own.value, whole.value), (Some(false), Some(true)));
    assert_eq!(own.clone().shown_by(whole), own, "the record is under way");
}
