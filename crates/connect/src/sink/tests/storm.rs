//! Everything at once, by seeds.

use millrace_test_seeds::seeds;

use super::*;

/// Kills, lost answers, temporary refusals, lost disks: afterwards the far side is as desired,
/// whatever the seed.
fn storm(seed: u64) -> (u64, u64) {
    let mut world = World::new();
    let mut random = Random::new(seed);
    world.contested = random.chance(500);
    world.far.lock().expect("no panic").random = Some(random.fork());
    *world.storm.random.lock().expect("no panic") = Some(random.fork());
    let mut task: Option<SinkTask> = None;
    for _ in 0..300 {
        if random.chance(600) {
            let (audience, id) = (format!("a{}", random.below(3)), format!("p{}@x.com", random.below(12)));
            let title = format!("t{}", random.below(3));
            world.desire(&audience, &id, random.chance(600).then_some(title.as_str()));
        }
        let mut alive = task.take().unwrap_or_else(|| world.task());
        let open: BTreeSet<u32> = alive.partitions().into_iter().collect();
        let opened = (0..PARTITIONS)
            .filter(|number| !open.contains(number))
            .try_for_each(|number| alive.open(number));
        let lived = opened.and_then(|()| alive.step().map(|_| ()).map_err(|(_, error)| error));
        world.now.fetch_add(i64::try_from(random.below(2_000)).expect("small"), Ordering::SeqCst);
        match lived {
            Ok(()) => task = Some(alive),
            Err(SinkError::Killed(_)) => {
                drop(alive);
                for disk in world.disks.values() {
                    let kept = random.below(disk.unflushed() as u64 + 1);
                    disk.crash(usize::try_from(kept).expect("small"));
                }
            }
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
    }
    drop(task);
    *world.storm.random.lock().expect("no panic") = None;
    world.far.lock().expect("no panic").random = None;
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired, "seed {seed}");
    let status = task.status();
    assert_eq!((status.delivered, status.pending), (world.desired.len() as u64, 0), "seed {seed}");
    let far = world.far.lock().expect("no panic");
    (far.calls, far.changes)
}

#[test]
fn after_any_storm_the_far_side_is_as_desired() {
    let (mut storms, mut calls, mut changes) = (0, 0, 0);
    for seed in seeds!(0..60) {
        let (of_seed, changed) = storm(seed);
        storms += 1;
        calls += of_seed;
        changes += changed;
    }
    println!("{calls} calls, {changes} changes over {storms} storms");
}
