//! The frame against a destination that misbehaves, on the embedded log, killed at every point.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millrace_log::random::Random;
use millrace_log::{Durability, EARLIEST, EmbeddedConfig, EmbeddedLog, Log, PollLimits, Record, TopicPartition, TopicSpec};
use millrace_model::{Identity, Timestamp};
use millrace_runtime::memory_store::MemoryDisk;
use millrace_shard::murmur::partition_of;
use millrace_wire::{DestinationState, OutputCodec, Presence};

use super::*;

mod previews;
mod replaced;
mod storm;
const PARTITIONS: u32 = 2;

/// The foreign system, which outlives every sink.
#[derive(Default)]
struct Far {
    members: BTreeMap<(String, String), BTreeMap<String, serde_json::Value>>,
    calls: u64,
    changes: u64,
    down: bool,
    broken_audience: Option<String>,
    poison: Option<String>,
    /// Changes by key, in the order in which they came.
    history: Vec<(String, bool)>,
    random: Option<Random>,
}

#[derive(Clone)]
struct FarSink {
    far: Arc<Mutex<Far>>,
    batch: usize,
    /// What happens while the process is frozen in the middle of its next delivery.
    frozen: Freeze,
}

type Freeze = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

impl Far {
    fn apply(&mut self, change: &Change) {
        let place = (change.audience.clone(), change.identity.id().to_owned());
        self.history.push((change.key.clone(), change.present));
        self.changes += 1;
        if change.present {
            self.members.insert(place, change.attributes.clone());
        } else {
            self.members.remove(&place);
        }
    }

    fn misfortune(&mut self, per_mille: u32) -> bool {
        self.random.as_mut().is_some_and(|random| random.chance(per_mille))
    }
}

fn refusal(reason: &str) -> Refusal {
    Refusal {
        reason: reason.to_owned(),
        request: "what was sent".to_owned(),
        answer: "what came back".to_owned(),
    }
}

impl Destination for FarSink {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records_max: self.batch,
            wait: Duration::ZERO,
        }
    }

    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        let frozen = self.frozen.lock().expect("no panic").take();
        if let Some(meanwhile) = frozen {
            meanwhile();
        }
        let mut far = self.far.lock().expect("no panic");
        far.calls += 1;
        let unavailable = far.down || far.broken_audience.as_ref().is_some_and(|audience| *audience == batch[0].audience) || far.misfortune(150);
        if unavailable {
            return Delivery::all(&Answer::Later("busy".to_owned()), batch.len(), 1);
        }
        if let Some(poison) = &far.poison
            && batch.iter().any(|change| change.identity.id() == poison)
        {
            return Delivery::all(&Answer::Together(refusal("one of these is bad")), batch.len(), 1);
        }
        let mut answers = Vec::new();
        for change in batch {
            if far.misfortune(50) {
                answers.push(Answer::Later("not this one now".to_owned()));
            } else {
                far.apply(change);
                answers.push(Answer::Accepted);
            }
        }
        if far.misfortune(100) {
            // It took effect, and the answer was lost.
            return Delivery::all(&Answer::Later("no answer".to_owned()), batch.len(), 1);
        }
        Delivery { answers, wait: None, calls: 1 }
    }

    fn readable(&self) -> bool {
        true
    }

    fn actual(&mut self, audiences: &[String]) -> Result<Vec<Actual>, DestinationError> {
        let far = self.far.lock().expect("no panic");
        let there = far.members.keys().filter(|(audience, _)| audiences.contains(audience));
        let actual = there.map(|(audience, id)| Actual {
            audience: audience.clone(),
            id: id.clone(),
        });
        Ok(actual.collect())
    }
}

/// Dies now and then, by a seed, or once at a given point.
#[derive(Default)]
struct Storm {
    random: Mutex<Option<Random>>,
    at: Mutex<Option<Point>>,
}

impl FaultPlan for Storm {
    fn dies(&self, point: Point) -> bool {
        let mut at = self.at.lock().expect("no panic");
        if *at == Some(point) {
            *at = None;
            return true;
        }
        self.random.lock().expect("no panic").as_mut().is_some_and(|random| random.chance(60))
    }
}

struct World {
    log: EmbeddedLog,
    _folder: tempfile::TempDir,
    disks: BTreeMap<u32, MemoryDisk>,
    far: Arc<Mutex<Far>>,
    now: Arc<AtomicI64>,
    desired: BTreeMap<(String, String), BTreeMap<String, serde_json::Value>>,
    storm: Arc<Storm>,
    brake: Brake,
    batch: usize,
    contested: bool,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let config = EmbeddedConfig {
            durability: Durability::Never,
            ..EmbeddedConfig::default()
        };
        let log = EmbeddedLog::open(folder.path(), config).expect("a log");
        for (name, partitions, compacted) in [("d", PARTITIONS, true), ("c", PARTITIONS, true), ("dead", 1, false)] {
            let spec = TopicSpec {
                name: name.to_owned(),
                partitions,
                compacted,
                settings: Vec::new(),
            };
            log.create_topic(&spec).expect("a topic");
        }
        World {
            log,
            _folder: folder,
            disks: (0..PARTITIONS).map(|number| (number, MemoryDisk::default())).collect(),
            far: Arc::default(),
            now: Arc::new(AtomicI64::new(4_091_904_000_000)), // Later than the stamps of the log.
            desired: BTreeMap::new(),
            storm: Arc::default(),
            brake: Brake {
                share: 1.0,
                ..Brake::default()
            },
            batch: 10,
            contested: false,
        }
    }

    fn task(&self) -> SinkTask {
        self.task_on(self.disks.clone(), Freeze::default())
    }

    /// A process with disks of its own.
    fn other(&self, frozen: Freeze) -> SinkTask {
        self.task_on((0..PARTITIONS).map(|number| (number, MemoryDisk::default())).collect(), frozen)
    }

    fn task_on(&self, disks: BTreeMap<u32, MemoryDisk>, frozen: Freeze) -> SinkTask {
        let now = Arc::clone(&self.now);
        let context = SinkContext {
            name: "far".to_owned(),
            log: Arc::new(self.log.clone()),
            topic: "d".to_owned(),
            partitions: PARTITIONS,
            changelog: "c".to_owned(),
            dead_letters: TopicPartition {
                topic: "dead".into(),
                partition: 0,
            },
            application: "t.sink.far".to_owned(),
            contested: self.contested,
            clock: Arc::new(move || Timestamp(now.load(Ordering::SeqCst))),
            open_ledger: Arc::new(move |number| Ok(Box::new(disks[&number].open()))),
            registry: None,
            brake: self.brake,
            pending_max: 100_000,
            idle_wait_ms: 0,
            suppressed: Arc::new(|identity| identity.id() == "never@x.com"),
            faults: Arc::clone(&self.storm) as Arc<dyn FaultPlan>,
        };
        let far = FarSink {
            far: Arc::clone(&self.far),
            batch: self.batch,
            frozen,
        };
        SinkTask::new(Arc::new(context), Box::new(far))
    }

    fn opened(&self) -> SinkTask {
        let mut task = self.task();
        for number in 0..PARTITIONS {
            task.open(number).expect("opens");
        }
        task
    }

    fn desire(&mut self, audience: &str, id: &str, title: Option<&str>) {
        let record = self.desired(audience, id, title);
        self.log.append(vec![record]).expect("appended");
    }

    /// The record that makes this the desired state.
    fn desired(&mut self, audience: &str, id: &str, title: Option<&str>) -> (TopicPartition, Record) {
        let attributes: BTreeMap<String, serde_json::Value> = title.iter().map(|title| ("title".to_owned(), (*title).into())).collect();
        let place = (audience.to_owned(), id.to_owned());
        match title {
            Some(_) => self.desired.insert(place, attributes.clone()),
            None => self.desired.remove(&place),
        };
        let state = DestinationState {
            destination: "far".to_owned(),
            audience: audience.to_owned(),
            identity: Identity::new("email", id).expect("an identity"),
            state: if title.is_some() { Presence::Present } else { Presence::Absent },
            attributes,
            changed_at: Timestamp(self.now.fetch_add(1, Ordering::SeqCst)),
        };
        let key = Bytes::from(state.key());
        let record = Record {
            value: Some(Bytes::from(OutputCodec::SingleObject.encode_destination_state(&state).expect("encodes"))),
            key: Some(key.clone()),
            headers: Vec::new(),
        };
        let target = TopicPartition {
            topic: "d".into(),
            partition: partition_of(&key, PARTITIONS),
        };
        (target, record)
    }

    /// Steps until nothing moves any more, time running; retries without success do not count.
    fn settle(&self, task: &mut SinkTask) {
        let mut still = 0;
        let mut before = task.status();
        for _ in 0..20_000 {
            let stepped = task.step().map_err(|(_, error)| error).expect("no failure");
            let status = task.status();
            let moved = stepped.read > 0 || (status.acknowledged, status.refused) != (before.acknowledged, before.refused);
            still = if moved { 0 } else { still + 1 };
            before = status;
            self.now.fetch_add(if stepped.idle { 60_000 } else { 10 }, Ordering::SeqCst);
            if still > 40 {
                return;
            }
        }
        panic!("it does not settle");
    }

    fn members(&self) -> BTreeMap<(String, String), BTreeMap<String, serde_json::Value>> {
        self.far.lock().expect("no panic").members.clone()
    }

    fn calls(&self) -> u64 {
        self.far.lock().expect("no panic").calls
    }

    fn dead_letters(&self) -> Vec<Record> {
        let mut reader = self
            .log
            .reader(&[(
                TopicPartition {
                    topic: "dead".into(),
                    partition: 0,
                },
                EARLIEST,
            )])
            .expect("a reader");
        let limits = PollLimits {
            records_max: 1_000,
            bytes_max: 1 << 20,
            wait_ms_max: 0,
        };
        reader.poll(limits).expect("read").into_iter().map(|delivered| delivered.record).collect()
    }
}

#[test]
fn the_far_side_becomes_what_is_desired_in_as_few_calls_as_there_are_batches() {
    let mut world = World::new();
    for number in 0..95 {
        world.desire("a", &format!("p{number}@x.com"), Some("Dr"));
    }
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
    assert_eq!(world.calls(), 10);
    let status = task.status();
    assert_eq!((status.desired, status.delivered, status.pending, status.refused), (95, 95, 0, 0));
    world.desire("a", "p1@x.com", None);
    world.desire("a", "p2@x.com", Some("Prof"));
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
    assert_eq!(task.status().delivered, 94);
}

#[test]
fn who_comes_and_goes_before_a_call_is_never_sent() {
    let mut world = World::new();
    for _ in 0..50 {
        world.desire("a", "flapping@x.com", Some("x"));
        world.desire("a", "flapping@x.com", None);
    }
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.calls(), 0);
}

#[test]
fn a_restart_sends_nothing_again() {
    let mut world = World::new();
    world.desire("a", "p@x.com", Some("x"));
    let mut task = world.opened();
    world.settle(&mut task);
    drop(task);
    for disk in world.disks.values() {
        // A lost disk is restored from the changelog.
        millrace_shard::state::StateStore::clear(&mut disk.open()).expect("cleared");
    }
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!((world.calls(), task.status().delivered), (1, 1));
}

#[test]
fn a_poisoned_record_is_found_and_holds_no_other_up() {
    let mut world = World::new();
    for number in 0..10 {
        world.desire("a", &format!("p{number}@x.com"), Some("x"));
    }
    world.far.lock().expect("no panic").poison = Some("p7@x.com".to_owned());
    let mut task = world.opened();
    world.settle(&mut task);
    let place = ("a".to_owned(), "p7@x.com".to_owned());
    let mut expected = world.desired.clone();
    expected.remove(&place);
    assert_eq!(world.members(), expected);
    let letters = world.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].key.as_deref(), Some(&b"a|email:p7@x.com"[..]));
    let said = |name: &str| letters[0].headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone());
    assert_eq!(said("millrace.reason"), Some(Bytes::from("destination-refused")));
    assert_eq!(said("millrace.destination.answer"), Some(Bytes::from("what came back")));
    assert_eq!(task.status().refused, 1);
    let answers = task.answers();
    assert_eq!((answers.acknowledged, answers.refused), (9, 1));
    assert!(answers.retried > 0, "those beside it were sent again with fewer: {answers:?}");
    // Once the destination accepts it, a command sends it again.
    world.far.lock().expect("no panic").poison = None;
    let order = Order {
        order: OrderKind::Retry,
        audience: None,
    };
    task.order(&order).map_err(|(_, error)| error).expect("carried out");
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
    assert_eq!(task.status().refused, 0);
}

#[test]
fn a_broken_audience_holds_no_other_up() {
    let mut world = World::new();
    world.far.lock().expect("no panic").broken_audience = Some("broken".to_owned());
    world.desire("broken", "p@x.com", Some("x"));
    world.desire("whole", "p@x.com", Some("x"));
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.members().len(), 1);
    let status = task.status();
    assert_eq!((status.pending, status.error.as_deref()), (1, Some("busy")));
    world.far.lock().expect("no panic").broken_audience = None;
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
}

#[test]
fn a_destination_down_takes_the_newest_when_it_is_back() {
    let mut world = World::new();
    world.far.lock().expect("no panic").down = true;
    world.desire("a", "p@x.com", Some("x"));
    let mut task = world.opened();
    world.settle(&mut task);
    world.desire("a", "p@x.com", None);
    world.desire("a", "q@x.com", Some("x"));
    world.settle(&mut task);
    assert!(task.status().oldest_pending_ms.is_some_and(|age| age > 60_000));
    assert_eq!((task.answers().acknowledged, task.answers().refused), (0, 0));
    assert!(task.answers().retried > 0);
    world.far.lock().expect("no panic").down = false;
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
}

#[test]
fn an_edit_that_empties_an_audience_waits_for_a_word() {
    let mut world = World::new();
    world.brake = Brake {
        share: 0.3,
        least: 5,
        quiet: Duration::from_secs(60),
    };
    for number in 0..100 {
        world.desire("a", &format!("p{number}@x.com"), Some("x"));
    }
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.members().len(), 100, "a first fill is not held");
    world.now.fetch_add(3_600_000, Ordering::SeqCst);
    for number in 0..60 {
        world.desire("a", &format!("p{number}@x.com"), None);
    }
    world.settle(&mut task);
    // What is sent before the whole flood is visible stays within the share.
    assert!(world.members().len() >= 70, "{}", world.members().len());
    assert!(task.status().audiences["a"].held);
    drop(task);
    let mut task = world.opened();
    world.settle(&mut task);
    assert!(world.members().len() >= 70, "a restart does not let it pass");
    let order = Order {
        order: OrderKind::Confirm,
        audience: Some("a".to_owned()),
    };
    task.order(&order).map_err(|(_, error)| error).expect("carried out");
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
    assert!(!task.status().audiences["a"].held);
}

#[test]
fn what_is_edited_by_hand_is_found_and_set_right() {
    let mut world = World::new();
    for number in 0..20 {
        world.desire("a", &format!("p{number}@x.com"), Some("x"));
    }
    let mut task = world.opened();
    world.settle(&mut task);
    {
        let mut far = world.far.lock().expect("no panic");
        far.members.remove(&("a".to_owned(), "p3@x.com".to_owned()));
        far.members.insert(("a".to_owned(), "stranger@x.com".to_owned()), BTreeMap::new());
    }
    let order = Order {
        order: OrderKind::Reconcile,
        audience: None,
    };
    task.order(&order).map_err(|(_, error)| error).expect("carried out");
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
    let drift = task.status().drift.expect("compared");
    assert_eq!((drift.missing, drift.unexpected, drift.repaired), (1, 1, 2));
}

#[test]
fn who_is_suppressed_is_never_present() {
    let mut world = World::new();
    world.desire("a", "never@x.com", Some("x"));
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.members().len(), 0);
}

#[test]
fn bytes_that_are_no_state_become_a_dead_letter() {
    let mut world = World::new();
    let record = Record {
        key: Some(Bytes::from("a|email:p@x.com")),
        value: Some(Bytes::from("{}")),
        headers: Vec::new(),
    };
    world
        .log
        .append(vec![(
            TopicPartition {
                topic: "d".into(),
                partition: 0,
            },
            record,
        )])
        .expect("appended");
    world.desire("a", "q@x.com", Some("x"));
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
    assert_eq!(world.dead_letters().len(), 1);
}

#[test]
fn what_was_sent_before_a_death_and_is_desired_no_more_is_sent_over() {
    for (between, again) in [(Some("t1"), Some("t2")), (None, Some("t2"))] {
        let mut world = World::new();
        world.desire("a", "p@x.com", again);
        let mut task = world.opened();
        world.settle(&mut task);
        world.desire("a", "p@x.com", between);
        *world.storm.at.lock().expect("no panic") = Some(Point::BeforeCommit);
        let died = (0..100).any(|_| {
            world.now.fetch_add(1_000, Ordering::SeqCst);
            task.step().is_err()
        });
        assert!(died && world.members() == world.desired, "it took effect, and nobody knows");
        drop(task);
        // As in the ledger.
        world.desire("a", "p@x.com", again);
        let mut task = world.opened();
        world.settle(&mut task);
        assert_eq!(world.members(), world.desired, "{between:?}");
    }
}
