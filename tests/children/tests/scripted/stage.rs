//! A table that changes, the program that reads it, and the source that runs the program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_child::{ChildSource, Config, Raw};
use millrace_connect::backoff::Backoff;
use millrace_connect::secret::Confidential;
use millrace_connect::source::{Ended, Make, Source, SourceTask, Status, Stop, Topics, system_clock};
use millrace_log::random::Random;
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{Log as _, Record, TopicSpec};
use millrace_model::{SourceKind, Timestamp};
use millrace_source_airbyte::Connector;
use millrace_source_singer::Tap;
use millrace_test_seeds::Killed;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(120);
const DEAD_LETTERS: &str = "dead-letter";
const ROWS: &str = "rows";

/// A row whose score is this cannot be mapped.
const BAD: &str = "many";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Singer,
    Airbyte,
}

/// The table, and how the program behaves.
#[derive(Default)]
pub struct World {
    /// Sequence number and score by id.
    pub rows: BTreeMap<u64, (u64, String)>,
    pub seq: u64,
    pub wild: bool,
    pub versions: bool,
    pub rotate: bool,
    pub fail: Option<&'static str>,
}

pub struct Stage {
    pub world: World,
    pub log: SimulatedLog,
    pub settings: Value,
    protocol: Protocol,
    folder: TempDir,
    full: bool,
}

fn topic(name: &str, compacted: bool) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        compacted,
        settings: Vec::new(),
    }
}

impl Stage {
    pub fn new(protocol: Protocol, mode: &str, seed: u64) -> Stage {
        let log = SimulatedLog::new(seed, Faults::default(), Timestamp(1_000_000));
        for name in SourceKind::ALL.map(SourceKind::name).into_iter().chain([DEAD_LETTERS]) {
            log.create_topic(&topic(name, false)).expect("no faults");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let word = if protocol == Protocol::Singer { "singer" } else { "airbyte" };
        let fields = json!({"workEmail.address": "email", "b2b.personScore": {"of": "score", "number": {}}});
        let settings = json!({
            "command": [env!("CARGO_BIN_EXE_scripted"), word], "instance": "crm1", "system": "Crm", "interval": "1ms",
            "config": {"world": path("world"), "starts": path("starts"), "token": "token-0"},
            "streams": {"people": {"mode": mode, "records": [{"record": "person", "key": "id", "fields": fields}]}},
        });
        Stage {
            world: World::default(),
            log,
            settings,
            protocol,
            folder,
            full: mode == "full",
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How often the program was asked to read.
    pub fn starts(&self) -> u64 {
        let text = std::fs::read_to_string(self.path("starts")).unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    /// One change of the table.
    pub fn change(&mut self, random: &mut Random) {
        let id = random.below(25);
        if self.full && random.chance(300) {
            self.world.rows.remove(&id);
            return;
        }
        let score = if random.chance(100) { BAD.to_owned() } else { random.below(100).to_string() };
        self.put(id, &score);
    }

    pub fn put(&mut self, id: u64, score: &str) {
        self.world.seq += 1;
        self.world.rows.insert(id, (self.world.seq, score.to_owned()));
    }

    /// The program sees all of a change or nothing of it.
    fn show(&self) {
        let rows = self
            .world
            .rows
            .iter()
            .map(|(id, (seq, score))| (id.to_string(), json!({"seq": seq, "score": score})));
        let rows: serde_json::Map<String, Value> = rows.collect();
        let World {
            wild, versions, rotate, fail, ..
        } = &self.world;
        let world = json!({"rows": rows, "wild": wild, "versions": versions, "rotate": rotate, "fail": fail});
        std::fs::write(self.path("next"), world.to_string()).expect("a writable folder");
        std::fs::rename(self.path("next"), self.path("world")).expect("a writable folder");
    }

    fn config(&self) -> Config {
        let raw: Raw = serde_json::from_value(self.settings.clone()).expect("of this form");
        let token = self.settings["config"]["token"].as_str().unwrap_or_default();
        let secrets = vec![Confidential::new(token)];
        let checked = match self.protocol {
            Protocol::Singer => millrace_source_singer::config(raw, secrets),
            Protocol::Airbyte => millrace_source_airbyte::config(raw, secrets),
        };
        checked.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The source as a process runs it.
    pub fn task(&self) -> SourceTask {
        self.show();
        let (config, protocol) = (self.config(), self.protocol);
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(10), 1);
        let status = Arc::new(Status::new("crm", "singer"));
        let (shared, waits) = (Arc::clone(&status), backoff.clone());
        let make: Make = Arc::new(move || {
            let (config, status, waits) = (config.clone(), Arc::clone(&shared), waits.clone());
            match protocol {
                Protocol::Singer => Box::new(ChildSource::new(config, Tap::default(), status, system_clock(), waits)) as Box<dyn Source>,
                Protocol::Airbyte => Box::new(ChildSource::new(config, Connector::default(), status, system_clock(), waits)),
            }
        });
        SourceTask {
            log: Arc::new(self.log.clone()),
            topics: Topics {
                records: SourceKind::ALL.into_iter().map(|kind| (kind, kind.name().to_owned())).collect(),
                dead_letters: DEAD_LETTERS.to_owned(),
                rows: topic(ROWS, true),
                transactional_id: "test.source.crm".to_owned(),
                group: "test".to_owned(),
                place: |_, _| 0,
            },
            make,
            status,
            now: system_clock(),
            backoff,
        }
    }

    /// Runs the source, dropped at an await.
    pub async fn killed_after(&self, awaits: u64) {
        let task = self.task();
        let (_stop, signal) = watch::channel(Stop::default());
        pin!(Killed::after(awaits, task.run(signal))).await;
    }

    /// Runs the source until `holds`; its status at the end.
    pub async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Arc<Status> {
        let task = self.task();
        let status = Arc::clone(&task.status);
        let (stop, signal) = watch::channel(Stop::default());
        let run = tokio::spawn(async move { task.run(signal).await });
        let deadline = Instant::now() + DEADLINE;
        while !holds(&status) {
            let view = status.view(system_clock()());
            assert!(Instant::now() < deadline, "{what}: not in time: {view:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.send_modify(|now| now.stopped = true);
        assert_eq!(run.await.expect("no panic"), Ended::Stopped);
        status
    }

    /// Runs the source until a run that begins after now is complete, its sweeps included.
    pub async fn settle(&self) -> Arc<Status> {
        let from = system_clock()();
        self.until("a complete run", |status| {
            let read_to = status.view(from).read_to.and_then(|at| Timestamp::parse(&at).ok());
            read_to.is_some_and(|at| at > from) && self.pending().is_empty()
        })
        .await
    }

    /// Names of rows that say that something is not finished.
    fn pending(&self) -> Vec<String> {
        let rows = self.rows();
        rows.into_keys().filter(|name| name.starts_with("sweep/")).collect()
    }

    /// The rows of the source, as a restart would find them.
    pub fn rows(&self) -> BTreeMap<String, Value> {
        let mut rows = BTreeMap::new();
        for one in self.log.content(ROWS) {
            let name = String::from_utf8(one.record.key.expect("a key").to_vec()).expect("a name");
            match one.record.value {
                Some(value) => rows.insert(name, serde_json::from_slice(&value).expect("JSON")),
                None => rows.remove(&name),
            };
        }
        rows
    }

    /// Values of a source topic in order, by key.
    pub fn values(&self, kind: SourceKind) -> Vec<(String, Option<Value>)> {
        let records = self.log.content(kind.name()).into_iter().map(|one| one.record);
        records
            .map(|record| (text(record.key.as_deref()), record.value.as_deref().map(parsed)))
            .collect()
    }

    pub fn dead_letters(&self) -> Vec<Record> {
        self.log.content(DEAD_LETTERS).into_iter().map(|one| one.record).collect()
    }

    /// What is known is what the table holds, and no key ever went back to what it was before.
    pub fn check(&self) {
        let mut known: BTreeMap<String, u64> = BTreeMap::new();
        for (key, value) in self.values(SourceKind::Person) {
            let Some(value) = value else {
                known.remove(&key);
                continue;
            };
            let email = value["workEmail"]["address"].as_str().expect("an address").to_owned();
            let seq = email.split(['-', '@']).nth(1).and_then(|seq| seq.parse().ok()).expect("a number");
            let before = known.insert(key.clone(), seq).unwrap_or_default();
            assert!(before <= seq, "{key} goes back from {before} to {seq}");
        }
        let mut dead = self.dead_letters().into_iter().map(|record| text(record.key.as_deref())).collect::<Vec<_>>();
        dead.sort();
        for (id, (seq, score)) in &self.world.rows {
            let key = format!("{id}@crm1.Crm");
            if score == BAD {
                // What it was before stays: the row is not gone.
                known.remove(&key);
                assert!(dead.binary_search(&format!("people {key}")).is_ok(), "{key} has no dead letter among {dead:?}");
            } else {
                assert_eq!(known.remove(&key), Some(*seq), "{key}");
            }
        }
        assert!(known.is_empty(), "no longer in the table: {known:?}");
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}
