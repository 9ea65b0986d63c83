//! Validity against brute force: between an evaluation and its `valid_until` no instant of a grid gives another value, and time is not wasted.

use chrono_tz::Tz;
use millrace_model::{DAY_MS, SubjectKind, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use crate::testing::{Tree, at, compiled, settings, value};
use crate::{Compiled, Plan};

const RULES: &[&str] = &[
    "exists v from xEvent where v.eventType = \"a\" and v.timestamp occurs <= 1 month before now",
    "xEvent[timestamp occurs <= 3 days before now].count() >= 2",
    "xEvent[timestamp occurs < 36 hours before now].count() = 1",
    "not(exists v from xEvent where v.timestamp occurs > 1 week before now)",
    "xEvent[timestamp occurs >= 2 weeks before today].count() < 2",
    "forall v from xEvent where v.timestamp occurs <= 1 month before yesterday",
    "xEvent[timestamp occurs today].count() > 0 or xEvent[timestamp occurs last week]",
    "xEvent[timestamp occurs this month].count() > 1 and not(xEvent[timestamp occurs yesterday])",
    "xEvent[timestamp occurs between yesterday and now].count() > 0",
    "xEvent[timestamp occurs between last month and today].count() > 2",
    "xEvent[timestamp occurs before last week].count() > 1",
    "xEvent[timestamp occurs after yesterday].count() > 0",
    "xEvent[timestamp occurs = 1 month before now].count() > 0",
    "xEvent[timestamp occurs = 2 days before today].count() > 0",
    "xEvent[timestamp occurs != 1 week before now].count() > 2",
    "max(xEvent.timestamp) occurs <= 2 days before now",
    "sum(select v.extra.n from xEvent v where v.timestamp occurs <= 1 week before now) > 2",
    "average(xEvent[timestamp occurs <= 10 days before now].extra.n) > 1",
    "extra.due occurs <= 1 month after now",
    "extra.due occurs > 3 days after now",
    "extra.due occurs >= 1 month from today",
    "extra.due occurs next week or extra.due occurs this week",
    "extra.due < now",
    "extra.due >= this month",
    "now occurs <= 1 month before extra.due",
    "now occurs > 1 month after extra.due",
    "now occurs on extra.due",
    "currentMonth() = 3 or currentDayOfMonth() > 20",
    "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: WHAT(eventType = \"b\") WHEN(<= 3 days before now)])",
    "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\") WHEN(<= 1 month before now), N: not WHAT(eventType = \"b\")])",
    "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\") COUNT(2), N: not WHAT(eventType = \"b\") WHEN(this week), C: WHAT(true)])",
    "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: WHAT(true) WHEN(<= 2 days after A.timestamp), C: WHAT(eventType = \"b\") WHEN(<= 1 week before now)])",
    "if(xEvent[timestamp occurs today], extra.due occurs after now, xEvent.count() > 2)",
    "xEvent.topN(timestamp, 2).extra.n.sum() > 2",
];

const ZONES: &[Tz] = &[Tz::UTC, Tz::Europe__Berlin, Tz::America__New_York, Tz::Asia__Kolkata, Tz::Australia__Lord_Howe, Tz::America__Havana];

fn world(events: &[(i64, u8)], due: i64) -> Tree {
    let events: Vec<_> = events
        .iter()
        .enumerate()
        .map(|(index, (at, kind))| {
            let ty = if kind % 2 == 0 { "a" } else { "b" };
            json!({"_id": format!("e{index}"), "timestamp": Timestamp(*at).to_string(), "eventType": ty, "extra": {"n": kind % 4}})
        })
        .collect();
    Tree::read(&json!({"person": {"p": {"extra": {"due": Timestamp(due).to_string()}}}, "events": {"p": events}}))
}

/// The instants at which something may happen: a coarse grid, and around each fact and midnight a fine one.
fn grid(facts: &[i64], from: i64, days: i64) -> Vec<i64> {
    let mut grid: Vec<i64> = (0..days * 4).map(|step| from + step * DAY_MS / 4).collect();
    for day in 0..=days {
        // Midnights of the zones above, winter and summer.
        for minutes in [0, 60, 120, 4 * 60, 5 * 60, 13 * 60, 13 * 60 + 30, 14 * 60, 18 * 60 + 30, 22 * 60, 23 * 60] {
            let midnight = (from / DAY_MS + day) * DAY_MS + minutes * 60_000;
            grid.extend([midnight - 1, midnight]);
        }
    }
    for fact in facts {
        for step in [0, 1, 2, 3, 7, 10, 14, 28, 29, 30, 31] {
            for offset in [-90, -60, -30, 0, 30, 60, 90] {
                for sign in [-1, 1] {
                    let near = fact + sign * step * DAY_MS + offset * 60_000;
                    grid.extend([near - 1, near, near + 1, near + DAY_MS / 2, near + DAY_MS / 2 + 1]);
                }
            }
        }
    }
    grid.retain(|at| *at >= from && *at < from + days * DAY_MS);
    grid.sort_unstable();
    grid.dedup();
    grid
}

/// Walks the grid; returns how often a new evaluation was due and how often the value changed.
fn walk(rule: &Compiled, plan: &Plan, tree: &Tree, grid: &[i64]) -> (usize, usize) {
    let (mut due, mut changes) = (0, 0);
    let mut current = value(rule, plan, tree, "p", Timestamp(grid[0]));
    for at in &grid[1..] {
        let now = Timestamp(*at);
        let next = value(rule, plan, tree, "p", now);
        if next.value != current.value {
            changes += 1;
            assert!(current.valid_until <= now, "{}: changed by {now}, promised until {}", rule.definition().pql, current.valid_until);
        }
        if current.valid_until <= now {
            due += 1;
        }
        if next.value != current.value || current.valid_until <= now {
            current = next;
        }
    }
    (due, changes)
}

fn run(pql: &str, zone: Tz, events: &[(i64, u8)], due: i64, from: i64) -> (usize, usize) {
    let rule = compiled(SubjectKind::Person, zone, pql);
    let plan = Plan::build(std::slice::from_ref(&rule), &settings()).expect("a plan");
    let mut facts: Vec<i64> = events.iter().map(|(at, _)| *at).collect();
    facts.push(due);
    walk(&rule, &plan, &world(events, due), &grid(&facts, from, 45))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(8), ..ProptestConfig::default() })]

    #[test]
    fn values_hold_as_long_as_promised(
        rule in 0..RULES.len(),
        zone in 0..ZONES.len(),
        // Around both changes of clocks, and month ends.
        season in prop::sample::select(vec!["2026-01-20T00:00:00Z", "2026-02-20T00:00:00Z", "2026-03-20T00:00:00Z", "2026-10-10T00:00:00Z", "2024-02-10T00:00:00Z"]),
        events in prop::collection::vec((0..45 * 96_i64, any::<u8>()), 0..5),
        due in 0..80 * 96_i64,
    ) {
        let from = at(season).0;
        // Facts lie on quarters of an hour, some before the walk begins.
        let events: Vec<(i64, u8)> = events.into_iter().map(|(quarter, kind)| (from - 10 * DAY_MS + quarter * 900_000, kind)).collect();
        run(RULES[rule], ZONES[zone], &events, from - 20 * DAY_MS + due * 900_000, from);
    }
}

/// Evaluations due in a walk of 45 days over three events, with the changes of value: nobody wakes without need.
#[test]
fn few_wake_ups() {
    let from = at("2026-03-01T00:00:00Z").0;
    let events = [(from + DAY_MS, 0), (from + 5 * DAY_MS, 1), (from + 5 * DAY_MS + 1, 2)];
    for (pql, most) in [
        ("exists v from xEvent where v.timestamp occurs <= 1 week before now", 0),
        ("xEvent[timestamp occurs <= 3 days before now].count() >= 2", 1),
        ("xEvent[timestamp occurs today].count() > 0", 0),
        ("not(exists v from xEvent where v.timestamp occurs <= 1 month before now)", 0),
        ("extra.due occurs <= 1 month after now", 0),
        ("extra.due < now", 0),
        ("extra.due < now or b2b.personScore > 5", 0),
        ("chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: WHAT(eventType = \"b\") WHEN(<= 3 days before now)])", 1),
    ] {
        let (due, changes) = run(pql, Tz::UTC, &events, from + 40 * DAY_MS, from);
        assert!(due <= changes + most + events.len(), "{pql}: {due} evaluations for {changes} changes");
    }
}
