//! One behaviour each: what a person sees when something is wrong, and what survives.

use std::time::Duration;

use millrace_connect::source::{SourceState, Status};
use millrace_model::{SourceKind, Timestamp};
use serde_json::json;

use crate::stage::{Protocol, Stage};

const BOTH: [Protocol; 2] = [Protocol::Singer, Protocol::Airbyte];

fn reason(status: &Status) -> String {
    status.view(Timestamp(0)).reason.unwrap_or_default()
}

/// Runs until the source says why it waits.
async fn why(stage: &Stage) -> String {
    let status = stage.until("a reason", |status| status.view(Timestamp(0)).state == SourceState::Waiting).await;
    assert!(status.ready().is_err(), "a source that waits is not ready");
    reason(&status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_named() {
    for protocol in BOTH {
        let mut stage = Stage::new(protocol, "full", 1);
        stage.settings["command"] = json!(["no-such-tap"]);
        let reason = why(&stage).await;
        assert!(
            reason.contains("`no-such-tap` cannot be started") && reason.contains("No such file"),
            "{reason}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_check_is_shown_without_the_token() {
    let mut stage = Stage::new(Protocol::Airbyte, "full", 1);
    stage.world.fail = Some("401 for the key");
    let reason = why(&stage).await;
    assert!(reason.contains("the connector's check failed: 401 for the key, token \"***\""), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_named() {
    for protocol in BOTH {
        let mut stage = Stage::new(protocol, "full", 1);
        let people = stage.settings["streams"]["people"].take();
        stage.settings["streams"] = json!({"peple": people});
        let reason = why(&stage).await;
        assert!(reason.contains("has no stream `peple`; it has"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_an_entry_is_refused_where_that_is_wanted() {
    for protocol in BOTH {
        let mut stage = Stage::new(protocol, "full", 1);
        stage.settings["unmapped"] = json!("refuse");
        let reason = why(&stage).await;
        assert!(reason.contains("stream `orders` has no entry under `streams`"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_from_a_full_listing_is_withdrawn() {
    for (protocol, versions) in [(Protocol::Singer, false), (Protocol::Singer, true), (Protocol::Airbyte, false)] {
        let mut stage = Stage::new(protocol, "full", 1);
        stage.world.versions = versions;
        for id in 0..5 {
            stage.put(id, "7");
        }
        stage.settle().await;
        stage.world.rows.remove(&2);
        stage.settle().await;
        stage.check();
        let gone = stage.values(SourceKind::Person).into_iter().filter(|(_, value)| value.is_none());
        assert_eq!(gone.map(|(key, _)| key).collect::<Vec<_>>(), ["2@crm1.Crm"]);
        // It may come back, with a version from before.
        stage.world.rows.insert(2, (3, "8".to_owned()));
        stage.settle().await;
        stage.check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_listing_withdraws_only_where_it_may() {
    for protocol in BOTH {
        let mut stage = Stage::new(protocol, "full", 1);
        stage.put(1, "7");
        stage.settle().await;
        stage.world.rows.clear();
        stage.settle().await;
        assert!(
            stage.values(SourceKind::Person).iter().all(|(_, value)| value.is_some()),
            "nothing is withdrawn"
        );
        stage.settings["streams"]["people"]["empty_listing"] = json!("take");
        stage.settle().await;
        stage.check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_with_a_row_that_may_be_any_withdraws_nothing() {
    let schema = r#"{"type": "SCHEMA", "stream": "people", "schema": {}, "key_properties": ["id"]}"#;
    let record = r#"{"type": "RECORD", "stream": "people", "record": {"id": 1, "score": "7"}}"#;
    // Without a key, with one that is null, and as a part of a line.
    for lost in [
        r#"{"type": "RECORD", "stream": "people", "record": {"score": "7"}}"#,
        r#"{"type": "RECORD", "stream": "people", "record": {"id": null, "score": "7"}}"#,
        r#"garbage {"type": "RECORD", "stream"#,
    ] {
        let mut stage = Stage::new(Protocol::Singer, "full", 1);
        for id in 1..3 {
            stage.put(id, "7");
        }
        stage.settle().await;
        let lines = [schema, record, lost].map(|line| format!("echo '{line}'")).join("; ");
        stage.settings["command"] = json!(["sh", "-c", lines]);
        stage.settings["catalog"] = json!("none");
        stage.settle().await;
        let people = stage.values(SourceKind::Person);
        assert!(people.iter().all(|(_, value)| value.is_some()), "{lost}: {people:?}");
        // The record of the second program has no address. It may have run several times by now.
        let last = people.iter().rev().find(|(key, _)| key == "1@crm1.Crm").and_then(|(_, value)| value.as_ref());
        assert!(last.is_some_and(|value| value["workEmail"].is_null()), "{lost}: {people:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_reaches_the_next_run_sealed() {
    for protocol in BOTH {
        let mut stage = Stage::new(protocol, "incremental", 1);
        stage.world.rotate = true;
        stage.put(1, "7");
        for _ in 0..3 {
            // Each a new process; a token that was used is refused.
            stage.settle().await;
        }
        stage.check();
        assert!(stage.starts() >= 3);
        let row = stage.rows()["config"].to_string();
        assert!(row.contains("sealed") && !row.contains("token-0"), "{row}");
        // What the operator writes holds.
        stage.settings["config"]["token"] = json!("token-of-the-operator");
        let reason = why(&stage).await;
        assert!(reason.contains("was used before"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_its_time_over_a_restart() {
    let mut stage = Stage::new(Protocol::Singer, "incremental", 1);
    stage.settings["interval"] = json!("1h");
    stage.put(1, "7");
    stage.settle().await;
    let starts = stage.starts();
    stage.until("ready", |status| status.ready().is_ok()).await;
    assert_eq!(stage.starts(), starts, "the hour is not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_program_is_ended_with_all_that_it_started() {
    let mut stage = Stage::new(Protocol::Singer, "incremental", 1);
    // A shell that waits for a child of its own; each attempt adds a line.
    stage.settings["command"] = json!(["sh", "-c", "sleep 300 & echo $! >> \"$PID_FILE\"; wait"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    stage.settings["env"] = json!({"PID_FILE": file.path().display().to_string()});
    stage.settings["catalog"] = json!("none");
    stage.settings["silence_max"] = json!("4s");
    let reason = why(&stage).await;
    assert!(reason.contains("has written nothing for 4 s"), "{reason}");
    let pids = std::fs::read_to_string(file.path()).expect("readable");
    assert!(!pids.is_empty(), "the shell wrote nothing");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    for pid in pids.lines() {
        let process = std::path::Path::new("/proc").join(pid);
        while std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z")) {
            assert!(std::time::Instant::now() < deadline, "{pid} runs on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_a_handful_and_writes_nothing() {
    for protocol in BOTH {
        let mut stage = Stage::new(protocol, "full", 1);
        for id in 0..9 {
            stage.put(id, if id == 3 { "many" } else { "7" });
        }
        let samples = (stage.task().make)().preview().await.expect("the program can be run");
        assert_eq!(samples.len(), 5);
        assert_eq!(samples.iter().filter(|sample| sample.mapped.is_err()).count(), 1);
        assert_eq!(samples[0].raw["stream"], "people");
        assert!(stage.values(SourceKind::Person).is_empty() && stage.rows().is_empty());
    }
}
