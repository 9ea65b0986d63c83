//! Against real HTTP servers that misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use millrace_connect::sink::{Answer, Change, Destination};
use millrace_model::{Identity, Timestamp};
use serde_json::{Value, json};

use crate::mapping::{hex_signature, webhook_key, webhook_signature};
use crate::{Config, HttpSink};

/// Status, headers and body.
type PlannedAnswer = (u16, Vec<(&'static str, &'static str)>, String);

/// The calls a server has seen, and its next answers.
#[derive(Default)]
struct Seen {
    calls: Vec<(HeaderMap, String)>,
    answers: Vec<PlannedAnswer>,
}

type Shared = Arc<Mutex<Seen>>;

async fn take(State(seen): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let mut seen = seen.lock().expect("no panic");
    seen.calls.push((headers, body));
    if seen.answers.is_empty() {
        return StatusCode::OK.into_response();
    }
    let (status, headers, body) = seen.answers.remove(0);
    let mut response = (StatusCode::from_u16(status).expect("a status"), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().expect("a header"));
    }
    response
}

/// A server on a thread of its own, on a free port.
fn server() -> (SocketAddr, Shared) {
    let seen = Shared::default();
    let state = Arc::clone(&seen);
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let token = || async { axum::Json(json!({"access_token": "t-1", "expires_in": 3600})) };
            let router = axum::Router::new()
                .route("/in", post(take))
                .route("/moved", post(|| async { Redirect::temporary("/in") }))
                .route("/token", post(token))
                .with_state(state);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("heard");
            axum::serve(listener, router).await.expect("serves");
        });
    });
    (address.recv().expect("started"), seen)
}

/// As the executable reads settings.
fn config(settings: Value) -> Result<Config, String> {
    let config: Config = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

fn sink(address: SocketAddr, more: Value) -> HttpSink {
    let mut settings = json!({"url": format!("http://{address}/in"), "privateAddresses": true, "recordsPerCall": 10});
    settings
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    HttpSink::new(config(settings).expect("settings")).expect("a sink")
}

fn changes(count: u64) -> Vec<Change> {
    let change = |number: u64| {
        let identity = Identity::new("email", &format!("p{number}@x.com")).expect("an identity");
        Change {
            key: format!("a|{identity}"),
            audience: "a".to_owned(),
            identity,
            present: number.is_multiple_of(2),
            attributes: BTreeMap::from([("title".to_owned(), json!("5\" pipe"))]),
            changed_at: Timestamp(0),
            id: number,
        }
    };
    (0..count).map(change).collect()
}

fn words(answers: &[Answer]) -> Vec<&'static str> {
    let word = |answer: &Answer| match answer {
        Answer::Accepted => "accepted",
        Answer::Refused(_) => "refused",
        Answer::Later(_) => "later",
        Answer::Together(_) => "together",
    };
    answers.iter().map(word).collect()
}

#[test]
fn the_webhook_carries_entries_and_exits_and_is_signed() {
    let (address, seen) = server();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut sink = sink(address, json!({"authentication": {"webhook": {"secret": secret}}}));
    let batch = changes(2);
    assert_eq!(words(&sink.deliver(&batch).answers), ["accepted", "accepted"]);
    sink.deliver(&batch);
    let seen = seen.lock().expect("no panic");
    let (headers, body) = &seen.calls[0];
    let value: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(value["data"]["changes"][0]["status"], "realized");
    assert_eq!(value["data"]["changes"][1]["status"], "exited");
    assert_eq!(value["data"]["changes"][0]["attributes"]["title"], "5\" pipe");
    let header = |headers: &HeaderMap, name: &str| headers[name].to_str().expect("text").to_owned();
    let timestamp: i64 = header(headers, "webhook-timestamp").parse().expect("a number");
    let key = webhook_key(secret).expect("a key");
    assert_eq!(
        header(headers, "webhook-signature"),
        webhook_signature(&key, &header(headers, "webhook-id"), timestamp, body)
    );
    assert_eq!(
        header(headers, "webhook-id"),
        header(&seen.calls[1].0, "webhook-id"),
        "a repeat is known by its id"
    );
}

#[test]
fn signatures_are_those_of_the_standard() {
    // The example of the Standard Webhooks specification's libraries.
    let key = webhook_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
    let signature = webhook_signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    // RFC 4231, case 2.
    assert_eq!(
        hex_signature(b"Jefe", "what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn statuses_say_what_is_done() {
    let (address, seen) = server();
    let table: [(u16, &str); 9] = [
        (200, "accepted"),
        (204, "accepted"),
        (400, "together"),
        (401, "later"),
        (404, "together"),
        (429, "later"),
        (500, "later"),
        (503, "later"),
        (302, "together"),
    ];
    let mut sink = sink(address, json!({}));
    for (status, word) in table {
        seen.lock().expect("no panic").answers = vec![(status, vec![], "said".to_owned())];
        assert_eq!(words(&sink.deliver(&changes(2)).answers), [word, word], "{status}");
    }
    seen.lock().expect("no panic").answers = vec![(429, vec![("retry-after", "7")], String::new())];
    assert_eq!(sink.deliver(&changes(1)).wait.map(|wait| wait.as_secs()), Some(7));
    seen.lock().expect("no panic").answers = vec![(400, vec![], "no such person".to_owned())];
    let Answer::Refused(refusal) = sink.deliver(&changes(1)).answers.remove(0) else {
        panic!("alone, it is refused")
    };
    assert_eq!((refusal.reason.as_str(), refusal.answer.as_str()), ("status 400", "no such person"));
}

#[test]
fn results_of_single_changes_are_read() {
    let (address, seen) = server();
    let results = json!({"results": {"items": "/results", "field": "/status", "accepted": ["ok", "exists"], "retry": ["busy"]}});
    let mut sink = sink(address, results);
    let answer = json!({"results": [{"status": "ok"}, {"status": "busy"}, {"status": "bad"}]}).to_string();
    seen.lock().expect("no panic").answers = vec![(200, vec![], answer), (200, vec![], "{}".to_owned())];
    assert_eq!(words(&sink.deliver(&changes(3)).answers), ["accepted", "later", "refused"]);
    assert_eq!(
        words(&sink.deliver(&changes(3)).answers),
        ["later"; 3],
        "an answer of another form is not taken for success"
    );
}

#[test]
fn templates_shape_calls() {
    let (address, seen) = server();
    let customer_match = r#"{"operations":[{% for c in changes %}{{ "," if not loop.first }}{"{{ 'create' if c.present else 'remove' }}":{"userIdentifier":{{ c.id|tojson }}}}{% endfor %}]}"#;
    let mut sink = sink(address, json!({"body": customer_match, "recordsPerCall": 2, "callsAtOnce": 2}));
    assert_eq!(sink.limits().records_max, 4);
    let delivery = sink.deliver(&changes(3));
    assert_eq!((words(&delivery.answers), delivery.calls), (vec!["accepted"; 3], 2));
    let mut bodies: Vec<String> = seen.lock().expect("no panic").calls.iter().map(|(_, body)| body.clone()).collect();
    bodies.sort();
    assert_eq!(
        bodies,
        [
            r#"{"operations":[{"create":{"userIdentifier":"p0@x.com"}},{"remove":{"userIdentifier":"p1@x.com"}}]}"#,
            r#"{"operations":[{"create":{"userIdentifier":"p2@x.com"}}]}"#
        ]
    );
}

#[test]
fn templates_see_numbers() {
    let (address, seen) = server();
    let body = r#"{"text": {{ ("score " ~ changes[0].attributes.b)|tojson }}, "low": {{ (changes[0].attributes.b < 1000)|tojson }}, "quoted": "{{ changes[0].attributes.b }}", "more": {{ changes[0].attributes.n + 1 }}, "all": {{ changes[0].attributes|tojson }}}"#;
    let mut sink = sink(address, json!({ "body": body }));
    let mut batch = changes(1);
    let attributes = serde_json::from_str(r#"{"b": 324.71, "n": 7, "x": 9007199254740993.25}"#).expect("attributes");
    batch[0].attributes = attributes;
    assert_eq!(words(&sink.deliver(&batch).answers), ["accepted"]);
    assert_eq!(
        seen.lock().expect("no panic").calls[0].1,
        r#"{"all":{"b":324.71,"n":7,"x":9007199254740993.25},"low":true,"more":8,"quoted":"324.71","text":"score 324.71"}"#
    );
}

#[test]
fn a_template_that_makes_no_json_is_a_refusal() {
    let (address, seen) = server();
    let mut sink = sink(address, json!({"body": "{{ changes[0].id }}"}));
    assert_eq!(words(&sink.deliver(&changes(1)).answers), ["refused"]);
    assert!(seen.lock().expect("no panic").calls.is_empty());
}

#[test]
fn redirects_are_not_followed_and_private_addresses_not_reached() {
    let (address, seen) = server();
    let mut moved = sink(address, json!({"url": format!("http://{address}/moved")}));
    assert_eq!(words(&moved.deliver(&changes(1)).answers), ["refused"]);
    assert!(seen.lock().expect("no panic").calls.is_empty());
    for url in [
        "http://127.0.0.1/",
        "http://10.1.2.3/",
        "http://[::1]/",
        "http://169.254.169.254/",
        "http://[::ffff:10.0.0.1]/",
    ] {
        let settings = config(json!({ "url": url })).expect("settings");
        assert!(HttpSink::new(settings).is_err(), "{url}");
    }
    let settings = config(json!({"url": format!("http://localhost:{}/in", address.port())})).expect("settings");
    let mut named = HttpSink::new(settings).expect("a sink");
    assert_eq!(words(&named.deliver(&changes(1)).answers), ["later"], "a name that leads inside");
    assert!(seen.lock().expect("no panic").calls.is_empty());
}

#[test]
fn tokens_are_asked_for_once() {
    let (address, seen) = server();
    let oauth = json!({"authentication": {"oauth": {"tokenUrl": format!("http://{address}/token"), "clientId": "c", "clientSecret": "s"}}});
    let mut sink = sink(address, oauth);
    sink.deliver(&changes(1));
    assert_eq!(seen.lock().expect("no panic").calls[0].0["authorization"], "Bearer t-1");
}

#[test]
fn nobody_answers() {
    let mut sink = sink(SocketAddr::from(([127, 0, 0, 1], 1)), json!({}));
    assert_eq!(words(&sink.deliver(&changes(2)).answers), ["later"; 2]);
}

#[test]
fn settings_are_checked() {
    let table = [
        (json!({}), "missing"),
        (json!({"url": "ftp://x/"}), "a scheme"),
        (json!({"url": "https://x.com/", "bodi": ""}), "unknown"),
        (json!({"url": "https://x.com/", "recordsPerCall": 0}), "none"),
        (json!({"url": "https://x.com/", "callsAtOnce": 65}), "too many"),
    ];
    for (settings, what) in table {
        assert!(config(settings).is_err(), "{what}");
    }
    let broken = config(json!({"url": "https://x.com/", "body": "{% for %}"})).expect("settings");
    assert!(HttpSink::new(broken).is_err());
}
