//! The hot rows of the subjects that a step has read, decoded once.

use millrace_model::{SubjectId, Timestamp};
use rustc_hash::FxHashMap;

use crate::row::SubjectRow;

/// A subject's hot row.
pub(super) struct CachedSubject {
    pub row: SubjectRow,
    /// What the view held: its bytes, and the wake-up that was set.
    pub before: Option<(Vec<u8>, Timestamp)>,
}

/// Hot rows by subject, in the order in which the step read them.
#[derive(Default)]
pub(super) struct Subjects {
    rows: Vec<(SubjectId, CachedSubject)>,
    places: FxHashMap<SubjectId, usize>,
    /// The place asked for last: a step asks for one subject many times before it turns to the next.
    latest: usize,
}

impl Subjects {
    pub fn contains(&self, subject: &SubjectId) -> bool {
        self.place(subject).is_some()
    }

    pub fn get_mut(&mut self, subject: &SubjectId) -> Option<&mut SubjectRow> {
        self.latest = self.place(subject)?;
        Some(&mut self.rows[self.latest].1.row)
    }

    /// Adds a subject that is not there.
    pub fn insert(&mut self, subject: &SubjectId, cached: CachedSubject) {
        self.latest = self.rows.len();
        self.places.insert(subject.clone(), self.latest);
        self.rows.push((subject.clone(), cached));
    }

    pub fn take(&mut self) -> Vec<(SubjectId, CachedSubject)> {
        std::mem::take(self).rows
    }

    fn place(&self, subject: &SubjectId) -> Option<usize> {
        match self.rows.get(self.latest) {
            Some((latest, _)) if latest == subject => Some(self.latest),
            _ => self.places.get(subject).copied(),
        }
    }
}
