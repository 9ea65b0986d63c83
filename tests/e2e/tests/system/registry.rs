//! Avro in Confluent's wire format, in and out, with a real schema registry: writers whose schemas
//! are older and newer than ours, unknown ids.

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{NOON_MS, bodea};
use millrace_test_e2e::deployment::Deployment;
use millrace_test_e2e::outside::{self, Producer};
use millrace_test_e2e::registry::Registry;
use millrace_test_e2e::{judge, now_ms, wait_for, worlds};

const SEGMENT: &str = "new-product-upsell";

#[test]
fn records_and_memberships_travel_in_confluent_s_format() {
    let registry = Registry::start();
    let deployment = Deployment::with_settings(KafkaBroker::shared(), "registry", 2, &format!("[registry]\nurls = [\"{}\"]\n", registry.url()));
    deployment.millrace(&["topics", "create"]).succeeded();
    let rule = bodea::rule();
    deployment.apply(std::slice::from_ref(&rule));
    let mut node = deployment.node("only");
    node.start();

    let now = now_ms();
    let facts: Vec<SourceRecord> = bodea::facts().iter().map(|fact| worlds::moved(&fact.record, now - NOON_MS)).collect();
    let mut producer = Producer::start(&deployment.bootstrap);
    for fact in &facts {
        match fact.topic.as_str() {
            // Relation rows arrive as JSON in between: the first byte distinguishes them.
            "account-person" => producer.send_json(&deployment.prefix, fact),
            _ => producer.send_confluent(&deployment.prefix, fact, &registry.url()),
        }
    }
    // A schema that was never registered, and one that is not Avro at all.
    let person = deployment.topic("source.person");
    producer.send(&person, Some(b"stray@m.M"), Some(&[0, 0, 15, 66, 63, 2, 4]));
    producer.finish();
    node.wait_ready();

    let topic = deployment.topic("audience.membership");
    // A retried record lets others overtake it: a person may be a member for a moment, under an id that a later merge ends.
    let members: BTreeSet<String> = bodea::PERSONS.map(str::to_owned).into();
    wait_for("three members", Duration::from_secs(60), || {
        let rows = outside::read_confluent(&deployment.bootstrap, std::slice::from_ref(&topic), &registry.url())?;
        let mut found = BTreeSet::new();
        for change in rows.iter().filter_map(|row| row.record.as_ref()).filter(|change| change["segment"] == SEGMENT) {
            let subject = change["subjectId"].as_str().expect("a text").to_owned();
            if change["status"] == "realized" {
                found.insert(subject)
            } else {
                found.remove(&subject)
            };
        }
        if found == members {
            Ok(())
        } else {
            Err(format!("{found:?}\n{}", node.tail()))
        }
    });
    let subjects = registry.subjects();
    assert!(subjects.contains(&format!("{topic}-value")), "{subjects:?}");
    let letters = wait_for("the dead letter", Duration::from_secs(60), || {
        let letters = judge::dead_letters(&deployment)?;
        if letters.is_empty() { Err(node.tail()) } else { Ok(letters) }
    });
    assert_eq!(letters.iter().map(|letter| letter.reason.as_str()).collect::<Vec<_>>(), ["unknown-schema-id"]);
}
