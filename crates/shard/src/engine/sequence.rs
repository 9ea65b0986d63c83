//! Sequences: how far a person's events lead through a chain, kept event by event.
//!
//! The events of a chain's query lie in order of time, one row each, and one row a query says how far they lead, up to the last instant that was
//! folded. A new event is folded behind it. One that comes late or goes, or whose verdict time has turned, is noted; before progress is read,
//! everything is folded again from the last *milestone* before it, until a later milestone is found as it was: from there on nothing is different.
//! So what it costs depends neither on the length of the history nor, mostly, on how far back the change lies.
//!
//! A milestone is progress as it was behind one instant, kept every `MILESTONE_EVENTS` events. Invariant: at its instant there is an event, so that
//! whoever folds again passes by it.

use std::collections::VecDeque;

use millrace_model::Timestamp;
use millrace_segment::plan::{EventQuery, EventRow as Kept, QueryId, Timed};
use millrace_segment::sequence::{Progress, Sequence};

use super::{Step, derive};
use crate::key::{self, Parts, table};
use crate::row::{self, SequenceRow, SequencedRow, SubjectId};
use crate::state::StateError;
use crate::tx::{Tx, prefix_end};

/// Events from one milestone to the next. A late event costs so many to fold again; each milestone is a row as long as progress itself.
const MILESTONE_EVENTS: u32 = 32;

/// Rows of the first page of events, doubled from page to page: mostly one suffices.
const PAGE_ROWS: usize = 64;
const PAGE_ROWS_MAX: usize = 4_096;

/// Turned verdicts taken at a time.
const TURNS: usize = 256;

impl SequenceRow {
    /// An event that came, went or turned.
    fn note(&mut self, at: Timestamp) {
        if at > self.folded_to {
            self.next_at = self.next_at.min(at);
        } else {
            let (first, last) = self.changed.unwrap_or((at, at));
            self.changed = Some((first.min(at), last.max(at)));
        }
    }

    /// Whether all that is known has been folded, and an event at `at` comes behind it and counts now.
    fn ends_before(&self, at: Timestamp, now: Timestamp) -> bool {
        self.changed.is_none() && self.next_at == Timestamp::MAX && self.turns_at > now && self.folded_to < at && at <= now
    }

    /// Whether the chain holds at `now`; `None` where something is left to be folded before that is known, or `now` lies before what is folded.
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

impl Step<'_> {
    /// An event that a chain's steps can take.
    pub(super) fn sequence_event(&mut self, subject: &SubjectId, query: &EventQuery, event: Kept) -> Result<(), StateError> {
        let Some(sequence) = &query.sequence else { return Ok(()) };
        let head_key = key::sequence(subject, query.id);
        let mut head: Option<SequenceRow> = self.tx.get(&head_key)?;
        if head.is_some() && self.unsequence_event(subject, query, event.at, &event.id)? {
            head = self.tx.get(&head_key)?;
        }
        let mut head = head.unwrap_or_else(|| SequenceRow::new(sequence.start()));
        head.events += 1;
        if head.ends_before(event.at, self.now) {
            // Nothing else lies behind what is folded: no need to look.
            sequence.fold(&mut head.progress, std::slice::from_ref(&event), self.now);
            self.folded(subject, query.id, &mut head, event.at, 1);
        } else {
            head.note(event.at);
        }
        self.put_sequenced(subject, query.id, sequence, &mut head, event);
        self.tx.put(head_key, &head);
        Ok(())
    }

    /// An event that is no more; whether there was one.
    pub(super) fn unsequence_event(&mut self, subject: &SubjectId, query: &EventQuery, at: Timestamp, id: &str) -> Result<bool, StateError> {
        let event_key = key::sequenced(subject, query.id, at, id);
        let Some(event) = self.tx.get::<SequencedRow>(&event_key)? else {
            return Ok(false);
        };
        self.tx.delete(event_key);
        if event.turns_at < Timestamp::MAX {
            self.tx.delete(derive::turn(subject, query.id, event.turns_at, at, id));
        }
        self.tx.delete_if_present(key::milestone(subject, query.id, at))?;
        let head_key = key::sequence(subject, query.id);
        let Some(mut head) = self.tx.get::<SequenceRow>(&head_key)? else {
            return Ok(true);
        };
        head.events = head.events.saturating_sub(1);
        head.note(at);
        if head.events == 0 {
            self.tx.delete(head_key)
        } else {
            self.tx.put(head_key, &head)
        }
        Ok(true)
    }

    /// Brings the progress of a chain up to now.
    pub(super) fn advance_sequence(&mut self, subject: &SubjectId, query: &EventQuery) -> Result<(), StateError> {
        let Some(sequence) = &query.sequence else { return Ok(()) };
        let head_key = key::sequence(subject, query.id);
        let Some(mut head) = self.tx.get::<SequenceRow>(&head_key)? else {
            return Ok(());
        };
        if head.changed.is_none() && head.next_at.min(head.turns_at) > self.now {
            return Ok(());
        }
        self.turn_verdicts(subject, query.id, sequence, &mut head)?;
        if let Some(changed) = head.changed.take() {
            self.fold_again(subject, query.id, sequence, &mut head, changed)?;
        }
        self.fold_on(subject, query.id, sequence, &mut head)?;
        self.tx.put(head_key, &head);
        Ok(())
    }

    /// The chains whose progress is kept of this subject, of the present plan or an older one.
    pub(super) fn sequences(&self, subject: &SubjectId) -> Result<Vec<QueryId>, StateError> {
        let heads = self.tx.scan_prefix(&key::of_subject(table::SEQUENCE, subject))?;
        let query = |head_key: &[u8]| Parts::of(head_key).number().map(QueryId);
        Ok(heads.iter().filter_map(|(head_key, _)| query(head_key)).collect())
    }

    /// Forgets the progress of a chain, and its events.
    pub(super) fn drop_sequence(&mut self, subject: &SubjectId, query: QueryId) -> Result<(), StateError> {
        for prefix in [
            key::all_sequenced(subject, query),
            key::milestones(subject, query),
            derive::turns(subject, query),
        ] {
            for (row_key, _) in self.tx.scan_prefix(&prefix)? {
                self.tx.delete(row_key);
            }
        }
        self.tx.delete_if_present(key::sequence(subject, query))
    }

    fn put_sequenced(&mut self, subject: &SubjectId, query: QueryId, sequence: &Sequence, head: &mut SequenceRow, event: Kept) {
        let turns_at = sequence.turns_at(&event, self.now);
        if turns_at < Timestamp::MAX {
            self.tx.put_bytes(derive::turn(subject, query, turns_at, event.at, &event.id), Vec::new());
            head.turns_at = head.turns_at.min(turns_at);
        }
        self.tx.put(
            key::sequenced(subject, query, event.at, &event.id),
            &SequencedRow {
                columns: event.columns,
                turns_at,
            },
        );
    }

    /// Notes the events whose verdicts time has turned.
    fn turn_verdicts(&mut self, subject: &SubjectId, query: QueryId, sequence: &Sequence, head: &mut SequenceRow) -> Result<(), StateError> {
        if head.turns_at > self.now {
            return Ok(());
        }
        let turns = derive::turns(subject, query);
        let behind_now = derive::turns_from(subject, query, self.now.plus_ms(1));
        loop {
            let due = self.tx.scan(&turns, &behind_now, TURNS)?;
            if due.is_empty() {
                break;
            }
            for (turn_key, _) in due {
                let event = derive::turned(&turn_key);
                self.tx.delete(turn_key);
                let Some((at, id)) = event else { continue };
                let Some(row) = self.tx.get::<SequencedRow>(&key::sequenced(subject, query, at, &id))? else {
                    continue;
                };
                head.note(at);
                self.put_sequenced(
                    subject,
                    query,
                    sequence,
                    head,
                    Kept {
                        at,
                        id: id.into(),
                        columns: row.columns,
                    },
                );
            }
        }
        let first = self.tx.scan(&turns, &prefix_end(&turns), 1)?;
        head.turns_at = first.first().and_then(|(turn_key, _)| derive::turns_at(turn_key)).unwrap_or(Timestamp::MAX);
        Ok(())
    }

    /// Folds again what was folded, from before the first change until nothing is different.
    fn fold_again(
        &mut self,
        subject: &SubjectId,
        query: QueryId,
        sequence: &Sequence,
        head: &mut SequenceRow,
        (first, last): (Timestamp, Timestamp),
    ) -> Result<(), StateError> {
        let earlier = key::milestone(subject, query, first.plus_ms(-1));
        let milestone = self.tx.scan(&earlier, &prefix_end(&key::milestones(subject, query)), 1)?.pop();
        let (mut progress, from) = match &milestone {
            Some((milestone_key, value)) => (row::decode(value)?, key::milestone_at(milestone_key).unwrap_or(Timestamp::MIN)),
            None => (sequence.start(), Timestamp::MIN),
        };
        let mut instants = Instants::between(subject, query, from, head.folded_to);
        let mut since = 0;
        while let Some(events) = instants.next(&self.tx)? {
            let at = events[0].at;
            sequence.fold(&mut progress, &events, self.now);
            since += u32::try_from(events.len()).unwrap_or(u32::MAX);
            let milestone_key = key::milestone(subject, query, at);
            let known: Option<Progress> = self.tx.get(&milestone_key)?;
            if known.as_ref() == Some(&progress) {
                if at >= last {
                    return Ok(());
                }
                since = 0;
            } else if known.is_some() || since >= 2 * MILESTONE_EVENTS {
                self.tx.put(milestone_key, &progress);
                since = 0;
            }
        }
        (head.progress, head.since) = (progress, since);
        Ok(())
    }

    /// Folds what has come behind the last instant folded.
    fn fold_on(&mut self, subject: &SubjectId, query: QueryId, sequence: &Sequence, head: &mut SequenceRow) -> Result<(), StateError> {
        if head.next_at > self.now {
            return Ok(());
        }
        head.next_at = Timestamp::MAX;
        let mut instants = Instants::between(subject, query, head.folded_to, Timestamp::MAX);
        while let Some(events) = instants.next(&self.tx)? {
            let at = events[0].at;
            if at > self.now {
                head.next_at = at;
                break;
            }
            sequence.fold(&mut head.progress, &events, self.now);
            self.folded(subject, query, head, at, events.len());
        }
        Ok(())
    }

    /// The events at `at`, the latest so far, were folded.
    fn folded(&mut self, subject: &SubjectId, query: QueryId, head: &mut SequenceRow, at: Timestamp, events: usize) {
        head.folded_to = at;
        head.since += u32::try_from(events).unwrap_or(u32::MAX);
        if head.since >= MILESTONE_EVENTS {
            self.tx.put(key::milestone(subject, query, at), &head.progress);
            head.since = 0;
        }
    }
}

/// The events of a chain in order of time, those of one instant together.
struct Instants {
    lower: Vec<u8>,
    upper: Vec<u8>,
    page: VecDeque<Kept>,
    rows: usize,
    ended: bool,
}

impl Instants {
    /// Behind `from`, up to and including `to`.
    fn between(subject: &SubjectId, query: QueryId, from: Timestamp, to: Timestamp) -> Instants {
        let behind = |at: Timestamp| match at {
            Timestamp::MAX => prefix_end(&key::all_sequenced(subject, query)),
            at => key::sequenced_from(subject, query, at.plus_ms(1)),
        };
        Instants {
            lower: behind(from),
            upper: behind(to),
            page: VecDeque::new(),
            rows: PAGE_ROWS,
            ended: false,
        }
    }

    fn next(&mut self, tx: &Tx<'_>) -> Result<Option<Vec<Kept>>, StateError> {
        let mut events: Vec<Kept> = Vec::new();
        loop {
            if self.page.is_empty() && !self.ended {
                let rows = tx.scan(&self.lower, &self.upper, self.rows)?;
                self.ended = rows.len() < self.rows;
                self.rows = (self.rows * 2).min(PAGE_ROWS_MAX);
                if let Some((last, _)) = rows.last() {
                    self.lower = prefix_end(last);
                }
                for (event_key, value) in &rows {
                    self.page.extend(event(event_key, value)?);
                }
            }
            match self.page.front() {
                Some(next) if events.last().is_none_or(|event| event.at == next.at) => events.extend(self.page.pop_front()),
                _ => break,
            }
        }
        Ok((!events.is_empty()).then_some(events))
    }
}

/// An event of a chain from its row; `None` where the key is of another form.
pub(super) fn event(event_key: &[u8], value: &[u8]) -> Result<Option<Kept>, StateError> {
    let mut parts = Parts::of(event_key);
    let _ = parts.number();
    let (Some(at), Some(id)) = (parts.instant(), parts.text()) else {
        return Ok(None);
    };
    let row: SequencedRow = row::decode(value)?;
    Ok(Some(Kept {
        at,
        id: id.into(),
        columns: row.columns,
    }))
}
