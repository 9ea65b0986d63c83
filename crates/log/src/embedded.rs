//! The embedded log: one process, durable on local disk.
//!
//! All topics share one journal, so a commit over any number of partitions is one frame: one
//! sequential write, one `fdatasync`, all or nothing.
//! Shards that commit at the same time share both (group commit: the holder of the writer writes
//! for all in the queue). An index of batches is held in memory and built by reading the journal at
//! start.
//!
//! # Files
//!
//! ```text
//! <dir>/lock                                     held by the one process that has the log open
//! <dir>/manifest                                 the identity of the log and the list of its segments; see `manifest.rs`
//! <dir>/mark                                     where the acknowledged commits of the active segment end; see `mark.rs`
//! <dir>/<first:10>-<last:10>.journal             segments, in order of their numbers; the last one is appended to, the others never change
//! <dir>/….tmp                                    being written; removed at start
//! ```
//!
//! A fresh segment has `first == last`. Cleaning replaces neighbours by one segment with the range
//! of their numbers. Segments and manifest are created by rename, so each is whole or absent; a
//! segment counts once the manifest names it.
//!
//! # Format
//!
//! Integers are little-endian; `varint` is unsigned LEB128.
//!
//! ```text
//! segment   := preamble frame*                   the first frame holds a catalogue, the last one of a closed segment is an end
//! preamble  := "millrace" | u32 format (2) | u32 first | u32 last | u128 log | u64 XXH3 of the preamble before
//! frame     := u32 bytes of body | u64 XXH3 of body | u64 XXH3 of the header before | body
//! body      := 0x01 catalogue | 0x02 part* | 0x03 (end)
//! catalogue := u8 layout (1) | u8 cleaned | postcard of `Catalogue`: topics with start and next offset of each partition, positions of groups
//! part      := 0x01 varint topic | varint partition | varint base | varint last - base | varint records | i64 greatest timestamp
//!                   | varint bytes of batch | u64 XXH3 of batch | batch
//!            | 0x02 varint topic | varint partition | varint position | varint bytes of group | group
//! batch     := record*
//! record    := varint offset - base | varint greatest timestamp - timestamp | varint bytes of key + 1 or 0 | key | varint bytes of value + 1 or 0
//!                   | value | varint headers | (varint bytes | name | varint bytes | value)*
//! ```
//!
//! A frame's checksums are seeded with the log and the segment, the header's with its place in the
//! file as well (`frame.rs`).
//!
//! # Recovery and damage
//!
//! A crash leaves at most one unfinished write, at the end of the active segment: its beginning, or
//! pages of zeros. Nobody received an acknowledgement for it, so the log cuts it off and logs that.
//! Any other difference from what was written is damage:
//!
//! * a whole frame with a wrong checksum,
//! * wrong bytes with a whole frame after them,
//! * a closed segment without its end,
//! * an active segment shorter than the mark or the manifest says,
//! * a file that is missing, misnamed, or part of another log.
//!
//! The log then refuses to open, names the file and the byte, and changes nothing; `check` shows
//! the intact parts, `salvage` copies them. Topics, positions and next offsets come from the last
//! catalogue and the commits after it.
//!
//! # Bounds
//!
//! A topic that is not compacted keeps records for `retention.ms` (default seven days; -1 keeps
//! all), and with `DELETE_CONSUMED` only until every group that sends positions is past them. A
//! segment without live records is deleted. When the segments that were never cleaned are larger
//! than the cleaned ones, all are rewritten without dead records and, for compacted topics, without
//! older values. Before anything is removed, a catalogue records the new beginnings of partitions,
//! so that a read below them fails with an error, even after a restart. Tombstones are removed
//! `delete.retention.ms` (default one day) after they were written. The disk therefore holds at most
//! about twice the live records, and two segments.

mod clean;
mod format;
mod frame;
mod index;
mod manifest;
mod mark;
mod salvage;
mod segment;
mod session;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use millrace_model::{Cause, Timestamp, chain};

use self::frame::LogId;
use self::index::Index;
use self::manifest::{Manifest, WriteFailed};
pub use self::salvage::{Damage, Inspection, Rescue, SegmentReport, TopicReport};
use self::segment::Loaded;
use self::session::{Cursor, EmbeddedReader, EmbeddedSession};
use self::writer::Writer;
use crate::{Log, LogError, Offset, Reader, Record, ShardIdentity, ShardSession, TopicPartition, TopicSpec, Transaction};

/// When commits reach the disk. With any choice, a commit survives the death of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the commit returns: survives power loss.
    Commit,
    /// At least this often. Power loss destroys the commits since then, and a local store that was
    /// flushed after them is discarded.
    Interval(Duration),
    /// When the operating system chooses.
    Never,
}

/// How the embedded log keeps its files.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// When commits reach the disk.
    pub durability: Durability,
    /// Size in bytes at which a new segment begins. Small segments are cleaned sooner, large ones
    /// need fewer files.
    pub segment_bytes: u64,
    /// Distinct keys held in memory while cleaning, about 48 bytes each; more keys are cleaned in
    /// more rounds.
    pub clean_keys_max: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> EmbeddedConfig {
        EmbeddedConfig {
            durability: Durability::Commit,
            segment_bytes: 64 << 20,
            clean_keys_max: 4_000_000,
        }
    }
}

/// A log in a folder of local disk. Cheap to clone; closed when the last clone, session and reader
/// are gone.
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    // Dropped with the last log handle: ends the keeper, which holds `shared`.
    keeper: Arc<Keeper>,
}

/// What sessions, readers and the keeper share.
struct Shared {
    dir: PathBuf,
    log: LogId,
    config: EmbeddedConfig,
    /// Transactions that wait for the holder of the writer.
    queue: Mutex<Vec<Arc<writer::Pending>>>,
    /// Locked before `index` where both are.
    writer: Mutex<Writer>,
    index: Mutex<Index>,
    /// As it is on disk. Locked last.
    manifest: Mutex<Manifest>,
    /// Something became readable.
    arrived: Condvar,
    cleaning: Mutex<()>,
    /// The next task of the keeper.
    errand: Mutex<Errand>,
    errand_given: Condvar,
    /// Held open for its lock.
    _lock: File,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, or makes a new one if there is none.
    ///
    /// # Errors
    /// `Failure` where another process has it open, where the folder cannot be used, or where a
    /// file is damaged, missing, or another log's.
    pub fn open(dir: &Path, config: EmbeddedConfig) -> Result<EmbeddedLog, LogError> {
        std::fs::create_dir_all(dir).map_err(failure("create", dir))?;
        let lock = hold(dir)?;
        let Loaded { index, writer, manifest } = segment::load(dir, config.durability)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            log: manifest.log,
            config,
            queue: Mutex::default(),
            writer: Mutex::new(writer),
            index: Mutex::new(index),
            manifest: Mutex::new(manifest),
            arrived: Condvar::new(),
            cleaning: Mutex::default(),
            errand: Mutex::default(),
            errand_given: Condvar::new(),
            _lock: lock,
        });
        let keeper = Arc::new(Keeper::start(Arc::clone(&shared))?);
        Ok(EmbeddedLog { shared, keeper })
    }

    /// Whether `dir` holds a log, intact or damaged.
    pub fn exists(dir: &Path) -> bool {
        manifest::path(dir).exists() || segment::segments(dir).map_or(dir.is_dir(), |segments| !segments.is_empty())
    }

    /// Reads the log in `dir`, which no process has open, and reports which parts are intact.
    /// Changes nothing.
    ///
    /// # Errors
    /// `Failure` where the folder holds no log, is in use, or cannot be read. Damage is not an
    /// error.
    pub fn check(dir: &Path) -> Result<Inspection, LogError> {
        salvage::check(dir)
    }

    /// Makes a new log in `to`, which must be missing or empty, from the intact parts of the log in
    /// `dir`. Offsets stay as they are; the new log has another identity, so state built from the
    /// old one does not belong to it. `follows` says of a topic's name whether its records follow
    /// from those of other topics: unless the log is whole, such a topic begins anew.
    ///
    /// # Errors
    /// As `check`, or where the new log cannot be written.
    pub fn salvage(dir: &Path, to: &Path, follows: &dyn Fn(&str) -> bool) -> Result<Rescue, LogError> {
        salvage::salvage(dir, to, follows)
    }

    /// Applies retention. Then rewrites segments without dead records, if `all` is set or enough of
    /// them can be removed. The keeper does this in the background; a call does it now.
    ///
    /// # Errors
    /// `Failure` where a file cannot be read or written; the log is unchanged or partly cleaned.
    pub fn clean(&self, now: Timestamp, all: bool) -> Result<(), LogError> {
        self.shared.clean(now, all)
    }

    /// The offset of the earliest record kept and the offset after the last one.
    ///
    /// # Errors
    /// `NoSuchTopic`.
    pub fn bounds(&self, partition: &TopicPartition) -> Result<(Offset, Offset), LogError> {
        let index = self.shared.index();
        let place = index.partition_ref(partition)?;
        let found = index.partition(place);
        Ok((found.start, found.next))
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        let closed: u64 = self.shared.index().segments.values().map(|segment| segment.bytes).sum();
        closed + self.shared.writer().length
    }
}

/// Takes the folder's lock.
fn hold(dir: &Path) -> Result<File, LogError> {
    let path = dir.join("lock");
    let lock = File::create(&path).map_err(failure("create", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LogError::Failure(format!("log {} is open in another process", dir.display()).into())),
        Err(TryLockError::Error(error)) => Err(failure("lock", &path)(error)),
    }
}

impl Log for EmbeddedLog {
    fn identity(&self) -> Result<Option<String>, LogError> {
        Ok(Some(self.shared.log.to_string()))
    }

    fn keeps_what_it_acknowledged(&self) -> bool {
        self.shared.config.durability == Durability::Commit
    }

    fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        Ok(self.shared.index().topic(topic).map(|topic| topic.partitions.len() as u32))
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let mut writer = self.shared.writer();
        let mut index = self.shared.index();
        if let Some(topic) = index.topic(&spec.name) {
            let partitions = topic.partitions.len();
            if partitions == spec.partitions as usize {
                return Ok(());
            }
            return Err(LogError::Failure(
                format!("topic {} has {partitions} partitions, not {}", spec.name, spec.partitions).into(),
            ));
        }
        if spec.partitions == 0 {
            return Err(LogError::Failure(format!("topic {} needs a partition", spec.name).into()));
        }
        let mut catalogue = index.catalogue();
        catalogue.add(spec);
        writer.write_catalogue(&catalogue, self.shared.config.durability)?;
        index.add_topic(spec);
        Ok(())
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<(), LogError> {
        self.shared
            .commit(
                None,
                Transaction {
                    records,
                    positions: Vec::new(),
                },
            )
            .map(|_| ())
    }

    fn open_shard(&self, shard: &ShardIdentity) -> Result<Box<dyn ShardSession>, LogError> {
        let changelog = self.shared.index().partition_ref(&shard.changelog)?;
        let epoch = self.shared.writer().fence(&shard.transactional_id);
        Ok(Box::new(EmbeddedSession::new(
            Arc::clone(&self.shared),
            Arc::clone(&self.keeper),
            shard.clone(),
            epoch,
            changelog,
        )))
    }

    fn reader(&self, from: &[(TopicPartition, Offset)]) -> Result<Box<dyn Reader>, LogError> {
        let from: Vec<_> = from
            .iter()
            .map(|(partition, offset)| (partition.clone(), if *offset <= 0 { crate::EARLIEST } else { *offset }))
            .collect();
        let cursor = Cursor::new(&self.shared.index(), &from)?;
        Ok(Box::new(EmbeddedReader {
            shared: Arc::clone(&self.shared),
            _keeper: Arc::clone(&self.keeper),
            cursor,
        }))
    }
}

impl Shared {
    // A thread that panicked while it held a lock left the index without its commit and the writer
    // marked as broken, so the data is sound.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Changes the manifest, on disk first.
    fn change_manifest(&self, change: impl FnOnce(&mut Manifest)) -> Result<(), WriteFailed> {
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = manifest.clone();
        change(&mut changed);
        if changed != *manifest {
            changed.write(&self.dir, self.config.durability != Durability::Never)?;
            *manifest = changed;
        }
        Ok(())
    }

    /// Writes the synced length of the active segment to the manifest. Commits that were not synced
    /// do not count: they may not be on disk.
    fn mark(&self) {
        if self.config.durability != Durability::Commit {
            return;
        }
        let (active, bytes) = self.writer().end();
        let noted = self.change_manifest(|manifest| {
            if manifest.active == active {
                manifest.active_bytes = manifest.active_bytes.max(bytes);
            }
        });
        if let Err(failed) = noted {
            tracing::warn!(reason = chain(&failed.error), "cannot note how far the log reaches");
        }
    }
}

/// An early task of the keeper.
#[derive(Clone, Copy, Debug, Default)]
struct Errand {
    /// A segment was closed: look whether cleaning pays.
    clean: bool,
    stop: bool,
}

/// The thread that syncs by interval and cleans.
struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// How often retention is checked if no segment is closed. Time alone seldom frees much, so a
    /// minute is soon enough.
    const CLEAN_EVERY: Duration = Duration::from_secs(60);

    fn start(shared: Arc<Shared>) -> Result<Keeper, LogError> {
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("log-keeper".into())
            .spawn(move || theirs.keep())
            .map_err(|error| LogError::Failure(Cause::of("cannot start the log's keeper", error)))?;
        Ok(Keeper { shared, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    /// Waits for a last sync.
    fn drop(&mut self) {
        self.shared.give(Errand { clean: false, stop: true });
        if let Some(thread) = self.thread.take() {
            // A panic of the keeper has been printed; there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn give(&self, errand: Errand) {
        let mut given = self.errand.lock().unwrap_or_else(PoisonError::into_inner);
        *given = Errand {
            clean: given.clean || errand.clean,
            stop: given.stop || errand.stop,
        };
        self.errand_given.notify_all();
    }

    /// The keeper's life.
    fn keep(&self) {
        let pause = match self.config.durability {
            Durability::Interval(every) => every.clamp(Duration::from_millis(1), Keeper::CLEAN_EVERY),
            Durability::Commit | Durability::Never => Keeper::CLEAN_EVERY,
        };
        let mut since_clean = Duration::ZERO;
        loop {
            let errand = {
                let given = self.errand.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = self.errand_given.wait_timeout_while(given, pause, |errand| !errand.clean && !errand.stop);
                let (mut given, _) = waited.unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *given)
            };
            if self.config.durability != Durability::Never
                && let Err(error) = self.sync()
            {
                tracing::error!(reason = chain(&error), "cannot sync the log");
            }
            if errand.stop {
                self.mark();
                return;
            }
            since_clean += pause;
            if errand.clean || since_clean >= Keeper::CLEAN_EVERY {
                since_clean = Duration::ZERO;
                self.mark();
                if let Err(error) = self.clean(system_now(), false) {
                    tracing::error!(reason = chain(&error), "cannot clean the log");
                }
            }
        }
    }
}

fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

fn failure(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> LogError {
    let path = path.display().to_string();
    move |error| LogError::Failure(Cause::of(format!("cannot {action} {path}"), error))
}
