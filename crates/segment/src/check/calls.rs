//! Functions and methods: one table for both, a function's first argument being a method's receiver.

use std::sync::Arc;

use millrace_model::{Date, Text, Value};
use millrace_pql::ast::{Aggregate, Comparison, Expr, Moment, Node, Span, Unit};
use millrace_pql::{Diagnostic, did_you_mean};

use super::lists::leads_on;
use super::{Checker, Frame, Typed};
use crate::core::{Bind, Core, DatePart, Op, Pattern, TextTest};
use crate::types::Ty;

/// Compiled size of a regular expression; a pattern a person writes needs a hundredth.
pub(crate) const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Regular expressions of one rule: together they take at most a hundred times that much memory.
pub(crate) const PATTERNS_MAX: usize = 100;
/// Characters of a `like` pattern, and of a regular expression: matching takes time in proportion to the pattern and to the text.
pub(crate) const PATTERN_CHARS_MAX: usize = 1_000;
/// Groups of a regular expression that can be asked for.
pub(crate) const GROUP_MAX: i64 = 100;

/// Names that stand alone.
pub(crate) const FUNCTIONS: [&str; 9] = [
    "date",
    "if",
    "inSegment",
    "currentMonth",
    "currentYear",
    "currentDayOfMonth",
    "mapEntry",
    "not",
    "now",
];

/// Names that stand behind a dot, or take their receiver as first argument.
pub(crate) const METHODS: [&str; 44] = [
    "like",
    "startsWith",
    "doesNotStartWith",
    "endsWith",
    "doesNotEndWith",
    "contains",
    "doesNotContain",
    "equals",
    "notEqualTo",
    "matches",
    "regexGroup",
    "in",
    "notIn",
    "intersects",
    "intersection",
    "subsetOf",
    "supersetOf",
    "includes",
    "distinct",
    "groupBy",
    "filter",
    "map",
    "topN",
    "bottomN",
    "head",
    "exists",
    "some",
    "forall",
    "all",
    "none",
    "one",
    "get",
    "keys",
    "values",
    "isNull",
    "isNotNull",
    "count",
    "sum",
    "average",
    "min",
    "max",
    "getMonth",
    "getYear",
    "getDayOfMonth",
];

impl Checker<'_> {
    pub(super) fn call(&mut self, function: &str, arguments: &[Expr], span: Span) -> Typed {
        let date_part = |part: DatePart, moment: Moment| Typed::new(Core::apply(Op::DatePart(part), vec![Core::Moment(moment)]), Ty::Int);
        match function {
            "date" => self.date(arguments, span),
            "if" => self.choice(arguments, span),
            "inSegment" => self.in_segment(arguments, span),
            "not" => {
                if !self.arity(arguments, 1..=1, function, span) {
                    return Typed::broken();
                }
                let condition = self.condition(&arguments[0]);
                Typed::new(Core::not(condition), Ty::Bool)
            }
            "currentMonth" => date_part(DatePart::Month, Moment::This(Unit::Month)),
            "currentYear" => date_part(DatePart::Year, Moment::This(Unit::Year)),
            "currentDayOfMonth" => date_part(DatePart::DayOfMonth, Moment::Today),
            "now" => Typed::new(Core::Moment(Moment::Now), Ty::Time),
            "mapEntry" => {
                if !self.arity(arguments, 2..=2, function, span) {
                    return Typed::broken();
                }
                let (key, value) = (self.plain(&arguments[0]), self.plain(&arguments[1]));
                Typed::new(Core::apply(Op::MapEntry, vec![key.core, value.core]), Ty::Map(Box::new(value.ty)))
            }
            _ if METHODS.contains(&function) && !arguments.is_empty() => {
                let of = self.expr(&arguments[0]);
                self.method(of, function, &arguments[1..], span)
            }
            _ => {
                let near = did_you_mean(function, FUNCTIONS.into_iter().chain(METHODS)).map(str::to_owned);
                self.fail(Diagnostic::error("unknown-function", span, format!("there is no function `{function}`")).suggesting(near))
            }
        }
    }

    fn arity(&mut self, arguments: &[Expr], allowed: std::ops::RangeInclusive<usize>, name: &str, span: Span) -> bool {
        if allowed.contains(&arguments.len()) {
            return true;
        }
        let wanted = if allowed.start() == allowed.end() {
            allowed.start().to_string()
        } else {
            format!("{} to {}", allowed.start(), allowed.end())
        };
        self.refuse("arguments", span, format!("`{name}` takes {wanted} arguments, here are {}", arguments.len()));
        false
    }

    #[expect(clippy::too_many_lines, reason = "one arm a method of the language")]
    pub(super) fn method(&mut self, of: Typed, name: &str, arguments: &[Expr], span: Span) -> Typed {
        let test = match name {
            "like" => Some((TextTest::Like, false)),
            "startsWith" => Some((TextTest::StartsWith, false)),
            "doesNotStartWith" => Some((TextTest::StartsWith, true)),
            "endsWith" => Some((TextTest::EndsWith, false)),
            "doesNotEndWith" => Some((TextTest::EndsWith, true)),
            "contains" => Some((TextTest::Contains, false)),
            "doesNotContain" => Some((TextTest::Contains, true)),
            "equals" => Some((TextTest::Equals, false)),
            "notEqualTo" => Some((TextTest::Equals, true)),
            _ => None,
        };
        if name == "equals" && arguments.len() > 1 {
            return self.equals_any(of, arguments, span);
        }
        if let Some((test, negated)) = test {
            if !self.arity(arguments, 1..=2, name, span) {
                return Typed::broken();
            }
            return self.text_test(of, (test, negated), &arguments[0], arguments.get(1), span);
        }
        let allowed = match name {
            "topN" | "bottomN" | "regexGroup" => 2..=2,
            "count" | "sum" | "average" | "min" | "max" | "exists" | "some" | "one" | "none" => 0..=1,
            "distinct" | "head" | "keys" | "values" | "isNull" | "isNotNull" | "getMonth" | "getYear" | "getDayOfMonth" => 0..=0,
            _ => 1..=1,
        };
        if !METHODS.contains(&name) {
            let near = did_you_mean(name, METHODS).map(str::to_owned);
            return self.fail(Diagnostic::error("unknown-function", span, format!("there is no method `{name}`")).suggesting(near));
        }
        if !self.arity(arguments, allowed, name, span) {
            return Typed::broken();
        }
        match name {
            "matches" => match self.pattern(of, &arguments[0], span) {
                Some((text, pattern)) => Typed::new(Core::apply(Op::Matches(pattern), vec![text]), Ty::Bool),
                None => Typed::broken(),
            },
            "regexGroup" => {
                let group = match self.expr(&arguments[1]).core {
                    Core::Literal(Value::Int(number)) if (0..=GROUP_MAX).contains(&number) => number as u32,
                    _ => {
                        let message = format!("the number of a group is needed here, 0 to {GROUP_MAX}, written out");
                        return self.refuse("arguments", arguments[1].span, message);
                    }
                };
                match self.pattern(of, &arguments[0], span) {
                    Some((text, pattern)) => Typed::new(Core::apply(Op::RegexGroup(pattern, group), vec![text]), Ty::Text),
                    None => Typed::broken(),
                }
            }
            "in" | "notIn" => {
                let list = self.expr(&arguments[0]);
                self.is_in(of, list, name == "notIn", span)
            }
            "includes" => {
                let value = self.expr(&arguments[0]);
                match (&of.ty, &value.ty) {
                    (Ty::List(_), Ty::List(_)) => self.set_test(Op::SubsetOf, value, of, span),
                    _ => self.is_in(value, of, false, span),
                }
            }
            "intersects" | "subsetOf" => {
                let other = self.expr(&arguments[0]);
                self.set_test(if name == "subsetOf" { Op::SubsetOf } else { Op::Intersects }, of, other, span)
            }
            "supersetOf" => {
                let other = self.expr(&arguments[0]);
                self.set_test(Op::SubsetOf, other, of, span)
            }
            "intersection" => {
                let other = self.expr(&arguments[0]);
                let ty = of.ty.clone();
                self.lists(Op::Intersection, of, other, span)
                    .map_or_else(Typed::broken, |core| Typed::new(core, ty))
            }
            "distinct" => match &of.ty {
                Ty::List(item) if item.is_object() => of,
                Ty::List(_) | Ty::Any => Typed::new(Core::apply(Op::Distinct, vec![of.core]), of.ty),
                _ => self.items(&of, span).map_or_else(Typed::broken, |_| of),
            },
            "head" => match &of.ty {
                Ty::List(item) => Typed::new(Core::apply(Op::Head, vec![of.core]), (**item).clone()),
                Ty::Any => Typed::new(Core::apply(Op::Head, vec![of.core]), Ty::Any),
                _ => self.items(&of, span).map_or_else(Typed::broken, |_| of),
            },
            "filter" => self.filter(of, &arguments[0]),
            "exists" | "some" | "forall" | "all" | "none" | "one" => self.quantify(name, of, arguments.first(), span),
            "map" => self.map(of, &arguments[0], span),
            "groupBy" => {
                let Some(item) = self.items(&of, span) else { return Typed::broken() };
                let var = self.fresh();
                let key = self.with_item(var, item.clone(), &arguments[0], |checker, by| checker.plain(by));
                Typed::new(Core::bind(Bind::GroupBy, of.core, var, key.core), Ty::Groups(Box::new(item)))
            }
            "topN" | "bottomN" => self.top(of, &arguments[0], &arguments[1], name == "bottomN", span),
            "count" | "sum" | "average" | "min" | "max" => self.aggregate_method(name, of, arguments.first(), span),
            "get" => self.get(of, &arguments[0], span),
            "keys" | "values" => self.entries(name, of, span),
            "isNull" => Typed::new(Core::apply(Op::IsNull, vec![of.core]), Ty::Bool),
            "isNotNull" => Typed::new(Core::apply(Op::IsNotNull, vec![of.core]), Ty::Bool),
            _ => {
                let part = match name {
                    "getMonth" => DatePart::Month,
                    "getYear" => DatePart::Year,
                    _ => DatePart::DayOfMonth,
                };
                match of.ty {
                    Ty::Date | Ty::Time | Ty::Any | Ty::Text => Typed::new(Core::apply(Op::DatePart(part), vec![of.core]), Ty::Int),
                    Ty::Broken => Typed::broken(),
                    ty => {
                        let message = format!("`{name}` wants an instant, this is {}", ty.show());
                        self.refuse("type", span, message)
                    }
                }
            }
        }
    }

    /// `equals(a, b, …)`: any of them. A truth behind them says whether letter case counts.
    fn equals_any(&mut self, of: Typed, arguments: &[Expr], span: Span) -> Typed {
        let (values, case) = match arguments {
            [values @ .., case @ Expr { node: Node::Bool(_), .. }] => (values, Some(case)),
            values => (values, None),
        };
        let mut tests = Vec::with_capacity(values.len());
        for value in values {
            // Each comparison has the receiver for itself.
            if !self.grow(of.core.size(), span) {
                return Typed::broken();
            }
            let of = Typed::new(of.core.clone().refresh(&mut self.next_var), of.ty.clone());
            let test = self.text_test(of, (TextTest::Equals, false), value, case, span);
            if test.ty == Ty::Broken {
                return test;
            }
            tests.push(test.core);
        }
        Typed::new(if tests.len() == 1 { tests.remove(0) } else { Core::apply(Op::Or, tests) }, Ty::Bool)
    }

    fn text_test(&mut self, of: Typed, (test, negated): (TextTest, bool), against: &Expr, case: Option<&Expr>, span: Span) -> Typed {
        let pattern = self.expr(against);
        if let (TextTest::Like, Core::Literal(Value::Text(text))) = (test, &pattern.core)
            && !self.pattern_fits(text, against.span)
        {
            return Typed::broken();
        }
        let case_sensitive = match case.map(|case| (self.expr(case).core, case.span)) {
            None | Some((Core::Literal(Value::Bool(true)), _)) => true,
            Some((Core::Literal(Value::Bool(false)), _)) => false,
            Some((_, span)) => {
                return self.fail(Diagnostic::error(
                    "arguments",
                    span,
                    "whether letter case counts is `true` or `false`, written out",
                ));
            }
        };
        match (&of.ty, &pattern.ty) {
            (Ty::Broken, _) | (_, Ty::Broken) => Typed::broken(),
            (Ty::Text | Ty::Any | Ty::Null, Ty::Text | Ty::Any | Ty::Null) => {
                // Equality reads an untyped side as `=` does; the rest asks of texts only.
                let (of, pattern) = if test == TextTest::Equals { self.agreed(of, pattern) } else { (of, pattern) };
                Typed::new(Core::apply(Op::Text { test, negated, case_sensitive }, vec![of.core, pattern.core]), Ty::Bool)
            }
            _ if test == TextTest::Equals => self.compare(if negated { Comparison::NotEqual } else { Comparison::Equal }, of, pattern, span),
            (Ty::List(item), _) if test == TextTest::Contains && !item.is_object() && case_sensitive && !negated => self.is_in(pattern, of, false, span),
            (Ty::Text | Ty::Any, ty) | (ty, _) => {
                let diagnostic = Diagnostic::error("type", span, format!("a text is needed here, this is {}", ty.show()));
                let remedy = matches!(ty, Ty::List(_)).then(|| "`exists x from … where x …` asks of a list's items".to_owned());
                self.fail(Diagnostic {
                    expected: remedy,
                    ..diagnostic
                })
            }
        }
    }

    fn pattern_fits(&mut self, text: &str, span: Span) -> bool {
        let count = text.chars().count();
        if count > PATTERN_CHARS_MAX {
            self.refuse("pattern", span, format!("a pattern of {count} characters, more than {PATTERN_CHARS_MAX}"));
        }
        count <= PATTERN_CHARS_MAX
    }

    fn pattern(&mut self, of: Typed, argument: &Expr, span: Span) -> Option<(Core, Pattern)> {
        if !matches!(of.ty, Ty::Text | Ty::Any | Ty::Null | Ty::Broken) {
            let message = format!("a text is needed here, this is {}", of.ty.show());
            self.refuse("type", span, message);
            return None;
        }
        let Core::Literal(Value::Text(text)) = self.expr(argument).core else {
            self.refuse("regex", argument.span, "a regular expression is written out as a text");
            return None;
        };
        if !self.pattern_fits(&text, argument.span) {
            return None;
        }
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            self.refuse("regex", argument.span, format!("more than {PATTERNS_MAX} regular expressions in one rule"));
            return None;
        }
        match regex::RegexBuilder::new(&text).size_limit(PATTERN_BYTES_MAX).build() {
            Ok(regex) => (of.ty != Ty::Broken).then_some((of.core, Pattern(Arc::new(regex)))),
            Err(error) => {
                let (message, expected) = if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|form| text.contains(form)) {
                    (
                        "look-around is not supported: regular expressions run in linear time".to_owned(),
                        Some("two conditions joined by `and`"),
                    )
                } else if back_reference(&text) {
                    ("back-references are not supported: regular expressions run in linear time".to_owned(), None)
                } else {
                    // The last line says what is wrong; those before it draw the place.
                    let reason = error.to_string();
                    (
                        format!(
                            "no regular expression: {}",
                            reason.lines().last().unwrap_or_default().trim_start_matches("error: ")
                        ),
                        None,
                    )
                };
                self.fail(Diagnostic {
                    expected: expected.map(str::to_owned),
                    ..Diagnostic::error("regex", argument.span, message)
                });
                None
            }
        }
    }

    fn set_test(&mut self, op: Op, left: Typed, right: Typed, span: Span) -> Typed {
        self.lists(op, left, right, span).map_or_else(Typed::broken, |core| Typed::new(core, Ty::Bool))
    }

    fn quantify(&mut self, name: &str, of: Typed, condition: Option<&Expr>, span: Span) -> Typed {
        let Some(item) = self.items(&of, span) else { return Typed::broken() };
        let var = self.fresh();
        let body = match condition {
            Some(condition) => self.with_item(var, item, condition, |checker, condition| checker.condition(condition)),
            None => Core::bool(true),
        };
        let some = |body: Core| Core::bind(Bind::AtLeast(1), of.core.clone(), var, body);
        let core = match name {
            "exists" | "some" => some(body),
            "none" => Core::not(some(body)),
            "forall" | "all" => Core::not(some(Core::not(body))),
            _ => {
                let count = Core::apply(Op::Aggregate(Aggregate::Count), vec![Core::bind(Bind::Filter, of.core, var, body)]);
                Core::apply(Op::Compare(Comparison::Equal), vec![count, Core::Literal(Value::Int(1))])
            }
        };
        Typed::new(core, Ty::Bool)
    }

    fn map(&mut self, of: Typed, argument: &Expr, span: Span) -> Typed {
        if let Ty::Groups(item) = &of.ty {
            let item = (**item).clone();
            let Node::Lambda { parameters, body } = &argument.node else {
                return self.refuse("parameters", argument.span, "groups are mapped by a function of key and group: `(K, G) => …`");
            };
            let [key_name, group_name] = parameters.as_slice() else {
                return self.refuse("parameters", argument.span, "groups are mapped by a function of key and group: `(K, G) => …`");
            };
            let (key, group) = (self.fresh(), self.fresh());
            let key_typed = Typed::new(Core::Var(key), Ty::Text);
            let group_typed = Typed::new(Core::Var(group), Ty::List(Box::new(item)));
            self.lambdas.push(vec![key_typed.clone(), group_typed.clone()]);
            let body = self.within(Frame::Named(key_name.clone(), key_typed), |checker| {
                checker.within(Frame::Named(group_name.clone(), group_typed), |checker| checker.expr(body))
            });
            self.lambdas.pop();
            let list = Core::Groups {
                source: Box::new(of.core),
                key,
                group,
                body: Box::new(body.core),
            };
            return match body.ty {
                Ty::Broken => Typed::broken(),
                ty @ Ty::Map(_) => Typed::new(Core::apply(Op::Merge, vec![list]), ty),
                ty if ty.is_object() => self.refuse("type", argument.span, "groups are mapped to values"),
                ty => Typed::new(list, Ty::List(Box::new(ty))),
            };
        }
        let Some(item) = self.items(&of, span) else { return Typed::broken() };
        let var = self.fresh();
        let body = self.with_item(var, item, argument, |checker, body| checker.expr(body));
        if let Ty::Map(_) = &body.ty {
            let ty = body.ty.clone();
            if matches!(body.core, Core::Apply(Op::MapEntry, _)) {
                return Typed::new(Core::apply(Op::Merge, vec![Core::bind(Bind::Map, of.core, var, body.core)]), ty);
            }
        }
        self.collect(of.core, var, body)
    }

    fn top(&mut self, of: Typed, by: &Expr, count: &Expr, lowest: bool, span: Span) -> Typed {
        let Some(item) = self.items(&of, span) else { return Typed::broken() };
        let var = self.fresh();
        let key = self.with_item(var, item.clone(), by, |checker, by| checker.plain(by));
        if matches!(key.ty, Ty::List(_) | Ty::Map(_) | Ty::Record(_) | Ty::Groups(_)) {
            let message = format!("items are ordered by a value, this is {}", key.ty.show());
            return self.refuse("type", by.span, message);
        }
        let count = self.positive(count, if lowest { "bottomN" } else { "topN" });
        Typed::new(Core::bind(Bind::Top { count, lowest }, of.core, var, key.core), Ty::List(Box::new(item)))
    }

    fn aggregate_method(&mut self, name: &str, of: Typed, argument: Option<&Expr>, span: Span) -> Typed {
        let aggregate = match name {
            "count" => Aggregate::Count,
            "sum" => Aggregate::Sum,
            "average" => Aggregate::Average,
            "min" => Aggregate::Min,
            _ => Aggregate::Max,
        };
        let Some(argument) = argument else {
            return self.aggregate(aggregate, of, span);
        };
        let Some(item) = self.items(&of, span) else { return Typed::broken() };
        let var = self.fresh();
        let body = self.with_item(var, item.clone(), argument, |checker, body| checker.expr(body));
        let list = match (aggregate, &body.ty) {
            // `count(condition)`: the items for which it holds.
            (Aggregate::Count, Ty::Bool) => Typed::new(Core::bind(Bind::Filter, of.core, var, body.core), Ty::List(Box::new(item))),
            (_, Ty::Broken) => Typed::broken(),
            _ => match self.path_from_item(argument).filter(|_| leads_on(&body.core)) {
                Some(names) => self.follow(of.core, item, &names, argument.span),
                None => self.collect(of.core, var, body),
            },
        };
        self.aggregate(aggregate, list, span)
    }

    fn get(&mut self, of: Typed, key: &Expr, span: Span) -> Typed {
        if let (Ty::Thing(..) | Ty::Row(..) | Ty::Event | Ty::Record(_), Node::Text(name)) = (&of.ty, &key.node) {
            return self.field(of, &name.clone(), span);
        }
        let key = self.plain(key);
        let ty = match &of.ty {
            Ty::Map(value) => (**value).clone(),
            Ty::Groups(item) => Ty::List(item.clone()),
            Ty::Any => Ty::Any,
            Ty::Broken => return Typed::broken(),
            ty => {
                let message = format!("`get` wants a map, this is {}", ty.show());
                return self.refuse("type", span, message);
            }
        };
        Typed::new(Core::apply(Op::Get, vec![of.core, key.core]), ty)
    }

    fn entries(&mut self, name: &str, of: Typed, span: Span) -> Typed {
        let keys = name == "keys";
        let value = match &of.ty {
            Ty::Map(value) => (**value).clone(),
            Ty::Groups(item) => Ty::List(item.clone()),
            Ty::Any | Ty::Record(_) => Ty::Any,
            Ty::Broken => return Typed::broken(),
            ty => {
                let message = format!("`{name}` wants a map, this is {}", ty.show());
                return self.refuse("type", span, message);
            }
        };
        let item = if keys { Ty::Text } else { value };
        Typed::new(Core::apply(if keys { Op::Keys } else { Op::Values }, vec![of.core]), Ty::List(Box::new(item)))
    }

    fn date(&mut self, arguments: &[Expr], span: Span) -> Typed {
        if !self.arity(arguments, 3..=3, "date", span) {
            return Typed::broken();
        }
        let parts: Vec<Typed> = arguments.iter().map(|argument| self.expr(argument)).collect();
        if let [
            Core::Literal(Value::Int(year)),
            Core::Literal(Value::Int(month)),
            Core::Literal(Value::Int(day)),
        ] = [&parts[0].core, &parts[1].core, &parts[2].core]
        {
            return match Date::new(*year, *month, *day) {
                Some(date) => Typed::new(Core::Literal(Value::Date(date)), Ty::Date),
                None => self.refuse("date", span, format!("there is no day {year}-{month:02}-{day:02}")),
            };
        }
        if let Some(at) = parts
            .iter()
            .position(|part| !matches!((&part.ty, &part.core), (Ty::Int | Ty::Any | Ty::Broken, _) | (Ty::Number, Core::Apply(..))))
        {
            let message = format!("year, month and day are whole numbers, this is {}", parts[at].ty.show());
            return self.refuse("type", arguments[at].span, message);
        }
        Typed::new(Core::apply(Op::Date, parts.into_iter().map(|part| part.core).collect()), Ty::Date)
    }

    fn choice(&mut self, arguments: &[Expr], span: Span) -> Typed {
        if !self.arity(arguments, 3..=3, "if", span) {
            return Typed::broken();
        }
        let condition = self.condition(&arguments[0]);
        let (then, otherwise) = (self.expr(&arguments[1]), self.expr(&arguments[2]));
        match then.ty.join(&otherwise.ty) {
            Some(ty) => Typed::new(Core::apply(Op::If, vec![condition, then.core, otherwise.core]), ty),
            None => {
                let message = format!("the branches of `if` are {} and {}", then.ty.show(), otherwise.ty.show());
                self.fail(Diagnostic::error("type", span, message).expecting("two values of one type"))
            }
        }
    }

    fn in_segment(&mut self, arguments: &[Expr], span: Span) -> Typed {
        let [Expr { node: Node::Text(name), .. }] = arguments else {
            return self.fail(Diagnostic::error("arguments", span, "`inSegment` takes the name of one segment").expecting("`inSegment(\"name\")`"));
        };
        let name = Text::new(name);
        self.segments.push((name.clone(), span));
        Typed::new(Core::apply(Op::InSegment(name), vec![Core::Var(crate::core::SUBJECT)]), Ty::Bool)
    }
}

/// Whether a pattern refers back to one of its groups.
fn back_reference(text: &str) -> bool {
    let mut escaped = false;
    for letter in text.chars() {
        if escaped && (('1'..='9').contains(&letter) || letter == 'k') {
            return true;
        }
        escaped = letter == '\\' && !escaped;
    }
    false
}
