//! The whole system from outside: the built executable in processes of its own on a real Kafka, fed
//! and read by clients that are not ours.
//!
//! The tests (`tests/system`) start, kill, pause and end processes of `millrace`, produce with
//! Kafka's own console producer and with Python's client, read with Python's client under
//! `read_committed`, and compare with the oracle. These are their tools.
//!
//! What it is *not*: a user of Millrace's own crates. It shares the oracle and the files of
//! `schemas/`, and nothing else.

mod child;
pub mod database;
pub mod deployment;
pub mod far;
pub mod judge;
pub mod outside;
pub mod registry;
pub mod worlds;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    i64::try_from(since.as_millis()).expect("the clock is within the year 292 million")
}

/// Asks until there is an answer.
///
/// # Panics
/// With `what` and the last reason where `within` passes without one.
pub fn wait_for<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(reason) if Instant::now() > deadline => panic!("waited {} s for {what}: {reason}", within.as_secs()),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Bytes as Python's `bytes.hex` writes them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// # Panics
/// Where `text` is not such a text.
pub fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("two hexadecimal digits");
    (0..text.len()).step_by(2).map(digit).collect()
}
