//! The meaning of the language's functions and methods, name by name; a method's receiver may be
//! written as first argument.

use millrace_model::{Date, Text, Value};
use millrace_pql::ast::{Aggregate, Comparison, Expr, Moment, Node, Span, Unit};
use millrace_pql::{Diagnostic, Function, Method, Parameters, did_you_mean};

use super::lists::leads_on;
use super::{Checker, Frame, Typed};
use crate::core::{Bind, Core, DatePart, Op, TextTest};
use crate::types::Ty;

impl Checker<'_> {
    pub(super) fn call(&mut self, name: &str, arguments: &[Expr], span: Span) -> Typed {
        match (Function::named(name), Method::named(name), arguments) {
            (Some(function), _, arguments) => self.function(function, arguments, span),
            (None, Some(method), [receiver, arguments @ ..]) => {
                let of = self.expr(receiver);
                self.known(of, method, arguments, span)
            }
            _ => {
                let near = did_you_mean(name, millrace_pql::names()).map(str::to_owned);
                self.fail(Diagnostic::error("unknown-function", span, format!("there is no function `{name}`")).suggesting(near))
            }
        }
    }

    pub(super) fn method(&mut self, of: Typed, name: &str, arguments: &[Expr], span: Span) -> Typed {
        match Method::named(name) {
            Some(method) => self.known(of, method, arguments, span),
            None => {
                let near = did_you_mean(name, Method::ALL.iter().map(|method| method.name())).map(str::to_owned);
                self.fail(Diagnostic::error("unknown-function", span, format!("there is no method `{name}`")).suggesting(near))
            }
        }
    }

    fn arity(&mut self, parameters: Parameters, arguments: &[Expr], name: &str, span: Span) -> bool {
        let allowed = parameters.count();
        if allowed.contains(&arguments.len()) {
            return true;
        }
        let wanted = match (*allowed.start(), *allowed.end()) {
            (least, most) if least == most => least.to_string(),
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) => format!("{least} to {most}"),
        };
        self.refuse("arguments", span, format!("`{name}` takes {wanted} arguments, here are {}", arguments.len()));
        false
    }

    fn function(&mut self, function: Function, arguments: &[Expr], span: Span) -> Typed {
        // `inSegment` reports its own requirements.
        if function != Function::InSegment && !self.arity(function.parameters(), arguments, function.name(), span) {
            return Typed::broken();
        }
        let date_part = |part: DatePart, moment: Moment| Typed::new(Core::apply(Op::DatePart(part), vec![Core::Moment(moment)]), Ty::Int);
        match function {
            Function::Date => self.date(arguments, span),
            Function::If => self.choice(arguments, span),
            Function::InSegment => self.in_segment(arguments, span),
            Function::Not => {
                let condition = self.condition(&arguments[0]);
                Typed::new(Core::not(condition), Ty::Bool)
            }
            Function::CurrentMonth => date_part(DatePart::Month, Moment::This(Unit::Month)),
            Function::CurrentYear => date_part(DatePart::Year, Moment::This(Unit::Year)),
            Function::CurrentDayOfMonth => date_part(DatePart::DayOfMonth, Moment::Today),
            Function::Now => Typed::new(Core::Moment(Moment::Now), Ty::Time),
            Function::MapEntry => {
                let (key, value) = (self.plain(&arguments[0]), self.plain(&arguments[1]));
                Typed::new(Core::apply(Op::MapEntry, vec![key.core, value.core]), Ty::Map(Box::new(value.ty)))
            }
        }
    }

    /// A method of the language, of a receiver.
    fn known(&mut self, of: Typed, method: Method, arguments: &[Expr], span: Span) -> Typed {
        if !self.arity(method.parameters(), arguments, method.name(), span) {
            return Typed::broken();
        }
        let argument = arguments.first();
        match method {
            Method::Like => self.text_test(of, (TextTest::Like, false), arguments, span),
            Method::StartsWith => self.text_test(of, (TextTest::StartsWith, false), arguments, span),
            Method::DoesNotStartWith => self.text_test(of, (TextTest::StartsWith, true), arguments, span),
            Method::EndsWith => self.text_test(of, (TextTest::EndsWith, false), arguments, span),
            Method::DoesNotEndWith => self.text_test(of, (TextTest::EndsWith, true), arguments, span),
            Method::Contains => self.text_test(of, (TextTest::Contains, false), arguments, span),
            Method::DoesNotContain => self.text_test(of, (TextTest::Contains, true), arguments, span),
            Method::Equals if arguments.len() > 1 => self.equals_any(of, arguments, span),
            Method::Equals => self.text_test(of, (TextTest::Equals, false), arguments, span),
            Method::NotEqualTo => self.text_test(of, (TextTest::Equals, true), arguments, span),
            Method::Matches => self.matches(of, &arguments[0], span),
            Method::RegexGroup => self.regex_group(of, &arguments[0], &arguments[1], span),
            Method::In | Method::NotIn => {
                let list = self.expr(&arguments[0]);
                self.is_in(of, list, method == Method::NotIn, span)
            }
            Method::Includes => {
                let value = self.expr(&arguments[0]);
                match (&of.ty, &value.ty) {
                    (Ty::List(_), Ty::List(_)) => self.set_test(Op::SubsetOf, value, of, span),
                    _ => self.is_in(value, of, false, span),
                }
            }
            Method::Intersects => {
                let other = self.expr(&arguments[0]);
                self.set_test(Op::Intersects, of, other, span)
            }
            Method::SubsetOf => {
                let other = self.expr(&arguments[0]);
                self.set_test(Op::SubsetOf, of, other, span)
            }
            Method::SupersetOf => {
                let other = self.expr(&arguments[0]);
                self.set_test(Op::SubsetOf, other, of, span)
            }
            Method::Intersection => {
                let other = self.expr(&arguments[0]);
                let ty = of.ty.clone();
                self.lists(Op::Intersection, of, other, span)
                    .map_or_else(Typed::broken, |core| Typed::new(core, ty))
            }
            Method::Distinct => self.each_once(of, span),
            Method::Head => self.head(of, span),
            Method::Filter => self.filter(of, &arguments[0]),
            Method::Exists | Method::Some | Method::Forall | Method::All | Method::None | Method::One => self.quantify(method, of, argument, span),
            Method::Map => self.map(of, &arguments[0], span),
            Method::GroupBy => self.group_by(of, &arguments[0], span),
            Method::TopN | Method::BottomN => self.top(of, &arguments[0], &arguments[1], method == Method::BottomN, span),
            Method::Count => self.aggregate_method(Aggregate::Count, of, argument, span),
            Method::Sum => self.aggregate_method(Aggregate::Sum, of, argument, span),
            Method::Average => self.aggregate_method(Aggregate::Average, of, argument, span),
            Method::Min => self.aggregate_method(Aggregate::Min, of, argument, span),
            Method::Max => self.aggregate_method(Aggregate::Max, of, argument, span),
            Method::Get => self.get(of, &arguments[0], span),
            Method::Keys | Method::Values => self.entries(method, of, span),
            Method::IsNull => Typed::new(Core::apply(Op::IsNull, vec![of.core]), Ty::Bool),
            Method::IsNotNull => Typed::new(Core::apply(Op::IsNotNull, vec![of.core]), Ty::Bool),
            Method::GetMonth => self.date_part(DatePart::Month, of, method, span),
            Method::GetYear => self.date_part(DatePart::Year, of, method, span),
            Method::GetDayOfMonth => self.date_part(DatePart::DayOfMonth, of, method, span),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
    fn each_once(&mut self, of: Typed, span: Span) -> Typed {
        match &of.ty {
            Ty::List(item) if item.is_object() => of,
            Ty::List(_) | Ty::Any => Typed::new(Core::apply(Op::Distinct, vec![of.core]), of.ty),
            _ => self.items(&of, span).map_or_else(Typed::broken, |_| of),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
    fn head(&mut self, of: Typed, span: Span) -> Typed {
        match &of.ty {
            Ty::List(item) => Typed::new(Core::apply(Op::Head, vec![of.core]), (**item).clone()),
            Ty::Any => Typed::new(Core::apply(Op::Head, vec![of.core]), Ty::Any),
            _ => self.items(&of, span).map_or_else(Typed::broken, |_| of),
        }
    }

    fn group_by(&mut self, of: Typed, key: &Expr, span: Span) -> Typed {
        let Some(item) = self.items(&of, span) else { return Typed::broken() };
        let var = self.fresh();
        let key = self.with_item(var, item.clone(), key, |checker, by| checker.plain(by));
        Typed::new(Core::bind(Bind::GroupBy, of.core, var, key.core), Ty::Groups(Box::new(item)))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
    fn date_part(&mut self, part: DatePart, of: Typed, method: Method, span: Span) -> Typed {
        match of.ty {
            Ty::Date | Ty::Time | Ty::Any | Ty::Text => Typed::new(Core::apply(Op::DatePart(part), vec![of.core]), Ty::Int),
            Ty::Broken => Typed::broken(),
            ty => {
                let message = format!("`{}` wants an instant, this is {}", method.name(), ty.show());
                self.refuse("type", span, message)
            }
        }
    }

    fn set_test(&mut self, op: Op, left: Typed, right: Typed, span: Span) -> Typed {
        self.lists(op, left, right, span).map_or_else(Typed::broken, |core| Typed::new(core, Ty::Bool))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller passes quantifiers alone")]
    fn quantify(&mut self, method: Method, of: Typed, condition: Option<&Expr>, span: Span) -> Typed {
        let Some(item) = self.items(&of, span) else { return Typed::broken() };
        let var = self.fresh();
        let body = match condition {
            Some(condition) => self.with_item(var, item, condition, |checker, condition| checker.condition(condition)),
            None => Core::bool(true),
        };
        let some = |body: Core| Core::bind(Bind::AtLeast(1), of.core.clone(), var, body);
        let core = match method {
            Method::Exists | Method::Some => some(body),
            Method::None => Core::not(some(body)),
            Method::Forall | Method::All => Core::not(some(Core::not(body))),
            _ => {
                let count = Core::apply(Op::Aggregate(Aggregate::Count), vec![Core::bind(Bind::Filter, of.core, var, body)]);
                Core::apply(Op::Compare(Comparison::Equal), vec![count, Core::Literal(Value::Int(1))])
            }
        };
        Typed::new(core, Ty::Bool)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the values of any other type make a list")]
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

    fn aggregate_method(&mut self, aggregate: Aggregate, of: Typed, argument: Option<&Expr>, span: Span) -> Typed {
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

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
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

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is refused")]
    fn entries(&mut self, method: Method, of: Typed, span: Span) -> Typed {
        let keys = method == Method::Keys;
        let value = match &of.ty {
            Ty::Map(value) => (**value).clone(),
            Ty::Groups(item) => Ty::List(item.clone()),
            Ty::Any | Ty::Record(_) => Ty::Any,
            Ty::Broken => return Typed::broken(),
            ty => {
                let message = format!("`{}` wants a map, this is {}", method.name(), ty.show());
                return self.refuse("type", span, message);
            }
        };
        let item = if keys { Ty::Text } else { value };
        Typed::new(Core::apply(if keys { Op::Keys } else { Op::Values }, vec![of.core]), Ty::List(Box::new(item)))
    }

    fn date(&mut self, arguments: &[Expr], span: Span) -> Typed {
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
