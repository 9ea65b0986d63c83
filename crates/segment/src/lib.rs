//! PQL: text and JSON to syntax tree, to typed expressions, to plans that are kept incrementally.
//!
//! Pure: no clock, no IO, no threads. `now` is an argument.

pub mod ast;
mod chain;
pub mod diagnostic;
mod format;
pub mod json;
mod lexer;
mod parser;
#[cfg(test)]
mod round_trips;
mod same;

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
pub use diagnostic::{Diagnostic, Severity, did_you_mean};
pub use explain::{Compared, EVIDENCE_MAX, Evidence, Explanation, explain, explain_kept};
pub use format::format;
pub use lint::{lint, lint_some};
pub use parser::{DEPTH_MAX, NESTING_MAX, NODES_MAX, TEXT_BYTES_MAX, parse};
pub use places::Places;
pub use plan::{Plan, Settings};
pub use rewrite::{Form, Rewritten, convert_text, format_text};
pub use world::{Link, World, WorldEvent};
pub use yaml::{BRACKETS_MAX, DEFINITIONS_MAX, VALUES_MAX};
