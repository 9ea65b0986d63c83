//! The mapping language: from the fields of a foreign record to the fields of a contract record.
//! Pure.
//!
//! A mapping is a map from a target path (`person.name.firstName`) to an expression:
//!
//! ```text
//! "firstName"                                           the source's field; `a.b` reads inside objects
//! { constant: 5 }                                       the same for every record
//! { concat: ["firstName", "lastName"], separator: " " } the texts that are present; absent parts leave no separator
//! { all: ["region", "id"], separator: "-" }             the same, absent where one part is
//! { first: ["workPhone", "mobilePhone"] }               the first that is present
//! { list: ["department"] }                              a list of those present; absent where none is
//! { object: { sourceKey: "id" } }                       an object of those present; absent where none is
//! { each: "members", as: { of: "item", suffix: "@a.B" } } every item of a list; `item` is the item, and the fields of an item that is an object go by their names
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

mod parse;

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
    /// As `Concat`, absent where one part is.
    All(Vec<Expression>, String),
    First(Vec<Expression>),
    List(Vec<Expression>),
    Object(BTreeMap<String, Expression>),
    /// Every item of the list in a field.
    Each {
        of: String,
        item: Box<Expression>,
    },
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

/// The known part of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// The fields, nested by their paths.
    pub mapped: Map<String, Value>,
    /// The paths that are known, those without a value included. A custom field whose name holds a
    /// dot has no path.
    pub paths: Vec<String>,
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
            match parse::rule(target, value) {
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

    /// As [`Mapping::apply`] where the values of some fields are not known: rules that read one of
    /// them say nothing.
    ///
    /// # Errors
    /// The first field that cannot be read.
    pub fn apply_partial(&self, fields: &Fields, withheld: &BTreeSet<String>) -> Result<Partial, MappingError> {
        let mut rules = BTreeMap::new();
        let mut paths = Vec::new();
        for (target, rule) in &self.rules {
            match rule {
                None => continue,
                Some(Rule::Value(expression)) if expression.reads_any(withheld) => continue,
                Some(Rule::Value(_)) => paths.push(target.clone()),
                Some(Rule::Fields(names)) => {
                    let read = self.named();
                    let wanted = |name: &String| names.as_ref().map_or_else(|| !read.contains(name), |names| names.contains(name));
                    let known = fields.keys().filter(|name| wanted(name) && !withheld.contains(*name) && !name.contains('.'));
                    paths.extend(known.map(|name| format!("{target}.{name}")));
                }
            }
            rules.insert(target.clone(), rule.clone());
        }
        let known = fields.iter().filter(|(name, _)| !withheld.contains(*name));
        let known: Fields = known.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mapped = Mapping { rules }.apply(&known)?;
        Ok(Partial { mapped, paths })
    }

    /// The target paths that rules fill, custom fields apart.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        let filled = self.rules.iter().filter(|(_, rule)| matches!(rule, Some(Rule::Value(_))));
        filled.map(|(target, _)| target.as_str())
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

/// A value, or the field that cannot be read and why.
type Outcome = Result<Value, (String, String)>;

impl Expression {
    fn reads(&self, into: &mut BTreeSet<String>) {
        match self {
            Expression::Field(name) => {
                into.insert(name.clone());
            }
            Expression::Constant(_) => {}
            Expression::Concat(parts, _) | Expression::All(parts, _) | Expression::First(parts) | Expression::List(parts) => {
                parts.iter().for_each(|part| part.reads(into))
            }
            Expression::Object(members) => members.values().for_each(|member| member.reads(into)),
            // The fields of an item are no fields of the record.
            Expression::Each { of, .. } => {
                into.insert(of.clone());
            }
            Expression::Values { of, .. } | Expression::Date { of, .. } | Expression::Number { of, .. } | Expression::Affixed { of, .. } => of.reads(into),
            Expression::When { condition, then, otherwise } => {
                let (Condition::In(field, _) | Condition::Exists(field, _)) = condition;
                into.insert(field.clone());
                then.reads(into);
                otherwise.iter().for_each(|other| other.reads(into));
            }
        }
    }

    /// Whether the value depends on one of the fields, or on a part of it.
    fn reads_any(&self, fields: &BTreeSet<String>) -> bool {
        let mut read = BTreeSet::new();
        self.reads(&mut read);
        let within = |name: &String, field: &String| name.strip_prefix(field.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        read.iter().any(|name| fields.iter().any(|field| within(name, field)))
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
            Expression::Concat(parts, separator) => Ok(joined(&texts(parts, fields)?, separator)),
            Expression::All(parts, separator) => {
                let texts = texts(parts, fields)?;
                Ok(if texts.len() < parts.len() { Value::Null } else { joined(&texts, separator) })
            }
            Expression::First(parts) => Ok(present(parts, fields)?.into_iter().next().unwrap_or_default()),
            Expression::List(parts) => {
                let values = present(parts, fields)?;
                Ok(if values.is_empty() { Value::Null } else { Value::Array(values) })
            }
            Expression::Object(members) => {
                let mut object = Map::new();
                for (name, member) in members {
                    let value = member.value(fields)?;
                    if !value.is_null() {
                        object.insert(name.clone(), value);
                    }
                }
                Ok(if object.is_empty() { Value::Null } else { Value::Object(object) })
            }
            Expression::Each { of, item } => each(fields, of, item),
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

/// Applies an expression to every item of a list; absent results leave no place in it.
fn each(fields: &Fields, of: &str, item: &Expression) -> Outcome {
    let items = match look_up(fields, of) {
        None | Some(Value::Null) => return Ok(Value::Null),
        Some(Value::Array(items)) => items,
        Some(other) => return Err((of.to_owned(), format!("`{}` is no list", written(other)))),
    };
    let mut values = Vec::with_capacity(items.len());
    for one in items {
        let mut inner = one.as_object().cloned().unwrap_or_default();
        inner.insert("item".to_owned(), one.clone());
        let value = item.value(&inner).map_err(|(_, detail)| (of.to_owned(), detail))?;
        if !value.is_null() {
            values.push(value);
        }
    }
    Ok(Value::Array(values))
}

/// The texts of the parts that are present and not empty.
fn texts(parts: &[Expression], fields: &Fields) -> Result<Vec<String>, (String, String)> {
    let values = present(parts, fields)?;
    Ok(values.iter().map(written).filter(|text| !text.is_empty()).collect())
}

fn joined(texts: &[String], separator: &str) -> Value {
    if texts.is_empty() {
        return Value::Null;
    }
    Value::String(texts.join(separator))
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
mod tests;
