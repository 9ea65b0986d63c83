//! Validity against brute force: between an evaluation and its `valid_until` no instant of a grid
//! gives another value, and there are no needless evaluations.

use chrono_tz::Tz;
use millrace_model::{DAY_MS, SubjectKind, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::random::Dice;
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

const ZONES: &[Tz] = &[
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Asia__Kolkata,
    Tz::Australia__Lord_Howe,
    Tz::America__Havana,
];

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

/// The instants at which something may happen: a coarse grid, and around each fact and midnight a
/// fine one.
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
            let (pql, zone) = (&rule.definition().pql, rule.definition().time_zone);
            assert!(
                current.valid_until <= now,
                "{pql}\nin {zone}: changed by {now}, promised until {}\n{tree:?}",
                current.valid_until
            );
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

/// Zones whose clocks change in different ways: by half an hour, at midnight, backwards in the
/// year, not at all.
const STRANGE_ZONES: &[Tz] = &[
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__St_Johns,
    Tz::Australia__Lord_Howe,
    Tz::America__Nuuk,
    Tz::Asia__Beirut,
    Tz::America__Havana,
    Tz::Africa__Casablanca,
    Tz::Atlantic__Azores,
    Tz::Asia__Kathmandu,
];

/// Beginnings of spells that hold changes of clocks, month ends, a leap day, the end of a year.
const SPELLS: &[&str] = &[
    "2026-03-24",
    "2026-10-23",
    "2026-03-05",
    "2026-03-30",
    "2026-09-29",
    "2024-02-24",
    "2026-12-26",
    "2026-02-14",
];

const SPELL_DAYS: i64 = 10;
const QUARTER_MS: i64 = 900_000;

/// A time that does not move, or a word of time.
fn anchor(dice: &mut Dice) -> String {
    match dice.below(6) {
        0 | 1 => "now".to_owned(),
        2 => dice.pick(&["today", "yesterday", "tomorrow"]).to_owned(),
        3 => format!(
            "{} {}",
            dice.pick(&["this", "last", "next"]),
            dice.pick(&["hour", "day", "week", "month", "year"])
        ),
        4 => dice
            .pick(&["date(2026, 3, 29)", "date(2026, 10, 31)", "date(2024, 2, 29)", "date(2026, 12, 31)"])
            .to_owned(),
        _ => "extra.due".to_owned(),
    }
}

fn window(dice: &mut Dice) -> String {
    let comparison = dice.pick(&["=", "!=", "<", "<=", ">", ">="]);
    let amount = dice.pick(&[
        "1 day",
        "3 days",
        "0 days",
        "36 hours",
        "90 minutes",
        "1.5 hours",
        "1 week",
        "1 month",
        "1 month",
        "2 months",
        "0 months",
        "1 year",
    ]);
    match dice.below(6) {
        0..3 => format!("{comparison} {amount} {} {}", dice.pick(&["before", "before", "after", "from"]), anchor(dice)),
        3 => format!("{} {}", dice.pick(&["before", "after", "from"]), anchor(dice)),
        4 => format!("{}{}", dice.pick(&["", "on "]), anchor(dice)),
        _ => format!("between {} and {}", anchor(dice), anchor(dice)),
    }
}

/// A condition on an instant.
fn temporal(fact: &str, dice: &mut Dice) -> String {
    match dice.below(5) {
        0 => format!("{fact} {} {}", dice.pick(&["<", "<=", ">", ">=", "=", "!="]), anchor(dice)),
        _ => format!("{fact} occurs {}", window(dice)),
    }
}

/// A rule of any construct, with windows wherever one may stand.
fn rule(dice: &mut Dice, depth: usize) -> String {
    let kind = dice.pick(&["v.eventType = \"a\"", "v.extra.n > 1", "v.extra.n.isNotNull()", "true"]);
    let when = temporal("v.timestamp", dice);
    let count = dice.below(3);
    let comparison = dice.pick(&[">", ">=", "=", "<", "!="]);
    match dice.below(if depth == 0 { 17 } else { 21 }) {
        0 => format!(
            "({} v from xEvent where {kind} and {when})",
            dice.pick(&["exists", "some", "forall", "all", "none", "one"])
        ),
        1 => format!("xEvent.{}({})", dice.pick(&["exists", "all", "none", "one"]), when.replace("v.", "")),
        2 => format!("count(select v from xEvent where {kind} and {when}) {comparison} {count}"),
        3 => format!("(sum v.extra.n over v from xEvent where {when}) {comparison} {count}"),
        4 => format!(
            "xEvent[{}].{}(extra.n) {comparison} {count}",
            when.replace("v.", ""),
            dice.pick(&["min", "max", "average", "sum", "count"])
        ),
        5 => format!(
            "xEvent.{}(timestamp, 2).filter((v) => {when}).count() {comparison} {count}",
            dice.pick(&["topN", "bottomN"])
        ),
        6 => temporal(
            dice.pick(&["max(xEvent.timestamp)", "min(xEvent.timestamp)", "extra.due", "xEvent.head().timestamp"]),
            dice,
        ),
        7 => temporal(dice.pick(&["now", "today", "this month", "last week"]), dice),
        8 => format!(
            "{}() {comparison} {}",
            dice.pick(&["currentMonth", "currentDayOfMonth", "currentYear"]),
            [3, 26, 2026][dice.below(3)]
        ),
        9 => format!(
            "{}.{}() {comparison} {}",
            dice.pick(&["today", "now", "next week", "extra.due"]),
            dice.pick(&["getMonth", "getDayOfMonth", "getYear"]),
            [3, 30, 2026][dice.below(3)]
        ),
        10 => format!("xEvent[{}].eventType.distinct().count() {comparison} {count}", when.replace("v.", "")),
        11 => format!(
            "xEvent[{}].groupBy(eventType).map((K, G) => G.count()).max() {comparison} {count}",
            when.replace("v.", "")
        ),
        12 => format!("\"a\" in (select v.eventType from xEvent v where {when})"),
        13 => format!(
            "(exists v from xEvent, w from xEvent where v.timestamp < w.timestamp and {when} and {})",
            temporal("w.timestamp", dice)
        ),
        14 => format!(
            "let x = xEvent[{}] in x.count() {comparison} {count} or x.head().eventType = \"b\"",
            when.replace("v.", "")
        ),
        15 | 16 => chain(dice),
        17 => format!("({} {} {})", rule(dice, depth - 1), dice.pick(&["and", "or"]), rule(dice, depth - 1)),
        18 => format!("not({})", rule(dice, depth - 1)),
        19 => format!("if({}, {}, {})", rule(dice, depth - 1), rule(dice, depth - 1), rule(dice, depth - 1)),
        _ => format!("({} or {})", rule(dice, depth - 1), temporal("extra.due", dice)),
    }
}

fn chain(dice: &mut Dice) -> String {
    let mut steps = Vec::new();
    for (at, label) in ["A", "B", "C"].into_iter().enumerate().take(1 + dice.below(3)) {
        let not = if dice.below(3) == 0 { "not " } else { "" };
        let what = dice.pick(&["eventType = \"a\"", "eventType = \"b\"", "true"]);
        let when = if dice.below(2) == 0 {
            format!(" WHEN({})", window(dice))
        } else {
            String::new()
        };
        let taken = at > 0 && !steps.first().is_some_and(|first: &String| first.starts_with("A: not"));
        let link = match dice.below(4) {
            0 if taken => " WHERE(extra.n >= A.extra.n)".to_owned(),
            1 if taken => format!(" WHERE({label}.timestamp occurs <= 1 day after A.timestamp)"),
            2 => format!(" WHERE({})", temporal("timestamp", dice)),
            _ => String::new(),
        };
        let count = if dice.below(4) == 0 { " COUNT(2)" } else { "" };
        steps.push(format!("{label}: {not}WHAT({what}){when}{link}{count}"));
    }
    format!("chain(xEvent, timestamp, [{}])", steps.join(", "))
}

/// Every instant of a spell at which anything can change: facts, offsets and amounts are all of
/// whole quarters of an hour, and a comparison that excludes its end changes a millisecond after
/// it.
fn every_instant(from: i64) -> Vec<i64> {
    (0..SPELL_DAYS * DAY_MS / QUARTER_MS)
        .flat_map(|quarter| [0, 1].map(|ms| from + quarter * QUARTER_MS + ms))
        .collect()
}

/// A fact within the spell, or so far from it that a window's end lies within.
fn fact(from: i64, dice: &mut Dice) -> i64 {
    let days = [0, 0, 1, 3, 7, 14, 28, 29, 30, 31, 60, 365, 366, -1, -7, -30, -31][dice.below(17)];
    from + dice.below((SPELL_DAYS * DAY_MS / QUARTER_MS) as usize) as i64 * QUARTER_MS - days * DAY_MS
}

fn brute(seed: u64) {
    let mut dice = Dice(seed);
    dice.below(2);
    let (zone, from) = (STRANGE_ZONES[dice.below(STRANGE_ZONES.len())], at(SPELLS[dice.below(SPELLS.len())]).0);
    let pql = rule(&mut dice, 2);
    let events: Vec<(i64, u8)> = (0..dice.below(5)).map(|_| (fact(from, &mut dice), dice.below(8) as u8)).collect();
    let tree = world(&events, fact(from, &mut dice));
    let rule = compiled(SubjectKind::Person, zone, &pql);
    let plan = Plan::build(std::slice::from_ref(&rule), &settings()).unwrap_or_else(|problems| panic!("{pql}\n{problems:?}"));
    walk(&rule, &plan, &tree, &every_instant(from));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(8), ..ProptestConfig::default() })]

    #[test]
    fn at_every_instant(seed in any::<u64>()) {
        brute(seed);
    }
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

/// Evaluations due in a walk of 45 days over three events, with the changes of value: no needless
/// wake-ups.
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
        (
            "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: WHAT(eventType = \"b\") WHEN(<= 3 days before now)])",
            1,
        ),
    ] {
        let (due, changes) = run(pql, Tz::UTC, &events, from + 40 * DAY_MS, from);
        assert!(due <= changes + most + events.len(), "{pql}: {due} evaluations for {changes} changes");
    }
}
