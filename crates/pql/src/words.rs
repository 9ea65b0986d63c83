//! The words of the language, and which of them a name must avoid.

use crate::ast::{Aggregate, Binary, Comparison, Direction, Moment, Quantifier, Unit};

/// Words that never stand for a bare name: fields of that name are written after a dot or between
/// backquotes.
pub(crate) const RESERVED: [&str; 15] = [
    "and", "or", "not", "in", "notIn", "like", "occurs", "where", "from", "over", "select", "let", "true", "false", "null",
];

/// Words that stand for a bare name if the form they introduce does not follow.
pub(crate) const CONTEXTUAL: [&str; 25] = [
    "exists",
    "some",
    "forall",
    "all",
    "none",
    "one",
    "count",
    "sum",
    "average",
    "min",
    "max",
    "now",
    "today",
    "yesterday",
    "tomorrow",
    "this",
    "last",
    "next",
    "before",
    "after",
    "between",
    "on",
    "chain",
    "if",
    "date",
];

/// Units as they are written, singular first.
pub(crate) const UNITS: [(&str, &str, Unit); 11] = [
    ("millisecond", "milliseconds", Unit::Millisecond),
    ("second", "seconds", Unit::Second),
    ("minute", "minutes", Unit::Minute),
    ("hour", "hours", Unit::Hour),
    ("day", "days", Unit::Day),
    ("week", "weeks", Unit::Week),
    ("month", "months", Unit::Month),
    ("year", "years", Unit::Year),
    ("decade", "decades", Unit::Decade),
    ("century", "centuries", Unit::Century),
    ("millennium", "millennia", Unit::Millennium),
];

/// Keywords are written in small or in capital letters, not mixed.
pub(crate) fn is_keyword(word: &str, keyword: &str) -> bool {
    word == keyword || (word.eq_ignore_ascii_case(keyword) && (!word.bytes().any(|b| b.is_ascii_lowercase()) || !word.bytes().any(|b| b.is_ascii_uppercase())))
}

/// The first of `keywords` that `word` is.
pub(crate) fn keyword(word: &str, keywords: &[&'static str]) -> Option<&'static str> {
    keywords.iter().copied().find(|keyword| is_keyword(word, keyword))
}

pub(crate) fn is_reserved(word: &str) -> bool {
    keyword(word, &RESERVED).is_some()
}

/// Whether a bare name has to stand between backquotes so as not to be read as something else.
pub(crate) fn is_taken(word: &str) -> bool {
    is_reserved(word) || keyword(word, &CONTEXTUAL).is_some() || unit(word).is_some()
}

pub(crate) fn unit(word: &str) -> Option<Unit> {
    UNITS
        .iter()
        .find(|(one, many, _)| is_keyword(word, one) || is_keyword(word, many))
        .map(|(_, _, unit)| *unit)
}

/// The unit's word: singular next to a one and after `this`, `last`, `next`, otherwise plural.
pub(crate) fn unit_word(wanted: Unit, plural: bool) -> &'static str {
    // Every unit stands in the table.
    UNITS
        .iter()
        .find(|(_, _, unit)| *unit == wanted)
        .map_or("", |(one, many, _)| if plural { many } else { one })
}

pub(crate) fn quantifier(word: &str) -> Option<Quantifier> {
    Some(match keyword(word, &["exists", "some", "forall", "all", "none", "one"])? {
        "exists" | "some" => Quantifier::Exists,
        "forall" | "all" => Quantifier::Forall,
        "none" => Quantifier::None,
        _ => Quantifier::One,
    })
}

pub(crate) fn quantifier_word(quantifier: Quantifier) -> &'static str {
    match quantifier {
        Quantifier::Exists => "exists",
        Quantifier::Forall => "forall",
        Quantifier::None => "none",
        Quantifier::One => "one",
    }
}

pub(crate) fn aggregate(word: &str) -> Option<Aggregate> {
    Some(match keyword(word, &["count", "sum", "average", "min", "max"])? {
        "count" => Aggregate::Count,
        "sum" => Aggregate::Sum,
        "average" => Aggregate::Average,
        "min" => Aggregate::Min,
        _ => Aggregate::Max,
    })
}

pub(crate) fn aggregate_word(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Count => "count",
        Aggregate::Sum => "sum",
        Aggregate::Average => "average",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
    }
}

pub(crate) fn direction(word: &str) -> Option<Direction> {
    Some(match keyword(word, &["before", "after", "from"])? {
        "before" => Direction::Before,
        "after" => Direction::After,
        _ => Direction::From,
    })
}

pub(crate) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Before => "before",
        Direction::After => "after",
        Direction::From => "from",
    }
}

/// Words that are a moment by themselves.
pub(crate) fn instant(word: &str) -> Option<Moment> {
    Some(match keyword(word, &["now", "today", "yesterday", "tomorrow"])? {
        "now" => Moment::Now,
        "today" => Moment::Today,
        "yesterday" => Moment::Yesterday,
        _ => Moment::Tomorrow,
    })
}

/// Words that are a moment together with a unit.
pub(crate) fn relative(word: &str) -> Option<fn(Unit) -> Moment> {
    Some(match keyword(word, &["this", "last", "next"])? {
        "this" => Moment::This,
        "last" => Moment::Last,
        _ => Moment::Next,
    })
}

const OPERATORS: [(&str, Binary); 15] = [
    ("and", Binary::And),
    ("or", Binary::Or),
    ("=", Binary::Equal),
    ("!=", Binary::NotEqual),
    ("<", Binary::Less),
    ("<=", Binary::LessOrEqual),
    (">", Binary::Greater),
    (">=", Binary::GreaterOrEqual),
    ("in", Binary::In),
    ("notIn", Binary::NotIn),
    ("+", Binary::Add),
    ("-", Binary::Subtract),
    ("*", Binary::Multiply),
    ("/", Binary::Divide),
    ("%", Binary::Remainder),
];

pub(crate) fn operator(text: &str) -> Option<Binary> {
    OPERATORS.iter().find(|(found, _)| *found == text).map(|(_, operator)| *operator)
}

pub(crate) fn operator_text(wanted: Binary) -> &'static str {
    // Every operator stands in the table.
    OPERATORS.iter().find(|(_, operator)| *operator == wanted).map_or("", |(text, _)| text)
}

const COMPARISONS: [(&str, Comparison); 6] = [
    ("=", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
];

pub(crate) fn comparison(text: &str) -> Option<Comparison> {
    COMPARISONS.iter().find(|(found, _)| *found == text).map(|(_, comparison)| *comparison)
}

pub(crate) fn comparison_text(wanted: Comparison) -> &'static str {
    // Every comparison stands in the table.
    COMPARISONS.iter().find(|(_, comparison)| *comparison == wanted).map_or("", |(text, _)| text)
}

/// A moment as it is written, in one word or two.
pub(crate) fn moment(text: &str) -> Option<Moment> {
    match text.split_once(' ') {
        None => instant(text),
        Some((which, of)) => Some(relative(which)?(unit(of)?)),
    }
}

pub(crate) fn moment_text(moment: Moment) -> String {
    match moment {
        Moment::Now => "now".to_owned(),
        Moment::Today => "today".to_owned(),
        Moment::Yesterday => "yesterday".to_owned(),
        Moment::Tomorrow => "tomorrow".to_owned(),
        Moment::This(unit) => format!("this {}", unit_word(unit, false)),
        Moment::Last(unit) => format!("last {}", unit_word(unit, false)),
        Moment::Next(unit) => format!("next {}", unit_word(unit, false)),
    }
}
