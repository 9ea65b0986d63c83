//! The meaning of a rule, straight from its syntax tree: every sub-expression is evaluated over its
//! whole range, every time.

use std::cmp::Ordering;
use std::num::NonZeroU64;

use bigdecimal::{BigDecimal, RoundingMode, Zero};
use chrono_tz::Tz;
use millrace_pql::ast::{Aggregate, Binary, Binding, Comparison, Direction, Expr, Moment, Node, Quantifier, Unit, When};

use crate::Config;
use crate::calendar::{moment, period_start, step};
use crate::graph::{Graph, Kind, Thing};
use crate::value::{Value, compare, equal, member};

mod chain;
mod functions;

/// A rule, parsed.
#[derive(Debug)]
pub(crate) struct Program {
    pub name: String,
    pub kind: Kind,
    pub zone: Tz,
    pub expr: Expr,
}

/// Whether the subject is in the segment.
pub(crate) fn qualifies(graph: &Graph, programs: &[Program], program: &Program, subject: &str, now: i64, config: &Config) -> bool {
    let root = Value::Thing(Thing::Unified(program.kind, subject.to_owned()));
    let mut evaluation = Evaluation {
        graph,
        programs,
        config,
        kind: program.kind,
        zone: program.zone,
        now,
        subject: subject.to_owned(),
        variables: Vec::new(),
        items: vec![root],
    };
    evaluation.holds(&program.expr)
}

struct Evaluation<'a> {
    graph: &'a Graph,
    programs: &'a [Program],
    config: &'a Config,
    kind: Kind,
    zone: Tz,
    now: i64,
    subject: String,
    /// Named values, the innermost last.
    variables: Vec<(String, Value)>,
    /// The scopes of bare names: the subject, then the items of the enclosing filters, the
    /// innermost last.
    items: Vec<Value>,
}

/// A time in a rule: an instant, or a whole day, week … that a word names.
struct Span {
    start: i64,
    /// First instant after it; `None` for an instant.
    end: Option<i64>,
}

impl Evaluation<'_> {
    fn holds(&mut self, expr: &Expr) -> bool {
        self.value(expr).holds()
    }

    fn value(&mut self, expr: &Expr) -> Value {
        match &expr.node {
            Node::Null => Value::Null,
            Node::Bool(flag) => Value::Bool(*flag),
            Node::Int(number) => Value::Number((*number).into()),
            Node::Decimal(number) => Value::Number(number.to_string().parse().expect("a literal is a number")),
            Node::Text(text) => Value::Text(text.clone()),
            Node::Array(items) => Value::list(items.iter().map(|item| self.value(item)).collect::<Vec<_>>()),
            Node::Object(fields) => Value::Map(fields.iter().map(|(name, field)| (Value::Text(name.clone()), self.value(field))).collect()),
            Node::Name(name) => self.name(name),
            Node::Parameter(1) => self.items[0].clone(),
            Node::Parameter(_) => Value::Null,
            Node::Climb(levels) => self.items.iter().rev().nth(*levels as usize).cloned().unwrap_or(Value::Null),
            Node::Field { of, name } => {
                let of = self.value(of);
                self.field(of, name)
            }
            Node::Filter { of, condition } => {
                let items = self.value(of).items();
                Value::list(
                    items
                        .into_iter()
                        .filter(|item| self.with_item(item.clone(), |e| e.holds(condition)))
                        .collect::<Vec<_>>(),
                )
            }
            // A lambda that is not an argument is the whole rule: its parameter is the subject.
            Node::Lambda { parameters, body } => {
                let root = self.items[0].clone();
                self.with_variables(parameters.first().map(|name| (name.clone(), root)), |e| e.value(body))
            }
            Node::Call { function, arguments } => self.call(function, arguments),
            Node::Method { of, name, arguments } => {
                let of = self.value(of);
                self.method(of, name, arguments)
            }
            Node::Not(inner) => Value::Bool(!self.holds(inner)),
            Node::Negate(inner) => self.value(inner).number().map_or(Value::Null, |number| Value::Number(-number.clone())),
            Node::Binary { operator, left, right } => self.binary(*operator, left, right),
            Node::Quantifier {
                quantifier,
                bindings,
                condition,
            } => {
                let tuples = self.tuples(bindings, condition.as_deref(), |_| Value::Bool(true));
                let all = self.tuples(bindings, None, |_| Value::Bool(true)).len();
                Value::Bool(match quantifier {
                    Quantifier::Exists => !tuples.is_empty(),
                    Quantifier::Forall => tuples.len() == all,
                    Quantifier::None => tuples.is_empty(),
                    Quantifier::One => tuples.len() == 1,
                })
            }
            Node::Select { item, bindings, condition } => self.select(item.as_deref(), bindings, condition.as_deref()),
            Node::Aggregate {
                aggregate,
                item,
                bindings,
                condition,
            } => {
                let items = self.select(Some(item), bindings, condition.as_deref());
                total(*aggregate, items.items())
            }
            Node::Let { name, value, body } => {
                let value = self.value(value);
                self.with_variables([(name.clone(), value)], |e| e.value(body))
            }
            Node::Moment(word) => Value::Time(moment(self.zone, self.now, *word).0),
            Node::Occurs { subject, when } => {
                let subject = self.value(subject);
                Value::Bool(self.occurs(&subject, when))
            }
            Node::Chain { events, timestamp, steps } => {
                let events = self.value(events).items();
                Value::Bool(self.chain(events, timestamp, steps))
            }
        }
    }

    fn name(&mut self, name: &str) -> Value {
        if let Some((_, value)) = self.variables.iter().rev().find(|(known, _)| known == name) {
            return value.clone();
        }
        let item = self.items.last().cloned().unwrap_or(Value::Null);
        self.field(item, name)
    }

    fn field(&self, of: Value, name: &str) -> Value {
        match &of {
            Value::Thing(thing) => self.graph.field(thing, name).in_zone(self.zone),
            Value::List(items) => Value::list(items.iter().map(|item| self.field(item.clone(), name))),
            Value::Map(_) => {
                let key = |name: &str| Value::Text(name.to_owned());
                // An amount in another currency has no value in the default one: there are no rates
                // here.
                let known = |code: &str| code.trim().is_empty() || code.trim().eq_ignore_ascii_case(&self.config.default_currency);
                let foreign = || of.entry(&key("currencyCode")).text().is_some_and(|code| !known(code));
                if name == "amount" && foreign() { Value::Null } else { of.entry(&key(name)) }
            }
            _ => Value::Null,
        }
    }

    fn with_item<T>(&mut self, item: Value, within: impl FnOnce(&mut Self) -> T) -> T {
        self.items.push(item);
        let result = within(self);
        self.items.pop();
        result
    }

    fn with_variables<T>(&mut self, variables: impl IntoIterator<Item = (String, Value)>, within: impl FnOnce(&mut Self) -> T) -> T {
        let depth = self.variables.len();
        self.variables.extend(variables);
        let result = within(self);
        self.variables.truncate(depth);
        result
    }

    /// Evaluates an argument of a method for one item: a lambda takes it by name, anything else
    /// finds it as the implicit item.
    fn for_item(&mut self, argument: &Expr, item: Value) -> Value {
        match &argument.node {
            Node::Lambda { parameters, body } => self.with_variables(parameters.first().map(|name| (name.clone(), item)), |e| e.value(body)),
            _ => self.with_item(item, |e| e.value(argument)),
        }
    }

    /// `result` of every tuple of items that the bindings range over and the condition admits.
    fn tuples(&mut self, bindings: &[Binding], condition: Option<&Expr>, result: impl Fn(&mut Self) -> Value + Copy) -> Vec<Value> {
        let Some((binding, rest)) = bindings.split_first() else {
            let admitted = condition.is_none_or(|condition| self.holds(condition));
            return if admitted { vec![result(self)] } else { Vec::new() };
        };
        let mut results = Vec::new();
        for item in self.value(&binding.source).items() {
            results.extend(match &binding.variable {
                Some(name) => self.with_variables([(name.clone(), item)], |e| e.tuples(rest, condition, result)),
                None => self.with_item(item, |e| e.tuples(rest, condition, result)),
            });
        }
        results
    }

    /// Without a variable the first name of the item expression is the variable; without an item
    /// expression the first variable is the item.
    ///
    /// Where the item is a path from a binding, a thing that several items lead to is followed
    /// once: `select r.opportunity.x from opportunityRoles r` yields each deal's once, however many
    /// roles it has.
    fn select(&mut self, item: Option<&Expr>, bindings: &[Binding], condition: Option<&Expr>) -> Value {
        let mut bindings = bindings.to_vec();
        if let (Some(item), Some(first)) = (item, bindings.first_mut())
            && first.variable.is_none()
        {
            first.variable = first_name(item);
        }
        let variable = bindings.first().and_then(|binding| binding.variable.clone());
        if let Some(item) = item
            && let Some(steps) = path(item)
            && bindings.iter().any(|binding| binding.variable.as_deref() == Some(steps[0]))
        {
            let start = Expr {
                span: item.span,
                node: Node::Name(steps[0].to_owned()),
            };
            let firsts = Value::list(self.tuples(&bindings, condition, |e| e.value(&start)));
            return steps[1..].iter().fold(firsts, |of, name| self.field(of, name));
        }
        Value::list(self.tuples(&bindings, condition, |e| match (item, &variable) {
            (Some(item), _) => e.value(item),
            (None, Some(variable)) => e.name(variable),
            (None, None) => e.items.last().cloned().unwrap_or(Value::Null),
        }))
    }

    fn binary(&mut self, operator: Binary, left: &Expr, right: &Expr) -> Value {
        match operator {
            Binary::And => return Value::Bool(self.holds(left) && self.holds(right)),
            Binary::Or => return Value::Bool(self.holds(left) || self.holds(right)),
            _ => {}
        }
        let (a, b) = (self.value(left), self.value(right));
        let ordered = |admits: fn(Ordering) -> bool| Value::Bool(compare(&a, &b).is_some_and(admits));
        let is_member = |wanted: bool| match (&a, &b) {
            (Value::Null, _) => Value::Bool(false),
            (_, Value::List(items)) => Value::Bool(member(items, &a, wanted)),
            _ => Value::Bool(false),
        };
        let arithmetic = |compute: fn(&BigDecimal, &BigDecimal) -> BigDecimal| match (a.number(), b.number()) {
            (Some(a), Some(b)) => Value::decimal(compute(a, b)),
            _ => Value::Null,
        };
        match operator {
            Binary::Equal => Value::Bool(equal(&a, &b) == Some(true)),
            Binary::NotEqual => Value::Bool(equal(&a, &b) == Some(false)),
            Binary::Less => ordered(Ordering::is_lt),
            Binary::LessOrEqual => ordered(Ordering::is_le),
            Binary::Greater => ordered(Ordering::is_gt),
            Binary::GreaterOrEqual => ordered(Ordering::is_ge),
            Binary::In => is_member(true),
            Binary::NotIn => is_member(false),
            Binary::Add => arithmetic(|a, b| a + b),
            Binary::Subtract => arithmetic(|a, b| a - b),
            Binary::Multiply => arithmetic(|a, b| a * b),
            Binary::Divide | Binary::Remainder if b.number().is_some_and(Zero::is_zero) => Value::Null,
            Binary::Divide => arithmetic(quotient),
            Binary::Remainder => arithmetic(|a, b| a % b),
            Binary::And | Binary::Or => Value::Null,
        }
    }

    fn span(&mut self, time: &Expr) -> Option<Span> {
        if let Node::Moment(word) = &time.node {
            let (start, end) = moment(self.zone, self.now, *word);
            return Some(Span {
                start,
                end: (*word != Moment::Now).then_some(end),
            });
        }
        Some(Span {
            start: self.instant(time)?,
            end: None,
        })
    }

    /// An expression as an instant; an event stands for its time.
    fn instant(&mut self, time: &Expr) -> Option<i64> {
        match self.value(time) {
            Value::Thing(event @ Thing::Event(..)) => self.graph.field(&event, "timestamp").time(),
            value => value.time(),
        }
    }

    fn occurs(&mut self, subject: &Value, when: &When) -> bool {
        let Some(at) = subject.time() else { return false };
        match when {
            When::Offset {
                comparison,
                amount,
                unit,
                direction,
                anchor,
            } => {
                let (Some(n), Some(anchor)) = (self.value(amount).whole().filter(|n| *n >= 0), self.span(anchor)) else {
                    return false;
                };
                self.offset(at, *comparison, n, *unit, *direction, anchor.start)
            }
            When::Relative { direction, anchor } => self.span(anchor).is_some_and(|span| match direction {
                Direction::Before => at < span.start,
                Direction::After | Direction::From => span.end.map_or(at > span.start, |end| at >= end),
            }),
            // Of an instant its whole day; `now` is just that instant.
            When::On(time) if matches!(time.node, Node::Moment(Moment::Now)) => at == self.now,
            When::On(time) => self.span(time).is_some_and(|span| {
                let (start, end) = match span.end {
                    Some(end) => (span.start, end),
                    None => (
                        period_start(self.zone, span.start, Unit::Day, 0),
                        period_start(self.zone, span.start, Unit::Day, 1),
                    ),
                };
                start <= at && at < end
            }),
            When::Between { from, to } => match (self.span(from), self.span(to)) {
                (Some(from), Some(to)) => from.start <= at && to.end.map_or(at <= to.start, |end| at < end),
                _ => false,
            },
        }
    }

    /// `T occurs <= n units before X` means `T <= X <= T + n units`; with `after`, `T - n units <=
    /// X <= T`.
    fn offset(&self, t: i64, comparison: Comparison, n: i64, unit: Unit, direction: Direction, x: i64) -> bool {
        let before = direction == Direction::Before;
        let n = if before { n } else { -n };
        let limit = step(self.zone, t, n, unit);
        let same_unit = || period_start(self.zone, t, unit, n) == period_start(self.zone, x, unit, 0);
        match (comparison, before) {
            (Comparison::LessOrEqual, true) => t <= x && x <= limit,
            (Comparison::Less, true) => t <= x && x < limit,
            (Comparison::Greater, true) => x > limit,
            (Comparison::GreaterOrEqual, true) => x >= limit,
            (Comparison::LessOrEqual, false) => limit <= x && x <= t,
            (Comparison::Less, false) => limit < x && x <= t,
            (Comparison::Greater, false) => x < limit,
            (Comparison::GreaterOrEqual, false) => x <= limit,
            (Comparison::Equal, _) => same_unit(),
            (Comparison::NotEqual, _) => !same_unit(),
        }
    }
}

/// The names of a path of two or more, such as `r.opportunity.account`.
pub(crate) fn path(expr: &Expr) -> Option<Vec<&str>> {
    match &expr.node {
        Node::Field { of, name } => {
            let mut names = match &of.node {
                Node::Name(first) => vec![first.as_str()],
                _ => path(of)?,
            };
            names.push(name);
            Some(names)
        }
        _ => None,
    }
}

/// The leftmost name of an expression.
fn first_name(expr: &Expr) -> Option<String> {
    match &expr.node {
        Node::Name(name) => Some(name.clone()),
        Node::Field { of, .. } | Node::Filter { of, .. } | Node::Method { of, .. } => first_name(of),
        Node::Binary { left, right, .. } => first_name(left).or_else(|| first_name(right)),
        Node::Not(inner) | Node::Negate(inner) => first_name(inner),
        Node::Occurs { subject, .. } => first_name(subject),
        Node::Call { arguments, .. } => arguments.iter().find_map(first_name),
        _ => None,
    }
}

/// Twenty-eight digits, rounded half-even.
fn quotient(a: &BigDecimal, b: &BigDecimal) -> BigDecimal {
    (a / b).with_precision_round(NonZeroU64::new(28).expect("not zero"), RoundingMode::HalfEven)
}

/// Nulls are not among the items: count and sum of nothing are 0, the others null.
fn total(aggregate: Aggregate, items: Vec<Value>) -> Value {
    let numbers: Vec<&BigDecimal> = items.iter().filter_map(Value::number).collect();
    let sum: BigDecimal = numbers.iter().copied().sum();
    // Texts without a type do not count as values of an aggregate.
    let valued = |item: &&Value| !matches!(item, Value::Untyped(..)) || item.text().is_none();
    let best = |wanted: Ordering| {
        items
            .iter()
            .filter(valued)
            .cloned()
            .reduce(|held, item| if compare(&item, &held) == Some(wanted) { item } else { held })
            .unwrap_or(Value::Null)
    };
    match aggregate {
        Aggregate::Count => Value::Number((items.len() as u64).into()),
        Aggregate::Sum => Value::decimal(sum),
        Aggregate::Average if numbers.is_empty() => Value::Null,
        Aggregate::Average => Value::decimal(quotient(&sum, &(numbers.len() as u64).into())),
        Aggregate::Min => best(Ordering::Less),
        Aggregate::Max => best(Ordering::Greater),
    }
}

#[cfg(test)]
mod tests;
