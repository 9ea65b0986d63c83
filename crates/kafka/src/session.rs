//! One owner's session of one shard: a transactional producer, a consumer of the inputs, and for
//! the restore a consumer of the changelog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_log::{Delivered, LogError, Offset, PollLimits, Receipt, ShardIdentity, ShardSession, TopicPartition, Transaction};
use millrace_model::Cause;
use rdkafka::consumer::ConsumerGroupMetadata;

use crate::consumer::{Consumer, Next};
use crate::metadata::Metadata;
use crate::producer::Producer;
use crate::properties::Properties;

/// How long a restore waits for the next record before it counts the log as unavailable.
const RESTORE_STALLED: Duration = Duration::from_secs(60);

/// How long a restore waits for the broker to write the markers of decided transactions.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);

/// How soon it asks again.
const DECIDED_AGAIN: Duration = Duration::from_millis(20);

/// How long one wait of a restore is.
const RESTORE_STEP: Duration = Duration::from_millis(500);

pub struct Session {
    properties: Properties,
    metadata: Arc<Metadata>,
    shard: ShardIdentity,
    producer: Producer,
    inputs: Consumer,
    group: ConsumerGroupMetadata,
}

impl Session {
    pub fn open(properties: &Properties, metadata: &Arc<Metadata>, shard: &ShardIdentity) -> Result<Self, LogError> {
        let producer = Producer::open(&properties.transactional_producer(&shard.transactional_id), Some(shard.changelog.clone()))?;
        producer.init_transactions()?;
        let inputs = Consumer::open(&properties.consumer(&shard.group, false))?;
        // Without a member id or generation: the broker takes the positions of such a sender in any
        // state of the group. The transactional id keeps others out.
        let group = inputs.group_metadata()?;
        Ok(Self {
            properties: properties.clone(),
            metadata: Arc::clone(metadata),
            shard: shard.clone(),
            producer,
            inputs,
            group,
        })
    }

    /// The changelog's earliest offset and its end, once every record in it is decided.
    ///
    /// This session has fenced the one before, so nobody else writes here and nothing can be open.
    /// Yet a broker that crashes between the decision and its marker in the partition may restart
    /// without ever writing the marker (seen with Kafka 4.3): the commit is hidden until a later
    /// transaction of this shard ends. Going on from the state before it would do its work twice.
    fn decided(&self) -> Result<(Offset, Offset), LogError> {
        let deadline = Instant::now() + DECIDED_WITHIN;
        loop {
            let (_, all) = self.metadata.uncommitted_watermarks(&self.shard.changelog)?;
            let (low, end) = self.metadata.watermarks(&self.shard.changelog)?;
            if end >= all {
                return Ok((low, end));
            }
            if Instant::now() > deadline {
                let TopicPartition { topic, partition } = &self.shard.changelog;
                let text = format!("{topic}/{partition} holds a transaction without an end from offset {end} on, see Kafka's tools for hanging transactions");
                return Err(LogError::Unavailable(text.into()));
            }
            std::thread::sleep(DECIDED_AGAIN);
        }
    }

    /// Reads the changelog until the broker says that this is its end. The last record that a
    /// reader sees may be long before it, because aborted records, control records and the gaps of
    /// a compaction are not returned.
    fn read_to_end(&self, from: Offset, end: Offset, apply: &mut dyn FnMut(Delivered)) -> Result<Offset, LogError> {
        let mut changelog = Consumer::open(&self.properties.consumer(&self.shard.group, true))?;
        changelog.assign(&[(self.shard.changelog.clone(), from)])?;
        let mut after = end;
        let mut heard = Instant::now();
        loop {
            match changelog.next(RESTORE_STEP, &self.metadata)? {
                Next::Record(record) => {
                    after = after.max(record.offset + 1);
                    heard = Instant::now();
                    apply(record);
                }
                Next::End => return Ok(after),
                Next::Nothing if heard.elapsed() > RESTORE_STALLED => {
                    return Err(LogError::Unavailable(
                        format!("nothing read from the changelog for {} s", RESTORE_STALLED.as_secs()).into(),
                    ));
                }
                Next::Nothing => {}
            }
        }
    }

    /// Where the broker did not report the offset of a record it had accepted already, the end of
    /// the changelog is after it: its only writer is this session.
    fn changelog_end(&self, end_unknown: bool, end: Option<Offset>) -> Result<Option<Offset>, LogError> {
        if !end_unknown {
            return Ok(end);
        }
        match self.metadata.watermarks(&self.shard.changelog) {
            Ok((_, end)) => Ok(Some(end)),
            // Committed, at an unknown offset. A recovery finds out.
            Err(error) => Err(LogError::OutcomeUnknown(Cause::of("asking for the end of the changelog", error))),
        }
    }
}

impl ShardSession for Session {
    fn restore(&mut self, from: Offset, apply: &mut dyn FnMut(Delivered)) -> Result<Offset, LogError> {
        let TopicPartition { topic, partition } = &self.shard.changelog;
        let (low, end) = self.decided()?;
        if from > end || (0..low).contains(&from) {
            return Err(LogError::OffsetLost {
                topic: topic.to_string(),
                partition: *partition,
                offset: from,
            });
        }
        if from.max(low) == end { Ok(end) } else { self.read_to_end(from, end, apply) }
    }

    fn assign(&mut self, inputs: &[(TopicPartition, Offset)]) -> Result<(), LogError> {
        self.inputs.assign(inputs)
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        self.inputs.poll(limits, &self.metadata)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<Receipt, LogError> {
        if transaction.records.is_empty() && transaction.positions.is_empty() {
            return Ok(Receipt { changelog_end: None });
        }
        let progress = self.producer.commit(&transaction, &self.group, self.properties.commit_within())?;
        Ok(Receipt {
            changelog_end: self.changelog_end(progress.end_unknown, progress.end)?,
        })
    }

    fn lag(&self) -> Vec<(TopicPartition, u64)> {
        self.inputs.lag()
    }
}
