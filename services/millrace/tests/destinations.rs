//! An audience kept equal at a webhook: the real process, a real server that fails now and then,
//! and kills in between.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;

use place::{Place, printed};

/// The far side: the members, by the webhook's calls.
#[derive(Default)]
struct Far {
    calls: u64,
    entries: u64,
    exits: u64,
    present: BTreeSet<String>,
}

type Shared = Arc<Mutex<Far>>;

/// Every fifth call fails, half of those after it took effect.
async fn take(State(far): State<Shared>, body: String) -> StatusCode {
    let mut far = far.lock().unwrap();
    far.calls += 1;
    if far.calls % 10 == 3 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&message["type"], &message["data"]["audience"]),
        (&Value::from("audience.changed"), &Value::from("hot"))
    );
    for change in message["data"]["changes"].as_array().unwrap() {
        let id = change["id"].as_str().unwrap().to_owned();
        match change["status"].as_str().unwrap() {
            "realized" => {
                far.entries += 1;
                far.present.insert(id);
            }
            "exited" => {
                far.exits += 1;
                far.present.remove(&id);
            }
            other => panic!("{other}"),
        }
    }
    if far.calls % 10 == 8 {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::NO_CONTENT
    }
}

/// A server on a thread of its own that outlives every process of the test.
fn far() -> (SocketAddr, Shared) {
    let shared = Shared::default();
    let state = Arc::clone(&shared);
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let router = axum::Router::new().route("/in", post(take)).with_state(state);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    (address.recv().unwrap(), shared)
}

fn run(place: &Place, arguments: &[&str]) -> String {
    let output = place.millrace(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", printed(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Imports persons, those of the range with this score.
fn score(place: &Place, numbers: std::ops::Range<u32>, score: u32) {
    let line = |number: u32| {
        format!(r#"{{"topic":"person","key":"{number}@m.M","value":{{"workEmail":{{"address":"p{number}@acme.com"}},"b2b":{{"personScore":{score}}}}}}}"#)
    };
    let lines: Vec<String> = numbers.map(line).collect();
    std::fs::write(place.folder.path().join("people.jsonl"), lines.join("\n")).unwrap();
    run(place, &["source", "file", "people.jsonl"]);
}

const HOT: &str = "kind: Segment\nmetadata: { name: hot }\nspec:\n  pql: |\n    b2b.personScore > 50\n  destinations: [hook]\n";

#[test]
fn a_webhook_receives_entries_and_exits_whatever_kills_the_process() {
    let (address, far) = far();
    let mut place = Place::new();
    let settings = format!(
        "[topics]\nshards = 2\n[destinations.hook]\nnamespace = \"email\"\nsink = \"webhook\"\nbrake_share = 1.0\n\
         [destinations.hook.settings]\nurl = \"http://{address}/in\"\nprivateAddresses = true\nrecordsPerCall = 3\ncallsAtOnce = 1\n"
    );
    std::fs::write(place.folder.path().join("m.toml"), settings).unwrap();
    let arguments = ["--config", "m.toml"];
    place.start_with(&arguments);
    std::fs::write(place.folder.path().join("hot.yaml"), HOT).unwrap();
    run(&place, &["segment", "apply", "hot.yaml", "--config", "m.toml"]);

    let preview = run(&place, &["destination", "preview", "hook"]);
    assert!(preview.starts_with("hook: 0 changes in at most 0 calls"), "{preview}");
    score(&place, 0..60, 70);
    place.until("the first entries", || far.lock().unwrap().entries > 5);
    place.kill();
    place.start_with(&arguments);
    // 20 leave, 40 enter.
    score(&place, 0..20, 10);
    score(&place, 60..100, 90);
    place.until("the first exits", || far.lock().unwrap().exits > 5);
    place.kill();
    place.start_with(&arguments);
    score(&place, 20..30, 10);

    let expected: BTreeSet<String> = (30..100).map(|number| format!("p{number}@acme.com")).collect();
    place.until("the far side to equal the audience", || far.lock().unwrap().present == expected);
    let status = || -> Value { serde_json::from_str(&run(&place, &["destination", "status", "hook", "--output", "json"])).unwrap() };
    place.until("everything to be acknowledged", || status()["pending"] == 0);
    let status = status();
    assert_eq!([&status["desired"], &status["delivered"], &status["refused"]], [70, 70, 0], "{status}");
    assert_eq!(far.lock().unwrap().present, expected, "nothing was undone meanwhile");
    place.until("the deliveries to be counted", || {
        let metrics = reqwest::blocking::get(format!("http://{}/metrics", place.metrics)).and_then(|answer| answer.text());
        let metrics = metrics.unwrap_or_default();
        ["acknowledged", "refused", "retried"]
            .iter()
            .all(|outcome| metrics.contains(&format!("millrace_sink_deliveries_total{{destination=\"hook\",outcome=\"{outcome}\"}} ")))
    });
    let preview = run(&place, &["destination", "preview", "hook"]);
    assert!(preview.contains("  hot: 70 delivered; 0 to add, 0 to remove"), "{preview}");
    assert!(run(&place, &["destination", "list"]).starts_with("hook: 70 desired, 70 delivered, 0 pending, 0 refused"));
}
