//! The rows of one step: its reads and writes over the committed state, and the rows that it holds
//! decoded until the end.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::ops::{Deref, DerefMut};

use millrace_model::{SubjectId, Text, Timestamp};
use millrace_segment::plan::EventQuery;
use rustc_hash::FxHashMap;

use super::subjects::{CachedSubject, Subjects};
use super::view::RowView;
use crate::format;
use crate::key::{self, Bucket, table};
use crate::row::{KeptRow, Revision, SubjectRow};
use crate::state::{Row, RowChange, StateError, StateView};
use crate::tx::Tx;

/// The kept rows that a step has read, decoded once; and whether they changed.
type Buckets = FxHashMap<(SubjectId, Bucket), (KeptRow, bool)>;

/// The transaction of one step. What it has decoded is written by `finish`; everything else at
/// once.
pub(super) struct Transaction<'a> {
    tx: Tx<'a>,
    /// The instant of the step.
    pub now: Timestamp,
    /// The revision of the plan: new subjects begin under it.
    pub revision: Revision,
    subjects: Subjects,
    buckets: Buckets,
    /// Chores that began, minus those that ended.
    pub chores: i64,
    /// Change of the number of members, by segment.
    pub audiences: BTreeMap<Text, i64>,
}

impl<'a> Deref for Transaction<'a> {
    type Target = Tx<'a>;

    fn deref(&self) -> &Tx<'a> {
        &self.tx
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.tx
    }
}

impl RowView for Transaction<'_> {
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.get_bytes(key)
    }

    fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
        self.scan_prefix(prefix)
    }

    fn kept(&self, subject: &SubjectId, bucket: Bucket) -> Result<Cow<'_, KeptRow>, StateError> {
        match self.buckets.get(&(subject.clone(), bucket)) {
            Some((kept, _)) => Ok(Cow::Borrowed(kept)),
            None => Ok(Cow::Owned(self.get(&key::kept(subject, bucket))?.unwrap_or_default())),
        }
    }
}

impl<'a> Transaction<'a> {
    pub fn new(view: &'a dyn StateView, now: Timestamp, revision: Revision) -> Transaction<'a> {
        Transaction {
            tx: Tx::new(view),
            now,
            revision,
            subjects: Subjects::default(),
            buckets: Buckets::default(),
            chores: 0,
            audiences: BTreeMap::new(),
        }
    }

    /// The subject's hot row, as this step left it.
    pub fn subject(&mut self, subject: &SubjectId) -> Result<&mut SubjectRow, StateError> {
        if !self.subjects.contains(subject) {
            let stored = self.get_bytes(&key::of_subject(table::SUBJECT, subject))?;
            self.cache_subject(subject, stored)?;
        }
        // The branch above has just inserted a missing one.
        Ok(self.subjects.get_mut(subject).expect("cached above"))
    }

    /// Takes a hot row as it is stored, unless this step has it already.
    pub fn cache_subject(&mut self, subject: &SubjectId, stored: Option<Vec<u8>>) -> Result<(), StateError> {
        if !self.subjects.contains(subject) {
            let known: Option<SubjectRow> = stored.as_deref().map(format::decode).transpose()?;
            let before = stored.zip(known.as_ref().map(|row| row.timer.0));
            // A new subject starts under the present plan: there is nothing older to upgrade.
            let row = known.unwrap_or_else(|| SubjectRow {
                revision: self.revision,
                ..SubjectRow::default()
            });
            self.subjects.insert(subject, CachedSubject { row, before });
        }
        Ok(())
    }

    /// The kept rows of a query and its bucket, as this step left them.
    pub fn bucket(&mut self, subject: &SubjectId, query: &EventQuery) -> Result<&mut (KeptRow, bool), StateError> {
        let bucket = Bucket::of(query);
        match self.buckets.entry((subject.clone(), bucket)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => Ok(new.insert((self.tx.get(&key::kept(subject, bucket))?.unwrap_or_default(), false))),
        }
    }

    /// The final value of each changed row.
    pub fn finish(mut self) -> Result<Vec<RowChange>, StateError> {
        self.write_chores()?;
        self.write_buckets();
        self.write_subjects()?;
        Ok(self.tx.into_rows())
    }

    /// Writes the kept rows that changed, and clears the cache.
    pub fn write_buckets(&mut self) {
        for ((subject, bucket), (kept, changed)) in std::mem::take(&mut self.buckets) {
            if changed {
                let kept_key = key::kept(&subject, bucket);
                if kept.0.is_empty() {
                    self.delete(kept_key)
                } else {
                    self.put(kept_key, &kept)
                }
            }
        }
    }

    /// Writes the hot rows that changed, and their wake-ups.
    fn write_subjects(&mut self) -> Result<(), StateError> {
        let mut appeared: i64 = 0;
        for (subject, CachedSubject { row, before }) in self.subjects.take() {
            let empty = SubjectRow {
                revision: row.revision,
                ..SubjectRow::default()
            } == row;
            let value = format::encode(&row);
            if before.as_ref().map_or(empty, |(before, _)| *before == value) {
                continue;
            }
            let registered = before.as_ref().map_or(Timestamp::MAX, |(_, registered)| *registered);
            if registered != row.timer.0 {
                if registered != Timestamp::MAX {
                    self.delete(key::subject_timer(registered, &subject));
                }
                if row.timer.0 != Timestamp::MAX {
                    self.put_bytes(key::subject_timer(row.timer.0, &subject), Vec::new());
                }
            }
            let row_key = key::of_subject(table::SUBJECT, &subject);
            appeared += i64::from(before.is_none()) - i64::from(empty);
            if empty { self.delete(row_key) } else { self.put_bytes(row_key, value) }
        }
        if appeared != 0 {
            let row_key = key::single(table::POPULATION);
            let population: u64 = self.get(&row_key)?.unwrap_or_default();
            self.put(row_key, &population.saturating_add_signed(appeared));
        }
        Ok(())
    }

    /// Updates the number of chores by those that began and ended in this step.
    fn write_chores(&mut self) -> Result<(), StateError> {
        if self.chores == 0 {
            return Ok(());
        }
        let row_key = key::single(table::CHORES);
        let before: u64 = self.get(&row_key)?.unwrap_or_default();
        let after = before.saturating_add_signed(self.chores);
        if after == 0 {
            self.delete(row_key);
        } else {
            self.put(row_key, &after);
        }
        Ok(())
    }
}
