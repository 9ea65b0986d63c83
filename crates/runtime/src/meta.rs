//! The meta row: what a shard must know of itself in addition to its state, in the store and in the
//! changelog like any other row.
//!
//! ```text
//! key    0x00 'm' 'e' 't' 'a'
//! value  u8 format (2) | postcard of `Meta`; format 1, which is still read, has no `shard`
//! ```

use std::collections::BTreeMap;

use millrace_log::Offset;
use millrace_model::Timestamp;
use millrace_shard::machine::RESERVED;
use millrace_shard::state::{StateError, StateView};
use serde::{Deserialize, Serialize};

/// The meta row's key, in the table that machines do not use.
pub const META_KEY: &[u8] = &[RESERVED, b'm', b'e', b't', b'a'];

const FORMAT: u8 = 2;
const FIRST_FORMAT: u8 = 1;

/// Written with every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Number of shards of the deployment, fixed when it was created.
    pub shards: u32,
    /// The shard's own number; `None` in a row of the first format.
    pub shard: Option<u32>,
    /// The `now` of the commit. Later steps are never earlier, on any owner.
    #[serde(with = "milliseconds")]
    pub clock: Timestamp,
    /// The next offset to read, by the input's name without prefix and its partition. An input that
    /// is missing here was never read.
    pub positions: BTreeMap<(String, u32), Offset>,
}

/// The fields of the first format.
#[derive(Deserialize)]
struct First {
    shards: u32,
    #[serde(with = "milliseconds")]
    clock: Timestamp,
    positions: BTreeMap<(String, u32), Offset>,
}

impl From<First> for Meta {
    fn from(First { shards, clock, positions }: First) -> Meta {
        Meta {
            shards,
            shard: None,
            clock,
            positions,
        }
    }
}

/// Stored as the bare number.
mod milliseconds {
    use millrace_model::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        at.0.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp)
    }
}

/// A meta row that this version cannot read: it was written by a newer one, or the store is
/// damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("meta row of format {0:?} where this version knows {FORMAT}")]
pub struct UnknownMeta(pub Option<u8>);

impl Meta {
    /// The row of a shard that was never committed to, in a deployment of this many.
    pub fn of(shards: u32) -> Meta {
        Meta { shards, ..Meta::default() }
    }

    /// The bytes of the row: the format, then the fields.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("a meta row is plain data, which postcard always takes")
    }

    /// # Errors
    /// Where the bytes are of another format.
    pub fn decode(bytes: &[u8]) -> Result<Meta, UnknownMeta> {
        match bytes.split_first() {
            Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|_| UnknownMeta(Some(FORMAT))),
            Some((&FIRST_FORMAT, body)) => postcard::from_bytes::<First>(body).map(Meta::from).map_err(|_| UnknownMeta(Some(FIRST_FORMAT))),
            other => Err(UnknownMeta(other.map(|(format, _)| *format))),
        }
    }

    /// The row of a store; `None` in one that was never committed to.
    ///
    /// # Errors
    /// Where the store failed.
    pub fn load(view: &dyn StateView) -> Result<Option<Result<Meta, UnknownMeta>>, StateError> {
        Ok(view.get(META_KEY)?.map(|bytes| Meta::decode(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_refuses_the_rest() {
        let mut meta = Meta {
            shards: 4,
            shard: Some(3),
            clock: Timestamp(17),
            positions: BTreeMap::new(),
        };
        meta.positions.insert(("internal.inbox".into(), 3), 12);
        assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
        assert_eq!(Meta::decode(&[3, 0]), Err(UnknownMeta(Some(3))));
        assert_eq!(Meta::decode(&[]), Err(UnknownMeta(None)));
    }

    #[test]
    fn the_first_format_stays_readable() {
        let written = [1, 2, 20, 1, 1, b'x', 0, 14];
        let meta = Meta::decode(&written).unwrap();
        assert_eq!(
            meta,
            Meta {
                shards: 2,
                shard: None,
                clock: Timestamp(10),
                positions: BTreeMap::from([(("x".to_owned(), 0), 7)])
            }
        );
    }
}
