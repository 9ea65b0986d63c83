//! librdkafka's callbacks: logs, errors, statistics and delivery reports.

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
    // The data behind these locks is valid between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // The properties of the deployment go to consumers and producers alike, and each complains
        // about those of the other.
        _ if facility == "CONFWARN" => tracing::debug!(facility, message, "kafka client"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(facility, message, "kafka client");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "kafka client"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, message, "kafka client"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "kafka client"),
    }
}

/// librdkafka reports lost connections here and repairs them by itself.
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
    fetched: Mutex<BTreeMap<(String, i32), Fetched>>,
}

/// How far a partition is fetched. Negative offsets are not known.
#[derive(Clone, Copy)]
struct Fetched {
    /// After the last record that committed-only readers may see.
    stable: Offset,
    /// Past control records, which take offsets and are not handed out.
    next: Offset,
    /// Whether records are fetched and wait, of any partition: librdkafka has one queue for all.
    waiting: bool,
}

impl Consuming {
    /// Records not yet handed out, as of the last statistics, for a consumer that is at `position`.
    /// 0 before the first statistics.
    pub fn lag(&self, source: &TopicPartition, position: Offset) -> u64 {
        let known = lock(&self.fetched).get(&(source.topic.to_string(), source.partition.cast_signed())).copied();
        let Some(Fetched { stable, next, waiting }) = known else { return 0 };
        let reached = if waiting { position } else { position.max(next) };
        stable.saturating_sub(reached.max(0)).max(0).cast_unsigned()
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
        let mut fetched = lock(&self.fetched);
        fetched.clear();
        for (name, topic) in statistics.topics {
            for (partition, state) in topic.partitions {
                fetched.insert(
                    (name.clone(), partition),
                    Fetched {
                        stable: state.ls_offset,
                        next: state.next_offset,
                        waiting: state.fetchq_cnt > 0,
                    },
                );
            }
        }
    }
}

impl ConsumerContext for Consuming {}

/// The outcome of the records handed to a producer since `Deliveries::begin`.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupProgress {
    /// Handed over and not yet reported.
    pub outstanding: usize,
    /// After the last record on the watched partition.
    pub end: Option<Offset>,
    /// A record on the watched partition was accepted, and the broker did not say where: it had
    /// accepted it before, and the answer was lost.
    pub end_unknown: bool,
    /// The first failure.
    pub failure: Option<RDKafkaErrorCode>,
}

/// Of producers: counts delivery reports, and watches the offsets of one partition.
pub struct Deliveries {
    watched: Option<TopicPartition>,
    progress: Mutex<GroupProgress>,
}

impl Deliveries {
    pub fn watching(watched: Option<TopicPartition>) -> Self {
        Self {
            watched,
            progress: Mutex::default(),
        }
    }

    pub fn begin(&self) {
        *lock(&self.progress) = GroupProgress::default();
    }

    pub fn sent(&self) {
        lock(&self.progress).outstanding += 1;
    }

    pub fn progress(&self) -> GroupProgress {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_what_is_fetched_and_not_handed_out_and_no_markers() {
        let source = TopicPartition {
            topic: "t".into(),
            partition: 3,
        };
        let lag = |known: Option<(Offset, Offset, bool)>, position| {
            let consuming = Consuming::default();
            if let Some((stable, next, waiting)) = known {
                lock(&consuming.fetched).insert(("t".to_owned(), 3), Fetched { stable, next, waiting });
            }
            consuming.lag(&source, position)
        };
        for (case, known, position, expected) in [
            ("no statistics yet", None, 5, 0),
            ("nothing fetched yet", Some((-1001, -1001, false)), 5, 0),
            ("the rest is on the broker", Some((100, 40, false)), 40, 60),
            ("part of the rest is fetched", Some((100, 40, true)), 10, 90),
            ("after the last record is a marker", Some((4, 4, false)), 3, 0),
            ("statistics older than the position", Some((4, 4, true)), 9, 0),
            ("from the earliest, nothing handed out", Some((4, 2, true)), -2, 4),
        ] {
            assert_eq!(lag(known, position), expected, "{case}");
        }
    }
}
