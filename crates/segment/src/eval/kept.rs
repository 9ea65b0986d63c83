//! Expressions whose value is kept up to date. With evidence wanted, they are computed from the
//! facts, which are shown.

use millrace_model::{Timestamp, Value};

use super::{Evaluated, Evaluator, NEVER, Source, Val};
use crate::core::{Core, Kept, QueryRef};
use crate::view::{PartId, QueryId, Truth, Unknown, View};

/// The most children of an account for which the instant of a change by time is computed: each is
/// examined for that. For more there is no instant.
const FORESEEN_MAX: u64 = 256;

impl<'a> Evaluator<'a> {
    /// The value as kept; computed where it is not.
    pub(super) fn kept(&mut self, kept: &Kept, whole: &'a Core) -> Result<Evaluated<'a>, Unknown> {
        match kept {
            Kept::Tally { query, asked } => match self.kept_query(*query).and_then(|(view, query)| view.tally(query, self.now)) {
                Some(kept) => Ok((Val::Own(asked.answer(kept.totals, kept.extreme)), kept.valid_until)),
                None => self.eval(whole),
            },
            Kept::Sequence(query) => match self.kept_query(*query).and_then(|(view, query)| view.progress(query, self.now)) {
                Some(kept) => Ok((Val::Own(Value::Bool(kept.value)), kept.valid_until)),
                None => self.eval(whole),
            },
            Kept::Kin { kin, asked } => match self.source {
                Source::View(view) if self.trace.is_none() => match view.kin(*kin).filter(|kept| self.read_at.is_none() || kept.children > FORESEEN_MAX) {
                    Some(kept) => Ok((Val::Own(asked.answer_of_children(kept, whole)?), NEVER)),
                    None => self.eval(whole),
                },
                Source::View(_) | Source::World(_) | Source::None => self.eval(whole),
            },
            Kept::Truth(part) => {
                let (holds, valid_until) = self.truth(*part, whole)?;
                Ok((Val::Own(Value::Bool(holds)), valid_until))
            }
        }
    }

    /// The truth of a condition that reads no event, as kept; otherwise computed, and kept. For a
    /// later instant it is computed.
    pub(super) fn truth(&mut self, part: PartId, whole: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        let Source::View(view) = self.source else { return self.test(whole) };
        if self.trace.is_some() || self.read_at.is_some() {
            return self.test(whole);
        }
        if let Some(known) = view.truth(part).filter(|known| known.valid_until() > self.now) {
            // As if it had gone through them now: whether a rule is decided must not depend on what
            // is kept.
            self.go_through(known.items as usize)?;
            return Ok((known.holds, known.valid_until()));
        }
        let before = self.items;
        let (holds, valid_until) = self.test(whole)?;
        let items = u32::try_from(self.items - before).unwrap_or(u32::MAX);
        view.keep_truth(part, Truth::new(holds, valid_until, items));
        Ok((holds, valid_until))
    }

    /// The view and the query whose tally or progress it may keep.
    fn kept_query(&self, query: QueryRef) -> Option<(&'a dyn View, QueryId)> {
        match self.source {
            Source::View(view) if self.trace.is_none() => query.id().map(|query| (view, query)),
            Source::View(_) | Source::World(_) | Source::None => None,
        }
    }
}
