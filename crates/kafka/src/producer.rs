//! Producers: one per shard with transactions, one per log without.
//!
//! Both wait for delivery reports by polling and sleeping in steps of a millisecond. The client's
//! own `flush` polls in steps of 100 ms whatever arrives, which would limit a shard to ten commits
//! a second, and a poll with a time-out spins through its last millisecond.

use std::time::{Duration, Instant};

use millrace_log::{LogError, Offset, Record, TopicPartition, Transaction};
use millrace_model::Cause;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use rdkafka::{ClientConfig, TopicPartitionList};

use crate::contexts::{Deliveries, GroupProgress};
use crate::detached::Detached;
use crate::errors::{self, Broken};

/// How long to sleep where nothing is reported yet.
const STEP: Duration = Duration::from_millis(1);

/// How long a take-over waits for the coordinator, which first ends the transaction that the
/// shard's last session left open.
const INIT_WITHIN: Duration = Duration::from_secs(30);

/// How long the attempt to abort may take. Where it fails the next session's `init_transactions`
/// aborts.
const ABORT_WITHIN: Duration = Duration::from_secs(5);

/// A producer of records to explicit partitions.
pub struct Producer {
    producer: Detached<BaseProducer<Deliveries>>,
}

impl Producer {
    /// `watched`: the partition whose offsets `GroupProgress` reports.
    pub fn open(config: &ClientConfig, watched: Option<TopicPartition>) -> Result<Self, LogError> {
        let producer = config
            .create_with_context(Deliveries::watching(watched))
            .map_err(|error| errors::request("creating a producer", &error))?;
        Ok(Self {
            producer: Detached::new(producer),
        })
    }

    fn context(&self) -> &Deliveries {
        self.producer.context()
    }

    /// Takes a batch of delivery reports, or sleeps for a moment.
    fn look(&self) {
        let before = self.context().progress().outstanding;
        self.producer.poll(Duration::ZERO);
        if self.context().progress().outstanding == before {
            std::thread::sleep(STEP);
        }
    }

    /// Hands records over, in order. A full queue is waited for until the deadline.
    fn send(&self, records: &[(TopicPartition, Record)], deadline: Instant) -> Result<(), KafkaError> {
        for (to, record) in records {
            let mut handed = message(to, record);
            while let Err((error, refused)) = self.producer.send(handed) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) || Instant::now() >= deadline {
                    return Err(error);
                }
                handed = refused;
                self.look();
            }
            self.context().sent();
        }
        Ok(())
    }

    /// Waits until every record is reported, or one has failed.
    fn delivered(&self, deadline: Instant) -> Result<GroupProgress, KafkaError> {
        loop {
            let progress = self.context().progress();
            if let Some(code) = progress.failure {
                return Err(KafkaError::MessageProduction(code));
            }
            if progress.outstanding == 0 {
                return Ok(progress);
            }
            if Instant::now() >= deadline {
                return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut));
            }
            self.look();
        }
    }

    /// Appends outside of transactions and waits until it is durable. On failure all of the records
    /// may be there, or the first ones of each partition.
    pub fn append(&self, records: &[(TopicPartition, Record)], within: Duration) -> Result<(), LogError> {
        let deadline = Instant::now() + within;
        self.context().begin();
        let appended = self.send(records, deadline).and_then(|()| self.delivered(deadline));
        appended.map(drop).map_err(|error| match error.rdkafka_error_code() {
            Some(code) if errors::no_such_topic(code) => LogError::NoSuchTopic(topics(records)),
            _ => errors::request("appending", &error),
        })
    }

    /// Fences earlier sessions and ends the transactions they left open.
    pub fn init_transactions(&self) -> Result<(), LogError> {
        self.producer
            .init_transactions(INIT_WITHIN)
            .map_err(|error| errors::request("taking over", &error))
    }

    /// Commits records and positions together. Returns the offset after the last record on the
    /// watched partition.
    pub fn commit(&self, transaction: &Transaction, group: &ConsumerGroupMetadata, within: Duration) -> Result<GroupProgress, LogError> {
        let deadline = Instant::now() + within;
        self.transact(transaction, group, deadline).map_err(|broken| match broken {
            Broken::Over(error) => error,
            Broken::Abort { cause, code } => self.abort(cause, code, transaction),
        })
    }

    fn transact(&self, transaction: &Transaction, group: &ConsumerGroupMetadata, deadline: Instant) -> Result<GroupProgress, Broken> {
        self.context().begin();
        self.producer.begin_transaction().map_err(|error| errors::transaction("beginning", &error))?;
        self.send(&transaction.records, deadline).map_err(|error| self.undelivered(&error))?;
        if !transaction.positions.is_empty() {
            let positions = positions(&transaction.positions).map_err(|error| errors::transaction("sending positions", &error))?;
            let sent = self.producer.send_offsets_to_transaction(&positions, group, left(deadline));
            sent.map_err(|error| errors::transaction("sending positions", &error))?;
        }
        let progress = self.delivered(deadline).map_err(|error| self.undelivered(&error))?;
        self.producer
            .commit_transaction(left(deadline))
            .map_err(|error| errors::transaction("committing", &error))?;
        Ok(progress)
    }

    /// A record could not be handed over or delivered. Nothing was committed: the commit is asked
    /// for after all deliveries.
    fn undelivered(&self, error: &KafkaError) -> Broken {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        match fatal.or(error.rdkafka_error_code()) {
            Some(code) if errors::fenced(code) => Broken::Over(LogError::Fenced),
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::MessageTimedOut) => {
                Broken::Over(LogError::OutcomeUnknown(Cause::of("delivering", error.clone())))
            }
            _ if fatal.is_some() => errors::transaction("delivering", error),
            code => Broken::Abort {
                cause: Cause::of("delivering", error.clone()),
                code,
            },
        }
    }

    /// The transaction cannot commit. Aborting it here spares committed-only readers the wait for
    /// the next session; the abort may meet a graver error.
    fn abort(&self, cause: Cause, code: Option<RDKafkaErrorCode>, transaction: &Transaction) -> LogError {
        let code = self.context().progress().failure.or(code);
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + ABORT_WITHIN;
        while self.context().progress().outstanding > 0 && Instant::now() < deadline {
            self.look();
        }
        if let Err(error) = self.producer.abort_transaction(left(deadline)) {
            if error.rdkafka_error_code().is_some_and(errors::fenced) {
                return LogError::Fenced;
            }
            tracing::warn!(%error, "a transaction is left to be aborted by its shard's next session");
        }
        match code {
            Some(code) if errors::no_such_topic(code) => LogError::NoSuchTopic(topics(&transaction.records)),
            Some(code) if errors::hopeless(code) => LogError::Failure(cause),
            _ => LogError::Aborted(cause),
        }
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn message<'a>(to: &'a TopicPartition, record: &'a Record) -> BaseRecord<'a, [u8], [u8], ()> {
    let mut message = BaseRecord::to(&to.topic).partition(to.partition.cast_signed());
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        let insert = |headers: OwnedHeaders, (key, value): &(String, bytes::Bytes)| {
            headers.insert(Header {
                key,
                value: Some(value.as_ref()),
            })
        };
        message.headers = Some(record.headers.iter().fold(headers, insert));
    }
    message
}

fn positions(positions: &[(TopicPartition, Offset)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (source, offset) in positions {
        list.add_partition_offset(&source.topic, source.partition.cast_signed(), rdkafka::Offset::Offset(*offset))?;
    }
    Ok(list)
}

/// librdkafka does not say which topic does not exist.
fn topics(records: &[(TopicPartition, Record)]) -> String {
    let topics: std::collections::BTreeSet<&str> = records.iter().map(|(to, _)| to.topic.as_ref()).collect();
    topics.into_iter().collect::<Vec<_>>().join(" or ")
}
