//! Dashboards: generated from the table, and every query of every panel answered by a real
//! Prometheus that watches a real pipeline.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use millrace_test_cluster::dashboards::{self, Board};
use millrace_test_cluster::pipeline::Watched;
use millrace_test_cluster::{chart, keep};
use serde_json::Value;

/// How long the story is replayed before a panel without data is a fault.
const DATA_WITHIN: Duration = Duration::from_secs(120);

/// One query of a panel, as Grafana would send it.
struct Asked {
    place: String,
    query: String,
    absent: Option<String>,
    chance: Option<String>,
}

#[test]
fn they_are_as_the_table_says() {
    let boards = dashboards::boards().unwrap();
    for board in &boards {
        keep(&board.file(), &dashboards::json(board).unwrap()).unwrap();
    }
    let files = std::fs::read_dir(dashboards::folder()).unwrap().map(|entry| entry.unwrap().path());
    let made: BTreeSet<_> = boards.iter().map(Board::file).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), made, "a dashboard that is not in the table");
}

/// One ConfigMap each, under the label that Grafana's sidecar looks for; none where they are
/// switched off.
#[test]
fn the_chart_ships_them_where_it_is_to() {
    let rendered = |more: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.yaml");
        std::fs::write(&path, format!("{}{more}", chart::LEAST)).unwrap();
        let documents = chart::documents(&chart::render(&path).unwrap()).unwrap();
        let labelled = documents
            .into_iter()
            .filter(|document| document["metadata"]["labels"]["grafana_dashboard"] == "1");
        labelled.collect::<Vec<_>>()
    };
    let boards = dashboards::boards().unwrap();
    let maps = rendered("");
    assert_eq!(maps.len(), boards.len());
    for board in &boards {
        let file = format!("{}.json", board.name);
        let text = maps.iter().find_map(|map| map["data"][&*file].as_str()).unwrap();
        let shipped: Value = serde_json::from_str(text).unwrap();
        assert_eq!(shipped, serde_json::from_str::<Value>(&dashboards::json(board).unwrap()).unwrap(), "{file}");
    }
    assert!(rendered("metrics: { dashboards: { enabled: false } }\n").is_empty());
}

/// A misspelt metric has no data, and neither has one that fires an alert.
#[test]
fn dashboards_and_alerts_name_only_metrics_that_the_program_declares() {
    let declared = dashboards::declared_metrics().unwrap();
    let mut texts = vec![std::fs::read_to_string(chart::folder().join("files/alerts.yaml")).unwrap()];
    let boards = dashboards::boards().unwrap();
    texts.extend(
        boards
            .iter()
            .flat_map(Board::panels)
            .flat_map(|panel| &panel.queries)
            .map(|query| query.expr.clone()),
    );
    for text in texts {
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        for metric in words.filter(|word| word.starts_with("millrace_")) {
            assert!(declared.iter().any(|name| name == metric), "{metric} is in no catalogue: {text}");
        }
    }
}

#[test]
fn every_panel_asks_what_it_shows_and_says_what_it_means() {
    let mut seen = BTreeSet::new();
    for board in dashboards::boards().unwrap() {
        for panel in board.panels() {
            let place = format!("{}: {}", board.name, panel.title);
            assert!(!panel.queries.is_empty(), "{place} asks nothing");
            assert!(panel.about.ends_with('.'), "{place}: its description is no sentence");
            assert!(
                panel.queries.len() == 1 || panel.queries.iter().all(|query| query.legend.is_some()),
                "{place}: which line is which?"
            );
            assert!(seen.insert(place.clone()), "{place} is there twice");
        }
    }
}

/// As the chart ships it, with the variables as a person would choose them.
fn asked(board: &Board) -> Vec<Asked> {
    let shipped: Value = serde_json::from_str(&std::fs::read_to_string(board.file()).unwrap()).unwrap();
    let panels = shipped["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let mut asked = Vec::new();
    for (panel, row) in panels.zip(board.panels()) {
        for target in panel["targets"].as_array().unwrap() {
            asked.push(Asked {
                place: format!("{}: {} {}", board.name, row.title, target["refId"]),
                query: chosen(target["expr"].as_str().unwrap()),
                absent: row.absent.clone(),
                chance: row.chance.clone(),
            });
        }
    }
    for variable in shipped["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let (series, label) = query
            .strip_prefix("label_values(")
            .unwrap()
            .strip_suffix(')')
            .unwrap()
            .rsplit_once(", ")
            .unwrap();
        asked.push(Asked {
            place: format!("{}: variable {}", board.name, variable["name"]),
            query: chosen(&format!("count by ({label}) ({series}) and on () count({{{label}!=\"\"}})")),
            absent: None,
            chance: None,
        });
    }
    asked
}

fn chosen(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m").replace("$namespace", "cdp").replace("$segment", ".*");
    assert!(!query.contains('$'), "a variable that no dashboard has: {query}");
    query
}

#[test]
fn every_query_has_data_or_a_reason_why_not() {
    let watched = Watched::start(std::env::var_os("MILLRACE_BIN").expect("MILLRACE_BIN names the executable")).unwrap();
    let all: Vec<Asked> = dashboards::boards().unwrap().iter().flat_map(asked).collect();
    let mut waiting: Vec<&Asked> = all.iter().filter(|one| one.absent.is_none() && one.chance.is_none()).collect();
    let deadline = Instant::now() + DATA_WITHIN;
    let mut round = 0;
    while !waiting.is_empty() {
        watched.play(round).unwrap();
        round += 1;
        waiting.retain(|one| watched.ask(&one.query).unwrap_or_else(|error| panic!("{}: {error:#}", one.place)).is_empty());
        let named = || waiting.iter().map(|one| format!("{}: {}", one.place, one.query)).collect::<Vec<_>>().join("\n");
        assert!(Instant::now() < deadline, "no data, and no reason `absent` in the table:\n{}", named());
    }
    let reasoned = all.iter().filter(|one| one.absent.is_some() || one.chance.is_some());
    for one in reasoned.clone() {
        // Prometheus must still accept it.
        let answer = watched.ask(&one.query).unwrap_or_else(|error| panic!("{}: {error:#}", one.place));
        let wrong = one.absent.as_ref().filter(|_| !answer.is_empty());
        assert!(wrong.is_none(), "{} has data, so its reason is none: {wrong:?}", one.place);
    }
    every_alert_is_evaluated(&watched);
    println!("{} queries, {} of them without data for a reason", all.len(), reasoned.count());
}

/// Alerts that `promtool` accepts may still fail on real series: labels that match twice, for one.
fn every_alert_is_evaluated(watched: &Watched) {
    let file: serde_norway::Value = serde_norway::from_str(&std::fs::read_to_string(chart::folder().join("files/alerts.yaml")).unwrap()).unwrap();
    let groups = file["groups"].as_sequence().unwrap();
    let rules: usize = groups.iter().map(|group| group["rules"].as_sequence().unwrap().len()).sum();
    assert_eq!(watched.ask("sum(prometheus_rule_group_rules)").unwrap(), [rules as f64]);
    assert_eq!(watched.ask("sum(prometheus_rule_evaluation_failures_total)").unwrap(), [0.0]);
}
