//! From syntax tree to core: names resolved, implicit parameters filled in, types checked,
//! comparisons made possible or refused.
//!
//! The checker's promise: the core it returns evaluates without type errors on any data that fits
//! the schema; where data does not fit (under `Any`), the value is null. `let` and lambdas are
//! gone: they are substituted where they are used.

mod calls;
mod compare;
mod computed;
mod lists;
pub(crate) mod temporal;
pub(crate) mod texts;

use chrono_tz::Tz;
use millrace_model::{Schema, SubjectKind, Text, Value};
use millrace_pql::ast::{Binary, Expr, Node, Span};
use millrace_pql::{Diagnostic, did_you_mean};

use crate::core::{Bind, Core, Fresh, Op, SUBJECT, Var};
use crate::types::{Member, Ty, member, members};

pub(crate) use computed::Attribute;
pub use computed::Library;

/// Relations from the subject to the farthest thing of a path.
pub const HOPS_MAX: u8 = 4;
/// Nodes of a rule's core, after `let` and lambdas are substituted. Rules written by people have
/// tens to hundreds.
pub const SIZE_MAX: usize = 20_000;
/// Nesting of a rule's text.
pub(crate) const DEPTH_MAX: usize = millrace_pql::NESTING_MAX;

/// An expression and its type.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub core: Core,
    pub ty: Ty,
}

impl Typed {
    fn new(core: Core, ty: Ty) -> Typed {
        Typed { core, ty }
    }

    fn broken() -> Typed {
        Typed::new(Core::null(), Ty::Broken)
    }
}

/// The possible meanings of a name.
enum Frame {
    /// A variable, a lambda's parameter, a label.
    Named(String, Typed),
    /// The item of a filter: bare names are its fields.
    Implicit(Typed),
}

pub(crate) struct Checker<'s> {
    schema: &'s Schema,
    subject: SubjectKind,
    pub(crate) zone: Tz,
    scopes: Vec<Frame>,
    /// Parameters of the enclosing lambdas, for `$2` and on.
    lambdas: Vec<Vec<Typed>>,
    fresh: Fresh,
    depth: usize,
    size: usize,
    /// Regular expressions so far.
    patterns: usize,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Segments referred to, and where.
    pub(crate) segments: Vec<(Text, Span)>,
    library: &'s Library,
    /// Computed attributes referred to, and where.
    pub(crate) attributes: Vec<(Text, Span)>,
    /// Computed attributes that are being filled in, the outermost first.
    expanding: Vec<Text>,
}

impl<'s> Checker<'s> {
    /// `defined`: the computed attribute whose own expression this is.
    pub(crate) fn new(schema: &'s Schema, subject: SubjectKind, zone: Tz, library: &'s Library, defined: Option<Text>) -> Checker<'s> {
        let first = Typed::new(Core::Var(SUBJECT), Ty::Thing(subject, 0));
        Checker {
            schema,
            subject,
            zone,
            scopes: vec![Frame::Implicit(first)],
            lambdas: Vec::new(),
            fresh: Fresh::new(),
            depth: 0,
            size: 0,
            patterns: 0,
            errors: Vec::new(),
            warnings: Vec::new(),
            segments: Vec::new(),
            library,
            attributes: Vec::new(),
            expanding: defined.into_iter().collect(),
        }
    }

    /// Variables that the rule does not use.
    pub(crate) fn unused(&self) -> Fresh {
        self.fresh
    }

    fn fresh(&mut self) -> Var {
        self.fresh.var()
    }

    fn fail(&mut self, diagnostic: Diagnostic) -> Typed {
        self.errors.push(diagnostic);
        Typed::broken()
    }

    fn refuse(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Typed {
        self.fail(Diagnostic::error(code, span, message))
    }

    /// Runs `f` with one more meaning of names.
    fn within<T>(&mut self, frame: Frame, f: impl FnOnce(&mut Self) -> T) -> T {
        self.scopes.push(frame);
        let result = f(self);
        self.scopes.pop();
        result
    }

    /// Runs `f` with a name for the subject: the parameter of a function around the whole rule.
    pub(crate) fn naming_subject<T>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let subject = Typed::new(Core::Var(SUBJECT), Ty::Thing(self.subject, 0));
        self.within(Frame::Named(name.to_owned(), subject), f)
    }

    /// A condition: a boolean, or a list that is not empty.
    pub(crate) fn condition(&mut self, expr: &Expr) -> Core {
        let typed = self.expr(expr);
        self.as_condition(typed, expr.span)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
    fn as_condition(&mut self, typed: Typed, span: Span) -> Core {
        match typed.ty {
            Ty::Bool | Ty::Any | Ty::Broken => typed.core,
            Ty::List(_) => Core::bind(Bind::AtLeast(1), typed.core, self.fresh(), Core::bool(true)),
            ty => {
                let remedy = if ty.is_object() || matches!(ty, Ty::Record(_)) {
                    "write `.isNotNull()` after it"
                } else {
                    "compare it with something"
                };
                self.fail(Diagnostic::error("not-boolean", span, format!("a condition is needed here, this is {}", ty.show())).helping(remedy))
                    .core
            }
        }
    }

    pub(crate) fn expr(&mut self, expr: &Expr) -> Typed {
        self.depth += 1;
        let typed = if self.depth > DEPTH_MAX {
            self.refuse("too-deep", expr.span, millrace_pql::nested_too_deep())
        } else {
            self.node(expr)
        };
        self.depth -= 1;
        typed
    }

    fn node(&mut self, expr: &Expr) -> Typed {
        let span = expr.span;
        let literal = |value: Value, ty: Ty| Typed::new(Core::Literal(value), ty);
        match &expr.node {
            Node::Null => literal(Value::Null, Ty::Null),
            Node::Bool(flag) => literal(Value::Bool(*flag), Ty::Bool),
            Node::Int(number) => literal(Value::Int(*number), Ty::Int),
            Node::Decimal(number) => literal(Value::number(*number), Ty::Number),
            Node::Text(text) => literal(Value::text(millrace_model::text::composed(text)), Ty::Text),
            Node::Array(items) => self.array(items),
            Node::Object(fields) => {
                let names = fields.iter().map(|(name, _)| Text::new(name)).collect();
                let values = fields.iter().map(|(_, value)| self.plain(value).core).collect();
                Typed::new(Core::apply(Op::Record(names), values), Ty::Any)
            }
            Node::Name(name) => self.name(name, span),
            Node::Parameter(position) => self.parameter(*position, span),
            Node::Climb(levels) => self.climb(*levels, span),
            Node::Field { of, name } => match self.owner_of_computed(of) {
                Some(owner) => self.computed(owner, name, span),
                None => {
                    let of = self.expr(of);
                    self.field(of, name, span)
                }
            },
            Node::Filter { of, condition } => {
                let of = self.expr(of);
                self.filter(of, condition)
            }
            Node::Lambda { .. } => self.refuse(
                "stray-lambda",
                span,
                "a function can stand only as the argument of an array method or around the whole rule",
            ),
            Node::Call { function, arguments } => self.call(function, arguments, span),
            Node::Method { of, name, arguments } => {
                let of = self.expr(of);
                self.method(of, name, arguments, span)
            }
            Node::Not(of) => {
                let of = self.condition(of);
                Typed::new(Core::not(of), Ty::Bool)
            }
            Node::Negate(of) => self.negate(of),
            Node::Binary {
                operator: operator @ (Binary::And | Binary::Or),
                ..
            } => {
                let conditions: Vec<Core> = operands(*operator, expr).into_iter().map(|operand| self.condition(operand)).collect();
                Typed::new(
                    if *operator == Binary::And {
                        Core::and(conditions)
                    } else {
                        Core::apply(Op::Or, conditions)
                    },
                    Ty::Bool,
                )
            }
            Node::Binary { operator, left, right } => self.binary(*operator, left, right, span),
            Node::Quantifier {
                quantifier,
                bindings,
                condition,
            } => self.quantifier(*quantifier, bindings, condition.as_deref()),
            Node::Select { item, bindings, condition } => self.select(item.as_deref(), bindings, condition.as_deref()),
            Node::Aggregate {
                aggregate,
                item,
                bindings,
                condition,
            } => {
                let list = self.select(Some(item), bindings, condition.as_deref());
                self.aggregate(*aggregate, list, span)
            }
            Node::Let { name, value, body } => {
                let value = self.expr(value);
                self.within(Frame::Named(name.clone(), value), |checker| checker.expr(body))
            }
            Node::Moment(moment) => Typed::new(Core::Moment(*moment), Ty::Time),
            Node::Occurs { subject, when } => self.occurs(subject, when, span),
            Node::Chain { events, timestamp, steps } => self.chain(events, timestamp, steps),
        }
    }

    /// A value that is not a thing, row or event.
    pub(crate) fn plain(&mut self, expr: &Expr) -> Typed {
        let typed = self.expr(expr);
        if typed.ty.is_object() {
            return self.refuse(
                "not-a-value",
                expr.span,
                format!("a value is needed here, this is {}; name one of its fields", typed.ty.show()),
            );
        }
        typed
    }

    fn array(&mut self, items: &[Expr]) -> Typed {
        let mut ty = Ty::Null;
        let mut cores = Vec::with_capacity(items.len());
        for item in items {
            let typed = self.plain(item);
            ty = ty.join(&typed.ty).unwrap_or(Ty::Any);
            cores.push(typed.core);
        }
        let ty = Ty::List(Box::new(if ty == Ty::Null { Ty::Any } else { ty }));
        let values: Option<Vec<Value>> = cores
            .iter()
            .map(|core| if let Core::Literal(value) = core { Some(value.clone()) } else { None })
            .collect();
        match values {
            Some(values) => Typed::new(Core::Literal(Value::List(values)), ty),
            None => Typed::new(Core::apply(Op::List, cores), ty),
        }
    }

    fn name(&mut self, name: &str, span: Span) -> Typed {
        for frame in self.scopes.iter().rev() {
            if let Frame::Named(known, typed) = frame
                && known == name
            {
                let mut typed = typed.clone();
                if !self.grow(typed.core.size(), span) {
                    return Typed::broken();
                }
                typed.core = typed.core.refresh(&mut self.fresh);
                return typed;
            }
        }
        let item = self.implicit(0).unwrap_or_else(Typed::broken);
        if member(self.schema, &item.ty, name).is_none() {
            return self.unknown_name(name, &item.ty, span);
        }
        self.field(item, name, span)
    }

    /// Called before an expression is written out once more, which is how a short rule becomes
    /// long.
    fn grow(&mut self, size: usize, span: Span) -> bool {
        self.size += size;
        if self.size > SIZE_MAX {
            self.refuse(
                "too-large",
                span,
                format!("more than {SIZE_MAX} steps once `let` and the events of chains are filled in"),
            );
        }
        self.size <= SIZE_MAX
    }

    fn implicit(&self, level: usize) -> Option<Typed> {
        self.scopes
            .iter()
            .rev()
            .filter_map(|frame| if let Frame::Implicit(typed) = frame { Some(typed.clone()) } else { None })
            .nth(level)
    }

    fn unknown_name(&mut self, name: &str, item: &Ty, span: Span) -> Typed {
        let depth = self.scopes.iter().filter(|frame| matches!(frame, Frame::Implicit(_))).count();
        for level in 1..depth {
            if self.implicit(level).is_some_and(|outer| member(self.schema, &outer.ty, name).is_some()) {
                let climb = format!("{}.{name}", "^".repeat(level));
                let message = format!("`{name}` is no field of {}, but of what is around the filter", item.show());
                return self.fail(Diagnostic::error("unknown-field", span, message).suggesting(Some(climb)));
            }
        }
        let mut known = members(self.schema, item);
        known.extend(
            self.scopes
                .iter()
                .filter_map(|frame| if let Frame::Named(name, _) = frame { Some(name.clone()) } else { None }),
        );
        let near = did_you_mean(name, known.iter().map(String::as_str)).map(str::to_owned);
        self.fail(Diagnostic::error("unknown-field", span, format!("`{name}` is no field of {}", item.show())).suggesting(near))
    }

    /// `$1` is the implicit parameter; `$2` and on are those of the innermost function that has
    /// that many.
    fn parameter(&mut self, position: u32, span: Span) -> Typed {
        if position == 1 {
            return self.implicit(0).unwrap_or_else(Typed::broken);
        }
        let index = (position as usize).wrapping_sub(1);
        match self.lambdas.iter().rev().find_map(|parameters| parameters.get(index)) {
            Some(typed) => typed.clone(),
            None => self.refuse("unknown-parameter", span, format!("there is no parameter ${position} here")),
        }
    }

    fn climb(&mut self, levels: u32, span: Span) -> Typed {
        match self.implicit(levels as usize) {
            Some(typed) => typed,
            None => self.refuse("climb", span, format!("`{}` climbs out of the rule", "^".repeat(levels as usize))),
        }
    }

    /// `of.name`; through a list, for each item.
    fn field(&mut self, of: Typed, name: &str, span: Span) -> Typed {
        if let Ty::List(_) = of.ty {
            return self.path(of, |checker, item| checker.field(item, name, span));
        }
        match member(self.schema, &of.ty, name) {
            Some(Member::Field(ty)) => Typed::new(Core::field(of.core, name), ty),
            Some(Member::Amount) => Typed::new(Core::apply(Op::Amount, vec![of.core]), Ty::Number),
            Some(Member::Events) => Typed::new(Core::apply(Op::Events, vec![of.core]), Ty::List(Box::new(Ty::Event))),
            Some(Member::False) => Typed::new(Core::bool(false), Ty::Bool),
            Some(Member::Relation(relation, ty)) => {
                if relation == millrace_model::Relation::Persons && self.subject != SubjectKind::Account {
                    return self.refuse("persons", span, "`persons` can be followed in rules about accounts only");
                }
                if matches!(ty.item(), Ty::Thing(_, hops) | Ty::Row(_, hops) if hops > HOPS_MAX) {
                    return self.refuse(
                        "too-far",
                        span,
                        format!("`{name}` is more than {HOPS_MAX} relations away from the {}", self.subject.name()),
                    );
                }
                Typed::new(Core::relation(of.core, relation), ty)
            }
            None => {
                let known = members(self.schema, &of.ty);
                let near = did_you_mean(name, known.iter().map(String::as_str)).map(str::to_owned);
                let mut message = format!("`{name}` is no field of {}", of.ty.show());
                if name == "opportunity" && matches!(of.ty, Ty::Row(millrace_model::Relation::Roles, _)) {
                    message = "a role reached from an opportunity leads back to it: speak of the opportunity itself".into();
                }
                self.fail(Diagnostic::error("unknown-field", span, message).suggesting(near))
            }
        }
    }

    fn negate(&mut self, of: &Expr) -> Typed {
        let typed = self.expr(of);
        match (&typed.core, &typed.ty) {
            (Core::Literal(Value::Int(number)), _) => Typed::new(Core::Literal(Value::Int(number.saturating_neg())), Ty::Int),
            (Core::Literal(Value::Decimal(number)), _) => Typed::new(Core::Literal(Value::number(-number)), Ty::Number),
            (_, Ty::Int | Ty::Number | Ty::Any | Ty::Broken) => Typed::new(Core::apply(Op::Negate, vec![typed.core]), typed.ty),
            (_, ty) => {
                let message = format!("`-` wants a number, this is {}", ty.show());
                self.refuse("type", of.span, message)
            }
        }
    }
}

/// The operands of `a and b and …`, in order. Long rows of conditions lean to the left; they are
/// walked without recursion.
pub(crate) fn operands(operator: Binary, expr: &Expr) -> Vec<&Expr> {
    let mut reversed = Vec::new();
    let mut rest = expr;
    while let Node::Binary { operator: inner, left, right } = &rest.node
        && *inner == operator
    {
        reversed.extend(operands(operator, right).into_iter().rev());
        rest = left;
    }
    reversed.push(rest);
    reversed.reverse();
    reversed
}
