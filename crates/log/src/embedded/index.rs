//! What the log holds in memory: topics, positions, and where each batch is.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_model::Timestamp;

use super::format::{BatchHead, Catalogue, CatalogueTopic};
use super::segment::Segment;
use crate::{DELETE_CONSUMED, LogError, Offset, TopicPartition, TopicSpec};

const RETENTION_MS_DEFAULT: i64 = 7 * millrace_model::DAY_MS;
const DELETE_RETENTION_MS_DEFAULT: i64 = millrace_model::DAY_MS;

/// A partition by numbers: topic, partition.
pub(super) type PartitionRef = (u32, u32);

#[derive(Default)]
pub(super) struct Index {
    pub topics: Vec<Topic>,
    names: BTreeMap<Arc<str>, u32>,
    /// Positions by group.
    pub positions: BTreeMap<PartitionRef, BTreeMap<String, Offset>>,
    /// Closed segments and the active one, by first number.
    pub segments: BTreeMap<u32, Arc<Segment>>,
    /// The segment that is appended to.
    pub active: u32,
}

pub(super) struct Topic {
    pub name: Arc<str>,
    pub compacted: bool,
    settings: Vec<(String, String)>,
    pub partitions: Vec<Partition>,
    /// How long records live where the topic is not compacted; `None` for ever.
    pub retention_ms: Option<i64>,
    /// How long tombstones live where it is.
    pub delete_retention_ms: i64,
    pub delete_consumed: bool,
}

#[derive(Default)]
pub(super) struct Partition {
    /// The earliest offset that may be read.
    pub start: Offset,
    pub next: Offset,
    /// In ascending order of offsets. The first may begin before `start`.
    pub batches: Vec<Batch>,
}

/// A batch and the segment that holds it.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub segment: u32,
    pub head: BatchHead,
}

impl Index {
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.names.get(name).map(|number| &self.topics[*number as usize])
    }

    /// # Errors
    /// `NoSuchTopic`; `Failure` where the topic has no such partition.
    pub fn partition_ref(&self, partition: &TopicPartition) -> Result<PartitionRef, LogError> {
        let number = *self
            .names
            .get(&partition.topic)
            .ok_or_else(|| LogError::NoSuchTopic(partition.topic.to_string()))?;
        let count = self.topics[number as usize].partitions.len();
        if partition.partition as usize >= count {
            return Err(LogError::Failure(
                format!("topic {} has {count} partitions, none is {}", partition.topic, partition.partition).into(),
            ));
        }
        Ok((number, partition.partition))
    }

    pub fn partition(&self, (topic, partition): PartitionRef) -> &Partition {
        &self.topics[topic as usize].partitions[partition as usize]
    }

    pub fn partition_mut(&mut self, (topic, partition): PartitionRef) -> Option<&mut Partition> {
        self.topics.get_mut(topic as usize)?.partitions.get_mut(partition as usize)
    }

    pub fn add_topic(&mut self, spec: &TopicSpec) {
        let mut catalogue = Catalogue::default();
        catalogue.add(spec);
        catalogue.topics.into_iter().for_each(|topic| self.add_catalogued(topic));
    }

    fn add_catalogued(&mut self, topic: CatalogueTopic) {
        let name: Arc<str> = topic.name.into();
        let setting = |name: &str| topic.settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let milliseconds = |name: &str, default: i64| setting(name).and_then(|value| value.parse().ok()).unwrap_or(default);
        let retention_ms = milliseconds("retention.ms", RETENTION_MS_DEFAULT);
        self.names.insert(Arc::clone(&name), self.topics.len() as u32);
        self.topics.push(Topic {
            name,
            compacted: topic.compacted,
            retention_ms: (retention_ms >= 0).then_some(retention_ms),
            delete_retention_ms: milliseconds("delete.retention.ms", DELETE_RETENTION_MS_DEFAULT),
            delete_consumed: setting(DELETE_CONSUMED) == Some("true"),
            settings: topic.settings,
            partitions: topic
                .partitions
                .into_iter()
                .map(|(start, next)| Partition {
                    start,
                    next,
                    batches: Vec::new(),
                })
                .collect(),
        });
    }

    pub fn catalogue(&self) -> Catalogue {
        let topic = |topic: &Topic| CatalogueTopic {
            name: topic.name.to_string(),
            compacted: topic.compacted,
            settings: topic.settings.clone(),
            partitions: topic.partitions.iter().map(|partition| (partition.start, partition.next)).collect(),
        };
        let groups = |(place, groups): (&PartitionRef, &BTreeMap<String, Offset>)| {
            let place = *place;
            groups
                .iter()
                .map(move |(group, position)| (group.clone(), place.0, place.1, *position))
                .collect::<Vec<_>>()
        };
        Catalogue {
            topics: self.topics.iter().map(topic).collect(),
            positions: self.positions.iter().flat_map(groups).collect(),
        }
    }

    /// Builds the index from the last catalogue and the parts read around it. `batches` ascend per
    /// partition, `positions` are in order of commits.
    ///
    /// # Errors
    /// The fault, where a batch or a position does not fit the catalogue or the batches before it.
    pub fn build(catalogue: Catalogue, batches: Vec<Batch>, positions: Vec<(PartitionRef, String, Offset)>) -> Result<Index, String> {
        let mut index = Index::default();
        catalogue.topics.into_iter().for_each(|topic| index.add_catalogued(topic));
        for (group, topic, partition, position) in catalogue.positions {
            index.positions.entry((topic, partition)).or_default().insert(group, position);
        }
        for (place, group, position) in positions {
            index.positions.entry(place).or_default().insert(group, position);
        }
        let mut ends: BTreeMap<PartitionRef, Offset> = BTreeMap::new();
        for batch in batches {
            let place = (batch.head.topic, batch.head.partition);
            let held = index
                .partition_mut(place)
                .ok_or_else(|| format!("the log's catalogue has no partition {} of a topic number {}", place.1, place.0))?;
            let end = ends.entry(place).or_insert(0);
            if batch.head.base < *end {
                return Err(format!("offsets of topic number {} run backwards at {}", place.0, batch.head.base));
            }
            *end = batch.head.last + 1;
            held.next = held.next.max(batch.head.last + 1);
            if batch.head.last >= held.start {
                held.batches.push(batch);
            }
        }
        Ok(index)
    }

    /// Drops what retention frees at `now`.
    pub fn retain(&mut self, now: Timestamp) {
        for (number, topic) in self.topics.iter_mut().enumerate().filter(|(_, topic)| !topic.compacted) {
            let horizon = topic.retention_ms.map(|keep| now.plus_ms(-keep));
            for (partition, held) in topic.partitions.iter_mut().enumerate() {
                let old = held
                    .batches
                    .iter()
                    .take_while(|batch| horizon.is_some_and(|horizon| batch.head.timestamp_max < horizon))
                    .last();
                let expired = old.map_or(0, |batch| batch.head.last + 1);
                let groups = self.positions.get(&(number as u32, partition as u32));
                let consumed = groups
                    .filter(|_| topic.delete_consumed)
                    .and_then(|groups| groups.values().min().copied())
                    .unwrap_or(0);
                held.start = held.start.max(expired).max(consumed.min(held.next));
                let dead = held.batches.partition_point(|batch| batch.head.last < held.start);
                held.batches.drain(..dead);
            }
        }
    }
}
