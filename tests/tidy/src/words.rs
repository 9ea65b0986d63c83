//! Words to avoid in prose, each with its replacement.
//!
//! Prose is every comment and string of a `.rs` file, and the whole text of other files. It is cut
//! into words, so a phrase is found across a line break as well.

/// A word or phrase that reads as a translation, and what to write instead.
const AVOIDED: [(&str, &str); 23] = [
    ("behind", "after"),
    ("tell", "send, report, say"),
    ("tells", "sends, reports, says"),
    ("telling", "sending, reporting"),
    ("told", "sent, reported, configured"),
    ("so many", "this number of, that many"),
    ("one in so", "one in N"),
    ("another than", "different from, a different"),
    ("what came of", "the result, the outcome"),
    ("what comes of", "the result, the outcome"),
    ("what became of", "the result, the outcome"),
    ("come of it", "result"),
    ("comes of it", "results"),
    ("came of it", "resulted"),
    ("for good", "permanently"),
    ("in good order", "cleanly"),
    ("out of its own", "by itself"),
    ("is to be", "must be, will be, should be"),
    ("are to be", "must be, will be, should be"),
    ("was to be", "should have been, had to be"),
    ("by whom", "the name of the actor as the subject"),
    ("to whomever", "the name of the receiver"),
    ("whose it is", "its owner"),
];

/// Phrases in which an avoided word is right, each with the reason.
const ALLOWED: [(&str, &str); 4] = [
    ("behind a proxy", "a place in the network"),
    ("behind a gateway", "a place in the network"),
    ("behind the ingress", "a place in the network"),
    ("behind these locks", "protection by a lock"),
];

/// A word that no phrase contains: between two pieces of prose, so that none spans both.
const BREAK: &str = " _ ";

/// An avoided word in a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Counted from one.
    pub line: usize,
    /// The word or phrase.
    pub word: &'static str,
    /// What to write instead.
    pub instead: &'static str,
}

/// Avoided words in a file's prose, in the order of the text. `name` decides what counts as prose.
pub fn avoided(name: &str, text: &str) -> Vec<Found> {
    let prose = if name.ends_with(".rs") { rust_prose(text) } else { text.to_owned() };
    let words = words(&prose);
    let is_at = |at: usize, phrase: &str| {
        let mut parts = phrase.split(' ').enumerate();
        parts.all(|(place, part)| words.get(at + place).is_some_and(|(_, word)| word == part))
    };
    (0..words.len())
        .filter(|at| !ALLOWED.iter().any(|(phrase, _)| is_at(*at, phrase)))
        .filter_map(|at| {
            let (word, instead) = AVOIDED.into_iter().find(|(phrase, _)| is_at(at, phrase))?;
            let line = words[at].0;
            Some(Found { line, word, instead })
        })
        .collect()
}

/// Words in lower case with their lines. Any character that no word holds ends one.
fn words(text: &str) -> Vec<(usize, String)> {
    let in_line = |(line, text): (usize, &str)| {
        let split = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '\'');
        let words = split.filter(|word| !word.is_empty());
        words.map(|word| (line + 1, word.to_lowercase())).collect::<Vec<_>>()
    };
    text.lines().enumerate().flat_map(in_line).collect()
}

/// The text with everything but comments and strings blanked out; lines stay where they are.
fn rust_prose(text: &str) -> String {
    let mut prose = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = piece(rest);
        if let Some(length) = length {
            prose.push_str(&rest[..length].replace("\\n", "  "));
            prose.push_str(BREAK);
        } else if first == '\n' {
            prose.push('\n');
        }
        rest = &rest[length.unwrap_or_else(|| code(rest, first))..];
    }
    prose
}

/// The length of the comment or string at the start of `text`; `None` where there is none.
fn piece(text: &str) -> Option<usize> {
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        // Consecutive comment lines are one text.
        let lines = text.split_inclusive('\n');
        let first = lines.clone().next().map_or(0, str::len);
        let more = lines.skip(1).take_while(|line| line.trim_start().starts_with("//"));
        return Some(first + more.map(str::len).sum::<usize>());
    }
    if text.starts_with("/*") {
        return Some(until("*/", 2));
    }
    let raw = text.strip_prefix('r').filter(|rest| rest.trim_start_matches('#').starts_with('"'));
    if let Some(rest) = raw {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        return Some(until(&format!("\"{}", "#".repeat(hashes)), hashes + 2));
    }
    let body = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = body.find(|letter| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    });
    Some(end.map_or(text.len(), |end| end + 2))
}

/// The length of the code at the start of `text`: a name or a character literal as a whole, so that
/// no quotation mark or `r` inside them begins a string.
fn code(text: &str, first: char) -> usize {
    if first.is_alphanumeric() || first == '_' {
        return text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    }
    for literal in ["'\"'", "'\\\"'", "'\\\\'"] {
        if text.starts_with(literal) {
            return literal.len();
        }
    }
    first.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and words found in a file of this name.
    fn found(name: &str, text: &str) -> Vec<(usize, &'static str)> {
        avoided(name, text).into_iter().map(|found| (found.line, found.word)).collect()
    }

    #[test]
    fn a_planted_word_is_found_with_its_line_and_replacement() {
        let planted = avoided("a.md", "# Title\n\nThe events lie behind the last one.\n");
        assert_eq!(
            planted,
            [Found {
                line: 3,
                word: "behind",
                instead: "after"
            }]
        );
        assert_eq!(found("a.yaml", "doc: Told once.\n"), [(1, "told")]);
    }

    #[test]
    fn a_phrase_is_found_across_a_line_break() {
        assert_eq!(found("a.md", "it takes so\nmany steps"), [(1, "so many")]);
        assert_eq!(found("a.rs", "/// It takes so\n    /// many steps.\nfn f() {}"), [(1, "so many")]);
    }

    #[test]
    fn only_comments_and_strings_of_rust_are_prose() {
        let cases: [(&str, &[(usize, &str)]); 11] = [
            ("let behind = told(1);", &[]),
            ("let a = 1; // behind", &[(1, "behind")]),
            ("//! A\n//! told B", &[(2, "told")]),
            ("/* a\nbehind */ fn behind() {}", &[(2, "behind")]),
            (r#"f("behind {}", behind)"#, &[(1, "behind")]),
            (r#"f("a \" b", behind, "told")"#, &[(1, "told")]),
            ("f(r#\"a \" behind\"#, told)", &[(1, "behind")]),
            ("if a == '\"' { behind() } // told", &[(1, "told")]),
            ("for_each(|error| behind)\nfor\"good\"", &[]),
            ("f(\"so\", \"many\")", &[]),
            (r#"f("one\ntold")"#, &[(1, "told")]),
        ];
        for (text, expected) in cases {
            assert_eq!(found("a.rs", text), expected, "{text}");
        }
    }

    #[test]
    fn words_inside_words_and_allowed_phrases_pass() {
        assert_eq!(found("a.md", "Retelling, foretold, behindhand."), []);
        assert_eq!(found("a.md", "A client behind a proxy."), []);
        assert_eq!(found("a.md", "A client behind a rock."), [(1, "behind")]);
    }
}
