//! The routes over a log in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{EARLIEST, Log, PollLimits, TopicPartition, TopicSpec};
use millrace_model::{Schema, SourceKind, Timestamp};
use millrace_telemetry::Metrics;
use millrace_wire::Decoder;
use tower::ServiceExt;

use super::mapping::{arrival, source};
use crate::intake::{Intake, Topics};
use crate::judge::Judge;
use crate::keys::{Keys, WriteKey};
use crate::{Collector, collector_router};

const KEY: &str = "Basic d3JpdGUta2V5Og==";
const PUBLIC: &str = "Basic cHVibGljLWtleTo=";

struct Place {
    router: Router,
    log: SimulatedLog,
    metrics: Metrics,
}

fn now() -> Timestamp {
    arrival().at
}

fn place() -> Place {
    let log = SimulatedLog::new(1, Faults::default(), now());
    let mut records = BTreeMap::new();
    for kind in SourceKind::ALL {
        create(&log, kind.name());
        records.insert(kind, Arc::from(kind.name()));
    }
    create(&log, "dead-letter");
    let topics = Topics {
        records,
        dead_letters: "dead-letter".into(),
        place: |_, _| 0,
    };
    let key = |secret: &str, public| WriteKey {
        secret: secret.to_owned(),
        public,
        source: source(),
    };
    let metrics = Metrics::new().unwrap();
    let intake = Intake::start(Arc::new(log.clone()), topics.clone(), metrics.clone()).unwrap();
    let judge = Judge {
        decoder: Decoder::builder(Arc::new(Schema::built_in().unwrap())).unwrap().build(),
        topics,
    };
    let keys = Keys::new(vec![key("write-key", false), key("public-key", true)]);
    let origins = vec!["https://www.example.com".to_owned()];
    let collector = Collector::new(keys, origins, Arc::new(intake), judge, metrics.clone(), now);
    Place {
        router: collector_router(Arc::new(collector)),
        log,
        metrics,
    }
}

fn create(log: &SimulatedLog, name: &str) {
    let spec = TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        compacted: false,
        settings: Vec::new(),
    };
    log.create_topic(&spec).unwrap();
}

impl Place {
    /// The keys in a topic.
    fn keys(&self, topic: &str) -> Vec<String> {
        let partition = TopicPartition {
            topic: topic.into(),
            partition: 0,
        };
        let mut reader = self.log.reader(&[(partition, EARLIEST)]).unwrap();
        let limits = PollLimits {
            records_max: 1_000,
            bytes_max: 1 << 20,
            wait_ms_max: 0,
        };
        let mut keys = Vec::new();
        while !reader.caught_up().unwrap() {
            keys.extend(
                reader
                    .poll(limits)
                    .unwrap()
                    .into_iter()
                    .map(|found| String::from_utf8(found.record.key.unwrap().to_vec()).unwrap()),
            );
        }
        keys
    }

    /// The status and the body of an answer.
    async fn send(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> String {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        format!("{} {}", status.as_u16(), String::from_utf8_lossy(&body))
    }
}

const TRACK: &str = r#"{"userId":"u","event":"x","messageId":"m"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_event_is_in_the_log_when_the_answer_comes() {
    let place = place();
    let json = ("content-type", "application/json");
    assert_eq!(
        place.send("/v1/track", &[json, ("authorization", KEY)], TRACK).await,
        r#"200 {"accepted":1,"success":true}"#
    );
    assert_eq!(place.keys("activity"), ["b2b_person:u@site.Segment"]);
    let batch = r#"{"writeKey":"public-key","batch":[{"type":"identify","userId":"u"},{"type":"track","messageId":"bad"}]}"#;
    let answer = place.send("/v1/batch", &[("content-type", "text/plain;charset=UTF-8")], batch).await;
    assert!(
        answer.starts_with(r#"200 {"accepted":1,"errors":[{"index":1,"messageId":"bad","reason":"no-identity: "#),
        "{answer}"
    );
    assert_eq!(
        (place.keys("person"), place.keys("dead-letter")),
        (vec!["u@site.Segment".to_owned()], vec!["bad".to_owned()])
    );
    let text = place.metrics.text().unwrap();
    for line in [
        "millrace_collector_events_total{outcome=\"accepted\",source=\"site\"} 2",
        "millrace_collector_events_total{outcome=\"refused\",source=\"site\"} 1",
        "millrace_collector_requests_total{status=\"200\"} 2",
        "millrace_collector_held_bytes 0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_is_known_by_the_write_key() {
    let place = place();
    for (path, key, body, expected) in [
        ("/v1/track", None, TRACK, "401"),
        ("/v1/track", Some("Basic d3Jvbmc6"), TRACK, "401"),
        ("/v1/track", None, r#"{"writeKey":"wrong","userId":"u","event":"x"}"#, "401"),
        ("/v1/track", None, r#"{"writeKey":"public-key","userId":"u","event":"x"}"#, "200"),
        ("/v1/track", Some(PUBLIC), TRACK, "200"),
        ("/v1/track", Some("Bearer write-key"), TRACK, "200"),
        ("/v1/collect", Some(PUBLIC), "{}", "403"),
        ("/v1/collect", None, r#"{"writeKey":"write-key"}"#, "401"),
        ("/v1/track", Some(KEY), "{", "400"),
        ("/v1/batch", Some(KEY), "{", "400"),
        ("/v1/nothing", Some(KEY), "{}", "404"),
    ] {
        let headers: Vec<_> = key.map(|key| ("authorization", key)).into_iter().collect();
        let answer = place.send(path, &headers, body).await;
        assert_eq!(answer.split(' ').next(), Some(expected), "{path} {key:?} {body} {answer}");
        assert!(!answer.contains("write-key") || answer.contains("write key"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_named_in_the_answer() {
    let place = place();
    let key = ("authorization", KEY);
    let large = format!(r#"{{"userId":"u","event":"{}"}}"#, "x".repeat(33 << 10));
    let answer = place.send("/v1/track", &[key], large).await;
    assert!(answer.starts_with("413 ") && answer.contains("32 KiB"), "{answer}");
    let answer = place.send("/v1/batch", &[key], " ".repeat((500 << 10) + 1)).await;
    assert!(answer.starts_with("413 ") && answer.contains("500 KiB"), "{answer}");
    let answer = place.send("/v1/batch", &[key, ("content-type", "application/xml")], "<a/>").await;
    assert!(answer.starts_with("415 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_is_unpacked_up_to_the_limit() {
    use std::io::Write;
    let pack = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let place = place();
    let headers = [("authorization", KEY), ("content-encoding", "gzip")];
    assert!(place.send("/v1/track", &headers, pack(TRACK)).await.starts_with("200 "));
    assert!(place.send("/v1/track", &headers, pack(&" ".repeat(2 << 20))).await.starts_with("413 "));
    assert!(place.send("/v1/track", &headers, TRACK).await.starts_with("400 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_configured_origins_may_send() {
    let place = place();
    for (origin, expected) in [
        ("https://www.example.com", Some("https://www.example.com")),
        ("https://localhost", Some("https://localhost")),
        ("https://evil.example", None),
        ("null", None),
    ] {
        for method in ["OPTIONS", "POST"] {
            let request = Request::builder()
                .method(method)
                .uri("/v1/track")
                .header(header::HOST, "localhost")
                .header(header::ORIGIN, origin);
            let request = request.header(header::AUTHORIZATION, KEY).body(Body::from(TRACK)).unwrap();
            let answer = place.router.clone().oneshot(request).await.unwrap();
            let admitted = answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap());
            assert_eq!((admitted, answer.status().is_success()), (expected, expected.is_some()), "{method} {origin}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_events_come_in_three_modes() {
    let place = place();
    let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"42"}"#;
    let key = ("authorization", KEY);
    let structured = [key, ("content-type", "application/cloudevents+json; charset=UTF-8")];
    assert!(place.send("/v1/collect", &structured, event).await.starts_with("200 "));
    let batched = [key, ("content-type", "application/cloudevents-batch+json")];
    assert!(
        place
            .send("/v1/collect", &batched, format!("[{event},{event}]"))
            .await
            .starts_with(r#"200 {"accepted":2"#)
    );
    let binary = [
        key,
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-subject", "42"),
    ];
    assert!(place.send("/v1/collect", &binary, "").await.starts_with("200 "));
    assert_eq!(place.keys("activity"), ["b2b_person:42@site.Segment"; 4]);
    let avro = [key, ("content-type", "application/cloudevents+avro")];
    assert!(place.send("/v1/collect", &avro, "x").await.starts_with("415 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fails_is_reported_to_the_sender() {
    let place = place();
    let log: Arc<dyn Log> = Arc::new(SimulatedLog::new(2, Faults::default(), now()));
    let topics = Topics {
        records: BTreeMap::new(),
        dead_letters: "missing".into(),
        place: |_, _| 0,
    };
    let intake = Arc::new(Intake::start(log, topics.clone(), place.metrics.clone()).unwrap());
    let judge = Judge {
        decoder: Decoder::builder(Arc::new(Schema::built_in().unwrap())).unwrap().build(),
        topics,
    };
    let keys = Keys::new(vec![WriteKey {
        secret: "write-key".to_owned(),
        public: false,
        source: source(),
    }]);
    let router = collector_router(Arc::new(Collector::new(
        keys,
        Vec::new(),
        Arc::clone(&intake),
        judge,
        place.metrics.clone(),
        now,
    )));
    let place = Place { router, ..place };
    let answer = place.send("/v1/track", &[("authorization", KEY)], TRACK).await;
    assert!(answer.starts_with("503 ") && answer.contains("topic activity does not exist"), "{answer}");
    assert!(intake.failing().unwrap().contains("does not exist"));
}
