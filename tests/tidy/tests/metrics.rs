//! Level 0: every metric that is declared is measured by something other than a test.

use std::fmt::Debug;
use std::path::Path;

use millrace_model::metric::{Counter, Gauge, Histogram};
use millrace_test_tidy::{files, root, text};

/// What runs in production: the sources without their tests, and without the declarations themselves.
fn sources() -> Vec<String> {
    let declares = |path: &Path| path.ends_with("crates/model/src/metric.rs") || path.ends_with("crates/telemetry/src/metrics.rs");
    let tests = |path: &Path| path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
    ["crates", "services"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .filter(|path| {
            let inside = path.strip_prefix(root()).expect("files below the root");
            !declares(inside) && !tests(inside)
        })
        .map(|path| {
            let text = text(&path);
            text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
        })
        .collect()
}

fn unmeasured<M: Copy + Debug>(kind: &str, all: &[M], sources: &[String]) -> Vec<String> {
    let named = all.iter().map(|metric| format!("{kind}::{metric:?}"));
    named.filter(|name| !sources.iter().any(|text| contains_word(text, name))).collect()
}

/// Whether the text holds the name, and not merely a longer one that begins with it.
fn contains_word(text: &str, name: &str) -> bool {
    text.match_indices(name)
        .any(|(at, _)| !text[at + name.len()..].starts_with(|next: char| next.is_ascii_alphanumeric()))
}

#[test]
fn every_metric_is_measured() {
    let sources = sources();
    let mut missing = unmeasured("Counter", Counter::ALL, &sources);
    missing.extend(unmeasured("Gauge", Gauge::ALL, &sources));
    missing.extend(unmeasured("Histogram", Histogram::ALL, &sources));
    assert!(missing.is_empty(), "declared, and measured nowhere: {missing:?}");
}
