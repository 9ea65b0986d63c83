//! Level 1: the chart without a cluster. Lint, five golden renderings, the schemas of two
//! Kubernetes versions, and the chart's own rules.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

use millrace_test_cluster::{chart, keep, output_of, root, values};
use serde_norway::Value;

/// The oldest and the newest supported Kubernetes.
const VERSIONS: [&str; 2] = ["1.31", "1.37"];

#[test]
fn lint_has_nothing_to_say() {
    chart::lint().unwrap();
}

#[test]
fn renderings_are_as_they_were_and_suit_two_kubernetes_versions() {
    for case in chart::CASES {
        let manifests = chart::render(&chart::values(case)).unwrap();
        keep(&chart::golden(case), &chart::without_dashboards(&manifests)).unwrap();
        for version in VERSIONS {
            chart::validate(version, &manifests).unwrap_or_else(|error| panic!("{case} under {version}: {error:#}"));
        }
    }
}

/// Otherwise the validation above would prove nothing.
#[test]
fn validation_sees_an_unknown_key_and_a_wrong_type() {
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { b: c }\n";
    chart::validate(VERSIONS[0], good).unwrap();
    for bad in [good.replace("data:", "dada:"), good.replace("b: c", "b: [c]")] {
        assert!(chart::validate(VERSIONS[0], &bad).is_err(), "{bad}");
    }
}

#[test]
fn a_misspelt_or_unfit_value_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.yaml");
    let brokers = "kafka: { bootstrap: 'k:9092' }\n";
    let auth = "auth: { existingSecret: a, tokens: { console: { role: operator } } }\n";
    let cases = [
        ("processor: { replica: 2 }\n", "replica"),
        ("processor: { replicas: three }\n", "replicas"),
        ("kafka: { bootstrap: 'k:9092', sasl: { mechanism: GSSAPI } }\n", "mechanism"),
        ("kafka: { bootstrap: 'k:9092', sasl: { mechanism: PLAIN } }\n", "kafka.sasl.existingSecret"),
        ("sources: { crm: { typ: salesforce } }\n", "typ"),
        ("sources: { crm: {} }\n", "sources.crm.type"),
        ("kafka: {}\n", "kafka.bootstrap"),
        ("auth: { tokens: { console: { role: operator } } }\n", "auth.existingSecret"),
        ("auth: { existingSecret: a }\n", "auth.tokens"),
        ("auth: { existingSecret: a, tokens: { console: {} } }\n", "auth.tokens.console.role"),
    ];
    for (values, word) in cases {
        let given = |section: &str, text: &'static str| if values.starts_with(section) { "" } else { text };
        let text = format!("{}{}{values}", given("kafka", brokers), given("auth", auth));
        std::fs::write(&path, &text).unwrap();
        let refusal = chart::render(&path).expect_err(values).to_string();
        assert!(refusal.contains(word), "{values}: {refusal}");
    }
}

fn everything() -> Vec<(&'static str, Value)> {
    let all = chart::CASES.into_iter().flat_map(|case| {
        let manifests = chart::render(&chart::values(case)).unwrap();
        chart::documents(&manifests).unwrap().into_iter().map(move |document| (case, document))
    });
    all.collect()
}

fn pod(document: &Value) -> Option<&Value> {
    match document["kind"].as_str()? {
        "Pod" => Some(&document["spec"]),
        "Deployment" | "StatefulSet" | "Job" => Some(&document["spec"]["template"]["spec"]),
        _ => None,
    }
}

#[test]
fn there_is_no_hook_but_the_test_and_no_secret_at_all() {
    for (case, document) in everything() {
        let hook = document["metadata"]["annotations"]["helm.sh/hook"].as_str();
        assert!(hook.is_none_or(|hook| hook == "test"), "{case}: {document:?}");
        assert_ne!(document["kind"], "Secret", "{case}: secrets are the user's");
    }
}

#[test]
fn every_pod_is_restricted_and_names_nothing_twice() {
    for (case, document) in everything() {
        let Some(pod) = pod(&document) else { continue };
        assert_eq!(pod["securityContext"]["runAsUser"], 65532, "{case}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{case}");
        for container in pod["containers"].as_sequence().unwrap() {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{case}");
            for (list, key) in [("env", "name"), ("ports", "name"), ("volumeMounts", "mountPath")] {
                let names: Vec<&str> = container[list]
                    .as_sequence()
                    .into_iter()
                    .flatten()
                    .map(|item| item[key].as_str().unwrap())
                    .collect();
                assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{case}: {list} {names:?}");
            }
        }
    }
}

#[test]
fn whoever_scales_owns_the_number_of_replicas() {
    for (case, document) in everything() {
        let target = document["spec"]["scaleTargetRef"]["name"].as_str();
        let Some(target) = target else { continue };
        let (_, deployment) = everything()
            .into_iter()
            .find(|(of, other)| *of == case && other["kind"] == "Deployment" && other["metadata"]["name"] == target)
            .unwrap();
        assert!(deployment["spec"].get("replicas").is_none(), "{case}: {target}");
    }
}

/// The Job is a new one if and only if its content is.
#[test]
fn definitions_are_applied_when_they_change() {
    let job = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.yaml");
        std::fs::write(&path, text).unwrap();
        let manifests = chart::documents(&chart::render(&path).unwrap()).unwrap();
        let job = manifests.iter().find(|document| document["kind"] == "Job").unwrap();
        job["metadata"]["name"].as_str().unwrap().to_owned()
    };
    let values = &*format!("{}definitions: {{ files: {{ a.yaml: 'kind: Segment' }} }}\n", chart::LEAST);
    assert_eq!(job(values), job(values));
    assert_ne!(job(values), job(&values.replace("Segment", "ComputedAttribute")));
    assert_eq!(job(values), job(&format!("{values}processor: {{ replicas: 7 }}\n")));
}

/// Secrets included: each file that the configuration names is one of a mounted secret.
#[test]
fn the_program_takes_every_rendered_configuration() {
    let program = std::env::var_os("MILLRACE_BIN").expect("MILLRACE_BIN names the executable");
    for case in chart::CASES {
        let manifests = chart::documents(&chart::render(&chart::values(case)).unwrap()).unwrap();
        let text = manifests.iter().find_map(|document| document["data"]["millrace.yaml"].as_str()).unwrap();
        let mounted: BTreeSet<&str> = manifests.iter().filter_map(pod).flat_map(mount_paths).collect();
        let folder = tempfile::tempdir().unwrap();
        for named in text.split_whitespace().filter_map(|word| word.strip_prefix("file:")) {
            let (mount, _) = named.rsplit_once('/').unwrap();
            assert!(mounted.contains(mount), "{case}: {named} is in no mounted secret");
            let file = folder.path().join(named.trim_start_matches('/'));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "0123456789abcdef").unwrap();
        }
        let config = folder.path().join("millrace.yaml");
        std::fs::write(&config, text.replace("file:/", &format!("file:{}/", folder.path().display()))).unwrap();
        let mut command = Command::new(&program);
        command.args(["--config", &config.to_string_lossy(), "processor", "--check-config"]).env_clear();
        output_of(&mut command, "").unwrap_or_else(|error| panic!("{case}: {error:#}"));
    }
}

fn mount_paths(pod: &Value) -> Vec<&str> {
    let containers = pod["containers"].as_sequence().into_iter().flatten();
    let mounts = containers.flat_map(|container| container["volumeMounts"].as_sequence().into_iter().flatten());
    mounts.filter_map(|mount| mount["mountPath"].as_str()).collect()
}

#[test]
fn the_topic_catalogue_in_the_chart_is_that_of_the_schemas() {
    let catalogue = std::fs::read_to_string(root().join("schemas/topics.yaml")).unwrap();
    keep(&chart::folder().join("files/topics.yaml"), &catalogue).unwrap();
}

#[test]
fn what_strimzi_allows_is_what_the_command_lists() {
    let program = std::env::var_os("MILLRACE_BIN").expect("MILLRACE_BIN names the executable");
    let listed = output_of(Command::new(program).args(["topics", "acls", "--output", "json"]).env_clear(), "").unwrap();
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    let expected: BTreeSet<String> = listed
        .iter()
        .map(|acl| {
            let pattern = if acl["pattern"] == "prefixed" { "prefix" } else { "literal" };
            let kind = acl["resourceType"].as_str().unwrap();
            format!("{kind} {pattern} {} {}", acl["name"].as_str().unwrap(), acl["operations"])
        })
        .collect();
    let manifests = chart::documents(&chart::render(&chart::values("strimzi")).unwrap()).unwrap();
    let user = manifests.iter().find(|document| document["kind"] == "KafkaUser").unwrap();
    let rendered: BTreeSet<String> = user["spec"]["authorization"]["acls"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|acl| {
            let resource = &acl["resource"];
            let word = |key: &str| resource[key].as_str().unwrap().to_owned();
            let operations = serde_json::to_string(&acl["operations"]).unwrap();
            format!("{} {} {} {operations}", word("type"), word("patternType"), word("name"))
        })
        .collect();
    assert_eq!(rendered, expected);
}

/// One place names the version: the workspace's manifest.
#[test]
fn chart_and_executable_are_of_the_workspace_s_version() {
    let version = output_of(&mut Command::new(root().join("scripts/version")), "").unwrap();
    let version = version.trim();
    let chart: Value = serde_norway::from_str(&std::fs::read_to_string(chart::folder().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(chart["version"], version);
    assert_eq!(chart["appVersion"], version);
    let program = std::env::var_os("MILLRACE_BIN").expect("MILLRACE_BIN names the executable");
    assert_eq!(
        output_of(Command::new(program).arg("--version"), "").unwrap().trim(),
        format!("millrace {version}")
    );
}

#[test]
fn table_and_schema_of_the_values_are_up_to_date() {
    let text = std::fs::read_to_string(chart::folder().join("values.yaml")).unwrap();
    let entries = values::entries(&text).unwrap();
    keep(&chart::folder().join("values.schema.json"), &values::schema(&entries).unwrap()).unwrap();
    let head = include_str!("../README.head.md");
    keep(&chart::folder().join("README.md"), &format!("{head}\n{}", values::table(&entries))).unwrap();
}
