//! Values as the server reads them, and the statements of a table.
//!
//! Values travel as texts, a list for each column, and the server casts them: one statement serves
//! any number of rows, and a number keeps all of its digits.

use millrace_connect::sink::Change;
use millrace_model::{Date, Timestamp};
use serde_json::{Number, Value};

use crate::config::{Column, Config, Kind};

/// A name as it stands in a statement.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Kind {
    /// The type's name in PostgreSQL.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Numeric => "numeric",
            Kind::Timestamptz => "timestamptz",
            Kind::Date => "date",
            Kind::Boolean => "boolean",
            Kind::Jsonb => "jsonb",
        }
    }

    /// The value as a text that the server can cast; `None`: null.
    ///
    /// # Errors
    /// What it is not.
    pub fn text(self, value: &Value) -> Result<Option<String>, &'static str> {
        if value.is_null() {
            return Ok(None);
        }
        let text = match self {
            Kind::Text => plain(value),
            Kind::Numeric => number(value).ok_or("is no number")?,
            Kind::Timestamptz => instant(value).ok_or("is no instant")?.to_string(),
            Kind::Date => date(value).ok_or("is no date")?,
            Kind::Boolean => boolean(value).ok_or("is neither true nor false")?.to_string(),
            Kind::Jsonb => value.to_string(),
        };
        let zero = match self {
            Kind::Jsonb => text.contains("\\u0000"),
            Kind::Text | Kind::Numeric | Kind::Timestamptz | Kind::Date | Kind::Boolean => text.contains('\0'),
        };
        if zero {
            Err("holds a zero byte, which PostgreSQL cannot keep")
        } else {
            Ok(Some(text))
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Finite, with the digits as they are.
fn number(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => serde_json::from_str::<Number>(text.trim()).ok().map(|number| number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => number.as_i64().map(Timestamp),
        Value::String(text) => Timestamp::parse(text).ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn date(value: &Value) -> Option<String> {
    Date::parse_written(value.as_str()?).map(|date| date.to_string())
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Members as lists: their ids, and a list for each column.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub ids: Vec<String>,
    pub values: Vec<Vec<Option<String>>>,
}

impl Rows {
    pub fn new(columns: &[Column]) -> Rows {
        Rows {
            ids: Vec::new(),
            values: vec![Vec::new(); columns.len()],
        }
    }

    /// # Errors
    /// The column whose value it cannot be, with the reason.
    pub fn add(&mut self, columns: &[Column], change: &Change) -> Result<(), String> {
        if change.identity.id().contains('\0') {
            return Err("the id holds a zero byte, which PostgreSQL cannot keep".to_owned());
        }
        let mut row = Vec::new();
        for column in columns {
            let value = change.attributes.get(&column.name).unwrap_or(&Value::Null);
            row.push(column.kind.text(value).map_err(|reason| format!("{} {reason}", column.name))?);
        }
        self.ids.push(change.identity.id().to_owned());
        for (values, value) in self.values.iter_mut().zip(row) {
            values.push(value);
        }
        Ok(())
    }
}

/// The statements of one table. Parameters: the audience where the table holds several, then the
/// ids, then a list of texts for each column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statements {
    /// Inserts rows, or changes those that differ; an equal row is not written again.
    pub upsert: String,
    pub delete: String,
    /// The ids of those rows that are there with other values.
    pub differing: String,
    /// The ids of all members.
    pub members: String,
    /// Whether the audience is a parameter.
    pub shared: bool,
}

impl Statements {
    /// `exact`: the full type of each column, which rounds as the column does.
    pub fn new(config: &Config, table: &str, exact: &[String]) -> Statements {
        let shared = config.table.is_some();
        let first = if shared { 2 } else { 1 };
        let (table, id, audience) = (qualified(config, table), quoted(&config.id_column), quoted(&config.audience_column));
        let columns: Vec<String> = config.columns.iter().map(|column| quoted(&column.name)).collect();
        let lists: Vec<String> = (0..=columns.len()).map(|nth| format!("${}::text[]", first + nth)).collect();
        let names: Vec<String> = (0..columns.len()).map(|nth| format!("c{nth}")).collect();
        let given = format!("unnest({}) AS d({})", lists.join(", "), list("k", &names));
        let values: Vec<String> = names.iter().zip(exact).map(|(name, exact)| format!("d.{name}::{exact}")).collect();
        let of = |prefix: &str| columns.iter().map(|column| format!("{prefix}{column}")).collect::<Vec<_>>().join(", ");
        let (key, of_audience, and_audience) = match shared {
            true => (format!("{audience}, {id}"), "$1::text, ".to_owned(), format!(" AND t.{audience} = $1::text")),
            false => (id.clone(), String::new(), String::new()),
        };
        let conflict = if columns.is_empty() {
            "DO NOTHING".to_owned()
        } else {
            let set: Vec<String> = columns.iter().map(|column| format!("{column} = EXCLUDED.{column}")).collect();
            format!("DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})", set.join(", "), of("t."), of("EXCLUDED."))
        };
        let differs = if columns.is_empty() {
            "false".to_owned()
        } else {
            format!("({}) IS DISTINCT FROM ({})", of("t."), values.join(", "))
        };
        Statements {
            upsert: format!(
                "INSERT INTO {table} AS t ({}) SELECT {of_audience}{} FROM {given} ON CONFLICT ({key}) {conflict}",
                list(&key, &columns),
                list("d.k", &values)
            ),
            delete: format!("DELETE FROM {table} AS t USING unnest(${first}::text[]) AS d(k) WHERE t.{id} = d.k{and_audience}"),
            differing: format!("SELECT d.k FROM {given} JOIN {table} AS t ON t.{id} = d.k{and_audience} WHERE {differs}"),
            members: format!(
                "SELECT t.{id}::text FROM {table} AS t{}",
                if shared { format!(" WHERE t.{audience} = $1::text") } else { String::new() }
            ),
            shared,
        }
    }
}

/// A table with its schema.
pub fn qualified(config: &Config, table: &str) -> String {
    format!("{}.{}", quoted(&config.schema), quoted(table))
}

fn list(first: &str, others: &[String]) -> String {
    std::iter::once(first).chain(others.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
}
