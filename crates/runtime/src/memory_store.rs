//! The state port in memory, for tests, simulations and shards without a disk.
//!
//! It fails as a disk does: after a crash it holds the flushed batches, or those and some of the
//! later ones, never part of one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use millrace_shard::state::{RowChange, StateError, StateStore, StateView};

/// The part that outlives a store handle, as a disk outlives a process. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    content: Arc<RwLock<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Option<i64>,
    /// How to undo each batch since the last flush: the position and the values before it.
    unflushed: Vec<(Option<i64>, Vec<RowChange>)>,
    bytes: u64,
}

/// A store on a `MemoryDisk`.
#[derive(Debug, Default)]
pub struct MemoryStore {
    disk: MemoryDisk,
}

impl MemoryDisk {
    /// A store on this disk.
    pub fn open(&self) -> MemoryStore {
        MemoryStore { disk: self.clone() }
    }

    /// How many batches a crash could lose.
    pub fn unflushed(&self) -> usize {
        self.read().unflushed.len()
    }

    /// Loses all but the first `keep` batches since the last flush.
    pub fn crash(&self, keep: usize) {
        let mut content = self.write();
        while content.unflushed.len() > keep {
            let (position, rows) = content.unflushed.pop().expect("it is longer than `keep`");
            content.put(rows);
            content.position = position;
        }
        content.unflushed.clear();
    }

    /// Every row, in ascending order of keys.
    pub fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.read().rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    // Batches are applied whole before the lock is released, and nothing in between can panic.
    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Puts rows and returns their previous values, in the order that undoes the change.
    fn put(&mut self, rows: Vec<RowChange>) -> Vec<RowChange> {
        let mut before = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let size = |value: &Vec<u8>| (key.len() + value.len()) as u64;
            self.bytes += value.as_ref().map_or(0, size);
            let old = match value {
                Some(value) => self.rows.insert(key.clone(), value),
                None => self.rows.remove(&key),
            };
            self.bytes -= old.as_ref().map_or(0, size);
            before.push((key, old));
        }
        before.reverse();
        before
    }
}

impl StateView for MemoryDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.read().rows.get(key).cloned())
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        if lower >= upper {
            return Ok(Vec::new());
        }
        let content = self.read();
        let range = content.rows.range::<[u8], _>((Bound::Included(lower), Bound::Excluded(upper)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl StateView for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.disk.get(key)
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        self.disk.scan(lower, upper, limit)
    }
}

impl StateStore for MemoryStore {
    fn changelog_position(&self) -> Result<Option<i64>, StateError> {
        Ok(self.disk.read().position)
    }

    fn apply(&mut self, rows: Vec<RowChange>, changelog_position: i64) -> Result<(), StateError> {
        let mut content = self.disk.write();
        let before = content.put(rows);
        let position = content.position.replace(changelog_position);
        content.unflushed.push((position, before));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StateError> {
        self.disk.write().unflushed.clear();
        Ok(())
    }

    /// Survives a crash at once.
    fn clear(&mut self) -> Result<(), StateError> {
        *self.disk.write() = Content::default();
        Ok(())
    }

    fn reader(&self) -> Arc<dyn StateView + Send + Sync> {
        Arc::new(self.disk.clone())
    }

    fn size_bytes(&self) -> u64 {
        self.disk.read().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> RowChange {
        (key.into(), Some(value.into()))
    }

    fn shown(disk: &MemoryDisk) -> String {
        let rows = disk
            .rows()
            .into_iter()
            .map(|(key, value)| format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value)));
        format!("{:?} {}", disk.read().position, rows.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_crash_leaves_a_prefix_that_holds_what_was_flushed() {
        let expected = ["Some(2) a=2 b=1", "Some(3) b=1", "Some(4) a=3 b=1"];
        for (keep, expected) in expected.into_iter().enumerate() {
            let disk = MemoryDisk::default();
            let mut store = disk.open();
            store.apply(vec![put("a", "1"), put("b", "1")], 1).unwrap();
            store.apply(vec![put("a", "2")], 2).unwrap();
            store.flush().unwrap();
            store.apply(vec![(b"a".to_vec(), None)], 3).unwrap();
            store.apply(vec![put("a", "3")], 4).unwrap();
            disk.crash(keep);
            assert_eq!(shown(&disk), expected);
            let held: usize = disk.rows().iter().map(|(key, value)| key.len() + value.len()).sum();
            assert_eq!(store.size_bytes(), held as u64);
        }
    }

    #[test]
    fn scans_exclude_the_upper_bound_and_keep_the_limit() {
        let mut store = MemoryStore::default();
        store.apply(vec![put("a", ""), put("b", ""), put("c", "")], 1).unwrap();
        let keys = |lower: &[u8], upper: &[u8], limit| {
            store
                .scan(lower, upper, limit)
                .unwrap()
                .into_iter()
                .map(|(key, _)| key[0] as char)
                .collect::<String>()
        };
        assert_eq!(keys(b"a", b"c", 9), "ab");
        assert_eq!(keys(b"a", b"d", 1), "a");
        assert_eq!(keys(b"c", b"a", 9), "");
    }
}
