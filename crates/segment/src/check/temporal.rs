//! `occurs` and chains.

use chrono_tz::Tz;
use millrace_model::{DAY_MS, Timestamp, Value};
use millrace_pql::Diagnostic;
use millrace_pql::ast::{EventStep, Expr, Span, Unit, When};

use super::{Checker, Frame, Typed};
use crate::calendar::{staircase, stand, start};
use crate::coerce::instant;
use crate::core::{Bind, ChainStep, Core, Op, Var};
use crate::types::Ty;

/// Steps of one chain: a search goes one level deeper with each.
pub(crate) const STEPS_MAX: usize = 100;

/// The range for `COUNT`, `topN` and `bottomN`.
pub(crate) const COUNT_MAX: i64 = 100_000;

impl Checker<'_> {
    pub(super) fn occurs(&mut self, subject: &Expr, when: &When, span: Span) -> Typed {
        let typed = self.expr(subject);
        let Some(fact) = self.instant(typed, subject.span) else {
            // The window may contain errors of its own.
            self.when(Core::null(), when, span);
            return Typed::broken();
        };
        let core = self.when(fact, when, span);
        Typed::new(core, Ty::Bool)
    }

    /// An expression as an instant; an event stands for its own.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
    fn instant(&mut self, typed: Typed, span: Span) -> Option<Core> {
        match typed.ty {
            Ty::Time | Ty::Null => Some(typed.core),
            Ty::Date | Ty::Any | Ty::Text => {
                let Core::Literal(value) = &typed.core else {
                    return Some(Core::apply(Op::Instant, vec![typed.core]));
                };
                match instant(self.zone, value) {
                    Some(instant) => Some(Core::Literal(Value::Time(instant))),
                    None => {
                        let message = format!("`{}` is no instant", value.to_json());
                        self.refuse("type", span, message);
                        None
                    }
                }
            }
            Ty::Event => Some(Core::field(typed.core, "timestamp")),
            Ty::Broken => None,
            ty => {
                let diagnostic = Diagnostic::error("type", span, format!("an instant is needed here, this is {}", ty.show()));
                let remedy = matches!(ty, Ty::List(_)).then_some("`exists x from … where x.timestamp occurs …` asks of a list's items");
                self.fail(Diagnostic {
                    expected: remedy.map(str::to_owned),
                    ..diagnostic
                });
                None
            }
        }
    }

    fn when(&mut self, fact: Core, when: &When, span: Span) -> Core {
        match when {
            When::Offset {
                comparison,
                amount,
                unit,
                direction,
                anchor,
            } => {
                let count = self.expr(amount);
                if !matches!(count.ty, Ty::Int | Ty::Number | Ty::Any | Ty::Broken) {
                    let message = format!("a number of units is needed here, this is {}", count.ty.show());
                    self.refuse("type", amount.span, message);
                }
                let written = written_out(&count.core);
                if let Some(Value::Decimal(number)) = &written
                    && !number.fract().is_zero()
                    && crate::calendar::fixed_ms(*unit).is_none()
                {
                    self.fail(Diagnostic::error("type", amount.span, "months and years are whole").expecting("a whole number, or days"));
                }
                if let Some(number) = &written
                    && *number < Value::Int(0)
                {
                    let remedy = format!(
                        "`{}` looks the other way",
                        if *direction == millrace_pql::ast::Direction::Before {
                            "after"
                        } else {
                            "before"
                        }
                    );
                    self.fail(Diagnostic::error("type", amount.span, "a window of a negative number of units").helping(remedy));
                }
                let typed = self.expr(anchor);
                let Some(anchor) = self.instant(typed, anchor.span) else {
                    return Core::bool(false);
                };
                Core::apply(
                    Op::Window {
                        comparison: *comparison,
                        unit: *unit,
                        direction: *direction,
                    },
                    vec![fact, count.core, anchor],
                )
            }
            When::Relative { direction, anchor } => {
                let typed = self.expr(anchor);
                let Some(anchor) = self.instant(typed, anchor.span) else {
                    return Core::bool(false);
                };
                Core::apply(Op::Relative(*direction), vec![fact, anchor])
            }
            When::On(anchor) => {
                let typed = self.expr(anchor);
                let Some(anchor) = self.instant(typed, anchor.span) else {
                    return Core::bool(false);
                };
                Core::apply(Op::On, vec![fact, anchor])
            }
            When::Between { from, to } => {
                let (low, high) = (self.expr(from), self.expr(to));
                let (Some(low), Some(high)) = (self.instant(low, from.span), self.instant(high, to.span)) else {
                    return Core::bool(false);
                };
                if always_after(self.zone, &low, &high) {
                    self.warnings.push(Diagnostic::warning(
                        "empty-window",
                        span,
                        "the window ends before it begins: nothing lies in it",
                    ));
                }
                Core::apply(Op::Between, vec![fact, low, high])
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
    pub(super) fn chain(&mut self, events: &Expr, timestamp: &Expr, steps: &[EventStep]) -> Typed {
        let typed = self.expr(events);
        let source = match &typed.ty {
            Ty::List(item) if **item == Ty::Event => typed.core,
            Ty::Broken => Core::null(),
            ty => {
                let message = format!("a chain goes through events, this is {}", ty.show());
                self.fail(Diagnostic::error("type", events.span, message).expecting("`xEvent`, or a filter of it"))
                    .core
            }
        };
        if !names_timestamp(timestamp) {
            self.refuse("chain", timestamp.span, "the steps of a chain are ordered by `timestamp`");
        }
        if steps.len() > STEPS_MAX {
            return self.refuse("chain", events.span, format!("a chain of {} steps, more than {STEPS_MAX}", steps.len()));
        }
        // Every step has its own copy of the events.
        if !self.grow(source.size() * steps.len(), events.span) {
            return Typed::broken();
        }
        let depth = self.scopes.len();
        let mut chain: Vec<ChainStep> = Vec::with_capacity(steps.len());
        for step in steps {
            let var = self.fresh();
            let event = Typed::new(Core::Var(var), Ty::Event);
            self.scopes.push(Frame::Named(step.label.clone(), event.clone()));
            self.scopes.push(Frame::Implicit(event));
            let mut conditions = Vec::new();
            if let Some(what) = &step.what {
                conditions.push(self.condition(what));
            }
            if let Some(when) = &step.when {
                conditions.push(self.when(Core::field(Core::Var(var), "timestamp"), when, timestamp.span));
            }
            if let Some(condition) = &step.condition {
                conditions.push(self.condition(condition));
            }
            self.scopes.pop();
            if step.negated {
                // No event is taken, so later steps cannot refer to it.
                self.scopes.pop();
            }
            let count = step.count.as_ref().map_or(1, |count| self.positive(count, "COUNT"));
            // Conditions that do not refer to earlier steps select candidates.
            let earlier: Vec<Var> = chain.iter().map(|step| step.var).collect();
            let (related, own): (Vec<Core>, Vec<Core>) = Core::and(conditions)
                .conjuncts()
                .into_iter()
                .partition(|condition| condition.free().iter().any(|free| earlier.contains(free)));
            let inner = self.fresh();
            let own = Core::and(own).substitute(var, &Core::Var(inner));
            let source = source.clone().refresh(&mut self.fresh);
            let source = if own == Core::bool(true) {
                source
            } else {
                Core::bind(Bind::Filter, source, inner, own)
            };
            chain.push(ChainStep {
                negated: step.negated,
                source,
                var,
                body: Core::and(related),
                count,
            });
        }
        self.scopes.truncate(depth);
        if steps.is_empty() {
            return self.refuse("chain", events.span, "a chain has at least one step");
        }
        Typed::new(Core::Chain(chain), Ty::Bool)
    }

    /// A literal whole number from one on.
    pub(super) fn positive(&mut self, expr: &Expr, what: &str) -> u32 {
        if let Core::Literal(Value::Int(number)) = self.expr(expr).core
            && (1..=COUNT_MAX).contains(&number)
        {
            return number as u32;
        }
        self.refuse("count", expr.span, format!("`{what}` wants a whole number from 1 to {COUNT_MAX}, written out"));
        1
    }
}

/// `timestamp`, `$1.timestamp`, `x.timestamp`.
fn names_timestamp(expr: &Expr) -> bool {
    use millrace_pql::ast::Node;
    matches!(&expr.node, Node::Name(name) | Node::Field { name, .. } if name == "timestamp")
}

/// Whether the first instant is after the second whenever the rule is evaluated. Words of time are
/// tried at every midnight and noon of more than a year, which has each of their steps.
fn always_after(zone: Tz, first: &Core, second: &Core) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other instant depends on data")]
    let at = |core: &Core, now: Timestamp| match core {
        Core::Literal(Value::Time(at)) => Some(*at),
        Core::Moment(moment) => Some(stand(zone, now, staircase(*moment))),
        _ => None,
    };
    if matches!((first, second), (Core::Literal(_), Core::Moment(_)) | (Core::Moment(_), Core::Literal(_))) {
        // True or not by the day of the evaluation.
        return false;
    }
    let begin = start(zone, Timestamp(1_704_110_400_000), Unit::Day);
    let half_days = (0..800).map(|half_day| begin.plus_ms(half_day * DAY_MS / 2));
    half_days
        .map(|now| at(first, now).zip(at(second, now)))
        .all(|pair| pair.is_some_and(|(first, second)| first > second))
}

/// The value of a number that is written out, be it as a sum: `-3`, `(0 - 3)`.
fn written_out(core: &Core) -> Option<Value> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other expression is computed")]
    fn is_written(core: &Core) -> bool {
        match core {
            Core::Literal(_) => true,
            Core::Apply(Op::Arithmetic(_) | Op::Negate, operands) => operands.iter().all(is_written),
            _ => false,
        }
    }
    if !is_written(core) {
        return None;
    }
    let Core::Literal(value) = crate::eval::constant(core)? else { return None };
    value.is_number().then_some(value)
}
