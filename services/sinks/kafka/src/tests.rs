//! Copies on the embedded log, with processes that die at every point: each net change is there
//! once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millrace_connect::sink::{Brake, FaultPlan, Point, PreviewContext, SinkContext, SinkError, SinkTask, preview};
use millrace_log::random::Random;
use millrace_log::{Durability, EARLIEST, EmbeddedConfig, EmbeddedLog, Log, PollLimits, Record, TopicPartition, TopicSpec};
use millrace_model::{Identity, Timestamp};
use millrace_runtime::memory_store::MemoryDisk;
use millrace_shard::murmur::partition_of;
use millrace_test_seeds::seeds;
use millrace_wire::{DestinationState, OutputCodec, Presence};
use serde_json::{Value, json};

use crate::{Config, KafkaSink};

const PARTITIONS: u32 = 2;
const COPY_PARTITIONS: u32 = 3;

/// Dies now and then, by a seed.
#[derive(Default)]
struct Storm(Mutex<Option<Random>>);

impl FaultPlan for Storm {
    fn dies(&self, _: Point) -> bool {
        self.0.lock().expect("no panic").as_mut().is_some_and(|random| random.chance(60))
    }
}

struct Stage {
    log: EmbeddedLog,
    _folder: tempfile::TempDir,
    disks: BTreeMap<u32, MemoryDisk>,
    now: Arc<AtomicI64>,
    storm: Arc<Storm>,
    settings: Value,
    contested: bool,
    /// The desired state by audience and id: the title of those who are present.
    desired: BTreeMap<(String, String), String>,
}

fn topic(name: &str, partitions: u32, compacted: bool) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        compacted,
        settings: Vec::new(),
    }
}

impl Stage {
    fn new(settings: Value) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let config = EmbeddedConfig {
            durability: Durability::Never,
            ..EmbeddedConfig::default()
        };
        let log = EmbeddedLog::open(folder.path(), config).expect("a log");
        for spec in [
            topic("d", PARTITIONS, true),
            topic("c", PARTITIONS, true),
            topic("dead", 1, false),
            topic("copy", COPY_PARTITIONS, false),
        ] {
            log.create_topic(&spec).expect("a topic");
        }
        Stage {
            log,
            _folder: folder,
            disks: (0..PARTITIONS).map(|number| (number, MemoryDisk::default())).collect(),
            // Later than any clock that the log stamps records with: a record from the future would wait.
            now: Arc::new(AtomicI64::new(4_091_904_000_000)),
            storm: Arc::default(),
            settings,
            contested: false,
            desired: BTreeMap::new(),
        }
    }

    fn sink(&self) -> KafkaSink {
        KafkaSink::new(serde_json::from_value(self.settings.clone()).expect("of this form"))
    }

    fn task(&self) -> SinkTask {
        let (disks, now) = (self.disks.clone(), Arc::clone(&self.now));
        let context = SinkContext {
            name: "copy".to_owned(),
            log: Arc::new(self.log.clone()),
            topic: "d".to_owned(),
            partitions: PARTITIONS,
            changelog: "c".to_owned(),
            dead_letters: TopicPartition {
                topic: "dead".into(),
                partition: 0,
            },
            application: "t.sink.copy".to_owned(),
            contested: self.contested,
            clock: Arc::new(move || Timestamp(now.load(Ordering::SeqCst))),
            open_ledger: Arc::new(move |number| Ok(Box::new(disks[&number].open()))),
            registry: None,
            brake: Brake {
                share: 1.0,
                ..Brake::default()
            },
            pending_max: 100_000,
            idle_wait_ms: 0,
            suppressed: Arc::new(|_| false),
            faults: Arc::clone(&self.storm) as Arc<dyn FaultPlan>,
        };
        SinkTask::new(Arc::new(context), Box::new(self.sink()))
    }

    fn opened(&self) -> SinkTask {
        let mut task = self.task();
        (0..PARTITIONS).for_each(|number| task.open(number).expect("opens"));
        task
    }

    fn desire(&mut self, audience: &str, id: &str, title: Option<&str>) {
        let place = (audience.to_owned(), id.to_owned());
        match title {
            Some(title) => drop(self.desired.insert(place, title.to_owned())),
            None => drop(self.desired.remove(&place)),
        }
        let state = DestinationState {
            destination: "copy".to_owned(),
            audience: audience.to_owned(),
            identity: Identity::new("email", id).expect("an identity"),
            state: if title.is_some() { Presence::Present } else { Presence::Absent },
            attributes: title.map(|title| ("title".to_owned(), json!(title))).into_iter().collect(),
            changed_at: Timestamp(self.now.fetch_add(1, Ordering::SeqCst)),
        };
        let key = Bytes::from(state.key());
        let partition = partition_of(&key, PARTITIONS);
        let record = Record {
            value: Some(Bytes::from(OutputCodec::SingleObject.encode_destination_state(&state).expect("encodes"))),
            key: Some(key),
            headers: Vec::new(),
        };
        self.log
            .append(vec![(TopicPartition { topic: "d".into(), partition }, record)])
            .expect("appended");
    }

    fn settle(&self, task: &mut SinkTask) {
        for _ in 0..50 {
            task.step().map_err(|(_, error)| error).expect("no failure");
            self.now.fetch_add(1_000, Ordering::SeqCst);
        }
    }

    /// The committed records of the copy, by key, in their order; none for a tombstone.
    fn copies(&self) -> BTreeMap<String, Vec<Option<Value>>> {
        let from: Vec<(TopicPartition, i64)> = (0..COPY_PARTITIONS)
            .map(|partition| {
                (
                    TopicPartition {
                        topic: "copy".into(),
                        partition,
                    },
                    EARLIEST,
                )
            })
            .collect();
        let mut reader = self.log.reader(&from).expect("a reader");
        let limits = PollLimits {
            records_max: 100_000,
            bytes_max: 64 << 20,
            wait_ms_max: 0,
        };
        let mut copies: BTreeMap<String, Vec<Option<Value>>> = BTreeMap::new();
        loop {
            let records = reader.poll(limits).expect("read");
            if records.is_empty() {
                return copies;
            }
            for delivered in records {
                let key = delivered.record.key.expect("a key");
                assert_eq!(delivered.source.partition, partition_of(&key, COPY_PARTITIONS));
                let value = delivered.record.value.map(|value| serde_json::from_slice(&value).expect("JSON"));
                copies.entry(String::from_utf8(key.to_vec()).expect("text")).or_default().push(value);
            }
        }
    }
}

/// Whether a member is present by a record, and under which title.
fn shown(value: &Option<Value>) -> Option<String> {
    let value = value.as_ref().filter(|value| value["status"] == "realized")?;
    Some(value["attributes"]["title"].as_str().unwrap_or_default().to_owned())
}

/// Returns kills, records, and changes of the desired state.
fn storm(seed: u64) -> (u64, usize, u64) {
    let mut random = Random::new(seed);
    let exits = ["value", "tombstone"][usize::try_from(random.below(2)).expect("small")];
    let mut stage = Stage::new(json!({"topic": "copy", "exits": exits}));
    stage.contested = random.chance(500);
    *stage.storm.0.lock().expect("no panic") = Some(random.fork());
    let (mut task, mut kills, mut changes): (Option<SinkTask>, u64, u64) = (None, 0, 0);
    for _ in 0..300 {
        if random.chance(700) {
            let (audience, id) = (format!("a{}", random.below(2)), format!("p{}@x.com", random.below(8)));
            let title = format!("t{}", random.below(3));
            stage.desire(&audience, &id, random.chance(600).then_some(title.as_str()));
            changes += 1;
        }
        let mut alive = task.take().unwrap_or_else(|| stage.task());
        let open = alive.partitions();
        let opened = (0..PARTITIONS)
            .filter(|number| !open.contains(number))
            .try_for_each(|number| alive.open(number));
        let lived = opened.and_then(|()| alive.step().map(|_| ()).map_err(|(_, error)| error));
        stage.now.fetch_add(i64::try_from(random.below(1_000)).expect("small"), Ordering::SeqCst);
        match lived {
            Ok(()) => task = Some(alive),
            Err(SinkError::Killed(_)) => {
                kills += 1;
                drop(alive);
                for disk in stage.disks.values() {
                    let kept = random.below(disk.unflushed() as u64 + 1);
                    disk.crash(usize::try_from(kept).expect("small"));
                }
            }
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
    }
    drop(task);
    *stage.storm.0.lock().expect("no panic") = None;
    stage.settle(&mut stage.opened());
    let copies = stage.copies();
    for (key, records) in &copies {
        let states: Vec<Option<String>> = records.iter().map(shown).collect();
        assert!(states[0].is_some(), "seed {seed}: {key} begins with an exit");
        assert!(
            states.windows(2).all(|pair| pair[0] != pair[1]),
            "seed {seed}: {key} repeats itself: {states:?}"
        );
    }
    let last = copies.iter().filter_map(|(key, records)| Some((key.clone(), shown(records.last()?)?)));
    let desired = stage
        .desired
        .iter()
        .map(|((audience, id), title)| (format!("{audience}|email:{id}"), title.clone()));
    assert_eq!(last.collect::<BTreeMap<_, _>>(), desired.collect::<BTreeMap<_, _>>(), "seed {seed}");
    (kills, copies.values().map(Vec::len).sum(), changes)
}

#[test]
fn each_net_change_is_there_once_whatever_dies() {
    let (mut storms, mut kills, mut records, mut changes) = (0, 0, 0, 0);
    for seed in seeds!(400..440) {
        let (killed, copied, changed) = storm(seed);
        storms += 1;
        kills += killed;
        records += copied;
        changes += changed;
    }
    println!("{storms} storms: {kills} kills, {records} records of {changes} changes");
    assert!(storms < 40 || kills > 500, "{kills}");
}

#[test]
fn keys_and_exits_are_as_configured() {
    let table = [
        (json!({"topic": "copy"}), "hot|email:pat@x.com", true),
        (json!({"topic": "copy", "key": "identity"}), "email:pat@x.com", true),
        (json!({"topic": "copy", "key": "id", "exits": "tombstone"}), "pat@x.com", false),
    ];
    for (settings, key, exit_has_value) in table {
        let mut stage = Stage::new(settings);
        stage.desire("hot", "pat@x.com", Some("Chief"));
        let mut task = stage.opened();
        stage.settle(&mut task);
        stage.desire("hot", "pat@x.com", None);
        stage.settle(&mut task);
        let copies = stage.copies();
        assert_eq!(copies.keys().collect::<Vec<_>>(), [key]);
        let entered = copies[key][0].clone().expect("a value");
        assert_eq!(
            (
                &entered["audience"],
                &entered["namespace"],
                &entered["id"],
                &entered["status"],
                &entered["attributes"]
            ),
            (
                &json!("hot"),
                &json!("email"),
                &json!("pat@x.com"),
                &json!("realized"),
                &json!({"title": "Chief"})
            )
        );
        assert_eq!(copies[key].len(), 2);
        assert_eq!(copies[key][1].is_some(), exit_has_value);
    }
}

#[test]
fn a_topic_that_is_missing_is_waited_for_and_nothing_is_lost() {
    let mut stage = Stage::new(json!({"topic": "later"}));
    stage.desire("hot", "pat@x.com", Some("Chief"));
    // Enters and leaves while nothing can be written: it is never seen.
    stage.desire("hot", "bob@x.com", Some("Clerk"));
    let mut task = stage.opened();
    stage.settle(&mut task);
    stage.desire("hot", "bob@x.com", None);
    stage.settle(&mut task);
    assert_eq!(task.status().error.as_deref(), Some("there is no topic `later`"));
    stage.log.create_topic(&topic("later", 1, false)).expect("a topic");
    stage.now.fetch_add(600_000, Ordering::SeqCst);
    stage.settle(&mut task);
    let place = TopicPartition {
        topic: "later".into(),
        partition: 0,
    };
    let limits = PollLimits {
        records_max: 100,
        bytes_max: 1 << 20,
        wait_ms_max: 0,
    };
    let records = stage.log.reader(&[(place, EARLIEST)]).expect("a reader").poll(limits).expect("read");
    let keys: Vec<_> = records.into_iter().filter_map(|delivered| delivered.record.key).collect();
    assert_eq!(keys, ["hot|email:pat@x.com"]);
}

#[test]
fn a_topic_is_created_where_the_settings_say_how() {
    let mut stage = Stage::new(json!({"topic": "made", "partitions": 4}));
    stage.desire("hot", "pat@x.com", Some("Chief"));
    let mut task = stage.opened();
    stage.settle(&mut task);
    assert_eq!(stage.log.partitions("made").expect("known"), Some(4));
    assert_eq!(task.status().delivered, 1);
}

#[test]
fn a_preview_shows_the_first_record() {
    let mut stage = Stage::new(json!({"topic": "copy"}));
    stage.desire("hot", "pat@x.com", Some("Chief"));
    stage.desire("hot", "bob@x.com", None);
    let now = Arc::clone(&stage.now);
    let context = PreviewContext {
        name: "copy".to_owned(),
        log: Arc::new(stage.log.clone()),
        topic: "d".to_owned(),
        changelog: "c".to_owned(),
        registry: None,
        brake: Brake::default(),
        suppressed: Arc::new(|_| false),
        clock: Arc::new(move || Timestamp(now.load(Ordering::SeqCst))),
        sample: 3,
    };
    let seen = preview(&context, &mut stage.sink()).expect("read");
    let hot = &seen.audiences["hot"];
    assert_eq!((seen.changes, seen.calls, hot.adds), (1, 0, 1));
    assert!(
        hot.request.as_ref().is_some_and(|request| request.contains("\"status\":\"realized\"")),
        "{hot:?}"
    );
}

#[test]
fn settings_are_checked() {
    let table = [
        (json!({"topic": "millrace.audience.membership"}), "as Millrace's own topics do"),
        (json!({"topic": "a topic"}), "is no name of a topic"),
        (json!({"topic": ""}), "is no name of a topic"),
        (json!({"topic": "t", "key": "colour"}), "unknown variant `colour`"),
        (json!({"topic": "t", "partitions": 0}), "a topic has one at least"),
    ];
    for (settings, expected) in table {
        let read = serde_json::from_value::<Config>(settings.clone()).map_err(|error| error.to_string());
        let checked = read.and_then(|config| config.check("millrace.").map_err(|error| error.to_string()));
        let error = checked.expect_err("wrong");
        assert!(error.contains(expected), "{settings}: {error}");
    }
}
