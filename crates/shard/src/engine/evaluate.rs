//! Evaluation of one subject: computes changes again, and sends the results on.
//!
//! In this order: the profile is merged if its records changed (`profile`); events too old are
//! dropped; the subject is brought to the plan's revision; its features are computed and sent to
//! their readers (`features`); its segments are evaluated and changes of membership emitted
//! (`memberships`); the next wake-up is set.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_model::metric::Counter;
use millrace_model::{SubjectId, SubjectKind, Text, Timestamp};
use millrace_segment::plan::Reads;
use millrace_segment::view::QueryId;

use super::{Dirty, Step};
use crate::message::Message;
use crate::origin::CauseKind;
use crate::program::{self, Program};
use crate::row::{RelatedChange, Standing, SubjectRow};
use crate::state::StateError;

/// A subject under evaluation.
pub(super) struct Visit<'p> {
    pub subject: &'p SubjectId,
    pub program: &'p Program,
    pub now: Timestamp,
    /// Its hot row, as the evaluation leaves it.
    pub row: SubjectRow,
    /// Why it is evaluated.
    pub dirty: Dirty,
    /// It is in the population.
    pub alive: bool,
}

impl Visit<'_> {
    /// Whether something that reads this must be computed again, if its last result holds until
    /// `until`.
    pub fn affected(&self, reads: &Reads, until: Timestamp) -> bool {
        self.dirty.all
            || until <= self.now
            || reads.queries.iter().any(|query| self.dirty.queries.contains(query))
            || self.dirty.related.iter().any(|(kind, moved)| match moved {
                RelatedChange::Anything => program::reaches(reads, *kind),
                RelatedChange::Features(features) => reads.features.iter().any(|feature| features.contains(feature)),
            })
    }

    /// The queries that this evaluation reads. If one is missing here, its rows are read one by
    /// one.
    fn queries_to_read(&self, segments: &BTreeSet<usize>) -> BTreeSet<QueryId> {
        let Visit { program, row, dirty, .. } = self;
        let kind = self.subject.kind;
        let mut queries = BTreeSet::new();
        if row.departing == 0 {
            queries.extend(program.queries_of(segments));
        }
        let due_at = |id| row.features.iter().find(|known| known.id == id).map_or(Timestamp::MIN, |known| known.due_at);
        let features = program.features(kind).filter(|feature| !feature.reads.queries.is_empty());
        for feature in features.filter(|feature| self.affected(&feature.reads, due_at(feature.id))) {
            queries.extend(feature.reads.queries.iter().copied());
        }
        for attribute in program.attributes_of(kind) {
            if dirty.due || dirty.since.is_some() || !attribute.reads.segments.is_empty() || self.affected(&attribute.reads, Timestamp::MAX) {
                queries.extend(attribute.reads.queries.iter().copied());
            }
        }
        queries
    }
}

impl Step<'_> {
    /// Evaluates a subject for all that marked it.
    pub(super) fn evaluate(&mut self, subject: &SubjectId, mut dirty: Dirty) -> Result<(), StateError> {
        self.out.cause = dirty.origin.clone();
        let program = Arc::clone(&self.program);
        if !self.bring_up_to_date(subject, &program, &mut dirty)? {
            // A partial history belongs to nobody: everything is evaluated when the chore is done,
            // or all has arrived.
            self.tx.subject(subject)?.timer.0 = Timestamp::MAX;
            return Ok(());
        }
        let row = self.tx.subject(subject)?.clone();
        let now = self.tx.now;
        let alive = is_alive(subject.kind, &row, now);
        let mut visit = Visit {
            subject,
            program: &program,
            now,
            row,
            dirty,
            alive,
        };
        if let Some(held) = visit.row.held.take().filter(|_| self.out.cause.cause == CauseKind::Timer) {
            self.out.cause = held.origin;
        }
        let lacked = std::mem::take(&mut visit.row.lacking);
        // It appeared, or disappeared, perhaps by time alone.
        visit.dirty.all |= alive != (visit.row.announced == Standing::Alive);
        if !visit.dirty.is_of_events() {
            visit.row.truths.clear();
        }
        let segments = visit.segments_to_evaluate();
        if alive && !self.advance_queries(subject, &visit.queries_to_read(&segments))? {
            self.tx.subject(subject)?.timer.0 = Timestamp::MAX;
            return Ok(());
        }
        self.features(&mut visit)?;
        self.memberships_and_activations(&mut visit, segments)?;
        self.acknowledge_arrivals(&mut visit);
        // Which attributes were not known is not recorded.
        visit.dirty.all |= lacked;
        let computed_until = self.compute(&mut visit)?;
        visit.row.timer.0 = self.next_wake(&visit.row, computed_until);
        *self.tx.subject(subject)? = visit.row;
        Ok(())
    }

    /// Brings what is kept of a subject to the present records, instant and plan. Returns whether
    /// it is; otherwise a chore does the rest, or a part of the history has yet to arrive.
    fn bring_up_to_date(&mut self, subject: &SubjectId, program: &Program, dirty: &mut Dirty) -> Result<bool, StateError> {
        if dirty.profile && self.merge_profile(subject)? {
            dirty.all = true;
        }
        dirty.queries.extend(self.expire(subject)?);
        self.settle_oldest(subject)?;
        let row = self.tx.subject(subject)?;
        let revision = row.revision;
        if revision < program.revision {
            row.revision = program.revision;
            dirty.all |= program.all_anew_since(revision);
            dirty.since = Some(revision);
            self.upgrade_queries(subject, revision)?;
        }
        self.refill(subject)?;
        self.settle_kin(subject)?;
        let row = self.tx.subject(subject)?;
        Ok(!row.chore && row.arriving.is_empty())
    }

    fn memberships_and_activations(&mut self, visit: &mut Visit<'_>, segments: BTreeSet<usize>) -> Result<(), StateError> {
        let realized = |row: &SubjectRow| -> BTreeSet<Text> { row.memberships.iter().filter(|m| m.realized).map(|m| m.segment.clone()).collect() };
        // While nodes are in transit, keep the old activations: the new owner announces itself
        // before this one withdraws.
        if visit.row.departing > 0 {
            return Ok(());
        }
        let before = realized(&visit.row);
        self.memberships(visit, segments)?;
        let dirty = &visit.dirty;
        if before != realized(&visit.row) || dirty.profile || dirty.all || dirty.since.is_some() {
            self.activation().activations(visit.subject, &visit.row, dirty.all)?;
        }
        Ok(())
    }

    /// An arrival is acknowledged as soon as the entries it causes are known. If those wait for
    /// this subject's own departures, it is acknowledged at once: two subjects that exchange nodes
    /// would otherwise wait for each other for ever.
    fn acknowledge_arrivals(&mut self, visit: &mut Visit<'_>) {
        if visit.row.open && visit.row.departing == 0 {
            return;
        }
        for arrival in std::mem::take(&mut visit.row.arrivals) {
            let subject = SubjectId {
                kind: visit.subject.kind,
                id: arrival.from,
            };
            self.out.send(Message::Arrived {
                subject,
                node: arrival.node,
                epoch: arrival.epoch,
            });
        }
    }

    fn next_wake(&self, row: &SubjectRow, computed_until: Timestamp) -> Timestamp {
        let memberships = row.memberships.iter().map(|membership| membership.valid_until);
        let features = row.features.iter().map(|feature| feature.due_at);
        let events = row.oldest_event_at.map(|oldest| {
            if oldest > self.tx.now {
                oldest
            } else {
                oldest.plus_ms(self.deployment.retention_ms())
            }
        });
        let held = row.held.iter().map(|held| held.until);
        memberships
            .chain(features)
            .chain(events)
            .chain(held)
            .chain([computed_until])
            .filter(|at| *at > self.tx.now)
            .min()
            .unwrap_or(Timestamp::MAX)
    }

    /// A rule needed too many items for this subject, and counted as false or null.
    pub(super) fn count_exhausted(&mut self, rule: Text) {
        self.out.count(Counter::RulesExhausted, [rule]);
    }
}

/// Whether the subject is in the population: a live record, or a retained event that has happened.
pub fn is_alive(kind: SubjectKind, row: &SubjectRow, now: Timestamp) -> bool {
    row.records > 0 || (kind == SubjectKind::Person && row.oldest_event_at.is_some_and(|oldest| oldest <= now))
}
