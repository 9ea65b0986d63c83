//! One visit into histories of any length, under rules that use it in different ways: the measure
//! of the cost of a visit.

use bytes::Bytes;
use millrace_model::{DAY_MS, SourceKind, Timestamp};
use serde_json::json;

use crate::{Solo, config};

const NOW: i64 = 1_780_000_000_000;
const KEY: &str = "b2b_person:1@m1.Marketo";

/// Lengths of histories, in events.
pub const HISTORIES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];

/// Pages, visited in turn.
const PAGES: u32 = 20;

/// Numbers of segments.
pub const SEGMENTS: [u32; 4] = [5, 50, 500, 5_000];

/// Rules that keep different rows of the history.
pub const RULES: [(&str, &str); 7] = [
    (
        "exists in a window",
        r#"exists v from xEvent where v.eventType = "e" and v.timestamp occurs <= 30 days before now"#,
    ),
    (
        "at least 5 in a window",
        r#"count(select v from xEvent where v.eventType = "e" and v.timestamp occurs <= 30 days before now) >= 5"#,
    ),
    (
        "sum in a window",
        r#"sum(select v.commerce.order.priceTotal from xEvent where v.eventType = "e" and v.timestamp occurs <= 30 days before now) > 1000000000"#,
    ),
    (
        "sum of all",
        r#"sum(select v.commerce.order.priceTotal from xEvent where v.eventType = "e") > 1000000000"#,
    ),
    (
        "distinct pages of all",
        r#"count(distinct(select v.web.webPageDetails.name from xEvent where v.eventType = "e")) > 50"#,
    ),
    (
        "sequence",
        r#"chain(xEvent, timestamp, [A: WHAT(eventType = "e"), B: WHAT(eventType = "never") WHEN(<= 1 day after A)])"#,
    ),
    (
        "sequence up to silence",
        r#"chain(xEvent, timestamp, [A: WHAT(eventType = "e") WHEN(<= 30 days before now) COUNT(3), B: not WHAT(eventType = "never")])"#,
    ),
];

fn event(number: u32, at: i64, kind: &str) -> Bytes {
    let record = json!({
        "_id": format!("e{number}"), "timestamp": at, "personKey": { "sourceKey": "1@m1.Marketo" }, "eventType": kind,
        "web": { "webPageDetails": { "name": format!("page {}", number % PAGES), "URL": "https://example.com/new-product" } },
        "commerce": { "order": { "priceTotal": 10.0 } },
    });
    Bytes::from(record.to_string())
}

/// A person with a history of this number of events.
fn person(history: u32) -> Solo {
    let mut solo = Solo::new(config(1), Timestamp(NOW));
    solo.take(
        SourceKind::Person,
        "1@m1.Marketo",
        Bytes::from(json!({ "b2b": { "personScore": 7 } }).to_string()),
    );
    // Evenly over three hundred days.
    for number in 0..history {
        let at = NOW - 300 * DAY_MS + i64::from(number) * (300 * DAY_MS / i64::from(history));
        solo.take(SourceKind::Activity, KEY, event(number, at, "e"));
    }
    solo
}

/// A person with a history, under one of the rules.
pub fn with_history(pql: &str, history: u32) -> Solo {
    let mut solo = person(history);
    solo.define("rule", pql);
    solo
}

/// A person with a short history, under this number of segments, all of which use visits, and five
/// of them the visited page.
pub fn with_segments(segments: u32) -> Solo {
    let mut solo = person(100);
    let visited = u32::MAX % PAGES;
    let rule = |number: u32| {
        let page = if number < 5 {
            format!("page {visited}")
        } else {
            format!("other page {number}")
        };
        let pql = format!(
            r#"count(select v from xEvent where v.eventType = "e" and v.web.webPageDetails.name = "{page}" and v.timestamp occurs <= 30 days before now) >= {}"#,
            5 + number % 7
        );
        (format!("segment-{number}"), pql)
    };
    solo.define_all((0..segments).map(rule));
    solo
}

/// One more visit.
pub fn record() -> (SourceKind, &'static str, Bytes) {
    (SourceKind::Activity, KEY, event(u32::MAX, NOW - 1, "e"))
}

/// Weighs one more visit; returns the bytes of the rows it changes.
pub fn visit(solo: &mut Solo) -> usize {
    let (kind, key, value) = record();
    solo.weigh(kind, key, value)
}

/// As `visit`, for a late visit that lies before nearly all of the history.
pub fn late_visit(solo: &mut Solo) -> usize {
    solo.weigh(SourceKind::Activity, KEY, event(u32::MAX, NOW - 290 * DAY_MS - 1, "e"))
}
