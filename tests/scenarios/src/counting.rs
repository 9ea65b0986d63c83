//! What a step reads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use millrace_shard::key;
use millrace_shard::state::{StateError, StateView};

use crate::Table;

/// Counts the rows that are read.
pub struct Counting<'t> {
    table: &'t Table,
    pub rows: Cell<usize>,
    pub tables: RefCell<BTreeMap<u8, usize>>,
}

impl<'t> Counting<'t> {
    pub fn new(table: &'t Table) -> Counting<'t> {
        Counting {
            table,
            rows: Cell::default(),
            tables: RefCell::default(),
        }
    }

    fn count(&self, key: &[u8], rows: usize) {
        self.rows.set(self.rows.get() + rows);
        *self.tables.borrow_mut().entry(key::table_of(key).unwrap_or_default()).or_default() += rows;
    }
}

impl StateView for Counting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.count(key, 1);
        self.table.get(key)
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        let rows = self.table.scan(lower, upper, limit)?;
        self.count(rows.first().map_or(lower, |(first, _)| first), 1 + rows.len());
        Ok(rows)
    }
}
