//! Topics: what exists, where each partition begins and ends, and creating them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use millrace_log::{LogError, Offset, TopicPartition, TopicSpec};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::contexts::Plain;
use crate::errors;
use crate::properties::Properties;

/// How long a request may take, retries inside included.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);

/// Settings that no broker knows: they are for the other logs.
const OF_OTHER_LOGS: &str = "millrace.";

/// How soon to ask a broker again whether it knows a topic just created.
const SPREAD_AGAIN_MS: u64 = 20;

/// Answers about topics. Shared by all sessions and readers of a log.
pub struct Metadata {
    client: BaseConsumer<Plain>,
    /// Sees undecided records as well.
    uncommitted: BaseConsumer<Plain>,
    admin: AdminClient<Plain>,
}

impl Metadata {
    pub fn open(properties: &Properties) -> Result<Self, LogError> {
        let failed = |error| errors::request("creating a client", &error);
        let config = properties.metadata("read_committed");
        Ok(Self {
            client: config.create_with_context(Plain).map_err(failed)?,
            uncommitted: properties.metadata("read_uncommitted").create_with_context(Plain).map_err(failed)?,
            admin: config.create_with_context(Plain).map_err(failed)?,
        })
    }

    fn client(&self) -> &Client<Plain> {
        served(&self.client)
    }

    /// The cluster's identity, drawn when it was made.
    pub fn cluster(&self) -> Result<String, LogError> {
        let id = self.client().fetch_cluster_id(REQUEST_WITHIN);
        id.ok_or_else(|| LogError::Unavailable("the cluster does not say which one it is".into()))
    }

    /// `None` where the topic does not exist.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        let answer = self
            .client()
            .fetch_metadata(Some(topic), REQUEST_WITHIN)
            .map_err(|error| errors::request("asking for a topic", &error))?;
        let Some(found) = answer.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(u32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)),
            Some(code) if errors::no_such_topic(code) => Ok(None),
            Some(code) => Err(errors::request("asking for a topic", &KafkaError::MetadataFetch(code))),
        }
    }

    /// The earliest offset, and the one after the last record that committed-only readers may see
    /// now.
    pub fn watermarks(&self, source: &TopicPartition) -> Result<(Offset, Offset), LogError> {
        watermarks(self.client(), source)
    }

    /// As `watermarks`, with the offset after the last record of all, decided or not.
    pub fn uncommitted_watermarks(&self, source: &TopicPartition) -> Result<(Offset, Offset), LogError> {
        watermarks(served(&self.uncommitted), source)
    }

    pub fn create(&self, spec: &TopicSpec) -> Result<(), LogError> {
        if self.exists_as(spec)? {
            return Ok(());
        }
        let partitions = i32::try_from(spec.partitions).map_err(|_| LogError::Failure(format!("{} partitions of {}", spec.partitions, spec.name).into()))?;
        // Replicas: as many as the cluster gives by default.
        let topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(-1)).set("cleanup.policy", if spec.compacted { "compact" } else { "delete" });
        let own = spec.settings.iter().filter(|(key, _)| !key.starts_with(OF_OTHER_LOGS));
        let topic = own.fold(topic, |topic, (key, value)| topic.set(key, value));
        let answers = wait(self.admin.create_topics([&topic], &options())).map_err(|error| errors::request("creating a topic", &error))?;
        for answer in answers {
            match answer {
                // Another process was faster; its topic is checked below.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(errors::request(&format!("creating topic {name}"), &KafkaError::AdminOp(code))),
            }
        }
        self.await_existence(spec)
    }

    /// The controller has made the topic; the brokers learn of it a moment later, and until then it
    /// is unknown to producers and consumers.
    fn await_existence(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let deadline = Instant::now() + REQUEST_WITHIN;
        while !self.exists_as(spec)? {
            if Instant::now() > deadline {
                return Err(LogError::Unavailable(format!("topic {} is created and does not appear", spec.name).into()));
            }
            std::thread::sleep(Duration::from_millis(SPREAD_AGAIN_MS));
        }
        Ok(())
    }

    fn exists_as(&self, spec: &TopicSpec) -> Result<bool, LogError> {
        match self.partitions(&spec.name)? {
            None => Ok(false),
            Some(count) if count == spec.partitions => Ok(true),
            Some(count) => Err(LogError::Failure(
                format!("topic {} has {count} partitions and should have {}", spec.name, spec.partitions).into(),
            )),
        }
    }

    /// The topic with its own settings, without those of the cluster's defaults.
    pub fn describe(&self, topic: &str) -> Result<Option<TopicSpec>, LogError> {
        let Some(partitions) = self.partitions(topic)? else { return Ok(None) };
        let failed = |error: &KafkaError| errors::request("asking for a topic's settings", error);
        let answers = wait(self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options())).map_err(|error| failed(&error))?;
        let mut spec = TopicSpec {
            name: topic.to_owned(),
            partitions,
            compacted: false,
            settings: Vec::new(),
        };
        for answer in answers {
            let resource = answer.map_err(|code| failed(&KafkaError::AdminOp(code)))?;
            for entry in resource.entries {
                let Some(value) = entry.value else { continue };
                if entry.name == "cleanup.policy" {
                    spec.compacted = value.split(',').any(|policy| policy == "compact");
                } else if entry.source == ConfigSource::DynamicTopic {
                    spec.settings.push((entry.name, value));
                }
            }
        }
        spec.settings.sort();
        Ok(Some(spec))
    }
}

/// Serves the logs that have gathered; without a group nothing else can arrive.
fn served(client: &BaseConsumer<Plain>) -> &Client<Plain> {
    client.poll(Duration::ZERO);
    client.client()
}

fn watermarks(client: &Client<Plain>, source: &TopicPartition) -> Result<(Offset, Offset), LogError> {
    let answer = client.fetch_watermarks(&source.topic, source.partition.cast_signed(), REQUEST_WITHIN);
    answer.map_err(|error| match error.rdkafka_error_code() {
        Some(code) if errors::no_such_topic(code) => LogError::NoSuchTopic(source.topic.to_string()),
        _ => errors::request("asking for offsets", &error),
    })
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_WITHIN))
        .operation_timeout(Some(REQUEST_WITHIN))
}

/// Runs a future on this thread. The admin client has a thread of its own that completes it, so
/// that no executor is needed.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
