//! The only code that appends to the journal: group commit, fencing, new segments.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_model::{Cause, Timestamp, chain};

use super::format::{self, BatchBuilder, Catalogue};
use super::frame::{BODY_BYTES_MAX, Seal};
use super::index::{Batch, Index, PartitionRef};
use super::mark::{Mark, Reach};
use super::segment::{self, Segment};
use super::{Durability, Errand, Shared, failure, system_now};
use crate::{LogError, Offset, Receipt, Transaction};

/// A group that has grown beyond this is written; the rest of the queue forms the next one.
const GROUP_BYTES_MAX: usize = 32 << 20;

/// The author of a commit, unless a tool appends.
pub(super) struct Committer {
    pub transactional_id: String,
    pub group: String,
    pub epoch: u64,
    pub changelog: PartitionRef,
}

/// A transaction that waits to be written, and its outcome once it was.
pub(super) struct Pending {
    committer: Option<Arc<Committer>>,
    transaction: Transaction,
    outcome: Mutex<Option<Result<Receipt, LogError>>>,
}

pub(super) struct Writer {
    dir: PathBuf,
    file: File,
    /// Of the active segment.
    seal: Seal,
    /// Bytes of the active segment.
    pub length: u64,
    /// Only where every commit is synced before its acknowledgement.
    mark: Option<Mark>,
    /// The newest session of each transactional id.
    epochs: BTreeMap<String, u64>,
    /// The last timestamp given to a record; the next one is never lower.
    clock: Timestamp,
    /// Written since the last sync.
    dirty: bool,
    /// Why the log cannot be written any more.
    broken: Option<Cause>,
    buffer: Vec<u8>,
}

/// What a transaction adds to the index once it is on disk.
#[derive(Default)]
struct Addition {
    batches: Vec<(PartitionRef, Batch)>,
    positions: Vec<(PartitionRef, String, Offset)>,
}

impl Shared {
    /// Writes a transaction, together with all that wait at this moment, and returns when it is
    /// committed.
    pub(super) fn commit(&self, committer: Option<Arc<Committer>>, transaction: Transaction) -> Result<Receipt, LogError> {
        if transaction.records.is_empty() && transaction.positions.is_empty() {
            return Ok(Receipt { changelog_end: None });
        }
        let pending = Arc::new(Pending {
            committer,
            transaction,
            outcome: Mutex::new(None),
        });
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&pending));
        let mut writer = self.writer();
        loop {
            if let Some(outcome) = pending.outcome.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return outcome;
            }
            let waiting = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
            writer.write_all(self, waiting);
        }
    }

    /// Makes earlier writes durable.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        // The file is synced outside of the lock, so that commits go on meanwhile.
        let file = {
            let mut writer = self.writer();
            if !std::mem::take(&mut writer.dirty) {
                return Ok(());
            }
            writer.file.try_clone().map_err(failure("sync", &self.dir))?
        };
        file.sync_data().map_err(|error| {
            let mut writer = self.writer();
            writer.broken = Some(format!("sync failed: {error}").into());
            failure("sync", &self.dir)(error)
        })
    }
}

impl Writer {
    /// The active segment, and bytes of it.
    pub fn end(&self) -> (u32, u64) {
        (self.seal.first, self.length)
    }

    pub fn new(dir: PathBuf, file: File, seal: Seal, length: u64, mark: Option<Mark>) -> Writer {
        let clock = Timestamp(0);
        Writer {
            dir,
            file,
            seal,
            length,
            mark,
            epochs: BTreeMap::new(),
            clock,
            dirty: false,
            broken: None,
            buffer: Vec::new(),
        }
    }

    /// Begins a new session of a shard; earlier ones can commit no more.
    pub fn fence(&mut self, transactional_id: &str) -> u64 {
        let epoch = self.epochs.entry(transactional_id.to_owned()).or_default();
        *epoch += 1;
        *epoch
    }

    /// Appends a catalogue; on disk on return, unless durability does not require it.
    pub fn write_catalogue(&mut self, catalogue: &Catalogue, durability: Durability) -> Result<(), LogError> {
        self.buffer.clear();
        self.seal
            .frame(&mut self.buffer, self.length, |body| format::put_catalogue(body, false, catalogue));
        self.write_buffer(if durability == Durability::Never { durability } else { Durability::Commit })
    }

    /// Writes all of `waiting` and sets their outcomes. One write is one frame: a crash leaves all
    /// of it or nothing.
    fn write_all(&mut self, shared: &Shared, waiting: Vec<Arc<Pending>>) {
        let mut waiting = waiting.into_iter().peekable();
        while waiting.peek().is_some() {
            self.buffer.clear();
            let begin = Seal::begin(&mut self.buffer);
            format::put_commit(&mut self.buffer);
            let mut ends: BTreeMap<PartitionRef, Offset> = BTreeMap::new();
            let mut group: Vec<(Arc<Pending>, Receipt)> = Vec::new();
            let mut addition = Addition::default();
            self.clock = self.clock.max(system_now());
            while self.buffer.len() < GROUP_BYTES_MAX
                && let Some(pending) = waiting.next()
            {
                match self.encode(&shared.index(), &pending, &mut ends, &mut addition) {
                    Ok(receipt) => group.push((pending, receipt)),
                    Err(error) => pending.resolve(Err(error)),
                }
            }
            if group.is_empty() {
                continue;
            }
            self.seal.end(&mut self.buffer, begin, self.length);
            match self.write_buffer(shared.config.durability) {
                Ok(()) => {
                    publish(&mut shared.index(), addition);
                    shared.arrived.notify_all();
                    group.into_iter().for_each(|(pending, receipt)| pending.resolve(Ok(receipt)));
                }
                Err(error) => group.into_iter().for_each(|(pending, _)| pending.resolve(Err(error.again()))),
            }
            if self.length >= shared.config.segment_bytes {
                match self.roll(shared) {
                    Ok(()) => shared.give(Errand { clean: true, stop: false }),
                    // The active segment still takes commits; the next one tries again.
                    Err(error) => tracing::warn!(reason = chain(&error), "cannot begin a new segment"),
                }
            }
        }
    }

    /// Encodes one transaction at the end of the buffer. Changes nothing on failure.
    fn encode(&mut self, index: &Index, pending: &Pending, ends: &mut BTreeMap<PartitionRef, Offset>, addition: &mut Addition) -> Result<Receipt, LogError> {
        if let Some(committer) = &pending.committer
            && self.epochs.get(&committer.transactional_id) != Some(&committer.epoch)
        {
            return Err(LogError::Fenced);
        }
        let mut builders: BTreeMap<PartitionRef, (Offset, BatchBuilder)> = BTreeMap::new();
        for (partition, record) in &pending.transaction.records {
            let place = index.partition_ref(partition)?;
            let (next, builder) = builders.entry(place).or_insert_with(|| {
                let base = ends.get(&place).copied().unwrap_or(index.partition(place).next);
                (base, BatchBuilder::new(base, self.clock))
            });
            builder.put(*next, self.clock, record);
            *next += 1;
        }
        let positions = pending
            .transaction
            .positions
            .iter()
            .map(|(partition, offset)| Ok((index.partition_ref(partition)?, *offset)));
        let positions: Vec<(PartitionRef, Offset)> = positions.collect::<Result<_, LogError>>()?;
        let bytes: usize = builders.values().map(|(_, builder)| builder.bytes()).sum();
        if bytes > BODY_BYTES_MAX / 2 {
            return Err(LogError::Failure(format!("a transaction of {bytes} bytes is too large").into()));
        }

        let group = pending.committer.as_ref().map_or("", |committer| &committer.group);
        let changelog = pending.committer.as_ref().map(|committer| committer.changelog);
        let mut receipt = Receipt { changelog_end: None };
        for (place, (next, builder)) in builders {
            let mut head = builder.finish(&mut self.buffer, place.0, place.1);
            // The buffer begins where the file ends.
            head.position += self.length;
            addition.batches.push((
                place,
                Batch {
                    segment: self.seal.first,
                    head,
                },
            ));
            ends.insert(place, next);
            if changelog == Some(place) {
                receipt.changelog_end = Some(next);
            }
        }
        for (place, position) in positions {
            format::put_position(&mut self.buffer, place.0, place.1, position, group);
            addition.positions.push((place, group.to_owned(), position));
        }
        Ok(receipt)
    }

    /// Appends the buffer to the file. After an error either nothing of it is there, or the writer
    /// is broken.
    fn write_buffer(&mut self, durability: Durability) -> Result<(), LogError> {
        if let Some(reason) = &self.broken {
            return Err(LogError::Failure(reason.clone()));
        }
        // Remains if this thread panics before the write is complete.
        self.broken = Some("a write was interrupted".into());
        if let Err(error) = self.file.write_all_at(&self.buffer, self.length) {
            // Typically a full disk. The partial write is cut off, so that commits succeed again
            // once there is room.
            match self.file.set_len(self.length) {
                Ok(()) => self.broken = None,
                Err(again) => self.broken = Some(Cause::of("cannot cut off a failed write", again)),
            }
            return Err(unwritten(error));
        }
        if durability == Durability::Commit
            && let Err(error) = self.file.sync_data()
        {
            // The contents of the disk are unknown now: the next start reads it.
            self.broken = Some(format!("sync failed: {error}").into());
            return Err(LogError::OutcomeUnknown(Cause::of("sync failed", error)));
        }
        self.dirty |= durability != Durability::Commit;
        self.length += self.buffer.len() as u64;
        self.broken = None;
        if durability == Durability::Commit {
            self.note();
        }
        Ok(())
    }

    /// Writes the length of the segment to the mark, before the commit is acknowledged. The commit is
    /// synced already, so the mark needs no sync.
    fn note(&mut self) {
        let reach = Reach {
            active: self.seal.first,
            bytes: self.length,
        };
        if let Some(mark) = &self.mark
            && let Err(error) = mark.note(reach)
        {
            // The mark keeps its earlier length, which is true as well.
            tracing::warn!(%error, "cannot mark how far the log reaches; from now on the manifest alone notes it, once a minute");
            self.mark = None;
        }
    }

    /// Begins a new segment, with a catalogue of what is committed by now.
    pub fn roll(&mut self, shared: &Shared) -> Result<(), LogError> {
        self.buffer.clear();
        self.seal.frame(&mut self.buffer, self.length, format::put_end);
        self.write_buffer(shared.config.durability)?;
        if shared.config.durability != Durability::Never {
            self.file.sync_data().map_err(failure("sync", &self.dir))?;
            self.dirty = false;
        }
        let mut index = shared.index();
        let number = self.seal.first + 1;
        let seal = Seal::new(self.seal.log, number, number);
        let bytes = segment::first_bytes(&seal, &index.catalogue());
        let file = segment::create(&self.dir, &seal, &bytes, shared.config.durability)?;
        let reading = file.try_clone().map_err(failure("open", &self.dir))?;
        // Nothing is written to a segment that the manifest does not name.
        if let Err(failed) = shared.change_manifest(|manifest| manifest.roll(number)) {
            if failed.unknown {
                self.broken = Some(format!("it is not known which segment is appended to: {}", chain(&failed.error)).into());
            }
            return Err(failed.error);
        }

        let active = index.active;
        if let Some(closed) = index.segments.remove(&active) {
            let file = closed.file.try_clone().map_err(failure("open", &self.dir))?;
            let closed = Segment {
                first: closed.first,
                last: closed.last,
                cleaned: false,
                bytes: self.length,
                file,
            };
            index.segments.insert(active, Arc::new(closed));
        }
        index.segments.insert(
            number,
            Arc::new(Segment {
                first: number,
                last: number,
                cleaned: false,
                bytes: 0,
                file: reading,
            }),
        );
        index.active = number;
        self.file = file;
        self.seal = seal;
        self.length = bytes.len() as u64;
        Ok(())
    }
}

/// The error of a write that left nothing in the file. A full disk has a variant of its own: once
/// there is room, the same write succeeds.
pub(super) fn unwritten(error: std::io::Error) -> LogError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => LogError::Unavailable(Cause::of("the disk of the log is full, nothing was written", error)),
        _ => LogError::Aborted(Cause::of("cannot write", error)),
    }
}

fn publish(index: &mut Index, addition: Addition) {
    for (place, batch) in addition.batches {
        let held = index.partition_mut(place).expect("the batch was encoded for this partition");
        held.next = batch.head.last + 1;
        held.batches.push(batch);
    }
    for (place, group, position) in addition.positions {
        index.positions.entry(place).or_default().insert(group, position);
    }
}

impl Pending {
    fn resolve(&self, outcome: Result<Receipt, LogError>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}
