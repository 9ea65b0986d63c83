//! The state port on RocksDB: one database per shard, never ahead of Kafka, never wiped by a crash.
//!
//! ```text
//! <directory>/FORMAT      the layout of the folder, and the log of its rows; see `directory.rs`
//! <directory>/db/         RocksDB
//!     default             key ""            the changelog position, 8 bytes big-endian
//!                         key t.. (t<0x80)  rows that are in the changelog
//!     derived             key t.. (t>=0x80) rows derived from them
//! ```
//!
//! * **Durability.** The write-ahead log is off: the changelog topic is the log. A batch and the
//!   changelog position after it go into one write, and the column families are flushed atomically.
//!   So a crash leaves the state after some earlier batch together with that batch's position, and
//!   recovery replays the changelog from there.
//! * **Two column families.** Derived tables hold queues (timers) whose rows are deleted at the
//!   front as fast as they are added at the back. Kept apart, their deletion markers neither slow
//!   the reads of other rows nor force them to be compacted; a collector compacts files that are
//!   mostly such markers, and the store remembers where the first live row of each derived table
//!   may be, so that a scan from the front does not walk over markers.
//! * **Damage.** RocksDB checks each block that it reads. A store that is damaged or lacks a file
//!   is recreated and filled from the changelog, but only if the folder says that it belongs to
//!   this very log. A store of another log is never touched.
//! * **Room.** The free space of the disk is checked before input is taken. A write never waits for
//!   long in RocksDB, however full the disk is: it fails with `NoRoom` and is retried.
//! * **Shared memory.** All stores of a process share one block cache and one budget of write
//!   buffers (`Resources`), however many shards it hosts.
//!
//! What it is *not*: it knows no keys, no rows and no codecs of the shard; it does not decide when
//! to flush.
//!
//! ```
//! use millrace_shard::state::{StateStore, StateView};
//! use millrace_store::{Limits, Resources, RocksStore};
//!
//! let folder = tempfile::tempdir()?;
//! let mut store = RocksStore::open(folder.path(), Some("log 1"), &Resources::new(Limits::default()))?;
//! // A batch of rows, and the position in the changelog after it.
//! store.apply(vec![(b"\x01key".to_vec(), Some(b"value".to_vec()))], 7)?;
//! assert_eq!(store.get(b"\x01key")?, Some(b"value".to_vec()));
//! assert_eq!(store.changelog_position()?, Some(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]

mod database;
mod directory;
mod front;
mod resources;
mod room;
mod store;

pub use database::Reader;
pub use resources::{Limits, Resources};
pub use room::system_probe;
pub use store::RocksStore;

use std::path::PathBuf;

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder was written by a newer version of this software. Run that version, or give this
    /// one an empty folder: the state is rebuilt from the changelog.
    #[error("store {path} has format {found}, newer than {supported}, the newest this version reads")]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// The format of the folder.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// The folder holds something else. Nothing in it was touched.
    #[error("{path} is not empty and is not a store; move it away: the state is built anew in its place")]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a store of another log. Nothing in it was touched. A person must decide
    /// which of the two is right.
    #[error(
        "the state in {path} was built from another log: from {found}, and this one is {expected}. Nothing was changed. If the log was lost, put it back; to \
         begin anew with this log, remove {path}"
    )]
    OtherLog {
        /// The folder.
        path: PathBuf,
        /// The log that the rows are from.
        found: String,
        /// The log of this deployment.
        expected: String,
    },
    /// The folder's format file is missing or damaged, so the origin of the rows is unknown. Set it
    /// aside: the state is rebuilt.
    #[error("{path} is missing or damaged")]
    DamagedFormat {
        /// The format file.
        path: PathBuf,
    },
    /// The disk is full, or too full to take more. Try again later.
    #[error("{0}")]
    NoRoom(String),
    /// Another store handle, of this process or another, has the folder open. Close it first; two
    /// shards never share a folder.
    #[error("store {path} is in use")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A reader outlived its store: the shard was released or is being recovered. Ask its owner
    /// again.
    #[error("the store is closed")]
    Closed,
    /// A row with an empty key: a key begins with its table.
    #[error("a row with an empty key")]
    EmptyKey,
    /// The row of the changelog position is not one.
    #[error("changelog position of {length} bytes where there should be 8")]
    DamagedPosition {
        /// Bytes of the row.
        length: usize,
    },
    /// The folder cannot be read or written.
    #[error("store folder {path}")]
    Directory {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// RocksDB failed: disk full, a damaged file, …
    #[error("rocksdb")]
    Database(#[from] rocksdb::Error),
}

/// What the owner of a store does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Drop the folder and restore from the changelog.
    Rebuild,
    /// Rename the folder and restore from the changelog.
    SetAside,
    /// Try again later.
    Wait,
    /// Drop the handle.
    Release,
    /// A person must act; the shard stops.
    Stop,
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::DamagedPosition { .. } => Disposition::Rebuild,
            Self::DamagedFormat { .. } => Disposition::SetAside,
            Self::NoRoom(_) => Disposition::Wait,
            Self::Database(error) if error.kind() == rocksdb::ErrorKind::Corruption || file_missing(error) => Disposition::Rebuild,
            Self::Closed => Disposition::Release,
            Self::Database(_)
            | Self::NewerFormat { .. }
            | Self::NotAStore { .. }
            | Self::OtherLog { .. }
            | Self::Locked { .. }
            | Self::EmptyKey
            | Self::Directory { .. } => Disposition::Stop,
        }
    }
}

/// RocksDB has no error kind for a missing file.
fn file_missing(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::IOError && error.to_string().contains("No such file or directory")
}
