//! Computed attributes: the value of an expression, kept with each person or account for display.
//! Rules do not read the kept value: they have the expression filled in.

use std::collections::BTreeMap;

use millrace_model::{SubjectKind, Text, Timestamp, Value};
use millrace_segment::plan::SegmentPlan;
use millrace_segment::view::Timed;

use super::Step;
use super::evaluate::Visit;
use super::view::SubjectView;
use crate::key::{self, table};
use crate::row::{ComputedRow, ComputedValue};
use crate::state::StateError;

impl Step<'_> {
    /// Computes what may have changed, once the memberships are decided; returns the instant at
    /// which time alone changes any.
    pub(super) fn compute(&mut self, visit: &mut Visit<'_>) -> Result<Timestamp, StateError> {
        let (subject, program) = (visit.subject, visit.program);
        if !matches!(subject.kind, SubjectKind::Person | SubjectKind::Account) {
            return Ok(Timestamp::MAX);
        }
        let attributes: Vec<&SegmentPlan> = if visit.alive {
            program.attributes_of(subject.kind).collect()
        } else {
            Vec::new()
        };
        if attributes.is_empty() && !visit.dirty.all && visit.dirty.since.is_none() {
            return Ok(Timestamp::MAX);
        }
        let row_key = key::of_subject(table::COMPUTED, subject);
        let before: ComputedRow = self.tx.get(&row_key)?.unwrap_or_default();
        let mut known: BTreeMap<Text, ComputedValue> = before.iter().map(|kept| (kept.attribute.clone(), kept.clone())).collect();
        let mut after = ComputedRow::new();
        for attribute in attributes {
            let kept = known.remove(&attribute.name);
            let until = kept.as_ref().map_or(Timestamp::MAX, |kept| kept.valid_until);
            // Which memberships changed, and which attributes are new, is not recorded: evaluating
            // again is cheap.
            if attribute.reads.segments.is_empty() && visit.dirty.since.is_none() && !visit.affected(&attribute.reads, until) {
                after.extend(kept);
                continue;
            }
            let mut view = SubjectView::new(&self.tx, subject, program, attribute.reads.queries.iter().copied());
            for name in &attribute.reads.segments {
                let member = visit
                    .row
                    .memberships
                    .iter()
                    .any(|membership| membership.segment == *name && membership.realized);
                view.set_segment(name.clone(), Some(Timed::lasting(member)));
            }
            let result = attribute.residual.evaluate(&view, visit.now);
            let exhausted = view.take_exhausted();
            view.finish()?;
            if exhausted {
                self.count_exhausted(attribute.name.clone());
            }
            match result {
                Ok(Timed { value, valid_until }) if value != Value::Null || valid_until < Timestamp::MAX => {
                    after.push(ComputedValue {
                        attribute: attribute.name.clone(),
                        value,
                        valid_until,
                    });
                }
                Ok(_) => {}
                // A fact is missing. The known value stays; the fact's arrival is a change of a
                // related thing.
                Err(_) => {
                    visit.row.lacking = true;
                    after.extend(kept.map(|kept| ComputedValue {
                        valid_until: Timestamp::MAX,
                        ..kept
                    }));
                }
            }
        }
        if after != before {
            if after.is_empty() {
                self.tx.delete_if_present(row_key)?
            } else {
                self.tx.put(row_key, &after)
            }
        }
        Ok(after.iter().map(|kept| kept.valid_until).min().unwrap_or(Timestamp::MAX))
    }
}
