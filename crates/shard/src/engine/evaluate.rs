//! Evaluation of one subject: computes changes again, and sends the results on.
//!
//! In this order: the profile is merged if its records changed; events too old are dropped; the
//! subject is brought to the plan's revision; its features are computed and sent to their readers;
//! its segments are evaluated and changes of membership emitted; the next wake-up is set.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use millrace_identity::Reason;
use millrace_model::metric::{Counter, Histogram};
use millrace_model::{CanonicalId, Identity, Map, SourceKind, SubjectId, SubjectKind, Text, Timestamp, Value, namespace};
use millrace_segment::plan::{FeaturePlan, Reads, SegmentPlan};
use millrace_segment::view::{FeatureId, Features, QueryId, Timed};

use super::horizon::ends;
use super::resolve::{identities_of, key_at};
use super::view::{Rows, SubjectView};
use super::{Dirty, Step, derive};
use crate::format;
use crate::origin::{CauseKind, Origin};
use crate::key::{self, Bucket, table};
use crate::machine::{Measure, Measurement, Output, OutputTopic, Partition};
use crate::merge::merge;
use crate::message::Message;
use crate::program::{self, Program, same_values};
use crate::record::Fragment;
use crate::row::{self, AsideRow, Detail, FragmentRow, Held, KeptRow, Membership, Moved, OwnFeature, ProfileRelation, ProfileRow, Reference, RelationRow, Standing, SubjectRow};
use crate::state::{Row, StateError};

/// One change of membership.
struct Change<'c> {
    name: &'c Text,
    realized: bool,
    entered_at: Timestamp,
    valid_until: Timestamp,
    /// Those that the subject carries, ascending.
    identities: &'c [Identity],
}

impl Rows for Step<'_> {
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.tx.get_bytes(key)
    }

    fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
        self.tx.scan_prefix(prefix)
    }

    fn kept(&self, subject: &SubjectId, bucket: Bucket) -> Result<Cow<'_, KeptRow>, StateError> {
        match self.buckets.get(&(subject.clone(), bucket)) {
            Some((kept, _)) => Ok(Cow::Borrowed(kept)),
            None => Ok(Cow::Owned(self.tx.get(&key::kept(subject, bucket))?.unwrap_or_default())),
        }
    }
}

impl Step<'_> {
    pub(super) fn evaluate(&mut self, subject: &SubjectId, mut dirty: Dirty) -> Result<(), StateError> {
        let origin = dirty.origin.clone();
        let program = Arc::clone(&self.program);
        if dirty.profile && self.merge_profile(subject, &origin)? {
            dirty.all = true;
        }
        dirty.queries.extend(self.expire(subject, &origin)?);
        self.settle_oldest(subject)?;

        let now = self.now;
        let row = self.subject(subject)?;
        let revision = row.revision;
        if revision < program.revision {
            row.revision = program.revision;
            dirty.all |= program.all_anew_since(revision);
            dirty.since = Some(revision);
            self.upgrade_queries(subject, revision, &origin)?;
        }
        self.refill(subject, &origin)?;
        self.settle_kin(subject, &origin)?;
        let row = self.subject(subject)?;
        if row.chore || !row.arriving.is_empty() {
            // A partial history belongs to nobody: everything is evaluated when the chore is done,
            // or all has arrived.
            row.timer.0 = Timestamp::MAX;
            return Ok(());
        }
        let mut row = self.subject(subject)?.clone();
        let alive = is_alive(subject.kind, &row, now);
        if let Some(held) = row.held.take().filter(|_| dirty.origin.cause == CauseKind::Timer) {
            dirty.origin = held.origin;
        }
        let origin = dirty.origin.clone();
        let lacked = std::mem::take(&mut row.lacking);
        // It appeared, or disappeared, perhaps by time alone.
        dirty.all |= alive != (row.announced == Standing::Alive);
        let segments = self.segments_to_evaluate(subject.kind, &row, &dirty, &program);
        if alive {
            let queries = self.queries_to_read(subject.kind, &row, &dirty, &segments, &program);
            if !self.advance_queries(subject, &queries, &origin)? {
                self.subject(subject)?.timer.0 = Timestamp::MAX;
                return Ok(());
            }
        }
        self.features(subject, &mut row, &dirty, alive, &program, &origin)?;
        let memberships_before: BTreeSet<Text> = row.memberships.iter().filter(|m| m.realized).map(|m| m.segment.clone()).collect();
        if row.departing == 0 {
            self.memberships(subject, &mut row, &dirty, segments, alive, &program)?;
        }
        let changed = memberships_before != row.memberships.iter().filter(|m| m.realized).map(|m| m.segment.clone()).collect();
        // While nodes are in transit, keep the old activations: the new owner announces itself
        // before this one withdraws.
        if row.departing == 0 && (changed || dirty.profile || dirty.all || dirty.since.is_some()) {
            self.activations(subject, &row, dirty.all, &origin)?;
        }
        // An arrival is acknowledged as soon as the entries it causes are known. If those wait for
        // this subject's own departures, it is acknowledged at once: two subjects that exchange
        // nodes would otherwise wait for each other for ever.
        if !row.open || row.departing > 0 {
            for arrival in std::mem::take(&mut row.arrivals) {
                let from = SubjectId {
                    kind: subject.kind,
                    id: arrival.from,
                };
                self.send_to_subject(
                    &from.clone(),
                    Message::Arrived {
                        subject: from,
                        node: arrival.node,
                        epoch: arrival.epoch,
                    },
                    &origin,
                );
            }
        }
        // Which attributes were not known is not recorded.
        dirty.all |= lacked;
        let computed_until = self.compute(subject, &mut row, &dirty, alive, &program)?;
        row.timer.0 = self.next_wake(&row, computed_until);
        *self.subject(subject)? = row;
        Ok(())
    }

    fn next_wake(&self, row: &SubjectRow, computed_until: Timestamp) -> Timestamp {
        let memberships = row.memberships.iter().map(|membership| membership.valid_until);
        let features = row.features.iter().map(|feature| feature.due_at);
        let events = row.oldest_event_at.map(|oldest| {
            if oldest > self.now {
                oldest
            } else {
                oldest.plus_ms(self.config.retention_ms())
            }
        });
        let held = row.held.iter().map(|held| held.until);
        memberships
            .chain(features)
            .chain(events)
            .chain(held)
            .chain([computed_until])
            .filter(|at| *at > self.now)
            .min()
            .unwrap_or(Timestamp::MAX)
    }

    /// Merges fragments and rows again. Returns whether anything that rules can see changed.
    fn merge_profile(&mut self, subject: &SubjectId, origin: &Origin) -> Result<bool, StateError> {
        let profile_key = key::of_subject(table::PROFILE, subject);
        let before: Option<ProfileRow> = self.tx.get(&profile_key)?;
        let mut fragments: Vec<(Identity, Fragment)> = Vec::new();
        let mut rows = Vec::new();
        let (first, end) = key::records(subject);
        for (row_key, value) in self.tx.scan(&first, &end, usize::MAX)? {
            if key::table_of(&row_key) == Some(table::FRAGMENT) {
                let row: FragmentRow = format::decode(&value)?;
                if let (Some(node), Some(fragment)) = (key::Parts::of(&row_key).node(), row.fragment) {
                    fragments.push((node, fragment));
                }
                continue;
            }
            let relation: RelationRow = format::decode(&value)?;
            let (Some((kind, key)), Some(value)) = (row_kind(&row_key), relation.value) else {
                continue;
            };
            rows.push(ProfileRelation {
                kind,
                key: key.into(),
                target: target_of(kind, &value),
                value: living(value),
            });
        }
        rows.sort_by(|a, b| (a.kind, &a.key).cmp(&(b.kind, &b.key)));
        // A row may be attached to two nodes of one cluster while it moves between them.
        rows.dedup_by(|a, b| (a.kind, &a.key) == (b.kind, &b.key));

        let records = u32::try_from(fragments.len()).unwrap_or(u32::MAX);
        let after = if records == 0 && rows.is_empty() {
            ProfileRow::default()
        } else {
            self.profile_of(subject.kind, &fragments, rows)
        };
        let row = self.subject(subject)?;
        let population = (row.records == 0) != (records == 0);
        row.records = records;
        let before_or_none = before.clone().unwrap_or_default();
        if before_or_none == after {
            return Ok(population);
        }
        self.refer(
            subject,
            &derive::references(subject.kind, &before_or_none),
            &derive::references(subject.kind, &after),
            origin,
        )?;
        if after == ProfileRow::default() {
            self.tx.delete(profile_key)
        } else {
            self.tx.put(profile_key, &after)
        }
        Ok(true)
    }

    fn profile_of(&self, kind: SubjectKind, fragments: &[(Identity, Fragment)], rows: Vec<ProfileRelation>) -> ProfileRow {
        let source = source_kind(kind);
        let record = self.config.schema.record(source);
        let attributes = if fragments.is_empty() {
            Value::Null
        } else {
            living(merge(fragments.iter().map(|(node, fragment)| (node, fragment)), record).value)
        };
        let mut identities: BTreeSet<Identity> = BTreeSet::new();
        let mut references: BTreeSet<(Reference, Identity)> = BTreeSet::new();
        for (node, fragment) in fragments {
            let current = fragment.current();
            identities.insert(node.clone());
            identities.extend(identities_of(source, &current));
            if kind == SubjectKind::Person {
                references.extend(key_at(&current, "b2b.accountKey", SubjectKind::Account).map(|node| (Reference::Account, node)));
            }
        }
        match kind {
            SubjectKind::Opportunity => {
                references.extend(key_at(&attributes, "accountKey", SubjectKind::Account).map(|node| (Reference::Account, node)));
                references.extend(key_at(&attributes, "campaignKey", SubjectKind::Campaign).map(|node| (Reference::Campaign, node)));
            }
            SubjectKind::Account => {
                references.extend(key_at(&attributes, "accountParentKey", SubjectKind::Account).map(|node| (Reference::Parent, node)));
                for related in attributes.field("relatedAccountKeys").as_list().unwrap_or_default() {
                    let node = related.field("sourceKey").as_str().and_then(|key| Identity::new(namespace::ACCOUNT, key));
                    references.extend(node.map(|node| (Reference::Related, node)));
                }
            }
            SubjectKind::Person | SubjectKind::Campaign | SubjectKind::List => {}
        }
        ProfileRow {
            attributes,
            identities,
            rows,
            references: references.into_iter().collect(),
        }
    }

    /// Computes the subject's features and sends their changes to subscribers and parents.
    fn features(
        &mut self,
        subject: &SubjectId,
        row: &mut SubjectRow,
        dirty: &Dirty,
        alive: bool,
        program: &Program,
        origin: &Origin,
    ) -> Result<(), StateError> {
        let mut known: BTreeMap<FeatureId, OwnFeature> = row.features.drain(..).map(|feature| (feature.id, feature)).collect();
        // An expired `valid_until` carries no information; its owner will send the new value.
        known
            .values_mut()
            .filter(|feature| feature.valid_until <= self.now)
            .for_each(|feature| feature.valid_until = Timestamp::MAX);
        let mut after = Vec::new();
        let mut exhausted = false;
        if alive && program.features(subject.kind).next().is_some() {
            let stands = |step: &Self, feature: &FeaturePlan| {
                known
                    .get(&feature.id)
                    .filter(|known| !step.affected(dirty, &feature.reads, known.due_at))
                    .cloned()
            };
            let mut queries = BTreeSet::new();
            for feature in program.features(subject.kind).filter(|feature| !feature.reads.queries.is_empty()) {
                if stands(self, feature).is_none() {
                    queries.extend(feature.reads.queries.iter().copied());
                }
            }
            let view = SubjectView::new(self, subject, program, queries);
            for feature in program.features(subject.kind) {
                if let Some(known) = stands(self, feature) {
                    after.push(known);
                    continue;
                }
                // A feature whose facts are missing stays unknown to every reader.
                let result = feature.residual.evaluate(&view, self.now);
                exhausted |= view.take_exhausted();
                row.lacking |= result.is_err();
                if let Ok(Timed { value, valid_until: due_at }) = result {
                    let rests_on_others = !feature.reads.features.is_empty();
                    let foreseen = rests_on_others
                        .then(|| feature.residual.foresee(&view, self.now, self.now))
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
        row.features = after;

        let reads_down = |id| program.reads_down(subject.kind, id);
        let (down, before) = (sendable(&row.features, reads_down), sendable(known.values(), reads_down));
        let banded = program.banded(&down);
        let standing = match (alive, &row.merged_into) {
            (true, _) => Standing::Alive,
            (false, Some(_)) => Standing::Absorbed,
            (false, None) => Standing::Gone,
        };
        // Under a new plan others may read features that had no reader before.
        let changed = dirty.since.is_some() || row.announced != standing;
        let (exact_changed, banded_changed) = (changed || down != before, changed || banded != program.banded(&before));
        for (shard, detail) in &row.subscribers {
            let (features, changed) = match detail {
                Detail::Exact => (&down, exact_changed),
                Detail::Banded => (&banded, banded_changed),
            };
            if changed || dirty.greet.contains(shard) {
                self.send(
                    *shard,
                    Message::Features {
                        subject: subject.clone(),
                        standing,
                        features: features.clone(),
                    },
                    origin,
                );
            }
        }
        row.announced = standing;
        if program.has_parents(subject.kind) || !row.parents.is_empty() {
            self.send_to_parents(subject, row, alive, program, origin)?;
        }
        Ok(())
    }

    /// Sends to the accounts of this opportunity or person what their rules read of it. For a
    /// person, a value that only holds longer or shorter than last sent is not sent: each visit
    /// moves the end of a window, and a visit that changes no value must cost nothing.
    fn send_to_parents(&mut self, subject: &SubjectId, row: &mut SubjectRow, alive: bool, program: &Program, origin: &Origin) -> Result<(), StateError> {
        let wanted: Vec<FeatureId> = program
            .features(subject.kind)
            .map(|feature| feature.id)
            .filter(|id| program.reads_up(subject.kind, *id))
            .collect();
        let up = sendable(&row.features, |id| program.reads_up(subject.kind, id));
        let complete = wanted.iter().all(|id| up.contains_key(id));
        let mut parents = BTreeSet::new();
        if alive && program.has_parents(subject.kind) {
            let relation = if subject.kind == SubjectKind::Person {
                millrace_model::Relation::Accounts
            } else {
                millrace_model::Relation::Account
            };
            let view = SubjectView::new(self, subject, program, []);
            let accounts = view.parents(relation);
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
            self.send_to_subject(
                &parent_of(gone),
                Message::Child {
                    parent: parent_of(gone),
                    child: subject.clone(),
                    features: None,
                },
                origin,
            );
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
                self.send_to_subject(&parent_of(parent), message, origin);
            }
        }
        row.parents = parents;
        row.sent_to_parents = up;
        Ok(())
    }

    /// The queries that this evaluation reads. If one is missing here, its rows are read one by
    /// one.
    fn queries_to_read(&self, kind: SubjectKind, row: &SubjectRow, dirty: &Dirty, segments: &BTreeSet<usize>, program: &Program) -> BTreeSet<QueryId> {
        let mut queries = BTreeSet::new();
        if row.departing == 0 {
            queries.extend(program.queries_of(segments));
        }
        let due_at = |id| row.features.iter().find(|known| known.id == id).map_or(Timestamp::MIN, |known| known.due_at);
        let features = program.features(kind).filter(|feature| !feature.reads.queries.is_empty());
        for feature in features.filter(|feature| self.affected(dirty, &feature.reads, due_at(feature.id))) {
            queries.extend(feature.reads.queries.iter().copied());
        }
        for attribute in program.attributes_of(kind) {
            if dirty.due || dirty.since.is_some() || !attribute.reads.segments.is_empty() || self.affected(dirty, &attribute.reads, Timestamp::MAX) {
                queries.extend(attribute.reads.queries.iter().copied());
            }
        }
        queries
    }

    /// Whether something that reads this must be computed again, if its last result holds until
    /// `until`.
    pub(super) fn affected(&self, dirty: &Dirty, reads: &Reads, until: Timestamp) -> bool {
        dirty.all
            || until <= self.now
            || reads.queries.iter().any(|query| dirty.queries.contains(query))
            || dirty.related.iter().any(|(kind, moved)| match moved {
                Moved::Anything => program::reaches(reads, *kind),
                Moved::Features(features) => reads.features.iter().any(|feature| features.contains(feature)),
            })
    }

    /// Evaluates the segments that the changes can affect, in order, and emits the results. Work
    /// does not grow with segments that are not affected.
    fn memberships(
        &mut self,
        subject: &SubjectId,
        row: &mut SubjectRow,
        dirty: &Dirty,
        mut waiting: BTreeSet<usize>,
        alive: bool,
        program: &Program,
    ) -> Result<(), StateError> {
        if !matches!(subject.kind, SubjectKind::Person | SubjectKind::Account) {
            return Ok(());
        }
        let mut emitted: Vec<(Text, bool, Timestamp)> = Vec::new();
        if dirty.all || dirty.since.is_some() {
            // Members of deleted segments leave.
            row.memberships.retain(|membership| {
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
        let mut view = SubjectView::new(self, subject, program, queries);
        while let Some(place) = waiting.pop_first() {
            let segment = &program.plan.segments[place];
            let result = if alive {
                set_segments(&mut view, segment, &row.memberships, &open);
                segment.residual.evaluate(&view, self.now)
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
            let known = row.memberships.binary_search_by(|membership| membership.segment.cmp(&segment.name));
            let before = known.ok().map(|at| &row.memberships[at]);
            let was_in = before.is_some_and(|membership| membership.realized);
            if realized != was_in && alive {
                if unrest.is_none() {
                    unrest = Some(self.unrest(subject.kind, view.profile())?);
                }
                if let Some(until) = unrest.flatten() {
                    row.held = Some(Held {
                        until,
                        origin: dirty.origin.clone(),
                    });
                    open.insert(segment.name.clone());
                    waiting.extend(program.segments_resting_on(&segment.name));
                    continue;
                }
            }
            let mut entered_at = before.map_or(self.now, |membership| membership.qualified_at);
            if realized != was_in {
                if realized {
                    entered_at = self.now;
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
                Ok(at) if worth_keeping => row.memberships[at] = membership,
                Ok(at) => drop(row.memberships.remove(at)),
                Err(at) if worth_keeping => row.memberships.insert(at, membership),
                Err(_) => {}
            }
        }
        let mut identities = Vec::new();
        if !emitted.is_empty() {
            let mut carried = self.identities(subject, row, view.profile())?;
            carried.insert(subject.id.0.clone());
            identities.extend(carried);
        }
        let reported = emitted.iter().map(|(name, _, _)| name).filter(|_| alive);
        let ends = ends(&mut view, program, &row.memberships, reported, self.now);
        view.finish()?;
        row.open = !open.is_empty();
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
            self.emit(subject, row, change, alive, program, &dirty.origin)?;
        }
        Ok(())
    }

    /// A rule needed too many items for this subject, and counted as false or null.
    pub(super) fn count_exhausted(&mut self, rule: Text) {
        self.count(Counter::RulesExhausted, [rule]);
    }

    /// Places of the segments to evaluate: all of them if anything may have changed, otherwise
    /// those that are new, that read a change, or whose time has come.
    fn segments_to_evaluate(&self, kind: SubjectKind, row: &SubjectRow, dirty: &Dirty, program: &Program) -> BTreeSet<usize> {
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
                Moved::Anything => places.extend(program.segments_reaching(kind, *related)),
                Moved::Features(features) => places.extend(features.iter().flat_map(|feature| program.segments_moved_by(kind, *feature))),
            }
        }
        places
    }

    /// Emits a change of membership.
    fn emit(
        &mut self,
        subject: &SubjectId,
        row: &mut SubjectRow,
        change: Change<'_>,
        alive: bool,
        program: &Program,
        origin: &Origin,
    ) -> Result<(), StateError> {
        let Change {
            name,
            realized,
            entered_at,
            valid_until,
            identities,
        } = change;
        row.sequence += 1;
        row.evaluated_at = Some(self.now);
        let absorbed = !realized && !alive && row.merged_into.is_some();
        let version = match program.definitions.get(name) {
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
            evaluated_at: self.now,
            valid_until: (valid_until < Timestamp::MAX).then_some(valid_until),
            sequence: i64::try_from(row.sequence).unwrap_or(i64::MAX),
            identities: identities.to_vec(),
            cause,
            merged_into: absorbed.then(|| row.merged_into.as_ref().map(|to| to.0.to_string())).flatten(),
        };
        let value = self.config.output.encode_membership(&membership).map_err(StateError::store)?;
        let headers = origin
            .trace
            .iter()
            .map(|trace| ("traceparent".to_owned(), Bytes::copy_from_slice(trace.as_bytes())))
            .collect();
        self.outputs.push(Output {
            topic: OutputTopic::Membership,
            partition: Partition::Hash(Bytes::copy_from_slice(subject_id.as_bytes())),
            key: Some(Bytes::from(format!("{name}|{subject_id}"))),
            value: Some(Bytes::from(value)),
            headers,
        });
        let (member_key, exit_key) = (derive::member(name, subject), key::exited(subject, name));
        if realized {
            self.tx.put_bytes(member_key, Vec::new());
            self.tx.delete_if_present(exit_key)?;
        } else {
            self.tx.delete(member_key);
            let (qualified_at, exited_at) = (entered_at, self.now);
            self.tx.put(exit_key, &row::ExitRow { qualified_at, exited_at });
        }
        *self.audiences.entry(name.clone()).or_default() += if realized { 1 } else { -1 };
        let status = if realized { "realized" } else { "exited" };
        self.count(Counter::MembershipChanges, [name.clone(), Text::const_new(status)]);
        if let Some(ingested_at) = origin.ingested_at {
            let passed = Measure::SecondsSince(Histogram::EndToEnd, ingested_at);
            self.measurements.push(Measurement::new(passed, []));
        }
        Ok(())
    }

    /// Every identity of the subject that a live record or retained event carries, without those
    /// set aside.
    pub(super) fn identities(&self, subject: &SubjectId, row: &SubjectRow, profile: &ProfileRow) -> Result<BTreeSet<Identity>, StateError> {
        let mut identities = profile.identities.clone();
        if row.event_links > 0 {
            for (link_key, _) in self.tx.scan_prefix(&key::of_subject(table::EVENT_LINK, subject))? {
                let mut parts = key::Parts::of(&link_key);
                identities.extend(parts.node());
                identities.extend(parts.node());
            }
        }
        if row.asides > 0 {
            for (node, _) in asides(self.tx.scan_prefix(&key::of_subject(table::ASIDE, subject))?)? {
                identities.remove(&node);
            }
        }
        Ok(identities)
    }
}

/// The identities set aside that rows `ASIDE` name, each with the first reason found.
pub fn asides(rows: Vec<Row>) -> Result<BTreeMap<Identity, Reason>, StateError> {
    let mut found = BTreeMap::new();
    for (aside_key, value) in rows {
        let mut parts = key::Parts::of(&aside_key);
        parts.node();
        let row: AsideRow = format::decode(&value)?;
        if let (Some(node), Some(reason)) = (parts.node(), row.reason) {
            found.entry(node).or_insert(reason);
        }
    }
    Ok(found)
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

/// Passes the decided memberships of the segments that another depends on to a view.
fn set_segments(view: &mut SubjectView<'_>, segment: &SegmentPlan, decided: &[Membership], open: &BTreeSet<Text>) {
    for name in &segment.reads.segments {
        let member = decided.iter().any(|membership| membership.segment == *name && membership.realized);
        view.set_segment(name.clone(), (!open.contains(name)).then_some(Timed::lasting(member)));
    }
}

/// Whether the subject is in the population: a live record, or a retained event that has happened.
pub fn is_alive(kind: SubjectKind, row: &SubjectRow, now: Timestamp) -> bool {
    row.records > 0 || (kind == SubjectKind::Person && row.oldest_event_at.is_some_and(|oldest| oldest <= now))
}

/// The kind of source record whose fragments make up a kind.
pub fn source_kind(kind: SubjectKind) -> SourceKind {
    match kind {
        SubjectKind::Person => SourceKind::Person,
        SubjectKind::Account => SourceKind::Account,
        SubjectKind::Opportunity => SourceKind::Opportunity,
        SubjectKind::Campaign => SourceKind::Campaign,
        SubjectKind::List => SourceKind::MarketingList,
    }
}

/// The target node of a relation row.
fn target_of(kind: SourceKind, value: &Value) -> Option<Identity> {
    match kind {
        SourceKind::AccountPerson => key_at(value, "accountKey", SubjectKind::Account),
        SourceKind::OpportunityPerson => key_at(value, "opportunityKey", SubjectKind::Opportunity),
        SourceKind::CampaignMember => key_at(value, "campaignKey", SubjectKind::Campaign),
        SourceKind::MarketingListMember => key_at(value, "marketingListKey", SubjectKind::List),
        SourceKind::Person
        | SourceKind::Account
        | SourceKind::Opportunity
        | SourceKind::Campaign
        | SourceKind::MarketingList
        | SourceKind::AccountLink
        | SourceKind::Activity
        | SourceKind::AudienceMember => None,
    }
}

/// `isDeleted` can be read, and is false on live things.
fn living(mut value: Value) -> Value {
    if let Value::Map(map) = &mut value {
        map.insert("isDeleted", Value::Bool(false));
    } else if value.is_null() {
        value = Value::Map(Map::new());
    }
    value
}

fn row_kind(row_key: &[u8]) -> Option<(SourceKind, String)> {
    let mut parts = key::Parts::of(row_key);
    parts.node()?;
    let kind = parts.byte()?;
    let kind = SourceKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
    Some((kind, parts.text()?))
}

fn non_empty(text: &Text) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}
