//! The chart, rendered by Helm's own library through `python/chart.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_norway::Value;

use crate::{output_of, root};

/// The five ways to install it; each is a values file with a golden rendering.
pub const CASES: [&str; 5] = ["minimal", "production", "connectors", "strimzi", "laptop"];

/// Values that every deployment must set, for tests that are about something else.
pub const LEAST: &str = "kafka: { bootstrap: 'k:9092' }\nauth: { existingSecret: a, tokens: { console: { role: operator } } }\n";

pub fn folder() -> PathBuf {
    root().join("helm/millrace")
}

pub fn values(case: &str) -> PathBuf {
    own(&format!("values/{case}.yaml"))
}

pub fn golden(case: &str) -> PathBuf {
    own(&format!("golden/{case}.yaml"))
}

fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `MILLRACE_CHART_PYTHON` holds Helm's library and the schemas; `scripts/python-env cluster` prints
/// where.
fn python(arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let python = std::env::var_os("MILLRACE_CHART_PYTHON").unwrap_or_else(|| "python3".into());
    output_of(Command::new(python).arg(own("python/chart.py")).args(arguments), input)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// # Errors
/// With every remark of `helm lint` beyond information.
pub fn lint() -> anyhow::Result<()> {
    let mut arguments = vec!["lint".to_owned(), text(&folder())];
    arguments.extend(CASES.map(|case| text(&values(case))));
    python(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), "").map(|_| ())
}

/// All manifests as one stream.
///
/// # Errors
/// Where the values do not render.
pub fn render(values: &Path) -> anyhow::Result<String> {
    python(&["render", &text(&folder()), &text(values)], "")
}

/// Manifests as golden renderings keep them: without the text of dashboards, which the chart
/// already contains.
pub fn without_dashboards(manifests: &str) -> String {
    let mut kept = String::new();
    let mut within = false;
    for line in manifests.lines() {
        within &= line.starts_with("    ");
        if within {
            continue;
        }
        kept += line;
        kept += "\n";
        if let Some(file) = line.strip_suffix(".json: |") {
            within = true;
            kept += &format!("    (files/dashboards/{}.json)\n", file.trim());
        }
    }
    kept
}

/// # Errors
/// With everything that breaks the schemas of this version, such as `1.34`.
pub fn validate(version: &str, manifests: &str) -> anyhow::Result<()> {
    python(&["validate", version], manifests).map(|_| ())
}

/// The manifests of a stream.
///
/// # Errors
/// Where it is not YAML.
pub fn documents(manifests: &str) -> anyhow::Result<Vec<Value>> {
    use serde::Deserialize;
    let read = |document| Value::deserialize(document).map_err(anyhow::Error::from);
    serde_norway::Deserializer::from_str(manifests)
        .map(read)
        .filter(|document| !matches!(document, Ok(Value::Null)))
        .collect()
}
