//! Findings over several rules, and over settings and the present.

use std::fmt::Write;

use chrono_tz::Tz;
use expect_test::{Expect, expect};
use millrace_model::SubjectKind;

use crate::testing::{at, definition, schema_once};
use crate::{Settings, Status, compile, lint};

/// Rules as `name: rule`, drafts as `name?: rule`, account rules as `name@: rule`; the findings of
/// lint, one per line.
fn check(settings: &Settings, rules: &[&str], expected: Expect) {
    let compiled: Vec<_> = rules
        .iter()
        .map(|rule| {
            let (name, pql) = rule.split_once(": ").expect("a name");
            let subject = if name.ends_with('@') { SubjectKind::Account } else { SubjectKind::Person };
            let mut definition = definition(subject, Tz::UTC, pql);
            definition.status = if name.ends_with('?') { Status::Draft } else { Status::Published };
            definition.name = name.trim_end_matches(['@', '?']).into();
            compile(&definition, schema_once()).expect("compiles")
        })
        .collect();
    let mut out = String::new();
    for (name, finding) in lint(&compiled, settings, at("2026-03-18T12:00:00Z")) {
        let _ = write!(
            out,
            "{name}: {}[{}] at {}: {}",
            finding.severity.as_str(),
            finding.code,
            finding.span.start,
            finding.message
        );
        let _ = finding.expected.map(|expected| write!(out, "; {expected}"));
        let _ = finding.suggestion.map(|suggestion| write!(out, "; did you mean {suggestion}"));
        out.push('\n');
    }
    expected.assert_eq(&out);
}

#[test]
fn references_between_segments() {
    check(
        &Settings::default(),
        &[
            "a: inSegment(\"b\") or inSegment(\"warn\") or inSegment(\"sketch\")",
            "b: b2b.isConverted",
            "warm: b2b.personScore > 50",
            "sketch?: b2b.isConverted",
        ],
        expect![[r#"
            a: warning[unknown-segment] at 18: there is no segment `warn` here; it counts as empty until there is; did you mean warm
            a: warning[unknown-segment] at 39: the segment `sketch` is draft: it counts as empty until it is published
        "#]],
    );
    check(
        &Settings::default(),
        &[
            "a: b2b.isConverted and inSegment(\"b\")",
            "b: inSegment(\"c\")",
            "c: not(inSegment(\"a\"))",
            "d: inSegment(\"gone\")",
        ],
        expect![[r#"
            c: error[cycle] at 4: segments refer to each other in a circle: a → b → c → a
            d: warning[unknown-segment] at 0: there is no segment `gone` here; it counts as empty until there is
        "#]],
    );
    check(
        &Settings::default(),
        &["a: inSegment(\"b\")", "b@: parent.isNull()"],
        expect![[r#"
        a: error[subject] at 0: `a` is about the person, the segment `b` about the account
    "#]],
    );
}

#[test]
fn windows_that_end_before_they_begin() {
    check(
        &Settings::default(),
        &[
            "words: xEvent[timestamp occurs between now and yesterday]",
            "units: xEvent[timestamp occurs between this month and last year]",
            "dates: xEvent[timestamp occurs between date(2024, 5, 1) and date(2024, 1, 1)]",
            "moment: xEvent[timestamp occurs between now and today]",
            "good: xEvent[timestamp occurs between last month and this week]",
            "someday: xEvent[timestamp occurs between this week and this month]",
            "mixed: xEvent[timestamp occurs between today and date(2024, 1, 1)]",
        ],
        expect![[r#"
            words: warning[empty-window] at 7: the window ends before it begins: nothing lies in it
            units: warning[empty-window] at 7: the window ends before it begins: nothing lies in it
            dates: warning[long-window] at 0: the window looks back to 2024-05-01, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 687 days: set today, the window is complete from 2026-12-30 on
            dates: warning[empty-window] at 7: the window ends before it begins: nothing lies in it
        "#]],
    );
}

#[test]
fn windows_longer_than_events_are_kept() {
    check(
        &Settings::default(),
        &[
            "kept: xEvent[timestamp occurs <= 13 months before now]",
            "relative: xEvent[timestamp occurs <= 2 years before now]",
            "never: not(xEvent[timestamp occurs > 500 days before today])",
            "calendar: xEvent[timestamp occurs last year]",
            "fixed: b2b.isConverted or exists v from xEvent where v.timestamp occurs after date(2024, 1, 1)",
            "compared: xEvent[timestamp >= \"2024-05-01\"]",
            "chained: chain(xEvent, timestamp, [A: WHEN(between date(2023, 1, 1) and now)])",
            "first: min(xEvent.timestamp) occurs > 2 years before now",
            "turned: exists v from xEvent where now occurs <= 2 years after v.timestamp",
            "last: xEvent[eventType = \"a\"].max(timestamp) occurs <= 2 years before now",
            "endless: xEvent[timestamp occurs <= 1000000 years before now]",
            "facts: person.birthDate occurs > 18 years before now",
        ],
        expect![[r#"
            relative: warning[long-window] at 0: the window looks back to 2024-03-18, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 731 days: set today, the window is complete from 2027-02-12 on
            never: warning[long-window] at 4: the window looks back to 2024-11-03, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 501 days: set today, the window is complete from 2026-06-27 on
            calendar: warning[long-window] at 0: the window looks back to 2025-01-01, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 442 days: set today, the window is complete from 2026-04-29 on
            fixed: warning[long-window] at 19: the window looks back to 2024-01-01, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 808 days: set today, the window is complete from 2027-04-30 on
            compared: warning[long-window] at 0: the window looks back to 2024-05-01, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 687 days: set today, the window is complete from 2026-12-30 on
            chained: warning[long-window] at 0: the window looks back to 2023-01-01, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 1173 days: set today, the window is complete from 2028-04-29 on
            first: warning[long-window] at 0: the window looks back to 2024-03-18, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 731 days: set today, the window is complete from 2027-02-12 on
            turned: warning[long-window] at 0: the window looks back to 2024-03-18, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 731 days: set today, the window is complete from 2027-02-12 on
            last: warning[long-window] at 0: the window looks back to 2024-03-18, events are kept for 400 days, from 2025-02-11 on; a shorter window, or `events.retention` of 731 days: set today, the window is complete from 2027-02-12 on
            endless: warning[long-window] at 0: the window looks back further than dates reach; a shorter window
        "#]],
    );
}

#[test]
fn always_and_never() {
    check(
        &Settings::default(),
        &[
            "all: b2b.isConverted or true",
            "nobody: b2b.isConverted and not(1 = 1)",
            "two: homeAddress.country = \"CA\" and homeAddress.country = \"US\"",
            "empty: b2b.personScore > 80 and b2b.personScore <= 80",
            "within: exists v from xEvent where v.extra.n >= 5 and v.extra.n < 3",
            "fine: b2b.personScore >= 80 and b2b.personScore <= 80 and homeAddress.country != \"US\" and homeAddress.country = \"CA\"",
            "mixed: extra.x = 5 and extra.x = \"5\"",
            "opposed: inSegment(\"all\") and b2b.isConverted and not(inSegment(\"all\"))",
            "either: (b2b.personScore > 5 or not(b2b.personScore > 5)) and b2b.isConverted",
            "unequal: b2b.personScore = 80 and b2b.personScore != 80",
            "apart: homeAddress.city.contains(\"a\") and homeAddress.city.doesNotContain(\"a\")",
            "either-known: homeAddress.country in [\"CA\"] or homeAddress.country notIn [\"CA\"]",
            "counted: xEvent.count() >= 0",
            "listed: homeAddress.country in []",
            "none: exists v from xEvent where 1 > 2",
        ],
        expect![[r#"
            all: warning[constant] at 0: the rule is always true: everybody is in the segment
            all: warning[constant] at 19: this condition is always true
            nobody: warning[constant] at 0: the rule is never true: nobody is in the segment
            nobody: warning[constant] at 24: this condition is always true
            two: warning[contradiction] at 0: a condition is never true: it wants one value to be both "CA" and "US"
            empty: warning[contradiction] at 0: a condition is never true: it wants one value to be above 80 and at most 80
            within: warning[contradiction] at 0: a condition is never true: it wants one value to be at least 5 and below 3
            opposed: warning[contradiction] at 0: a condition is never true: it wants something and its opposite
            either: warning[constant] at 1: a condition is always true: it takes something and its opposite
            unequal: warning[contradiction] at 0: a condition is never true: it wants something and its opposite
            apart: warning[contradiction] at 0: a condition is never true: it wants something and its opposite
            counted: warning[constant] at 0: this condition is always true
            counted: warning[constant] at 0: the rule is always true: everybody is in the segment
            listed: warning[constant] at 0: this condition is always false
            listed: warning[constant] at 0: the rule is never true: nobody is in the segment
            none: warning[constant] at 0: this condition is always false
            none: warning[constant] at 0: the rule is never true: nobody is in the segment
        "#]],
    );
}

#[test]
fn money_and_cost() {
    let sums = [
        "sum: accounts.opportunities.opportunityAmount.amount.sum() > 5",
        "compared: exists o from accounts.opportunities where o.opportunityAmount.amount > 5",
    ];
    check(
        &Settings::default(),
        &sums,
        expect![[r#"
        sum: warning[currencies] at 0: no rates are configured: only amounts in USD are added up
    "#]],
    );
    check(
        &Settings {
            rates: [("EUR".into(), millrace_model::Decimal::TWO)].into(),
            ..Settings::default()
        },
        &sums,
        expect![""],
    );
    check(
        &Settings::default(),
        &[
            "pairs: exists a from xEvent, b from xEvent where a.eventType = b.eventType and a != b",
            "linked: chain(xEvent, timestamp, [A: WHAT(true), B: WHERE(B.eventType = A.eventType)])",
            "steps: chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: WHAT(eventType = \"b\")])",
            "whole: sum(xEvent.extra.n) > 5",
            "narrow: sum(xEvent[eventType = \"a\"].extra.n) > 5",
            "newest: xEvent.count() > 5",
            "people@: exists p from persons, q from persons where p.person.name.lastName = q.person.name.lastName and p != q",
            "tree@: exists p from persons, v from p.xEvent, i from v.productListItems where i.quantity > 1",
        ],
        expect![[r#"
            pairs: warning[expensive] at 0: every event of every person is kept and gone through for this rule; a condition on `eventType`
            pairs: warning[expensive] at 0: events or persons are compared with each other: every evaluation goes through all combinations of those that match, and counts as false where they are more than 250000; a chain without conditions between its steps, or narrower conditions on each side
            linked: warning[expensive] at 0: every event of every person is kept and gone through for this rule; a condition on `eventType`
            linked: warning[expensive] at 0: events or persons are compared with each other: every evaluation goes through all combinations of those that match, and counts as false where they are more than 250000; a chain without conditions between its steps, or narrower conditions on each side
            people: warning[expensive] at 0: events or persons are compared with each other: every evaluation goes through all combinations of those that match, and counts as false where they are more than 250000; a chain without conditions between its steps, or narrower conditions on each side
        "#]],
    );
}

#[test]
fn event_types() {
    check(
        &Settings::default(),
        &[
            "known: xEvent[eventType = \"web.webpagedetails.pageViews\" or eventType = \"web.webInteraction.linkClicks\"]",
            "slip: exists v from xEvent where v.eventType = \"web.webPageDetails.pageView\"",
            "listed: xEvent[eventType in [\"commerce.purchase\", \"commerce.checkouts\"]]",
            "chained: chain(xEvent, timestamp, [A: WHAT(eventType.equals(\"directMarketing.emailclicked\"))])",
            "own: xEvent[eventType = \"acme.webinarAttended\"]",
        ],
        expect![[r#"
            slip: warning[event-type] at 0: `web.webPageDetails.pageView` is no event type in common use; did you mean web.webpagedetails.pageViews
            listed: warning[event-type] at 0: `commerce.purchase` is no event type in common use; did you mean commerce.purchases
            chained: warning[event-type] at 0: `directMarketing.emailclicked` is no event type in common use; did you mean directMarketing.emailClicked
        "#]],
    );
}
