//! The delivery ledger's rows: the known state of each key at the destination.
//!
//! ```text
//! ledger   0x10 | key, UTF-8                    u8 format (1) | postcard of `LedgerRow`
//! place    0x20 | audience, UTF-8               u8 format (1) | postcard of a string
//! meta     0x00 'm' 'e' 't' 'a'                 u8 format (1) | postcard of `Meta`
//! epoch    0x00 'e' 'p' 'o' 'c' 'h'             u8 format (1) | postcard of a u64
//! ```

use std::collections::BTreeMap;

use millrace_log::Offset;
use millrace_model::Timestamp;
use millrace_shard::state::{StateError, StateView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Key of the meta row.
pub const META_KEY: &[u8] = &[0x00, b'm', b'e', b't', b'a'];
/// Key of the epoch of the last owner that claimed the partition at the destination.
pub const EPOCH_KEY: &[u8] = &[0x00, b'e', b'p', b'o', b'c', b'h'];
/// Table of the ledger's rows.
const LEDGER: u8 = 0x10;
/// Table of what names the far side of each audience.
const PLACE: u8 = 0x20;
const FORMAT: u8 = 1;

/// What was acknowledged, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Whether the desired state had the key in the audience.
    pub present: bool,
    /// `Change::fingerprint` of the desired state.
    pub fingerprint: u64,
    /// Epoch milliseconds.
    pub at: i64,
    /// Of the record that held the desired state.
    pub offset: Offset,
}

/// In place of an offset: an owner that had been replaced may have sent something later.
const IN_DOUBT: Offset = -1;

impl Acknowledged {
    /// What was acknowledged need not be there any more.
    pub(super) fn doubtful(present: bool, now: Timestamp) -> Acknowledged {
        Acknowledged {
            present,
            fingerprint: 0,
            at: now.0,
            offset: IN_DOUBT,
        }
    }

    pub(super) fn in_doubt(self) -> bool {
        self.offset == IN_DOUBT
    }
}

/// One key of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// When it was last sent, in epoch milliseconds.
    pub sent_at: i64,
    /// The last desired state that the destination accepted; `None`: none that is known.
    pub acknowledged: Option<Acknowledged>,
    /// The desired state that the destination refused permanently; it is not sent again unless it
    /// is replayed.
    pub refused: Option<Acknowledged>,
    /// The reason that the destination gave for `refused`.
    pub error: Option<String>,
}

impl LedgerRow {
    /// Whether the key is present at the destination, as far as is known.
    pub fn delivered(&self) -> bool {
        self.acknowledged.is_some_and(|acknowledged| acknowledged.present)
    }
}

/// What the owner of a partition must know in addition to the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The next offset to read.
    pub position: Offset,
    /// When it was committed, in epoch milliseconds.
    pub committed_at: i64,
    /// Window of the brake by audience.
    pub windows: BTreeMap<String, Window>,
}

/// The changes that an audience's brake has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Epoch milliseconds.
    pub began_at: i64,
    /// Members delivered when it began.
    pub base: u64,
    /// Members sent as present since.
    pub added: u64,
    /// Members sent as absent since.
    pub removed: u64,
    /// A person confirmed the waiting changes; holds until none waits.
    pub confirmed: bool,
}

/// Bytes that this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("ledger row of format {0:?} where this version knows {FORMAT}")]
pub struct UnknownFormat(Option<u8>);

pub fn row_key(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.push(LEDGER);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

pub fn place_key(audience: &str) -> Vec<u8> {
    let mut bytes = vec![PLACE];
    bytes.extend_from_slice(audience.as_bytes());
    bytes
}

pub fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![FORMAT]).expect("a ledger row is plain data, which postcard always takes")
}

/// The key of a row; `None`: it is not one of the ledger.
pub fn key_of(row_key: &[u8]) -> Option<String> {
    match row_key.split_first() {
        Some((&LEDGER, key)) => Some(String::from_utf8_lossy(key).into_owned()),
        _ => None,
    }
}

/// # Errors
/// Where the bytes are of another format.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, UnknownFormat> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|_| UnknownFormat(Some(FORMAT))),
        other => Err(UnknownFormat(other.map(|(format, _)| *format))),
    }
}

/// # Errors
/// Where the store failed or holds what cannot be read.
pub fn get<T: DeserializeOwned>(view: &(impl StateView + ?Sized), key: &[u8]) -> Result<Option<T>, StateError> {
    let Some(bytes) = view.get(key)? else { return Ok(None) };
    decode(&bytes).map(Some).map_err(StateError::store)
}

/// Every row, in portions, in order of keys.
///
/// # Errors
/// Where the store failed or holds what cannot be read.
pub fn each_row(view: &(impl StateView + ?Sized), mut visit: impl FnMut(&str, LedgerRow)) -> Result<(), StateError> {
    const PORTION: usize = 10_000;
    let (mut lower, upper) = (vec![LEDGER], [LEDGER + 1]);
    loop {
        let rows = view.scan(&lower, &upper, PORTION)?;
        for (key, value) in &rows {
            let row = decode(value).map_err(StateError::store)?;
            visit(&String::from_utf8_lossy(&key[1..]), row);
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PORTION => {
                lower.clone_from(last);
                lower.push(0);
            }
            _ => return Ok(()),
        }
    }
}
