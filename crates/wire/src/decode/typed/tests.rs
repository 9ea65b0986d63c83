//! Types as a table: accepted values with their results, refused ones with their messages.

use std::sync::Arc;

use millrace_model::{Field, RecordType, Type};

use super::*;

/// One field `f` of each type.
fn read(ty: Type, json: &str) -> String {
    let field = Field { ty, doc: String::new() };
    let record = RecordType {
        name: "R".into(),
        fields: [(Text::new("f"), field)].into(),
        atomic: false,
    };
    let mut reading = Reading::default();
    let text = format!(r#"{{"f":{json}}}"#);
    match reading.record(&record, &mut serde_json::Deserializer::from_str(&text)) {
        Ok(map) => Value::Map(map).field("f").to_json().to_string(),
        Err(error) => reading.rejection.map_or_else(|| error.to_string(), |rejection| rejection.detail),
    }
}

#[test]
fn what_fits_a_type() {
    let record = Type::Record(Arc::new(RecordType {
        name: "Inner".into(),
        fields: [(
            Text::new("x"),
            Field {
                ty: Type::Int,
                doc: String::new(),
            },
        )]
        .into(),
        atomic: false,
    }));
    let list = |ty: Type| Type::List(Box::new(ty));
    let table = [
        (Type::Bool, "true", "true"),
        (Type::Bool, "1", "`f`: expected true or false, found number 1"),
        (Type::Bool, "\"true\"", "`f`: expected true or false, found text `true`"),
        (Type::Int, "5", "5"),
        (Type::Int, "-5.0", "-5"),
        (Type::Int, "5.5", "`f`: expected a whole number, found number 5.5"),
        (Type::Int, "1e300", "`f`: expected a whole number, found number 1e+300"),
        (Type::Int, "\"5\"", "`f`: expected a whole number, found text `5`"),
        (
            Type::Int,
            "9223372036854775808",
            "`f`: expected a whole number, found number 9223372036854775808",
        ),
        (Type::Number, "5", "5"),
        (Type::Number, "18446744073709551615", "18446744073709551615"),
        (Type::Number, "12345678901234567.890", "12345678901234567.89"),
        (Type::Text, "5.5", "`f`: expected a text, found number 5.5"),
        (Type::Text, "\" \"", "null"),
        (Type::Date, "\"2026-01-01T23:00:00-08:00\"", "\"2026-01-01\""),
        (
            Type::Date,
            "1767225600000",
            "`f`: expected a date (2026-11-01, or a date with a time), found number 1767225600000",
        ),
        (
            Type::Time,
            "\"2026-01-01T01:00:00\"",
            "`f`: expected an instant (RFC 3339 with its zone, plain date or epoch milliseconds), found text `2026-01-01T01:00:00`",
        ),
        (Type::Number, "\"12.5\"", "`f`: expected a number, found text `12.5`"),
        (Type::Text, "\" a \"", "\" a \""),
        (Type::Text, "5", "`f`: expected a text, found number 5"),
        (Type::Text, "{}", "`f`: expected a text, found an object"),
        (Type::Time, "\"2026-01-01T01:00:00+01:00\"", "\"2026-01-01T00:00:00.000Z\""),
        (Type::Time, "\"2026-01-01\"", "\"2026-01-01T00:00:00.000Z\""),
        (Type::Time, "1767225600000", "\"2026-01-01T00:00:00.000Z\""),
        (Type::Time, "1.7672256e12", "\"2026-01-01T00:00:00.000Z\""),
        (
            Type::Time,
            "\"01/02/2026\"",
            "`f`: expected an instant (RFC 3339 with its zone, plain date or epoch milliseconds), found text `01/02/2026`",
        ),
        (
            Type::Time,
            "999999999999999",
            "`f`: expected an instant (RFC 3339 with its zone, plain date or epoch milliseconds), found 999999999999999 ms, which is outside the years 1 to 9999",
        ),
        (list(Type::Text), "[\"a\",null,\"b\"]", "[\"a\",\"b\"]"),
        (list(Type::Text), "\"a\"", "`f`: expected a list, found text `a`"),
        (list(record.clone()), "[{\"x\":1},{},null]", "[{\"x\":1},{}]"),
        (list(record.clone()), "[{\"x\":\"y\"}]", "`f.x`: expected a whole number, found text `y`"),
        (Type::Map(Box::new(record.clone())), "{\"b\":{\"x\":1},\"a\":null}", "{\"b\":{\"x\":1}}"),
        (
            Type::Map(Box::new(record.clone())),
            "{\"b\":{\"x\":[]}}",
            "`f.b.x`: expected a whole number, found a list",
        ),
        (record.clone(), "{\"x\":null}", "{}"),
        (record.clone(), "[]", "`f`: expected an object, found a list"),
        (record, "\"x\"", "`f`: expected an object, found text `x`"),
        (Type::Any, "{\"a\":[1,2.5,null,{\"b\":null}],\"c\":null}", "{\"a\":[1,2.5,null,{}]}"),
        (Type::Any, "18446744073709551615", "18446744073709551615"),
        (Type::Any, "[0.10, \" \"]", "[0.1,\" \"]"),
        (Type::Text, "null", "null"),
    ];
    for (ty, json, expected) in table {
        assert_eq!(read(ty.clone(), json), expected, "{ty:?} {json}");
    }
}

#[test]
fn a_blank_text_is_null_whatever_the_type() {
    let record = Type::Record(Arc::new(RecordType {
        name: "Inner".into(),
        fields: Default::default(),
        atomic: false,
    }));
    let scalars = [Type::Bool, Type::Int, Type::Number, Type::Text, Type::Date, Type::Time];
    let others = [Type::List(Box::new(Type::Int)), Type::Map(Box::new(Type::Int)), record.clone()];
    for ty in scalars.into_iter().chain(others) {
        for blank in ["\"\"", "\" \\t\"", "\"\u{a0}\""] {
            assert_eq!(read(ty.clone(), blank), "null", "{ty:?} {blank}");
        }
    }
    assert_eq!(read(Type::List(Box::new(record)), "[{},\" \"]"), "[{}]");
    assert_eq!(read(Type::Any, "\" \""), "\" \"", "untyped fields keep it");
}

#[test]
fn key_objects() {
    let full = r#"{"sourceID":"1001","sourceInstanceID":"marketo1","sourceKey":"1001@marketo1.Marketo","sourceType":"Marketo"}"#;
    let table = [
        (r#"{"sourceKey":" 1001@marketo1.Marketo "}"#, full),
        (r#"{"sourceType":"Marketo","sourceInstanceID":" marketo1","sourceID":"1001"}"#, full),
        (
            r#"{"sourceType":"Marketo","sourceInstanceID":"marketo1","sourceID":"1001","sourceKey":" "}"#,
            full,
        ),
        (
            r#"{"sourceKey":"a@b.c@i.n.T"}"#,
            r#"{"sourceID":"a@b.c","sourceInstanceID":"i.n","sourceKey":"a@b.c@i.n.T","sourceType":"T"}"#,
        ),
        (r#"{"sourceKey":"plain"}"#, r#"{"sourceKey":"plain"}"#),
        (r#"{"sourceKey":"@.","sourceID":"own"}"#, r#"{"sourceID":"own","sourceKey":"@."}"#),
        (r#"{"sourceKey":" ","sourceID":"1"}"#, "null"),
        (r#"{}"#, "null"),
    ];
    let fields = ["sourceType", "sourceInstanceID", "sourceID", "sourceKey"].map(|name| {
        (
            Text::new(name),
            Field {
                ty: Type::Text,
                doc: String::new(),
            },
        )
    });
    let key = Type::Record(Arc::new(RecordType {
        name: "B2BSource".into(),
        fields: fields.into(),
        atomic: true,
    }));
    for (json, expected) in table {
        assert_eq!(read(key.clone(), json), expected, "{json}");
    }
}

#[test]
fn long_texts_are_cut_in_messages() {
    let text = "é".repeat(100);
    let shown = read(Type::Int, &format!("\"{text}\""));
    assert_eq!(shown, format!("`f`: expected a whole number, found text `{}`", "é".repeat(30)));
}

#[test]
fn what_no_decimal_holds_is_refused() {
    for ty in [Type::Number, Type::Any] {
        for number in ["1e+30", "123456789012345678901234567890.5"] {
            let found = read(ty.clone(), number);
            assert!(found.starts_with(&format!("`f`: expected {}, found ", number::BOUNDS)), "{found}");
            assert!(found.ends_with(number), "{found}");
        }
    }
}
