//! Syntax tree to JSON.

use serde_json::Value;

use super::{Form, form};
use crate::ast::{Binding, EventStep, Expr, Node, When};
use crate::operands;
use crate::parser::is_normal_call;
use crate::words::{aggregate_word, comparison_text, direction_word, moment_text, operator_text, quantifier_word, unit_word};

/// Names bound around the node, outermost first.
type Scope<'e> = Vec<&'e str>;

pub(super) fn node<'e>(expr: &'e Expr, scope: &mut Scope<'e>) -> Value {
    match &expr.node {
        Node::Null => literal("Null", Value::Null),
        Node::Bool(value) => literal("Boolean", Value::Bool(*value)),
        Node::Int(value) => literal("Integer", Value::from(*value)),
        Node::Decimal(value) => literal("Double", decimal(value)),
        Node::Text(value) => literal("String", text(value)),
        Node::Moment(moment) => literal("RelativeTime", Value::String(moment_text(*moment))),
        Node::Array(items) => literal("List", items.iter().map(|item| plain(item).unwrap_or_else(|| node(item, scope))).collect()),
        Node::Object(entries) => literal(
            "Object",
            entries
                .iter()
                .map(|(key, value)| object([("key", text(key)), ("value", node(value, scope))]))
                .collect(),
        ),
        Node::Name(name) if scope.contains(&name.as_str()) => tagged("varRef", [("varName", text(name))]),
        Node::Name(name) => lookup(name, parameter(1)),
        Node::Parameter(1) => with(parameter(1), "explicit", Value::Bool(true)),
        Node::Parameter(position) => parameter(*position),
        Node::Climb(levels) => apply("^", vec![literal("Integer", Value::from(*levels))]),
        Node::Field { of, name } => lookup(name, node(of, scope)),
        Node::Filter { of, condition } => apply("[]", vec![node(of, scope), node(condition, scope)]),
        Node::Lambda { parameters, body } => {
            let declared: Value = parameters.iter().map(|name| tagged("varDecl", [("varName", text(name))])).collect();
            let body = within(scope, parameters.iter().map(String::as_str), |scope| node(body, scope));
            tagged("fnCreate", [("params", declared), ("body", body)])
        }
        Node::Call { function, arguments } => named(function, Form::Function, arguments.iter().map(|argument| node(argument, scope)).collect()),
        Node::Method { of, name, arguments } => named(
            name,
            Form::Method,
            std::iter::once(&**of).chain(arguments).map(|argument| node(argument, scope)).collect(),
        ),
        Node::Not(inner) => apply("not", vec![node(inner, scope)]),
        Node::Negate(inner) => apply("-", vec![node(inner, scope)]),
        Node::Binary { operator, left, right } => {
            let operands = operands::of(expr).map_or_else(|| vec![&**left, &**right], |(_, operands)| operands);
            apply(operator_text(*operator), operands.into_iter().map(|operand| node(operand, scope)).collect())
        }
        Node::Quantifier {
            quantifier,
            bindings,
            condition,
        } => {
            let (variables, _) = ranging(None, bindings, condition.as_deref(), scope);
            tagged("quantification", [("quantifier", text(quantifier_word(*quantifier))), ("variables", variables)])
        }
        Node::Select { item, bindings, condition } => {
            let (variables, item) = ranging(item.as_deref(), bindings, condition.as_deref(), scope);
            let node = tagged("select", [("variables", variables)]);
            match item {
                Some(item) => with(node, "expression", item),
                None => node,
            }
        }
        Node::Aggregate {
            aggregate,
            item,
            bindings,
            condition,
        } => {
            let (variables, item) = ranging(Some(item), bindings, condition.as_deref(), scope);
            let name = text(aggregate_word(*aggregate));
            tagged(
                "aggregation",
                [("fnName", name), ("expression", item.unwrap_or_default()), ("variables", variables)],
            )
        }
        Node::Let { name, value, body } => {
            let value = node(value, scope);
            let body = within(scope, std::iter::once(name.as_str()), |scope| node(body, scope));
            tagged("let", [("varName", text(name)), ("value", value), ("body", body)])
        }
        Node::Occurs { subject, when } => apply("occurs", vec![node(subject, scope), window(when, scope)]),
        Node::Chain { events, timestamp, steps } => {
            let (events, timestamp) = (node(events, scope), node(timestamp, scope));
            let labels = steps.iter().map(|step| step.label.as_str());
            let steps = within(scope, labels, |scope| steps.iter().map(|each| step(each, scope)).collect());
            apply("chain", vec![events, timestamp, literal("List", steps)])
        }
    }
}

fn within<'e, T>(scope: &mut Scope<'e>, names: impl Iterator<Item = &'e str>, inner: impl FnOnce(&mut Scope<'e>) -> T) -> T {
    let before = scope.len();
    scope.extend(names);
    let result = inner(scope);
    scope.truncate(before);
    result
}

// `serde_json`'s macro copies its arguments, level by level; these move.

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn tagged<const N: usize>(kind: &str, members: [(&str, Value); N]) -> Value {
    with(object(members), "nodeType", text(kind))
}

fn with(mut node: Value, member: &str, value: Value) -> Value {
    if let Value::Object(members) = &mut node {
        members.insert(member.to_owned(), value);
    }
    node
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn parameter(position: u32) -> Value {
    tagged("parameterReference", [("position", Value::from(position))])
}

fn literal(kind: &str, value: Value) -> Value {
    tagged("literal", [("literalType", text(kind)), ("value", value)])
}

/// The item of a list as a plain value; `None` if it needs a node.
#[expect(clippy::wildcard_enum_match_arm, reason = "every form that is no literal needs a node")]
fn plain(expr: &Expr) -> Option<Value> {
    match &expr.node {
        Node::Null => Some(Value::Null),
        Node::Bool(value) => Some(Value::Bool(*value)),
        Node::Int(value) => Some(Value::from(*value)),
        Node::Decimal(value) => Some(decimal(value)),
        Node::Text(value) => Some(text(value)),
        _ => None,
    }
}

/// With a point, so that it reads as a decimal again.
fn decimal(number: &millrace_model::Decimal) -> Value {
    let point = if number.scale() == 0 { ".0" } else { "" };
    format!("{number}{point}").parse().map_or(Value::Null, Value::Number)
}

fn lookup(name: &str, of: Value) -> Value {
    tagged("fieldLookup", [("fieldName", text(name)), ("object", of)])
}

fn apply(name: &str, params: Vec<Value>) -> Value {
    tagged("fnApply", [("fnName", text(name)), ("params", Value::Array(params))])
}

/// A method or function; says which it is if the name alone would be read as the other.
fn named(name: &str, wanted: Form, params: Vec<Value>) -> Value {
    let understood = form(name, params.len()) == wanted && (wanted == Form::Method || is_normal_call(name, params.len()));
    let node = apply(name, params);
    if understood {
        node
    } else {
        with(node, "form", text(if wanted == Form::Method { "method" } else { "function" }))
    }
}

/// The declarations, the condition with the last of them, and the expression over the items.
fn ranging<'e>(item: Option<&'e Expr>, bindings: &'e [Binding], condition: Option<&'e Expr>, scope: &mut Scope<'e>) -> (Value, Option<Value>) {
    let before = scope.len();
    let mut variables = Vec::with_capacity(bindings.len());
    for binding in bindings {
        let mut variable = tagged("varDecl", [("from", node(&binding.source, scope))]);
        if let Some(name) = &binding.variable {
            variable = with(variable, "varName", text(name));
            scope.push(name);
        }
        variables.push(variable);
    }
    if let Some(condition) = condition
        && let Some(last) = variables.pop()
    {
        variables.push(with(last, "where", node(condition, scope)));
    }
    let item = item.map(|item| node(item, scope));
    scope.truncate(before);
    (Value::Array(variables), item)
}

fn window<'e>(when: &'e When, scope: &mut Scope<'e>) -> Value {
    match when {
        When::Offset {
            comparison,
            amount,
            unit,
            direction,
            anchor,
        } => {
            let unit = literal("String", text(unit_word(*unit, false)));
            let direction = literal("String", text(direction_word(*direction)));
            apply(comparison_text(*comparison), vec![node(amount, scope), unit, direction, node(anchor, scope)])
        }
        When::Relative { direction, anchor } => apply(direction_word(*direction), vec![node(anchor, scope)]),
        When::On(anchor) => apply("on", vec![node(anchor, scope)]),
        When::Between { from, to } => apply("between", vec![node(from, scope), node(to, scope)]),
    }
}

fn step<'e>(step: &'e EventStep, scope: &mut Scope<'e>) -> Value {
    let mut out = tagged("chainStep", [("label", text(&step.label)), ("negated", Value::Bool(step.negated))]);
    for (member, part) in [("what", &step.what), ("where", &step.condition), ("count", &step.count)] {
        if let Some(part) = part {
            out = with(out, member, node(part, scope));
        }
    }
    match &step.when {
        Some(when) => with(out, "when", window(when, scope)),
        None => out,
    }
}
