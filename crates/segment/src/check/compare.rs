//! Comparisons, membership and arithmetic: which operands go together, and how literals are coerced.
//!
//! The second operand takes the type of the first if it can. Literals are coerced here, so that what cannot be is refused; other values are coerced
//! where they are evaluated, and compare as null where they do not fit.

use millrace_model::{Timestamp, Value};

use super::{Checker, Typed};
use crate::ast::{Binary, Comparison, Expr, Span};
use crate::core::{Arithmetic, Core, Op};
use crate::diagnostic::Diagnostic;
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
                    .push(Diagnostic::warning("null-comparison", span, "a comparison with null is never true").expecting(remedy));
                done(left.core, right.core)
            }
            (Ty::Thing(a, _), Ty::Thing(b, _)) if a == b && !ordered => done(Core::apply(Op::Id, vec![left.core]), Core::apply(Op::Id, vec![right.core])),
            (Ty::Row(a, _), Ty::Row(b, _)) if a == b && !ordered => done(Core::apply(Op::Id, vec![left.core]), Core::apply(Op::Id, vec![right.core])),
            (Ty::Event, Ty::Event) if !ordered => done(Core::apply(Op::Id, vec![left.core]), Core::apply(Op::Id, vec![right.core])),
            (a, b) if a.is_object() || b.is_object() => self.impossible(&left.ty, &right.ty, span),
            (Ty::Any, _) | (_, Ty::Any) => done(left.core, right.core),
            (Ty::List(a), Ty::List(b)) if !ordered && (a == b || fits(a, b)) => done(left.core, right.core),
            (Ty::List(_), _) | (_, Ty::List(_)) => self.impossible(&left.ty, &right.ty, span),
            (Ty::Record(_) | Ty::Map(_) | Ty::Bool, _) if ordered => self.impossible(&left.ty, &right.ty, span),
            _ => match self.coerce(&left.ty, right, span) {
                Some(right) => done(left.core, right),
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
        self.fail(Diagnostic::error("type", span, format!("{} cannot be compared with {}", left.show(), right.show())).expecting(remedy))
    }

    /// The second operand as the type of the first; `None` after an error.
    fn coerce(&mut self, wanted: &Ty, typed: Typed, span: Span) -> Option<Core> {
        if !fits(wanted, &typed.ty) {
            self.impossible(wanted, &typed.ty, span);
            return None;
        }
        let Core::Literal(value) = &typed.core else { return Some(typed.core) };
        match coerce_literal(wanted, value) {
            Some(value) => Some(Core::Literal(value)),
            None => {
                let message = format!("`{}` is not {}", value.to_json(), wanted.show());
                self.refuse("type", span, message);
                None
            }
        }
    }

    /// `value in list`
    pub(super) fn is_in(&mut self, value: Typed, list: Typed, negated: bool, span: Span) -> Typed {
        let done = |value: Core, list: Core| Typed::new(Core::apply(Op::In { negated }, vec![value, list]), Ty::Bool);
        let item = match (&value.ty, &list.ty) {
            (Ty::Broken, _) | (_, Ty::Broken) => return Typed::broken(),
            (Ty::List(_), Ty::List(_)) => {
                let message = "a list is never an item of a list of values";
                return self.fail(Diagnostic::error("type", span, message).expecting("`intersects` asks whether two lists have an item in common"));
            }
            (Ty::Thing(..), Ty::List(item)) if matches!((&value.ty, &**item), (Ty::Thing(a, _), Ty::Thing(b, _)) if a == b) => {
                let var = self.fresh();
                let ids = Core::bind(crate::core::Bind::Map, list.core, var, Core::apply(Op::Id, vec![Core::Var(var)]));
                return done(Core::apply(Op::Id, vec![value.core]), ids);
            }
            (_, Ty::List(item)) => (**item).clone(),
            (_, Ty::Any | Ty::Null) => return done(value.core, list.core),
            (_, ty) => {
                let message = format!("`in` wants a list behind it, this is {}", ty.show());
                return self.refuse("type", span, message);
            }
        };
        if value.ty.is_object() || item.is_object() || matches!(value.ty, Ty::List(_)) {
            return self.impossible(&value.ty, &list.ty, span);
        }
        let Core::Literal(Value::List(values)) = &list.core else {
            if !fits(&value.ty, &item) {
                return self.impossible(&value.ty, &item, span);
            }
            return done(value.core, list.core);
        };
        let mut coerced = Vec::with_capacity(values.len());
        for literal in values {
            match coerce_literal(&value.ty, literal) {
                Some(literal) => coerced.push(literal),
                None => {
                    let message = format!("`{}` is not {}", literal.to_json(), value.ty.show());
                    return self.refuse("type", span, message);
                }
            }
        }
        done(value.core, Core::Literal(Value::List(coerced)))
    }

    /// Two lists of values that go together.
    pub(super) fn lists(&mut self, op: Op, left: Typed, right: Typed, span: Span) -> Option<Core> {
        match (&left.ty, &right.ty) {
            (Ty::Broken, _) | (_, Ty::Broken) => None,
            (Ty::Any | Ty::Null, Ty::List(_) | Ty::Any | Ty::Null) | (Ty::List(_), Ty::Any | Ty::Null) => Some(Core::apply(op, vec![left.core, right.core])),
            (Ty::List(a), Ty::List(b)) if !a.is_object() && !b.is_object() && fits(a, b) => {
                let right = match &right.core {
                    Core::Literal(Value::List(values)) => {
                        let coerced: Option<Vec<Value>> = values.iter().map(|value| coerce_literal(a, value)).collect();
                        match coerced {
                            Some(values) => Core::Literal(Value::List(values)),
                            None => {
                                self.impossible(&left.ty, &right.ty, span);
                                return None;
                            }
                        }
                    }
                    _ => right.core,
                };
                Some(Core::apply(op, vec![left.core, right]))
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
            (Ty::Int | Ty::Float, Ty::Int | Ty::Float) => Ty::Float,
            (Ty::Any | Ty::Int | Ty::Float | Ty::Null, Ty::Any | Ty::Int | Ty::Float | Ty::Null) => Ty::Any,
            (a, b) => {
                let diagnostic = Diagnostic::error("type", span, format!("arithmetic wants numbers, these are {} and {}", a.show(), b.show()));
                return self.fail(if *a == Ty::Time || *b == Ty::Time {
                    diagnostic.expecting("`occurs … before …` compares instants")
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
        (Ty::Int | Ty::Float, Ty::Int | Ty::Float | Ty::Text) => true,
        (Ty::Text, Ty::Text | Ty::Int | Ty::Float | Ty::Bool) => true,
        (Ty::Time | Ty::Bool, Ty::Text) => true,
        (a, b) => a == b,
    }
}

/// A literal as the type the other operand has.
fn coerce_literal(wanted: &Ty, value: &Value) -> Option<Value> {
    let like = match wanted {
        Ty::Int | Ty::Float => Value::Int(0),
        Ty::Text => Value::text(""),
        Ty::Time => Value::Time(Timestamp(0)),
        Ty::Bool => Value::Bool(false),
        _ => return Some(value.clone()),
    };
    if value.is_null() { Some(Value::Null) } else { coerce(value, &like) }
}

/// A value as the type of another; `None` where it cannot be read so. Null has no type and is never passed.
pub(crate) fn coerce(value: &Value, like: &Value) -> Option<Value> {
    match (like, value) {
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_))
        | (Value::Text(_), Value::Text(_))
        | (Value::Time(_), Value::Time(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::List(_), Value::List(_))
        | (Value::Map(_), Value::Map(_)) => Some(value.clone()),
        (Value::Int(_) | Value::Float(_), Value::Text(text)) => {
            let text = text.trim();
            // Words such as `inf` are no numbers here.
            if !text.bytes().any(|byte| byte.is_ascii_digit()) {
                return None;
            }
            text.parse::<i64>()
                .map(Value::Int)
                .ok()
                .or_else(|| text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Float))
        }
        (Value::Text(_), Value::Int(number)) => Some(Value::text(number.to_string())),
        (Value::Text(_), Value::Float(number)) => Some(Value::text(number.to_string())),
        (Value::Text(_), Value::Bool(flag)) => Some(Value::text(flag.to_string())),
        (Value::Time(_), Value::Text(text)) => Timestamp::parse(text).ok().map(Value::Time),
        // Under `extra` an instant is a text.
        (Value::Text(_), Value::Time(instant)) => Some(Value::text(instant.to_string())),
        (Value::Bool(_), Value::Text(text)) if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
        (Value::Bool(_), Value::Text(text)) if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
        _ => None,
    }
}
