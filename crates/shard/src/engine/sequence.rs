//! Sequences: how far a person's events lead through a chain, kept event by event.
//!
//! The events of a chain's query are in order of time, one row each, and one row per query says how
//! far they lead, up to the last instant that was folded. A new event is folded after it. An event
//! that is late or deleted, or whose verdict time has changed, is noted; before progress is read, a
//! *walk* folds everything again from the last *milestone* before it, until a later milestone is
//! found unchanged: from there on nothing differs. The cost depends neither on the length of the
//! history nor, mostly, on how far back the change is. A walk that is longer than a step may be
//! stops between two events and continues in a later step.
//!
//! A milestone is the progress after one instant, kept every `MILESTONE_EVENTS` events. Invariant:
//! at its instant there is an event, so that a repeated fold passes it. For an instant with more
//! events than that, the row keeps the instant itself, so that one more event at the same instant
//! is folded alone.

use std::collections::VecDeque;

use millrace_model::{SubjectId, Timestamp};
use millrace_segment::plan::EventQuery;
use millrace_segment::sequence::{ChainProgress, Sequence};
use millrace_segment::view::{EventRow as Kept, QueryId, Timed};

use super::transaction::Transaction;
use crate::format;
use crate::key::{self, Parts, table};
use crate::row::{SequenceRow, SequencedRow, WalkRow};
use crate::state::StateError;
use crate::tx::{Tx, prefix_end};

/// Events from one milestone to the next. A late event causes this number of folds; each milestone
/// is a row as long as progress itself.
const MILESTONE_EVENTS: u32 = 32;

/// Rows of the first page of events, doubled from page to page: mostly one suffices.
const PAGE_ROWS: usize = 64;
const PAGE_ROWS_MAX: usize = 4_096;

impl SequenceRow {
    /// An event was added, deleted or changed its verdict.
    fn note(&mut self, at: Timestamp, id: &str) {
        if let Some(walk) = self.walk.take_if(|walk| walk.has_come_to(at, id)) {
            // Milestones hold up to the event. Those after its place are from before the change.
            let (_, last) = self.changed.unwrap_or((at, at));
            self.changed = Some((at, last.max(walk.at).max(at)));
        } else if at > self.folded_to {
            self.next_at = self.next_at.min(at);
        } else {
            let (first, last) = self.changed.unwrap_or((at, at));
            self.changed = Some((first.min(at), last.max(at)));
        }
        self.instant.take_if(|_| at == self.folded_to);
    }

    /// Whether everything known has been folded, and an event at `at` comes after it and counts
    /// now.
    fn ends_before(&self, at: Timestamp, now: Timestamp) -> bool {
        self.is_folded() && self.turns_at > now && self.folded_to < at && at <= now
    }

    /// Whether everything known has been folded, except for changed verdicts.
    fn is_folded(&self) -> bool {
        self.changed.is_none() && self.next_at == Timestamp::MAX
    }

    /// Whether the chain holds at `now`; `None` if something must be folded before that is known,
    /// or `now` is before what is folded.
    pub(super) fn holds(&self, now: Timestamp) -> Option<Timed<bool>> {
        let next = self.next_at.min(self.turns_at);
        if self.changed.is_some() || next <= now || self.folded_to > now {
            return None;
        }
        let Timed { value, valid_until } = self.progress.holds(now);
        Some(Timed {
            value,
            valid_until: valid_until.min(next),
        })
    }
}

impl Transaction<'_> {
    /// An event that a chain's steps can take.
    pub(super) fn sequence_event(&mut self, subject: &SubjectId, query: &EventQuery, event: Kept) -> Result<(), StateError> {
        let Some(sequence) = &query.sequence else { return Ok(()) };
        let head_key = key::sequence(subject, query.id);
        let mut head: Option<SequenceRow> = self.get(&head_key)?;
        if head.is_some() && self.unsequence_event(subject, query, event.at, &event.id)? {
            head = self.get(&head_key)?;
        }
        let mut head = head.unwrap_or_else(|| SequenceRow::new(sequence.start()));
        head.events += 1;
        if head.ends_before(event.at, self.now) {
            // There is nothing else after the folded events: no need to look.
            sequence.fold(&mut head.progress, std::slice::from_ref(&event), self.now);
            (head.folded_to, head.instant) = (event.at, None);
            head.since += 1;
            if head.since >= MILESTONE_EVENTS {
                self.put(key::milestone(subject, query.id, event.at), &head.progress);
                head.since = 0;
            }
        } else if let Some(mut instant) = head
            .instant
            .take_if(|_| head.changed.is_none() && head.walk.is_none() && head.folded_to == event.at)
        {
            sequence.take(&mut instant, &event, self.now);
            head.progress = sequence.end(instant.clone(), event.at);
            head.instant = Some(instant);
            let milestone_key = key::milestone(subject, query.id, event.at);
            if self.get_bytes(&milestone_key)?.is_some() {
                self.put(milestone_key, &head.progress);
            }
        } else {
            head.note(event.at, &event.id);
        }
        self.put_sequenced(subject, query.id, sequence, &mut head, event);
        self.put(head_key, &head);
        Ok(())
    }

    /// Removes an event; returns whether there was one.
    pub(super) fn unsequence_event(&mut self, subject: &SubjectId, query: &EventQuery, at: Timestamp, id: &str) -> Result<bool, StateError> {
        let event_key = key::sequenced(subject, query.id, at, id);
        let Some(event) = self.get::<SequencedRow>(&event_key)? else {
            return Ok(false);
        };
        self.delete(event_key);
        if event.turns_at < Timestamp::MAX {
            self.delete(key::turn(subject, query.id, event.turns_at, at, id));
        }
        self.delete_if_present(key::milestone(subject, query.id, at))?;
        let head_key = key::sequence(subject, query.id);
        let Some(mut head) = self.get::<SequenceRow>(&head_key)? else {
            return Ok(true);
        };
        head.events = head.events.saturating_sub(1);
        head.note(at, id);
        if head.events == 0 {
            self.delete(head_key)
        } else {
            self.put(head_key, &head)
        }
        Ok(true)
    }

    /// Brings the progress of a chain up to now, over this number of events at most. Returns
    /// whether it is there.
    pub(super) fn advance_sequence(&mut self, subject: &SubjectId, query: &EventQuery, limit: usize) -> Result<bool, StateError> {
        let Some(sequence) = &query.sequence else { return Ok(true) };
        let head_key = key::sequence(subject, query.id);
        let Some(mut head) = self.get::<SequenceRow>(&head_key)? else {
            return Ok(true);
        };
        if head.changed.is_none() && head.next_at.min(head.turns_at) > self.now {
            return Ok(true);
        }
        let mut left = limit;
        let mut done = self.turn_verdicts(subject, query.id, sequence, &mut head, &mut left)?;
        while done && let Some(walk) = self.next_walk(subject, query.id, sequence, &mut head)? {
            done = self.walk(subject, query.id, sequence, &mut head, walk, &mut left)?;
        }
        self.put(head_key, &head);
        Ok(done)
    }

    /// The chains whose progress is kept of this subject, of the present plan or an older one.
    pub(super) fn sequences(&self, subject: &SubjectId) -> Result<Vec<QueryId>, StateError> {
        let heads = self.scan_prefix(&key::of_subject(table::SEQUENCE, subject))?;
        let query = |head_key: &[u8]| Parts::of(head_key).number().map(QueryId);
        Ok(heads.iter().filter_map(|(head_key, _)| query(head_key)).collect())
    }

    fn put_sequenced(&mut self, subject: &SubjectId, query: QueryId, sequence: &Sequence, head: &mut SequenceRow, event: Kept) {
        let turns_at = sequence.turns_at(&event, self.now);
        if turns_at < Timestamp::MAX {
            self.put_bytes(key::turn(subject, query, turns_at, event.at, &event.id), Vec::new());
            head.turns_at = head.turns_at.min(turns_at);
        }
        self.put(
            key::sequenced(subject, query, event.at, &event.id),
            &SequencedRow {
                columns: event.columns,
                turns_at,
            },
        );
    }

    /// Notes the events whose verdicts time has changed, this number at most. Returns whether that
    /// is all of them.
    fn turn_verdicts(
        &mut self,
        subject: &SubjectId,
        query: QueryId,
        sequence: &Sequence,
        head: &mut SequenceRow,
        left: &mut usize,
    ) -> Result<bool, StateError> {
        if head.turns_at > self.now {
            return Ok(true);
        }
        let mut from = key::turns_from(subject, query, head.turns_at);
        let due = self.scan(&from, &key::turns_from(subject, query, self.now.plus_ms(1)), *left)?;
        *left -= due.len();
        for (turn_key, _) in due {
            let event = key::turned(&turn_key);
            from.clone_from(&turn_key);
            self.delete(turn_key);
            let Some((at, id)) = event else { continue };
            let Some(row) = self.get::<SequencedRow>(&key::sequenced(subject, query, at, &id))? else {
                continue;
            };
            head.note(at, &id);
            let (id, columns) = (id.into(), row.columns);
            self.put_sequenced(subject, query, sequence, head, Kept { at, id, columns });
        }
        let first = self.scan(&from, &prefix_end(&key::turns(subject, query)), 1)?;
        head.turns_at = first.first().and_then(|(turn_key, _)| key::turns_at(turn_key)).unwrap_or(Timestamp::MAX);
        Ok(head.turns_at > self.now)
    }

    /// The walk in progress, or the next one needed: from before the first change, or on after what
    /// is folded.
    fn next_walk(&self, subject: &SubjectId, query: QueryId, sequence: &Sequence, head: &mut SequenceRow) -> Result<Option<WalkRow>, StateError> {
        if let Some(walk) = head.walk.take() {
            return Ok(Some(walk));
        }
        let Some((first, _)) = head.changed else {
            let on = || WalkRow::after(head.folded_to, head.since, sequence.begin(head.progress.clone()));
            return Ok((head.next_at <= self.now).then(on));
        };
        let earlier = key::milestone(subject, query, first.plus_ms(-1));
        let milestone = self.scan(&earlier, &prefix_end(&key::milestones(subject, query)), 1)?.pop();
        let (progress, from) = match &milestone {
            Some((milestone_key, value)) => (format::decode(value)?, key::milestone_at(milestone_key).unwrap_or(Timestamp::MIN)),
            None => (sequence.start(), Timestamp::MIN),
        };
        Ok(Some(WalkRow::after(from, 0, sequence.begin(progress))))
    }

    /// Folds events until nothing differs from there on, or no event that counts now is left.
    /// Returns whether it got there within the limit.
    fn walk(
        &mut self,
        subject: &SubjectId,
        query: QueryId,
        sequence: &Sequence,
        head: &mut SequenceRow,
        mut walk: WalkRow,
        left: &mut usize,
    ) -> Result<bool, StateError> {
        let mut events = Events::after(subject, query, &walk);
        loop {
            let next = events.next(self, *left)?;
            let Some(event) = next.as_ref().filter(|event| event.at <= self.now) else {
                head.next_at = next.map_or(Timestamp::MAX, |event| event.at);
                break;
            };
            if *left == 0 {
                head.walk = Some(walk);
                return Ok(false);
            }
            *left -= 1;
            if event.at != walk.at && self.ends_as_before(subject, query, sequence, head, &mut walk)? {
                // The row's copy of the last instant may have begun differently.
                head.instant.take_if(|_| walk.at == head.folded_to);
                head.changed = None;
                return Ok(true);
            }
            sequence.take(&mut walk.instant, event, self.now);
            (walk.at, walk.id) = (event.at, Some(event.id.clone()));
            walk.taken += 1;
            walk.since += 1;
        }
        let many = walk.taken >= MILESTONE_EVENTS && walk.at >= head.folded_to;
        head.instant = many.then(|| walk.instant.clone());
        self.ends_as_before(subject, query, sequence, head, &mut walk)?;
        (head.progress, head.since) = (sequence.end(walk.instant, walk.at), walk.since);
        head.folded_to = head.folded_to.max(walk.at);
        head.changed = None;
        Ok(true)
    }

    /// The instant that a walk has reached has no more events. Returns whether it ends as it did
    /// before, and so does everything after it.
    fn ends_as_before(&mut self, subject: &SubjectId, query: QueryId, sequence: &Sequence, head: &SequenceRow, walk: &mut WalkRow) -> Result<bool, StateError> {
        if walk.taken == 0 {
            return Ok(false);
        }
        let progress = sequence.end(std::mem::take(&mut walk.instant), walk.at);
        let milestone_key = key::milestone(subject, query, walk.at);
        let known: Option<ChainProgress> = self.get(&milestone_key)?;
        let stands = known.as_ref() == Some(&progress);
        let again = walk.at <= head.folded_to;
        let as_before = stands && again && head.changed.is_some_and(|(_, last)| walk.at >= last);
        // If there are milestones already, new ones wait for a wider gap.
        let enough = walk.since >= if again { 2 * MILESTONE_EVENTS } else { MILESTONE_EVENTS };
        if stands {
            walk.since = 0;
        } else if enough || known.is_some() {
            self.put(milestone_key, &progress);
            walk.since = 0;
        }
        walk.instant = sequence.begin(progress);
        walk.taken = 0;
        Ok(as_before)
    }
}

impl WalkRow {
    /// Whether the walk has passed the place of an event.
    fn has_come_to(&self, at: Timestamp, id: &str) -> bool {
        at < self.at || at == self.at && self.id.as_deref().is_none_or(|last| id <= last)
    }

    /// Begins after all events of an instant.
    fn after(at: Timestamp, since: u32, instant: millrace_segment::sequence::Instant) -> WalkRow {
        WalkRow {
            at,
            id: None,
            instant,
            taken: 0,
            since,
        }
    }
}

/// The events of a chain in order of time and id.
struct Events {
    lower: Vec<u8>,
    upper: Vec<u8>,
    page: VecDeque<Kept>,
    rows: usize,
    ended: bool,
}

impl Events {
    /// Those that a walk has not reached.
    fn after(subject: &SubjectId, query: QueryId, walk: &WalkRow) -> Events {
        let lower = match &walk.id {
            Some(id) => prefix_end(&key::sequenced(subject, query, walk.at, id)),
            None => key::sequenced_from(subject, query, walk.at.plus_ms(1)),
        };
        Events {
            lower,
            upper: prefix_end(&key::all_sequenced(subject, query)),
            page: VecDeque::new(),
            rows: PAGE_ROWS,
            ended: false,
        }
    }

    /// `limit`: how many are wanted at most, plus the one that says whether more are left.
    fn next(&mut self, tx: &Tx<'_>, limit: usize) -> Result<Option<Kept>, StateError> {
        if self.page.is_empty() && !self.ended {
            let wanted = self.rows.min(limit.saturating_add(1));
            let rows = tx.scan(&self.lower, &self.upper, wanted)?;
            self.ended = rows.len() < wanted;
            self.rows = (self.rows * 2).min(PAGE_ROWS_MAX);
            if let Some((last, _)) = rows.last() {
                self.lower = prefix_end(last);
            }
            for (event_key, value) in &rows {
                self.page.extend(event(event_key, value)?);
            }
        }
        Ok(self.page.pop_front())
    }
}

/// An event of a chain from its row; `None` where the key is of another form.
pub(super) fn event(event_key: &[u8], value: &[u8]) -> Result<Option<Kept>, StateError> {
    let mut parts = Parts::of(event_key);
    let _ = parts.number();
    let (Some(at), Some(id)) = (parts.instant(), parts.text()) else {
        return Ok(None);
    };
    let row: SequencedRow = format::decode(value)?;
    Ok(Some(Kept {
        at,
        id: id.into(),
        columns: row.columns,
    }))
}
