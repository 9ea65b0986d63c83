//! `segment fmt` and `segment convert`: rules rewritten, without a running instance.

use std::path::Path;

use anyhow::Context;
use millrace_segment::{Diagnostic, Form, convert_text, format_text};
use serde::Serialize;

use crate::cli::FmtOptions;
use crate::files::{read_bytes, read_text};
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown;

/// A file laid out, for programs.
#[derive(Serialize)]
struct FormattedView {
    file: String,
    changed: bool,
    /// Rules left as they are, and why.
    left: Vec<String>,
    text: String,
    /// The file's byte-order mark.
    #[serde(skip)]
    mark: &'static str,
}

/// Lays out the rules of all files first; writes nothing if one of them is wrong.
pub fn fmt(settings: &Settings, options: &FmtOptions) -> anyhow::Result<()> {
    let mut views = Vec::new();
    let mut problems = Vec::new();
    for file in &options.files {
        if options.write && file.as_os_str() == "-" {
            return Err(Refusal("`--write` wants files: standard input cannot be written; leave it out and take the standard output".to_owned()).into());
        }
        let found = read_text(file)?;
        // The file keeps its byte-order mark and its line ends.
        let marked = file.as_os_str() != "-" && read_bytes(file)?.starts_with("\u{feff}".as_bytes());
        let crlf = found.contains("\r\n");
        let text = found.replace("\r\n", "\n");
        match format_text(&text) {
            Ok(formatted) => {
                let laid_out = if crlf { formatted.text.replace('\n', "\r\n") } else { formatted.text };
                views.push(FormattedView {
                    file: file.display().to_string(),
                    changed: laid_out != found,
                    left: formatted.left.iter().map(|left| left.render(&text)).collect(),
                    text: laid_out,
                    mark: if marked { "\u{feff}" } else { "" },
                });
            }
            Err(found) => problems.extend(shown(file, &text, &found)),
        }
    }
    if !problems.is_empty() {
        return Err(Refusal(problems.join("\n")).into());
    }
    for view in &views {
        for left in &view.left {
            shown::note(&format!("{}: {left}", view.file));
        }
    }
    let changed: Vec<&FormattedView> = views.iter().filter(|view| view.changed).collect();
    if options.write {
        for view in &changed {
            std::fs::write(&view.file, format!("{}{}", view.mark, view.text)).with_context(|| format!("cannot write {}", view.file))?;
        }
    }
    let listed = options.write || options.check;
    shown::show(settings.output, &views, |views| {
        let line = |view: &FormattedView| {
            if listed {
                format!("{}: {}\n", view.file, outcome(view, options.write))
            } else {
                view.text.clone()
            }
        };
        views.iter().map(line).collect()
    })?;
    if options.check && !changed.is_empty() {
        let names: Vec<&str> = changed.iter().map(|view| view.file.as_str()).collect();
        anyhow::bail!("not laid out: {}; `millrace segment fmt --write` does it", names.join(", "));
    }
    Ok(())
}

fn outcome(view: &FormattedView, written: bool) -> &'static str {
    match (view.changed, written) {
        (false, _) => "as it should be",
        (true, true) => "written",
        (true, false) => "would change",
    }
}

/// Converts all files first; shows nothing if one of them is wrong.
pub fn convert(settings: &Settings, form: Form, files: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    let mut converted = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        let text = read_text(file.as_ref())?;
        match convert_text(&text, form) {
            Ok(text) => converted.push(text),
            Err(found) => problems.extend(shown(file.as_ref(), &text, &found)),
        }
    }
    if !problems.is_empty() {
        return Err(Refusal(problems.join("\n")).into());
    }
    shown::show(settings.output, &converted, |converted| converted.join("---\n"))
}

fn shown(file: &Path, text: &str, found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(|problem| format!("{}: {}", file.display(), problem.render(text))).collect()
}
