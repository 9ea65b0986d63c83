//! `dead-letter list`: the newest records nobody could use.

use crate::gateway::{self, told};
use crate::settings::Settings;
use crate::shown;

pub fn list(settings: &Settings, limit: usize) -> anyhow::Result<()> {
    let letters = gateway::commands(settings)?.dead_letters(limit).map_err(told)?;
    shown::show(settings.output, letters.as_slice(), shown::dead_letters)
}
