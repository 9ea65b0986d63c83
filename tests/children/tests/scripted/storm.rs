//! Programs that misbehave, under a source that is killed again and again: what is in the source
//! topics at the end is what the table holds.

use millrace_log::random::Random;
use millrace_log::simulated::Faults;
use millrace_test_seeds::seeds;

use crate::stage::{Protocol, Stage};

/// Kills the source at any await while the table changes, the program misbehaves and the log has
/// faults; then lets both work, and judges. Twice: what a listing lost must not come back.
async fn storm(protocol: Protocol, mode: &'static str, versions: bool, seed: u64) {
    let mut stage = Stage::new(protocol, mode, seed);
    let mut random = Random::new(seed);
    stage.world.versions = versions;
    for _ in 0..2 {
        stage.world.wild = true;
        stage.log.set_faults(Faults {
            commit_aborted: 50,
            commit_unknown: 50,
            open_unavailable: 50,
            poll_unavailable: 20,
            poll_short: 300,
            gap: 100,
            compacted: 200,
            ..Faults::default()
        });
        for _ in 0..12 {
            for _ in 0..random.below(6) {
                stage.change(&mut random);
            }
            stage.killed_after(1 + random.below(30)).await;
        }
        stage.world.wild = false;
        stage.log.set_faults(Faults::default());
        stage.settle().await;
        stage.check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn singer_by_changes() {
    for seed in seeds!(0..6) {
        storm(Protocol::Singer, "incremental", false, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn singer_in_full() {
    for seed in seeds!(0..6) {
        storm(Protocol::Singer, "full", false, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn singer_in_versions() {
    for seed in seeds!(0..6) {
        storm(Protocol::Singer, "full", true, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn airbyte_by_changes() {
    for seed in seeds!(0..6) {
        storm(Protocol::Airbyte, "incremental", false, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn airbyte_in_full() {
    for seed in seeds!(0..6) {
        storm(Protocol::Airbyte, "full", false, seed).await;
    }
}
