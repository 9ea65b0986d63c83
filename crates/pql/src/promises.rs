//! The promises of reading and writing rules for every tree and every text, as assertions for the
//! tests of this crate and of those above.

use crate::ast::{Expr, Span};
use crate::{Diagnostic, format, json, lexer, parse, render_all};

/// Writes and reads the tree in both forms: it comes back the same.
///
/// # Panics
/// Where it does not.
pub fn round_trip(expr: &Expr) {
    let text = format(expr);
    let again = parse(&text).unwrap_or_else(|found| panic!("{text}\n{expr:?}\n{}", render_all(&found, &text)));
    assert!(again.same(expr), "{text}\n{expr:?}\n{again:?}");
    assert_eq!(format(&again), text);
    let value = json::to_json(expr);
    let read = json::from_json(&value).unwrap_or_else(|found| panic!("{text}\n{value:#}\n{found:?}"));
    assert!(read.same(expr), "{text}\n{value:#}\n{expr:?}\n{read:?}");
}

/// Parses any text: a rule survives its round trips, and findings are few, each at a place in the
/// text.
///
/// # Errors
/// The errors of `parse`.
///
/// # Panics
/// Where a promise is broken.
pub fn survive(text: &str) -> Result<Expr, Vec<Diagnostic>> {
    let result = parse(text);
    match &result {
        Ok(expr) => round_trip(expr),
        Err(found) => {
            assert!((1..=20).contains(&found.len()), "{text}: {} findings", found.len());
            assert!(
                found
                    .iter()
                    .all(|each| each.span.start <= each.span.end && each.span.end as usize <= text.len()),
                "{text}\n{found:?}"
            );
            assert!(!render_all(found, text).is_empty());
        }
    }
    result
}

/// The places of the text's words and signs, the empty one at its end among them: where tests cut
/// texts apart.
pub fn words(text: &str) -> Vec<Span> {
    lexer::tokens(text, &mut Vec::new()).iter().map(|token| token.span).collect()
}
