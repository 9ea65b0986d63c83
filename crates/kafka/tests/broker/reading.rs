//! Reads: committed records only, in order, to the end, and no offset lost silently.

use std::time::Instant;

use bytes::Bytes;
use millrace_log::{EARLIEST, Log, LogError, Record};
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::Producer;

use super::world::{LIMITS, PATIENCE, World, poll, read, restore, to, until, values};

#[test]
fn aborted_records_are_hidden_from_sessions_readers_and_restores() {
    let world = World::new();
    let (input, shard) = (world.topic("input"), world.shard());
    world.log.append(to(&input, &["a"])).unwrap();
    world.abort(&input, &["hidden 1", "hidden 2"]);
    world.log.append(to(&input, &["b"])).unwrap();
    world.abort(&shard.changelog, &["hidden"]);

    let mut session = world.log.open_shard(&shard).unwrap();
    assert_eq!(restore(&mut session, 0), (vec![], 2), "an aborted tail is after the end");
    session.assign(&[(input.clone(), 0)]).unwrap();
    let records = poll(&mut *session, 2);
    assert_eq!(values(&records), ["a", "b"]);
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 4]);
    assert_eq!(values(&world.read_all(&[&input])), ["a", "b"]);
}

#[test]
fn a_reader_is_caught_up_at_the_last_stable_record() {
    let world = World::new();
    let input = world.topic("input");
    let mut reader = world.log.reader(&[(input.clone(), 0)]).unwrap();
    assert!(reader.caught_up().unwrap(), "an empty partition");
    world.log.append(to(&input, &["a"])).unwrap();
    assert!(!reader.caught_up().unwrap());
    assert_eq!(values(&read(&mut *reader, 1)), ["a"]);
    assert!(reader.caught_up().unwrap());

    let producer = world.foreign_producer(&world.name("foreign"));
    world.leave_open(&producer, &input, &["open"]);
    assert!(reader.poll(LIMITS).unwrap().is_empty());
    assert!(reader.caught_up().unwrap(), "what is not committed does not count");
    producer.commit_transaction(PATIENCE).unwrap();
    // A broker answers a commit when it is decided; its records become visible a moment later.
    until("the commit is seen", || !reader.caught_up().unwrap());
    assert_eq!(values(&read(&mut *reader, 1)), ["open"]);
    assert!(reader.caught_up().unwrap(), "the commit marker is after the last record");
}

#[test]
fn a_reader_of_several_partitions_starts_at_each_one_s_offset() {
    let world = World::new();
    let (first, second) = (world.topic("first"), world.topic("second"));
    world.log.append([to(&first, &["a", "b"]), to(&second, &["c", "d", "e"])].concat()).unwrap();
    let mut reader = world.log.reader(&[(first, 1), (second, 2)]).unwrap();
    let mut seen = values(&read(&mut *reader, 2));
    seen.sort();
    assert_eq!(seen, ["b", "e"]);
    assert!(reader.caught_up().unwrap());
}

#[test]
fn a_record_arrives_as_it_was_sent() {
    let world = World::new();
    let input = world.topic("input");
    let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let headers = vec![("reason".to_owned(), Bytes::from_static(b"\0\xff")), ("reason".to_owned(), Bytes::new())];
    let sent = [
        Record {
            key: bytes("k"),
            value: bytes("v"),
            headers,
        },
        Record {
            key: bytes("k"),
            value: None,
            headers: Vec::new(),
        },
        Record {
            key: None,
            value: bytes(""),
            headers: Vec::new(),
        },
        Record {
            key: bytes(""),
            value: bytes("v"),
            headers: Vec::new(),
        },
    ];
    world.log.append(sent.iter().map(|record| (input.clone(), record.clone())).collect()).unwrap();
    let seen = world.read_all(&[&input]);
    assert_eq!(seen.iter().map(|delivered| delivered.record.clone()).collect::<Vec<_>>(), sent);
    assert!(
        seen.iter()
            .all(|delivered| delivered.source == input && delivered.timestamp.0 > 1_500_000_000_000)
    );
}

#[test]
fn a_poll_keeps_its_limits_and_loses_nothing() {
    let world = World::new();
    let (input, shard) = (world.topic("input"), world.shard());
    let sent: Vec<String> = (0..100).map(|number| format!("value {number:03}")).collect();
    world.log.append(to(&input, &sent.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    let mut session = world.log.open_shard(&shard).unwrap();
    session.assign(&[(input, 0)]).unwrap();
    let mut seen = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < sent.len() && Instant::now() < deadline {
        let limits = millrace_log::PollLimits {
            records_max: 7,
            bytes_max: 40,
            wait_ms_max: 200,
        };
        let records = session.poll(limits).unwrap();
        assert!(records.len() <= 5, "40 bytes are reached with the fifth value of 9");
        seen.extend(values(&records));
    }
    assert_eq!(seen, sent);
}

#[test]
fn an_offset_that_is_deleted_is_an_error() {
    let world = World::new();
    let (input, other, shard) = (world.topic("input"), world.topic("other"), world.shard());
    world.log.append(to(&input, &["a", "b", "c", "d"])).unwrap();
    delete_before(&world, &input.topic, 3);

    let mut session = world.log.open_shard(&shard).unwrap();
    session.assign(&[(other.clone(), 0), (input.clone(), 1)]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        match session.poll(LIMITS) {
            Err(error) => break error,
            Ok(records) => assert!(records.is_empty() && Instant::now() < deadline, "{records:?}"),
        }
    };
    assert!(
        matches!(&error, LogError::OffsetLost { topic, partition: 0, offset: 1 } if **topic == *input.topic),
        "{error}"
    );

    // From the earliest is where the log begins now; and a session after a lost one works.
    let mut session = world.log.open_shard(&shard).unwrap();
    session.assign(&[(input, EARLIEST)]).unwrap();
    assert_eq!(values(&poll(&mut *session, 1)), ["d"]);
}

#[test]
fn an_offset_past_the_end_of_the_changelog_is_an_error() {
    let world = World::new();
    let shard = world.shard();
    let mut session = world.log.open_shard(&shard).unwrap();
    let error = session.restore(10, &mut |_| {}).unwrap_err();
    assert!(matches!(error, LogError::OffsetLost { offset: 10, .. }), "{error}");
}

#[test]
fn a_restore_does_not_end_before_an_undecided_record() {
    let world = World::new();
    let shard = world.shard();
    let mut session = world.log.open_shard(&shard).unwrap();
    session.commit(super::world::records(to(&shard.changelog, &["a"]))).unwrap();
    let foreign = world.foreign_producer(&world.name("foreign"));
    world.leave_open(&foreign, &shard.changelog, &["hanging"]);
    let error = session.restore(EARLIEST, &mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, LogError::Unavailable(cause) if cause.to_string().contains("from offset 2 on")),
        "{error}"
    );
    foreign.abort_transaction(PATIENCE).unwrap();
    assert_eq!(restore(&mut session, EARLIEST), (vec!["a".into()], 4));
}

#[test]
fn a_restore_begins_where_the_changelog_does() {
    let world = World::new();
    let shard = world.shard();
    let mut session = world.log.open_shard(&shard).unwrap();
    session.commit(super::world::records(to(&shard.changelog, &["a", "b", "c"]))).unwrap();
    delete_before(&world, &shard.changelog.topic, 2);
    assert_eq!(restore(&mut session, EARLIEST), (vec!["c".into()], 4));
    assert!(matches!(session.restore(1, &mut |_| {}), Err(LogError::OffsetLost { offset: 1, .. })));
    assert!(matches!(session.restore(0, &mut |_| {}), Err(LogError::OffsetLost { offset: 0, .. })));
    delete_before(&world, &shard.changelog.topic, 4);
    assert_eq!(restore(&mut session, EARLIEST), (vec![], 4), "nothing is left");
}

#[test]
fn lag_falls_to_zero_though_the_last_offset_is_a_marker() {
    let world = World::new();
    let (input, shard) = (world.topic("input"), world.shard());
    let mut upstream = world
        .log
        .open_shard(&millrace_log::ShardIdentity {
            transactional_id: world.name("upstream"),
            ..shard.clone()
        })
        .unwrap();
    upstream.commit(super::world::records(to(&input, &["a", "b", "c"]))).unwrap();
    let mut session = world.log.open_shard(&shard).unwrap();
    session.assign(&[(input.clone(), 0)]).unwrap();
    assert_eq!(values(&poll(&mut *session, 3)), ["a", "b", "c"]);
    // By the earlier statistics one record is left: the marker counts until it is known to be one.
    // They come once a second, with a poll.
    until("nothing is left", || {
        session.poll(LIMITS).unwrap().is_empty() && session.lag() == [(input.clone(), 0)]
    });
}

fn delete_before(world: &World, topic: &str, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = rdkafka::ClientConfig::new().set("bootstrap.servers", &world.bootstrap).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Offset(offset)).unwrap();
    let deleting = admin.delete_records(&list, &AdminOptions::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(deleting).unwrap();
}
