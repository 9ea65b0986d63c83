//! Level 0: comments, messages and documents are plain English.

use std::path::PathBuf;

use millrace_test_tidy::{files, root, text, words};

/// Holds the list of avoided words, and sentences that use them on purpose.
const LIST: &str = "tests/tidy/src/words.rs";

/// Every file with prose.
fn written() -> Vec<PathBuf> {
    let folders = [
        "crates",
        "services",
        "tests",
        "docs",
        "decisions",
        "changelog.d",
        "schemas",
        "helm",
        "deploy",
        "examples",
    ];
    let top = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "Cargo.toml",
        "deny.toml",
    ];
    let mut found: Vec<PathBuf> = top.iter().map(|name| root().join(name)).collect();
    for folder in folders {
        for ending in ["rs", "md", "yaml", "toml"] {
            found.extend(files(&root().join(folder), ending));
        }
    }
    found.retain(|path| !path.ends_with(LIST));
    found
}

#[test]
fn prose_is_plain_english() {
    let mut faults = Vec::new();
    for path in written() {
        for found in words::avoided(&path.to_string_lossy(), &text(&path)) {
            faults.push(format!("{}:{}: `{}`; write: {}", path.display(), found.line, found.word, found.instead));
        }
    }
    assert!(faults.is_empty(), "words to avoid (tests/tidy/src/words.rs):\n{}", faults.join("\n"));
}
