//! The shape of `a and b and c …`: leaning to the left while short, balanced when long.
//!
//! Generated rules list hundreds of alternatives; a tree that leans to the left would be as deep as
//! the list is long. Parser, formatter and JSON form agree on one shape per number of operands, so
//! that the flat text determines the tree and back.

use crate::ast::{Binary, Expr, Node, Span};

/// Longer chains are halved until they are no longer than this.
const LEANING_MAX: usize = 32;

/// The tree over the operands: themselves where there is one, null where there is none.
pub(crate) fn build(operator: Binary, mut operands: Vec<Expr>) -> Expr {
    if operands.len() > LEANING_MAX {
        let right = operands.split_off(operands.len() / 2);
        return join(operator, build(operator, operands), build(operator, right));
    }
    let mut operands = operands.into_iter();
    let Some(first) = operands.next() else {
        return Expr {
            span: Span::default(),
            node: Node::Null,
        };
    };
    operands.fold(first, |left, right| join(operator, left, right))
}

fn join(operator: Binary, left: Expr, right: Expr) -> Expr {
    let span = Span {
        start: left.span.start,
        end: right.span.end,
    };
    Expr {
        span,
        node: Node::Binary {
            operator,
            left: Box::new(left),
            right: Box::new(right),
        },
    }
}

/// Levels that `build` puts above its operands.
pub(crate) fn height(operands: usize) -> usize {
    if operands > LEANING_MAX {
        1 + height(operands - operands / 2)
    } else {
        operands.saturating_sub(1)
    }
}

/// The operands from which `build` makes exactly this tree: as many as possible, at least two.
/// `None` for anything but `and` and `or`.
pub(crate) fn of(expr: &Expr) -> Option<(Binary, Vec<&Expr>)> {
    let Node::Binary {
        operator: operator @ (Binary::And | Binary::Or),
        left,
        right,
    } = &expr.node
    else {
        return None;
    };
    let mut all = Vec::new();
    collect(expr, *operator, &mut all);
    if has_shape(expr, *operator, all.len()) {
        return Some((*operator, all));
    }
    // The tree was written with parentheses, or built by hand. A short left side can be extended;
    // extending a long one would change its shape.
    let mut list = match of(left) {
        Some((same, list)) if same == *operator && list.len() < LEANING_MAX => list,
        _ => vec![&**left],
    };
    list.push(right);
    Some((*operator, list))
}

fn collect<'e>(expr: &'e Expr, operator: Binary, operands: &mut Vec<&'e Expr>) {
    if let Node::Binary { operator: found, left, right } = &expr.node
        && *found == operator
    {
        collect(left, operator, operands);
        collect(right, operator, operands);
    } else {
        operands.push(expr);
    }
}

/// Whether the tree over `count` operands, none of them of the same operator, is what `build` makes
/// of them.
fn has_shape(expr: &Expr, operator: Binary, count: usize) -> bool {
    let Node::Binary { operator: found, left, right } = &expr.node else {
        return count == 1;
    };
    if *found != operator {
        return count == 1;
    }
    if count < 2 {
        return false;
    }
    let first = if count > LEANING_MAX { count / 2 } else { count - 1 };
    has_shape(left, operator, first) && has_shape(right, operator, count - first)
}
