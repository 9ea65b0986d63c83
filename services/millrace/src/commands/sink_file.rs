//! `sink file`: membership changes as JSON lines, as they are committed.

use std::fs::File;
use std::io::{ErrorKind, Write};

use anyhow::Context;
use millrace_api::backend::{ChangeLog, ChangeReader, ChangesFrom};

use crate::assembly;
use crate::cli::SinkFileOptions;
use crate::client::Client;
use crate::gateway::failure;
use crate::orders::LogOrders;
use crate::settings::Settings;

pub fn run(settings: &Settings, options: &SinkFileOptions) -> anyhow::Result<()> {
    let from = if options.from_end { ChangesFrom::End } else { ChangesFrom::Start };
    let mut changes = open(settings, from, !options.once)?;
    let mut out: Box<dyn Write> = match options.path.as_os_str() == "-" {
        true => Box::new(std::io::stdout().lock()),
        false => Box::new(File::create(&options.path).with_context(|| format!("cannot write {}", options.path.display()))?),
    };
    loop {
        let done = changes.caught_up().map_err(failure)?;
        let arrived = changes.next(true).map_err(failure)?;
        if arrived.is_empty() && done && options.once {
            return Ok(());
        }
        let text: String = arrived.iter().map(|change| format!("{}\n", change.line)).collect();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            other => other.context("cannot write the changes")?,
        }
        if arrived.is_empty() && done && !settings.log_is_shared() {
            anyhow::bail!("the instance ended the stream");
        }
    }
}

fn open(settings: &Settings, from: ChangesFrom, follow: bool) -> anyhow::Result<Box<dyn ChangeReader>> {
    if settings.log_is_shared() {
        let log = std::sync::Arc::new(assembly::kafka_log(&settings.config)?);
        return LogOrders::new(log, &settings.config)?.open(&from).map_err(failure);
    }
    Client::of(settings)?.stream(&from, follow).map_err(failure)
}
