//! The port to the rows of the graph, and a store in memory for tests.

use std::collections::BTreeMap;
use std::convert::Infallible;

/// Ordered rows of bytes, read and written within one transaction of the caller.
///
/// Protocol:
/// * The rows belong to this crate alone: the caller gives them a key space of their own (a prefix
///   before each key) and keeps every byte as it is.
/// * Reads see the writes of the same call of [`crate::apply`] and of every earlier one in the same
///   transaction.
/// * There is one writer. All writes of a call become durable together with whatever the caller
///   sends because of its [`crate::Outcome`], or not at all.
/// * After an error the caller aborts the transaction; the rows are then as they were before it,
///   and the call may be repeated.
pub trait GraphStore {
    /// Why the store failed.
    type Error;

    /// The value of one row, if there is one.
    ///
    /// # Errors
    /// Where the store failed.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The first `limit` rows with `lower <= key < upper`, in ascending order of keys as bytes.
    ///
    /// # Errors
    /// Where the store failed.
    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, Self::Error>;

    /// Sets a row; `None` removes it, and removing a missing row is not an error.
    ///
    /// # Errors
    /// Where the store failed.
    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Self::Error>;
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Why the graph could not be read or changed. The caller aborts its transaction.
#[derive(Debug, thiserror::Error)]
pub enum GraphError<E> {
    /// The store failed.
    #[error("graph store")]
    Store(#[source] E),
    /// A row that this crate did not write: the store is damaged or the key space is shared.
    /// Restore it from its changelog.
    #[error("damaged row of the identity graph, key {key:02x?}")]
    Damaged {
        /// The key of the row.
        key: Vec<u8>,
    },
}

/// Rows in memory: for tests and benchmarks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryGraph {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryGraph {
    /// All rows.
    pub fn rows(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.rows
    }
}

impl GraphStore for MemoryGraph {
    type Error = Infallible;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, Infallible> {
        if lower >= upper {
            return Ok(Vec::new());
        }
        Ok(self
            .rows
            .range::<[u8], _>((std::ops::Bound::Included(lower), std::ops::Bound::Excluded(upper)))
            .take(limit)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect())
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Infallible> {
        match value {
            Some(value) => self.rows.insert(key, value),
            None => self.rows.remove(&key),
        };
        Ok(())
    }
}
