//! Known answers of values, statements and settings.

use serde_json::{Value, json};

use super::stage::{Stage, run};
use crate::{Config, Kind, Raw};

#[test]
fn values_become_what_the_server_reads() {
    let big: Value = serde_json::from_str("12345678901234567890.12345678901234567890").expect("a number");
    let table = [
        (Kind::Text, json!("a\"b"), Ok(Some("a\"b"))),
        (Kind::Text, json!(7), Ok(Some("7"))),
        (Kind::Text, json!(["a", 1]), Ok(Some("[\"a\",1]"))),
        (Kind::Text, Value::Null, Ok(None)),
        (Kind::Text, json!("a\0b"), Err("holds a zero byte, which PostgreSQL cannot keep")),
        (Kind::Numeric, big, Ok(Some("12345678901234567890.12345678901234567890"))),
        (Kind::Numeric, json!("1.50"), Ok(Some("1.50"))),
        (Kind::Numeric, json!("NaN"), Err("is no number")),
        (Kind::Numeric, json!(true), Err("is no number")),
        (Kind::Timestamptz, json!("2026-11-30T04:05:06+02:00"), Ok(Some("2026-11-30T02:05:06.000Z"))),
        (Kind::Timestamptz, json!(0), Ok(Some("1970-01-01T00:00:00.000Z"))),
        (Kind::Timestamptz, json!("soon"), Err("is no instant")),
        (Kind::Date, json!("2026-02-28"), Ok(Some("2026-02-28"))),
        (Kind::Date, json!("2026-02-28T23:00:00-05:00"), Ok(Some("2026-02-28"))),
        (Kind::Date, json!("2026-02-30"), Err("is no date")),
        (Kind::Boolean, json!("true"), Ok(Some("true"))),
        (Kind::Boolean, json!(1), Err("is neither true nor false")),
        (Kind::Jsonb, json!({"a": [1, "x"]}), Ok(Some("{\"a\":[1,\"x\"]}"))),
        (Kind::Jsonb, json!("a\0"), Err("holds a zero byte, which PostgreSQL cannot keep")),
    ];
    for (kind, value, expected) in table {
        assert_eq!(kind.text(&value), expected.map(|text| text.map(str::to_owned)), "{kind:?} {value}");
    }
}

#[test]
fn values_stand_in_the_table_as_they_are() {
    let mut stage = Stage::new("typed", json!({}));
    let digits = "12345678901234567890.12345678901234567890";
    stage.enter("hot", "pat@townsend.example", "Robert'); DROP TABLE hot; --", digits);
    stage.desire_with("hot", "bob@townsend.example", true, &[("won_at", json!("2026-11-30T04:05:06.789+02:00"))]);
    stage.desire_with("hot", "bad@townsend.example", true, &[("revenue", json!("much"))]);
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.reasons_of_dead_letters(), ["revenue is no number"]);
    stage.desired.remove(&("hot".to_owned(), "bad@townsend.example".to_owned()));
    assert_eq!(stage.members(&["hot"]), stage.expected());
    let won = "SELECT won_at = '2026-11-30 02:05:06.789+00' AND company IS NULL FROM hot WHERE id LIKE 'bob%'";
    assert_eq!(stage.value(won).as_deref(), Some("t"));
}

#[test]
fn a_column_of_its_own_size_refuses_what_does_not_fit() {
    let mut stage = Stage::new("sized", json!({}));
    stage.run("CREATE TABLE hot (id text PRIMARY KEY, company varchar(8), revenue numeric(6, 2), won_at timestamptz(0))");
    stage.enter("hot", "a@x.com", "Townsend", "1.005");
    stage.enter("hot", "b@x.com", "Townsend Ltd.", "1");
    stage.enter("hot", "c@x.com", "Bodea", "123456.7");
    let mut task = stage.task();
    stage.settle(&mut task);
    let reasons = stage.reasons_of_dead_letters();
    assert!(reasons.len() == 2 && reasons.iter().all(|reason| reason.starts_with("22")), "{reasons:?}");
    assert_eq!(stage.values("SELECT id FROM hot"), ["a@x.com".to_owned()].into());
    // What the column has rounded is no difference.
    stage.order(&mut task, millrace_connect::sink::OrderKind::Reconcile);
    assert_eq!(task.status().drift.expect("compared").different, 0);
    assert_eq!(run(&stage, &mut task), "");
}

#[test]
fn settings_are_checked() {
    let raw = |more: Value| {
        let mut all = json!({"host": "db", "database": "crm", "user": "millrace"});
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value::<Raw>(all)
            .map_err(|error| error.to_string())
            .and_then(|raw| Config::new(raw, &["company", "revenue"]).map_err(|error| error.to_string()))
    };
    let right = raw(json!({"columns": {"revenue": "numeric"}, "tables": {"hot": "hot_leads"}})).expect("right");
    assert_eq!((right.table_of("hot"), right.table_of("warm"), right.port), ("hot_leads", "warm", 5432));
    let long = "x".repeat(64);
    let table = [
        (json!({"host": ""}), "host: a name is needed".to_owned()),
        (json!({"tls": "prefer"}), "unknown variant `prefer`".to_owned()),
        (json!({"tls": "disable", "ca": "x"}), "tls: `disable` uses no certificates".to_owned()),
        (json!({"client_key": "x"}), "client_certificate: `client_key` is needed with it".to_owned()),
        (
            json!({"columns": {"colour": "text"}}),
            "columns.colour: the destination has no attribute of that name".to_owned(),
        ),
        (json!({"columns": {"revenue": "money"}}), "unknown variant `money`".to_owned()),
        (
            json!({"id_column": "company"}),
            "attributes.company: the column of that name is taken".to_owned(),
        ),
        (json!({"tables": {"a": "t", "b": "t"}}), "tables.b: `t` is that of `a`".to_owned()),
        (
            json!({"table": "t", "tables": {"a": "u"}}),
            "tables: with `table` all audiences are in that one".to_owned(),
        ),
        (json!({ "schema": long }), "is longer than 63 bytes".to_owned()),
        (json!({"rows_per_transaction": 0}), "rows_per_transaction: 0 is not in 1 to 50000".to_owned()),
        (json!({"wait_seconds": -1}), "wait_seconds: `-1` is no time in seconds".to_owned()),
    ];
    for (settings, expected) in table {
        let error = raw(settings.clone()).expect_err("wrong");
        assert!(error.contains(&expected), "{settings}: {error}");
    }
}
