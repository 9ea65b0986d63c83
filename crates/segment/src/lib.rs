//! The meaning of rules: from the syntax trees of `millrace-pql` to typed expressions, and to plans
//! that are kept incrementally.
//!
//! Pure: no clock, no IO, no threads. `now` is an argument.
//!
//! # The path of a rule
//!
//! ```text
//! text ─ parse ─▶ tree ─ compile ─▶ Compiled ─ Plan::build ─▶ Plan
//!                                      │                       │
//!                            World ──▶ evaluate      View ──▶ residuals, segments
//!                                   (whole data)            (what a shard keeps)
//! ```
//!
//! * [`parse_definitions`] reads documents into [`Definition`]s; `millrace-pql` reads the rule itself.
//!   Both report every problem with its place.
//! * [`compile`] resolves names against the schema of records, checks types, and gives a
//!   [`Compiled`] rule. [`link`] fills in the computed attributes that a rule names.
//! * [`Plan::build`] takes all rules apart together: *features* of accounts and opportunities, *queries*
//!   over a person's events, and per segment a *residual*, the condition over those that is left. A
//!   shard keeps features and query results, so that a visit evaluates residuals alone.
//! * [`Compiled::evaluate`] runs the same evaluator over a [`World`] with whole data, without a
//!   plan: previews and questions about the past.
//! * Every answer carries the instant until which it holds if nothing but time passes
//!   ([`view::Timed`]).
//!
//! The modules are floors, from `calendar` up to `rewrite`; `tests/tidy` lists them in order and lets
//! none use one above it.
//!
//! What it is *not*: it keeps no state, reads no store, and knows neither identities nor topics.
//! `millrace-shard` does.
//!
//! ```
//! use millrace_segment::{Plan, Settings, compile, parse_definitions};
//!
//! let text = "kind: Segment\nmetadata: { name: leads }\nspec: { subject: person, pql: 'b2b.personScore >= 50' }";
//! let definitions = parse_definitions(text).expect("the definition can be read");
//! let schema = millrace_model::Schema::built_in().expect("the schemas of the build parse");
//! let rule = compile(&definitions[0], &schema).expect("the rule has the right types");
//!
//! // Taken apart, the rule is one segment over features that are kept per person.
//! let plan = Plan::build(&[rule], &Settings::default()).expect("the rule can be kept");
//! assert_eq!(plan.segments[0].name, "leads");
//! assert!(plan.queries.is_empty(), "it asks for no events");
//! ```

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

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
mod ordered;
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
pub use lint::{lint, warnings};
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
