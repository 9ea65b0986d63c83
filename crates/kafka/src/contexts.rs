//! What librdkafka calls back: logs, errors, statistics and delivery reports.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_log::{Offset, TopicPartition};
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::Statistics;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is valid between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // The properties of the deployment go to consumers and producers alike, and each tells of those that are the other's.
        _ if facility == "CONFWARN" => tracing::debug!(facility, message, "kafka client"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(facility, message, "kafka client");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "kafka client"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, message, "kafka client"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "kafka client"),
    }
}

/// librdkafka reports lost connections here and mends them by itself.
pub fn client_error(error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
        tracing::warn!(%error, reason, "kafka client");
    }
}

/// Of clients for metadata and topics, and of producers outside of transactions.
#[derive(Default)]
pub struct Plain;

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Plain {}

/// Of consumers: keeps what the last statistics said about each partition.
#[derive(Default)]
pub struct Consuming {
    lag: Mutex<BTreeMap<(String, i32), u64>>,
}

impl Consuming {
    /// Records not yet handed out, as of the last statistics; 0 before the first.
    pub fn lag(&self, source: &TopicPartition) -> u64 {
        let lag = lock(&self.lag);
        lag.get(&(source.topic.to_string(), source.partition.cast_signed())).copied().unwrap_or(0)
    }
}

impl ClientContext for Consuming {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut lag = lock(&self.lag);
        lag.clear();
        for (name, topic) in statistics.topics {
            for (partition, state) in topic.partitions {
                // What is fetched and waits, and what is stable on the broker and not fetched. The next offset to fetch is past control records, which a
                // difference of record offsets would count for ever.
                let unfetched = if state.next_offset < 0 {
                    0
                } else {
                    state.ls_offset.saturating_sub(state.next_offset).max(0)
                };
                let records = unfetched.saturating_add(state.fetchq_cnt.max(0));
                lag.insert((name.clone(), partition), records.cast_unsigned());
            }
        }
    }
}

impl ConsumerContext for Consuming {}

/// What became of the records handed to a producer since `Deliveries::begin`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Handed over and not yet reported.
    pub outstanding: usize,
    /// Behind the last record on the watched partition.
    pub end: Option<Offset>,
    /// A record on the watched partition was taken, and the broker did not say where: it had taken it before, and the answer was lost.
    pub end_unknown: bool,
    /// The first failure.
    pub failure: Option<RDKafkaErrorCode>,
}

/// Of producers: counts delivery reports, and watches the offsets of one partition.
pub struct Deliveries {
    watched: Option<TopicPartition>,
    progress: Mutex<Progress>,
}

impl Deliveries {
    pub fn watching(watched: Option<TopicPartition>) -> Self {
        Self {
            watched,
            progress: Mutex::default(),
        }
    }

    pub fn begin(&self) {
        *lock(&self.progress) = Progress::default();
    }

    pub fn sent(&self) {
        lock(&self.progress).outstanding += 1;
    }

    pub fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    fn watches(&self, message: &impl Message) -> bool {
        let is = |watched: &TopicPartition| watched.partition.cast_signed() == message.partition() && *watched.topic == *message.topic();
        self.watched.as_ref().is_some_and(is)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        let mut progress = lock(&self.progress);
        progress.outstanding = progress.outstanding.saturating_sub(1);
        match delivery {
            Ok(message) if self.watches(message) => {
                if message.offset() < 0 {
                    progress.end_unknown = true;
                } else {
                    progress.end = progress.end.max(Some(message.offset() + 1));
                }
            }
            Ok(_) => {}
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                progress.failure.get_or_insert(code);
            }
        }
    }
}
