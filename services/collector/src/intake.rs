//! The way into the log: many requests, one append.
//!
//! ```text
//! request ─▶ queue ─▶ one thread: all that waits, in one append ─▶ durable ─▶ each request is answered
//! ```
//!
//! While the log writes one append, the next gathers: the more requests, the fewer writes each. A
//! failed append is the answer to each of its requests. Whether some of its records are in the log
//! is then not known; a sender that repeats the request repeats ids and versions, so nothing counts
//! twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_log::{Log, LogError, Record, TopicPartition};
use millrace_model::metric::Histogram;
use millrace_model::{SourceKind, chain};
use millrace_telemetry::Metrics;
use tokio::sync::{mpsc, oneshot};

/// Bytes of one append, unless one request has more. Brokers take as much in one request.
const APPEND_BYTES_MAX: usize = 4 << 20;

/// How long after a failed append the collector is not ready. Requests are taken all the same.
const FAILING_FOR: Duration = Duration::from_secs(10);

/// The topics, and the partition of a key among this many.
#[derive(Clone)]
pub struct Topics {
    pub records: BTreeMap<SourceKind, Arc<str>>,
    pub dead_letters: Arc<str>,
    pub place: fn(&[u8], u32) -> u32,
}

/// A record for a topic.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub topic: Arc<str>,
    pub record: Record,
}

struct Job {
    records: Vec<Outgoing>,
    bytes: usize,
    done: oneshot::Sender<Result<(), String>>,
}

/// The queue and its thread. Dropping it waits for what is queued.
pub struct Intake {
    queue: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    failed: Failed,
    metrics: Metrics,
}

/// When the log last refused, and why.
type Failed = Arc<Mutex<Option<(Instant, String)>>>;

impl Intake {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the machine has none left.
    pub fn start(log: Arc<dyn Log>, topics: Topics, metrics: Metrics) -> std::io::Result<Intake> {
        let (queue, jobs) = mpsc::unbounded_channel();
        let failed = Failed::default();
        let writer = Writer {
            log,
            place: topics.place,
            partitions: BTreeMap::new(),
            failed: Arc::clone(&failed),
        };
        let thread = std::thread::Builder::new().name("collector-log".to_owned()).spawn(move || writer.run(jobs))?;
        Ok(Intake {
            queue: Some(queue),
            thread: Some(thread),
            failed,
            metrics,
        })
    }

    /// Appends, and returns once the records are durable. The caller bounds what it has under way.
    ///
    /// # Errors
    /// Why the log did not take them, for the sender; it may repeat them.
    pub async fn append(&self, records: Vec<Outgoing>) -> Result<(), String> {
        let begun = Instant::now();
        let bytes = records.iter().map(|outgoing| outgoing.record.value.as_ref().map_or(0, Bytes::len)).sum();
        let (done, outcome) = oneshot::channel();
        let queued = self.queue.as_ref().is_some_and(|queue| queue.send(Job { records, bytes, done }).is_ok());
        let ended = || "the collector is ending".to_owned();
        if !queued {
            return Err(ended());
        }
        let outcome = outcome.await.map_err(|_| ended())?;
        self.metrics.observe(Histogram::CollectorAppend, &[], begun.elapsed().as_secs_f64());
        outcome
    }

    /// Why the log does not take records now; `None` where it does.
    pub fn failing(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, why) = failed.as_ref()?;
        (at.elapsed() < FAILING_FOR).then(|| format!("collector: {why}"))
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the collector's thread panicked");
        }
    }
}

struct Writer {
    log: Arc<dyn Log>,
    place: fn(&[u8], u32) -> u32,
    partitions: BTreeMap<Arc<str>, u32>,
    failed: Failed,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut bytes = first.bytes;
            let mut gathered = vec![first];
            while bytes < APPEND_BYTES_MAX
                && let Ok(job) = jobs.try_recv()
            {
                bytes += job.bytes;
                gathered.push(job);
            }
            self.write(gathered);
        }
    }

    fn write(&mut self, gathered: Vec<Job>) {
        let mut waiting = Vec::with_capacity(gathered.len());
        let mut records = Vec::new();
        for job in gathered {
            records.extend(job.records);
            waiting.push(job.done);
        }
        let outcome = self.append(records).map_err(|error| chain(&error));
        if let Err(why) = &outcome {
            tracing::warn!(why, requests = waiting.len(), "the log did not take records of the collector");
        }
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = outcome.as_ref().err().map(|why| (Instant::now(), why.clone()));
        for done in waiting {
            // A sender that has left hears nothing.
            let _ = done.send(outcome.clone());
        }
    }

    fn append(&mut self, outgoing: Vec<Outgoing>) -> Result<(), LogError> {
        let mut records = Vec::with_capacity(outgoing.len());
        for Outgoing { topic, record } in outgoing {
            let partitions = self.partitions(&topic)?;
            let partition = (self.place)(record.key.as_deref().unwrap_or_default(), partitions);
            records.push((TopicPartition { topic, partition }, record));
        }
        if records.is_empty() { Ok(()) } else { self.log.append(records) }
    }

    fn partitions(&mut self, topic: &Arc<str>) -> Result<u32, LogError> {
        if let Some(count) = self.partitions.get(topic) {
            return Ok(*count);
        }
        let count = self.log.partitions(topic)?.ok_or_else(|| LogError::NoSuchTopic(topic.to_string()))?;
        self.partitions.insert(Arc::clone(topic), count);
        Ok(count)
    }
}
