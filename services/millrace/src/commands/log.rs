//! `log check` and `log salvage`: the intact parts of a damaged embedded log, and how to save them.
//! Neither changes the log it is given.

use std::fmt::Write;
use std::path::Path;

use anyhow::bail;
use millrace_log::{EmbeddedLog, Inspection, Rescue};

use crate::cli::Output;
use crate::settings::Settings;
use crate::shown::say;

/// Shows the contents; fails where anything is damaged.
pub fn check(settings: &Settings, dir: Option<&Path>) -> anyhow::Result<()> {
    let dir = dir.unwrap_or(&settings.config.log.path);
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
    let topology = settings.topology();
    let rescue = EmbeddedLog::salvage(dir, to, &|topic| topology.follows(topic))?;
    if !rescue.found.whole() && rescue.begun_anew.is_empty() {
        bail!(
            "the log {} has no topic {}, so `topics.prefix` is not the one it was written with. Remove {} and run the command with that prefix",
            dir.display(),
            topology.changelog(),
            to.display()
        );
    }
    say(&match settings.output {
        Output::Json => serde_json::to_string_pretty(&rescue)?,
        Output::Text => rescued(&rescue, to),
    })
}

fn rescued(rescue: &Rescue, to: &Path) -> String {
    let mut shown = text(&rescue.found);
    // Writing to a text does not fail.
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
    if rescue.found.whole() {
        return shown + "Put it in the place of the old log. State of a log of format 1 goes with it; other state is another log's: remove it, it is rebuilt.";
    }
    let _ = writeln!(
        shown,
        "These topics begin anew, because they follow from the others: {}.",
        rescue.begun_anew.join(", ")
    );
    shown
        + "Put it in the place of the old log, remove the folder of the state, and start: everything is computed again from the sources' records. What is missing \
           here, send again. Then let every destination that can be read reconcile. docs/disks.md says what its readers see."
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
