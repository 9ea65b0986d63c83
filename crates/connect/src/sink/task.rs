//! One destination's task: reads, batches, delivers, commits. One thread steps it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_log::{Delivered, Disposition, Log, LogError, PollLimits, Record, TopicPartition};
use millrace_model::{Identity, Timestamp};
use millrace_shard::state::{StateError, StateStore};
use millrace_wire::{DeadLetterOrigin, OutputError, Reason, RegistryClient, dead_letter_headers};

use super::brake::{self, Brake};
use super::change::Change;
use super::destination::{Answer, Delivery, Destination, Refusal};
use super::ledger::{Acknowledged, LedgerRow};
use super::partition::Partition;
use super::pending::{Pending, Waiting};
use super::status::{Answers, Drift};
use crate::backoff::Backoff;
use crate::budget::WallClock;

mod copies;
mod faults;
mod orders;
mod owned;
mod places;
mod preview;
mod reconcile;
mod shown;
mod tenure;
mod wanted;

pub use faults::{FaultPlan, NoFaults, Point};
pub use owned::Doubts;
pub use preview::{Preview, PreviewAudience, PreviewChange, PreviewContext, preview};
use wanted::{Read, state_of, wanted};

/// Opens the ledger's store of a partition.
pub type OpenLedger = dyn Fn(u32) -> Result<Box<dyn StateStore>, StateError> + Send + Sync;

/// How much is read at once from a partition.
const READ: PollLimits = PollLimits {
    records_max: 2_000,
    bytes_max: 4 << 20,
    wait_ms_max: 0,
};

/// A commit at least this often while there is something to commit. After a crash, changes
/// acknowledged since are sent once more.
const COMMIT_EVERY_MS: i64 = 500;
/// And at the latest with this number of rows.
const COMMIT_ROWS_MAX: usize = 10_000;

/// The name of the header that holds what was sent.
const REQUEST_HEADER: &str = "millrace.destination.request";
/// The name of the header that holds what came back.
const ANSWER_HEADER: &str = "millrace.destination.answer";
/// The name of the header that names the destination.
const DESTINATION_HEADER: &str = "millrace.destination.name";

/// The environment of a task.
pub struct SinkContext {
    /// The destination's name.
    pub name: String,
    /// Where the desired states are read, and positions, ledger and dead letters are written.
    pub log: Arc<dyn Log>,
    /// `destination.<name>` with its prefix.
    pub topic: String,
    /// Its partitions.
    pub partitions: u32,
    /// The ledger's changelog, with as many partitions as the topic.
    pub changelog: String,
    /// Where refused changes go.
    pub dead_letters: TopicPartition,
    /// Transactional ids and the group begin with this; different for each destination of each
    /// deployment.
    pub application: String,
    /// Whether other processes may take a partition over. Then an owner proves now and then that it
    /// still is one.
    pub contested: bool,
    /// The wall clock: for waits, windows of the brake and the ages in the status.
    pub clock: WallClock,
    /// Opens the store of one partition's ledger.
    pub open_ledger: Arc<OpenLedger>,
    /// For records in Confluent wire format; `None`: such a record is unreadable.
    pub registry: Option<Arc<RegistryClient>>,
    /// How much of an audience one edit may change.
    pub brake: Brake,
    /// The most keys that wait in memory; the others stay in the log.
    pub pending_max: usize,
    /// How long an idle task waits for records, over all of its partitions, in milliseconds.
    pub idle_wait_ms: u64,
    /// The namespace and ids that must never be present.
    pub suppressed: Arc<dyn Fn(&Identity) -> bool + Send + Sync>,
    /// `NoFaults` outside tests.
    pub faults: Arc<dyn FaultPlan>,
}

/// Why a task cannot continue as it is.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Of the log; its own disposition decides.
    #[error("log of the sink")]
    Log(#[from] LogError),
    /// Of the ledger's store: the partition is opened anew.
    #[error("ledger of the sink")]
    Store(#[from] StateError),
    /// A schema registry does not answer; the record is read again.
    #[error("a record cannot be read yet")]
    NotYet(#[source] OutputError),
    /// Only in tests.
    #[error("killed at {0:?}")]
    Killed(Point),
}

impl SinkError {
    /// What the task's owner does: release the partition, reopen it after a while, or stop.
    pub fn disposition(&self) -> Disposition {
        match self {
            SinkError::Log(error) => error.disposition(),
            SinkError::Store(_) | SinkError::NotYet(_) => Disposition::Recover,
            SinkError::Killed(_) => Disposition::Stop,
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stepped {
    /// Records taken from the log.
    pub read: usize,
    /// Changes delivered, whatever the answer.
    pub sent: usize,
    /// There is nothing left to read, to send or to commit, as far as is known; changes in a
    /// back-off and held changes do not count.
    pub idle: bool,
}

/// A lane that waits after a failure.
struct LaneState {
    backoff: Backoff,
    until: Timestamp,
    error: Option<String>,
}

/// One destination on the partitions that this process owns.
pub struct SinkTask {
    context: Arc<SinkContext>,
    destination: Box<dyn Destination>,
    partitions: BTreeMap<u32, Partition>,
    pending: Pending,
    lanes: BTreeMap<String, LaneState>,
    calls: u64,
    answers: Answers,
    /// Acknowledged changes by second, of the last minute.
    pace: BTreeMap<i64, u64>,
    drift: Option<Drift>,
    /// By partition, none of them open.
    doubts: BTreeMap<u32, Doubts>,
    /// When the destination's upkeep is due; `None`: it wants none.
    upkeep_at: Option<Timestamp>,
    /// For a destination that is a topic: the number of its partitions, once it exists.
    topic_partitions: Option<u32>,
}

impl SinkTask {
    /// A task without partitions; `open` gives it some.
    pub fn new(context: Arc<SinkContext>, destination: Box<dyn Destination>) -> SinkTask {
        SinkTask {
            context,
            destination,
            partitions: BTreeMap::new(),
            pending: Pending::default(),
            lanes: BTreeMap::new(),
            calls: 0,
            answers: Answers::default(),
            pace: BTreeMap::new(),
            drift: None,
            doubts: BTreeMap::new(),
            upkeep_at: Some(Timestamp(i64::MIN)),
            topic_partitions: None,
        }
    }

    /// The partitions that are open.
    pub fn partitions(&self) -> Vec<u32> {
        self.partitions.keys().copied().collect()
    }

    /// Reads, delivers at most one batch, commits what is due.
    ///
    /// # Errors
    /// With the partition that failed: its owner closes it, and reopens it or not, by the error's
    /// disposition.
    pub fn step(&mut self) -> Result<Stepped, (u32, SinkError)> {
        let mut stepped = Stepped::default();
        self.upkeep()?;
        let mut batch = self.next_batch();
        let wait_ms = if batch.is_some() {
            0
        } else {
            self.context.idle_wait_ms / self.partitions.len().max(1) as u64
        };
        stepped.read = self.read(wait_ms.max(u64::from(batch.is_none())))?;
        if batch.is_none() {
            batch = self.next_batch();
        }
        let any = self.partitions.keys().next().copied().unwrap_or_default();
        if let Some((lane, changes)) = batch {
            stepped.sent = changes.len();
            self.deliver(&lane, &changes).map_err(|(partition, error)| (partition.unwrap_or(any), error))?;
        }
        let quiet = stepped.read == 0 && stepped.sent == 0;
        let committed = self.commit_due(quiet)?;
        stepped.idle = quiet && !committed;
        Ok(stepped)
    }

    fn now(&self) -> Timestamp {
        (self.context.clock)()
    }

    fn read(&mut self, wait_ms_max: u64) -> Result<usize, (u32, SinkError)> {
        let mut read = 0;
        let numbers = self.partitions();
        for number in numbers {
            let room = self.context.pending_max.saturating_sub(self.pending.len());
            if room == 0 {
                break;
            }
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            let limits = PollLimits {
                records_max: READ.records_max.min(room),
                wait_ms_max,
                ..READ
            };
            let records = partition.poll(limits).map_err(|error| (number, error.into()))?;
            read += records.len();
            for record in records {
                self.take(number, record).map_err(|error| (number, error))?;
            }
        }
        if read > 0 {
            self.context.point(Point::Read).map_err(|error| (0, error))?;
        }
        Ok(read)
    }

    /// A record becomes the key's desired state, unless the destination has it already.
    fn take(&mut self, number: u32, delivered: Delivered) -> Result<(), SinkError> {
        let state = match state_of(&self.context.name, self.context.registry.as_deref(), &delivered) {
            Ok(state) => state,
            Err(OutputError::Unreadable(millrace_wire::DecodeError::Rejected(rejection))) => {
                self.unreadable(number, delivered, &rejection);
                return Ok(());
            }
            Err(error) => return Err(SinkError::NotYet(error)),
        };
        let mut change = Change::new(state);
        if !self.destination.concerns(&change.identity) {
            return Ok(());
        }
        if change.present && (self.context.suppressed)(&change.identity) {
            change.present = false;
            change.attributes.clear();
        }
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        let row = partition.row(&change.key)?;
        let before = self.pending.get(&change.key).cloned();
        if let Some(known) = row.as_ref().and_then(|row| row.acknowledged).filter(|known| known.in_doubt()) {
            change.sent_over(known.at);
        }
        let read = Read::of(&delivered, partition, self.destination.topic().is_some());
        if !wanted(&change, row.as_ref(), before.as_ref(), &read) {
            self.pending.take(&change.key);
            if let Some(LedgerRow { refused: Some(refused), .. }) = &row
                && refused.fingerprint != change.fingerprint()
            {
                // A refused state is no longer desired.
                let cleared = LedgerRow {
                    refused: None,
                    error: None,
                    ..row.clone().unwrap_or_default()
                };
                partition.put_row(&change.key, cleared.acknowledged.is_some().then_some(&cleared))?;
            }
            return Ok(());
        }
        let waiting = Waiting {
            lane: self.destination.lane(&change),
            partition: number,
            first_offset: delivered.offset,
            offset: delivered.offset,
            since: delivered.timestamp,
            value: delivered.record.value,
            together_max: usize::MAX,
            delivered: row.is_some_and(|row| row.delivered()),
            sent: read.uncertain,
            change,
        };
        self.open_window(&waiting);
        self.pending.put(waiting);
        Ok(())
    }

    fn unreadable(&mut self, number: u32, delivered: Delivered, rejection: &millrace_model::Rejection) {
        let headers = self.dead_letter_headers(&delivered.source, delivered.offset, rejection);
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.add_dead_letter(Record { headers, ..delivered.record });
        }
    }

    fn open_window(&mut self, waiting: &Waiting) {
        let now = self.now();
        let audience = &waiting.change.audience;
        let waits = self.pending.counts(audience).all() > 0;
        if let Some(partition) = self.partitions.get_mut(&waiting.partition) {
            let window = self.context.brake.window(partition.window(audience), now, partition.delivered(audience), waits);
            partition.set_window(audience, window);
        }
    }

    /// Whether the brake holds an audience.
    fn held(&self, audience: &str) -> bool {
        let window = brake::together(self.partitions.values().map(|partition| partition.window(audience)));
        let delivered = self.partitions.values().map(|partition| partition.delivered(audience)).sum();
        self.context.brake.holds(window, self.pending.counts(audience), delivered)
    }

    /// The changes to send next: of the lane whose oldest change has waited longest, among those
    /// that may go.
    fn next_batch(&self) -> Option<(String, Vec<Change>)> {
        let now = self.now();
        let limits = self.destination.limits();
        let wait_ms = i64::try_from(limits.wait.as_millis()).unwrap_or(i64::MAX);
        let mut held: BTreeMap<&str, bool> = BTreeMap::new();
        let mut best: Option<(Timestamp, &String, Vec<&Waiting>)> = None;
        for (lane, members) in self.pending.lanes() {
            if self.lanes.get(lane).is_some_and(|state| state.until > now) {
                continue;
            }
            let mut free = members.values().filter(|waiting| {
                let audience = waiting.change.audience.as_str();
                !*held.entry(audience).or_insert_with(|| self.held(audience))
            });
            let Some(first) = free.next() else { continue };
            let most = limits.records_max.min(first.together_max).max(1);
            let alike = free.filter(|waiting| waiting.together_max == first.together_max);
            let batch: Vec<&Waiting> = std::iter::once(first).chain(alike).take(most).collect();
            let full = batch.len() == most;
            if !full && now.0 - first.since.0 < wait_ms {
                continue;
            }
            if best.as_ref().is_none_or(|(since, _, _)| first.since < *since) {
                best = Some((first.since, lane, batch));
            }
        }
        let (_, lane, batch) = best?;
        Some((lane.clone(), batch.into_iter().map(|waiting| waiting.change.clone()).collect()))
    }

    fn deliver(&mut self, lane: &str, changes: &[Change]) -> Result<(), (Option<u32>, SinkError)> {
        // If a newer state of a key was read meanwhile, the newer one is sent, if it still waits.
        let changes: Vec<Change> = changes
            .iter()
            .filter_map(|change| self.pending.get(&change.key))
            .filter(|waiting| waiting.lane == lane)
            .map(|waiting| waiting.change.clone())
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.prove(&changes).map_err(|(partition, error)| (Some(partition), error))?;
        self.context.point(Point::BeforeDelivery).map_err(|error| (None, error))?;
        let delivery = match self.topic_is_missing() {
            Some(reason) => Delivery::all(&Answer::Later(reason), changes.len(), 0),
            None => self.deliver_as(&changes).map_err(|(partition, error)| (Some(partition), error))?,
        };
        self.context.point(Point::AfterDelivery).map_err(|error| (None, error))?;
        debug_assert_eq!(delivery.answers.len(), changes.len());
        self.calls += delivery.calls;
        self.settle(lane, &changes, delivery)?;
        self.follow_place(&changes[0].audience).map_err(|(partition, error)| (Some(partition), error))
    }

    /// Writes the outcome of each change into the ledger; changes to be repeated wait with their
    /// lane.
    fn settle(&mut self, lane: &str, changes: &[Change], delivery: Delivery) -> Result<(), (Option<u32>, SinkError)> {
        let (now, count, mut later, mut moved) = (self.now(), changes.len(), None, false);
        for (change, answer) in changes.iter().zip(delivery.answers) {
            let result = match answer {
                Answer::Accepted => {
                    moved = true;
                    self.accepted(change, now)
                }
                Answer::Refused(refusal) => {
                    moved = true;
                    self.refused(change, refusal, now)
                }
                Answer::Together(refusal) if count == 1 => {
                    moved = true;
                    self.refused(change, refusal, now)
                }
                Answer::Together(_) => {
                    moved = true;
                    self.answers.retried += 1;
                    self.pending.update(&change.key, |waiting| waiting.together_max = count.div_ceil(2));
                    Ok(())
                }
                Answer::Later(reason) => {
                    self.answers.retried += 1;
                    let sent = self.destination.topic().is_none();
                    self.pending.update(&change.key, |waiting| waiting.sent |= sent);
                    later = Some(reason);
                    Ok(())
                }
            };
            result.map_err(|(partition, error)| (Some(partition), error))?;
        }
        self.pause(lane, later, delivery.wait, moved, now);
        Ok(())
    }

    fn pause(&mut self, lane: &str, later: Option<String>, wait: Option<Duration>, moved: bool, now: Timestamp) {
        if later.is_none() && wait.is_none() {
            self.lanes.remove(lane);
            return;
        }
        let seed = xxhash_rust::xxh3::xxh3_64(format!("{}|{lane}", self.context.name).as_bytes());
        let state = self.lanes.entry(lane.to_owned()).or_insert_with(|| LaneState {
            backoff: Backoff::standard(seed),
            until: now,
            error: None,
        });
        if moved {
            state.backoff.succeeded();
        }
        let pause = match &later {
            Some(_) => state.backoff.after_failure(wait),
            None => wait.unwrap_or_default(),
        };
        if let Some(reason) = &later
            && state.error.is_none()
        {
            tracing::warn!(
                destination = self.context.name,
                lane,
                reason,
                "destination takes nothing now; it is tried again"
            );
        }
        state.error = later;
        state.until = now.plus_ms(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
    }

    fn accepted(&mut self, change: &Change, now: Timestamp) -> Result<(), (u32, SinkError)> {
        let Some(waiting) = self.pending.take(&change.key) else { return Ok(()) };
        self.answers.acknowledged += 1;
        *self.pace.entry(now.0 / 1_000).or_default() += 1;
        self.count(&waiting);
        let row = change.present.then(|| LedgerRow {
            sent_at: now.0,
            acknowledged: Some(Acknowledged {
                present: true,
                fingerprint: change.fingerprint(),
                at: now.0,
                offset: waiting.offset,
            }),
            refused: None,
            error: None,
        });
        self.copy(waiting.partition, change);
        self.write(waiting.partition, &change.key, row.as_ref())
    }

    fn refused(&mut self, change: &Change, refusal: Refusal, now: Timestamp) -> Result<(), (u32, SinkError)> {
        let Some(waiting) = self.pending.take(&change.key) else { return Ok(()) };
        let number = waiting.partition;
        let source = TopicPartition {
            topic: self.context.topic.as_str().into(),
            partition: number,
        };
        let rejection = Reason::DestinationRefused.because(refusal.reason.clone());
        let mut headers = self.dead_letter_headers(&source, waiting.offset, &rejection);
        headers.push((REQUEST_HEADER.to_owned(), Bytes::from(refusal.request)));
        headers.push((ANSWER_HEADER.to_owned(), Bytes::from(refusal.answer)));
        let record = Record {
            key: Some(Bytes::copy_from_slice(change.key.as_bytes())),
            value: waiting.value.clone(),
            headers,
        };
        self.answers.refused += 1;
        tracing::warn!(
            destination = self.context.name,
            offset = waiting.offset,
            partition = number,
            "destination refuses a change; it is a dead letter"
        );
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        partition.add_dead_letter(record);
        let before = partition.row(&change.key).map_err(|error| (number, error.into()))?.unwrap_or_default();
        let row = LedgerRow {
            sent_at: now.0,
            refused: Some(Acknowledged {
                present: change.present,
                fingerprint: change.fingerprint(),
                at: now.0,
                offset: waiting.offset,
            }),
            error: Some(refusal.reason),
            ..before
        };
        self.write(number, &change.key, Some(&row))
    }

    fn write(&mut self, number: u32, key: &str, row: Option<&LedgerRow>) -> Result<(), (u32, SinkError)> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        partition.put_row(key, row).map_err(|error| (number, error.into()))
    }

    /// Counts a sent change in its audience's window; the last one of a confirmed flood ends the
    /// confirmation.
    fn count(&mut self, sent: &Waiting) {
        let audience = &sent.change.audience;
        let none_left = self.pending.counts(audience).all() == 0;
        if let Some(partition) = self.partitions.get_mut(&sent.partition) {
            let mut window = partition.window(audience);
            window.added += u64::from(sent.change.present && !sent.delivered);
            window.removed += u64::from(!sent.change.present && sent.delivered);
            partition.set_window(audience, window);
        }
        if none_left {
            let now = self.now();
            for partition in self.partitions.values_mut() {
                let window = partition.window(audience);
                if window.confirmed {
                    let begun = brake::Brake::begun(now, partition.delivered(audience));
                    partition.set_window(audience, begun);
                }
            }
        }
    }

    fn commit_due(&mut self, quiet: bool) -> Result<bool, (u32, SinkError)> {
        let now = self.now();
        let mut committed = false;
        for number in self.partitions() {
            let Some(partition) = self.partitions.get(&number) else { continue };
            let since_ms = now.0 - partition.committed_at.0;
            let proof = self.context.contested && since_ms >= owned::PROOF_EVERY_MS;
            if quiet || proof || since_ms >= COMMIT_EVERY_MS || partition.uncommitted() >= COMMIT_ROWS_MAX {
                committed |= self.commit(number, proof).map_err(|error| (number, error))?;
            }
        }
        Ok(committed)
    }

    fn dead_letter_headers(&self, source: &TopicPartition, offset: i64, rejection: &millrace_model::Rejection) -> Vec<(String, Bytes)> {
        let origin = DeadLetterOrigin {
            topic: &source.topic,
            partition: i32::try_from(source.partition).unwrap_or(i32::MAX),
            offset,
            stage: "sink",
        };
        let mut headers: Vec<(String, Bytes)> = dead_letter_headers(origin, rejection)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Bytes::from(value)))
            .collect();
        headers.push((DESTINATION_HEADER.to_owned(), Bytes::from(self.context.name.clone())));
        headers
    }
}
