//! The rows of the graph: keys in order-keeping bytes, values after a version byte.
//!
//! ```text
//! 'c' canonical member          -> nothing        member of a cluster of two or more
//! 'e' home node                 -> EdgeRow        an asserted edge
//! 'h' home status node          -> nothing        what a home carries, by status
//! 'k' canonical                 -> ClusterRow     a cluster of two or more
//! 'm' home node claim           -> nothing        the claims of an edge
//! 'n' node                      -> NodeRow        a node that is carried, or is not its own canonical id
//! 's'                           -> u64            the last epoch assigned
//! 'w' node home                 -> nothing        the homes of a node, without refused edges
//!
//! identity = text(namespace) text(id)     text = its bytes, 00 written as 00 ff, then 00 00     status = one byte     claim = text
//! value    = 02, then postcard            nothing = the byte 02 alone
//! ```
//!
//! Bytes of keys sort as the identities do. No row grows with the number of edges of a node, of
//! claims of an edge or of members of a cluster.

use millrace_model::{CanonicalId, Identity};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::evidence::Epoch;
use crate::{Claim, Edge, GraphError, GraphStore};

/// The version byte before every value.
const VERSION: u8 = 2;
/// A text in a key ends with this.
const END: [u8; 2] = [0, 0];
/// A zero byte within a text in a key.
const ESCAPED: [u8; 2] = [0, 0xff];
/// Rows read at once in a scan that reads all.
const SCAN_ROWS: usize = 1024;

/// The status of a carried identity, and of each edge at it. The byte is part of keys: never reuse
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Status {
    /// Counts: it is in one cluster with all its homes.
    Linked,
    /// Set aside: with all its homes it would break a guardrail of clusters.
    Waiting,
    /// Set aside: too many homes carry it.
    Crowded,
    /// Of an edge, never of a node: kinds differ, or an end is blocked.
    Refused,
}

/// A node that is carried, or is not its own canonical id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRow {
    pub canonical: CanonicalId,
    /// Of the node's last move; 0 where it never moved since the row began.
    pub epoch: Epoch,
    /// Homes that carry it, without refused edges.
    pub degree: u64,
    /// Its status as a carried node; `None` where no home carries it.
    pub status: Option<Status>,
}

/// A cluster of two or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterRow {
    pub size: u64,
    /// No linked node of the cluster is considered after this one.
    pub last: Identity,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EdgeRow {
    /// How many claims assert it. Invariant: at least one.
    pub claims: u64,
    /// It can never count. Any other edge has the status of its node.
    pub refused: bool,
}

impl Status {
    pub const ALL: [Status; 4] = [Status::Linked, Status::Waiting, Status::Crowded, Status::Refused];

    fn byte(self) -> u8 {
        match self {
            Status::Linked => b'l',
            Status::Waiting => b'w',
            Status::Crowded => b'x',
            Status::Refused => b'z',
        }
    }

    pub fn is_parked(self) -> bool {
        self != Status::Linked
    }
}

/// A key under construction.
pub(crate) struct Key(Vec<u8>);

impl Key {
    fn new(table: u8) -> Key {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(table);
        Key(bytes)
    }

    fn text(mut self, text: &str) -> Key {
        if text.as_bytes().contains(&0) {
            for byte in text.bytes() {
                if byte == 0 {
                    self.0.extend(ESCAPED);
                } else {
                    self.0.push(byte);
                }
            }
        } else {
            self.0.extend(text.as_bytes());
        }
        self.0.extend(END);
        self
    }

    fn identity(self, identity: &Identity) -> Key {
        self.text(identity.namespace()).text(identity.id())
    }

    fn edge(self, edge: &Edge) -> Key {
        self.identity(edge.home()).identity(edge.node())
    }

    fn byte(mut self, byte: u8) -> Key {
        self.0.push(byte);
        self
    }

    /// The first key after all that begin with this one. Every prefix ends with a byte below ff.
    fn past(mut self) -> Key {
        let last = self.0.last_mut().expect("a key holds at least its table");
        *last += 1;
        self
    }
}

/// Reads a text from the front of a key.
fn take_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut at = 0;
    loop {
        match (*bytes.get(at)?, bytes.get(at + 1)) {
            (0, Some(0)) => return Some((String::from_utf8(text).ok()?, &bytes[at + 2..])),
            (0, Some(0xff)) => {
                text.push(0);
                at += 2;
            }
            (0, _) => return None,
            (byte, _) => {
                text.push(byte);
                at += 1;
            }
        }
    }
}

fn take_identity(bytes: &[u8]) -> Option<(Identity, &[u8])> {
    let (namespace, rest) = take_text(bytes)?;
    let (id, rest) = take_text(rest)?;
    Some((Identity::new(&namespace, &id)?, rest))
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("rows are plain data, and memory takes any length")
}

fn decode<T: DeserializeOwned, E>(key: &[u8], bytes: &[u8]) -> Result<T, GraphError<E>> {
    let damaged = || GraphError::Damaged { key: key.to_vec() };
    let (&version, body) = bytes.split_first().ok_or_else(damaged)?;
    if version != VERSION {
        return Err(damaged());
    }
    postcard::from_bytes(body).map_err(|_| damaged())
}

/// What reading or writing rows yields.
pub(crate) type GraphResult<T, S> = Result<T, GraphError<<S as GraphStore>::Error>>;

/// The rows of a [`GraphStore`], typed.
pub(crate) trait TypedRows: GraphStore + Sized {
    fn read<T: DeserializeOwned>(&self, key: &[u8]) -> GraphResult<Option<T>, Self> {
        self.get(key).map_err(GraphError::Store)?.map(|bytes| decode(key, &bytes)).transpose()
    }

    fn write<T: Serialize>(&mut self, key: Key, value: Option<&T>) -> GraphResult<(), Self> {
        self.put(key.0, value.map(encode)).map_err(GraphError::Store)
    }

    fn mark(&mut self, key: Key, present: bool) -> GraphResult<(), Self> {
        self.put(key.0, present.then(|| vec![VERSION])).map_err(GraphError::Store)
    }

    /// The last epoch assigned.
    fn epoch(&self) -> GraphResult<Epoch, Self> {
        Ok(self.read(&Key::new(b's').0)?.unwrap_or(Epoch::NEVER))
    }

    fn set_epoch(&mut self, epoch: Epoch) -> GraphResult<(), Self> {
        self.write(Key::new(b's'), Some(&epoch))
    }

    fn node(&self, node: &Identity) -> GraphResult<Option<NodeRow>, Self> {
        self.read(&Key::new(b'n').identity(node).0)
    }

    fn set_node(&mut self, node: &Identity, row: Option<&NodeRow>) -> GraphResult<(), Self> {
        self.write(Key::new(b'n').identity(node), row)
    }

    fn canonical_of(&self, node: &Identity) -> GraphResult<CanonicalId, Self> {
        Ok(self.node(node)?.map_or_else(|| CanonicalId(node.clone()), |row| row.canonical))
    }

    /// `None` for a cluster of one.
    fn cluster(&self, canonical: &CanonicalId) -> GraphResult<Option<ClusterRow>, Self> {
        self.read(&Key::new(b'k').identity(&canonical.0).0)
    }

    fn set_cluster(&mut self, canonical: &CanonicalId, row: Option<&ClusterRow>) -> GraphResult<(), Self> {
        self.write(Key::new(b'k').identity(&canonical.0), row)
    }

    fn set_member(&mut self, canonical: &CanonicalId, member: &Identity, present: bool) -> GraphResult<(), Self> {
        self.mark(Key::new(b'c').identity(&canonical.0).identity(member), present)
    }

    /// All members, in order of identities; a cluster of one has itself.
    fn cluster_members(&self, canonical: &CanonicalId) -> GraphResult<Vec<Identity>, Self> {
        let prefix = || Key::new(b'c').identity(&canonical.0);
        let members = self.identities(prefix().0, &prefix().past().0, prefix().0.len(), usize::MAX)?;
        Ok(if members.is_empty() { vec![canonical.0.clone()] } else { members })
    }

    /// Whether a cluster holds an identity of the namespace.
    fn cluster_holds(&self, canonical: &CanonicalId, namespace: &str) -> GraphResult<bool, Self> {
        let prefix = || Key::new(b'c').identity(&canonical.0).text(namespace);
        // The canonical id is a member too; the rows are only there for clusters of two or more.
        Ok(canonical.0.namespace() == namespace || !self.scan(&prefix().0, &prefix().past().0, 1).map_err(GraphError::Store)?.is_empty())
    }

    fn edge(&self, edge: &Edge) -> GraphResult<Option<EdgeRow>, Self> {
        self.read(&Key::new(b'e').edge(edge).0)
    }

    fn set_edge(&mut self, edge: &Edge, row: Option<&EdgeRow>) -> GraphResult<(), Self> {
        self.write(Key::new(b'e').edge(edge), row)
    }

    /// At most `limit` homes that carry a node, in order of identities; refused edges do not count.
    fn homes(&self, node: &Identity, limit: usize) -> GraphResult<Vec<Identity>, Self> {
        let prefix = || Key::new(b'w').identity(node);
        self.identities(prefix().0, &prefix().past().0, prefix().0.len(), limit)
    }

    fn set_home(&mut self, edge: &Edge, present: bool) -> GraphResult<(), Self> {
        self.mark(Key::new(b'w').identity(edge.node()).identity(edge.home()), present)
    }

    /// At most `limit` nodes of a status that a home carries, in order of identities.
    fn carried(&self, home: &Identity, status: Status, limit: usize) -> GraphResult<Vec<Identity>, Self> {
        let prefix = || Key::new(b'h').identity(home).byte(status.byte());
        self.identities(prefix().0, &prefix().past().0, prefix().0.len(), limit)
    }

    /// The same within one namespace, from `from` on.
    fn carried_from(&self, home: &Identity, status: Status, namespace: &str, from: Option<&Identity>, limit: usize) -> GraphResult<Vec<Identity>, Self> {
        let home_key = || Key::new(b'h').identity(home).byte(status.byte());
        let strip = home_key().0.len();
        let lower = match from {
            Some(from) => home_key().identity(from),
            None => home_key().text(namespace),
        };
        self.identities(lower.0, &home_key().text(namespace).past().0, strip, limit)
    }

    fn set_carried(&mut self, edge: &Edge, status: Status, present: bool) -> GraphResult<(), Self> {
        self.mark(Key::new(b'h').identity(edge.home()).byte(status.byte()).identity(edge.node()), present)
    }

    /// The namespaces of the nodes of a status that a home carries.
    fn namespaces(&self, home: &Identity, status: Status) -> GraphResult<Vec<String>, Self> {
        let prefix = || Key::new(b'h').identity(home).byte(status.byte());
        let upper = prefix().past().0;
        let mut lower = prefix().0;
        let mut found = Vec::new();
        while let Some((key, _)) = self.scan(&lower, &upper, 1).map_err(GraphError::Store)?.pop() {
            let (namespace, _) = take_text(&key[prefix().0.len()..]).ok_or(GraphError::Damaged { key: key.clone() })?;
            lower = prefix().text(&namespace).past().0;
            found.push(namespace);
        }
        Ok(found)
    }

    fn has_claim(&self, edge: &Edge, claim: &Claim) -> GraphResult<bool, Self> {
        Ok(self.get(&Key::new(b'm').edge(edge).text(&claim.0).0).map_err(GraphError::Store)?.is_some())
    }

    fn set_claim(&mut self, edge: &Edge, claim: &Claim, present: bool) -> GraphResult<(), Self> {
        self.mark(Key::new(b'm').edge(edge).text(&claim.0), present)
    }

    /// At most `limit` claims of an edge, in order of their texts.
    fn claims(&self, edge: &Edge, limit: usize) -> GraphResult<Vec<Claim>, Self> {
        let prefix = || Key::new(b'm').edge(edge);
        let strip = prefix().0.len();
        let rows = self.scan(&prefix().0, &prefix().past().0, limit).map_err(GraphError::Store)?;
        let claim = |(key, _): (Vec<u8>, Vec<u8>)| match take_text(&key[strip..]) {
            Some((text, [])) => Ok(Claim(text.into())),
            _ => Err(GraphError::Damaged { key }),
        };
        rows.into_iter().map(claim).collect()
    }

    /// The asserted edges after `after`, in order of their ends.
    fn edges_after(&self, after: Option<&Edge>, limit: usize) -> GraphResult<Vec<(Edge, EdgeRow)>, Self> {
        let lower = match after {
            Some(edge) => Key::new(b'e').edge(edge).byte(0),
            None => Key::new(b'e'),
        };
        let rows = self.scan(&lower.0, &Key::new(b'e').past().0, limit).map_err(GraphError::Store)?;
        let edge = |(key, value): (Vec<u8>, Vec<u8>)| {
            let ends = take_identity(&key[1..]).and_then(|(a, rest)| Some((a, take_identity(rest)?.0)));
            let edge = ends
                .and_then(|(a, b)| Edge::new(a, b))
                .ok_or_else(|| GraphError::Damaged { key: key.clone() })?;
            Ok((edge, decode(&key, &value)?))
        };
        rows.into_iter().map(edge).collect()
    }

    /// The identities at the end of the keys of a range, after the first `strip` bytes.
    fn identities(&self, mut lower: Vec<u8>, upper: &[u8], strip: usize, limit: usize) -> GraphResult<Vec<Identity>, Self> {
        let mut found = Vec::new();
        loop {
            let want = SCAN_ROWS.min(limit - found.len());
            let rows = self.scan(&lower, upper, want).map_err(GraphError::Store)?;
            let last_page = rows.len() < want;
            for (key, _) in rows {
                match take_identity(&key[strip..]) {
                    Some((identity, [])) => found.push(identity),
                    _ => return Err(GraphError::Damaged { key }),
                }
                lower = key;
            }
            if last_page || found.len() >= limit {
                return Ok(found);
            }
            lower.push(0);
        }
    }
}

impl<S: GraphStore> TypedRows for S {}

/// A node that is listed somewhere has no row of its own.
pub(crate) fn damaged_node<E>(node: &Identity) -> GraphError<E> {
    GraphError::Damaged {
        key: Key::new(b'n').identity(node).0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Keys sort as identities do, none is a prefix of another, and each reads back.
        #[test]
        fn keys_keep_order(a in "[\0-\u{2}a\u{ff}]{1,4}", b in "[\0-\u{2}a\u{ff}]{1,4}", c in "[\0a]{1,3}", d in "[\0a]{1,3}") {
            let (x, y) = (Identity::new(&c, &a), Identity::new(&d, &b));
            prop_assume!(x.is_some() && y.is_some());
            let (x, y) = (x.unwrap(), y.unwrap());
            let (kx, ky) = (Key::new(b'n').identity(&x).0, Key::new(b'n').identity(&y).0);
            prop_assert_eq!(x.cmp(&y), kx.cmp(&ky));
            prop_assert!(x == y || !ky.starts_with(&kx));
            prop_assert_eq!(take_identity(&kx[1..]), Some((x, &[][..])));
        }
    }
}
