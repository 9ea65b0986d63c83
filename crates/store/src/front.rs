//! Where the first live row of each derived table may be.
//!
//! A timer table is a queue: rows are deleted at the front, in order, and deletion markers pile up
//! there until a compaction drops them. A scan from the table's start would walk over all of them,
//! each time. A *front* is a key below which no live row of its table exists. It moves forward when
//! a scan finds nothing below a key, and back when a row is put below it.

use std::collections::BTreeMap;

/// The fronts of one store, by table. A table without one may have rows anywhere.
#[derive(Debug, Default)]
pub struct Fronts(BTreeMap<u8, Vec<u8>>);

impl Fronts {
    /// Where to start a scan from `lower`: the table's front, if that is further on, but not past
    /// `upper`.
    pub fn start<'a>(&'a self, lower: &'a [u8], upper: &'a [u8]) -> &'a [u8] {
        match lower.first().and_then(|table| self.0.get(table)) {
            Some(front) if front.as_slice() > lower => front.as_slice().min(upper),
            _ => lower,
        }
    }

    /// A scan from `lower` found its first live row at `first`, or none below `upper`.
    pub fn scanned(&mut self, lower: &[u8], upper: &[u8], first: Option<&[u8]>) {
        let Some(&table) = lower.first() else { return };
        // Only a scan from the table's start, or from its front or before, proves that nothing is
        // below.
        if lower.len() != 1 && self.0.get(&table).is_none_or(|front| lower > front.as_slice()) {
            return;
        }
        let Some(next_table) = table.checked_add(1).map(|next| [next]) else { return };
        let reached = first.unwrap_or(upper).min(&next_table);
        let front = self.0.entry(table).or_default();
        if front.as_slice() < reached {
            front.clear();
            front.extend_from_slice(reached);
        }
    }

    /// A row is put.
    pub fn put(&mut self, key: &[u8]) {
        let Some(front) = key.first().and_then(|table| self.0.get_mut(table)) else {
            return;
        };
        if key < front.as_slice() {
            front.clear();
            front.extend_from_slice(key);
        }
    }

    /// Forgets all fronts: the rows have changed.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_moves_forward_with_scans_and_back_with_puts() {
        let mut fronts = Fronts::default();
        let (table, end) = (&b"\x90"[..], &b"\x90\x50"[..]);
        assert_eq!(fronts.start(table, end), table);
        fronts.scanned(table, end, Some(b"\x90\x20"));
        assert_eq!(fronts.start(table, end), b"\x90\x20");
        fronts.scanned(b"\x90\x20", end, None);
        assert_eq!(fronts.start(table, end), end);
        fronts.put(b"\x90\x30");
        assert_eq!(fronts.start(table, end), b"\x90\x30");
        fronts.put(b"\x90\x40");
        assert_eq!(fronts.start(table, end), b"\x90\x30");
        fronts.clear();
        assert_eq!(fronts.start(table, end), table);
    }

    #[test]
    fn a_scan_from_the_middle_says_nothing_about_what_is_below() {
        let mut fronts = Fronts::default();
        fronts.scanned(b"\x90\x20", b"\x90\x50", None);
        assert_eq!(fronts.start(b"\x90", b"\x90\x50"), b"\x90");
    }

    #[test]
    fn a_front_stays_within_its_table_and_a_scan_within_its_bounds() {
        let mut fronts = Fronts::default();
        fronts.scanned(b"\x90", b"\x95", Some(b"\x93\x01"));
        assert_eq!(fronts.start(b"\x90", b"\x95"), b"\x91", "the table is empty, the next is not known");
        assert_eq!(fronts.start(b"\x91", b"\x95"), b"\x91");
        assert_eq!(fronts.start(b"\x90", b"\x90\x10"), b"\x90\x10", "nothing to scan");
        fronts.put(b"\x90\x05");
        assert_eq!(fronts.start(b"\x90", b"\x90\x10"), b"\x90\x05");
    }
}
