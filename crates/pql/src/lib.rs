//! The segment language as text, as JSON and as a syntax tree.
//!
//! [`parse`] or [`json::from_json`] reads a rule, and [`format()`] or [`json::to_json`] writes it;
//! both forms convert to the same [`ast::Expr`] and back. An error in a rule is a [`Diagnostic`]
//! with its place.
//!
//! Pure. It knows no schema, no types and no data: `millrace-segment` defines what a rule *means*,
//! and `millrace-oracle` gives a second opinion.
//!
//! ```
//! let rule = millrace_pql::parse("homeAddress.city = \"Berlin\"")?;
//! assert_eq!(millrace_pql::format(&rule), "homeAddress.city = \"Berlin\"");
//! let json = millrace_pql::json::to_json(&rule);
//! assert!(millrace_pql::json::from_json(&json)?.same(&rule));
//! # Ok::<(), Vec<millrace_pql::Diagnostic>>(())
//! ```

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

pub mod ast;
mod diagnostic;
mod functions;
mod lexer;
mod operands;
mod parser;
mod same;
mod words;

mod format;
pub mod json;

#[cfg(any(test, feature = "testing"))]
pub mod promises;
#[cfg(test)]
mod round_trips;

pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Severity, did_you_mean, render_all};
pub use format::{format, format_with_comments};
pub use functions::{Function, Method, Parameters, Spelling, names};
pub use parser::{CLIMB_MAX, DEPTH_MAX, NESTING_MAX, NODES_MAX, TEXT_BYTES_MAX, nested_too_deep, parse};
