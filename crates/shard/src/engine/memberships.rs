//! Memberships: the segments of a person or account, evaluated where a change can affect them, and
//! the changes that leave for the audience topic.

use std::collections::BTreeSet;

use bytes::Bytes;
use millrace_model::metric::{Counter, Histogram};
use millrace_model::{Identity, SubjectKind, Text, Timestamp, Value};
use millrace_segment::plan::SegmentPlan;
use millrace_segment::view::Timed;

use super::Step;
use super::evaluate::Visit;
use super::horizon::ends;
use super::profile::carried_identities;
use super::view::SubjectView;
use crate::key::{self, table};
use crate::machine::{Measure, Output, OutputTopic, Partition};
use crate::origin::CauseKind;
use crate::row::{ExitRow, Held, Membership, RelatedChange};
use crate::state::StateError;

/// One change of membership.
struct Change<'c> {
    name: &'c Text,
    realized: bool,
    entered_at: Timestamp,
    valid_until: Timestamp,
    /// Those that the subject carries, ascending.
    identities: &'c [Identity],
}

impl Visit<'_> {
    /// Places of the segments to evaluate: all of them if anything may have changed, otherwise
    /// those that are new, that read a change, or whose time has come.
    pub(super) fn segments_to_evaluate(&self) -> BTreeSet<usize> {
        let Visit { program, row, dirty, .. } = self;
        let kind = self.subject.kind;
        if !matches!(kind, SubjectKind::Person | SubjectKind::Account) {
            return BTreeSet::new();
        }
        // Which segments were left open is not recorded: that is rare, and short.
        if dirty.all || row.open {
            return program.segments_of(kind).iter().copied().collect();
        }
        let mut places: BTreeSet<usize> = dirty.since.iter().flat_map(|revision| program.segments_since(kind, *revision)).collect();
        let due = row.memberships.iter().filter(|membership| membership.valid_until <= self.now);
        places.extend(due.filter_map(|membership| program.segment_place(&membership.segment)));
        for query in &dirty.queries {
            places.extend(program.segments_reading(*query));
        }
        for (related, moved) in &dirty.related {
            match moved {
                RelatedChange::Anything => places.extend(program.segments_reaching(kind, *related)),
                RelatedChange::Features(features) => places.extend(features.iter().flat_map(|feature| program.segments_reading_feature(kind, *feature))),
            }
        }
        places
    }
}

impl Step<'_> {
    /// Evaluates the segments that the changes can affect, in order, and emits the results. Work
    /// does not grow with segments that are not affected.
    pub(super) fn memberships(&mut self, visit: &mut Visit<'_>, mut waiting: BTreeSet<usize>) -> Result<(), StateError> {
        let (subject, program, alive) = (visit.subject, visit.program, visit.alive);
        if !matches!(subject.kind, SubjectKind::Person | SubjectKind::Account) {
            return Ok(());
        }
        let mut emitted: Vec<(Text, bool, Timestamp)> = Vec::new();
        if visit.dirty.all || visit.dirty.since.is_some() {
            // Members of deleted segments leave.
            visit.row.memberships.retain(|membership| {
                // A name may now mean a segment of other subjects.
                let exists = program.segment(&membership.segment).is_some_and(|segment| segment.subject == subject.kind);
                if !exists && membership.realized {
                    emitted.push((membership.segment.clone(), false, membership.qualified_at));
                    waiting.extend(program.segments_resting_on(&membership.segment));
                }
                exists
            });
        }
        let mut open: BTreeSet<Text> = BTreeSet::new();
        let mut exhausted: Vec<Text> = Vec::new();
        // Looked up at the first change.
        let mut unrest: Option<Option<Timestamp>> = None;
        // One view for all: facts that several segments read are read once.
        let queries = program.queries_of(&waiting);
        let mut view = SubjectView::new(&self.tx, subject, program, queries).with_truths(std::mem::take(&mut visit.row.truths));
        while let Some(place) = waiting.pop_first() {
            let segment = &program.plan.segments[place];
            let result = if alive {
                set_segments(&mut view, segment, &visit.row.memberships, &open);
                segment.residual.evaluate(&view, self.tx.now)
            } else {
                Ok(Timed {
                    value: Value::Bool(false),
                    valid_until: Timestamp::MAX,
                })
            };
            exhausted.extend(view.take_exhausted().then(|| segment.name.clone()));
            let Ok(Timed { value, valid_until }) = result else {
                open.insert(segment.name.clone());
                waiting.extend(program.segments_resting_on(&segment.name));
                continue;
            };
            let realized = value.as_bool().unwrap_or(false);
            let known = visit.row.memberships.binary_search_by(|membership| membership.segment.cmp(&segment.name));
            let before = known.ok().map(|at| &visit.row.memberships[at]);
            let was_in = before.is_some_and(|membership| membership.realized);
            if realized != was_in && alive {
                if unrest.is_none() {
                    unrest = Some(self.unrest(subject.kind, view.profile())?);
                }
                if let Some(until) = unrest.flatten() {
                    visit.row.held = Some(Held {
                        until,
                        origin: self.out.cause.clone(),
                    });
                    open.insert(segment.name.clone());
                    waiting.extend(program.segments_resting_on(&segment.name));
                    continue;
                }
            }
            let mut entered_at = before.map_or(self.tx.now, |membership| membership.qualified_at);
            if realized != was_in {
                if realized {
                    entered_at = self.tx.now;
                }
                emitted.push((segment.name.clone(), realized, entered_at));
                waiting.extend(program.segments_resting_on(&segment.name));
            }
            let worth_keeping = realized || valid_until < Timestamp::MAX;
            let membership = Membership {
                segment: segment.name.clone(),
                realized,
                qualified_at: entered_at,
                valid_until,
            };
            match known {
                Ok(at) if worth_keeping => visit.row.memberships[at] = membership,
                Ok(at) => drop(visit.row.memberships.remove(at)),
                Err(at) if worth_keeping => visit.row.memberships.insert(at, membership),
                Err(_) => {}
            }
        }
        let mut identities = Vec::new();
        if !emitted.is_empty() {
            let mut carried = carried_identities(&self.tx, subject, &visit.row, view.profile())?;
            carried.insert(subject.id.0.clone());
            identities.extend(carried);
        }
        let reported = emitted.iter().map(|(name, _, _)| name).filter(|_| alive);
        let ends = ends(&mut view, program, &visit.row.memberships, reported, self.tx.now);
        visit.row.truths = view.finish()?;
        visit.row.open = !open.is_empty();
        exhausted.into_iter().for_each(|rule| self.count_exhausted(rule));
        for (name, realized, entered_at) in emitted {
            let valid_until = ends.get(&name).copied().unwrap_or(Timestamp::MAX);
            let change = Change {
                name: &name,
                realized,
                entered_at,
                valid_until,
                identities: &identities,
            };
            self.emit(visit, change)?;
        }
        Ok(())
    }

    /// Emits a change of membership.
    fn emit(&mut self, visit: &mut Visit<'_>, change: Change<'_>) -> Result<(), StateError> {
        let (subject, row, origin) = (visit.subject, &mut visit.row, self.out.cause.clone());
        let Change {
            name,
            realized,
            entered_at,
            valid_until,
            identities,
        } = change;
        row.changes += 1;
        row.evaluated_at = Some(self.tx.now);
        let absorbed = !realized && !visit.alive && row.merged_into.is_some();
        let version = match visit.program.definitions.get(name) {
            Some(accepted) => accepted.row.version,
            None => self.tx.get(&key::named(table::RETIRED, name))?.unwrap_or_default(),
        };
        let cause = millrace_wire::Cause {
            kind: if absorbed { CauseKind::Merge } else { origin.cause }.into(),
            topic: non_empty(&origin.topic),
            key: non_empty(&origin.key).or_else(|| (origin.cause == CauseKind::Definition).then(|| name.to_string())),
            event_id: origin.event_id.as_ref().map(ToString::to_string),
        };
        let subject_id = subject.id.0.to_string();
        let membership = millrace_wire::Membership {
            segment: name.to_string(),
            segment_version: i64::try_from(version).unwrap_or(i64::MAX),
            subject_type: subject.kind.name().to_owned(),
            subject_id: subject_id.clone(),
            status: if realized {
                millrace_wire::Status::Realized
            } else {
                millrace_wire::Status::Exited
            },
            last_qualification_time: entered_at,
            evaluated_at: self.tx.now,
            valid_until: (valid_until < Timestamp::MAX).then_some(valid_until),
            sequence: i64::try_from(row.changes).unwrap_or(i64::MAX),
            identities: identities.to_vec(),
            cause,
            merged_into: absorbed.then(|| row.merged_into.as_ref().map(|to| to.0.to_string())).flatten(),
        };
        let value = self.deployment.output.encode_membership(&membership).map_err(StateError::store)?;
        let headers = origin
            .trace
            .iter()
            .map(|trace| ("traceparent".to_owned(), Bytes::copy_from_slice(trace.as_bytes())))
            .collect();
        self.out.post(Output {
            topic: OutputTopic::Membership,
            partition: Partition::Hash(Bytes::copy_from_slice(subject_id.as_bytes())),
            key: Some(Bytes::from(format!("{name}|{subject_id}"))),
            value: Some(Bytes::from(value)),
            headers,
        });
        let (member_key, exit_key) = (key::member(name, subject), key::exited(subject, name));
        if realized {
            self.tx.put_bytes(member_key, Vec::new());
            self.tx.delete_if_present(exit_key)?;
        } else {
            self.tx.delete(member_key);
            let (qualified_at, exited_at) = (entered_at, self.tx.now);
            self.tx.put(exit_key, &ExitRow { qualified_at, exited_at });
        }
        *self.tx.audiences.entry(name.clone()).or_default() += if realized { 1 } else { -1 };
        let status = if realized { "realized" } else { "exited" };
        self.out.count(Counter::MembershipChanges, [name.clone(), Text::const_new(status)]);
        if let Some(ingested_at) = origin.ingested_at {
            self.out.measure(Measure::SecondsSince(Histogram::EndToEnd, ingested_at), []);
        }
        Ok(())
    }
}

/// Passes the decided memberships of the segments that another depends on to a view.
fn set_segments(view: &mut SubjectView<'_>, segment: &SegmentPlan, decided: &[Membership], open: &BTreeSet<Text>) {
    for name in &segment.reads.segments {
        let member = decided.iter().any(|membership| membership.segment == *name && membership.realized);
        view.set_segment(name.clone(), (!open.contains(name)).then_some(Timed::lasting(member)));
    }
}

fn non_empty(text: &Text) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}
