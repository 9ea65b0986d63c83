//! PQL: text and JSON to syntax tree, to typed expressions, to plans that are kept incrementally.
//!
//! Pure: no clock, no IO, no threads. `now` is an argument.

pub mod ast;
pub mod diagnostic;
mod chain;
mod format;
pub mod json;
mod lexer;
mod parser;
#[cfg(test)]
mod round_trips;
mod same;

mod definition;
mod types;
mod core;
mod check;
mod cost;
mod compile;
mod normal;
mod calendar;
mod eval;
mod split;
pub mod plan;
mod explain;
pub mod tally;
pub mod sequence;
mod lint;
mod rewrite;
mod world;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, Library, Whole, compile, compile_with, link};
pub use definition::{Definition, EXPIRES_AFTER_MS, Kind, NAME_BYTES_MAX, Status, documents, parse_definitions};
pub use diagnostic::{Diagnostic, Severity, did_you_mean};
pub use explain::{Compared, EVIDENCE_MAX, Evidence, Explanation, explain};
pub use format::format;
pub use lint::lint;
pub use parser::{DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX, parse};
pub use plan::{Plan, Settings};
pub use rewrite::{Form, Rewritten, convert_text, format_text};
pub use world::{Link, World, WorldEvent};
