//! The place of a rule in the text of its definition: findings name lines of the file that people
//! edit, not of the rule that YAML made of it.

use millrace_pql::Diagnostic;
use millrace_pql::ast::Span;

/// The most bytes between a rule and its key: the indicator of a block, a comment, a quotation mark
/// may come between.
const LEAD_BYTES_MAX: usize = 400;

/// For each byte of a rule, and for its end, the position of that byte in the text.
pub struct Places(Vec<usize>);

impl Places {
    /// Finds a rule within the part of `text` from `from` to `to`; `None` if the text writes it
    /// differently: as a tree in JSON form, or with escapes.
    ///
    /// White space counts as equal whatever it is: a block loses its indentation, a folded one its
    /// line breaks.
    pub fn find(text: &str, from: usize, to: usize, rule: &str) -> Option<Places> {
        let rule = rule.trim_end();
        let document = text.get(from..to)?;
        let Some(first) = rule.trim_start().chars().next() else {
            return key_of_rule(document).map(|key| Places(vec![from + key]));
        };
        for (key, _) in document.match_indices("pql") {
            let begin = from + key + "pql".len();
            for (at, letter) in text[begin..to].char_indices().take_while(|(at, _)| *at < LEAD_BYTES_MAX) {
                if letter == first
                    && let Some(places) = follow(text, begin + at, to, rule)
                {
                    return Some(Places(places));
                }
            }
        }
        None
    }

    /// The finding with its place in the text.
    #[must_use]
    pub fn moved(&self, finding: &Diagnostic) -> Diagnostic {
        let place = |at: u32| {
            let at = self.0.get(at as usize).or(self.0.last()).copied().unwrap_or_default();
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        let Span { start, end } = finding.span;
        Diagnostic {
            span: Span {
                start: place(start),
                end: place(end),
            },
            ..finding.clone()
        }
    }
}

/// Where a document names its rule.
pub(crate) fn key_of_rule(document: &str) -> Option<usize> {
    document.find("pql:").or_else(|| document.find("pql\""))
}

/// Reads the rule and the text side by side from `begin` on.
fn follow(text: &str, begin: usize, to: usize, rule: &str) -> Option<Vec<usize>> {
    let mut places = Vec::with_capacity(rule.len() + 1);
    let mut at = begin;
    let mut letters = rule.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        if letter.is_whitespace() {
            while letters.next_if(|(_, next)| next.is_whitespace()).is_some() {}
            let rest = &text[at..to];
            let blanks = rest.len() - rest.trim_start().len();
            // A rule may begin with blanks that the text has before `begin`.
            if blanks == 0 && start > 0 {
                return None;
            }
            let end = letters.peek().map_or(rule.len(), |(next, _)| *next);
            places.extend((start..end).map(|byte| at + (byte - start).min(blanks)));
            at += blanks;
            continue;
        }
        let mut rest = text[at..to].chars();
        let found = rest.next()?;
        // Quoted texts double a quotation mark, or put a backslash before one.
        let escaped = matches!((found, rest.next()), ('\\', Some(next)) | ('\'', Some(next)) if next == letter && matches!(letter, '"' | '\\' | '\''));
        if escaped && (found != letter || rule[start..].chars().nth(1) != Some(letter)) {
            at += found.len_utf8();
        } else if found != letter {
            return None;
        }
        places.extend(std::iter::repeat_n(at, letter.len_utf8()));
        at += letter.len_utf8();
    }
    places.push(at);
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_definitions;

    /// The line and column in the text of a word of its rule.
    fn place(text: &str, word: &str) -> Option<(usize, usize)> {
        let rule = &parse_definitions(text).expect("a definition")[0].pql;
        let at = u32::try_from(rule.find(word).expect("a word of the rule")).expect("a short rule");
        let finding = Diagnostic::error("x", Span { start: at, end: at + 1 }, "m");
        Places::find(text, 0, text.len(), rule).map(|places| places.moved(&finding).position(text))
    }

    #[test]
    fn places_in_every_form_of_scalar() {
        let head = "kind: Segment\nmetadata: { name: a, description: a pql rule }\n";
        for (spec, word, expected) in [
            ("spec: { pql: b2b.isConverted }\n", "isConverted", Some((3, 18))),
            ("spec:\n  pql: b2b.isConverted\n    and b2b.x\n", "b2b.x", Some((5, 9))),
            ("spec:\n  pql: |\n    b2b.isConverted\n\n    and b2b.x\n", "b2b.x", Some((7, 9))),
            ("spec:\n  pql: >- # folded\n    b2b.isConverted\n    and b2b.x\n", "b2b.x", Some((6, 9))),
            ("spec:\n  pql: \"a = \\\"x\\\" and b2b.x\"\n", "b2b.x", Some((4, 23))),
            ("spec:\n  pql: 'a = ''x'' and b2b.x'\n", "b2b.x", Some((4, 23))),
            ("spec:\n  pql: |\n    name = \"é\" and b2b.x\n", "b2b.x", Some((5, 20))),
            ("spec:\n  pql: \"a \\x3d b2b.x\"\n", "b2b.x", None),
            ("spec:\n  pql: \"\"\n", "", Some((4, 3))),
        ] {
            assert_eq!(place(&format!("{head}{spec}"), word), expected, "{spec}");
        }
    }
}
