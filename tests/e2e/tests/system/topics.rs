//! `topics create` and `topics check` against a broker.

use millrace_kafka_harness::KafkaBroker;
use millrace_test_e2e::deployment::Deployment;
use serde_json::Value as Json;

/// State and differences of a topic in the answer of `topics check`.
fn finding<'a>(findings: &'a Json, topic: &str) -> &'a Json {
    let findings = findings.as_array().expect("a list of findings");
    findings
        .iter()
        .find(|finding| finding["topic"] == topic)
        .unwrap_or_else(|| panic!("nothing about {topic}"))
}

#[test]
fn topics_are_created_once_and_compared_with_the_catalogue() {
    let deployment = Deployment::new(KafkaBroker::shared(), "topics", 3);

    let before = deployment.millrace(&["topics", "check", "--output", "json"]).ended_with(1);
    assert_eq!(finding(&before.json(), "topics.source.person")["state"], "missing");

    let created = deployment.millrace(&["topics", "create", "--output", "json"]).succeeded().json();
    for topic in [
        "topics.source.activity",
        "topics.internal.changelog",
        "topics.audience.membership",
        "topics.dead-letter",
    ] {
        assert_eq!(finding(&created, topic)["state"], "created");
    }
    let again = deployment.millrace(&["topics", "create", "--output", "json"]).succeeded().json();
    assert!(again.as_array().expect("a list").iter().all(|finding| finding["state"] == "there"), "{again}");
    deployment.millrace(&["topics", "check"]).succeeded();
}

#[test]
fn topics_with_another_number_of_partitions_are_refused() {
    let three = Deployment::with_topics(KafkaBroker::shared(), "partitions", 3);
    let six = Deployment::new(KafkaBroker::shared(), "partitions", 6);

    let refusal = six.millrace(&["topics", "check", "--output", "json"]).ended_with(1);
    let finding = finding(&refusal.json(), "partitions.internal.changelog").clone();
    let differences = finding["differences"][0].as_str().expect("a difference").to_owned();
    assert!(differences.contains("3 partitions") && differences.contains("expected 6"), "{finding}");
    let check = six.millrace(&["topics", "check"]).ended_with(1);
    assert!(check.stdout.contains("partitions.internal.changelog 3 partitions, expected 6"), "{check:?}");

    // Existing topics are left as they are, and the output says so.
    let created = six.millrace(&["topics", "create"]).ended_with(1);
    assert!(created.stdout.contains("partitions.internal.changelog 3 partitions, expected 6"), "{created:?}");

    // A process under such settings opens nothing, and names the reason.
    let refused = six.millrace(&["processor"]).ended_with(64);
    assert!(refused.stderr.contains("partitions.internal.changelog 3 partitions, expected 6"), "{refused:?}");
    assert!(!six.state("commands").exists(), "a store was made");
    let none = Deployment::new(KafkaBroker::shared(), "nothing", 3);
    let refused = none.millrace(&["processor"]).ended_with(64);
    assert!(
        refused.stderr.contains("millrace topics create") && refused.stderr.contains("nothing.internal.changelog"),
        "{refused:?}"
    );
    drop(three);
}

#[test]
fn bad_configuration_and_definitions_end_with_64_and_touch_nothing() {
    let deployment = Deployment::new(KafkaBroker::shared(), "refused", 2);
    let refused = deployment
        .millrace_under(&[("MILLRACE__TOPICS__SHARD", "4")], &["topics", "create"])
        .ended_with(64);
    assert!(refused.stderr.contains("topics.shard") && refused.stderr.contains("unknown key"), "{refused:?}");
    let refused = deployment
        .millrace_under(&[("MILLRACE__TOPICS__SHARDS", "0")], &["topics", "create"])
        .ended_with(64);
    assert!(refused.stderr.contains("topics.shards"), "{refused:?}");
    deployment.millrace(&["topics", "destroy"]).ended_with(64);

    let text = "kind: Segment\nmetadata: { name: wrong }\nspec:\n  subject: person\n  status: published\n  timeZone: UTC\n  pql: b2b.personScoer > 80\n";
    let file = deployment.write("wrong.yaml", text);
    for command in ["lint", "apply"] {
        let refused = deployment.millrace(&["segment", command, &file]).ended_with(64);
        assert!(refused.stderr.contains("personScoer"), "{refused:?}");
    }
    // Nothing was created by any of these.
    deployment.millrace(&["topics", "check"]).ended_with(1);
}
