//! The owner of each shard.

use std::collections::BTreeSet;
use std::time::Instant;

use millrace_kafka::GroupOwnership;
use millrace_kafka_harness::KafkaBroker;
use millrace_log::{Log, LogError};
use millrace_runtime::host::Ownership;

use super::world::{PATIENCE, World, spec};

const QUICK: [(&str, &str); 2] = [("session.timeout.ms", "2000"), ("heartbeat.interval.ms", "200")];

struct Process {
    membership: GroupOwnership,
    owned: BTreeSet<u32>,
}

impl Process {
    fn join(world: &World, instance: &str) -> Self {
        let membership = world.log.join(&world.name("owners"), &world.name("shards"), instance).unwrap();
        Self {
            membership,
            owned: BTreeSet::new(),
        }
    }

    fn step(&mut self) -> Result<(), LogError> {
        let changes = self.membership.changes(50)?;
        for shard in &changes.revoked {
            assert!(self.owned.remove(shard), "shard {shard} is revoked and not owned");
        }
        if !changes.revoked.is_empty() {
            self.membership.stopped(&changes.revoked)?;
        }
        for shard in changes.assigned {
            assert!(self.owned.insert(shard), "shard {shard} is assigned twice");
        }
        Ok(())
    }
}

fn world() -> World {
    let world = World::on(KafkaBroker::shared().bootstrap(), &QUICK);
    world.log.create_topic(&spec(&world.name("shards"), 6)).unwrap();
    world
}

/// Steps all, and sees no shard with two owners, until each owns its count and together they own
/// all six.
fn settle(processes: &mut [&mut Process], counts: &[usize]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for process in &mut *processes {
            process.step().unwrap();
        }
        let owned: Vec<usize> = processes.iter().map(|process| process.owned.len()).collect();
        let all: BTreeSet<u32> = processes.iter().flat_map(|process| process.owned.iter().copied()).collect();
        assert_eq!(all.len(), owned.iter().sum::<usize>(), "a shard has two owners");
        if owned == counts && all.len() == 6 {
            return;
        }
        assert!(Instant::now() < deadline, "they own {owned:?} and should own {counts:?}");
    }
}

#[test]
fn shards_are_shared_and_come_back() {
    let world = world();
    let mut first = Process::join(&world, "a");
    settle(&mut [&mut first], &[6]);
    let mut second = Process::join(&world, "b");
    settle(&mut [&mut first, &mut second], &[3, 3]);
    let kept = first.owned.clone();
    // A restart within the session time-out moves nothing.
    drop(second);
    let mut second = Process::join(&world, "b");
    settle(&mut [&mut first, &mut second], &[3, 3]);
    assert_eq!(first.owned, kept);
    // One that does not come back loses its shards.
    drop(second);
    settle(&mut [&mut first], &[6]);
}

#[test]
fn of_two_processes_with_one_name_the_earlier_gets_an_error() {
    let world = world();
    let mut first = Process::join(&world, "a");
    settle(&mut [&mut first], &[6]);
    let mut second = Process::join(&world, "a");
    settle(&mut [&mut second], &[6]);
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        match first.step() {
            Err(error) => break error,
            Ok(()) => assert!(Instant::now() < deadline, "the earlier process got no error"),
        }
    };
    assert!(matches!(error, LogError::Failure(_)), "{error}");
}
