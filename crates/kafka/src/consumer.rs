//! A consumer of committed records at explicit offsets.
//!
//! It is assigned once, at explicit offsets, and polled on the caller's thread; it never pauses,
//! seeks or splits queues: in librdkafka each of these can lose the start offset or leave a
//! partition without fetches.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_log::{Delivered, LogError, Offset, PollLimits, Record, TopicPartition};
use millrace_model::{Cause, Timestamp};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{ClientConfig, Message as _, TopicPartitionList};

use crate::contexts::Consuming;
use crate::detached::Detached;
use crate::errors;
use crate::metadata::Metadata;

/// The result of one wait.
pub enum Next {
    Record(Delivered),
    /// The consumer is at the end of a partition; librdkafka reports which one only sometimes.
    End,
    /// Nothing in time.
    Nothing,
}

struct Input {
    source: TopicPartition,
    /// After the last record returned, or where reading starts; negative before the first where
    /// that is the earliest.
    position: Offset,
}

pub struct Consumer {
    consumer: Detached<BaseConsumer<Consuming>>,
    inputs: Vec<Input>,
    /// The index in `inputs` of the last record: the next one mostly has the same.
    last: usize,
}

impl Consumer {
    pub fn open(config: &ClientConfig) -> Result<Self, LogError> {
        let consumer = config
            .create_with_context(Consuming::default())
            .map_err(|error| errors::request("creating a consumer", &error))?;
        Ok(Self {
            consumer: Detached::new(consumer),
            inputs: Vec::new(),
            last: 0,
        })
    }

    /// Replaces what is read. A negative offset: from the earliest.
    pub fn assign(&mut self, inputs: &[(TopicPartition, Offset)]) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(inputs.len());
        for (source, offset) in inputs {
            let offset = if *offset < 0 {
                rdkafka::Offset::Beginning
            } else {
                rdkafka::Offset::Offset(*offset)
            };
            list.add_partition_offset(&source.topic, source.partition.cast_signed(), offset)
                .map_err(|error| errors::request("assigning", &error))?;
        }
        self.consumer.assign(&list).map_err(|error| errors::request("assigning", &error))?;
        self.inputs = inputs
            .iter()
            .map(|(source, offset)| Input {
                source: source.clone(),
                position: *offset,
            })
            .collect();
        self.last = 0;
        Ok(())
    }

    pub fn group_metadata(&self) -> Result<ConsumerGroupMetadata, LogError> {
        self.consumer
            .group_metadata()
            .ok_or_else(|| LogError::Failure("the consumer has no group".into()))
    }

    /// Per input: where it is read next.
    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.inputs.iter().map(|input| (&input.source, input.position))
    }

    pub fn lag(&self) -> Vec<(TopicPartition, u64)> {
        let context = self.consumer.context();
        self.inputs
            .iter()
            .map(|input| (input.source.clone(), context.lag(&input.source, input.position)))
            .collect()
    }

    /// The next records within the limits. Empty where nothing arrived in time.
    pub fn poll(&mut self, limits: PollLimits, metadata: &Metadata) -> Result<Vec<Delivered>, LogError> {
        let deadline = Instant::now() + Duration::from_millis(limits.wait_ms_max);
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < limits.records_max && bytes < limits.bytes_max {
            let wait = if records.is_empty() {
                deadline.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            match self.next(wait, metadata)? {
                Next::Record(record) => {
                    bytes += size(&record.record);
                    records.push(record);
                }
                // Other events end a wait as well; only the time distinguishes them from a
                // time-out.
                Next::End | Next::Nothing if records.is_empty() && Instant::now() < deadline => {}
                Next::End => {}
                Next::Nothing => break,
            }
        }
        Ok(records)
    }

    /// The next thing that happens within the wait.
    pub fn next(&mut self, wait: Duration, metadata: &Metadata) -> Result<Next, LogError> {
        match self.consumer.poll(wait) {
            None => Ok(Next::Nothing),
            Some(Ok(message)) => {
                let index = find(&self.inputs, self.last, &message)?;
                self.last = index;
                let input = &mut self.inputs[index];
                input.position = message.offset() + 1;
                Ok(Next::Record(delivered(input.source.clone(), &message)))
            }
            Some(Err(KafkaError::PartitionEOF(_))) => Ok(Next::End),
            Some(Err(error)) => self.failed(&error, metadata).map_or(Ok(Next::Nothing), Err),
        }
    }

    /// `None` for errors that librdkafka repairs by itself.
    fn failed(&self, error: &KafkaError, metadata: &Metadata) -> Option<LogError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => Some(self.lost(error, metadata)),
            Some(code) if errors::no_such_topic(code) => Some(LogError::NoSuchTopic(self.missing(metadata))),
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Some(LogError::Failure(Cause::of("reading", error.clone()))),
            _ => match errors::request("reading", error) {
                LogError::Unavailable(_) => None,
                other => Some(other),
            },
        }
    }

    /// librdkafka does not say which partition's offset is gone.
    fn lost(&self, error: &KafkaError, metadata: &Metadata) -> LogError {
        for input in &self.inputs {
            match metadata.watermarks(&input.source) {
                Ok((low, high)) if input.position >= 0 && (input.position < low || input.position > high) => {
                    let TopicPartition { topic, partition } = &input.source;
                    return LogError::OffsetLost {
                        topic: topic.to_string(),
                        partition: *partition,
                        offset: input.position,
                    };
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        LogError::Failure(Cause::of("reading", error.clone()))
    }

    fn missing(&self, metadata: &Metadata) -> String {
        let missing =
            |input: &&Input| matches!(metadata.partitions(&input.source.topic), Ok(count) if count.is_none_or(|count| count <= input.source.partition));
        self.inputs
            .iter()
            .find(missing)
            .or(self.inputs.first())
            .map_or_else(String::new, |input| input.source.topic.to_string())
    }
}

fn find(inputs: &[Input], last: usize, message: &BorrowedMessage<'_>) -> Result<usize, LogError> {
    let is = |input: &Input| input.source.partition.cast_signed() == message.partition() && *input.source.topic == *message.topic();
    if inputs.get(last).is_some_and(is) {
        return Ok(last);
    }
    inputs
        .iter()
        .position(is)
        .ok_or_else(|| LogError::Failure(format!("a record of {}/{}, which is not assigned", message.topic(), message.partition()).into()))
}

fn size(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len) + headers
}

fn delivered(source: TopicPartition, message: &BorrowedMessage<'_>) -> Delivered {
    // Key and value share one allocation.
    let (key, value) = (message.key(), message.payload());
    let both = Bytes::from([key.unwrap_or_default(), value.unwrap_or_default()].concat());
    let middle = key.map_or(0, <[u8]>::len);
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default())))
            .collect()
    });
    let record = Record {
        key: key.map(|_| both.slice(..middle)),
        value: value.map(|_| both.slice(middle..)),
        headers,
    };
    Delivered {
        source,
        offset: message.offset(),
        timestamp: Timestamp(message.timestamp().to_millis().unwrap_or(0)),
        record,
    }
}
