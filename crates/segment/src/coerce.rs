//! Values of one type read as another: by the checker for literals, and by the evaluator for values
//! without a type.

use chrono_tz::Tz;
use millrace_model::{Date, Timestamp, Value, number};

use crate::core::Kind;

/// A value as one of a kind; null if it is not one. Lists are read item by item.
pub(crate) fn read(value: &Value, kind: Kind) -> Value {
    match (kind, value) {
        (_, Value::List(items)) => Value::List(items.iter().map(|item| read(item, kind)).collect()),
        (Kind::Bool, Value::Bool(_)) | (Kind::Number, Value::Int(_) | Value::Decimal(_)) | (Kind::Text, Value::Text(_)) | (Kind::Date, Value::Date(_)) => {
            value.clone()
        }
        (Kind::Bool, Value::Text(text)) => match text.trim() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::Null,
        },
        (Kind::Number, Value::Text(text)) => Value::number_or_null(number::parse(text)),
        (Kind::Date, Value::Text(text)) => Date::parse(text).map_or(Value::Null, Value::Date),
        (Kind::Text, Value::Bool(flag)) => Value::text(flag.to_string()),
        (Kind::Text, Value::Int(number)) => Value::text(number.to_string()),
        (Kind::Text, Value::Decimal(number)) => Value::text(number.to_string()),
        (Kind::Text, Value::Date(date)) => Value::text(date.to_string()),
        (Kind::Text, Value::Time(instant)) => Value::text(instant.to_string()),
        (Kind::NoText, Value::Text(_)) => Value::Null,
        (Kind::NoText, value) => value.clone(),
        _ => Value::Null,
    }
}

/// A value as an instant: a date is its midnight in the zone, a text is read as either.
pub(crate) fn instant(zone: Tz, value: &Value) -> Option<Timestamp> {
    match value {
        Value::Time(instant) => Some(*instant),
        Value::Date(date) => Some(crate::calendar::midnight(zone, *date)),
        Value::Text(text) => match Date::parse(text) {
            Some(date) => Some(crate::calendar::midnight(zone, date)),
            None => Timestamp::parse(text).ok(),
        },
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// A value, or the items of a list, as instants; null where there is none.
pub(crate) fn as_instants(zone: Tz, value: &Value) -> Value {
    if let Value::List(items) = value {
        Value::List(items.iter().map(|item| as_instants(zone, item)).collect())
    } else {
        instant(zone, value).map_or(Value::Null, Value::Time)
    }
}
