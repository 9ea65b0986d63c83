//! A long history: work on many events of one person runs in portions, and finds them by time.
//!
//! A short ledger is read whole when needed. One that has grown past `Deployment::history_rows` is
//! *dated*: rows `DATED` name its events by time, so that those too old to be kept are found
//! without a look at the others. Work on more rows than that is a *chore*: nodes that depart with
//! their events, events that expire, queries whose rows must be filled from the whole ledger. Each
//! portion of a chore is a walk over some rows, and the shard does other work between them.
//! Meanwhile the person is not evaluated: with half of a history it would be in segments that
//! neither the old history nor the new one leads to. The same holds while a history arrives in
//! parts.
//!
//! A chore's portions and other changes of the person need no order: events are a union by id and
//! version, wherever they are.

use std::collections::BTreeSet;

use millrace_model::{CanonicalId, Identity, ShardId, SubjectId, Text, Timestamp};
use millrace_segment::plan::EventQuery;
use millrace_segment::view::{EventRow as Kept, QueryId};

use super::Step;
use crate::format;
use crate::key::{self, Parts, table};
use crate::message::{Bundle, Message};
use crate::row::{ChoreRow, Departure, LedgerRow};
use crate::state::StateError;
use crate::tx::prefix_end;
use millrace_identity::Epoch;

/// Events in one message of a move, in bytes: keeps messages well under the log's limit, however
/// large the events are.
const PART_BYTES: usize = 512 << 10;

impl Step<'_> {
    /// The instants by which a dated ledger names an event: those of the copies that count or would
    /// count, and the last one, after which nothing is left.
    fn dates(event: &LedgerRow) -> BTreeSet<Timestamp> {
        let bodies = event.copies.iter().filter(|copy| copy.body.is_some()).map(|copy| copy.occurred_at);
        bodies.chain(event.copies.iter().map(|copy| copy.occurred_at).max()).collect()
    }

    /// An event of a dated ledger changed.
    pub(super) fn date(&mut self, subject: &SubjectId, id: &str, before: &BTreeSet<Timestamp>, after: &LedgerRow) {
        let after = Step::dates(after);
        for gone in before.difference(&after) {
            self.tx.delete(key::dated(subject, *gone, id));
        }
        for new in after.difference(before) {
            self.tx.put_bytes(key::dated(subject, *new, id), Vec::new());
        }
    }

    /// The instants by which a ledger names an event now; none if it is not dated.
    pub(super) fn dates_before(&mut self, subject: &SubjectId, event: &LedgerRow) -> Result<Option<BTreeSet<Timestamp>>, StateError> {
        Ok(self.tx.subject(subject)?.dated.then(|| Step::dates(event)))
    }

    /// An event arrived: a ledger that has grown long is dated from now on.
    pub(super) fn date_if_long(&mut self, subject: &SubjectId) -> Result<(), StateError> {
        let most = self.deployment.history_rows as u64;
        let row = self.tx.subject(subject)?;
        if row.dated || row.events <= most {
            return Ok(());
        }
        row.dated = true;
        for (id, event) in self.tx.stored_events(subject)? {
            self.date(subject, &id, &BTreeSet::new(), &event);
        }
        Ok(())
    }

    /// The last event that counted is gone: unless many others are left that do not count, the
    /// ledger is short again.
    fn undate(&mut self, subject: &SubjectId) -> Result<(), StateError> {
        let (first, end) = key::all_dated(subject, Timestamp::MAX);
        let most = self.deployment.history_rows;
        let rows = self.tx.scan(&first, &end, most + 1)?;
        if rows.len() <= most {
            rows.into_iter().for_each(|(dated_key, _)| self.tx.delete(dated_key));
            self.tx.subject(subject)?.dated = false;
        }
        Ok(())
    }

    /// Finds the earliest event that counts, if it may have changed. Until a chore is done nobody
    /// needs it.
    pub(super) fn settle_oldest(&mut self, subject: &SubjectId) -> Result<(), StateError> {
        if self.agenda.oldest_gone.is_empty() || self.tx.subject(subject)?.chore || !self.agenda.oldest_gone.remove(subject) {
            return Ok(());
        }
        let row = self.tx.subject(subject)?;
        let (events, dated) = (row.events, row.dated);
        let oldest = match (events, dated) {
            (0, true) => {
                self.undate(subject)?;
                None
            }
            (0, false) => None,
            (_, true) => self.oldest_dated(subject)?,
            (_, false) => {
                let events = self.tx.stored_events(subject)?;
                events.iter().filter_map(|(_, event)| event.effective()).map(|copy| copy.occurred_at).min()
            }
        };
        self.tx.subject(subject)?.oldest_event_at = oldest;
        Ok(())
    }

    fn oldest_dated(&self, subject: &SubjectId) -> Result<Option<Timestamp>, StateError> {
        let (mut lower, end) = key::all_dated(subject, Timestamp::MAX);
        // Mostly the first one counts.
        while let Some((dated_key, _)) = self.tx.scan(&lower, &end, 1)?.pop() {
            if let Some((at, id)) = key::date_of(&dated_key)
                && self.event(subject, &id)?.effective().is_some_and(|copy| copy.occurred_at == at)
            {
                return Ok(Some(at));
            }
            lower = prefix_end(&dated_key);
        }
        Ok(None)
    }

    fn event(&self, subject: &SubjectId, id: &str) -> Result<LedgerRow, StateError> {
        let stored = self.tx.get_bytes(&key::event(subject, id))?;
        Ok(stored.map(|stored| LedgerRow::decode(subject, id, &stored)).transpose()?.unwrap_or_default())
    }

    /// Drops events that are too old to be kept; if there are many, some of them, and a chore drops
    /// the others. Returns the touched queries.
    pub(super) fn expire(&mut self, subject: &SubjectId) -> Result<Vec<QueryId>, StateError> {
        let cutoff = self.retained_from();
        let row = self.tx.subject(subject)?;
        if row.chore || row.oldest_event_at.is_none_or(|oldest| oldest > cutoff) {
            return Ok(Vec::new());
        }
        let (touched, more) = self.expire_some(subject, cutoff, &mut None, self.deployment.history_rows)?;
        if more {
            self.chore(subject, |chore| chore.expiring = true)?;
        }
        Ok(touched)
    }

    /// Continues after `cursor`, and moves it. Returns whether more is left than `limit` allows.
    fn expire_some(&mut self, subject: &SubjectId, cutoff: Timestamp, cursor: &mut Option<Vec<u8>>, limit: usize) -> Result<(Vec<QueryId>, bool), StateError> {
        let mut touched = Vec::new();
        self.agenda.oldest_gone.insert(subject.clone());
        if !self.tx.subject(subject)?.dated {
            for (id, event) in self.tx.stored_events(subject)? {
                if event.copies.iter().any(|copy| copy.occurred_at <= cutoff) {
                    touched.extend(self.expire_event(subject, &id, event, cutoff)?);
                }
            }
            return Ok((touched, false));
        }
        let (first, end) = key::all_dated(subject, cutoff);
        // Everything before the cursor is gone, and a walk over deleted rows costs as much as one
        // over live ones.
        let due = self.tx.scan(&cursor.as_deref().map_or(first, prefix_end), &end, limit)?;
        for (dated_key, _) in &due {
            let Some((_, id)) = key::date_of(dated_key) else { continue };
            let event = self.event(subject, &id)?;
            if !event.copies.is_empty() {
                touched.extend(self.expire_event(subject, &id, event, cutoff)?);
            }
            // A name without its event would be found again for ever.
            self.tx.delete(dated_key.clone());
        }
        if let Some((last, _)) = due.last() {
            *cursor = Some(last.clone());
        }
        Ok((touched, due.len() == limit))
    }

    fn expire_event(&mut self, subject: &SubjectId, id: &str, event: LedgerRow, cutoff: Timestamp) -> Result<Vec<QueryId>, StateError> {
        for copy in event.copies.iter().filter(|copy| copy.occurred_at <= cutoff && copy.body.is_some()) {
            self.unlink(subject, copy)?;
        }
        self.replace_event(subject, id, event, |event| {
            // Next to a copy that is kept, an old one stays as a mark: if it is the later version,
            // the kept one must not count again.
            event
                .copies
                .iter_mut()
                .filter(|copy| copy.occurred_at <= cutoff)
                .for_each(|copy| copy.body = None);
            if event.copies.iter().all(|copy| copy.occurred_at <= cutoff) {
                event.copies.clear();
            }
        })
    }

    /// Whether a walk over a whole ledger is too long for one step.
    pub(super) fn is_long(&self, subject: &SubjectId) -> Result<bool, StateError> {
        let prefix = key::of_subject(table::EVENT, subject);
        let most = self.deployment.history_rows;
        Ok(self.tx.scan(&prefix, &prefix_end(&prefix), most + 1)?.len() > most)
    }

    /// Adds work to a subject's chore, which starts over.
    pub(super) fn chore(&mut self, subject: &SubjectId, add: impl FnOnce(&mut ChoreRow)) -> Result<(), StateError> {
        let chore_key = key::chore(subject);
        let mut chore = match self.tx.get::<ChoreRow>(&chore_key)? {
            Some(chore) => chore,
            None => {
                self.tx.chores += 1;
                self.agenda.idle = false;
                ChoreRow::new(self.out.cause.clone())
            }
        };
        add(&mut chore);
        chore.cursor = None;
        self.tx.put(chore_key, &chore);
        self.tx.subject(subject)?.chore = true;
        Ok(())
    }

    /// A node departs with its events: at once if the ledger is short, otherwise in portions. The
    /// last message says how many there were.
    pub(super) fn send_events(&mut self, subject: &SubjectId, node: Identity, to: CanonicalId, epoch: Epoch, first: Bundle) -> Result<(), StateError> {
        let mut departure = Departure { node, to, epoch, sent: 0 };
        let row = self.tx.subject(subject)?;
        if row.chore || self.is_long(subject)? {
            self.send_part(subject, &mut departure, first, false);
            return self.chore(subject, |chore| chore.departures.push(departure));
        }
        let mut part = first;
        for (id, event) in self.tx.stored_events(subject)? {
            self.take_copies(subject, &id, event, &departure, &mut part)?;
        }
        self.send_part(subject, &mut departure, part, true);
        Ok(())
    }

    fn take_copies(&mut self, subject: &SubjectId, id: &Text, event: LedgerRow, departure: &Departure, part: &mut Bundle) -> Result<LedgerRow, StateError> {
        let Some(copy) = event.copies.iter().find(|copy| copy.home == departure.node).cloned() else {
            return Ok(event);
        };
        part.events.push((id.clone(), copy));
        let mut left = event.clone();
        left.copies.retain(|copy| copy.home != departure.node);
        self.replace_event(subject, id, event, |event| event.copies.retain(|copy| copy.home != departure.node))?;
        Ok(left)
    }

    /// Sends a part of a departure, in several messages if its events are large.
    fn send_part(&mut self, subject: &SubjectId, departure: &mut Departure, mut part: Bundle, last: bool) {
        let mut events = std::mem::take(&mut part.events).into_iter().peekable();
        loop {
            let mut bytes = 0;
            while bytes < PART_BYTES
                && let Some(event) = events.next()
            {
                bytes += format::encode(&event.1).len();
                part.events.push(event);
            }
            let ends = events.peek().is_none();
            self.send_arrival(subject, departure, std::mem::take(&mut part), last && ends);
            if ends {
                return;
            }
        }
    }

    fn send_arrival(&mut self, subject: &SubjectId, departure: &mut Departure, part: Bundle, last: bool) {
        departure.sent += 1;
        let destination = SubjectId {
            kind: subject.kind,
            id: departure.to.clone(),
        };
        let message = Message::Arrive {
            subject: destination,
            from: subject.id.clone(),
            node: departure.node.clone(),
            epoch: departure.epoch,
            part,
            of: last.then_some(departure.sent),
        };
        self.out.send(message);
    }

    /// The queries whose newest rows may lack some that move up from the ledger, or that were
    /// added.
    pub(super) fn refill(&mut self, subject: &SubjectId) -> Result<(), StateError> {
        let row = self.tx.subject(subject)?;
        if row.refill.is_empty() || row.chore {
            return Ok(());
        }
        let wanted = row.refill.clone();
        if self.is_long(subject)? {
            return self.chore(subject, |_| {});
        }
        for (id, event) in self.tx.stored_events(subject)? {
            self.fill(subject, &wanted, &id, &event)?;
        }
        self.tx.subject(subject)?.refill.clear();
        Ok(())
    }

    /// Keeps an event for queries of the plan.
    fn fill(&mut self, subject: &SubjectId, wanted: &BTreeSet<QueryId>, id: &Text, event: &LedgerRow) -> Result<(), StateError> {
        let program = std::sync::Arc::clone(&self.program);
        let Some((copy, body)) = event.effective().and_then(|copy| Some((copy, copy.body.as_ref()?))) else {
            return Ok(());
        };
        let queries: Vec<&EventQuery> = wanted.iter().filter_map(|query| program.query(*query)).collect();
        for query in queries {
            if let Some(columns) = query.matches(body) {
                let (at, id) = (copy.occurred_at, id.clone());
                self.keep(subject, query, Kept { at, id, columns })?;
            }
        }
        Ok(())
    }

    /// The next chore there is.
    pub(super) fn next_chore(&self) -> Result<Option<(SubjectId, ChoreRow)>, StateError> {
        let first = self.tx.scan(&[table::CHORE], &[table::CHORE + 1], 1)?.pop();
        let Some((chore_key, value)) = first else { return Ok(None) };
        let chore = format::decode(&value)?;
        Ok(Parts::of(&chore_key).subject().map(|subject| (subject, chore)))
    }

    /// A portion of a chore, over this number of rows of the ledger. Departures come first, because
    /// departing events need not expire here; then work that removes rows, work that fills them,
    /// and last the walks over all of them.
    pub(super) fn do_chore(&mut self, subject: &SubjectId, mut chore: ChoreRow, portion: usize) -> Result<(), StateError> {
        self.out.cause = chore.origin.clone();
        let refill = self.tx.subject(subject)?.refill.clone();
        if !chore.departures.is_empty() {
            if self.depart_some(subject, &mut chore, portion)? {
                for mut departure in std::mem::take(&mut chore.departures) {
                    self.send_part(subject, &mut departure, Bundle::default(), true);
                }
                chore.cursor = None;
            }
        } else if chore.expiring {
            let (_, more) = self.expire_some(subject, self.retained_from(), &mut chore.cursor, portion)?;
            if !more {
                chore.expiring = false;
                chore.cursor = None;
            }
        } else if let Some(query) = chore.dropping.first().copied() {
            if self.tx.drop_query(subject, query, &mut chore.cursor, portion)? {
                chore.dropping.remove(&query);
                chore.cursor = None;
            }
        } else if !refill.is_empty() {
            if self.fill_some(subject, &mut chore, &refill, portion)? {
                self.tx.subject(subject)?.refill.clear();
                chore.cursor = None;
            }
        } else if let Some(query) = chore.advancing.first().copied() {
            if self.advance_query(subject, query, portion)? {
                chore.advancing.remove(&query);
            }
        } else if chore.kin {
            chore.kin = !self.settle_some(subject, portion)?;
        } else {
            return self.finish_chore(subject);
        }
        self.tx.put(key::chore(subject), &chore);
        Ok(())
    }

    /// Brings the kept rows of queries up to now: at once if that is short, otherwise a chore does
    /// the rest. Returns whether it is done.
    pub(super) fn advance_queries(&mut self, subject: &SubjectId, queries: &BTreeSet<QueryId>) -> Result<bool, StateError> {
        let limit = self.deployment.history_rows;
        let mut left = BTreeSet::new();
        for query in queries {
            if !self.advance_query(subject, *query, limit)? {
                left.insert(*query);
            }
        }
        if left.is_empty() {
            return Ok(true);
        }
        self.chore(subject, |chore| chore.advancing.extend(left))?;
        Ok(false)
    }

    fn advance_query(&mut self, subject: &SubjectId, query: QueryId, limit: usize) -> Result<bool, StateError> {
        let program = std::sync::Arc::clone(&self.program);
        let Some(query) = program.query(query) else { return Ok(true) };
        Ok(self.tx.advance_tally(subject, query, limit)? && self.tx.advance_sequence(subject, query, limit)?)
    }

    /// Whether nothing is kept for a query now, because older rows of it are still being deleted.
    /// It is filled when they are.
    pub(super) fn is_dropped(&self, subject: &SubjectId, query: QueryId) -> Result<bool, StateError> {
        let chore: Option<ChoreRow> = self.tx.get(&key::chore(subject))?;
        Ok(chore.is_some_and(|chore| chore.dropping.contains(&query)))
    }

    fn finish_chore(&mut self, subject: &SubjectId) -> Result<(), StateError> {
        self.tx.delete(key::chore(subject));
        self.tx.chores -= 1;
        self.agenda.oldest_gone.insert(subject.clone());
        let row = self.tx.subject(subject)?;
        row.chore = false;
        // Shards that subscribed meanwhile have received nothing.
        let subscribers: Vec<ShardId> = row.subscribers.keys().copied().collect();
        let dirty = self.mark(subject);
        dirty.all = true;
        dirty.greet.extend(subscribers);
        Ok(())
    }

    /// The next events of the ledger after a chore's cursor, which moves to the last of them.
    fn page(&self, subject: &SubjectId, chore: &mut ChoreRow, rows: usize) -> Result<Vec<(Text, LedgerRow)>, StateError> {
        let prefix = key::of_subject(table::EVENT, subject);
        let lower = chore.cursor.as_deref().map_or_else(|| prefix.clone(), prefix_end);
        let page = self.tx.scan(&lower, &prefix_end(&prefix), rows)?;
        if let Some((last, _)) = page.last() {
            chore.cursor = Some(last.clone());
        }
        let event = |(event_key, value): (Vec<u8>, Vec<u8>)| {
            let id = key::event_id(&event_key)?;
            Some(LedgerRow::decode(subject, &id, &value).map(|event| (id, event)))
        };
        page.into_iter().filter_map(event).collect()
    }

    /// Whether the walk has come to its end.
    fn depart_some(&mut self, subject: &SubjectId, chore: &mut ChoreRow, portion: usize) -> Result<bool, StateError> {
        let page = self.page(subject, chore, portion)?;
        let done = page.len() < portion;
        let mut parts = vec![Bundle::default(); chore.departures.len()];
        for (id, mut event) in page {
            for (departure, part) in chore.departures.iter().zip(&mut parts) {
                event = self.take_copies(subject, &id, event, departure, part)?;
            }
        }
        for (departure, part) in chore.departures.iter_mut().zip(parts) {
            if !part.events.is_empty() {
                self.send_part(subject, departure, part, false);
            }
        }
        Ok(done)
    }

    /// As above.
    fn fill_some(&mut self, subject: &SubjectId, chore: &mut ChoreRow, wanted: &BTreeSet<QueryId>, portion: usize) -> Result<bool, StateError> {
        let page = self.page(subject, chore, portion)?;
        let done = page.len() < portion;
        for (id, event) in page {
            self.fill(subject, wanted, &id, &event)?;
        }
        Ok(done)
    }

    /// A query's kept rows lost one, and dropped events may count again: a fill in progress starts
    /// over.
    pub(super) fn wants_refill(&mut self, subject: &SubjectId, query: QueryId) -> Result<(), StateError> {
        let row = self.tx.subject(subject)?;
        row.refill.insert(query);
        if row.chore
            && let Some(mut chore) = self.tx.get::<ChoreRow>(&key::chore(subject))?
            && chore.departures.is_empty()
        {
            chore.cursor = None;
            self.tx.put(key::chore(subject), &chore);
        }
        Ok(())
    }
}
