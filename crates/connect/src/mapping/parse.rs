//! Rules as written, to rules. Errors are what is wrong with an expression: lowercase fragments.

use serde_json::{Map, Value};

use super::{Condition, Expression, Otherwise, Rule};

/// A rule; `None` removes a built-in one.
pub(super) fn rule(target: &str, value: &Value) -> Result<Option<Rule>, String> {
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
    if has("all") {
        only(object, &["all", "separator"])?;
        return Ok(Expression::All(several(&object["all"])?, text(object, "separator")?.unwrap_or_default()));
    }
    if has("first") {
        only(object, &["first"])?;
        return Ok(Expression::First(several(&object["first"])?));
    }
    if has("list") {
        only(object, &["list"])?;
        return Ok(Expression::List(several(&object["list"])?));
    }
    if has("object") {
        only(object, &["object"])?;
        let members = object["object"].as_object().ok_or("`object` is a map from names to expressions")?;
        let members = members.iter().map(|(name, member)| Ok((name.clone(), expression(member)?)));
        return Ok(Expression::Object(members.collect::<Result<_, String>>()?));
    }
    if has("each") {
        only(object, &["each", "as"])?;
        let of = text(object, "each")?.ok_or("`each` names a field with a list")?;
        let item = Box::new(expression(object.get("as").ok_or("`each` needs an `as`: what becomes of an item")?)?);
        return Ok(Expression::Each { of, item });
    }
    if has("when") {
        return when(object);
    }
    let of = object
        .get("of")
        .ok_or("expected one of constant, concat, all, first, list, object, each, when, of")?;
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
