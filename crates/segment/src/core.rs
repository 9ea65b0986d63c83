//! The core language: the form of a type-checked rule, and the input of plans.
//!
//! Names are resolved, implicit parameters are filled in, relations and events are nodes of their
//! own. Two shapes cover everything: `Apply`, an operation on evaluated operands, and `Bind`, an
//! operation that runs a body for every item of a list. Variables that lists bind are unique within
//! one rule, so that substitution cannot capture; `SUBJECT` is the thing the expression is about.

mod asked;
mod canonical;
mod kept;
mod shapes;
mod var;

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_model::{Relation, Text, Value};
use millrace_pql::ast::{Aggregate, Comparison, Direction, Moment, Unit};

use crate::view::FeatureId;

pub use asked::Asked;
pub use kept::Kept;
pub(crate) use shapes::{children, distinct, linked, newest_first};
pub use var::{Fresh, QueryRef, SUBJECT, Var};

/// The field that names the thing in rows of a list-valued feature.
pub const ROW_ID: &str = "#id";

/// An expression of the core language.
#[derive(Clone, Debug, PartialEq)]
pub enum Core {
    Literal(Value),
    Var(Var),
    /// A word of time; evaluates to the instant at which its span begins.
    Moment(Moment),
    /// The kept rows of an event query of the subject. Residuals only.
    Rows(QueryRef),
    /// An expression whose value is kept up to date, and how it is computed otherwise.
    Kept {
        kept: Kept,
        whole: Box<Core>,
    },
    Apply(Op, Vec<Core>),
    /// `body` for each item of `source`; null is an empty list, a single value a list of one.
    Bind {
        bind: Bind,
        source: Box<Core>,
        var: Var,
        body: Box<Core>,
    },
    /// Groups of a `GroupBy` map: `body` for each key and group, in order of keys.
    Groups {
        source: Box<Core>,
        key: Var,
        group: Var,
        body: Box<Core>,
    },
    Chain(Vec<ChainStep>),
}

/// How a binder uses its body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bind {
    /// The items for which the body holds.
    Filter,
    /// The bodies that are not null.
    Map,
    /// The items of the bodies' lists, in order; nulls left out.
    FlatMap,
    /// Whether the body holds for at least this number of items.
    AtLeast(u32),
    /// The first `count` items by the body, highest first unless `lowest`; items whose body is null
    /// left out.
    Top { count: u32, lowest: bool },
    /// A map from the body (as text) to the items that have it.
    GroupBy,
}

/// A step of a chain: the events it takes, and their position.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainStep {
    pub negated: bool,
    /// The candidate events.
    pub source: Core,
    /// An event of `source`; in later steps' bodies, the last event this step took.
    pub var: Var,
    /// The condition on a candidate; may refer to earlier steps' variables.
    pub body: Core,
    /// At least this number.
    pub count: u32,
}

/// A text test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextTest {
    Like,
    StartsWith,
    EndsWith,
    Contains,
    Equals,
}

/// A compiled regular expression; equal where the texts are.
#[derive(Clone, Debug)]
pub struct Pattern(pub Arc<regex::Regex>);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A part of a date in the rule's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatePart {
    Year,
    Month,
    DayOfMonth,
}

/// An operation on evaluated operands; the comment names the operands.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// conditions; any number
    And,
    /// conditions; any number
    Or,
    /// condition
    Not,
    /// condition, then, else
    If,
    /// left, right
    Compare(Comparison),
    /// left, right
    Arithmetic(Arithmetic),
    /// number
    Negate,
    /// value or thing; maps over lists
    Field(Text),
    /// money record; its amount in the default currency
    Amount,
    /// thing or row
    Relation(Relation),
    /// person
    Events,
    /// thing, row or event; its id
    Id,
    /// thing or row; the rows of this far list. Only while an expression is split, until the list
    /// is a feature or a column.
    Far(usize),
    /// thing; its feature. Second operand: the value where there is no thing. Residuals only.
    Feature(FeatureId),
    /// event row; the column of this name. Residuals only.
    Column(u64),
    /// subject
    InSegment(Text),
    /// items
    List,
    /// values, in the order of the names
    Record(Vec<Text>),
    /// list of things; each once, by id
    DistinctThings,
    /// list; each value once
    Distinct,
    /// list
    Aggregate(Aggregate),
    /// list
    Head,
    /// value
    IsNull,
    /// value
    IsNotNull,
    /// text, pattern; false where either is null
    Text { test: TextTest, negated: bool, case_sensitive: bool },
    /// text
    Matches(Pattern),
    /// text; the numbered group of the first match
    RegexGroup(Pattern, u32),
    /// value, list; false where either is null
    In { negated: bool },
    /// list, list
    Intersects,
    /// list, list
    Intersection,
    /// list, list; whether every value of the first is in the second
    SubsetOf,
    /// map, key
    Get,
    /// map
    Keys,
    /// map
    Values,
    /// key, value; a map of one entry
    MapEntry,
    /// list of maps; one map, later entries win
    Merge,
    /// instant
    DatePart(DatePart),
    /// year, month, day
    Date,
    /// untyped value; its value as one of a kind, null if it is not one
    Read(Kind),
    /// instant, date, or the text of one; an instant, which for a date is its midnight in the
    /// rule's zone
    Instant,
    /// fact, amount, anchor
    Window { comparison: Comparison, unit: Unit, direction: Direction },
    /// fact, anchor
    Relative(Direction),
    /// fact, anchor: within the anchor's span; the day of a plain instant
    On,
    /// fact, from, to
    Between,
}

/// The kind as which an untyped value is read next to a typed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Bool,
    Number,
    Text,
    Date,
    /// Anything but a text: what aggregates take of untyped lists.
    NoText,
}

impl Core {
    pub fn apply(op: Op, operands: Vec<Core>) -> Core {
        Core::Apply(op, operands)
    }

    pub fn bind(bind: Bind, source: Core, var: Var, body: Core) -> Core {
        Core::Bind {
            bind,
            source: Box::new(source),
            var,
            body: Box::new(body),
        }
    }

    pub fn bool(flag: bool) -> Core {
        Core::Literal(Value::Bool(flag))
    }

    pub fn null() -> Core {
        Core::Literal(Value::Null)
    }

    pub fn not(of: Core) -> Core {
        Core::apply(Op::Not, vec![of])
    }

    pub fn field(of: Core, name: &str) -> Core {
        Core::apply(Op::Field(Text::new(name)), vec![of])
    }

    pub fn relation(of: Core, relation: Relation) -> Core {
        Core::apply(Op::Relation(relation), vec![of])
    }

    /// The conjuncts of a condition: the operands of `And`; none for the literal `true`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other expression is one conjunct")]
    pub fn conjuncts(self) -> Vec<Core> {
        match self {
            Core::Apply(Op::And, operands) => operands,
            Core::Literal(Value::Bool(true)) => Vec::new(),
            other => vec![other],
        }
    }

    /// The conjunction; flat, `true` if empty.
    pub fn and(conditions: Vec<Core>) -> Core {
        let mut flat: Vec<Core> = conditions.into_iter().flat_map(Core::conjuncts).collect();
        if flat.contains(&Core::bool(false)) {
            return Core::bool(false);
        }
        match flat.len() {
            0 => Core::bool(true),
            1 => flat.remove(0),
            _ => Core::apply(Op::And, flat),
        }
    }

    /// The direct sub-expressions.
    pub fn each<'a>(&'a self, f: &mut dyn FnMut(&'a Core)) {
        match self {
            Core::Literal(_) | Core::Var(_) | Core::Moment(_) | Core::Rows(_) => {}
            Core::Kept { whole, .. } => f(whole),
            Core::Apply(_, operands) => operands.iter().for_each(f),
            Core::Bind { source, body, .. } | Core::Groups { source, body, .. } => {
                f(source);
                f(body);
            }
            Core::Chain(steps) => {
                for step in steps {
                    f(&step.source);
                    f(&step.body);
                }
            }
        }
    }

    /// This node with its direct sub-expressions replaced.
    pub fn map(self, f: &mut dyn FnMut(Core) -> Core) -> Core {
        match self {
            Core::Literal(_) | Core::Var(_) | Core::Moment(_) | Core::Rows(_) => self,
            Core::Kept { kept, whole } => Core::Kept {
                kept,
                whole: Box::new(f(*whole)),
            },
            Core::Apply(op, operands) => Core::Apply(op, operands.into_iter().map(f).collect()),
            Core::Bind { bind, source, var, body } => Core::Bind {
                bind,
                source: Box::new(f(*source)),
                var,
                body: Box::new(f(*body)),
            },
            Core::Groups { source, key, group, body } => Core::Groups {
                source: Box::new(f(*source)),
                key,
                group,
                body: Box::new(f(*body)),
            },
            Core::Chain(steps) => Core::Chain(
                steps
                    .into_iter()
                    .map(|step| ChainStep {
                        source: f(step.source),
                        body: f(step.body),
                        ..step
                    })
                    .collect(),
            ),
        }
    }

    /// Replaces every occurrence of `what` by `with`.
    #[must_use]
    pub fn replace(self, what: &Core, with: &Core) -> Core {
        if self == *what {
            with.clone()
        } else {
            self.map(&mut |child| child.replace(what, with))
        }
    }

    /// Replaces a variable by `with`. If the expression binds variables itself, one copy at most:
    /// see `inline`.
    #[must_use]
    pub fn substitute(self, var: Var, with: &Core) -> Core {
        self.replace(&Core::Var(var), with)
    }

    /// As `substitute`, every copy with variables of its own.
    #[must_use]
    pub fn inline(self, var: Var, with: &Core, next: &mut Fresh) -> Core {
        if self == Core::Var(var) {
            with.clone().refresh(next)
        } else {
            self.map(&mut |child| child.inline(var, with, next))
        }
    }

    /// The same expression with new variables.
    #[must_use]
    pub fn refresh(self, next: &mut Fresh) -> Core {
        let new = |body: Core, var: Var, next: &mut Fresh| {
            let fresh = next.var();
            (body.substitute(var, &Core::Var(fresh)), fresh)
        };
        match self {
            Core::Bind { bind, source, var, body } => {
                let source = source.refresh(next);
                let (body, var) = new(body.refresh(next), var, next);
                Core::bind(bind, source, var, body)
            }
            Core::Groups { source, key, group, body } => {
                let source = Box::new(source.refresh(next));
                let (body, key) = new(body.refresh(next), key, next);
                let (body, group) = new(body, group, next);
                Core::Groups {
                    source,
                    key,
                    group,
                    body: Box::new(body),
                }
            }
            Core::Chain(mut steps) => {
                for at in 0..steps.len() {
                    let step = &mut steps[at];
                    step.source = std::mem::replace(&mut step.source, Core::null()).refresh(next);
                    step.body = std::mem::replace(&mut step.body, Core::null()).refresh(next);
                    let old = step.var;
                    let var = next.var();
                    steps[at].var = var;
                    for step in &mut steps[at..] {
                        step.body = std::mem::replace(&mut step.body, Core::null()).substitute(old, &Core::Var(var));
                    }
                }
                Core::Chain(steps)
            }
            other @ (Core::Literal(_) | Core::Var(_) | Core::Moment(_) | Core::Rows(_) | Core::Kept { .. } | Core::Apply(..)) => {
                other.map(&mut |child| child.refresh(next))
            }
        }
    }

    /// Whether `test` holds of this node or one within.
    pub fn any(&self, test: &dyn Fn(&Core) -> bool) -> bool {
        let mut found = test(self);
        self.each(&mut |child| found = found || child.any(test));
        found
    }

    /// The total number of nodes.
    pub fn size(&self) -> usize {
        let mut size = 1;
        self.each(&mut |child| size += child.size());
        size
    }

    /// Variables that are used and not bound within.
    pub fn free(&self) -> BTreeSet<Var> {
        let mut used = BTreeSet::new();
        let mut bound = BTreeSet::new();
        self.variables(&mut used, &mut bound);
        // Binders are unique, so a variable bound anywhere within is not free.
        &used - &bound
    }

    fn variables(&self, used: &mut BTreeSet<Var>, bound: &mut BTreeSet<Var>) {
        match self {
            Core::Var(var) => {
                used.insert(*var);
            }
            Core::Bind { var, .. } => {
                bound.insert(*var);
            }
            Core::Groups { key, group, .. } => bound.extend([*key, *group]),
            Core::Chain(steps) => bound.extend(steps.iter().map(|step| step.var)),
            Core::Literal(_) | Core::Moment(_) | Core::Rows(_) | Core::Kept { .. } | Core::Apply(..) => {}
        }
        self.each(&mut |child| child.variables(used, bound));
    }

    /// Whether time alone can change the value.
    pub fn temporal(&self) -> bool {
        self.any(&|node| match node {
            Core::Moment(_) => true,
            // Events ahead of now appear later; the end of a chain is now.
            Core::Apply(Op::Events, _) | Core::Rows(_) | Core::Chain(_) => true,
            Core::Literal(_) | Core::Var(_) | Core::Kept { .. } | Core::Apply(..) | Core::Bind { .. } | Core::Groups { .. } => false,
        })
    }

    /// Whether the value depends on the time zone.
    pub fn zoned(&self) -> bool {
        self.any(&|node| match node {
            Core::Moment(moment) => *moment != Moment::Now,
            Core::Apply(Op::DatePart(_) | Op::Instant | Op::On, _) => true,
            Core::Apply(Op::Window { unit, comparison, .. }, _) => {
                matches!(comparison, Comparison::Equal | Comparison::NotEqual)
                    || matches!(unit, Unit::Month | Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium)
            }
            Core::Literal(_)
            | Core::Var(_)
            | Core::Rows(_)
            | Core::Kept { .. }
            | Core::Apply(..)
            | Core::Bind { .. }
            | Core::Groups { .. }
            | Core::Chain(_) => false,
        })
    }

    /// Whether the value depends on the rates of currencies.
    pub fn monetary(&self) -> bool {
        self.any(&|node| matches!(node, Core::Apply(Op::Amount, _)))
    }
}
