//! Why a subject is, or is not, in a segment now.

use std::collections::BTreeMap;

use millrace_model::{CanonicalId, Identity, Relation, SubjectId, SubjectKind, Text, Timestamp};
use millrace_segment::plan::SegmentPlan;
use millrace_segment::view::Timed;
use millrace_segment::{Evidence, Explanation, World};

use super::committed::{Committed, Exact};
use super::profile::WrittenMembership;
use super::world::{Moment, Sight, Things};
use super::{Past, Query, QueryError, get};
use crate::engine::{SubjectView, ends};
use crate::key::{self, table};
use crate::row::SubjectRow;

/// Events and related things that one explanation examines: about a second. Beyond that, conditions
/// are shown with their kept values.
pub const EXPLAINED_MAX: usize = 10_000;

/// Why a subject is, or is not, in a segment.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The subject that was asked about.
    pub subject: SubjectId,
    /// The segment's name.
    pub segment: Text,
    /// The version of the rule; 0 where the definition is gone.
    pub version: u64,
    /// As last written to the membership topic; `None`: no record ever was.
    pub membership: Option<WrittenMembership>,
    /// As evaluated for this answer.
    pub explanation: Explanation,
    /// It depends on more than `EXPLAINED_MAX` events and things, which are not shown.
    pub shortened: bool,
    /// The source records of the things in the answer.
    pub records: BTreeMap<Text, Vec<Identity>>,
    /// The instant that the explanation is about.
    pub evaluated_at: Timestamp,
    /// For an instant of the past: the basis of the answer.
    pub past: Option<Past>,
}

impl Query {
    /// With another `EXPLAINED_MAX`.
    #[must_use]
    pub fn explaining_at_most(self, explained_max: usize) -> Query {
        Query { explained_max, ..self }
    }

    /// Why a subject is, or is not, in a published segment, as at `now`; `None` if there is no such
    /// segment. The answer is the maintained one; its evidence comes from the rule over whole data.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed.
    pub fn explain(&self, subject: &SubjectId, segment: &str, now: Timestamp) -> Result<Option<Explained>, QueryError> {
        let program = self.program()?;
        let Some(plan) = program.segment(segment).filter(|plan| plan.subject == subject.kind) else {
            return Ok(None);
        };
        let reader = self.owner_of(&subject.id.0)?;
        let row: SubjectRow = get(&reader, &key::of_subject(table::SUBJECT, subject))?.unwrap_or_default();
        let exact = Exact {
            query: self,
            program: &program,
            committed: Committed(reader),
        };
        let mut view = SubjectView::new(&exact, subject, &program, plan.reads.queries.iter().copied());
        let ends = ends(&mut view, &program, &row.memberships, plan.reads.segments.iter().chain([&plan.name]), now);
        for name in &plan.reads.segments {
            let value = row.memberships.iter().any(|membership| membership.segment == *name && membership.realized);
            view.set_segment(
                name.clone(),
                Some(Timed {
                    value,
                    valid_until: ends.get(name).copied().unwrap_or(Timestamp::MAX),
                }),
            );
        }
        let moment = Moment {
            at: now,
            retained_from: now.plus_ms(-self.config.retention_ms()),
            past: false,
        };
        let things = Things::new(self, &program, moment, self.explained_max);
        let sight = Sight::new(&things);
        let whole = plan.rule.whole(&self.config.settings).explain(&sight, &subject.text(), now);
        let shortened = match things.finish() {
            Err(QueryError::TooLong(_)) => true,
            read => read.map(|()| false)?,
        };
        let (explanation, reached) = if shortened {
            (millrace_segment::explain_kept(plan, &view, now), BTreeMap::new())
        } else {
            let explanation = millrace_segment::explain(plan, &view, now).shown_by(whole);
            let reached = reached(&sight, subject, plan, &explanation);
            things.finish()?;
            (explanation, reached)
        };
        view.finish()?;
        Ok(Some(Explained {
            shortened,
            subject: subject.clone(),
            segment: segment.into(),
            version: program.definitions.get(segment).map_or(0, |accepted| accepted.row.version),
            membership: self.written(subject, &row, &ends)?.into_iter().find(|membership| membership.segment == segment),
            explanation,
            records: self.supporting(reached)?,
            evaluated_at: now,
            past: None,
        }))
    }

    pub(super) fn supporting(&self, things: BTreeMap<Text, SubjectId>) -> Result<BTreeMap<Text, Vec<Identity>>, QueryError> {
        things.into_iter().map(|(id, thing)| Ok((id, self.supporting_records(&thing)?))).collect()
    }

    /// The source records of a thing and, for an account, of its opportunities.
    fn supporting_records(&self, thing: &SubjectId) -> Result<Vec<Identity>, QueryError> {
        let reader = self.owner_of(&thing.id.0)?;
        let mut records: Vec<Identity> = self.records(&reader, thing)?.into_iter().map(|(node, _)| node).collect();
        for deal in self.kept_children(thing, SubjectKind::Opportunity)? {
            let owner = self.owner_of(&deal.id.0)?;
            records.extend(self.records(&owner, &deal)?.into_iter().map(|(node, _)| node));
        }
        Ok(records)
    }
}

/// The things an answer depends on: those next to the subject that the rule uses, more distant ones
/// that decided, and the accounts of opportunities that did.
pub(super) fn reached(sight: &Sight<'_>, subject: &SubjectId, plan: &SegmentPlan, explanation: &Explanation) -> BTreeMap<Text, SubjectId> {
    let mut reached = BTreeMap::new();
    let mut reach = |kind: SubjectKind, id: &Text| {
        if let Ok(identity) = Identity::parse(id) {
            reached.insert(
                id.clone(),
                SubjectId {
                    kind,
                    id: CanonicalId(identity),
                },
            );
        }
    };
    for relation in &plan.reads.relations {
        if let Some(kind) = relation.leads_to() {
            let links = sight.related(subject.kind, &subject.text(), *relation);
            links.iter().filter_map(|link| link.target.as_ref()).for_each(|id| reach(kind, id));
        }
    }
    explanation.each_evidence(&mut |piece| {
        let Evidence::Thing { kind, id, .. } = piece else { return };
        reach(*kind, id);
        if *kind == SubjectKind::Opportunity {
            let accounts = sight.related(*kind, id, Relation::Account);
            accounts.iter().for_each(|account| reach(SubjectKind::Account, &account.id));
        }
    });
    reached
}
