//! Attacks on the built executable: hostile input, hostile clients, hostile circumstances. Each one
//! is bounded in number, memory and time.
//!
//! A test starts a server of its own on free loopback ports with an embedded log in a temporary
//! folder, attacks it, and asserts what it must still do: answer with the limit that was reached,
//! stay ready, keep its memory, lose nothing. Each topic is one file in `tests/`; here are its
//! tools.
//!
//! What it is *not*: a user of Millrace's own crates. It knows the contract and nothing else.
//! Random input comes from `Seed` alone, so that a failure repeats.

mod http;
mod seed;
mod server;

pub use http::{Answer, Request, read_answer};
pub use seed::Seed;
pub use server::{Outcome, Server, command, executable, folder};

use std::time::{Duration, Instant};

/// How long a server may take to do what it must. Two cores, and everything else on them.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
///
/// # Panics
/// With `what` and the last reason where `PATIENCE` passes without one.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(reason) if Instant::now() > deadline => panic!("waited {} s for {what}: {reason}", PATIENCE.as_secs()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
