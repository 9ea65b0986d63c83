//! Alerts: `promtool` accepts them, every one has a test that fires it, and a runbook.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use millrace_test_cluster::{chart, output_of, root};
use serde_norway::Value;

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn tests() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts.test.yaml")
}

fn rules() -> Vec<Value> {
    let file: Value = serde_norway::from_str(&text(&chart::folder().join("files/alerts.yaml"))).unwrap();
    let groups = file["groups"].as_sequence().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap().clone()).collect()
}

#[test]
fn promtool_accepts_and_fires_them() {
    let folder = tempfile::tempdir().unwrap();
    for file in [chart::folder().join("files/alerts.yaml"), tests()] {
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        output_of(Command::new("promtool").args(arguments).current_dir(folder.path()), "").unwrap();
    }
}

#[test]
fn every_alert_is_fired_by_a_test() {
    let file: Value = serde_norway::from_str(&text(&tests())).unwrap();
    let cases = file["tests"]
        .as_sequence()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_sequence().unwrap());
    let fired: BTreeSet<&str> = cases
        .filter(|case| case["exp_alerts"].as_sequence().is_some_and(|alerts| !alerts.is_empty()))
        .map(|case| case["alertname"].as_str().unwrap())
        .collect();
    let rules = rules();
    let declared: BTreeSet<&str> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(fired, declared);
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let mut linked = BTreeSet::new();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap().to_owned();
        let link = rule["annotations"]["runbook_url"].as_str().unwrap().to_owned();
        let page = text(&root().join(&link));
        assert!(page.contains(&name), "{link} does not name {name}");
        for heading in ["## What it means", "## How to look", "## What to do", "## How to know that it worked"] {
            assert!(page.contains(heading), "{link}: {heading}");
        }
        linked.insert(root().join(link).file_name().unwrap().to_owned());
    }
    let pages = std::fs::read_dir(root().join("docs/runbooks")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(pages.collect::<BTreeSet<_>>(), linked);
}
