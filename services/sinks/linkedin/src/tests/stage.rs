//! A simulated ad account, an embedded log, the frame with the real sink between them, one clock
//! for all.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use millrace_connect::budget::{Budget, WallClock};
use millrace_connect::sink::{Brake, Destination, FaultPlan, Order, OrderKind, Point, SinkContext, SinkTask};
use millrace_log::{Durability, EARLIEST, EmbeddedConfig, EmbeddedLog, Log, PollLimits, Record, TopicPartition, TopicSpec};
use millrace_model::{Identity, Timestamp};
use millrace_runtime::memory_store::MemoryDisk;
use millrace_shard::murmur::partition_of;
use millrace_simulators::linkedin::{LinkedIn, Settings};
use millrace_wire::{DestinationState, OutputCodec, Presence};
use serde_json::{Value, json};

use crate::mapping::email_hash;
use crate::{Client, Config, LinkedInSink};

/// 1 September 2099, when version 209908 is new. Later than any clock that the log stamps records
/// with: a record from the future would wait.
const BEGIN_MS: i64 = 4_091_904_000_000;
const VERSION: &str = "209908";

/// Dies after the delivery that was interrupted.
#[derive(Default)]
pub struct Broken(pub AtomicBool);

impl FaultPlan for Broken {
    fn dies(&self, point: Point) -> bool {
        point == Point::AfterDelivery && self.0.swap(false, Ordering::SeqCst)
    }
}

pub struct Stage {
    pub linkedin: LinkedIn,
    _runtime: tokio::runtime::Runtime,
    log: EmbeddedLog,
    _folder: tempfile::TempDir,
    disk: MemoryDisk,
    now: Arc<AtomicI64>,
    namespace: &'static str,
    /// Over those of the account.
    pub settings: Value,
    /// Audience and id of the desired members.
    pub desired: BTreeSet<(String, String)>,
    pub broken: Arc<Broken>,
}

impl Stage {
    pub fn new(seed: u64, settings: Value) -> Stage {
        Stage::with(seed, "email", settings, Settings::default())
    }

    pub fn with(seed: u64, namespace: &'static str, settings: Value, account: Settings) -> Stage {
        let account = Settings {
            versions: [VERSION.to_owned()].into(),
            ..account
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let now = Arc::new(AtomicI64::new(BEGIN_MS));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
        let started = LinkedIn::start(SocketAddr::from(([127, 0, 0, 1], 0)), account, seed, clock);
        let linkedin = runtime.block_on(started).expect("a free port");
        let (_, refresh_token) = linkedin.consent();
        let mut all = json!({
            "account": "516848833", "source_platform": "MILLRACE", "client_id": "client", "client_secret": "secret", "refresh_token": refresh_token,
            "url": linkedin.url(), "auth_url": linkedin.url(), "calls_per_minute": 1_000_000, "wait_seconds": 0.0,
            "version": VERSION,
        });
        all.as_object_mut().expect("an object").extend(settings.as_object().expect("settings").clone());
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
            linkedin,
            _runtime: runtime,
            log,
            _folder: folder,
            disk: MemoryDisk::default(),
            now,
            namespace,
            settings: all,
            desired: BTreeSet::new(),
            broken: Arc::default(),
        }
    }

    fn clock(&self) -> WallClock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
    }

    pub fn sink(&self) -> LinkedInSink {
        let config = Config::new(serde_json::from_value(self.settings.clone()).expect("of this form"), &[]).expect("right");
        let budget = Arc::new(Budget::new(config.limits.clone(), self.clock()));
        let client = Client::new(&config, budget, "ads", self.clock()).expect("certificates");
        LinkedInSink::new(config, Arc::new(client), self.clock()).expect("an event queue")
    }

    pub fn task_with(&self, destination: Box<dyn Destination>) -> SinkTask {
        let disk = self.disk.clone();
        let context = SinkContext {
            name: "ads".to_owned(),
            log: Arc::new(self.log.clone()),
            topic: "d".to_owned(),
            partitions: 1,
            changelog: "c".to_owned(),
            dead_letters: TopicPartition {
                topic: "dead".into(),
                partition: 0,
            },
            application: "t.sink.ads".to_owned(),
            contested: false,
            clock: self.clock(),
            open_ledger: Arc::new(move |_| Ok(Box::new(disk.open()))),
            registry: None,
            brake: Brake {
                share: 1.0,
                ..Brake::default()
            },
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
        self.task_with(Box::new(self.sink()))
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
            destination: "ads".to_owned(),
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

    /// What the segments must hold: of people the hashes.
    pub fn expected(&self) -> BTreeSet<(String, String)> {
        let hashed = |(audience, id): &(String, String)| (audience.clone(), format!("SHA256_EMAIL {}", email_hash(id)));
        self.desired.iter().map(hashed).collect()
    }

    /// Audience and member of every segment in use, once everything accepted has taken effect.
    pub fn members(&self) -> BTreeSet<(String, String)> {
        self.linkedin.with(|world| {
            world.settle();
            let in_use = world.segments.values().filter(|segment| !segment.expired());
            let of = |segment: &millrace_simulators::linkedin::Segment| {
                let name = segment.source_segment_id.clone();
                segment.members.iter().map(move |member| (name.clone(), member.clone())).collect::<Vec<_>>()
            };
            in_use.flat_map(of).collect()
        })
    }

    /// Names of the calls so far, without those that got no answer.
    pub fn calls(&self) -> Vec<String> {
        let without_id = |call: String| call.split('/').filter(|part| part.parse::<u64>().is_err()).collect::<Vec<_>>().join("/");
        self.linkedin.history().into_iter().map(|request| without_id(request.call)).collect()
    }

    /// Reasons of the dead letters.
    pub fn dead_letters(&self) -> Vec<String> {
        self.headers_of_dead_letters("millrace.detail")
    }

    pub fn headers_of_dead_letters(&self, header: &str) -> Vec<String> {
        let place = TopicPartition {
            topic: "dead".into(),
            partition: 0,
        };
        let mut reader = self.log.reader(&[(place, EARLIEST)]).expect("a reader");
        let limits = PollLimits {
            records_max: 10_000,
            bytes_max: 10 << 20,
            wait_ms_max: 0,
        };
        let letters = reader.poll(limits).expect("read");
        let headers = letters.into_iter().flat_map(|letter| letter.record.headers);
        let details = headers.filter(|(name, _)| name == header);
        details.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect()
    }
}

pub fn email(number: u64) -> String {
    format!("p{number}@townsend.example")
}
