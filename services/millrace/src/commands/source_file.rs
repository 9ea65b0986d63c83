//! `source file`: JSON lines into the source topics.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use millrace_api::backend::Commands;
use millrace_api::dto::RecordLine;

use crate::gateway::{self, told};
use crate::settings::Settings;
use crate::shown;

/// Lines and bytes sent at once: well below what the API takes.
const BATCH_LINES: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;

/// Sends every line that is a record; names the others with their numbers, and fails at the end where there were any.
pub fn run(settings: &Settings, path: &Path) -> anyhow::Result<()> {
    let commands = gateway::commands(settings)?;
    let lines: Box<dyn BufRead> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?)),
    };
    let mut batch = Batch {
        commands: &*commands,
        numbers: Vec::new(),
        lines: Vec::new(),
        bytes: 0,
        accepted: 0,
        rejected: 0,
    };
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line.with_context(|| format!("cannot read line {number}"))?;
        if !line.trim().is_empty() {
            batch.add(number, &line)?;
        }
    }
    batch.send()?;
    let (accepted, rejected) = (batch.accepted, batch.rejected);
    shown::show(settings.output, &serde_json::json!({"accepted": accepted, "rejected": rejected}), |_| {
        format!("{accepted} records appended\n")
    })?;
    if rejected > 0 {
        bail!("{rejected} of {} lines are no records", accepted + rejected);
    }
    Ok(())
}

/// Lines on their way, with their numbers in the file.
struct Batch<'a> {
    commands: &'a dyn Commands,
    numbers: Vec<u64>,
    lines: Vec<Result<RecordLine, String>>,
    bytes: usize,
    accepted: u64,
    rejected: u64,
}

impl Batch<'_> {
    fn add(&mut self, number: u64, line: &str) -> anyhow::Result<()> {
        self.numbers.push(number);
        self.lines.push(serde_json::from_str(line).map_err(|error| error.to_string()));
        self.bytes += line.len();
        if self.lines.len() >= BATCH_LINES || self.bytes >= BATCH_BYTES {
            self.send()
        } else {
            Ok(())
        }
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let (numbers, lines) = (std::mem::take(&mut self.numbers), std::mem::take(&mut self.lines));
        self.bytes = 0;
        if lines.is_empty() {
            return Ok(());
        }
        let answer = self.commands.append(lines).map_err(told)?;
        self.accepted += answer.accepted;
        self.rejected += answer.rejected.len() as u64;
        for rejected in answer.rejected {
            let number = usize::try_from(rejected.line)
                .ok()
                .and_then(|line| numbers.get(line.wrapping_sub(1)))
                .copied()
                .unwrap_or_default();
            eprintln!("line {number}: {}", rejected.reason);
        }
        Ok(())
    }
}
