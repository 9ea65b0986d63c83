//! The bytes of rows and internal messages: one version byte, then the postcard encoding.
//!
//! A field is never removed or reordered within a version; a change of shape is a new version byte
//! with a reader for the old one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::StateError;

/// The version byte written today.
pub const VERSION: u8 = 6;

/// A row, or an internal message, cannot be read: written by a newer program, or damaged.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A newer program wrote it; the version that did can read it.
    #[error("format version {0} is newer than this program's {VERSION}; run the version that wrote it, or a later one")]
    Newer(u8),
    /// It is from before the first release. Begin anew.
    #[error("format version {0} was written before the first release and is not read any more; let the deployment begin anew with empty topics and state")]
    Older(u8),
    /// Not even a version byte is there.
    #[error("no bytes at all")]
    Empty,
    /// The version is known, and the bytes are not of the expected shape.
    #[error("damaged bytes")]
    Damaged(#[source] postcard::Error),
}

/// Version byte and postcard.
pub fn encode<R: Serialize>(value: &R) -> Vec<u8> {
    // Most rows are shorter than this, and fit without growing.
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    // Plain data in memory always serialises: every row type is made of maps, sequences and
    // numbers.
    postcard::to_extend(value, bytes).expect("row types serialise")
}

/// # Errors
/// Where the bytes are of a newer version, or damaged.
pub fn decode_bytes<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, FormatError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(FormatError::Damaged),
        Some((version, _)) if *version < VERSION => Err(FormatError::Older(*version)),
        Some((version, _)) => Err(FormatError::Newer(*version)),
        None => Err(FormatError::Empty),
    }
}

/// As `decode_bytes`, for rows: a row that cannot be read is a failed store.
pub fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, StateError> {
    decode_bytes(bytes).map_err(StateError::store)
}
