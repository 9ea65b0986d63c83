//! `dead-letter list`: the newest unusable records.

use crate::gateway::{self, failure};
use crate::settings::Settings;
use crate::shown;

pub fn list(settings: &Settings, limit: usize) -> anyhow::Result<()> {
    let letters = gateway::commands(settings)?.dead_letters(limit).map_err(failure)?;
    shown::show(settings.output, letters.as_slice(), shown::dead_letters)
}
