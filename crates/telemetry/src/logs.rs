//! Logs on standard error: lines for people, or one JSON object per line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not of the form `target=level,…`.
    #[error("`{filter}` is no log filter")]
    Filter {
        /// The filter as it was written.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs are set up once per process.
    #[error("logs are set up already")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sets logs up for the process; once.
///
/// # Errors
/// Where the filter cannot be read, or logs were set up before.
pub fn init_logs(filter: &str, json: bool) -> Result<(), LogError> {
    let parsed = EnvFilter::try_new(filter).map_err(|source| LogError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_ansi(std::io::stderr().is_terminal())
        // It would be written to standard error, which is what failed, and panic there.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let outcome = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    outcome.map_err(LogError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let error = init_logs("millrace=loudly", false).unwrap_err();
        assert_eq!(error.to_string(), "`millrace=loudly` is no log filter");
    }
}
