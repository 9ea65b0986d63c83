//! Syntax tree to canonical text: one way to write every rule, with no parentheses but the
//! necessary ones.
//!
//! Keywords in small letters, clauses of a chain in capitals; `in` and `like` between their
//! operands, every other method after a dot. A rule that does not fit a line is broken before `and`
//! and `or` and between the items of brackets. Every tree from the parser or the JSON form can be
//! written, and parses to the same tree again; names that could be taken for keywords are written
//! between backquotes.

mod layout;

use std::fmt::Write;

use crate::ast::{Binary, Binding, EventStep, Expr, Node, Span, When};
use crate::lexer;
use crate::operands;
use crate::parser::forms::first_name;
use crate::parser::{Level, binds, is_normal_call};
use crate::words::{self, aggregate_word, comparison_text, direction_word, moment_text, operator_text, quantifier_word, unit_word};
use layout::{Layout, text};

/// The canonical text of a rule, in lines of about 100 columns, without a line end at its end.
///
/// `parse` gives the same tree again for every tree that came from `parse` or from the JSON form.
/// For trees built by hand that have no text (infinite numbers, empty names, more levels than the
/// parser allows) it gives something readable.
#[must_use]
pub fn format(expr: &Expr) -> String {
    layout_of(expr, Outer::BRACKETED).print()
}

/// As `format`, for the rule in `text`, with its comments.
///
/// Comments before, after and between the conditions that `and` or `or` joins at the top keep their
/// places, those after a condition on its line.
///
/// # Errors
/// The place of a comment inside a condition: its place is unclear once the condition is laid out
/// again.
pub fn format_with_comments(expr: &Expr, text: &str) -> Result<String, Span> {
    let comments = lexer::comments(text);
    if comments.is_empty() {
        return Ok(format(expr));
    }
    let (word, operands, inner) = match operands::of(expr) {
        Some((operator, operands)) => (operator_text(operator), operands, if operator == Binary::Or { Level::And } else { Level::Not }),
        None => ("", vec![expr], Level::Or),
    };
    let within = |comment: &&Span| {
        operands
            .iter()
            .any(|operand| operand.span.start < comment.start && comment.end < operand.span.end)
    };
    if let Some(comment) = comments.iter().find(within) {
        return Err(*comment);
    }
    let mut out = String::new();
    let mut comments = comments.into_iter().peekable();
    let last = operands.len() - 1;
    for (at, operand) in operands.iter().enumerate() {
        while let Some(comment) = comments.next_if(|comment| comment.end <= operand.span.start) {
            write_comment(&mut out, text, comment);
        }
        if at > 0 {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            out.push_str(word);
            out.push(' ');
        }
        let outer = if at == last {
            Outer::BRACKETED.end(inner)
        } else {
            Outer::BRACKETED.inner(inner)
        };
        out.push_str(&layout_of(operand, outer).print());
    }
    comments.for_each(|comment| write_comment(&mut out, text, comment));
    out.truncate(out.trim_end().len());
    Ok(out)
}

/// A comment on a line of its own, or at the end of the line on which it was written; ends in a
/// line end.
fn write_comment(out: &mut String, text: &str, comment: Span) {
    let (start, end) = (comment.start as usize, comment.end as usize);
    let line = text[..start].rfind('\n').map_or(0, |at| at + 1);
    if !out.is_empty() && !out.ends_with('\n') {
        out.push(if text[line..start].trim().is_empty() { '\n' } else { ' ' });
    }
    out.push_str(text[start..end].trim_end());
    out.push('\n');
}

/// The surroundings of an expression, as far as they decide about parentheses.
#[derive(Clone, Copy)]
struct Outer {
    /// Operators that bind less tightly need parentheses.
    level: Level,
    /// Nothing follows before the end or a closing bracket, so a form that reaches as far as it can
    /// needs no parentheses.
    last: bool,
    /// In the value of a `let`, where a bare `in` ends the value.
    plain_in: bool,
    /// In the item of a comprehension, where an aggregate's word would take the `over` for its own.
    item: bool,
}

impl Outer {
    /// Between brackets of its own, or alone.
    const BRACKETED: Outer = Outer {
        level: Level::Or,
        last: true,
        plain_in: false,
        item: false,
    };

    /// An operand that something follows.
    fn inner(self, level: Level) -> Outer {
        Outer { level, last: false, ..self }
    }

    /// An operand with which the whole ends.
    fn end(self, level: Level) -> Outer {
        Outer { level, ..self }
    }
}

fn layout_of(expr: &Expr, outer: Outer) -> Layout {
    let level = level_of(expr);
    let bracketed = level < outer.level
        || (reaches(expr) && !outer.last)
        || (outer.plain_in && matches!(expr.node, Node::Binary { operator: Binary::In, .. }))
        || (outer.item && matches!(&expr.node, Node::Call { function, .. } if words::aggregate(function).is_some()));
    if bracketed {
        let inner = bare(expr, level, Outer::BRACKETED);
        return Layout::Group(vec![text("("), Layout::Indent(vec![Layout::Break, inner]), Layout::Break, text(")")]);
    }
    bare(expr, level, outer)
}

/// How tightly the expression's own operator binds.
#[expect(clippy::wildcard_enum_match_arm, reason = "a form without an operator of its own binds as a name does")]
fn level_of(expr: &Expr) -> Level {
    match &expr.node {
        Node::Binary { operator, .. } => binds(*operator),
        Node::Occurs { .. } => Level::Comparison,
        Node::Method { name, arguments, .. } if name == "like" && arguments.len() == 1 => Level::Comparison,
        Node::Not(_) => Level::Not,
        Node::Negate(_) => Level::Sign,
        Node::Int(number) if *number < 0 => Level::Sign,
        Node::Decimal(number) if number.is_sign_negative() => Level::Sign,
        _ => Level::Postfix,
    }
}

/// So that it is read again as a decimal and not as an integer.
fn decimal_text(number: &millrace_model::Decimal) -> String {
    if number.scale() == 0 { format!("{number}.0") } else { number.to_string() }
}

/// Whether the form absorbs the operators that follow it.
fn reaches(expr: &Expr) -> bool {
    matches!(
        expr.node,
        Node::Quantifier { .. } | Node::Select { .. } | Node::Aggregate { .. } | Node::Let { .. } | Node::Lambda { .. }
    )
}

/// The expression without parentheses around it.
fn bare(expr: &Expr, level: Level, outer: Outer) -> Layout {
    match &expr.node {
        Node::Null => text("null"),
        Node::Bool(value) => text(if *value { "true" } else { "false" }),
        Node::Int(number) => text(number.to_string()),
        Node::Decimal(number) => text(decimal_text(number)),
        Node::Text(value) => text(quoted(value, '"')),
        Node::Name(name) => text(bare_name(name)),
        Node::Parameter(position) => text(format!("${position}")),
        Node::Climb(levels) => text("^".repeat(*levels as usize)),
        Node::Moment(moment) => text(moment_text(*moment)),
        Node::Array(items) => listed("[", items.iter().map(|item| layout_of(item, Outer::BRACKETED)), "]"),
        Node::Object(entries) => {
            let entry = |(key, value): &(String, Expr)| concat([text(quoted(key, '"') + ": "), layout_of(value, Outer::BRACKETED)]);
            listed("{", entries.iter().map(entry), "}")
        }
        Node::Field { of, name } => concat([layout_of(of, outer.inner(Level::Postfix)), text("."), text(member_name(name))]),
        Node::Filter { of, condition } => {
            let condition = Layout::Group(vec![Layout::Indent(vec![Layout::Break, layout_of(condition, Outer::BRACKETED)]), Layout::Break]);
            concat([layout_of(of, outer.inner(Level::Postfix)), text("["), condition, text("]")])
        }
        Node::Method { of, name, arguments } => method(of, name, arguments, outer),
        Node::Call { function, arguments } => {
            let name = if lexer::is_word(function) && is_normal_call(function, arguments.len()) {
                function.clone()
            } else {
                quoted(function, '`')
            };
            called(name, arguments)
        }
        Node::Lambda { parameters, body } => {
            let parameters = parameters.iter().map(|name| bare_name(name)).collect::<Vec<_>>().join(", ");
            concat([text(format!("({parameters}) => ")), layout_of(body, outer.end(Level::Or))])
        }
        Node::Not(inner) => concat([text("not "), layout_of(inner, outer.end(Level::Comparison))]),
        // A sign before a number belongs to the number.
        Node::Negate(inner) if is_unsigned(&inner.node) => concat([text("-("), layout_of(inner, Outer::BRACKETED), text(")")]),
        Node::Negate(inner) => concat([text("-"), layout_of(inner, outer.end(Level::Sign))]),
        Node::Binary { operator, left, right } => binary(expr, (*operator, left, right), level, outer),
        Node::Quantifier {
            quantifier,
            bindings,
            condition,
        } => ranging(vec![text(quantifier_word(*quantifier)), text(" ")], bindings, condition.as_deref(), outer),
        Node::Aggregate {
            aggregate,
            item,
            bindings,
            condition,
        } => {
            let item = layout_of(
                item,
                Outer {
                    item: true,
                    ..outer.inner(Level::Or)
                },
            );
            ranging(
                vec![text(aggregate_word(*aggregate)), text(" "), item, text(" over ")],
                bindings,
                condition.as_deref(),
                outer,
            )
        }
        Node::Select { item, bindings, condition } => select(item.as_deref(), bindings, condition.as_deref(), outer),
        Node::Let { name, value, body } => Layout::Group(vec![
            text(format!("let {} = ", bare_name(name))),
            layout_of(
                value,
                Outer {
                    plain_in: true,
                    ..outer.inner(Level::Or)
                },
            ),
            text(" in"),
            Layout::Indent(vec![Layout::Line, layout_of(body, outer.end(Level::Or))]),
        ]),
        Node::Occurs { subject, when } => {
            let subject = layout_of(subject, outer.inner(Level::Sum));
            concat([subject, text(" occurs "), window(when, outer)])
        }
        Node::Chain { events, timestamp, steps } => {
            let mut parts = vec![
                text("chain("),
                layout_of(events, Outer::BRACKETED),
                text(", "),
                layout_of(timestamp, Outer::BRACKETED),
                text(", "),
            ];
            parts.push(listed("[", steps.iter().map(step), "]"));
            parts.push(text(")"));
            Layout::Concat(parts)
        }
    }
}

fn method(of: &Expr, name: &str, arguments: &[Expr], outer: Outer) -> Layout {
    match arguments {
        [pattern] if name == "like" => concat([
            layout_of(of, outer.inner(Level::Sum)),
            text(" like "),
            layout_of(pattern, outer.end(Level::Sum)),
        ]),
        _ => concat([layout_of(of, outer.inner(Level::Postfix)), text("."), called(member_name(name), arguments)]),
    }
}

/// Whether a sign before the expression would become part of its number.
fn is_unsigned(node: &Node) -> bool {
    matches!(node, Node::Int(0..)) || matches!(node, Node::Decimal(number) if number.is_sign_positive())
}

fn binary(expr: &Expr, (operator, left, right): (Binary, &Expr, &Expr), level: Level, outer: Outer) -> Layout {
    let word = operator_text(operator);
    if let Some((_, operands)) = operands::of(expr) {
        let inner = if operator == Binary::Or { Level::And } else { Level::Not };
        let last = operands.len() - 1;
        let mut parts = Vec::with_capacity(operands.len());
        for (at, operand) in operands.into_iter().enumerate() {
            let layout = layout_of(operand, if at == last { outer.end(inner) } else { outer.inner(inner) });
            parts.push(if at == 0 {
                layout
            } else {
                concat([Layout::Line, text(word), text(" "), layout])
            });
        }
        if operator == Binary::And && outer.level == Level::And {
            // An `and` within an `or` is set off where it needs lines of its own.
            let rest = parts.split_off(1);
            parts.push(Layout::Indent(rest));
        }
        return Layout::Group(parts);
    }
    let (before, after) = match level {
        Level::Comparison => (Level::Sum, Level::Sum),
        Level::Sum => (Level::Sum, Level::Product),
        Level::Or | Level::And | Level::Not | Level::Product | Level::Sign | Level::Postfix => (Level::Product, Level::Sign),
    };
    concat([
        layout_of(left, outer.inner(before)),
        text(" "),
        text(word),
        text(" "),
        layout_of(right, outer.end(after)),
    ])
}

/// `HEAD v from a, w from b where c`
fn ranging(mut parts: Vec<Layout>, bindings: &[Binding], condition: Option<&Expr>, outer: Outer) -> Layout {
    for (at, binding) in bindings.iter().enumerate() {
        if at > 0 {
            parts.push(text(", "));
        }
        if let Some(variable) = &binding.variable {
            parts.push(text(bare_name(variable) + " from "));
        }
        parts.push(layout_of(&binding.source, outer.inner(Level::Postfix)));
    }
    parts.push(filtered(condition, outer));
    Layout::Concat(parts)
}

fn filtered(condition: Option<&Expr>, outer: Outer) -> Layout {
    match condition {
        Some(condition) => Layout::Indent(vec![text(" where "), layout_of(condition, outer.end(Level::Or))]),
        None => Layout::Concat(Vec::new()),
    }
}

fn select(item: Option<&Expr>, bindings: &[Binding], condition: Option<&Expr>, outer: Outer) -> Layout {
    let mut parts = vec![text("select ")];
    let Some(item) = item else {
        return ranging(parts, bindings, condition, outer);
    };
    if matches!(item.node, Node::Moment(_)) {
        // Without parentheses, `select now from a` selects items of that name.
        parts.extend([text("("), layout_of(item, Outer::BRACKETED), text(")")]);
    } else {
        parts.push(layout_of(item, outer.inner(Level::Or)));
    }
    parts.push(text(" from "));
    let understood = if matches!(item.node, Node::Name(_)) { None } else { first_name(item) };
    for (at, binding) in bindings.iter().enumerate() {
        let source = layout_of(&binding.source, outer.inner(Level::Postfix));
        match &binding.variable {
            Some(variable) if at > 0 => parts.extend([text(", "), text(bare_name(variable) + " from "), source]),
            Some(variable) if understood != Some(variable) => parts.extend([source, text(" "), text(bare_name(variable))]),
            _ => parts.push(source),
        }
    }
    parts.push(filtered(condition, outer));
    Layout::Concat(parts)
}

fn window(when: &When, outer: Outer) -> Layout {
    match when {
        When::Offset {
            comparison,
            amount,
            unit,
            direction,
            anchor,
        } => {
            let plural = !matches!(amount.node, Node::Int(1));
            let words = format!(" {} {} ", unit_word(*unit, plural), direction_word(*direction));
            let comparison = text(format!("{} ", comparison_text(*comparison)));
            concat([
                comparison,
                layout_of(amount, outer.inner(Level::Sum)),
                text(words),
                layout_of(anchor, outer.end(Level::Sum)),
            ])
        }
        When::Relative { direction, anchor } => concat([text(direction_word(*direction)), text(" "), layout_of(anchor, outer.end(Level::Sum))]),
        When::On(anchor) if matches!(anchor.node, Node::Moment(_)) => layout_of(anchor, outer.end(Level::Sum)),
        When::On(anchor) => concat([text("on "), layout_of(anchor, outer.end(Level::Sum))]),
        When::Between { from, to } => {
            let from = layout_of(from, outer.inner(Level::Sum));
            concat([text("between "), from, text(" and "), layout_of(to, outer.end(Level::Sum))])
        }
    }
}

fn step(step: &EventStep) -> Layout {
    let mut clauses = Vec::new();
    let mut clause = |name: &'static str, inner: Layout| {
        if !clauses.is_empty() {
            clauses.push(Layout::Line);
        }
        clauses.push(Layout::Group(vec![
            text(name),
            text("("),
            Layout::Indent(vec![Layout::Break, inner]),
            Layout::Break,
            text(")"),
        ]));
    };
    if let Some(what) = &step.what {
        clause("WHAT", layout_of(what, Outer::BRACKETED));
    }
    if let Some(when) = &step.when {
        clause("WHEN", window(when, Outer::BRACKETED));
    }
    if let Some(condition) = &step.condition {
        clause("WHERE", layout_of(condition, Outer::BRACKETED));
    }
    if let Some(count) = &step.count {
        clause("COUNT", layout_of(count, Outer::BRACKETED));
    }
    if clauses.is_empty() {
        clauses.push(text("WHAT()"));
    }
    let label = format!("{}: {}", bare_name(&step.label), if step.negated { "not " } else { "" });
    Layout::Group(vec![text(label), Layout::Indent(clauses)])
}

fn called(name: String, arguments: &[Expr]) -> Layout {
    let arguments = arguments.iter().map(|argument| layout_of(argument, Outer::BRACKETED));
    concat([text(name), listed("(", arguments, ")")])
}

/// Items between brackets, on one line or on one each.
fn listed(open: &'static str, items: impl Iterator<Item = Layout>, close: &'static str) -> Layout {
    let mut inner = Vec::new();
    for item in items {
        if !inner.is_empty() {
            inner.extend([text(","), Layout::Line]);
        }
        inner.push(item);
    }
    if inner.is_empty() {
        return concat([text(open), text(close)]);
    }
    inner.insert(0, Layout::Break);
    Layout::Group(vec![text(open), Layout::Indent(inner), Layout::Break, text(close)])
}

fn concat<const N: usize>(parts: [Layout; N]) -> Layout {
    Layout::Concat(parts.into())
}

/// A name where a keyword could stand as well.
fn bare_name(name: &str) -> String {
    if lexer::is_word(name) && !words::is_taken(name) {
        name.to_owned()
    } else {
        quoted(name, '`')
    }
}

/// A name after a dot, where no keyword stands.
fn member_name(name: &str) -> String {
    if lexer::is_word(name) { name.to_owned() } else { quoted(name, '`') }
}

fn quoted(value: &str, quote: char) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push(quote);
    for letter in value.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => {
                // Control characters are below 0x100. Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
