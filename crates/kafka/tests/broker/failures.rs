//! A broker that goes away.

use std::time::Instant;

use millrace_kafka_harness::KafkaBroker;
use millrace_log::{Log, LogError};

use super::world::{PATIENCE, World, records, restore, to, until, values};

#[test]
fn a_commit_without_a_broker_has_an_unknown_outcome_and_a_recovery_tells() {
    let mut broker = KafkaBroker::start();
    let world = World::on(broker.bootstrap(), &[("transaction.timeout.ms", "3000")]);
    let (input, shard) = (world.topic("input"), world.shard());
    let mut session = world.log.open_shard(&shard).unwrap();
    session.commit(records(to(&shard.changelog, &["kept"]))).unwrap();
    until("the commit is seen", || values(&world.read_all(&[&shard.changelog])) == ["kept"]);

    broker.kill();
    let began = Instant::now();
    let error = session.commit(records(to(&shard.changelog, &["in doubt"]))).unwrap_err();
    assert!(matches!(error, LogError::OutcomeUnknown(_)), "{error}");
    assert!(began.elapsed() < PATIENCE);
    // Releasing the session does not wait for the broker.
    let began = Instant::now();
    drop(session);
    assert!(began.elapsed().as_millis() < 500, "{:?}", began.elapsed());

    broker.restart();
    let mut session = world.log.open_shard(&shard).unwrap();
    let (seen, _) = restore(&mut session, 0);
    assert_eq!(seen, ["kept"]);
    session.commit(records(to(&shard.changelog, &["again"]))).unwrap();
    assert_eq!(values(&world.read_all(&[&shard.changelog])), ["kept", "again"]);

    // A session that only reads continues across a restart.
    session.assign(&[(input.clone(), 0)]).unwrap();
    assert!(session.poll(super::world::LIMITS).unwrap().is_empty());
    broker.restart();
    world.log.append(to(&input, &["after"])).unwrap();
    assert_eq!(values(&super::world::poll(&mut *session, 1)), ["after"]);
}
