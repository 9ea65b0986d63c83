//! Level 0: the rules of the project, each with its reason in the message.

use std::collections::{BTreeMap, BTreeSet};

use millrace_test_tidy::{files, root, text};

/// What each library may depend on within the project. Dependencies point downward; a new edge is a
/// decision.
const LAYERS: [(&str, &[&str]); 16] = [
    ("model", &[]),
    ("pql", &["model"]),
    ("segment", &["model", "pql"]),
    ("identity", &["model"]),
    ("wire", &["model"]),
    ("events", &["model", "wire"]),
    ("shard", &["model", "segment", "identity", "wire"]),
    ("log", &["model"]),
    ("runtime", &["model", "segment", "wire", "shard", "log"]),
    ("kafka", &["model", "log", "runtime"]),
    ("store", &["model", "shard"]),
    ("config", &["model", "segment", "identity"]),
    ("telemetry", &["model"]),
    ("connect", &["model", "wire", "shard", "log"]),
    ("marketo", &["model", "connect"]),
    ("child", &["model", "connect"]),
];

/// Crates whose results depend on their arguments alone.
const PURE: [&str; 6] = ["model", "pql", "segment", "identity", "events", "shard"];

/// What a pure crate must not name, and why.
const IMPURE: [(&str, &str); 7] = [
    ("SystemTime", "time is an argument"),
    ("Instant::now", "time is an argument"),
    ("std::fs", "no files"),
    ("std::net", "no sockets"),
    ("std::thread", "no threads"),
    ("HashMap", "its order is random; use BTreeMap"),
    ("HashSet", "its order is random; use BTreeSet"),
];

/// The manifest's own dependencies on crates of the project, tests and benches apart.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" {
            found.extend(
                line.strip_prefix("millrace-")
                    .and_then(|rest| rest.split(['.', ' ', '=']).next())
                    .map(str::to_owned),
            );
        }
    }
    found
}

#[test]
fn dependencies_point_downward() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    for manifest in files(&root().join("crates"), "toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let name = manifest
            .parent()
            .and_then(|folder| folder.file_name())
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        let allowed = layers.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} has no place in the layers"));
        let found = dependencies(&text(&manifest));
        let above: Vec<&String> = found.iter().filter(|dependency| !allowed.contains(&dependency.as_str())).collect();
        assert!(above.is_empty(), "crate {name} may not depend on {above:?}: dependencies point downward");
    }
}

/// The oracle is a second opinion on what rules mean: it shares the parser with the engine and nothing else.
#[test]
fn the_oracle_shares_the_parser_alone() {
    let found = dependencies(&text(&root().join("tests/oracle/Cargo.toml")));
    let above: Vec<&String> = found.iter().filter(|dependency| !["model", "pql"].contains(&dependency.as_str())).collect();
    assert!(
        above.is_empty(),
        "the oracle depends on {above:?}: it would judge the engine by the engine's own code"
    );
}

/// Whether a file below `src` is compiled for tests alone.
fn is_test(path: &std::path::Path) -> bool {
    // The root itself is written as a path through `tests`.
    let inside = path.strip_prefix(root()).expect("files below the root");
    inside.components().any(|part| {
        matches!(
            part.as_os_str().to_str(),
            Some("tests" | "tests.rs" | "testing.rs" | "round_trips.rs" | "promises.rs")
        )
    })
}

#[test]
fn pure_crates_see_nothing_but_their_arguments() {
    for name in PURE {
        for path in files(&root().join("crates").join(name).join("src"), "rs")
            .into_iter()
            .filter(|path| !is_test(path))
        {
            // Its hasher has no seed: the same content in the same order gives the same order.
            let text = text(&path).replace("FxHashMap", "");
            for (word, reason) in IMPURE {
                assert!(!text.contains(word), "{} names {word}: {reason}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in ["crates", "services", "tests", "examples"] {
        for path in files(&root().join(folder), "rs") {
            assert!(text(&path).starts_with("//!"), "{} opens without //!", path.display());
        }
    }
}

#[test]
fn nothing_is_left_for_later_without_a_number() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    for folder in ["crates", "services", "tests", "examples"] {
        for path in files(&root().join(folder), "rs") {
            for (number, line) in text(&path).lines().enumerate() {
                let marked = marks.iter().any(|mark| line.contains(mark) && !line.contains(concat!("TO", "DO(#")));
                assert!(!marked, "{}:{} leaves work without an issue's number", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn no_test_waits_by_sleeping_or_is_switched_off() {
    let marks = [concat!("#[ig", "nore"), concat!("#[should", "_panic"), concat!("thread::", "sleep")];
    // Tests of real processes poll up to a deadline; everything else has a clock that a test can
    // move.
    let real = ["attack", "cluster", "e2e", "kafka-harness", "postgres-harness"];
    let all = files(&root().join("tests"), "rs").into_iter();
    for path in all.filter(|path| !path.components().any(|part| real.iter().any(|name| part.as_os_str() == *name))) {
        let text = text(&path);
        for mark in marks {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}
