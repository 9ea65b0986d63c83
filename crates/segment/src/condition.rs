//! The conditions of a rule as written: a tree whose leaves can be exchanged.

use millrace_pql::ast::Span;

use crate::core::{Core, Op};

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
            Condition::All { span, of } => Condition::All {
                span: *span,
                of: of.iter().map(|child| child.try_map(f)).collect::<Result<_, E>>()?,
            },
            Condition::Any { span, of } => Condition::Any {
                span: *span,
                of: of.iter().map(|child| child.try_map(f)).collect::<Result<_, E>>()?,
            },
            Condition::Not { span, of } => Condition::Not {
                span: *span,
                of: Box::new(of.try_map(f)?),
            },
            Condition::Leaf { span, text, of } => Condition::Leaf {
                span: *span,
                text: text.clone(),
                of: f(of, *span)?,
            },
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

/// A condition tree whose leaves are expressions.
impl Condition<Core> {
    /// The whole as one expression.
    pub(crate) fn join(&self) -> Core {
        match self {
            Condition::All { of, .. } => Core::and(of.iter().map(Condition::join).collect()),
            Condition::Any { of, .. } => match of.len() {
                1 => of[0].join(),
                _ => Core::apply(Op::Or, of.iter().map(Condition::join).collect()),
            },
            Condition::Not { of, .. } => Core::not(of.join()),
            Condition::Leaf { of, .. } => of.clone(),
        }
    }
}
