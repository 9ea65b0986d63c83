//! Commands against a log in memory.

use millrace_api::backend::{BackendError, Commands};
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{Log, TopicSpec};
use millrace_model::Timestamp;

use super::LogOrders;

/// A topic of one partition.
pub fn topic(name: &str) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        compacted: true,
        settings: Vec::new(),
    }
}

/// Commands on a log that has the control topic, and the log.
pub fn orders_and_log() -> (LogOrders, SimulatedLog) {
    let log = SimulatedLog::new(1, Faults::default(), Timestamp(0));
    log.create_topic(&topic("millrace.control.segments")).unwrap();
    let config = millrace_config::parse(None, []).unwrap();
    (LogOrders::new(std::sync::Arc::new(log.clone()), &config).unwrap(), log)
}

fn text(name: &str, subject: &str, status: &str, rule: &str) -> String {
    format!("kind: Segment\nmetadata: {{ name: {name} }}\nspec: {{ subject: {subject}, status: {status}, pql: '{rule}' }}")
}

fn shown(outcome: Result<(), BackendError>) -> String {
    match outcome {
        Ok(()) => "done".to_owned(),
        Err(BackendError::InUse(detail)) => format!("in use: {detail}"),
        Err(BackendError::NotFound(detail)) => format!("not found: {detail}"),
        Err(BackendError::InvalidDefinition(problems)) => format!("invalid: {}", problems.join("\n")),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn orders_are_checked_against_what_is_there() {
    let (orders, _) = orders_and_log();
    let table = [
        (("base", "person", "published", "b2b.personScore > 1"), "done"),
        (("upper", "person", "published", r#"inSegment("base")"#), "done"),
        (("top", "person", "published", r#"inSegment("base") or inSegment("upper")"#), "done"),
        (
            ("base", "person", "inactive", "b2b.personScore > 1"),
            "in use: `base` cannot be made inactive: `top`, `upper` rest on it; change",
        ),
        (
            ("base", "person", "published", r#"inSegment("top")"#),
            "error[cycle]: segments refer to each other in a circle",
        ),
        (("base", "account", "published", "accountScore > 1"), "error[subject]"),
        (("base", "person", "draft", r#"inSegment("top")"#), "done"),
        (("top", "person", "inactive", r#"inSegment("base")"#), "done"),
    ];
    for ((name, subject, status, rule), expected) in table {
        let found = shown(orders.put_segment(name, &text(name, subject, status, rule)));
        assert!(found.contains(expected), "{name} {status} {rule}\n{found}");
    }
    let refused = shown(orders.delete_segment("base"));
    let expected = "in use: `base` cannot be deleted: `upper` rests on it; change, deactivate or delete that one first";
    assert_eq!(refused, expected);
    for name in ["upper", "base"] {
        assert_eq!(shown(orders.delete_segment(name)), "done", "{name}");
        assert_eq!(shown(orders.delete_segment(name)), format!("not found: there is no segment `{name}`"));
    }
}

#[test]
fn attributes_are_checked_together_with_the_rules_that_name_them() {
    let (orders, _) = orders_and_log();
    let attribute = |rule: &str| format!("kind: ComputedAttribute\nmetadata: {{ name: rank }}\nspec: {{ pql: '{rule}' }}");
    assert_eq!(shown(orders.put_segment("rank", &attribute("b2b.personScore"))), "done");
    assert_eq!(
        shown(orders.put_segment("hot", &text("hot", "person", "published", "computed.rank > 7"))),
        "done"
    );
    let refused = shown(orders.put_segment("rank", &attribute("b2b.isConverted")));
    assert!(refused.contains("error[type]: in `hot`: "), "{refused}");
    let refused = shown(orders.put_segment("cold", &text("cold", "account", "published", "computed.rank < 7")));
    assert!(
        refused.contains("`computed.rank` is about the person, here it is asked of the account"),
        "{refused}"
    );
    assert!(shown(orders.delete_segment("rank")).starts_with("in use: `rank` cannot be deleted: `hot` rests on it"));
}

#[test]
fn definitions_are_applied_together_or_not_at_all() {
    let (orders, log) = orders_and_log();
    let documents = |parts: &[(&str, &str, &str)]| -> String {
        parts
            .iter()
            .map(|(name, status, rule)| format!("---\n{}\n", text(name, "person", status, rule)))
            .collect()
    };
    let first = documents(&[
        ("upper", "published", r#"inSegment("base")"#),
        ("base", "published", "b2b.personScore > 1"),
        ("sums", "published", "sum(accounts.opportunities.opportunityAmount.amount) > 5"),
    ]);
    let applied = orders.apply(&first).unwrap();
    assert_eq!(applied.segments, ["upper", "base", "sums"]);
    assert!(
        matches!(applied.warnings.as_slice(), [only] if only.contains("segment sums: warning[currencies]: no rates are configured")),
        "{:?}",
        applied.warnings
    );
    assert_eq!(log.content("millrace.control.segments").len(), 3);
    for wrong in [
        documents(&[("fine", "published", "b2b.isConverted"), ("broken", "published", "b2b.isConvertd")]),
        documents(&[("fine", "published", "b2b.isConverted"), ("base", "published", r#"inSegment("upper")"#)]),
        documents(&[("fine", "published", "b2b.isConverted"), ("base", "inactive", "b2b.isConverted")]),
        documents(&[("fine", "published", "b2b.isConverted"), ("fine", "published", "b2b.isConverted")]),
    ] {
        assert!(orders.apply(&wrong).is_err(), "{wrong}");
    }
    assert_eq!(log.content("millrace.control.segments").len(), 3, "a part of what was refused is in force");
    // Each alone would be refused: the segments turn round.
    let turned = documents(&[("base", "published", r#"inSegment("upper")"#), ("upper", "published", "b2b.personScore > 1")]);
    assert_eq!(orders.apply(&turned).unwrap().segments, ["base", "upper"]);
    // Dependents of a definition may be removed together with it.
    let both = documents(&[("base", "inactive", "b2b.isConverted"), ("upper", "inactive", "b2b.isConverted")]);
    assert_eq!(orders.apply(&both).unwrap().segments, ["base", "upper"]);
}

#[test]
fn what_becomes_of_records_is_reported() {
    let (orders, log) = orders_and_log();
    log.create_topic(&topic("millrace.source.person")).unwrap();
    let line = |value: serde_json::Value| {
        Ok(millrace_api::dto::RecordLine {
            topic: "person".to_owned(),
            key: Some("1@m.M".to_owned()),
            value,
            timestamp: None,
        })
    };
    let lines = || {
        vec![
            line(serde_json::json!({"workEmial": {"address": "a@b.c"}})),
            line(serde_json::json!({"isDeleted": "perhaps"})),
            Err("no JSON".to_owned()),
            line(serde_json::json!({"workEmail": {"address": "a@b.c"}})),
        ]
    };
    for (strict, accepted, rejected, unknown) in [(false, 3, 1, 1), (true, 2, 2, 0)] {
        let view = orders.append(lines(), strict).unwrap();
        assert_eq!(
            (view.accepted, view.rejected.len(), view.unknown_fields.len()),
            (accepted, rejected, unknown),
            "{view:?}"
        );
        assert_eq!(view.dead_letters[0].line, 2);
        assert!(view.dead_letters[0].reason.starts_with("wrong-type: "), "{view:?}");
    }
    assert_eq!(log.content("millrace.source.person").len(), 5);
}

#[test]
fn records_of_unlikely_times_are_counted() {
    let (orders, log) = orders_and_log();
    log.create_topic(&topic("millrace.source.person")).unwrap();
    let line = |modified_at: &str| {
        Ok(millrace_api::dto::RecordLine {
            topic: "person".to_owned(),
            key: Some("1@m.M".to_owned()),
            value: serde_json::json!({"modifiedAt": modified_at}),
            timestamp: Some("2025-11-20T00:00:00Z".into()),
        })
    };
    // The last is what seconds of today are if they are taken for milliseconds.
    let times = ["9999-01-01T00:00:00Z", "2025-11-19T00:00:00Z", "1970-01-21T08:13:20Z"];
    let view = orders.append(times.map(line).into(), false).unwrap();
    assert_eq!((view.accepted, view.clock_ahead, view.clock_behind), (3, 1, 1));
    let appended = String::from_utf8_lossy(log.content("millrace.source.person")[0].record.value.as_deref().unwrap()).into_owned();
    assert_eq!(appended, r#"{"modifiedAt":"2025-11-20T00:00:00Z"}"#);
}
