//! Aggregates over a subject's events that are kept up to date event by event: what one event costs does not depend on how many there are.
//!
//! Each matching event is *judged*: whether it counts now, and until when that holds. Totals take in what begins to count and give back what ceases to.
//! The owner of the rows (the engine) keeps the verdicts, judges again when their time is over, and keeps how often each value counts where the
//! aggregate asks for least, greatest or distinct values.

use std::sync::Arc;

use millrace_model::number::{self, Sum};
use millrace_model::{Decimal, Timestamp, Value};
use millrace_pql::ast::Aggregate;
use serde::{Deserialize, Serialize};

use crate::core::{Bind, Core, Op, SUBJECT, Var};
use crate::eval::{Context, Machine, NEVER, Object, Source, Val};
use crate::plan::EventRow;

/// What of an event is aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// That there is one.
    Event,
    /// Its time.
    Time,
    /// This column of its query.
    Column(u64),
}

/// What is asked of the values that count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Question {
    Aggregate(Aggregate),
    /// Whether there are at least so many.
    AtLeast(u32),
}

/// A question, and whether each value counts once; that goes with counts only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    question: Question,
    distinct: bool,
}

/// An aggregate as rules write it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    pub asked: Asked,
    pub measured: Measured,
    /// Of the event, as `SUBJECT`; depends on time and on nothing else.
    pub condition: Core,
}

impl Shape {
    /// The shape of an expression over the rows of one query, and the place of that query; `None` for expressions of another make.
    pub fn of(core: &Core) -> Option<(Shape, u64)> {
        let (question, list) = match core {
            Core::Bind {
                bind: Bind::AtLeast(count),
                source,
                var,
                body,
            } => match &**source {
                Core::Rows(_) => {
                    let (condition, query) = filtered(source, Some((*var, body)))?;
                    let asked = Asked {
                        question: Question::AtLeast(*count),
                        distinct: false,
                    };
                    return Some((
                        Shape {
                            asked,
                            measured: Measured::Event,
                            condition,
                        },
                        query,
                    ));
                }
                // Null is never counted.
                list if **body == Core::bool(true) || **body == Core::apply(Op::IsNotNull, vec![Core::Var(*var)]) => (Question::AtLeast(*count), list),
                _ => return None,
            },
            Core::Apply(Op::Aggregate(aggregate), of) => (Question::Aggregate(*aggregate), &of[0]),
            _ => return None,
        };
        let counts = matches!(question, Question::AtLeast(_) | Question::Aggregate(Aggregate::Count));
        let (distinct, list) = match list {
            Core::Apply(Op::Distinct, of) if counts => (true, &of[0]),
            list => (false, list),
        };
        let (measured, list) = match list {
            Core::Bind {
                bind: Bind::Map,
                source,
                var,
                body,
            } => {
                let own = |of: &[Core]| of[0] == Core::Var(*var);
                let measured = match &**body {
                    Core::Apply(Op::Column(id), of) if own(of) => Measured::Column(*id),
                    Core::Apply(Op::Field(name), of) if own(of) && name.as_str() == "timestamp" => Measured::Time,
                    _ => return None,
                };
                (measured, &**source)
            }
            list => (Measured::Event, list),
        };
        let (condition, query) = match list {
            Core::Bind {
                bind: Bind::Filter,
                source,
                var,
                body,
            } => filtered(source, Some((*var, body)))?,
            list => filtered(list, None)?,
        };
        // Only values come in twice and have an order; events have not.
        let valued = distinct || matches!(question, Question::Aggregate(Aggregate::Min | Aggregate::Max));
        (!valued || measured != Measured::Event).then_some((
            Shape {
                asked: Asked { question, distinct },
                measured,
                condition,
            },
            query,
        ))
    }

    /// The same text for the same aggregate.
    pub fn canonical(&self) -> String {
        format!("{:?} {:?} {}", self.asked, self.measured, self.condition.canonical())
    }
}

/// The rows of a query under a condition that speaks of each event alone.
fn filtered(rows: &Core, condition: Option<(Var, &Core)>) -> Option<(Core, u64)> {
    let Core::Rows(query) = rows else { return None };
    let Some((var, body)) = condition else {
        return Some((Core::bool(true), query.0));
    };
    let alone = body.free().iter().all(|free| *free == var) && !body.any(&|node| matches!(node, Core::Rows(_) | Core::Chain(_)));
    alone.then(|| (body.clone().substitute(var, &Core::Var(SUBJECT)), query.0))
}

/// An aggregate to be kept for a query.
#[derive(Clone, Debug)]
pub struct Tally {
    pub(crate) shape: Arc<Shape>,
    pub(crate) layout: Arc<Vec<u64>>,
    pub(crate) context: Context,
}

/// Whether an event counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What it contributes; `None` where it does not count now.
    pub value: Option<Value>,
    /// The earliest later instant at which time alone could change that.
    pub valid_until: Timestamp,
}

/// What counts, added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Values.
    pub values: u64,
    /// Distinct values, where they are kept apart.
    pub distinct: u64,
    /// Of the values, numbers.
    numbers: u64,
    sum: Sum,
}

impl Totals {
    /// A value begins to count.
    pub fn add(&mut self, value: &Value) {
        self.values += 1;
        match value {
            Value::Int(number) => self.sum.add_whole(*number),
            Value::Decimal(number) => self.sum.add(*number),
            _ => return,
        }
        self.numbers += 1;
    }

    /// A value ceases to count.
    pub fn remove(&mut self, value: &Value) {
        self.values = self.values.saturating_sub(1);
        match value {
            Value::Int(number) => self.sum.remove_whole(*number),
            Value::Decimal(number) => self.sum.remove(*number),
            _ => return,
        }
        self.numbers = self.numbers.saturating_sub(1);
    }

    /// Null where it is too great.
    pub fn sum(&self) -> Value {
        Value::number_or_null(self.sum.total())
    }

    /// Null where there is no number.
    pub fn average(&self) -> Value {
        let sum = self.sum.total().filter(|_| self.numbers > 0);
        Value::number_or_null(sum.and_then(|sum| number::divide(sum, Decimal::from(self.numbers))))
    }
}

impl Tally {
    /// Whether an event counts at `now`.
    pub fn judge(&self, row: &EventRow, now: Timestamp) -> Verdict {
        if row.at > now {
            return Verdict {
                value: None,
                valid_until: row.at,
            };
        }
        let event = Val::Object(Object::Event(row, &self.layout));
        let mut machine = Machine {
            source: Source::None,
            now,
            context: &self.context,
            told_at: None,
            bound: vec![(SUBJECT, event)],
            trace: None,
        };
        // Nothing about one event is unknown.
        let (counts, valid_until) = machine.test(&self.shape.condition).unwrap_or((false, NEVER));
        let value = counts.then(|| match self.shape.measured {
            Measured::Event => Value::Bool(true),
            Measured::Time => Value::Time(row.at),
            Measured::Column(id) => self
                .layout
                .binary_search(&id)
                .ok()
                .and_then(|at| row.columns.get(at))
                .cloned()
                .unwrap_or_default(),
        });
        Verdict {
            value: value.filter(|value| !value.is_null()),
            valid_until,
        }
    }

    /// What is asked of the values.
    pub fn asked(&self) -> Asked {
        self.shape.asked
    }
}

/// A tally as it is kept.
#[derive(Clone, Debug)]
pub struct Tallied {
    pub totals: Totals,
    /// The least or greatest value that counts, where that is asked for.
    pub extreme: Option<Value>,
    pub valid_until: Timestamp,
}

impl Asked {
    pub(crate) fn new(question: Question, distinct: bool) -> Asked {
        Asked { question, distinct }
    }

    /// Whether it has to be kept how often each value counts.
    pub fn keeps_values(self) -> bool {
        self.distinct || self.has_extreme()
    }

    /// Whether the least or the greatest value is asked for.
    pub fn has_extreme(self) -> bool {
        matches!(self.question, Question::Aggregate(Aggregate::Min | Aggregate::Max))
    }

    /// Whether that is the greatest.
    pub fn greatest(self) -> bool {
        self.question == Question::Aggregate(Aggregate::Max)
    }

    /// How many are asked for, where that is the question.
    pub(crate) fn at_least(self) -> Option<u64> {
        match self.question {
            Question::AtLeast(least) => Some(least.into()),
            Question::Aggregate(_) => None,
        }
    }

    /// What the totals say.
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
}
