//! The syntax tree of a rule: the result of parsing the text or the JSON form, and the input of
//! formatter, converter and type-checker.
//!
//! The tree records what was written, not what it means: names are not resolved, implicit
//! parameters are not filled in. Every node carries the span of the text it came from (an empty
//! span if it came from JSON).

/// Byte offsets into the rule's text, `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// A node and its place. Equality compares places too; `Expr::same` does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub span: Span,
    pub node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Int(i64),
    /// Invariant: normalised.
    Decimal(millrace_model::Decimal),
    Text(String),
    /// `[a, b]`
    Array(Vec<Expr>),
    /// `{"k": expr}`, in the order written.
    Object(Vec<(String, Expr)>),
    /// A bare name: a variable in scope, otherwise a field of the implicit parameter.
    Name(String),
    /// `$1`, `$2`; counted from one.
    Parameter(u32),
    /// `^`, `^^`: the item that encloses the current filter's item, one level per caret.
    Climb(u32),
    /// `of.name`
    Field {
        of: Box<Expr>,
        name: String,
    },
    /// `of[condition]`
    Filter {
        of: Box<Expr>,
        condition: Box<Expr>,
    },
    /// `(a, b) => body`
    Lambda {
        parameters: Vec<String>,
        body: Box<Expr>,
    },
    /// `function(arguments)`, `date(2026, 1, 2)`, `if(c, a, b)`, `inSegment("x")`, `currentMonth()`
    /// and aggregates as functions included.
    Call {
        function: String,
        arguments: Vec<Expr>,
    },
    /// `of.name(arguments)`
    Method {
        of: Box<Expr>,
        name: String,
        arguments: Vec<Expr>,
    },
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary {
        operator: Binary,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `exists v from A, w from v.b where C`; the condition may be missing.
    Quantifier {
        quantifier: Quantifier,
        bindings: Vec<Binding>,
        condition: Option<Box<Expr>>,
    },
    /// `select V from A where C` (no item) and `select EXPR from PATH V? where C` (an item).
    Select {
        item: Option<Box<Expr>>,
        bindings: Vec<Binding>,
        condition: Option<Box<Expr>>,
    },
    /// `sum E over V from A where C`
    Aggregate {
        aggregate: Aggregate,
        item: Box<Expr>,
        bindings: Vec<Binding>,
        condition: Option<Box<Expr>>,
    },
    /// `let N = E in E`
    Let {
        name: String,
        value: Box<Expr>,
        body: Box<Expr>,
    },
    /// `now`, `today`, `this month` …
    Moment(Moment),
    /// `subject occurs when`
    Occurs {
        subject: Box<Expr>,
        when: When,
    },
    /// `chain(events, timestamp, [steps])`
    Chain {
        events: Box<Expr>,
        timestamp: Box<Expr>,
        steps: Vec<Step>,
    },
}

/// `variable from source`; without a variable the item is implicit.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    pub variable: Option<String>,
    pub source: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantifier {
    /// `exists`, `some`
    Exists,
    /// `forall`, `all`
    Forall,
    None,
    One,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    Count,
    Sum,
    Average,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    Now,
    Today,
    Yesterday,
    Tomorrow,
    This(Unit),
    Last(Unit),
    Next(Unit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Before,
    After,
    /// Looks forwards as `After` does; kept apart so that text and JSON round-trip.
    From,
}

/// The right-hand side of `occurs`, and the `WHEN` of a chain step.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// `<= 3 days before now`
    Offset {
        comparison: Comparison,
        amount: Box<Expr>,
        unit: Unit,
        direction: Direction,
        anchor: Box<Expr>,
    },
    /// `before today`
    Relative { direction: Direction, anchor: Box<Expr> },
    /// `today`, `on date(2026, 1, 2)`
    On(Box<Expr>),
    /// `between a and b`
    Between { from: Box<Expr>, to: Box<Expr> },
}

/// `LABEL: [not] WHAT(condition) WHEN(window) WHERE(condition) COUNT(n)`
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub label: String,
    pub negated: bool,
    pub what: Option<Expr>,
    pub when: Option<When>,
    /// `WHERE`: a condition that may refer to earlier steps by label.
    pub condition: Option<Expr>,
    pub count: Option<Expr>,
}

impl When {
    /// The expressions in it, in the order of the text.
    pub fn parts(&self) -> impl Iterator<Item = &Expr> {
        let (first, second) = match self {
            When::Offset { amount, anchor, .. } => (amount, Some(anchor)),
            When::Relative { anchor, .. } | When::On(anchor) => (anchor, None),
            When::Between { from, to } => (from, Some(to)),
        };
        std::iter::once(&**first).chain(second.map(|part| &**part))
    }
}
