//! Why a subject is in a segment or not: the rule's conditions as written, each with its value and what decided it.

use millrace_model::{Relation, Text, Timestamp, Value};

use crate::ast::Span;
use crate::core::{Core, Op};
use crate::eval::{Machine, Object, Val};
use crate::plan::{Residual, SegmentPlan, Unknown, View};

/// The `and`, `or` and `not` of a rule as written; everything below is a leaf.
#[derive(Clone, Debug)]
pub(crate) enum Condition<T> {
    All { span: Span, of: Vec<Condition<T>> },
    Any { span: Span, of: Vec<Condition<T>> },
    Not { span: Span, of: Box<Condition<T>> },
    Leaf { span: Span, text: String, of: T },
}

impl<T> Condition<T> {
    /// The same tree with other leaves.
    pub fn map<U>(&self, f: &dyn Fn(T) -> U) -> Condition<U>
    where
        T: Clone,
    {
        match self.try_map(&mut |leaf: &T, _| Ok::<U, std::convert::Infallible>(f(leaf.clone()))) {
            Ok(tree) => tree,
            Err(never) => match never {},
        }
    }

    /// The same tree with other leaves; the first error of a leaf ends it.
    pub fn try_map<U, E>(&self, f: &mut dyn FnMut(&T, Span) -> Result<U, E>) -> Result<Condition<U>, E> {
        Ok(match self {
            Condition::All { span, of } => Condition::All { span: *span, of: of.iter().map(|child| child.try_map(f)).collect::<Result<_, E>>()? },
            Condition::Any { span, of } => Condition::Any { span: *span, of: of.iter().map(|child| child.try_map(f)).collect::<Result<_, E>>()? },
            Condition::Not { span, of } => Condition::Not { span: *span, of: Box::new(of.try_map(f)?) },
            Condition::Leaf { span, text, of } => Condition::Leaf { span: *span, text: text.clone(), of: f(of, *span)? },
        })
    }

    /// Every leaf and its place.
    pub fn leaves<'c>(&'c self, f: &mut dyn FnMut(&'c T, Span)) {
        match self {
            Condition::All { of, .. } | Condition::Any { of, .. } => of.iter().for_each(|child| child.leaves(f)),
            Condition::Not { of, .. } => of.leaves(f),
            Condition::Leaf { span, of, .. } => f(of, *span),
        }
    }
}

/// One condition of a rule, evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// `and`, `or`, `not`, or the condition's own text.
    pub text: String,
    /// Where it stands in the rule.
    pub span: Span,
    /// `None`: something that decides is not known yet.
    pub value: Option<bool>,
    /// The earliest later instant at which time alone could change the value; of an unknown value nothing is said (`Timestamp::MAX`).
    pub valid_until: Timestamp,
    /// What was looked at and decided; bounded to `EVIDENCE_MAX`, the first in the order of evaluation.
    pub evidence: Vec<Evidence>,
    pub of: Vec<Explanation>,
}

/// Pieces of evidence shown for one condition.
pub const EVIDENCE_MAX: usize = 20;

/// A fact that a condition rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// An event that satisfies the condition.
    Event { at: Timestamp, id: Text },
    /// A related thing that satisfies the condition, and what it contributes.
    Thing { relation: Relation, id: Text, value: Value },
    /// A row that satisfies the condition.
    Row { relation: Relation, id: Text },
    /// A field of the subject's own.
    Attribute { path: String, value: Value },
    /// Whether the subject is in another segment.
    Segment { name: Text, member: bool },
}

impl Evidence {
    /// An item that satisfied a condition, as evidence.
    pub(crate) fn of(val: &Val<'_>, source: &Core) -> Option<Evidence> {
        match val {
            Val::Object(Object::Item(item, relation)) => Some(match relation.row() {
                Some(_) => Evidence::Row { relation: *relation, id: item.id.clone() },
                None => Evidence::Thing { relation: *relation, id: item.id.clone(), value: Value::Bool(true) },
            }),
            Val::Object(Object::Target(id, _)) => Some(Evidence::Thing { relation: relation_in(source)?, id: (*id).clone(), value: Value::Bool(true) }),
            Val::Object(Object::WorldThing(_, id)) => Some(Evidence::Thing { relation: relation_in(source)?, id: Text::new(id), value: Value::Bool(true) }),
            Val::Object(Object::WorldRow(link, relation)) => Some(Evidence::Row { relation: *relation, id: link.id.clone() }),
            _ => Evidence::event(val),
        }
    }

    pub(crate) fn event(val: &Val<'_>) -> Option<Evidence> {
        Some(Evidence::Event { at: val.at()?, id: Text::new(val.id()?) })
    }
}

/// The relation a list of things comes from.
fn relation_in(core: &Core) -> Option<Relation> {
    if let Core::Apply(Op::Relation(relation), _) = core {
        return Some(*relation);
    }
    let mut found = None;
    core.each(&mut |child| found = found.or_else(|| relation_in(child)));
    found
}

/// Evaluates the conditions of a segment one by one, for one subject at `now`.
pub fn explain(segment: &SegmentPlan, view: &dyn View, now: Timestamp) -> Explanation {
    explained(&segment.conditions, &|leaf: &Residual| observed(Machine { told_at: Some(now), ..Machine::over_view(view, &leaf.context, now) }, &leaf.core))
}

/// What was seen of one leaf: its value, how long that holds, and the evidence.
pub(crate) type Observed = (Option<bool>, Timestamp, Vec<Evidence>);

/// The tree of conditions with the values of its leaves.
pub(crate) fn explained<T>(condition: &Condition<T>, observe: &dyn Fn(&T) -> Observed) -> Explanation {
    let junction = |word: &str, span: Span, of: &[Condition<T>], deciding: bool| {
        let of: Vec<Explanation> = of.iter().map(|child| explained(child, observe)).collect();
        let settling = of.iter().filter(|child| child.value == Some(deciding)).map(|child| child.valid_until).max();
        let (value, valid_until) = match settling {
            Some(until) => (Some(deciding), until),
            None if of.iter().any(|child| child.value.is_none()) => (None, Timestamp::MAX),
            None => (Some(!deciding), of.iter().map(|child| child.valid_until).min().unwrap_or(Timestamp::MAX)),
        };
        Explanation { text: word.to_owned(), span, value, valid_until, evidence: Vec::new(), of }
    };
    match condition {
        Condition::All { span, of } => junction("and", *span, of, false),
        Condition::Any { span, of } => junction("or", *span, of, true),
        Condition::Not { span, of } => {
            let of = explained(of, observe);
            let (value, valid_until) = (of.value.map(|flag| !flag), of.valid_until);
            Explanation { text: "not".to_owned(), span: *span, value, valid_until, evidence: Vec::new(), of: vec![of] }
        }
        Condition::Leaf { span, text, of } => {
            let (value, valid_until, evidence) = observe(of);
            Explanation { text: text.clone(), span: *span, value, valid_until, evidence, of: Vec::new() }
        }
    }
}

/// Evaluates one leaf with a machine of its own. Each piece of evidence is told once.
pub(crate) fn observed<'a>(mut machine: Machine<'a>, core: &'a Core) -> Observed {
    machine.trace = Some(Vec::new());
    let (value, valid_until) = match machine.test(core) {
        Ok((flag, until)) => (Some(flag), until),
        Err(Unknown) => (None, Timestamp::MAX),
    };
    let mut evidence: Vec<Evidence> = Vec::new();
    for piece in machine.trace.unwrap_or_default() {
        if evidence.len() < EVIDENCE_MAX && !evidence.contains(&piece) {
            evidence.push(piece);
        }
    }
    (value, valid_until, evidence)
}
