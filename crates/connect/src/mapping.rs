//! The mapping language: from the fields of a foreign record to the fields of a contract record.
//! Pure.
//!
//! A mapping is a map from a target path (`person.name.firstName`) to an expression:
//!
//! ```text
//! "firstName"                                           the source's field; `a.b` reads inside objects
//! { constant: 5 }                                       the same for every record
//! { concat: ["firstName", "lastName"], separator: " " } the texts that are present; absent parts leave no separator
//! { first: ["workPhone", "mobilePhone"] }               the first that is present
//! { list: ["department"] }                              a list of those present; absent where none is
//! { of: "rating", values: {"1": hot}, otherwise: cold } a table; without `otherwise` a value not in it is absent; `otherwise: keep` keeps it
//! { of: "closed", date: "%d.%m.%Y %H:%M", zone: Europe/Berlin }  an instant or a date in another format
//! { of: "amount", number: { decimal: ",", group: "." } } a number in another format; `number: {}` reads `1604.47`
//! { of: "id", prefix: "DE-", suffix: "@crm1.Own" }      a composed text; absent where the field is
//! { when: { field: f, equals: v }, then: …, otherwise: … }   also `in: [..]`, `exists: true`
//! false                                                 removes a built-in rule
//! ```
//!
//! An expression may contain any other expression. The target `extra` takes `{ fields: [a, b] }` or
//! `{ fields: "*" }`: custom fields under their own names; `*` means every field that no other rule
//! reads.
//!
//! A value that cannot be read is an error with the name of the field, never a guess. Null and
//! absent are the same.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};

/// The fields of a foreign record.
pub type Fields = Map<String, Value>;

/// Rules by target path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapping {
    rules: BTreeMap<String, Option<Rule>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Value(Expression),
    /// Fields under their own names; `None`: all that no other rule reads.
    Fields(Option<Vec<String>>),
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Field(String),
    Constant(Value),
    Concat(Vec<Expression>, String),
    First(Vec<Expression>),
    List(Vec<Expression>),
    Values {
        of: Box<Expression>,
        table: BTreeMap<String, Value>,
        otherwise: Otherwise,
    },
    Date {
        of: Box<Expression>,
        format: String,
        zone: Tz,
    },
    Number {
        of: Box<Expression>,
        decimal: char,
        group: Option<char>,
    },
    Affixed {
        of: Box<Expression>,
        prefix: String,
        suffix: String,
    },
    When {
        condition: Condition,
        then: Box<Expression>,
        otherwise: Option<Box<Expression>>,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Otherwise {
    Absent,
    Keep,
    Is(Value),
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    In(String, Vec<Value>),
    Exists(String, bool),
}

/// An invalid rule, by its target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mapping of `{target}`: {detail}")]
pub struct RuleError {
    /// The target path, as written.
    pub target: String,
    /// What is wrong with the expression: a lowercase fragment.
    pub detail: String,
}

/// A record that a mapping cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` for `{target}`: {detail}")]
pub struct MappingError {
    /// The source's field.
    pub field: String,
    /// The target of its value.
    pub target: String,
    /// Why the value cannot be read: a lowercase fragment.
    pub detail: String,
}

impl Mapping {
    /// Reads a mapping; reports all its errors at once.
    ///
    /// # Errors
    /// One error per invalid rule.
    pub fn parse(text: &Map<String, Value>) -> Result<Mapping, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut rules = BTreeMap::new();
        for (target, value) in text {
            match parse_rule(target, value) {
                Ok(rule) => {
                    rules.insert(target.clone(), rule);
                }
                Err(detail) => errors.push(RuleError {
                    target: target.clone(),
                    detail,
                }),
            }
        }
        if errors.is_empty() { Ok(Mapping { rules }) } else { Err(errors) }
    }

    /// These rules, and those of `built_in` for targets that these do not cover.
    #[must_use]
    pub fn over(&self, built_in: &Mapping) -> Mapping {
        let mut rules = built_in.rules.clone();
        rules.extend(self.rules.clone());
        Mapping { rules }
    }

    /// The fields that rules read, to request from the source; `None` means all.
    pub fn reads(&self) -> Option<BTreeSet<String>> {
        let mut read = self.named();
        for rule in self.rules.values().flatten() {
            match rule {
                Rule::Fields(None) => return None,
                Rule::Fields(Some(fields)) => read.extend(fields.iter().cloned()),
                Rule::Value(_) => {}
            }
        }
        Some(read)
    }

    fn named(&self) -> BTreeSet<String> {
        let mut read = BTreeSet::new();
        for rule in self.rules.values().flatten() {
            if let Rule::Value(expression) = rule {
                expression.reads(&mut read);
            }
        }
        read
    }

    /// The contract record's fields, nested by their paths.
    ///
    /// # Errors
    /// The first field that cannot be read.
    pub fn apply(&self, fields: &Fields) -> Result<Map<String, Value>, MappingError> {
        let mut mapped = Map::new();
        for (target, rule) in &self.rules {
            match rule {
                None => {}
                Some(Rule::Value(expression)) => {
                    let value = expression.value(fields).map_err(|(field, detail)| MappingError {
                        field,
                        target: target.clone(),
                        detail,
                    })?;
                    if !value.is_null() {
                        put(&mut mapped, target, value);
                    }
                }
                Some(Rule::Fields(names)) => self.put_fields(&mut mapped, target, names.as_deref(), fields),
            }
        }
        Ok(mapped)
    }

    fn put_fields(&self, mapped: &mut Map<String, Value>, target: &str, names: Option<&[String]>, fields: &Fields) {
        let read = self.named();
        for (name, value) in fields {
            let wanted = names.map_or_else(|| !read.contains(name), |names| names.contains(name));
            if wanted && !value.is_null() {
                // A field's own name may hold dots; it stays one name.
                put_steps(mapped, target.split('.').chain([name.as_str()]), value.clone());
            }
        }
    }
}

fn put(mapped: &mut Map<String, Value>, target: &str, value: Value) {
    put_steps(mapped, target.split('.'), value);
}

fn put_steps<'a>(mapped: &mut Map<String, Value>, steps: impl Iterator<Item = &'a str>, value: Value) {
    let steps: Vec<&str> = steps.collect();
    let Some((last, before)) = steps.split_last() else { return };
    let mut at = mapped;
    for step in before {
        let inner = at.entry(*step).or_insert_with(|| Value::Object(Map::new()));
        if !inner.is_object() {
            *inner = Value::Object(Map::new());
        }
        let Some(object) = inner.as_object_mut() else { return };
        at = object;
    }
    at.insert((*last).to_owned(), value);
}

fn parse_rule(target: &str, value: &Value) -> Result<Option<Rule>, String> {
    if target.is_empty() || target.split('.').any(str::is_empty) {
        return Err("the target is no path such as `person.name.firstName`".to_owned());
    }
    match value {
        Value::Bool(false) => Ok(None),
        Value::Object(object) if object.contains_key("fields") => {
            only(object, &["fields"])?;
            match &object["fields"] {
                Value::String(all) if all == "*" => Ok(Some(Rule::Fields(None))),
                Value::Array(names) => {
                    let names = names.iter().map(|name| name.as_str().map(str::to_owned));
                    let names: Option<Vec<String>> = names.collect();
                    names
                        .map(|names| Some(Rule::Fields(Some(names))))
                        .ok_or_else(|| "`fields` is a list of names".to_owned())
                }
                _ => Err("`fields` is a list of names or `*`".to_owned()),
            }
        }
        other => expression(other).map(|expression| Some(Rule::Value(expression))),
    }
}

fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("`{key}` does not belong here; known are {}", known.join(", "))),
        None => Ok(()),
    }
}

fn expression(value: &Value) -> Result<Expression, String> {
    let object = match value {
        Value::String(field) if !field.is_empty() => return Ok(Expression::Field(field.clone())),
        Value::Object(object) => object,
        _ => return Err("expected the name of a field or an expression such as `{ constant: 5 }`".to_owned()),
    };
    let has = |key: &str| object.contains_key(key);
    if has("constant") {
        only(object, &["constant"])?;
        return Ok(Expression::Constant(object["constant"].clone()));
    }
    if has("concat") {
        only(object, &["concat", "separator"])?;
        return Ok(Expression::Concat(several(&object["concat"])?, text(object, "separator")?.unwrap_or_default()));
    }
    if has("first") {
        only(object, &["first"])?;
        return Ok(Expression::First(several(&object["first"])?));
    }
    if has("list") {
        only(object, &["list"])?;
        return Ok(Expression::List(several(&object["list"])?));
    }
    if has("when") {
        return when(object);
    }
    let of = object.get("of").ok_or("expected one of constant, concat, first, list, when, of")?;
    converted(object, Box::new(expression(of)?))
}

fn several(value: &Value) -> Result<Vec<Expression>, String> {
    let parts = value.as_array().ok_or("expected a list of fields or expressions")?;
    parts.iter().map(expression).collect()
}

fn text(object: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{key}` is a text")),
    }
}

fn when(object: &Map<String, Value>) -> Result<Expression, String> {
    only(object, &["when", "then", "otherwise"])?;
    let condition = object["when"]
        .as_object()
        .ok_or("`when` is a condition such as `{ field: type, equals: partner }`")?;
    only(condition, &["field", "equals", "in", "exists"])?;
    let field = text(condition, "field")?.ok_or("`when` names a `field`")?;
    let condition = match (condition.get("equals"), condition.get("in"), condition.get("exists")) {
        (Some(value), None, None) => Condition::In(field, vec![value.clone()]),
        (None, Some(Value::Array(values)), None) => Condition::In(field, values.clone()),
        (None, None, Some(Value::Bool(exists))) => Condition::Exists(field, *exists),
        _ => return Err("`when` takes one of `equals`, `in` (a list), `exists` (true or false)".to_owned()),
    };
    let then = Box::new(expression(object.get("then").ok_or("`when` needs a `then`")?)?);
    let otherwise = object.get("otherwise").map(expression).transpose()?.map(Box::new);
    Ok(Expression::When { condition, then, otherwise })
}

fn converted(object: &Map<String, Value>, of: Box<Expression>) -> Result<Expression, String> {
    if let Some(table) = object.get("values") {
        only(object, &["of", "values", "otherwise"])?;
        let table = table.as_object().ok_or("`values` is a table from text to value")?;
        let otherwise = match object.get("otherwise") {
            None | Some(Value::Null) => Otherwise::Absent,
            Some(Value::String(word)) if word == "keep" => Otherwise::Keep,
            Some(value) => Otherwise::Is(value.clone()),
        };
        let table = table.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        return Ok(Expression::Values { of, table, otherwise });
    }
    if let Some(format) = text(object, "date")? {
        only(object, &["of", "date", "zone"])?;
        let zone = text(object, "zone")?.unwrap_or_else(|| "UTC".to_owned());
        let zone = zone.parse().map_err(|_| format!("`{zone}` is no time zone such as `Europe/Berlin`"))?;
        return Ok(Expression::Date { of, format, zone });
    }
    if let Some(number) = object.get("number") {
        only(object, &["of", "number"])?;
        let format = number.as_object().ok_or("`number` is a format such as `{ decimal: \",\", group: \".\" }`")?;
        only(format, &["decimal", "group"])?;
        let sign = |key: &str| text(format, key).map(|text| text.and_then(|text| text.chars().next()));
        return Ok(Expression::Number {
            of,
            decimal: sign("decimal")?.unwrap_or('.'),
            group: sign("group")?,
        });
    }
    only(object, &["of", "prefix", "suffix"])?;
    Ok(Expression::Affixed {
        of,
        prefix: text(object, "prefix")?.unwrap_or_default(),
        suffix: text(object, "suffix")?.unwrap_or_default(),
    })
}

/// A value, or the field that cannot be read and why.
type Outcome = Result<Value, (String, String)>;

impl Expression {
    fn reads(&self, into: &mut BTreeSet<String>) {
        match self {
            Expression::Field(name) => {
                into.insert(name.clone());
            }
            Expression::Constant(_) => {}
            Expression::Concat(parts, _) | Expression::First(parts) | Expression::List(parts) => parts.iter().for_each(|part| part.reads(into)),
            Expression::Values { of, .. } | Expression::Date { of, .. } | Expression::Number { of, .. } | Expression::Affixed { of, .. } => of.reads(into),
            Expression::When { condition, then, otherwise } => {
                let (Condition::In(field, _) | Condition::Exists(field, _)) = condition;
                into.insert(field.clone());
                then.reads(into);
                otherwise.iter().for_each(|other| other.reads(into));
            }
        }
    }

    /// The first field this depends on, for messages.
    fn field(&self) -> String {
        let mut read = BTreeSet::new();
        self.reads(&mut read);
        read.into_iter().next().unwrap_or_default()
    }

    fn value(&self, fields: &Fields) -> Outcome {
        match self {
            Expression::Field(name) => Ok(look_up(fields, name).cloned().unwrap_or_default()),
            Expression::Constant(value) => Ok(value.clone()),
            Expression::Concat(parts, separator) => {
                let texts = present(parts, fields)?;
                let texts: Vec<String> = texts.iter().map(written).filter(|text| !text.is_empty()).collect();
                Ok(if texts.is_empty() {
                    Value::Null
                } else {
                    Value::String(texts.join(separator))
                })
            }
            Expression::First(parts) => Ok(present(parts, fields)?.into_iter().next().unwrap_or_default()),
            Expression::List(parts) => {
                let values = present(parts, fields)?;
                Ok(if values.is_empty() { Value::Null } else { Value::Array(values) })
            }
            Expression::When { condition, then, otherwise } => match (condition.holds(fields), otherwise) {
                (true, _) => then.value(fields),
                (false, Some(other)) => other.value(fields),
                (false, None) => Ok(Value::Null),
            },
            Expression::Values { of, table, otherwise } => {
                let value = of.value(fields)?;
                match (table.get(&written(&value)), otherwise) {
                    _ if value.is_null() => Ok(Value::Null),
                    (Some(found), _) => Ok(found.clone()),
                    (None, Otherwise::Absent) => Ok(Value::Null),
                    (None, Otherwise::Keep) => Ok(value),
                    (None, Otherwise::Is(other)) => Ok(other.clone()),
                }
            }
            Expression::Date { of, format, zone } => of.with_text(fields, |text| date(text, format, *zone)),
            Expression::Number { of, decimal, group } => of.with_text(fields, |text| number(text, *decimal, *group)),
            Expression::Affixed { of, prefix, suffix } => of.with_text(fields, |text| Ok(Value::String(format!("{prefix}{text}{suffix}")))),
        }
    }

    /// Converts the text of this value; absent stays absent, an empty text is absent.
    fn with_text(&self, fields: &Fields, convert: impl FnOnce(&str) -> Result<Value, String>) -> Outcome {
        let value = self.value(fields)?;
        let text = written(&value);
        if value.is_null() || text.trim().is_empty() {
            return Ok(Value::Null);
        }
        convert(text.trim()).map_err(|detail| (self.field(), detail))
    }
}

fn present(parts: &[Expression], fields: &Fields) -> Result<Vec<Value>, (String, String)> {
    let values = parts.iter().map(|part| part.value(fields)).collect::<Result<Vec<_>, _>>()?;
    Ok(values.into_iter().filter(|value| !value.is_null()).collect())
}

impl Condition {
    fn holds(&self, fields: &Fields) -> bool {
        match self {
            Condition::In(field, values) => look_up(fields, field).is_some_and(|value| values.iter().any(|one| written(one) == written(value))),
            Condition::Exists(field, exists) => look_up(fields, field).is_some_and(|value| !value.is_null()) == *exists,
        }
    }
}

/// A field by its name, dots included; otherwise inside objects.
fn look_up<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    if let Some(value) = fields.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    look_up(fields.get(first)?.as_object()?, rest)
}

fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn date(text: &str, format: &str, zone: Tz) -> Result<Value, String> {
    let wrong = || format!("`{text}` is not in the format `{format}`");
    if let Ok(instant) = DateTime::parse_from_str(text, format) {
        return Ok(shown(instant.with_timezone(&Utc)));
    }
    if let Ok(local) = NaiveDateTime::parse_from_str(text, format) {
        let instant = zone.from_local_datetime(&local).earliest();
        return instant
            .map(|instant| shown(instant.with_timezone(&Utc)))
            .ok_or_else(|| format!("`{text}` does not exist in {zone}"));
    }
    let date = NaiveDate::parse_from_str(text, format).map_err(|_| wrong())?;
    Ok(Value::String(date.to_string()))
}

fn shown(instant: DateTime<Utc>) -> Value {
    Value::String(instant.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn number(text: &str, decimal: char, group: Option<char>) -> Result<Value, String> {
    let plain: String = text
        .chars()
        .filter(|sign| Some(*sign) != group)
        .map(|sign| if sign == decimal { '.' } else { sign })
        .collect();
    let wrong = || format!("`{text}` is no number");
    let number = millrace_model::number::parse_spelled(&plain).ok_or_else(wrong)?;
    serde_json::from_str(&number.to_string()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(rules: Value, record: Value) -> String {
        let mapping = match Mapping::parse(rules.as_object().expect("an object")) {
            Ok(mapping) => mapping,
            Err(errors) => return errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        };
        match mapping.apply(record.as_object().expect("an object")) {
            Ok(mapped) => Value::Object(mapped).to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_expression() {
        let record = json!({
            "first": "Ann", "last": "Lee", "none": null, "empty": "", "score": 75, "rating": "1", "closed": "24.12.2026 18:30", "due": "24.12.2026",
            "amount": "1.604,47", "plain": "1604.47", "long": "-9007199254740993.25", "stamp": "2026-11-01T10:00:00.000+0000", "nested": {"city": "Ulm"}, "a.b": 1,
        });
        let table = [
            (json!({"person.name.firstName": "first"}), r#"{"person":{"name":{"firstName":"Ann"}}}"#),
            (json!({"x": "none", "y": "missing"}), "{}"),
            (json!({"x": "nested.city", "y": "a.b"}), r#"{"x":"Ulm","y":1}"#),
            (json!({"x": {"constant": {"val": "y"}}}), r#"{"x":{"val":"y"}}"#),
            (
                json!({"x": {"concat": ["first", "none", "empty", "last"], "separator": " "}}),
                r#"{"x":"Ann Lee"}"#,
            ),
            (json!({"x": {"concat": ["none"]}}), "{}"),
            (json!({"x": {"first": ["none", "last"]}}), r#"{"x":"Lee"}"#),
            (json!({"x": {"list": ["none", "last", {"constant": 2}]}}), r#"{"x":["Lee",2]}"#),
            (json!({"x": {"of": "rating", "values": {"1": "hot"}}}), r#"{"x":"hot"}"#),
            (json!({"x": {"of": "score", "values": {"1": "hot"}}}), "{}"),
            (json!({"x": {"of": "score", "values": {"1": "hot"}, "otherwise": "keep"}}), r#"{"x":75}"#),
            (json!({"x": {"of": "score", "values": {}, "otherwise": "cold"}}), r#"{"x":"cold"}"#),
            (
                json!({"x": {"of": "closed", "date": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"}}),
                r#"{"x":"2026-12-24T17:30:00.000Z"}"#,
            ),
            (json!({"x": {"of": "due", "date": "%d.%m.%Y"}}), r#"{"x":"2026-12-24"}"#),
            (
                json!({"x": {"of": "stamp", "date": "%Y-%m-%dT%H:%M:%S%.f%z"}}),
                r#"{"x":"2026-11-01T10:00:00.000Z"}"#,
            ),
            (json!({"x": {"of": "amount", "number": {"decimal": ",", "group": "."}}}), r#"{"x":1604.47}"#),
            (json!({"x": {"of": "plain", "number": {}}}), r#"{"x":1604.47}"#),
            (json!({"x": {"of": "long", "number": {}}}), r#"{"x":-9007199254740993.25}"#),
            (json!({"x": {"of": "empty", "number": {}}}), "{}"),
            (json!({"x": {"of": "score", "suffix": "@crm.Own"}}), r#"{"x":"75@crm.Own"}"#),
            (
                json!({"x": {"when": {"field": "score", "equals": "75"}, "then": "first", "otherwise": "last"}}),
                r#"{"x":"Ann"}"#,
            ),
            (
                json!({"x": {"when": {"field": "score", "in": [1, 2]}, "then": "first", "otherwise": "last"}}),
                r#"{"x":"Lee"}"#,
            ),
            (
                json!({"x": {"when": {"field": "none", "exists": false}, "then": {"constant": true}}}),
                r#"{"x":true}"#,
            ),
            (json!({"x": {"of": "first", "number": {}}}), "`first` for `x`: `Ann` is no number"),
            (
                json!({"x": {"of": "due", "date": "%Y"}}),
                "`due` for `x`: `24.12.2026` is not in the format `%Y`",
            ),
        ];
        for (rules, expected) in table {
            assert_eq!(map(rules.clone(), record.clone()), expected, "{rules}");
        }
    }

    #[test]
    fn rules_that_do_not_hold_say_why() {
        let table = [
            (
                json!({"x": 5}),
                "mapping of `x`: expected the name of a field or an expression such as `{ constant: 5 }`",
            ),
            (
                json!({"x": {"constat": 5}}),
                "mapping of `x`: expected one of constant, concat, first, list, when, of",
            ),
            (
                json!({"x": {"constant": 5, "of": "f"}}),
                "mapping of `x`: `of` does not belong here; known are constant",
            ),
            (json!({"x..y": "f"}), "mapping of `x..y`: the target is no path such as `person.name.firstName`"),
            (
                json!({"x": {"of": "f", "date": "%Y", "zone": "Mars"}}),
                "mapping of `x`: `Mars` is no time zone such as `Europe/Berlin`",
            ),
        ];
        for (rules, expected) in table {
            assert_eq!(map(rules, json!({})), expected);
        }
    }

    #[test]
    fn custom_fields_go_to_extra() {
        let record = json!({"id": 1, "tier": "gold", "a.b": 2, "none": null});
        assert_eq!(
            map(json!({"x": "id", "extra": {"fields": "*"}}), record.clone()),
            r#"{"extra":{"a.b":2,"tier":"gold"},"x":1}"#
        );
        assert_eq!(map(json!({"extra": {"fields": ["tier"]}}), record), r#"{"extra":{"tier":"gold"}}"#);
    }

    #[test]
    fn own_rules_stand_over_built_in_ones() {
        let parse = |rules: Value| Mapping::parse(rules.as_object().expect("an object")).expect("holds");
        let own = parse(json!({"a": "other", "b": false}));
        let built_in = parse(json!({"a": "one", "b": "two", "c": "three"}));
        let mapping = own.over(&built_in);
        let mapped = mapping.apply(json!({"one": 1, "two": 2, "three": 3, "other": 4}).as_object().expect("an object"));
        assert_eq!(mapped.map(Value::Object), Ok(json!({"a": 4, "c": 3})));
        assert_eq!(mapping.reads(), Some(["other", "three"].map(str::to_owned).into()));
    }
}
