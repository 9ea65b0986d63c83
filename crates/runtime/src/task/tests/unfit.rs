//! Stores that fail, or whose rows are not the shard's: they are restored from the changelog.

use super::*;

/// The world's shard runs on a store that fails when the test says so.
fn failing(world: &mut World) -> Failing {
    let store = Failing {
        disk: world.disk.clone(),
        failures: Arc::default(),
        cleared: Arc::default(),
        damaged: Arc::default(),
    };
    world.task = ShardTask::new(ShardId(1), world.context.clone(), Box::new(store.clone()));
    world.settle();
    store
}

#[test]
fn an_old_store_is_discarded() {
    for (age_ms, kept) in [(config().store_age_ms_max, true), (config().store_age_ms_max + 1, false)] {
        let mut world = World::new(config(), |inputs, _| rows(inputs));
        world.send("a");
        world.settle();
        // A row whose tombstone the changelog has forgotten.
        let position = world.disk.open().changelog_position().unwrap().unwrap();
        world.disk.open().apply(vec![(b"ghost".to_vec(), Some(b"1".to_vec()))], position).unwrap();
        world.pass(age_ms);
        world.reopen();
        world.settle();
        assert_eq!(world.disk.get(b"ghost").unwrap().is_some(), kept, "after {} days", age_ms / DAY_MS);
        assert!(world.disk.get(b"a").unwrap().is_some());
    }
}

#[test]
fn a_failing_store_is_recovered_then_rebuilt_then_given_up() {
    let table = [(1, "running", 0), (2, "running", 1), (3, "failed", 1)];
    for (failures, state, cleared) in table {
        let mut world = World::new(config(), |inputs, _| rows(inputs));
        let store = failing(&mut world);
        *store.failures.lock().unwrap() = failures;
        world.send("a");
        for _ in 0..5 {
            world.settle();
            world.pass(1_000);
        }
        assert_eq!(
            (world.task.state().name(), *store.cleared.lock().unwrap()),
            (state, cleared),
            "after {failures} failures"
        );
        assert_eq!(world.changelog(), ["a"], "committed once, whatever the store does");
        assert_eq!(world.disk.get(b"a").unwrap().is_some(), state == "running");
    }
}

/// Refuses inputs for now, this many times.
struct NotNow(Arc<Mutex<u32>>);

impl Machine for NotNow {
    fn derive(&mut self, _: &dyn StateView, _: &[RowChange]) -> Result<Vec<RowChange>, StateError> {
        Ok(Vec::new())
    }

    fn start(&mut self, _: &dyn StateView) -> Result<(), StateError> {
        Ok(())
    }

    fn step(&mut self, _: &dyn StateView, inputs: &[Input], _: Timestamp, _: Budget<'_>) -> Result<Effects, StateError> {
        let mut left = self.0.lock().unwrap();
        if inputs.is_empty() || *left == 0 {
            return Ok(rows(inputs));
        }
        *left -= 1;
        Err(StateError::NotYet("the registry is away".into()))
    }

    fn committed(&mut self) {}

    fn next_timer(&self, _: &dyn StateView) -> Result<Timestamp, StateError> {
        Ok(Timestamp::MAX)
    }
}

#[test]
fn what_an_input_waits_for_is_no_failure_of_the_store() {
    let mut world = World::new(config(), |inputs, _| rows(inputs));
    let left = Arc::new(Mutex::new(7));
    let refusals = Arc::clone(&left);
    world.context.make_machine = Arc::new(move |_| Box::new(NotNow(Arc::clone(&refusals))));
    let store = failing(&mut world);
    world.send("a");
    for _ in 0..12 {
        world.settle();
        world.pass(60_000);
    }
    assert_eq!((*left.lock().unwrap(), *store.cleared.lock().unwrap()), (0, 0));
    assert_eq!(*world.task.state(), ShardState::Running);
    assert!(world.disk.get(b"a").unwrap().is_some());
}

#[test]
fn rows_that_a_reader_finds_damaged_are_restored() {
    let mut world = World::new(config(), |inputs, _| rows(inputs));
    let store = failing(&mut world);
    world.send("a");
    world.settle();
    *store.damaged.lock().unwrap() = true;
    for _ in 0..3 {
        world.pass(1_000);
        world.settle();
    }
    assert_eq!((world.task.state().name(), *store.cleared.lock().unwrap()), ("running", 1));
    assert!(world.disk.get(b"a").unwrap().is_some());
}

#[test]
fn the_store_of_another_shard_is_discarded() {
    for (shard, kept) in [(Some(1), true), (None, true), (Some(0), false)] {
        let mut world = World::new(config(), |inputs, _| rows(inputs));
        world.send("a");
        world.settle();
        let meta = Meta { shard, ..world.meta() };
        let position = world.disk.open().changelog_position().unwrap().unwrap();
        let foreign = vec![(META_KEY.to_vec(), Some(meta.encode())), (b"ghost".to_vec(), Some(b"1".to_vec()))];
        world.disk.open().apply(foreign, position).unwrap();
        world.reopen();
        world.settle();
        assert_eq!(world.disk.get(b"ghost").unwrap().is_some(), kept, "{shard:?}");
        assert!(world.disk.get(b"a").unwrap().is_some());
        assert_eq!(world.task.state().name(), "running");
    }
}
