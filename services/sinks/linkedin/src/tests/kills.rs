//! The sink killed at any await against an account that misbehaves: afterwards its segments are as
//! desired, whatever the seed.

use millrace_connect::sink::{Change, Delivery, Destination, Tenure};
use millrace_log::random::Random;
use millrace_simulators::linkedin::{Early, Faults, Settings};
use millrace_test_seeds::{Killed, seeds};
use millrace_test_sinks::{Dying, Interruptible, Scene, email, storm};
use serde_json::json;

use super::stage::Stage;
use crate::LinkedInSink;

impl Interruptible for LinkedInSink {
    fn deliver_within(&mut self, awaits: u64, batch: &[Change], _: &[Tenure]) -> Option<Delivery> {
        let LinkedInSink { segments, runtime } = self;
        runtime.block_on(Killed::after(awaits, segments.deliver(batch)))
    }
}

impl Scene for Stage {
    fn stage(&mut self) -> &mut millrace_test_sinks::Stage {
        &mut self.frame
    }

    fn destination(&self) -> Box<dyn Destination> {
        Box::new(Dying::new(self.sink(), &self.deaths))
    }

    fn happens(&mut self, random: &mut Random) {
        if random.chance(700) {
            let audience = ["hot", "warm"][usize::try_from(random.below(2)).expect("small")];
            self.desire(audience, &email(random.below(30)), random.chance(600));
        }
        if random.chance(15) {
            delete_one(self, random);
        }
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
fn after(seed: u64) -> (u64, u64, usize) {
    let mut random = Random::new(seed);
    let account = Settings {
        early: if random.chance(500) { Early::Lost } else { Early::NotFound },
        ..Settings::default()
    };
    let mut stage = Stage::with(seed, "email", json!({}), account);
    stage.linkedin.set_faults(FAULTS);
    stage.deaths.at_awaits(random.fork(), 25);
    let kills = storm(&mut stage, &mut random, 150, 20_000);
    stage.linkedin.set_faults(Faults::default());
    let mut task = stage.task();
    stage.settle(&mut task);
    // An audience whose segment was deleted is noticed within an hour.
    stage.pass(3_600_000);
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
    assert_eq!(stage.reasons_of_dead_letters(), Vec::<String>::new());
    let writes = stage.linkedin.history().into_iter().filter(|request| request.elements > 0);
    let (calls, elements) = writes.fold((0, 0), |(calls, elements), request| (calls + 1, elements + request.elements));
    (kills, calls, elements)
}

#[test]
fn killed_at_any_await_the_segments_become_as_desired() {
    let (mut storms, mut kills, mut calls, mut elements) = (0, 0, 0, 0);
    for seed in seeds!(300..312) {
        let (killed, called, sent) = after(seed);
        storms += 1;
        kills += killed;
        calls += called;
        elements += sent;
    }
    println!("{storms} storms: {kills} kills, {calls} calls with {elements} elements");
    // Twelve storms kill often enough to mean something; a seed that is run alone need not.
    assert!(storms < 12 || kills > 100, "{kills}");
}
