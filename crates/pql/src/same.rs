//! Equality of trees without regard to places.

use crate::ast::{Binding, EventStep, Expr, Node, When};

impl Expr {
    /// Whether both trees are the same, wherever in a text they are.
    #[must_use]
    pub fn same(&self, other: &Expr) -> bool {
        match (&self.node, &other.node) {
            (Node::Null, Node::Null) => true,
            (Node::Bool(a), Node::Bool(b)) => a == b,
            (Node::Int(a), Node::Int(b)) => a == b,
            (Node::Decimal(a), Node::Decimal(b)) => a == b,
            (Node::Text(a), Node::Text(b)) | (Node::Name(a), Node::Name(b)) => a == b,
            (Node::Array(a), Node::Array(b)) => all(a, b),
            (Node::Object(a), Node::Object(b)) => a.len() == b.len() && a.iter().zip(b).all(|((k, v), (l, w))| k == l && v.same(w)),
            (Node::Parameter(a), Node::Parameter(b)) | (Node::Climb(a), Node::Climb(b)) => a == b,
            (Node::Field { of: a, name: n }, Node::Field { of: b, name: m }) => n == m && a.same(b),
            (Node::Filter { of: a, condition: c }, Node::Filter { of: b, condition: d }) => a.same(b) && c.same(d),
            (Node::Lambda { parameters: p, body: a }, Node::Lambda { parameters: q, body: b }) => p == q && a.same(b),
            (Node::Call { function: f, arguments: a }, Node::Call { function: g, arguments: b }) => f == g && all(a, b),
            (Node::Method { of: a, name: n, arguments: x }, Node::Method { of: b, name: m, arguments: y }) => n == m && a.same(b) && all(x, y),
            (Node::Not(a), Node::Not(b)) | (Node::Negate(a), Node::Negate(b)) => a.same(b),
            (
                Node::Binary {
                    operator: o,
                    left: a,
                    right: b,
                },
                Node::Binary {
                    operator: p,
                    left: c,
                    right: d,
                },
            ) => o == p && a.same(c) && b.same(d),
            (
                Node::Quantifier {
                    quantifier: q,
                    bindings: a,
                    condition: c,
                },
                Node::Quantifier {
                    quantifier: r,
                    bindings: b,
                    condition: d,
                },
            ) => q == r && bound(a, b) && optional(c.as_deref(), d.as_deref()),
            (
                Node::Select {
                    item: i,
                    bindings: a,
                    condition: c,
                },
                Node::Select {
                    item: j,
                    bindings: b,
                    condition: d,
                },
            ) => optional(i.as_deref(), j.as_deref()) && bound(a, b) && optional(c.as_deref(), d.as_deref()),
            (
                Node::Aggregate {
                    aggregate: f,
                    item: i,
                    bindings: a,
                    condition: c,
                },
                Node::Aggregate {
                    aggregate: g,
                    item: j,
                    bindings: b,
                    condition: d,
                },
            ) => f == g && i.same(j) && bound(a, b) && optional(c.as_deref(), d.as_deref()),
            (Node::Let { name: n, value: a, body: b }, Node::Let { name: m, value: c, body: d }) => n == m && a.same(c) && b.same(d),
            (Node::Moment(a), Node::Moment(b)) => a == b,
            (Node::Occurs { subject: a, when: x }, Node::Occurs { subject: b, when: y }) => a.same(b) && window(x, y),
            (
                Node::Chain {
                    events: a,
                    timestamp: t,
                    steps: x,
                },
                Node::Chain {
                    events: b,
                    timestamp: u,
                    steps: y,
                },
            ) => a.same(b) && t.same(u) && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| step(x, y)),
            _ => false,
        }
    }
}

fn all(a: &[Expr], b: &[Expr]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

fn optional(a: Option<&Expr>, b: Option<&Expr>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.same(b),
        (None, None) => true,
        _ => false,
    }
}

fn bound(a: &[Binding], b: &[Binding]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.variable == b.variable && a.source.same(&b.source))
}

fn window(a: &When, b: &When) -> bool {
    let kind = match (a, b) {
        (
            When::Offset {
                comparison: c,
                unit: u,
                direction: d,
                ..
            },
            When::Offset {
                comparison: e,
                unit: v,
                direction: f,
                ..
            },
        ) => c == e && u == v && d == f,
        (When::Relative { direction: d, .. }, When::Relative { direction: e, .. }) => d == e,
        (When::On(_), When::On(_)) | (When::Between { .. }, When::Between { .. }) => true,
        _ => false,
    };
    kind && a.parts().zip(b.parts()).all(|(a, b)| a.same(b))
}

fn step(a: &EventStep, b: &EventStep) -> bool {
    let when = match (&a.when, &b.when) {
        (Some(a), Some(b)) => window(a, b),
        (None, None) => true,
        _ => false,
    };
    let parts = [(&a.what, &b.what), (&a.condition, &b.condition), (&a.count, &b.count)];
    when && a.label == b.label && a.negated == b.negated && parts.iter().all(|(a, b)| optional(a.as_ref(), b.as_ref()))
}
