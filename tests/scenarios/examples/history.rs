//! What others wait for while a person with a long history moves: the longest step, over rows in memory.
//!
//! `cargo run --release -p millrace-test-scenarios --example history [events]`

use std::time::{Duration, Instant};

use millrace_model::Timestamp;
use millrace_oracle::worlds::{NOON_MS, event, record};
use millrace_oracle::{Rule, Subject};
use millrace_test_scenarios::{Cluster, config};
use serde_json::json;

fn main() {
    let events: i64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let mut cluster = Cluster::with(config(2), 1, Timestamp(NOON_MS));
    cluster.publish(&Rule {
        name: "often".to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: r#"(select v from xEvent where v.eventType = "visit").count() >= 10"#.to_owned(),
    });
    for number in 0..events {
        let at = NOON_MS - events + number;
        cluster.source(&event(&format!("{number:08}"), at, &["email:ann@acme.com"], json!({ "eventType": "visit" })));
    }
    told("taken", events, &mut cluster);
    cluster.source(&record("person", "1@m.M", NOON_MS, json!({ "workEmail": { "address": "ann@acme.com" } })));
    told("moved", events, &mut cluster);
}

fn told(what: &str, events: i64, cluster: &mut Cluster) {
    let begun = Instant::now();
    let (mut steps, mut longest) = (0, Duration::ZERO);
    loop {
        let step = Instant::now();
        if !cluster.act() {
            break;
        }
        steps += 1;
        longest = longest.max(step.elapsed());
    }
    println!("{events} events {what} in {:?}, {steps} steps, the longest {longest:?}", begun.elapsed());
}
