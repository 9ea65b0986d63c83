//! The source connector for Airbyte's connectors: any program that answers `spec`, `check`,
//! `discover` and `read`.
//!
//! `catalog` chooses streams and their modes among what a connector offers, `connector` speaks the
//! protocol. Running the program, mapping its records and keeping its state is `millrace-child`,
//! which Singer's taps share.
//!
//! What it is *not*: it knows no connector, and runs no container.

mod catalog;
mod connector;
#[cfg(test)]
mod tests;

use millrace_child::{Config, Mode, Raw};
use millrace_connect::secret::Confidential;
use millrace_connect::settings::ConfigError;

pub use connector::Connector;

/// Checks the operator's settings; `secrets` are values in them that no log may show.
///
/// # Errors
/// All errors.
pub fn config(raw: Raw, secrets: Vec<Confidential>) -> Result<Config, ConfigError> {
    let catalog = raw.catalog.is_some();
    let checked = Config::new(raw, secrets, "Airbyte", &[Mode::Full, Mode::Incremental]);
    let refusal = "catalog: Airbyte's connectors are always asked which streams they have".to_owned();
    match checked {
        Ok(config) if !catalog => Ok(config),
        Ok(_) => Err(ConfigError(vec![refusal])),
        Err(ConfigError(mut wrong)) => {
            wrong.extend(catalog.then_some(refusal));
            Err(ConfigError(wrong))
        }
    }
}
