//! The log port on Apache Kafka.
//!
//! * **One commit, one transaction.** Records and input positions go into one Kafka transaction of
//!   the shard's transactional id; opening a shard fences its earlier owner and aborts the
//!   transaction that owner left open.
//! * **No retries inside.** After an error of a transaction its producer is not used again.
//!   librdkafka 2.12 speaks the transaction protocol before KIP-890: a request that timed out may
//!   reach the broker late and hit the producer's *next* transaction. A new producer has a new
//!   epoch.
//! * **Explicit offsets.** Consumers are assigned by hand. The positions in the consumer group are
//!   for operators and their tools; the shard's own are in its changelog. A missing offset is an
//!   error.
//! * **The end of a partition comes from the broker**, under committed-only reads: never an offset
//!   computed from the last record seen.
//! * **The caller's threads.** The caller polls consumers and producers; our only threads are those
//!   that close abandoned clients.
//!
//! What it is *not*: it knows no shard logic and no record formats, and it decides nothing about
//! recovery. It is the only crate that links librdkafka.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use millrace_kafka::KafkaLog;
//!
//! // Properties go to librdkafka as they are; one that it does not know is named, before anything is connected.
//! let properties = BTreeMap::from([("no.such.property".to_owned(), "1".to_owned())]);
//! let error = KafkaLog::new(properties).err().expect("an unknown property");
//! assert!(millrace_model::chain(&error).contains("no.such.property"));
//! ```

#![warn(missing_docs)]

mod consumer;
mod contexts;
mod detached;
mod errors;
mod metadata;
mod ownership;
mod producer;
mod properties;
mod reader;
mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_log::{Log, LogError, Offset, Reader, Record, ShardIdentity, ShardSession, TopicPartition, TopicSpec};

pub use ownership::GroupOwnership;

use metadata::Metadata;
use producer::Producer;
use properties::Properties;
use reader::PlainReader;
use session::Session;

/// How long an append outside of transactions may take.
const APPEND_WITHIN: Duration = Duration::from_secs(30);

/// A Kafka cluster.
pub struct KafkaLog {
    properties: Properties,
    metadata: Arc<Metadata>,
    appender: Mutex<Option<Producer>>,
}

impl KafkaLog {
    /// The cluster that the properties describe; `bootstrap.servers` at least. They are
    /// librdkafka's, and go to all clients: consumers ignore those of producers and the other way
    /// round. Settings that correctness depends on (isolation level, idempotence, offset reset, …)
    /// cannot be overridden.
    ///
    /// No connection is made yet: a cluster out of reach shows at the first request.
    ///
    /// # Errors
    /// `Failure` where a property is unknown or has an invalid value.
    pub fn new(properties: BTreeMap<String, String>) -> Result<Self, LogError> {
        let properties = Properties::new(properties);
        let metadata = Arc::new(Metadata::open(&properties)?);
        Ok(Self {
            properties,
            metadata,
            appender: Mutex::new(None),
        })
    }

    /// A topic as it is, with its own settings, in order of their names; `None` where it does not
    /// exist.
    ///
    /// # Errors
    /// `Unavailable` where the cluster does not answer in time.
    pub fn describe_topic(&self, topic: &str) -> Result<Option<TopicSpec>, LogError> {
        self.metadata.describe(topic)
    }

    /// Joins the group of the deployment's processes, which share the partitions of `topic`: one
    /// per shard. `instance` names this process among them, and is the same after its restart (the
    /// pod's name); no two live processes have the same.
    ///
    /// # Errors
    /// `Failure` where a property has an invalid value.
    pub fn join(&self, group: &str, topic: &str, instance: &str) -> Result<GroupOwnership, LogError> {
        GroupOwnership::join(&self.properties, group, topic, instance)
    }
}

impl Log for KafkaLog {
    fn identity(&self) -> Result<Option<String>, LogError> {
        self.metadata.cluster().map(Some)
    }

    fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.metadata.partitions(topic)
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.metadata.create(spec)
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<(), LogError> {
        let mut appender = self.appender.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = match appender.take() {
            Some(producer) => producer,
            None => Producer::open(&self.properties.producer(), None)?,
        };
        producer.append(&records, APPEND_WITHIN)?;
        // Kept only after success: late reports of a failed append would count as those of the
        // next.
        *appender = Some(producer);
        Ok(())
    }

    fn open_shard(&self, shard: &ShardIdentity) -> Result<Box<dyn ShardSession>, LogError> {
        Ok(Box::new(Session::open(&self.properties, &self.metadata, shard)?))
    }

    fn reader(&self, from: &[(TopicPartition, Offset)]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(PlainReader::open(&self.properties, &self.metadata, from)?))
    }
}
