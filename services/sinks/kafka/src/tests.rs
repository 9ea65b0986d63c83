//! Copies on the embedded log, with processes that die at every point: each net change is there
//! once.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use millrace_connect::sink::{Destination, SinkTask};
use millrace_log::random::Random;
use millrace_log::{Log, TopicSpec};
use millrace_shard::murmur::partition_of;
use millrace_test_seeds::seeds;
use millrace_test_sinks::{Scene, storm};
use serde_json::{Value, json};

use crate::{Config, KafkaSink};

const COPY_PARTITIONS: u32 = 3;

/// A stage with the topic of the copies.
struct Stage {
    frame: millrace_test_sinks::Stage,
    settings: Value,
    changes: u64,
}

impl Deref for Stage {
    type Target = millrace_test_sinks::Stage;

    fn deref(&self) -> &Self::Target {
        &self.frame
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.frame
    }
}

fn topic(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        compacted: false,
        settings: Vec::new(),
    }
}

impl Stage {
    fn new(settings: Value) -> Stage {
        let frame = millrace_test_sinks::Stage::new("copy", "email", 2);
        frame.log.create_topic(&topic("copy", COPY_PARTITIONS)).expect("a topic");
        Stage { frame, settings, changes: 0 }
    }

    fn sink(&self) -> KafkaSink {
        KafkaSink::new(serde_json::from_value(self.settings.clone()).expect("of this form"))
    }

    fn task(&self) -> SinkTask {
        self.frame.task(Box::new(self.sink()))
    }

    /// Somebody is present, with a title.
    fn title(&mut self, audience: &str, id: &str, title: &str) {
        self.desire_with(audience, id, true, &[("title", json!(title))]);
    }

    /// The committed records of the copy, by key, in their order; none for a tombstone.
    fn copies(&self) -> BTreeMap<String, Vec<Option<Value>>> {
        let mut copies: BTreeMap<String, Vec<Option<Value>>> = BTreeMap::new();
        for (partition, record) in self.content("copy") {
            let key = record.key.expect("a key");
            assert_eq!(partition, partition_of(&key, COPY_PARTITIONS));
            let value = record.value.map(|value| serde_json::from_slice(&value).expect("JSON"));
            copies.entry(String::from_utf8(key.to_vec()).expect("text")).or_default().push(value);
        }
        copies
    }
}

impl Scene for Stage {
    fn stage(&mut self) -> &mut millrace_test_sinks::Stage {
        &mut self.frame
    }

    fn destination(&self) -> Box<dyn Destination> {
        Box::new(self.sink())
    }

    fn happens(&mut self, random: &mut Random) {
        if random.chance(700) {
            let (audience, id) = (format!("a{}", random.below(2)), format!("p{}@x.com", random.below(8)));
            let title = format!("t{}", random.below(3));
            match random.chance(600) {
                true => self.title(&audience, &id, &title),
                false => self.desire(&audience, &id, false),
            }
            self.changes += 1;
        }
    }
}

/// Whether a member is present by a record, and under which title.
fn shown(value: &Option<Value>) -> Option<String> {
    let value = value.as_ref().filter(|value| value["status"] == "realized")?;
    Some(value["attributes"]["title"].as_str().unwrap_or_default().to_owned())
}

/// Returns kills, records, and changes of the desired state.
fn after(seed: u64) -> (u64, usize, u64) {
    let mut random = Random::new(seed);
    let exits = ["value", "tombstone"][usize::try_from(random.below(2)).expect("small")];
    let mut stage = Stage::new(json!({"topic": "copy", "exits": exits}));
    stage.contested = random.chance(500);
    stage.deaths.at_points(random.fork());
    let kills = storm(&mut stage, &mut random, 300, 1_000);
    stage.settle(&mut stage.task());
    let copies = stage.copies();
    for (key, records) in &copies {
        let states: Vec<Option<String>> = records.iter().map(shown).collect();
        assert!(states[0].is_some(), "{key} begins with an exit");
        assert!(states.windows(2).all(|pair| pair[0] != pair[1]), "{key} repeats itself: {states:?}");
    }
    let last = copies.iter().filter_map(|(key, records)| Some((key.clone(), shown(records.last()?)?)));
    let title = |attributes: &millrace_test_sinks::Attributes| attributes["title"].as_str().unwrap_or_default().to_owned();
    let desired = stage
        .desired
        .iter()
        .map(|((audience, id), attributes)| (format!("{audience}|email:{id}"), title(attributes)));
    assert_eq!(last.collect::<BTreeMap<_, _>>(), desired.collect::<BTreeMap<_, _>>());
    (kills, copies.values().map(Vec::len).sum(), stage.changes)
}

#[test]
fn each_net_change_is_there_once_whatever_dies() {
    let (mut storms, mut kills, mut records, mut changes) = (0, 0, 0, 0);
    for seed in seeds!(400..440) {
        let (killed, copied, changed) = after(seed);
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
        stage.title("hot", "pat@x.com", "Chief");
        let mut task = stage.task();
        stage.settle(&mut task);
        stage.desire("hot", "pat@x.com", false);
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
    stage.title("hot", "pat@x.com", "Chief");
    // Enters and leaves while nothing can be written: it is never seen.
    stage.title("hot", "bob@x.com", "Clerk");
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.desire("hot", "bob@x.com", false);
    stage.settle(&mut task);
    assert_eq!(task.status().error.as_deref(), Some("there is no topic `later`"));
    stage.log.create_topic(&topic("later", 1)).expect("a topic");
    stage.pass(600_000);
    stage.settle(&mut task);
    let keys: Vec<_> = stage.content("later").into_iter().filter_map(|(_, record)| record.key).collect();
    assert_eq!(keys, ["hot|email:pat@x.com"]);
}

#[test]
fn a_topic_is_created_where_the_settings_say_how() {
    let mut stage = Stage::new(json!({"topic": "made", "partitions": 4}));
    stage.title("hot", "pat@x.com", "Chief");
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.log.partitions("made").expect("known"), Some(4));
    assert_eq!(task.status().delivered, 1);
}

#[test]
fn a_preview_shows_the_first_record() {
    let mut stage = Stage::new(json!({"topic": "copy"}));
    stage.title("hot", "pat@x.com", "Chief");
    stage.desire("hot", "bob@x.com", false);
    let seen = stage.preview(&mut stage.sink(), 3);
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
