//! The opportunities or persons that name an account as theirs.
//!
//! Rows `CHILD` at the account's owner list them only if published rules ask for them. Subjects
//! keep their references whatever the rules are: so every shard returns the nodes that it knows to
//! be the account, and the subjects that refer to those.

use std::collections::BTreeSet;

use millrace_model::{ShardId, SubjectId, SubjectKind, Timestamp};

use super::{Query, QueryError, Reader, get, scan};
use crate::engine::is_alive;
use crate::key::{self, Parts, table};
use crate::row::{Reach, SubjectRow};

impl Query {
    /// The living opportunities or persons that name an account as theirs, each once, ascending.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed: a list without those of a shard would look
    /// whole.
    pub fn children(&self, account: &SubjectId, kind: SubjectKind, now: Timestamp) -> Result<Vec<SubjectId>, QueryError> {
        let mut children = BTreeSet::new();
        for shard in ShardId::all(self.config.shards) {
            let reader = self.at(shard)?;
            for subject in referring(&reader, account)?.into_iter().filter(|subject| subject.kind == kind) {
                let row: Option<SubjectRow> = get(&reader, &key::of_subject(table::SUBJECT, &subject))?;
                if row.is_some_and(|row| is_alive(kind, &row, now)) {
                    children.insert(subject);
                }
            }
        }
        Ok(children.into_iter().collect())
    }

    /// The same, as kept at the account's owner for published rules; empty if none asks for them.
    pub(super) fn kept_children(&self, account: &SubjectId, kind: SubjectKind) -> Result<Vec<SubjectId>, QueryError> {
        let reader = self.owner_of(&account.id.0)?;
        let rows = scan(&reader, &key::children(account, kind))?;
        let child = |(child_key, _): &(Vec<u8>, Vec<u8>)| Parts::of(child_key).subject();
        Ok(rows.iter().filter_map(child).collect())
    }
}

/// A shard's subjects that refer to a thing, by any of its nodes.
fn referring(reader: &Reader, thing: &SubjectId) -> Result<BTreeSet<SubjectId>, QueryError> {
    let mut subjects = BTreeSet::new();
    for (alias_key, _) in scan(reader, &key::aliases_of(thing))? {
        let mut parts = Parts::of(&alias_key);
        let _ = parts.subject();
        if let Some(node) = parts.node() {
            let (first, end) = key::dependents(&node, Reach::All);
            let rows = reader.scan(&first, &end, usize::MAX)?;
            subjects.extend(rows.iter().filter_map(|(dependent_key, _)| key::dependent_of(dependent_key)));
        }
    }
    Ok(subjects)
}
