//! `segment apply|lint|fmt|convert|preview|list|show|history|rollback|delete`.

mod rewrite;

use std::path::Path;

use millrace_api::dto::{MemberView, Page, PreviewView, RollbackView, SegmentView, VersionView};
use millrace_model::{Schema, Text};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_segment::{Diagnostic, Library, Severity, Status, compile_with};
use serde::Serialize;

use crate::assembly;
use crate::cli::Output;
use crate::client::Client;
use crate::files::{name, read_text};
use crate::gateway::{self, failure};
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::rules::{Checked, check, rendered, unknown_destinations};
use crate::settings::Settings;
use crate::shown::{self, counted};

pub use rewrite::{convert, fmt};

/// The most members of one answer of the API.
const PAGE_MAX: usize = 1_000;

/// Checks all files first; applies nothing if one of them is wrong. The deployment reports its own
/// errors and warnings.
pub fn apply(settings: &Settings, files: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    let definitions = read(files)?;
    let found = findings(settings, &definitions)?;
    refuse(&definitions, &found)?;
    let commands = gateway::commands(settings)?;
    let what = format!("applying {}", counted(definitions.len() as u64, "definition"));
    let progress = Progress::begin(move || what.clone());
    let text: String = definitions.iter().map(|definition| document(&definition.text)).collect();
    let mut applied = commands.apply(&text).map_err(failure)?;
    progress.end();
    applied.warnings = placed_here(&definitions, &found, &applied.warnings);
    for warning in &applied.warnings {
        shown::note(warning.trim_end());
    }
    shown::show(settings.output, &applied, |applied| {
        let is_draft = |name: &String| {
            let definition = definitions.iter().find(|definition| definition.name == **name);
            definition.is_some_and(|definition| definition.compiled.definition().status == Status::Draft)
        };
        let done = |name: &String| {
            if is_draft(name) {
                "kept as a draft: only published definitions are evaluated"
            } else {
                "applied"
            }
        };
        applied.segments.iter().map(|name| format!("{name}: {}\n", done(name))).collect()
    })
}

/// A definition as one document among others.
fn document(text: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("---\n{text}{end}")
}

/// Checks definitions as one set: errors refuse them, warnings are printed.
pub fn lint(settings: &Settings, files: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    let definitions = read(files)?;
    let findings = findings(settings, &definitions)?;
    refuse(&definitions, &findings)?;
    let views: Vec<FindingView<'_>> = findings.iter().map(|(name, finding)| view(&definitions, name, finding)).collect();
    shown::show(settings.output, &views, |_| match findings.as_slice() {
        [] => definitions.iter().map(|definition| format!("{}: good\n", definition.name)).collect(),
        findings => rendered(&definitions, findings).join("\n"),
    })
}

/// Asks the running instance what one definition would do.
pub fn preview(settings: &Settings, file: &Path, sample_max: usize) -> anyhow::Result<()> {
    let text = read_text(file)?;
    let definitions = check(&text, Some(&name(file)), &Schema::built_in()?).map_err(|problems| Refusal(problems.join("\n")))?;
    if definitions.len() != 1 {
        return Err(Refusal(format!("expected one definition, found {}", definitions.len())).into());
    }
    let found = findings(settings, &definitions)?;
    let progress = Progress::begin(|| "evaluating everybody".to_owned());
    let mut view: PreviewView = Client::of(settings)?.post(&["v1", "segments", "preview"], &[("sample", &sample_max.to_string())], Some(text))?;
    progress.end();
    view.warnings = placed_here(&definitions, &found, &view.warnings);
    shown::show(settings.output, &view, shown::preview)
}

/// The deployment's warnings with their places in these files. The deployment saw one text made of all definitions, or a rule alone, so its places are of no use
/// here; it may have another configuration as well, and a warning that these files do not give by themselves has no place.
fn placed_here(definitions: &[Checked], found: &[(Text, Diagnostic)], warnings: &[String]) -> Vec<String> {
    let mut left: Vec<&(Text, Diagnostic)> = found.iter().collect();
    let place = |warning: &String| {
        let same = |(name, finding): &&(Text, Diagnostic)| {
            let bare = warning.strip_prefix(&format!("segment {name}: ")).unwrap_or(warning);
            bare.starts_with(&format!("{}[{}]: {}\n", finding.severity.as_str(), finding.code, finding.message))
        };
        if let Some(at) = left.iter().position(same) {
            let found = left.remove(at).clone();
            return rendered(definitions.iter().filter(|definition| definition.name == found.0), std::slice::from_ref(&found)).concat();
        }
        let named = |definition: &&Checked| definitions.len() == 1 || warning.starts_with(&format!("segment {}: ", definition.name));
        let file = definitions.iter().find(named).and_then(|definition| definition.source.file.as_ref());
        let words = (0..)
            .zip(warning.lines())
            .filter(|(number, line)| *number == 0 || line.trim_start().starts_with("= "));
        file.map(|file| format!("{file}: ")).unwrap_or_default() + &words.map(|(_, line)| format!("{line}\n")).collect::<String>()
    };
    warnings.iter().map(place).collect()
}

/// A finding about a rule, for programs.
#[derive(Serialize)]
struct FindingView<'f> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'f str>,
    segment: &'f str,
    severity: &'static str,
    code: &'static str,
    message: &'f str,
    /// Place in the file, both counted from one; in the rule if the file writes it in another form.
    line: usize,
    column: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'f str>,
}

fn view<'f>(definitions: &'f [Checked], name: &'f Text, finding: &'f Diagnostic) -> FindingView<'f> {
    let definition = definitions.iter().find(|definition| definition.name == *name);
    let (line, column) = definition.map_or((1, 1), |definition| {
        let (placed, text) = definition.source.placed(&definition.compiled.definition().pql, finding);
        placed.position(text)
    });
    FindingView {
        file: definition.and_then(|definition| definition.source.file.as_deref()),
        segment: name,
        severity: finding.severity.as_str(),
        code: finding.code,
        message: &finding.message,
        line,
        column,
        expected: finding.expected.as_deref(),
        help: finding.help.as_deref(),
        suggestion: finding.suggestion.as_deref(),
    }
}

/// The findings about the definitions together, under the configuration and at the present time.
fn findings(settings: &Settings, definitions: &[Checked]) -> anyhow::Result<Vec<(Text, Diagnostic)>> {
    let schema = Schema::built_in()?;
    // Each compiles by itself; here the computed attributes in it are filled in.
    let library = Library::of(definitions.iter().map(|definition| &definition.compiled));
    let (mut compiled, mut problems) = (Vec::new(), Vec::new());
    for definition in definitions.iter().map(|definition| definition.compiled.definition()) {
        match compile_with(definition, &schema, &library) {
            Ok(linked) => compiled.push(linked),
            Err(found) => problems.extend(found.into_iter().map(|problem| (definition.name.clone(), problem))),
        }
    }
    problems.extend(unknown_destinations(definitions, settings.config.destinations.keys().map(String::as_str)));
    problems.extend(millrace_segment::lint(&compiled, &assembly::rule_settings(&settings.config), SystemClock.now()));
    Ok(problems)
}

/// # Errors
/// A refusal where one of the findings is an error.
fn refuse(definitions: &[Checked], findings: &[(Text, Diagnostic)]) -> anyhow::Result<()> {
    let errors: Vec<_> = findings.iter().filter(|(_, finding)| finding.severity == Severity::Error).cloned().collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Refusal(rendered(definitions, &errors).join("\n")).into())
    }
}

pub fn list(settings: &Settings) -> anyhow::Result<()> {
    let views: Vec<SegmentView> = Client::of(settings)?.get(&["v1", "segments"], &[])?;
    shown::show(settings.output, views.as_slice(), shown::segments)
}

pub fn show(settings: &Settings, name: &str) -> anyhow::Result<()> {
    let view: SegmentView = Client::of(settings)?.get(&["v1", "segments", name], &[])?;
    shown::show(settings.output, &view, shown::segment)
}

/// Members, one per line: all of them, or the first `limit`.
pub fn members(settings: &Settings, name: &str, limit: Option<usize>) -> anyhow::Result<()> {
    let client = Client::of(settings)?;
    let (mut members, mut after) = (Vec::<MemberView>::new(), None::<String>);
    loop {
        let wanted = limit.map_or(PAGE_MAX, |limit| (limit - members.len()).min(PAGE_MAX)).to_string();
        let mut query = vec![("limit", wanted.as_str())];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: Page<MemberView> = client.get(&["v1", "segments", name, "members"], &query)?;
        members.extend(page.items);
        after = page.next;
        if after.is_none() || limit.is_some_and(|limit| members.len() >= limit) {
            break;
        }
    }
    if settings.output == Output::Text && members.is_empty() {
        let view: SegmentView = client.get(&["v1", "segments", name], &[])?;
        shown::note(&match view.status.as_str() {
            "published" => format!("{name} has no members now"),
            status => format!("{name} is {status}; only published segments have members"),
        });
    }
    shown::show(settings.output, members.as_slice(), shown::members_of)?;
    if settings.output == Output::Text && after.is_some() {
        shown::note("there are more; `--all` lists them");
    }
    Ok(())
}

pub fn history(settings: &Settings, name: &str) -> anyhow::Result<()> {
    let views: Vec<VersionView> = Client::of(settings)?.get(&["v1", "segments", name, "versions"], &[])?;
    shown::show(settings.output, views.as_slice(), shown::versions)
}

pub fn rollback(settings: &Settings, name: &str, to: Option<u64>) -> anyhow::Result<()> {
    let to = to.map(|version| version.to_string());
    let query: Vec<(&str, &str)> = to.iter().map(|version| ("to", version.as_str())).collect();
    let view: RollbackView = Client::of(settings)?.post(&["v1", "segments", name, "rollback"], &query, None)?;
    shown::show(settings.output, &view, |view| format!("{name}: version {} applied again\n", view.version))
}

pub fn delete(settings: &Settings, name: &str) -> anyhow::Result<()> {
    gateway::commands(settings)?.delete_segment(name).map_err(failure)?;
    shown::show(settings.output, &name, |name| format!("{name}: deleted\n"))
}

/// Reads and checks all files.
fn read(files: &[impl AsRef<Path>]) -> anyhow::Result<Vec<Checked>> {
    let schema = Schema::built_in()?;
    let mut definitions: Vec<Checked> = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        let file = file.as_ref();
        match check(&read_text(file)?, Some(&name(file)), &schema) {
            Ok(found) => definitions.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    let mut names: Vec<&str> = definitions.iter().map(|definition| definition.name.as_str()).collect();
    names.sort_unstable();
    problems.extend(
        names
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| format!("the segment `{}` is defined twice", pair[0])),
    );
    if problems.is_empty() && definitions.is_empty() {
        problems.push("no definitions found".to_owned());
    }
    if problems.is_empty() {
        Ok(definitions)
    } else {
        Err(Refusal(problems.join("\n")).into())
    }
}
