//! The loop against a scripted machine: what it commits, when, and how it handles each error.

mod room;
mod unfit;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{Log, Record, TopicPartition, TopicSpec};
use millrace_model::metric::Histogram;
use millrace_model::{DAY_MS, ShardId, SourceKind, Timestamp};
use millrace_shard::machine::{Budget, Effects, Input, InputTopic, Machine, Measure, Measurement, Output, OutputTopic, Partition};
use millrace_shard::state::{RowChange, StateError, StateStore, StateView};

use super::pace::Pace;
use super::{ShardTask, Stepped, TaskConfig, TaskContext};
use crate::clock::{Clock, ManualClock};
use crate::memory_store::{MemoryDisk, MemoryStore};
use crate::meta::{META_KEY, Meta};
use crate::observe::Observer;
use crate::state::ShardState;
use crate::topology::Topology;

/// The machine's reaction to a step.
type Script = dyn FnMut(&[Input], Timestamp) -> Effects + Send;

struct Scripted(Arc<Mutex<Box<Script>>>);

impl Machine for Scripted {
    fn derive(&mut self, _: &dyn StateView, rows: &[RowChange]) -> Result<Vec<RowChange>, StateError> {
        Ok(rows.iter().map(|(key, value)| ([&[0x80], &key[..]].concat(), value.clone())).collect())
    }

    fn start(&mut self, _: &dyn StateView) -> Result<(), StateError> {
        Ok(())
    }

    fn step(&mut self, _: &dyn StateView, inputs: &[Input], now: Timestamp, _: Budget<'_>) -> Result<Effects, StateError> {
        // A panic of the script poisons the lock, and the next machine must still run.
        let mut script = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(script(inputs, now))
    }

    fn committed(&mut self) {}

    fn next_timer(&self, _: &dyn StateView) -> Result<Timestamp, StateError> {
        Ok(Timestamp::MAX)
    }
}

/// Fails when the test says so.
#[derive(Clone)]
struct Failing {
    disk: MemoryDisk,
    failures: Arc<Mutex<u32>>,
    cleared: Arc<Mutex<u32>>,
    /// A reader met damaged rows.
    damaged: Arc<Mutex<bool>>,
}

impl StateView for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.disk.open().get(key)
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        self.disk.open().scan(lower, upper, limit)
    }
}

impl StateStore for Failing {
    fn changelog_position(&self) -> Result<Option<i64>, StateError> {
        self.disk.open().changelog_position()
    }

    fn apply(&mut self, rows: Vec<RowChange>, changelog_position: i64) -> Result<(), StateError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(StateError::store("disk gone"));
        }
        self.disk.open().apply(rows, changelog_position)
    }

    fn is_damaged(&self) -> bool {
        *self.damaged.lock().unwrap()
    }

    fn flush(&mut self) -> Result<(), StateError> {
        self.disk.open().flush()
    }

    fn clear(&mut self) -> Result<(), StateError> {
        *self.cleared.lock().unwrap() += 1;
        *self.damaged.lock().unwrap() = false;
        self.disk.open().clear()
    }

    fn reader(&self) -> Arc<dyn StateView + Send + Sync> {
        self.disk.open().reader()
    }

    fn size_bytes(&self) -> u64 {
        self.disk.open().size_bytes()
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn measured(&self, _: ShardId, measurements: &[Measurement]) {
        let mut notes = self.0.lock().unwrap();
        let samples = measurements.iter().filter(|one| matches!(one.value, Measure::Sample(Histogram::EndToEnd, _)));
        notes.extend(samples.map(|one| format!("{:?}", one.value)));
    }

    fn state_changed(&self, _: ShardId, state: &ShardState) {
        self.0.lock().unwrap().push(state.name().to_owned());
    }
}

/// One shard of two, with everything around it.
struct World {
    log: SimulatedLog,
    clock: Arc<ManualClock>,
    disk: MemoryDisk,
    notes: Arc<Notes>,
    context: TaskContext,
    task: ShardTask,
    now: Timestamp,
}

const START: Timestamp = Timestamp(1_700_000_000_000);

impl World {
    fn new(config: TaskConfig, script: impl FnMut(&[Input], Timestamp) -> Effects + Send + 'static) -> World {
        let log = SimulatedLog::new(1, Faults::default(), START);
        let topology = Topology::new("t.", 2);
        topology.specs(2).iter().for_each(|spec| log.create_topic(spec).unwrap());
        let clock = Arc::new(ManualClock::new(START));
        let notes = Arc::new(Notes::default());
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let context = TaskContext {
            topology,
            log: Arc::new(log.clone()),
            clock: clock.clone(),
            observer: notes.clone(),
            make_machine: Arc::new(move |_| Box::new(Scripted(Arc::clone(&script)))),
            config,
        };
        let disk = MemoryDisk::default();
        let task = ShardTask::new(ShardId(1), context.clone(), Box::new(disk.open()));
        World {
            log,
            clock,
            disk,
            notes,
            context,
            task,
            now: START,
        }
    }

    fn reopen(&mut self) {
        self.task = ShardTask::new(ShardId(1), self.context.clone(), Box::new(self.disk.open()));
    }

    fn send(&self, value: &str) {
        let partition = TopicPartition {
            topic: "t.source.activity".into(),
            partition: 1,
        };
        self.log
            .append(vec![(
                partition,
                Record {
                    key: None,
                    value: Some(Bytes::copy_from_slice(value.as_bytes())),
                    headers: Vec::new(),
                },
            )])
            .unwrap();
    }

    fn pass(&mut self, ms: i64) {
        self.now = self.now.plus_ms(ms);
        self.clock.set(self.now);
        self.log.advance(self.now);
    }

    /// Steps until there is nothing to do now.
    fn settle(&mut self) -> Stepped {
        for _ in 0..100 {
            match self.task.step() {
                Stepped::Worked => {}
                other => return other,
            }
        }
        panic!("does not settle");
    }

    fn changelog(&self) -> Vec<String> {
        let shown = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        let rows = self.log.content("t.internal.changelog").into_iter();
        rows.map(|delivered| delivered.record)
            .filter(|record| record.key.as_deref() != Some(META_KEY))
            .map(|record| shown(record.key.unwrap()))
            .collect()
    }

    fn meta(&self) -> Meta {
        Meta::load(&self.disk).unwrap().unwrap().unwrap()
    }

    fn position(&self) -> Option<i64> {
        self.meta().positions.get(&("source.activity".to_owned(), 1)).copied()
    }

    fn failure(&self) -> String {
        match self.task.state() {
            ShardState::Failed { reason } => reason.clone(),
            other => panic!("{other:?} is no failure"),
        }
    }
}

fn config() -> TaskConfig {
    TaskConfig {
        backoff_ms: (100, 1_000),
        ..TaskConfig::default()
    }
}

#[test]
fn background_work_gives_way_by_time() {
    let config = TaskConfig {
        background_ms: 10,
        background_max: 400,
        ..config()
    };
    // How much a step does with this number of inputs, if a portion takes that long.
    let done = |config: TaskConfig, inputs, portion_ms| {
        let clock = ManualClock::new(Timestamp(0));
        let mut pace = Pace::default();
        let mut portions = pace.portions(&config, inputs, &clock);
        let given = std::iter::from_fn(|| {
            let portion = portions();
            clock.set(clock.now().plus_ms(portion_ms));
            (portion > 0).then_some(portion)
        });
        given.sum::<usize>()
    };
    assert_eq!(done(config, 1, 5), 64, "until the time is over");
    assert_eq!(done(config, 1, 500), 32, "every step has time for some");
    assert_eq!(done(config, 0, 5), 256, "nobody waits for it");
    assert_eq!(done(config, 1, 0), 400, "the most");
    assert_eq!(done(config, 800, 500), 100, "a share together with many inputs, in ever smaller portions");
    assert_eq!(done(config, 80_000, 500), 400);
    let small = TaskConfig { background_max: 3, ..config };
    assert_eq!(done(small, 1, 0), 3);
    let endless = TaskConfig {
        background_ms: i64::MAX,
        ..config
    };
    assert_eq!(done(endless, 0, 500), 400, "as long as it takes");
}

/// A row per input, base and derived, named by the value.
fn rows(inputs: &[Input]) -> Effects {
    let mut effects = Effects::default();
    for input in inputs {
        let key = input.value.clone().unwrap().to_vec();
        effects.rows.push(([&[0x80], &key[..]].concat(), Some(b"1".to_vec())));
        effects.rows.push((key, Some(b"1".to_vec())));
    }
    effects
}

#[test]
fn a_step_commits_base_rows_and_positions_and_keeps_derived_rows_at_home() {
    let mut world = World::new(config(), |inputs, _| rows(inputs));
    world.send("a");
    world.send("b");
    assert_eq!(world.settle(), Stepped::Idle(Timestamp::MAX));
    assert_eq!(world.changelog(), ["a", "b"]);
    assert_eq!(world.position(), Some(2));
    let before = world.disk.rows();
    assert_eq!(before.len(), 5, "two rows, two derived rows, the meta row");

    // A lost disk is restored, derived rows included.
    world.disk = MemoryDisk::default();
    world.reopen();
    world.settle();
    assert_eq!(world.disk.rows(), before);
    assert_eq!(*world.notes.0.lock().unwrap(), ["opening", "running", "opening", "running"]);
}

#[test]
fn positions_over_inputs_without_effect_are_committed_in_time() {
    let mut world = World::new(config(), |_, _| Effects::default());
    world.settle();
    world.send("a");
    world.settle();
    assert_eq!(world.position(), None);
    world.pass(config().idle_commit_ms);
    world.settle();
    assert_eq!(world.position(), Some(1));
    let commits = world.log.content("t.internal.changelog").len();
    world.pass(config().heartbeat_ms - 1);
    world.settle();
    assert_eq!(world.log.content("t.internal.changelog").len(), commits, "nothing to say");
    world.pass(1);
    world.settle();
    assert_eq!(world.log.content("t.internal.changelog").len(), commits + 1, "a heartbeat");
    assert_eq!(world.meta().clock, world.now);
}

#[test]
fn now_never_runs_backwards_even_over_a_restart() {
    let seen: Arc<Mutex<Vec<i64>>> = Arc::default();
    let saw = Arc::clone(&seen);
    let mut world = World::new(config(), move |inputs, now| {
        saw.lock().unwrap().push(now.0 - START.0);
        rows(inputs)
    });
    world.pass(500);
    world.send("a");
    world.settle();
    world.clock.set(START.plus_ms(100));
    world.send("b");
    world.settle();
    world.reopen();
    world.send("c");
    world.settle();
    assert!(seen.lock().unwrap().iter().all(|now| *now == 500), "{seen:?}");
    assert_eq!(world.changelog(), ["a", "b", "c"]);
}

#[test]
fn outputs_go_to_their_topics() {
    let mut world = World::new(config(), |inputs, now| {
        let output = |topic, partition| Output {
            topic,
            partition,
            key: Some("k".into()),
            value: None,
            headers: vec![("h".into(), "v".into())],
        };
        let destination = OutputTopic::Destination("crm".into());
        let outputs = inputs.iter().flat_map(|_| {
            [
                output(OutputTopic::Inbox, Partition::Shard(ShardId(0))),
                output(destination.clone(), Partition::Hash("21".into())),
                output(OutputTopic::DeadLetter, Partition::Hash("x".into())),
            ]
        });
        let late = Measurement::new(Measure::SecondsSince(Histogram::EndToEnd, now.plus_ms(-1_500)), []);
        let measurements = if inputs.is_empty() { Vec::new() } else { vec![late] };
        Effects {
            outputs: outputs.collect(),
            measurements,
            ..Effects::default()
        }
    });
    world.send("a");
    world.settle();
    let placed: Vec<String> = ["t.internal.inbox", "t.destination.crm", "t.dead-letter"]
        .iter()
        .flat_map(|topic| world.log.content(topic))
        .map(|delivered| format!("{}/{} {:?}", delivered.source.topic, delivered.source.partition, delivered.record.headers))
        .collect();
    assert_eq!(
        placed,
        [
            "t.internal.inbox/0 [(\"h\", b\"v\")]",
            "t.destination.crm/0 [(\"h\", b\"v\")]",
            "t.dead-letter/0 [(\"h\", b\"v\")]"
        ]
    );
    assert!(world.notes.0.lock().unwrap().contains(&"Sample(EndToEnd, 1.5)".to_owned()));
}

#[test]
fn broken_promises_fail_the_shard() {
    let to_nowhere = || Output {
        topic: OutputTopic::Inbox,
        partition: Partition::Shard(ShardId(7)),
        key: None,
        value: None,
        headers: Vec::new(),
    };
    let table: [(Effects, &str); 3] = [
        (
            Effects {
                rows: vec![(vec![0, 1], None)],
                ..Effects::default()
            },
            "machine wrote to the reserved table: [0, 1]",
        ),
        (
            Effects {
                rows: vec![(vec![], None)],
                ..Effects::default()
            },
            "machine wrote to the reserved table: []",
        ),
        (
            Effects {
                outputs: vec![to_nowhere()],
                ..Effects::default()
            },
            "output to partition 7 of t.internal.inbox, which has 2",
        ),
    ];
    for (effects, expected) in table {
        let mut world = World::new(config(), move |_, _| effects.clone());
        assert_eq!(world.settle(), Stepped::Ended);
        assert_eq!(world.failure(), expected);
        assert_eq!(world.changelog(), Vec::<String>::new());
    }
}

#[test]
fn a_panic_is_tried_once_more_and_then_fails_the_shard_alone() {
    let mut world = World::new(config(), |inputs, _| {
        assert!(!inputs.iter().any(|input| input.value.as_deref() == Some(b"poison")), "cannot swallow");
        rows(inputs)
    });
    world.send("a");
    world.settle();
    world.send("poison");
    let Stepped::Waiting(until) = world.settle() else {
        panic!("{:?}", world.task.state())
    };
    assert_eq!(until, START.plus_ms(100));
    world.pass(100);
    assert_eq!(world.settle(), Stepped::Ended);
    assert_eq!(
        world.failure(),
        "machine panicked twice over the same input, t.source.activity/1 1..=1: cannot swallow"
    );
    assert_eq!(world.changelog(), ["a"]);
}

#[test]
fn a_log_that_cannot_be_reached_is_tried_at_growing_intervals() {
    let mut world = World::new(config(), |inputs, _| rows(inputs));
    world.log.set_faults(Faults {
        open_unavailable: 1_000,
        ..Faults::default()
    });
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let Stepped::Waiting(until) = world.settle() else {
            panic!("{:?}", world.task.state())
        };
        let pause = until.0 - world.now.0;
        pauses.push(pause);
        world.pass(pause);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
    world.log.set_faults(Faults::default());
    world.send("a");
    assert_eq!(world.settle(), Stepped::Idle(Timestamp::MAX));
    assert_eq!(world.changelog(), ["a"]);
}

#[test]
fn a_fenced_shard_is_released() {
    let mut world = World::new(config(), |inputs, _| rows(inputs));
    world.settle();
    let mut other = ShardTask::new(ShardId(1), world.context.clone(), Box::new(MemoryStore::default()));
    assert_eq!(other.step(), Stepped::Worked);
    world.send("a");
    assert_eq!(world.settle(), Stepped::Ended);
    assert_eq!(*world.task.state(), ShardState::Released);
    assert_eq!(world.changelog(), Vec::<String>::new());
}

#[test]
fn another_number_of_shards_is_refused() {
    let mut world = World::new(config(), |inputs, _| rows(inputs));
    world.settle();
    let mut meta = world.meta();
    meta.shards = 4;
    let position = world.disk.open().changelog_position().unwrap().unwrap();
    world.disk.open().apply(vec![(META_KEY.to_vec(), Some(meta.encode()))], position).unwrap();
    world.reopen();
    assert_eq!(world.settle(), Stepped::Ended);
    assert_eq!(world.failure(), "state was made by 4 shards, 2 are configured");
}

#[test]
fn new_topics_are_found() {
    let mut world = World::new(config(), |inputs, _| rows(inputs));
    world.context.topology = Topology::new("u.", 2);
    for spec in world.context.topology.specs(2).into_iter().filter(|spec| !spec.name.ends_with("activity")) {
        world.log.create_topic(&spec).unwrap();
    }
    world.reopen();
    world.settle();
    let name = world.context.topology.input(InputTopic::Source(SourceKind::Activity));
    world
        .log
        .create_topic(&TopicSpec {
            name: name.clone(),
            partitions: 4,
            compacted: false,
            settings: Vec::new(),
        })
        .unwrap();
    let record = Record {
        key: None,
        value: Some("late".into()),
        headers: Vec::new(),
    };
    world
        .log
        .append(vec![(
            TopicPartition {
                topic: name.into(),
                partition: 3,
            },
            record,
        )])
        .unwrap();
    world.settle();
    assert_eq!(world.disk.get(b"late").unwrap(), None);
    for _ in 0..2 {
        world.pass(config().topology_check_ms);
        world.settle();
    }
    assert!(world.disk.get(b"late").unwrap().is_some());
}
