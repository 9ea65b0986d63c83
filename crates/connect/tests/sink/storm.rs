//! Everything at once, by seeds.

use millrace_test_seeds::seeds;
use millrace_test_sinks::{Scene, storm};

use super::*;

impl Scene for World {
    fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn destination(&self) -> Box<dyn Destination> {
        self.sink(Freeze::default())
    }

    fn happens(&mut self, random: &mut Random) {
        if random.chance(600) {
            let (audience, id) = (format!("a{}", random.below(3)), format!("p{}@x.com", random.below(12)));
            let title = format!("t{}", random.below(3));
            self.desire(&audience, &id, random.chance(600).then_some(title.as_str()));
        }
    }
}

/// Kills, lost answers, temporary refusals, lost disks: afterwards the far side is as desired,
/// whatever the seed.
fn after(seed: u64) -> (u64, u64) {
    let mut world = World::new();
    let mut random = Random::new(seed);
    world.contested = random.chance(500);
    // By the seed and not by a draw: seeds keep their meaning.
    world.far.lock().expect("no panic").fences = seed.is_multiple_of(5);
    world.far.lock().expect("no panic").random = Some(random.fork());
    world.deaths.at_points(random.fork());
    storm(&mut world, &mut random, 300, 2_000);
    world.far.lock().expect("no panic").random = None;
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
    let status = task.status();
    assert_eq!((status.delivered, status.pending), (world.desired.len() as u64, 0));
    let far = world.far.lock().expect("no panic");
    (far.calls, far.changes)
}

#[test]
fn after_any_storm_the_far_side_is_as_desired() {
    let (mut storms, mut calls, mut changes) = (0, 0, 0);
    for seed in seeds!(0..60) {
        let (of_seed, changed) = after(seed);
        storms += 1;
        calls += of_seed;
        changes += changed;
    }
    println!("{calls} calls, {changes} changes over {storms} storms");
}
