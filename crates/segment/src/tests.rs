//! Tests of meaning: rules over small worlds, in every way of evaluating them.

mod b2b;
