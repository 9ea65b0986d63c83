//! The meaning of rules: from the syntax trees of `millrace-pql` to typed expressions, and to plans
//! that are kept incrementally.
//!
//! Pure: no clock, no IO, no threads. `now` is an argument.
//!
//! The path of a rule: [`parse_definitions`] reads its document, [`compile`] resolves and
//! type-checks it, [`link`] fills in computed attributes, [`Plan::build`] takes all rules apart,
//! and the rest of each is evaluated over a [`view::View`]. [`Whole`] evaluates a rule over whole
//! data. The modules are floors, from `calendar` up to `rewrite`; `tests/tidy` lists them in order
//! and lets none use one above it.

mod calendar;
mod totals;
pub mod view;
mod world;

mod settings;

mod coerce;
mod condition;
mod core;
mod types;

mod definition;
mod places;
mod yaml;

mod check;
mod eval;

mod cost;
pub mod kin;
mod normal;
pub mod sequence;
pub mod tally;

mod compile;
mod explain;
mod lint;
pub mod plan;
mod rewrite;
mod whole;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use check::Library;
pub use compile::{Compiled, compile, compile_with, link};
pub use core::Asked;
pub use definition::{Definition, EXPIRES_AFTER_MS, Kind, NAME_BYTES_MAX, Status, documents, parse_definitions};
pub use eval::Evidence;
pub use explain::{Compared, EVIDENCE_MAX, Explanation, explain, explain_kept};
pub use lint::{lint, lint_some};
pub use places::Places;
pub use plan::Plan;
pub use rewrite::{Form, Rewritten, convert_text, format_text};
pub use settings::Settings;
pub use totals::Totals;
pub use whole::Whole;
pub use world::{Link, World, WorldEvent};
pub use yaml::{BRACKETS_MAX, DEFINITIONS_MAX, VALUES_MAX};

pub use millrace_pql::ast::Span;
pub use millrace_pql::{Diagnostic, Severity, did_you_mean};
