//! Both forms of the Kafka binding, what is none, and the source under kills.

mod kills;

use std::sync::Arc;

use bytes::Bytes;
use millrace_connect::source::{Emitted, Interpret};
use millrace_log::{Delivered, Record, TopicPartition};
use millrace_model::{Schema, Timestamp};
use millrace_wire::Decoder;
use serde_json::{Value, json};

use crate::{Config, EventTopics};

const TOPIC: &str = "events";

fn config(raw: Value) -> Result<Config, String> {
    Config::new(serde_json::from_value(raw).expect("of this form")).map_err(|error| error.to_string())
}

fn topics(now: Timestamp) -> EventTopics {
    let config = config(json!({"topics": [TOPIC], "instance": "shop"})).expect("right");
    let schema = Arc::new(Schema::built_in().expect("the schemas of this build"));
    let decoder = Decoder::builder(schema).expect("the schemas of this build").build();
    EventTopics::new(config, decoder, Arc::new(move || now))
}

fn record(headers: &[(&str, &str)], value: Option<&str>) -> Record {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Record {
        key: Some(bytes("any")),
        value: value.map(bytes),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), bytes(value))).collect(),
    }
}

fn delivered(record: Record) -> Delivered {
    Delivered {
        source: TopicPartition {
            topic: TOPIC.into(),
            partition: 2,
        },
        offset: 9,
        timestamp: Timestamp(60_000),
        record,
    }
}

/// What a record becomes: `kind key value`, or `dead place: reason: detail`.
fn outcome(record: Record) -> String {
    let emitted = topics(Timestamp(90_000))
        .interpret(&delivered(record.clone()), &mut Value::Null)
        .expect("nothing to wait for");
    let line = |emitted| match emitted {
        Emitted::Record { kind, key, value } => format!("{} {key} {}", kind.name(), value.unwrap_or_default()),
        Emitted::Unusable(unusable) => {
            assert_eq!(unusable.record, record, "a dead letter is the record as it was");
            let (place, rejection) = (unusable.place, unusable.rejection);
            format!(
                "dead {}/{}/{}: {}: {}",
                place.topic, place.partition, unusable.offset, rejection.reason, rejection.detail
            )
        }
        Emitted::Rejected { .. } => "a record of a system that is no topic".to_owned(),
    };
    emitted.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn take(headers: &[(&str, &str)], value: Option<&str>) -> String {
    outcome(record(headers, value))
}

const VIEW: &str = r#"activity email:ann@acme.com {"_id":"/shop#1","eventType":"web.webpagedetails.pageViews","extra":{"ce":{"source":"/shop","subject":"email:ann@acme.com"}},"identities":[{"id":"ann@acme.com","namespace":"email"}],"timestamp":"1970-01-01T00:00:30.000Z","web":{"webPageDetails":{"name":"New product"}}}"#;
const BINARY: [(&str, &str); 6] = [
    ("ce_specversion", "1.0"),
    ("ce_id", "1"),
    ("ce_source", "/shop"),
    ("ce_type", "web.webpagedetails.pageViews"),
    ("ce_time", "1970-01-01T00:00:30Z"),
    ("ce_subject", "email:ann@acme.com"),
];
const STRUCTURED: [(&str, &str); 1] = [("content-type", "application/cloudevents+json")];
const DATA: &str = r#"{"web":{"webPageDetails":{"name":"New product"}}}"#;

/// The event of `BINARY` in structured form, with other members.
fn event(more: Value) -> String {
    let mut event = json!({
        "specversion": "1.0", "id": "1", "source": "/shop", "type": "web.webpagedetails.pageViews", "time": "1970-01-01T00:00:30Z",
        "subject": "email:ann@acme.com", "data": {"web": {"webPageDetails": {"name": "New product"}}},
    });
    let more = more.as_object().expect("members").clone();
    event.as_object_mut().expect("an object").extend(more);
    event.to_string()
}

#[test]
fn both_forms_say_the_same() {
    assert_eq!(take(&BINARY, Some(DATA)), VIEW);
    assert_eq!(take(&[&BINARY[..], &[("Content-Type", "application/json")]].concat(), Some(DATA)), VIEW);
    for content_type in [
        "application/cloudevents+json; charset=UTF-8",
        "APPLICATION/CLOUDEVENTS+JSON",
        "application/cloudevents",
    ] {
        assert_eq!(take(&[("content-type", content_type)], Some(&event(json!({})))), VIEW);
    }
    // The content type decides: headers of an event that was forwarded in another form say nothing.
    let both = [&STRUCTURED[..], &[("ce_specversion", "1.0"), ("ce_id", "2")]].concat();
    assert_eq!(take(&both, Some(&event(json!({})))), VIEW);
}

#[test]
fn an_event_whose_content_type_is_that_of_its_data_is_one() {
    assert_eq!(take(&[], Some(&event(json!({})))), VIEW);
    assert_eq!(take(&[("content-type", "application/json")], Some(&event(json!({})))), VIEW);
    let packed = event(json!({"data": null, "data_base64": "aGVsbG8="}));
    let packed = packed.replace(r#""data":null,"#, "");
    assert!(take(&[("content-type", "text/plain")], Some(&packed)).contains(r#""data":"hello""#));
}

#[test]
fn headers_are_text_as_they_are() {
    // Over HTTP attributes are percent-encoded; on Kafka nothing is.
    let odd = [&BINARY[..5], &[("ce_subject", "email:100%25@acme.com"), ("CE_Subject", "email:50%25@acme.com")]].concat();
    assert!(
        take(&odd, Some(DATA)).starts_with("activity email:50%25@acme.com "),
        "the last header counts, as it is"
    );
    let mut bad = record(&BINARY[..5], Some(DATA));
    bad.headers.push(("trace".to_owned(), Bytes::from_static(b"\xff")));
    bad.headers.push(("ce_subject".to_owned(), Bytes::from_static(b"\xff")));
    assert_eq!(
        outcome(bad),
        "dead events/2/9: bad-utf8: header `ce_subject`: invalid utf-8 sequence of 1 bytes from index 0"
    );
}

#[test]
fn an_event_without_data_or_time_is_one() {
    let without = [&BINARY[..4], &BINARY[5..]].concat();
    let expected = r#"activity email:ann@acme.com {"_id":"/shop#1","eventType":"web.webpagedetails.pageViews","extra":{"ce":{"source":"/shop","subject":"email:ann@acme.com"}},"identities":[{"id":"ann@acme.com","namespace":"email"}],"timestamp":"1970-01-01T00:01:00.000Z"}"#;
    for value in [None, Some(""), Some("null")] {
        assert_eq!(take(&without, value), expected);
    }
}

#[test]
fn subjects_and_other_data_are_the_collector_s() {
    let plain = [
        &BINARY[..5],
        &[("ce_subject", "42"), ("ce_datacontenttype", "text/plain"), ("ce_sequence", "7")],
    ]
    .concat();
    assert_eq!(
        take(&plain, Some("hello")),
        r#"activity b2b_person:42@shop.Segment {"_id":"/shop#1","eventType":"web.webpagedetails.pageViews","extra":{"ce":{"sequence":"7","source":"/shop","subject":"42"},"data":"hello"},"personKey":{"sourceKey":"42@shop.Segment"},"timestamp":"1970-01-01T00:00:30.000Z"}"#
    );
}

#[test]
fn what_is_no_event_says_why() {
    let of_type = |content_type| [("content-type", content_type)];
    // Headers, value, and why it is none.
    type Case<'c> = (&'c [(&'c str, &'c str)], Option<&'c str>, &'c str);
    let table: [Case<'_>; 14] = [
        (
            &[],
            Some(DATA),
            "unknown-encoding: no CloudEvent: neither `content-type: application/cloudevents+json` nor a header `ce_specversion`",
        ),
        (
            &[],
            None,
            "tombstone-on-activity: no value and no attributes: nothing says which event is meant",
        ),
        (
            &of_type("application/cloudevents-batch+json"),
            Some("[]"),
            "unknown-encoding: a batch: on Kafka every event is a record of its own",
        ),
        (
            &of_type("application/cloudevents+avro"),
            Some("\0"),
            "unknown-encoding: `application/cloudevents+avro` cannot be read; `application/cloudevents+json` can",
        ),
        (&STRUCTURED, Some("[]"), "wrong-type: a list: on Kafka every event is a record of its own"),
        (&STRUCTURED, Some("7"), "wrong-type: in structured form the value is an object"),
        (&STRUCTURED, Some("{"), "malformed-json: EOF while parsing an object at line 1 column 1"),
        (&STRUCTURED, None, "empty: no value: in structured form the value is the event"),
        (&BINARY, Some("{"), "malformed-json: data: EOF while parsing an object at line 1 column 1"),
        (&BINARY[..2], Some(DATA), "missing-id: `source` is missing, which every CloudEvent has"),
        (&[("ce_specversion", "0.3")], Some(DATA), "wrong-type: `specversion` is `0.3`; 1.0 is taken"),
        (&BINARY[..5], Some(DATA), "no-identity: neither `personKey` nor `identities` names a person"),
        (&BINARY, Some(r#"{"web":7}"#), "wrong-type: `web`: expected an object, found number 7"),
        (
            &[&BINARY[..4], &BINARY[5..], &[("ce_time", "1970-01-01T01:00:00Z")]].concat(),
            Some(DATA),
            "from-the-future: `timestamp` is 1970-01-01T01:00:00.000Z, now is 1970-01-01T00:01:30.000Z, 300000 ms ahead are allowed",
        ),
    ];
    for (headers, value, expected) in table {
        assert_eq!(take(headers, value), format!("dead events/2/9: {expected}"));
    }
    let long = "x".repeat(1_100);
    let long = [&BINARY[2..], &[("ce_specversion", "1.0"), ("ce_id", &long)]].concat();
    assert!(take(&long, Some(DATA)).starts_with("dead events/2/9: oversize: "));
}

#[test]
fn a_preview_shows_attributes_and_data() {
    let shown = topics(Timestamp(0)).shown(&delivered(record(&BINARY[..2], Some(DATA))));
    let data: Value = serde_json::from_str(DATA).expect("JSON");
    assert_eq!(shown, json!({"headers": {"ce_id": "1", "ce_specversion": "1.0"}, "value": data}));
}

#[test]
fn a_configuration_says_all_that_is_wrong() {
    let error = config(json!({"topics": [], "instance": " ", "lost_records": "skip"})).expect_err("wrong");
    let expected = "instance: expected a name of a-z, 0-9 and hyphens; it is part of keys\ntopics: at least one is needed\nlost_records: `skip` is neither `stop` nor `earliest`";
    assert_eq!(error, expected);
    let error = config(json!({"topics": ["a", " ", "a"], "instance": "shop.eu"})).expect_err("wrong");
    let expected = "instance: expected a name of a-z, 0-9 and hyphens; it is part of keys\ntopics[1]: the name is blank\ntopics[2]: `a` is named twice";
    assert_eq!(error, expected);
}
