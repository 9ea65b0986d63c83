//! Tallies: aggregates over a person's events, kept event by event.
//!
//! Each event of a query has a verdict row; an agenda says when verdicts end. Each query has one
//! row of totals. Before a tally is read, the verdicts that have ended are computed again, so that
//! an event costs the same however many others there are.

use millrace_model::{SubjectId, Timestamp, Value};
use millrace_segment::Asked;
use millrace_segment::Totals;
use millrace_segment::plan::EventQuery;
use millrace_segment::tally::Tally;
use millrace_segment::view::{EventRow as Kept, QueryId};

use super::transaction::Transaction;
use crate::key::{self, Parts, table};
use crate::row::{TalliedValueRow, TallyRow, VerdictRow};
use crate::state::StateError;
use crate::tx::prefix_end;

impl Transaction<'_> {
    /// An event that counts, or will, or did.
    pub(super) fn tally_event(&mut self, subject: &SubjectId, query: &EventQuery, tally: &Tally, event: Kept) -> Result<(), StateError> {
        self.untally_event(subject, query, tally, &event.id)?;
        let head_key = key::tally(subject, query.id);
        let mut head: TallyRow = self.get(&head_key)?.unwrap_or_default();
        head.events += 1;
        self.give_verdict(subject, query, tally, &mut head, event)?;
        self.put(head_key, &head);
        Ok(())
    }

    /// Removes an event; returns whether there was one.
    pub(super) fn untally_event(&mut self, subject: &SubjectId, query: &EventQuery, tally: &Tally, id: &str) -> Result<bool, StateError> {
        let verdict_key = key::verdict(subject, query.id, id);
        let Some(verdict) = self.get::<VerdictRow>(&verdict_key)? else {
            return Ok(false);
        };
        self.delete(verdict_key);
        let head_key = key::tally(subject, query.id);
        let mut head: TallyRow = self.get(&head_key)?.unwrap_or_default();
        head.events = head.events.saturating_sub(1);
        self.take_back(subject, query, tally, &mut head, &verdict, id)?;
        if head.events == 0 {
            self.delete(head_key)
        } else {
            self.put(head_key, &head)
        }
        Ok(true)
    }

    /// Brings a tally up to now, over this number of verdicts at most. Returns whether it is there.
    pub(super) fn advance_tally(&mut self, subject: &SubjectId, query: &EventQuery, limit: usize) -> Result<bool, StateError> {
        let Some(tally) = &query.tally else { return Ok(true) };
        let head_key = key::tally(subject, query.id);
        let Some(mut head) = self.get::<TallyRow>(&head_key)? else {
            return Ok(true);
        };
        if head.valid_until > self.now {
            return Ok(true);
        }
        // Nothing ends before the first verdict does; a walk over deleted rows costs as much as one
        // over live ones.
        let mut from = key::agenda_from(subject, query.id, head.valid_until);
        let end = prefix_end(&key::agenda(subject, query.id));
        for (entry, _) in self.scan(&from, &end, limit)? {
            let mut parts = Parts::of(&entry);
            let _ = (parts.subject(), parts.number());
            let (Some(until), Some(id)) = (parts.instant(), parts.text()) else { continue };
            if until > self.now {
                break;
            }
            from.clone_from(&entry);
            let Some(verdict) = self.get::<VerdictRow>(&key::verdict(subject, query.id, &id))? else {
                self.delete(entry);
                continue;
            };
            self.take_back(subject, query, tally, &mut head, &verdict, &id)?;
            let (at, id, columns) = (verdict.at, id.as_str().into(), verdict.columns);
            self.give_verdict(subject, query, tally, &mut head, Kept { at, id, columns })?;
        }
        // New verdicts are on the agenda as well.
        head.valid_until = self.first_on_agenda(&from, &end)?;
        self.put(head_key, &head);
        Ok(head.valid_until > self.now)
    }

    /// The queries that keep one row per event of this subject, of the present plan or an older
    /// one.
    pub(super) fn queries_with_events(&self, subject: &SubjectId) -> Result<Vec<QueryId>, StateError> {
        let prefix = key::of_subject(table::VERDICT, subject);
        let (mut lower, end) = (prefix.clone(), prefix_end(&prefix));
        let mut found = Vec::new();
        // One read per query, however many events it has.
        while let Some((first, _)) = self.scan(&lower, &end, 1)?.first() {
            let Some(id) = Parts::of(first).number().map(QueryId) else { break };
            found.push(id);
            lower = prefix_end(&key::verdicts(subject, id));
        }
        Ok(found)
    }

    fn first_on_agenda(&self, from: &[u8], end: &[u8]) -> Result<Timestamp, StateError> {
        let first = self.scan(from, end, 1)?;
        let until = first.first().and_then(|(entry, _)| {
            let mut parts = Parts::of(entry);
            let _ = (parts.subject(), parts.number());
            parts.instant()
        });
        Ok(until.unwrap_or(Timestamp::MAX))
    }

    fn give_verdict(&mut self, subject: &SubjectId, query: &EventQuery, tally: &Tally, head: &mut TallyRow, event: Kept) -> Result<(), StateError> {
        let verdict = tally.judge(&event, self.now);
        if let Some(value) = &verdict.value {
            head.totals.add(value);
            if tally.asked().keeps_values() {
                self.count_value(subject, query.id, tally.asked(), &mut head.totals, &mut head.extreme, value, true)?;
            }
        }
        let valid_until = verdict.valid_until;
        if valid_until < Timestamp::MAX {
            self.put_bytes(key::agenda_entry(subject, query.id, valid_until, &event.id), Vec::new());
            head.valid_until = head.valid_until.min(valid_until);
        }
        let verdict_key = key::verdict(subject, query.id, &event.id);
        self.put(
            verdict_key,
            &VerdictRow {
                at: event.at,
                columns: event.columns,
                value: verdict.value,
                valid_until,
            },
        );
        Ok(())
    }

    fn take_back(
        &mut self,
        subject: &SubjectId,
        query: &EventQuery,
        tally: &Tally,
        head: &mut TallyRow,
        verdict: &VerdictRow,
        id: &str,
    ) -> Result<(), StateError> {
        if let Some(value) = &verdict.value {
            head.totals.remove(value);
            if tally.asked().keeps_values() {
                self.count_value(subject, query.id, tally.asked(), &mut head.totals, &mut head.extreme, value, false)?;
            }
        }
        if verdict.valid_until < Timestamp::MAX {
            self.delete(key::agenda_entry(subject, query.id, verdict.valid_until, id));
        }
        Ok(())
    }

    /// Counts how often a value counts, and with it the distinct values and the extreme one.
    #[expect(clippy::too_many_arguments, reason = "what is counted, where, and the totals that change")]
    pub(super) fn count_value(
        &mut self,
        subject: &SubjectId,
        tally: QueryId,
        asked: Asked,
        totals: &mut Totals,
        extreme: &mut Option<Value>,
        value: &Value,
        up: bool,
    ) -> Result<(), StateError> {
        let prefix = key::tallied_values(subject, tally);
        let value_key = key::tallied_value(subject, tally, value, asked.greatest());
        let known: Option<TalliedValueRow> = self.get(&value_key)?;
        let before = known.map_or(0, |known| known.times);
        let times = if up { before + 1 } else { before.saturating_sub(1) };
        if times == 0 {
            self.delete(value_key);
        } else {
            self.put(value_key, &TalliedValueRow { value: value.clone(), times });
        }
        if (before == 0) != (times == 0) {
            totals.distinct = if up { totals.distinct + 1 } else { totals.distinct.saturating_sub(1) };
            if asked.has_extreme() {
                let first = self.scan(&prefix, &prefix_end(&prefix), 1)?;
                let first = first.first().map(|(_, row)| crate::format::decode::<TalliedValueRow>(row)).transpose()?;
                *extreme = first.map(|row| row.value);
            }
        }
        Ok(())
    }
}
