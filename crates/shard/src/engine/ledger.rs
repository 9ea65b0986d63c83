//! The event ledger of a person, and what event queries keep of it: the newest rows in one row, or a row an event, with a tally or the
//! progress of a chain where one is asked for.
//!
//! The ledger is the truth; queries keep only what rules need and are brought up to date with each change of it. An event id counts once however
//! many homes of the person reported it.

use std::collections::BTreeMap;

use millrace_model::{Event, EventOperation, Identity, Timestamp};
use millrace_segment::plan::{EventQuery, EventRow as Kept, Keep, QueryId};

use super::Step;
use crate::key::{self, Parts, table};
use crate::message::Origin;
use crate::row::{self, EventCopy, EventLinkRow, EventRow, QueryRows, SubjectId, VerdictRow};
use crate::state::StateError;

impl Step<'_> {
    /// An event from resolve.
    pub(super) fn put_event(&mut self, subject: &SubjectId, home: &Identity, epoch: u64, event: Event, origin: &Origin) -> Result<(), StateError> {
        let body = match event.operation {
            EventOperation::Put(body) => Some(body),
            EventOperation::Delete => None,
        };
        let mut others = event.identities;
        others.retain(|other| other != home);
        others.sort();
        let copy = EventCopy { home: home.clone(), modified_at: event.modified_at, occurred_at: event.occurred_at, others, body };
        self.put_copy(subject, &event.id, epoch, copy, origin)
    }

    /// A home's report of an event, direct or with the home's arrival.
    pub(super) fn put_copy(&mut self, subject: &SubjectId, id: &str, epoch: u64, copy: EventCopy, origin: &Origin) -> Result<(), StateError> {
        let event: EventRow = self.tx.get(&key::event(subject, id))?.unwrap_or_default();
        let known = event.copies.iter().find(|known| known.home == copy.home);
        // One that replaces a kept version is taken all the same, and dropped when the subject is evaluated.
        if event.copies.is_empty() && copy.occurred_at <= self.retained_from() {
            self.count_record("person", "activity", "expired");
            return self.disclaim(subject, &copy, epoch, origin);
        }
        if known.is_some_and(|known| known.modified_at > copy.modified_at) {
            self.count_record("person", "activity", "stale");
            return self.disclaim(subject, &copy, epoch, origin);
        }
        if known == Some(&copy) {
            self.count_record("person", "activity", "duplicate");
            return Ok(());
        }
        let carried = |copy: &EventCopy| if copy.body.is_some() { links(subject, copy) } else { Vec::new() };
        let gone = known.map(carried).unwrap_or_default();
        let new = carried(&copy);
        for other in gone.iter().filter(|other| !new.contains(other)) {
            self.count_link(subject, &copy.home, other, Some(epoch), false, origin)?;
        }
        for other in new.iter().filter(|other| !gone.contains(other)) {
            self.count_link(subject, &copy.home, other, Some(epoch), true, origin)?;
        }
        let touched = self.replace_event(subject, id, event, |event| {
            event.copies.retain(|known| known.home != copy.home);
            let at = event.copies.partition_point(|known| known.home < copy.home);
            event.copies.insert(at, copy);
        })?;
        self.mark(subject, origin).queries.extend(touched);
        Ok(())
    }

    /// A copy that arrives here and does not count may have been counted by the home's former owner, who claimed its identities. Where no event here
    /// carries them, nobody else can take that back.
    fn disclaim(&mut self, subject: &SubjectId, copy: &EventCopy, epoch: u64, origin: &Origin) -> Result<(), StateError> {
        if copy.body.is_none() {
            return Ok(());
        }
        for other in &copy.others {
            if self.tx.get_bytes(&Step::event_link_key(subject, &copy.home, other))?.is_none() {
                self.event_claim(&copy.home, other, epoch, false, origin);
            }
        }
        Ok(())
    }

    /// Counts an event of `home` that carries `other`, or no longer does. Without an epoch the one last heard of holds.
    fn count_link(&mut self, subject: &SubjectId, home: &Identity, other: &Identity, epoch: Option<u64>, up: bool, origin: &Origin) -> Result<(), StateError> {
        let link_key = Step::event_link_key(subject, home, other);
        let mut link: EventLinkRow = self.tx.get(&link_key)?.unwrap_or_default();
        let before = link.events;
        link.events = if up { before + 1 } else { before.saturating_sub(1) };
        link.epoch = link.epoch.max(epoch.unwrap_or_default());
        if link.events == 0 { self.tx.delete(link_key) } else { self.tx.put(link_key, &link) }
        if (before == 0) != (link.events == 0) {
            // The subject's identities changed.
            self.mark(subject, origin).profile = true;
            if home != other {
                self.event_claim(home, other, link.epoch, link.events > 0, origin);
            }
        }
        Ok(())
    }

    /// Changes one event of the ledger, and with it the counters of the subject and the rows of its queries; which queries.
    pub(super) fn replace_event(
        &mut self,
        subject: &SubjectId,
        id: &str,
        mut event: EventRow,
        change: impl FnOnce(&mut EventRow),
    ) -> Result<Vec<QueryId>, StateError> {
        let before = event.effective().cloned();
        change(&mut event);
        let after = event.effective().cloned();
        let event_key = key::event(subject, id);
        if event.copies.is_empty() { self.tx.delete(event_key) } else { self.tx.put(event_key, &event) }
        let mut touched = Vec::new();
        let same = |a: &EventCopy, b: &EventCopy| a.occurred_at == b.occurred_at && a.body == b.body;
        match (&before, &after) {
            (Some(before), Some(after)) if same(before, after) => return Ok(touched),
            (None, None) => return Ok(touched),
            _ => {}
        }
        if let Some(before) = &before {
            self.forget(subject, id, before, &mut touched)?;
        }
        if let Some(after) = &after {
            self.remember(subject, id, after, &mut touched)?;
        }
        Ok(touched)
    }

    /// An event that counts from now on.
    fn remember(&mut self, subject: &SubjectId, id: &str, event: &EventCopy, touched: &mut Vec<QueryId>) -> Result<(), StateError> {
        let row = self.subject(subject)?;
        row.events += 1;
        let oldest = row.oldest_event_at.map_or(event.occurred_at, |oldest| oldest.min(event.occurred_at));
        row.oldest_event_at = Some(oldest);
        let stale = row.revision;
        let Some(body) = &event.body else { return Ok(()) };
        let program = std::sync::Arc::clone(&self.program);
        for query in program.queries_for(body) {
            // A query that came in behind the subject's revision is filled from the whole ledger when the subject is brought up.
            if program.introduced(query.id) > stale {
                continue;
            }
            if let Some(columns) = query.matches(body) {
                self.keep(subject, query, Kept { at: event.occurred_at, id: id.into(), columns })?;
                touched.push(query.id);
            }
        }
        Ok(())
    }

    /// An event that no longer counts.
    fn forget(&mut self, subject: &SubjectId, id: &str, event: &EventCopy, touched: &mut Vec<QueryId>) -> Result<(), StateError> {
        let row = self.subject(subject)?;
        row.events = row.events.saturating_sub(1);
        let was_oldest = row.oldest_event_at == Some(event.occurred_at);
        if row.events == 0 {
            row.oldest_event_at = None;
        } else if was_oldest {
            let oldest = self.oldest_event(subject)?;
            self.subject(subject)?.oldest_event_at = oldest;
        }
        let Some(body) = &event.body else { return Ok(()) };
        let program = std::sync::Arc::clone(&self.program);
        for query in program.queries_for(body) {
            if query.matches(body).is_none() {
                continue;
            }
            if let Some(tally) = &query.tally {
                if self.untally_event(subject, query, tally, id)? {
                    touched.push(query.id);
                }
                continue;
            }
            if query.keep == Keep::Progress {
                if self.unsequence_event(subject, query, event.occurred_at, id)? {
                    touched.push(query.id);
                }
                continue;
            }
            if query.keep == Keep::All {
                let event_key = key::verdict(subject, query.id, id);
                if self.tx.get_bytes(&event_key)?.is_some() {
                    self.tx.delete(event_key);
                    touched.push(query.id);
                }
                continue;
            }
            let rows_key = key::query(subject, query.id);
            let Some(mut rows) = self.tx.get::<QueryRows>(&rows_key)? else { continue };
            let kept = rows.len();
            rows.retain(|row| row.id != id);
            if rows.len() == kept {
                continue;
            }
            // What had been dropped behind this row may count again.
            rows = self.fill(subject, std::slice::from_ref(&query))?.remove(&query.id).unwrap_or_default();
            self.put_rows(rows_key, &rows);
            touched.push(query.id);
        }
        Ok(())
    }

    fn keep(&mut self, subject: &SubjectId, query: &EventQuery, row: Kept) -> Result<(), StateError> {
        if let Some(tally) = &query.tally {
            return self.tally_event(subject, query, tally, row);
        }
        if query.keep == Keep::Progress {
            return self.sequence_event(subject, query, row);
        }
        if query.keep == Keep::All {
            self.tx.put(key::verdict(subject, query.id, &row.id), &VerdictRow::plain(row));
            return Ok(());
        }
        let rows_key = key::query(subject, query.id);
        let mut rows: QueryRows = self.tx.get(&rows_key)?.unwrap_or_default();
        insert(&mut rows, row, query.keep, self.now);
        self.put_rows(rows_key, &rows);
        Ok(())
    }

    fn put_rows(&mut self, rows_key: Vec<u8>, rows: &QueryRows) {
        if rows.is_empty() { self.tx.delete(rows_key) } else { self.tx.put(rows_key, rows) }
    }

    /// The rows of queries, from the whole ledger.
    fn fill(&mut self, subject: &SubjectId, queries: &[&EventQuery]) -> Result<BTreeMap<QueryId, QueryRows>, StateError> {
        let mut filled: BTreeMap<QueryId, QueryRows> = BTreeMap::new();
        for (event_key, value) in self.tx.scan_prefix(&key::of_subject(table::EVENT, subject))? {
            let event: EventRow = row::decode(&value)?;
            let Some(copy) = event.effective() else { continue };
            let (Some(body), Some(id)) = (&copy.body, event_id(&event_key)) else { continue };
            for query in queries {
                if let Some(columns) = query.matches(body) {
                    let row = Kept { at: copy.occurred_at, id: id.as_str().into(), columns };
                    insert(filled.entry(query.id).or_default(), row, query.keep, self.now);
                }
            }
        }
        Ok(filled)
    }

    /// Brings a subject's query rows from an older revision of the plan to the present one.
    pub(super) fn upgrade_queries(&mut self, subject: &SubjectId, revision: u64) -> Result<(), StateError> {
        let program = std::sync::Arc::clone(&self.program);
        for (rows_key, _) in self.tx.scan_prefix(&key::of_subject(table::QUERY, subject))? {
            let mut parts = Parts::of(&rows_key);
            let _ = parts.subject();
            if parts.number().is_none_or(|id| program.query(QueryId(id)).is_none()) {
                self.tx.delete(rows_key);
            }
        }
        let is_new = |query: &EventQuery| program.introduced(query.id) > revision;
        for id in self.queries_with_events(subject)? {
            if program.query(id).is_none_or(is_new) {
                self.drop_query_events(subject, id)?;
            }
        }
        for id in self.sequences(subject)? {
            if program.query(id).is_none_or(is_new) {
                self.drop_sequence(subject, id)?;
            }
        }
        let new: Vec<&EventQuery> = program.plan.queries.iter().filter(|query| is_new(query)).collect();
        if new.is_empty() || self.subject(subject)?.events == 0 {
            return Ok(());
        }
        let mut filled = self.fill(subject, &new)?;
        for query in new {
            let rows = filled.remove(&query.id).unwrap_or_default();
            match query.keep {
                Keep::Newest(_) => self.put_rows(key::query(subject, query.id), &rows),
                Keep::All | Keep::Tally | Keep::Progress => rows.into_iter().try_for_each(|row| self.keep(subject, query, row))?,
            }
        }
        Ok(())
    }

    /// Drops events that are too old to be kept; which queries that touches.
    pub(super) fn expire(&mut self, subject: &SubjectId, origin: &Origin) -> Result<Vec<QueryId>, StateError> {
        let cutoff = self.retained_from();
        let mut touched = Vec::new();
        if self.subject(subject)?.oldest_event_at.is_none_or(|oldest| oldest > cutoff) {
            return Ok(touched);
        }
        let mut old = Vec::new();
        let mut oldest_kept: Option<Timestamp> = None;
        for (event_key, value) in self.tx.scan_prefix(&key::of_subject(table::EVENT, subject))? {
            let event: EventRow = row::decode(&value)?;
            if let Some(copy) = event.effective().filter(|copy| copy.occurred_at > cutoff) {
                oldest_kept = Some(oldest_kept.map_or(copy.occurred_at, |known| known.min(copy.occurred_at)));
            }
            let all_old = event.copies.iter().all(|copy| copy.occurred_at <= cutoff);
            if all_old || event.copies.iter().any(|copy| copy.occurred_at <= cutoff && copy.body.is_some()) {
                old.extend(event_id(&event_key).map(|id| (id, event)));
            }
        }
        self.subject(subject)?.oldest_event_at = oldest_kept;
        for (id, event) in old {
            for copy in event.copies.iter().filter(|copy| copy.occurred_at <= cutoff && copy.body.is_some()) {
                for other in links(subject, copy) {
                    self.count_link(subject, &copy.home, &other, None, false, origin)?;
                }
            }
            let change = self.replace_event(subject, &id, event, |event| {
                // Beside a copy that is kept an old one stays as a mark: were it the later version, the kept one must not count again.
                event.copies.iter_mut().filter(|copy| copy.occurred_at <= cutoff).for_each(|copy| copy.body = None);
                if event.copies.iter().all(|copy| copy.occurred_at <= cutoff) {
                    event.copies.clear();
                }
            })?;
            touched.extend(change);
        }
        Ok(touched)
    }

    fn oldest_event(&self, subject: &SubjectId) -> Result<Option<Timestamp>, StateError> {
        let mut oldest: Option<Timestamp> = None;
        for (_, value) in self.tx.scan_prefix(&key::of_subject(table::EVENT, subject))? {
            let event: EventRow = row::decode(&value)?;
            if let Some(copy) = event.effective() {
                oldest = Some(oldest.map_or(copy.occurred_at, |known| known.min(copy.occurred_at)));
            }
        }
        Ok(oldest)
    }

    /// Events at or before this instant are no longer kept.
    pub(super) fn retained_from(&self) -> Timestamp {
        self.now.plus_ms(-self.config.retention_ms())
    }
}

/// The identities an event's links count for: the others it carries, and its home where that is not the canonical id.
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

fn event_id(event_key: &[u8]) -> Option<String> {
    let mut parts = Parts::of(event_key);
    parts.subject()?;
    parts.text()
}
