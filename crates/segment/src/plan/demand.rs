//! The texts that an event must contain for a predicate to hold: the index from events to the
//! queries that may match depends on it.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Text, Value};
use millrace_pql::ast::Comparison;

use crate::core::{Core, Op, SUBJECT, TextTest};

/// This field of the event must hold one of these texts. If it holds anything but a text, only the
/// predicate itself can decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The names that lead to the field.
    pub path: Vec<Text>,
    /// Not empty; compared letter by letter.
    pub texts: BTreeSet<Text>,
}

/// Every demand of a predicate, one per path.
pub(super) type Demands = BTreeMap<Vec<Text>, BTreeSet<Text>>;

/// Of an event as `SUBJECT`.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other operator may hold whatever the event contains")]
pub(super) fn demands(predicate: &Core) -> Demands {
    let Core::Apply(op, operands) = predicate else { return Demands::new() };
    match op {
        Op::And => {
            let mut all = Demands::new();
            for (path, texts) in operands.iter().flat_map(demands) {
                // Both must hold, and either is necessary: the narrower one is kept.
                match all.get(&path) {
                    Some(known) if known.len() <= texts.len() => {}
                    _ => drop(all.insert(path, texts)),
                }
            }
            all
        }
        Op::Or => {
            let mut branches = operands.iter().map(demands);
            let mut all = branches.next().unwrap_or_default();
            for branch in branches {
                all.retain(|path, texts| branch.get(path).map(|more| texts.extend(more.iter().cloned())).is_some());
            }
            all
        }
        Op::Compare(Comparison::Equal)
        | Op::Text {
            test: TextTest::Equals,
            negated: false,
            case_sensitive: true,
        } => {
            let [left, right] = operands.as_slice() else { return Demands::new() };
            let sides = [(left, right), (right, left)];
            let demand = sides.into_iter().find_map(|(of, with)| Some((path(of)?, [text(with)?].into())));
            demand.into_iter().collect()
        }
        Op::In { negated: false } => {
            let [value, list] = operands.as_slice() else { return Demands::new() };
            let texts = match list {
                Core::Literal(Value::List(values)) => values.iter().map(|value| value.as_str().map(Text::new)).collect(),
                _ => None,
            };
            path(value).zip(texts).into_iter().collect()
        }
        _ => Demands::new(),
    }
}

/// The demand that the fewest events meet, as far as can be judged: fewer texts rather than more,
/// and a page rather than a type of event.
pub(super) fn strictest(demands: &Demands) -> Option<Demand> {
    let best = demands.iter().min_by_key(|(path, texts)| (texts.len(), **path == event_type()));
    best.map(|(path, texts)| Demand {
        path: path.clone(),
        texts: texts.clone(),
    })
}

/// The path of the event's type.
pub(super) fn event_type() -> Vec<Text> {
    vec![Text::const_new("eventType")]
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no other expression is a path")]
fn path(core: &Core) -> Option<Vec<Text>> {
    match core {
        Core::Apply(Op::Field(name), of) if of[0] == Core::Var(SUBJECT) => Some(vec![name.clone()]),
        Core::Apply(Op::Field(name), of) => {
            let mut names = path(&of[0])?;
            names.push(name.clone());
            Some(names)
        }
        _ => None,
    }
}

fn text(core: &Core) -> Option<Text> {
    let Core::Literal(value) = core else { return None };
    value.as_str().map(Text::new)
}
