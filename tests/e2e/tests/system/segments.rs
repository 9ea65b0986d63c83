//! The Bodea case from three producers in two encodings, read back in Avro, and queried over HTTP.

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{NOON_MS, bodea};
use millrace_test_e2e::deployment::{Deployment, definition};
use millrace_test_e2e::outside::{Producer, console_produce};
use millrace_test_e2e::{judge, now_ms, worlds};
use serde_json::{Value as Json, json};

const SEGMENT: &str = "new-product-upsell";

#[test]
fn the_bodea_case_by_json_and_avro() {
    let deployment = Deployment::with_topics(KafkaBroker::shared(), "bodea", 3);
    let rule = bodea::rule();
    deployment.apply(std::slice::from_ref(&rule));
    let mut nodes = [deployment.node("only")];
    nodes[0].start();

    // The visits lie nine days back.
    let now = now_ms();
    let facts: Vec<SourceRecord> = bodea::facts().iter().map(|fact| worlds::moved(&fact.record, now - NOON_MS)).collect();
    let (accounts, rest): (Vec<SourceRecord>, Vec<SourceRecord>) = facts.iter().cloned().partition(|fact| fact.topic == "account");
    console_produce(&deployment.bootstrap, &deployment.prefix, &accounts);
    let mut producer = Producer::start(&deployment.bootstrap);
    for fact in &rest {
        if ["person", "opportunity", "account-link"].contains(&fact.topic.as_str()) {
            producer.send_avro(&deployment.prefix, fact);
        } else {
            producer.send_json(&deployment.prefix, fact);
        }
    }
    producer.finish();

    nodes[0].wait_ready();
    let changes = judge::settled(&deployment, &mut nodes, &facts, &[rule], Duration::from_secs(60));
    let members = judge::members(&changes).remove(SEGMENT).unwrap_or_default();
    assert_eq!(members, bodea::PERSONS.map(str::to_owned).into());
    for change in &changes {
        assert_eq!((change.segment.as_str(), change.subject_type.as_str()), (SEGMENT, "person"));
        assert!(
            change.evaluated_at_ms >= now && change.record["validUntil"].as_i64().is_some_and(|until| until > now),
            "{change:#?}"
        );
        assert!(
            ["record", "link", "merge", "definition"].contains(&change.record["cause"]["kind"].as_str().expect("a kind")),
            "{change:#?}"
        );
    }
    questions(&deployment, &nodes[0].url());
    assert_eq!(judge::dead_letters(&deployment), Ok(vec![]));

    // Deleting a definition exits everyone once.
    deployment.millrace(&["segment", "delete", SEGMENT]).succeeded();
    let after = judge::settled(&deployment, &mut nodes, &facts, &[], Duration::from_secs(60));
    assert_eq!(after.len(), changes.len() + 3, "{after:#?}");
}

/// `segment`, `person` and `account` against the running process, by command and over HTTP.
fn questions(deployment: &Deployment, url: &str) {
    let ask = |arguments: &[&str]| deployment.millrace(&[&["--output", "json", "--server", url], arguments].concat());

    let shown = ask(&["person", "show", "email:p2@townsend.com"]).succeeded().json();
    assert_eq!(shown["id"], bodea::PERSONS[1]);
    let identities: BTreeSet<String> = shown["identities"].as_array().expect("a list").iter().map(identity).collect();
    let known = ["b2b_person:1002@marketo1.Marketo", "b2b_person:2002@marketo2.Marketo", "email:p2@townsend.com"];
    assert_eq!(identities, known.map(str::to_owned).into());
    assert_eq!(
        (&shown["accounts"][0]["id"], &shown["accounts"][1]),
        (&json!(bodea::TOWNSEND), &Json::Null),
        "{shown}"
    );

    let explained = ask(&["person", "explain", bodea::PERSONS[2], "--segment", SEGMENT]).succeeded().json();
    assert_eq!((&explained["value"], &explained["status"]), (&json!(true), &json!("realized")), "{explained}");
    let text = explained.to_string();
    assert!(
        text.contains("visit-3") && text.contains("006B@crm2.Salesforce"),
        "both facts are named: {text}"
    );
    let explained = deployment
        .millrace(&["--server", url, "person", "explain", bodea::PERSONS[2], "--segment", SEGMENT])
        .succeeded();
    assert!(explained.stdout.contains("visit-3"), "{explained:?}");

    let account = ask(&["account", "show", "001B@crm2.Salesforce"]).succeeded().json();
    assert_eq!(account["id"], bodea::TOWNSEND);
    let listed = ask(&["segment", "list"]).succeeded().json();
    assert_eq!((&listed[0]["name"], &listed[0]["members"]), (&json!(SEGMENT), &json!(3)), "{listed}");

    ask(&["person", "show", "email:nobody@townsend.com"]).ended_with(1);
    ask(&["person", "explain", bodea::PERSONS[2], "--segment", "no-such-segment"]).ended_with(1);
    deployment
        .millrace(&["--server", "http://127.0.0.1:1", "person", "show", "email:p2@townsend.com"])
        .ended_with(1);
    let broken = deployment.write("broken.json", &definition(&bodea::rule()).replace("1000000", "one million"));
    deployment.millrace(&["--server", url, "segment", "apply", &broken]).ended_with(64);
}

fn identity(identity: &Json) -> String {
    format!(
        "{}:{}",
        identity["namespace"].as_str().expect("a text"),
        identity["id"].as_str().expect("a text")
    )
}
