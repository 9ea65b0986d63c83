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
mod same;
pub mod plan;

pub use diagnostic::{Diagnostic, Severity, did_you_mean};
pub use format::format;
pub use parser::{DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX, parse};
