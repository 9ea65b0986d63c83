//! The forms with parts of their own: windows, chains, and everything that ranges over lists.

use serde_json::{Map, Value};

use super::{At, Read, Reader};
use crate::ast::{Binary, Binding, EventStep, Expr, Node, Quantifier, When};
use crate::diagnostic::did_you_mean;
use crate::parser::forms::first_name;
use crate::words;

impl Reader {
    pub(super) fn occurs(&mut self, subject: &Value, when: &Value) -> Read<Expr> {
        self.path.push(At::Member("params"));
        let subject = self.at(At::Item(0), |reader| reader.node(subject));
        let below = self.height;
        let when = self.at(At::Item(1), |reader| reader.window(when));
        self.path.pop();
        self.grown(
            Node::Occurs {
                subject: Box::new(subject),
                when: when?,
            },
            below.max(self.height),
            1,
        )
    }

    /// The window of `occurs` or of a step; `height` is its highest part's afterwards.
    fn window(&mut self, value: &Value) -> Read<When> {
        let Some(object) = value.as_object().filter(|object| object.get("nodeType").is_some_and(|kind| kind == "fnApply")) else {
            return self.fail(
                "bad-window",
                "a window is a fnApply of a comparison, `before`, `after`, `from`, `on` or `between`",
                None,
            );
        };
        let name = self.text(object, "fnName")?;
        let params = self.list(object, "params")?;
        let plain = |value: &Value| value.get("value").and_then(Value::as_str).map(str::to_owned);
        if let (Some(comparison), [_, unit, direction, _]) = (words::comparison(name), params) {
            let unit = plain(unit).as_deref().and_then(words::unit);
            let direction = plain(direction).as_deref().and_then(words::direction);
            let (Some(unit), Some(direction)) = (unit, direction) else {
                return self.fail(
                    "bad-window",
                    "the second parameter is a unit of time, the third `before`, `after` or `from`",
                    None,
                );
            };
            let (mut nodes, below) = self.nodes(&[params[0].clone(), params[3].clone()], "params");
            self.height = below;
            let anchor = Box::new(nodes.remove(1));
            return Ok(When::Offset {
                comparison,
                amount: Box::new(nodes.remove(0)),
                unit,
                direction,
                anchor,
            });
        }
        let expected = if name == "between" { 2 } else { 1 };
        let direction = words::direction(name);
        if params.len() != expected || (direction.is_none() && !matches!(name, "on" | "between")) {
            return self.fail("bad-window", &format!("no window is made by `{name}` with {} parameters", params.len()), None);
        }
        let (mut nodes, below) = self.nodes(params, "params");
        self.height = below;
        let first = Box::new(nodes.remove(0));
        Ok(match (direction, nodes.pop()) {
            (Some(direction), _) => When::Relative { direction, anchor: first },
            (None, Some(to)) => When::Between { from: first, to: Box::new(to) },
            (None, None) => When::On(first),
        })
    }

    pub(super) fn chain(&mut self, events: &Value, timestamp: &Value, steps: &Value) -> Read<Expr> {
        self.path.push(At::Member("params"));
        let events = self.at(At::Item(0), |reader| reader.node(events));
        let mut below = self.height;
        let timestamp = self.at(At::Item(1), |reader| reader.node(timestamp));
        below = below.max(self.height);
        let list = steps.get("value").and_then(Value::as_array).filter(|list| !list.is_empty());
        let label = |step: &Value| step.get("label").and_then(Value::as_str).map(str::to_owned);
        let labels = list.into_iter().flatten().filter_map(label).collect();
        let steps: Vec<Read<EventStep>> = self.within(labels, |reader| {
            let read = |(index, value)| {
                let step = reader.at(At::Item(index), |reader| reader.step(value));
                below = below.max(reader.height);
                step
            };
            list.into_iter().flatten().enumerate().map(read).collect()
        });
        self.path.pop();
        if steps.is_empty() {
            return self.fail(
                "bad-parameters",
                "the third parameter of `chain` is a literal List of steps, at least one",
                None,
            );
        }
        let steps = steps.into_iter().collect::<Read<Vec<EventStep>>>()?;
        self.grown(
            Node::Chain {
                events: Box::new(events),
                timestamp: Box::new(timestamp),
                steps,
            },
            below,
            1,
        )
    }

    fn step(&mut self, value: &Value) -> Read<EventStep> {
        let Some(object) = value
            .as_object()
            .filter(|object| object.get("nodeType").is_some_and(|kind| kind == "chainStep"))
        else {
            return self.fail("bad-node", "a step is a `chainStep`", None);
        };
        let label = self.name(object, "label")?;
        let negated = match object.get("negated") {
            None => false,
            Some(Value::Bool(negated)) => *negated,
            Some(_) => return self.fail("bad-member", "`negated` is true or false", None),
        };
        let what = self.optional(object, "what");
        let mut below = self.height;
        let condition = self.optional(object, "where");
        below = below.max(self.height);
        let count = self.optional(object, "count");
        below = below.max(self.height);
        self.height = 0;
        let when = match object.get("when").filter(|when| !when.is_null()) {
            Some(when) => Some(self.at(At::Member("when"), |reader| reader.window(when))?),
            None => None,
        };
        self.height = self.height.max(below);
        Ok(EventStep {
            label,
            negated,
            what,
            when,
            condition,
            count,
        })
    }

    pub(super) fn select(&mut self, object: &Map<String, Value>) -> Read<Expr> {
        let has_item = object.get("expression").is_some_and(|expression| !expression.is_null());
        let before = self.scope.len();
        let ranging = self.variables(object, has_item);
        let below = self.height;
        let item = self.optional(object, "expression");
        let below = below.max(self.height);
        self.scope.truncate(before);
        let (bindings, mut conditions) = ranging?;
        let nameless = bindings.iter().any(|binding| binding.variable.is_none());
        if nameless && item.as_ref().is_some_and(|item| first_name(item).is_some()) {
            return self.fail("missing-member", "`varName` is missing: the expression names fields", None);
        }
        let (condition, below) = self.joined(&mut conditions, below)?;
        self.grown(
            Node::Select {
                item: item.map(Box::new),
                bindings,
                condition,
            },
            below,
            1,
        )
    }

    pub(super) fn aggregation(&mut self, object: &Map<String, Value>) -> Read<Expr> {
        let name = self.text(object, "fnName")?;
        let Some(aggregate) = words::aggregate(name) else {
            let near = did_you_mean(name, ["count", "sum", "average", "min", "max"]);
            return self.fail("unknown-aggregate", &format!("unknown aggregate `{name}`"), near);
        };
        let before = self.scope.len();
        let ranging = self.variables(object, false);
        let below = self.height;
        let item = self.member(object, "expression");
        let below = below.max(self.height);
        self.scope.truncate(before);
        let (bindings, mut conditions) = ranging?;
        let (condition, below) = self.joined(&mut conditions, below)?;
        self.grown(
            Node::Aggregate {
                aggregate,
                item: Box::new(item?),
                bindings,
                condition,
            },
            below,
            1,
        )
    }

    pub(super) fn quantification(&mut self, object: &Map<String, Value>) -> Read<Expr> {
        let word = self.text(object, "quantifier")?;
        let Some(quantifier) = words::quantifier(word) else {
            let near = did_you_mean(word, ["exists", "forall", "none", "one"]);
            return self.fail("unknown-quantifier", &format!("unknown quantifier `{word}`"), near);
        };
        let before = self.scope.len();
        let ranging = self.variables(object, false);
        let below = self.height;
        self.scope.truncate(before);
        let (mut bindings, mut conditions) = ranging?;
        if quantifier != Quantifier::Forall {
            let (condition, below) = self.joined(&mut conditions, below)?;
            return self.grown(
                Node::Quantifier {
                    quantifier,
                    bindings,
                    condition,
                },
                below,
                1,
            );
        }
        // As in the text: a condition on an earlier variable of `forall` holds of all its values,
        // whatever the later ones are.
        let mut condition = conditions.pop().flatten().map(Box::new);
        let mut height = below;
        for at in (0..conditions.len()).rev() {
            let Some(outer) = conditions[at].take() else { continue };
            let inner = Node::Quantifier {
                quantifier,
                bindings: bindings.split_off(at + 1),
                condition,
            };
            let inner = self.grown(inner, height, 1)?;
            let both = Node::Binary {
                operator: Binary::And,
                left: Box::new(outer),
                right: Box::new(inner),
            };
            condition = Some(Box::new(self.grown(both, self.height, 1)?));
            height = self.height;
        }
        self.grown(
            Node::Quantifier {
                quantifier,
                bindings,
                condition,
            },
            height,
            1,
        )
    }

    /// The declarations of `variables`, with the condition of each. They stay in scope; `height` is
    /// the highest part's afterwards.
    fn variables(&mut self, object: &Map<String, Value>, may_be_nameless: bool) -> Read<(Vec<Binding>, Vec<Option<Expr>>)> {
        let declarations = self.list(object, "variables")?;
        if declarations.is_empty() {
            return self.fail("bad-member", "`variables` is empty", None);
        }
        let (mut bindings, mut conditions, mut below) = (Vec::new(), Vec::new(), 0);
        self.path.push(At::Member("variables"));
        let mut read = Ok(());
        for (index, value) in declarations.iter().enumerate() {
            let declared = self.at(At::Item(index), |reader| {
                let Some(declaration) = value.as_object().filter(|object| object.get("nodeType").is_none_or(|kind| kind == "varDecl")) else {
                    return reader.fail("bad-node", "a variable is a `varDecl`", None);
                };
                let source = reader.member(declaration, "from");
                below = below.max(reader.height);
                let nameless = may_be_nameless && declarations.len() == 1 && !declaration.contains_key("varName");
                let variable = if nameless { None } else { Some(reader.name(declaration, "varName")?) };
                reader.scope.extend(variable.clone());
                let condition = reader.optional(declaration, "where");
                below = below.max(reader.height);
                bindings.push(Binding { variable, source: source? });
                conditions.push(condition);
                Ok(())
            });
            read = read.and(declared);
        }
        self.path.pop();
        self.height = below;
        read.map(|()| (bindings, conditions))
    }

    /// Conditions of several variables hold together.
    fn joined(&mut self, conditions: &mut Vec<Option<Expr>>, mut height: usize) -> Read<(Option<Box<Expr>>, usize)> {
        let mut joined: Option<Expr> = None;
        for condition in conditions.drain(..).flatten() {
            joined = Some(match joined {
                None => condition,
                Some(before) => {
                    let node = Node::Binary {
                        operator: Binary::And,
                        left: Box::new(before),
                        right: Box::new(condition),
                    };
                    let both = self.grown(node, height, 1)?;
                    height = self.height;
                    both
                }
            });
        }
        Ok((joined.map(Box::new), height))
    }
}
