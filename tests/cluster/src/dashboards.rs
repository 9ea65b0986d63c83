//! Grafana's dashboards, generated from the table in `dashboards.yaml`.
//!
//! The table holds each panel's query and form; only this file knows Grafana's JSON. Ids and places
//! follow from the order of the table, so that a change of one panel is a small difference.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{chart, root};

/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

/// The Grafana release whose JSON this is: 11. Later ones migrate it when they load it.
const SCHEMA_VERSION: u32 = 39;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    pub name: String,
    pub title: String,
    pub about: String,
    #[serde(default)]
    pub variables: Vec<Variable>,
    pub sections: Vec<Section>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub name: String,
    pub label: String,
    pub query: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub title: String,
    pub panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    pub title: String,
    #[serde(default)]
    pub kind: Kind,
    pub unit: String,
    pub about: String,
    pub limit: Option<f64>,
    pub none: Option<String>,
    pub absent: Option<String>,
    pub chance: Option<String>,
    pub queries: Vec<Query>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Graph,
    Stat,
    Bars,
    Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    pub expr: String,
    pub legend: Option<String>,
}

impl Kind {
    /// Width and height on the grid.
    const fn size(self) -> (u32, u32) {
        match self {
            Kind::Stat => (4, 4),
            Kind::Graph | Kind::Bars | Kind::Table => (12, 8),
        }
    }

    const fn grafana(self) -> &'static str {
        match self {
            Kind::Graph => "timeseries",
            Kind::Stat => "stat",
            Kind::Bars => "bargauge",
            Kind::Table => "table",
        }
    }

    /// Whether it shows the whole course of time, or only the final state.
    const fn is_course(self) -> bool {
        matches!(self, Kind::Graph)
    }
}

impl Board {
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.sections.iter().flat_map(|section| &section.panels)
    }

    /// Where the chart keeps it.
    pub fn file(&self) -> PathBuf {
        folder().join(format!("{}.json", self.name))
    }
}

/// The chart's folder of dashboards.
pub fn folder() -> PathBuf {
    chart::folder().join("files/dashboards")
}

/// The table.
///
/// # Errors
/// Where the file cannot be read, or has a key that no panel has.
pub fn boards() -> anyhow::Result<Vec<Board>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_norway::from_str(&text).with_context(|| format!("cannot use {}", path.display()))
}

/// Names of all metrics that the program declares, parts of histograms included.
///
/// # Errors
/// Where the catalogue cannot be read.
pub fn declared_metrics() -> anyhow::Result<Vec<String>> {
    let path = root().join("crates/model/src/metric.rs");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let names = text.split('"').skip(1).step_by(2).filter(|word| word.starts_with("millrace_"));
    Ok(names
        .flat_map(|name| ["", "_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")))
        .collect())
}

/// The dashboard as Grafana reads it.
///
/// # Errors
/// None in practice: the value holds only texts and numbers.
pub fn json(board: &Board) -> anyhow::Result<String> {
    let dashboard = json!({
        "uid": format!("millrace-{}", board.name),
        "title": board.title,
        "description": board.about,
        "tags": ["millrace"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "links": [{"type": "dashboards", "title": "Millrace", "tags": ["millrace"], "asDropdown": true, "includeVars": true, "keepTime": true}],
        "templating": {"list": templating(board)},
        "panels": panels(board),
    });
    Ok(serde_json::to_string_pretty(&dashboard)? + "\n")
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn templating(board: &Board) -> Vec<Value> {
    let namespace = Variable {
        name: "namespace".to_owned(),
        label: "Namespace".to_owned(),
        query: "label_values(millrace_build_info, namespace)".to_owned(),
    };
    let source = json!({"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}});
    let chosen = std::iter::once(&namespace).chain(&board.variables).map(variable);
    std::iter::once(source).chain(chosen).collect()
}

fn variable(variable: &Variable) -> Value {
    json!({
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": datasource(),
        "query": {"query": within(&variable.query), "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        // Matches series without the label as well.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    })
}

fn within(expr: &str) -> String {
    expr.replace("$in", "namespace=~\"$namespace\"")
}

/// Sections under one another; within a section from left to right, a new line where the next panel
/// does not fit.
fn panels(board: &Board) -> Vec<Value> {
    let mut shown = Vec::new();
    let mut id = 0;
    let mut next_id = || {
        id += 1;
        id
    };
    let mut y = 0;
    for section in &board.sections {
        shown.push(json!({
            "id": next_id(), "type": "row", "title": section.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }));
        y += 1;
        let (mut x, mut line) = (0, 0);
        for part in &section.panels {
            let (width, height) = part.kind.size();
            if x + width > COLUMNS || (line != 0 && height != line) {
                y += line;
                (x, line) = (0, 0);
            }
            shown.push(panel(part, next_id(), &json!({"x": x, "y": y, "w": width, "h": height})));
            x += width;
            line = line.max(height);
        }
        y += line;
    }
    shown
}

fn panel(panel: &Panel, id: u32, place: &Value) -> Value {
    let mut defaults = json!({"unit": panel.unit});
    if let Some(none) = &panel.none {
        defaults["noValue"] = json!(none);
    }
    let mut steps = vec![json!({"color": "green", "value": null})];
    steps.extend(panel.limit.map(|limit| json!({"color": "red", "value": limit})));
    defaults["thresholds"] = json!({"mode": "absolute", "steps": steps});
    json!({
        "id": id,
        "type": panel.kind.grafana(),
        "title": panel.title,
        "description": panel.about,
        "datasource": datasource(),
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options(panel),
        "targets": panel.queries.iter().zip('A'..='Z').map(|(query, letter)| target(query, letter, panel.kind)).collect::<Vec<_>>(),
    })
}

fn options(panel: &Panel) -> Value {
    let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
    match panel.kind {
        Kind::Graph => json!({
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        Kind::Stat => json!({
            "reduceOptions": last, "textMode": "value", "graphMode": "none", "justifyMode": "center",
            "colorMode": if panel.limit.is_some() { "value" } else { "none" },
        }),
        Kind::Bars => json!({"reduceOptions": last, "orientation": "horizontal", "displayMode": "basic", "valueMode": "text"}),
        Kind::Table => json!({"showHeader": true, "cellHeight": "sm"}),
    }
}

fn target(query: &Query, letter: char, kind: Kind) -> Value {
    json!({
        "refId": letter.to_string(),
        "datasource": datasource(),
        "expr": within(&query.expr),
        "legendFormat": query.legend.as_deref().unwrap_or("__auto"),
        "range": kind.is_course(),
        "instant": !kind.is_course(),
        "format": if matches!(kind, Kind::Table) { "table" } else { "time_series" },
    })
}
