//! Commits: together or not at all, and by one owner only.

use millrace_log::{Log, LogError, Receipt, Transaction};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, TopicPartitionList};

use super::world::{PATIENCE, World, poll, record, records, restore, to, values};

#[test]
fn a_commit_shows_records_and_positions_together() {
    let world = World::new();
    let (input, output, shard) = (world.topic("input"), world.topic("output"), world.shard());
    world.log.append(to(&input, &["a", "b", "c"])).unwrap();

    let mut session = world.log.open_shard(&shard).unwrap();
    assert_eq!(restore(&mut session, 0), (vec![], 0));
    session.assign(&[(input.clone(), 0)]).unwrap();
    let read = poll(&mut *session, 3);
    assert_eq!(values(&read), ["a", "b", "c"]);
    assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2]);

    let records = [to(&output, &["x"]), to(&shard.changelog, &["row 1", "row 2"])].concat();
    let receipt = session
        .commit(Transaction {
            records,
            positions: vec![(input.clone(), 3)],
        })
        .unwrap();
    assert_eq!(receipt, Receipt { changelog_end: Some(2) });
    assert_eq!(values(&world.read_all(&[&output])), ["x"]);
    assert_eq!(committed(&world, &shard.group, &input.topic), rdkafka::Offset::Offset(3));

    // The record after the commit marker.
    let receipt = session.commit(records_to(&shard.changelog, "row 3")).unwrap();
    assert_eq!(receipt, Receipt { changelog_end: Some(4) });
    drop(session);
    let mut next = world.log.open_shard(&shard).unwrap();
    assert_eq!(restore(&mut next, 0), (vec!["row 1".into(), "row 2".into(), "row 3".into()], 5));
    assert_eq!(restore(&mut next, 2), (vec!["row 3".into()], 5));
    assert_eq!(restore(&mut next, 4), (vec![], 5), "only the marker is left");
    assert_eq!(restore(&mut next, 5), (vec![], 5));
}

fn records_to(target: &millrace_log::TopicPartition, value: &str) -> Transaction {
    records(to(target, &[value]))
}

fn committed(world: &World, group: &str, topic: &str) -> rdkafka::Offset {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.bootstrap)
        .set("group.id", group)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    let list = consumer.committed_offsets(list, PATIENCE).unwrap();
    list.elements()[0].offset()
}

#[test]
fn empty_and_partial_commits() {
    let world = World::new();
    let (input, shard) = (world.topic("input"), world.shard());
    let mut session = world.log.open_shard(&shard).unwrap();
    assert_eq!(session.commit(Transaction::default()).unwrap(), Receipt { changelog_end: None });
    // Positions alone; then records alone.
    let positions = Transaction {
        records: Vec::new(),
        positions: vec![(input.clone(), 7)],
    };
    assert_eq!(session.commit(positions).unwrap(), Receipt { changelog_end: None });
    assert_eq!(committed(&world, &shard.group, &input.topic), rdkafka::Offset::Offset(7));
    assert_eq!(session.commit(records_to(&input, "a")).unwrap(), Receipt { changelog_end: None });
}

#[test]
fn a_later_session_fences_the_earlier_one() {
    let world = World::new();
    let shard = world.shard();
    let mut zombie = world.log.open_shard(&shard).unwrap();
    zombie.commit(records_to(&shard.changelog, "before")).unwrap();
    let mut owner = world.log_again().open_shard(&shard).unwrap();
    let refused = zombie.commit(records_to(&shard.changelog, "zombie")).unwrap_err();
    assert!(matches!(refused, LogError::Fenced), "{refused}");
    owner.commit(records_to(&shard.changelog, "after")).unwrap();
    assert_eq!(values(&world.read_all(&[&shard.changelog])), ["before", "after"]);
}

#[test]
fn opening_a_shard_aborts_what_its_last_owner_left_open() {
    let world = World::new();
    let shard = world.shard();
    let crashed = world.foreign_producer(&shard.transactional_id);
    world.leave_open(&crashed, &shard.changelog, &["half"]);
    let mut session = world.log.open_shard(&shard).unwrap();
    let (seen, end) = restore(&mut session, 0);
    assert_eq!((seen, end), (vec![], 2), "the record and the marker of its abort");
    session.commit(records_to(&shard.changelog, "whole")).unwrap();
    assert_eq!(values(&world.read_all(&[&shard.changelog])), ["whole"]);
    // The crashed owner wakes up.
    assert!(crashed.commit_transaction(PATIENCE).is_err());
}

#[test]
fn a_commit_to_a_topic_that_does_not_exist_leaves_nothing() {
    let world = World::on(
        millrace_kafka_harness::KafkaBroker::shared().bootstrap(),
        &[("topic.metadata.propagation.max.ms", "500")],
    );
    let shard = world.shard();
    let missing = millrace_log::TopicPartition {
        topic: world.name("missing").into(),
        partition: 0,
    };
    let mut session = world.log.open_shard(&shard).unwrap();
    let refused = session
        .commit(records([to(&shard.changelog, &["a"]), to(&missing, &["b"])].concat()))
        .unwrap_err();
    assert!(
        matches!(&refused, LogError::NoSuchTopic(topics) if topics.contains(&*missing.topic)),
        "{refused}"
    );
    drop(session);
    let mut session = world.log.open_shard(&shard).unwrap();
    assert!(restore(&mut session, 0).0.is_empty());
}

#[test]
fn a_record_too_large_is_a_failure_and_leaves_nothing() {
    let world = World::new();
    let shard = world.shard();
    let mut session = world.log.open_shard(&shard).unwrap();
    let large = "x".repeat(millrace_runtime::topology::RECORD_BYTES_MAX as usize + 1);
    let refused = session
        .commit(records(
            [to(&shard.changelog, &["a"]), vec![(shard.changelog.clone(), record(&large))]].concat(),
        ))
        .unwrap_err();
    assert!(matches!(refused, LogError::Failure(_)), "{refused}");
    let mut session = world.log.open_shard(&shard).unwrap();
    assert!(restore(&mut session, 0).0.is_empty());
}

#[test]
fn more_than_the_queue_holds_is_committed_whole() {
    let world = World::on(
        millrace_kafka_harness::KafkaBroker::shared().bootstrap(),
        &[("queue.buffering.max.messages", "100")],
    );
    let shard = world.shard();
    let mut session = world.log.open_shard(&shard).unwrap();
    let rows: Vec<String> = (0..5000).map(|row| format!("row {row}")).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(
        session.commit(records(to(&shard.changelog, &rows))).unwrap(),
        Receipt { changelog_end: Some(5000) }
    );
    drop(session);
    let mut next = world.log.open_shard(&shard).unwrap();
    assert!(restore(&mut next, 0).0 == rows, "the changelog is not what was committed");
}
