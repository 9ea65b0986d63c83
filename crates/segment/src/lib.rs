//! PQL: text and JSON to syntax tree, to typed expressions, to plans that are kept incrementally.
//!
//! Pure: no clock, no IO, no threads. `now` is an argument.

pub mod ast;
pub mod diagnostic;
pub mod plan;

pub use diagnostic::{Diagnostic, Severity, did_you_mean};
