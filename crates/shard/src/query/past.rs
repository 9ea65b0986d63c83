//! Why a subject was, or was not, in a segment at an instant of the past.
//!
//! Only events of the past are kept. So the present rule is evaluated over the events up to that
//! instant, and over records, relation rows and links as they are today: the answer says so.

use millrace_model::{SubjectId, Timestamp};

use super::explain::reached;
use super::world::{Moment, Sight, Things};
use super::{Explained, Query, QueryError};

/// The basis of an answer about the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Records, relation rows and links are as they stood then.
    pub records_as_of: Timestamp,
    /// Events at or before this instant are no longer kept; windows that reach further back see
    /// nothing there.
    pub events_from: Timestamp,
}

impl Query {
    /// As `explain`, at an instant `at` of the past; `now` is the present.
    ///
    /// # Errors
    /// `Instant` where `at` is ahead of now, or before the retained history. Otherwise as for
    /// `explain`.
    pub fn explain_past(&self, subject: &SubjectId, segment: &str, at: Timestamp, now: Timestamp) -> Result<Option<Explained>, QueryError> {
        let retained_from = now.plus_ms(-self.config.retention_ms());
        if at > now {
            return Err(QueryError::Instant(format!("{at} is ahead of now ({now}); ask about an instant of the past")));
        }
        if at <= retained_from {
            return Err(QueryError::Instant(format!(
                "{at} lies before the retained history, which begins after {retained_from}; ask about a later instant"
            )));
        }
        let program = self.program()?;
        let Some(plan) = program.segment(segment).filter(|plan| plan.subject == subject.kind) else {
            return Ok(None);
        };
        let Some(accepted) = program.definitions.get(segment) else { return Ok(None) };
        let things = Things::new(self, &program, Moment { at, retained_from, past: true }, self.explained_max);
        let sight = Sight::new(&things);
        let id = subject.text();
        if !sight.thing(subject.kind, &id).is_some_and(|thing| thing.alive) {
            things.finish()?;
            return Err(QueryError::Instant(format!("nothing is kept about {id} at {at}")));
        }
        let explanation = plan.rule.whole(&self.config.settings).explain(&sight, &id, at);
        let reached = reached(&sight, subject, plan, &explanation);
        things.finish()?;
        Ok(Some(Explained {
            subject: subject.clone(),
            segment: segment.into(),
            version: accepted.row.version,
            membership: None,
            explanation,
            records: self.supporting(reached)?,
            evaluated_at: at,
            shortened: false,
            past: Some(Past {
                records_as_of: now,
                events_from: retained_from,
            }),
        }))
    }
}
