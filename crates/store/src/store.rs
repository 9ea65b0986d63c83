//! One shard's rows in RocksDB.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use millrace_shard::state::{DERIVED, Row, RowChange, StateError, StateStore, StateView};
use rocksdb::{FlushOptions, WriteBatch, WriteOptions};

use crate::database::{Database, FromStore, POSITION_KEY, Reader};
use crate::front::Fronts;
use crate::{Resources, StoreError, directory};

/// A shard's rows in a folder of its own, which it locks while it lives.
///
/// Dropping it makes what was applied durable where that is possible; only `flush` promises it, and says so where it fails.
pub struct RocksStore {
    database: Arc<Database>,
    fronts: RefCell<Fronts>,
    write: WriteOptions,
}

impl RocksStore {
    /// Opens the store in the folder, or makes an empty one there.
    ///
    /// # Errors
    /// `NewerFormat`, `NotAStore`, `Locked` as they say; `Database` where RocksDB cannot open its files: where `disposition` is `Rebuild`, `destroy` the
    /// folder and open again.
    pub fn open(path: &Path, resources: &Resources) -> Result<Self, StoreError> {
        let database = directory::prepare(path)?;
        let database = Database::open(path, &database, resources)?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(Self {
            database: Arc::new(database),
            fronts: RefCell::default(),
            write,
        })
    }

    /// Deletes the store in the folder, which must not be open. For a damaged one: `open` makes an empty one in its place.
    ///
    /// # Errors
    /// As `open`.
    pub fn destroy(path: &Path) -> Result<(), StoreError> {
        let database = directory::prepare(path)?;
        Database::destroy(path, &database)
    }

    fn write(&mut self, rows: Vec<RowChange>, changelog_position: i64) -> Result<(), StoreError> {
        let mut batch = WriteBatch::with_capacity_bytes(rows.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 16).sum());
        let derived = self.database.derived();
        for (key, value) in &rows {
            let table = *key.first().ok_or(StoreError::EmptyKey)?;
            match (table < DERIVED, value) {
                (true, Some(value)) => batch.put(key, value),
                (true, None) => batch.delete(key),
                (false, Some(value)) => batch.put_cf(derived, key, value),
                (false, None) => batch.delete_cf(derived, key),
            }
        }
        batch.put(POSITION_KEY, changelog_position.to_be_bytes());
        // Fronts first: were the write to fail, a front too far back is merely slow.
        let fronts = self.fronts.get_mut();
        rows.iter()
            .filter(|(key, value)| key[0] >= DERIVED && value.is_some())
            .for_each(|(key, _)| fronts.put(key));
        Ok(self.database.db.write_opt(batch, &self.write)?)
    }

    fn write_to_disk(&self) -> Result<(), StoreError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        Ok(self.database.db.flush_cfs_opt(&self.database.families(), &options)?)
    }

    /// Whole ranges at once, then a compaction, so that neither rows nor their deletion markers remain to slow the restore that follows.
    fn delete_all(&mut self) -> Result<(), StoreError> {
        self.fronts.get_mut().clear();
        let db = &self.database.db;
        let families = self.database.families();
        let mut batch = WriteBatch::default();
        for family in families {
            let mut rows = db.raw_iterator_cf(family);
            rows.seek_to_last();
            if let Some(last) = rows.key() {
                batch.delete_range_cf(family, POSITION_KEY, last);
                batch.delete_cf(family, last);
            }
            rows.status()?;
        }
        db.write_opt(batch, &self.write)?;
        self.write_to_disk()?;
        for family in families {
            db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }

    fn scan_from_front(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if limit == 0 || lower >= upper || lower.first().is_none_or(|table| *table < DERIVED) {
            return self.database.scan(lower, upper, limit);
        }
        let rows = self.database.scan(self.fronts.borrow().start(lower, upper), upper, limit)?;
        self.fronts.borrow_mut().scanned(lower, upper, rows.first().map(|(key, _)| key.as_slice()));
        Ok(rows)
    }

    fn files_bytes(&self) -> u64 {
        let db = &self.database.db;
        let bytes = |family| {
            db.property_int_value_cf(family, rocksdb::properties::TOTAL_SST_FILES_SIZE)
                .ok()
                .flatten()
                .unwrap_or(0)
        };
        self.database.families().into_iter().map(bytes).sum()
    }
}

impl StateView for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.database.get(key).map_err(StateError::from_store)
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        self.scan_from_front(lower, upper, limit).map_err(StateError::from_store)
    }
}

impl StateStore for RocksStore {
    fn changelog_position(&self) -> Result<Option<i64>, StateError> {
        self.database.position().map_err(StateError::from_store)
    }

    fn apply(&mut self, rows: Vec<RowChange>, changelog_position: i64) -> Result<(), StateError> {
        self.write(rows, changelog_position).map_err(StateError::from_store)
    }

    fn flush(&mut self) -> Result<(), StateError> {
        self.write_to_disk().map_err(StateError::from_store)
    }

    fn clear(&mut self) -> Result<(), StateError> {
        tracing::info!(path = %self.database.path.display(), "state store cleared");
        self.delete_all().map_err(StateError::from_store)
    }

    fn reader(&self) -> Arc<dyn StateView + Send + Sync> {
        Arc::new(Reader(Arc::downgrade(&self.database)))
    }

    fn size_bytes(&self) -> u64 {
        self.files_bytes()
    }
}
