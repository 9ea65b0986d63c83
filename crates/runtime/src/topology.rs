//! The topics, how a deployment names them, and which partitions a shard reads.
//!
//! The names are those of the topic catalogue, `schemas/topics.yaml`; a test compares.

use std::sync::Arc;

use millrace_log::{DELETE_CONSUMED, Log, LogError, ShardIdentity, TopicPartition, TopicSpec};
use millrace_model::{ShardId, SourceKind};
use millrace_shard::machine::{InputTopic, OutputTopic};

/// The names and the number of shards of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
    application: String,
    shards: u32,
}

const WEEK_MS: &str = "604800000";

/// The largest record a shard may write, in bytes.
pub const RECORD_BYTES_MAX: u32 = 32 << 20;

impl Topology {
    /// The application's id is the prefix without its dot, until `with_application` gives another.
    ///
    /// # Panics
    /// Where there is no shard.
    pub fn new(prefix: impl Into<String>, shards: u32) -> Topology {
        assert!(shards > 0, "a deployment has at least one shard");
        let prefix = prefix.into();
        let application = prefix.trim_end_matches('.').to_owned();
        Topology { prefix, application, shards }
    }

    /// Groups and transactional ids begin with this.
    #[must_use]
    pub fn with_application(self, id: impl Into<String>) -> Topology {
        Topology {
            application: id.into(),
            ..self
        }
    }

    /// Shards of the deployment.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// The full name of an input topic.
    pub fn input(&self, topic: InputTopic) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The full name of an output topic.
    pub fn output(&self, topic: &OutputTopic) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The full name of the topic of changed rows.
    pub fn changelog(&self) -> String {
        format!("{}internal.changelog", self.prefix)
    }

    /// The empty topic whose group decides who owns which shard.
    pub fn ownership(&self) -> String {
        format!("{}internal.shards", self.prefix)
    }

    /// Where instances publish which shards they have open.
    pub fn hosts(&self) -> String {
        format!("{}internal.hosts", self.prefix)
    }

    /// Which sources are paused.
    pub fn source_control(&self) -> String {
        format!("{}control.sources", self.prefix)
    }

    /// Transactional id of a source: two processes that run it fence each other.
    pub fn source_transactional_id(&self, name: &str) -> String {
        format!("{}.source.{name}", self.application)
    }

    /// Transactional id of a shard.
    pub fn transactional_id(&self, shard: ShardId) -> String {
        format!("{}.shard.{shard}", self.application)
    }

    /// The identity that writes several records to the control topic as one transaction: a later
    /// writer fences an earlier one, so two batches never mix.
    pub fn orders(&self, control: TopicPartition) -> ShardIdentity {
        ShardIdentity {
            transactional_id: format!("{}.orders", self.application),
            group: self.positions_group(),
            changelog: control,
        }
    }

    /// The group under which shards send their positions.
    pub fn positions_group(&self) -> String {
        format!("{}.positions", self.application)
    }

    /// The group whose members share the shards.
    pub fn owners_group(&self) -> String {
        format!("{}.shards", self.application)
    }

    /// Whether the records of a topic of this deployment follow from those of other topics, or from
    /// a foreign system, so that they can be made again. Only what was sent to the sources' topics
    /// and the control topics, and what was refused, cannot.
    pub fn follows(&self, topic: &str) -> bool {
        let sent = |name: &str| name.starts_with("source.") || name.starts_with("control.") || name == "dead-letter";
        topic.strip_prefix(self.prefix.as_str()).is_some_and(|name| !sent(name))
    }

    /// The inputs of a shard: the whole control topic, its own partition of inbox and records, and
    /// every source partition `q` with `q % shards == shard`. A source topic that does not exist is
    /// not read.
    ///
    /// # Errors
    /// `NoSuchTopic` where an internal topic or the control topic does not exist; otherwise the
    /// log's error.
    pub fn inputs(&self, log: &dyn Log, shard: ShardId) -> Result<Vec<(TopicPartition, InputTopic)>, LogError> {
        let mut inputs = Vec::new();
        for topic in [InputTopic::Control, InputTopic::Inbox, InputTopic::Records] {
            let name = self.input(topic);
            let expected = if topic == InputTopic::Control { 1 } else { self.shards };
            match log.partitions(&name)? {
                None => return Err(LogError::NoSuchTopic(name)),
                Some(found) if found != expected => {
                    return Err(LogError::Failure(
                        format!("topic {name} has {found} partitions where {expected} are needed").into(),
                    ));
                }
                Some(_) => {}
            }
            let partition = if topic == InputTopic::Control { 0 } else { shard.0 };
            inputs.push((TopicPartition { topic: name.into(), partition }, topic));
        }
        for kind in SourceKind::ALL {
            let topic = InputTopic::Source(kind);
            let name: Arc<str> = self.input(topic).into();
            let count = log.partitions(&name)?.unwrap_or(0);
            let own = (0..count).filter(|partition| partition % self.shards == shard.0);
            inputs.extend(own.map(|partition| {
                (
                    TopicPartition {
                        topic: Arc::clone(&name),
                        partition,
                    },
                    topic,
                )
            }));
        }
        Ok(inputs)
    }

    /// Every topic but those of destinations, as the embedded and the simulated log create them.
    pub fn specs(&self, source_partitions: u32) -> Vec<TopicSpec> {
        let mut specs = Vec::new();
        for kind in SourceKind::ALL {
            let name = self.input(InputTopic::Source(kind));
            specs.push(match kind {
                SourceKind::Activity => deleted(name, source_partitions, "34560000000"),
                _ => compacted(name, source_partitions),
            });
        }
        specs.push(compacted(self.input(InputTopic::Control), 1));
        specs.push(large(compacted(self.output(&OutputTopic::Membership), self.shards)));
        specs.push(large(deleted(self.output(&OutputTopic::DeadLetter), 1, "2592000000")));
        for topic in [OutputTopic::Records, OutputTopic::Inbox] {
            let mut spec = large(deleted(self.output(&topic), self.shards, WEEK_MS));
            spec.settings.push((DELETE_CONSUMED.to_owned(), "true".to_owned()));
            specs.push(spec);
        }
        specs.push(large(compacted(self.changelog(), self.shards)));
        specs.push(compacted(self.hosts(), 1));
        specs.push(compacted(self.source_control(), 1));
        specs
    }

    /// The topic of a source's progress, created at its first start. Each source has its own, so
    /// that sources do not wait for each other's commits.
    pub fn source_spec(&self, name: &str) -> TopicSpec {
        compacted(format!("{}internal.source.{name}", self.prefix), 1)
    }

    /// The ledger's changelog of a destination's sink.
    pub fn sink_changelog(&self, name: &str) -> String {
        format!("{}internal.sink.{name}", self.prefix)
    }

    /// The group under which a destination's sink sends its positions; its transactional ids begin
    /// with this.
    pub fn sink_application(&self, name: &str) -> String {
        format!("{}.sink.{name}", self.application)
    }

    /// The group whose members share the partitions of a destination's sink. They subscribe to the
    /// topic that shards subscribe to, which has as many partitions and no records to fetch.
    pub fn sink_owners_group(&self, name: &str) -> String {
        format!("{}.sink-owners.{name}", self.application)
    }

    /// The ledger's changelog, created when its sink starts.
    pub fn sink_changelog_spec(&self, name: &str) -> TopicSpec {
        compacted(self.sink_changelog(name), self.shards)
    }

    /// A destination's topic, created at its first use.
    pub fn destination_spec(&self, name: &str) -> TopicSpec {
        large(compacted(format!("{}destination.{name}", self.prefix), self.shards))
    }
}

fn compacted(name: String, partitions: u32) -> TopicSpec {
    TopicSpec {
        name,
        partitions,
        compacted: true,
        settings: vec![("delete.retention.ms".to_owned(), WEEK_MS.to_owned())],
    }
}

fn deleted(name: String, partitions: u32, retention_ms: &str) -> TopicSpec {
    TopicSpec {
        name,
        partitions,
        compacted: false,
        settings: vec![("retention.ms".to_owned(), retention_ms.to_owned())],
    }
}

/// A topic that shards write. One record there may combine many source records of up to a megabyte
/// each, and a shard whose commit is refused for its size is stuck for ever; so it takes larger
/// records than brokers usually do.
fn large(mut spec: TopicSpec) -> TopicSpec {
    spec.settings.push(("max.message.bytes".to_owned(), RECORD_BYTES_MAX.to_string()));
    spec
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Name to cleanup and retention, from the catalogue.
    fn catalogue() -> BTreeMap<String, (String, String)> {
        let text = include_str!("../../../schemas/topics.yaml");
        let mut topics: BTreeMap<String, (String, String)> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("- name: ") {
                current = name.to_owned();
            } else if let Some(cleanup) = line.strip_prefix("cleanup: ") {
                topics.entry(current.clone()).or_default().0 = cleanup.to_owned();
            } else if let Some(retention) = line.strip_prefix("retention: ") {
                topics.entry(current.clone()).or_default().1 = retention.to_owned();
            }
        }
        topics
    }

    #[test]
    fn names_and_settings_are_those_of_the_catalogue() {
        let catalogue = catalogue();
        let topology = Topology::new("", 4);
        let mut specs = topology.specs(4);
        specs.push(TopicSpec {
            name: "destination.<name>".into(),
            ..topology.destination_spec("any")
        });
        specs.push(topology.source_spec("<name>"));
        for spec in specs {
            let (cleanup, retention) = catalogue.get(&spec.name).unwrap_or_else(|| panic!("{} is not in the catalogue", spec.name));
            assert_eq!(cleanup == "compact", spec.compacted, "{}", spec.name);
            let days: i64 = retention.trim_end_matches('d').parse().unwrap();
            let ms = &spec.settings[0].1;
            assert_eq!(ms, &(days * millrace_model::DAY_MS).to_string(), "{}", spec.name);
        }
        assert!(catalogue.contains_key(&topology.ownership()));
    }

    #[test]
    fn what_others_write_does_not_follow() {
        let topology = Topology::new("t.", 4);
        let mut name = "";
        for line in include_str!("../../../schemas/topics.yaml").lines().map(str::trim) {
            if let Some(begun) = line.strip_prefix("- name: ") {
                name = begun;
            } else if let Some(writers) = line.strip_prefix("writers: ") {
                let sent = writers.contains("anyone") || writers.contains("operators") || name == "dead-letter";
                assert_eq!(topology.follows(&format!("t.{name}")), !sent, "{name}");
                assert!(!topology.follows(name), "{name} of another deployment");
            }
        }
        assert!(!name.is_empty());
    }

    #[test]
    fn source_partitions_are_shared_out_without_rest() {
        let log = crate::simulation::plain_log();
        let topology = Topology::new("t.", 3);
        topology.specs(7).iter().for_each(|spec| log.create_topic(spec).unwrap());
        let mut read = Vec::new();
        for shard in ShardId::all(3) {
            let inputs = topology.inputs(&log, shard).unwrap();
            read.extend(
                inputs
                    .into_iter()
                    .filter(|(_, topic)| *topic == InputTopic::Source(SourceKind::Person))
                    .map(|(input, _)| input.partition),
            );
        }
        read.sort_unstable();
        assert_eq!(read, (0..7).collect::<Vec<_>>());
    }
}
