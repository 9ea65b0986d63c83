//! The overlay of one step: reads see committed rows with this step's writes on top; writes are
//! returned as one final value per row.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::format;
use crate::state::{Row, RowChange, StateError, StateView};

/// One step's reads and writes.
pub struct Tx<'a> {
    view: &'a dyn StateView,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Committed rows that were fetched ahead.
    fetched: FxHashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Tx<'a> {
    /// A step that has written nothing yet.
    pub fn new(view: &'a dyn StateView) -> Tx<'a> {
        Tx {
            view,
            writes: BTreeMap::new(),
            fetched: FxHashMap::default(),
        }
    }

    /// Reads committed rows that the step will need, all at once: `get` finds them without the
    /// store.
    pub fn fetch(&mut self, mut keys: Vec<Vec<u8>>) -> Result<(), StateError> {
        keys.retain(|key| !self.fetched.contains_key(key));
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Ok(());
        }
        let rows = self.view.get_all(&keys)?;
        self.fetched.extend(keys.into_iter().zip(rows));
        Ok(())
    }

    fn committed(&self, key: &[u8]) -> Result<Cow<'_, Option<Vec<u8>>>, StateError> {
        match self.fetched.get(key) {
            Some(row) => Ok(Cow::Borrowed(row)),
            None => self.view.get(key).map(Cow::Owned),
        }
    }

    /// The row as bytes, this step's write first.
    pub fn get_bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.committed(key).map(Cow::into_owned),
        }
    }

    /// The row decoded.
    pub fn get<R: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<R>, StateError> {
        match self.writes.get(key) {
            Some(written) => written.as_deref().map(format::decode).transpose(),
            None => self.committed(key)?.as_deref().map(format::decode).transpose(),
        }
    }

    /// Writes a row.
    pub fn put<R: Serialize>(&mut self, key: Vec<u8>, value: &R) {
        self.writes.insert(key, Some(format::encode(value)));
    }

    /// Writes a row that is encoded already.
    pub fn put_bytes(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    /// Deletes a row.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// Deletes a row that may never have been stored, without a trace of one that was not.
    pub fn delete_if_present(&mut self, key: Vec<u8>) -> Result<(), StateError> {
        let stored = self.committed(&key)?.is_some();
        if stored {
            self.writes.insert(key, None);
        } else {
            self.writes.remove(&key);
        }
        Ok(())
    }

    /// At most `limit` rows with `lower <= key < upper`, in ascending order of keys.
    pub fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        if lower >= upper || limit == 0 {
            return Ok(Vec::new());
        }
        let written: Vec<_> = self.writes.range(lower.to_vec()..upper.to_vec()).collect();
        if written.is_empty() {
            return self.view.scan(lower, upper, limit);
        }
        // Every deletion can hide one committed row, so this many more suffice.
        let deletions = written.iter().filter(|(_, value)| value.is_none()).count();
        let committed = self.view.scan(lower, upper, limit.saturating_add(deletions))?;
        let mut rows = Vec::with_capacity(limit.min(committed.len() + written.len()));
        let mut committed = committed.into_iter().peekable();
        let mut written = written.into_iter().peekable();
        while rows.len() < limit {
            match (committed.peek(), written.peek()) {
                (None, None) => break,
                (Some((key, _)), Some((over, _))) if key < *over => rows.extend(committed.next()),
                (Some(_), None) => rows.extend(committed.next()),
                (base, Some((over, value))) => {
                    let shadows = base.is_some_and(|(key, _)| key == *over);
                    if let Some(value) = value {
                        rows.push(((*over).clone(), value.clone()));
                    }
                    written.next();
                    if shadows {
                        committed.next();
                    }
                }
            }
        }
        Ok(rows)
    }

    /// Every row whose key starts with `prefix`.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
        self.scan(prefix, &prefix_end(prefix), usize::MAX)
    }

    /// The step's writes, ascending by key.
    pub fn into_rows(self) -> Vec<RowChange> {
        self.writes.into_iter().collect()
    }
}

/// The least key above every key that starts with `prefix`.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // A prefix of 0xff bytes only: no table byte is 0xff, so nothing comes after.
    vec![u8::MAX; prefix.len() + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(BTreeMap<Vec<u8>, Vec<u8>>);

    impl StateView for Fixed {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
            Ok(self.0.get(key).cloned())
        }
        fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
            Ok(self
                .0
                .range(lower.to_vec()..upper.to_vec())
                .take(limit)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect())
        }
    }

    #[test]
    fn a_scan_merges_committed_and_written_rows() -> Result<(), StateError> {
        let view = Fixed(
            [(b"a", b"1"), (b"c", b"3"), (b"d", b"4")]
                .into_iter()
                .map(|(k, v)| (k.to_vec(), v.to_vec()))
                .collect(),
        );
        let mut tx = Tx::new(&view);
        tx.put_bytes(b"b".to_vec(), b"2".to_vec());
        tx.delete(b"c".to_vec());
        tx.put_bytes(b"d".to_vec(), b"5".to_vec());
        let keys = |limit| -> Result<Vec<_>, StateError> {
            Ok(tx
                .scan(b"a", b"z", limit)?
                .into_iter()
                .map(|(k, v)| format!("{}{}", k[0] as char, v[0] as char))
                .collect())
        };
        assert_eq!(keys(9)?, ["a1", "b2", "d5"]);
        assert_eq!(keys(2)?, ["a1", "b2"]);
        Ok(())
    }

    #[test]
    fn what_is_fetched_is_the_committed_row_and_gives_way_to_what_is_written() -> Result<(), StateError> {
        struct Once(std::cell::Cell<usize>);
        impl StateView for Once {
            fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
                self.0.set(self.0.get() + 1);
                Ok((key != b"none").then(|| key.to_vec()))
            }
            fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, StateError> {
                Ok(Vec::new())
            }
        }
        let view = Once(std::cell::Cell::new(0));
        let mut tx = Tx::new(&view);
        tx.put_bytes(b"b".to_vec(), b"written".to_vec());
        tx.fetch([b"b".as_slice(), b"none", b"a", b"b"].map(<[u8]>::to_vec).to_vec())?;
        tx.fetch([b"a".as_slice(), b"c"].map(<[u8]>::to_vec).to_vec())?;
        let read = [b"a".as_slice(), b"b", b"c", b"none"].map(|key| tx.get_bytes(key).ok().flatten());
        assert_eq!(read, [Some(b"a".to_vec()), Some(b"written".to_vec()), Some(b"c".to_vec()), None]);
        assert_eq!(view.0.get(), 4, "each row once");
        tx.delete_if_present(b"none".to_vec())?;
        tx.delete_if_present(b"a".to_vec())?;
        assert_eq!(tx.into_rows().iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [b"a", b"b"]);
        Ok(())
    }

    #[test]
    fn prefix_end_bounds() {
        assert_eq!(prefix_end(b"ab"), b"ac");
        assert_eq!(prefix_end(&[1, 0xff]), [2]);
    }
}
