//! One partition of a destination's topic with its ledger: taken over, read, committed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millrace_log::{Delivered, EARLIEST, LogError, Offset, PollLimits, Record, ShardIdentity, ShardSession, TopicPartition, Transaction};
use millrace_model::Timestamp;
use millrace_shard::state::{RowChange, StateError, StateStore};

use super::ledger::{self, Acknowledged, EPOCH_KEY, LedgerRow, META_KEY, Meta, Window};
use super::task::{Doubts, Point, SinkContext, SinkError};

/// A restore applies rows in batches of this many.
const RESTORE_ROWS: usize = 10_000;

/// A store not committed to for longer than this is discarded: the changelog may have forgotten
/// deletions since.
const STORE_AGE_MS_MAX: i64 = 3 * millrace_model::DAY_MS;

/// The clocks of producers may lag that of a sink by this much.
const SKEW_MS: i64 = 60_000;

/// Members of one audience on one partition, by the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub delivered: u64,
    /// Refused while they were desired.
    pub refused: u64,
}

/// A partition that this task owns.
pub struct Partition {
    session: Box<dyn ShardSession>,
    store: Box<dyn StateStore>,
    changelog: TopicPartition,
    source: TopicPartition,
    meta: Meta,
    /// The offset after the last record read.
    pub read: Offset,
    /// This owner made the ledger: a key without a row was never sent.
    pub first_owner: bool,
    opened_at: Timestamp,
    /// Final values not committed yet.
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    dead_letters: Vec<Record>,
    /// Records of accepted changes, for a destination that is a topic.
    copies: Vec<(TopicPartition, Record)>,
    pub members: BTreeMap<String, Members>,
    windows_changed: bool,
    /// Keys sent since the last commit, each with the offset of the oldest state that it waited for.
    sent: BTreeMap<String, Offset>,
    /// Of the last owner that claimed the partition at the destination.
    epoch: u64,
    /// Whether that was this one, and may deliver.
    pub claimed: bool,
    pub committed_at: Timestamp,
    flushed_at: Timestamp,
}

impl Partition {
    /// Fences earlier owners, restores the ledger and reads on from the last commit.
    pub fn open(context: &SinkContext, number: u32, now: Timestamp) -> Result<Partition, SinkError> {
        let place = |topic: &str| TopicPartition {
            topic: topic.into(),
            partition: number,
        };
        let (changelog, source) = (place(&context.changelog), place(&context.topic));
        let identity = ShardIdentity {
            transactional_id: format!("{}.{number}", context.application),
            group: context.application.clone(),
            changelog: changelog.clone(),
        };
        let mut session = context.log.open_shard(&identity)?;
        let mut store = (context.open_ledger)(number)?;
        bring_up(&mut *session, &mut *store, now)?;
        let meta: Option<Meta> = ledger::get(&*store, META_KEY)?;
        let epoch = ledger::get(&*store, EPOCH_KEY)?.unwrap_or_default();
        let first_owner = meta.is_none();
        let meta = meta.unwrap_or(Meta {
            position: EARLIEST,
            ..Meta::default()
        });
        session.assign(&[(source.clone(), meta.position)])?;
        let mut partition = Partition {
            session,
            store,
            changelog,
            source,
            read: meta.position,
            meta,
            first_owner,
            opened_at: now,
            rows: BTreeMap::new(),
            dead_letters: Vec::new(),
            copies: Vec::new(),
            members: BTreeMap::new(),
            windows_changed: false,
            sent: BTreeMap::new(),
            epoch,
            claimed: false,
            committed_at: now,
            flushed_at: now,
        };
        partition.count_members()?;
        if first_owner {
            // From here on a later owner knows that a key without a row may have been sent.
            partition.must_commit();
            partition.commit(context, EARLIEST, now)?;
        }
        Ok(partition)
    }

    fn count_members(&mut self) -> Result<(), StateError> {
        let mut members: BTreeMap<String, Members> = BTreeMap::new();
        ledger::each_row(&*self.store, |key, row| {
            let count = members.entry(audience_of(key).to_owned()).or_default();
            count.delivered += u64::from(row.delivered());
            count.refused += u64::from(row.refused.is_some_and(|refused| refused.present));
        })?;
        self.members = members;
        Ok(())
    }

    pub fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        let records = self.session.poll(limits)?;
        if let Some(last) = records.last() {
            self.read = last.offset + 1;
        }
        Ok(records)
    }

    /// Whether an earlier owner may have sent a record appended at this instant, and died before it
    /// committed that.
    pub fn uncertain(&self, appended_at: Timestamp) -> bool {
        !self.first_owner && appended_at.0 < self.opened_at.0 + SKEW_MS
    }

    /// Records not read yet.
    pub fn unread(&self) -> u64 {
        self.session.lag().iter().map(|(_, lag)| lag).sum()
    }

    pub fn row(&self, key: &str) -> Result<Option<LedgerRow>, StateError> {
        let row_key = ledger::row_key(key);
        match self.rows.get(&row_key) {
            Some(None) => Ok(None),
            Some(Some(bytes)) => ledger::decode(bytes).map(Some).map_err(StateError::store),
            None => ledger::get(&*self.store, &row_key),
        }
    }

    /// Replaces a key's row and keeps the counts.
    pub fn put_row(&mut self, key: &str, row: Option<&LedgerRow>) -> Result<(), StateError> {
        let before = self.row(key)?.unwrap_or_default();
        let after = row.cloned().unwrap_or_default();
        let count = self.members.entry(audience_of(key).to_owned()).or_default();
        let refused = |row: &LedgerRow| u64::from(row.refused.is_some_and(|refused| refused.present));
        count.delivered = count.delivered + u64::from(after.delivered()) - u64::from(before.delivered());
        count.refused = count.refused + refused(&after) - refused(&before);
        self.rows.insert(ledger::row_key(key), row.map(ledger::encode));
        Ok(())
    }

    /// Every row as it is now, those not committed included.
    pub fn each_row(&self, mut visit: impl FnMut(&str, LedgerRow)) -> Result<(), StateError> {
        ledger::each_row(&*self.store, |key, row| {
            if !self.rows.contains_key(&ledger::row_key(key)) {
                visit(key, row);
            }
        })?;
        for (row_key, value) in &self.rows {
            if let (Some(key), Some(bytes)) = (ledger::key_of(row_key), value) {
                visit(&key, ledger::decode(bytes).map_err(StateError::store)?);
            }
        }
        Ok(())
    }

    /// What names the far side of an audience, as of the last acknowledgement here.
    pub fn place(&self, audience: &str) -> Result<Option<String>, StateError> {
        let row_key = ledger::place_key(audience);
        match self.rows.get(&row_key) {
            Some(Some(bytes)) => ledger::decode(bytes).map(Some).map_err(StateError::store),
            Some(None) => Ok(None),
            None => ledger::get(&*self.store, &row_key),
        }
    }

    pub fn set_place(&mut self, audience: &str, place: &str) {
        self.rows.insert(ledger::place_key(audience), Some(ledger::encode(&place)));
    }

    pub fn window(&self, audience: &str) -> Window {
        self.meta.windows.get(audience).copied().unwrap_or_default()
    }

    pub fn set_window(&mut self, audience: &str, window: Window) {
        if self.window(audience) != window {
            self.meta.windows.insert(audience.to_owned(), window);
            self.windows_changed = true;
        }
    }

    pub fn delivered(&self, audience: &str) -> u64 {
        self.members.get(audience).map_or(0, |members| members.delivered)
    }

    /// The next commit is made even if nothing has changed.
    pub fn must_commit(&mut self) {
        self.windows_changed = true;
    }

    /// The position of the last commit.
    pub fn position(&self) -> Offset {
        self.meta.position
    }

    /// The epoch under which this owner delivers.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A new epoch, higher than every one before and than `above`. It counts once it is committed.
    pub fn next_epoch(&mut self, above: u64) -> u64 {
        self.epoch = self.epoch.max(above) + 1;
        self.rows.insert(EPOCH_KEY.to_vec(), Some(ledger::encode(&self.epoch)));
        self.epoch
    }

    /// A key is about to be sent; the oldest state that it waits for is at this offset.
    pub fn sending(&mut self, key: &str, offset: Offset) {
        self.sent.entry(key.to_owned()).or_insert(offset);
    }

    /// What was sent since the last commit.
    pub fn sent(&self) -> Option<Doubts> {
        Some(Doubts {
            from: *self.sent.values().min()?,
            keys: self.sent.keys().cloned().collect(),
        })
    }

    /// What the destination holds of these keys is not known: whatever is desired of them is sent.
    pub fn doubt(&mut self, keys: &BTreeSet<String>, now: Timestamp) -> Result<(), StateError> {
        for key in keys {
            let row = self.row(key)?.unwrap_or_default();
            let doubtful = LedgerRow {
                acknowledged: Some(Acknowledged::doubtful(row.delivered(), now)),
                refused: None,
                error: None,
                ..row
            };
            self.put_row(key, Some(&doubtful))?;
        }
        Ok(())
    }

    pub fn add_dead_letter(&mut self, record: Record) {
        self.dead_letters.push(record);
    }

    /// The record of a change whose row is written as acknowledged.
    pub fn add_copy(&mut self, to: TopicPartition, record: Record) {
        self.copies.push((to, record));
    }

    /// Changes not committed.
    pub fn uncommitted(&self) -> usize {
        self.rows.len() + self.dead_letters.len()
    }

    /// Commits rows, dead letters, copies and the position together. `position`: of the oldest record that
    /// is not finished.
    pub fn commit(&mut self, context: &SinkContext, position: Offset, now: Timestamp) -> Result<bool, SinkError> {
        let nothing = self.rows.is_empty() && self.dead_letters.is_empty() && self.copies.is_empty();
        if nothing && !self.windows_changed && position == self.meta.position {
            return Ok(false);
        }
        context.point(Point::BeforeCommit)?;
        self.meta.position = position;
        self.meta.committed_at = now.0;
        let mut rows = std::mem::take(&mut self.rows);
        rows.insert(META_KEY.to_vec(), Some(ledger::encode(&self.meta)));
        let changelog = rows.iter().map(|(key, value)| {
            let record = Record {
                key: Some(Bytes::copy_from_slice(key)),
                value: value.as_ref().map(|value| Bytes::copy_from_slice(value)),
                headers: Vec::new(),
            };
            (self.changelog.clone(), record)
        });
        let dead_letters = self.dead_letters.drain(..).map(|record| (context.dead_letters.clone(), record));
        let transaction = Transaction {
            records: changelog.chain(dead_letters).chain(self.copies.drain(..)).collect(),
            positions: if position >= 0 { vec![(self.source.clone(), position)] } else { Vec::new() },
        };
        let receipt = self.session.commit(transaction)?;
        context.point(Point::AfterCommit)?;
        let end = receipt.changelog_end.unwrap_or_default();
        self.store.apply(rows.into_iter().collect::<Vec<RowChange>>(), end)?;
        self.windows_changed = false;
        self.sent.clear();
        self.committed_at = now;
        if now.0 - self.flushed_at.0 > 60_000 {
            self.store.flush()?;
            self.flushed_at = now;
        }
        context.point(Point::AfterApply)?;
        Ok(true)
    }

    /// The last flush before the store is closed.
    pub fn close(mut self) -> Result<(), StateError> {
        self.store.flush()
    }
}

/// The part of a key that names the audience.
pub fn audience_of(key: &str) -> &str {
    key.split('|').next().unwrap_or_default()
}

/// Makes the store equal to the changelog: from where it stands, or from the beginning where that is
/// too long ago.
fn bring_up(session: &mut dyn ShardSession, store: &mut dyn StateStore, now: Timestamp) -> Result<(), SinkError> {
    let kept: Option<Meta> = ledger::get(store, META_KEY)?;
    let too_old = kept.is_none_or(|meta| now.0 - meta.committed_at > STORE_AGE_MS_MAX);
    if too_old && store.changelog_position()?.is_some() {
        store.clear()?;
    }
    match restore(session, store) {
        Err(SinkError::Log(LogError::OffsetLost { .. })) if store.changelog_position()?.is_some() => {
            store.clear()?;
            restore(session, store)
        }
        other => other,
    }
}

fn restore(session: &mut dyn ShardSession, store: &mut dyn StateStore) -> Result<(), SinkError> {
    let from = store.changelog_position()?;
    let mut rows: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    let mut failed = None;
    let end = session.restore(from.unwrap_or(EARLIEST), &mut |delivered| {
        let Some(key) = delivered.record.key else { return };
        rows.insert(key.to_vec(), delivered.record.value.map(|value| value.to_vec()));
        if rows.len() >= RESTORE_ROWS && failed.is_none() {
            failed = store.apply(std::mem::take(&mut rows).into_iter().collect(), delivered.offset + 1).err();
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if !rows.is_empty() || (end > 0 && from != Some(end)) {
        store.apply(rows.into_iter().collect(), end)?;
    }
    Ok(())
}
