//! A destination that is a topic of the same log: its records are part of the commit.

use millrace_log::{LogError, TopicPartition};
use millrace_model::chain;
use millrace_shard::murmur::partition_of;

use super::{Change, SinkTask};

impl SinkTask {
    /// Why records of the destination cannot be placed; `None`: they can, or it is no topic.
    pub(super) fn topic_is_missing(&mut self) -> Option<String> {
        let topic = self.destination.topic()?;
        if self.topic_partitions.is_some() {
            return None;
        }
        match self.partitions_of(topic) {
            Ok(Some(count)) if count > 0 => {
                self.topic_partitions = Some(count);
                None
            }
            Ok(_) => Some(format!("there is no topic `{topic}`")),
            Err(error) => Some(chain(&error)),
        }
    }

    /// The number of partitions of a topic, which is created if the destination says how.
    fn partitions_of(&self, topic: &str) -> Result<Option<u32>, LogError> {
        let log = &self.context.log;
        match (log.partitions(topic)?, self.destination.topic_spec()) {
            (None, Some(spec)) => {
                log.create_topic(&spec)?;
                log.partitions(topic)
            }
            (known, _) => Ok(known),
        }
    }

    /// Adds the record of an accepted change to the commit of its partition.
    pub(super) fn copy(&mut self, number: u32, change: &Change) {
        let (Some(topic), Some(count)) = (self.destination.topic(), self.topic_partitions) else {
            return;
        };
        let (Some(record), Some(partition)) = (self.destination.record(change), self.partitions.get_mut(&number)) else {
            return;
        };
        let to = TopicPartition {
            topic: topic.into(),
            partition: partition_of(record.key.as_deref().unwrap_or_default(), count),
        };
        partition.add_copy(to, record);
    }
}
