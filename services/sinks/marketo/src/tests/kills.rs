//! The sink killed at any await against an instance that misbehaves: afterwards its lists are as
//! desired, whatever the seed.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use millrace_connect::sink::{Answer, BatchLimits, Brake, Change, Delivery, Destination, SinkError};
use millrace_log::random::Random;
use millrace_simulators::marketo::Faults;
use millrace_test_seeds::{Killed, seeds};
use serde_json::json;

use super::stage::{Broken, Stage, email};
use crate::MarketoSink;

/// The sink, interrupted at the await that a seed chooses; its process dies with it.
struct Dying {
    sink: MarketoSink,
    random: Arc<Mutex<Random>>,
    broken: Arc<Broken>,
}

impl Destination for Dying {
    fn limits(&self) -> BatchLimits {
        self.sink.limits()
    }

    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        let awaits = self.random.lock().expect("no panic").below(40);
        let MarketoSink { lists, runtime } = &mut self.sink;
        let killed = Killed::after(awaits, lists.deliver(batch));
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
}

/// Returns kills, executed calls, and the number of changes that took effect in Marketo.
fn storm(seed: u64) -> (u64, u64, usize) {
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
    let dies = Arc::new(Mutex::new(random.fork()));
    let mut task = None;
    let mut kills = 0;
    for _ in 0..150 {
        if random.chance(700) {
            // Some of the 30 do not exist at first.
            stage.desire(["hot", "warm"][random.below(2) as usize], &email(random.below(30)), random.chance(600));
        }
        let mut alive = task.take().unwrap_or_else(|| {
            let dying = Dying {
                sink: stage.sink(),
                random: Arc::clone(&dies),
                broken: Arc::clone(&stage.broken),
            };
            stage.task_with(
                Box::new(dying),
                Brake {
                    share: 1.0,
                    ..Brake::default()
                },
            )
        });
        let stepped = alive.step();
        stage.pass(i64::try_from(random.below(3_000)).expect("small"));
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
    stage.marketo.set_faults(Faults::default());
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.desired, "seed {seed}");
    let twice = stage.marketo.with(|world| {
        let mut emails: Vec<String> = world.leads.values().map(|lead| lead.fields["email"].to_string()).collect();
        let all = emails.len();
        emails.sort();
        emails.dedup();
        all - emails.len()
    });
    assert_eq!(twice, 0, "seed {seed}: a person was created twice");
    assert_eq!(stage.dead_letters(), Vec::<String>::new(), "seed {seed}");
    let effects = stage
        .marketo
        .with(|world| world.activities.iter().filter(|activity| matches!(activity.kind, 24 | 25)).count());
    (kills, stage.calls(), effects)
}

#[test]
fn killed_at_any_await_the_lists_become_as_desired() {
    let (mut storms, mut kills, mut calls, mut effects) = (0, 0, 0, 0);
    for seed in seeds!(200..212) {
        let (killed, called, effective) = storm(seed);
        storms += 1;
        kills += killed;
        calls += called;
        effects += effective;
    }
    println!("{storms} storms: {kills} kills, {calls} calls carried out, {effects} effective changes");
    // Twelve storms kill often enough to mean something; a seed that is run alone need not.
    assert!(storms < 12 || kills > 100, "{kills}");
}
