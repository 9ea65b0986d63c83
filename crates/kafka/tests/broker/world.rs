//! What the tests share: a broker, names of their own, and a client that writes what the port
//! cannot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_kafka::KafkaLog;
use millrace_kafka_harness::KafkaBroker;
use millrace_log::{Delivered, Log, Offset, PollLimits, Reader, Record, ShardIdentity, ShardSession, TopicPartition, TopicSpec, Transaction};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

pub const LIMITS: PollLimits = PollLimits {
    records_max: 1000,
    bytes_max: 1 << 20,
    wait_ms_max: 200,
};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A log, and topics and a shard that no other test has.
pub struct World {
    pub bootstrap: String,
    pub log: KafkaLog,
    prefix: String,
}

impl World {
    pub fn new() -> Self {
        Self::on(KafkaBroker::shared().bootstrap(), &[])
    }

    pub fn on(bootstrap: &str, properties: &[(&str, &str)]) -> Self {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("test{}.", WORLDS.fetch_add(1, Ordering::Relaxed));
        Self {
            bootstrap: bootstrap.to_owned(),
            log: log(bootstrap, properties),
            prefix,
        }
    }

    /// The same topics and shard, as another process sees them.
    pub fn log_again(&self) -> KafkaLog {
        log(&self.bootstrap, &[])
    }

    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Creates a topic and names its partition 0.
    pub fn topic(&self, name: &str) -> TopicPartition {
        self.log.create_topic(&spec(&self.name(name), 1)).unwrap();
        TopicPartition {
            topic: Arc::from(self.name(name)),
            partition: 0,
        }
    }

    pub fn shard(&self) -> ShardIdentity {
        ShardIdentity {
            transactional_id: self.name("shard.0"),
            group: self.name("group"),
            changelog: self.topic("changelog"),
        }
    }

    /// A producer of foreign transactions.
    pub fn foreign_producer(&self, transactional_id: &str) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("transactional.id", transactional_id);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer
    }

    /// Appends values that are then aborted, and their abort marker.
    pub fn abort(&self, to: &TopicPartition, values: &[&str]) {
        let producer = self.foreign_producer(&self.name("foreign"));
        let end = || producer.client().fetch_watermarks(&to.topic, to.partition as i32, PATIENCE).unwrap().1;
        let marker = end() + values.len() as i64;
        self.leave_open(&producer, to, values);
        producer.abort_transaction(PATIENCE).unwrap();
        // A broker answers an abort when it is decided; the marker follows a moment later.
        until("the marker is written", || end() > marker);
    }

    /// Appends values and leaves their transaction open.
    pub fn leave_open(&self, producer: &BaseProducer, to: &TopicPartition, values: &[&str]) {
        producer.begin_transaction().unwrap();
        for value in values {
            producer
                .send(BaseRecord::<(), str>::to(&to.topic).partition(to.partition as i32).payload(value))
                .map_err(|(error, _)| error)
                .unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Everything that committed-only readers see now.
    pub fn read_all(&self, sources: &[&TopicPartition]) -> Vec<Delivered> {
        let from: Vec<(TopicPartition, Offset)> = sources.iter().map(|source| ((*source).clone(), 0)).collect();
        let mut reader = self.log.reader(&from).unwrap();
        let mut records = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let more = reader.poll(LIMITS).unwrap();
            let quiet = more.is_empty();
            records.extend(more);
            if quiet && reader.caught_up().unwrap() {
                return records;
            }
            assert!(Instant::now() < deadline, "the reader does not come to the end");
        }
    }
}

fn log(bootstrap: &str, properties: &[(&str, &str)]) -> KafkaLog {
    let mut all = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.to_owned())]);
    all.extend(properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    KafkaLog::new(all).unwrap()
}

pub fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        compacted: false,
        settings: Vec::new(),
    }
}

pub fn record(value: &str) -> Record {
    Record {
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    }
}

pub fn to(target: &TopicPartition, values: &[&str]) -> Vec<(TopicPartition, Record)> {
    values.iter().map(|value| (target.clone(), record(value))).collect()
}

pub fn records(records: Vec<(TopicPartition, Record)>) -> Transaction {
    Transaction {
        records,
        positions: Vec::new(),
    }
}

pub fn values(records: &[Delivered]) -> Vec<String> {
    records
        .iter()
        .map(|record| String::from_utf8(record.record.value.as_deref().unwrap_or(b"-").to_vec()).unwrap())
        .collect()
}

/// The values of the changelog from an offset on, and its end.
pub fn restore(session: &mut Box<dyn ShardSession>, from: Offset) -> (Vec<String>, Offset) {
    let mut seen = Vec::new();
    let end = session.restore(from, &mut |record| seen.push(record)).unwrap();
    (values(&seen), end)
}

/// Polls until that many records have come.
pub fn poll(session: &mut dyn ShardSession, count: usize) -> Vec<Delivered> {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(session.poll(LIMITS).unwrap());
        assert!(Instant::now() < deadline, "{} of {count} records came", records.len());
    }
    records
}

/// Polls until that many records have come.
pub fn read(reader: &mut dyn Reader, count: usize) -> Vec<Delivered> {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(reader.poll(LIMITS).unwrap());
        assert!(Instant::now() < deadline, "{} of {count} records came", records.len());
    }
    records
}

/// Tries until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what}");
    }
}
