//! The embedded log: one process, durable on local disk.
//!
//! All topics share one journal, so a commit over any number of partitions is one frame: one sequential write, one `fdatasync`, whole or not there.
//! Shards that commit at the same time share both (group commit: whoever gets the writer writes for all that queue). An index of batches is held in
//! memory and built by reading the journal at start.
//!
//! # Files
//!
//! ```text
//! <dir>/lock                                     held by the one process that has the log open
//! <dir>/<first:10>-<last:10>.journal             segments, in order of their numbers; the last one is appended to, the others never change
//! <dir>/….tmp                                    being written; removed at start
//! ```
//!
//! A fresh segment has `first == last`. Cleaning replaces neighbours by one segment that bears the range of their numbers; whichever files are
//! covered by a wider range are left-overs of a crash and are removed at start. Segments come to be by rename, so each begins with a whole frame.
//!
//! # Format
//!
//! Integers are little-endian; `varint` is unsigned LEB128.
//!
//! ```text
//! segment   := frame*                            the first frame holds a catalogue
//! frame     := u32 bytes of body | u64 XXH3 of body | body
//! body      := 0x01 catalogue | 0x02 part*
//! catalogue := u8 format (1) | u8 cleaned | postcard of `Catalogue`: topics with start and next offset of each partition, positions of groups
//! part      := 0x01 varint topic | varint partition | varint base | varint last - base | varint records | i64 greatest timestamp
//!                   | varint bytes of batch | u64 XXH3 of batch | batch
//!            | 0x02 varint topic | varint partition | varint position | varint bytes of group | group
//! batch     := record*
//! record    := varint offset - base | varint greatest timestamp - timestamp | varint bytes of key + 1 or 0 | key | varint bytes of value + 1 or 0
//!                   | value | varint headers | (varint bytes | name | varint bytes | value)*
//! ```
//!
//! # Recovery
//!
//! The last segment is read frame by frame to the first that is cut short or fails its checksum; the file is cut there. A bad frame in an earlier
//! segment is damage, and the log refuses to open. Topics, positions and next offsets are those of the last catalogue and the commits behind it.
//!
//! # Bounds
//!
//! A topic that is not compacted keeps records for `retention.ms` (default seven days; -1 keeps all), and with `DELETE_CONSUMED` only until every group
//! that sends positions is past them. A segment without live records is deleted; when the segments never cleaned outweigh the cleaned
//! ones, all are rewritten without what is dead, older values of compacted topics included. Before anything is removed, a catalogue says where partitions
//! begin from now on, so that a position below is lost loudly, after a restart as well. Tombstones go `delete.retention.ms` (default one day) after
//! they were written. So the disk holds at most about twice the live records and two segments.

mod clean;
mod format;
mod index;
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

use millrace_model::Timestamp;

use self::index::Index;
use self::session::{Cursor, EmbeddedReader, EmbeddedSession};
use self::writer::Writer;
use crate::{Log, LogError, Offset, Reader, Record, ShardIdentity, ShardSession, TopicPartition, TopicSpec, Transaction};

/// When commits reach the disk. Whatever is chosen, a commit survives the death of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the commit returns: survives power loss.
    Commit,
    /// At least so often: power loss takes the commits since then, and a local store flushed after them is discarded.
    Interval(Duration),
    /// When the operating system likes.
    Never,
}

/// How the embedded log keeps its files.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    pub durability: Durability,
    /// Size at which a new segment begins. Small ones are cleaned sooner, large ones cost fewer files.
    pub segment_bytes: u64,
    /// Distinct keys held in memory while cleaning, about 48 bytes each; more keys are cleaned in more rounds.
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

/// A log in a folder of local disk. Cheap to clone; closed when the last clone, session and reader are gone.
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    // Dropped with the last log handle: ends the keeper, which holds `shared`.
    keeper: Arc<Keeper>,
}

/// What sessions, readers and the keeper share.
struct Shared {
    dir: PathBuf,
    config: EmbeddedConfig,
    /// Transactions that wait for whoever holds the writer.
    queue: Mutex<Vec<Arc<writer::Pending>>>,
    /// Locked before `index` where both are.
    writer: Mutex<Writer>,
    index: Mutex<Index>,
    /// Something became readable.
    arrived: Condvar,
    cleaning: Mutex<()>,
    /// What the keeper waits for.
    errand: Mutex<Errand>,
    errand_given: Condvar,
    /// Held open for its lock.
    _lock: File,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, or makes a new one there.
    ///
    /// # Errors
    /// `Failure` where another process has it open, where the folder cannot be used, or where a file is damaged.
    pub fn open(dir: &Path, config: EmbeddedConfig) -> Result<EmbeddedLog, LogError> {
        std::fs::create_dir_all(dir).map_err(failure("create", dir))?;
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(failure("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::Failure(format!("log {} is open in another process", dir.display()))),
            Err(TryLockError::Error(error)) => return Err(failure("lock", &lock_path)(error)),
        }
        let (index, writer) = segment::load(dir, config.durability)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            config,
            queue: Mutex::default(),
            writer: Mutex::new(writer),
            index: Mutex::new(index),
            arrived: Condvar::new(),
            cleaning: Mutex::default(),
            errand: Mutex::default(),
            errand_given: Condvar::new(),
            _lock: lock,
        });
        let keeper = Arc::new(Keeper::start(Arc::clone(&shared))?);
        Ok(EmbeddedLog { shared, keeper })
    }

    /// Applies retention and, where it pays or where `all` is set, rewrites segments without dead records. Runs by itself now and then; call it to
    /// have it done now.
    ///
    /// # Errors
    /// `Failure` where a file cannot be read or written; the log is as it was, or partly cleaned.
    pub fn clean(&self, now: Timestamp, all: bool) -> Result<(), LogError> {
        self.shared.clean(now, all)
    }

    /// The offset of the earliest record kept and the offset behind the last one.
    ///
    /// # Errors
    /// `NoSuchTopic`.
    pub fn bounds(&self, partition: &TopicPartition) -> Result<(Offset, Offset), LogError> {
        let index = self.shared.index();
        let place = index.place(partition)?;
        let found = index.partition(place);
        Ok((found.start, found.next))
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        let closed: u64 = self.shared.index().segments.values().map(|segment| segment.bytes).sum();
        closed + self.shared.writer().length
    }
}

impl Log for EmbeddedLog {
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
            return Err(LogError::Failure(format!(
                "topic {} has {partitions} partitions, not {}",
                spec.name, spec.partitions
            )));
        }
        if spec.partitions == 0 {
            return Err(LogError::Failure(format!("topic {} needs a partition", spec.name)));
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
        let changelog = self.shared.index().place(&shard.changelog)?;
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
    // A thread that panicked while it held a lock leaves the index as it was before its commit, and the writer broken, so the data is sound.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the keeper is to do before its time.
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
    /// How often retention is looked at where no segment is closed. Time alone seldom frees much, so a minute is soon enough.
    const CLEAN_EVERY: Duration = Duration::from_secs(60);

    fn start(shared: Arc<Shared>) -> Result<Keeper, LogError> {
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("log-keeper".into())
            .spawn(move || theirs.keep())
            .map_err(|error| LogError::Failure(format!("cannot start the log's keeper: {error}")))?;
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
                tracing::error!(%error, "cannot sync the log");
            }
            if errand.stop {
                return;
            }
            since_clean += pause;
            if errand.clean || since_clean >= Keeper::CLEAN_EVERY {
                since_clean = Duration::ZERO;
                if let Err(error) = self.clean(system_now(), false) {
                    tracing::error!(%error, "cannot clean the log");
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
    move |error| LogError::Failure(format!("cannot {action} {path}: {error}"))
}
