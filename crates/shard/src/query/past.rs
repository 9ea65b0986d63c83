//! Why a subject was, or was not, in a segment at an instant of the past.
//!
//! Of the past only events are kept. So the present rule is evaluated over the events up to that instant, and over records, relation rows and links as
//! they stand today: the answer says so.

use std::collections::BTreeMap;

use millrace_model::{CanonicalId, Identity, Text, Timestamp};
use millrace_segment::World;

use super::world::{Moment, Sight, Things};
use super::{Explained, Query, QueryError};
use crate::program::leads_to;
use crate::row::SubjectId;

/// What an answer about the past rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Records, relation rows and links are as they stood then.
    pub records_as_of: Timestamp,
    /// Events at or before this instant are no longer kept; windows that reach farther back see nothing there.
    pub events_from: Timestamp,
}

impl Query {
    /// As `explain`, at an instant `at` of the past; `now` is the present.
    ///
    /// # Errors
    /// `Instant` where `at` is ahead of now, or lies before the retained history. Else as for `explain`.
    pub fn explain_past(&self, subject: &SubjectId, segment: &str, at: Timestamp, now: Timestamp) -> Result<Option<Explained>, QueryError> {
        let retained_from = now.plus_ms(-self.config.retention_ms());
        if at > now {
            return Err(QueryError::Instant(format!("{at} is ahead of now ({now}); ask about an instant of the past")));
        }
        if at <= retained_from {
            return Err(QueryError::Instant(format!("{at} lies before the retained history, which begins behind {retained_from}; ask about a later instant")));
        }
        let program = self.program()?;
        let Some(plan) = program.segment(segment).filter(|plan| plan.subject == subject.kind) else { return Ok(None) };
        let Some(accepted) = program.definitions.get(segment) else { return Ok(None) };
        let things = Things::new(self, &program, Moment { at, retained_from, past: true });
        let sight = Sight::new(&things);
        let id = subject.text();
        if !sight.thing(subject.kind, &id).is_some_and(|thing| thing.alive) {
            things.finish()?;
            return Err(QueryError::Instant(format!("nothing that is kept tells of {id} at {at}")));
        }
        let explanation = accepted.compiled.whole(&self.config.settings).explain(&sight, &id, at);
        let mut reached: BTreeMap<Text, SubjectId> = BTreeMap::new();
        for relation in &plan.reads.relations {
            for link in sight.related(subject.kind, &id, *relation) {
                let identity = link.target.as_ref().and_then(|target| Identity::parse(target).ok());
                if let (Some(identity), Some(kind)) = (identity, leads_to(*relation)) {
                    let thing = SubjectId { kind, id: CanonicalId(identity) };
                    reached.insert(thing.text(), thing);
                }
            }
        }
        things.finish()?;
        Ok(Some(Explained {
            subject: subject.clone(),
            segment: segment.into(),
            version: accepted.row.version,
            membership: None,
            explanation,
            records: self.supporting(reached)?,
            evaluated_at: at,
            past: Some(Past { records_as_of: now, events_from: retained_from }),
        }))
    }
}
