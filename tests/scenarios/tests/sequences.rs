//! Sequences over histories longer than a few milestones: whatever arrives late, is replaced or
//! deleted, the progress kept of a sequence equals an evaluation of all of its events. (Short
//! histories, moves and crashes are in the random worlds.)

use millrace_model::{DAY_MS, Identity, Timestamp};
use millrace_oracle::worlds::random::Random;
use millrace_oracle::worlds::{NOON_MS, event, record};
use millrace_shard::key::table;
use millrace_test_scenarios::Cluster;
use millrace_test_seeds::seeds;
use serde_json::json;

const HOUR_MS: i64 = DAY_MS / 24;
const PERSON: &str = "1@m.M";

const RULES: [(&str, &str); 6] = [
    ("two", r#"[A: WHAT(eventType = "a") WHEN(<= 20 days before now), B: WHAT(eventType = "b")]"#),
    (
        "near",
        r#"[A: WHAT(eventType = "a"), N: not WHAT(eventType = "c"), B: WHAT(eventType = "b") WHEN(<= 3 hours after A)]"#,
    ),
    (
        "counted",
        r#"[A: WHAT(eventType = "a") COUNT(3) WHEN(<= 9 days before now), N: not WHAT(eventType = "b") COUNT(2), C: WHAT(eventType = "c") COUNT(2)]"#,
    ),
    (
        "silent",
        r#"[A: WHAT(eventType = "b") WHEN(>= 6 hours before now), N: not WHAT(eventType = "a")]"#,
    ),
    (
        "forgiven",
        r#"[N: not WHAT(eventType = "c"), A: WHAT(eventType = "a"), M: not WHAT(eventType = "b") WHEN(<= 5 days before now)]"#,
    ),
    (
        "weekly",
        r#"[A: WHAT(eventType = "a") WHEN(last week), B: WHAT(eventType = "b") WHEN(this week) COUNT(2)]"#,
    ),
];

fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(1, seed, Timestamp(NOON_MS));
    for (name, steps) in RULES {
        let pql = format!("chain(xEvent, timestamp, {steps})");
        cluster.define(
            name,
            Some(&json!({ "kind": "Segment", "metadata": { "name": name }, "spec": { "pql": pql } }).to_string()),
        );
    }
    cluster.source(&record("person", PERSON, NOON_MS, json!({ "b2b": { "personScore": 5 } })));
    cluster
}

/// Explanations read all events; memberships follow kept rows.
fn compare(seed: u64, cluster: &Cluster) {
    let query = cluster.query();
    let subject = query
        .resolve(&Identity::new("b2b_person", PERSON).expect("an identity"))
        .expect("tables in memory can be read");
    for (name, steps) in RULES {
        let explained = query
            .explain(&subject, name, cluster.now)
            .expect("tables in memory can be read")
            .expect("a segment");
        let member = explained.membership.as_ref();
        let kept = (
            member.is_some_and(|member| member.realized),
            member.map_or(Timestamp::MAX, |member| member.valid_until),
        );
        assert_eq!(Some(kept.0), explained.explanation.value, "seed {seed} at {}: {name} {steps}", cluster.now);
        assert!(kept.1 > cluster.now, "seed {seed}: {name} is not due at {}", kept.1);
    }
}

/// Random events in no order, some of them replaced or deleted, with pauses in which time passes.
#[test]
fn late_replaced_and_deleted_events() {
    for seed in seeds!(0..12) {
        let mut random = Random::new(seed);
        let mut cluster = cluster(seed);
        let started = NOON_MS - 34 * DAY_MS;
        for change in 0..400 {
            // Mostly in order, at times much later; on a grid, so that some are simultaneous.
            let newest = started + change * 2 * HOUR_MS;
            let at = if random.chance(60) {
                newest
            } else {
                started + random.below(change as usize + 1) as i64 * 2 * HOUR_MS
            };
            let id = if random.chance(80) {
                change
            } else {
                random.below(change as usize + 1) as i64
            };
            let mut sent = event(
                &format!("e{id}"),
                at,
                &["b2b_person:1@m.M"],
                json!({ "eventType": random.pick(&["a", "a", "b", "c"]) }),
            );
            sent.timestamp_ms = cluster.now.0;
            let fields = sent.value.as_mut().expect("a record");
            fields["modifiedAt"] = json!(NOON_MS + change);
            if random.chance(10) {
                fields["isDeleted"] = json!(true);
            }
            cluster.source(&sent);
            if random.chance(30) {
                cluster.settle();
                compare(seed, &cluster);
            }
            if random.chance(3) {
                let later = cluster.now.plus_ms(random.below(30) as i64 * HOUR_MS);
                cluster.advance(later);
                compare(seed, &cluster);
            }
        }
        cluster.settle();
        assert!(cluster.rows(table::MILESTONE) > 20, "long enough to fold again from within");
        compare(seed, &cluster);
        cluster.check_derived();
    }
}

/// Deleting its last event, or its definition, deletes all rows of a sequence.
#[test]
fn nothing_is_left_behind() {
    let kept = |cluster: &Cluster| [table::SEQUENCE, table::SEQUENCED, table::MILESTONE, table::TURN].map(|table| cluster.rows(table));
    let mut cluster = cluster(1);
    let visit = |number: i64| {
        event(
            &format!("e{number}"),
            NOON_MS - number * HOUR_MS,
            &["b2b_person:1@m.M"],
            json!({ "eventType": "b" }),
        )
    };
    (0..100).for_each(|number| cluster.source(&visit(number)));
    cluster.settle();
    assert!(kept(&cluster).iter().all(|rows| *rows > 0), "{:?}", kept(&cluster));
    for (name, _) in &RULES[..3] {
        cluster.define(name, None);
    }
    cluster.settle();
    assert_eq!(kept(&cluster)[..2], [3, 300]);
    cluster.advance(Timestamp(NOON_MS + 401 * DAY_MS));
    assert_eq!(kept(&cluster), [0; 4]);
    cluster.check_derived();
}
