//! The mapping language: one line per expression, and records of which only a part is known.

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
fn composed_values() {
    let record = json!({"first": "Ann", "last": "Lee", "none": null, "ids": [7, null, "9"], "rows": [{"id": "1"}, {"other": 2}]});
    let table = [
        (json!({"x": {"all": ["first", "last"], "separator": "-"}}), r#"{"x":"Ann-Lee"}"#),
        (json!({"x": {"all": ["first", "none"], "separator": "-"}}), "{}"),
        (
            json!({"x": {"object": {"namespace": {"constant": "email"}, "id": "first", "gone": "none"}}}),
            r#"{"x":{"id":"Ann","namespace":"email"}}"#,
        ),
        (json!({"x": {"object": {"id": "none"}}}), "{}"),
        (
            json!({"x": {"each": "ids", "as": {"of": "item", "suffix": "@a.B"}}}),
            r#"{"x":["7@a.B","9@a.B"]}"#,
        ),
        (
            json!({"x": {"each": "rows", "as": {"object": {"sourceKey": "id"}}}}),
            r#"{"x":[{"sourceKey":"1"}]}"#,
        ),
        (json!({"x": {"each": "none", "as": "item"}}), "{}"),
        (json!({"x": {"each": "first", "as": "item"}}), "`first` for `x`: `Ann` is no list"),
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
            "mapping of `x`: expected one of constant, concat, all, first, list, object, each, when, of",
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

#[test]
fn rules_over_unknown_values_say_nothing() {
    let rules = json!({"a": "one", "b": "two.part", "c": {"concat": ["one", "two"]}, "d": "gone", "e": false, "extra": {"fields": "*"}});
    let mapping = Mapping::parse(rules.as_object().expect("an object")).expect("holds");
    let record = json!({"one": 1, "two": {"part": "?"}, "gone": null, "own": 2, "other": "?", "a.b": 3});
    let withheld = ["two", "other"].map(str::to_owned).into();
    let partial = mapping.apply_partial(record.as_object().expect("an object"), &withheld).expect("can be read");
    assert_eq!(Value::Object(partial.mapped), json!({"a": 1, "extra": {"own": 2, "a.b": 3}}));
    assert_eq!(partial.paths, ["a", "d", "extra.own"]);
    assert_eq!(mapping.targets().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}
