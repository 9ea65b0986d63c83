//! `segment apply|lint|fmt|convert|preview|list|show|history|rollback|delete`.

mod rewrite;

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use millrace_api::dto::{PreviewView, RollbackView, SegmentView, VersionView};
use millrace_model::{Schema, Text};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_segment::ast::Span;
use millrace_segment::{Compiled, Diagnostic, Library, Severity, compile, compile_with, did_you_mean, documents, parse_definitions};
use serde::Serialize;

use crate::client::Client;
use crate::engine;
use crate::gateway::{self, told};
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown;

pub use rewrite::{convert, fmt};

/// A definition that holds, with its own text.
struct Checked {
    name: String,
    text: String,
    compiled: Compiled,
}

/// Checks all files first; nothing is applied where one of them is wrong.
pub fn apply(settings: &Settings, files: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    let definitions = read(files)?;
    let findings = findings(settings, &definitions)?;
    refuse(&definitions, &findings)?;
    for warning in rendered(&definitions, &findings) {
        eprint!("{warning}");
    }
    let commands = gateway::commands(settings)?;
    for definition in &definitions {
        commands
            .put_segment(&definition.name, &definition.text)
            .map_err(told)
            .with_context(|| format!("segment {}", definition.name))?;
    }
    let names: Vec<&String> = definitions.iter().map(|definition| &definition.name).collect();
    shown::show(settings.output, &names, |names| names.iter().map(|name| format!("{name}: applied\n")).collect())
}

/// Checks definitions as one set: what is wrong refuses them, what is probably not meant is told.
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
    check_one(&text, &Schema::built_in()?).map_err(|problems| Refusal(problems.join("\n")))?;
    let view: PreviewView = Client::new(&settings.server_url())?.post(&["v1", "segments", "preview"], &[("sample", &sample_max.to_string())], Some(text))?;
    shown::show(settings.output, &view, shown::preview)
}

/// A finding about a rule, for programs.
#[derive(Serialize)]
struct FindingView<'f> {
    segment: &'f str,
    severity: &'static str,
    code: &'static str,
    message: &'f str,
    /// Place in the rule, both counted from one.
    line: usize,
    column: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'f str>,
}

fn view<'f>(definitions: &[Checked], name: &'f Text, finding: &'f Diagnostic) -> FindingView<'f> {
    let (line, column) = finding.position(rule_of(definitions, name));
    FindingView {
        segment: name,
        severity: finding.severity.as_str(),
        code: finding.code,
        message: &finding.message,
        line,
        column,
        expected: finding.expected.as_deref(),
        suggestion: finding.suggestion.as_deref(),
    }
}

fn rule_of<'d>(definitions: &'d [Checked], name: &str) -> &'d str {
    let definition = definitions.iter().find(|definition| definition.name == name);
    definition.map_or("", |definition| &definition.compiled.definition().pql)
}

fn rendered(definitions: &[Checked], findings: &[(Text, Diagnostic)]) -> Vec<String> {
    findings
        .iter()
        .map(|(name, finding)| format!("segment {name}: {}", finding.render(rule_of(definitions, name))))
        .collect()
}

/// What is to be said of the definitions together, under the configuration and at the present.
fn findings(settings: &Settings, definitions: &[Checked]) -> anyhow::Result<Vec<(Text, Diagnostic)>> {
    let schema = Schema::built_in()?;
    // Each compiles by itself; here the computed attributes that it names are filled in.
    let library = Library::of(definitions.iter().map(|definition| &definition.compiled));
    let (mut compiled, mut problems) = (Vec::new(), Vec::new());
    for definition in definitions.iter().map(|definition| definition.compiled.definition()) {
        match compile_with(definition, &schema, &library) {
            Ok(linked) => compiled.push(linked),
            Err(found) => problems.extend(found.into_iter().map(|problem| (definition.name.clone(), problem))),
        }
    }
    problems.extend(unknown_destinations(settings, definitions));
    problems.extend(millrace_segment::lint(&compiled, &engine::rule_settings(&settings.config), SystemClock.now()));
    Ok(problems)
}

/// Destinations that are not configured. Where none is, the configuration at hand is not that of the deployment, and nothing is known of them.
fn unknown_destinations(settings: &Settings, definitions: &[Checked]) -> Vec<(Text, Diagnostic)> {
    let known = &settings.config.destinations;
    let mut findings = Vec::new();
    for definition in definitions
        .iter()
        .map(|definition| definition.compiled.definition())
        .filter(|_| !known.is_empty())
    {
        for name in definition.destinations.iter().filter(|name| !known.contains_key(name.as_str())) {
            let message = format!("there is no destination `{name}`: nothing is sent there until it is configured");
            let near = did_you_mean(name, known.keys().map(String::as_str));
            findings.push((
                definition.name.clone(),
                Diagnostic::warning("unknown-destination", Span::default(), message).suggesting(near),
            ));
        }
    }
    findings
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
    let views: Vec<SegmentView> = Client::new(&settings.server_url())?.get(&["v1", "segments"], &[])?;
    shown::show(settings.output, views.as_slice(), shown::segments)
}

pub fn show(settings: &Settings, name: &str) -> anyhow::Result<()> {
    let view: SegmentView = Client::new(&settings.server_url())?.get(&["v1", "segments", name], &[])?;
    shown::show(settings.output, &view, shown::segment)
}

pub fn history(settings: &Settings, name: &str) -> anyhow::Result<()> {
    let views: Vec<VersionView> = Client::new(&settings.server_url())?.get(&["v1", "segments", name, "versions"], &[])?;
    shown::show(settings.output, views.as_slice(), shown::versions)
}

pub fn rollback(settings: &Settings, name: &str, to: Option<u64>) -> anyhow::Result<()> {
    let to = to.map(|version| version.to_string());
    let query: Vec<(&str, &str)> = to.iter().map(|version| ("to", version.as_str())).collect();
    let view: RollbackView = Client::new(&settings.server_url())?.post(&["v1", "segments", name, "rollback"], &query, None)?;
    shown::show(settings.output, &view, |view| format!("{name}: version {} applied again\n", view.version))
}

pub fn delete(settings: &Settings, name: &str) -> anyhow::Result<()> {
    gateway::commands(settings)?.delete_segment(name).map_err(told)?;
    shown::show(settings.output, &name, |name| format!("{name}: deleted\n"))
}

/// Checks a text that is to hold exactly one definition.
///
/// # Errors
/// Every finding, rendered beside its line.
pub fn check_one(text: &str, schema: &Schema) -> Result<Compiled, Vec<String>> {
    let mut definitions = check(text, schema)?;
    match definitions.pop() {
        Some(only) if definitions.is_empty() => Ok(only.compiled),
        found => Err(vec![format!(
            "expected one definition, found {}",
            definitions.len() + usize::from(found.is_some())
        )]),
    }
}

/// Reads and checks all files.
fn read(files: &[impl AsRef<Path>]) -> anyhow::Result<Vec<Checked>> {
    let schema = Schema::built_in()?;
    let mut definitions: Vec<Checked> = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        let file = file.as_ref();
        match check(&read_text(file)?, &schema) {
            Ok(found) => definitions.extend(found),
            Err(found) => problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", file.display()))),
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

/// The text of a file, or of standard input where it is called `-`.
pub fn read_text(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Parses and compiles every definition of a text. Places are those of the whole text for its form, of the rule for what is wrong in the rule.
fn check(text: &str, schema: &Schema) -> Result<Vec<Checked>, Vec<String>> {
    parse_definitions(text).map_err(|problems| problems.iter().map(|problem| problem.render(text)).collect::<Vec<_>>())?;
    let mut checked = Vec::new();
    let mut problems = Vec::new();
    for document in documents(text) {
        for definition in parse_definitions(document).map_err(|problems| problems.iter().map(|problem| problem.render(document)).collect::<Vec<_>>())? {
            match compile(&definition, schema) {
                Ok(compiled) => checked.push(Checked {
                    name: definition.name.to_string(),
                    // What divides documents in a file is no part of them.
                    text: document.strip_prefix("---\n").unwrap_or(document).to_owned(),
                    compiled,
                }),
                Err(found) => problems.extend(
                    found
                        .iter()
                        .map(|problem| format!("segment {}: {}", definition.name, problem.render(&definition.pql))),
                ),
            }
        }
    }
    if problems.is_empty() { Ok(checked) } else { Err(problems) }
}
