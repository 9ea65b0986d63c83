//! CloudEvents on a topic of others, written by the SDK of CloudEvents in each of its forms: an event
//! counts once, however often and in whichever form it is sent, through a kill of the source.

use std::time::Duration;

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::{Rule, SourceRecord, Subject};
use millrace_test_e2e::deployment::Deployment;
use millrace_test_e2e::judge::{self, DeadLetter};
use millrace_test_e2e::{now_ms, outside, wait_for};
use serde_json::{Value as Json, json};

const WITHIN: Duration = Duration::from_secs(60);

const TOPIC: &str = "shop.events";

const SOURCE: &str = r#"
[sources.shop]
type = "cloudevents"
topics = ["shop.events"]
instance = "shop"
"#;

fn rule() -> Rule {
    Rule {
        name: "three-views".to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: r#"xEvent[web.webPageDetails.name = "Pricing" and timestamp occurs <= 1 month before now].count() >= 3"#.to_owned(),
    }
}

/// The view of a page by a person, in one of the SDK's forms.
fn view(form: &str, person: &str, number: u64) -> Json {
    let time = chrono::DateTime::from_timestamp_millis(now_ms() - 60_000).expect("a minute ago");
    json!({
        "form": form,
        "attributes": {
            "specversion": "1.0", "id": format!("{person}-{number}"), "source": "/shop", "type": "web.webpagedetails.pageViews",
            "subject": format!("email:{person}@acme.example"), "datacontenttype": "application/json", "partitionkey": person,
            "time": time.to_rfc3339(),
        },
        "data": {"web": {"webPageDetails": {"name": "Pricing"}}},
    })
}

/// Records that are no events, with the reasons.
fn unusable() -> [(Json, &'static str); 4] {
    let batch = r#"[{"specversion":"1.0","id":"1","source":"/shop","type":"t","subject":"42"}]"#;
    let event = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"t"}"#;
    [
        (
            json!({"headers": {"content-type": "application/cloudevents-batch+json"}, "value": batch}),
            "unknown-encoding",
        ),
        (
            json!({"headers": {"content-type": "application/cloudevents+json"}, "value": event}),
            "no-identity",
        ),
        (json!({"headers": {"ce_specversion": "1.0", "ce_id": "1"}, "value": "{}"}), "missing-id"),
        (json!({"headers": {}, "value": null}), "tombstone-on-activity"),
    ]
}

fn send(deployment: &Deployment, records: &[Json]) -> Vec<Json> {
    let places = outside::python_json("send_cloud_events.py", &[&deployment.bootstrap, TOPIC, &json!(records).to_string()]);
    let places = places.unwrap_or_else(|error| panic!("{error}"));
    places.as_array().expect("a list").clone()
}

/// Waits for changes of this number; how long the last took from `since`, in milliseconds.
fn changed(deployment: &Deployment, count: usize, since: i64) -> i64 {
    let change = wait_for(&format!("change {count}"), WITHIN, || {
        let changes = judge::changes(deployment)?;
        let last = changes.iter().max_by_key(|change| change.evaluated_at_ms).cloned();
        last.filter(|_| changes.len() == count)
            .ok_or_else(|| format!("{} changes so far", changes.len()))
    });
    change.evaluated_at_ms - since
}

/// The ids of events, in ascending order.
fn ids(activities: &[SourceRecord]) -> Vec<String> {
    let value = |record: &SourceRecord| record.value.clone().expect("an event has a value");
    let mut ids: Vec<String> = activities
        .iter()
        .map(|record| value(record)["_id"].as_str().expect("an event has an id").to_owned())
        .collect();
    ids.sort();
    ids
}

/// The dead letters of what is unusable, which was sent to these places.
fn letters(places: &[Json]) -> Vec<DeadLetter> {
    let letter = |((record, reason), place): ((Json, &str), &Json)| DeadLetter {
        topic: TOPIC.to_owned(),
        partition: place["partition"].as_i64().expect("a number"),
        offset: place["offset"].as_i64().expect("a number"),
        key: None,
        value: record["value"].as_str().map(|text| text.as_bytes().to_vec()),
        reason: reason.to_owned(),
    };
    let mut letters: Vec<DeadLetter> = unusable().into_iter().zip(places).map(letter).collect();
    letters.sort();
    letters
}

#[test]
fn an_event_counts_once_in_whichever_form_it_is_sent() {
    let deployment = Deployment::with_settings(KafkaBroker::shared(), "cloudevents", 2, SOURCE);
    deployment.millrace(&["topics", "create"]).succeeded();
    deployment.apply(&[rule()]);
    let places = send(&deployment, &unusable().map(|(record, _)| record));
    let mut nodes = [deployment.node("node")];
    let mut source = deployment.service("source", &["source", "cloudevents"]);
    nodes[0].start();
    source.start();
    nodes[0].wait_ready();
    source.wait_ready();

    // Two events of ann, each in two forms, are two; three of bob, in three forms, are three.
    let forms = ["binary", "structured", "old-binary", "old-structured"];
    let mut sent = vec![
        ("ann", 1, 0),
        ("ann", 1, 3),
        ("ann", 2, 1),
        ("ann", 2, 2),
        ("bob", 1, 2),
        ("bob", 2, 3),
        ("bob", 3, 0),
    ];
    let views = |sent: &[(&str, u64, usize)]| {
        sent.iter()
            .map(|(person, number, form)| view(forms[*form], person, *number))
            .collect::<Vec<_>>()
    };
    let since = now_ms();
    send(&deployment, &views(&sent));
    let took_ms = changed(&deployment, 1, since);
    println!("from the start of the sender to the membership: {took_ms} ms");

    // Killed, the source takes up where it was: what happened meanwhile counts once.
    source.kill();
    let later = [("ann", 2, 0), ("ann", 3, 1), ("ann", 3, 2)];
    send(&deployment, &views(&later));
    sent.extend(later);
    source.start();
    changed(&deployment, 2, 0);

    let activities = judge::sources(&deployment, |_| false);
    judge::settled(&deployment, &mut nodes, &activities, &[rule()], WITHIN);
    let mut expected: Vec<String> = sent.iter().map(|(person, number, _)| format!("/shop#{person}-{number}")).collect();
    expected.sort();
    assert_eq!(ids(&activities), expected, "every record is taken over once");
    assert_eq!(judge::dead_letters(&deployment), Ok(letters(&places)));

    source.wait_ready();
    let lag = source.metric("millrace_source_lag_seconds", r#"source="shop""#);
    assert!(lag.is_ok(), "{lag:?}");
}
