//! The JSON form against published shapes, and its errors.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::{format, parse};

/// Reads the JSON form, and writes it as text.
fn check_read(value: &Value, expected: &str) {
    let expr = from_json(value).unwrap_or_else(|found| panic!("{value:#}\n{found:?}"));
    assert_eq!(format(&expr), expected);
}

fn check_refused(value: &Value, expected: Expect) {
    let found = from_json(value).expect_err("refused");
    expected.assert_eq(&found.iter().map(|each| format!("{each}\n")).collect::<String>());
}

fn field(name: &str, object: Value) -> Value {
    json!({ "nodeType": "fieldLookup", "fieldName": name, "object": object })
}

fn profile() -> Value {
    json!({ "nodeType": "literal", "literalType": "XDMObject", "value": "profile" })
}

fn literal(kind: &str, value: Value) -> Value {
    json!({ "nodeType": "literal", "literalType": kind, "value": value })
}

fn apply(name: &str, params: &[Value]) -> Value {
    json!({ "nodeType": "fnApply", "fnName": name, "params": params })
}

/// The shapes that public definitions show.
#[test]
fn published_shapes() {
    let implicit = json!({ "nodeType": "parameterReference", "position": 1 });
    let country = field("country", field("workAddress", implicit));
    check_read(&apply("=", &[country, literal("String", json!("US"))]), "workAddress.country = \"US\"");
    let gender = field("gender", field("person", profile()));
    check_read(&apply("in", &[gender, literal("List", json!(["female"]))]), "person.gender in [\"female\"]");
    let variable = json!({ "nodeType": "varRef", "varName": "_Checkouts1" });
    let equals = apply(
        "equals",
        &[
            field("eventType", variable),
            literal("String", json!("commerce.checkouts")),
            literal("Boolean", json!(true)),
        ],
    );
    check_read(
        &json!({ "nodeType": "select", "variables": [{ "nodeType": "varDecl", "varName": "_Checkouts1", "from": field("xEvent", profile()), "where": equals }] }),
        "select _Checkouts1 from xEvent where _Checkouts1.eventType.equals(\"commerce.checkouts\", true)",
    );
}

/// Filters on source rows leave out the obvious, and write words in capitals.
#[test]
fn published_row_filters() {
    let column = |name: &str| json!({ "nodeType": "fieldLookup", "fieldName": name });
    let plain = |value: Value| json!({ "nodeType": "literal", "value": value });
    let older = apply(">=", &[column("age"), plain(json!(20))]);
    let elsewhere = apply("!=", &[column("city"), plain(json!("Ulm"))]);
    let named = apply("in", &[column("name"), plain(json!(["Ann", "Bob"]))]);
    let tall = apply(">", &[column("height"), plain(json!(1.8))]);
    let unknown = apply("NOT", &[apply("isNull", &[column("age")])]);
    check_read(
        &apply("AND", &[older, apply("or", &[elsewhere, tall]), apply("and", &[named]), unknown]),
        "age >= 20 and (city != \"Ulm\" or height > 1.8) and name in [\"Ann\", \"Bob\"] and not age.isNull()",
    );
    check_read(&apply("like", &[column("name"), plain(json!("%s"))]), "name like \"%s\"");
    check_read(&apply("=", &[column("member"), plain(json!(true))]), "member = true");
    let hidden = json!({ "nodeType": "let", "varName": "age", "value": plain(json!(1)), "body": column("age") });
    check_read(&hidden, "let age = 1 in $1.age");
}

#[test]
fn written() {
    let text = "t occurs <= 3 days before now and x.y in [1, z]";
    expect![[r#"
        {
          "fnName": "and",
          "nodeType": "fnApply",
          "params": [
            {
              "fnName": "occurs",
              "nodeType": "fnApply",
              "params": [
                {
                  "fieldName": "t",
                  "nodeType": "fieldLookup",
                  "object": {
                    "nodeType": "parameterReference",
                    "position": 1
                  }
                },
                {
                  "fnName": "<=",
                  "nodeType": "fnApply",
                  "params": [
                    {
                      "literalType": "Integer",
                      "nodeType": "literal",
                      "value": 3
                    },
                    {
                      "literalType": "String",
                      "nodeType": "literal",
                      "value": "day"
                    },
                    {
                      "literalType": "String",
                      "nodeType": "literal",
                      "value": "before"
                    },
                    {
                      "literalType": "RelativeTime",
                      "nodeType": "literal",
                      "value": "now"
                    }
                  ]
                }
              ]
            },
            {
              "fnName": "in",
              "nodeType": "fnApply",
              "params": [
                {
                  "fieldName": "y",
                  "nodeType": "fieldLookup",
                  "object": {
                    "fieldName": "x",
                    "nodeType": "fieldLookup",
                    "object": {
                      "nodeType": "parameterReference",
                      "position": 1
                    }
                  }
                },
                {
                  "literalType": "List",
                  "nodeType": "literal",
                  "value": [
                    1,
                    {
                      "fieldName": "z",
                      "nodeType": "fieldLookup",
                      "object": {
                        "nodeType": "parameterReference",
                        "position": 1
                      }
                    }
                  ]
                }
              ]
            }
          ]
        }"#]]
    .assert_eq(&format!("{:#}", to_json(&parse(text).expect("a rule"))));
}

/// A condition on each of several variables; a field that a variable of the same name would hide.
#[test]
fn variables() {
    let declared = |name: &str, from: Value, condition: Value| json!({ "nodeType": "varDecl", "varName": name, "from": from, "where": condition });
    let of = |name: &str, field_name: &str| field(field_name, json!({ "nodeType": "varRef", "varName": name }));
    let variables = [
        declared("v", field("xEvent", profile()), of("v", "a")),
        declared("w", of("v", "items"), of("w", "b")),
    ];
    let quantified = |quantifier: &str| json!({ "nodeType": "quantification", "quantifier": quantifier, "variables": variables });
    check_read(&quantified("exists"), "exists v from xEvent, w from v.items where v.a and w.b");
    check_read(&quantified("forall"), "forall v from xEvent where v.a and forall w from v.items where w.b");
    let hidden = json!({ "nodeType": "let", "varName": "v", "value": literal("Integer", json!(1)), "body": field("v", profile()) });
    check_read(&hidden, "let v = 1 in $1.v");
}

#[test]
fn refused() {
    check_refused(
        &json!(3),
        expect![[r#"
        $: a node is an object
    "#]],
    );
    check_refused(
        &json!({}),
        expect![[r#"
        $: `nodeType` is missing
    "#]],
    );
    check_refused(
        &json!({ "nodeType": "fnAply" }),
        expect![[r#"
        $: unknown nodeType `fnAply`; did you mean `fnApply`?
    "#]],
    );
    check_refused(
        &json!({ "nodeType": "varRef", "varName": "v" }),
        expect![[r#"
        $: no variable `v` is declared around this
    "#]],
    );
    check_refused(
        &apply("and", &[literal("Boolean", json!(1)), literal("Bolean", json!(true)), field("", profile())]),
        expect![[r#"
        $.params[0]: `value` is no Boolean
        $.params[1]: unknown literalType `Bolean`; did you mean `Boolean`?
        $.params[2]: `fieldName` is empty
    "#]],
    );
    check_refused(
        &apply("=", &[profile()]),
        expect![[r#"
        $: `=` takes two parameters, not 1
    "#]],
    );
    check_refused(
        &apply(
            "occurs",
            &[profile(), apply("<=", &[profile(), literal("String", json!("dayz")), profile(), profile()])],
        ),
        expect![[r#"
        $.params[1]: the second parameter is a unit of time, the third `before`, `after` or `from`
    "#]],
    );
    check_refused(
        &apply("chain", &[profile(), profile(), literal("List", json!([]))]),
        expect![[r#"
        $: the third parameter of `chain` is a literal List of steps, at least one
    "#]],
    );
    check_refused(
        &json!({ "nodeType": "select", "variables": [] }),
        expect![[r#"
        $: `variables` is empty
    "#]],
    );
    check_refused(
        &json!({ "nodeType": "quantification", "quantifier": "exist", "variables": [] }),
        expect![[r#"
        $: unknown quantifier `exist`; did you mean `exists`?
    "#]],
    );
    check_refused(
        &apply("and", &[]),
        expect![[r#"
        $: `and` takes one or more parameters, not 0
    "#]],
    );
    check_refused(
        &json!({ "nodeType": "literal" }),
        expect![[r#"
        $: `literalType` is missing
    "#]],
    );
    check_refused(
        &json!({ "nodeType": "parameterReference", "position": 0 }),
        expect![[r#"
        $: `position` is a number from one
    "#]],
    );
}
