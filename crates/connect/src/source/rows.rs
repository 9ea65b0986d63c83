//! The rows of a source: a small map, kept in memory, restored from its topic.

use std::collections::BTreeMap;

use millrace_log::Delivered;
use serde_json::Value;

use super::listing::MARK;

/// Named JSON values, as committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows(BTreeMap<String, Value>);

impl Rows {
    /// The row of exactly this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The rows whose names begin with `prefix`, in order, with the prefix removed.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let from = self.0.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.map_while(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
    }

    /// Replaces a row; `None` removes it.
    pub(crate) fn set(&mut self, name: &str, value: Option<Value>) {
        match value {
            Some(value) => self.0.insert(name.to_owned(), value),
            None => self.0.remove(name),
        };
    }

    /// Takes a record of the topic; marks of listings stay there alone. An unreadable one was not written by this program, and is
    /// skipped with a warning.
    pub(super) fn restore(&mut self, delivered: &Delivered) {
        let name = delivered.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        if name.is_some_and(|name| name.starts_with(MARK)) {
            return;
        }
        let value = delivered.record.value.as_deref().map(serde_json::from_slice::<Value>).transpose();
        match (name, value) {
            (Some(name), Ok(value)) => self.set(name, value),
            _ => tracing::warn!(offset = delivered.offset, "row of a source cannot be read; passed over"),
        }
    }
}
