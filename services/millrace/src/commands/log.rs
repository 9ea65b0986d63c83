//! `log check` and `log salvage`: the intact parts of a damaged embedded log, and how to save them.
//! Neither changes the log it is given.

use std::fmt::Write;
use std::path::Path;

use anyhow::bail;
use millrace_log::{EmbeddedLog, Inspection};

use crate::cli::Output;
use crate::settings::Settings;
use crate::shown::say;

/// Shows the contents; fails where anything is damaged.
pub fn check(settings: &Settings, dir: &Path) -> anyhow::Result<()> {
    let found = EmbeddedLog::check(dir)?;
    say(&match settings.output {
        Output::Json => serde_json::to_string_pretty(&found)?,
        Output::Text => text(&found),
    })?;
    if !found.whole() {
        bail!("the log {} is damaged", dir.display());
    }
    Ok(())
}

pub fn salvage(settings: &Settings, dir: &Path, to: &Path) -> anyhow::Result<()> {
    let rescue = EmbeddedLog::salvage(dir, to)?;
    let found = &rescue.found;
    say(&match settings.output {
        Output::Json => serde_json::to_string_pretty(&rescue)?,
        Output::Text => {
            let mut shown = text(found);
            let _ = writeln!(
                shown,
                "\n{} records were carried over into {}, log {}.",
                rescue.records,
                to.display(),
                rescue.log
            );
            if rescue.left_out > 0 {
                let _ = writeln!(
                    shown,
                    "{} whole records were left out: no catalogue that is whole names their topic.",
                    rescue.left_out
                );
            }
            let next = if found.whole() {
                "Put it in the place of the old log. State of a log of format 1 goes with it; other state is another log's: remove it, it is rebuilt."
            } else {
                "Put it in the place of the old log and remove the folder of the state, which is rebuilt from what was saved. What is missing here, send again."
            };
            shown + next
        }
    })
}

fn text(found: &Inspection) -> String {
    let mut shown = format!("log {} of format {}\n", found.log.as_deref().unwrap_or("without an identity"), found.format);
    for segment in &found.segments {
        let word = if segment.damage.is_empty() { "whole" } else { "DAMAGED" };
        // Writing to a text does not fail.
        let _ = writeln!(
            shown,
            "  {}  {} bytes, {} batches, {} records: {word}",
            segment.file, segment.bytes, segment.batches, segment.records
        );
        for damage in &segment.damage {
            let _ = writeln!(shown, "      at byte {}, {} bytes: {}", damage.at, damage.bytes, damage.what);
        }
        if let Some(at) = segment.unfinished {
            let _ = writeln!(
                shown,
                "      from byte {at} on: a last write that was not finished; it is cut off at the next start. All that is noted as acknowledged lies before it"
            );
        }
    }
    for topic in found.topics.iter().filter(|topic| topic.records > 0 || topic.lost > 0) {
        let lost = if topic.lost > 0 { format!(", {} LOST", topic.lost) } else { String::new() };
        let _ = writeln!(shown, "  {}: {} records{lost}", topic.topic, topic.records);
    }
    for problem in &found.problems {
        let _ = writeln!(shown, "  DAMAGED: {problem}");
    }
    shown.trim_end().to_owned()
}
