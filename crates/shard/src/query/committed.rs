//! Committed rows as evaluation reads them.

use millrace_segment::view::Timed;

use super::{Query, Reader, get};
use crate::engine::RowView;
use crate::format;
use crate::key::{self, table};
use crate::program::Program;
use crate::row::{OwnFeature, ReplicaRow, Standing, SubjectRow};
use crate::state::{Row, StateError};
use crate::tx::prefix_end;

/// Committed rows of one shard, as evaluation reads them.
pub(super) struct Committed(pub Reader);

impl RowView for Committed {
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.0.get(key)
    }

    fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
        self.0.scan(prefix, &prefix_end(prefix), usize::MAX)
    }
}

/// Committed rows of one shard, with other shards' things as their owners have them: replicas may
/// hold numbers in bands.
pub(super) struct Exact<'q> {
    pub query: &'q Query,
    pub program: &'q Program,
    pub committed: Committed,
}

impl Exact<'_> {
    /// The replica that a thing's owner would send; `None` if the owner is not open, or knows no
    /// such thing.
    fn replica(&self, replica_key: &[u8]) -> Result<Option<ReplicaRow>, StateError> {
        let Some(thing) = key::subject_of(replica_key) else { return Ok(None) };
        let Ok(owner) = self.query.owner_of(&thing.id.0) else { return Ok(None) };
        let Some(row) = get::<SubjectRow>(&owner, &key::of_subject(table::SUBJECT, &thing))? else {
            return Ok(None);
        };
        let features = row.features.into_iter().filter(|feature| self.program.reads_down(thing.kind, feature.id));
        let features = features
            .map(|OwnFeature { id, value, valid_until, .. }| (id, Timed { value, valid_until }))
            .collect();
        Ok(Some(ReplicaRow {
            known: true,
            exists: row.announced == Standing::Alive,
            features,
            ..ReplicaRow::default()
        }))
    }
}

impl RowView for Exact<'_> {
    fn row(&self, row_key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if key::table_of(row_key) == Some(table::REPLICA)
            && let Some(replica) = self.replica(row_key)?
        {
            return Ok(Some(format::encode(&replica)));
        }
        self.committed.row(row_key)
    }

    fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
        self.committed.rows(prefix)
    }
}
