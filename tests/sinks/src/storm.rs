//! Kills, while desired states change.

use std::collections::BTreeSet;

use millrace_connect::sink::{Destination, SinkError, SinkTask};
use millrace_log::random::Random;

use crate::Stage;

/// A sink under a storm.
pub trait Scene {
    /// The stage that it is played on.
    fn stage(&mut self) -> &mut Stage;

    /// The destination as a new process makes it.
    fn destination(&self) -> Box<dyn Destination>;

    /// What happens between two steps of the process: desired states change, the far side is harmed.
    fn happens(&mut self, random: &mut Random);
}

/// Steps a process this often, less than `pass_ms` apart, with another one in its place after each
/// death; a part of what a dead one's disk had not flushed is lost. Nobody dies afterwards. Returns
/// the number of deaths.
///
/// # Panics
/// Where a step fails for another reason.
pub fn storm(scene: &mut impl Scene, random: &mut Random, steps: u64, pass_ms: u64) -> u64 {
    let mut task: Option<SinkTask> = None;
    let mut deaths = 0;
    for _ in 0..steps {
        scene.happens(random);
        let mut alive = match task.take() {
            Some(task) => task,
            None => {
                let destination = scene.destination();
                scene.stage().unopened(destination)
            }
        };
        let stage = scene.stage();
        let open: BTreeSet<u32> = alive.partitions().into_iter().collect();
        let opened = stage
            .partitions()
            .filter(|number| !open.contains(number))
            .try_for_each(|number| alive.open(number));
        let lived = opened.and_then(|()| alive.step().map(|_| ()).map_err(|(_, error)| error));
        stage.pass(i64::try_from(random.below(pass_ms)).expect("small"));
        match lived {
            Ok(()) => task = Some(alive),
            Err(SinkError::Killed(_)) => {
                deaths += 1;
                drop(alive);
                stage.crash(random);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    drop(task);
    scene.stage().deaths.end();
    deaths
}
