//! The state port: ordered bytes, read through a view, written as one batch per commit.
//!
//! A *table* is the first byte of a key. Tables below `DERIVED` are in the changelog; tables from
//! `DERIVED` on are derived from them, live only in the local store, and are rebuilt after a
//! restore.

/// Tables from this first byte on are derived: never written to the changelog.
pub const DERIVED: u8 = 0x80;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// One row of a batch: the new value, or `None` to delete the row.
pub type RowChange = (Vec<u8>, Option<Vec<u8>>);

/// An error of the implementation of this port.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a read, a write or a step did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed, or holds what nobody can read. The shard stops; its owner recovers it.
    #[error("state store")]
    Store(#[source] BoxError),
    /// The store works, but an external system that an input needs, such as a schema registry, does
    /// not answer yet. Pass the same inputs again later.
    #[error("an input cannot be taken yet")]
    NotYet(#[source] BoxError),
    /// The store works, but its disk is full. Retry once there is room.
    #[error("no room")]
    NoRoom(#[source] BoxError),
    /// The rows are those of another process, which does not answer now. Retry later.
    #[error("rows of another process")]
    Away(#[source] BoxError),
}

impl StateError {
    /// A failure of the store.
    pub fn store(cause: impl Into<BoxError>) -> StateError {
        StateError::Store(cause.into())
    }
}

/// A consistent read of committed state.
pub trait StateView {
    /// # Errors
    /// Where the store failed.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// The rows of several keys, in their order; the keys ascend. A store may find them together
    /// with less work than one by one.
    ///
    /// # Errors
    /// Where the store failed.
    fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// At most `limit` rows with `lower <= key < upper`, in ascending order of keys.
    ///
    /// # Errors
    /// Where the store failed.
    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, StateError>;
}

/// A store of one shard's rows, with the position in the changelog up to which it holds them.
///
/// Protocol: the owner applies batches in commit order, each with the changelog position after it;
/// rows and position become visible and durable together (durable after `flush`). After a crash the
/// store holds some prefix of the applied batches, never a part of one.
pub trait StateStore: StateView + Send {
    /// The offset of the next changelog record to be applied; `None` for a store that never was
    /// applied to.
    ///
    /// # Errors
    /// Where the store failed.
    fn changelog_position(&self) -> Result<Option<i64>, StateError>;

    /// Applies a batch atomically.
    ///
    /// # Errors
    /// Where the store failed, `StateError::NoRoom` included; nothing of the batch is visible then.
    fn apply(&mut self, rows: Vec<RowChange>, changelog_position: i64) -> Result<(), StateError>;

    /// Whether there is room for more: checked before input is taken, so that it is not taken if
    /// its effects could not be stored.
    ///
    /// # Errors
    /// `StateError::NoRoom`, until there is room again.
    fn room(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// Whether a read, of a reader as well, met rows that are damaged: they must be restored.
    fn is_damaged(&self) -> bool {
        false
    }

    /// Bytes free where the store keeps its rows; `None` if there is no such number.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Makes everything applied so far survive a crash.
    ///
    /// # Errors
    /// Where the store failed.
    fn flush(&mut self) -> Result<(), StateError>;

    /// Drops every row and the position.
    ///
    /// # Errors
    /// Where the store failed.
    fn clear(&mut self) -> Result<(), StateError>;

    /// A handle for readers on other threads; sees each batch whole or not at all.
    fn reader(&self) -> std::sync::Arc<dyn StateView + Send + Sync>;

    /// Bytes on disk, roughly; memory stores report their own.
    fn size_bytes(&self) -> u64;
}
