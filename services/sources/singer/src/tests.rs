//! The protocol, line by line, and the selection in catalogues as different taps write them.

use millrace_child::protocol::Protocol as _;
use millrace_child::{Config, Raw};
use serde_json::{Value, json};

use crate::Tap;
use crate::catalog::select;

fn settings(more: Value) -> Config {
    let mut raw = json!({
        "command": ["tap"], "instance": "crm1",
        "streams": {"users": {"records": [{"record": "person", "key": "id", "fields": {"workEmail.address": "email"}}]}},
    });
    for (name, value) in more.as_object().expect("an object") {
        raw[name.as_str()] = value.clone();
    }
    let raw: Raw = serde_json::from_value(raw).expect("of this form");
    crate::config(raw, Vec::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(raw: Value) -> String {
    let raw: Raw = serde_json::from_value(raw).expect("of this form");
    crate::config(raw, Vec::new()).expect_err("wrong settings").to_string()
}

/// A line, as the test reads it.
fn said(line: Value) -> String {
    match Tap::default().message(line) {
        None => "no message".to_owned(),
        Some(message) => format!("{message:?}"),
    }
}

#[test]
fn every_message_is_read() {
    let record = said(json!({"type": "RECORD", "stream": "users", "record": {"id": 7}, "version": 3, "time_extracted": "2026-11-30T01:02:03.000000Z"}));
    assert!(
        record.contains(r#"stream: "users""#) && record.contains("version: Some(3)") && record.contains("deleted_at: None"),
        "{record}"
    );
    assert!(record.contains("read_at: Some("), "{record}");
    let deleted = said(json!({"type": "RECORD", "stream": "users", "record": {"id": 7, "_sdc_deleted_at": "2026-11-30T01:02:03Z"}}));
    assert!(deleted.contains("deleted_at: Some(") && !deleted.contains("_sdc_deleted_at"), "{deleted}");
    let kept = said(json!({"type": "RECORD", "stream": "users", "record": {"id": 7, "_sdc_deleted_at": null}}));
    assert!(kept.contains("deleted_at: None"), "{kept}");
    assert_eq!(
        said(json!({"type": "SCHEMA", "stream": "users", "schema": {}, "key_properties": ["id"]})),
        r#"Stream("users")"#
    );
    assert_eq!(
        said(json!({"type": "STATE", "value": {"bookmarks": {}}})),
        r#"State { row: "state", value: Object {"bookmarks": Object {}} }"#
    );
    assert_eq!(
        said(json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 5})),
        r#"Activate { stream: "users", version: 5 }"#
    );
    assert!(said(json!({"type": "BATCH", "stream": "users"})).contains("batch_config"));
    for line in [
        json!("text"),
        json!({"type": "RECORD", "stream": "users"}),
        json!({"type": "RECORD", "record": {}}),
        json!({"type": "STATE"}),
        json!({"type": "OTHER"}),
        json!({"level": "info"}),
    ] {
        assert_eq!(said(line), "no message");
    }
}

#[test]
fn streams_are_selected_where_any_tap_looks() {
    let mut catalog = json!({"streams": [
        {"tap_stream_id": "db-users", "stream": "users", "schema": {"type": "object"}, "metadata": [
            {"breadcrumb": [], "metadata": {"forced-replication-method": "FULL_TABLE"}},
            {"breadcrumb": ["properties", "id"], "metadata": {"inclusion": "automatic"}},
            {"breadcrumb": ["properties", "geometry"], "metadata": {"inclusion": "unsupported"}}]},
        {"tap_stream_id": "orders", "schema": {}},
    ]});
    let whole = select(&mut catalog, &settings(json!({}))).expect("all there");
    assert!(whole.contains("users"));
    let [users, orders] = [0, 1].map(|at| catalog["streams"][at].clone());
    assert_eq!(
        [&users["selected"], &users["schema"]["selected"], &users["metadata"][0]["metadata"]["selected"]],
        [true; 3].map(|yes| json!(yes)).each_ref()
    );
    assert_eq!(users["metadata"][1]["metadata"]["selected"], true);
    assert_eq!(users["metadata"][2]["metadata"].get("selected"), None);
    assert_eq!(
        [&orders["selected"], &orders["metadata"][0]["metadata"]["selected"]],
        [false; 2].map(|no| json!(no)).each_ref()
    );

    let incremental = json!({"streams": {"users": {"mode": "incremental", "cursor": "updated_at", "records": [{"record": "person", "key": "id"}]}}});
    let whole = select(&mut catalog, &settings(incremental)).expect("all there");
    assert!(whole.is_empty());
    let own = &catalog["streams"][0]["metadata"][0]["metadata"];
    assert_eq!(
        [&own["replication-method"], &own["replication-key"]],
        [&json!("INCREMENTAL"), &json!("updated_at")]
    );
}

#[test]
fn a_wrong_catalogue_is_named() {
    let mut catalog = json!({"streams": [{"stream": "user", "schema": {}}, {"stream": "orders", "schema": {}}]});
    assert_eq!(
        select(&mut catalog, &settings(json!({}))),
        Err("the tap has no stream `users`; it has orders, user".to_owned())
    );
    let mut catalog = json!({"streams": [{"stream": "users"}, {"stream": "orders"}]});
    assert_eq!(
        select(&mut catalog, &settings(json!({"unmapped": "refuse"}))),
        Err("stream `orders` has no entry under `streams`, and `unmapped` is `refuse`".to_owned())
    );
    assert_eq!(
        select(&mut json!([]), &settings(json!({}))),
        Err("the tap's catalogue has no list `streams`".to_owned())
    );
}

#[test]
fn wrong_settings_are_named_all_at_once() {
    let text = refusal(json!({
        "command": [], "instance": "a b", "interval": "soon", "unmapped": "drop",
        "streams": {"users": {"mode": "whole", "empty_listing": "no", "records": []}, "deals": {"records": [{"record": "deal", "key": "id"}]}},
    }));
    for part in [
        "command: a program is needed",
        "instance: `a b` is part of every key",
        "interval: `soon` is no time such as `15m`",
        "unmapped: `drop` is neither `ignore` nor `refuse`",
        "streams.users.mode: `whole` is no mode; known are `full`, `incremental` and `log`",
        "streams.users.empty_listing: `no` is neither `keep` nor `take`",
        "streams.users.records: at least one is needed",
        "streams.deals.records[0].record: `deal` is no kind of record",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
