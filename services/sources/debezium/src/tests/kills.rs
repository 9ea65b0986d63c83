//! The source under a storm of kills (`tests/foreign`), taken over, and without the records that it
//! was to read next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_connect::source::{Interpret, SourceState, Stop};
use millrace_log::Record;
use millrace_model::SourceKind;
use millrace_test_foreign::{NOW, Stage, Trial, storm};
use millrace_test_seeds::seeds;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{TOPIC, event};
use crate::{ChangeStream, Config, Documents};

const DEADLINE: Duration = Duration::from_secs(60);

const TRIAL: Trial = Trial {
    kind: "debezium",
    topic: TOPIC,
    interpret,
    record,
    becomes: SourceKind::Person,
    number: |record| value(record)["workEmail"]["address"].as_str()?.split('@').next()?.parse().ok(),
    dead_number: |record| value(record).as_str()?.parse().ok(),
};

fn interpret() -> Arc<dyn Interpret> {
    let raw = json!({"instance": "db1", "topics": {TOPIC: {"records": [{"record": "person", "key": "id", "fields": {"workEmail.address": "email"}}]}}});
    let config = Config::new(serde_json::from_value(raw).expect("of this form")).expect("right");
    Arc::new(ChangeStream::new(config, Documents::default()))
}

/// A change of row 0 or 1, each in a partition of its own.
fn record(number: u64, usable: bool) -> Record {
    let id = number % 2;
    let row = json!({"id": id, "email": format!("{number}@x.com")});
    let value = if usable {
        event("u", Value::Null, row, i64::try_from(number).expect("small"), number)
    } else {
        json!(number.to_string())
    };
    Record {
        key: Some(Bytes::from(json!({"id": id}).to_string())),
        value: Some(Bytes::from(value.to_string())),
        headers: Vec::new(),
    }
}

fn value(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_await_every_record_counts_once() {
    for seed in seeds!(0..8) {
        storm(TRIAL, seed, 30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_takes_the_source_over() {
    let mut stage = Stage::new(TRIAL, 1);
    stage.send(20);
    let first = stage.task();
    let (_stop, signal) = watch::channel(Stop::default());
    let running = tokio::spawn(async move { first.run(signal).await });
    stage.settle().await;
    stage.send(20);
    stage.settle().await;
    stage.check();
    // Fenced at its next commit at the latest; it may wait without news until then.
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_records_stop_the_source_unless_it_may_go_on() {
    let mut stage = Stage::new(TRIAL, 1);
    stage.send(20);
    stage.settle().await;
    stage.send(20);
    for partition in 0..2 {
        stage.foreign.lose(&stage.place(partition), 12).expect("no faults");
    }
    let task = stage.task();
    let status = Arc::clone(&task.status);
    let (stop, signal) = watch::channel(Stop::default());
    let run = tokio::spawn(async move { task.run(signal).await });
    let deadline = Instant::now() + DEADLINE;
    while status.ready().is_ok() || status.view(NOW).state == SourceState::Starting {
        assert!(Instant::now() < deadline, "the source does not say what it lost");
        tokio::task::yield_now().await;
    }
    let reason = status.view(NOW).reason.unwrap_or_default();
    assert!(
        reason.contains("offset 10 of crm.public.t/") && reason.contains("is not in the log any more"),
        "{reason}"
    );
    stop.send_modify(|now| now.stopped = true);
    run.await.expect("no panic");

    stage.earliest = true;
    stage.sent -= 4;
    stage.settle().await;
    assert_eq!(stage.found(), stage.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_a_handful_and_writes_nothing() {
    let mut stage = Stage::new(TRIAL, 1);
    stage.send(20);
    let samples = (stage.task().make)().preview().await.expect("the topics can be read");
    assert_eq!(samples.len(), 5);
    assert!(samples.iter().any(|sample| sample.mapped.is_ok()), "{samples:?}");
    assert_eq!(stage.found(), 0);
}
