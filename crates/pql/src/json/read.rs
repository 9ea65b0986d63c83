//! JSON to syntax tree.

mod forms;

use millrace_model::number;
use serde_json::{Map, Value};

use super::{Form, form, operator};
use crate::ast::{Binary, Expr, Node, Span};
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, did_you_mean};
use crate::operands;
use crate::parser::{CLIMB_MAX, DEPTH_MAX, NODES_MAX, call, method, nested_too_deep};
use crate::words;

const NODE_TYPES: [&str; 11] = [
    "literal",
    "parameterReference",
    "fieldLookup",
    "varRef",
    "varDecl",
    "fnApply",
    "fnCreate",
    "select",
    "quantification",
    "aggregation",
    "let",
];

pub(super) fn rule(value: &Value) -> Result<Expr, Vec<Diagnostic>> {
    let mut reader = Reader {
        path: Vec::new(),
        scope: Vec::new(),
        depth: 0,
        height: 0,
        nodes: 0,
        diagnostics: Vec::new(),
    };
    let expr = reader.node(value);
    if reader.diagnostics.is_empty() { Ok(expr) } else { Err(reader.diagnostics) }
}

/// One step of the path to a node.
enum At {
    Member(&'static str),
    Item(usize),
}

struct Reader {
    path: Vec<At>,
    /// Names declared around the node, outermost first.
    scope: Vec<String>,
    depth: usize,
    /// Height of the tree returned last.
    height: usize,
    nodes: usize,
    diagnostics: Vec<Diagnostic>,
}

/// A diagnostic has been reported.
struct Failed;

type Read<T> = Result<T, Failed>;

impl Reader {
    pub(super) fn fail<T>(&mut self, code: &'static str, message: &str, suggestion: Option<&str>) -> Read<T> {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            let mut place = String::from("$");
            for at in &self.path {
                match at {
                    At::Member(name) => place.extend([".", *name]),
                    At::Item(index) => place.push_str(&format!("[{index}]")),
                }
            }
            self.diagnostics
                .push(Diagnostic::error(code, Span::default(), format!("{place}: {message}")).suggesting(suggestion));
        }
        Err(Failed)
    }

    pub(super) fn at<T>(&mut self, at: At, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(at);
        let result = inner(self);
        self.path.pop();
        result
    }

    /// A node; null in place of one that cannot be read.
    pub(super) fn node(&mut self, value: &Value) -> Expr {
        if self.diagnostics.len() >= DIAGNOSTICS_MAX {
            return self.null();
        }
        if self.depth >= DEPTH_MAX {
            let _: Read<()> = self.fail("too-deep", &nested_too_deep(), None);
            return self.null();
        }
        self.depth += 1;
        let read = self.read(value);
        self.depth -= 1;
        read.unwrap_or_else(|Failed| self.null())
    }

    fn null(&mut self) -> Expr {
        self.height = 1;
        Expr {
            span: Span::default(),
            node: Node::Null,
        }
    }

    /// A node above children, the highest of which has height `below`.
    pub(super) fn grown(&mut self, node: Node, below: usize, nodes: usize) -> Read<Expr> {
        self.nodes += nodes;
        self.height = below + 1;
        if self.nodes > NODES_MAX {
            return self.fail("too-large", &format!("the rule has more than {NODES_MAX} parts"), None);
        }
        if self.height > DEPTH_MAX {
            return self.fail("too-deep", &nested_too_deep(), None);
        }
        Ok(Expr { span: Span::default(), node })
    }

    fn read(&mut self, value: &Value) -> Read<Expr> {
        let Some(object) = value.as_object() else {
            return self.fail("bad-node", "a node is an object", None);
        };
        let kind = self.text(object, "nodeType")?;
        match kind {
            "literal" => self.literal(object),
            "parameterReference" => {
                let position = object
                    .get("position")
                    .and_then(Value::as_u64)
                    .and_then(|position| u32::try_from(position).ok())
                    .filter(|position| *position > 0);
                let Some(position) = position else {
                    return self.fail("bad-member", "`position` is a number from one", None);
                };
                self.grown(Node::Parameter(position), 0, 1)
            }
            "varRef" => {
                let name = self.name(object, "varName")?;
                if !self.scope.contains(&name) {
                    let near = did_you_mean(&name, self.scope.iter().map(String::as_str)).map(str::to_owned);
                    return self.fail("undeclared-variable", &format!("no variable `{name}` is declared around this"), near.as_deref());
                }
                self.grown(Node::Name(name), 0, 1)
            }
            "fieldLookup" => {
                let name = self.name(object, "fieldName")?;
                let of = object.get("object");
                if of.is_none_or(is_implicit) && !self.scope.contains(&name) {
                    return self.grown(Node::Name(name), 0, 1);
                }
                let of = match of {
                    Some(of) => self.at(At::Member("object"), |reader| reader.node(of)),
                    None => self.grown(Node::Parameter(1), 0, 1)?,
                };
                self.grown(Node::Field { of: Box::new(of), name }, self.height, 1)
            }
            "fnApply" => self.application(object),
            "fnCreate" => self.lambda(object),
            "select" => self.select(object),
            "quantification" => self.quantification(object),
            "aggregation" => self.aggregation(object),
            "let" => {
                let name = self.name(object, "varName")?;
                let value = self.member(object, "value")?;
                let below = self.height;
                let body = self.within(vec![name.clone()], |reader| reader.member(object, "body"))?;
                let below = below.max(self.height);
                self.grown(
                    Node::Let {
                        name,
                        value: Box::new(value),
                        body: Box::new(body),
                    },
                    below,
                    1,
                )
            }
            "varDecl" | "chainStep" => self.fail("bad-node", &format!("a `{kind}` is no expression"), None),
            _ => self.fail("unknown-node", &format!("unknown nodeType `{kind}`"), did_you_mean(kind, NODE_TYPES)),
        }
    }

    // Members.

    pub(super) fn text<'v>(&mut self, object: &'v Map<String, Value>, member: &'static str) -> Read<&'v str> {
        match object.get(member).map(Value::as_str) {
            Some(Some(text)) => Ok(text),
            Some(None) => self.fail("bad-member", &format!("`{member}` is a text"), None),
            None => self.fail("missing-member", &format!("`{member}` is missing"), None),
        }
    }

    pub(super) fn name(&mut self, object: &Map<String, Value>, member: &'static str) -> Read<String> {
        match self.text(object, member)? {
            "" => self.fail("empty-name", &format!("`{member}` is empty"), None),
            name => Ok(name.to_owned()),
        }
    }

    pub(super) fn list<'v>(&mut self, object: &'v Map<String, Value>, member: &'static str) -> Read<&'v [Value]> {
        match object.get(member).map(Value::as_array) {
            Some(Some(list)) => Ok(list),
            Some(None) => self.fail("bad-member", &format!("`{member}` is a list"), None),
            None => self.fail("missing-member", &format!("`{member}` is missing"), None),
        }
    }

    pub(super) fn member(&mut self, object: &Map<String, Value>, member: &'static str) -> Read<Expr> {
        match object.get(member) {
            Some(value) => Ok(self.at(At::Member(member), |reader| reader.node(value))),
            None => self.fail("missing-member", &format!("`{member}` is missing"), None),
        }
    }

    pub(super) fn optional(&mut self, object: &Map<String, Value>, member: &'static str) -> Option<Expr> {
        self.height = 0;
        let value = object.get(member).filter(|value| !value.is_null())?;
        Some(self.at(At::Member(member), |reader| reader.node(value)))
    }

    /// The nodes of a list, and the height of the highest.
    pub(super) fn nodes(&mut self, values: &[Value], member: &'static str) -> (Vec<Expr>, usize) {
        let mut below = 0;
        let mut nodes = Vec::with_capacity(values.len());
        self.path.push(At::Member(member));
        for (index, value) in values.iter().enumerate() {
            nodes.push(self.at(At::Item(index), |reader| reader.node(value)));
            below = below.max(self.height);
        }
        self.path.pop();
        (nodes, below)
    }

    pub(super) fn within<T>(&mut self, names: Vec<String>, inner: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.scope.len();
        self.scope.extend(names);
        let result = inner(self);
        self.scope.truncate(before);
        result
    }

    // Literals.

    fn literal(&mut self, object: &Map<String, Value>) -> Read<Expr> {
        const TYPES: [&str; 9] = ["Null", "Boolean", "Integer", "Double", "String", "List", "Object", "RelativeTime", "XDMObject"];
        let value = object.get("value");
        if let Some(value) = value.filter(|value| !value.is_object() && !object.contains_key("literalType")) {
            return Ok(self.at(At::Member("value"), |reader| reader.item(value)));
        }
        let kind = self.text(object, "literalType")?;
        let value = value.unwrap_or(&Value::Null);
        let node = match kind {
            "Null" => Some(Node::Null),
            "Boolean" => value.as_bool().map(Node::Bool),
            "Integer" | "Long" => value.as_i64().map(Node::Int),
            "Double" | "Float" => value.as_number().and_then(|number| number::parse(number.as_str())).map(Node::Decimal),
            "String" => value.as_str().map(|text| Node::Text(text.to_owned())),
            "RelativeTime" => value.as_str().and_then(words::moment).map(Node::Moment),
            "XDMObject" => value.as_str().filter(|name| *name == "profile").map(|_| Node::Parameter(1)),
            "List" | "Array" | "Set" if value.is_array() => return self.at(At::Member("value"), |reader| reader.items(value)),
            "Object" if value.is_array() => return self.object(value),
            _ if TYPES.contains(&kind) => None,
            _ => return self.fail("unknown-literal", &format!("unknown literalType `{kind}`"), did_you_mean(kind, TYPES)),
        };
        match node {
            Some(node) => self.grown(node, 0, 1),
            None => self.fail("bad-literal", &format!("`value` is no {kind}"), None),
        }
    }

    /// A list of plain values, lists and nodes.
    fn items(&mut self, values: &Value) -> Read<Expr> {
        let mut below = 0;
        let mut items = Vec::new();
        for (index, value) in values.as_array().into_iter().flatten().enumerate() {
            items.push(self.at(At::Item(index), |reader| reader.item(value)));
            below = below.max(self.height);
        }
        self.grown(Node::Array(items), below, 1)
    }

    fn item(&mut self, value: &Value) -> Expr {
        let node = match value {
            Value::Object(_) => return self.node(value),
            Value::Array(_) => {
                self.depth += 1;
                let read = if self.depth > DEPTH_MAX {
                    self.fail("too-deep", &nested_too_deep(), None)
                } else {
                    self.items(value)
                };
                self.depth -= 1;
                return read.unwrap_or_else(|Failed| self.null());
            }
            Value::Null => Ok(Node::Null),
            Value::Bool(value) => Ok(Node::Bool(*value)),
            Value::String(value) => Ok(Node::Text(value.clone())),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Ok(Node::Int(whole)),
                None => number::read(number.as_str()).map(Node::Decimal),
            },
        };
        let read = match node {
            Ok(node) => self.grown(node, 0, 1),
            Err(misfit) => self.fail("bad-literal", &format!("the number {misfit}"), None),
        };
        read.unwrap_or_else(|Failed| self.null())
    }

    /// A list of entries.
    fn object(&mut self, values: &Value) -> Read<Expr> {
        let mut below = 0;
        let mut entries = Vec::new();
        self.path.push(At::Member("value"));
        for (index, value) in values.as_array().into_iter().flatten().enumerate() {
            let entry = self.at(At::Item(index), |reader| {
                let Some(entry) = value.as_object() else {
                    return reader.fail("bad-node", "an entry has `key` and `value`", None);
                };
                Ok((reader.text(entry, "key")?.to_owned(), reader.member(entry, "value")?))
            });
            below = below.max(self.height);
            entries.extend(entry.ok());
        }
        self.path.pop();
        self.grown(Node::Object(entries), below, 1)
    }

    // Applications.

    fn application(&mut self, object: &Map<String, Value>) -> Read<Expr> {
        let name = self.name(object, "fnName")?;
        let params: &[Value] = if object.contains_key("params") { self.list(object, "params")? } else { &[] };
        let wanted = match object.get("form").map(Value::as_str) {
            None => form(&name, params.len()),
            Some(Some("function")) => Form::Function,
            Some(Some("method")) if !params.is_empty() => Form::Method,
            Some(_) => return self.fail("bad-member", "`form` is `function`, or `method` with at least one parameter", None),
        };
        match (operator(&name).unwrap_or(&name), params) {
            _ if wanted != Form::Operator => {}
            ("occurs", [subject, when]) => return self.occurs(subject, when),
            ("chain", [events, timestamp, steps]) => return self.chain(events, timestamp, steps),
            ("^", [levels]) => {
                let levels = levels
                    .get("value")
                    .and_then(Value::as_u64)
                    .and_then(|levels| u32::try_from(levels).ok())
                    .filter(|levels| (1..=CLIMB_MAX).contains(levels));
                let Some(levels) = levels else {
                    return self.fail("bad-member", &format!("`^` takes the number of levels, from one to {CLIMB_MAX}"), None);
                };
                return self.grown(Node::Climb(levels), 0, 1);
            }
            _ => {}
        }
        let (mut nodes, below) = self.nodes(params, "params");
        let node = match wanted {
            Form::Function if object.contains_key("form") => Node::Call {
                function: name,
                arguments: nodes,
            },
            Form::Function => call(name, nodes),
            Form::Method => {
                let of = nodes.remove(0);
                method(of, name, nodes)
            }
            Form::Operator => return self.operation(operator(&name).unwrap_or(&name), nodes, below),
        };
        self.grown(node, below, 1)
    }

    fn operation(&mut self, name: &str, mut params: Vec<Expr>, below: usize) -> Read<Expr> {
        let count = params.len();
        let expected = match (name, words::operator(name)) {
            (_, Some(Binary::And | Binary::Or)) if count == 1 => {
                self.height = below;
                return Ok(params.remove(0));
            }
            (_, Some(operator @ (Binary::And | Binary::Or))) if count >= 2 => {
                let node = operands::build(operator, params).node;
                return self.grown(node, below + operands::height(count) - 1, count - 1);
            }
            (_, Some(Binary::And | Binary::Or)) => "one or more",
            ("-", _) if count == 1 => return self.grown(Node::Negate(Box::new(params.remove(0))), below, 1),
            ("not" | "!", _) if count == 1 => return self.grown(Node::Not(Box::new(params.remove(0))), below, 1),
            ("not" | "!" | "^", _) => "one",
            ("chain", _) => "three",
            _ if count != 2 => "two",
            (_, Some(operator)) => {
                let right = Box::new(params.remove(1));
                return self.grown(
                    Node::Binary {
                        operator,
                        left: Box::new(params.remove(0)),
                        right,
                    },
                    below,
                    1,
                );
            }
            ("[]", _) => {
                let condition = Box::new(params.remove(1));
                return self.grown(
                    Node::Filter {
                        of: Box::new(params.remove(0)),
                        condition,
                    },
                    below,
                    1,
                );
            }
            _ => "two",
        };
        self.fail("bad-parameters", &format!("`{name}` takes {expected} parameters, not {count}"), None)
    }

    fn lambda(&mut self, object: &Map<String, Value>) -> Read<Expr> {
        let declared = self.list(object, "params")?;
        if !(1..=2).contains(&declared.len()) {
            return self.fail("bad-parameters", "a function has one or two parameters", None);
        }
        let mut parameters = Vec::with_capacity(declared.len());
        for value in declared {
            let Some(declaration) = value.as_object() else {
                return self.fail("bad-node", "a parameter is a `varDecl`", None);
            };
            parameters.push(self.name(declaration, "varName")?);
        }
        let body = self.within(parameters.clone(), |reader| reader.member(object, "body"))?;
        self.grown(
            Node::Lambda {
                parameters,
                body: Box::new(body),
            },
            self.height,
            1,
        )
    }
}

/// Whether the node is the first parameter as a bare name reaches it.
fn is_implicit(value: &Value) -> bool {
    let member = |name: &str| value.get(name);
    match member("nodeType").and_then(Value::as_str) {
        Some("parameterReference") => member("position").and_then(Value::as_u64) == Some(1) && member("explicit").and_then(Value::as_bool) != Some(true),
        Some("literal") => member("literalType").is_some_and(|kind| kind == "XDMObject") && member("value").is_some_and(|name| name == "profile"),
        _ => false,
    }
}
