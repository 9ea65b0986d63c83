//! A toy deployment, small enough to be predicted: it counts words across shards and notices when a word has been silent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_log::random::Random;
use millrace_model::{SourceKind, Timestamp};
use millrace_shard::machine::{Budget, Effects, Input, InputTopic, Machine, Output, OutputTopic, Partition};
use millrace_shard::state::{RowChange, StateError, StateView};

use super::{Simulation, SimulationConfig};
use crate::murmur::partition_of;
use crate::topology::Topology;

/// Key `WORD word`, value `count u64 | silent u64 | due i64`, big-endian.
const WORD: u8 = 0x10;
/// Derived: key `DUE due word`, no value.
const DUE: u8 = 0x80;
const SILENCE_MS: i64 = 1_000;
const SHARDS: u32 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word {
    count: u64,
    silent: u64,
    /// 0: no timer.
    due: i64,
}

impl Word {
    fn read(bytes: &[u8]) -> Word {
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Word {
            count: number(0),
            silent: number(8),
            due: number(16) as i64,
        }
    }

    fn bytes(self) -> Vec<u8> {
        [self.count.to_be_bytes(), self.silent.to_be_bytes(), (self.due as u64).to_be_bytes()].concat()
    }
}

fn word_key(word: &[u8]) -> Vec<u8> {
    [&[WORD], word].concat()
}

fn due_key(due: i64, word: &[u8]) -> Vec<u8> {
    [&[DUE], &due.to_be_bytes()[..], word].concat()
}

/// A word that belongs to another shard goes there by the inbox.
struct Counter {
    shard: u32,
}

impl Counter {
    fn change(view: &dyn StateView, words: &mut BTreeMap<Vec<u8>, (Word, Word)>, word: &[u8], change: impl FnOnce(&mut Word)) -> Result<Word, StateError> {
        if !words.contains_key(word) {
            let stored = view.get(&word_key(word))?.map_or(Word::default(), |bytes| Word::read(&bytes));
            words.insert(word.to_vec(), (stored, stored));
        }
        let (_, now) = words.get_mut(word).unwrap();
        change(now);
        Ok(*now)
    }
}

fn derived(before: Word, after: Word, word: &[u8], rows: &mut Vec<RowChange>) {
    if before.due != after.due {
        rows.extend((before.due != 0).then(|| (due_key(before.due, word), None)));
        rows.extend((after.due != 0).then(|| (due_key(after.due, word), Some(Vec::new()))));
    }
}

impl Machine for Counter {
    fn derive(&mut self, view: &dyn StateView, rows: &[RowChange]) -> Result<Vec<RowChange>, StateError> {
        let mut changes = Vec::new();
        for (key, value) in rows {
            let before = view.get(key)?.map_or(Word::default(), |bytes| Word::read(&bytes));
            let after = value.as_ref().map_or(Word::default(), |bytes| Word::read(bytes));
            derived(before, after, &key[1..], &mut changes);
        }
        Ok(changes)
    }

    fn start(&mut self, _: &dyn StateView) -> Result<(), StateError> {
        Ok(())
    }

    fn step(&mut self, view: &dyn StateView, inputs: &[Input], now: Timestamp, budget: Budget) -> Result<Effects, StateError> {
        let mut words = BTreeMap::new();
        let mut outputs = Vec::new();
        let mut say = |word: &[u8], text: String| {
            let key = Some(Bytes::copy_from_slice(word));
            let partition = Partition::Hash(Bytes::copy_from_slice(word));
            outputs.push(Output {
                topic: OutputTopic::Membership,
                partition,
                key,
                value: Some(text.into()),
                headers: Vec::new(),
            });
        };
        let mut sent = Vec::new();
        for input in inputs {
            let word = input.value.as_ref().unwrap();
            let owner = partition_of(word, SHARDS);
            if owner != self.shard {
                assert_ne!(input.topic, InputTopic::Inbox, "a message came to the wrong shard");
                let partition = Partition::Shard(owner);
                sent.push(Output {
                    topic: OutputTopic::Inbox,
                    partition,
                    key: None,
                    value: Some(word.clone()),
                    headers: Vec::new(),
                });
                continue;
            }
            let changed = Counter::change(view, &mut words, word, |word| {
                word.count += 1;
                word.due = now.0 + SILENCE_MS;
            })?;
            say(word, format!("count {}", changed.count));
        }
        let upper = due_key(now.0 + 1, b"");
        for (key, _) in view.scan(&[DUE], &upper, budget.timers_max)? {
            let word = &key[9..];
            let due = i64::from_be_bytes(key[1..9].try_into().unwrap());
            let mut fired = false;
            let changed = Counter::change(view, &mut words, word, |word| {
                if word.due == due {
                    fired = true;
                    word.silent += 1;
                    word.due = 0;
                }
            })?;
            if fired {
                say(word, format!("silent {}", changed.silent));
            }
        }
        let mut rows = Vec::new();
        for (word, (before, after)) in words {
            derived(before, after, &word, &mut rows);
            rows.push((word_key(&word), Some(after.bytes())));
        }
        outputs.extend(sent);
        Ok(Effects {
            rows,
            outputs,
            measurements: Vec::new(),
            more: false,
        })
    }

    fn committed(&mut self) {}

    fn next_timer(&self, view: &dyn StateView) -> Result<Timestamp, StateError> {
        let first = view.scan(&[DUE], &[DUE + 1], 1)?;
        Ok(first
            .first()
            .map_or(Timestamp::MAX, |(key, _)| Timestamp(i64::from_be_bytes(key[1..9].try_into().unwrap()))))
    }
}

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

/// What the words must have come to: plain counts over the source topic; each word was silent at the end, and said so as often as its state tells.
fn check(simulation: &Simulation) {
    let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for delivered in simulation.content("sim.source.activity") {
        *expected.entry(delivered.record.value.unwrap().to_vec()).or_default() += 1;
    }
    let mut found = BTreeMap::new();
    let mut silent = BTreeMap::new();
    for shard in 0..SHARDS {
        for (key, value) in simulation.view(shard).rows() {
            match key[0] {
                WORD => {
                    let word = Word::read(&value);
                    assert_eq!(word.due, 0, "a timer did not fire");
                    assert_eq!(partition_of(&key[1..], SHARDS), shard);
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

fn check_seed(seed: u64, config: SimulationConfig) {
    let outcome = std::panic::catch_unwind(|| check(&run(seed, config)));
    if outcome.is_err() {
        panic!("seed {seed} fails");
    }
}

#[test]
fn calm_runs_count_right() {
    (0..50).for_each(|seed| check_seed(seed, SimulationConfig::calm(SHARDS)));
}

#[test]
fn hostile_runs_count_right() {
    (0..500).for_each(|seed| check_seed(seed, SimulationConfig::hostile(SHARDS)));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
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
    simulation.crash(last.source.partition % SHARDS);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation.run_until_quiet()));
    let message = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("offset 1 of sim.source.activity"), "{message}");
}
