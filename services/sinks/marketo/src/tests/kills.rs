//! The sink killed at any await against an instance that misbehaves: afterwards its lists are as
//! desired, whatever the seed.

use millrace_connect::sink::{Change, Delivery, Destination, Tenure};
use millrace_log::random::Random;
use millrace_simulators::marketo::Faults;
use millrace_test_seeds::{Killed, seeds};
use millrace_test_sinks::{Dying, Interruptible, Scene, email, storm};
use serde_json::json;

use super::stage::Stage;
use crate::MarketoSink;

impl Interruptible for MarketoSink {
    fn deliver_within(&mut self, awaits: u64, batch: &[Change], _: &[Tenure]) -> Option<Delivery> {
        let MarketoSink { lists, runtime } = self;
        runtime.block_on(Killed::after(awaits, lists.deliver(batch)))
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
            // Some of the 30 do not exist at first.
            self.desire(["hot", "warm"][random.below(2) as usize], &email(random.below(30)), random.chance(600));
        }
    }
}

/// Returns kills, executed calls, and the number of changes that took effect in Marketo.
fn after(seed: u64) -> (u64, u64, usize) {
    let mut stage = Stage::new(seed, "email", json!({"create_persons": true, "create_lists_in": {"folder": 13}}));
    stage.leads(20);
    stage.marketo.set_faults(Faults {
        transient: 30,
        bad_gateway: 20,
        dropped: 60,
        token_ends: 20,
        ..Faults::default()
    });
    let mut random = Random::new(seed);
    stage.deaths.at_awaits(random.fork(), 40);
    let kills = storm(&mut stage, &mut random, 150, 3_000);
    stage.marketo.set_faults(Faults::default());
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.members_desired());
    let twice = stage.marketo.with(|world| {
        let mut emails: Vec<String> = world.leads.values().map(|lead| lead.fields["email"].to_string()).collect();
        let all = emails.len();
        emails.sort();
        emails.dedup();
        all - emails.len()
    });
    assert_eq!(twice, 0, "a person was created twice");
    assert_eq!(stage.reasons_of_dead_letters(), Vec::<String>::new());
    let effects = stage
        .marketo
        .with(|world| world.activities.iter().filter(|activity| matches!(activity.kind, 24 | 25)).count());
    (kills, stage.calls(), effects)
}

#[test]
fn killed_at_any_await_the_lists_become_as_desired() {
    let (mut storms, mut kills, mut calls, mut effects) = (0, 0, 0, 0);
    for seed in seeds!(200..212) {
        let (killed, called, effective) = after(seed);
        storms += 1;
        kills += killed;
        calls += called;
        effects += effective;
    }
    println!("{storms} storms: {kills} kills, {calls} calls carried out, {effects} effective changes");
    // Twelve storms kill often enough to mean something; a seed that is run alone need not.
    assert!(storms < 12 || kills > 100, "{kills}");
}
