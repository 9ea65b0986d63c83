//! The question of an aggregate about the values that count, and its answer from kept totals.

use millrace_model::Value;
use millrace_pql::ast::Aggregate;

use super::{Bind, Core, Op, children};
use crate::totals::Totals;
use crate::view::{Kept, Unknown};

/// A question about the values that count.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Question {
    Aggregate(Aggregate),
    /// Whether there are at least this number.
    AtLeast(u32),
}

/// A question, and whether each value counts once; that goes with counts only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    question: Question,
    distinct: bool,
}

impl Asked {
    /// Whether there are at least this number of items, each counted as it comes.
    pub(crate) fn whether_at_least(count: u32) -> Asked {
        Asked {
            question: Question::AtLeast(count),
            distinct: false,
        }
    }

    /// The question of an expression about the values of a list, and that list. An `AtLeast` with a
    /// condition asks about items, not values: `None`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other expression asks about a list")]
    pub(crate) fn of(core: &Core) -> Option<(Asked, &Core)> {
        let (question, list) = match core {
            Core::Bind {
                bind: Bind::AtLeast(count),
                source,
                var,
                body,
            } => {
                // Null is never counted.
                let plain = **body == Core::bool(true) || **body == Core::apply(Op::IsNotNull, vec![Core::Var(*var)]);
                (Question::AtLeast(*count), plain.then_some(&**source)?)
            }
            Core::Apply(Op::Aggregate(aggregate), of) => (Question::Aggregate(*aggregate), of.first()?),
            _ => return None,
        };
        let counts = matches!(question, Question::AtLeast(_) | Question::Aggregate(Aggregate::Count));
        let (distinct, list) = match list {
            Core::Apply(Op::Distinct, of) if counts => (true, of.first()?),
            _ => (false, list),
        };
        Some((Asked { question, distinct }, list))
    }

    /// Whether items without a value can be counted.
    pub(crate) fn counts_items(self) -> bool {
        !self.distinct && matches!(self.question, Question::AtLeast(_) | Question::Aggregate(Aggregate::Count))
    }

    /// Whether the number of occurrences of each value must be kept.
    pub fn keeps_values(self) -> bool {
        self.distinct || self.has_extreme()
    }

    /// Whether it asks for the least or the greatest value.
    pub fn has_extreme(self) -> bool {
        matches!(self.question, Question::Aggregate(Aggregate::Min | Aggregate::Max))
    }

    /// Whether it asks for the greatest.
    pub fn greatest(self) -> bool {
        self.question == Question::Aggregate(Aggregate::Max)
    }

    /// The number it asks for, if that is the question.
    pub(crate) fn at_least(self) -> Option<u64> {
        match self.question {
            Question::AtLeast(least) => Some(least.into()),
            Question::Aggregate(_) => None,
        }
    }

    /// The answer from totals.
    pub(crate) fn answer(self, totals: Totals, extreme: Option<Value>) -> Value {
        let count = if self.distinct { totals.distinct } else { totals.values };
        match self.question {
            Question::AtLeast(least) => Value::Bool(count >= u64::from(least)),
            Question::Aggregate(Aggregate::Count) => Value::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            Question::Aggregate(Aggregate::Sum) => totals.sum(),
            Question::Aggregate(Aggregate::Average) => totals.average(),
            Question::Aggregate(Aggregate::Min | Aggregate::Max) => extreme.unwrap_or_default(),
        }
    }

    /// The answer to `whole`, from an aggregate over children.
    ///
    /// # Errors
    /// If an unknown fact decides: for a list that is built first, any unknown fact.
    pub(crate) fn answer_of_children(self, kept: Kept, whole: &Core) -> Result<Value, Unknown> {
        let at_once = matches!(whole, Core::Bind { bind: Bind::AtLeast(_), source, .. } if children(source).is_some());
        match self.at_least().filter(|_| at_once) {
            Some(count) if kept.totals.values >= count => Ok(Value::Bool(true)),
            Some(count) if kept.totals.values + kept.unknown < count => Ok(Value::Bool(false)),
            _ if kept.unknown > 0 => Err(Unknown),
            _ => Ok(self.answer(kept.totals, kept.extreme)),
        }
    }
}
