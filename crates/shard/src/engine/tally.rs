//! Tallies: aggregates over a person's events, kept event by event.
//!
//! Each event of a query has a verdict row; an agenda says when verdicts end. Totals lie in one row a query. Before a tally is read, the verdicts that
//! have ended are given again, so that an event costs the same whatever lies beside it.

use millrace_model::{Timestamp, Value};
use millrace_segment::plan::{EventQuery, EventRow as Kept, QueryId};
use millrace_segment::tally::Tally;

use super::{Step, derive};
use crate::key::{self, Parts, table};
use crate::row::{SubjectId, TalliedValueRow, TallyRow, VerdictRow};
use crate::state::StateError;
use crate::tx::prefix_end;

/// Verdicts given again between two looks at the agenda.
const AGENDA_ROWS: usize = 256;

impl Step<'_> {
    /// An event that counts, or will, or did.
    pub(super) fn tally_event(&mut self, subject: &SubjectId, query: &EventQuery, tally: &Tally, event: Kept) -> Result<(), StateError> {
        self.untally_event(subject, query, tally, &event.id)?;
        let head_key = key::tally(subject, query.id);
        let mut head: TallyRow = self.tx.get(&head_key)?.unwrap_or_default();
        head.events += 1;
        self.give_verdict(subject, query, tally, &mut head, event)?;
        self.tx.put(head_key, &head);
        Ok(())
    }

    /// An event that is no more; whether there was one.
    pub(super) fn untally_event(&mut self, subject: &SubjectId, query: &EventQuery, tally: &Tally, id: &str) -> Result<bool, StateError> {
        let verdict_key = key::verdict(subject, query.id, id);
        let Some(verdict) = self.tx.get::<VerdictRow>(&verdict_key)? else {
            return Ok(false);
        };
        self.tx.delete(verdict_key);
        let head_key = key::tally(subject, query.id);
        let mut head: TallyRow = self.tx.get(&head_key)?.unwrap_or_default();
        head.events = head.events.saturating_sub(1);
        self.take_back(subject, query, tally, &mut head, &verdict, id)?;
        if head.events == 0 {
            self.tx.delete(head_key)
        } else {
            self.tx.put(head_key, &head)
        }
        Ok(true)
    }

    /// Brings a tally up to now.
    pub(super) fn advance_tally(&mut self, subject: &SubjectId, query: &EventQuery) -> Result<(), StateError> {
        let Some(tally) = &query.tally else { return Ok(()) };
        let head_key = key::tally(subject, query.id);
        let Some(mut head) = self.tx.get::<TallyRow>(&head_key)? else { return Ok(()) };
        if head.valid_until > self.now {
            return Ok(());
        }
        let agenda = key::agenda(subject, query.id);
        let end = prefix_end(&agenda);
        loop {
            let page = self.tx.scan(&agenda, &end, AGENDA_ROWS)?;
            let mut caught_up = page.len() < AGENDA_ROWS;
            for (entry, _) in &page {
                let mut parts = Parts::of(entry);
                let _ = (parts.subject(), parts.number());
                let (Some(until), Some(id)) = (parts.instant(), parts.text()) else { continue };
                if until > self.now {
                    caught_up = true;
                    break;
                }
                let verdict_key = key::verdict(subject, query.id, &id);
                let Some(verdict) = self.tx.get::<VerdictRow>(&verdict_key)? else {
                    self.tx.delete(entry.clone());
                    continue;
                };
                self.take_back(subject, query, tally, &mut head, &verdict, &id)?;
                self.give_verdict(
                    subject,
                    query,
                    tally,
                    &mut head,
                    Kept {
                        at: verdict.at,
                        id: id.as_str().into(),
                        columns: verdict.columns,
                    },
                )?;
            }
            if caught_up {
                break;
            }
        }
        // Verdicts given just now are on the agenda as well.
        head.valid_until = self.first_on_agenda(&agenda, &end)?;
        self.tx.put(head_key, &head);
        Ok(())
    }

    /// The queries that keep a row an event of this subject, of the present plan or an older one.
    pub(super) fn queries_with_events(&self, subject: &SubjectId) -> Result<Vec<QueryId>, StateError> {
        let prefix = key::of_subject(table::VERDICT, subject);
        let (mut lower, end) = (prefix.clone(), prefix_end(&prefix));
        let mut found = Vec::new();
        // One look a query, however many events it has.
        while let Some((first, _)) = self.tx.scan(&lower, &end, 1)?.first() {
            let Some(id) = Parts::of(first).number().map(QueryId) else { break };
            found.push(id);
            lower = prefix_end(&key::verdicts(subject, id));
        }
        Ok(found)
    }

    /// Forgets every event that a query kept, and its tally.
    pub(super) fn drop_query_events(&mut self, subject: &SubjectId, query: QueryId) -> Result<(), StateError> {
        for prefix in [key::verdicts(subject, query), key::tallied_values(subject, query), key::agenda(subject, query)] {
            for (row_key, _) in self.tx.scan_prefix(&prefix)? {
                self.tx.delete(row_key);
            }
        }
        self.tx.delete_if_present(key::tally(subject, query))
    }

    fn first_on_agenda(&self, agenda: &[u8], end: &[u8]) -> Result<Timestamp, StateError> {
        let first = self.tx.scan(agenda, end, 1)?;
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
            if tally.keeps_values() {
                self.count_value(subject, query, tally, head, value, true)?;
            }
        }
        let valid_until = verdict.valid_until;
        if valid_until < Timestamp::MAX {
            self.tx.put_bytes(derive::agenda_entry(subject, query.id, valid_until, &event.id), Vec::new());
            head.valid_until = head.valid_until.min(valid_until);
        }
        let verdict_key = key::verdict(subject, query.id, &event.id);
        self.tx.put(
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
            if tally.keeps_values() {
                self.count_value(subject, query, tally, head, value, false)?;
            }
        }
        if verdict.valid_until < Timestamp::MAX {
            self.tx.delete(derive::agenda_entry(subject, query.id, verdict.valid_until, id));
        }
        Ok(())
    }

    /// Counts how often a value counts, and with it the distinct values and the extreme one.
    fn count_value(&mut self, subject: &SubjectId, query: &EventQuery, tally: &Tally, head: &mut TallyRow, value: &Value, up: bool) -> Result<(), StateError> {
        let prefix = key::tallied_values(subject, query.id);
        let value_key = key::tallied_value(subject, query.id, value, tally.greatest());
        let known: Option<TalliedValueRow> = self.tx.get(&value_key)?;
        let before = known.map_or(0, |known| known.times);
        let times = if up { before + 1 } else { before.saturating_sub(1) };
        if times == 0 {
            self.tx.delete(value_key);
        } else {
            self.tx.put(value_key, &TalliedValueRow { value: value.clone(), times });
        }
        if (before == 0) != (times == 0) {
            head.totals.distinct = if up {
                head.totals.distinct + 1
            } else {
                head.totals.distinct.saturating_sub(1)
            };
            if tally.has_extreme() {
                let first = self.tx.scan(&prefix, &prefix_end(&prefix), 1)?;
                let first = first.first().map(|(_, row)| crate::row::decode::<TalliedValueRow>(row)).transpose()?;
                head.extreme = first.map(|row| row.value);
            }
        }
        Ok(())
    }
}
