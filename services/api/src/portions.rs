//! Bodies of lines, processed in portions: the memory in use is bounded, whatever the body holds.

use millrace_model::json::unreadable;
use serde::de::DeserializeOwned;

use crate::backend::{BackendError, Commands, Replace};
use crate::dto::{AppendView, ImportView, MemberLine, RecordLine, RejectedLine};
use crate::limits::{IMPORT_LINES_MAX, LINE_BYTES_MAX, PORTION_BYTES, PORTION_LINES, REJECTED_MAX, UNKNOWN_FIELDS_MAX};

/// Lines of a portion, each with its number in the body.
struct Portion<T> {
    numbers: Vec<u64>,
    lines: Vec<Result<T, String>>,
    bytes: usize,
}

/// The lines of a body, numbered from one. Blank ones are skipped.
fn lines(body: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let numbered = (1..).zip(body.split(|byte| *byte == b'\n'));
    numbered.map(|(number, line)| (number, line.trim_ascii())).filter(|(_, line)| !line.is_empty())
}

/// A line as its value, or its error.
fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line has {} bytes; one line has at most {LINE_BYTES_MAX}", line.len()));
    }
    // A byte-order mark may precede the first line.
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|error| format!("no UTF-8 text from byte {} on", error.valid_up_to() + 1))?;
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

/// Passes a body's lines on in portions.
fn portioned<T: DeserializeOwned>(body: &[u8], mut take: impl FnMut(&[u64], Vec<Result<T, String>>) -> Result<(), BackendError>) -> Result<(), BackendError> {
    let empty = || Portion {
        numbers: Vec::new(),
        lines: Vec::new(),
        bytes: 0,
    };
    let mut portion: Portion<T> = empty();
    for (number, line) in lines(body) {
        if portion.lines.len() >= PORTION_LINES || portion.bytes + line.len() > PORTION_BYTES && !portion.lines.is_empty() {
            let full = std::mem::replace(&mut portion, empty());
            take(&full.numbers, full.lines)?;
        }
        portion.numbers.push(number);
        portion.lines.push(parse(line));
        portion.bytes += line.len();
    }
    if portion.lines.is_empty() {
        return Ok(());
    }
    take(&portion.numbers, portion.lines)
}

/// Adds the refused lines of a portion, under their numbers in the body; from `REJECTED_MAX` on
/// they are only counted.
fn add(rejected: &mut Vec<RejectedLine>, more: &mut u64, numbers: &[u64], found: Vec<RejectedLine>) {
    for one in found {
        if rejected.len() >= REJECTED_MAX {
            *more += 1;
            continue;
        }
        let place = usize::try_from(one.line).unwrap_or(usize::MAX).wrapping_sub(1);
        let line = numbers.get(place).copied().unwrap_or(one.line);
        rejected.push(RejectedLine { line, ..one });
    }
}

/// Where a later portion fails, those before it are accepted: the error says how many, so that the
/// sender can resume.
fn after(accepted: u64, numbers: &[u64], error: BackendError) -> BackendError {
    let from = numbers.first().copied().unwrap_or_default();
    let said = |detail: String| match accepted {
        0 => detail,
        _ => format!("{detail}; {accepted} lines before line {from} are taken, go on there"),
    };
    match error {
        BackendError::Unavailable(detail) => BackendError::Unavailable(said(detail)),
        BackendError::Failure { context, source } => BackendError::Failure {
            context: said(context),
            source,
        },
        other => other,
    }
}

/// Appends the records of a body.
pub(crate) fn append(commands: &dyn Commands, body: &[u8], strict: bool) -> Result<AppendView, BackendError> {
    let mut view = AppendView::default();
    portioned::<RecordLine>(body, |numbers, lines| {
        let taken = commands.append(lines, strict).map_err(|error| after(view.accepted, numbers, error))?;
        view.accepted += taken.accepted;
        view.clock_ahead += taken.clock_ahead;
        view.clock_behind += taken.clock_behind;
        add(&mut view.rejected, &mut view.rejected_more, numbers, taken.rejected);
        add(&mut view.dead_letters, &mut view.dead_letters_more, numbers, taken.dead_letters);
        for (field, count) in taken.unknown_fields {
            if view.unknown_fields.len() < UNKNOWN_FIELDS_MAX || view.unknown_fields.contains_key(&field) {
                *view.unknown_fields.entry(field).or_default() += count;
            }
        }
        Ok(())
    })?;
    Ok(view)
}

/// Imports the members of a body. A replacement is one unit, and held in memory.
pub(crate) fn import(commands: &dyn Commands, audience: &str, body: &[u8], replace: Replace) -> Result<ImportView, BackendError> {
    if replace != Replace::Nobody {
        return replacement(commands, audience, body, replace);
    }
    let mut view = ImportView::default();
    let mut asked = false;
    portioned::<MemberLine>(body, |numbers, lines| {
        asked = true;
        let taken = commands
            .import(audience, lines, replace)
            .map_err(|error| after(view.accepted, numbers, error))?;
        view.accepted += taken.accepted;
        add(&mut view.rejected, &mut view.rejected_more, numbers, taken.rejected);
        Ok(())
    })?;
    // A missing audience is reported even if there are no lines.
    if asked { Ok(view) } else { commands.import(audience, Vec::new(), replace) }
}

fn replacement(commands: &dyn Commands, audience: &str, body: &[u8], replace: Replace) -> Result<ImportView, BackendError> {
    let count = lines(body).count();
    if count > IMPORT_LINES_MAX {
        return Err(BackendError::Refused(format!(
            "the body has {count} members; one replacement has at most {IMPORT_LINES_MAX}"
        )));
    }
    let mut numbers = Vec::with_capacity(count);
    let mut parsed = Vec::with_capacity(count);
    let mut wrong = 0;
    for (number, line) in lines(body) {
        let line = parse::<MemberLine>(line);
        wrong += u64::from(line.is_err());
        // One refused line refuses the whole, so only those that the answer names need be held.
        if wrong <= REJECTED_MAX as u64 {
            numbers.push(number);
            parsed.push(line);
        }
    }
    let mut view = commands.import(audience, parsed, replace)?;
    let found = std::mem::take(&mut view.rejected);
    add(&mut view.rejected, &mut view.rejected_more, &numbers, found);
    view.rejected_more += wrong.saturating_sub(REJECTED_MAX as u64);
    Ok(view)
}
