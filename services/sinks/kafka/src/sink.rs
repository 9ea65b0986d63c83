//! A topic of the log as a destination.

use std::time::Duration;

use millrace_connect::sink::{Answer, BatchLimits, Change, Delivery, Destination};
use millrace_log::{Record, TopicSpec};

use crate::config::{Config, Key};
use crate::mapping;

/// Changes of one audience that become records at once.
const RECORDS_MAX: usize = 2_000;

/// Copies on one topic.
pub struct KafkaSink(Config);

impl KafkaSink {
    /// A sink with checked settings.
    pub fn new(config: Config) -> KafkaSink {
        KafkaSink(config)
    }
}

impl Destination for KafkaSink {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records_max: RECORDS_MAX,
            wait: Duration::ZERO,
        }
    }

    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        Delivery::all(&Answer::Accepted, batch.len(), 0)
    }

    fn topic(&self) -> Option<&str> {
        Some(&self.0.topic)
    }

    fn topic_spec(&self) -> Option<TopicSpec> {
        Some(TopicSpec {
            name: self.0.topic.clone(),
            partitions: self.0.partitions?,
            compacted: self.0.key == Key::AudienceIdentity,
            settings: Vec::new(),
        })
    }

    fn record(&self, change: &Change) -> Option<Record> {
        Some(mapping::record(&self.0, change))
    }

    fn calls(&self, _: &[Change]) -> u64 {
        0
    }

    fn request(&self, batch: &[Change]) -> Option<String> {
        let value = self.record(batch.first()?)?.value;
        Some(value.map_or_else(|| "a tombstone".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()))
    }
}
