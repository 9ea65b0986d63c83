//! The decoder and the rules, on envelopes as Debezium's documentation has them.

mod kills;
mod order;
mod types;
mod world;

use std::sync::Arc;

use bytes::Bytes;
use millrace_connect::source::{Emitted, Interpret};
use millrace_log::{Delivered, Record, TopicPartition};
use millrace_model::Timestamp;
use serde_json::{Value, json};

use crate::{ChangeStream, Config, Documents, Raw};

const TOPIC: &str = "crm.public.t";

/// A stream with one topic, and what its partition remembers.
pub struct Stream {
    stream: Arc<ChangeStream>,
    memory: Value,
    offset: i64,
}

impl Stream {
    /// `topic` is the configuration of the topic, as YAML.
    pub fn new(topic: &str) -> Stream {
        let topic: Value = serde_norway::from_str(topic).expect("YAML");
        Stream::of(json!({"instance": "db1", "topics": {TOPIC: topic}}), Documents::default())
    }

    pub fn of(raw: Value, documents: Documents) -> Stream {
        let raw: Raw = serde_json::from_value(raw).expect("of this form");
        let config = Config::new(raw).unwrap_or_else(|error| panic!("{error}"));
        Stream {
            stream: Arc::new(ChangeStream::new(config, documents)),
            memory: Value::Null,
            offset: 0,
        }
    }

    pub fn bytes(&mut self, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Vec<Emitted> {
        let delivered = Delivered {
            source: TopicPartition {
                topic: TOPIC.into(),
                partition: 3,
            },
            offset: self.offset,
            timestamp: Timestamp(1_000_000),
            record: Record {
                key: key.map(Bytes::from),
                value: value.map(Bytes::from),
                headers: Vec::new(),
            },
        };
        self.offset += 1;
        self.stream.interpret(&delivered, &mut self.memory).expect("no registry to wait for")
    }

    /// What a record becomes, one line per record.
    pub fn take(&mut self, key: Value, value: Value) -> Vec<String> {
        let text = |value: Value| (!value.is_null()).then(|| value.to_string().into_bytes());
        let (key, value) = (text(key), text(value));
        self.bytes(key, value).into_iter().map(shown).collect()
    }
}

/// `kind key value`, or `dead place: reason: detail`.
pub fn shown(emitted: Emitted) -> String {
    match emitted {
        Emitted::Record { kind, key, value } => match value {
            Some(value) => format!("{} {key} {value}", kind.name()),
            None => format!("{} {key} tombstone", kind.name()),
        },
        Emitted::Unusable(unusable) => {
            let (place, rejection) = (unusable.place, unusable.rejection);
            format!(
                "dead {}/{}/{}: {}: {}",
                place.topic, place.partition, unusable.offset, rejection.reason, rejection.detail
            )
        }
        Emitted::Rejected { .. } => "a record of a system that is no topic".to_owned(),
    }
}

/// An event of PostgreSQL at `at` milliseconds, its position in the log derived from `lsn`.
pub fn event(op: &str, before: Value, after: Value, at: i64, lsn: u64) -> Value {
    json!({
        "before": before, "after": after, "op": op, "ts_ms": 999_999,
        "source": {
            "version": "3.2.0.Final", "connector": "postgresql", "name": "crm", "ts_ms": at, "snapshot": if op == "r" { "true" } else { "false" },
            "db": "crm", "schema": "public", "table": "t", "sequence": format!("[\"{lsn}\",\"{lsn}\"]"), "txId": 7, "lsn": lsn, "xmin": null,
        },
        "transaction": null,
    })
}

const PERSON: &str = "
records:
  - record: person
    key: id
    fields: { workEmail.address: email, person.name.lastName: name, extra.bio: bio }
";

#[test]
fn rows_come_change_and_go() {
    let mut stream = Stream::new(PERSON);
    let key = json!({"id": 7});
    let row = json!({"id": 7, "email": "ann@acme.com", "name": "Lee", "bio": null});
    let whole = r#"person 7@db1.Database {"modifiedAt":"1970-01-01T00:00:00.100Z","person":{"name":{"lastName":"Lee"}},"personKey":{"sourceKey":"7@db1.Database"},"workEmail":{"address":"ann@acme.com"}}"#;
    assert_eq!(stream.take(key.clone(), event("r", json!(null), row.clone(), 100, 1)), [whole]);
    assert_eq!(stream.take(key.clone(), event("c", json!(null), row.clone(), 100, 2)), [whole]);
    let gone = r#"person 7@db1.Database {"isDeleted":true,"modifiedAt":"1970-01-01T00:00:00.200Z","personKey":{"sourceKey":"7@db1.Database"}}"#;
    let partial = json!({"id": 7, "email": null, "name": null, "bio": null});
    assert_eq!(stream.take(key.clone(), event("d", partial, json!(null), 200, 3)), [gone]);
    assert!(stream.take(key.clone(), json!(null)).is_empty(), "the tombstone belongs to the deletion");
    assert_eq!(
        stream.take(key.clone(), json!(null)),
        ["person 7@db1.Database tombstone"],
        "a tombstone alone is a deletion"
    );
    // Without `before` the key names the row.
    assert_eq!(stream.take(json!({"id": 7}), event("d", json!(null), json!(null), 200, 4)), [gone]);
}

#[test]
fn the_three_forms_of_a_value_say_the_same() {
    let row = json!({"id": 7, "email": "ann@acme.com", "name": "Lee", "bio": null});
    let envelope = event("u", json!(null), row.clone(), 100, 1);
    let expected = Stream::new(PERSON).take(json!({"id": 7}), envelope.clone());
    let with_schema = json!({"schema": {"type": "struct", "fields": []}, "payload": envelope});
    assert_eq!(
        Stream::new(PERSON).take(json!({"schema": {"type": "struct"}, "payload": {"id": 7}}), with_schema),
        expected
    );
    let mut flat = row;
    flat["__op"] = json!("u");
    flat["__source_ts_ms"] = json!(100);
    flat["__deleted"] = json!("false");
    assert_eq!(Stream::new(PERSON).take(json!({"id": 7}), flat.clone()), expected);
    flat["__deleted"] = json!("true");
    let gone = Stream::new(PERSON).take(json!({"id": 7}), flat);
    assert_eq!(
        gone,
        [r#"person 7@db1.Database {"isDeleted":true,"modifiedAt":"1970-01-01T00:00:00.100Z","personKey":{"sourceKey":"7@db1.Database"}}"#]
    );
    let mut stream = Stream::new(PERSON);
    assert_eq!(
        stream.take(json!({"id": 7}), json!({"schema": null, "payload": null})),
        ["person 7@db1.Database tombstone"]
    );
}

#[test]
fn a_new_primary_key_is_a_deletion_and_a_new_row() {
    let mut stream = Stream::new(PERSON);
    let row = |id: u64| json!({"id": id, "email": "ann@acme.com", "name": null, "bio": null});
    let mut lines = stream.take(json!({"id": 7}), event("d", row(7), json!(null), 100, 1));
    lines.extend(stream.take(json!({"id": 7}), json!(null)));
    lines.extend(stream.take(json!({"id": 8}), event("c", json!(null), row(8), 100, 2)));
    assert_eq!(
        lines,
        [
            r#"person 7@db1.Database {"isDeleted":true,"modifiedAt":"1970-01-01T00:00:00.100Z","personKey":{"sourceKey":"7@db1.Database"}}"#,
            r#"person 8@db1.Database {"modifiedAt":"1970-01-01T00:00:00.100Z","personKey":{"sourceKey":"8@db1.Database"},"workEmail":{"address":"ann@acme.com"}}"#,
        ]
    );
}

#[test]
fn a_key_from_another_column_needs_the_row_before() {
    let topic = "
records:
  - record: person
    key: email
    fields: { workEmail.address: email }
";
    let mut stream = Stream::new(topic);
    let row = |email: &str| json!({"id": 7, "email": email});
    let moved = stream.take(json!({"id": 7}), event("u", row("a@x.com"), row("b@x.com"), 100, 1));
    assert_eq!(moved.len(), 2, "{moved:?}");
    assert!(moved[0].starts_with(r#"person a@x.com@db1.Database {"isDeleted":true"#), "{moved:?}");
    let only_key = json!({"id": 7, "email": null});
    assert_eq!(
        stream.take(json!({"id": 7}), event("d", only_key, json!(null), 200, 2)),
        ["dead crm.public.t/3/1: missing-key: person: the key reads `email`, which the deletion does not carry: set REPLICA IDENTITY FULL"]
    );
}

#[test]
fn a_value_that_was_not_delivered_is_kept() {
    let mut stream = Stream::new(PERSON);
    let hidden = "__debezium_unavailable_value";
    let row = json!({"id": 7, "email": null, "name": "Lee", "bio": hidden});
    assert_eq!(
        stream.take(json!({"id": 7}), event("u", json!(null), row.clone(), 100, 1)),
        [
            r#"person 7@db1.Database {"changedFields":["person.name.lastName","workEmail.address"],"modifiedAt":"1970-01-01T00:00:00.100Z","person":{"name":{"lastName":"Lee"}},"personKey":{"sourceKey":"7@db1.Database"}}"#
        ]
    );
    // The table delivers old values: the one before is the one of now.
    let before = json!({"id": 7, "email": "ann@acme.com", "name": "Lee", "bio": "long"});
    let whole = stream.take(json!({"id": 7}), event("u", before, row, 200, 2));
    assert!(
        whole[0].contains(r#""extra":{"bio":"long"}"#) && !whole[0].contains("changedFields"),
        "{whole:?}"
    );
    for value in [json!("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="), json!([hidden]), json!({hidden: hidden})] {
        let row = json!({"id": 7, "email": null, "name": "Lee", "bio": value});
        let lines = stream.take(json!({"id": 7}), event("u", json!(null), row, 300, 3));
        assert!(lines[0].contains("changedFields"), "{lines:?}");
    }
}

#[test]
fn links_row_by_row() {
    let topic = "
records:
  - record: account-link
    key: id
    fields:
      members: { list: [ { of: record, suffix: \"@crm1.Salesforce\" }, { of: master, suffix: \"@mdm.Golden\" } ] }
      validTo: valid_to
";
    let mut stream = Stream::new(topic);
    let row = |master: u64| json!({"id": 1, "record": "001", "master": master, "valid_to": null});
    let first = stream.take(json!({"id": 1}), event("c", json!(null), row(7), 100, 1));
    assert_eq!(
        first,
        [
            r#"account-link 1@db1.Database {"linkKey":{"sourceKey":"1@db1.Database"},"members":[{"sourceKey":"001@crm1.Salesforce"},{"sourceKey":"7@mdm.Golden"}],"modifiedAt":"1970-01-01T00:00:00.100Z"}"#
        ]
    );
    // A row that moves to another master needs nothing of the row before.
    let moved = stream.take(json!({"id": 1}), event("u", json!(null), row(8), 200, 2));
    assert!(moved.len() == 1 && moved[0].contains("8@mdm.Golden"), "{moved:?}");
}

#[test]
fn links_group_by_group() {
    let topic = "
types: { members: Json }
records:
  - record: account-link
    key: [region, id]
    fields: { members: { each: members, as: { of: item, suffix: \"@crm1.Salesforce\" } } }
";
    let mut stream = Stream::new(topic);
    let mut members = |list: &str, at: i64| {
        let row = json!({"region": "eu", "id": 1, "members": list});
        let lines = stream.take(json!({"region": "eu", "id": 1}), event("u", json!(null), row, at, at.unsigned_abs()));
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    };
    let three = members(r#"["1","2","3"]"#, 1);
    assert_eq!(three.matches("@crm1.Salesforce").count(), 3, "{three}");
    let two = members(r#"["1","3"]"#, 2);
    assert_eq!(two.matches("@crm1.Salesforce").count(), 2, "{two}");
    for (at, few) in [(3, r#"["1"]"#), (4, "[]"), (5, r#"["1","1"]"#)] {
        let gone = members(few, at);
        assert!(gone.starts_with(r#"account-link eu-1@db1.Database {"isDeleted":true"#), "{few}: {gone}");
    }
}

#[test]
fn one_row_several_records() {
    let topic = "
records:
  - { record: person, key: id, fields: { workEmail.address: email } }
  - record: account-person
    key: { of: id, suffix: .account@db1.Database }
    when: { field: account, exists: true }
    fields:
      personKey.sourceKey: { of: id, suffix: \"@db1.Database\" }
      accountKey.sourceKey: { of: account, suffix: \"@db1.Database\" }
";
    let mut stream = Stream::new(topic);
    let row = |account: Value| json!({"id": 7, "email": "a@x.com", "account": account});
    let with = stream.take(json!({"id": 7}), event("c", json!(null), row(json!(3)), 100, 1));
    assert_eq!(with.len(), 2);
    assert!(
        with[1].starts_with(r#"account-person 7.account@db1.Database {"accountKey":{"sourceKey":"3@db1.Database"},"accountPersonKey""#),
        "{with:?}"
    );
    let without = stream.take(json!({"id": 7}), event("u", json!(null), row(json!(null)), 200, 2));
    assert!(
        without[1].starts_with(r#"account-person 7.account@db1.Database {"accountPersonKey":{"sourceKey":"7.account@db1.Database"},"isDeleted":true"#),
        "{without:?}"
    );
    let never = stream.take(
        json!({"id": 8}),
        event("c", json!(null), json!({"id": 8, "email": null, "account": null}), 300, 3),
    );
    assert_eq!(never.len(), 1, "{never:?}");
}

#[test]
fn rows_as_events() {
    let topic = "
types: { at: Timestamp }
records:
  - record: activity
    key: id
    deletes: ignore
    fields:
      timestamp: at
      eventType: { constant: web.webpagedetails.pageViews }
      identities: { list: [ { object: { namespace: { constant: email }, id: email } } ] }
      web.webPageDetails.name: page
";
    let mut stream = Stream::new(topic);
    let row = json!({"id": 1, "at": 60_000, "email": "a@x.com", "page": "New product"});
    assert_eq!(
        stream.take(json!({"id": 1}), event("c", json!(null), row, 100, 1)),
        [
            r#"activity email:a@x.com {"_id":"1@db1.Database","eventType":"web.webpagedetails.pageViews","identities":[{"id":"a@x.com","namespace":"email"}],"modifiedAt":"1970-01-01T00:00:00.100Z","timestamp":"1970-01-01T00:01:00.000Z","web":{"webPageDetails":{"name":"New product"}}}"#
        ]
    );
    assert!(stream.take(json!({"id": 1}), event("d", json!(null), json!(null), 200, 2)).is_empty());
    assert!(stream.take(json!({"id": 1}), json!(null)).is_empty());
    let nobody = json!({"id": 2, "at": 60_000, "email": null, "page": null});
    assert_eq!(
        stream.take(json!({"id": 2}), event("c", json!(null), nobody, 300, 3)),
        ["dead crm.public.t/3/3: no-identity: activity: neither `personKey` nor `identities` names a person"]
    );
}

#[test]
fn what_says_nothing_of_rows_is_passed_over() {
    let table = [
        json!({"ts_ms": 1}),
        json!({"ts_ms": 1, "ts_us": 1_000}),
        json!({"status": "BEGIN", "id": "571", "event_count": null, "data_collections": null, "ts_ms": 1}),
        json!({"source": {}, "ts_ms": 1, "databaseName": "x", "ddl": "CREATE TABLE", "tableChanges": []}),
        json!({"op": "m", "source": {}, "ts_ms": 1, "message": {"prefix": "p", "content": ""}}),
    ];
    for value in table {
        assert!(Stream::new(PERSON).take(json!({"id": 1}), value.clone()).is_empty(), "{value}");
    }
}

#[test]
fn what_cannot_be_used_says_why() {
    let table = [
        (
            json!({"id": 1}),
            json!("text"),
            "wrong-type: the value is no object: neither a change event nor a row",
        ),
        (
            json!(null),
            event("t", json!(null), json!(null), 1, 1),
            "wrong-type: the table was truncated: which rows are gone is not known; withdraw them by another snapshot",
        ),
        (
            json!({"id": 1}),
            event("x", json!(null), json!({}), 1, 1),
            "wrong-type: `op`: `x` is no operation on rows",
        ),
        (json!({"id": 1}), event("u", json!(null), json!(null), 1, 1), "wrong-type: `after` is missing"),
        (
            json!({"id": 1}),
            event("u", json!(null), json!({"id": null}), 1, 1),
            "missing-key: person: the key reads `id`, which the row does not have",
        ),
        (
            json!(null),
            json!(null),
            "tombstone-without-key: null value and no key: nothing says what is removed",
        ),
        (
            json!("plain"),
            json!(null),
            "missing-key: person: the key reads `id`, which the deletion does not carry: set REPLICA IDENTITY FULL",
        ),
    ];
    for (key, value, expected) in table {
        let lines = Stream::new(PERSON).take(key, value.clone());
        assert_eq!(lines, [format!("dead crm.public.t/3/0: {expected}")], "{value}");
    }
    for bytes in [&b""[..], b"\0", b"\0\0\0\0\x07", b"{", b"\xff"] {
        let lines: Vec<String> = Stream::new(PERSON).bytes(None, Some(bytes.to_vec())).into_iter().map(shown).collect();
        assert!(lines.len() == 1 && lines[0].starts_with("dead "), "{bytes:?}: {lines:?}");
    }
}

/// What the real connector (3.4.0, PostgreSQL 17, JSON with schemas) wrote of one row: read by a
/// snapshot, changed, given another primary key, deleted.
#[test]
fn the_real_connector_is_understood() {
    let topic = "
records:
  - record: opportunity
    key: id
    fields:
      opportunityAmount.amount: amount
      expectedRevenue.amount: price
      expectedCloseDate: d
      extra.free: free
      extra.times: { concat: [t, t6, ts, ts6, tz, ttz], separator: \" \" }
      extra.json: j
      extra.uuid: u
      extra.bits: bits
      extra.list: arr
      extra.end: inf
      extra.flag: flag
      extra.float: f4
      extra.big: big
";
    let mut stream = Stream::new(topic);
    let lines = include_str!("tests/postgres.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let taken: Vec<String> = lines.flat_map(|mut line| stream.take(line["key"].take(), line["value"].take())).collect();
    let first = r#"opportunity 1@db1.Database {"expectedCloseDate":"2025-11-01","expectedRevenue":{"amount":12.5},"extra":{"big":"long value","bits":261,"flag":true,"float":0.1,"free":1.25,"json":{"a":[1]},"list":["x","y"],"times":"13:05:00.25 13:05:00.00025 2025-11-01T10:05:00.123Z 2025-11-01T10:05:00.123Z 2025-11-01T10:05:00.123Z 11:05:00Z","uuid":"0b4e7a0e-5475-48db-a340-2e7c7b1ec8f3"},"modifiedAt":"#;
    assert!(taken[0].starts_with(first), "{}", taken[0]);
    let starts: Vec<&str> = taken.iter().map(|line| line.split(r#","extra":"#).next().unwrap_or_default()).collect();
    let partial = r#"{"changedFields":["expectedCloseDate","expectedRevenue.amount","extra.bits","extra.end","extra.flag","extra.float","extra.free","extra.json","extra.list","extra.times","extra.uuid","opportunityAmount.amount"],"expectedCloseDate":"2025-11-01","expectedRevenue":{"amount":12.5}"#;
    assert_eq!(starts[1], format!("opportunity 1@db1.Database {partial}"));
    assert!(starts[2].starts_with(r#"opportunity 1@db1.Database {"isDeleted":true"#), "{}", starts[2]);
    assert_eq!(starts[3], format!("opportunity 2@db1.Database {partial}"));
    assert!(starts[4].starts_with(r#"opportunity 2@db1.Database {"isDeleted":true"#), "{}", starts[4]);
    assert_eq!(taken.len(), 5, "tombstones belong to their deletions");
}

/// The YAML blocks of the guide.
fn guide() -> Vec<Value> {
    let text = include_str!("../../../../docs/debezium.md");
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.map(|block| serde_norway::from_str(block).expect("YAML")).collect()
}

#[test]
fn the_configuration_of_the_guide_holds() {
    let guide = guide();
    let sources = guide[0]["sources"].as_object().expect("sources");
    assert_eq!(sources.len(), 2);
    let stream = |name: &str, topic: &str| {
        let mut raw = sources[name].clone();
        raw.as_object_mut().expect("an object").remove("type");
        let rules = raw["topics"][topic].clone();
        raw["topics"] = json!({TOPIC: rules});
        Stream::of(raw, Documents::default())
    };
    let row = json!({"id": 1, "record_id": "001", "system": "crm2.Postgres", "master_id": 7, "valid_from": null, "valid_to": null});
    assert_eq!(
        stream("mdm", "mdm.public.xref").take(json!({"id": 1}), event("c", json!(null), row, 100, 1)),
        [
            r#"account-link 1@mdm1.Mdm {"linkKey":{"sourceKey":"1@mdm1.Mdm"},"members":[{"sourceKey":"001@crm2.Postgres"},{"sourceKey":"7@mdm1.Golden"}],"modifiedAt":"1970-01-01T00:00:00.100Z"}"#
        ]
    );
    for topic in ["crm.public.accounts", "crm.public.contacts", "crm.public.deals"] {
        let lines = stream("crm2", topic).take(json!({"id": 1}), event("c", json!(null), json!({"id": 1, "account_id": 3}), 100, 1));
        assert!(lines.iter().all(|line| !line.starts_with("dead ")), "{lines:?}");
    }
}

#[test]
fn a_configuration_says_all_that_is_wrong() {
    let raw = json!({
        "instance": " ", "system": "cr m@2", "zone": "Mars", "lost_records": "skip",
        "topics": {"t": {"types": {"a": "Blob"}, "records": [
            {"record": "persn", "key": "id"},
            {"record": "person", "key": 5},
            {"record": "person", "key": "id", "fields": {"workEmail.adress": "email", "personKey.sourceKey": "id"}, "deletes": "never"},
            {"record": "account-link", "key": "id", "when": {"field": "x"}},
        ]}},
    });
    let error = Config::new(serde_json::from_value(raw).expect("of this form")).expect_err("wrong");
    let expected = [
        "instance: a name is needed, it is part of every key",
        "system: `cr m@2` is part of every key, `…@instance.system`; write letters, digits, `-` and `_`",
        "zone: `Mars` is no time zone such as `Europe/Berlin`",
        "lost_records: `skip` is neither `stop` nor `earliest`",
        "topics.t.types.a: `Blob` is no type such as `MicroTimestamp` or `Decimal(2)`",
        "topics.t.records[0].record: `persn` is no kind of record; known are person, account, opportunity, account-person, opportunity-person, campaign, campaign-member, marketing-list, marketing-list-member, account-link, activity, audience-member",
        "topics.t.records[1].key: expected the name of a field or an expression such as `{ constant: 5 }`",
        "topics.t.records[2].deletes: `never` is neither `take` nor `ignore`",
        "topics.t.records[2].fields: `personKey` comes from `key`",
        "topics.t.records[3].when: `when` takes one of `equals`, `in` (a list), `exists` (true or false)",
        "topics.t.records[3].fields: a link needs `members`",
    ];
    let shown: Vec<&str> = error.0.iter().map(String::as_str).collect();
    let typo = "topics.t.records[2].fields: `workEmail.adress` is no field of person; custom fields go under `extra.`";
    let others: Vec<&str> = shown.iter().copied().filter(|line| *line != typo).collect();
    assert_eq!(others, expected);
    assert!(shown.contains(&typo));
}
