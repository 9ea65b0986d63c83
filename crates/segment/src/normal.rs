//! Normal form: quantifiers and aggregates moved to the origin of their items.
//!
//! In normal form, a filter is directly on its source, `exists` over a path of several relations is
//! nested `exists`, sums and counts over such a path are sums of sums, and a count that is only
//! compared with a number is `AtLeast`. So the plan can find the parts that depend on one thing or
//! one event alone. Every rewrite keeps the value; null items never count.

use millrace_model::{Decimal, Value};
use millrace_pql::ast::{Aggregate, Comparison};

use crate::core::{Bind, Core, Fresh, Op, Var, distinct};

/// Nodes that may be duplicated. Larger expressions stay as they are: copies within copies would
/// double a rule with every level of its nesting.
const COPY_MAX: usize = 100;

/// Counts beyond it stay numbers.
const COUNT_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// The normal form.
pub(crate) fn normalise(core: Core, next: &mut Fresh) -> Core {
    let mut core = core.map(&mut |child| normalise(child, next));
    loop {
        match step(core, next) {
            // A rewrite builds new nodes below the top: they are brought to normal form as well.
            Ok(changed) => core = changed.map(&mut |child| normalise(child, next)),
            Err(same) => return same,
        }
    }
}

/// Applies one rewrite at the top of an expression; `Err` returns it where none applies.
#[expect(clippy::wildcard_enum_match_arm, reason = "what no rule changes is normal")]
fn step(core: Core, next: &mut Fresh) -> Result<Core, Core> {
    if let Core::Apply(op, operands) = &core
        && let Some(literal) = folded(op, operands)
    {
        return Ok(literal);
    }
    match core {
        Core::Apply(Op::And, operands) => {
            let nested = operands
                .iter()
                .any(|operand| matches!(operand, Core::Apply(Op::And, _) | Core::Literal(Value::Bool(_))));
            if nested || operands.len() < 2 {
                Ok(Core::and(operands))
            } else {
                Err(Core::Apply(Op::And, operands))
            }
        }
        Core::Apply(Op::Or, operands) => or(operands),
        // Nothing is in an empty list.
        Core::Apply(Op::In { negated: false }, ref operands) if matches!(operands.as_slice(), [_, Core::Literal(Value::List(list))] if list.is_empty()) => {
            Ok(Core::bool(false))
        }
        Core::Apply(Op::Not, mut of) => match of.remove(0) {
            Core::Literal(Value::Bool(flag)) => Ok(Core::bool(!flag)),
            Core::Apply(Op::Not, mut inner) if boolean(&inner[0]) => Ok(inner.remove(0)),
            other => Err(Core::not(other)),
        },
        Core::Apply(Op::If, mut operands) => match operands[0] {
            Core::Literal(Value::Bool(flag)) => Ok(operands.remove(if flag { 1 } else { 2 })),
            _ => Err(Core::Apply(Op::If, operands)),
        },
        Core::Apply(Op::DistinctThings, mut of) => {
            if distinct(&of[0]) {
                Ok(of.remove(0))
            } else {
                Err(Core::Apply(Op::DistinctThings, of))
            }
        }
        Core::Apply(Op::Aggregate(aggregate), mut of) => aggregated(aggregate, of.remove(0)),
        Core::Apply(Op::Compare(comparison), operands) => compared(comparison, operands, next),
        Core::Bind { bind, source, var, body } => bound(bind, *source, var, *body, next),
        other @ (Core::Literal(_)
        | Core::Var(_)
        | Core::Moment(_)
        | Core::Rows(_)
        | Core::Kept { .. }
        | Core::Apply(..)
        | Core::Groups { .. }
        | Core::Chain(_)) => Err(other),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other operand stays")]
fn or(operands: Vec<Core>) -> Result<Core, Core> {
    let simple = |operand: &Core| !matches!(operand, Core::Apply(Op::Or, _) | Core::Literal(Value::Bool(_)));
    if operands.len() > 1 && operands.iter().all(simple) {
        return Err(Core::Apply(Op::Or, operands));
    }
    let mut flat = Vec::new();
    for operand in operands {
        match operand {
            Core::Apply(Op::Or, inner) => flat.extend(inner),
            Core::Literal(Value::Bool(true)) => return Ok(Core::bool(true)),
            Core::Literal(Value::Bool(false)) => {}
            other => flat.push(other),
        }
    }
    Ok(match flat.len() {
        0 => Core::bool(false),
        1 => flat.remove(0),
        _ => Core::Apply(Op::Or, flat),
    })
}

/// Whether an expression is true or false on all data.
fn boolean(core: &Core) -> bool {
    match core {
        Core::Literal(Value::Bool(_)) | Core::Chain(_) | Core::Bind { bind: Bind::AtLeast(_), .. } => true,
        Core::Apply(op, _) => matches!(
            op,
            Op::And
                | Op::Or
                | Op::Not
                | Op::Compare(_)
                | Op::InSegment(_)
                | Op::IsNull
                | Op::IsNotNull
                | Op::Text { .. }
                | Op::Matches(_)
                | Op::In { .. }
                | Op::Intersects
                | Op::SubsetOf
                | Op::Window { .. }
                | Op::Relative(_)
                | Op::On
                | Op::Between
        ),
        Core::Literal(_) | Core::Var(_) | Core::Moment(_) | Core::Rows(_) | Core::Kept { .. } | Core::Bind { .. } | Core::Groups { .. } => false,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what no rule changes is normal")]
fn aggregated(aggregate: Aggregate, list: Core) -> Result<Core, Core> {
    let of = |aggregate, list| Core::apply(Op::Aggregate(aggregate), vec![list]);
    match (aggregate, list) {
        (
            Aggregate::Sum | Aggregate::Min | Aggregate::Max,
            Core::Bind {
                bind: Bind::FlatMap,
                source,
                var,
                body,
            },
        ) => Ok(of(aggregate, Core::bind(Bind::Map, *source, var, of(aggregate, *body)))),
        (
            Aggregate::Count,
            Core::Bind {
                bind: Bind::FlatMap,
                source,
                var,
                body,
            },
        ) => Ok(of(Aggregate::Sum, Core::bind(Bind::Map, *source, var, of(Aggregate::Count, *body)))),
        (
            Aggregate::Min | Aggregate::Max,
            Core::Bind {
                bind: Bind::Map,
                source,
                var,
                body,
            },
        ) => match *source {
            // The least of things does not change when one is repeated.
            Core::Apply(Op::DistinctThings, mut inner) => Ok(of(aggregate, Core::bind(Bind::Map, inner.remove(0), var, *body))),
            source => Err(of(aggregate, Core::bind(Bind::Map, source, var, *body))),
        },
        (aggregate, list) => Err(of(aggregate, list)),
    }
}

/// A count compared with a number becomes a minimum number of items.
fn compared(comparison: Comparison, mut operands: Vec<Core>, next: &mut Fresh) -> Result<Core, Core> {
    let number = |core: &Core| if let Core::Literal(value) = core { value.as_decimal() } else { None };
    let (comparison, limit) = match (&operands[0], &operands[1]) {
        (count, literal) if countable(count) => match number(literal) {
            Some(limit) => (comparison, limit),
            None => return Err(Core::Apply(Op::Compare(comparison), operands)),
        },
        (literal, count) if countable(count) => match number(literal) {
            Some(limit) => {
                operands.swap(0, 1);
                (mirrored(comparison), limit)
            }
            None => return Err(Core::Apply(Op::Compare(comparison), operands)),
        },
        _ => return Err(Core::Apply(Op::Compare(comparison), operands)),
    };
    // A sum of counts serves only as "at least one", which is nested `exists`.
    let one_only = matches!(&operands[0], Core::Apply(Op::Aggregate(Aggregate::Sum), _));
    let (least, negated) = match comparison {
        Comparison::GreaterOrEqual => (limit.ceil(), false),
        Comparison::Greater => (limit.floor() + Decimal::ONE, false),
        Comparison::Less => (limit.ceil(), true),
        Comparison::LessOrEqual => (limit.floor() + Decimal::ONE, true),
        Comparison::Equal | Comparison::NotEqual => {
            let negated = comparison == Comparison::NotEqual;
            if !limit.fract().is_zero() {
                return Ok(Core::bool(negated));
            }
            if one_only && !limit.is_zero() || limit.abs() > COUNT_MAX || operands[0].size() > COPY_MAX {
                return Err(Core::Apply(Op::Compare(comparison), operands));
            }
            let counted = operands.remove(0);
            let low = at_least(counted.clone(), limit, next);
            let high = at_least(counted.refresh(next), limit + Decimal::ONE, next);
            let equal = Core::and(vec![low, Core::not(high)]);
            return Ok(if negated { Core::not(equal) } else { equal });
        }
    };
    if least > Decimal::ONE && one_only || least > COUNT_MAX {
        return Err(Core::Apply(Op::Compare(comparison), operands));
    }
    let core = at_least(operands.remove(0), least, next);
    Ok(if negated { Core::not(core) } else { core })
}

fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same @ (Comparison::Equal | Comparison::NotEqual) => same,
    }
}

/// A count, or a sum of counts.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other expression counts")]
fn countable(core: &Core) -> bool {
    match core {
        Core::Apply(Op::Aggregate(Aggregate::Count), _) => true,
        Core::Apply(Op::Aggregate(Aggregate::Sum), of) => matches!(&of[0], Core::Bind { bind: Bind::Map, body, .. } if countable(body)),
        _ => false,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the caller passes what `countable` accepts")]
fn at_least(counted: Core, least: Decimal, next: &mut Fresh) -> Core {
    if least <= Decimal::ZERO {
        return Core::bool(true);
    }
    match counted {
        Core::Apply(Op::Aggregate(Aggregate::Count), mut of) => {
            let var = next.var();
            // A null is not an item.
            let item = Core::Var(var);
            let condition = if objects(&of[0]) {
                Core::bool(true)
            } else {
                Core::apply(Op::IsNotNull, vec![item])
            };
            Core::bind(Bind::AtLeast(u32::try_from(least).unwrap_or(u32::MAX)), of.remove(0), var, condition)
        }
        Core::Apply(Op::Aggregate(Aggregate::Sum), mut of) => match of.remove(0) {
            Core::Bind {
                bind: Bind::Map,
                source,
                var,
                body,
            } => {
                let body = at_least(*body, Decimal::ONE, next);
                Core::bind(Bind::AtLeast(1), *source, var, body)
            }
            other => other,
        },
        other => other,
    }
}

/// Whether a list consists of things, rows, events or results of maps, none of which is null.
#[expect(clippy::wildcard_enum_match_arm, reason = "a list of any other form may hold null")]
fn objects(list: &Core) -> bool {
    match list {
        Core::Apply(Op::Relation(_) | Op::Events | Op::DistinctThings, _) => true,
        Core::Bind {
            bind: Bind::Filter | Bind::Top { .. },
            source,
            ..
        } => objects(source),
        Core::Bind {
            bind: Bind::Map | Bind::FlatMap,
            ..
        } => true,
        _ => false,
    }
}

/// How often a variable is used.
fn uses(core: &Core, var: Var) -> usize {
    let mut count = usize::from(*core == Core::Var(var));
    core.each(&mut |child| count += uses(child, var));
    count
}

/// Whether an expression is a path of fields of a variable.
fn is_path(core: &Core, var: Var) -> bool {
    matches!(core, Core::Apply(Op::Field(_) | Op::Amount, of) if of[0] == Core::Var(var) || is_path(&of[0], var))
}

/// The value of an operation on literals, where it depends on no setting.
fn folded(op: &Op, operands: &[Core]) -> Option<Core> {
    let foldable = matches!(
        op,
        Op::Compare(_)
            | Op::Arithmetic(_)
            | Op::Negate
            | Op::Text { .. }
            | Op::Matches(_)
            | Op::In { .. }
            | Op::Intersects
            | Op::SubsetOf
            | Op::IsNull
            | Op::IsNotNull
    );
    if !foldable || operands.is_empty() || !operands.iter().all(|operand| matches!(operand, Core::Literal(_))) {
        return None;
    }
    crate::eval::constant(&Core::Apply(op.clone(), operands.to_vec()))
}

fn bound(bind: Bind, source: Core, var: Var, body: Core, next: &mut Fresh) -> Result<Core, Core> {
    match (bind, source) {
        (Bind::Filter, source) if body == Core::bool(true) => Ok(source),
        (Bind::AtLeast(_), _) if body == Core::bool(false) => Ok(Core::bool(false)),
        (Bind::Map, source) if body == Core::Var(var) && objects(&source) => Ok(source),
        (
            Bind::Filter | Bind::AtLeast(_),
            Core::Bind {
                bind: Bind::Filter,
                source,
                var: inner,
                body: condition,
            },
        ) => {
            let body = Core::and(vec![*condition, body.substitute(var, &Core::Var(inner))]);
            Ok(Core::bind(bind, *source, inner, body))
        }
        (
            Bind::Filter | Bind::Map | Bind::FlatMap,
            Core::Bind {
                bind: Bind::FlatMap,
                source,
                var: outer,
                body: list,
            },
        ) => Ok(Core::bind(Bind::FlatMap, *source, outer, Core::bind(bind, *list, var, body))),
        // A path of two fields is one walk over the list; null has no fields.
        (
            Bind::Map,
            Core::Bind {
                bind: Bind::Map,
                source,
                var: inner,
                body: item,
            },
        ) if is_path(&body, var) => Ok(Core::bind(Bind::Map, *source, inner, body.substitute(var, &item))),
        (
            Bind::AtLeast(1),
            Core::Bind {
                bind: Bind::FlatMap,
                source,
                var: outer,
                body: list,
            },
        ) => {
            let inner = if objects(&list) {
                body
            } else {
                Core::and(vec![Core::apply(Op::IsNotNull, vec![Core::Var(var)]), body])
            };
            Ok(Core::bind(Bind::AtLeast(1), *source, outer, Core::bind(Bind::AtLeast(1), *list, var, inner)))
        }
        (
            Bind::AtLeast(_),
            Core::Bind {
                bind: Bind::Map,
                source,
                var: inner,
                body: item,
            },
        ) if item.size() * (1 + uses(&body, var)) <= COPY_MAX => {
            let present = Core::apply(Op::IsNotNull, vec![item.clone().refresh(next)]);
            let body = Core::and(vec![present, body.inline(var, &item, next)]);
            Ok(Core::bind(bind, *source, inner, body))
        }
        (Bind::AtLeast(1), Core::Apply(Op::DistinctThings | Op::Distinct, mut of)) => Ok(Core::bind(bind, of.remove(0), var, body)),
        (bind, source) => Err(Core::bind(bind, source, var, body)),
    }
}
