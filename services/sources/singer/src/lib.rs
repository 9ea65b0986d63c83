//! The source connector for Singer taps: any program that writes SCHEMA, RECORD, STATE and
//! ACTIVATE_VERSION messages.
//!
//! `catalog` selects the configured streams in what a tap offers, `tap` speaks the protocol. Running
//! the program, mapping its records and keeping its state is `millrace-child`, which Airbyte's
//! connectors share.
//!
//! What it is *not*: it knows no tap, and reads no BATCH files.

mod catalog;
mod tap;
#[cfg(test)]
mod tests;

use millrace_child::{Config, Mode, Raw};
use millrace_connect::secret::Confidential;
use millrace_connect::settings::ConfigError;

pub use tap::Tap;

/// Checks the operator's settings; `secrets` are values in them that no log may show.
///
/// # Errors
/// All errors.
pub fn config(raw: Raw, secrets: Vec<Confidential>) -> Result<Config, ConfigError> {
    Config::new(raw, secrets, "Singer", &[Mode::Full, Mode::Incremental, Mode::Log])
}
