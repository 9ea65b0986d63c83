//! Every type in every mode, in JSON with a schema and in Avro.

use std::sync::Arc;

use apache_avro::types::Value as Datum;
use apache_avro::writer::datum::GenericDatumWriter;
use millrace_wire::{RegisteredSchema, RegistryClient, SchemaSource, SchemaSourceError};
use serde_json::{Value, json};

use super::{Stream, TOPIC, event, shown};
use crate::Documents;
use crate::shape::{Meaning, RowSchema};

/// What a column with this field schema becomes for this value.
fn column(schema: &Value, value: Value, zone: &str) -> String {
    let read = RowSchema::of_connect(schema).read(value, zone.parse().expect("a zone"));
    read.map_or_else(|error| format!("error: {error}"), |value| value.to_string())
}

fn named(ty: &str, name: &str) -> Value {
    json!({"type": ty, "optional": true, "name": name, "version": 1})
}

fn decimal(scale: u32) -> Value {
    json!({"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "version": 1, "parameters": {"scale": scale.to_string(), "connect.decimal.precision": "20"}})
}

fn debezium(ty: &str, name: &str) -> Value {
    named(ty, &format!("io.debezium.{name}"))
}

fn connect(ty: &str, name: &str) -> Value {
    named(ty, &format!("org.apache.kafka.connect.data.{name}"))
}

fn check(table: &[(Value, Value, &str)]) {
    for (schema, value, expected) in table {
        let found = column(schema, value.clone(), "UTC");
        assert!(
            found == *expected || *expected == "error" && found.starts_with("error: "),
            "{schema} {value}: {found}, expected {expected}"
        );
    }
}

#[test]
fn decimals_and_times_in_every_mode() {
    check(&[
        // decimal.handling.mode: precise, string, double; money is precise with two digits
        (decimal(2), json!("AeJB"), "1234.57"),
        (decimal(0), json!("/w=="), "-1"),
        (decimal(4), json!("AA=="), "0"),
        (debezium("struct", "data.VariableScaleDecimal"), json!({"scale": 3, "value": "AeJB"}), "123.457"),
        (json!({"type": "string"}), json!("1234.57"), r#""1234.57""#),
        (json!({"type": "double"}), json!(1234.57), "1234.57"),
        // time.precision.mode: adaptive, adaptive_time_microseconds, microseconds, nanoseconds
        (debezium("int32", "time.Date"), json!(20_393), r#""2025-11-01""#),
        (debezium("int32", "time.Time"), json!(47_100_250), r#""13:05:00.25""#),
        (debezium("int64", "time.MicroTime"), json!(47_100_000_250_i64), r#""13:05:00.00025""#),
        (debezium("int64", "time.NanoTime"), json!(47_100_000_000_000_i64), r#""13:05:00""#),
        (
            debezium("int64", "time.Timestamp"),
            json!(1_761_991_500_123_i64),
            r#""2025-11-01T10:05:00.123Z""#,
        ),
        (
            debezium("int64", "time.MicroTimestamp"),
            json!(1_761_991_500_123_456_i64),
            r#""2025-11-01T10:05:00.123Z""#,
        ),
        (
            debezium("int64", "time.NanoTimestamp"),
            json!(1_761_991_500_123_456_789_i64),
            r#""2025-11-01T10:05:00.123Z""#,
        ),
        (debezium("int64", "time.MicroTimestamp"), json!(-1), r#""1969-12-31T23:59:59.999Z""#),
        (
            debezium("string", "time.ZonedTimestamp"),
            json!("2025-11-01T11:05:00.123456+01:00"),
            r#""2025-11-01T10:05:00.123Z""#,
        ),
        (debezium("string", "time.ZonedTime"), json!("11:05:00Z"), r#""11:05:00Z""#),
        (debezium("int64", "time.MicroDuration"), json!(5), "5"),
        (debezium("string", "time.Interval"), json!("P1Y2M3DT4H5M6.7S"), r#""P1Y2M3DT4H5M6.7S""#),
        // connect
        (connect("int32", "Date"), json!(20_393), r#""2025-11-01""#),
        (connect("int32", "Time"), json!(47_100_250), r#""13:05:00.25""#),
        (connect("int64", "Timestamp"), json!(1_761_991_500_123_i64), r#""2025-11-01T10:05:00.123Z""#),
        // isostring
        (debezium("string", "time.IsoDate"), json!("2025-11-01Z"), r#""2025-11-01""#),
        (debezium("string", "time.IsoTime"), json!("13:05:00Z"), r#""13:05:00Z""#),
        (
            debezium("string", "time.IsoTimestamp"),
            json!("2025-11-01T10:05:00.123456Z"),
            r#""2025-11-01T10:05:00.123Z""#,
        ),
    ]);
}

#[test]
fn other_types_and_what_does_not_fit() {
    check(&[
        // infinity
        (debezium("int64", "time.MicroTimestamp"), json!(9_223_372_036_825_200_000_i64), "null"),
        (debezium("int64", "time.MicroTimestamp"), json!(-9_223_372_036_832_400_000_i64), "null"),
        (debezium("string", "time.ZonedTimestamp"), json!("+294247-01-10T04:00:25.200Z"), "null"),
        (debezium("string", "time.ZonedTimestamp"), json!("-infinity"), "null"),
        (debezium("int32", "time.Date"), json!(2_147_483_647), "null"),
        // the rest
        (debezium("string", "data.Json"), json!("{\"a\": [1]}"), r#"{"a":[1]}"#),
        (debezium("string", "data.Json"), json!("no json"), r#""no json""#),
        (debezium("string", "data.Uuid"), json!("0b4e"), r#""0b4e""#),
        (debezium("string", "data.Enum"), json!("gold"), r#""gold""#),
        (debezium("bytes", "data.Bits"), json!("BQE="), "261"),
        (json!({"type": "boolean"}), json!(true), "true"),
        (
            json!({"type": "array", "items": debezium("int32", "time.Date")}),
            json!([0, null]),
            r#"["1970-01-01",null]"#,
        ),
        (json!({"type": "map", "keys": {"type": "string"}}), json!({"a": "b"}), r#"{"a":"b"}"#),
        (decimal(2), json!(null), "null"),
        // what does not fit
        (decimal(2), json!("?"), "error: `?` is no decimal: it is not base64"),
        (
            decimal(2),
            json!("f////////////////////w=="),
            "error: `f////////////////////w==` of scale 2 is not a number below 7.9e28",
        ),
        (
            debezium("int64", "time.MicroTimestamp"),
            json!("x"),
            "error: `\"x\"` is no value of the type WallTime { per_second: 1000000 }",
        ),
        (debezium("string", "time.ZonedTimestamp"), json!("yesterday"), "error"),
        (debezium("int32", "time.Time"), json!(-1), "error: expected a time of day"),
    ]);
}

#[test]
fn date_times_without_a_zone_are_read_in_the_configured_one() {
    let local = debezium("int64", "time.Timestamp");
    let table = [
        (1_761_991_500_000_i64, r#""2025-11-01T09:05:00.000Z""#),
        // Clocks show 02:30 twice on 26 October: the earlier instant; on 30 March never.
        (1_761_445_800_000, r#""2025-10-26T00:30:00.000Z""#),
        (1_743_301_800_000, r#""2025-03-30T01:30:00.000Z""#),
    ];
    for (value, expected) in table {
        assert_eq!(column(&local, json!(value), "Europe/Berlin"), expected, "{value}");
    }
    let zoned = debezium("string", "time.ZonedTimestamp");
    assert_eq!(column(&zoned, json!("2025-11-01T10:05:00Z"), "Europe/Berlin"), r#""2025-11-01T10:05:00.000Z""#);
    let iso = debezium("string", "time.IsoTimestamp");
    assert_eq!(column(&iso, json!("2025-11-01T10:05:00Z"), "Europe/Berlin"), r#""2025-11-01T09:05:00.000Z""#);
}

#[test]
fn types_can_be_stated() {
    for (name, expected) in [
        ("Decimal(2)", Some(Meaning::Decimal { scale: 2 })),
        ("MicroTimestamp", Some(Meaning::WallTime { per_second: 1_000_000 })),
        ("io.debezium.time.Date", Some(Meaning::Date)),
        ("Decimal", None),
        ("Decimal(x)", None),
        ("", None),
    ] {
        assert_eq!(Meaning::named(name), expected, "{name}");
    }
    let topic = "
types: { amount: Decimal(2), closed: Date }
records:
  - { record: opportunity, key: id, fields: { opportunityAmount.amount: amount, actualCloseDate: closed } }
";
    let row = json!({"id": 1, "amount": "AeJB", "closed": 20_393});
    let lines = Stream::new(topic).take(json!({"id": 1}), event("c", json!(null), row, 100, 1));
    assert!(
        lines[0].contains(r#""actualCloseDate":"2025-11-01""#) && lines[0].contains(r#""opportunityAmount":{"amount":1234.57}"#),
        "{lines:?}"
    );
    let bad = json!({"id": 1, "amount": "?", "closed": null});
    let lines = Stream::new(topic).take(json!({"id": 1}), event("c", json!(null), bad, 100, 1));
    assert_eq!(
        lines,
        ["dead crm.public.t/3/0: wrong-type: column `amount` of after: `?` is no decimal: it is not base64"]
    );
}

/// A registry that holds one schema of a value, and one of a key.
struct Two(String, String);

impl SchemaSource for Two {
    fn schema(&self, id: i32) -> Result<RegisteredSchema, SchemaSourceError> {
        let text = match id {
            1 => self.0.clone(),
            2 => self.1.clone(),
            _ => return Err(SchemaSourceError::Unusable("no such schema".into())),
        };
        Ok(RegisteredSchema {
            schema_type: "AVRO".to_owned(),
            text,
            references: Vec::new(),
        })
    }

    fn register(&self, _: &str, _: &str) -> Result<i32, SchemaSourceError> {
        Err(SchemaSourceError::Refused("read only".into()))
    }
}

/// The schema that Confluent's converter makes of an envelope: the row is defined under `before`,
/// and `after` refers to it.
fn avro_envelope() -> Value {
    let optional = |ty: Value| json!({"name": "x", "type": ["null", ty], "default": null});
    let field = |name: &str, ty: Value| {
        let mut field = optional(ty);
        field["name"] = json!(name);
        field
    };
    let row = json!({"type": "record", "name": "Value", "connect.name": "crm.public.t.Value", "fields": [
        {"name": "id", "type": "int"},
        field("amount", json!({"type": "bytes", "scale": 2, "precision": 20, "connect.version": 1, "connect.parameters": {"scale": "2", "connect.decimal.precision": "20"}, "connect.name": "org.apache.kafka.connect.data.Decimal", "logicalType": "decimal"})),
        field("closed", json!({"type": "int", "connect.version": 1, "connect.name": "io.debezium.time.Date"})),
        field("changed", json!({"type": "long", "connect.version": 1, "connect.name": "io.debezium.time.MicroTimestamp"})),
        field("name", json!("string")),
    ]});
    json!({"type": "record", "name": "Envelope", "namespace": "crm.public.t", "connect.version": 2, "connect.name": "crm.public.t.Envelope", "fields": [
        field("before", row),
        {"name": "after", "type": ["null", "Value"], "default": null},
        {"name": "source", "type": {"type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql", "fields": [
            {"name": "ts_ms", "type": "long"}, field("snapshot", json!("string")), field("sequence", json!("string")),
        ]}},
        {"name": "op", "type": "string"},
        field("ts_ms", json!("long")),
    ]})
}

#[test]
fn avro_says_the_same_as_json() {
    let envelope = avro_envelope().to_string();
    let key = json!({"type": "record", "name": "Key", "namespace": "crm.public.t", "fields": [{"name": "id", "type": "int"}]}).to_string();
    let registry = RegistryClient::new(Box::new(Two(envelope.clone(), key.clone())));
    let topic = json!({"records": [{"record": "opportunity", "key": "id", "fields": {
        "opportunityAmount.amount": "amount", "actualCloseDate": "closed", "opportunityName": "name", "modifiedAt": "changed",
    }}]});
    let raw = json!({"instance": "db1", "topics": {TOPIC: topic}});
    let mut stream = Stream::of(raw, Documents::new(Some(Arc::new(registry))));

    let optional = |value: Option<Datum>| match value {
        Some(value) => Datum::Union(1, Box::new(value)),
        None => Datum::Union(0, Box::new(Datum::Null)),
    };
    let record = |fields: Vec<(&str, Datum)>| Datum::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let row = record(vec![
        ("id", Datum::Int(7)),
        ("amount", optional(Some(Datum::Decimal(apache_avro::Decimal::from(vec![0x01, 0xe2, 0x41]))))),
        ("closed", optional(Some(Datum::Int(20_393)))),
        ("changed", optional(Some(Datum::Long(1_761_991_500_123_456)))),
        ("name", optional(Some(Datum::String("__debezium_unavailable_value".to_owned())))),
    ]);
    let value = record(vec![
        ("before", optional(None)),
        ("after", optional(Some(row))),
        (
            "source",
            record(vec![("ts_ms", Datum::Long(100)), ("snapshot", optional(None)), ("sequence", optional(None))]),
        ),
        ("op", Datum::String("u".to_owned())),
        ("ts_ms", optional(None)),
    ]);
    let framed = |id: u8, schema: &str, value: Datum| {
        let schema = apache_avro::Schema::parse_str(schema).expect("a schema");
        let writer = GenericDatumWriter::builder(&schema).build().expect("a schema");
        [vec![0, 0, 0, 0, id], writer.write_value_to_vec(value).expect("of the schema")].concat()
    };
    let key = framed(2, &key, record(vec![("id", Datum::Int(7))]));
    let lines: Vec<String> = stream
        .bytes(Some(key.clone()), Some(framed(1, &envelope, value)))
        .into_iter()
        .map(shown)
        .collect();
    assert_eq!(
        lines,
        [
            r#"opportunity 7@db1.Database {"actualCloseDate":"2025-11-01","changedFields":["actualCloseDate","opportunityAmount.amount"],"modifiedAt":"2025-11-01T10:05:00.123Z","opportunityAmount":{"amount":1234.57},"opportunityKey":{"sourceKey":"7@db1.Database"}}"#
        ]
    );
    let lines: Vec<String> = stream.bytes(Some(key), None).into_iter().map(shown).collect();
    assert_eq!(lines, ["opportunity 7@db1.Database tombstone"]);
    let lines: Vec<String> = stream.bytes(None, Some(vec![0, 0, 0, 0, 9, 1])).into_iter().map(shown).collect();
    assert_eq!(lines, ["dead crm.public.t/3/2: unusable-schema: schema id 9: no such schema"]);
}
