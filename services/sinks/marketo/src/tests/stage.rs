//! A simulated instance, an embedded log, the frame with the real sink between them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use millrace_connect::budget::{Budget, WallClock};
use millrace_connect::sink::{Brake, Destination, FaultPlan, Order, OrderKind, Point, SinkContext, SinkTask};
use millrace_connect::source::Status;
use millrace_log::{Durability, EARLIEST, EmbeddedConfig, EmbeddedLog, Log, PollLimits, Record, TopicPartition, TopicSpec};
use millrace_marketo::Client;
use millrace_model::{Identity, Timestamp};
use millrace_runtime::memory_store::MemoryDisk;
use millrace_shard::murmur::partition_of;
use millrace_simulators::marketo::{Limits, Marketo, Settings};
use millrace_wire::{DestinationState, OutputCodec, Presence};
use serde_json::{Value, json};

use crate::{Config, MarketoSink};

/// Dies after the delivery that was interrupted.
#[derive(Default)]
pub struct Broken(pub AtomicBool);

impl FaultPlan for Broken {
    fn dies(&self, point: Point) -> bool {
        point == Point::AfterDelivery && self.0.swap(false, Ordering::SeqCst)
    }
}

pub struct Stage {
    pub marketo: Marketo,
    _runtime: tokio::runtime::Runtime,
    log: EmbeddedLog,
    _folder: tempfile::TempDir,
    disk: MemoryDisk,
    now: Arc<AtomicI64>,
    namespace: &'static str,
    settings: Value,
    /// Audience and id of the desired members.
    pub desired: BTreeSet<(String, String)>,
    pub broken: Arc<Broken>,
}

impl Stage {
    /// `settings` over those of the instance.
    pub fn new(seed: u64, namespace: &'static str, settings: Value) -> Stage {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let started = Marketo::start(SocketAddr::from(([127, 0, 0, 1], 0)), Settings::default(), seed);
        let marketo = runtime.block_on(started).expect("a free port");
        marketo.set_limits(Limits {
            window_calls: 1_000_000,
            window_ms: 20_000,
            concurrent: 10,
            day_calls: 1_000_000,
            token_ms: 3_600_000,
        });
        let folder = tempfile::tempdir().expect("a folder");
        let config = EmbeddedConfig {
            durability: Durability::Never,
            ..EmbeddedConfig::default()
        };
        let log = EmbeddedLog::open(folder.path(), config).expect("a log");
        for (name, compacted) in [("d", true), ("c", true), ("dead", false)] {
            let spec = TopicSpec {
                name: name.to_owned(),
                partitions: 1,
                compacted,
                settings: Vec::new(),
            };
            log.create_topic(&spec).expect("a topic");
        }
        Stage {
            marketo,
            _runtime: runtime,
            log,
            _folder: folder,
            disk: MemoryDisk::default(),
            // Later than any clock that the log stamps records with: a record from the future would wait.
            now: Arc::new(AtomicI64::new(4_091_904_000_000)),
            namespace,
            settings,
            desired: BTreeSet::new(),
            broken: Arc::default(),
        }
    }

    fn clock(&self) -> WallClock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
    }

    pub fn sink(&self) -> MarketoSink {
        let mut settings = json!({
            "munchkin": "111-AAA-222", "client_id": "client", "client_secret": "secret", "url": self.marketo.url(), "reserve_calls": 0,
            "day_calls": 1_000_000_000, "wait_seconds": 0.0,
        });
        let more = self.settings.as_object().expect("settings").clone();
        settings.as_object_mut().expect("an object").extend(more);
        let mut config = Config::new(serde_json::from_value(settings).expect("of this form")).expect("right");
        config.instance.limits.window_calls = 1_000_000;
        let budget = Arc::new(Budget::new(config.instance.limits.clone(), self.clock()));
        let client = Client::new(&config.instance, budget, Arc::new(Status::new("lists", "marketo"))).expect("certificates");
        MarketoSink::new(config, self.namespace, Arc::new(client), self.clock()).expect("an event queue")
    }

    pub fn task_with(&self, destination: Box<dyn Destination>, brake: Brake) -> SinkTask {
        let disk = self.disk.clone();
        let context = SinkContext {
            name: "lists".to_owned(),
            log: Arc::new(self.log.clone()),
            topic: "d".to_owned(),
            partitions: 1,
            changelog: "c".to_owned(),
            dead_letters: TopicPartition {
                topic: "dead".into(),
                partition: 0,
            },
            application: "t.sink.lists".to_owned(),
            contested: false,
            clock: self.clock(),
            open_ledger: Arc::new(move |_| Ok(Box::new(disk.open()))),
            registry: None,
            brake,
            pending_max: 100_000,
            idle_wait_ms: 0,
            suppressed: Arc::new(|_| false),
            faults: Arc::clone(&self.broken) as Arc<dyn FaultPlan>,
        };
        let mut task = SinkTask::new(Arc::new(context), destination);
        task.open(0).expect("opens");
        task
    }

    pub fn task(&self) -> SinkTask {
        let brake = Brake {
            share: 1.0,
            ..Brake::default()
        };
        self.task_with(Box::new(self.sink()), brake)
    }

    pub fn desire(&mut self, audience: &str, id: &str, present: bool) {
        self.desire_with(audience, id, present, &[]);
    }

    pub fn desire_with(&mut self, audience: &str, id: &str, present: bool, attributes: &[(&str, Value)]) {
        let place = (audience.to_owned(), id.to_owned());
        if present {
            self.desired.insert(place);
        } else {
            self.desired.remove(&place);
        }
        let state = DestinationState {
            destination: "lists".to_owned(),
            audience: audience.to_owned(),
            identity: Identity::new(self.namespace, id).expect("an identity"),
            state: if present { Presence::Present } else { Presence::Absent },
            attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            changed_at: Timestamp(self.now.fetch_add(1, Ordering::SeqCst)),
        };
        let key = Bytes::from(state.key());
        let partition = partition_of(&key, 1);
        let record = Record {
            value: Some(Bytes::from(OutputCodec::SingleObject.encode_destination_state(&state).expect("encodes"))),
            key: Some(key),
            headers: Vec::new(),
        };
        self.log
            .append(vec![(TopicPartition { topic: "d".into(), partition }, record)])
            .expect("appended");
    }

    pub fn pass(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    /// Steps until nothing moves any more, time running; retries without success do not count.
    pub fn settle(&self, task: &mut SinkTask) {
        let mut still = 0;
        let mut before = task.status();
        for _ in 0..20_000 {
            let stepped = task.step().map_err(|(_, error)| error).expect("no failure");
            let status = task.status();
            let moved = stepped.read > 0 || (status.acknowledged, status.refused) != (before.acknowledged, before.refused);
            still = if moved { 0 } else { still + 1 };
            before = status;
            self.pass(if stepped.idle { 20_000 } else { 10 });
            if still > 40 {
                return;
            }
        }
        panic!("it does not settle");
    }

    pub fn order(&self, task: &mut SinkTask, order: OrderKind) {
        task.order(&Order { order, audience: None }).map_err(|(_, error)| error).expect("carried out");
        self.settle(task);
    }

    /// A process dies; this number of its disk's unflushed writes survives.
    pub fn crash(&self, kept: usize) {
        self.disk.crash(kept.min(self.disk.unflushed()));
    }

    pub fn lead(&self, fields: Value) -> u64 {
        self.marketo.with(|world| world.create_lead(fields))
    }

    /// A person for each number, by address.
    pub fn leads(&self, count: u64) -> Vec<u64> {
        (0..count).map(|number| self.lead(json!({ "email": email(number) }))).collect()
    }

    pub fn list(&self, name: &str) -> u64 {
        self.marketo.with(|world| world.create_list(name))
    }

    /// The lead ids on a list.
    pub fn on(&self, name: &str) -> BTreeSet<u64> {
        self.marketo.with(|world| {
            let list = world.lists.values().find(|list| list.name == name);
            list.map(|list| list.members.clone()).unwrap_or_default()
        })
    }

    /// List and address of everybody on any list.
    pub fn members(&self) -> BTreeSet<(String, String)> {
        self.marketo.with(|world| {
            let of = |(name, lead): (&String, &u64)| (name.clone(), world.leads[lead].fields["email"].as_str().unwrap_or_default().to_owned());
            let lists = world.lists.values();
            lists.flat_map(|list| list.members.iter().map(|lead| of((&list.name, lead)))).collect()
        })
    }

    /// Calls carried out so far.
    pub fn calls(&self) -> u64 {
        self.marketo.calls().values().sum()
    }

    /// Reasons of the dead letters.
    pub fn dead_letters(&self) -> Vec<String> {
        let mut reader = self
            .log
            .reader(&[(
                TopicPartition {
                    topic: "dead".into(),
                    partition: 0,
                },
                EARLIEST,
            )])
            .expect("a reader");
        let limits = PollLimits {
            records_max: 10_000,
            bytes_max: 10 << 20,
            wait_ms_max: 0,
        };
        let letters = reader.poll(limits).expect("read");
        let headers = letters.into_iter().flat_map(|letter| letter.record.headers);
        let details = headers.filter(|(name, _)| name == "millrace.detail");
        details.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect()
    }
}

pub fn email(number: u64) -> String {
    format!("p{number}@townsend.example")
}
