//! Reads of the database, by its owner and by others.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use millrace_shard::state::{DERIVED, Row, StateError, StateView};
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, Options, ReadOptions};

use crate::{Disposition, Resources, StoreError};

const DERIVED_FAMILY: &str = "derived";

/// The smallest key a row can have: only the changelog position is before it.
const FIRST_KEY: &[u8] = &[0];

/// The key of the changelog position, in the default column family.
pub const POSITION_KEY: &[u8] = &[];

/// An open database.
pub struct Database {
    pub db: DB,
    damaged: AtomicBool,
}

impl Database {
    pub fn open(path: &Path, database: &Path, resources: &Resources) -> Result<Self, StoreError> {
        let families = [
            ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, resources.table_options()),
            ColumnFamilyDescriptor::new(DERIVED_FAMILY, resources.derived_options()),
        ];
        let db = DB::open_cf_descriptors(&resources.database_options()?, database, families).map_err(|error| open_error(path, error))?;
        let damaged = AtomicBool::new(false);
        Ok(Self { db, damaged })
    }

    /// Whether a read failed for a reason that only a new database ends.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    fn noted<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        read.inspect_err(|error| {
            if error.disposition() == Disposition::Rebuild {
                self.damaged.store(true, Ordering::Relaxed);
            }
        })
    }

    /// Deletes the database's files. It must not be open.
    pub fn destroy(path: &Path, database: &Path) -> Result<(), StoreError> {
        DB::destroy(&Options::default(), database).map_err(|error| open_error(path, error))
    }

    pub fn derived(&self) -> &ColumnFamily {
        self.db.cf_handle(DERIVED_FAMILY).expect("the database is opened with this column family")
    }

    pub fn families(&self) -> [&ColumnFamily; 2] {
        [
            self.db.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME).expect("every database has it"),
            self.derived(),
        ]
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.noted(self.row(key))
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = match key.first() {
            None => None,
            Some(&table) if table < DERIVED => self.db.get_pinned(key)?,
            Some(_) => self.db.get_pinned_cf(self.derived(), key)?,
        };
        Ok(row.map(|row| row.to_vec()))
    }

    /// The rows of ascending keys. Those next to each other share the search for their block.
    pub fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        if keys.iter().any(|key| key.first().is_none_or(|table| *table >= DERIVED)) {
            return keys.iter().map(|key| self.get(key)).collect();
        }
        let family = self.db.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME).expect("every database has it");
        let rows = self.db.batched_multi_get_cf(family, keys, true);
        let row = |row: Result<Option<rocksdb::DBPinnableSlice<'_>>, rocksdb::Error>| Ok(row?.map(|row| row.to_vec()));
        self.noted(rows.into_iter().map(row).collect())
    }

    pub fn position(&self) -> Result<Option<i64>, StoreError> {
        let Some(row) = self.db.get_pinned(POSITION_KEY)? else { return Ok(None) };
        let bytes = row.as_ref().try_into().map_err(|_| StoreError::DamagedPosition { length: row.len() })?;
        Ok(Some(i64::from_be_bytes(bytes)))
    }

    /// The rows of one side of the boundary between changelogged and derived tables, or of both as
    /// of one instant.
    pub fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.noted(self.rows(lower, upper, limit))
    }

    fn rows(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let boundary: &[u8] = &[DERIVED];
        let lower = lower.max(FIRST_KEY);
        let mut rows = Vec::new();
        if lower >= upper || limit == 0 {
            return Ok(rows);
        }
        if upper <= boundary {
            collect(self.db.raw_iterator_opt(bounds(lower, upper)), limit, &mut rows)?;
        } else if lower >= boundary {
            collect(self.db.raw_iterator_cf_opt(self.derived(), bounds(lower, upper)), limit, &mut rows)?;
        } else {
            let snapshot = self.db.snapshot();
            collect(snapshot.raw_iterator_opt(bounds(lower, boundary)), limit, &mut rows)?;
            collect(snapshot.raw_iterator_cf_opt(self.derived(), bounds(boundary, upper)), limit, &mut rows)?;
        }
        Ok(rows)
    }
}

/// Both bounds, always: an iterator without an upper bound walks over the deletion markers after
/// the last row wanted, one without a lower bound over those before the first when it is placed.
fn bounds(lower: &[u8], upper: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(lower);
    options.set_iterate_upper_bound(upper);
    options.set_total_order_seek(true);
    options
}

fn collect(mut rows: DBRawIterator<'_>, limit: usize, into: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), StoreError> {
    rows.seek_to_first();
    while into.len() < limit {
        let Some((key, value)) = rows.item() else { break };
        into.push((key.to_vec(), value.to_vec()));
        rows.next();
    }
    // An iterator ends silently when a read fails.
    rows.status()?;
    Ok(())
}

fn open_error(path: &Path, error: rocksdb::Error) -> StoreError {
    // RocksDB has no error kind for a held lock; both of its messages name the lock file.
    if error.kind() == rocksdb::ErrorKind::IOError && error.to_string().contains("/LOCK: ") {
        return StoreError::Locked { path: path.to_path_buf() };
    }
    StoreError::Database(error)
}

/// Reads committed rows from any thread. Every single read sees each batch whole or not at all; two
/// reads may have a batch between them.
///
/// It does not keep the store open: after the store is dropped its reads fail with `Closed`.
pub struct Reader(pub(crate) Weak<Database>);

impl Reader {
    fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.0.upgrade().ok_or(StoreError::Closed)
    }
}

impl StateView for Reader {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.database().and_then(|database| database.get(key)).map_err(StateError::from_store)
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        self.database().and_then(|database| database.get_all(keys)).map_err(StateError::from_store)
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        self.database()
            .and_then(|database| database.scan(lower, upper, limit))
            .map_err(StateError::from_store)
    }
}

/// `StateError` is the port's: it carries ours as its source.
pub trait FromStore {
    fn from_store(error: StoreError) -> Self;
}

impl FromStore for StateError {
    fn from_store(error: StoreError) -> Self {
        match error {
            StoreError::NoRoom(_) => Self::NoRoom(Box::new(error)),
            _ => Self::store(error),
        }
    }
}
