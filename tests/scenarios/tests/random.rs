//! Random worlds: whatever the stream, the batching and the order between shards, memberships equal
//! the oracle's.

use std::collections::BTreeSet;

use millrace_model::Timestamp;
use millrace_oracle::worlds::random::{self, Random};
use millrace_oracle::worlds::{rules, shrink};
use millrace_oracle::{Config, Oracle, Rule, SourceRecord};
use millrace_test_scenarios::Cluster;
use millrace_test_seeds::{Seeds, seeds};

const SHARDS: u32 = 3;

/// The first difference between the engine and the oracle, over a stream fed by `seed`'s schedule.
fn difference(seed: u64, records: &[SourceRecord], start_ms: i64, rules: &[Rule]) -> Option<String> {
    let mut schedule = Random::new(seed ^ 0x5eed);
    let mut config = millrace_test_scenarios::config(SHARDS);
    // The threshold of a long history.
    config.history_rows = [1, 2, 4, config.history_rows][schedule.below(4)];
    let mut cluster = Cluster::with(config, seed, Timestamp(start_ms));
    let (early, late): (Vec<&Rule>, Vec<&Rule>) = rules.iter().partition(|_| schedule.chance(70));
    early.into_iter().for_each(|rule| cluster.publish(rule));
    let mut pending_rules = late;
    for (at, record) in records.iter().enumerate() {
        cluster.advance_unsettled(Timestamp(record.timestamp_ms));
        cluster.source(record);
        if schedule.chance(10)
            && let Some(rule) = pending_rules.pop()
        {
            cluster.publish(rule);
        }
        if schedule.chance(15) {
            cluster.settle();
            let published: Vec<Rule> = rules.iter().filter(|rule| !pending_rules.contains(rule)).cloned().collect();
            if let Some(found) = compare(&cluster, &records[..=at], &published) {
                return Some(format!("after record {at}: {found}"));
            }
        }
    }
    pending_rules.into_iter().for_each(|rule| cluster.publish(rule));
    cluster.settle();
    if let Some(found) = compare(&cluster, records, rules) {
        return Some(format!("at the end: {found}"));
    }
    cluster.check_derived();
    let borders = random::borders(records, cluster.now.0);
    for border in borders {
        if schedule.chance(75) {
            continue;
        }
        cluster.advance(Timestamp(border));
        if let Some(found) = compare(&cluster, records, rules) {
            return Some(format!("by time alone: {found}"));
        }
    }
    cluster.check_derived();
    None
}

fn compare(cluster: &Cluster, records: &[SourceRecord], rules: &[Rule]) -> Option<String> {
    let world = Oracle::evaluate(records, rules, cluster.now.0, &Config::default());
    rules.iter().find_map(|rule| {
        let expected: BTreeSet<String> = world.members[&rule.name].clone();
        let found = cluster.members(&rule.name);
        (expected != found).then(|| {
            format!(
                "at {}: {} should hold {expected:?} and holds {found:?}\n{}\n{}",
                cluster.now,
                rule.name,
                rule.pql,
                if std::env::var("ROWS").is_ok() { cluster.persons() } else { String::new() }
            )
        })
    })
}

fn check(seeds: Seeds, changes: usize) {
    for seed in seeds {
        let stream = random::stream(seed, changes);
        let rules = rules::all();
        if let Some(found) = difference(seed, &stream.records, stream.start_ms, &rules) {
            let least = shrink::shrink(&stream.records, |records| difference(seed, records, stream.start_ms, &rules).is_some());
            let story: Vec<String> = least
                .iter()
                .map(|record| {
                    format!(
                        "{} {} {} {}",
                        record.timestamp_ms,
                        record.topic,
                        record.key,
                        record.value.as_ref().map_or("tombstone".into(), ToString::to_string)
                    )
                })
                .collect();
            panic!(
                "seed {seed}: {found}\nshrunk to {:?}:\n{}",
                difference(seed, &least, stream.start_ms, &rules),
                story.join("\n")
            );
        }
    }
}

#[test]
fn short_streams() {
    check(seeds!(0..150), 12);
}

#[test]
fn middling_streams() {
    check(seeds!(500..650), 40);
}

#[test]
fn long_streams() {
    check(seeds!(1_000..1_060), 80);
}

/// Where no tombstone cuts a key off and no two versions are equal, any order of arrival leads to
/// the same end.
#[test]
fn shuffled_streams() {
    for seed in seeds!(3_000..3_100) {
        let stream = random::stream(seed, 50);
        let mut seen = BTreeSet::new();
        let mut records = stream.records;
        records.retain(|record| {
            let Some(value) = &record.value else { return false };
            let version = value["modifiedAt"].as_i64().unwrap_or(record.timestamp_ms);
            // An event too old to be kept is not remembered against older versions of itself.
            value["_id"] != "old" && seen.insert((record.topic.clone(), value["_id"].as_str().unwrap_or(&record.key).to_owned(), version))
        });
        let mut shuffled = records.clone();
        let mut schedule = Random::new(seed);
        (1..shuffled.len()).rev().for_each(|at| shuffled.swap(at, schedule.below(at + 1)));
        let rules = rules::all();
        let mut cluster = Cluster::new(SHARDS, seed, Timestamp(stream.end_ms));
        rules.iter().for_each(|rule| cluster.publish(rule));
        for record in &shuffled {
            cluster.source(record);
            if schedule.chance(30) {
                cluster.settle();
            }
        }
        cluster.settle();
        assert_eq!(compare(&cluster, &records, &rules), None, "seed {seed}");
        cluster.check_derived();
    }
}

/// Streams of another length: `SEEDS=5000..9000 CHANGES=60 cargo test -p millrace-test-scenarios
/// further_seeds`.
#[test]
fn further_seeds() {
    let changes = std::env::var("CHANGES").map_or(30, |text| text.parse().expect("CHANGES is a number"));
    check(seeds!(2_000..2_010), changes);
}
