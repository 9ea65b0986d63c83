//! Paths through lists, filters, comprehensions, quantifiers and aggregates.

use millrace_model::Value;
use millrace_pql::Diagnostic;
use millrace_pql::ast::{Aggregate, Binding, Comparison, Expr, Node, Quantifier, Span};

use super::{Checker, Frame, Typed};
use crate::core::{Bind, Core, Op, Var, distinct};
use crate::types::Ty;

impl Checker<'_> {
    /// `f` for each item of a list: lists are flattened, nulls left out, repeated things taken
    /// once.
    pub(super) fn path(&mut self, of: Typed, f: impl FnOnce(&mut Self, Typed) -> Typed) -> Typed {
        let var = self.fresh();
        let body = f(self, Typed::new(Core::Var(var), of.ty.item()));
        self.collect(of.core, var, body)
    }

    /// The list of `body` over the items `var` of `source`.
    pub(super) fn collect(&mut self, source: Core, var: Var, body: Typed) -> Typed {
        if body.ty == Ty::Broken {
            return Typed::broken();
        }
        let bind = if matches!(body.ty, Ty::List(_) | Ty::Any) { Bind::FlatMap } else { Bind::Map };
        let item = body.ty.item();
        let list = Core::bind(bind, source, var, body.core);
        let list = if matches!(item, Ty::Thing(..)) && !distinct(&list) {
            Core::apply(Op::DistinctThings, vec![list])
        } else {
            list
        };
        Typed::new(list, Ty::List(Box::new(item)))
    }

    /// Runs an argument with the item of a list: a function of one parameter, or an expression in
    /// which bare names are the item's fields.
    pub(super) fn with_item<T>(&mut self, var: Var, item: Ty, argument: &Expr, f: impl FnOnce(&mut Self, &Expr) -> T) -> T {
        let item = Typed::new(Core::Var(var), item);
        let Node::Lambda { parameters, body } = &argument.node else {
            return self.within(Frame::Implicit(item), |checker| f(checker, argument));
        };
        if parameters.len() != 1 {
            self.errors
                .push(Diagnostic::error("parameters", argument.span, "a function of one parameter is needed here"));
        }
        let name = parameters.first().cloned().unwrap_or_default();
        self.lambdas.push(vec![item.clone()]);
        let result = self.within(Frame::Named(name, item), |checker| f(checker, body));
        self.lambdas.pop();
        result
    }

    pub(super) fn filter(&mut self, of: Typed, condition: &Expr) -> Typed {
        let Some(item) = self.items(&of, condition.span) else {
            return Typed::broken();
        };
        let var = self.fresh();
        let body = self.with_item(var, item.clone(), condition, |checker, condition| checker.condition(condition));
        Typed::new(Core::bind(Bind::Filter, of.core, var, body), Ty::List(Box::new(item)))
    }

    /// The items of an iterable value; a single thing or value is a list of one.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
    pub(super) fn items(&mut self, of: &Typed, span: Span) -> Option<Ty> {
        match &of.ty {
            Ty::List(item) => Some((**item).clone()),
            Ty::Any => Some(Ty::Any),
            Ty::Thing(..) | Ty::Row(..) | Ty::Event | Ty::Record(_) => Some(of.ty.clone()),
            Ty::Broken => None,
            ty => {
                let message = format!("a list is needed here, this is {}", ty.show());
                self.refuse("not-a-list", span, message);
                None
            }
        }
    }

    /// Binds each binding in turn, then runs `f`; returns the sources with their variables.
    fn bind<T>(&mut self, bindings: &[Binding], default: Option<&str>, f: impl FnOnce(&mut Self) -> T) -> (Vec<(Core, Var, Ty)>, T) {
        let depth = self.scopes.len();
        let mut bound = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let source = self.expr(&binding.source);
            let item = self.items(&source, binding.source.span).unwrap_or(Ty::Broken);
            let var = self.fresh();
            let typed = Typed::new(Core::Var(var), item.clone());
            self.scopes.push(match binding.variable.as_deref().or(default) {
                Some(name) => Frame::Named(name.to_owned(), typed),
                None => Frame::Implicit(typed),
            });
            bound.push((source.core, var, item));
        }
        let result = f(self);
        self.scopes.truncate(depth);
        (bound, result)
    }

    pub(super) fn quantifier(&mut self, quantifier: Quantifier, bindings: &[Binding], condition: Option<&Expr>) -> Typed {
        let (bound, body) = self.bind(bindings, None, |checker| {
            condition.map_or(Core::bool(true), |condition| checker.condition(condition))
        });
        let exists = |bound: Vec<(Core, Var, Ty)>, body: Core| {
            bound
                .into_iter()
                .rev()
                .fold(body, |body, (source, var, _)| Core::bind(Bind::AtLeast(1), source, var, body))
        };
        let core = match quantifier {
            Quantifier::Exists => exists(bound, body),
            Quantifier::None => Core::not(exists(bound, body)),
            Quantifier::Forall => Core::not(exists(bound, Core::not(body))),
            Quantifier::One => {
                // One: the combinations that satisfy it are counted.
                let mut combinations = Core::Literal(Value::List(vec![Value::Bool(true)]));
                let mut condition = Some(body);
                for (source, var, _) in bound.into_iter().rev() {
                    let source = match condition.take() {
                        Some(condition) => Core::bind(Bind::Filter, source, var, condition),
                        None => source,
                    };
                    // The innermost filter and the map over it need variables of their own.
                    let (outer, inner) = if let Core::Bind { bind: Bind::Filter, .. } = &source {
                        (self.fresh(), combinations)
                    } else {
                        (var, combinations)
                    };
                    combinations = Core::bind(Bind::FlatMap, source, outer, inner);
                }
                let count = Core::apply(Op::Aggregate(Aggregate::Count), vec![combinations]);
                Core::apply(Op::Compare(Comparison::Equal), vec![count, Core::Literal(Value::Int(1))])
            }
        };
        Typed::new(core, Ty::Bool)
    }

    pub(super) fn select(&mut self, item: Option<&Expr>, bindings: &[Binding], condition: Option<&Expr>) -> Typed {
        // `select o.x from A`: the first name of the expression is the variable.
        let default = match (item, bindings) {
            (Some(item), [binding]) if binding.variable.is_none() => root(item).map(str::to_owned),
            (None, [binding]) if binding.variable.is_none() => None,
            _ => None,
        };
        let (mut bound, (body, condition)) = self.bind(bindings, default.as_deref(), |checker| {
            let condition = condition.map_or(Core::bool(true), |condition| checker.condition(condition));
            (item.map(|item| checker.expr(item)), condition)
        });
        if bound.is_empty() || body.as_ref().is_some_and(|body| body.ty == Ty::Broken) || bound.iter().any(|(_, _, ty)| *ty == Ty::Broken) {
            return Typed::broken();
        }
        let Some(body) = body else {
            // The items of the first binding for which the others can be chosen.
            let (source, var, item) = bound.remove(0);
            let condition = bound
                .into_iter()
                .rev()
                .fold(condition, |body, (source, var, _)| Core::bind(Bind::AtLeast(1), source, var, body));
            return Typed::new(Core::bind(Bind::Filter, source, var, condition), Ty::List(Box::new(item)));
        };
        // A path from one of the bindings: its things, and from there on as from any list.
        let names = item.and_then(path);
        let variable = |binding: &Binding| binding.variable.as_deref().or(default.as_deref()).map(str::to_owned);
        let begin = names
            .as_ref()
            .and_then(|names| bindings.iter().rposition(|binding| variable(binding).as_deref() == Some(names[0])));
        let begin = begin.filter(|begin| {
            if bound.len() == 1 {
                leads_on(&body.core)
            } else {
                bound[*begin].2.is_object()
            }
        });
        // The items satisfying the condition, innermost binding last.
        let last = bound.len() - 1;
        let body = begin.map_or(body, |begin| Typed::new(Core::Var(bound[begin].1), bound[begin].2.clone()));
        let (source, var, _) = bound.remove(last);
        let filtered = if condition == Core::bool(true) {
            source
        } else {
            Core::bind(Bind::Filter, source, var, condition)
        };
        let mut typed = if begin == Some(last) {
            Typed::new(filtered, Ty::List(Box::new(body.ty)))
        } else {
            let inner = self.fresh();
            let body = Typed::new(body.core.substitute(var, &Core::Var(inner)), body.ty);
            self.collect(filtered, inner, body)
        };
        let several = !bound.is_empty();
        for (source, var, _) in bound.into_iter().rev() {
            typed = self.collect(source, var, typed);
        }
        let (Some(names), Some(_)) = (names, begin) else { return typed };
        if several && !distinct(&typed.core) {
            typed.core = Core::apply(Op::DistinctThings, vec![typed.core]);
        }
        self.follow(typed.core, typed.ty.item(), &names[1..], item.map_or(Span::default(), |item| item.span))
    }

    /// A path of fields from the items of a list: each thing on the way is followed once, however
    /// many items lead to it.
    pub(super) fn follow(&mut self, list: Core, item: Ty, names: &[&str], span: Span) -> Typed {
        names
            .iter()
            .fold(Typed::new(list, Ty::List(Box::new(item))), |of, name| self.field(of, name, span))
    }

    /// The fields that an argument evaluated for each item names one after the other, if it is such
    /// a path from the item.
    pub(super) fn path_from_item<'e>(&self, argument: &'e Expr) -> Option<Vec<&'e str>> {
        if let Node::Lambda { parameters, body } = &argument.node {
            let names = path(body)?;
            return (*parameters == [names[0]]).then(|| names[1..].to_vec());
        }
        let names = path(argument)?;
        let named = self.scopes.iter().any(|frame| matches!(frame, Frame::Named(known, _) if known == names[0]));
        (!named).then_some(names)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`items` decides about every other type")]
    pub(super) fn aggregate(&mut self, aggregate: Aggregate, list: Typed, span: Span) -> Typed {
        let name = format!("{aggregate:?}").to_lowercase();
        let item = match &list.ty {
            Ty::Broken => return Typed::broken(),
            Ty::Groups(_) | Ty::Map(_) if aggregate == Aggregate::Count => {
                let keys = Core::apply(Op::Keys, vec![list.core]);
                return Typed::new(Core::apply(Op::Aggregate(aggregate), vec![keys]), Ty::Int);
            }
            _ => match self.items(&list, span) {
                Some(item) => item,
                None => return Typed::broken(),
            },
        };
        let ty = match (aggregate, &item) {
            (Aggregate::Count, _) => Ty::Int,
            (_, Ty::Broken) => item.clone(),
            (Aggregate::Min | Aggregate::Max, Ty::Any) => {
                return Typed::new(Core::apply(Op::Aggregate(aggregate), vec![without_texts(list.core)]), Ty::Any);
            }
            (Aggregate::Sum | Aggregate::Average, Ty::Any) => Ty::Number,
            (Aggregate::Average, Ty::Int | Ty::Number) => Ty::Number,
            (Aggregate::Sum, Ty::Int | Ty::Number) => item.clone(),
            (Aggregate::Min | Aggregate::Max, Ty::Int | Ty::Number | Ty::Text | Ty::Date | Ty::Time) => item.clone(),
            _ => {
                let message = format!("`{name}` of {}; name a field of the items that can be added up or ordered", list.ty.show());
                return self.refuse("type", span, message);
            }
        };
        Typed::new(Core::apply(Op::Aggregate(aggregate), vec![list.core]), ty)
    }
}

/// An untyped list without its texts, which no aggregate takes.
fn without_texts(list: Core) -> Core {
    let read = |of: Core| Core::apply(Op::Read(crate::core::Kind::NoText), vec![of]);
    if let Core::Bind {
        bind: Bind::Map,
        source,
        var,
        body,
    } = list
    {
        Core::bind(Bind::Map, *source, var, read(*body))
    } else {
        read(list)
    }
}

/// The first name of an expression such as `o.a.b`.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other form is made from a list")]
fn root(expr: &Expr) -> Option<&str> {
    match &expr.node {
        Node::Name(name) => Some(name),
        Node::Field { of, .. } | Node::Filter { of, .. } | Node::Method { of, .. } => root(of),
        Node::Binary { left, right, .. } => root(left).or_else(|| root(right)),
        Node::Negate(of) | Node::Not(of) => root(of),
        Node::Call { arguments, .. } => arguments.iter().find_map(root),
        Node::Object(fields) => fields.iter().find_map(|(_, value)| root(value)),
        Node::Array(items) => items.iter().find_map(root),
        _ => None,
    }
}

/// Whether an expression leads to other things.
pub(super) fn leads_on(core: &Core) -> bool {
    core.any(&|node| matches!(node, Core::Apply(Op::Relation(_) | Op::Events, _)))
}

/// The names of a path such as `r.opportunity.account`, two or more.
fn path(expr: &Expr) -> Option<Vec<&str>> {
    let Node::Field { of, name } = &expr.node else { return None };
    let mut names = if let Node::Name(first) = &of.node { vec![first.as_str()] } else { path(of)? };
    names.push(name);
    Some(names)
}
