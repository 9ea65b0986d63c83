//! How a row becomes a record, as an operator writes it. The comments are the manual.

use millrace_model::{Schema, SourceKind, Text};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ONE, Rule};
use crate::mapping::{Mapping, RuleError};
use crate::settings::choice;

/// One kind of record as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecord {
    /// `person`, `account`, `account-link` …: the last part of the source topic's name.
    pub record: String,
    /// The columns that name the row, usually its primary key: a column or a list of them becomes
    /// `<values joined by ->@<instance>.<system>`. An expression gives the whole key. For an
    /// activity this is its `_id`.
    pub key: Value,
    /// Rows that have this record, as a condition of the mapping language: `{ field: account_id,
    /// exists: true }`. A row that stops to meet it withdraws the record. Left out: all rows.
    #[serde(default)]
    pub when: Option<Value>,
    /// Rules of the mapping language: contract fields from columns.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// `take`: a deleted row withdraws the record. `ignore`: it stays, for tables that are emptied
    /// from time to time. Left out: `take`.
    #[serde(default)]
    pub deletes: Option<String>,
}

/// What stands after the id in every key of an instance: `@<instance>.<system>`.
pub fn key_suffix(instance: &str, system: &str, wrong: &mut Vec<String>) -> String {
    let (instance, system) = (instance.trim(), system.trim());
    if instance.is_empty() {
        wrong.push("instance: a name is needed, it is part of every key".to_owned());
    }
    let of_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    for (setting, name) in [("instance", instance), ("system", system)] {
        if !name.chars().all(of_name) {
            wrong.push(format!(
                "{setting}: `{name}` is part of every key, `…@instance.system`; write letters, digits, `-` and `_`"
            ));
        }
    }
    format!("@{instance}.{system}")
}

/// A rule, checked against the schema of its kind; `key` is its place in the configuration. What is
/// wrong is added to `wrong`, and then there is no rule.
pub fn rule(key: &str, raw: &RawRecord, suffix: &str, schema: &Schema, wrong: &mut Vec<String>) -> Option<Rule> {
    let kind = SourceKind::from_name(&raw.record);
    if kind.is_none() {
        let known = SourceKind::ALL.map(SourceKind::name).join(", ");
        wrong.push(format!("{key}.record: `{}` is no kind of record; known are {known}", raw.record));
    }
    let mut parse = |place: &str, rules: Map<String, Value>| {
        let parsed = Mapping::parse(&rules);
        let complain = |errors: Vec<RuleError>| wrong.extend(errors.into_iter().map(|error| format!("{key}.{place}: {}", error.detail)));
        parsed.map_err(complain).ok()
    };
    let own = parse("key", Map::from_iter([(ONE.to_owned(), key_expression(&raw.key, suffix))]));
    let when = raw.when.as_ref().map(|when| {
        let rule = json!({"when": when, "then": {"constant": true}});
        parse("when", Map::from_iter([(ONE.to_owned(), rule)]))
    });
    let fields = Mapping::parse(&raw.fields).map_err(|errors| wrong.extend(errors.iter().map(|error| format!("{key}.{error}"))));
    let ignored = choice(&format!("{key}.deletes"), raw.deletes.as_deref(), ["take", "ignore"], wrong);
    let (kind, own, fields) = (kind?, own?, fields.ok()?);
    for target in fields.targets() {
        let steps: Vec<Text> = target.split('.').map(Text::new).collect();
        if schema.record(kind).type_at(&steps).is_none() {
            wrong.push(format!(
                "{key}.fields: `{target}` is no field of {}; custom fields go under `extra.`",
                kind.name()
            ));
        }
    }
    if kind == SourceKind::AccountLink && !fields.targets().any(|target| target == "members") {
        wrong.push(format!("{key}.fields: a link needs `members`"));
    }
    if let Some(own) = kind.key_field()
        && fields
            .targets()
            .any(|target| target == own || target.strip_prefix(own).is_some_and(|rest| rest.starts_with('.')))
    {
        wrong.push(format!("{key}.fields: `{own}` comes from `key`"));
    }
    Some(Rule {
        kind,
        key: own,
        when: when.map(|when| when.unwrap_or_default()),
        fields,
        deletes: !ignored,
    })
}

/// A column or a list of columns in the form of an expression.
fn key_expression(key: &Value, suffix: &str) -> Value {
    match key {
        Value::String(_) => json!({"of": key, "suffix": suffix}),
        Value::Array(_) => json!({"of": {"all": key, "separator": "-"}, "suffix": suffix}),
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) => key.clone(),
    }
}
