//! Comparisons, membership and arithmetic: which operands go together, and how literals are
//! coerced.
//!
//! Of two typed operands the second takes the type of the first if it can; next to an untyped one
//! the typed side decides, on whichever side it is. Literals are read here, so that impossible ones
//! are refused; other values are read where they are evaluated, and are null if they do not fit.
//! The operands of the comparison itself have one type, or compare as false.

use chrono_tz::Tz;
use millrace_model::Value;
use millrace_pql::Diagnostic;
use millrace_pql::ast::{Binary, Comparison, Expr, Span};

use super::{Checker, Typed};
use crate::coerce::{as_instants, instant, read};
use crate::core::{Arithmetic, Core, Kind, Op};
use crate::types::Ty;

impl Checker<'_> {
    pub(super) fn binary(&mut self, operator: Binary, left: &Expr, right: &Expr, span: Span) -> Typed {
        let comparison = match operator {
            Binary::Equal => Comparison::Equal,
            Binary::NotEqual => Comparison::NotEqual,
            Binary::Less => Comparison::Less,
            Binary::LessOrEqual => Comparison::LessOrEqual,
            Binary::Greater => Comparison::Greater,
            Binary::GreaterOrEqual => Comparison::GreaterOrEqual,
            Binary::In | Binary::NotIn => {
                let (value, list) = (self.expr(left), self.expr(right));
                return self.is_in(value, list, operator == Binary::NotIn, span);
            }
            Binary::Add => return self.arithmetic(Arithmetic::Add, left, right, span),
            Binary::Subtract => return self.arithmetic(Arithmetic::Subtract, left, right, span),
            Binary::Multiply => return self.arithmetic(Arithmetic::Multiply, left, right, span),
            Binary::Divide => return self.arithmetic(Arithmetic::Divide, left, right, span),
            Binary::Remainder => return self.arithmetic(Arithmetic::Remainder, left, right, span),
            Binary::And | Binary::Or => return self.refuse("type", span, "a condition cannot be compared"),
        };
        let (left, right) = (self.expr(left), self.expr(right));
        self.compare(comparison, left, right, span)
    }

    pub(super) fn compare(&mut self, comparison: Comparison, left: Typed, right: Typed, span: Span) -> Typed {
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let done = |left: Core, right: Core| Typed::new(Core::apply(Op::Compare(comparison), vec![left, right]), Ty::Bool);
        match (&left.ty, &right.ty) {
            (Ty::Broken, _) | (_, Ty::Broken) => Typed::broken(),
            (Ty::Null, _) | (_, Ty::Null) => {
                let remedy = "`isNull` and `isNotNull` ask whether there is a value";
                self.warnings
                    .push(Diagnostic::warning("null-comparison", span, "a comparison with null is never true").helping(remedy));
                done(left.core, right.core)
            }
            (Ty::Thing(a, _), Ty::Thing(b, _)) if a == b && !ordered => done(Core::apply(Op::Id, vec![left.core]), Core::apply(Op::Id, vec![right.core])),
            (Ty::Row(a, _), Ty::Row(b, _)) if a == b && !ordered => done(Core::apply(Op::Id, vec![left.core]), Core::apply(Op::Id, vec![right.core])),
            (Ty::Event, Ty::Event) if !ordered => done(Core::apply(Op::Id, vec![left.core]), Core::apply(Op::Id, vec![right.core])),
            (a, b) if a.is_object() || b.is_object() => self.impossible(&left.ty, &right.ty, span),
            (Ty::Any, _) | (_, Ty::Any) => {
                let (left, right) = self.agreed(left, right);
                done(left.core, right.core)
            }
            (Ty::List(a), Ty::List(b)) if !ordered && (a == b || fits(a, b)) => {
                let (left, right) = self.agreed(left, right);
                done(left.core, right.core)
            }
            (Ty::List(_), _) | (_, Ty::List(_)) => self.impossible(&left.ty, &right.ty, span),
            (Ty::Record(_) | Ty::Map(_) | Ty::Bool, _) if ordered => self.impossible(&left.ty, &right.ty, span),
            _ => match self.fitted(&left.ty, right, span) {
                Some(right) => {
                    let (left, right) = self.agreed(left, right);
                    done(left.core, right.core)
                }
                None => Typed::broken(),
            },
        }
    }

    fn impossible(&mut self, left: &Ty, right: &Ty, span: Span) -> Typed {
        let remedy = match (left, right) {
            (Ty::List(item), _) if item.is_object() => "`exists x from … where …` asks of its items",
            (Ty::List(_), Ty::List(_)) => "`intersects`, `subsetOf` and `supersetOf` compare lists",
            (Ty::List(_), _) | (_, Ty::List(_)) => "`in` and `exists x from … where …` ask of a list's items",
            (Ty::Record(_), _) | (_, Ty::Record(_)) => "name one of the record's fields",
            _ => "compare fields of one type",
        };
        self.fail(Diagnostic::error("type", span, format!("{} cannot be compared with {}", left.show(), right.show())).helping(remedy))
    }

    /// The second operand, if it can be read as the type of the first; `None` after an error.
    fn fitted(&mut self, wanted: &Ty, typed: Typed, span: Span) -> Option<Typed> {
        if !fits(wanted, &typed.ty) {
            self.impossible(wanted, &typed.ty, span);
            return None;
        }
        let Core::Literal(value) = &typed.core else { return Some(typed) };
        if readable(wanted, value) {
            return Some(typed);
        }
        let message = format!("`{}` is not {}", value.to_json(), wanted.show());
        self.refuse("type", span, message);
        None
    }

    /// `value in list`
    pub(super) fn is_in(&mut self, value: Typed, list: Typed, negated: bool, span: Span) -> Typed {
        let done = |value: Core, list: Core| Typed::new(Core::apply(Op::In { negated }, vec![value, list]), Ty::Bool);
        let item = match (&value.ty, &list.ty) {
            (Ty::Broken, _) | (_, Ty::Broken) => return Typed::broken(),
            (Ty::List(_), Ty::List(_)) => {
                let message = "a list is never an item of a list of values";
                return self.fail(Diagnostic::error("type", span, message).helping("`intersects` asks whether two lists have an item in common"));
            }
            (Ty::Thing(..), Ty::List(item)) if matches!((&value.ty, &**item), (Ty::Thing(a, _), Ty::Thing(b, _)) if a == b) => {
                let var = self.fresh();
                let ids = Core::bind(crate::core::Bind::Map, list.core, var, Core::apply(Op::Id, vec![Core::Var(var)]));
                return done(Core::apply(Op::Id, vec![value.core]), ids);
            }
            (_, Ty::List(item)) => (**item).clone(),
            (_, Ty::Any | Ty::Null) => {
                let (value, list) = self.agreed(value, list);
                return done(value.core, list.core);
            }
            (_, ty) => {
                let message = format!("`in` needs a list after it, this is {}", ty.show());
                return self.refuse("type", span, message);
            }
        };
        if value.ty.is_object() || item.is_object() || matches!(value.ty, Ty::List(_)) {
            return self.impossible(&value.ty, &list.ty, span);
        }
        if !fits(&value.ty, &item) {
            return self.impossible(&value.ty, &item, span);
        }
        if let Core::Literal(Value::List(values)) = &list.core
            && let Some(literal) = values.iter().find(|literal| !readable(&value.ty, literal))
        {
            let message = format!("`{}` is not {}", literal.to_json(), value.ty.show());
            return self.refuse("type", span, message);
        }
        let (value, list) = self.agreed(value, list);
        done(value.core, list.core)
    }

    /// Two lists of values that go together.
    pub(super) fn lists(&mut self, op: Op, left: Typed, right: Typed, span: Span) -> Option<Core> {
        match (&left.ty, &right.ty) {
            (Ty::Broken, _) | (_, Ty::Broken) => None,
            (Ty::Any | Ty::Null, Ty::List(_) | Ty::Any | Ty::Null) | (Ty::List(_), Ty::Any | Ty::Null) => {
                let (left, right) = self.agreed(left, right);
                Some(Core::apply(op, vec![left.core, right.core]))
            }
            (Ty::List(a), Ty::List(b)) if !a.is_object() && !b.is_object() && fits(a, b) => {
                if let Core::Literal(Value::List(values)) = &right.core
                    && !values.iter().all(|value| readable(a, value))
                {
                    self.impossible(&left.ty, &right.ty, span);
                    return None;
                }
                let (left, right) = self.agreed(left, right);
                Some(Core::apply(op, vec![left.core, right.core]))
            }
            (a, b) => {
                let message = format!("two lists of values are needed, these are {} and {}", a.show(), b.show());
                self.refuse("type", span, message);
                None
            }
        }
    }

    fn arithmetic(&mut self, op: Arithmetic, left: &Expr, right: &Expr, span: Span) -> Typed {
        let (left, right) = (self.expr(left), self.expr(right));
        let ty = match (&left.ty, &right.ty) {
            (Ty::Broken, _) | (_, Ty::Broken) => return Typed::broken(),
            (Ty::Int, Ty::Int) if op != Arithmetic::Divide => Ty::Int,
            (Ty::Int | Ty::Number, Ty::Int | Ty::Number) => Ty::Number,
            (Ty::Any | Ty::Int | Ty::Number | Ty::Null, Ty::Any | Ty::Int | Ty::Number | Ty::Null) => Ty::Number,
            (a, b) => {
                let diagnostic = Diagnostic::error("type", span, format!("arithmetic wants numbers, these are {} and {}", a.show(), b.show()));
                return self.fail(if [a, b].into_iter().any(|ty| matches!(ty, Ty::Date | Ty::Time)) {
                    diagnostic.helping("`occurs … before …` compares instants")
                } else {
                    diagnostic
                });
            }
        };
        Typed::new(Core::apply(Op::Arithmetic(op), vec![left.core, right.core]), ty)
    }
}

/// Whether a value of the second type can be read as one of the first.
fn fits(wanted: &Ty, ty: &Ty) -> bool {
    match (wanted, ty) {
        (Ty::Any | Ty::Broken | Ty::Null, _) | (_, Ty::Any | Ty::Broken | Ty::Null) => true,
        (Ty::Int | Ty::Number, Ty::Int | Ty::Number | Ty::Text) => true,
        (Ty::Text, Ty::Text | Ty::Int | Ty::Number | Ty::Bool) => true,
        (Ty::Date | Ty::Time | Ty::Bool, Ty::Text) => true,
        (Ty::Date | Ty::Time, Ty::Date | Ty::Time) => true,
        (a, b) => a == b,
    }
}

/// Whether a literal can be read as a type.
fn readable(wanted: &Ty, value: &Value) -> bool {
    match wanted {
        _ if value.is_null() => true,
        // The zone does not matter for whether there is an instant.
        Ty::Time => instant(Tz::UTC, value).is_some(),
        Ty::Null
        | Ty::Bool
        | Ty::Int
        | Ty::Number
        | Ty::Text
        | Ty::Date
        | Ty::List(_)
        | Ty::Map(_)
        | Ty::Record(_)
        | Ty::Groups(_)
        | Ty::Any
        | Ty::Thing(..)
        | Ty::Row(..)
        | Ty::Event
        | Ty::Broken => kind(wanted).is_none_or(|kind| !read(value, kind).is_null()),
    }
}

/// The kind as which values of a type, or the items of a list of such, are read; `None` for those
/// that are read as instants, or not at all.
fn kind(ty: &Ty) -> Option<Kind> {
    match ty {
        Ty::Bool => Some(Kind::Bool),
        Ty::Int | Ty::Number => Some(Kind::Number),
        Ty::Text => Some(Kind::Text),
        Ty::Date => Some(Kind::Date),
        Ty::List(item) => kind(item),
        Ty::Null | Ty::Time | Ty::Map(_) | Ty::Record(_) | Ty::Groups(_) | Ty::Any | Ty::Thing(..) | Ty::Row(..) | Ty::Event | Ty::Broken => None,
    }
}

impl Checker<'_> {
    /// Two operands brought to one type: the typed one's, of two typed ones the first's. A date
    /// next to an instant is its midnight.
    pub(super) fn agreed(&self, left: Typed, right: Typed) -> (Typed, Typed) {
        match (&left.ty.item(), &right.ty.item()) {
            (Ty::Date, Ty::Time) | (Ty::Any, Ty::Time) => (self.instants(left), right),
            (Ty::Time, Ty::Date | Ty::Any | Ty::Text) => (left, self.instants(right)),
            (Ty::Any, typed) => (as_kind(left, kind(typed)), right),
            (a, b) if a == b => (left, right),
            (typed, _) => (left, as_kind(right, kind(typed))),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other expression is read as an instant when it is evaluated")]
    fn instants(&self, typed: Typed) -> Typed {
        let core = match typed.core {
            Core::Moment(moment) => Core::Moment(moment),
            Core::Literal(value) => Core::Literal(as_instants(self.zone, &value)),
            core => Core::apply(Op::Instant, vec![core]),
        };
        Typed::new(core, typed.ty)
    }
}

fn as_kind(typed: Typed, kind: Option<Kind>) -> Typed {
    match (typed.core, kind) {
        (core, None) => Typed::new(core, typed.ty),
        (Core::Literal(value), Some(kind)) => Typed::new(Core::Literal(read(&value, kind)), typed.ty),
        // Whole numbers and others are of one kind.
        (core, Some(Kind::Number)) if typed.ty.item().is_number() => Typed::new(core, typed.ty),
        (core, Some(kind)) => Typed::new(Core::apply(Op::Read(kind), vec![core]), typed.ty),
    }
}
