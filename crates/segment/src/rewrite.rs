//! Rewriting of texts that hold rules: rules laid out, or turned from text to JSON form and back.
//!
//! A text is a rule (as text or in JSON form) or a file of definitions. Of definitions
//! `format_text` changes the rules alone: the rest of the file, comments and order included, stays
//! as it is.

use std::ops::Range;

use millrace_pql::Diagnostic;
use millrace_pql::ast::Span;
use millrace_pql::format_with_comments;
use serde::Serialize;
use serde_norway::Value as Yaml;

use crate::definition::{Definition, Kind, documents, expires_after, parse_definitions, rule_of_json};
use crate::places::{Places, key_of_rule};
use crate::yaml::{self, check_brackets};

/// A form of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As people write it.
    Text,
    /// A tree of objects, for programs.
    Json,
}

/// A text with its rules laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The whole text, laid out anew where it holds rules.
    pub text: String,
    /// Rules left as they were, and why; places are those of the given text.
    pub left: Vec<Diagnostic>,
}

/// Lays out the rules of a text. Applying it again changes nothing.
///
/// Left as they are: rules with a comment inside a condition, rules in JSON form, and rules of
/// definitions in flow style.
///
/// # Errors
/// All errors in the definitions or in the syntax of a rule, with places in the text, those of a
/// rule of a definition in the rule.
pub fn format_text(text: &str) -> Result<Rewritten, Vec<Diagnostic>> {
    if !is_definitions(text) {
        if let Some(json) = json_form(text) {
            rule_of_json(&json)?;
            let left = vec![Diagnostic::warning("left", Span::default(), "the JSON form is left as it is")];
            return Ok(Rewritten { text: text.to_owned(), left });
        }
        let expr = millrace_pql::parse(text)?;
        return Ok(match format_with_comments(&expr, text) {
            Ok(formatted) => Rewritten {
                text: formatted + "\n",
                left: Vec::new(),
            },
            Err(comment) => Rewritten {
                text: text.to_owned(),
                left: vec![inner_comment(comment)],
            },
        });
    }
    parse_definitions(text)?;
    let mut rewritten = Rewritten {
        text: String::new(),
        left: Vec::new(),
    };
    let mut begin = 0;
    for document in documents(text) {
        let from = rewritten.text.len();
        let part = begin..begin + document.len();
        begin = part.end;
        rewritten.text.push_str(document);
        let segments = parse_definitions(document).unwrap_or_default().into_iter();
        for definition in segments.filter(|definition| !matches!(definition.kind, Kind::ExternalAudience { .. })) {
            let formatted = match format_with_comments(&millrace_pql::parse(&definition.pql)?, &definition.pql) {
                Ok(formatted) => formatted,
                Err(comment) => {
                    rewritten.left.push(of_segment(&definition, inner_comment(comment), text, part.clone()));
                    continue;
                }
            };
            if formatted == definition.pql.trim() {
                continue;
            }
            match replaced(document, &definition, &formatted) {
                Some(document) => rewritten.text.replace_range(from.., &document),
                None => {
                    let left = Diagnostic::warning("left", Span::default(), "the rule is left as it is: it does not stand in a block of its own");
                    let left = left.expecting("`pql: |` with the rule below");
                    rewritten.left.push(of_segment(&definition, left, text, part.clone()));
                }
            }
        }
    }
    Ok(rewritten)
}

/// Turns the rules of a text into one form. A bare rule stays a bare rule; definitions become YAML
/// with rules as text, or JSON with rules in JSON form, separated by `---`. Defaults are written
/// out.
///
/// # Errors
/// As for `format_text`.
pub fn convert_text(text: &str, form: Form) -> Result<String, Vec<Diagnostic>> {
    if !is_definitions(text) {
        let rule = match json_form(text) {
            Some(json) => rule_of_json(&json)?,
            None => text.to_owned(),
        };
        let expr = millrace_pql::parse(&rule)?;
        return Ok(match form {
            Form::Text => millrace_pql::format(&expr) + "\n",
            Form::Json => pretty(&millrace_pql::json::to_json(&expr)),
        });
    }
    let mut out = String::new();
    for definition in parse_definitions(text)? {
        let expr = millrace_pql::parse(&definition.pql)?;
        if !out.is_empty() {
            out.push_str("---\n");
        }
        match form {
            Form::Text => {
                let pql = millrace_pql::format(&expr);
                // A text of several lines is written as a block, which ends in a line end.
                let pql = if pql.contains('\n') { pql + "\n" } else { pql };
                out.push_str(&serde_norway::to_string(&Document::of(&definition, &pql)).unwrap_or_default());
            }
            Form::Json => out.push_str(&pretty(&Document::of(&definition, &millrace_pql::json::to_json(&expr)))),
        }
    }
    Ok(out)
}

/// Texts, names and JSON values can always be written.
fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// A definition as a document, the rule as given.
#[derive(Serialize)]
struct Document<'d, R> {
    kind: &'static str,
    metadata: Metadata<'d>,
    spec: Spec<'d, R>,
}

#[derive(Serialize)]
struct Metadata<'d> {
    name: &'d str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'d str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'d, R> {
    subject: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pql: Option<&'d R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_after: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destinations: Vec<&'d str>,
}

impl<'d, R> Document<'d, R> {
    fn of(definition: &'d Definition, pql: &'d R) -> Document<'d, R> {
        // An external audience has the time that a membership counts, the others have a rule.
        let (ruled, expires_after) = match definition.kind {
            Kind::Segment | Kind::ComputedAttribute => (true, None),
            Kind::ExternalAudience { expires_after_ms } => (false, Some(expires_after(expires_after_ms))),
        };
        Document {
            kind: definition.kind.name(),
            metadata: Metadata {
                name: &definition.name,
                description: &definition.description,
            },
            spec: Spec {
                subject: definition.subject.name(),
                status: definition.status.name(),
                time_zone: ruled.then(|| definition.time_zone.name()),
                pql: ruled.then_some(pql),
                expires_after,
                destinations: definition.destinations.iter().map(|name| name.as_str()).collect(),
            },
        }
    }
}

/// Whether a text is a file of definitions, and not a rule: a rule is not a map, and its JSON form
/// has none of these keys.
fn is_definitions(text: &str) -> bool {
    check_brackets(text).is_ok()
        && documents(text).into_iter().any(|document| {
            let yaml = yaml::tree(serde_norway::Deserializer::from_str(document));
            let keys = ["kind", "metadata", "spec"];
            match yaml {
                Ok(Yaml::Mapping(map)) => keys.iter().any(|key| map.contains_key(*key)),
                Ok(_) => false,
                // Neither YAML nor a rule: the words at the beginnings of lines show what was
                // intended.
                Err(_) => document.lines().any(|line| {
                    let line = line.trim_start_matches([' ', '{', '"']);
                    keys.iter()
                        .any(|key| line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches(['"', ' ']).starts_with(':')))
                }),
            }
        })
}

fn json_form(text: &str) -> Option<serde_json::Value> {
    serde_json::from_str(text).ok().filter(serde_json::Value::is_object)
}

fn inner_comment(place: Span) -> Diagnostic {
    let message = "the rule is left as it is: a comment stands inside a condition";
    Diagnostic::warning("left", place, message).expecting("comments before, after or between the conditions that `and` or `or` joins")
}

/// With its place in the text, of which `part` is the definition's document: that of the rule where
/// the place in the rule cannot be found.
fn of_segment(definition: &Definition, diagnostic: Diagnostic, text: &str, part: Range<usize>) -> Diagnostic {
    let placed = match Places::find(text, part.start, part.end, &definition.pql) {
        Some(places) => places.moved(&diagnostic),
        None => {
            let key = key_of_rule(&text[part.clone()]).unwrap_or_default();
            let at = u32::try_from(part.start + key).unwrap_or(u32::MAX);
            Diagnostic {
                span: Span { start: at, end: at },
                ..diagnostic
            }
        }
    };
    Diagnostic {
        message: format!("segment {}: {}", definition.name, placed.message),
        ..placed
    }
}

/// The document with another text for its rule; `None` if the rule cannot be found, or something
/// else would change as well.
fn replaced(document: &str, definition: &Definition, rule: &str) -> Option<String> {
    let lines: Vec<&str> = document.split_inclusive('\n').collect();
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    for (at, line) in lines.iter().enumerate() {
        let depth = indent(line);
        if !line[depth..].starts_with("pql:") {
            continue;
        }
        let body = lines[at + 1..].iter().take_while(|line| line.trim().is_empty() || indent(line) > depth).count();
        // Empty lines after the rule belong to the file.
        let blank = lines[at + 1..at + 1 + body].iter().rev().take_while(|line| line.trim().is_empty()).count();
        let end = at + 1 + body - blank;
        let mut out: String = lines[..at].concat();
        out.push_str(&format!("{}pql: |\n", " ".repeat(depth)));
        for line in rule.lines() {
            let margin = if line.is_empty() { 0 } else { depth + 2 };
            out.push_str(&format!("{}{line}\n", " ".repeat(margin)));
        }
        out.push_str(&lines[end..].concat());
        if !document.ends_with('\n') {
            out.truncate(out.trim_end().len());
        }
        let meant = Definition {
            pql: rule.to_owned(),
            ..definition.clone()
        };
        let same = |found: &Definition| {
            Definition {
                pql: found.pql.trim().to_owned(),
                ..found.clone()
            } == meant
        };
        if parse_definitions(&out).is_ok_and(|found| found.len() == 1 && same(&found[0])) {
            return Some(out);
        }
    }
    None
}
