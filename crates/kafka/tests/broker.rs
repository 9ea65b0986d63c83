//! The log port on a real broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker {
    pub mod world;

    mod failures;
    mod ownership;
    mod reading;
    mod topics;
    mod transactions;
}
