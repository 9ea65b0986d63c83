//! Tests of meaning: rules over small worlds, in every way of evaluating them.

mod b2b;
mod conformance;
mod definitions;
mod fuzz;
mod limits;
mod lint;
mod names;
mod plans;
mod random;
mod refusals;
mod rewrite;
mod sequences;
mod together;
mod validity;
