//! Sequences: progress kept event by event equals an evaluation of all events; and which chains are
//! kept that way.

use chrono_tz::Tz;
use millrace_model::{DAY_MS, SubjectKind, Timestamp, Value};
use proptest::prelude::*;
use serde_json::json;

use super::random::Dice;
use crate::Plan;
use crate::plan::Keep;
use crate::testing::{Tree, compiled, settings, value};
use crate::view::EventRow;

const HOUR_MS: i64 = DAY_MS / 24;
/// 2026-03-02, a Monday: month ends, and a change of clocks, lie within the weeks after.
const BEGIN: Timestamp = Timestamp(1_772_409_600_000);

/// A chain of lasting conditions only: progress is a function of the events alone, and never needs
/// to be folded again.
fn lasting_chain(dice: &mut Dice) -> String {
    let mut positive: Option<usize> = None;
    let steps = (0..1 + dice.below(4)).map(|place| {
        let what = dice.pick(&["eventType = \"a\"", "eventType = \"b\"", "eventType in [\"a\", \"c\"]", "true"]);
        let count = dice.pick(&["", "", " COUNT(2)", " COUNT(3)"]);
        if dice.below(3) == 0 {
            return format!("S{place}: not WHAT({what}){count}");
        }
        let before = positive.replace(place);
        let when = match (dice.below(4), before) {
            (0, _) => format!(
                " WHEN({})",
                dice.pick(&["<= 2 days before now", "< 30 hours before now", "<= 1 month before now", "this week", "today"])
            ),
            (1, _) => " WHERE(timestamp occurs <= 1 day before now or eventType = \"a\" and timestamp occurs this month)".to_owned(),
            (2, Some(before)) => return format!("S{place}: WHAT({what}) WHEN(<= 20 hours after S{before})"),
            _ => String::new(),
        };
        format!("S{place}: WHAT({what}){when}{count}")
    });
    let steps: Vec<String> = steps.collect();
    format!("chain(xEvent, timestamp, [{}])", steps.join(", "))
}

/// Events on a coarse grid, so that some are simultaneous.
fn history(dice: &mut Dice) -> Tree {
    let event = |index: usize, dice: &mut Dice| {
        let at = BEGIN.plus_ms(dice.below(24 * 7) as i64 * 4 * HOUR_MS).to_string();
        json!({"_id": format!("e{index}"), "timestamp": at, "eventType": dice.pick(&["a", "b", "c"])})
    };
    let events: Vec<_> = (0..dice.below(40)).map(|index| event(index, dice)).collect();
    Tree::read(&json!({"person": {"p": {}}, "events": {"p": events}}))
}

proptest! {
    #[test]
    fn progress_is_what_all_events_say(seed in any::<u64>(), zone in prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin])) {
        let mut dice = Dice(seed);
        let pql = lasting_chain(&mut dice);
        let rule = compiled(SubjectKind::Person, zone, &pql);
        let plan = Plan::build(std::slice::from_ref(&rule), &settings()).expect("a plan");
        prop_assert_eq!(plan.queries.iter().map(|query| query.keep).collect::<Vec<_>>(), [Keep::Progress], "{}", &pql);
        let query = &plan.queries[0];
        let sequence = query.sequence.as_ref().expect("it keeps progress");
        let tree = history(&mut dice);
        let events = crate::World::events(&tree, "p").iter();
        let rows: Vec<EventRow> =
            events.filter_map(|event| Some(EventRow { at: event.at, id: event.id.clone(), columns: query.matches(&event.value)? })).collect();
        let mut progress = sequence.start();
        let mut folded = 0;
        let mut promised = (false, Timestamp::MIN);
        for step in 0..24 * 60 {
            let now = BEGIN.plus_ms(step * HOUR_MS + i64::from(step % 3 == 0));
            let next = rows.partition_point(|event| event.at <= now);
            for simultaneous in rows[folded..next].chunk_by(|a, b| a.at == b.at) {
                // As of its own time or later is the same.
                sequence.fold(&mut progress, simultaneous, if step % 2 == 0 { now } else { simultaneous[0].at });
                prop_assert_eq!(sequence.turns_at(&simultaneous[0], now), Timestamp::MAX);
            }
            let holds = progress.holds(now);
            prop_assert!(holds.value == promised.0 || promised.1 <= now || next > folded, "{}\nat {} promised {:?}", pql, now, promised);
            promised = (holds.value, holds.valid_until);
            folded = next;
            if step % 5 == 0 {
                prop_assert_eq!(value(&rule, &plan, &tree, "p", now).value, holds.value, "{}\nat {}\n{:?}", pql, now, rows);
            }
        }
    }
}

#[test]
fn chains_that_keep_progress() {
    let progress = |steps: &str| {
        let plan = Plan::build(
            &[compiled(SubjectKind::Person, Tz::UTC, &format!("chain(xEvent, timestamp, [{steps}])"))],
            &settings(),
        )
        .expect("a plan");
        plan.queries.iter().all(|query| query.keep == Keep::Progress)
    };
    for steps in [
        "A: WHAT(eventType = \"a\"), B: WHAT(eventType = \"b\") WHEN(today)",
        "A: WHAT(eventType = \"a\") COUNT(63)",
        "A: WHAT(eventType = \"a\") WHEN(>= 1 hour before now), N: not WHAT(eventType = \"b\")",
        "A: WHAT(eventType = \"a\"), N: not WHAT(eventType = \"b\") WHEN(<= 1 day before now) COUNT(2)",
        "A: WHAT(eventType = \"a\") COUNT(2), N: not WHAT(true), B: WHEN(< 1 month after A)",
        "A: WHAT(eventType = \"a\"), B: WHERE(A.timestamp occurs <= 2 days before B.timestamp)",
    ] {
        assert!(progress(steps), "{steps}");
    }
    for steps in [
        "A: WHAT(eventType = \"a\") COUNT(64)",
        "A: WHAT(eventType = \"a\"), B: WHERE(B.eventType = A.eventType)",
        "A: WHAT(eventType = \"a\"), B: WHEN(>= 1 day after A)",
        "A: WHAT(eventType = \"a\"), B: WHEN(<= 1 day after A) COUNT(2)",
        "A: WHAT(eventType = \"a\"), B: WHAT(true), C: WHEN(<= 1 day after A)",
        "A: WHAT(eventType = \"a\"), B: WHERE(A.timestamp occurs <= 1 month before B.timestamp)",
        "A: WHAT(eventType = \"a\"), N: not WHEN(<= 1 day after A)",
        "A: WHAT(web.webPageDetails.name = ^.workEmail.address)",
    ] {
        assert!(!progress(steps), "{steps}");
    }
}

/// Events asked for one by one in an order of time; `TYPE a, TYPE b, …` and what else is asked.
fn in_disguise(types: &[&str], beside: &str) -> String {
    let names = ["a", "b", "c", "d"];
    let from: Vec<String> = names.iter().zip(types).map(|(name, _)| format!("{name} from xEvent")).collect();
    let of_type = names.iter().zip(types).map(|(name, kind)| format!("{name}.eventType = \"{kind}\""));
    let in_order = names[..types.len()]
        .windows(2)
        .map(|pair| format!("{}.timestamp < {}.timestamp", pair[0], pair[1]));
    let all: Vec<String> = of_type.chain(in_order).chain((!beside.is_empty()).then(|| beside.to_owned())).collect();
    format!("exists {} where {}", from.join(", "), all.join(" and "))
}

proptest! {
    /// The chain finds what combining every event with every other would find.
    #[test]
    fn events_in_an_order_are_a_chain(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let types: Vec<&str> = (0..2 + dice.below(3)).map(|_| dice.pick(&["a", "b", "c"])).collect();
        let near = dice.below(2) == 0;
        let pql = in_disguise(&types, if near { "b.timestamp occurs <= 20 hours after a.timestamp" } else { "" });
        let rule = compiled(SubjectKind::Person, Tz::UTC, &pql);
        let plan = Plan::build(std::slice::from_ref(&rule), &settings()).expect("a plan");
        prop_assert_eq!(plan.queries.iter().map(|query| query.keep).collect::<Vec<_>>(), [Keep::Progress], "{}", &pql);
        let tree = history(&mut dice);
        let events: Vec<(Timestamp, String)> = crate::World::events(&tree, "p")
            .iter()
            .map(|event| (event.at, event.value.field("eventType").as_str().unwrap_or_default().to_owned()))
            .collect();
        for now in (0..8).map(|week| BEGIN.plus_ms(week * 7 * DAY_MS / 2)) {
            let mut ends: Vec<Timestamp> = vec![Timestamp::MIN];
            for (place, kind) in types.iter().enumerate() {
                let follows = |at: Timestamp, end: &Timestamp| *end < at && (place != 1 || !near || at.0 - end.0 <= 20 * HOUR_MS);
                ends = events
                    .iter()
                    .filter(|(at, other)| *at <= now && other == kind && ends.iter().any(|end| follows(*at, end)))
                    .map(|(at, _)| *at)
                    .collect();
            }
            prop_assert_eq!(value(&rule, &plan, &tree, "p", now).value, !ends.is_empty(), "{}\nat {}", pql, now);
        }
    }
}

#[test]
fn only_one_strict_order_is_a_chain() {
    let compiled = |pql: &str| {
        let definition = crate::testing::definition(SubjectKind::Person, Tz::UTC, pql);
        crate::compile(&definition, crate::testing::schema_once()).map_err(|problems| problems[0].code)
    };
    let progress = |pql: &str| {
        let rule = compiled(pql).expect("accepted");
        let plan = Plan::build(&[rule], &settings()).expect("a plan");
        !plan.queries.is_empty() && plan.queries.iter().all(|query| query.keep == Keep::Progress)
    };
    for (types, beside) in [
        (&["a", "b", "c", "a"][..], ""),
        (&["a", "b", "c"], "a.timestamp < c.timestamp"),
        (&["a", "b", "c"], "b2b.personScore > 1"),
        (
            &["a", "b", "c"],
            "c.timestamp occurs <= 1 day after b.timestamp and c.timestamp occurs <= 30 days before now",
        ),
    ] {
        assert!(progress(&in_disguise(types, beside)), "{types:?} {beside}");
    }
    let reversed = "exists a from xEvent[eventType = \"a\"], b from xEvent, c from xEvent where b.timestamp > a.timestamp and c.timestamp > b.timestamp";
    assert!(progress(reversed));
    for pql in [
        "exists a from xEvent, b from xEvent, c from xEvent where a.timestamp < b.timestamp and a.timestamp < c.timestamp",
        "exists a from xEvent, b from xEvent, c from xEvent where a.timestamp <= b.timestamp and b.timestamp < c.timestamp",
        "exists a from xEvent, b from xEvent, c from xEvent where a.timestamp < b.timestamp and b.timestamp < c.timestamp and c.timestamp < a.timestamp",
        "exists a from xEvent, b from xEvent, c from xEvent where a.timestamp < b.timestamp and b.timestamp < c.timestamp and a.eventType = c.eventType",
    ] {
        assert_eq!(compiled(pql).err(), Some("too-costly"), "{pql}");
    }
}

#[test]
fn equal_sequences_are_one_query() {
    let rule = |pql: &str| compiled(SubjectKind::Person, Tz::UTC, pql);
    let ids = |pql: &str| Plan::build(&[rule(pql)], &settings()).expect("a plan").segments[0].reads.queries.clone();
    let chain = "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: WHAT(eventType = \"b\" and extra.x > 1)])";
    assert_eq!(
        ids(chain),
        ids("b2b.personScore > 1 and chain(xEvent, timestamp, [X: WHAT(eventType = \"a\"), Y: WHAT(extra.x > 1 and eventType = \"b\")])")
    );
    assert_ne!(
        ids(chain),
        ids("chain(xEvent, timestamp, [B: WHAT(eventType = \"b\" and extra.x > 1), A: WHAT(eventType = \"a\")])")
    );
}

/// Ways that others equal or beat are dropped: a long history keeps as few as a short one.
#[test]
fn few_ways_are_kept() {
    let pql = "chain(xEvent, timestamp, [A: WHAT(true) WHEN(<= 30 days before now), N: not WHAT(eventType = \"b\") COUNT(2), B: WHEN(<= 1 day after A), C: COUNT(3)])";
    let plan = Plan::build(&[compiled(SubjectKind::Person, Tz::UTC, pql)], &settings()).expect("a plan");
    let (query, mut dice) = (&plan.queries[0], Dice(7));
    let sequence = query.sequence.as_ref().expect("it keeps progress");
    let mut progress = sequence.start();
    let mut longest = 0;
    for number in 0..2_000 {
        let at = BEGIN.plus_ms(number * HOUR_MS / 2);
        let event = [
            ("_id", Value::text("e")),
            ("timestamp", Value::Time(at)),
            ("eventType", Value::text(dice.pick(&["a", "b"]))),
        ];
        let columns = query
            .matches(&Value::Map(event.into_iter().map(|(name, value)| (name.into(), value)).collect()))
            .expect("every event");
        sequence.fold(&mut progress, &[EventRow { at, id: "e".into(), columns }], at);
        longest = longest.max(format!("{progress:?}").matches("Way").count());
    }
    assert!(longest <= 10, "{longest} ways");
}

/// An absence extends up to the first event that a step takes, and from the last one on.
#[test]
fn a_step_of_one_event_begins_where_it_ends() {
    let events: Vec<_> = ["a", "x", "m", "a", "c"]
        .iter()
        .zip(1..)
        .map(|(kind, day)| json!({"_id": format!("{kind}{day}"), "timestamp": BEGIN.plus_ms(day * DAY_MS).to_string(), "eventType": kind}))
        .collect();
    let tree = Tree::read(&json!({"person": {"p": {}}, "events": {"p": events}}));
    let holds = |steps: &str| {
        let rule = compiled(SubjectKind::Person, Tz::UTC, &format!("chain(xEvent, timestamp, [{steps}])"));
        let plan = Plan::build(std::slice::from_ref(&rule), &settings()).expect("a plan");
        value(&rule, &plan, &tree, "p", BEGIN.plus_ms(9 * DAY_MS)).value
    };
    let (before, after) = ("X: not WHAT(eventType = \"x\")", "M: not WHAT(eventType = \"m\"), C: WHAT(eventType = \"c\")");
    assert!(!holds(&format!("{before}, A: WHAT(eventType = \"a\"), {after}")));
    assert!(!holds(&format!(
        "{before}, A: WHAT(eventType = \"a\"), {after} WHERE(timestamp occurs after A)"
    )));
    assert!(holds(&format!("{before}, A: WHAT(eventType = \"a\") COUNT(2), {after}")));
    assert!(holds(&format!(
        "{before}, A: WHAT(eventType = \"a\") COUNT(2), {after} WHERE(timestamp occurs after A)"
    )));
    assert!(holds(&format!("A: WHAT(eventType = \"a\"), {after}")));
}
