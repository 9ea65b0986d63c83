//! A source that reads topics of a Kafka that others write to, one interpretation per kind of
//! record.
//!
//! ```text
//! at/<topic>/<partition>   the next offset, and what the interpretation remembers of the partition
//! ```
//!
//! The rows are committed with the records they cover, so consumer groups and their offsets are not
//! needed, and a second process that runs the source is fenced by its session alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_log::{Delivered, EARLIEST, Log, LogError, Offset, PollLimits, Reader, TopicPartition};
use millrace_model::{Cause, Timestamp, chain};
use millrace_wire::Reason;
use serde_json::{Value, json};

use super::{Batch, Emitted, Rows, Sample, Source, SourceError, Step, Unusable};
use crate::budget::WallClock;

/// One step: bounded, because its records are appended in one transaction.
const POLL: PollLimits = PollLimits {
    records_max: 1_000,
    bytes_max: 4 << 20,
    wait_ms_max: 250,
};

/// The most bytes of a record that a source topic takes, key and value together: brokers take 1 MiB
/// unless they are configured otherwise, frames included, and a refused record would stop the source
/// for ever.
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// A foreign record up to this size does not become one above the limit, whatever a mapping adds.
const SMALL_BYTES: usize = RECORD_BYTES_MAX / 10;

/// How often partitions are counted: new ones, and topics that did not exist.
const COUNTED_AFTER_MS: i64 = 30_000;

/// How often a source without news asks whether it has read everything; its lag is no more exact.
const ASKED_AFTER_MS: i64 = 2_000;

/// Records of each topic in a preview, and the polls that look for them.
const PREVIEWED: usize = 5;
const PREVIEW_POLLS: usize = 20;

/// What records of foreign topics mean. Shared by threads; blocking calls are allowed.
pub trait Interpret: Send + Sync {
    /// The topics to read.
    fn topics(&self) -> Vec<String>;

    /// The records that one foreign record becomes, in order. `memory` is what the records before
    /// it in its partition left; it is committed together with the cursor.
    ///
    /// # Errors
    /// Where the record cannot be read yet: it is read again, with the same memory.
    fn interpret(&self, delivered: &Delivered, memory: &mut Value) -> Result<Vec<Emitted>, Cause>;

    /// The record's value for a preview.
    fn shown(&self, delivered: &Delivered) -> Value;
}

/// Foreign topics as a source.
pub struct TopicSource {
    log: Arc<dyn Log>,
    interpret: Arc<dyn Interpret>,
    now: WallClock,
    /// Go on with the earliest record where the next one is lost.
    restarts_at_earliest: bool,
    open: Option<Open>,
    /// Lost offsets, by the partition that goes on with its earliest record.
    lost: BTreeMap<TopicPartition, Offset>,
}

/// A reader, and what it was opened for.
struct Open {
    reader: Box<dyn Reader>,
    partitions: BTreeMap<String, u32>,
    counted_at: Timestamp,
    asked_at: Timestamp,
}

/// Where a partition is read, and what is remembered of it.
#[derive(Clone, Debug)]
struct Cursor {
    next: Offset,
    memory: Value,
}

type Cursors = BTreeMap<TopicPartition, Cursor>;

impl TopicSource {
    /// `log` is the Kafka that holds the topics. `restarts_at_earliest`: go on with the earliest
    /// record where retention has removed the next one; otherwise the source waits for a person.
    pub fn new(log: Arc<dyn Log>, interpret: Arc<dyn Interpret>, now: WallClock, restarts_at_earliest: bool) -> TopicSource {
        TopicSource {
            log,
            interpret,
            now,
            restarts_at_earliest,
            open: None,
            lost: BTreeMap::new(),
        }
    }

    /// Reads on a thread that may block. If this future is dropped the reader is lost, and the next
    /// call opens another one at the committed rows.
    async fn step(&mut self, rows: &Rows) -> Result<Batch, SourceError> {
        let round = Round {
            log: Arc::clone(&self.log),
            interpret: Arc::clone(&self.interpret),
            now: (self.now)(),
            cursors: cursors(rows),
            lost: self.lost.clone(),
        };
        let open = self.open.take();
        let (open, outcome) = on_a_thread(move || round.run(open)).await?;
        self.open = open;
        match outcome {
            Ok(batch) => Ok(batch),
            Err(Failed::Log(LogError::OffsetLost { topic, partition, offset })) if self.restarts_at_earliest => {
                tracing::warn!(
                    topic,
                    partition,
                    offset,
                    "records are lost to retention; the source goes on with the earliest record"
                );
                let place = TopicPartition {
                    topic: topic.as_str().into(),
                    partition,
                };
                self.lost.insert(place, offset);
                Ok(Batch::default())
            }
            Err(failed) => Err(failed.into()),
        }
    }

    async fn samples(&mut self) -> Result<Vec<Sample>, SourceError> {
        let (log, interpret) = (Arc::clone(&self.log), Arc::clone(&self.interpret));
        Ok(on_a_thread(move || preview(&*log, &*interpret)).await??)
    }
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SourceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SourceError::Refused(Cause::of("reading topics", error)))
}

impl Source for TopicSource {
    fn next<'a>(&'a mut self, rows: &'a Rows) -> Step<'a, Batch> {
        Box::pin(self.step(rows))
    }

    fn preview(&mut self) -> Step<'_, Vec<Sample>> {
        Box::pin(self.samples())
    }
}

/// Why a round returned nothing.
enum Failed {
    Log(LogError),
    /// The first record cannot be read yet.
    Later(Cause),
}

impl From<LogError> for Failed {
    fn from(error: LogError) -> Failed {
        Failed::Log(error)
    }
}

impl From<Failed> for SourceError {
    fn from(failed: Failed) -> SourceError {
        match failed {
            Failed::Later(reason) => SourceError::Retry { reason, after: None },
            Failed::Log(error @ (LogError::OffsetLost { .. } | LogError::Failure(_))) => SourceError::Refused(Cause::of("the topics", error)),
            Failed::Log(error) => SourceError::Retry {
                reason: Cause::of("the topics", error),
                after: None,
            },
        }
    }
}

/// One step of the source, apart from the source itself.
struct Round {
    log: Arc<dyn Log>,
    interpret: Arc<dyn Interpret>,
    now: Timestamp,
    cursors: Cursors,
    lost: BTreeMap<TopicPartition, Offset>,
}

impl Round {
    /// The reader is returned only where it stands at the end of what the outcome covers.
    fn run(mut self, open: Option<Open>) -> (Option<Open>, Result<Batch, Failed>) {
        let mut open = match self.opened(open) {
            Ok(open) => open,
            Err(error) => return (None, Err(error.into())),
        };
        match self.read(&mut open) {
            Ok((batch, true)) => (Some(open), Ok(batch)),
            Ok((batch, false)) => (None, Ok(batch)),
            Err(failed) => (None, Err(failed)),
        }
    }

    /// The reader as it was, or another one if the topics have other partitions now.
    fn opened(&self, open: Option<Open>) -> Result<Open, LogError> {
        let open = match open {
            Some(open) if self.now.0 - open.counted_at.0 < COUNTED_AFTER_MS => return Ok(open),
            open => open,
        };
        let partitions = counted(&*self.log, &*self.interpret)?;
        match open {
            Some(open) if open.partitions == partitions => Ok(Open { counted_at: self.now, ..open }),
            _ => Ok(Open {
                reader: self.log.reader(&self.places(&partitions))?,
                partitions,
                counted_at: self.now,
                asked_at: Timestamp::MIN,
            }),
        }
    }

    fn places(&self, partitions: &BTreeMap<String, u32>) -> Vec<(TopicPartition, Offset)> {
        let all = all_of(partitions).map(|place| {
            let next = self.cursors.get(&place).map_or(EARLIEST, |cursor| cursor.next);
            let next = if self.lost.get(&place) == Some(&next) { EARLIEST } else { next };
            (place, next)
        });
        all.collect()
    }

    /// One poll as a batch; false: the reader is ahead of it.
    fn read(&mut self, open: &mut Open) -> Result<(Batch, bool), Failed> {
        let delivered = open.reader.poll(POLL)?;
        let mut batch = Batch::default();
        if delivered.is_empty() {
            if self.now.0.saturating_sub(open.asked_at.0) >= ASKED_AFTER_MS && open.reader.caught_up()? {
                open.asked_at = self.now;
                batch.read_to = Some(self.now);
            }
            return Ok((batch, true));
        }
        let mut moved = BTreeSet::new();
        let mut whole = true;
        for one in &delivered {
            let cursor = self.cursors.entry(one.source.clone()).or_insert(Cursor { next: 0, memory: Value::Null });
            let mut memory = cursor.memory.clone();
            match self.interpret.interpret(one, &mut memory) {
                Ok(emitted) => batch.records.extend(emitted.into_iter().map(|emitted| bounded(emitted, one))),
                Err(reason) if moved.is_empty() => return Err(Failed::Later(reason)),
                Err(reason) => {
                    tracing::debug!(reason = chain(&reason), "a record is read again");
                    whole = false;
                    break;
                }
            }
            *cursor = Cursor { next: one.offset + 1, memory };
            moved.insert(one.source.clone());
            batch.read_to = Some(one.timestamp);
        }
        batch.rows = moved.into_iter().map(|place| row(&place, &self.cursors[&place])).collect();
        Ok((batch, whole))
    }
}

/// What a foreign record became; a dead letter where that is larger than a source topic takes.
fn bounded(emitted: Emitted, from: &Delivered) -> Emitted {
    let Emitted::Record { key, value: Some(value), .. } = &emitted else {
        return emitted;
    };
    if from.record.value.as_deref().is_none_or(|bytes| bytes.len() <= SMALL_BYTES) {
        return emitted;
    }
    let bytes = key.len() + value.to_string().len();
    if bytes <= RECORD_BYTES_MAX {
        return emitted;
    }
    Emitted::Unusable(Box::new(Unusable {
        place: from.source.clone(),
        offset: from.offset,
        record: from.record.clone(),
        rejection: Reason::Oversize.because(format!("a record of {bytes} bytes, {RECORD_BYTES_MAX} allowed")),
    }))
}

/// The topics that exist, with their partitions.
fn counted(log: &dyn Log, interpret: &dyn Interpret) -> Result<BTreeMap<String, u32>, LogError> {
    let mut partitions = BTreeMap::new();
    let mut missing = None;
    for topic in interpret.topics() {
        match log.partitions(&topic)? {
            Some(count) => {
                partitions.insert(topic, count);
            }
            None => {
                tracing::warn!(topic, "a topic to read does not exist yet");
                missing = Some(topic);
            }
        }
    }
    match missing {
        Some(topic) if partitions.is_empty() => Err(LogError::NoSuchTopic(topic)),
        _ => Ok(partitions),
    }
}

fn all_of(partitions: &BTreeMap<String, u32>) -> impl Iterator<Item = TopicPartition> {
    partitions.iter().flat_map(|(topic, count)| {
        let topic: Arc<str> = topic.as_str().into();
        (0..*count).map(move |partition| TopicPartition {
            topic: Arc::clone(&topic),
            partition,
        })
    })
}

fn row(place: &TopicPartition, cursor: &Cursor) -> (String, Option<Value>) {
    let name = format!("at/{}/{}", place.topic, place.partition);
    (name, Some(json!({"next": cursor.next, "memory": cursor.memory})))
}

fn cursors(rows: &Rows) -> Cursors {
    let all = rows.under("at/").filter_map(|(name, value)| {
        let (topic, partition) = name.rsplit_once('/')?;
        let place = TopicPartition {
            topic: topic.into(),
            partition: partition.parse().ok()?,
        };
        let cursor = Cursor {
            next: value["next"].as_i64()?,
            memory: value["memory"].clone(),
        };
        Some((place, cursor))
    });
    all.collect()
}

/// The first records of each topic, as they would be mapped.
fn preview(log: &dyn Log, interpret: &dyn Interpret) -> Result<Vec<Sample>, Failed> {
    let partitions = counted(log, interpret)?;
    let from: Vec<(TopicPartition, Offset)> = all_of(&partitions).map(|place| (place, EARLIEST)).collect();
    let mut reader = log.reader(&from)?;
    let mut shown: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut samples = Vec::new();
    for _ in 0..PREVIEW_POLLS {
        for one in reader.poll(POLL)? {
            let count = shown.entry(Arc::clone(&one.source.topic)).or_default();
            if *count >= PREVIEWED {
                continue;
            }
            *count += 1;
            let emitted = interpret.interpret(&one, &mut Value::Null).map_err(Failed::Later)?;
            samples.extend(emitted.into_iter().map(|emitted| Sample::of(interpret.shown(&one), bounded(emitted, &one))));
        }
        let full = |topic: &String| shown.get(topic.as_str()).is_some_and(|count| *count >= PREVIEWED);
        if partitions.keys().all(full) || reader.caught_up()? {
            break;
        }
    }
    Ok(samples)
}
