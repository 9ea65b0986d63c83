//! A disk without room, and a store that is ahead of its log.

use millrace_log::{Log, LogError, Offset, Reader, ShardIdentity, ShardSession, TopicSpec};

use super::*;

/// A store whose disk is full while the test says so.
struct Narrow {
    store: MemoryStore,
    full: Arc<Mutex<bool>>,
    /// Whether it fails only when written to, as where others fill the disk between two checks.
    late: bool,
}

impl Narrow {
    fn refuse(&self) -> Result<(), StateError> {
        if *self.full.lock().unwrap() {
            return Err(StateError::NoRoom("the disk is full".into()));
        }
        Ok(())
    }
}

impl StateView for Narrow {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.store.get(key)
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        self.store.scan(lower, upper, limit)
    }
}

impl StateStore for Narrow {
    fn changelog_position(&self) -> Result<Option<i64>, StateError> {
        self.store.changelog_position()
    }

    fn apply(&mut self, rows: Vec<RowChange>, changelog_position: i64) -> Result<(), StateError> {
        self.refuse()?;
        self.store.apply(rows, changelog_position)
    }

    fn room(&self) -> Result<(), StateError> {
        if self.late { Ok(()) } else { self.refuse() }
    }

    fn flush(&mut self) -> Result<(), StateError> {
        self.refuse()?;
        self.store.flush()
    }

    fn clear(&mut self) -> Result<(), StateError> {
        panic!("state was dropped because a disk is full");
    }

    fn reader(&self) -> Arc<dyn StateView + Send + Sync> {
        self.store.reader()
    }

    fn size_bytes(&self) -> u64 {
        self.store.size_bytes()
    }
}

#[test]
fn without_room_no_input_is_taken_and_with_room_it_goes_on() {
    for late in [false, true] {
        let mut world = World::new(config(), |inputs, _| rows(inputs));
        let full = Arc::new(Mutex::new(false));
        let store = Narrow {
            store: world.disk.open(),
            full: Arc::clone(&full),
            late,
        };
        world.notes.0.lock().unwrap().clear();
        world.task = ShardTask::new(ShardId(1), world.context.clone(), Box::new(store));
        world.settle();
        *full.lock().unwrap() = true;
        world.pass(60_000);
        world.send("a");
        for _ in 0..50 {
            world.settle();
            world.pass(1_000);
        }
        let ShardState::Waiting { reason, .. } = world.task.state().clone() else {
            panic!("{:?}", world.task.state());
        };
        assert!(reason.contains("the disk is full"), "{reason}");
        assert_eq!(world.disk.get(b"a").unwrap(), None);
        // Rows committed before the disk was found full are in the log, once; otherwise no input
        // was taken.
        assert_eq!(world.changelog(), if late { vec!["a"] } else { vec![] });
        if !late {
            assert_eq!(*world.notes.0.lock().unwrap(), ["opening", "running", "waiting"], "it is said once");
        }
        *full.lock().unwrap() = false;
        world.pass(20_000);
        world.settle();
        assert_eq!(*world.task.state(), ShardState::Running);
        assert!(world.disk.get(b"a").unwrap().is_some());
        assert_eq!(world.changelog(), ["a"]);
    }
}

/// A log that does not promise to keep what it acknowledged.
struct Forgetful(SimulatedLog);

impl Log for Forgetful {
    fn keeps_what_it_acknowledged(&self) -> bool {
        false
    }

    fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.0.partitions(topic)
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.0.create_topic(spec)
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<(), LogError> {
        self.0.append(records)
    }

    fn open_shard(&self, shard: &ShardIdentity) -> Result<Box<dyn ShardSession>, LogError> {
        self.0.open_shard(shard)
    }

    fn reader(&self, from: &[(TopicPartition, Offset)]) -> Result<Box<dyn Reader>, LogError> {
        self.0.reader(from)
    }
}

#[test]
fn a_store_ahead_of_the_log_is_left_alone_unless_the_log_may_forget() {
    for forgetful in [false, true] {
        let mut world = World::new(config(), |inputs, _| rows(inputs));
        if forgetful {
            world.context.log = Arc::new(Forgetful(world.log.clone()));
        }
        world.send("a");
        world.settle();
        let ghost = vec![(b"ghost".to_vec(), Some(b"1".to_vec()))];
        world.disk.open().apply(ghost, 1_000).unwrap();
        world.reopen();
        world.settle();
        if forgetful {
            assert_eq!(*world.task.state(), ShardState::Running);
            assert_eq!((world.disk.get(b"ghost").unwrap(), world.disk.get(b"a").unwrap()), (None, Some(b"1".to_vec())));
        } else {
            let reason = world.failure();
            assert!(
                reason.starts_with("the state of shard 1 is ahead of the log: it holds all changes before offset 1000"),
                "{reason}"
            );
            assert!(world.disk.get(b"ghost").unwrap().is_some(), "it was wiped");
        }
    }
}
