//! An audience as a table of a real PostgreSQL, on a real Kafka: rows follow a deal that is won,
//! reopened and won again, through kills of the sink, as Python's client sees them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::bodea;
use millrace_test_e2e::database::Postgres;
use millrace_test_e2e::deployment::Deployment;
use millrace_test_e2e::outside::Producer;
use millrace_test_e2e::{now_ms, wait_for};
use serde_json::json;

use super::sinks::{CROWD, SEGMENT, address, fact, lasting};

const CHANGED_WITHIN: Duration = Duration::from_secs(120);

fn settings(postgres: &Postgres) -> String {
    format!(
        "[destinations.warehouse]\nnamespace = \"email\"\nsink = \"postgres\"\nbrake_share = 1.0\nattributes = {{ company = \"b2b.companyName\" }}\n\
         [destinations.warehouse.settings]\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"postgres\"\nuser = \"postgres\"\ntls = \"disable\"\n\
         create = true\ntables = {{ {SEGMENT} = \"hot_leads\" }}\n",
        postgres.address().port()
    )
}

/// Waits until the table holds these members; how long it took, in milliseconds.
fn holds(postgres: &Postgres, expected: &BTreeSet<String>) -> u128 {
    let begun = Instant::now();
    wait_for(&format!("{} rows", expected.len()), CHANGED_WITHIN, || {
        let there = postgres.rows("postgres", "SELECT to_regclass('hot_leads') IS NOT NULL");
        if there != [[Some("t".to_owned())]] {
            return Err("there is no table".to_owned());
        }
        let rows = postgres.rows("postgres", "SELECT id FROM hot_leads");
        let found: BTreeSet<String> = rows.into_iter().flatten().flatten().collect();
        if found == *expected { Ok(()) } else { Err(format!("{} rows", found.len())) }
    });
    begun.elapsed().as_millis()
}

#[test]
fn a_deal_that_is_won_makes_rows_and_one_that_is_reopened_takes_them_away() {
    let postgres = Postgres::start();
    let deployment = Deployment::with_settings(KafkaBroker::shared(), "postgres", 2, &settings(&postgres));
    deployment.millrace(&["topics", "create"]).succeeded();
    let spec = json!({ "subject": "person", "status": "published", "pql": bodea::rule().pql, "destinations": ["warehouse"] });
    let segment = json!({ "kind": "Segment", "metadata": { "name": SEGMENT }, "spec": spec });
    let file = deployment.write("segment.json", &segment.to_string());
    deployment.millrace(&["segment", "apply", &file]).succeeded();
    let (mut processor, mut sink) = (deployment.node("processor"), deployment.service("sink", &["sink", "postgres"]));
    processor.start();
    sink.start();
    processor.wait_ready();
    sink.wait_ready();

    let mut producer = Producer::start(&deployment.bootstrap);
    let mut tell = |records: Vec<SourceRecord>| {
        for record in records {
            producer.send_json(&deployment.prefix, &record);
        }
        producer.flush();
    };
    tell(lasting(now_ms()));
    tell(fact(1, now_ms()));
    tell(fact(4, now_ms()));
    let story = ["p1@townsend.com", "p2@townsend.com", "p3@townsend.com"].map(str::to_owned);
    let everybody: BTreeSet<String> = story.into_iter().chain((0..CROWD).map(|number| address(number, "c"))).collect();
    let filled_ms = holds(&postgres, &everybody);

    // The deal is reopened while the sink is dead.
    sink.kill();
    tell(fact(3, now_ms()));
    sink.start();
    let emptied_ms = holds(&postgres, &BTreeSet::new());
    tell(fact(4, now_ms()));
    sink.kill();
    sink.start();
    holds(&postgres, &everybody);

    let seen: Vec<[Option<String>; 1]> = serde_json::from_str(&postgres.seen("postgres", "SELECT id FROM hot_leads")).expect("rows");
    assert_eq!(seen.into_iter().flatten().flatten().collect::<BTreeSet<_>>(), everybody);
    println!(
        "{} rows were there after {filled_ms} ms, and gone {emptied_ms} ms after a restart of the sink",
        everybody.len()
    );
    assert_eq!(sink.terminate(), Some(0), "{}", sink.tail());
}
