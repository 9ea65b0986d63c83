//! The snippet's promises that need no browser.

use crate::snippet::SNIPPET;

/// `docs/collector.md` states it.
const SNIPPET_BYTES_MAX: usize = 5_000;

#[test]
fn the_snippet_is_as_small_as_documented() {
    assert!(SNIPPET.len() <= SNIPPET_BYTES_MAX, "{} bytes", SNIPPET.len());
    let documented = include_str!("../../../../docs/collector.md");
    assert!(documented.contains("5,000 bytes"), "docs/collector.md states the size");
}
