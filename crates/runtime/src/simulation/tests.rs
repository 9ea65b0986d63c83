//! The toy deployment under every fault: the result equals plain counting.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_log::random::Random;
use millrace_model::{ShardId, SourceKind};
use millrace_shard::machine::InputTopic;

use super::{Simulation, SimulationConfig};
use crate::topology::Topology;
use crate::toy::{Counter, SHARDS, SILENCE_MS, WORD, Word};
use millrace_shard::murmur::partition_of;
use millrace_test_seeds::seeds;

fn run(seed: u64, config: SimulationConfig) -> Simulation {
    let mut simulation = Simulation::new(seed, config, Arc::new(|shard| Box::new(Counter { shard })));
    let mut random = Random::new(!seed);
    for _ in 0..6 {
        for _ in 0..random.below(12) {
            let word = format!("word-{}", random.below(7));
            let key = format!("key-{}", random.below(9));
            simulation.send(SourceKind::Activity, &key, Some(word.into()));
        }
        simulation.run_steps(40);
    }
    simulation.run_until(simulation.now().plus_ms(random.below(1_500) as i64));
    simulation.send(SourceKind::Activity, "key", Some("late".into()));
    simulation.run_until(simulation.now().plus_ms(2 * SILENCE_MS + 1_000));
    simulation
}

/// The expected result: plain counts over the source topic; each word was silent at the end, and
/// was reported silent as often as its state says.
fn check(simulation: &Simulation) {
    let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for delivered in simulation.content("sim.source.activity") {
        *expected.entry(delivered.record.value.unwrap().to_vec()).or_default() += 1;
    }
    let mut found = BTreeMap::new();
    let mut silent = BTreeMap::new();
    for shard in ShardId::all(SHARDS) {
        for (key, value) in simulation.view(shard).rows() {
            match key[0] {
                WORD => {
                    let word = Word::read(&value);
                    assert_eq!(word.due, 0, "a timer did not fire");
                    assert_eq!(partition_of(&key[1..], SHARDS), shard.0);
                    found.insert(key[1..].to_vec(), word.count);
                    silent.insert(key[1..].to_vec(), word.silent);
                }
                0 => {}
                _ => panic!("left over: {key:?}"),
            }
        }
    }
    assert_eq!(found, expected);

    let mut said: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
    for delivered in simulation.content("sim.audience.membership") {
        let text = String::from_utf8(delivered.record.value.unwrap().to_vec()).unwrap();
        let word = said.entry(delivered.record.key.unwrap().to_vec()).or_default();
        let (what, number) = text.split_once(' ').unwrap();
        let counter = if what == "count" { &mut word.0 } else { &mut word.1 };
        *counter += 1;
        assert_eq!(number, counter.to_string(), "out of order, lost or twice: {text}");
    }
    assert_eq!(said, expected.iter().map(|(word, count)| (word.clone(), (*count, silent[word]))).collect());
}

#[test]
fn calm_runs_count_right() {
    for seed in seeds!(0..50) {
        check(&run(seed, SimulationConfig::calm(SHARDS)));
    }
}

#[test]
fn hostile_runs_count_right() {
    for seed in seeds!(0..500) {
        check(&run(seed, SimulationConfig::hostile(SHARDS)));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds!(0..20) {
        let [first, second] = [(); 2].map(|()| run(seed, SimulationConfig::hostile(SHARDS)));
        assert_eq!(first.trace_hash(), second.trace_hash(), "seed {seed}");
        assert_ne!(first.trace_hash(), run(seed + 1_000, SimulationConfig::hostile(SHARDS)).trace_hash());
    }
}

#[test]
fn the_faults_do_occur() {
    let mut lines: Vec<String> = Vec::new();
    (0..50).for_each(|seed| lines.extend(run(seed, SimulationConfig::hostile(SHARDS)).log().trace()));
    for fault in [
        "fenced",
        "aborted",
        "unknown sim.shard.0, committed",
        "unknown sim.shard.0, not committed",
        "cut Some",
        "crash",
        "stale true",
        "reopen",
    ] {
        assert!(lines.iter().any(|line| line.contains(fault)), "{fault} did not occur in 50 runs");
    }
}

#[test]
fn a_lost_input_stops_its_shard_loudly() {
    let mut simulation = Simulation::new(1, SimulationConfig::calm(SHARDS), Arc::new(|shard| Box::new(Counter { shard })));
    let topic = Topology::new("sim.", SHARDS).input(InputTopic::Source(SourceKind::Activity));
    simulation.send(SourceKind::Activity, "key", Some("early".into()));
    simulation.run_until_quiet();
    simulation.send(SourceKind::Activity, "key", Some("late".into()));
    let last = simulation.content(&topic).pop().unwrap();
    simulation.log().lose(&last.source, last.offset + 1).unwrap();
    simulation.crash(ShardId(last.source.partition % SHARDS));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation.run_until_quiet()));
    let message = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("offset 1 of sim.source.activity"), "{message}");
}
