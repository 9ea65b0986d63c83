//! The protocol, line by line; the choice of streams and modes.

use millrace_child::protocol::{Message, Protocol as _};
use millrace_child::{Config, Raw};
use serde_json::{Value, json};

use crate::Connector;
use crate::catalog::{choose, secrets};

fn raw(stream: Value, more: Value) -> Raw {
    let mut users = json!({"records": [{"record": "person", "key": "id", "fields": {"workEmail.address": "email"}}]});
    for (name, value) in stream.as_object().expect("an object") {
        users[name.as_str()] = value.clone();
    }
    let mut raw = json!({"command": ["source"], "instance": "crm1", "streams": {"users": users}});
    for (name, value) in more.as_object().expect("an object") {
        raw[name.as_str()] = value.clone();
    }
    serde_json::from_value(raw).expect("of this form")
}

fn settings(stream: Value) -> Config {
    crate::config(raw(stream, json!({})), Vec::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// A line, as the test reads it.
fn said(line: Value) -> String {
    match Connector::default().message(line) {
        None => "no message".to_owned(),
        Some(message) => format!("{message:?}"),
    }
}

#[test]
fn every_message_is_read() {
    let record = said(json!({"type": "RECORD", "record": {"stream": "users", "namespace": "public", "data": {"id": 7}, "emitted_at": 1_000.5}}));
    assert!(
        record.contains(r#"namespace: Some("public")"#) && record.contains("read_at: Some(Timestamp(1000))"),
        "{record}"
    );
    let deleted =
        said(json!({"type": "RECORD", "record": {"stream": "users", "data": {"id": 7, "_ab_cdc_deleted_at": "2026-11-30T01:02:03Z"}, "emitted_at": 1}}));
    assert!(deleted.contains("deleted_at: Some(") && !deleted.contains("_ab_cdc"), "{deleted}");
    for (line, expected) in [
        (
            json!({"type": "STATE", "state": {"type": "STREAM", "stream": {"stream_descriptor": {"name": "users"}, "stream_state": {}}}}),
            r#"State { row: "state/[null,\"users\"]""#,
        ),
        (
            json!({"type": "STATE", "state": {"type": "GLOBAL", "global": {"shared_state": {}}}}),
            r#"State { row: "state", value: Object {"global""#,
        ),
        (
            json!({"type": "STATE", "state": {"data": {"users": 7}}}),
            r#"State { row: "state", value: Object {"data": Object {"users": Number(7)}, "type": String("LEGACY")"#,
        ),
        (
            json!({"type": "LOG", "log": {"level": "ERROR", "message": "m"}}),
            r#"Log { loud: true, text: "m" }"#,
        ),
        (
            json!({"type": "TRACE", "trace": {"type": "ERROR", "error": {"message": "m", "internal_message": "i", "failure_type": "config_error", "stream_descriptor": {"name": "users"}}}}),
            r#"Failed { text: "stream `users`: m (i)", denied: true }"#,
        ),
        (
            json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "stream_status": {"stream_descriptor": {"name": "users"}, "status": "COMPLETE"}}}),
            r#"Status { stream: "users", complete: true }"#,
        ),
        (
            json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "stream_status": {"stream_descriptor": {"name": "users"}, "status": "INCOMPLETE"}}}),
            r#"Status { stream: "users", complete: false }"#,
        ),
        (json!({"type": "TRACE", "trace": {"type": "ESTIMATE"}}), "Nothing"),
        (
            json!({"type": "CONTROL", "control": {"type": "CONNECTOR_CONFIG", "connectorConfig": {"config": {"a": 1}}}}),
            r#"Config({"a": Number(1)})"#,
        ),
        (json!({"type": "CATALOG"}), "Nothing"),
        (json!({"type": "RECORD", "record": {"stream": "users"}}), "no message"),
        (json!({"type": "CONTROL", "control": {}}), "no message"),
        (json!({"type": "OTHER"}), "no message"),
        (json!(7), "no message"),
    ] {
        let said = said(line.clone());
        assert!(said.starts_with(expected), "{line}: {said}");
    }
}

fn offered(modes: Value, cursor: Value) -> Value {
    json!({"streams": [
        {"name": "users", "namespace": "public", "supported_sync_modes": modes, "default_cursor_field": cursor, "source_defined_primary_key": [["id"]]},
        {"name": "orders", "supported_sync_modes": ["full_refresh"]},
    ]})
}

#[test]
fn a_stream_is_read_by_changes_where_it_can_be() {
    for (modes, cursor, stream, full) in [
        (json!(["full_refresh", "incremental"]), json!(["updated"]), json!({}), true),
        (json!(["full_refresh", "incremental"]), json!([]), json!({}), false),
        (json!(["full_refresh"]), json!(["updated"]), json!({}), false),
        (
            json!(["full_refresh", "incremental"]),
            json!([]),
            json!({"mode": "incremental", "cursor": "seq"}),
            true,
        ),
        (json!(["full_refresh", "incremental"]), json!(["updated"]), json!({"mode": "full"}), false),
    ]
    .map(|(modes, cursor, stream, changes): (Value, Value, Value, bool)| (modes, cursor, stream, !changes))
    {
        let chosen = choose(&offered(modes.clone(), cursor), &settings(stream.clone())).expect("all there");
        assert_eq!(chosen.whole.contains("users"), full, "{modes} {stream}");
        let users = &chosen.catalog["streams"][0];
        assert_eq!(users["sync_mode"], if full { "full_refresh" } else { "incremental" });
        assert_eq!(users["destination_sync_mode"], if full { "overwrite" } else { "append_dedup" });
        assert_eq!(chosen.catalog["streams"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn a_wrong_catalogue_is_named() {
    let twice = json!({"streams": [{"name": "users", "namespace": "a"}, {"name": "users", "namespace": "b"}]});
    for (catalog, stream, expected) in [
        (
            json!({"streams": [{"name": "user"}]}),
            json!({}),
            "the connector has no stream `users`; it has user",
        ),
        (
            twice.clone(),
            json!({}),
            "stream `users` is there in several namespaces, a, b; name one by `namespace`",
        ),
        (
            offered(json!(["full_refresh"]), json!([])),
            json!({"mode": "incremental"}),
            "the connector cannot read stream `users` by changes; set `mode = \"full\"`",
        ),
        (
            offered(json!(["incremental"]), json!([])),
            json!({"mode": "incremental"}),
            "stream `users` has no cursor of its own; name a column by `cursor`",
        ),
        (
            offered(json!(["incremental"]), json!([])),
            json!({"mode": "full"}),
            "the connector cannot read stream `users` in full",
        ),
        (json!({}), json!({}), "the connector's catalogue has no list `streams`"),
    ] {
        assert_eq!(choose(&catalog, &settings(stream)), Err(expected.to_owned()));
    }
    assert!(choose(&twice, &settings(json!({"namespace": "b"}))).is_ok());
}

#[test]
fn settings_of_singer_are_refused() {
    for (stream, more, expected) in [
        (json!({}), json!({"catalog": "none"}), "catalog: Airbyte's connectors are always asked"),
        (
            json!({"mode": "log"}),
            json!({}),
            "streams.users.mode: `log` is no mode; known are `full` and `incremental`",
        ),
    ] {
        let error = crate::config(raw(stream, more), Vec::new()).expect_err("wrong settings").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn secrets_are_found_where_the_specification_names_them() {
    let specification = json!({"properties": {
        "host": {"type": "string"},
        "credentials": {"oneOf": [
            {"properties": {"api_key": {"airbyte_secret": true}}},
            {"properties": {"refresh_token": {"airbyte_secret": true}, "client_id": {}}},
        ]},
        "keys": {"type": "array", "items": {"airbyte_secret": true}},
    }});
    let config = json!({"host": "h", "credentials": {"refresh_token": "hush", "client_id": "c"}, "keys": ["one", 2]});
    let config = config.as_object().expect("an object");
    assert_eq!(secrets(&specification, config), ["hush", "one", "2"]);
}

#[test]
fn the_state_of_a_stream_ends_with_its_full_run() {
    assert!(matches!(Connector::default().message(json!({"type": "SPEC"})), Some(Message::Nothing)));
    assert!(!Connector::default().forgets("state/[null,\"users\"]"), "nothing is chosen yet");
}
