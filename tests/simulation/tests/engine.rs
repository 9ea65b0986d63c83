//! The engine under faults: crashes, lost and stale disks, zombies, aborted commits, commits of
//! unknown outcome, delayed records, duplicated source records, compaction. Whatever happens,
//! memberships equal the oracle's over what the source topics hold, and the membership topic keeps
//! its promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use millrace_model::{SourceKind, Timestamp};
use millrace_oracle::worlds::random::{self, Random};
use millrace_oracle::worlds::{bodea, rules};
use millrace_oracle::{Config, Oracle, Rule, SourceRecord};
use millrace_runtime::simulation::{Simulation, SimulationConfig};
use millrace_shard::engine::Shard;
use millrace_test_scenarios::{config, definition};
use millrace_test_seeds::seeds;
use millrace_wire::{Membership, OutputCodec, Status};

const SHARDS: u32 = 3;

fn simulation(seed: u64, start: Timestamp) -> Simulation {
    let deployment = Arc::new(config(SHARDS));
    let settings = SimulationConfig {
        start,
        ..SimulationConfig::hostile(SHARDS)
    };
    Simulation::new(seed, settings, Arc::new(move |shard| Box::new(Shard::new(shard, Arc::clone(&deployment)))))
}

/// The content of the source topics, with the producers' duplicates.
fn sources(simulation: &Simulation) -> Vec<SourceRecord> {
    let mut records = Vec::new();
    for kind in SourceKind::ALL {
        for delivered in simulation.content(&format!("sim.source.{}", kind.name())) {
            records.push(SourceRecord {
                topic: kind.name().to_owned(),
                key: String::from_utf8_lossy(delivered.record.key.as_deref().unwrap_or_default()).into_owned(),
                value: delivered.record.value.map(|value| serde_json::from_slice(&value).expect("the test sends JSON")),
                timestamp_ms: delivered.timestamp.0,
            });
        }
    }
    records
}

/// Memberships as a consumer of the topic sees them, after checking the topic's promises.
fn members(simulation: &Simulation) -> BTreeMap<String, BTreeSet<String>> {
    let mut last: BTreeMap<(String, String), Membership> = BTreeMap::new();
    let mut sequences: BTreeMap<String, (i64, Timestamp)> = BTreeMap::new();
    for delivered in simulation.content("sim.audience.membership") {
        let value = delivered.record.value.expect("memberships are never tombstones");
        let change = OutputCodec::decode_membership(&value, None).expect("our own output can be read");
        let key = (change.segment.clone(), change.subject_id.clone());
        let expected = if last.get(&key).is_none_or(|last| last.status == Status::Exited) {
            Status::Realized
        } else {
            Status::Exited
        };
        assert_eq!(change.status, expected, "{change:?} after {:?}", last.get(&key));
        let (sequence, at) = sequences.get(&change.subject_id).copied().unwrap_or((0, Timestamp::MIN));
        assert!(
            change.sequence == sequence + 1 && change.evaluated_at >= at,
            "{change:?} after sequence {sequence} at {at}"
        );
        sequences.insert(change.subject_id.clone(), (change.sequence, change.evaluated_at));
        last.insert(key, change);
    }
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ((segment, subject), change) in last {
        if change.status == Status::Realized {
            members.entry(segment).or_default().insert(subject);
        }
    }
    members
}

fn compare(seed: u64, simulation: &Simulation, rules: &[Rule]) {
    let world = Oracle::evaluate(&sources(simulation), rules, simulation.now().0, &Config::default());
    let found = members(simulation);
    for rule in rules {
        let found = found.get(&rule.name).cloned().unwrap_or_default();
        assert_eq!(
            found,
            world.members[&rule.name],
            "seed {seed}: {} at {}: {}",
            rule.name,
            simulation.now(),
            rule.pql
        );
    }
}

fn send(simulation: &mut Simulation, record: &SourceRecord) {
    let kind = SourceKind::from_name(&record.topic).expect("worlds use our topics");
    simulation.send(kind, &record.key, record.value.as_ref().map(|value| Bytes::from(value.to_string())));
}

fn run(seed: u64, records: &[SourceRecord], start: Timestamp, rules: &[Rule]) -> u64 {
    let mut schedule = Random::new(seed ^ 0xfa117);
    let mut simulation = simulation(seed, start);
    for rule in rules {
        simulation.send_control(&rule.name, Some(Bytes::from(definition(rule, "published"))));
    }
    for record in records {
        send(&mut simulation, record);
        simulation.run_steps(schedule.below(12));
        if schedule.chance(8) {
            simulation.run_until_quiet();
            compare(seed, &simulation, rules);
        }
    }
    simulation.run_until_quiet();
    simulation.calm();
    simulation.run_until_quiet();
    compare(seed, &simulation, rules);
    let borders = random::borders(records, simulation.now().0);
    for _ in 0..3 {
        if borders.is_empty() {
            break;
        }
        let border = borders[schedule.below(borders.len())].max(simulation.now().0);
        simulation.run_until(Timestamp(border));
        simulation.run_until_quiet();
        compare(seed, &simulation, rules);
    }
    simulation.trace_hash()
}

/// A few rules that reach every stage; all of them would make thousands of seeds slow.
fn some_rules(seed: u64) -> Vec<Rule> {
    let mut pick = Random::new(seed ^ 0x9a5);
    let all = rules::all();
    let mut chosen: Vec<Rule> = all.iter().filter(|_| pick.chance(25)).cloned().collect();
    // Rules that refer to others need them.
    for name in all
        .iter()
        .filter(|rule| chosen.iter().any(|by| by.pql.contains(&format!("\"{}\"", rule.name))))
        .cloned()
        .collect::<Vec<_>>()
    {
        if !chosen.contains(&name) {
            chosen.push(name);
        }
    }
    chosen.push(bodea::rule());
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    chosen.dedup_by(|a, b| a.name == b.name);
    chosen
}

#[test]
fn random_worlds_under_faults() {
    for seed in seeds!(0..1_500) {
        let stream = random::stream(seed, 12 + (seed % 20) as usize);
        run(seed, &stream.records, Timestamp(stream.end_ms), &some_rules(seed));
    }
}

#[test]
fn the_bodea_case_under_faults() {
    let facts = bodea::facts();
    for seed in seeds!(0..500) {
        let mut order: Vec<SourceRecord> = facts.iter().map(|fact| fact.record.clone()).collect();
        let mut shuffle = Random::new(seed);
        for at in (1..order.len()).rev() {
            order.swap(at, shuffle.below(at + 1));
        }
        run(seed, &order, Timestamp(millrace_oracle::worlds::NOON_MS), &[bodea::rule()]);
    }
}

#[test]
fn a_seed_repeats_its_trace() {
    let stream = random::stream(7, 20);
    let trace = || run(7, &stream.records, Timestamp(stream.end_ms), &some_rules(7));
    assert_eq!(trace(), trace());
}
