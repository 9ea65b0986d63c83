//! Records as data: the outcome of each, in one line or one golden text.

use std::sync::LazyLock;

use expect_test::{Expect, expect};
use millrace_model::{EventOperation, Operation};
use proptest::prelude::*;

use super::*;

const RECORD_TIMESTAMP: Timestamp = Timestamp(1_000);
/// 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp(1_767_225_600_000);

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::builder(Arc::new(Schema::built_in().unwrap())).unwrap().build());

fn decode(kind: SourceKind, key: Option<&str>, value: Option<&[u8]>) -> Result<Decoded, DecodeError> {
    DECODER.decode(kind, key.map(str::as_bytes), value, RECORD_TIMESTAMP, NOW)
}

/// A decoded record in a few lines.
fn show(result: Result<Decoded, DecodeError>) -> String {
    let decoded = match result {
        Ok(decoded) => decoded,
        Err(error) => return error.to_string(),
    };
    let mut text = match &decoded.change {
        SourceChange::Record(change) => {
            let operation = match &change.operation {
                Operation::Replace(value) => format!("replace {}", value.to_json()),
                Operation::Patch { paths, value } => {
                    format!(
                        "patch [{}] {}",
                        paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                        value.to_json()
                    )
                }
                Operation::Delete => "delete".to_owned(),
                Operation::Tombstone => "tombstone".to_owned(),
            };
            format!("{} {} @{} {operation}", change.kind.name(), change.key, change.modified_at.0)
        }
        SourceChange::Event(event) => {
            let operation = match &event.operation {
                EventOperation::Put(value) => format!("put {}", value.to_json()),
                EventOperation::Delete => "delete".to_owned(),
            };
            format!(
                "event {} at {} @{} of {:?} {operation}",
                event.id, event.occurred_at, event.modified_at.0, event.identities
            )
        }
    };
    if !decoded.unknown_fields.is_empty() {
        text += &format!("\nunknown: {}", decoded.unknown_fields.join(", "));
    }
    text
}

#[track_caller]
fn check(kind: SourceKind, key: Option<&str>, value: &str, expected: Expect) {
    expected.assert_eq(&show(decode(kind, key, Some(value.as_bytes()))));
}

/// The reason of a rejection, or `ok`.
fn reason(result: Result<Decoded, DecodeError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(DecodeError::Rejected(rejection)) => {
            assert!(
                Reason::ALL.iter().any(|known| known.as_str() == rejection.reason),
                "{} is no fixed word",
                rejection.reason
            );
            rejection.reason.to_string()
        }
        Err(DecodeError::Retry(error)) => format!("retry: {error}"),
    }
}

#[test]
fn whole_records() {
    check(
        SourceKind::Person,
        Some("7@m1.Marketo"),
        r#"{"personKey":{"sourceKey":" 7@m1.Marketo "},"workEmail":{"address":"P2@Townsend.com"},"b2b":{"personScore":7,"isConverted":false,
            "accountKey":{"sourceType":"Marketo","sourceInstanceID":"m1","sourceID":"9.mkto_org"}},"extendedWorkDetails":{"departments":["HR",null]},
            "consents":{"marketing":{"email":{"val":"n"}}},"modifiedAt":"2025-12-01T00:00:00Z","isDeleted":false,"changedFields":null}"#,
        expect![[
            r#"person 7@m1.Marketo @1000 replace {"b2b":{"accountKey":{"sourceID":"9.mkto_org","sourceInstanceID":"m1","sourceKey":"9.mkto_org@m1.Marketo","sourceType":"Marketo"},"isConverted":false,"personScore":7},"consents":{"marketing":{"email":{"val":"n"}}},"extendedWorkDetails":{"departments":["HR"]},"personKey":{"sourceID":"7","sourceInstanceID":"m1","sourceKey":"7@m1.Marketo","sourceType":"Marketo"},"workEmail":{"address":"P2@Townsend.com"}}"#
        ]],
    );
    check(
        SourceKind::Opportunity,
        Some("o1"),
        r#"  {"opportunityAmount":{"amount":1e6,"currencyCode":"EUR"},"isWon":true,"expectedCloseDate":"2026-03-01","fiscalYear":2026.0,"accountKey":{"sourceKey":" "}}"#,
        expect![[
            r#"opportunity o1 @1000 replace {"expectedCloseDate":"2026-03-01","fiscalYear":2026,"isWon":true,"opportunityAmount":{"amount":1000000,"currencyCode":"EUR"},"opportunityKey":{"sourceKey":"o1"}}"#
        ]],
    );
    check(
        SourceKind::AccountLink,
        None,
        r#"{"linkKey":{"sourceKey":"l"},"members":[{"sourceKey":"a@1.X"},{"sourceKey":""},{"sourceKey":"b"}],"validTo":1000,"modifiedAt":5}"#,
        expect![[
            r#"account-link l @5 replace {"linkKey":{"sourceKey":"l"},"members":[{"sourceID":"a","sourceInstanceID":"1","sourceKey":"a@1.X","sourceType":"X"},{"sourceKey":"b"}],"validTo":"1970-01-01T00:00:01.000Z"}"#
        ]],
    );
}

#[test]
fn partial_records() {
    check(
        SourceKind::Opportunity,
        Some("o1"),
        r#"{"changedFields":["isWon","opportunityAmount.amount","expectedRevenue.amount","expectedRevenue","extra.a.b","accountKey.sourceKey","modifiedAt"],"isWon":true,"modifiedAt":9}"#,
        expect![[
            r#"opportunity o1 @9 patch [accountKey, expectedRevenue, extra.a.b, isWon, opportunityAmount.amount] {"isWon":true,"opportunityKey":{"sourceKey":"o1"}}"#
        ]],
    );
    check(
        SourceKind::Person,
        Some("p"),
        r#"{"changedFields":[]}"#,
        expect![[r#"person p @1000 patch [] {"personKey":{"sourceKey":"p"}}"#]],
    );
    check(
        SourceKind::Person,
        Some("p"),
        r#"{"changedFields":["b2b","b2b.accountKey"],"isDeleted":true}"#,
        expect!["person p @1000 delete"],
    );
    // A blank text is null, here as everywhere.
    check(
        SourceKind::Person,
        Some("p"),
        r#"{"changedFields":[" "]}"#,
        expect![[r#"person p @1000 patch [] {"personKey":{"sourceKey":"p"}}"#]],
    );
    for unknown in ["nonsense", "workEmail.nonsense", "workEmail.address.x", "identities.id", "b2b..accountKey"] {
        let value = serde_json::json!({ "changedFields": [unknown] }).to_string();
        assert_eq!(
            reason(decode(SourceKind::Person, Some("p"), Some(value.as_bytes()))),
            "unknown-changed-field",
            "{unknown}"
        );
    }
}

#[test]
fn unknown_fields_go_to_extra() {
    check(
        SourceKind::Person,
        Some("p"),
        r#"{"tier":"gold","workEmail":{"address":"a@b.c","verified":true},"extra":{"tier":"silver","n":1,"workEmail":5},"none":null,"x":{"y":[1,null]},
            "identities":[{"namespace":"ecid","id":"1","colour":"red"}]}"#,
        expect![[r#"
            person p @1000 replace {"extra":{"n":1,"tier":"silver","workEmail":5,"x":{"y":[1,null]}},"identities":[{"id":"1","namespace":"ecid"}],"personKey":{"sourceKey":"p"},"workEmail":{"address":"a@b.c"}}
            unknown: identities.colour, tier, workEmail.verified, x"#]],
    );
    check(
        SourceKind::Activity,
        Some("p"),
        r#"{"_id":"e","timestamp":0,"web":{"webPageDetails":{"custom":{"a":1}}},"consents":"x"}"#,
        expect![[r#"
            event e at 1970-01-01T00:00:00.000Z @1000 of [b2b_person:p] put {"_id":"e","extra":{"consents":"x","web":{"webPageDetails":{"custom":{"a":1}}}},"timestamp":"1970-01-01T00:00:00.000Z","web":{"webPageDetails":{}}}
            unknown: consents, web.webPageDetails.custom"#]],
    );
}

#[test]
fn keys() {
    let table = [
        (Some("a"), r#"{}"#, "ok"),
        (Some(" a "), r#"{"accountKey":{"sourceKey":"a"}}"#, "ok"),
        (None, r#"{"accountKey":{"sourceKey":"a"}}"#, "ok"),
        (
            Some("1@i.T"),
            r#"{"accountKey":{"sourceID":"1","sourceInstanceID":"i","sourceType":"T"}}"#,
            "ok",
        ),
        (Some("a"), r#"{"accountKey":{"sourceKey":"b"}}"#, "key-mismatch"),
        (Some("a"), r#"{"accountKey":{"sourceKey":"A"}}"#, "key-mismatch"),
        (Some(" "), r#"{"accountKey":{"sourceKey":""}}"#, "missing-key"),
        (None, r#"{"accountKey":{"sourceID":"1","sourceType":"T"}}"#, "missing-key"),
        (None, r#"{"accountKey":null}"#, "missing-key"),
    ];
    for (key, value, expected) in table {
        assert_eq!(reason(decode(SourceKind::Account, key, Some(value.as_bytes()))), expected, "{key:?} {value}");
    }
    let long = "k".repeat(1_025);
    assert_eq!(reason(decode(SourceKind::Account, Some(&long), Some(b"{}"))), "oversize");
    let value = serde_json::json!({ "accountKey": { "sourceKey": long } }).to_string();
    assert_eq!(reason(decode(SourceKind::Account, None, Some(value.as_bytes()))), "oversize");
    for value in [
        serde_json::json!({ "workEmail": { "address": long } }),
        serde_json::json!({ "identities": [{ "namespace": "ecid", "id": long }] }),
        serde_json::json!({ "identities": [{ "namespace": long, "id": "1" }] }),
        serde_json::json!({ "b2b": { "accountKey": { "sourceKey": long } } }),
        serde_json::json!({ "b2b": { "accountKey": { "sourceID": long, "sourceInstanceID": "i", "sourceType": "T" } } }),
        serde_json::json!({ "extSourceSystemAudit": { "externalKey": { "sourceKey": long } } }),
    ] {
        assert_eq!(
            reason(decode(SourceKind::Person, Some("p"), Some(value.to_string().as_bytes()))),
            "oversize",
            "{value}"
        );
    }
    let value = serde_json::json!({ "extra": { "id": long }, "b2b": { "companyName": long } }).to_string();
    assert_eq!(reason(decode(SourceKind::Person, Some("p"), Some(value.as_bytes()))), "ok");
    let value = serde_json::json!({ "members": [{ "sourceKey": "a" }, { "sourceKey": long }] }).to_string();
    assert_eq!(reason(decode(SourceKind::AccountLink, Some("k"), Some(value.as_bytes()))), "oversize");
    let decoded = DECODER.decode(SourceKind::Account, Some(b"\xFF"), Some(b"{}"), RECORD_TIMESTAMP, NOW);
    assert_eq!(reason(decoded), "bad-utf8");
}

#[test]
fn a_link_is_of_two_accounts_at_least() {
    let table = [
        (r#"{"members":[{"sourceKey":"a@c.S"},{"sourceKey":"b@c.S"}]}"#, "ok"),
        (r#"{"members":[{"sourceKey":"a@c.S"},{"sourceKey":" a@c.S "}]}"#, "too-few-members"),
        (r#"{"members":[]}"#, "too-few-members"),
        (r#"{"members":[{"sourceKey":"a@c.S"}],"isDeleted":true}"#, "ok"),
        (r#"{"members":[{"sourceKey":"a@c.S"}],"changedFields":["members"]}"#, "too-few-members"),
        (r#"{"validTo":1000,"changedFields":["validTo"]}"#, "ok"),
        (r#"{"members":[{"sourceKey":"a@c.S"}],"validTo":1000,"changedFields":["validTo"]}"#, "ok"),
    ];
    for (value, expected) in table {
        assert_eq!(reason(decode(SourceKind::AccountLink, Some("l"), Some(value.as_bytes()))), expected, "{value}");
    }
}

#[test]
fn tombstones() {
    assert_eq!(show(decode(SourceKind::Account, Some(" a "), None)), "account a @1000 tombstone");
    assert_eq!(reason(decode(SourceKind::Account, None, None)), "tombstone-without-key");
    assert_eq!(reason(decode(SourceKind::Account, Some(""), None)), "tombstone-without-key");
    assert_eq!(reason(decode(SourceKind::Activity, Some("p"), None)), "tombstone-on-activity");
}

#[test]
fn activities() {
    let event = |rest: &str| format!(r#"{{"_id":" e1 ","timestamp":"2025-12-31T23:59:00+01:00"{rest}}}"#);
    let show_of = |key: Option<&str>, value: &str| show(decode(SourceKind::Activity, key, Some(value.as_bytes())));
    let identities = |key: Option<&str>, rest: &str| {
        let shown = show_of(key, &event(rest));
        match (shown.find(" of "), shown.find(" put ")) {
            (Some(of), Some(put)) => shown[of + 4..put].to_owned(),
            _ => shown,
        }
    };
    assert_eq!(
        show_of(
            Some("x"),
            &event(r#","personKey":{"sourceKey":"p"},"modifiedAt":7,"eventType":"web.webpagedetails.pageViews""#)
        ),
        r#"event e1 at 2025-12-31T22:59:00.000Z @7 of [b2b_person:p] put {"_id":"e1","eventType":"web.webpagedetails.pageViews","personKey":{"sourceKey":"p"},"timestamp":"2025-12-31T22:59:00.000Z"}"#
    );
    assert_eq!(identities(Some("7@m.Marketo"), ""), "[b2b_person:7@m.Marketo]");
    assert_eq!(identities(Some("Email: A@B.c "), ""), "[email:a@b.c]");
    assert_eq!(
        identities(
            Some("x"),
            r#","identities":[{"namespace":"ECID","id":" 1 "},{"namespace":"ecid","id":"1"},{"namespace":"b2b_account","id":"a"},{"id":"1"}]"#
        ),
        "[ecid:1]"
    );
    assert_eq!(
        identities(Some("ecid:1"), r#","identities":[{"namespace":"b2b_account","id":"a"}]"#),
        "[ecid:1]"
    );
    assert_eq!(
        identities(None, r#","personKey":{"sourceKey":"p"},"identities":[{"namespace":"email","id":"A@B.C"}]"#),
        "[b2b_person:p, email:a@b.c]"
    );
    let table = [
        (None, event(""), "no-identity"),
        (Some("b2b_account:x"), event(""), "no-identity"),
        (Some(":x"), event(""), "no-identity"),
        (Some("p"), r#"{"timestamp":0}"#.to_owned(), "missing-id"),
        (Some("p"), r#"{"_id":" ","timestamp":0}"#.to_owned(), "missing-id"),
        (Some("p"), r#"{"_id":5,"timestamp":0}"#.to_owned(), "wrong-type"),
        (Some("p"), r#"{"_id":"e"}"#.to_owned(), "missing-timestamp"),
        (Some("p"), r#"{"_id":"e","timestamp":"soon"}"#.to_owned(), "wrong-type"),
        (Some("p"), format!(r#"{{"_id":"e","timestamp":{}}}"#, NOW.0 + 300_000), "ok"),
        (Some("p"), format!(r#"{{"_id":"e","timestamp":{}}}"#, NOW.0 + 300_001), "from-the-future"),
        (Some("p"), r#"{"_id":"e","isDeleted":true}"#.to_owned(), "ok"),
    ];
    for (key, value, expected) in table {
        assert_eq!(reason(decode(SourceKind::Activity, key, Some(value.as_bytes()))), expected, "{key:?} {value}");
    }
    assert_eq!(
        show_of(Some("p"), r#"{"_id":"e","isDeleted":true}"#),
        "event e at 1970-01-01T00:00:01.000Z @1000 of [b2b_person:p] delete"
    );
}

#[test]
fn rejections_by_bytes() {
    let table: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"[]", "unknown-encoding"),
        (b"null", "unknown-encoding"),
        (b"\x01", "unknown-encoding"),
        (b"\xEF\xBB\xBF{}", "unknown-encoding"),
        (b"  ", "unknown-encoding"),
        (b"\x00\x00\x00\x00\x01", "unknown-encoding"),
        (b"{", "malformed-json"),
        (b"{}x", "malformed-json"),
        (b"{\"a\":NaN}", "malformed-json"),
        (b"{\"a\":1e999}", "wrong-type"),
        (b"{\"accountName\":\"\\ud800\"}", "malformed-json"),
        (b"{\"accountName\":\"\xFF\"}", "bad-utf8"),
        (b"{\"accountName\":\"a\",\"accountName\":\"b\"}", "malformed-json"),
        (b"{\"extra\":{\"a\":1,\"a\":2}}", "malformed-json"),
        (b"{\"extra\":5}", "wrong-type"),
        (b"{\"accountScore\":12345678901234567890123456789}", "ok"),
        (b"{\"accountScore\":123456789012345678901234567890}", "wrong-type"),
        (b"{\"accountOrganization\":{\"numberOfEmployees\":123456789012345678901}}", "wrong-type"),
        (b"\xC3\x01", "bad-avro"),
        (b"\xC3\x01\x00\x00\x00\x00\x00\x00\x00\x00", "unknown-fingerprint"),
        (b"\xC3\x02", "unknown-encoding"),
    ];
    for (value, expected) in table {
        assert_eq!(
            reason(decode(SourceKind::Account, Some("a"), Some(value))),
            *expected,
            "{}",
            String::from_utf8_lossy(value)
        );
    }
    let deep = format!("{{\"extra\":{}{}}}", "[".repeat(200), "]".repeat(200));
    assert!(show(decode(SourceKind::Account, Some("a"), Some(deep.as_bytes()))).contains("malformed-json: objects and lists"));
    let large = format!("{{\"accountName\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(reason(decode(SourceKind::Account, Some("a"), Some(large.as_bytes()))), "oversize");
}

#[test]
fn a_schema_of_another_topic_is_not_read() {
    let bytes = encode_avro(SourceKind::Account, &serde_json::json!({}));
    assert_eq!(reason(decode(SourceKind::Account, Some("a"), Some(&bytes))), "ok");
    assert_eq!(reason(decode(SourceKind::Person, Some("a"), Some(&bytes))), "unknown-fingerprint");
}

/// The same record in Avro single-object encoding, written by `apache-avro` from the JSON a
/// producer would send: any JSON under `extra` becomes its text.
fn encode_avro(kind: SourceKind, json: &serde_json::Value) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(Schema::avro_text(kind)).unwrap();
    let record = millrace_model::RecordType::from_avro(kind.name(), Schema::avro_text(kind)).unwrap();
    let value = avro_value(&millrace_model::Type::Record(record), json).resolve(&schema).unwrap();
    let mut bytes = vec![0xC3, 0x01];
    bytes.extend(AvroSchema::parse(Schema::avro_text(kind), &[]).unwrap().fingerprint());
    bytes.extend(
        apache_avro::writer::datum::GenericDatumWriter::builder(&schema)
            .build()
            .unwrap()
            .write_value_to_vec(value)
            .unwrap(),
    );
    bytes
}

fn avro_value(ty: &millrace_model::Type, json: &serde_json::Value) -> apache_avro::types::Value {
    use apache_avro::types::Value as Avro;
    use millrace_model::Type;
    match (ty, json) {
        (_, serde_json::Value::Null) => Avro::Null,
        (Type::Bool, json) => Avro::Boolean(json.as_bool().unwrap()),
        (Type::Int, json) => Avro::Long(json.as_i64().unwrap()),
        (Type::Number, json) => Avro::Double(json.as_f64().unwrap()),
        (Type::Text, json) => Avro::String(json.as_str().unwrap().to_owned()),
        (Type::Date, json) => {
            let date = millrace_model::Date::parse(json.as_str().unwrap()).unwrap();
            Avro::Date(i32::try_from(date.midnight_utc().0 / millrace_model::DAY_MS).unwrap())
        }
        (Type::Time, json) => Avro::Long(json.as_i64().unwrap()),
        (Type::List(ty), json) => Avro::Array(json.as_array().unwrap().iter().map(|item| avro_value(ty, item)).collect()),
        (Type::Map(ty), json) => Avro::Map(
            json.as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), avro_value(ty, value)))
                .collect(),
        ),
        (Type::Any, json) => Avro::Map(
            json.as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), Avro::String(value.to_string())))
                .collect(),
        ),
        (Type::Record(record), json) => {
            let fields = record
                .fields
                .iter()
                .map(|(name, field)| (name.to_string(), json.get(name.as_str()).map_or(Avro::Null, |json| avro_value(&field.ty, json))));
            Avro::Record(fields.collect())
        }
    }
}

/// Any JSON a field of this type may hold.
fn json_of(ty: &millrace_model::Type) -> BoxedStrategy<serde_json::Value> {
    use millrace_model::Type;
    use serde_json::Value as Json;
    let anything = || {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            (-1e6..1e6).prop_map(|n: f64| Json::from(n)),
            "[a-z \"\\\\é]{0,8}".prop_map(Json::from)
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
                proptest::collection::btree_map("[a-c]{1,2}", inner, 0..3).prop_map(|map| map.into_iter().collect())
            ]
        })
    };
    match ty {
        Type::Bool => any::<bool>().prop_map(Json::from).boxed(),
        Type::Int => any::<i32>().prop_map(Json::from).boxed(),
        Type::Number => prop_oneof![(-1e9..1e9).prop_map(|n: f64| Json::from(n)), any::<i32>().prop_map(Json::from)].boxed(),
        Type::Text => "[ a-z@.\"é]{0,30}".prop_map(Json::from).boxed(),
        Type::Date => (1..2_900_000_i64)
            .prop_map(|days| Json::from(millrace_model::Date::of_days(days - 700_000).unwrap().to_string()))
            .boxed(),
        Type::Time => (0..NOW.0).prop_map(Json::from).boxed(),
        Type::List(ty) => proptest::collection::vec(json_of(ty), 0..3).prop_map(Json::from).boxed(),
        Type::Map(ty) => proptest::collection::btree_map("[a-z]{1,4}", json_of(ty), 0..3)
            .prop_map(|map| map.into_iter().collect())
            .boxed(),
        Type::Any => proptest::collection::btree_map("[a-z]{1,4}", anything(), 0..3)
            .prop_map(|map| map.into_iter().collect())
            .boxed(),
        Type::Record(record) => {
            let fields: Vec<_> = record
                .fields
                .iter()
                .filter(|(name, _)| !name.ends_with("CloseDate") && *name != "birthDate" && *name != "changedFields")
                .map(|(name, field)| {
                    proptest::option::weighted(0.3, json_of(&field.ty)).prop_map({
                        let name = name.to_string();
                        move |json| json.map(|json| (name.clone(), json))
                    })
                })
                .collect();
            fields.prop_map(|fields| fields.into_iter().flatten().collect()).boxed()
        }
    }
}

fn record_of_any_kind() -> impl Strategy<Value = (SourceKind, serde_json::Value)> {
    let schema = Schema::built_in().unwrap();
    proptest::sample::select(SourceKind::ALL.to_vec()).prop_flat_map(move |kind| {
        let record = millrace_model::Type::Record(schema.record(kind).clone());
        (Just(kind), json_of(&record)).prop_map(|(kind, mut json)| {
            // The key must agree with the Kafka key, and an event needs these two.
            if let Some(key) = kind.key_field() {
                json[key] = serde_json::json!({ "sourceKey": "k" });
            } else {
                json["_id"] = "e".into();
                json["timestamp"] = 5.into();
            }
            if kind == SourceKind::AccountLink {
                json["members"] = serde_json::json!([{ "sourceKey": "a" }, { "sourceKey": "b" }]);
            }
            if kind == SourceKind::AudienceMember {
                json["audience"] = "a".into();
                json["member"] = "email:a@b.c".into();
            }
            (kind, json)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn json_and_avro_of_one_record_mean_the_same((kind, json) in record_of_any_kind()) {
        let of_json = DECODER.decode(kind, Some(b"k"), Some(json.to_string().as_bytes()), RECORD_TIMESTAMP, NOW);
        let of_avro = DECODER.decode(kind, Some(b"k"), Some(&encode_avro(kind, &json)), RECORD_TIMESTAMP, NOW);
        prop_assert!(of_json.is_ok(), "{:?}", of_json);
        prop_assert_eq!(of_json, of_avro);
    }

    #[test]
    fn damaged_records_never_panic((kind, json) in record_of_any_kind(), avro: bool, at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = if avro { encode_avro(kind, &json) } else { json.to_string().into_bytes() };
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = reason(decode(kind, Some("k"), Some(&bytes)));
        bytes.truncate(cut.index(bytes.len()));
        let _ = reason(decode(kind, Some("k"), Some(&bytes)));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(kind in proptest::sample::select(SourceKind::ALL.to_vec()), key: Option<Vec<u8>>, mut value: Vec<u8>, json: bool) {
        if json {
            value.insert(0, b'{');
        }
        let _ = reason(DECODER.decode(kind, key.as_deref(), Some(&value), RECORD_TIMESTAMP, NOW));
    }
}

#[test]
fn a_membership_names_its_audience_and_its_member() {
    let table = [
        (r#"{"audience":"partners","member":"Email: A@b.c"}"#, "ok"),
        (r#"{"audience":"partners","personKey":{"sourceKey":"1@m.M"}}"#, "ok"),
        (r#"{"audience":"partners","accountKey":{"sourceKey":"1@m.M"},"validUntil":"2026-03-18"}"#, "ok"),
        (r#"{"audience":"partners","isDeleted":true}"#, "ok"),
        (r#"{"changedFields":["validUntil"]}"#, "ok"),
        (r#"{"member":"email:a@b.c"}"#, "missing-key"),
        (r#"{"audience":" ","member":"email:a@b.c"}"#, "missing-key"),
        (r#"{"audience":"partners"}"#, "no-identity"),
        (r#"{"audience":"partners","member":"a@b.c"}"#, "no-identity"),
        (r#"{"audience":"partners","member":"email:a@b.c","validUntil":"soon"}"#, "wrong-type"),
    ];
    for (value, expected) in table {
        assert_eq!(
            reason(decode(SourceKind::AudienceMember, Some("any key"), Some(value.as_bytes()))),
            expected,
            "{value}"
        );
    }
}
