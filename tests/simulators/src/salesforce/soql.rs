//! SOQL: the part that connectors use. `SELECT fields FROM object [WHERE …] [ORDER BY …] [LIMIT n]`,
//! with comparisons, `IN`, `AND`, `OR`, `NOT` and parentheses.

use std::cmp::Ordering;

use millrace_model::Timestamp;
use serde_json::Value;

use super::schema::Field;
use super::world::{Object, Row, World};

/// A query is refused with an error code and a message.
pub type Refusal = (&'static str, String);

/// A query that fits the org.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// As the org writes them.
    pub fields: Vec<Field>,
    pub object: String,
    condition: Option<Condition>,
    order: Vec<(String, bool)>,
    limit: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Compare(String, Comparison, Vec<Value>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name, a keyword, a number or a date.
    Word(String),
    Text(String),
    Sign(String),
}

/// Reads a query against the org's objects.
///
/// # Errors
/// MALFORMED_QUERY, INVALID_TYPE or INVALID_FIELD.
pub fn parse(world: &World, text: &str) -> Result<Query, Refusal> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        fields: &[],
        object: String::new(),
    };
    parser.keyword("SELECT")?;
    let mut names = vec![parser.word()?];
    while parser.sign(",") {
        names.push(parser.word()?);
    }
    parser.keyword("FROM")?;
    let name = parser.word()?;
    let known = world.objects.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
    let Some((object, kind)) = known else {
        return Err(("INVALID_TYPE", format!("sObject type '{name}' is not supported.")));
    };
    parser.object.clone_from(object);
    parser.fields = &kind.fields;
    let fields = names.iter().map(|name| parser.field(name).cloned()).collect::<Result<Vec<_>, _>>()?;
    let mut query = Query {
        fields,
        object: object.clone(),
        condition: None,
        order: Vec::new(),
        limit: None,
    };
    if parser.is("WHERE") {
        query.condition = Some(parser.any()?);
    }
    if parser.is("ORDER") {
        parser.keyword("BY")?;
        query.order = parser.order()?;
    }
    if parser.is("LIMIT") {
        query.limit = Some(parser.word()?.parse().map_err(|_| malformed("expecting a number after LIMIT"))?);
    }
    match parser.tokens.get(parser.at) {
        None => Ok(query),
        Some(token) => Err(malformed(&format!("unexpected token: {token:?}"))),
    }
}

impl Query {
    /// The rows, in order; deleted ones among them if `all`.
    pub fn run(&self, object: &Object, all: bool) -> Vec<Row> {
        let live = |row: &&Row| all || row["IsDeleted"] != Value::Bool(true);
        let holds = |row: &&Row| self.condition.as_ref().is_none_or(|condition| condition.holds(row));
        let mut rows: Vec<Row> = object.rows.values().filter(live).filter(holds).cloned().collect();
        rows.sort_by(|left, right| {
            let by = |(field, descending): &(String, bool)| {
                let order = compare(&left[field], &right[field]).unwrap_or(Ordering::Equal);
                if *descending { order.reverse() } else { order }
            };
            self.order.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        rows
    }
}

impl Condition {
    fn holds(&self, row: &Row) -> bool {
        match self {
            Condition::All(parts) => parts.iter().all(|part| part.holds(row)),
            Condition::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Condition::Not(part) => !part.holds(row),
            Condition::Compare(field, comparison, values) => {
                let against = |value: &Value| compare(&row[field], value);
                let is = |wanted: &[Ordering]| against(&values[0]).is_some_and(|order| wanted.contains(&order));
                match comparison {
                    Comparison::Equal => is(&[Ordering::Equal]),
                    Comparison::Different => !is(&[Ordering::Equal]),
                    Comparison::Less => is(&[Ordering::Less]),
                    Comparison::LessOrEqual => is(&[Ordering::Less, Ordering::Equal]),
                    Comparison::Greater => is(&[Ordering::Greater]),
                    Comparison::GreaterOrEqual => is(&[Ordering::Greater, Ordering::Equal]),
                    Comparison::In => values.iter().any(|value| against(value) == Some(Ordering::Equal)),
                }
            }
        }
    }
}

/// The order of two values of one field; `None` where one is null and the other is not.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => {
            let instants = (Timestamp::parse(left), Timestamp::parse(right));
            match instants {
                (Ok(left), Ok(right)) => Some(left.cmp(&right)),
                _ => Some(left.cmp(right)),
            }
        }
        _ => None,
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    fields: &'a [Field],
    object: String,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn word(&mut self) -> Result<String, Refusal> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(malformed(&format!("unexpected token: {other:?}"))),
        }
    }

    /// Whether this keyword is next; takes it if so.
    fn is(&mut self, keyword: &str) -> bool {
        let is = matches!(self.tokens.get(self.at), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(is);
        is
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), Refusal> {
        if self.is(keyword) {
            return Ok(());
        }
        Err(malformed(&format!("expecting {keyword}, found {:?}", self.tokens.get(self.at))))
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.tokens.get(self.at), Some(Token::Sign(found)) if found == sign);
        self.at += usize::from(is);
        is
    }

    fn field(&self, name: &str) -> Result<&Field, Refusal> {
        let found = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let message = format!(
                "No such column '{name}' on entity '{}'. If you are attempting to use a custom field, be sure to append the '__c'.",
                self.object
            );
            ("INVALID_FIELD", message)
        })
    }

    fn order(&mut self) -> Result<Vec<(String, bool)>, Refusal> {
        let mut order = Vec::new();
        loop {
            let name = self.word()?;
            let field = self.field(&name)?.name.clone();
            let descending = self.is("DESC");
            let _ = !descending && self.is("ASC");
            order.push((field, descending));
            if !self.sign(",") {
                return Ok(order);
            }
        }
    }

    fn any(&mut self) -> Result<Condition, Refusal> {
        let mut parts = vec![self.all()?];
        while self.is("OR") {
            parts.push(self.all()?);
        }
        Ok(Condition::Any(parts))
    }

    fn all(&mut self) -> Result<Condition, Refusal> {
        let mut parts = vec![self.one()?];
        while self.is("AND") {
            parts.push(self.one()?);
        }
        Ok(Condition::All(parts))
    }

    fn one(&mut self) -> Result<Condition, Refusal> {
        if self.is("NOT") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.sign("(") {
            let inner = self.any()?;
            return if self.sign(")") {
                Ok(inner)
            } else {
                Err(malformed("expecting a right parentheses, found none"))
            };
        }
        let name = self.word()?;
        let field = self.field(&name)?.name.clone();
        if self.is("IN") {
            return Ok(Condition::Compare(field, Comparison::In, self.list()?));
        }
        let comparison = match self.next() {
            Some(Token::Sign(sign)) => match sign.as_str() {
                "=" => Comparison::Equal,
                "!=" | "<>" => Comparison::Different,
                "<" => Comparison::Less,
                "<=" => Comparison::LessOrEqual,
                ">" => Comparison::Greater,
                ">=" => Comparison::GreaterOrEqual,
                other => return Err(malformed(&format!("unexpected token: '{other}'"))),
            },
            other => return Err(malformed(&format!("unexpected token: {other:?}"))),
        };
        let value = self.literal()?;
        Ok(Condition::Compare(field, comparison, vec![value]))
    }

    fn list(&mut self) -> Result<Vec<Value>, Refusal> {
        if !self.sign("(") {
            return Err(malformed("expecting a left parentheses"));
        }
        let mut values = vec![self.literal()?];
        while self.sign(",") {
            values.push(self.literal()?);
        }
        if self.sign(")") {
            Ok(values)
        } else {
            Err(malformed("expecting a right parentheses, found none"))
        }
    }

    fn literal(&mut self) -> Result<Value, Refusal> {
        match self.next() {
            Some(Token::Text(text)) => Ok(Value::String(text)),
            Some(Token::Word(word)) => match word.to_ascii_lowercase().as_str() {
                "null" => Ok(Value::Null),
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ if word.len() >= 10 && Timestamp::parse(&word).is_ok() => Ok(Value::String(word)),
                _ => serde_json::from_str(&word).map_err(|_| malformed(&format!("unexpected token: '{word}'"))),
            },
            other => Err(malformed(&format!("unexpected token: {other:?}"))),
        }
    }
}

fn malformed(message: &str) -> Refusal {
    ("MALFORMED_QUERY", message.to_owned())
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            ' ' | '\t' | '\n' | '\r' => {}
            '\'' => {
                let mut inner = String::new();
                loop {
                    match signs.next() {
                        Some('\'') => break,
                        Some('\\') => inner.extend(signs.next()),
                        Some(other) => inner.push(other),
                        None => return Err(malformed("expecting a single quote, found '<EOF>'")),
                    }
                }
                tokens.push(Token::Text(inner));
            }
            ',' | '(' | ')' => tokens.push(Token::Sign(sign.to_string())),
            '=' | '<' | '>' | '!' => {
                let mut whole = sign.to_string();
                whole.extend(signs.next_if(|next| matches!(next, '=' | '>')));
                tokens.push(Token::Sign(whole));
            }
            _ => {
                let mut word = sign.to_string();
                while let Some(next) = signs.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '.' | ':' | '-' | '+')) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::salesforce::Settings;

    #[test]
    fn queries_select_order_and_refuse() {
        let mut world = World::new(Settings::default(), 1, Timestamp(1_788_220_800_000));
        for (name, employees) in [("B", 5), ("A", 7), ("O'Hara", 5)] {
            world.create("Account", json!({"Name": name, "NumberOfEmployees": employees}));
        }
        let gone = world.create("Account", json!({"Name": "Gone"}));
        world.delete("Account", &gone);
        let table = [
            ("SELECT Name FROM Account ORDER BY Name", false, "A B O'Hara"),
            ("select name from account order by NumberOfEmployees desc, Name limit 2", false, "A B"),
            ("SELECT Name FROM Account WHERE IsDeleted = true", false, ""),
            ("SELECT Name FROM Account WHERE IsDeleted = true", true, "Gone"),
            ("SELECT Name FROM Account WHERE Name IN ('O\\'Hara', 'A') ORDER BY Name", false, "A O'Hara"),
            (
                "SELECT Name FROM Account WHERE SystemModstamp >= 2026-09-01T00:00:00Z AND (NumberOfEmployees > 5 OR Name = 'B') ORDER BY Name",
                false,
                "A B",
            ),
            ("SELECT Name FROM Account WHERE NOT NumberOfEmployees <= 5", false, "A"),
        ];
        for (text, all, expected) in table {
            let query = parse(&world, text).expect(text);
            let rows = query.run(&world.objects["Account"], all);
            let names: Vec<&str> = rows.iter().filter_map(|row| row["Name"].as_str()).collect();
            assert_eq!(names.join(" "), expected, "{text}");
        }
        let refused = [
            "SELECT Nothing FROM Account",
            "SELECT Id FROM Nothing",
            "SELECT Id FROM Account WHERE Name = 'open",
        ];
        let codes = refused.map(|text| parse(&world, text).expect_err(text).0);
        assert_eq!(codes, ["INVALID_FIELD", "INVALID_TYPE", "MALFORMED_QUERY"]);
    }
}
