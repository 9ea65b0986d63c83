//! The forms that begin with a word or sign of their own: quantifiers, `select`, comprehensions,
//! `let`, lambdas, objects, moments, `occurs`, `chain`.

use super::{Level, Parsed, Parser};
use crate::ast::{Aggregate, Binary, Binding, EventStep, Expr, Node, Quantifier, Span, Unit, When};
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::lexer::Kind;
use crate::words::{self, direction, is_keyword, is_reserved, unit};

/// Levels that `^` may climb: more filters are not nested.
pub const CLIMB_MAX: u32 = 64;

/// Bindings with the conditions written after each of them.
struct Bindings {
    bindings: Vec<Binding>,
    /// By binding.
    conditions: Vec<Option<Expr>>,
    height: usize,
}

impl Parser<'_> {
    /// `exists V from A where C, W from V.b where D`
    pub(super) fn quantified(&mut self, quantifier: Quantifier) -> Parsed {
        let start = self.span();
        self.advance();
        let (variable, source) = self.binding()?;
        let bound = self.bindings_from(Binding {
            variable: Some(variable),
            source,
        })?;
        let below = bound.height;
        let Bindings {
            mut bindings, mut conditions, ..
        } = bound;
        if quantifier != Quantifier::Forall {
            let (condition, height) = self.joined(conditions, below)?;
            return self.node(
                start,
                Node::Quantifier {
                    quantifier,
                    bindings,
                    condition,
                },
                height,
            );
        }
        // `forall` with a condition between its bindings asserts it of every item of the first,
        // with or without items of the second: it nests.
        let mut condition: Option<Expr> = conditions.pop().flatten();
        let mut height = below;
        for at in (0..conditions.len()).rev() {
            let Some(outer) = conditions[at].take() else { continue };
            let inner_bindings = bindings.split_off(at + 1);
            let span = Span {
                start: inner_bindings[0].source.span.start,
                end: self.since(start).end,
            };
            let inner = Node::Quantifier {
                quantifier,
                bindings: inner_bindings,
                condition: condition.map(Box::new),
            };
            let inner = self.node(span, inner, height)?;
            condition = Some(self.node(start, and(outer, inner), self.height)?);
            height = self.height;
        }
        self.node(
            start,
            Node::Quantifier {
                quantifier,
                bindings,
                condition: condition.map(Box::new),
            },
            height,
        )
    }

    /// `sum E over V from A where C`
    pub(super) fn aggregate(&mut self, aggregate: Aggregate) -> Parsed {
        let start = self.span();
        self.advance();
        let item = self.condition();
        let below = self.height;
        self.expect_word(&["over"])?;
        let (variable, source) = self.binding()?;
        let height = below.max(self.height);
        self.height = height;
        let bound = self.bindings_from(Binding {
            variable: Some(variable),
            source,
        })?;
        let below = bound.height.max(below);
        let (condition, below) = self.joined(bound.conditions, below)?;
        self.node(
            start,
            Node::Aggregate {
                aggregate,
                item: Box::new(item),
                bindings: bound.bindings,
                condition,
            },
            below,
        )
    }

    /// `select V from A where C`, `select EXPR from PATH V? where C`
    pub(super) fn select(&mut self) -> Parsed {
        let start = self.span();
        self.advance();
        let begin = self.span();
        let plain = self.name_at(0).filter(|_| self.bare(1).is_some_and(|word| is_keyword(word, "from")));
        let item = match &plain {
            Some(_) => {
                self.advance();
                None
            }
            None => Some(self.condition()),
        };
        let below = if item.is_some() { self.height } else { 0 };
        self.expect_word(&["from"])?;
        let source = self.expression(Level::Postfix)?;
        let below = below.max(self.height);
        let named = self.variable_ahead();
        if named.is_some() {
            self.advance();
        }
        let (item, variable) = match (plain, item, named) {
            (Some(name), _, Some(variable)) => {
                let span = Span {
                    start: begin.start,
                    end: begin.end,
                };
                (Some(Box::new(Expr { span, node: Node::Name(name) })), Some(variable))
            }
            (Some(name), _, None) => (None, Some(name)),
            (None, item, Some(variable)) => (item.map(Box::new), Some(variable)),
            (None, item, None) => {
                let first = item.as_ref().and_then(first_name).map(str::to_owned);
                (item.map(Box::new), first)
            }
        };
        self.height = below;
        let bound = self.bindings_from(Binding { variable, source })?;
        let (condition, below) = self.joined(bound.conditions, bound.height)?;
        self.node(
            start,
            Node::Select {
                item,
                bindings: bound.bindings,
                condition,
            },
            below,
        )
    }

    /// The variable after a path: a name that continues nothing else.
    fn variable_ahead(&self) -> Option<String> {
        match self.kind() {
            Kind::Word(word) if is_reserved(word) || is_keyword(word, "on") => None,
            // A near miss of `where` before a condition is not a variable.
            Kind::Word(word) if did_you_mean(word, ["where"]).is_some() && self.name_at(1).is_some() => None,
            Kind::Word(_) | Kind::Quoted(_) => self.name_at(0),
            Kind::Text(_) | Kind::Int(_) | Kind::Decimal(_) | Kind::Parameter(_) | Kind::Sign(_) | Kind::End => None,
        }
    }

    /// `V from A`
    fn binding(&mut self) -> Parsed<(String, Expr)> {
        let variable = self.expect_name("a variable, as in `v from xEvent`")?;
        self.expect_word(&["from"])?;
        let source = self.expression(Level::Postfix)?;
        Ok((variable, source))
    }

    /// The rest of a binding whose source has just been read, and all bindings after it.
    fn bindings_from(&mut self, first: Binding) -> Parsed<Bindings> {
        let mut bound = Bindings {
            bindings: vec![first],
            conditions: Vec::new(),
            height: self.height,
        };
        loop {
            let condition = if self.take_sign(":") || self.take_where() {
                let condition = self.condition();
                bound.height = bound.height.max(self.height);
                Some(condition)
            } else {
                None
            };
            bound.conditions.push(condition);
            let another = self.is_sign(",") && self.another_binding();
            if !another {
                return Ok(bound);
            }
            self.advance();
            let (variable, source) = self.binding()?;
            bound.height = bound.height.max(self.height);
            bound.bindings.push(Binding {
                variable: Some(variable),
                source,
            });
        }
    }

    /// At a comma: whether `V from` follows, and not the next item of a list.
    fn another_binding(&self) -> bool {
        let name = matches!(self.kind_at(1), Kind::Word(word) if !is_reserved(word)) || matches!(self.kind_at(1), Kind::Quoted(_));
        name && self.bare(2).is_some_and(|word| is_keyword(word, "from"))
    }

    /// `where`; a word one slip away from it, at a place where nothing else can stand, is reported
    /// and taken for it.
    fn take_where(&mut self) -> bool {
        if self.take_word("where") {
            return true;
        }
        let Some(word) = self.bare(0) else { return false };
        if is_reserved(word) || did_you_mean(word, ["where"]).is_none() {
            return false;
        }
        self.expect_word(&["where"]).is_ok()
    }

    /// Conditions after several bindings hold together.
    fn joined(&mut self, conditions: Vec<Option<Expr>>, mut height: usize) -> Parsed<(Option<Box<Expr>>, usize)> {
        let mut joined: Option<Expr> = None;
        for condition in conditions.into_iter().flatten() {
            joined = Some(match joined {
                None => condition,
                Some(before) => {
                    let span = before.span;
                    let expr = self.node(span, and(before, condition), height)?;
                    height = self.height;
                    expr
                }
            });
        }
        Ok((joined.map(Box::new), height))
    }

    /// `let N = E in E`
    pub(super) fn binding_of_value(&mut self) -> Parsed {
        let start = self.span();
        self.advance();
        let name = self.expect_name("a name, as in `let n = … in …`")?;
        self.expect_sign("=")?;
        let plain_in = std::mem::replace(&mut self.plain_in, true);
        let value = self.condition();
        self.plain_in = plain_in;
        let below = self.height;
        self.expect_word(&["in"])?;
        let body = self.condition();
        let below = below.max(self.height);
        self.node(
            start,
            Node::Let {
                name,
                value: Box::new(value),
                body: Box::new(body),
            },
            below,
        )
    }

    /// At `(`: whether a lambda's parameters follow. A lambda has one or two, so the look ahead is
    /// bounded.
    pub(super) fn lambda_ahead(&self) -> bool {
        let mut ahead = 1;
        while matches!(self.kind_at(ahead), Kind::Word(_) | Kind::Quoted(_)) && ahead < 8 {
            match self.sign_at(ahead + 1) {
                Some(",") => ahead += 2,
                Some(")") => return self.sign_at(ahead + 2) == Some("=>"),
                _ => return false,
            }
        }
        false
    }

    /// `(a, b) => body`, or `a => body`
    pub(super) fn lambda(&mut self) -> Parsed {
        let start = self.span();
        let bracketed = self.take_sign("(");
        let mut parameters = vec![self.expect_name("the name of a parameter")?];
        while bracketed && self.take_sign(",") {
            parameters.push(self.expect_name("the name of a parameter")?);
        }
        if bracketed {
            self.expect_sign(")")?;
        }
        let span = self.since(start);
        if parameters.len() > 2 {
            let message = format!("a function of {} parameters", parameters.len());
            let _: Parsed<()> = self.fail(Diagnostic::error("too-many-parameters", span, message).expecting("one or two"));
        }
        self.expect_sign("=>")?;
        let body = self.condition();
        self.node(
            start,
            Node::Lambda {
                parameters,
                body: Box::new(body),
            },
            self.height,
        )
    }

    /// `{"k": expr, …}`
    pub(super) fn object(&mut self) -> Parsed {
        let start = self.span();
        self.advance();
        let mut entries = Vec::new();
        let mut below = 0;
        while !self.is_sign("}") {
            let key = match self.kind().clone() {
                Kind::Text(key) => key.into_owned(),
                Kind::Word(key) => {
                    let meant = format!("\"{key}\"");
                    let span = self.span();
                    let _: Parsed<()> = self.fail(Diagnostic::error("bare-key", span, "keys stand between quotes").suggesting(Some(meant)));
                    key.to_owned()
                }
                Kind::Quoted(_) | Kind::Int(_) | Kind::Decimal(_) | Kind::Parameter(_) | Kind::Sign(_) | Kind::End => {
                    return self.unexpected("a key between quotes, or `}`");
                }
            };
            self.advance();
            self.expect_sign(":")?;
            entries.push((key, self.enclosed()));
            below = below.max(self.height);
            if !self.take_sign(",") {
                break;
            }
        }
        self.expect_close(start, "}", "`,` or ")?;
        self.node(start, Node::Object(entries), below)
    }

    /// `^`, `^^`, also written closely before a field: `^name` is `^.name`.
    pub(super) fn climb(&mut self) -> Parsed {
        let start = self.span();
        let mut levels = 0;
        while self.take_sign("^") {
            levels += 1;
        }
        if levels > CLIMB_MAX {
            let report = Diagnostic::error("too-deep", self.since(start), format!("{levels} levels up"));
            return self.fail(report.expecting(format!("at most {CLIMB_MAX}")));
        }
        let climb = self.node(start, Node::Climb(levels), 0)?;
        match self.name_at(0) {
            Some(name) if self.since(start).end == self.span().start => {
                self.advance();
                self.node(start, Node::Field { of: Box::new(climb), name }, 1)
            }
            _ => {
                self.height = 1;
                Ok(climb)
            }
        }
    }

    /// `now`, `today`, `this month` …; `None` where the word is a name.
    pub(super) fn moment(&mut self) -> Option<Parsed> {
        let word = self.bare(0)?;
        if let Some(moment) = words::instant(word) {
            return Some(self.leaf(Node::Moment(moment)));
        }
        let relative = words::relative(word)?;
        let next = self.bare(1)?;
        if let Some(unit) = unit(next) {
            let start = self.span();
            self.advance();
            self.advance();
            return Some(self.node(start, Node::Moment(relative(unit)), 0));
        }
        // Two words in a row: only a mistyped unit makes sense of `last wek`.
        let units = words::UNITS.map(|(one, ..)| one);
        if is_reserved(next) || direction(next).is_some() || did_you_mean(next, units).is_none() {
            return None;
        }
        self.advance();
        Some(self.unit().and_then(|unit| {
            let start = self.span();
            self.node(start, Node::Moment(relative(unit)), 0)
        }))
    }

    /// A unit of time; a word one slip away from one is reported and taken for it.
    fn unit(&mut self) -> Parsed<Unit> {
        if let Some(unit) = self.bare(0).and_then(unit) {
            self.advance();
            return Ok(unit);
        }
        let names = words::UNITS.iter().flat_map(|(one, many, _)| [*one, *many]);
        let meant = self.bare(0).and_then(|word| did_you_mean(word, names));
        let (span, found) = (self.span(), self.kind().describe());
        let report = Diagnostic::error("unexpected-token", span, format!("found {found}"))
            .expecting("a unit of time, as `days`")
            .suggesting(meant);
        let failed = self.fail(report);
        match meant.and_then(unit) {
            Some(unit) => {
                self.advance();
                Ok(unit)
            }
            None => failed,
        }
    }

    /// A window, as after `occurs` and in `WHEN(…)`; `height` is the highest part's afterwards.
    pub(super) fn when(&mut self) -> Parsed<When> {
        let comparison = self.sign_at(0).and_then(words::comparison);
        if let Some(comparison) = comparison {
            self.advance();
            let amount = Box::new(self.operand(Level::Sum)?);
            let below = self.height;
            let unit = self.unit()?;
            let direction = direction(self.expect_word(&["before", "after", "from"])?).ok_or(super::Failed)?;
            let anchor = Box::new(self.operand(Level::Sum)?);
            self.height = self.height.max(below);
            return Ok(When::Offset {
                comparison,
                amount,
                unit,
                direction,
                anchor,
            });
        }
        if let Some(direction) = self.bare(0).and_then(direction) {
            self.advance();
            return Ok(When::Relative {
                direction,
                anchor: Box::new(self.operand(Level::Sum)?),
            });
        }
        if self.take_word("between") {
            let from = Box::new(self.operand(Level::Sum)?);
            let below = self.height;
            self.expect_word(&["and"])?;
            let to = Box::new(self.operand(Level::Sum)?);
            self.height = self.height.max(below);
            return Ok(When::Between { from, to });
        }
        self.take_word("on");
        Ok(When::On(Box::new(self.operand(Level::Sum)?)))
    }

    /// `chain(events, timestamp, [steps])`
    pub(super) fn chain(&mut self) -> Parsed {
        let start = self.span();
        self.advance();
        let open = self.span();
        self.expect_sign("(")?;
        let events = self.enclosed();
        let mut below = self.height;
        self.expect_sign(",")?;
        let timestamp = self.enclosed();
        below = below.max(self.height);
        self.expect_sign(",")?;
        let list = self.span();
        self.expect_sign("[")?;
        let mut steps = Vec::new();
        while !self.is_sign("]") {
            match self.step() {
                Ok(step) => {
                    below = below.max(self.height);
                    steps.push(step);
                }
                Err(failed) => {
                    self.recovered(Err(failed));
                }
            }
            if !self.take_sign(",") {
                break;
            }
        }
        if steps.is_empty() && self.is_sign("]") {
            return self.unexpected("a step, as in `A: WHAT(…)`");
        }
        self.expect_close(list, "]", "`WHAT(…)`, `WHEN(…)`, `WHERE(…)`, `COUNT(…)`, `,` or ")?;
        self.expect_close(open, ")", "")?;
        self.node(
            start,
            Node::Chain {
                events: Box::new(events),
                timestamp: Box::new(timestamp),
                steps,
            },
            below,
        )
    }

    /// `LABEL: [not] WHAT(condition) WHEN(window) WHERE(condition) COUNT(n)`, the clauses in any
    /// order, each at most once.
    fn step(&mut self) -> Parsed<EventStep> {
        const CLAUSES: [&str; 4] = ["what", "when", "where", "count"];
        let label = self.expect_name("the label of a step, as in `A: WHAT(…)`")?;
        self.expect_sign(":")?;
        let negated = self.take_word("not") || self.take_sign("!");
        let mut step = EventStep {
            label,
            negated,
            what: None,
            when: None,
            condition: None,
            count: None,
        };
        let mut seen = [false; CLAUSES.len()];
        let mut below = 0;
        while let Some(word) = self.bare(0) {
            let start = self.span();
            let clause = CLAUSES.iter().position(|clause| word.eq_ignore_ascii_case(clause));
            let meant = || did_you_mean(word, CLAUSES).and_then(|meant| CLAUSES.iter().position(|clause| *clause == meant));
            let Some(at) = clause.or_else(meant) else { break };
            if clause.is_none() || std::mem::replace(&mut seen[at], true) {
                let meant = clause.is_none().then(|| CLAUSES[at].to_uppercase());
                let message = if clause.is_none() {
                    format!("found `{word}`")
                } else {
                    format!("a second `{}` in one step", word.to_uppercase())
                };
                let _: Parsed<()> = self.fail(Diagnostic::error("bad-clause", start, message).suggesting(meant));
            }
            self.advance();
            let open = self.span();
            self.expect_sign("(")?;
            let plain_in = std::mem::replace(&mut self.plain_in, false);
            self.height = 0;
            if at == 0 && self.is_sign(")") {
                step.what = None;
            } else if at == 1 {
                step.when = Some(self.when()?);
            } else {
                let expr = Some(self.condition());
                match at {
                    0 => step.what = expr,
                    2 => step.condition = expr,
                    _ => step.count = expr,
                }
            }
            self.plain_in = plain_in;
            below = below.max(self.height);
            self.expect_close(open, ")", "")?;
        }
        if !seen.contains(&true) {
            return self.unexpected("`WHAT(…)`");
        }
        self.height = below;
        Ok(step)
    }
}

fn and(left: Expr, right: Expr) -> Node {
    Node::Binary {
        operator: Binary::And,
        left: Box::new(left),
        right: Box::new(right),
    }
}

/// The first name of an expression that nothing in it binds, in the order of the text.
pub(crate) fn first_name(expr: &Expr) -> Option<&str> {
    first_free(expr, &mut Vec::new())
}

/// As `first_name`, where `bound` is not free.
fn first_free<'e>(expr: &'e Expr, bound: &mut Vec<&'e str>) -> Option<&'e str> {
    let within = |bound: &mut Vec<&'e str>, names: &mut dyn Iterator<Item = &'e str>, expr: &'e Expr| {
        let before = bound.len();
        bound.extend(names);
        let found = first_free(expr, bound);
        bound.truncate(before);
        found
    };
    match &expr.node {
        Node::Name(name) => (!bound.contains(&name.as_str())).then_some(name),
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Decimal(_) | Node::Text(_) | Node::Parameter(_) | Node::Climb(_) | Node::Moment(_) => None,
        Node::Array(items) | Node::Call { arguments: items, .. } => items.iter().find_map(|item| first_free(item, bound)),
        Node::Object(entries) => entries.iter().find_map(|(_, value)| first_free(value, bound)),
        Node::Field { of, .. } | Node::Not(of) | Node::Negate(of) => first_free(of, bound),
        Node::Filter { of, condition } => first_free(of, bound).or_else(|| first_free(condition, bound)),
        Node::Method { of, arguments, .. } => first_free(of, bound).or_else(|| arguments.iter().find_map(|argument| first_free(argument, bound))),
        Node::Lambda { parameters, body } => within(bound, &mut parameters.iter().map(String::as_str), body),
        Node::Binary { left, right, .. } => first_free(left, bound).or_else(|| first_free(right, bound)),
        Node::Let { name, value, body } => first_free(value, bound).or_else(|| within(bound, &mut std::iter::once(name.as_str()), body)),
        Node::Occurs { subject, when } => first_free(subject, bound).or_else(|| when.parts().find_map(|part| first_free(part, bound))),
        Node::Chain { events, timestamp, .. } => first_free(events, bound).or_else(|| first_free(timestamp, bound)),
        Node::Quantifier { bindings, condition, .. } => first_of_bindings(None, bindings, condition.as_deref(), bound),
        Node::Select { item, bindings, condition } => first_of_bindings(item.as_deref(), bindings, condition.as_deref(), bound),
        Node::Aggregate { item, bindings, condition, .. } => first_of_bindings(Some(item), bindings, condition.as_deref(), bound),
    }
}

fn first_of_bindings<'e>(item: Option<&'e Expr>, bindings: &'e [Binding], condition: Option<&'e Expr>, bound: &mut Vec<&'e str>) -> Option<&'e str> {
    let before = bound.len();
    let mut found = None;
    for binding in bindings {
        found = found.or_else(|| first_free(&binding.source, bound));
        bound.extend(binding.variable.as_deref());
    }
    let found = item
        .and_then(|item| first_free(item, bound))
        .or(found)
        .or_else(|| condition.and_then(|condition| first_free(condition, bound)));
    bound.truncate(before);
    found
}
