//! Sessions and readers: cursors over the index, and batches read from files outside of its lock.

use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_model::Cause;

use super::format::{self, BATCH_HEADER, BatchHead};
use super::index::{Index, PartitionRef};
use super::segment::Segment;
use super::writer::Committer;
use super::{Keeper, Shared};
use crate::{Delivered, LogError, Offset, PollLimits, Reader, Receipt, ShardIdentity, ShardSession, TopicPartition, Transaction};

/// What one round of a restore reads at most.
const RESTORE_LIMITS: PollLimits = PollLimits {
    records_max: 10_000,
    bytes_max: 8 << 20,
    wait_ms_max: 0,
};

pub(super) struct EmbeddedSession {
    shared: Arc<Shared>,
    _keeper: Arc<Keeper>,
    committer: Arc<Committer>,
    changelog: TopicPartition,
    cursor: Cursor,
}

pub(super) struct EmbeddedReader {
    pub shared: Arc<Shared>,
    pub _keeper: Arc<Keeper>,
    pub cursor: Cursor,
}

/// Where each input is read next.
#[derive(Default)]
pub(super) struct Cursor {
    inputs: Vec<CursorInput>,
    /// The input to check first, so that a busy one cannot keep others waiting.
    turn: usize,
}

struct CursorInput {
    source: TopicPartition,
    place: PartitionRef,
    position: Offset,
}

/// A batch to read once the index is unlocked.
struct Planned {
    input: usize,
    head: BatchHead,
    segment: Arc<Segment>,
}

impl Cursor {
    /// # Errors
    /// `OffsetLost` where an offset is not in the log, `NoSuchTopic`.
    pub fn new(index: &Index, from: &[(TopicPartition, Offset)]) -> Result<Cursor, LogError> {
        let mut inputs = Vec::with_capacity(from.len());
        for (source, offset) in from {
            let place = index.partition_ref(source)?;
            let held = index.partition(place);
            let position = if *offset < 0 { held.start } else { *offset };
            if position < held.start || position > held.next {
                return Err(lost(source, position));
            }
            inputs.push(CursorInput {
                source: source.clone(),
                place,
                position,
            });
        }
        Ok(Cursor { inputs, turn: 0 })
    }

    /// Chooses what to read next; empty if there is nothing.
    fn plan(&mut self, index: &Index, limits: PollLimits) -> Result<Vec<Planned>, LogError> {
        let mut plan = Vec::new();
        let (mut records, mut bytes) = (0usize, 0usize);
        let count = self.inputs.len();
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        for step in 0..count {
            let at = (self.turn + step) % count;
            let input = &mut self.inputs[at];
            let held = index.partition(input.place);
            if input.position < held.start {
                return Err(lost(&input.source, input.position));
            }
            let first = held.batches.partition_point(|batch| batch.head.last < input.position);
            for batch in &held.batches[first..] {
                if records >= limits.records_max.max(1) || (bytes >= limits.bytes_max && !plan.is_empty()) {
                    return Ok(plan);
                }
                records += batch.head.records as usize;
                bytes += batch.head.length as usize;
                plan.push(Planned {
                    input: at,
                    head: batch.head,
                    segment: Arc::clone(&index.segments[&batch.segment]),
                });
            }
        }
        Ok(plan)
    }

    /// Reads what was planned and moves on.
    fn read(&mut self, plan: Vec<Planned>, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        let mut delivered: Vec<Delivered> = Vec::new();
        for Planned { input, head, segment } in plan {
            let room = limits.records_max.max(1) - delivered.len();
            if room == 0 {
                break;
            }
            let input = &mut self.inputs[input];
            let bytes = read_bytes(&segment, &head)?;
            let before = delivered.len();
            format::read_batch(&bytes, &head, &input.source, input.position, room, &mut |record| delivered.push(record))?;
            let whole = delivered.len() - before < room || delivered.last().is_some_and(|last| last.offset == head.last);
            input.position = if whole {
                head.last + 1
            } else {
                delivered.last().map_or(input.position, |last| last.offset + 1)
            };
        }
        Ok(delivered)
    }

    fn poll(&mut self, shared: &Shared, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        let deadline = Instant::now() + Duration::from_millis(limits.wait_ms_max);
        loop {
            let plan = {
                let mut index = shared.index();
                loop {
                    let plan = self.plan(&index, limits)?;
                    let left = deadline.saturating_duration_since(Instant::now());
                    if !plan.is_empty() || left.is_zero() {
                        break plan;
                    }
                    index = shared.arrived.wait_timeout(index, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            };
            let nothing = plan.is_empty();
            let delivered = self.read(plan, limits)?;
            if nothing || !delivered.is_empty() {
                return Ok(delivered);
            }
            // All planned batches ended before the positions, in gaps that cleaning left: plan again.
        }
    }
}

pub(super) fn read_bytes(segment: &Segment, head: &BatchHead) -> Result<Bytes, LogError> {
    let mut bytes = vec![0; BATCH_HEADER + head.length as usize];
    segment
        .file
        .read_exact_at(&mut bytes, head.position)
        .map_err(|error| LogError::Failure(Cause::of(format!("cannot read segment {}-{}", segment.first, segment.last), error)))?;
    Ok(Bytes::from(bytes))
}

fn lost(source: &TopicPartition, offset: Offset) -> LogError {
    LogError::OffsetLost {
        topic: source.topic.to_string(),
        partition: source.partition,
        offset,
    }
}

impl EmbeddedSession {
    pub fn new(shared: Arc<Shared>, keeper: Arc<Keeper>, identity: ShardIdentity, epoch: u64, changelog: PartitionRef) -> EmbeddedSession {
        let committer = Committer {
            transactional_id: identity.transactional_id,
            group: identity.group,
            epoch,
            changelog,
        };
        EmbeddedSession {
            shared,
            _keeper: keeper,
            committer: Arc::new(committer),
            changelog: identity.changelog,
            cursor: Cursor::default(),
        }
    }
}

impl ShardSession for EmbeddedSession {
    fn restore(&mut self, from: Offset, apply: &mut dyn FnMut(Delivered)) -> Result<Offset, LogError> {
        let (mut cursor, end) = {
            let index = self.shared.index();
            (
                Cursor::new(&index, &[(self.changelog.clone(), from)])?,
                index.partition(self.committer.changelog).next,
            )
        };
        loop {
            let records = cursor.poll(&self.shared, RESTORE_LIMITS)?;
            if records.is_empty() {
                return Ok(end);
            }
            // Only this session may commit to the changelog now, so nothing follows the end.
            records.into_iter().for_each(&mut *apply);
        }
    }

    fn assign(&mut self, inputs: &[(TopicPartition, Offset)]) -> Result<(), LogError> {
        self.cursor = Cursor::new(&self.shared.index(), inputs)?;
        Ok(())
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        self.cursor.poll(&self.shared, limits)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<Receipt, LogError> {
        self.shared.commit(Some(Arc::clone(&self.committer)), transaction)
    }

    fn lag(&self) -> Vec<(TopicPartition, u64)> {
        let index = self.shared.index();
        let lag = |input: &CursorInput| (input.source.clone(), (index.partition(input.place).next - input.position).max(0) as u64);
        self.cursor.inputs.iter().map(lag).collect()
    }
}

impl Reader for EmbeddedReader {
    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        self.cursor.poll(&self.shared, limits)
    }

    fn caught_up(&mut self) -> Result<bool, LogError> {
        let index = self.shared.index();
        let lags = |input: &CursorInput| {
            index
                .partition(input.place)
                .batches
                .last()
                .is_some_and(|batch| batch.head.last >= input.position)
        };
        Ok(!self.cursor.inputs.iter().any(lags))
    }
}
