//! The syntax tree of a rule: the result of parsing the text or the JSON form, and the input of
//! formatter, converter and type-checker.
//!
//! The tree records what was written, not what it means: names are not resolved, implicit
//! parameters are not filled in. Every node carries the span of the text it came from (an empty
//! span if it came from JSON).

/// Byte offsets into the rule's text, `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last one; never below `start`.
    pub end: u32,
}

/// A node and its place. Equality compares places too; `Expr::same` does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// The text it came from, with its operands and without the brackets around it.
    pub span: Span,
    /// What stands there, with the operands below it.
    pub node: Node,
}

/// The forms of the language, one level deep: operands are expressions of their own.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// An integer with its sign.
    Int(i64),
    /// Invariant: normalised.
    Decimal(millrace_model::Decimal),
    /// A text between quotes, escapes resolved.
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
        /// The record or list to the left of the dot.
        of: Box<Expr>,
        /// The field, as written; whether it exists is for the type-checker.
        name: String,
    },
    /// `of[condition]`
    Filter {
        /// The list, or the record to test.
        of: Box<Expr>,
        /// What an item must fulfil; bare names in it are the item's fields.
        condition: Box<Expr>,
    },
    /// `(a, b) => body`
    Lambda {
        /// The names that `body` may use, in the order of the arguments; at most two in a parsed
        /// text.
        parameters: Vec<String>,
        /// The value for one item.
        body: Box<Expr>,
    },
    /// `function(arguments)`, `date(2026, 1, 2)`, `if(c, a, b)`, `inSegment("x")`, `currentMonth()`
    /// and aggregates as functions included.
    Call {
        /// The name before the bracket, keywords in small letters; the type-checker refuses an
        /// unknown one.
        function: String,
        /// In the order written; the number is not checked here.
        arguments: Vec<Expr>,
    },
    /// `of.name(arguments)`
    Method {
        /// The receiver: what stands before the dot.
        of: Box<Expr>,
        /// The name after the dot; the type-checker refuses an unknown one.
        name: String,
        /// What stands between the brackets, the receiver left out.
        arguments: Vec<Expr>,
    },
    /// `not inner`, `!inner`
    Not(Box<Expr>),
    /// `-inner`; a sign before a number is part of the number.
    Negate(Box<Expr>),
    /// `left operator right`; a chain of one operator is a tree of these.
    Binary {
        /// The sign or word between the operands.
        operator: Binary,
        /// The operand before it.
        left: Box<Expr>,
        /// The operand after it.
        right: Box<Expr>,
    },
    /// `exists v from A, w from v.b where C`; the condition may be missing.
    Quantifier {
        /// How many items must fulfil the condition.
        quantifier: Quantifier,
        /// The sources of items, at least one; a later one may name the variables before it.
        bindings: Vec<Binding>,
        /// What an item must fulfil; without it, every item counts.
        condition: Option<Box<Expr>>,
    },
    /// `select V from A where C` (no item) and `select EXPR from PATH V? where C` (an item).
    Select {
        /// The value to take from each item; without it, the item of the first binding itself.
        item: Option<Box<Expr>>,
        /// The sources of items, at least one; a later one may name the variables before it.
        bindings: Vec<Binding>,
        /// Which items are taken; without it, all of them.
        condition: Option<Box<Expr>>,
    },
    /// `sum E over V from A where C`
    Aggregate {
        /// How the values become one.
        aggregate: Aggregate,
        /// The value of each item, between the word and `over`.
        item: Box<Expr>,
        /// The sources of items, at least one; a later one may name the variables before it.
        bindings: Vec<Binding>,
        /// Which items count; without it, all of them.
        condition: Option<Box<Expr>>,
    },
    /// `let N = E in E`
    Let {
        /// The name that `body` may use.
        name: String,
        /// Its value, which cannot use the name.
        value: Box<Expr>,
        /// The expression that the whole stands for.
        body: Box<Expr>,
    },
    /// `now`, `today`, `this month` …
    Moment(Moment),
    /// `subject occurs when`
    Occurs {
        /// The instant or date that is tested.
        subject: Box<Expr>,
        /// The window that it must lie in.
        when: When,
    },
    /// `chain(events, timestamp, [steps])`
    Chain {
        /// The list of events.
        events: Box<Expr>,
        /// The instant of an event; a bare name is the event's field.
        timestamp: Box<Expr>,
        /// In the order in which events must fit them.
        steps: Vec<EventStep>,
    },
}

/// `variable from source`; without a variable the item is implicit.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// The name of an item in the condition and in later bindings.
    pub variable: Option<String>,
    /// The list whose items it stands for.
    pub source: Expr,
}

/// An operator between two operands; each variant shows its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `and`
    And,
    /// `or`
    Or,
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `in`
    In,
    /// `notIn`
    NotIn,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

/// How many items of a list must fulfil a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantifier {
    /// `exists`, `some`
    Exists,
    /// `forall`, `all`
    Forall,
    /// `none`: not a single item.
    None,
    /// `one`: exactly one item, not two.
    One,
}

/// How the values of several items become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// `count`: how many values there are that are not null.
    Count,
    /// `sum`
    Sum,
    /// `average`: the arithmetic mean.
    Average,
    /// `min`: the least value.
    Min,
    /// `max`: the greatest value.
    Max,
}

/// A unit of time; a text may have it in the plural.
///
/// Up to weeks a unit has a fixed length; months and longer are steps on the calendar of the
/// segment's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// 1 ms
    Millisecond,
    /// 1,000 ms
    Second,
    /// 60 seconds
    Minute,
    /// 60 minutes
    Hour,
    /// 24 hours as a distance; as a period, from local midnight to the next.
    Day,
    /// Seven days; as a period, from Monday.
    Week,
    /// A calendar month: 28 to 31 days.
    Month,
    /// Twelve months.
    Year,
    /// Ten years; as a period, from a year that ends in 0.
    Decade,
    /// A hundred years; as a period, from a year that ends in 00.
    Century,
    /// A thousand years; as a period, from a year that ends in 000.
    Millennium,
}

/// An instant or a period that is named from the time of evaluation, in the segment's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// `now`: the instant of evaluation.
    Now,
    /// `today`: the local date that holds `now`.
    Today,
    /// `yesterday`: the date before today.
    Yesterday,
    /// `tomorrow`: the date after today.
    Tomorrow,
    /// `this month`: the calendar unit that holds `now`.
    This(Unit),
    /// `last month`: the calendar unit before it.
    Last(Unit),
    /// `next month`: the calendar unit after it.
    Next(Unit),
}

/// How the distance of an instant from its anchor compares with the amount of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// To which side of its anchor a window looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `before`: to the past.
    Before,
    /// `after`: to the future.
    After,
    /// Looks forwards as `After` does; kept apart so that text and JSON round-trip.
    From,
}

/// The right-hand side of `occurs`, and the `WHEN` of a chain step.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// `<= 3 days before now`
    Offset {
        /// How the distance compares with `amount`.
        comparison: Comparison,
        /// How many units: a number.
        amount: Box<Expr>,
        /// The unit of `amount`.
        unit: Unit,
        /// To which side of the anchor.
        direction: Direction,
        /// The instant from which the distance is measured.
        anchor: Box<Expr>,
    },
    /// `before today`
    Relative {
        /// To which side of the anchor.
        direction: Direction,
        /// The instant, or the period, that bounds the window.
        anchor: Box<Expr>,
    },
    /// `today`, `on date(2026, 1, 2)`
    On(Box<Expr>),
    /// `between a and b`
    Between {
        /// The earlier end.
        from: Box<Expr>,
        /// The later end.
        to: Box<Expr>,
    },
}

/// `LABEL: [not] WHAT(condition) WHEN(window) WHERE(condition) COUNT(n)`
#[derive(Clone, Debug, PartialEq)]
pub struct EventStep {
    /// The name by which later steps refer to the event, or to the last one if the step counts
    /// several.
    pub label: String,
    /// `not`: no such event between the steps around it.
    pub negated: bool,
    /// `WHAT`: a condition on the event alone; bare names are its fields.
    pub what: Option<Expr>,
    /// `WHEN`: the window of the event's instant.
    pub when: Option<When>,
    /// `WHERE`: a condition that may refer to earlier steps by label.
    pub condition: Option<Expr>,
    /// `COUNT`: how many events the step takes; one if it is missing.
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
