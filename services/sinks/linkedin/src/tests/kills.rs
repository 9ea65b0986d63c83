//! The sink killed at any await against an account that misbehaves: afterwards its segments are as
//! desired, whatever the seed.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use millrace_connect::sink::{Answer, BatchLimits, Change, Delivery, Destination, SinkError, Upkeep};
use millrace_log::random::Random;
use millrace_simulators::linkedin::{Early, Faults, Settings};
use millrace_test_seeds::{Killed, seeds};
use serde_json::json;

use super::stage::{Broken, Stage, email};
use crate::LinkedInSink;

/// The sink, interrupted at the await that a seed chooses; its process dies with it.
struct Dying {
    sink: LinkedInSink,
    random: Arc<Mutex<Random>>,
    broken: Arc<Broken>,
}

impl Destination for Dying {
    fn limits(&self) -> BatchLimits {
        self.sink.limits()
    }

    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        let awaits = self.random.lock().expect("no panic").below(25);
        let LinkedInSink { segments, runtime } = &mut self.sink;
        let killed = Killed::after(awaits, segments.deliver(batch));
        match runtime.block_on(async { pin!(killed).await }) {
            Some(delivery) => delivery,
            None => {
                self.broken.0.store(true, Ordering::SeqCst);
                Delivery::all(&Answer::Later("killed".to_owned()), batch.len(), 0)
            }
        }
    }

    fn place(&self, audience: &str) -> Option<String> {
        self.sink.place(audience)
    }

    fn upkeep(&mut self, audiences: &[String]) -> Upkeep {
        self.sink.upkeep(audiences)
    }
}

const FAULTS: Faults = Faults {
    unavailable: 30,
    dropped: 60,
    throttled: 10,
    conflict: 20,
    token_ends: 20,
    slow: 0,
    slow_ms: 0,
    element_unavailable: 30,
};

/// Somebody deletes a segment at LinkedIn.
fn delete_one(stage: &Stage, random: &mut Random) {
    let nth = usize::try_from(random.below(2)).expect("small");
    stage.linkedin.with(|world| {
        let id = world.segments.keys().nth(nth).copied();
        id.map(|id| world.segments.remove(&id))
    });
}

/// Returns kills, calls with members, and elements that were sent.
fn storm(seed: u64) -> (u64, u64, usize) {
    let mut random = Random::new(seed);
    let account = Settings {
        early: if random.chance(500) { Early::Lost } else { Early::NotFound },
        ..Settings::default()
    };
    let mut stage = Stage::with(seed, "email", json!({}), account);
    stage.linkedin.set_faults(FAULTS);
    let dies = Arc::new(Mutex::new(random.fork()));
    let mut task = None;
    let mut kills = 0;
    for _ in 0..150 {
        if random.chance(700) {
            let audience = ["hot", "warm"][usize::try_from(random.below(2)).expect("small")];
            stage.desire(audience, &email(random.below(30)), random.chance(600));
        }
        if random.chance(15) {
            delete_one(&stage, &mut random);
        }
        let mut alive = task.take().unwrap_or_else(|| {
            let dying = Dying {
                sink: stage.sink(),
                random: Arc::clone(&dies),
                broken: Arc::clone(&stage.broken),
            };
            stage.task_with(Box::new(dying))
        });
        let stepped = alive.step();
        stage.pass(i64::try_from(random.below(20_000)).expect("small"));
        match stepped {
            Ok(_) => task = Some(alive),
            Err((_, SinkError::Killed(_))) => {
                kills += 1;
                drop(alive);
                stage.crash(usize::try_from(random.below(20)).expect("small"));
            }
            Err((_, error)) => panic!("seed {seed}: {error:?}"),
        }
    }
    drop(task);
    stage.linkedin.set_faults(Faults::default());
    let mut task = stage.task();
    stage.settle(&mut task);
    // An audience whose segment was deleted is noticed within an hour.
    stage.pass(3_600_000);
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected(), "seed {seed}");
    assert_eq!(stage.dead_letters(), Vec::<String>::new(), "seed {seed}");
    let writes = stage.linkedin.history().into_iter().filter(|request| request.elements > 0);
    let (calls, elements) = writes.fold((0, 0), |(calls, elements), request| (calls + 1, elements + request.elements));
    (kills, calls, elements)
}

#[test]
fn killed_at_any_await_the_segments_become_as_desired() {
    let (mut storms, mut kills, mut calls, mut elements) = (0, 0, 0, 0);
    for seed in seeds!(300..312) {
        let (killed, called, sent) = storm(seed);
        storms += 1;
        kills += killed;
        calls += called;
        elements += sent;
    }
    println!("{storms} storms: {kills} kills, {calls} calls with {elements} elements");
    // Twelve storms kill often enough to mean something; a seed that is run alone need not.
    assert!(storms < 12 || kills > 100, "{kills}");
}
