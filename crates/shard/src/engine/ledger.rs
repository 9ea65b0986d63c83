//! The event ledger of a person, and what event queries keep of it: the newest rows in one row, or
//! one row per event, with a tally or the progress of a chain if the query has one.
//!
//! The ledger is the truth; queries keep only what rules need and are updated with each change of
//! it. An event id counts once however many homes of the person reported it.

use std::sync::Arc;

use millrace_model::{Event, EventOperation, Identity, SubjectId, Text, Timestamp};
use millrace_segment::plan::{EventQuery, Keep};
use millrace_segment::view::{EventRow as Kept, QueryId};

use super::Step;
use super::transaction::Transaction;
use crate::format;
use crate::key::{self, table};
use crate::program::Program;
use crate::row::{EventCopy, EventLinkRow, KeptRow, LedgerRow, QueryRows, Revision, VerdictRow};
use crate::state::StateError;
use crate::tx::prefix_end;
use millrace_identity::Epoch;

impl Step<'_> {
    /// An event from resolve.
    pub(super) fn put_event(&mut self, subject: &SubjectId, home: &Identity, epoch: Epoch, event: Event) -> Result<(), StateError> {
        let body = match event.operation {
            EventOperation::Put(body) => Some(body),
            EventOperation::Delete => None,
        };
        let mut others = event.identities;
        others.retain(|other| other != home);
        others.sort();
        let copy = EventCopy {
            home: home.clone(),
            modified_at: event.modified_at,
            occurred_at: event.occurred_at,
            others,
            body,
        };
        self.put_copy(subject, &event.id, epoch, copy, false)
    }

    /// A home's report of an event, direct or with the home's arrival.
    pub(super) fn put_copy(&mut self, subject: &SubjectId, id: &str, epoch: Epoch, mut copy: EventCopy, arrives: bool) -> Result<(), StateError> {
        let stored = self.tx.get_bytes(&key::event(subject, id))?;
        let event = stored.map(|stored| LedgerRow::decode(subject, id, &stored)).transpose()?.unwrap_or_default();
        let known = event.copies.iter().find(|known| known.home == copy.home);
        // One that replaces a kept version is still accepted, and dropped when the subject is
        // evaluated.
        if event.copies.is_empty() && copy.occurred_at <= self.retained_from() {
            self.out.count_record("person", "activity", "expired");
            self.disclaim(subject, &copy, epoch)?;
            if arrives {
                // At its origin it may have replaced a version that arrives later with another
                // home, and must not count again.
                copy.body = None;
                self.replace_event(subject, id, event, |event| event.copies.push(copy))?;
            }
            return Ok(());
        }
        if known.is_some_and(|known| known.modified_at > copy.modified_at) {
            self.out.count_record("person", "activity", "stale");
            return self.disclaim(subject, &copy, epoch);
        }
        if known == Some(&copy) {
            self.out.count_record("person", "activity", "duplicate");
            return Ok(());
        }
        let carried = |copy: &EventCopy| if copy.body.is_some() { links(subject, copy) } else { Vec::new() };
        let gone = known.map(carried).unwrap_or_default();
        let new = carried(&copy);
        for other in gone.iter().filter(|other| !new.contains(other)) {
            self.count_link(subject, &copy.home, other, Some(epoch), false)?;
        }
        for other in new.iter().filter(|other| !gone.contains(other)) {
            self.count_link(subject, &copy.home, other, Some(epoch), true)?;
        }
        let touched = self.replace_event(subject, id, event, |event| {
            event.copies.retain(|known| known.home != copy.home);
            let at = event.copies.partition_point(|known| known.home < copy.home);
            event.copies.insert(at, copy);
        })?;
        self.mark(subject).queries.extend(touched);
        Ok(())
    }

    /// A copy that arrives here and does not count may have been counted by the home's former
    /// owner, who claimed its identities. If no event here carries them, nobody else can withdraw
    /// those claims.
    fn disclaim(&mut self, subject: &SubjectId, copy: &EventCopy, epoch: Epoch) -> Result<(), StateError> {
        if copy.body.is_none() {
            return Ok(());
        }
        for other in &copy.others {
            if self.tx.get_bytes(&key::event_link(subject, &copy.home, other))?.is_none() {
                self.event_claim(&copy.home, other, epoch, false);
            }
        }
        Ok(())
    }

    /// Counts an event of `home` that carries `other`, or no longer does. Without an epoch the last
    /// known one holds.
    fn count_link(&mut self, subject: &SubjectId, home: &Identity, other: &Identity, epoch: Option<Epoch>, up: bool) -> Result<(), StateError> {
        let link_key = key::event_link(subject, home, other);
        let mut link: EventLinkRow = self.tx.get(&link_key)?.unwrap_or_default();
        let before = link.events;
        link.events = if up { before + 1 } else { before.saturating_sub(1) };
        link.epoch = link.epoch.max(epoch.unwrap_or_default());
        if link.events == 0 {
            self.tx.delete(link_key)
        } else {
            self.tx.put(link_key, &link)
        }
        if (before == 0) != (link.events == 0) {
            let row = self.tx.subject(subject)?;
            row.event_links = if before == 0 {
                row.event_links + 1
            } else {
                row.event_links.saturating_sub(1)
            };
            // The subject's identities changed.
            self.mark(subject).profile = true;
            if home != other {
                self.event_claim(home, other, link.epoch, link.events > 0);
            }
        }
        Ok(())
    }

    /// Changes one event of the ledger, and with it the counters of the subject and the rows of its
    /// queries; returns the queries.
    pub(super) fn replace_event(
        &mut self,
        subject: &SubjectId,
        id: &str,
        mut event: LedgerRow,
        change: impl FnOnce(&mut LedgerRow),
    ) -> Result<Vec<QueryId>, StateError> {
        let before = event.effective().cloned();
        let dates = self.dates_before(subject, &event)?;
        change(&mut event);
        let event_key = key::event(subject, id);
        if event.copies.is_empty() {
            self.tx.delete(event_key)
        } else {
            self.tx.put_bytes(event_key, event.encode(subject, id))
        }
        if let Some(dates) = dates {
            self.date(subject, id, &dates, &event);
        }
        let after = event.effective();
        let mut touched = Vec::new();
        let same = |a: &EventCopy, b: &EventCopy| a.occurred_at == b.occurred_at && a.body == b.body;
        match (&before, after) {
            (Some(before), Some(after)) if same(before, after) => return Ok(touched),
            (None, None) => return Ok(touched),
            _ => {}
        }
        if let Some(before) = &before {
            self.forget(subject, id, before, &mut touched)?;
        }
        if let Some(after) = after {
            self.remember(subject, id, after, &mut touched)?;
        }
        Ok(touched)
    }

    /// An event that counts from now on.
    fn remember(&mut self, subject: &SubjectId, id: &str, event: &EventCopy, touched: &mut Vec<QueryId>) -> Result<(), StateError> {
        let row = self.tx.subject(subject)?;
        row.events += 1;
        let oldest = row.oldest_event_at.map_or(event.occurred_at, |oldest| oldest.min(event.occurred_at));
        row.oldest_event_at = Some(oldest);
        let (stale, chore) = (row.revision, row.chore);
        self.date_if_long(subject)?;
        let Some(body) = &event.body else { return Ok(()) };
        let program = std::sync::Arc::clone(&self.program);
        for query in program.queries_for(body) {
            // A query added after the subject's revision is filled from the whole ledger when the
            // subject is upgraded.
            if program.introduced(query.id) > stale || chore && self.is_dropped(subject, query.id)? {
                continue;
            }
            if let Some(columns) = query.matches(body) {
                self.keep(
                    subject,
                    query,
                    Kept {
                        at: event.occurred_at,
                        id: id.into(),
                        columns,
                    },
                )?;
                touched.push(query.id);
            }
        }
        Ok(())
    }

    /// An event that no longer counts.
    fn forget(&mut self, subject: &SubjectId, id: &str, event: &EventCopy, touched: &mut Vec<QueryId>) -> Result<(), StateError> {
        let row = self.tx.subject(subject)?;
        row.events = row.events.saturating_sub(1);
        let chore = row.chore;
        let was_oldest = row.oldest_event_at == Some(event.occurred_at);
        if row.events == 0 {
            row.oldest_event_at = None;
        }
        // Found once, when the subject is evaluated, however many events are deleted.
        if was_oldest {
            self.agenda.oldest_gone.insert(subject.clone());
        }
        let Some(body) = &event.body else { return Ok(()) };
        let program = std::sync::Arc::clone(&self.program);
        for query in program.queries_for(body) {
            if chore && self.is_dropped(subject, query.id)? {
                continue;
            }
            if query.matches(body).is_some() && self.let_go(subject, query, event.occurred_at, id)? {
                touched.push(query.id);
            }
        }
        Ok(())
    }

    pub(super) fn keep(&mut self, subject: &SubjectId, query: &EventQuery, row: Kept) -> Result<(), StateError> {
        match query.keep {
            Keep::All => self.tx.put(key::verdict(subject, query.id, &row.id), &VerdictRow::plain(row)),
            Keep::Newest(_) => {
                let now = self.tx.now;
                let (kept, changed) = self.tx.bucket(subject, query)?;
                insert(kept.0.entry(query.id).or_default(), row, query.keep, now);
                *changed = true;
            }
            Keep::Tally => {
                if let Some(tally) = &query.tally {
                    self.tx.tally_event(subject, query, tally, row)?;
                }
            }
            Keep::Progress => self.tx.sequence_event(subject, query, row)?,
        }
        Ok(())
    }

    /// The reverse; returns whether the event was kept.
    fn let_go(&mut self, subject: &SubjectId, query: &EventQuery, at: Timestamp, id: &str) -> Result<bool, StateError> {
        match query.keep {
            Keep::All => {
                let event_key = key::verdict(subject, query.id, id);
                let known = self.tx.get_bytes(&event_key)?.is_some();
                if known {
                    self.tx.delete(event_key);
                }
                Ok(known)
            }
            Keep::Newest(count) => {
                let (kept, _) = self.tx.bucket(subject, query)?;
                if !kept.0.get(&query.id).is_some_and(|rows| rows.iter().any(|row| row.id == id)) {
                    return Ok(false);
                }
                let now = self.tx.now;
                let (kept, changed) = self.tx.bucket(subject, query)?;
                *changed = true;
                let rows = kept.0.entry(query.id).or_default();
                let full = rows.iter().filter(|row| row.at <= now).count() >= count;
                rows.retain(|row| row.id != id);
                if rows.is_empty() {
                    kept.0.remove(&query.id);
                }
                if full {
                    self.wants_refill(subject, query.id)?;
                }
                Ok(true)
            }
            Keep::Tally => query.tally.as_ref().map_or(Ok(false), |tally| self.tx.untally_event(subject, query, tally, id)),
            Keep::Progress => self.tx.unsequence_event(subject, query, at, id),
        }
    }

    /// Brings a subject's query rows from an older revision of the plan to the present one.
    pub(super) fn upgrade_queries(&mut self, subject: &SubjectId, revision: Revision) -> Result<(), StateError> {
        let program = std::sync::Arc::clone(&self.program);
        if program.queries_left_since(revision) {
            self.drop_left_queries(subject, &program, revision)?;
        }
        let new: Vec<&EventQuery> = program
            .plan
            .queries
            .iter()
            .map(Arc::as_ref)
            .filter(|query| program.introduced(query.id) > revision)
            .collect();
        if new.is_empty() || self.tx.subject(subject)?.events == 0 {
            return Ok(());
        }
        for query in new {
            if matches!(query.keep, Keep::Newest(_)) {
                let (kept, changed) = self.tx.bucket(subject, query)?;
                *changed |= kept.0.remove(&query.id).is_some();
            }
            self.wants_refill(subject, query.id)?;
        }
        Ok(())
    }

    /// Deletes the kept rows of queries that are no longer in the plan, or were added again.
    fn drop_left_queries(&mut self, subject: &SubjectId, program: &Program, revision: Revision) -> Result<(), StateError> {
        self.tx.write_buckets();
        for (kept_key, value) in self.tx.scan_prefix(&key::of_subject(table::KEPT, subject))? {
            let mut kept: KeptRow = format::decode(&value)?;
            let before = kept.0.len();
            kept.0.retain(|id, _| program.query(*id).is_some());
            match kept.0.len() {
                0 => self.tx.delete(kept_key),
                after if after < before => self.tx.put(kept_key, &kept),
                _ => {}
            }
        }
        let is_new = |query: &EventQuery| program.introduced(query.id) > revision;
        let mut kept = self.tx.queries_with_events(subject)?;
        kept.extend(self.tx.sequences(subject)?);
        for id in kept {
            if program.query(id).is_none_or(is_new) && !self.tx.drop_query(subject, id, &mut None, self.deployment.history_rows)? {
                self.chore(subject, |chore| chore.dropping.extend([id]))?;
            }
        }
        Ok(())
    }

    /// The identities of a copy that no longer counts.
    pub(super) fn unlink(&mut self, subject: &SubjectId, copy: &EventCopy) -> Result<(), StateError> {
        for other in links(subject, copy) {
            self.count_link(subject, &copy.home, &other, None, false)?;
        }
        Ok(())
    }

    /// Events at or before this instant are no longer kept.
    pub(super) fn retained_from(&self) -> Timestamp {
        self.tx.now.plus_ms(-self.deployment.retention_ms())
    }
}

impl Transaction<'_> {
    /// Deletes the kept rows of a query, at most this number after a cursor, which moves. Returns
    /// whether all of them are gone.
    pub(super) fn drop_query(&mut self, subject: &SubjectId, query: QueryId, cursor: &mut Option<Vec<u8>>, limit: usize) -> Result<bool, StateError> {
        let rows = [
            key::verdicts(subject, query),
            key::tallied_values(subject, query),
            key::agenda(subject, query),
            key::all_sequenced(subject, query),
            key::milestones(subject, query),
            key::turns(subject, query),
        ];
        let done = self.drop_rows(&rows, cursor, limit)?;
        if done {
            self.delete_if_present(key::tally(subject, query))?;
            self.delete_if_present(key::sequence(subject, query))?;
        }
        Ok(done)
    }

    /// Deletes the rows under some prefixes, at most this number after a cursor, which moves.
    /// Returns whether all of them are gone.
    pub(super) fn drop_rows(&mut self, prefixes: &[Vec<u8>], cursor: &mut Option<Vec<u8>>, limit: usize) -> Result<bool, StateError> {
        let mut left = limit;
        let under = |prefix: &Vec<u8>| cursor.as_ref().is_some_and(|cursor| cursor.starts_with(prefix));
        let place = prefixes.iter().position(under).unwrap_or(0);
        for prefix in &prefixes[place..] {
            let lower = cursor
                .as_deref()
                .filter(|cursor| cursor.starts_with(prefix))
                .map_or_else(|| prefix.clone(), prefix_end);
            for (row_key, _) in self.scan(&lower, &prefix_end(prefix), left)? {
                left -= 1;
                *cursor = Some(row_key.clone());
                self.delete(row_key);
            }
        }
        Ok(left > 0)
    }

    /// The whole ledger, ascending by id: for short ones.
    pub(super) fn stored_events(&self, subject: &SubjectId) -> Result<Vec<(Text, LedgerRow)>, StateError> {
        let mut events = Vec::new();
        for (event_key, value) in self.scan_prefix(&key::of_subject(table::EVENT, subject))? {
            if let Some(id) = key::event_id(&event_key) {
                let event = LedgerRow::decode(subject, &id, &value)?;
                events.push((id, event));
            }
        }
        Ok(events)
    }
}

/// The identities an event's links count for: the others it carries, and its home where that is not
/// the canonical id.
fn links(subject: &SubjectId, copy: &EventCopy) -> Vec<Identity> {
    let mut links = copy.others.clone();
    if copy.home != subject.id.0 {
        links.push(copy.home.clone());
    }
    links
}

fn insert(rows: &mut QueryRows, row: Kept, keep: Keep, now: Timestamp) {
    let at = rows.partition_point(|known| (known.at, &known.id) < (row.at, &row.id));
    if rows.get(at).is_some_and(|known| known.at == row.at && known.id == row.id) {
        rows[at] = row;
    } else {
        rows.insert(at, row);
    }
    if let Keep::Newest(count) = keep {
        let visible = rows.partition_point(|known| known.at <= now);
        rows.drain(..visible.saturating_sub(count));
    }
}
