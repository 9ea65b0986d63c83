//! Definitions in texts of YAML: read, checked, each finding with its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_model::{Schema, Text};
use millrace_segment::{Compiled, Diagnostic, Places, Span, compile, did_you_mean, documents, parse_definitions};

/// This finding is not about the rule.
const UNKNOWN_DESTINATION: &str = "unknown-destination";

/// A valid definition, and its place.
pub struct Checked {
    pub name: String,
    /// Its own document.
    pub text: String,
    pub compiled: Compiled,
    /// Where it stands.
    pub source: Source,
}

/// The origin of a definition.
#[derive(Clone)]
pub struct Source {
    /// The file's name, where it is from one.
    pub file: Option<Arc<str>>,
    /// All of the file, and the part that holds the definition.
    text: Arc<str>,
    from: usize,
    to: usize,
}

impl Source {
    /// A finding about the rule of this definition with its line: in the file if that is known,
    /// otherwise in the rule.
    fn render(&self, name: &str, rule: &str, finding: &Diagnostic) -> String {
        let (moved, shown) = self.placed(rule, finding);
        let file = self.file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default();
        format!("{file}segment {name}: {}", moved.render(shown))
    }

    /// A finding with its place in the file, and the file; in the rule if the file writes that
    /// differently.
    pub fn placed<'s>(&'s self, rule: &'s str, finding: &Diagnostic) -> (Diagnostic, &'s str) {
        if finding.code == UNKNOWN_DESTINATION
            && let Some(key) = self.text[self.from..self.to].find("destinations:")
            && let Ok(start) = u32::try_from(self.from + key)
        {
            let end = start + "destinations".len() as u32;
            let span = Span { start, end };
            return (Diagnostic { span, ..finding.clone() }, &self.text);
        }
        match Places::find(&self.text, self.from, self.to, rule) {
            Some(places) => (places.moved(finding), &self.text),
            None => (finding.clone(), rule),
        }
    }
}

/// Parses and compiles every definition of a text. Places are those of the whole text.
///
/// # Errors
/// Every finding, rendered with its line, the name of the file in front.
pub fn check(text: &str, file: Option<&str>, schema: &Schema) -> Result<Vec<Checked>, Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let front = file.map(|file| format!("{file}: ")).unwrap_or_default();
    let shown = |problems: Vec<Diagnostic>| problems.iter().map(|problem| format!("{front}{}", problem.render(text))).collect::<Vec<_>>();
    let definitions = parse_definitions(text).map_err(shown)?;
    let whole: Arc<str> = text.into();
    let file: Option<Arc<str>> = file.map(Into::into);
    let (mut checked, mut problems) = (Vec::new(), Vec::new());
    let mut from = 0;
    for (definition, document) in definitions.into_iter().zip(documents(text)) {
        let source = Source {
            file: file.clone(),
            text: Arc::clone(&whole),
            from,
            to: from + document.len(),
        };
        from = source.to;
        match compile(&definition, schema) {
            Ok(compiled) => checked.push(Checked {
                name: definition.name.to_string(),
                // Separators of documents in a file are no part of them.
                text: document.strip_prefix("---\n").unwrap_or(document).to_owned(),
                compiled,
                source,
            }),
            Err(found) => problems.extend(found.iter().map(|problem| source.render(&definition.name, &definition.pql, problem))),
        }
    }
    if problems.is_empty() { Ok(checked) } else { Err(problems) }
}

/// Checks a text that must hold exactly one definition.
///
/// # Errors
/// Every finding, rendered with its line.
pub fn check_one(text: &str, schema: &Schema) -> Result<Compiled, Vec<String>> {
    let mut definitions = check(text, None, schema)?;
    match definitions.pop() {
        Some(only) if definitions.is_empty() => Ok(only.compiled),
        found => Err(vec![format!(
            "expected one definition, found {}",
            definitions.len() + usize::from(found.is_some())
        )]),
    }
}

/// Findings about definitions, each with its line.
pub fn rendered<'c>(definitions: impl IntoIterator<Item = &'c Checked>, findings: &[(Text, Diagnostic)]) -> Vec<String> {
    let named: BTreeMap<&str, &Checked> = definitions.into_iter().map(|definition| (definition.name.as_str(), definition)).collect();
    let show = |(name, finding): &(Text, Diagnostic)| match named.get(name.as_str()) {
        Some(definition) => definition.source.render(name, &definition.compiled.definition().pql, finding),
        // About a definition elsewhere: there is no line to show.
        None if name.is_empty() => format!("{}[{}]: {finding}\n", finding.severity.as_str(), finding.code),
        None => format!("segment {name}: {}[{}]: {finding}\n", finding.severity.as_str(), finding.code),
    };
    findings.iter().map(show).collect()
}

/// Destinations that are named and not configured: nothing would be sent there, silently.
pub fn unknown_destinations<'k>(definitions: &[Checked], known: impl Iterator<Item = &'k str>) -> Vec<(Text, Diagnostic)> {
    let known: Vec<&str> = known.collect();
    let mut findings = Vec::new();
    for definition in definitions.iter().map(|definition| definition.compiled.definition()) {
        for name in definition.destinations.iter().filter(|name| !known.contains(&name.as_str())) {
            let message = format!("no destination `{name}` is configured here: nothing is sent there until `destinations.{name}` is");
            let near = did_you_mean(name, known.iter().copied());
            findings.push((
                definition.name.clone(),
                Diagnostic::warning(UNKNOWN_DESTINATION, Span::default(), message).suggesting(near),
            ));
        }
    }
    findings
}
