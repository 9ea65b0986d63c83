//! Orders carried out on the log: definitions to the control topic, records to the source topics, changes and dead letters back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use millrace_api::backend::{BackendError, Changes, ChangesFrom, Commands};
use millrace_api::dto::{AppendView, DeadLetterView, ImportView, MemberLine, RecordLine, RejectedLine};
use millrace_config::Config;
use millrace_log::{Delivered, EARLIEST, Log, LogError, PollLimits, Reader, Record, TopicPartition};
use millrace_model::{Schema, SourceKind, Timestamp};
use millrace_runtime::topology::Topology;
use millrace_segment::Settings;
use millrace_shard::lifecycle::Definitions;
use millrace_shard::machine::{InputTopic, OutputTopic};
use millrace_shard::murmur::partition_of;
use millrace_wire::{OutputCodec, RegistryClient, header};
use serde_json::Value;

use crate::commands::segment::check_one;
use crate::engine;
use definitions::{ControlTopic, check_delete, check_put};

mod audiences;
mod definitions;
#[cfg(test)]
mod tests;

/// What a reader takes at once.
const READ: PollLimits = PollLimits {
    records_max: 1_000,
    bytes_max: 4 << 20,
    wait_ms_max: 500,
};

/// Orders on a log.
pub struct LogOrders {
    log: Arc<dyn Log>,
    topology: Topology,
    schema: Schema,
    rules: Settings,
    registry: Option<Arc<RegistryClient>>,
    /// `None` until the first order that is checked against it.
    control: Mutex<Option<ControlTopic>>,
    partitions: Mutex<BTreeMap<String, u32>>,
    /// Spreads records without key.
    turn: AtomicU32,
}

impl LogOrders {
    pub fn new(log: Arc<dyn Log>, config: &Config) -> anyhow::Result<LogOrders> {
        Ok(LogOrders {
            log,
            topology: engine::topology(config),
            schema: Schema::built_in()?,
            rules: engine::rule_settings(config),
            registry: engine::registry(config)?,
            control: Mutex::default(),
            partitions: Mutex::default(),
            turn: AtomicU32::new(0),
        })
    }

    fn partitions(&self, topic: &str) -> Result<u32, BackendError> {
        let mut known = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(topic) {
            return Ok(*count);
        }
        let count = self.log.partitions(topic).map_err(|error| failure("asking for the topic", error))?;
        let count = count.ok_or_else(|| BackendError::Unavailable(format!("topic {topic} does not exist; `millrace topics create` makes it")))?;
        known.insert(topic.to_owned(), count);
        Ok(count)
    }

    /// Writes to the control topic what holds against the definitions that are there. One order after the other: each sees those before it.
    fn order(&self, name: &str, value: Option<&str>, check: impl FnOnce(&Definitions) -> Result<(), BackendError>) -> Result<(), BackendError> {
        self.with_definitions(|definitions| {
            check(definitions)?;
            self.put_control(name, value)
        })
    }

    /// Asks, or acts on, the definitions as the control topic has them; nobody else does meanwhile.
    fn with_definitions<T>(&self, act: impl FnOnce(&Definitions) -> Result<T, BackendError>) -> Result<T, BackendError> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = match &mut *control {
            Some(topic) => topic,
            None => control.insert(ControlTopic::new(self.reader(&self.topology.input(InputTopic::Control))?)),
        };
        let outcome = topic.read(&self.schema).and_then(act);
        if matches!(outcome, Err(BackendError::Unavailable(_) | BackendError::Failure { .. })) {
            // What was read of the topic may be less than it holds: whoever asks next begins anew.
            *control = None;
        }
        outcome
    }

    fn put_control(&self, name: &str, value: Option<&str>) -> Result<(), BackendError> {
        let target = TopicPartition {
            topic: self.topology.input(InputTopic::Control).into(),
            partition: 0,
        };
        let record = Record {
            key: Some(Bytes::copy_from_slice(name.as_bytes())),
            value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            headers: Vec::new(),
        };
        self.log
            .append(vec![(target, record)])
            .map_err(|error| failure("writing to the control topic", error))
    }

    /// The record a line stands for, and its place.
    fn place(&self, line: RecordLine) -> Result<(TopicPartition, Record), PlaceError> {
        let kind = self
            .kind(&line.topic)
            .ok_or_else(|| PlaceError::Line(format!("`{}` is no source topic", line.topic)))?;
        let topic = self.topology.input(InputTopic::Source(kind));
        let partitions = self.partitions(&topic).map_err(PlaceError::Backend)?;
        let partition = match &line.key {
            Some(key) => partition_of(key.as_bytes(), partitions),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % partitions,
        };
        let value = line.value.map(|value| stamped(value, line.timestamp)).transpose().map_err(PlaceError::Line)?;
        let record = Record {
            key: line.key.map(Bytes::from),
            value: value.map(|value| Bytes::from(value.to_string())),
            headers: Vec::new(),
        };
        Ok((
            TopicPartition {
                topic: topic.into(),
                partition,
            },
            record,
        ))
    }

    /// The kind of a topic's full name, of the name behind the prefix, or of the last part alone.
    fn kind(&self, topic: &str) -> Option<SourceKind> {
        SourceKind::ALL
            .into_iter()
            .find(|kind| topic == kind.name() || topic == format!("source.{}", kind.name()) || topic == self.topology.input(InputTopic::Source(*kind)))
    }

    fn reader(&self, topic: &str) -> Result<Box<dyn Reader>, BackendError> {
        let partitions = self.partitions(topic)?;
        let topic: Arc<str> = topic.into();
        let from: Vec<_> = (0..partitions)
            .map(|partition| {
                (
                    TopicPartition {
                        topic: Arc::clone(&topic),
                        partition,
                    },
                    EARLIEST,
                )
            })
            .collect();
        self.log.reader(&from).map_err(|error| failure("opening the topic", error))
    }
}

/// Why a line has no place.
enum PlaceError {
    /// The line's fault.
    Line(String),
    Backend(BackendError),
}

/// A record's timestamp is its `modifiedAt` where it has none of its own: said in the record, it holds on every log.
fn stamped(mut value: Value, timestamp: Option<Value>) -> Result<Value, String> {
    let Some(timestamp) = timestamp else { return Ok(value) };
    let readable = match &timestamp {
        Value::String(text) => Timestamp::parse(text).is_ok(),
        Value::Number(number) => number.is_i64(),
        _ => false,
    };
    if !readable {
        return Err(format!("timestamp {timestamp} is neither RFC 3339 nor epoch milliseconds"));
    }
    if let Value::Object(fields) = &mut value {
        fields.entry("modifiedAt").or_insert(timestamp);
    }
    Ok(value)
}

fn failure(context: &str, error: LogError) -> BackendError {
    match error {
        LogError::Unavailable(reason) => BackendError::Unavailable(reason),
        error => BackendError::Failure {
            context: context.to_owned(),
            source: error.into(),
        },
    }
}

impl Commands for LogOrders {
    fn put_segment(&self, name: &str, text: &str) -> Result<(), BackendError> {
        let compiled = check_one(text, &self.schema).map_err(BackendError::InvalidDefinition)?;
        let defined = &compiled.definition().name;
        if defined != name {
            return Err(BackendError::Refused(format!(
                "the definition is named `{defined}`, the request names `{name}`"
            )));
        }
        self.order(name, Some(text), |definitions| {
            check_put(definitions, text, &compiled, &self.schema, &self.rules)
        })
    }

    fn delete_segment(&self, name: &str) -> Result<(), BackendError> {
        self.order(name, None, |definitions| check_delete(definitions, name))
    }

    fn append(&self, lines: Vec<Result<RecordLine, String>>) -> Result<AppendView, BackendError> {
        let mut view = AppendView::default();
        let mut records = Vec::with_capacity(lines.len());
        for (line, parsed) in (1..).zip(lines) {
            match parsed.map_err(PlaceError::Line).and_then(|parsed| self.place(parsed)) {
                Ok(placed) => records.push(placed),
                Err(PlaceError::Line(reason)) => view.rejected.push(RejectedLine { line, reason }),
                Err(PlaceError::Backend(error)) => return Err(error),
            }
        }
        view.accepted = records.len() as u64;
        if !records.is_empty() {
            self.log.append(records).map_err(|error| failure("appending records", error))?;
        }
        Ok(view)
    }

    fn import(&self, audience: &str, lines: Vec<Result<MemberLine, String>>, replace: bool) -> Result<ImportView, BackendError> {
        self.import_members(audience, lines, replace)
    }

    fn changes(&self, from: ChangesFrom) -> Result<Box<dyn Changes>, BackendError> {
        let mut reader = self.reader(&self.topology.output(&OutputTopic::Membership))?;
        if from == ChangesFrom::End {
            while !caught_up(&mut *reader)? {
                poll(&mut *reader)?;
            }
        }
        Ok(Box::new(Memberships {
            reader,
            registry: self.registry.clone(),
        }))
    }

    fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetterView>, BackendError> {
        let mut reader = self.reader(&self.topology.output(&OutputTopic::DeadLetter))?;
        let mut newest = VecDeque::with_capacity(limit);
        while !caught_up(&mut *reader)? {
            for letter in poll(&mut *reader)? {
                if newest.len() == limit {
                    newest.pop_front();
                }
                newest.push_back(dead_letter(&letter));
            }
        }
        Ok(newest.into_iter().rev().collect())
    }
}

fn poll(reader: &mut dyn Reader) -> Result<Vec<Delivered>, BackendError> {
    reader.poll(READ).map_err(|error| failure("reading the topic", error))
}

fn caught_up(reader: &mut dyn Reader) -> Result<bool, BackendError> {
    reader.caught_up().map_err(|error| failure("reading the topic", error))
}

fn dead_letter(delivered: &Delivered) -> DeadLetterView {
    let said = |name: &str| {
        let value = delivered.record.headers.iter().rev().find(|(header, _)| header == name).map(|(_, value)| value);
        value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    let text = |bytes: &Option<Bytes>| bytes.as_ref().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    DeadLetterView {
        topic: said(header::TOPIC),
        partition: said(header::PARTITION).parse().unwrap_or_default(),
        offset: said(header::OFFSET).parse().unwrap_or_default(),
        rejected_at: delivered.timestamp.to_string(),
        reason: said(header::REASON),
        detail: said(header::DETAIL),
        key: text(&delivered.record.key),
        value: text(&delivered.record.value),
    }
}

/// The membership topic, decoded.
struct Memberships {
    reader: Box<dyn Reader>,
    registry: Option<Arc<RegistryClient>>,
}

impl Changes for Memberships {
    fn next(&mut self) -> Result<Vec<Value>, BackendError> {
        let decoded = poll(&mut *self.reader)?
            .into_iter()
            .filter_map(|delivered| delivered.record.value)
            .map(|value| {
                let membership = OutputCodec::decode_membership(&value, self.registry.as_deref()).map_err(unreadable)?;
                serde_json::to_value(membership).map_err(unreadable)
            });
        decoded.collect()
    }

    fn caught_up(&mut self) -> Result<bool, BackendError> {
        caught_up(&mut *self.reader)
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> BackendError {
    BackendError::Failure {
        context: "reading a membership record".to_owned(),
        source: Box::new(error),
    }
}
