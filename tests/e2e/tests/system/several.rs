//! Three processes share the shards; each answers every question, whoever owns the shards in
//! question.

use std::time::{Duration, Instant};

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::worlds::{DAY_MS, NOON_MS, bodea};
use millrace_oracle::{Rule, SourceRecord};
use millrace_test_e2e::deployment::{Deployment, Node, definition};
use millrace_test_e2e::outside::Producer;
use millrace_test_e2e::{judge, now_ms, wait_for, worlds};
use serde_json::{Value as Json, json};

const SHARDS: u32 = 6;
const SEGMENT: &str = "new-product-upsell";
/// The shards of a killed process are open elsewhere within this time, and every process knows.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(60);

/// The answer of a page, once there is one: right after a change of owners a shard may be in
/// transit.
fn answer(node: &Node, path: &str) -> Json {
    let (_, body) = wait_for(&format!("{} to answer {path}", node.instance), HANDED_OVER_WITHIN, || match node.ask(path)? {
        (503, problem) => Err(problem),
        other => Ok(other),
    });
    let mut answer: Json = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}\n{body}"));
    if let Some(fields) = answer.as_object_mut() {
        // The time of the question differs, the answer must not.
        fields.remove("evaluatedAt");
        fields.remove("past");
    }
    answer
}

fn questions() -> Vec<String> {
    let mut questions = vec![
        "/v1/segments".to_owned(),
        format!("/v1/segments/{SEGMENT}/members"),
        format!("/v1/accounts/{}", bodea::TOWNSEND),
    ];
    questions.push(format!("/v1/accounts/{}/opportunities", bodea::TOWNSEND));
    for person in bodea::PERSONS {
        questions.push(format!("/v1/persons/{person}"));
        questions.push(format!("/v1/persons/{person}/events"));
        questions.push(format!("/v1/persons/{person}/explain?segment={SEGMENT}"));
    }
    questions
}

#[test]
fn any_process_answers_for_all() {
    let deployment = Deployment::with_topics(KafkaBroker::shared(), "several", SHARDS);
    let rule = bodea::rule();
    deployment.apply(std::slice::from_ref(&rule));
    let mut nodes: Vec<Node> = (0..3).map(|number| deployment.node(&format!("several-{number}"))).collect();
    nodes.iter_mut().for_each(Node::start);
    nodes.iter().for_each(Node::wait_ready);

    let now = now_ms();
    let facts: Vec<SourceRecord> = bodea::facts().iter().map(|fact| worlds::moved(&fact.record, now - NOON_MS)).collect();
    let mut producer = Producer::start(&deployment.bootstrap);
    facts.iter().for_each(|fact| producer.send_json(&deployment.prefix, fact));
    producer.finish();
    judge::settled(&deployment, &mut nodes, &facts, std::slice::from_ref(&rule), Duration::from_secs(60));

    let questions = questions();
    let answers = |node: &Node| questions.iter().map(|path| answer(node, path)).collect::<Vec<_>>();
    let first = answers(&nodes[0]);
    assert_eq!(first[0][0]["members"], json!(3), "{}", first[0]);
    let members: Vec<&str> = first[1]["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item["subjectId"].as_str())
        .collect();
    let mut expected = bodea::PERSONS;
    expected.sort_unstable();
    assert_eq!(members, expected);
    for node in &nodes[1..] {
        for ((path, expected), found) in questions.iter().zip(&first).zip(answers(node)) {
            assert_eq!(&found, expected, "{path} asked of {}", node.instance);
        }
    }
    nodes.iter().for_each(|node| previews(&deployment, node, &rule));
    nodes.iter().for_each(|node| the_past(node, now));

    // Gone without notice: for a while its shards cannot be read, and the answer says so; then
    // others have them.
    nodes[2].kill();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let (status, body) = nodes[0].ask("/v1/segments").expect("the process that is asked is there");
        assert!(status == 200 || status == 503 && body.contains("shard"), "{status} {body}");
    }
    for node in &nodes[..2] {
        assert_eq!(answers(node), first, "after the kill, at {}", node.instance);
    }
    // Gone after a clean shutdown.
    assert_eq!(nodes[1].terminate(), Some(0), "{}", nodes[1].tail());
    assert_eq!(answers(&nodes[0]), first, "the last one has everything");
}

/// A draft with fewer conditions: everyone who visited enters, whatever was won.
fn previews(deployment: &Deployment, node: &Node, rule: &Rule) {
    let draft = Rule {
        pql: r#"exists v from xEvent where v.web.webPageDetails.name = "New product""#.to_owned(),
        ..rule.clone()
    };
    let none = Rule {
        pql: format!("{} and workEmail.address = \"p1@townsend.com\"", rule.pql),
        ..rule.clone()
    };
    let preview = |rule: &Rule| {
        let file = deployment.write("preview.json", &definition(rule));
        deployment
            .millrace(&["--output", "json", "--server", &node.url(), "segment", "preview", &file])
            .succeeded()
            .json()
    };
    let shown = preview(&draft);
    assert_eq!(
        (&shown["audience"]["count"], &shown["entering"]["count"], &shown["leaving"]["count"]),
        (&json!(3), &json!(0), &json!(0)),
        "{shown}"
    );
    let shown = preview(&none);
    assert_eq!(
        (&shown["audience"]["count"], &shown["members"], &shown["leaving"]["count"]),
        (&json!(1), &json!(3), &json!(2)),
        "{shown}"
    );
    assert_eq!(shown["audience"]["sample"][0]["subjectId"], json!(bodea::PERSONS[0]), "{shown}");
    assert!(
        shown["audience"]["sample"][0]["condition"].to_string().contains("visit-1"),
        "the reason is shown: {shown}"
    );
    let broken = deployment.write("broken-preview.json", &definition(rule).replace("1000000", "one million"));
    deployment.millrace(&["--server", &node.url(), "segment", "preview", &broken]).ended_with(64);
}

/// The visits lie nine days back.
fn the_past(node: &Node, now: i64) {
    let ask = |at: i64| {
        let at = chrono::DateTime::from_timestamp_millis(at).expect("an instant").format("%Y-%m-%dT%H:%M:%SZ");
        node.ask(&format!("/v1/persons/{}/explain?segment={SEGMENT}&at={at}", bodea::PERSONS[0]))
            .expect("an answer")
    };
    for (days, value) in [(2, true), (20, false)] {
        let (status, body) = ask(now - days * DAY_MS);
        let explained: Json = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &explained["value"]), (200, &json!(value)), "{days} days ago: {body}");
        assert!(explained["past"]["recordsAsOf"].is_string(), "{body}");
    }
    for (at, word) in [(now + DAY_MS, "ahead of now"), (now - 500 * DAY_MS, "retained history")] {
        let (status, body) = ask(at);
        assert!(status == 400 && body.contains(word), "{status} {body}");
    }
}
