//! The source under a storm of kills (`tests/foreign`), and an event that is too large for the
//! source topic.

use std::sync::Arc;

use millrace_connect::source::Interpret;
use millrace_log::Record;
use millrace_model::SourceKind;
use millrace_test_foreign::{NOW, Stage, Trial, storm};
use millrace_test_seeds::seeds;
use serde_json::{Value, json};

use super::{STRUCTURED, TOPIC};

const TRIAL: Trial = Trial {
    kind: "cloudevents",
    topic: TOPIC,
    interpret,
    record: numbered,
    becomes: SourceKind::Activity,
    number: |record| value(record)["_id"].as_str()?.strip_prefix("/shop#")?.parse().ok(),
    dead_number,
};

fn interpret() -> Arc<dyn Interpret> {
    Arc::new(super::topics(NOW))
}

/// An event in both forms by turns; one that cannot be used names nobody.
fn numbered(number: u64, usable: bool) -> Record {
    let id = number.to_string();
    let subject = usable.then_some("email:ann@acme.com");
    if number % 4 < 2 {
        let event = json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "view", "subject": subject});
        return super::record(&STRUCTURED, Some(&event.to_string()));
    }
    let mut headers = vec![("ce_specversion", "1.0"), ("ce_id", id.as_str()), ("ce_source", "/shop"), ("ce_type", "view")];
    headers.extend(subject.map(|subject| ("ce_subject", subject)));
    super::record(&headers, None)
}

fn value(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().unwrap_or(b"null")).expect("JSON")
}

fn dead_number(record: &Record) -> Option<u64> {
    let header = record.headers.iter().find(|(name, _)| name == "ce_id");
    let header = header.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    header.or_else(|| value(record)["id"].as_str().map(str::to_owned))?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_await_every_event_counts_once() {
    for seed in seeds!(0..8) {
        storm(TRIAL, seed, 30).await;
    }
}

/// Larger than brokers take into a source topic, where a refused commit would stop the source.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_a_dead_letter() {
    let large = Trial {
        record: |number, usable| {
            let mut event = value(&numbered(4 * number, true));
            event["id"] = json!(number.to_string());
            event["data"] = json!("x".repeat(if usable { 10 } else { 1_000_000 }));
            super::record(&STRUCTURED, Some(&event.to_string()))
        },
        ..TRIAL
    };
    let mut stage = Stage::new(large, 1);
    stage.send(20);
    stage.settle().await;
    stage.check();
}
