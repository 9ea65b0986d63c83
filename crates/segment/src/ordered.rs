//! Events that a rule asks for one by one, in an order of time, as the chain that they are.
//!
//! `exists a from xEvent, b from xEvent where a.timestamp < b.timestamp` combines every event with
//! every other. A chain of two steps asks for the same, keeps its progress, and takes each event
//! once. So this holds too for three lists and more, which are otherwise refused.
//!
//! The rewrite applies where the conditions put all the events in one strict order, and say
//! otherwise only what each event is, or how soon one follows the one before. Everything else stays
//! as it is written.

use std::collections::{BTreeMap, BTreeSet};

use millrace_pql::ast::{Comparison, Direction};

use crate::core::{Bind, ChainStep, Core, Fresh, Op, SUBJECT, Var};
use crate::sequence::{ChainShape, candidates, is_near};

/// The expression with such conditions as chains.
pub(crate) fn chained(core: Core, next: &mut Fresh) -> Core {
    if is_existence(&core)
        && let Some(chain) = chain(&core, next)
    {
        return chain;
    }
    core.map(&mut |child| chained(child, next))
}

/// Apart from `chained`, which a deep rule calls deep: it must take little of the stack.
#[inline(never)]
fn chain(existence: &Core, next: &mut Fresh) -> Option<Core> {
    Events::of(existence)?.chain(next)
}

/// Events that must all exist, and what is asked of them together.
struct Events {
    /// The list that each is from.
    from: Vec<(Var, Core)>,
    conditions: Vec<Core>,
}

impl Events {
    /// `None` where fewer than two events are asked for.
    fn of(core: &Core) -> Option<Events> {
        let mut events = Events {
            from: Vec::new(),
            conditions: Vec::new(),
        };
        let mut asked = vec![core.clone()];
        while let Some(at) = asked.iter().position(is_existence) {
            let Core::Bind { source, var, body, .. } = asked.swap_remove(at) else { break };
            events.from.push((var, *source));
            events.conditions.append(&mut asked);
            asked = body.conjuncts();
        }
        events.conditions.append(&mut asked);
        (events.from.len() > 1).then_some(events)
    }

    /// The chain, and beside it what is not about these events; `None` where it would not be the
    /// same.
    fn chain(self, next: &mut Fresh) -> Option<Core> {
        let (mut alone, mut windows, mut beside) = (BTreeMap::<Var, Vec<Core>>::new(), Vec::new(), Vec::new());
        let mut orders = BTreeSet::new();
        for condition in self.conditions {
            let about: Vec<Var> = self.from.iter().map(|(var, _)| *var).filter(|var| condition.free().contains(var)).collect();
            match about.as_slice() {
                [] => beside.push(condition),
                [one] => alone.entry(*one).or_default().push(condition),
                _ => match order(&condition) {
                    Some(pair) => drop(orders.insert(pair)),
                    None => windows.push(condition),
                },
            }
        }
        let mut from: BTreeMap<Var, Core> = self.from.into_iter().collect();
        let sequence = in_order(from.keys().copied().collect(), &orders)?;
        let mut steps = Vec::with_capacity(sequence.len());
        for (at, var) in sequence.iter().enumerate() {
            let previous = at.checked_sub(1).map(|before| sequence[before]);
            let (near, rest) = windows
                .into_iter()
                .partition(|window| previous.is_some_and(|previous| is_near(window, *var, previous)));
            windows = rest;
            steps.push(ChainStep {
                negated: false,
                source: narrowed(from.remove(var)?, *var, alone.remove(var).unwrap_or_default(), next),
                var: *var,
                body: Core::and(near),
                count: 1,
            });
        }
        if !windows.is_empty() || !ChainShape::fits(&steps) {
            return None;
        }
        beside.push(Core::Chain(steps));
        Some(Core::and(beside))
    }
}

/// Whether a condition is that an event of the subject exists.
fn is_existence(condition: &Core) -> bool {
    let Core::Bind {
        bind: Bind::AtLeast(1),
        source,
        ..
    } = condition
    else {
        return false;
    };
    matches!(candidates(source).0, Core::Apply(Op::Events, of) if of[0] == Core::Var(SUBJECT))
}

/// The earlier and the later event, where a condition is that one comes strictly before the other.
fn order(condition: &Core) -> Option<(Var, Var)> {
    let Core::Apply(op, operands) = condition else { return None };
    let [left, right] = operands.as_slice() else { return None };
    let (left, right) = (of_timestamp(left)?, of_timestamp(right)?);
    if matches!(op, Op::Compare(Comparison::Less) | Op::Relative(Direction::Before)) {
        Some((left, right))
    } else if matches!(op, Op::Compare(Comparison::Greater) | Op::Relative(Direction::After)) {
        Some((right, left))
    } else {
        None
    }
}

fn of_timestamp(of: &Core) -> Option<Var> {
    let Core::Apply(Op::Field(name), operands) = of else { return None };
    match operands.as_slice() {
        [Core::Var(var)] if name == "timestamp" => Some(*var),
        _ => None,
    }
}

/// The one order in which every event comes strictly after the one before; `None` where the pairs
/// leave two events in no order, or contradict each other.
fn in_order(mut left: BTreeSet<Var>, orders: &BTreeSet<(Var, Var)>) -> Option<Vec<Var>> {
    let mut sequence: Vec<Var> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let first = *left
            .iter()
            .find(|var| !orders.iter().any(|(before, after)| after == *var && left.contains(before)))?;
        if let Some(previous) = sequence.last()
            && !orders.contains(&(*previous, first))
        {
            return None;
        }
        left.remove(&first);
        sequence.push(first);
    }
    Some(sequence)
}

/// The events of `source` for which `conditions` on `var` hold as well.
fn narrowed(source: Core, var: Var, conditions: Vec<Core>, next: &mut Fresh) -> Core {
    if conditions.is_empty() {
        return source;
    }
    let (list, mut all, event) = match candidates(&source) {
        (list, Some((event, condition))) => (list.clone(), vec![condition.clone()], event),
        (list, None) => (list.clone(), Vec::new(), next.var()),
    };
    all.extend(conditions.into_iter().map(|condition| condition.substitute(var, &Core::Var(event))));
    Core::bind(Bind::Filter, list, event, Core::and(all))
}
