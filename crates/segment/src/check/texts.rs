//! Texts: plain tests, patterns and regular expressions.

use std::sync::Arc;

use millrace_model::Value;
use millrace_pql::Diagnostic;
use millrace_pql::ast::{Comparison, Expr, Node, Span};

use super::{Checker, Typed};
use crate::core::{Core, Op, Pattern, TextTest};
use crate::types::Ty;

/// Compiled size of a regular expression; a pattern a person writes needs a hundredth.
pub(crate) const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Regular expressions of one rule: together they take at most a hundred times that much memory.
pub(crate) const PATTERNS_MAX: usize = 100;
/// Characters of a `like` pattern, and of a regular expression: matching takes time in proportion
/// to the pattern and to the text.
pub(crate) const PATTERN_CHARS_MAX: usize = 1_000;
/// Groups of a regular expression that can be asked for.
pub(crate) const GROUP_MAX: i64 = 100;

impl Checker<'_> {
    /// `equals(a, b, …)`: any of them. A truth value after them says whether letter case counts.
    pub(super) fn equals_any(&mut self, of: Typed, arguments: &[Expr], span: Span) -> Typed {
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
            let of = Typed::new(of.core.clone().refresh(&mut self.fresh), of.ty.clone());
            let test = self.text_test_of(of, (TextTest::Equals, false), value, case, span);
            if test.ty == Ty::Broken {
                return test;
            }
            tests.push(test.core);
        }
        Typed::new(if tests.len() == 1 { tests.remove(0) } else { Core::apply(Op::Or, tests) }, Ty::Bool)
    }

    /// `test(against)`, or `test(against, case)`.
    pub(super) fn text_test(&mut self, of: Typed, test: (TextTest, bool), arguments: &[Expr], span: Span) -> Typed {
        self.text_test_of(of, test, &arguments[0], arguments.get(1), span)
    }

    fn text_test_of(&mut self, of: Typed, (test, negated): (TextTest, bool), against: &Expr, case: Option<&Expr>, span: Span) -> Typed {
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

    pub(super) fn matches(&mut self, of: Typed, regex: &Expr, span: Span) -> Typed {
        match self.pattern(of, regex, span) {
            Some((text, pattern)) => Typed::new(Core::apply(Op::Matches(pattern), vec![text]), Ty::Bool),
            None => Typed::broken(),
        }
    }

    pub(super) fn regex_group(&mut self, of: Typed, regex: &Expr, group: &Expr, span: Span) -> Typed {
        if let Core::Literal(Value::Int(number)) = self.expr(group).core
            && (0..=GROUP_MAX).contains(&number)
        {
            return match self.pattern(of, regex, span) {
                Some((text, pattern)) => Typed::new(Core::apply(Op::RegexGroup(pattern, number as u32), vec![text]), Ty::Text),
                None => Typed::broken(),
            };
        }
        let message = format!("the number of a group is needed here, 0 to {GROUP_MAX}, written out");
        self.refuse("arguments", group.span, message)
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
