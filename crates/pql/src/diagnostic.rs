//! A fault in a rule, its place, and what was probably meant: one form for syntax, types and lint.
//!
//! A diagnostic is data; `render` shows it to a person with its source line. Places are byte spans
//! of the rule's text, shown as line and column counted from one, columns in characters.

use std::fmt::{self, Write};

use crate::ast::Span;

/// More findings than this, from one rule, help nobody.
pub const DIAGNOSTICS_MAX: usize = 20;

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The rule is refused.
    Error,
    /// The rule is accepted, and probably not what was meant.
    Warning,
}

impl Severity {
    /// `error`, `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One finding about a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the finding refuses the rule.
    pub severity: Severity,
    /// A stable name for programs, e.g. `unexpected-token`.
    pub code: &'static str,
    /// Bytes of the rule's text; empty, at zero, where the rule came from JSON.
    pub span: Span,
    /// A lowercase fragment without full stop: what was found and why it is wrong.
    pub message: String,
    /// What could stand there instead.
    pub expected: Option<String>,
    /// What to do or to know instead, as a sentence without full stop.
    pub help: Option<Box<str>>,
    /// The word or form that was probably meant.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    /// A finding that refuses the rule, without `expected`, `help` and `suggestion`.
    #[must_use]
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            span,
            message: message.into(),
            expected: None,
            help: None,
            suggestion: None,
        }
    }

    /// A finding that leaves the rule accepted, without `expected`, `help` and `suggestion`.
    #[must_use]
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(code, span, message)
        }
    }

    /// Adds what could stand in the place.
    #[must_use]
    pub fn expecting(self, expected: impl Into<String>) -> Self {
        Diagnostic {
            expected: Some(expected.into()),
            ..self
        }
    }

    /// Adds what to do or to know.
    #[must_use]
    pub fn helping(self, help: impl Into<Box<str>>) -> Self {
        Diagnostic {
            help: Some(help.into()),
            ..self
        }
    }

    /// Adds what was probably meant, if anything.
    #[must_use]
    pub fn suggesting<S: Into<String>>(self, suggestion: Option<S>) -> Self {
        Diagnostic {
            suggestion: suggestion.map(Into::into),
            ..self
        }
    }

    /// Line and column of the beginning, both counted from one, columns in characters.
    #[must_use]
    pub fn position(&self, source: &str) -> (usize, usize) {
        let start = floor_boundary(source, self.span.start as usize);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = source[..start].matches('\n').count() + 1;
        (line, source[line_start..start].chars().count() + 1)
    }

    /// The diagnostic with its source line, and a caret under the place; ends in a line break.
    /// Spans outside `source` are moved to its end.
    #[must_use]
    pub fn render(&self, source: &str) -> String {
        let (line, column) = self.position(source);
        let start = floor_boundary(source, self.span.start as usize);
        let end = floor_boundary(source, self.span.end as usize).max(start);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let (excerpt, before) = excerpt(&source[line_start..line_end], column - 1);
        let width = source[start..end.min(line_end)]
            .chars()
            .count()
            .min(excerpt.chars().count().saturating_sub(before))
            .max(1);

        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let mut out = format!("{}[{}]: {}\n", self.severity.as_str(), self.code, self.message);
        // Writing to a String cannot fail, so the results below carry nothing.
        let _ = writeln!(out, "{margin}--> line {line}, column {column}");
        let _ = writeln!(out, "{margin} |");
        let _ = writeln!(out, "{number} | {}", excerpt.trim_end());
        let _ = writeln!(out, "{margin} | {}{}", " ".repeat(before), "^".repeat(width));
        if let Some(expected) = &self.expected {
            let _ = writeln!(out, "{margin} = expected {expected}");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{margin} = help: {help}");
        }
        if let Some(suggestion) = &self.suggestion {
            let _ = writeln!(out, "{margin} = did you mean `{suggestion}`?");
        }
        out
    }
}

/// On one line, without the place.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, ", expected {expected}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

/// All diagnostics one below the other, an empty line between them.
#[must_use]
pub fn render_all(diagnostics: &[Diagnostic], source: &str) -> String {
    diagnostics.iter().map(|diagnostic| diagnostic.render(source)).collect::<Vec<_>>().join("\n")
}

/// The candidate nearest to `name` by edit distance, ignoring letter case; `None` if none is close
/// enough to be a typing slip. Of equally near ones the first wins.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().take(NAME_LENGTH_MAX + 1).flat_map(char::to_lowercase).collect();
    if wanted.is_empty() || wanted.len() > NAME_LENGTH_MAX {
        return None;
    }
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.chars().take(NAME_LENGTH_MAX + 1).flat_map(char::to_lowercase).collect();
        // One slip in three letters; short names match only with one slip, and not if that is the
        // whole name.
        let allowed = (wanted.len().max(letters.len()) / 3).max(usize::from(wanted.len() > 1));
        if candidate == name || wanted.len().abs_diff(letters.len()) > allowed {
            continue;
        }
        let distance = edit_distance(&wanted, &letters);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longer names are not compared: the distance costs the product of the lengths.
const NAME_LENGTH_MAX: usize = 64;

/// Characters of a source line shown around the place.
const EXCERPT_WIDTH: usize = 120;

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &letter) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &other) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(letter != other)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && letter == b[j - 1] && a[i - 1] == other {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// The part of a line to show, and how many characters of it stand before the place. Control
/// characters become spaces, so that the caret lines up.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let skipped = if column < EXCERPT_WIDTH { 0 } else { column - EXCERPT_WIDTH / 2 };
    let lead = if skipped > 0 { "… " } else { "" };
    let mut shown = String::from(lead);
    let mut rest = line.chars().skip(skipped);
    shown.extend(rest.by_ref().take(EXCERPT_WIDTH).map(|c| if c.is_control() { ' ' } else { c }));
    if rest.next().is_some() {
        shown.push_str(" …");
    }
    (shown, lead.chars().count() + column - skipped)
}

fn floor_boundary(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name() {
        let names = ["accounts", "accountRelations", "exists", "day", "days", "hour", "now"];
        for (name, meant) in [
            ("acounts", Some("accounts")),
            ("Accounts", Some("accounts")),
            ("exsits", Some("exists")),
            ("dyas", Some("days")),
            ("huor", Some("hour")),
            ("now", None),
            ("zebra", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(did_you_mean(name, names), meant, "{name}");
        }
    }

    #[test]
    fn places_outside_the_text_and_inside_letters() {
        for (start, end) in [(0, 0), (1, 2), (900, 901), (3, 1)] {
            let diagnostic = Diagnostic::error("x", Span { start, end }, "m");
            for source in ["", "é", "a\nb", &"é".repeat(400)] {
                assert!(diagnostic.render(source).contains('^'));
            }
        }
    }
}
