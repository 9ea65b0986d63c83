//! Syntax tree to JSON.

use serde_json::{Value, json};

use super::{Form, form};
use crate::ast::{Binding, Expr, Node, Step, When};
use crate::chain;
use crate::parser::is_normal_call;
use crate::parser::words::{aggregate_word, comparison_text, direction_word, moment_text, operator_text, quantifier_word, unit_word};

/// Names bound around the node, outermost first.
type Scope<'e> = Vec<&'e str>;

pub(super) fn node<'e>(expr: &'e Expr, scope: &mut Scope<'e>) -> Value {
    match &expr.node {
        Node::Null => literal("Null", Value::Null),
        Node::Bool(value) => literal("Boolean", json!(value)),
        Node::Int(value) => literal("Integer", json!(value)),
        Node::Float(value) => literal("Double", json!(value)),
        Node::Text(value) => literal("String", json!(value)),
        Node::Moment(moment) => literal("RelativeTime", json!(moment_text(*moment))),
        Node::Array(items) => literal("List", items.iter().map(|item| plain(item).unwrap_or_else(|| node(item, scope))).collect()),
        Node::Object(entries) => literal("Object", entries.iter().map(|(key, value)| json!({ "key": key, "value": node(value, scope) })).collect()),
        Node::Name(name) if scope.contains(&name.as_str()) => json!({ "nodeType": "varRef", "varName": name }),
        Node::Name(name) => lookup(name, json!({ "nodeType": "parameterReference", "position": 1 })),
        Node::Parameter(1) => json!({ "nodeType": "parameterReference", "position": 1, "explicit": true }),
        Node::Parameter(position) => json!({ "nodeType": "parameterReference", "position": position }),
        Node::Climb(levels) => apply("^", vec![literal("Integer", json!(levels))]),
        Node::Field { of, name } => lookup(name, node(of, scope)),
        Node::Filter { of, condition } => apply("[]", vec![node(of, scope), node(condition, scope)]),
        Node::Lambda { parameters, body } => {
            let declared: Value = parameters.iter().map(|name| json!({ "nodeType": "varDecl", "varName": name })).collect();
            let body = within(scope, parameters.iter().map(String::as_str), |scope| node(body, scope));
            json!({ "nodeType": "fnCreate", "params": declared, "body": body })
        }
        Node::Call { function, arguments } => named(function, Form::Function, arguments.iter().map(|argument| node(argument, scope)).collect()),
        Node::Method { of, name, arguments } => {
            named(name, Form::Method, std::iter::once(&**of).chain(arguments).map(|argument| node(argument, scope)).collect())
        }
        Node::Not(inner) => apply("not", vec![node(inner, scope)]),
        Node::Negate(inner) => apply("-", vec![node(inner, scope)]),
        Node::Binary { operator, left, right } => {
            let operands = chain::operands(expr).map_or_else(|| vec![&**left, &**right], |(_, operands)| operands);
            apply(operator_text(*operator), operands.into_iter().map(|operand| node(operand, scope)).collect())
        }
        Node::Quantifier { quantifier, bindings, condition } => {
            let (variables, _) = ranging(None, bindings, condition.as_deref(), scope);
            json!({ "nodeType": "quantification", "quantifier": quantifier_word(*quantifier), "variables": variables })
        }
        Node::Select { item, bindings, condition } => {
            let (variables, item) = ranging(item.as_deref(), bindings, condition.as_deref(), scope);
            let mut node = json!({ "nodeType": "select", "variables": variables });
            if let Some(item) = item {
                node["expression"] = item;
            }
            node
        }
        Node::Aggregate { aggregate, item, bindings, condition } => {
            let (variables, item) = ranging(Some(item), bindings, condition.as_deref(), scope);
            json!({ "nodeType": "aggregation", "fnName": aggregate_word(*aggregate), "expression": item, "variables": variables })
        }
        Node::Let { name, value, body } => {
            let value = node(value, scope);
            let body = within(scope, std::iter::once(name.as_str()), |scope| node(body, scope));
            json!({ "nodeType": "let", "varName": name, "value": value, "body": body })
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

fn literal(kind: &str, value: Value) -> Value {
    json!({ "nodeType": "literal", "literalType": kind, "value": value })
}

/// The item of a list as a plain value; `None` where it needs a node.
fn plain(expr: &Expr) -> Option<Value> {
    match &expr.node {
        Node::Null => Some(Value::Null),
        Node::Bool(value) => Some(json!(value)),
        Node::Int(value) => Some(json!(value)),
        Node::Float(value) => Some(json!(value)),
        Node::Text(value) => Some(json!(value)),
        _ => None,
    }
}

fn lookup(name: &str, object: Value) -> Value {
    json!({ "nodeType": "fieldLookup", "fieldName": name, "object": object })
}

fn apply(name: &str, params: Vec<Value>) -> Value {
    json!({ "nodeType": "fnApply", "fnName": name, "params": params })
}

/// A method or function; says which it is where the name alone would be read as another.
fn named(name: &str, wanted: Form, params: Vec<Value>) -> Value {
    let understood = form(name, params.len()) == wanted && (wanted == Form::Method || is_normal_call(name, params.len()));
    let mut node = apply(name, params);
    if !understood {
        node["form"] = json!(if wanted == Form::Method { "method" } else { "function" });
    }
    node
}

/// The declarations, the condition with the last of them, and what is computed of the items.
fn ranging<'e>(item: Option<&'e Expr>, bindings: &'e [Binding], condition: Option<&'e Expr>, scope: &mut Scope<'e>) -> (Value, Option<Value>) {
    let before = scope.len();
    let mut variables = Vec::with_capacity(bindings.len());
    for binding in bindings {
        let mut variable = json!({ "nodeType": "varDecl", "from": node(&binding.source, scope) });
        if let Some(name) = &binding.variable {
            variable["varName"] = json!(name);
            scope.push(name);
        }
        variables.push(variable);
    }
    if let (Some(condition), Some(last)) = (condition, variables.last_mut()) {
        last["where"] = node(condition, scope);
    }
    let item = item.map(|item| node(item, scope));
    scope.truncate(before);
    (Value::Array(variables), item)
}

fn window<'e>(when: &'e When, scope: &mut Scope<'e>) -> Value {
    match when {
        When::Offset { comparison, amount, unit, direction, anchor } => {
            let unit = literal("String", json!(unit_word(*unit, false)));
            let direction = literal("String", json!(direction_word(*direction)));
            apply(comparison_text(*comparison), vec![node(amount, scope), unit, direction, node(anchor, scope)])
        }
        When::Relative { direction, anchor } => apply(direction_word(*direction), vec![node(anchor, scope)]),
        When::On(anchor) => apply("on", vec![node(anchor, scope)]),
        When::Between { from, to } => apply("between", vec![node(from, scope), node(to, scope)]),
    }
}

fn step<'e>(step: &'e Step, scope: &mut Scope<'e>) -> Value {
    let mut out = json!({ "nodeType": "chainStep", "label": step.label, "negated": step.negated });
    for (member, part) in [("what", &step.what), ("where", &step.condition), ("count", &step.count)] {
        if let Some(part) = part {
            out[member] = node(part, scope);
        }
    }
    if let Some(when) = &step.when {
        out["when"] = window(when, scope);
    }
    out
}
