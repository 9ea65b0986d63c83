//! Work left by time or by earlier steps: due timers, fan-out over dependents, backfill of a new
//! plan. All of it only marks subjects, within a budget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_model::metric::Gauge;
use millrace_model::{Identity, SubjectId, SubjectKind, Text, Timestamp};

use super::Step;
use crate::format;
use crate::key::Wake;
use crate::key::{self, Parts, table};
use crate::machine::Measure;
use crate::origin::Origin;
use crate::row::{BackfillRow, ChoreRow, FanoutRow, ReviewRow, Revision};
use crate::state::StateError;
use crate::tx::prefix_end;

/// Kinds in the order in which a backfill takes them: dependencies first.
const BACKFILL_ORDER: [SubjectKind; 5] = [
    SubjectKind::Campaign,
    SubjectKind::List,
    SubjectKind::Opportunity,
    SubjectKind::Account,
    SubjectKind::Person,
];

/// After all fan-out jobs.
const FANOUTS_END: &[u8] = &[table::FANOUT + 1];

/// Fan-out jobs of one step.
#[derive(Default)]
pub(super) struct Fanouts {
    /// Those that are new or advanced in this step; `None`: finished.
    jobs: BTreeMap<Identity, Option<FanoutRow>>,
    /// Those among them that are not finished.
    waiting: BTreeSet<Identity>,
    /// Of the stored jobs, those before this key are among `jobs`.
    stored_from: Vec<u8>,
}

impl Fanouts {
    /// No job is stored before `stored_from`: saves walks over the deletion markers of earlier
    /// ones.
    pub(super) fn new(stored_from: Vec<u8>) -> Fanouts {
        Fanouts {
            stored_from,
            ..Fanouts::default()
        }
    }

    pub(super) fn put(&mut self, node: Identity, job: FanoutRow) {
        self.waiting.insert(node.clone());
        self.jobs.insert(node, Some(job));
    }
}

/// Background work that waits.
pub(super) enum Job {
    Fanout(Identity, FanoutRow),
    Chore(SubjectId, ChoreRow),
    Review(ReviewRow),
    Backfill(BackfillRow),
}

impl Step<'_> {
    /// Marks what is due now. `from` is moved up to the first one left; `lagging` is whether the
    /// gauge of lateness is above zero. Returns whether more is due than the budget allows.
    pub(super) fn mark_due(&mut self, from: &mut Timestamp, lagging: &mut bool, timers_max: usize) -> Result<bool, StateError> {
        let lower = key::timers_from(*from);
        let upper = key::timers_from(self.tx.now.plus_ms(1));
        let due = self.tx.scan(&lower, &upper, timers_max)?;
        let mut latest_by = 0;
        for (timer_key, _) in &due {
            let Some((at, wake)) = key::wake_of(timer_key) else { continue };
            latest_by = latest_by.max(self.tx.now.0 - at.0);
            match wake {
                Wake::Subject(subject) => {
                    self.agenda.mark_unless_marked(&subject, Origin::timer()).due = true;
                }
                Wake::Link(link) => self.resolve().link_due(&link)?,
            }
        }
        if !due.is_empty() || *lagging {
            *lagging = !due.is_empty();
            let late = Measure::Set(Gauge::TimersDueLag, latest_by as f64 / 1_000.0);
            self.out.measure(late, []);
        }
        let left = due.len() == timers_max;
        // Everything before the last one fired is gone. Timers set later than that may still be
        // before now, but never before a fired one: a wake-up is always registered later than the
        // `now` of its step.
        if let Some((at, _)) = due.last().and_then(|(timer_key, _)| key::wake_of(timer_key)) {
            *from = (*from).max(at);
        }
        Ok(left)
    }

    /// The background work to continue: fan-out first.
    pub(super) fn next_job(&mut self) -> Result<Option<Job>, StateError> {
        if let Some((node, job)) = self.next_fanout()? {
            return Ok(Some(Job::Fanout(node, job)));
        }
        if self.agenda.idle {
            return Ok(None);
        }
        if let Some((subject, chore)) = self.next_chore()? {
            return Ok(Some(Job::Chore(subject, chore)));
        }
        if let Some(review) = self.tx.get(&key::single(table::REVIEW))? {
            return Ok(Some(Job::Review(review)));
        }
        let backfill = self.backfill()?;
        self.agenda.idle = backfill.done;
        Ok((!backfill.done).then_some(Job::Backfill(backfill)))
    }

    /// Does a portion of it.
    pub(super) fn go_on(&mut self, job: Job, portion: usize) -> Result<(), StateError> {
        match job {
            Job::Fanout(node, job) => self.fan_out_some(node, job, portion),
            Job::Chore(subject, job) => self.do_chore(&subject, job, portion),
            Job::Review(job) => self.review_some(job, portion),
            Job::Backfill(job) => self.backfill_some(job, portion),
        }
    }

    /// A node's unfinished job.
    pub(super) fn fanout(&self, node: &Identity) -> Result<Option<FanoutRow>, StateError> {
        match self.agenda.fanouts.jobs.get(node) {
            Some(job) => Ok(job.clone()),
            None => self.tx.get(&key::fanout(node)),
        }
    }

    /// The next fan-out job: one of this step's, otherwise a stored one.
    fn next_fanout(&mut self) -> Result<Option<(Identity, FanoutRow)>, StateError> {
        if let Some(node) = self.agenda.fanouts.waiting.pop_first() {
            let job = self.agenda.fanouts.jobs.get(&node).cloned().flatten();
            return Ok(job.map(|job| (node, job)));
        }
        self.stored_fanout()
    }

    /// The first stored job that this step has not touched.
    fn stored_fanout(&mut self) -> Result<Option<(Identity, FanoutRow)>, StateError> {
        while let Some((job_key, value)) = self.tx.scan(&self.agenda.fanouts.stored_from, FANOUTS_END, 1)?.pop() {
            match Parts::of(&job_key).node() {
                Some(node) if !self.agenda.fanouts.jobs.contains_key(&node) => {
                    self.agenda.fanouts.stored_from = job_key;
                    return Ok(Some((node, format::decode(&value)?)));
                }
                _ => self.agenda.fanouts.stored_from = prefix_end(&job_key),
            }
        }
        self.agenda.fanouts.stored_from = FANOUTS_END.to_vec();
        Ok(None)
    }

    fn fan_out_some(&mut self, node: Identity, mut job: FanoutRow, portion: usize) -> Result<(), StateError> {
        let (first, end) = key::dependents(&node, job.reach);
        let lower = job.cursor.as_deref().map_or(first, prefix_end);
        let dependents = self.tx.scan(&lower, &end, portion)?;
        let kind = SubjectKind::of_namespace(node.namespace());
        for (dependent_key, _) in &dependents {
            if let Some(subject) = key::dependent_of(dependent_key) {
                self.agenda.mark(&subject, &job.origin).moved(kind, &job.moved);
            }
        }
        if dependents.len() < portion {
            self.agenda.fanouts.jobs.insert(node, None);
        } else {
            job.cursor = dependents.last().map(|(last, _)| last.clone());
            self.agenda.fanouts.put(node, job);
        }
        Ok(())
    }

    /// Stores jobs that are left, and deletes stored ones that are done. Returns the key before
    /// which none is stored then.
    pub(super) fn write_fanouts(&mut self) -> Result<Vec<u8>, StateError> {
        let mut stored_from = std::mem::take(&mut self.agenda.fanouts.stored_from);
        for (node, job) in std::mem::take(&mut self.agenda.fanouts.jobs) {
            let job_key = key::fanout(&node);
            match job {
                Some(job) => {
                    stored_from = stored_from.min(job_key.clone());
                    self.tx.put(job_key, &job);
                }
                None => self.tx.delete_if_present(job_key)?,
            }
        }
        Ok(stored_from)
    }

    pub(super) fn backfill(&self) -> Result<BackfillRow, StateError> {
        let row = self.tx.get(&key::single(table::BACKFILL))?;
        Ok(row.unwrap_or_else(|| BackfillRow {
            revision: Revision::default(),
            cursor: None,
            done: true,
            scanned: 0,
            origin: Origin::timer(),
        }))
    }

    /// Whether a backfill is running and will still reach all persons.
    pub(super) fn backfill_comes_to_persons(&self) -> Result<bool, StateError> {
        let job = self.backfill()?;
        Ok(!job.done && job.cursor.as_deref().and_then(key::kind_of) != Some(SubjectKind::Person))
    }

    /// Every subject must be brought to the present revision, from the beginning.
    pub(super) fn start_backfill(&mut self, origin: Origin) {
        let row = BackfillRow {
            revision: self.program.revision,
            cursor: None,
            done: false,
            scanned: 0,
            origin,
        };
        self.tx.put(key::single(table::BACKFILL), &row);
        self.agenda.idle = false;
    }

    fn backfill_some(&mut self, mut job: BackfillRow, portion: usize) -> Result<(), StateError> {
        let revision = Arc::clone(&self.program).revision;
        let place = job.cursor.as_deref().and_then(key::kind_of);
        let at = BACKFILL_ORDER.iter().position(|kind| Some(*kind) == place).unwrap_or(0);
        let mut looks = 0;
        for kind in &BACKFILL_ORDER[at..] {
            let (first, end) = key::nodes(*kind);
            let mut lower = job
                .cursor
                .take()
                .filter(|_| Some(*kind) == place)
                .map_or(first, |cursor| key::after_node(&cursor));
            // A look finds the first row of the next node: that of a subject, if the node is one.
            while let Some((row_key, stored)) = self.tx.scan(&lower, &end, 1)?.pop() {
                lower = key::after_node(&row_key);
                if let Some(subject) = key::subject_of(&row_key).filter(|_| key::table_of(&row_key) == Some(table::SUBJECT)) {
                    job.scanned += 1;
                    self.tx.cache_subject(&subject, Some(stored))?;
                    let row = self.tx.subject(&subject)?;
                    // Subjects upgraded before may have missed features that arrived since for new
                    // rules (`Step::replica`).
                    let missed = row.open || row.lacking;
                    if row.revision < revision || missed {
                        let origin = job.origin.clone();
                        self.agenda.mark_unless_marked(&subject, origin).all |= missed;
                    }
                }
                looks += 1;
                if looks >= portion {
                    job.cursor = Some(row_key);
                    self.tx.put(key::single(table::BACKFILL), &job);
                    return Ok(());
                }
            }
        }
        job.done = true;
        self.tx.put(key::single(table::BACKFILL), &job);
        self.tx.put(key::single(table::BACKFILLED), &job.revision);
        Ok(())
    }

    /// Every home must be checked under the changed guards.
    pub(super) fn start_review(&mut self, origin: Origin) {
        self.tx.put(key::single(table::REVIEW), &ReviewRow { cursor: None, origin });
        self.agenda.idle = false;
    }

    fn review_some(&mut self, mut job: ReviewRow, portion: usize) -> Result<(), StateError> {
        self.out.cause = job.origin.clone();
        let (first, end) = key::all_nodes();
        let mut lower = job.cursor.as_deref().map_or(first, key::after_node);
        for _ in 0..portion {
            let Some((row_key, _)) = self.tx.scan(&lower, &end, 1)?.pop() else {
                self.tx.delete(key::single(table::REVIEW));
                return Ok(());
            };
            lower = key::after_node(&row_key);
            if let Some(home) = key::node_of(&row_key) {
                self.resolve().review(&home)?;
            }
            job.cursor = Some(row_key);
        }
        self.tx.put(key::single(table::REVIEW), &job);
        Ok(())
    }

    /// The size of every audience: reported once, when a shard starts, and then by change.
    pub(super) fn report_audiences(&mut self) -> Result<(), StateError> {
        for (row_key, value) in self.tx.scan_prefix(&[table::AUDIENCE])? {
            if let Some(segment) = Parts::of(&row_key).text() {
                self.report_audience(segment.into(), format::decode(&value)?);
            }
        }
        Ok(())
    }

    fn report_audience(&mut self, segment: Text, members: u64) {
        let size = Measure::Set(Gauge::AudienceSize, members as f64);
        self.out.measure(size, [segment]);
    }

    /// Adds this step's changes to the number of members of each segment.
    pub(super) fn write_audiences(&mut self) -> Result<(), StateError> {
        for (segment, change) in std::mem::take(&mut self.tx.audiences) {
            if change == 0 {
                continue;
            }
            let row_key = key::named(table::AUDIENCE, &segment);
            let before: u64 = self.tx.get(&row_key)?.unwrap_or_default();
            let after = before.saturating_add_signed(change);
            if after == 0 {
                self.tx.delete(row_key)
            } else {
                self.tx.put(row_key, &after)
            }
            self.report_audience(segment, after);
        }
        Ok(())
    }
}
