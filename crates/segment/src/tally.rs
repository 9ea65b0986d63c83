//! Aggregates over a subject's events that are updated event by event: the cost of one event does
//! not depend on how many there are.
//!
//! Each matching event is *judged*: whether it counts now, and until when. Totals add what begins
//! to count and subtract what ceases to. The owner of the rows (the engine) keeps the verdicts,
//! judges again when their time is over, and keeps how often each value counts if the aggregate
//! asks for least, greatest or distinct values.

use std::sync::Arc;

use millrace_model::{Timestamp, Value};

use crate::core::{Asked, Bind, Core, Op, QueryRef, SUBJECT, Var};
use crate::eval::{Context, Evaluator, NEVER, Object, Val};
use crate::view::EventRow;

/// The aggregated part of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// Its existence.
    Event,
    /// Its time.
    Time,
    /// This column of its query.
    Column(u64),
}

/// An aggregate as rules write it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TallyShape {
    pub asked: Asked,
    pub measured: Measured,
    /// On the event, as `SUBJECT`; depends on time and on nothing else.
    pub condition: Core,
}

impl TallyShape {
    /// The shape of an expression over the rows of one query, and that query; `None` for other
    /// expressions.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else of an event is kept in a tally")]
    pub fn of(core: &Core) -> Option<(TallyShape, QueryRef)> {
        if let Core::Bind {
            bind: Bind::AtLeast(count),
            source,
            var,
            body,
        } = core
            && matches!(**source, Core::Rows(_))
        {
            let (condition, query) = filtered(source, Some((*var, body)))?;
            let shape = TallyShape {
                asked: Asked::whether_at_least(*count),
                measured: Measured::Event,
                condition,
            };
            return Some((shape, query));
        }
        let (asked, list) = Asked::of(core)?;
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
        // Only values can be repeated and ordered; events cannot.
        (!asked.keeps_values() || measured != Measured::Event).then_some((TallyShape { asked, measured, condition }, query))
    }

    /// The same text for the same aggregate.
    pub fn canonical(&self) -> String {
        format!("{:?} {:?} {}", self.asked, self.measured, self.condition.canonical())
    }
}

/// The rows of a query under a condition that refers to each event alone.
fn filtered(rows: &Core, condition: Option<(Var, &Core)>) -> Option<(Core, QueryRef)> {
    let Core::Rows(query) = rows else { return None };
    let Some((var, body)) = condition else {
        return Some((Core::bool(true), *query));
    };
    let alone = body.free().iter().all(|free| *free == var) && !body.any(&|node| matches!(node, Core::Rows(_) | Core::Chain(_)));
    alone.then(|| (body.clone().substitute(var, &Core::Var(SUBJECT)), *query))
}

/// An aggregate to be kept for a query.
#[derive(Clone, Debug)]
pub struct Tally {
    pub(crate) shape: Arc<TallyShape>,
    pub(crate) layout: Arc<Vec<u64>>,
    pub(crate) context: Context,
}

/// Whether an event counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its contribution; `None` if it does not count now.
    pub value: Option<Value>,
    /// The earliest later instant at which time alone could change that.
    pub valid_until: Timestamp,
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
        let mut machine = Evaluator::over(vec![(SUBJECT, event)], &self.context, now);
        // Nothing about a single event is unknown.
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

    /// The question about the values.
    pub fn asked(&self) -> Asked {
        self.shape.asked
    }
}
