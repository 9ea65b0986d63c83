//! Features: the values of a subject that others read. They are computed when something they read
//! changes, and sent to subscribed shards and to parents.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::relation::Hop;
use millrace_model::{CanonicalId, SubjectId, SubjectKind, Text, Timestamp};
use millrace_segment::plan::FeaturePlan;
use millrace_segment::view::{FeatureId, Features, Timed};

use super::Step;
use super::evaluate::Visit;
use super::view::SubjectView;
use crate::message::Message;
use crate::program::same_values;
use crate::row::{Detail, OwnFeature, Standing};
use crate::state::StateError;

impl Step<'_> {
    /// Computes the subject's features and sends their changes to subscribers and parents.
    pub(super) fn features(&mut self, visit: &mut Visit<'_>) -> Result<(), StateError> {
        let (subject, program) = (visit.subject, visit.program);
        let mut known: BTreeMap<FeatureId, OwnFeature> = visit.row.features.drain(..).map(|feature| (feature.id, feature)).collect();
        // An expired `valid_until` carries no information; its owner will send the new value.
        known
            .values_mut()
            .filter(|feature| feature.valid_until <= self.tx.now)
            .for_each(|feature| feature.valid_until = Timestamp::MAX);
        let mut after = Vec::new();
        let (mut exhausted, mut lacking) = (false, false);
        if visit.alive && program.features(subject.kind).next().is_some() {
            let stands = |feature: &FeaturePlan| {
                let known = known.get(&feature.id);
                known.filter(|known| !visit.affected(&feature.reads, known.due_at)).cloned()
            };
            let mut queries = BTreeSet::new();
            for feature in program.features(subject.kind).filter(|feature| !feature.reads.queries.is_empty()) {
                if stands(feature).is_none() {
                    queries.extend(feature.reads.queries.iter().copied());
                }
            }
            let view = SubjectView::new(&self.tx, subject, program, queries);
            for feature in program.features(subject.kind) {
                if let Some(known) = stands(feature) {
                    after.push(known);
                    continue;
                }
                // A feature whose facts are missing stays unknown to every reader.
                let result = feature.residual.evaluate(&view, self.tx.now);
                exhausted |= view.take_exhausted();
                lacking |= result.is_err();
                if let Ok(Timed { value, valid_until: due_at }) = result {
                    let rests_on_others = !feature.reads.features.is_empty();
                    let foreseen = rests_on_others
                        .then(|| feature.residual.foresee(&view, self.tx.now, self.tx.now))
                        .and_then(Result::ok);
                    let valid_until = foreseen.map_or(due_at, |foreseen| foreseen.valid_until);
                    after.push(OwnFeature {
                        id: feature.id,
                        value,
                        due_at,
                        valid_until,
                    });
                }
            }
            view.finish()?;
        }
        if exhausted {
            self.count_exhausted(Text::const_new("a part that others read"));
        }
        after.sort_by_key(|feature| feature.id);
        visit.row.lacking |= lacking;
        visit.row.features = after;

        let reads_down = |id| program.reads_down(subject.kind, id);
        let (down, before) = (sendable(&visit.row.features, reads_down), sendable(known.values(), reads_down));
        let banded = program.banded(&down);
        let standing = match (visit.alive, &visit.row.merged_into) {
            (true, _) => Standing::Alive,
            (false, Some(_)) => Standing::Absorbed,
            (false, None) => Standing::Gone,
        };
        // Under a new plan others may read features that had no reader before.
        let changed = visit.dirty.since.is_some() || visit.row.announced != standing;
        let (exact_changed, banded_changed) = (changed || down != before, changed || banded != program.banded(&before));
        for (shard, detail) in &visit.row.subscribers {
            let (features, changed) = match detail {
                Detail::Exact => (&down, exact_changed),
                Detail::Banded => (&banded, banded_changed),
            };
            if changed || visit.dirty.greet.contains(shard) {
                self.out.send(Message::Features {
                    shard: *shard,
                    subject: subject.clone(),
                    standing,
                    features: features.clone(),
                });
            }
        }
        visit.row.announced = standing;
        if program.has_parents(subject.kind) || !visit.row.parents.is_empty() {
            self.send_to_parents(visit)?;
        }
        Ok(())
    }

    /// Sends to the accounts of this opportunity or person what their rules read of it. For a
    /// person, a value that only holds longer or shorter than last sent is not sent: each visit
    /// moves the end of a window, and a visit that changes no value must cost nothing.
    fn send_to_parents(&mut self, visit: &mut Visit<'_>) -> Result<(), StateError> {
        let (subject, program, row) = (visit.subject, visit.program, &mut visit.row);
        let wanted: Vec<FeatureId> = program
            .features(subject.kind)
            .map(|feature| feature.id)
            .filter(|id| program.reads_up(subject.kind, *id))
            .collect();
        let up = sendable(&row.features, |id| program.reads_up(subject.kind, id));
        let complete = wanted.iter().all(|id| up.contains_key(id));
        let mut parents = BTreeSet::new();
        if visit.alive && program.has_parents(subject.kind) {
            let view = SubjectView::new(&self.tx, subject, program, []);
            let accounts = Hop::upwards(SubjectKind::Account, subject.kind).map_or_else(|| Ok(BTreeSet::new()), |up| view.named(up));
            view.finish()?;
            match accounts {
                // Which accounts these are is not known yet; the alias arrives as a change of a
                // related thing.
                Err(_) => return Ok(()),
                Ok(accounts) => parents = accounts,
            }
            if !complete {
                return Ok(());
            }
        }
        let parent_of = |id: &CanonicalId| SubjectId {
            kind: SubjectKind::Account,
            id: id.clone(),
        };
        for gone in row.parents.difference(&parents) {
            self.out.send(Message::Child {
                parent: parent_of(gone),
                child: subject.clone(),
                features: None,
            });
        }
        let stands = if subject.kind == SubjectKind::Person {
            same_values(&row.sent_to_parents, &up)
        } else {
            row.sent_to_parents == up
        };
        for parent in &parents {
            if !stands || !row.parents.contains(parent) {
                let message = Message::Child {
                    parent: parent_of(parent),
                    child: subject.clone(),
                    features: Some(up.clone()),
                };
                self.out.send(message);
            }
        }
        row.parents = parents;
        row.sent_to_parents = up;
        Ok(())
    }
}

/// Features in the form in which they are sent, filtered by `read`.
fn sendable<'f>(features: impl IntoIterator<Item = &'f OwnFeature>, read: impl Fn(FeatureId) -> bool) -> Features {
    let read = features.into_iter().filter(|feature| read(feature.id));
    read.map(|feature| {
        (
            feature.id,
            Timed {
                value: feature.value.clone(),
                valid_until: feature.valid_until,
            },
        )
    })
    .collect()
}
