//! Questions about the shape of an expression that several stages ask.

use millrace_model::Relation;
use millrace_pql::ast::{Comparison, Direction, Moment};

use super::{Bind, ChainStep, Core, Op, SUBJECT, Var};

/// Whether a list of things holds each thing once by construction.
#[expect(clippy::wildcard_enum_match_arm, reason = "a list of any other form may hold an item twice")]
pub(crate) fn distinct(list: &Core) -> bool {
    match list {
        Core::Apply(Op::Relation(_) | Op::DistinctThings | Op::Events, _) => true,
        Core::Bind {
            bind: Bind::Filter | Bind::Top { .. },
            source,
            ..
        } => distinct(source),
        // Every opportunity has one account, every role one opportunity, every row one person, every event one
        // person.
        Core::Bind {
            bind: Bind::FlatMap,
            source,
            var,
            body,
        } => distinct(source) && disjoint(body, *var),
        _ => false,
    }
}

/// Whether the lists that `body` yields for different `var` have nothing in common, and no repeats.
#[expect(clippy::wildcard_enum_match_arm, reason = "lists of any other form may share an item")]
fn disjoint(body: &Core, var: Var) -> bool {
    match body {
        Core::Apply(Op::Relation(relation), of) => of[0] == Core::Var(var) && relation.disjoint(),
        Core::Apply(Op::Events, of) => of[0] == Core::Var(var),
        Core::Bind {
            bind: Bind::Filter, source, ..
        } => disjoint(source, var),
        Core::Bind {
            bind: Bind::FlatMap,
            source,
            var: inner,
            body,
        } => disjoint(source, var) && disjoint(body, *inner),
        _ => false,
    }
}

/// The relation of an account to its children, each once.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other list is kept child by child")]
pub(crate) fn children(list: &Core) -> Option<Relation> {
    match list {
        Core::Apply(Op::DistinctThings, of) => children(&of[0]),
        Core::Apply(Op::Relation(relation), of) if relation.children().is_some() && of[0] == Core::Var(SUBJECT) => Some(*relation),
        _ => None,
    }
}

/// The steps before `at` to which it and later steps refer, in order.
pub(crate) fn linked(steps: &[ChainStep], at: usize) -> Vec<usize> {
    let spoken: Vec<_> = steps[at..].iter().map(|step| step.body.free()).collect();
    (0..at)
        .filter(|earlier| spoken.iter().any(|free| free.contains(&steps[*earlier].var)))
        .collect()
}

/// Whether a condition that holds for one event not ahead of now holds for every later such event.
pub(crate) fn newest_first(condition: &Core, var: Var) -> bool {
    let Core::Apply(op, operands) = condition else { return false };
    let [fact, others @ ..] = operands.as_slice() else { return false };
    if *fact != Core::field(Core::Var(var), "timestamp") {
        return false;
    }
    let still = |core: &Core| matches!(core, Core::Literal(_) | Core::Moment(_));
    match (op, others) {
        (
            Op::Window {
                comparison: Comparison::Less | Comparison::LessOrEqual,
                direction: Direction::Before,
                ..
            },
            [amount, anchor],
        ) => *anchor == Core::Moment(Moment::Now) && matches!(amount, Core::Literal(_)),
        (Op::Relative(Direction::After | Direction::From) | Op::Compare(Comparison::Greater | Comparison::GreaterOrEqual), [bound]) => still(bound),
        (Op::On, [anchor]) => matches!(anchor, Core::Moment(Moment::Today | Moment::This(_))),
        (Op::Between, [from, to]) => still(from) && matches!(to, Core::Moment(Moment::Now | Moment::Today | Moment::This(_) | Moment::Tomorrow)),
        _ => false,
    }
}
