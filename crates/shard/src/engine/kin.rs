//! Aggregates over an account's children, kept child by child: the change of one child costs the
//! account the same however many there are.
//!
//! A child that arrives, changes or leaves is judged for every aggregate of the plan; each kind of
//! children has one row of totals. A new aggregate is filled from the rows of the children, in
//! portions if there are many, and meanwhile the account is not evaluated. A child before the place
//! that the filling has reached counts at once, one after it when the filling reaches it.

use millrace_model::relation::Hop;
use millrace_model::{SubjectId, SubjectKind, Value};
use millrace_segment::kin::Kin;
use millrace_segment::view::{Features, KinId, QueryId, Unknown};

use super::Step;
use super::view::child_item;
use crate::format;
use crate::key::{self, Parts};
use crate::program::Program;
use crate::row::{KinRow, KinState, KinTally};
use crate::state::StateError;
use crate::tx::prefix_end;

impl Step<'_> {
    /// A child changed.
    pub(super) fn count_child(&mut self, account: &SubjectId, child: &SubjectId, before: Option<Features>, after: Option<Features>) -> Result<(), StateError> {
        let program = std::sync::Arc::clone(&self.program);
        if before == after {
            return Ok(());
        }
        let row_key = key::kin(account, child.kind);
        let mut row: KinRow = self.tx.get(&row_key)?.unwrap_or_default();
        if row.is_empty() && program.kin_of(child.kind).next().is_none() {
            return Ok(());
        }
        // Aggregates without a rule are no longer maintained, even if the rule comes back before
        // the account is evaluated.
        leave(&program, &mut row);
        let child_key = key::child(account, child);
        // At the first child there is nothing to fill.
        let only = row.is_empty() && before.is_none() && self.first_children(account, child.kind, 2)? == 1;
        let (before, after) = (
            before.map(|features| child_item(child, features)),
            after.map(|features| child_item(child, features)),
        );
        for kin in program.kin_of(child.kind) {
            if only {
                row.insert(kin.id, KinTally::default());
            }
            let Some(tally) = row.get_mut(&kin.id) else { continue };
            let counted = match &tally.state {
                KinState::Full => true,
                KinState::Filling(to) => to.as_ref().is_some_and(|to| child_key <= *to),
                KinState::Dropping(_) => false,
            };
            if !counted {
                continue;
            }
            let (mut known, left) = (std::mem::take(tally), before.as_ref());
            if let Some(child) = left {
                self.count_kin(account, kin, &mut known, kin.judge(child), false)?;
            }
            if let Some(child) = &after {
                self.count_kin(account, kin, &mut known, kin.judge(child), true)?;
            }
            row.insert(kin.id, known);
        }
        self.put_kin(row_key, &row)
    }

    /// Fills aggregates of new rules and deletes those without a rule; if that is much work, a
    /// chore does the rest. Returns whether it is done.
    pub(super) fn settle_kin(&mut self, account: &SubjectId) -> Result<bool, StateError> {
        let done = account.kind != SubjectKind::Account || self.settle_some(account, self.deployment.history_rows)?;
        if !done {
            self.chore(account, |chore| chore.kin = true)?;
        }
        Ok(done)
    }

    /// As above, over this number of rows at most.
    pub(super) fn settle_some(&mut self, account: &SubjectId, limit: usize) -> Result<bool, StateError> {
        let program = std::sync::Arc::clone(&self.program);
        let mut left = limit;
        for child in Hop::all_from(SubjectKind::Account).filter_map(|hop| hop.relation.children()) {
            let row_key = key::kin(account, child);
            let wanted = program.kin_of(child).next().is_some();
            let Some(mut row) = self.tx.get::<KinRow>(&row_key)?.or_else(|| wanted.then(KinRow::new)) else {
                continue;
            };
            let before = row.clone();
            let done = self.settle_kind(account, child, &program, &mut row, &mut left)?;
            if row != before {
                self.put_kin(row_key, &row)?;
            }
            if !done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn settle_kind(&mut self, account: &SubjectId, child: SubjectKind, program: &Program, row: &mut KinRow, left: &mut usize) -> Result<bool, StateError> {
        leave(program, row);
        for id in row.keys().copied().collect::<Vec<_>>() {
            let Some(KinTally {
                state: KinState::Dropping(cursor),
                ..
            }) = row.get_mut(&id)
            else {
                continue;
            };
            if !self.tx.drop_rows(&[key::tallied_values(account, QueryId(id.0))], cursor, *left)? {
                return Ok(false);
            }
            row.remove(&id);
        }
        let missing: Vec<KinId> = program.kin_of(child).map(|kin| kin.id).filter(|id| !row.contains_key(id)).collect();
        // Without children there is nothing to keep.
        if !missing.is_empty() && self.first_children(account, child, 1)? > 0 {
            let filling = || KinTally {
                state: KinState::Filling(None),
                ..KinTally::default()
            };
            row.extend(missing.into_iter().map(|id| (id, filling())));
        }
        for kin in program.kin_of(child) {
            if let Some(tally) = row.get_mut(&kin.id)
                && let KinState::Filling(to) = tally.state.clone()
                && !self.fill_kin(account, kin, tally, to, left)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts the children after the last one that was counted. Returns whether those are all.
    fn fill_kin(&mut self, account: &SubjectId, kin: &Kin, tally: &mut KinTally, to: Option<Vec<u8>>, left: &mut usize) -> Result<bool, StateError> {
        let prefix = key::children(account, kin.child());
        let lower = to.as_deref().map_or_else(|| prefix.clone(), prefix_end);
        let rows = self.tx.scan(&lower, &prefix_end(&prefix), *left)?;
        *left -= rows.len();
        let last = rows.last().map(|(last, _)| last.clone());
        for (child_key, value) in rows {
            let Some(child) = Parts::of(&child_key).subject() else { continue };
            let item = child_item(&child, format::decode(&value)?);
            self.count_kin(account, kin, tally, kin.judge(&item), true)?;
        }
        let done = *left > 0;
        tally.state = if done { KinState::Full } else { KinState::Filling(last.or(to)) };
        Ok(done)
    }

    /// A child begins or ceases to count for an aggregate.
    fn count_kin(&mut self, account: &SubjectId, kin: &Kin, tally: &mut KinTally, verdict: Result<Option<Value>, Unknown>, up: bool) -> Result<(), StateError> {
        let adjust = |count: u64| if up { count + 1 } else { count.saturating_sub(1) };
        tally.children = adjust(tally.children);
        match verdict {
            Err(Unknown) => tally.unknown = adjust(tally.unknown),
            Ok(None) => {}
            Ok(Some(value)) => {
                if up {
                    tally.totals.add(&value);
                } else {
                    tally.totals.remove(&value);
                }
                if kin.asked().keeps_values() {
                    self.tx
                        .count_value(account, QueryId(kin.id.0), kin.asked(), &mut tally.totals, &mut tally.extreme, &value, up)?;
                }
            }
        }
        Ok(())
    }

    /// The number of children, up to a limit.
    fn first_children(&self, account: &SubjectId, child: SubjectKind, limit: usize) -> Result<usize, StateError> {
        let prefix = key::children(account, child);
        Ok(self.tx.scan(&prefix, &prefix_end(&prefix), limit)?.len())
    }

    /// Totals over nothing have no row.
    fn put_kin(&mut self, row_key: Vec<u8>, row: &KinRow) -> Result<(), StateError> {
        if row.values().all(|tally| tally.state == KinState::Full && tally.children == 0) {
            return self.tx.delete_if_present(row_key);
        }
        self.tx.put(row_key, row);
        Ok(())
    }
}

/// Marks aggregates without a rule for deletion.
fn leave(program: &Program, row: &mut KinRow) {
    let left = row
        .iter_mut()
        .filter(|(id, tally)| program.kin_child(**id).is_none() && !matches!(tally.state, KinState::Dropping(_)));
    for (_, tally) in left {
        *tally = KinTally {
            state: KinState::Dropping(None),
            ..KinTally::default()
        };
    }
}
