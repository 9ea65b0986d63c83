//! One shard's rows in RocksDB.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_shard::state::{DERIVED, Row, RowChange, StateError, StateStore, StateView};
use rocksdb::{ErrorKind, FlushOptions, WriteBatch, WriteOptions};

use crate::database::{Database, FromStore, POSITION_KEY, Reader};
use crate::front::Fronts;
use crate::room::Room;
use crate::{Resources, StoreError, directory};

/// A shard's rows in a folder of its own, which it locks while it lives.
///
/// Dropping it makes applied rows durable if possible; only `flush` guarantees it, and reports a
/// failure.
pub struct RocksStore {
    path: PathBuf,
    resources: Resources,
    /// `None` only if it could not be reopened.
    database: RefCell<Option<Arc<Database>>>,
    fronts: RefCell<Fronts>,
    write: WriteOptions,
    room: Room,
    /// A write or a flush failed. RocksDB then takes no more writes until it is reopened, even when
    /// the cause, a full disk, is gone.
    failed: Cell<bool>,
}

/// How long a write waits when RocksDB stalls writers: usually a compaction is late, and soon done.
const STALL_MAX: Duration = Duration::from_secs(5);
/// How often it tries meanwhile.
const STALL_STEP: Duration = Duration::from_millis(2);
/// Room that a flush needs in addition to the rows in memory.
const FLUSH_SLACK_BYTES: u64 = 4 << 20;

impl RocksStore {
    /// Opens the store in the folder, or makes an empty one there. `origin`, one line, names the
    /// log of the rows; `None` where the log has no identity.
    ///
    /// # Errors
    /// `NewerFormat`, `NotAStore`, `OtherLog`, `Locked` as they say; `Database` where RocksDB
    /// cannot open its files. Where `disposition` is `Rebuild`, `destroy` the folder and open
    /// again; where it is `SetAside`, `set_aside` it.
    pub fn open(path: &Path, origin: Option<&str>, resources: &Resources) -> Result<Self, StoreError> {
        let database = directory::prepare(path, origin)?;
        let database = Database::open(path, &database, resources)?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        // When RocksDB stalls writers, they get an error instead of waiting for as long as a disk
        // is full.
        write.set_no_slowdown(true);
        Ok(Self {
            path: path.to_path_buf(),
            resources: resources.clone(),
            database: RefCell::new(Some(Arc::new(database))),
            fronts: RefCell::default(),
            write,
            room: resources.room(path),
            failed: Cell::new(false),
        })
    }

    /// Deletes the store in the folder, which must not be open. For a damaged one: `open` makes an
    /// empty one in its place.
    ///
    /// # Errors
    /// As `open`.
    pub fn destroy(path: &Path, origin: Option<&str>) -> Result<(), StoreError> {
        let database = directory::prepare(path, origin)?;
        Database::destroy(path, &database)
    }

    /// The log of the store in the folder; `None` where there is no store, or where the format file
    /// does not name it.
    ///
    /// # Errors
    /// Where the folder cannot be read, or its format file is damaged.
    pub fn origin(path: &Path) -> Result<Option<String>, StoreError> {
        directory::origin_of(path)
    }

    /// Renames the folder, which must not be open, for a person to look at, and returns its new
    /// name. For a store of unknown content.
    ///
    /// # Errors
    /// Where it cannot be renamed.
    pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
        directory::set_aside(path)
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.database.borrow().clone().ok_or(StoreError::Closed)
    }

    /// Writes a batch. A stall that does not end soon comes from a full disk, or one that is too
    /// slow: the caller must not wait in here, where nobody can stop it.
    fn write(&mut self, rows: &[RowChange], changelog_position: i64) -> Result<(), StoreError> {
        if rows.iter().any(|(key, _)| key.is_empty()) {
            return Err(StoreError::EmptyKey);
        }
        // Fronts first: if the write fails, a front too far back is merely slow.
        let fronts = self.fronts.get_mut();
        rows.iter()
            .filter(|(key, value)| key[0] >= DERIVED && value.is_some())
            .for_each(|(key, _)| fronts.put(key));
        let database = self.database()?;
        let deadline = Instant::now() + STALL_MAX;
        loop {
            match database.db.write_opt(batch(&database, rows, changelog_position), &self.write) {
                Ok(()) => return Ok(()),
                Err(error) if full(&error) => return Err(self.room.full()),
                Err(error) if error.kind() == ErrorKind::Incomplete && Instant::now() < deadline => {
                    self.room.check()?;
                    std::thread::sleep(STALL_STEP);
                }
                Err(error) if error.kind() == ErrorKind::Incomplete => return Err(self.room.stalled()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A flush waits for as long as the disk is full, so it is only started if the rows in memory
    /// have room.
    fn write_to_disk(&self) -> Result<(), StoreError> {
        let database = self.database()?;
        let needed = self.resources.write_buffers_used_bytes() as u64 + FLUSH_SLACK_BYTES;
        if self.room.free_bytes().is_some_and(|free| free < needed) {
            return Err(self.room.full());
        }
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let flushed = database.db.flush_cfs_opt(&database.families(), &options);
        flushed.map_err(|error| if full(&error) { self.room.full() } else { error.into() })
    }

    /// Closes the database. Readers hold it for the time of one read, and find it closed from then
    /// on.
    fn close(&self) {
        self.fronts.borrow_mut().clear();
        let Some(mut database) = self.database.take() else { return };
        while let Err(held) = Arc::try_unwrap(database) {
            database = held;
            std::thread::sleep(STALL_STEP);
        }
    }

    fn open_again(&self) -> Result<(), StoreError> {
        let files = directory::database(&self.path);
        *self.database.borrow_mut() = Some(Arc::new(Database::open(&self.path, &files, &self.resources)?));
        self.failed.set(false);
        Ok(())
    }

    /// Whether there is room. If a write had failed and there is room now, the database is
    /// reopened: it falls back to the last flush, and the runtime, which calls this before it
    /// restores, applies the rest again.
    fn check_room(&self) -> Result<(), StoreError> {
        self.room.check()?;
        if self.failed.get() || self.database.borrow().is_none() {
            self.close();
            self.open_again()?;
        }
        Ok(())
    }

    /// Recreates the database: faster than deleting every row, and right for a damaged one as well.
    fn make_anew(&self) -> Result<(), StoreError> {
        self.close();
        Database::destroy(&self.path, &directory::database(&self.path))?;
        self.open_again()
    }

    fn scan_from_front(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if limit == 0 || lower >= upper || lower.first().is_none_or(|table| *table < DERIVED) {
            return self.database()?.scan(lower, upper, limit);
        }
        let rows = self.database()?.scan(self.fronts.borrow().start(lower, upper), upper, limit)?;
        self.fronts.borrow_mut().scanned(lower, upper, rows.first().map(|(key, _)| key.as_slice()));
        Ok(rows)
    }

    fn files_bytes(&self) -> u64 {
        let Ok(database) = self.database() else { return 0 };
        let bytes = |family| {
            let size = database.db.property_int_value_cf(family, rocksdb::properties::TOTAL_SST_FILES_SIZE);
            size.ok().flatten().unwrap_or(0)
        };
        database.families().into_iter().map(bytes).sum()
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        if self.database.borrow().is_some()
            && let Err(error) = self.write_to_disk()
        {
            tracing::debug!(path = %self.path.display(), error = &error as &dyn std::error::Error, "store closed without a flush");
        }
    }
}

/// RocksDB has no error kind for a full disk.
fn full(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError && error.to_string().contains("No space left on device")
}

/// Rows and position as one write. Keys are not empty.
fn batch(database: &Database, rows: &[RowChange], changelog_position: i64) -> WriteBatch {
    let mut batch = WriteBatch::with_capacity_bytes(rows.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 16).sum());
    let derived = database.derived();
    for (key, value) in rows {
        match (key[0] < DERIVED, value) {
            (true, Some(value)) => batch.put(key, value),
            (true, None) => batch.delete(key),
            (false, Some(value)) => batch.put_cf(derived, key, value),
            (false, None) => batch.delete_cf(derived, key),
        }
    }
    batch.put(POSITION_KEY, changelog_position.to_be_bytes());
    batch
}

impl StateView for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.database().and_then(|database| database.get(key)).map_err(StateError::from_store)
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        self.database().and_then(|database| database.get_all(keys)).map_err(StateError::from_store)
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        self.scan_from_front(lower, upper, limit).map_err(StateError::from_store)
    }
}

impl StateStore for RocksStore {
    fn changelog_position(&self) -> Result<Option<i64>, StateError> {
        self.database().and_then(|database| database.position()).map_err(StateError::from_store)
    }

    fn apply(&mut self, rows: Vec<RowChange>, changelog_position: i64) -> Result<(), StateError> {
        let written = self.write(&rows, changelog_position);
        self.failed.set(self.failed.get() || written.is_err());
        written.map_err(StateError::from_store)
    }

    fn room(&self) -> Result<(), StateError> {
        self.check_room().map_err(StateError::from_store)
    }

    fn is_damaged(&self) -> bool {
        self.database.borrow().as_ref().is_some_and(|database| database.is_damaged())
    }

    fn free_bytes(&self) -> Option<u64> {
        self.room.free_bytes()
    }

    fn flush(&mut self) -> Result<(), StateError> {
        let written = self.write_to_disk();
        self.failed.set(self.failed.get() || written.is_err());
        written.map_err(StateError::from_store)
    }

    fn clear(&mut self) -> Result<(), StateError> {
        tracing::info!(path = %self.path.display(), "state store cleared");
        self.make_anew().map_err(StateError::from_store)
    }

    fn reader(&self) -> Arc<dyn StateView + Send + Sync> {
        Arc::new(Reader(self.database.borrow().as_ref().map(Arc::downgrade).unwrap_or_default()))
    }

    fn size_bytes(&self) -> u64 {
        self.files_bytes()
    }
}
