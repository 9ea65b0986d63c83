//! What rules mean: from the syntax trees of `millrace-pql` to typed expressions, and to plans that are kept incrementally.
//!
//! Pure: no clock, no IO, no threads. `now` is an argument.

mod calendar;
mod check;
mod compile;
mod core;
mod cost;
mod definition;
mod eval;
mod explain;
pub mod kin;
mod lint;
mod normal;
mod places;
pub mod plan;
mod rewrite;
pub mod sequence;
mod split;
pub mod tally;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod types;
mod world;
mod yaml;

pub use compile::{Compiled, Library, Whole, compile, compile_with, link};
pub use definition::{Definition, EXPIRES_AFTER_MS, Kind, NAME_BYTES_MAX, Status, documents, parse_definitions};
pub use explain::{Compared, EVIDENCE_MAX, Evidence, Explanation, explain, explain_kept};
pub use lint::{lint, lint_some};
pub use places::Places;
pub use plan::{Plan, Settings};
pub use rewrite::{Form, Rewritten, convert_text, format_text};
pub use world::{Link, World, WorldEvent};
pub use yaml::{BRACKETS_MAX, DEFINITIONS_MAX, VALUES_MAX};

pub use millrace_pql::ast::Span;
pub use millrace_pql::{Diagnostic, Severity, did_you_mean};
