//! `source file`: JSON lines into the source topics.
//!
//! Lines go in batches, each after the one before was accepted. So wherever the command ends, the
//! lines up to some number are in and the others are not: it reports that number, and `--from-line`
//! resumes there. A record with a `modifiedAt` that arrives twice changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use millrace_api::backend::Commands;
use millrace_api::dto::{RecordLine, RejectedLine};
use millrace_model::json::unreadable;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::SourceFileOptions;
use crate::files::{self, Lines};
use crate::gateway::{self, failure};
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown::{self, counted};

/// Lines and bytes sent at once: well below the API's limit.
const BATCH_LINES: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;

/// The outcome of the lines, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    /// Appended, dead letters included.
    accepted: u64,
    rejected: u64,
    dead_letters: u64,
    unknown_fields: BTreeMap<String, u64>,
    /// With a time too far ahead of their timestamp, which counts in its place.
    clock_ahead: u64,
    /// Of a time before 1990.
    clock_behind: u64,
    /// The last line of the file that was dealt with.
    last_line: u64,
}

/// Sends every line that is a record; reports the others with their numbers, and fails at the end
/// if there were any.
pub fn run(settings: &Settings, options: &SourceFileOptions) -> anyhow::Result<()> {
    let commands = gateway::commands(settings)?;
    let done = Arc::new(Done::default());
    watch_for_interrupt(&done)?;
    let shown = Arc::clone(&done);
    let progress = Progress::begin(move || format!("{} appended", counted(shown.accepted.load(Ordering::Relaxed), "record")));
    let mut batch = Batch {
        commands: &*commands,
        strict: options.strict,
        done: &done,
        numbers: Vec::new(),
        lines: Vec::new(),
        bytes: 0,
        outcome: Outcome {
            accepted: 0,
            rejected: 0,
            dead_letters: 0,
            unknown_fields: BTreeMap::new(),
            clock_ahead: 0,
            clock_behind: 0,
            last_line: options.from_line.saturating_sub(1),
        },
    };
    let sent = batch.send_all(options);
    progress.end();
    sent.map_err(|error| match done.last_line.load(Ordering::Relaxed) {
        0 => error,
        _ => error.context(done.how_far()),
    })?;
    summarise(settings, &batch.outcome)
}

/// The summary, and whether all went well.
fn summarise(settings: &Settings, outcome: &Outcome) -> anyhow::Result<()> {
    for (field, records) in &outcome.unknown_fields {
        shown::note(&format!(
            "{field}: no such field, in {}; kept under `extra` (perhaps it is misspelt; `--strict` refuses such records)",
            counted(*records, "record")
        ));
    }
    if outcome.clock_ahead > 0 {
        let records = counted(outcome.clock_ahead, "record");
        shown::note(&format!(
            "{records} with a `modifiedAt` or the time of a consent far ahead of the record's timestamp, which counts instead"
        ));
    }
    if outcome.clock_behind > 0 {
        let records = counted(outcome.clock_behind, "record");
        shown::note(&format!(
            "{records} of a time before 1990; numbers are milliseconds, and these are perhaps seconds"
        ));
    }
    shown::show(settings.output, outcome, |outcome| {
        format!("{} appended\n", counted(outcome.accepted, "record"))
    })?;
    let mut faults = Vec::new();
    if outcome.rejected > 0 {
        let verb = if outcome.rejected == 1 { "was" } else { "were" };
        faults.push(format!("{} {verb} not taken", counted(outcome.rejected, "line")));
    }
    if outcome.dead_letters > 0 {
        let noun = counted(outcome.dead_letters, "record");
        let (verb, end) = if outcome.dead_letters == 1 {
            ("is", "a dead letter")
        } else {
            ("are", "dead letters")
        };
        faults.push(format!("{noun} {verb} {end}: `millrace dead-letter list`"));
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("; ")) }
}

/// The progress of the command; read by the threads that report it.
#[derive(Default)]
struct Done {
    accepted: AtomicU64,
    last_line: AtomicU64,
}

impl Done {
    fn how_far(&self) -> String {
        match self.last_line.load(Ordering::Relaxed) {
            0 => "cut off before the first lines were taken".to_owned(),
            last => format!(
                "cut off: {} appended, the lines up to {last} are done; go on with `--from-line {}`",
                counted(self.accepted.load(Ordering::Relaxed), "record"),
                last + 1
            ),
        }
    }
}

/// A signal to end ends the process at once, and reports how far it got.
fn watch_for_interrupt(done: &Arc<Done>) -> anyhow::Result<()> {
    let done = Arc::clone(done);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on these signals no longer end the process by themselves.
    let (mut interrupt, mut terminate, mut hangup) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        shown::note(&format!("\nmillrace: {}", done.how_far()));
        std::process::exit(1);
    })?;
    Ok(())
}

/// Lines in transit, with their numbers in the file.
struct Batch<'a> {
    commands: &'a dyn Commands,
    strict: bool,
    done: &'a Done,
    numbers: Vec<u64>,
    lines: Vec<Result<RecordLine, String>>,
    bytes: usize,
    outcome: Outcome,
}

impl Batch<'_> {
    fn send_all(&mut self, options: &SourceFileOptions) -> anyhow::Result<()> {
        let mut last = 0;
        for line in Lines::new(files::open(&options.path)?) {
            let (number, line) = line.with_context(|| format!("cannot read {}", files::name(&options.path)))?;
            last = number;
            let blank = line.as_ref().is_ok_and(|line| line.trim().is_empty());
            if number < options.from_line || blank {
                continue;
            }
            self.bytes += line.as_ref().map_or(0, String::len);
            self.numbers.push(number);
            self.lines.push(line.and_then(|line| record(&line)));
            if self.lines.len() >= BATCH_LINES || self.bytes >= BATCH_BYTES {
                self.send()?;
            }
        }
        // One line further is where a whole import would resume.
        if options.from_line > last + 1 {
            let lines = counted(last, "line");
            return Err(Refusal(format!("--from-line {}: {} has {lines}", options.from_line, files::name(&options.path))).into());
        }
        self.send()
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let (numbers, lines) = (std::mem::take(&mut self.numbers), std::mem::take(&mut self.lines));
        self.bytes = 0;
        let Some(last) = numbers.last() else { return Ok(()) };
        let answer = self.commands.append(lines, self.strict).map_err(failure)?;
        let outcome = &mut self.outcome;
        outcome.accepted += answer.accepted;
        outcome.rejected += answer.rejected.len() as u64;
        outcome.dead_letters += answer.dead_letters.len() as u64;
        outcome.clock_ahead += answer.clock_ahead;
        outcome.clock_behind += answer.clock_behind;
        outcome.last_line = *last;
        for (field, records) in answer.unknown_fields {
            *outcome.unknown_fields.entry(field).or_default() += records;
        }
        self.done.accepted.store(outcome.accepted, Ordering::Relaxed);
        self.done.last_line.store(*last, Ordering::Relaxed);
        name_lines(&numbers, &answer.rejected, "");
        name_lines(&numbers, &answer.dead_letters, "dead letter: ");
        Ok(())
    }
}

fn record(line: &str) -> Result<RecordLine, String> {
    if !line.trim_start().starts_with('{') {
        return Err("no JSON object begins here; every line is one, so CSV, lists and JSON over several lines are not read".to_owned());
    }
    serde_json::from_str(line).map_err(|error| unreadable(&error))
}

fn name_lines(numbers: &[u64], found: &[RejectedLine], kind: &str) {
    for RejectedLine { line, reason } in found {
        let at = usize::try_from(*line).unwrap_or_default().wrapping_sub(1);
        shown::note(&format!("line {}: {kind}{reason}", numbers.get(at).copied().unwrap_or_default()));
    }
}
