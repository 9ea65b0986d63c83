//! The frame against a destination that misbehaves, on the embedded log, killed at every point.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millrace_connect::sink::{
    Actual, Answer, BatchLimits, Brake, Change, Claim, Delivery, Destination, DestinationError, Order, OrderKind, Point, Preview, Refusal, SinkError, SinkTask,
    Tenure,
};
use millrace_log::random::Random;
use millrace_log::{Log, Record, TopicPartition};
use millrace_test_sinks::{Attributes, Stage};
use serde_json::json;

mod previews;
mod replaced;
mod storm;

/// The foreign system, which outlives every sink.
#[derive(Default)]
struct Far {
    members: BTreeMap<(String, String), Attributes>,
    calls: u64,
    changes: u64,
    down: bool,
    broken_audience: Option<String>,
    poison: Option<String>,
    /// Whether it distinguishes owners; the epoch of the last one, by partition.
    fences: bool,
    epochs: BTreeMap<u32, u64>,
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

impl FarSink {
    /// Where the process is frozen, what happens meanwhile.
    fn thaw(&self) {
        let frozen = self.frozen.lock().expect("no panic").take();
        if let Some(meanwhile) = frozen {
            meanwhile();
        }
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
        self.thaw();
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

    fn fences(&self) -> bool {
        self.far.lock().expect("no panic").fences
    }

    fn claim(&mut self, partition: u32, epoch: u64) -> Result<Claim, DestinationError> {
        let mut far = self.far.lock().expect("no panic");
        let there = far.epochs.entry(partition).or_default();
        if *there >= epoch {
            return Ok(Claim::Behind(*there));
        }
        *there = epoch;
        Ok(Claim::Taken)
    }

    fn deliver_as(&mut self, batch: &[Change], tenures: &[Tenure]) -> Delivery {
        self.thaw();
        let replaced = {
            let far = self.far.lock().expect("no panic");
            far.fences && (tenures.is_empty() || tenures.iter().any(|tenure| far.epochs.get(&tenure.partition) != Some(&tenure.epoch)))
        };
        if replaced {
            return Delivery::all(&Answer::Later("another owner has claimed".to_owned()), batch.len(), 1);
        }
        self.deliver(batch)
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

/// A stage with the foreign system that outlives every sink.
struct World {
    stage: Stage,
    far: Arc<Mutex<Far>>,
    batch: usize,
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Stage {
        &mut self.stage
    }
}

impl World {
    fn new() -> World {
        let mut stage = Stage::new("far", "email", 2);
        stage.idle_ms = 60_000;
        World {
            stage,
            far: Arc::default(),
            batch: 10,
        }
    }

    fn sink(&self, frozen: Freeze) -> Box<FarSink> {
        Box::new(FarSink {
            far: Arc::clone(&self.far),
            batch: self.batch,
            frozen,
        })
    }

    /// A process with disks of its own.
    fn other(&self, frozen: Freeze) -> SinkTask {
        self.elsewhere(self.sink(frozen))
    }

    fn opened(&self) -> SinkTask {
        self.task(self.sink(Freeze::default()))
    }

    fn desire(&mut self, audience: &str, id: &str, title: Option<&str>) {
        let record = self.desired_by(audience, id, title);
        self.log.append(vec![record]).expect("appended");
    }

    /// The record that makes this the desired state.
    fn desired_by(&mut self, audience: &str, id: &str, title: Option<&str>) -> (TopicPartition, Record) {
        let attributes: Vec<_> = title.iter().map(|title| ("title", json!(title))).collect();
        self.record(audience, id, title.is_some(), &attributes)
    }

    fn members(&self) -> BTreeMap<(String, String), Attributes> {
        self.far.lock().expect("no panic").members.clone()
    }

    fn calls(&self) -> u64 {
        self.far.lock().expect("no panic").calls
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
    // A lost disk is restored from the changelog.
    world.lose_disks();
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
    world.order(&mut task, OrderKind::Retry);
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
    world.pass(3_600_000);
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
    world.order(&mut task, OrderKind::Reconcile);
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
    world.append(0, record);
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
        world.deaths.once_at(Point::BeforeCommit);
        let died = (0..100).any(|_| {
            world.pass(1_000);
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
