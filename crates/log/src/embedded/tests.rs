//! The embedded log against its promises: whole commits or none, at whatever byte it was cut;
//! bounded disk; fencing.

mod damage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millrace_model::{DAY_MS, Timestamp};
use tempfile::TempDir;

use super::{Durability, EmbeddedConfig, EmbeddedLog, system_now};
use crate::random::Random;
use crate::{
    DELETE_CONSUMED, Delivered, EARLIEST, Log, LogError, Offset, PollLimits, Record, ShardIdentity, ShardSession, TopicPartition, TopicSpec, Transaction,
};

const ALL: PollLimits = PollLimits {
    records_max: 1_000_000,
    bytes_max: 1 << 30,
    wait_ms_max: 0,
};

fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        durability: Durability::Never,
        ..EmbeddedConfig::default()
    }
}

fn open(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(dir, config()).unwrap()
}

fn spec(name: &str, partitions: u32, compacted: bool, settings: &[(&str, &str)]) -> TopicSpec {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TopicSpec {
        name: name.to_owned(),
        partitions,
        compacted,
        settings,
    }
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: topic.into(),
        partition,
    }
}

fn record(key: &str, value: Option<&str>) -> Record {
    let headers = vec![("cause".to_owned(), Bytes::from_static(b"test"))];
    Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        headers,
    }
}

fn identity(shard: u32) -> ShardIdentity {
    ShardIdentity {
        transactional_id: format!("shard-{shard}"),
        group: "group".to_owned(),
        changelog: at("changelog", shard),
    }
}

fn session(log: &EmbeddedLog, shard: u32) -> Box<dyn ShardSession> {
    log.open_shard(&identity(shard)).unwrap()
}

fn read(log: &EmbeddedLog, partition: &TopicPartition) -> Vec<Delivered> {
    log.reader(&[(partition.clone(), EARLIEST)]).unwrap().poll(ALL).unwrap()
}

/// Every record and position, as one text.
fn shown(log: &EmbeddedLog) -> String {
    let mut text = String::new();
    let places: Vec<TopicPartition> = {
        let index = log.shared.index();
        index
            .topics
            .iter()
            .flat_map(|topic| (0..topic.partitions.len() as u32).map(|partition| at(&topic.name, partition)))
            .collect()
    };
    for partition in places {
        let values = read(log, &partition).into_iter().map(|delivered| {
            let text = |bytes: Option<Bytes>| bytes.map_or("-".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
            format!("{}:{}={}", delivered.offset, text(delivered.record.key), text(delivered.record.value))
        });
        text += &format!("{}/{} [{}] ", partition.topic, partition.partition, values.collect::<Vec<_>>().join(" "));
    }
    text + &format!("{:?}", log.shared.index().positions)
}

fn create_topics(log: &EmbeddedLog) {
    log.create_topic(&spec("input", 2, false, &[(DELETE_CONSUMED, "true")])).unwrap();
    log.create_topic(&spec("changelog", 2, true, &[])).unwrap();
}

fn commit(session: &mut dyn ShardSession, records: Vec<(TopicPartition, Record)>, positions: Vec<(TopicPartition, Offset)>) -> Option<Offset> {
    session.commit(Transaction { records, positions }).unwrap().changelog_end
}

/// A few commits over both topics, and what the log showed at each length of its file.
fn written(dir: &Path) -> (BTreeMap<usize, String>, PathBuf) {
    let log = open(dir);
    let mut states = BTreeMap::new();
    let mut note = |log: &EmbeddedLog| states.insert(log.size_bytes() as usize, shown(log));
    note(&log);
    log.create_topic(&spec("input", 2, false, &[])).unwrap();
    note(&log);
    log.create_topic(&spec("changelog", 2, true, &[])).unwrap();
    note(&log);
    let mut first = session(&log, 0);
    let mut second = session(&log, 1);
    for round in 0..5 {
        let value = "v".repeat(round);
        log.append(vec![(at("input", 0), record("a", Some(&value))), (at("input", 1), record("b", None))])
            .unwrap();
        note(&log);
        let rows = vec![
            (at("changelog", 0), record("x", Some(&value))),
            (at("input", 1), record("c", Some("sent"))),
            (at("changelog", 0), record("y", None)),
        ];
        commit(&mut *first, rows, vec![(at("input", 0), round as Offset + 1)]);
        note(&log);
        commit(&mut *second, vec![(at("changelog", 1), record("z", Some("")))], vec![]);
        note(&log);
    }
    (states, dir.join("0000000001-0000000001.journal"))
}

#[test]
fn a_cut_at_any_byte_leaves_whole_commits() {
    let dir = TempDir::new().unwrap();
    let (states, file) = written(dir.path());
    let whole = fs::read(&file).unwrap();
    let first = *states.keys().next().unwrap();
    for length in 0..=whole.len() {
        let copy = TempDir::new().unwrap();
        fs::write(copy.path().join(file.file_name().unwrap()), &whole[..length]).unwrap();
        fs::copy(dir.path().join("manifest"), copy.path().join("manifest")).unwrap();
        if length < first {
            // Its first frame was whole before the file had its name, so this is not a torn tail.
            let error = EmbeddedLog::open(copy.path(), config()).err().unwrap();
            assert!(millrace_model::chain(&error).contains("damaged"), "{error}");
            continue;
        }
        let log = open(copy.path());
        let expected = states.range(..=length).next_back().unwrap().1;
        assert_eq!(&shown(&log), expected, "cut at {length}");
        // It goes on from there, and the rest of the torn frame does not come back.
        if length % 7 == 0 && log.partitions("input").unwrap().is_some() {
            log.append(vec![(at("input", 0), record("new", None))]).unwrap();
            let after = shown(&log);
            drop(log);
            assert_eq!(shown(&open(copy.path())), after, "cut at {length}, then reopened");
        }
    }
}

#[test]
fn two_cannot_open_the_same_folder() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let error = EmbeddedLog::open(dir.path(), config()).err().unwrap();
    assert!(millrace_model::chain(&error).contains("open in another process"), "{error}");
    drop(log);
    open(dir.path());
}

#[test]
fn a_newer_session_fences_the_older() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    let mut old = session(&log, 0);
    assert_eq!(commit(&mut *old, vec![(at("changelog", 0), record("a", None))], vec![]), Some(1));
    let mut other = session(&log, 1);
    let mut new = session(&log, 0);
    let refused = old.commit(Transaction {
        records: vec![(at("changelog", 0), record("b", None))],
        positions: vec![],
    });
    assert!(matches!(refused, Err(LogError::Fenced)), "{refused:?}");
    assert_eq!(commit(&mut *new, vec![(at("changelog", 0), record("c", None))], vec![]), Some(2));
    assert_eq!(commit(&mut *other, vec![(at("changelog", 1), record("d", None))], vec![]), Some(1));
    let mut keys = Vec::new();
    let end = new.restore(EARLIEST, &mut |delivered| keys.push(delivered.record.key.unwrap())).unwrap();
    assert_eq!((end, keys), (2, vec![Bytes::from("a"), Bytes::from("c")]));
}

#[test]
fn a_refused_transaction_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    let before = shown(&log);
    let table = [
        (at("nowhere", 0), "topic nowhere does not exist"),
        (at("input", 2), "log failure: topic input has 2 partitions, none is 2"),
    ];
    for (place, expected) in table {
        let error = log.append(vec![(at("input", 0), record("a", None)), (place, record("b", None))]).unwrap_err();
        assert_eq!(millrace_model::chain(&error), expected);
        assert_eq!(shown(&log), before);
    }
    let error = log.create_topic(&spec("input", 3, false, &[])).unwrap_err();
    assert_eq!(millrace_model::chain(&error), "log failure: topic input has 2 partitions, not 3");
    log.create_topic(&spec("input", 2, true, &[])).unwrap();
}

#[test]
fn polls_keep_their_limits_and_miss_nothing() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    for round in 0..20 {
        log.append(
            (0..7)
                .map(|number| (at("input", number % 2), record(&format!("{round}-{number}"), Some("value"))))
                .collect(),
        )
        .unwrap();
    }
    for (records_max, bytes_max) in [(1, 1 << 20), (3, 1 << 20), (1_000, 1), (1_000, 100), (1_000, 1 << 20)] {
        let mut session = session(&log, 0);
        session.assign(&[(at("input", 0), EARLIEST), (at("input", 1), 0)]).unwrap();
        let mut read: BTreeMap<u32, Vec<Offset>> = BTreeMap::new();
        loop {
            let records = session
                .poll(PollLimits {
                    records_max,
                    bytes_max,
                    wait_ms_max: 0,
                })
                .unwrap();
            assert!(records.len() <= records_max);
            if records.is_empty() {
                break;
            }
            records
                .iter()
                .for_each(|delivered| read.entry(delivered.source.partition).or_default().push(delivered.offset));
        }
        assert_eq!(read, BTreeMap::from([(0, (0..80).collect()), (1, (0..60).collect())]));
        assert!(session.lag().iter().all(|(_, records)| *records == 0));
    }
}

#[test]
fn a_waiting_poll_wakes_when_something_comes() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    let mut session = session(&log, 0);
    session.assign(&[(at("input", 0), EARLIEST)]).unwrap();
    let waiting = std::thread::spawn(move || session.poll(PollLimits { wait_ms_max: 600_000, ..ALL }).unwrap().len());
    log.append(vec![(at("input", 1), record("elsewhere", None))]).unwrap();
    log.append(vec![(at("input", 0), record("here", None))]).unwrap();
    assert_eq!(waiting.join().unwrap(), 1);
}

#[test]
fn commits_of_many_threads_keep_every_sender_in_order() {
    const THREADS: u32 = 4;
    const COMMITS: u32 = 200;
    let dir = TempDir::new().unwrap();
    let config = EmbeddedConfig {
        segment_bytes: 20_000,
        ..config()
    };
    let log = EmbeddedLog::open(dir.path(), config.clone()).unwrap();
    log.create_topic(&spec("input", 2, false, &[])).unwrap();
    log.create_topic(&spec("changelog", THREADS, true, &[])).unwrap();
    std::thread::scope(|scope| {
        for shard in 0..THREADS {
            let log = log.clone();
            scope.spawn(move || {
                let mut session = session(&log, shard);
                for number in 0..COMMITS {
                    let sent = (at("input", number % 2), record(&shard.to_string(), Some(&number.to_string())));
                    let row = (at("changelog", shard), record(&number.to_string(), Some("row")));
                    assert_eq!(commit(&mut *session, vec![sent, row], vec![]), Some(Offset::from(number) + 1));
                }
            });
        }
        let log = log.clone();
        scope.spawn(move || (0..50).for_each(|_| log.clean(system_now(), true).unwrap()));
    });
    let check = |log: &EmbeddedLog| {
        for partition in 0..2 {
            let mut next: BTreeMap<Bytes, u32> = BTreeMap::new();
            for (expected, delivered) in read(log, &at("input", partition)).into_iter().enumerate() {
                assert_eq!(delivered.offset, expected as Offset);
                let next = next.entry(delivered.record.key.unwrap()).or_insert(partition);
                assert_eq!(delivered.record.value.unwrap(), next.to_string());
                *next += 2;
            }
            assert_eq!(next.len() as u32, THREADS);
            assert!(next.values().all(|next| *next == COMMITS + partition));
        }
        assert!((0..THREADS).all(|shard| read(log, &at("changelog", shard)).len() as u32 == COMMITS));
    };
    check(&log);
    drop(log);
    check(&EmbeddedLog::open(dir.path(), config).unwrap());
}

#[test]
fn consumed_and_old_records_go_and_the_disk_with_them() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    log.create_topic(&spec("kept", 1, false, &[("retention.ms", "3600000")])).unwrap();
    let mut shard = session(&log, 0);
    for number in 0..100 {
        let records = vec![(at("input", 0), record("a", Some(&"v".repeat(100)))), (at("kept", 0), record("b", None))];
        commit(&mut *shard, records, vec![(at("input", 0), number)]);
    }
    log.shared.writer().roll(&log.shared).unwrap();
    let before = log.size_bytes();
    log.clean(system_now(), true).unwrap();
    assert_eq!(log.bounds(&at("input", 0)).unwrap(), (99, 100));
    assert_eq!(read(&log, &at("kept", 0)).len(), 100);
    assert!(log.size_bytes() < before / 2, "{} of {before} bytes are left", log.size_bytes());

    let error = shard.assign(&[(at("input", 0), 98)]).unwrap_err();
    assert!(matches!(error, LogError::OffsetLost { offset: 98, .. }), "{error}");
    commit(&mut *shard, vec![], vec![(at("input", 0), 100)]);
    log.clean(system_now().plus_ms(3_700_000), true).unwrap();
    assert_eq!(log.bounds(&at("kept", 0)).unwrap(), (100, 100));
    assert_eq!(log.shared.index().segments.len(), 1, "only the active segment is left");
    drop(shard);
    drop(log);
    // Deleted records stay deleted, reading a position below fails, and offsets continue.
    let log = open(dir.path());
    assert_eq!(log.bounds(&at("kept", 0)).unwrap(), (100, 100));
    assert!(matches!(
        session(&log, 0).assign(&[(at("kept", 0), 50)]),
        Err(LogError::OffsetLost { offset: 50, .. })
    ));
    assert!(read(&log, &at("kept", 0)).is_empty());
}

/// The newest value per key, and the last offset: what compaction must not change.
fn latest(log: &EmbeddedLog, partition: &TopicPartition) -> BTreeMap<Bytes, (Offset, Option<Bytes>)> {
    read(log, partition)
        .into_iter()
        .map(|delivered| (delivered.record.key.unwrap(), (delivered.offset, delivered.record.value)))
        .collect()
}

#[test]
fn compaction_keeps_the_newest_of_each_key() {
    let mut random = Random::new(7);
    for _ in 0..20 {
        let dir = TempDir::new().unwrap();
        let config = EmbeddedConfig {
            segment_bytes: 3_000,
            clean_keys_max: 1 + random.below(40) as usize,
            ..config()
        };
        let mut log = EmbeddedLog::open(dir.path(), config.clone()).unwrap();
        create_topics(&log);
        let mut expected: BTreeMap<Bytes, (Offset, Option<Bytes>)> = BTreeMap::new();
        let mut offset = 0;
        for _ in 0..300 {
            let key = format!("key-{}", random.below(30));
            let value = random.chance(700).then(|| "v".repeat(random.below(50) as usize));
            let row = record(&key, value.as_deref());
            expected.insert(row.key.clone().unwrap(), (offset, row.value.clone()));
            offset += 1;
            log.append(vec![(at("changelog", 1), row)]).unwrap();
            if random.chance(30) {
                log.clean(system_now(), true).unwrap();
                assert_eq!(latest(&log, &at("changelog", 1)), expected);
            }
            if random.chance(20) {
                drop(log);
                log = EmbeddedLog::open(dir.path(), config.clone()).unwrap();
                assert_eq!(latest(&log, &at("changelog", 1)), expected);
            }
        }
        log.shared.writer().roll(&log.shared).unwrap();
        log.clean(system_now(), true).unwrap();
        assert_eq!(read(&log, &at("changelog", 1)).len(), expected.len(), "each key is there once");

        log.clean(system_now().plus_ms(2 * DAY_MS), true).unwrap();
        log.append(vec![(at("changelog", 1), record("last", Some("one")))]).unwrap();
        log.shared.writer().roll(&log.shared).unwrap();
        log.clean(system_now().plus_ms(2 * DAY_MS), true).unwrap();
        expected.retain(|_, (_, value)| value.is_some());
        expected.insert(Bytes::from("last"), (offset, Some(Bytes::from("one"))));
        assert_eq!(latest(&log, &at("changelog", 1)), expected, "old tombstones are gone");
    }
}

#[test]
fn left_overs_of_a_crash_amid_cleaning_do_no_harm() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    let mut copies = Vec::new();
    for number in 0..3 {
        log.append(vec![(at("changelog", 0), record("a", Some(&number.to_string())))]).unwrap();
        log.shared.writer().roll(&log.shared).unwrap();
        let name = format!("{:010}-{:010}.journal", number + 1, number + 1);
        copies.push((name.clone(), fs::read(dir.path().join(name)).unwrap()));
    }
    log.clean(system_now(), true).unwrap();
    let expected = shown(&log);
    drop(log);
    // As if the process had died before the replaced files were removed, while another one was
    // being written.
    copies.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    fs::write(dir.path().join("0000000001-0000000004.tmp"), b"half").unwrap();
    assert_eq!(shown(&open(dir.path())), expected);
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["0000000001-0000000003.journal", "0000000004-0000000004.journal", "lock", "manifest"]);
}

#[test]
fn a_restore_beyond_the_end_says_that_commits_are_lost() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    let mut shard = session(&log, 0);
    assert_eq!(shard.restore(EARLIEST, &mut |_| {}).unwrap(), 0);
    let error = shard.restore(1, &mut |_| {}).unwrap_err();
    assert!(matches!(error, LogError::OffsetLost { offset: 1, .. }), "{error}");
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    let error = super::writer::unwritten(std::io::ErrorKind::StorageFull.into());
    assert!(
        matches!(&error, LogError::Unavailable(reason) if reason.to_string().starts_with("the disk of the log is full")),
        "{error}"
    );
    let error = super::writer::unwritten(std::io::ErrorKind::PermissionDenied.into());
    assert!(matches!(error, LogError::Aborted(_)), "{error}");
}

#[test]
fn timestamps_are_the_times_of_the_commits() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    let before = system_now();
    log.append(vec![(at("input", 0), record("a", None))]).unwrap();
    let taken: Vec<Timestamp> = read(&log, &at("input", 0)).into_iter().map(|delivered| delivered.timestamp).collect();
    assert!(taken.len() == 1 && before <= taken[0] && taken[0] <= system_now());
}
