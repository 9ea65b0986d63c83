//! A clean shutdown: SIGTERM, status 0, and the next process continues where this one was.

use std::time::Duration;

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::worlds::random::Random;
use millrace_oracle::worlds::rules;
use millrace_test_e2e::deployment::Deployment;
use millrace_test_e2e::outside::Producer;
use millrace_test_e2e::{judge, now_ms, worlds};

const WORLDS: usize = 6;

#[test]
fn a_terminated_process_ends_with_0_and_its_successor_repeats_nothing() {
    let deployment = Deployment::with_topics(KafkaBroker::shared(), "graceful", 3);
    let rules = rules::all();
    deployment.apply(&rules);
    let mut nodes = [deployment.node("only")];
    nodes[0].start();
    nodes[0].wait_ready();

    let records = worlds::side_by_side(7, WORLDS, 100, now_ms());
    let (first, second) = records.split_at(records.len() / 2);
    let produce = |records: &[millrace_oracle::SourceRecord]| {
        let mut producer = Producer::start(&deployment.bootstrap);
        records.iter().for_each(|record| producer.send_json(&deployment.prefix, record));
        producer
    };
    produce(first).finish();
    let held = judge::sources(&deployment, |_| false);
    let before = judge::settled(&deployment, &mut nodes, &held, &rules, Duration::from_secs(60));

    // Terminated at rest, it resumes and writes nothing.
    assert_eq!(nodes[0].terminate(), Some(0), "{}", nodes[0].tail());
    nodes[0].start();
    nodes[0].wait_ready();
    let resumed = judge::settled(&deployment, &mut nodes, &held, &rules, Duration::from_secs(60));
    let new: Vec<_> = resumed.iter().filter(|change| !before.contains(change)).collect();
    assert!(resumed == before, "nothing came, and this is written: {new:#?}");

    // Terminated in the middle of work, its successor finishes it.
    let mut producer = produce(second);
    let mut random = Random::new(3);
    (0..2_000).for_each(|number| producer.send_json(&deployment.prefix, &worlds::act(&mut random, number, WORLDS, now_ms())));
    producer.flush();
    assert_eq!(nodes[0].terminate(), Some(0), "{}", nodes[0].tail());
    producer.finish();
    nodes[0].start();
    nodes[0].wait_ready();
    let held = judge::sources(&deployment, |_| false);
    let after = judge::settled(&deployment, &mut nodes, &held, &rules, Duration::from_secs(60));
    assert!(after.len() > before.len());
    assert_eq!(nodes[0].terminate(), Some(0), "{}", nodes[0].tail());
    println!("{} records, {} changes before the stop, {} after it", held.len(), before.len(), after.len());
}
