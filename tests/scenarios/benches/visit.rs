//! What one visit costs a shard, against the length of the person's history and against the number of segments.
//!
//! `cargo bench -p millrace-test-scenarios`. Every iteration takes the same visit into the same rows: its effects are computed and dropped. Rows are in
//! memory, so this is the engine alone.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use millrace_model::{DAY_MS, SourceKind, Timestamp};
use millrace_test_scenarios::{Solo, config};
use serde_json::json;

const NOW: i64 = 1_780_000_000_000;
const HISTORIES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
const SEGMENTS: [u32; 4] = [5, 50, 500, 5_000];

/// Rules that keep different things of the history.
const RULES: [(&str, &str); 6] = [
    ("exists in a window", r#"exists v from xEvent where v.eventType = "e" and v.timestamp occurs <= 30 days before now"#),
    ("at least 5 in a window", r#"count(select v from xEvent where v.eventType = "e" and v.timestamp occurs <= 30 days before now) >= 5"#),
    ("sum in a window", r#"sum(select v.commerce.order.priceTotal from xEvent where v.eventType = "e" and v.timestamp occurs <= 30 days before now) > 1000000000"#),
    ("sum of all", r#"sum(select v.commerce.order.priceTotal from xEvent where v.eventType = "e") > 1000000000"#),
    ("distinct pages of all", r#"count(distinct(select v.web.webPageDetails.name from xEvent where v.eventType = "e")) > 50"#),
    ("sequence", r#"chain(xEvent, timestamp, [A: WHAT(eventType = "e"), B: WHAT(eventType = "never") WHEN(<= 1 day after A)])"#),
];

fn event(number: u32, at: i64, kind: &str) -> Bytes {
    let record = json!({
        "_id": format!("e{number}"), "timestamp": at, "personKey": { "sourceKey": "1@m1.Marketo" }, "eventType": kind,
        "web": { "webPageDetails": { "name": format!("page {}", number % 20), "URL": "https://example.com/new-product" } },
        "commerce": { "order": { "priceTotal": 10.0 } },
    });
    Bytes::from(record.to_string())
}

fn person(history: u32) -> Solo {
    let mut solo = Solo::new(config(1), Timestamp(NOW));
    solo.take(SourceKind::Person, "1@m1.Marketo", Bytes::from(json!({ "b2b": { "personScore": 7 } }).to_string()));
    // Evenly over three hundred days.
    for number in 0..history {
        let at = NOW - 300 * DAY_MS + i64::from(number) * (300 * DAY_MS / i64::from(history));
        solo.take(SourceKind::Activity, "b2b_person:1@m1.Marketo", event(number, at, "e"));
    }
    solo
}

fn against_history(criterion: &mut Criterion) {
    for (name, pql) in RULES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        for history in HISTORIES {
            let mut solo = person(history);
            solo.define("rule", pql);
            group.bench_with_input(BenchmarkId::from_parameter(history), &history, |bench, _| {
                bench.iter(|| solo.weigh(SourceKind::Activity, "b2b_person:1@m1.Marketo", event(history, NOW - 1, "e")));
            });
        }
        group.finish();
    }
}

fn against_segments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segments, of which 5 care");
    group.sample_size(20);
    for segments in SEGMENTS {
        let mut solo = person(100);
        for number in 0..segments {
            let kind = if number < 5 { "e".to_owned() } else { format!("other-{number}") };
            let pql = format!(r#"count(select v from xEvent where v.eventType = "{kind}" and v.timestamp occurs <= 30 days before now) >= {}"#, 5 + number % 7);
            solo.define(&format!("segment-{number}"), &pql);
        }
        group.bench_with_input(BenchmarkId::from_parameter(segments), &segments, |bench, _| {
            bench.iter(|| solo.weigh(SourceKind::Activity, "b2b_person:1@m1.Marketo", event(101, NOW - 1, "e")));
        });
    }
    group.finish();
}

criterion_group!(benches, against_history, against_segments);
criterion_main!(benches);
