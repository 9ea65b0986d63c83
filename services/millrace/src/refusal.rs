//! The exit status of the process: 0 done, 64 bad configuration, definition or arguments, 1
//! otherwise.

use std::process::ExitCode;

use millrace_config::{ConfigError, SecretError};

use crate::shown::{self, Unheard};

/// `EX_USAGE` of sysexits.
const BAD_INPUT: u8 = 64;

/// An impossible request: an invalid definition, a configuration that does not suit the command.
/// Exit status 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    /// The errors below a key of the configuration, one line each.
    pub fn keys(key: &str, wrong: &[String]) -> Refusal {
        let lines: Vec<String> = wrong.iter().map(|line| format!("{key}.{line}")).collect();
        Refusal(lines.join("\n"))
    }
}

/// Prints the chain of causes once, and returns the exit status for it.
pub fn print(error: &anyhow::Error) -> ExitCode {
    if error.is::<Unheard>() {
        return ExitCode::SUCCESS;
    }
    shown::note(&format!("millrace: {error:#}"));
    let refused = error
        .chain()
        .any(|cause| cause.is::<Refusal>() || cause.is::<ConfigError>() || cause.is::<SecretError>());
    if refused { ExitCode::from(BAD_INPUT) } else { ExitCode::FAILURE }
}

/// Prints help, version, or the error in the arguments.
pub fn of_arguments(error: &clap::Error) -> ExitCode {
    // If the stream is closed, nobody can read the message.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(BAD_INPUT) } else { ExitCode::SUCCESS }
}
