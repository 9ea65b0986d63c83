//! Commands executed on the log: definitions to the control topic, records to the source topics,
//! changes and dead letters back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use millrace_api::backend::{BackendError, ChangeLog, ChangeReader, ChangesFrom, Commands, Placed, Positions, Replace};
use millrace_api::dto::{AppendView, AppliedView, DeadLetterView, ImportView, MemberLine, RecordLine, RejectedLine};
use millrace_config::Config;
use millrace_log::{Delivered, EARLIEST, Log, LogError, PollLimits, Reader, Record, TopicPartition, Transaction};
use millrace_model::{Rejection, Schema, SourceChange, SourceKind, Timestamp, chain};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_runtime::topology::Topology;
use millrace_segment::Settings;
use millrace_shard::lifecycle::Definitions;
use millrace_shard::machine::{InputTopic, OutputTopic};
use millrace_shard::murmur::partition_of;
use millrace_wire::{Batch, DecodeError, Decoder, OutputCodec, RegistryClient, header};

use crate::assembly;
use crate::rules::{Checked, check, rendered, unknown_destinations};
use definitions::{ControlTopic, check_delete, check_put};
use lines::stamped;

mod audiences;
mod definitions;
mod lines;
#[cfg(test)]
mod tests;

/// What a reader takes at once.
const READ: PollLimits = PollLimits {
    records_max: 1_000,
    bytes_max: 4 << 20,
    wait_ms_max: 500,
};

/// Commands on a log.
pub struct LogOrders {
    log: Arc<dyn Log>,
    topology: Topology,
    schema: Schema,
    rules: Settings,
    registry: Option<Arc<RegistryClient>>,
    decoder: Decoder,
    /// How far `modifiedAt` may lie after a line's timestamp.
    future_ms_max: i64,
    /// Names of those that are configured.
    destinations: Vec<String>,
    /// `None` until the first command that is checked against it.
    control: Mutex<Option<ControlTopic>>,
    partitions: Mutex<BTreeMap<String, u32>>,
    /// Spreads records without key.
    turn: AtomicU32,
}

impl LogOrders {
    pub fn new(log: Arc<dyn Log>, config: &Config) -> anyhow::Result<LogOrders> {
        let (schema, registry) = (Schema::built_in()?, assembly::registry(config)?);
        Ok(LogOrders {
            log,
            topology: assembly::topology(config),
            rules: assembly::rule_settings(config),
            decoder: assembly::decoder(config, &Arc::new(schema.clone()), registry.as_ref())?,
            future_ms_max: assembly::future_ms_max(config),
            destinations: config.destinations.keys().cloned().collect(),
            schema,
            registry,
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

    /// Applies definitions that are valid together with the existing ones: all of them, or none.
    fn put_all(&self, checked: &[Checked]) -> Result<AppliedView, BackendError> {
        let destinations = unknown_destinations(checked, self.destinations.iter().map(String::as_str));
        self.with_definitions(|definitions| {
            let mut warnings = check_put(definitions, checked, &self.schema)?;
            warnings.extend(rendered(checked, &destinations));
            self.put_control(checked.iter().map(|definition| (definition.name.as_str(), Some(definition.text.as_str()))))?;
            Ok(AppliedView {
                segments: checked.iter().map(|definition| definition.name.clone()).collect(),
                warnings,
            })
        })
    }

    /// Reads, or acts on, the definitions of the control topic; nobody else does meanwhile.
    fn with_definitions<T>(&self, act: impl FnOnce(&Definitions) -> Result<T, BackendError>) -> Result<T, BackendError> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = match &mut *control {
            Some(topic) => topic,
            None => control.insert(ControlTopic::new(self.reader(&self.topology.input(InputTopic::Control))?, &self.rules)),
        };
        let outcome = topic.read(&self.schema).and_then(act);
        if matches!(outcome, Err(BackendError::Unavailable(_) | BackendError::Failure { .. })) {
            // The part of the topic that was read may be less than it holds: the next caller starts
            // over.
            *control = None;
        }
        outcome
    }

    fn put_control<'d>(&self, definitions: impl Iterator<Item = (&'d str, Option<&'d str>)>) -> Result<(), BackendError> {
        let target = TopicPartition {
            topic: self.topology.input(InputTopic::Control).into(),
            partition: 0,
        };
        let record = |(name, value): (&str, Option<&str>)| Record {
            key: Some(Bytes::copy_from_slice(name.as_bytes())),
            value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            headers: Vec::new(),
        };
        let mut records: Vec<_> = definitions.map(|definition| (target.clone(), record(definition))).collect();
        let written = if records.len() == 1 {
            self.log.append(records)
        } else {
            mark_batch(&mut records)?;
            // Plain appends may be interrupted between two records; a transaction is there whole or
            // not at all.
            self.log.open_shard(&self.topology.orders(target)).and_then(|mut session| {
                let positions = Vec::new();
                session.commit(Transaction { records, positions }).map(drop)
            })
        };
        written.map_err(|error| match error {
            LogError::Fenced | LogError::Aborted(_) => {
                BackendError::Unavailable("others applied definitions at the same time, so none of these is in force; apply them again".to_owned())
            }
            LogError::OutcomeUnknown(_) => BackendError::Unavailable(
                "the log did not say in time whether it took the definitions: either all of them are in force or none; apply them again".to_owned(),
            ),
            error => failure("writing to the control topic", error),
        })
    }

    /// The fate of a record: usable, or why not. The shards decide the same from the same bytes.
    fn judge(&self, kind: SourceKind, record: &Record, now: Timestamp) -> Judged {
        match self.decoder.decode(kind, record.key.as_deref(), record.value.as_deref(), now, now) {
            Ok(decoded) => Judged::Usable {
                unknown: decoded.unknown_fields,
                ahead: decoded.clock_ahead,
                behind: time_of(&decoded.change) < EARLIEST_LIKELY,
            },
            Err(DecodeError::Rejected(rejection)) => Judged::DeadLetter(rejection),
            // Nothing is known of it now; the shards will ask again.
            Err(DecodeError::Retry(_)) => Judged::Usable {
                unknown: Vec::new(),
                ahead: false,
                behind: false,
            },
        }
    }

    /// The record a line stands for, its place, and whether its `modifiedAt` lay too far ahead of the line's timestamp.
    fn place(&self, line: RecordLine) -> Result<(SourceKind, TopicPartition, Record, bool), PlaceError> {
        let kind = self
            .kind(&line.topic)
            .ok_or_else(|| PlaceError::Line(format!("`{}` is no source topic", line.topic)))?;
        let topic = self.topology.input(InputTopic::Source(kind));
        let partitions = self.partitions(&topic).map_err(PlaceError::Backend)?;
        let partition = match &line.key {
            Some(key) => partition_of(key.as_bytes(), partitions),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % partitions,
        };
        let (value, ahead) = stamped(line.value, line.timestamp, self.future_ms_max).map_err(PlaceError::Line)?;
        let record = Record {
            key: line.key.map(Bytes::from),
            value: (!value.is_null()).then(|| Bytes::from(value.to_string())),
            headers: Vec::new(),
        };
        let place = TopicPartition {
            topic: topic.into(),
            partition,
        };
        Ok((kind, place, record, ahead))
    }

    /// The kind of a topic's full name, of the name after the prefix, or of the last part alone.
    fn kind(&self, topic: &str) -> Option<SourceKind> {
        SourceKind::ALL
            .into_iter()
            .find(|kind| topic == kind.name() || topic == format!("source.{}", kind.name()) || topic == self.topology.input(InputTopic::Source(*kind)))
    }

    fn reader(&self, topic: &str) -> Result<Box<dyn Reader>, BackendError> {
        self.reader_at(topic, &Positions::new())
    }

    /// From these offsets on; a missing partition from its beginning.
    fn reader_at(&self, topic: &str, positions: &Positions) -> Result<Box<dyn Reader>, BackendError> {
        let partitions = self.partitions(topic)?;
        let topic: Arc<str> = topic.into();
        let from: Vec<_> = (0..partitions)
            .map(|partition| {
                (
                    TopicPartition {
                        topic: Arc::clone(&topic),
                        partition,
                    },
                    positions.get(&partition).copied().unwrap_or(EARLIEST),
                )
            })
            .collect();
        self.log.reader(&from).map_err(|error| failure("opening the topic", error))
    }
}

/// 1990 began: no system has kept records of customers since before then, and the seconds of today
/// are milliseconds of 1970.
const EARLIEST_LIKELY: Timestamp = Timestamp(631_152_000_000);

fn time_of(change: &SourceChange) -> Timestamp {
    match change {
        SourceChange::Record(record) => record.modified_at,
        SourceChange::Event(event) => event.occurred_at,
    }
}

/// The verdict on a record.
enum Judged {
    Usable {
        /// Fields in no schema.
        unknown: Vec<String>,
        /// As [`millrace_wire::Decoded::clock_ahead`].
        ahead: bool,
        /// Of a time before `EARLIEST_LIKELY`.
        behind: bool,
    },
    DeadLetter(Rejection),
}

/// Why a line has no place.
enum PlaceError {
    /// The line's fault.
    Line(String),
    Backend(BackendError),
}

fn failure(context: &str, error: LogError) -> BackendError {
    match error {
        // Nothing of it is there, and the same may succeed when it is sent again.
        LogError::Unavailable(cause) | LogError::Aborted(cause) => BackendError::Unavailable(chain(&cause)),
        error => BackendError::Failure {
            context: context.to_owned(),
            source: error.into(),
        },
    }
}

/// Marks definitions that are valid together, so that shards judge them together.
fn mark_batch(records: &mut [(TopicPartition, Record)]) -> Result<(), BackendError> {
    let id = getrandom::u64().map_err(|error| BackendError::Failure {
        context: "drawing the id of a batch".to_owned(),
        source: anyhow::anyhow!("{error}").into(),
    })?;
    let count = records.len();
    for (at, (_, record)) in records.iter_mut().enumerate() {
        let batch = Batch {
            id: format!("{id:016x}").into(),
            last: at + 1 == count,
        };
        let (name, value) = batch.header();
        record.headers.push((name, value.into()));
    }
    Ok(())
}

impl Commands for LogOrders {
    fn put_segment(&self, name: &str, text: &str) -> Result<(), BackendError> {
        let checked = check(text, None, &self.schema).map_err(BackendError::InvalidDefinition)?;
        match checked.as_slice() {
            [only] if only.name == name => self.put_all(&checked).map(drop),
            [only] => Err(BackendError::Refused(format!(
                "the definition is named `{}`, the request names `{name}`",
                only.name
            ))),
            several => Err(BackendError::Refused(format!("expected one definition, found {}", several.len()))),
        }
    }

    fn apply(&self, text: &str) -> Result<AppliedView, BackendError> {
        let checked = check(text, None, &self.schema).map_err(BackendError::InvalidDefinition)?;
        self.put_all(&checked)
    }

    fn delete_segment(&self, name: &str) -> Result<(), BackendError> {
        self.with_definitions(|definitions| {
            check_delete(definitions, name)?;
            self.put_control([(name, None)].into_iter())
        })
    }

    fn append(&self, lines: Vec<Result<RecordLine, String>>, strict: bool) -> Result<AppendView, BackendError> {
        let mut view = AppendView::default();
        let mut records = Vec::with_capacity(lines.len());
        let now = SystemClock.now();
        for (line, parsed) in (1..).zip(lines) {
            let (kind, place, record, beyond) = match parsed.map_err(PlaceError::Line).and_then(|parsed| self.place(parsed)) {
                Ok(placed) => placed,
                Err(PlaceError::Line(reason)) => {
                    view.rejected.push(RejectedLine { line, reason });
                    continue;
                }
                Err(PlaceError::Backend(error)) => return Err(error),
            };
            match self.judge(kind, &record, now) {
                Judged::Usable { unknown, .. } if strict && !unknown.is_empty() => {
                    let reason = format!("no such {}: {}", if unknown.len() == 1 { "field" } else { "fields" }, unknown.join(", "));
                    view.rejected.push(RejectedLine { line, reason });
                    continue;
                }
                Judged::Usable { unknown, ahead, behind } => {
                    view.clock_ahead += u64::from(ahead || beyond);
                    view.clock_behind += u64::from(behind);
                    for field in unknown {
                        *view.unknown_fields.entry(format!("{}.{field}", kind.name())).or_default() += 1;
                    }
                }
                Judged::DeadLetter(rejection) => view.dead_letters.push(RejectedLine {
                    line,
                    reason: format!("{}: {}", rejection.reason, rejection.detail),
                }),
            }
            records.push((place, record));
        }
        view.accepted = records.len() as u64;
        if !records.is_empty() {
            self.log.append(records).map_err(|error| failure("appending records", error))?;
        }
        Ok(view)
    }

    fn import(&self, audience: &str, lines: Vec<Result<MemberLine, String>>, replace: Replace) -> Result<ImportView, BackendError> {
        self.import_members(audience, lines, replace)
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

impl ChangeLog for LogOrders {
    fn open(&self, from: &ChangesFrom) -> Result<Box<dyn ChangeReader>, BackendError> {
        let positions = match from {
            ChangesFrom::Start | ChangesFrom::End => Positions::new(),
            ChangesFrom::At(positions) => positions.clone(),
        };
        let mut memberships = Memberships {
            reader: self.reader_at(&self.topology.output(&OutputTopic::Membership), &positions)?,
            registry: self.registry.clone(),
            positions,
        };
        if *from == ChangesFrom::End {
            while !caught_up(&mut *memberships.reader)? {
                memberships.poll(READ)?;
            }
        }
        Ok(Box::new(memberships))
    }
}

/// The membership topic, decoded.
struct Memberships {
    reader: Box<dyn Reader>,
    registry: Option<Arc<RegistryClient>>,
    /// After the last record read of each partition.
    positions: Positions,
}

impl Memberships {
    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, BackendError> {
        let records = self.reader.poll(limits).map_err(|error| failure("reading the topic", error))?;
        for delivered in &records {
            self.positions.insert(delivered.source.partition, delivered.offset + 1);
        }
        Ok(records)
    }
}

impl ChangeReader for Memberships {
    fn next(&mut self, wait: bool) -> Result<Vec<Placed>, BackendError> {
        let wait_ms_max = if wait { READ.wait_ms_max } else { 0 };
        let records = self.poll(PollLimits { wait_ms_max, ..READ })?;
        let with_value = records
            .into_iter()
            .filter_map(|delivered| Some((delivered.source.partition, delivered.offset, delivered.record.value?)));
        let placed = with_value.map(|(partition, offset, value)| {
            let membership = OutputCodec::decode_membership(&value, self.registry.as_deref()).map_err(unreadable)?;
            let line = serde_json::to_value(membership).map_err(unreadable)?.to_string();
            Ok(Placed { partition, offset, line })
        });
        placed.collect()
    }

    fn caught_up(&mut self) -> Result<bool, BackendError> {
        caught_up(&mut *self.reader)
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> BackendError {
    BackendError::Failure {
        context: "reading a membership record".to_owned(),
        source: Box::new(error),
    }
}
