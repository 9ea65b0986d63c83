//! The parts of keys: their bytes, written and read back, and the node that a key begins with.

use millrace_model::{CanonicalId, Identity, SubjectId, SubjectKind, Timestamp};

use super::table;
use crate::tx::prefix_end;

/// The first byte of keys that begin with a node.
const BY_NODE: u8 = 0x10;

/// Builds one key.
pub(super) struct Key(Vec<u8>);

impl Key {
    pub fn new(table: u8) -> Key {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(table);
        Key(bytes)
    }

    /// A row of one of the tables by node.
    pub fn about(table: u8, kind: SubjectKind, node: &Identity) -> Key {
        debug_assert!((table::SUBJECT..=table::KIN).contains(&table), "{table:#x} is not a table by node");
        let place = Key::new(BY_NODE);
        let place = match node.namespace() {
            own if own == kind.namespace() => place.byte(2 * kind as u8),
            other => place.byte(2 * kind as u8 + 1).text(other),
        };
        place.text(node.id()).byte(table)
    }

    #[must_use]
    pub fn byte(mut self, byte: u8) -> Key {
        self.0.push(byte);
        self
    }

    #[must_use]
    pub fn text(mut self, text: &str) -> Key {
        let bytes = text.as_bytes();
        self.0.reserve(bytes.len() + 2);
        if bytes.contains(&0) {
            for byte in bytes {
                self.0.push(*byte);
                if *byte == 0 {
                    self.0.push(0xff);
                }
            }
        } else {
            self.0.extend_from_slice(bytes);
        }
        self.0.extend_from_slice(&[0, 0]);
        self
    }

    #[must_use]
    pub fn number(mut self, number: u64) -> Key {
        self.0.extend(number.to_be_bytes());
        self
    }

    #[must_use]
    pub fn instant(self, instant: Timestamp) -> Key {
        self.number((instant.0 as u64) ^ (1 << 63))
    }

    #[must_use]
    pub fn node(self, node: &Identity) -> Key {
        self.text(node.namespace()).text(node.id())
    }

    #[must_use]
    pub fn subject(self, subject: &SubjectId) -> Key {
        self.byte(subject.kind as u8).node(&subject.id.0)
    }

    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Of a key in either form.
pub fn table_of(row_key: &[u8]) -> Option<u8> {
    match row_key.first() {
        Some(&BY_NODE) => row_key.get(node_bytes(row_key)?).copied(),
        first => first.copied(),
    }
}

/// The subject, or node, that a key begins with.
pub fn subject_of(row_key: &[u8]) -> Option<SubjectId> {
    let (&BY_NODE, rest) = row_key.split_first()? else { return None };
    let mut parts = Parts(rest);
    let byte = parts.byte()?;
    let kind = SubjectKind::ALL.into_iter().find(|known| *known as u8 == byte / 2)?;
    let id = if byte % 2 == 0 {
        Identity::new(kind.namespace(), &parts.text()?)
    } else {
        parts.node()
    };
    Some(SubjectId { kind, id: CanonicalId(id?) })
}

/// The node that a key begins with.
pub fn node_of(row_key: &[u8]) -> Option<Identity> {
    subject_of(row_key).map(|subject| subject.id.0)
}

/// The common prefix of all keys of the same node.
pub fn place(row_key: &[u8]) -> Option<&[u8]> {
    node_bytes(row_key).and_then(|length| row_key.get(..length))
}

/// The range of rows by nodes of a kind.
pub fn nodes(kind: SubjectKind) -> (Vec<u8>, Vec<u8>) {
    let first = vec![BY_NODE, 2 * kind as u8];
    let end = vec![BY_NODE, 2 * kind as u8 + 2];
    (first, end)
}

/// The range of rows by nodes.
pub fn all_nodes() -> (Vec<u8>, Vec<u8>) {
    (vec![BY_NODE], vec![BY_NODE + 1])
}

/// The kind of the node that a key begins with.
pub fn kind_of(row_key: &[u8]) -> Option<SubjectKind> {
    match row_key {
        [BY_NODE, byte, ..] => SubjectKind::ALL.into_iter().find(|known| *known as u8 == byte / 2),
        _ => None,
    }
}

/// The least key above all those of the same node.
pub fn after_node(row_key: &[u8]) -> Vec<u8> {
    prefix_end(place(row_key).unwrap_or(row_key))
}

/// How many bytes of a key name its node.
fn node_bytes(row_key: &[u8]) -> Option<usize> {
    let [BY_NODE, byte, ..] = row_key else { return None };
    let mut at = 2;
    for _ in 0..=byte % 2 {
        at += text_bytes(row_key.get(at..)?)?;
    }
    Some(at)
}

/// Length of a text part, its end included.
fn text_bytes(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
        if bytes.get(at + 1)? == &0 {
            return Some(at + 2);
        }
        at += 2;
    }
}

/// The bytes of a text in which each zero is followed by 0xff.
fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        text.push(*byte);
        rest = if *byte == 0 { after.strip_prefix(&[0xff])? } else { after };
    }
    Some(text)
}

/// Reads keys back. Every method takes one part off the front; `None` where the key is not of that
/// form.
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// Starts after the table byte, in either form of keys.
    pub fn of(key: &'a [u8]) -> Parts<'a> {
        let table_at = node_bytes(key).unwrap_or(0);
        Parts(key.get(table_at + 1..).unwrap_or_default())
    }

    /// A byte, such as a kind.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A text.
    pub fn text(&mut self) -> Option<String> {
        let (part, rest) = self.0.split_at(text_bytes(self.0)?);
        let escaped = &part[..part.len() - 2];
        let text = if escaped.contains(&0) { unescaped(escaped)? } else { escaped.to_vec() };
        self.0 = rest;
        String::from_utf8(text).ok()
    }

    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*first))
    }

    /// An instant.
    pub fn instant(&mut self) -> Option<Timestamp> {
        self.number().map(|number| Timestamp((number ^ (1 << 63)) as i64))
    }

    /// An identity: namespace, then id.
    pub fn node(&mut self) -> Option<Identity> {
        let namespace = self.text()?;
        let id = self.text()?;
        Identity::new(&namespace, &id)
    }

    /// A subject: kind, then canonical id.
    pub fn subject(&mut self) -> Option<SubjectId> {
        let kind = self.byte()?;
        let kind = SubjectKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        Some(SubjectId {
            kind,
            id: CanonicalId(self.node()?),
        })
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_back_and_sort_as_their_values() {
        let key = Key::new(1).text("a\0b").instant(Timestamp(-5)).number(7).done();
        let mut parts = Parts::of(&key);
        assert_eq!(
            (parts.text().as_deref(), parts.instant(), parts.number()),
            (Some("a\0b"), Some(Timestamp(-5)), Some(7))
        );
        assert!(parts.is_empty());
        let texts = ["", "\0", "\0a", "a", "a\0", "a\0b", "aa", "b"];
        let keys: Vec<_> = texts.iter().map(|text| Key::new(1).text(text).text("z").done()).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        let instants: Vec<_> = [i64::MIN, -1, 0, 1, i64::MAX]
            .iter()
            .map(|ms| Key::new(1).instant(Timestamp(*ms)).done())
            .collect();
        assert!(instants.is_sorted());
    }
}
