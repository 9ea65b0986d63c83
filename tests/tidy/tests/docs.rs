//! Level 0: paths of this project and Makefile targets that the documentation names exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millrace_test_tidy::{files, root, text};

/// Folders at the top of the project; a name in backticks that begins with one of them is a path.
const TOPS: [&str; 11] = [
    "crates/",
    "services/",
    "tests/",
    "docs/",
    "schemas/",
    "scripts/",
    "decisions/",
    "deploy/",
    "helm/",
    "changelog.d/",
    "examples/",
];

/// The documents that describe today's state. Decisions and the changelog describe the day they
/// were written.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    found.extend(files(&root().join("docs"), "md"));
    found.extend(files(&root().join("schemas"), "md"));
    found
}

/// The texts in single backticks, code blocks left out.
fn quoted(document: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut block = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if !block {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// `a/{b,c}/d` as `a/b/d` and `a/c/d`.
fn braces(path: &str) -> Vec<String> {
    let (Some(open), Some(close)) = (path.find('{'), path.find('}')) else {
        return vec![path.to_owned()];
    };
    path[open + 1..close]
        .split(',')
        .flat_map(|part| braces(&format!("{}{part}{}", &path[..open], &path[close + 1..])))
        .collect()
}

/// Whether the path exists: as it is, as a Rust file or a test without its ending, or as the number
/// of a decision.
fn exists(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let full = root().join(path);
    if full.exists() || full.with_extension("rs").exists() {
        return true;
    }
    let (Some(folder), Some(name)) = (full.parent(), full.file_name().and_then(|name| name.to_str())) else {
        return false;
    };
    name.len() == 4 && name.bytes().all(|byte| byte.is_ascii_digit()) && begins(folder, &format!("{name}-"))
}

/// Whether an entry of the folder has this prefix.
fn begins(folder: &Path, start: &str) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(start)))
}

#[test]
fn every_path_in_the_documentation_exists() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for quoted in quoted(&text(&document)) {
            for word in quoted.split_whitespace().filter(|word| TOPS.iter().any(|top| word.starts_with(top))) {
                // `<name>`, `*` and `…` stand for many paths.
                if word.contains(['<', '*', '…', '$']) {
                    continue;
                }
                for path in braces(word.trim_end_matches([',', ':', ';', '.'])) {
                    seen += 1;
                    if !exists(&path) {
                        missing.push(format!("{}: {path}", document.display()));
                    }
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} paths were found: the search is broken");
    assert!(missing.is_empty(), "the documentation names what is not there:\n{}", missing.join("\n"));
}

#[test]
fn every_make_target_in_the_documentation_exists() {
    let makefile = text(&root().join("Makefile"));
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.']))
        .filter_map(|line| line.split_once(':').map(|(name, _)| name))
        .collect();
    for document in documents() {
        for quoted in quoted(&text(&document)) {
            let Some(target) = quoted.strip_prefix("make ").and_then(|rest| rest.split_whitespace().next()) else {
                continue;
            };
            assert!(
                targets.contains(target),
                "{}: `make {target}`: the Makefile has no such target",
                document.display()
            );
        }
    }
}

/// A decision is cited by its number alone: numbers are unique.
#[test]
fn decisions_have_numbers_of_their_own() {
    let names = files(&root().join("decisions"), "md");
    let mut numbers = BTreeSet::new();
    for path in &names {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.split('-').next().unwrap_or_default();
        assert!(
            number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()),
            "decisions/{name} has no number"
        );
        assert!(
            numbers.insert(number.to_owned()),
            "decisions/{name}: number {number} is taken; give it the next free one"
        );
        let title = text(path).lines().next().unwrap_or_default().to_owned();
        let shown = title.trim_start_matches("# ").trim_start_matches('0');
        assert!(shown.starts_with(number.trim_start_matches('0')), "decisions/{name}: the title says `{title}`");
    }
    assert!(!names.is_empty());
}
