//! A plain reader of committed records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_log::{Delivered, EARLIEST, LogError, Offset, PollLimits, Reader, TopicPartition};

use crate::consumer::{Consumer, Next};
use crate::metadata::Metadata;
use crate::properties::Properties;

/// A reader commits nothing to its group; librdkafka asks for one.
const GROUP: &str = "millrace-reader";

/// How long a look at what is left of a partition may take.
const PROBE_WITHIN: Duration = Duration::from_secs(20);

pub struct PlainReader {
    properties: Properties,
    metadata: Arc<Metadata>,
    consumer: Consumer,
    /// Per partition, an offset up to which everything is read, though the last record returned is
    /// before it.
    quiet: BTreeMap<TopicPartition, Offset>,
}

impl PlainReader {
    pub fn open(properties: &Properties, metadata: &Arc<Metadata>, from: &[(TopicPartition, Offset)]) -> Result<Self, LogError> {
        let mut consumer = Consumer::open(&properties.consumer(GROUP, false))?;
        let from: Vec<(TopicPartition, Offset)> = from
            .iter()
            .map(|(source, offset)| (source.clone(), if *offset > 0 { *offset } else { EARLIEST }))
            .collect();
        consumer.assign(&from)?;
        Ok(Self {
            properties: properties.clone(),
            metadata: Arc::clone(metadata),
            consumer,
            quiet: BTreeMap::new(),
        })
    }

    /// Whether a committed-only reader sees no record of the partition from the position on.
    /// Control and aborted records take offsets too, so the position alone cannot decide it.
    fn nothing_left(&self, source: &TopicPartition, position: Offset) -> Result<bool, LogError> {
        let mut probe = Consumer::open(&self.properties.consumer(GROUP, true))?;
        probe.assign(&[(source.clone(), position)])?;
        let deadline = Instant::now() + PROBE_WITHIN;
        while Instant::now() < deadline {
            match probe.next(deadline.saturating_duration_since(Instant::now()), &self.metadata)? {
                Next::Record(_) => return Ok(false),
                Next::End => return Ok(true),
                Next::Nothing => {}
            }
        }
        Err(LogError::Unavailable(
            format!("nothing read from {}/{} for {} s", source.topic, source.partition, PROBE_WITHIN.as_secs()).into(),
        ))
    }
}

impl Reader for PlainReader {
    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        self.consumer.poll(limits, &self.metadata)
    }

    fn caught_up(&mut self) -> Result<bool, LogError> {
        let positions: Vec<(TopicPartition, Offset)> = self.consumer.positions().map(|(source, position)| (source.clone(), position)).collect();
        for (source, position) in positions {
            let (low, end) = self.metadata.watermarks(&source)?;
            let read = position.max(low).max(self.quiet.get(&source).copied().unwrap_or(0));
            if read >= end {
                continue;
            }
            if !self.nothing_left(&source, position)? {
                return Ok(false);
            }
            self.quiet.insert(source, end);
        }
        Ok(true)
    }
}
