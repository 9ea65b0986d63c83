//! The connector killed at any await, its commits aborted or left unknown, and restarted: nothing
//! is lost, nothing shows twice.

use std::pin::pin;

use millrace_connect::source::Stop;
use millrace_log::random::Random;
use millrace_log::simulated;
use millrace_simulators::salesforce::{Faults, Settings};
use millrace_test_seeds::{Killed, seeds};
use tokio::sync::watch;

use super::stage::Stage;

async fn storm(seed: u64, kills: u64) {
    let settings = Settings {
        page_rows: 5,
        relations: !seed.is_multiple_of(2),
        ..Settings::default()
    };
    let stage = Stage::new(seed, settings).await;
    let mut random = Random::new(seed);
    stage.fill(12);
    stage.org.set_faults(Faults {
        unknown: 20,
        dropped: 20,
        session_ends: 20,
        short_page: 100,
        locator_lost: 50,
        job_fails: 50,
        results_gone: 10,
        ..Faults::default()
    });
    stage.log.set_faults(simulated::Faults {
        commit_aborted: 50,
        commit_unknown: 50,
        open_unavailable: 50,
        gap: 100,
        compacted: 200,
        ..simulated::Faults::default()
    });
    for _ in 0..kills {
        let task = stage.task();
        let (_stop, signal) = watch::channel(Stop::default());
        let run = Killed::after(1 + random.below(120), task.run(signal));
        pin!(run).await;
        stage.change(random.next_u64(), random.below(4));
    }
    stage.org.set_faults(Faults::default());
    stage.log.set_faults(simulated::Faults::default());
    let run = stage.start();
    run.settled().await;
    stage.check();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_await_nothing_is_lost() {
    for seed in seeds!(100..104) {
        storm(seed, 40).await;
    }
}
