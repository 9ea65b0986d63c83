//! Functions and methods. Each may be written either way: `sum(a)` is `a.sum()`.

use std::cmp::Ordering;

use millrace_pql::ast::{Aggregate, Expr, Node};
use regex::Regex;

use super::{Evaluation, path, qualifies, total};
use crate::calendar::{date, date_parts, midnight};
use crate::value::{Value, compare, contains, equal, member, subset};

impl Evaluation<'_> {
    pub(super) fn call(&mut self, function: &str, arguments: &[Expr]) -> Value {
        match (function, arguments) {
            ("if", [condition, yes, no]) => {
                let chosen = if self.holds(condition) { yes } else { no };
                self.value(chosen)
            }
            ("date", [year, month, day]) => {
                let parts = [year, month, day].map(|part| self.value(part).whole());
                let [Some(year), Some(month), Some(day)] = parts else { return Value::Null };
                date(year, month, day).map_or(Value::Null, |date| Value::Date(date, midnight(self.zone, date)))
            }
            ("inSegment", [name]) => {
                let name = self.value(name);
                Value::Bool(name.text().is_some_and(|name| self.in_segment(name)))
            }
            ("mapEntry", [key, value]) => Value::Map(vec![(self.value(key), self.value(value))]),
            ("currentYear", []) => Value::Number(date_parts(self.zone, self.now).0.into()),
            ("currentMonth", []) => Value::Number(date_parts(self.zone, self.now).1.into()),
            ("currentDayOfMonth", []) => Value::Number(date_parts(self.zone, self.now).2.into()),
            (method, [of, rest @ ..]) => {
                let of = self.value(of);
                self.method(of, method, rest)
            }
            (unknown, []) => panic!("the oracle knows no function {unknown}"),
        }
    }

    /// A segment that does not exist has no members.
    fn in_segment(&self, name: &str) -> bool {
        let program = self.programs.iter().find(|program| program.name == name && program.kind == self.kind);
        program.is_some_and(|program| qualifies(self.graph, self.programs, program, &self.subject, self.now, self.config))
    }

    pub(super) fn method(&mut self, of: Value, name: &str, arguments: &[Expr]) -> Value {
        if let Some(aggregate) = aggregate(name) {
            let mut items = match arguments.first() {
                Some(argument) => self.along(of.items(), argument).items(),
                None => of.items(),
            };
            if aggregate == Aggregate::Count && !arguments.is_empty() {
                // `count(condition)` counts the items for which it holds.
                items.retain(|item| *item != Value::Bool(false));
            }
            return total(aggregate, items);
        }
        if let Some(result) = self.over_items(&of, name, arguments) {
            return result;
        }
        let arguments: Vec<Value> = arguments.iter().map(|argument| self.value(argument)).collect();
        match (name, &of) {
            ("isNull", _) => Value::Bool(of.is_null()),
            ("isNotNull", _) => Value::Bool(!of.is_null()),
            ("keys", Value::Map(entries)) => Value::list(entries.iter().map(|(key, _)| key.clone())),
            ("values", Value::Map(entries)) => Value::list(entries.iter().map(|(_, value)| value.clone())),
            ("get", Value::Map(_)) => of.entry(arguments.first().unwrap_or(&Value::Null)),
            ("keys" | "values" | "get", _) => Value::Null,
            ("getYear" | "getMonth" | "getDayOfMonth", _) => of.time().map_or(Value::Null, |at| {
                let (year, month, day) = date_parts(self.zone, at);
                Value::Number(match name {
                    "getYear" => year.into(),
                    "getMonth" => month.into(),
                    _ => day.into(),
                })
            }),
            _ => match of_list(&of, name, &arguments).or_else(|| of_text(&of, name, &arguments)) {
                Some(result) => result,
                None => panic!("the oracle knows no method {name}"),
            },
        }
    }

    fn map(&mut self, items: Vec<Value>, argument: &Expr) -> Value {
        Value::list(items.into_iter().map(|item| self.for_item(argument, item)).collect::<Vec<_>>())
    }

    /// As `map`; along a path of fields each thing on the way is followed once.
    fn along(&mut self, items: Vec<Value>, argument: &Expr) -> Value {
        let (names, own) = match &argument.node {
            Node::Lambda { parameters, body } => (path(body), parameters.first().map(String::as_str)),
            _ => (path(argument), None),
        };
        let Some(names) = names else { return self.map(items, argument) };
        let known = self.variables.iter().any(|(name, _)| name == names[0]);
        match own {
            Some(own) if own == names[0] => names[1..].iter().fold(Value::list(items), |of, name| self.field(of, name)),
            None if !known => names.iter().fold(Value::list(items), |of, name| self.field(of, name)),
            _ => self.map(items, argument),
        }
    }

    /// Methods whose argument is evaluated once per item.
    fn over_items(&mut self, of: &Value, name: &str, arguments: &[Expr]) -> Option<Value> {
        Some(match (name, arguments) {
            ("exists" | "some" | "forall" | "all" | "none" | "one", [] | [_]) => {
                let items = of.clone().items();
                let all = items.len();
                let holding = match arguments.first() {
                    Some(condition) => items.into_iter().filter(|item| self.for_item(condition, item.clone()).holds()).count(),
                    None => all,
                };
                Value::Bool(match name {
                    "exists" | "some" => holding > 0,
                    "forall" | "all" => holding == all,
                    "none" => holding == 0,
                    _ => holding == 1,
                })
            }
            ("filter", [condition]) => Value::list(
                of.clone()
                    .items()
                    .into_iter()
                    .filter(|item| self.for_item(condition, item.clone()).holds())
                    .collect::<Vec<_>>(),
            ),
            ("map", [argument]) => match (of, &argument.node) {
                (Value::Map(entries), Node::Lambda { parameters, body }) => self.map_entries(entries, parameters, body),
                _ => self.map(of.clone().items(), argument),
            },
            ("groupBy", [key]) => {
                let mut groups: Vec<(Value, Value)> = Vec::new();
                for item in of.clone().items() {
                    let key = self.for_item(key, item.clone());
                    match groups.iter_mut().find(|(known, _)| equal(known, &key) == Some(true)) {
                        Some((_, Value::List(group))) => group.push(item),
                        _ if key.is_null() => {}
                        _ => groups.push((key, Value::List(vec![item]))),
                    }
                }
                Value::Map(groups)
            }
            ("topN" | "bottomN", [by, amount]) => {
                let amount = usize::try_from(self.value(amount).whole().unwrap_or(0)).unwrap_or(0);
                let mut keyed: Vec<(Value, Value)> = of.clone().items().into_iter().map(|item| (self.for_item(by, item.clone()), item)).collect();
                keyed.retain(|(key, _)| !key.is_null());
                // Stable: items come in order of time, and ties stay so.
                keyed.sort_by(|(a, _), (b, _)| {
                    let ascending = compare(a, b).unwrap_or(Ordering::Equal);
                    if name == "topN" { ascending.reverse() } else { ascending }
                });
                Value::list(keyed.into_iter().take(amount).map(|(_, item)| item))
            }
            _ => return None,
        })
    }

    /// `map((K, G) => mapEntry(…))` over a map yields a map, any other lambda a list.
    fn map_entries(&mut self, entries: &[(Value, Value)], parameters: &[String], body: &Expr) -> Value {
        let mut results = Vec::new();
        for (key, value) in entries {
            let named = parameters.iter().cloned().zip([key.clone(), value.clone()]).collect::<Vec<_>>();
            results.push(self.with_variables(named, |e| e.value(body)));
        }
        match &body.node {
            Node::Call { function, .. } if function == "mapEntry" => Value::Map(
                results
                    .into_iter()
                    .flat_map(|result| if let Value::Map(entries) = result { entries } else { Vec::new() })
                    .collect(),
            ),
            _ => Value::list(results),
        }
    }
}

fn aggregate(name: &str) -> Option<Aggregate> {
    Some(match name {
        "count" => Aggregate::Count,
        "sum" => Aggregate::Sum,
        "average" => Aggregate::Average,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        _ => return None,
    })
}

/// Methods of lists. A missing list makes a condition false and anything else null.
fn of_list(of: &Value, name: &str, arguments: &[Value]) -> Option<Value> {
    let argument = arguments.first().unwrap_or(&Value::Null);
    let both = |condition: fn(&[Value], &[Value]) -> bool| match (of, argument) {
        (Value::List(a), Value::List(b)) => Value::Bool(condition(a, b)),
        _ => Value::Bool(false),
    };
    Some(match name {
        "intersects" => both(|a, b| a.iter().any(|item| contains(b, item))),
        "subsetOf" => both(subset),
        "supersetOf" => both(|a, b| subset(b, a)),
        "includes" => match (of, argument) {
            (Value::List(items), Value::List(wanted)) => Value::Bool(subset(wanted, items)),
            (Value::List(items), _) => Value::Bool(contains(items, argument)),
            _ => Value::Bool(false),
        },
        "in" | "notIn" => match argument {
            Value::List(items) if !of.is_null() => Value::Bool(member(items, of, name == "in")),
            _ => Value::Bool(false),
        },
        "intersection" => match (of, argument) {
            (Value::List(a), Value::List(b)) => Value::List(a.iter().filter(|item| contains(b, item)).cloned().collect()),
            _ => Value::Null,
        },
        "distinct" => match of {
            Value::List(items) => {
                let mut distinct: Vec<Value> = Vec::new();
                for item in items {
                    if !distinct.iter().any(|known| equal(known, item) == Some(true)) {
                        distinct.push(item.clone());
                    }
                }
                Value::List(distinct)
            }
            _ => Value::Null,
        },
        "head" => match of {
            Value::List(items) => items.first().cloned().unwrap_or(Value::Null),
            _ => Value::Null,
        },
        _ => return None,
    })
}

/// Methods of texts: false on null, the negated ones too.
fn of_text(of: &Value, name: &str, arguments: &[Value]) -> Option<Value> {
    let (positive, negated) = match name {
        "doesNotStartWith" => ("startsWith", true),
        "doesNotEndWith" => ("endsWith", true),
        "doesNotContain" => ("contains", true),
        "notEqualTo" => ("equals", true),
        _ => (name, false),
    };
    if !["startsWith", "endsWith", "contains", "equals", "like", "matches", "regexGroup"].contains(&positive) {
        return None;
    }
    if let ("equals", [values @ .., Value::Bool(_)] | values) = (name, arguments)
        && values.len() > 1
    {
        // Any of them; a truth at the end is for all.
        let case: Vec<Value> = arguments[values.len()..].to_vec();
        let equals = |value: &Value| of_text(of, name, &[std::slice::from_ref(value), &case].concat()) == Some(Value::Bool(true));
        return Some(Value::Bool(values.iter().any(equals)));
    }
    if let ("equals", [value]) = (positive, arguments)
        && [of, value].iter().any(|side| matches!(side, Value::Untyped(..)))
    {
        // As `=` compares.
        return Some(Value::Bool(equal(of, value) == Some(!negated)));
    }
    let operands = of.text().zip(arguments.first().and_then(Value::text));
    if name == "regexGroup" {
        let group = |(text, pattern): (&str, &str)| {
            let number = usize::try_from(arguments.get(1)?.whole()?).ok()?;
            Some(Value::Text(regex(pattern).captures(text)?.get(number)?.as_str().to_owned()))
        };
        return Some(operands.and_then(group).unwrap_or(Value::Null));
    }
    let Some((text, pattern)) = operands else { return Some(Value::Bool(false)) };
    let fold = arguments.get(1) == Some(&Value::Bool(false));
    let (text, pattern) = if fold {
        (text.to_lowercase(), pattern.to_lowercase())
    } else {
        (text.to_owned(), pattern.to_owned())
    };
    let found = match positive {
        "startsWith" => text.starts_with(&pattern),
        "endsWith" => text.ends_with(&pattern),
        "contains" => text.contains(&pattern),
        "equals" => text == pattern,
        "like" => like(&text.chars().collect::<Vec<_>>(), &pattern.chars().collect::<Vec<_>>()),
        _ => regex(&pattern).is_match(&text),
    };
    Some(Value::Bool(found != negated))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("a rule of a test has the pattern {pattern}: {error}"))
}

/// `%` stands for any characters, `_` for one.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| like(&text[skipped..], rest)),
        ['_', rest @ ..] => !text.is_empty() && like(&text[1..], rest),
        [first, rest @ ..] => text.first() == Some(first) && like(&text[1..], rest),
    }
}
