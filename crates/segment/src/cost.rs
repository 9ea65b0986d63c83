//! How often a rule iterates over lists: the cost of an evaluation is the product of the lists
//! iterated inside each other.
//!
//! A path from thing to thing (`a from accounts, o from a.opportunities`) visits each item once,
//! however long it is. Independent lists (`a from xEvent, b from xEvent`) are combined, every item
//! of one with every item of the other. The *degree* of an expression is the number of lists
//! combined in this way; the degree of a chain is one more than the number of earlier steps to
//! which conditions refer at the same time.

use millrace_model::Relation;

use crate::core::{Bind, ChainStep, Core, Op, SUBJECT, Var, linked};
use crate::sequence::ChainShape;

/// Lists that a rule may combine, however short they are.
pub(crate) const DEGREE_MAX: usize = 3;

/// The number of them that may grow with time. A person with 400 events compared three at a time
/// holds a shard up for 22 seconds, and one with a long history for days. A rule that compares more
/// must be written as a chain, which keeps its progress.
pub(crate) const LONG_MAX: usize = 2;

/// The lists that an expression iterates over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Lists combined.
    pub degree: usize,
    /// Those among them that grow with time: events, and the persons of an account.
    pub long: usize,
}

impl Cost {
    fn max(self, other: Cost) -> Cost {
        Cost {
            degree: self.degree.max(other.degree),
            long: self.long.max(other.long),
        }
    }

    fn plus(self, other: Cost) -> Cost {
        Cost {
            degree: self.degree + other.degree,
            long: self.long + other.long,
        }
    }
}

/// The cost of the part of an expression that costs most.
pub(crate) fn cost(core: &Core) -> Cost {
    within(core, None)
}

/// `item`: the variable of the innermost list iterated.
fn within(core: &Core, item: Option<Var>) -> Cost {
    let mut most = Cost::default();
    match core {
        Core::Bind { source, var, body, .. } => {
            most = within(source, item).max(step(source, item).plus(within(body, Some(*var))));
        }
        Core::Groups { source, group, body, .. } => {
            most = within(source, item).max(step(source, item).plus(within(body, Some(*group))));
        }
        Core::Chain(steps) => {
            // Where progress is kept, a window since the step before costs nothing more.
            let links = if ChainShape::fits(steps) { 0 } else { links(steps) };
            for step in steps {
                let inner = if let Core::Bind {
                    bind: Bind::Filter, var, body, ..
                } = &step.source
                {
                    within(body, Some(*var))
                } else {
                    Cost::default()
                };
                let body = within(&step.body, Some(step.var));
                let own = Cost {
                    degree: 1 + links,
                    long: 1 + links,
                };
                most = most.max(own.plus(body)).max(Cost { degree: 1, long: 1 }.plus(inner));
            }
        }
        other @ (Core::Literal(_) | Core::Var(_) | Core::Moment(_) | Core::Rows(_) | Core::Kept { .. } | Core::Apply(..)) => {
            other.each(&mut |child| most = most.max(within(child, item)))
        }
    }
    most
}

/// The cost of iterating over a list: nothing if it belongs to the current item.
fn step(source: &Core, item: Option<Var>) -> Cost {
    let (root, long) = root(source);
    if root.is_some() && root == item && root != Some(SUBJECT) {
        return Cost::default();
    }
    Cost {
        degree: 1,
        long: usize::from(long),
    }
}

/// The variable at which a list begins, and whether the list grows with time.
fn root(list: &Core) -> (Option<Var>, bool) {
    match list {
        Core::Var(var) => (Some(*var), false),
        Core::Bind {
            bind: Bind::FlatMap | Bind::Map,
            source,
            body,
            ..
        } => {
            let (var, long) = root(source);
            (var, long || root(body).1)
        }
        Core::Bind { source, .. } | Core::Groups { source, .. } => root(source),
        Core::Apply(op, operands) => {
            let (var, long) = operands.first().map_or((None, false), root);
            (var, long || matches!(op, Op::Events | Op::Relation(Relation::Persons)))
        }
        Core::Literal(_) | Core::Moment(_) | Core::Rows(_) | Core::Kept { .. } | Core::Chain(_) => (None, false),
    }
}

/// The most earlier steps to which a step and later ones refer: the memory of a search.
pub(crate) fn links(steps: &[ChainStep]) -> usize {
    (0..steps.len()).map(|at| linked(steps, at).len()).max().unwrap_or(0)
}
