//! Walks over committed rows: page by page, and subject by subject.

use std::collections::VecDeque;

use millrace_model::{CanonicalId, Identity, ShardId, SubjectId, SubjectKind};

use super::{Query, QueryError};
use crate::format;
use crate::key::{self, table};
use crate::row::{NodeRow, ProfileRow, SubjectRow};
use crate::state::Row;
use crate::tx::prefix_end;

/// Rows per read of a pass; bounds the memory of a pass.
const PAGE_ROWS: usize = 1_000;

/// The rows of a shard between two keys, in ascending order, read page by page. The shard is looked
/// up for every page: it may move meanwhile, and a long read keeps no store open.
pub(super) struct Pages<'q> {
    query: &'q Query,
    shard: ShardId,
    lower: Vec<u8>,
    upper: Vec<u8>,
    page: VecDeque<Row>,
    ended: bool,
}

impl<'q> Pages<'q> {
    pub fn over(query: &'q Query, shard: ShardId, lower: Vec<u8>, upper: Vec<u8>) -> Pages<'q> {
        Pages {
            query,
            shard,
            upper,
            lower,
            page: VecDeque::new(),
            ended: false,
        }
    }

    fn fill(&mut self) -> Result<(), QueryError> {
        if self.page.is_empty() && !self.ended {
            self.page = self.query.at(self.shard)?.scan(&self.lower, &self.upper, PAGE_ROWS)?.into();
            self.ended = self.page.len() < PAGE_ROWS;
            if let Some((last, _)) = self.page.back() {
                self.lower.clone_from(last);
                // The least key after the last one read.
                self.lower.push(0);
            }
        }
        Ok(())
    }

    pub fn next(&mut self) -> Result<Option<Row>, QueryError> {
        self.fill()?;
        Ok(self.page.pop_front())
    }

    /// The next row, if its key has this prefix.
    fn next_under(&mut self, place: &[u8]) -> Result<Option<Row>, QueryError> {
        self.fill()?;
        Ok(self.pop_under(place))
    }

    /// Skips the rows whose keys have this prefix.
    fn pass(&mut self, place: &[u8]) {
        while self.pop_under(place).is_some() {}
        if self.page.is_empty() {
            self.lower = prefix_end(place).max(std::mem::take(&mut self.lower));
        }
    }

    fn pop_under(&mut self, place: &[u8]) -> Option<Row> {
        let under = self.page.front().is_some_and(|(row_key, _)| row_key.starts_with(place));
        if under { self.page.pop_front() } else { None }
    }
}

/// A node met on a walk, and its subject if it names one here.
pub(super) struct Met {
    pub node: Identity,
    /// The cluster of the node, if that is not itself.
    pub moved: Option<CanonicalId>,
    pub row: Option<SubjectRow>,
    pub profile: ProfileRow,
    pub events: Vec<Row>,
}

/// A subject met on a walk.
pub(super) struct Found {
    pub subject: SubjectId,
    pub row: SubjectRow,
    pub profile: ProfileRow,
    /// The rows of the ledger, if they were requested.
    pub events: Vec<Row>,
}

/// Every node and subject of a kind on one shard, in one pass.
pub(super) struct Walk<'q> {
    rows: Pages<'q>,
    events: bool,
}

impl<'q> Walk<'q> {
    pub fn over(query: &'q Query, shard: ShardId, kind: SubjectKind, events: bool) -> Walk<'q> {
        let (first, end) = key::nodes(kind);
        Walk {
            rows: Pages::over(query, shard, first, end),
            events,
        }
    }

    /// The rest of one, after a subject.
    pub fn after(query: &'q Query, shard: ShardId, after: &SubjectId) -> Walk<'q> {
        let (_, end) = key::nodes(after.kind);
        let first = key::after_node(&key::of_subject(table::SUBJECT, after));
        Walk {
            rows: Pages::over(query, shard, first, end),
            events: false,
        }
    }

    pub fn next_subject(&mut self) -> Result<Option<Found>, QueryError> {
        while let Some(Met {
            node, row, profile, events, ..
        }) = self.next()?
        {
            if let Some(row) = row {
                return Ok(Some(Found {
                    subject: SubjectId::of_node(&node),
                    row,
                    profile,
                    events,
                }));
            }
        }
        Ok(None)
    }

    pub fn next(&mut self) -> Result<Option<Met>, QueryError> {
        let Some(first) = self.rows.next()? else { return Ok(None) };
        let (Some(node), Some(place)) = (key::node_of(&first.0), key::place(&first.0).map(<[u8]>::to_vec)) else {
            return self.next();
        };
        let mut met = Met {
            node,
            moved: None,
            row: None,
            profile: ProfileRow::default(),
            events: Vec::new(),
        };
        let mut next = Some(first);
        while let Some((row_key, value)) = next {
            match key::table_of(&row_key) {
                Some(table::SUBJECT) => met.row = Some(format::decode(&value)?),
                Some(table::PROFILE) => met.profile = format::decode(&value)?,
                Some(table::NODE) => met.moved = format::decode::<NodeRow>(&value)?.canonical,
                Some(table::EVENT) if self.events => met.events.push((row_key, value)),
                _ if !self.events => {
                    // Nothing that is needed comes after these.
                    self.rows.pass(&place);
                    break;
                }
                _ => {}
            }
            next = self.rows.next_under(&place)?;
        }
        Ok(Some(met))
    }
}
