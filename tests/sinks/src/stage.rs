//! An embedded log, disks, a clock, and the desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use millrace_connect::budget::WallClock;
use millrace_connect::sink::{Brake, Destination, FaultPlan, Order, OrderKind, Preview, PreviewContext, SinkContext, SinkTask, preview};
use millrace_log::random::Random;
use millrace_log::{Durability, EARLIEST, EmbeddedConfig, EmbeddedLog, Log, PollLimits, Record, TopicPartition, TopicSpec};
use millrace_model::{Identity, Timestamp};
use millrace_runtime::memory_store::MemoryDisk;
use millrace_shard::murmur::partition_of;
use millrace_wire::{DestinationState, OutputCodec, Presence};
use serde_json::Value;

use crate::Deaths;

/// 1 September 2099. Later than any clock that the log stamps records with: a record from the
/// future would wait.
const BEGIN_MS: i64 = 4_091_904_000_000;

/// The topics of desired states, of the ledger and of dead letters.
const DESIRED: &str = "d";
const LEDGER: &str = "c";
const DEAD_LETTERS: &str = "dead";

/// More than all of a test's records.
const ALL: PollLimits = PollLimits {
    records_max: 100_000,
    bytes_max: 64 << 20,
    wait_ms_max: 0,
};

/// The attributes of a member by name.
pub type Attributes = BTreeMap<String, Value>;

type Disks = BTreeMap<u32, MemoryDisk>;

/// The frame between a log and the destination under test.
pub struct Stage {
    /// The log, for topics of a test's own.
    pub log: EmbeddedLog,
    /// Where processes die.
    pub deaths: Arc<Deaths>,
    /// The brake of tasks made from now on; wide open at first.
    pub brake: Brake,
    /// Whether other processes may take partitions over; for tasks made from now on.
    pub contested: bool,
    /// How far the clock goes in `settle` where nothing is to do.
    pub idle_ms: i64,
    /// What should be at the destination, by audience and id.
    pub desired: BTreeMap<(String, String), Attributes>,
    name: &'static str,
    namespace: &'static str,
    partitions: u32,
    disks: Disks,
    now: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: topic.into(),
        partition,
    }
}

fn disks(partitions: u32) -> Disks {
    (0..partitions).map(|number| (number, MemoryDisk::default())).collect()
}

/// Who must never be present.
fn suppressed(identity: &Identity) -> bool {
    identity.id() == "never@x.com"
}

impl Stage {
    /// For a destination of this name, whose identities are of one namespace.
    ///
    /// # Panics
    /// Where no temporary folder can be made.
    pub fn new(name: &'static str, namespace: &'static str, partitions: u32) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let config = EmbeddedConfig {
            durability: Durability::Never,
            ..EmbeddedConfig::default()
        };
        let log = EmbeddedLog::open(folder.path(), config).expect("a log");
        for (name, partitions, compacted) in [(DESIRED, partitions, true), (LEDGER, partitions, true), (DEAD_LETTERS, 1, false)] {
            let spec = TopicSpec {
                name: name.to_owned(),
                partitions,
                compacted,
                settings: Vec::new(),
            };
            log.create_topic(&spec).expect("a topic");
        }
        Stage {
            log,
            deaths: Arc::default(),
            brake: Brake {
                share: 1.0,
                ..Brake::default()
            },
            contested: false,
            idle_ms: 20_000,
            desired: BTreeMap::new(),
            name,
            namespace,
            partitions,
            disks: disks(partitions),
            now: Arc::new(AtomicI64::new(BEGIN_MS)),
            _folder: folder,
        }
    }

    /// The numbers of the topic's partitions.
    pub fn partitions(&self) -> std::ops::Range<u32> {
        0..self.partitions
    }

    /// The clock of everything on the stage.
    pub fn clock(&self) -> WallClock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
    }

    /// Moves the clock.
    pub fn pass(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    /// The hand of the clock, for a process on a thread of its own.
    pub fn hand(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.now)
    }

    /// A process on the stage's disks, with all partitions.
    ///
    /// # Panics
    /// Where a partition cannot be opened.
    pub fn task(&self, destination: Box<dyn Destination>) -> SinkTask {
        let mut task = self.unopened(destination);
        self.partitions().for_each(|number| task.open(number).expect("opens"));
        task
    }

    /// A process on the stage's disks, without partitions so far.
    pub fn unopened(&self, destination: Box<dyn Destination>) -> SinkTask {
        self.task_on(self.disks.clone(), destination)
    }

    /// A process with disks of its own, without partitions so far.
    pub fn elsewhere(&self, destination: Box<dyn Destination>) -> SinkTask {
        self.task_on(disks(self.partitions), destination)
    }

    fn task_on(&self, disks: Disks, destination: Box<dyn Destination>) -> SinkTask {
        let context = SinkContext {
            name: self.name.to_owned(),
            log: Arc::new(self.log.clone()),
            topic: DESIRED.to_owned(),
            partitions: self.partitions,
            changelog: LEDGER.to_owned(),
            dead_letters: place(DEAD_LETTERS, 0),
            application: format!("t.sink.{}", self.name),
            contested: self.contested,
            clock: self.clock(),
            open_ledger: Arc::new(move |number| Ok(Box::new(disks[&number].open()))),
            registry: None,
            brake: self.brake,
            pending_max: 100_000,
            idle_wait_ms: 0,
            suppressed: Arc::new(suppressed),
            faults: Arc::clone(&self.deaths) as Arc<dyn FaultPlan>,
        };
        SinkTask::new(Arc::new(context), destination)
    }

    /// What the sink would send now.
    ///
    /// # Panics
    /// Where the log cannot be read.
    pub fn preview(&self, destination: &mut dyn Destination, sample: usize) -> Preview {
        let context = PreviewContext {
            name: self.name.to_owned(),
            log: Arc::new(self.log.clone()),
            topic: DESIRED.to_owned(),
            changelog: LEDGER.to_owned(),
            registry: None,
            brake: self.brake,
            suppressed: Arc::new(suppressed),
            clock: self.clock(),
            sample,
        };
        preview(&context, destination).expect("the log can be read")
    }

    /// Makes somebody present or absent.
    pub fn desire(&mut self, audience: &str, id: &str, present: bool) {
        self.desire_with(audience, id, present, &[]);
    }

    /// The same, with attributes.
    ///
    /// # Panics
    /// Where the log does not take the record.
    pub fn desire_with(&mut self, audience: &str, id: &str, present: bool, attributes: &[(&str, Value)]) {
        let record = self.record(audience, id, present, attributes);
        self.log.append(vec![record]).expect("appended");
    }

    /// The record that makes this the desired state, which it counts as from now on.
    ///
    /// # Panics
    /// Where the id is none.
    pub fn record(&mut self, audience: &str, id: &str, present: bool, attributes: &[(&str, Value)]) -> (TopicPartition, Record) {
        let attributes: Attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let who = (audience.to_owned(), id.to_owned());
        match present {
            true => self.desired.insert(who, attributes.clone()),
            false => self.desired.remove(&who),
        };
        let state = DestinationState {
            destination: self.name.to_owned(),
            audience: audience.to_owned(),
            identity: Identity::new(self.namespace, id).expect("an identity"),
            state: if present { Presence::Present } else { Presence::Absent },
            attributes,
            changed_at: Timestamp(self.now.fetch_add(1, Ordering::SeqCst)),
        };
        let key = Bytes::from(state.key());
        let to = place(DESIRED, partition_of(&key, self.partitions));
        let record = Record {
            value: Some(Bytes::from(OutputCodec::SingleObject.encode_destination_state(&state).expect("encodes"))),
            key: Some(key),
            headers: Vec::new(),
        };
        (to, record)
    }

    /// Appends a record as it is to a partition of the desired states.
    ///
    /// # Panics
    /// Where the log does not take it.
    pub fn append(&self, partition: u32, record: Record) {
        self.log.append(vec![(place(DESIRED, partition), record)]).expect("appended");
    }

    /// Audience and id of the desired members.
    pub fn members_desired(&self) -> BTreeSet<(String, String)> {
        self.desired.keys().cloned().collect()
    }

    /// Steps until nothing moves any more, time running; retries without success do not count.
    ///
    /// # Panics
    /// Where a step fails, or things go on moving.
    pub fn settle(&self, task: &mut SinkTask) {
        let mut still = 0;
        let mut before = task.status();
        for _ in 0..20_000 {
            let stepped = task.step().map_err(|(_, error)| error).expect("no failure");
            let status = task.status();
            let moved = stepped.read > 0 || (status.acknowledged, status.refused) != (before.acknowledged, before.refused);
            still = if moved { 0 } else { still + 1 };
            before = status;
            self.pass(if stepped.idle { self.idle_ms } else { 10 });
            if still > 40 {
                return;
            }
        }
        panic!("it does not settle");
    }

    /// A command about all audiences, carried out to its end.
    ///
    /// # Panics
    /// Where it fails.
    pub fn order(&self, task: &mut SinkTask, order: OrderKind) {
        task.order(&Order { order, audience: None }).map_err(|(_, error)| error).expect("carried out");
        self.settle(task);
    }

    /// A process dies: a part of what each disk has not flushed survives.
    ///
    /// # Panics
    /// Never: the numbers are small.
    pub fn crash(&self, random: &mut Random) {
        for disk in self.disks.values() {
            let kept = random.below(disk.unflushed() as u64 + 1);
            disk.crash(usize::try_from(kept).expect("small"));
        }
    }

    /// Every disk is lost.
    ///
    /// # Panics
    /// Never: disks in memory do not fail.
    pub fn lose_disks(&self) {
        for disk in self.disks.values() {
            millrace_shard::state::StateStore::clear(&mut disk.open()).expect("cleared");
        }
    }

    /// All records of a topic, by partition and in order.
    ///
    /// # Panics
    /// Where the log has no such topic.
    pub fn content(&self, topic: &str) -> Vec<(u32, Record)> {
        let count = self.log.partitions(topic).expect("known").expect("the topic is there");
        let from: Vec<(TopicPartition, i64)> = (0..count).map(|number| (place(topic, number), EARLIEST)).collect();
        let mut reader = self.log.reader(&from).expect("a reader");
        let mut content = Vec::new();
        loop {
            let records = reader.poll(ALL).expect("read");
            if records.is_empty() {
                return content;
            }
            content.extend(records.into_iter().map(|delivered| (delivered.source.partition, delivered.record)));
        }
    }

    /// The dead letters so far.
    pub fn dead_letters(&self) -> Vec<Record> {
        self.content(DEAD_LETTERS).into_iter().map(|(_, record)| record).collect()
    }

    /// One header of each dead letter.
    pub fn headers_of_dead_letters(&self, header: &str) -> Vec<String> {
        let headers = self.dead_letters().into_iter().flat_map(|letter| letter.headers);
        let of_name = headers.filter(|(name, _)| name == header);
        of_name.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect()
    }

    /// Why each dead letter is one.
    pub fn reasons_of_dead_letters(&self) -> Vec<String> {
        self.headers_of_dead_letters("millrace.detail")
    }
}

/// The address of a person by number.
pub fn email(number: u64) -> String {
    format!("p{number}@townsend.example")
}
