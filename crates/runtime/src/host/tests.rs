//! Hosts with real threads on the embedded log: the toy deployment counts correctly across
//! restarts, take-overs and revocations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_log::{Durability, EARLIEST, EmbeddedConfig, EmbeddedLog, Log, LogError, PollLimits, Record, TopicPartition};
use millrace_model::ShardId;
use millrace_shard::machine::Measurement;
use tempfile::TempDir;

use super::{AllShards, Changes, Host, HostHandle, Ownership};
use crate::clock::SystemClock;
use crate::memory_store::MemoryDisk;
use crate::observe::Observer;
use crate::state::ShardState;
use crate::task::{TaskConfig, TaskContext};
use crate::topology::Topology;
use crate::toy::{Counter, SHARDS};

/// Sends each state change to the test, which would otherwise have to poll.
struct Teller(Mutex<Sender<(ShardId, ShardState)>>);

impl Observer for Teller {
    fn measured(&self, _: ShardId, _: &[Measurement]) {}

    fn state_changed(&self, shard: ShardId, state: &ShardState) {
        // The test may have ended.
        let _ = self.0.lock().unwrap().send((shard, state.clone()));
    }
}

/// Reports what the test scripts.
struct Scripted {
    changes: Receiver<Changes>,
    stopped: Sender<BTreeSet<u32>>,
}

impl Ownership for Scripted {
    fn changes(&mut self, wait_ms_max: u64) -> Result<Changes, LogError> {
        Ok(self.changes.recv_timeout(Duration::from_millis(wait_ms_max)).unwrap_or_default())
    }

    fn stopped(&mut self, shards: &BTreeSet<u32>) -> Result<(), LogError> {
        let _ = self.stopped.send(shards.clone());
        Ok(())
    }
}

struct World {
    log: EmbeddedLog,
    disks: Vec<MemoryDisk>,
    _dir: TempDir,
}

struct Running {
    handle: HostHandle,
    states: Receiver<(ShardId, ShardState)>,
    thread: std::thread::JoinHandle<Result<(), LogError>>,
}

const TOPOLOGY_PREFIX: &str = "host.";

impl World {
    fn new() -> World {
        let dir = TempDir::new().unwrap();
        let config = EmbeddedConfig {
            durability: Durability::Never,
            ..EmbeddedConfig::default()
        };
        let log = EmbeddedLog::open(dir.path(), config).unwrap();
        Topology::new(TOPOLOGY_PREFIX, SHARDS)
            .specs(SHARDS)
            .iter()
            .for_each(|spec| log.create_topic(spec).unwrap());
        World {
            log,
            disks: (0..SHARDS).map(|_| MemoryDisk::default()).collect(),
            _dir: dir,
        }
    }

    fn run(&self, ownership: Box<dyn Ownership>, disks: Vec<MemoryDisk>) -> Running {
        let (sender, states) = channel();
        let context = TaskContext {
            topology: Topology::new(TOPOLOGY_PREFIX, SHARDS),
            log: Arc::new(self.log.clone()),
            clock: Arc::new(SystemClock),
            observer: Arc::new(Teller(Mutex::new(sender))),
            make_machine: Arc::new(|shard| Box::new(Counter { shard })),
            config: TaskConfig::default(),
        };
        let host = Host::new(context, Arc::new(move |shard| Ok(Box::new(disks[shard as usize].open()))));
        let handle = host.handle();
        Running {
            handle,
            states,
            thread: std::thread::spawn(move || host.run(ownership)),
        }
    }

    fn send(&self, words: usize) {
        for number in 0..words {
            let partition = TopicPartition {
                topic: "host.source.activity".into(),
                partition: number as u32 % SHARDS,
            };
            let record = Record {
                key: None,
                value: Some(format!("word-{}", number % 7).into()),
                headers: Vec::new(),
            };
            self.log.append(vec![(partition, record)]).unwrap();
        }
    }

    /// Waits for this number of counts, and returns the greatest of each word.
    fn counts(&self, expected: usize) -> BTreeMap<String, u64> {
        let partitions: Vec<_> = (0..SHARDS)
            .map(|partition| {
                (
                    TopicPartition {
                        topic: "host.audience.membership".into(),
                        partition,
                    },
                    EARLIEST,
                )
            })
            .collect();
        let mut reader = self.log.reader(&partitions).unwrap();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut seen = 0;
        while seen < expected {
            let records = reader
                .poll(PollLimits {
                    records_max: 1_000,
                    bytes_max: 1 << 20,
                    wait_ms_max: 60_000,
                })
                .unwrap();
            assert!(!records.is_empty(), "{seen} of {expected} counts after a minute");
            for record in records.into_iter().map(|delivered| delivered.record) {
                let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                let Some(number) = text.strip_prefix("count ") else { continue };
                seen += 1;
                let count = counts.entry(String::from_utf8(record.key.unwrap().to_vec()).unwrap()).or_default();
                *count += 1;
                assert_eq!(number, count.to_string());
            }
        }
        counts
    }
}

impl Running {
    /// Waits until each of the shards has reported this state.
    fn await_state(&self, name: &str, shards: &[u32]) {
        let mut missing: BTreeSet<ShardId> = shards.iter().copied().map(ShardId).collect();
        while !missing.is_empty() {
            let (shard, state) = self.states.recv_timeout(Duration::from_secs(60)).unwrap();
            if state.name() == name {
                missing.remove(&shard);
            }
        }
    }

    fn stop(self) {
        self.handle.stop();
        self.thread.join().unwrap().unwrap();
    }
}

#[test]
fn all_shards_count_right_over_a_restart() {
    let world = World::new();
    let host = world.run(Box::new(AllShards::new(SHARDS)), world.disks.clone());
    world.send(700);
    let counts = world.counts(700);
    assert!(counts.len() == 7 && counts.values().all(|count| *count == 100), "{counts:?}");
    let health = host.handle.health();
    assert_eq!(
        health.iter().map(|health| health.shard).collect::<Vec<_>>(),
        ShardId::all(SHARDS).collect::<Vec<_>>()
    );
    assert!(host.handle.ready());
    assert!(ShardId::all(SHARDS).all(|shard| host.handle.reader(shard).unwrap().get(crate::meta::META_KEY).unwrap().is_some()));
    let handle = host.handle.clone();
    host.stop();
    assert!(handle.health().is_empty() && handle.reader(ShardId(0)).is_none());
    assert!(world.disks.iter().all(|disk| disk.unflushed() == 0), "stopped cleanly");

    let host = world.run(Box::new(AllShards::new(SHARDS)), world.disks.clone());
    world.send(70);
    assert!(world.counts(770).values().all(|count| *count == 110));
    host.stop();
}

#[test]
fn revoked_shards_stop_and_new_owners_go_on() {
    let world = World::new();
    let [(give_first, first_changes), (give_second, second_changes)] = [(); 2].map(|()| channel());
    let [(first_stopped, first_stops), (second_stopped, _second_stops)] = [(); 2].map(|()| channel());
    let first = world.run(
        Box::new(Scripted {
            changes: first_changes,
            stopped: first_stopped,
        }),
        world.disks.clone(),
    );
    let others: Vec<_> = world.disks.iter().map(|_| MemoryDisk::default()).collect();
    let second = world.run(
        Box::new(Scripted {
            changes: second_changes,
            stopped: second_stopped,
        }),
        others,
    );
    assert!(!first.handle.ready(), "nothing is assigned yet");

    give_first
        .send(Changes {
            assigned: (0..SHARDS).collect(),
            revoked: BTreeSet::new(),
        })
        .unwrap();
    world.send(70);
    world.counts(70);
    give_first
        .send(Changes {
            assigned: BTreeSet::new(),
            revoked: BTreeSet::from([0]),
        })
        .unwrap();
    assert_eq!(first_stops.recv_timeout(Duration::from_secs(60)).unwrap(), BTreeSet::from([0]));
    assert_eq!(first.handle.health().len() as u32, SHARDS - 1);
    first.await_state("released", &[0]);
    give_second
        .send(Changes {
            assigned: BTreeSet::from([0]),
            revoked: BTreeSet::new(),
        })
        .unwrap();
    world.send(70);
    world.counts(140);

    // The second takes a shard that the first still believes it owns: the first is fenced, and
    // every word is counted once.
    give_second
        .send(Changes {
            assigned: BTreeSet::from([1]),
            revoked: BTreeSet::new(),
        })
        .unwrap();
    second.await_state("running", &[0, 1]);
    world.send(70);
    assert!(world.counts(210).values().all(|count| *count == 30));
    first.stop();
    second.stop();
}
