//! Finds subjects by a part of their name. There is no index: each call scans a bounded number of
//! profiles of a kind.

use millrace_model::{ShardId, SubjectId, SubjectKind, Timestamp};

use super::committed::Committed;
use super::walk::Walk;
use super::{Query, QueryError};
use crate::engine::{is_alive, remove_asides};
use crate::row::ProfileRow;

/// Subjects scanned by one call. A bound: a call takes about a tenth of a second, and the client
/// may have left.
pub const LOOKED_AT_MAX: usize = 20_000;

/// Some of the matches, and where to continue.
#[derive(Clone, Debug)]
pub struct FoundPart {
    /// The matches, with their profiles.
    pub found: Vec<(SubjectId, ProfileRow)>,
    /// The last subject scanned, if there may be more after it.
    pub next: Option<SubjectId>,
}

impl Query {
    /// Living subjects of a kind for which `is_meant` holds, given their profiles without identities
    /// set aside; at most `limit`, after `after` in the
    /// order of shards and ids.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed.
    pub fn find(
        &self,
        kind: SubjectKind,
        after: Option<&SubjectId>,
        limit: usize,
        now: Timestamp,
        is_meant: &dyn Fn(&SubjectId, &ProfileRow) -> bool,
    ) -> Result<FoundPart, QueryError> {
        let first = after.map_or(ShardId::FIRST, |after| self.shard_of(after));
        let (mut found, mut looked_at) = (Vec::new(), 0);
        for shard in ShardId::all(self.config.shards).skip_while(|shard| *shard < first) {
            let mut walk = match after.filter(|_| shard == first) {
                Some(after) => Walk::after(self, shard, after),
                None => Walk::over(self, shard, kind, false),
            };
            while let Some(mut met) = walk.next_subject()? {
                looked_at += 1;
                let rows = Committed(self.at(shard)?);
                remove_asides(&rows, &met.subject, &met.row, &mut met.profile.identities)?;
                if is_alive(kind, &met.row, now) && is_meant(&met.subject, &met.profile) {
                    found.push((met.subject.clone(), met.profile));
                }
                if found.len() >= limit || looked_at >= LOOKED_AT_MAX {
                    let next = Some(met.subject);
                    return Ok(FoundPart { found, next });
                }
            }
        }
        Ok(FoundPart { found, next: None })
    }
}
