//! From JSON to what a template works with, and back, without a digit less.
//!
//! The template's language has whole numbers and doubles. A number that is neither, since a double does not have its digits, stays a text of digits that is
//! shown and encoded as it is; it cannot be compared or calculated with.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use millrace_model::json::NUMBER;
use millrace_model::number;
use minijinja::value::{DynObject, Enumerator, Kwargs, Object};
use minijinja::{Error, ErrorKind, Value};
use serde_json::{Number, Value as Json};

pub(crate) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => from_number(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(from_json).collect(),
        Json::Object(members) => members.iter().map(|(name, member)| (name.as_str(), from_json(member))).collect(),
    }
}

fn from_number(number: &Number) -> Value {
    let text = number.to_string();
    let Some(exact) = number::parse(&text) else {
        return Value::from_object(Digits(text));
    };
    if exact.scale() == 0 {
        let whole = exact.mantissa();
        return match i64::try_from(whole) {
            Ok(whole) => Value::from(whole),
            Err(_) => Value::from(whole),
        };
    }
    match text.parse::<f64>() {
        Ok(double) if number::of_double(double) == Some(exact) => Value::from(double),
        _ => Value::from_object(Digits(text)),
    }
}

/// A number with more digits than a double has.
#[derive(Debug)]
struct Digits(String);

impl Object for Digits {
    /// As JSON it is what `serde_json` reads as a number.
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some(NUMBER)).then(|| Value::from(self.0.as_str()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&[NUMBER])
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Digits>()?;
        Some(number::parse(&self.0)?.cmp(&number::parse(&other.0)?))
    }

    fn render(self: &Arc<Self>, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

/// The filter `tojson`, with numbers as they are. An indent is taken and does nothing: needless space leaves every body.
pub(crate) fn tojson(value: Value, _indent: Option<Value>, _options: Kwargs) -> Result<Value, Error> {
    let wrong = |error: serde_json::Error| Error::new(ErrorKind::InvalidOperation, "cannot be written as JSON").with_source(error);
    let text = serde_json::to_string(&value).map_err(wrong)?;
    let json: Json = serde_json::from_str(&text).map_err(wrong)?;
    Ok(Value::from_safe_string(json.to_string()))
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    fn rendered(template: &str, json: &str) -> String {
        let mut environment = Environment::new();
        environment.add_filter("tojson", tojson);
        let value: Json = serde_json::from_str(json).expect("JSON");
        let shown = environment.render_str(template, context! { v => from_json(&value) });
        shown.unwrap_or_else(|error| format!("{error:#}"))
    }

    #[test]
    fn numbers_are_numbers_and_keep_their_digits() {
        let table = [
            ("7", "7", "7"),
            ("-0.5", "-0.5", "-0.5"),
            ("324.71", "324.71", "324.71"),
            ("1000000.10", "1000000.1", "1000000.1"),
            ("9007199254740993", "9007199254740993", "9007199254740993"),
            ("12345678901234567890", "12345678901234567890", "12345678901234567890"),
            ("9007199254740993.25", "9007199254740993.25", "9007199254740993.25"),
            (
                "0.1234567890123456789012345678",
                "0.1234567890123456789012345678",
                "0.1234567890123456789012345678",
            ),
        ];
        for (json, shown, encoded) in table {
            assert_eq!(rendered("{{ v }}", json), shown, "{json}");
            assert_eq!(rendered(r#"{{ "score " ~ v }}"#, json), format!("score {shown}"), "{json}");
            assert_eq!(rendered("{{ v|tojson }}", json), encoded, "{json}");
            assert_eq!(
                rendered("{{ [v, {'a': v}]|tojson }}", json),
                format!(r#"[{encoded},{{"a":{encoded}}}]"#),
                "{json}"
            );
            assert_eq!(rendered(r#"{{ ("n " ~ v|tojson)|tojson }}"#, json), format!(r#""n {encoded}""#), "{json}");
        }
    }

    #[test]
    fn numbers_are_compared_and_calculated_with() {
        let table = [
            ("{{ v < 1000 }}", "324.71", "True"),
            ("{{ v == 324.71 }}", "324.71", "True"),
            ("{{ v + 1 }}", "324.5", "325.5"),
            ("{{ v == 7 }}", "7", "True"),
            ("{{ v + 1 }}", "7", "8"),
            ("{{ v is number }}", "7.5", "True"),
            ("{{ v.a[1] > 2 }}", r#"{"a": [1, 2.5]}"#, "True"),
            ("{{ v is none }}", "null", "True"),
            ("{{ v[0] == v[1] }}", "[0.1234567890123456789012345678, 0.1234567890123456789012345678]", "True"),
            ("{{ v|string|float }}", "9007199254740993.25", "9007199254740994.0"),
        ];
        for (template, json, expected) in table {
            assert_eq!(rendered(template, json), expected, "{template} of {json}");
        }
    }
}
