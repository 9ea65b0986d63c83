//! Bytes in, records out; and the routes over a log in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mapping;
mod routes;
mod snippet;
