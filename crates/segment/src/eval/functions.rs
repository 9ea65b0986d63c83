//! Operations on evaluated operands.

use std::cmp::Ordering;

use millrace_model::{Date, Text, Timestamp, Value, number};
use millrace_pql::ast::{Aggregate, Comparison};

use super::time::Window;
use super::{Evaluator, NEVER, Object, Source, Val, values};
use crate::coerce::{as_instants, instant, read};
use crate::core::{Arithmetic, Core, DatePart, Op, TextTest};
use crate::eval::Evidence;
use crate::settings::{currency, rate};
use crate::totals::Totals;
use crate::view::{FeatureId, Target, Timed, Unknown};

impl<'a> Evaluator<'a> {
    pub(super) fn apply(&mut self, core: &'a Core, op: &'a Op, operands: &'a [Core]) -> Result<super::Evaluated<'a>, Unknown> {
        let flag = |(flag, until): (bool, Timestamp)| (Val::Own(Value::Bool(flag)), until);
        match (op, operands) {
            (Op::And | Op::Or | Op::Not, _) => self.test(core).map(flag),
            (Op::If, [condition, then, otherwise]) => {
                let (condition, until) = self.test(condition)?;
                let (val, val_until) = self.eval(if condition { then } else { otherwise })?;
                Ok((val, until.min(val_until)))
            }
            (Op::Compare(comparison), [left, right]) => self.comparison(*comparison, left, right).map(flag),
            (Op::Window { comparison, unit, direction }, [fact, amount, anchor]) => {
                let window = Window {
                    comparison: *comparison,
                    unit: *unit,
                    direction: *direction,
                };
                self.window(window, fact, amount, anchor).map(flag)
            }
            (Op::Relative(direction), [fact, anchor]) => self.relative(*direction, fact, anchor).map(flag),
            (Op::On, [fact, anchor]) => self.on(fact, anchor).map(flag),
            (Op::Between, [fact, from, to]) => self.between(fact, from, to).map(flag),
            (Op::Events, _) => self.present(core),
            (Op::Relation(relation), _) if !relation.to_one() => self.present(core),
            (Op::Feature(id), [thing, missing]) => self.feature(*id, thing, missing),
            (Op::InSegment(name), [subject]) => self.in_segment(name, subject),
            _ => {
                let mut evaluated = Vec::with_capacity(operands.len());
                let mut until = NEVER;
                for operand in operands {
                    let (val, val_until) = self.eval(operand)?;
                    until = until.min(val_until);
                    evaluated.push(val);
                }
                // Counted things; for other aggregates, the values were taken, and noted, before.
                if let (Op::Aggregate(_), Some(trace), [Val::List(items)]) = (op, &mut self.trace, evaluated.as_slice()) {
                    trace.extend(items.iter().filter_map(|item| Evidence::of(item, &operands[0], Value::Bool(true))));
                }
                Ok((self.strict(op, operands, evaluated)?, until))
            }
        }
    }

    /// A feature of a thing; `missing` where there is no thing.
    fn feature(&mut self, id: FeatureId, thing: &'a Core, missing: &'a Core) -> Result<super::Evaluated<'a>, Unknown> {
        let (thing, until) = self.eval(thing)?;
        let features = match &thing {
            Val::Object(Object::Target(_, features)) => features,
            Val::Object(Object::Item(item, _)) => match &item.target {
                Target::Known { features, .. } => &**features,
                Target::Unknown => return Err(Unknown),
                Target::Missing => return self.eval(missing),
            },
            Val::Own(_) | Val::Ref(_) | Val::Object(_) | Val::List(_) | Val::Map(_) => return self.eval(missing),
        };
        let feature = features.get(&id).ok_or(Unknown)?;
        Ok((Val::Ref(&feature.value), until.min(self.held(feature.valid_until)?)))
    }

    /// Whether a subject is in another segment.
    fn in_segment(&mut self, name: &Text, subject: &'a Core) -> Result<super::Evaluated<'a>, Unknown> {
        let (subject, until) = self.eval(subject)?;
        let Timed { value: member, valid_until } = match (&subject, self.source) {
            (Val::Object(Object::Subject), Source::View(view)) => view.in_segment(name).ok_or(Unknown)?,
            (Val::Object(Object::WorldThing(kind, id)), Source::World(world)) => world.in_segment(*kind, id, name),
            _ => Timed::lasting(false),
        };
        if let Some(trace) = &mut self.trace {
            trace.push(Evidence::Segment { name: name.clone(), member });
        }
        Ok((Val::Own(Value::Bool(member)), until.min(self.held(valid_until)?)))
    }

    fn comparison(&mut self, comparison: Comparison, left: &'a Core, right: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        if matches!(left, Core::Moment(_)) || matches!(right, Core::Moment(_)) {
            return match (self.side(left)?, self.side(right)?) {
                (Some(left), Some(right)) => Ok(self.compare_instants(comparison, left, right)),
                // Null now; it can only change with time through its own parts.
                (None, _) => Ok((false, self.null_until(left)?)),
                (_, None) => Ok((false, self.null_until(right)?)),
            };
        }
        let (left, left_until) = self.eval(left)?;
        let (right, right_until) = self.eval(right)?;
        Ok((values::compare(comparison, &left.value(), &right.value()), left_until.min(right_until)))
    }

    /// Operations that evaluate all their operands.
    #[expect(clippy::too_many_lines, reason = "one arm an operation")]
    fn strict(&mut self, op: &'a Op, operands: &'a [Core], mut args: Vec<Val<'a>>) -> Result<Val<'a>, Unknown> {
        let first = if args.is_empty() {
            Val::null()
        } else {
            std::mem::replace(&mut args[0], Val::null())
        };
        let second = if args.len() > 1 {
            std::mem::replace(&mut args[1], Val::null())
        } else {
            Val::null()
        };
        let bool = |flag: bool| Val::Own(Value::Bool(flag));
        Ok(match op {
            Op::Field(name) => self.field(first, name, &operands[0]),
            Op::Amount => Val::Own(self.amount(&first)),
            Op::Relation(relation) => self.one(&first, *relation)?,
            Op::Id => match (&first, self.source) {
                (Val::Object(Object::Subject), Source::View(view)) => Val::Own(Value::text(view.id())),
                (val, _) => val.id().map_or(Val::null(), |id| Val::Own(Value::text(id))),
            },
            Op::Column(id) => match first {
                Val::Object(Object::Event(row, layout)) => match layout.binary_search(id) {
                    Ok(at) => row.columns.get(at).map_or(Val::null(), Val::Ref),
                    Err(_) => Val::null(),
                },
                Val::Own(_) | Val::Ref(_) | Val::Object(_) | Val::List(_) | Val::Map(_) => Val::null(),
            },
            Op::Arithmetic(op) => Val::Own(arithmetic(*op, &first.value(), &second.value())),
            Op::Negate => Val::Own(match &*first.value() {
                Value::Int(number) if *number != i64::MIN => Value::Int(-number),
                number @ (Value::Null
                | Value::Bool(_)
                | Value::Int(_)
                | Value::Decimal(_)
                | Value::Text(_)
                | Value::Date(_)
                | Value::Time(_)
                | Value::List(_)
                | Value::Map(_)) => number.as_decimal().map_or(Value::Null, |number| Value::number(-number)),
            }),
            Op::List => {
                args[0] = first;
                if args.len() > 1 {
                    args[1] = second;
                }
                Val::List(args)
            }
            Op::Record(names) => {
                if !args.is_empty() {
                    args[0] = first;
                }
                if args.len() > 1 {
                    args[1] = second;
                }
                Val::Own(Value::Map(names.iter().cloned().zip(args.into_iter().map(Val::into_value)).collect()))
            }
            Op::DistinctThings => {
                let mut seen = std::collections::BTreeSet::new();
                Val::List(
                    first
                        .items()
                        .into_iter()
                        .filter(|item| item.id().is_none_or(|id| seen.insert(Text::new(id))))
                        .collect(),
                )
            }
            Op::Distinct => {
                let mut seen = std::collections::BTreeSet::new();
                Val::List(
                    first
                        .items()
                        .into_iter()
                        .filter(|item| !item.is_null() && seen.insert(item.value().into_owned()))
                        .collect(),
                )
            }
            Op::Aggregate(aggregate) => Val::Own(aggregated(*aggregate, first.items())),
            Op::Head => first.items().into_iter().next().unwrap_or(Val::null()),
            Op::IsNull => bool(first.is_null()),
            Op::IsNotNull => bool(!first.is_null()),
            Op::Text { test, negated, case_sensitive } => bool(text_test(*test, *negated, *case_sensitive, &first.value(), &second.value())),
            Op::Matches(pattern) => bool(first.value().as_str().is_some_and(|text| pattern.0.is_match(text))),
            Op::RegexGroup(pattern, group) => {
                let value = first.value();
                let found = value
                    .as_str()
                    .and_then(|text| pattern.0.captures(text)?.get(*group as usize).map(|found| Value::text(found.as_str())));
                Val::Own(found.unwrap_or_default())
            }
            Op::In { negated } => bool(is_in(&first, second, *negated)),
            Op::Intersects | Op::SubsetOf | Op::Intersection => {
                if first.is_null() || second.is_null() {
                    return Ok(if *op == Op::Intersection { Val::null() } else { bool(false) });
                }
                let a: Vec<Value> = first.items().into_iter().map(Val::into_value).filter(|value| !value.is_null()).collect();
                let b: Vec<Value> = second.items().into_iter().map(Val::into_value).collect();
                if *op == Op::Intersects {
                    bool(a.iter().any(|value| values::holds(&b, value)))
                } else if *op == Op::SubsetOf {
                    bool(values::within(&a, &b))
                } else {
                    let mut seen = std::collections::BTreeSet::new();
                    let common = a.into_iter().filter(|value| values::holds(&b, value) && seen.insert(value.clone()));
                    Val::Own(Value::List(common.collect()))
                }
            }
            Op::Get => match values::key(&second.value()) {
                Some(key) => first.entries().into_iter().find(|(name, _)| *name == key).map_or(Val::null(), |(_, val)| val),
                None => Val::null(),
            },
            Op::Keys if first.is_null() => Val::null(),
            Op::Keys => Val::List(first.entries().into_iter().map(|(name, _)| Val::Own(Value::Text(name))).collect()),
            Op::Values if first.is_null() => Val::null(),
            Op::Values => Val::List(first.entries().into_iter().map(|(_, val)| val).collect()),
            Op::MapEntry => match values::key(&first.value()) {
                Some(key) => Val::Map(vec![(key, second)]),
                None => Val::null(),
            },
            Op::Merge => Val::Own(values::merge(first.items())),
            Op::DatePart(part) => {
                let zone = self.context.zone;
                // A date is in no zone.
                let parts = match &*first.value() {
                    Value::Date(date) => Some(date.parts()),
                    value @ (Value::Null
                    | Value::Bool(_)
                    | Value::Int(_)
                    | Value::Decimal(_)
                    | Value::Text(_)
                    | Value::Time(_)
                    | Value::List(_)
                    | Value::Map(_)) => instant(zone, value).and_then(|at| crate::calendar::parts(zone, at)),
                };
                Val::Own(parts.map_or(Value::Null, |(year, month, day)| {
                    Value::Int(match part {
                        DatePart::Year => year,
                        DatePart::Month => month,
                        DatePart::DayOfMonth => day,
                    })
                }))
            }
            Op::Date => {
                let third = args.get(2).and_then(|day| day.value().as_i64());
                let date = match (first.value().as_i64(), second.value().as_i64(), third) {
                    (Some(year), Some(month), Some(day)) => Date::new(year, month, day),
                    _ => None,
                };
                Val::Own(date.map_or(Value::Null, Value::Date))
            }
            Op::Read(kind) => Val::Own(read(&first.value(), *kind)),
            Op::Instant => Val::Own(as_instants(self.context.zone, &first.value())),
            // Those that do not evaluate all their operands are handled before.
            Op::And
            | Op::Or
            | Op::Not
            | Op::If
            | Op::Compare(_)
            | Op::Window { .. }
            | Op::Relative(_)
            | Op::On
            | Op::Between
            | Op::Events
            | Op::Far(_)
            | Op::Feature(_)
            | Op::InSegment(_) => Val::null(),
        })
    }

    fn field(&mut self, of: Val<'a>, name: &str, path: &'a Core) -> Val<'a> {
        const NULL: &Value = &Value::Null;
        let event = |at: Timestamp, id: &Text| match name {
            "timestamp" => Some(Val::Own(Value::Time(at))),
            "_id" => Some(Val::Own(Value::Text(id.clone()))),
            _ => None,
        };
        let val = match (&of, self.source) {
            (Val::Object(Object::Subject), Source::View(view)) => Val::Ref(view.attributes().field(name)),
            (Val::Object(Object::Item(item, _)), _) => Val::Ref(item.row.field(name)),
            (Val::Object(Object::Event(row, _)), _) => event(row.at, &row.id).unwrap_or(Val::null()),
            (Val::Object(Object::WorldThing(kind, id)), Source::World(world)) => Val::Ref(world.attributes(*kind, id).field(name)),
            (Val::Object(Object::WorldRow(link, _)), _) => Val::Ref(link.row.field(name)),
            (Val::Object(Object::WorldEvent(of)), _) => event(of.at, &of.id).unwrap_or(Val::Ref(of.value.field(name))),
            (Val::Object(_), _) => Val::Ref(NULL),
            _ => of.plain_field(name),
        };
        if self.trace.is_some()
            && let Some(mut path) = attribute_path(path)
        {
            path.push(name.to_owned());
            let evidence = Evidence::Attribute {
                path: path.join("."),
                value: val.value().into_owned(),
            };
            if let Some(trace) = &mut self.trace {
                // Of a path only the whole is shown.
                let prefix = path[..path.len() - 1].join(".");
                if matches!(trace.last(), Some(Evidence::Attribute { path, .. }) if *path == prefix) {
                    trace.pop();
                }
                trace.push(evidence);
            }
        }
        val
    }

    /// The amount of a money record in the default currency; null where the currency has no rate.
    fn amount(&self, money: &Val<'a>) -> Value {
        let money = money.value();
        let Some(amount) = money.field("amount").as_decimal() else {
            return Value::Null;
        };
        let known = &self.context.money;
        match currency(&money) {
            None => Value::number(amount),
            Some(code) => {
                let rate = rate(code, &known.default_currency, &known.rates);
                Value::number_or_null(rate.and_then(|rate| amount.checked_mul(rate)))
            }
        }
    }
}

/// The fields from the subject to an expression, if that is a path of its own attributes.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other expression is a path")]
fn attribute_path(core: &Core) -> Option<Vec<String>> {
    match core {
        Core::Var(crate::core::SUBJECT) => Some(Vec::new()),
        Core::Apply(Op::Field(name), of) => {
            let mut path = attribute_path(&of[0])?;
            path.push(name.to_string());
            Some(path)
        }
        _ => None,
    }
}

fn arithmetic(op: Arithmetic, left: &Value, right: &Value) -> Value {
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        let whole = match op {
            Arithmetic::Add => a.checked_add(*b),
            Arithmetic::Subtract => a.checked_sub(*b),
            Arithmetic::Multiply => a.checked_mul(*b),
            Arithmetic::Remainder if *b == 0 => return Value::Null,
            Arithmetic::Remainder => a.checked_rem(*b),
            Arithmetic::Divide => None,
        };
        if let Some(whole) = whole {
            return Value::Int(whole);
        }
    }
    let (Some(a), Some(b)) = (left.as_decimal(), right.as_decimal()) else {
        return Value::Null;
    };
    Value::number_or_null(match op {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => number::divide(a, b),
        Arithmetic::Remainder => a.checked_rem(b),
    })
}

fn aggregated(aggregate: Aggregate, items: Vec<Val<'_>>) -> Value {
    let present = items.iter().filter(|item| !item.is_null());
    match aggregate {
        Aggregate::Count => Value::Int(present.count() as i64),
        Aggregate::Sum | Aggregate::Average => {
            let mut totals = Totals::default();
            present.for_each(|item| totals.add(&item.value()));
            if aggregate == Aggregate::Sum { totals.sum() } else { totals.average() }
        }
        Aggregate::Min => present.map(|item| item.value().into_owned()).min().unwrap_or_default(),
        Aggregate::Max => present.map(|item| item.value().into_owned()).max().unwrap_or_default(),
    }
}

/// Whether a value is in a list, or is not; false beside null. A list is no item of single values: beside them it is as null.
fn is_in(value: &Val<'_>, list: Val<'_>, negated: bool) -> bool {
    if value.is_null() || list.is_null() {
        return false;
    }
    let items = list.items();
    if value.is_list() && !items.is_empty() && !items.iter().any(Val::is_list) {
        return false;
    }
    let value = value.value();
    items.iter().any(|item| values::compare(Comparison::Equal, &value, &item.value())) != negated
}

fn text_test(test: TextTest, negated: bool, case_sensitive: bool, value: &Value, pattern: &Value) -> bool {
    let (text, pattern) = match (value, pattern) {
        (Value::Null, _) | (_, Value::Null) => return false,
        (Value::Text(text), Value::Text(pattern)) => (text, pattern),
        // Under `Any`: equality compares as `=` does, the others accept texts only.
        (value, pattern) => {
            let comparison = if negated { Comparison::NotEqual } else { Comparison::Equal };
            return test == TextTest::Equals && values::compare(comparison, value, pattern);
        }
    };
    let found = if case_sensitive {
        text_found(test, text, pattern)
    } else {
        text_found(test, &text.to_lowercase(), &pattern.to_lowercase())
    };
    found != negated
}

fn text_found(test: TextTest, text: &str, pattern: &str) -> bool {
    match test {
        TextTest::Equals => text == pattern,
        TextTest::StartsWith => text.starts_with(pattern),
        TextTest::EndsWith => text.ends_with(pattern),
        TextTest::Contains => text.contains(pattern),
        TextTest::Like => like(text, pattern),
    }
}

/// `%` stands for any letters, `_` for one. Greedy with one backtracking point: time is the product
/// of the lengths at worst.
fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut t, mut p) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('%') => {
                back = Some((t, p + 1));
                p += 1;
            }
            Some('_') => (t, p) = (t + 1, p + 1),
            Some(letter) if text[t].cmp(letter) == Ordering::Equal => (t, p) = (t + 1, p + 1),
            _ => match back {
                Some((from, after)) => {
                    back = Some((from + 1, after));
                    (t, p) = (from + 1, after);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '%')
}
