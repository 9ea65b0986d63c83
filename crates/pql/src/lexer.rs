//! Text to tokens: words, numbers, quoted text, signs; blanks and comments (`// …`, `/* … */`) are
//! dropped.
//!
//! Words are not sorted into keywords and names here: almost every keyword may also name a field,
//! and only the parser knows which it is. A backslash in quoted text escapes `"`, `'`, `\`, `/`,
//! `n`, `r`, `t` and `uXXXX`; before anything else it stands for itself, so that regular
//! expressions can be written as they are. Single quotes work like double ones: published rules
//! that are embedded in JSON have them. A name that is not a word, or is a keyword, is written
//! between backquotes.

use std::borrow::Cow;

use crate::ast::Span;
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic};

/// A token and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub kind: Kind<'a>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind<'a> {
    /// A name or a keyword.
    Word(&'a str),
    /// A name between backquotes: never a keyword.
    Quoted(Cow<'a, str>),
    Text(Cow<'a, str>),
    /// Without sign; the parser knows whether a minus belongs to it.
    Int(u64),
    Decimal(millrace_model::Decimal),
    /// `$1`
    Parameter(u32),
    /// One of the signs of `SIGNS`, in its canonical spelling.
    Sign(&'static str),
    End,
}

impl Kind<'_> {
    /// How a message names the token.
    pub(crate) fn describe(&self) -> String {
        match self {
            Kind::Word(word) => format!("`{}`", shortened(word)),
            Kind::Quoted(name) => format!("the name `{}`", shortened(name)),
            Kind::Text(text) => format!("the text \"{}\"", shortened(text)),
            Kind::Int(number) => format!("the number {number}"),
            Kind::Decimal(number) => format!("the number {number}"),
            Kind::Parameter(number) => format!("`${number}`"),
            Kind::Sign(sign) => format!("`{sign}`"),
            Kind::End => "the end of the rule".to_owned(),
        }
    }
}

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}

/// Longer signs first, so that the first match is the right one.
const SIGNS: [&str; 23] = [
    "=>", "!=", "<=", ">=", "=", "<", ">", "!", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}", ",", ".", ":", "^",
];

/// Signs of other languages: what is written, what it is here.
const FOREIGN_SIGNS: [(&str, Kind<'static>, &str); 8] = [
    ("===", Kind::Sign("="), "="),
    ("!==", Kind::Sign("!="), "!="),
    ("==", Kind::Sign("="), "="),
    ("<>", Kind::Sign("!="), "!="),
    ("&&", Kind::Word("and"), "and"),
    ("||", Kind::Word("or"), "or"),
    ("≤", Kind::Sign("<="), "<="),
    ("≥", Kind::Sign(">="), ">="),
];

/// All tokens of `text`, `End` last. Errors go to `diagnostics` and their text is left out or
/// repaired, so that the parser can continue.
pub(crate) fn tokens<'a>(text: &'a str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Token<'a>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        comments: Vec::new(),
        diagnostics,
    };
    let mut tokens = Vec::with_capacity(text.len() / 4 + 1);
    while let Some(token) = lexer.next() {
        tokens.push(token);
    }
    tokens.push(Token {
        kind: Kind::End,
        span: lexer.span_from(text.len()),
    });
    tokens
}

/// The places of all comments, in order, including their signs but not the line's end.
pub(crate) fn comments(text: &str) -> Vec<Span> {
    let mut lexer = Lexer {
        text,
        at: 0,
        comments: Vec::new(),
        diagnostics: &mut Vec::new(),
    };
    while lexer.next().is_some() {}
    lexer.comments
}

/// Whether `name` can be written without backquotes, keywords aside.
pub(crate) fn is_word(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(starts_word) && letters.all(continues_word)
}

fn starts_word(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn continues_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Lexer<'a, 'd> {
    text: &'a str,
    at: usize,
    comments: Vec<Span>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'a> Lexer<'a, '_> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The parser limits texts before they come here, so offsets fit.
    fn span_from(&self, start: usize) -> Span {
        Span {
            start: start as u32,
            end: self.at.max(start) as u32,
        }
    }

    fn error(&mut self, code: &'static str, start: usize, message: impl Into<String>, suggestion: Option<&str>) {
        self.report(Diagnostic::error(code, self.span_from(start), message).suggesting(suggestion));
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(diagnostic);
        }
    }

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.skip_blanks();
            let start = self.at;
            let first = self.rest().chars().next()?;
            let kind = match first {
                '"' | '\'' | '`' => self.quoted(first),
                '$' => self.parameter(),
                c if c.is_ascii_digit() => self.number(),
                c if starts_word(c) => Some(Kind::Word(self.take_while(continues_word))),
                _ => self.sign(),
            };
            if let Some(kind) = kind {
                return Some(Token {
                    kind,
                    span: self.span_from(start),
                });
            }
        }
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').len();
            self.at += blanks;
            let rest = &rest[blanks..];
            let start = self.at;
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
                self.comments.push(self.span_from(start));
            } else if let Some(comment) = rest.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => {
                        self.at += end + 4;
                        self.comments.push(self.span_from(start));
                    }
                    None => {
                        self.at = self.text.len();
                        let span = Span {
                            start: start as u32,
                            end: start as u32 + 2,
                        };
                        self.report(Diagnostic::error("unclosed-comment", span, "the comment is not closed").expecting("`*/`"));
                    }
                }
            } else if blanks == 0 {
                return;
            }
        }
    }

    fn take_while(&mut self, accepts: fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !accepts(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn sign(&mut self) -> Option<Kind<'a>> {
        let (start, rest) = (self.at, self.rest());
        if let Some((written, kind, meant)) = FOREIGN_SIGNS.iter().find(|(written, ..)| rest.starts_with(written)) {
            self.at += written.len();
            self.error("foreign-sign", start, format!("`{written}` is no sign of this language"), Some(meant));
            return Some(kind.clone());
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Some(Kind::Sign(sign));
        }
        // A run of strange characters is one finding.
        let strange = self.take_while(|c| !c.is_whitespace() && !continues_word(c) && !c.is_ascii_punctuation());
        if strange.is_empty() {
            self.at += rest.chars().next().map_or(0, char::len_utf8);
        }
        let shown = shortened(&self.text[start..self.at]);
        self.error("unknown-character", start, format!("`{shown}` means nothing here"), None);
        None
    }

    fn parameter(&mut self) -> Option<Kind<'a>> {
        let start = self.at;
        self.at += 1;
        let digits = self.take_while(continues_word);
        match digits.parse::<u32>() {
            Ok(number) if number > 0 => Some(Kind::Parameter(number)),
            _ => {
                self.error("bad-parameter", start, "parameters are counted from one, as `$1`", None);
                Some(Kind::Parameter(1))
            }
        }
    }

    fn number(&mut self) -> Option<Kind<'a>> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        let mut whole = true;
        if let Some(fraction) = self.rest().strip_prefix('.')
            && fraction.starts_with(|c: char| c.is_ascii_digit())
        {
            whole = false;
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        if let Some(exponent) = self.rest().strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            if exponent[sign..].starts_with(|c: char| c.is_ascii_digit()) {
                whole = false;
                self.at += 1 + sign;
                self.take_while(|c| c.is_ascii_digit());
            }
        }
        let written = &self.text[start..self.at];
        let glued = self.take_while(continues_word);
        if !glued.is_empty() {
            let message = format!("a number runs into a name: `{}`", shortened(&self.text[start..self.at]));
            self.error("bad-number", start, message, Some(&format!("{} {}", shortened(written), shortened(glued))));
        }
        let int = if whole { written.parse().ok().map(Kind::Int) } else { None };
        let number = int.map_or_else(|| millrace_model::number::read(written).map(Kind::Decimal), Ok);
        Some(number.unwrap_or_else(|misfit| {
            self.error("number-out-of-range", start, format!("the number {} {misfit}", shortened(written)), None);
            Kind::Int(0)
        }))
    }

    /// Text between double or single quotes, a name between backquotes.
    fn quoted(&mut self, quote: char) -> Option<Kind<'a>> {
        let start = self.at;
        self.at += 1;
        let content = self.at;
        let mut owned: Option<String> = None;
        // Where the part not yet copied to `owned` begins.
        let mut pending = content;
        let closed = loop {
            let rest = self.rest();
            let Some(stop) = rest.find([quote, '\\', '\n']) else {
                self.at = self.text.len();
                break false;
            };
            self.at += stop;
            match rest.as_bytes()[stop] {
                b'\\' => {
                    let escape = self.at;
                    if let Some(letter) = self.escape() {
                        let copy = owned.get_or_insert_default();
                        copy.push_str(&self.text[pending..escape]);
                        copy.push(letter);
                        pending = self.at;
                    }
                }
                b'\n' => break false,
                _ => break true,
            }
        };
        let last = &self.text[pending..self.at];
        let value = match owned {
            Some(mut copy) => {
                copy.push_str(last);
                Cow::Owned(copy)
            }
            None => Cow::Borrowed(last),
        };
        let name = quote == '`';
        if closed {
            self.at += 1;
        } else {
            let span = Span {
                start: start as u32,
                end: start as u32 + 1,
            };
            let what = if name { "the name" } else { "the text" };
            self.report(Diagnostic::error("unclosed-text", span, format!("{what} is not closed on its line")).expecting(format!("`{quote}`")));
        }
        if name && value.is_empty() {
            self.error("empty-name", start, "a name has at least one character", None);
        }
        Some(if name { Kind::Quoted(value) } else { Kind::Text(value) })
    }

    /// At a backslash: the character it stands for; the position is after it afterwards. `None` if
    /// the backslash stands for itself.
    fn escape(&mut self) -> Option<char> {
        let start = self.at;
        self.at += 1;
        let letter = self.rest().chars().next()?;
        let meant = match letter {
            '"' | '\'' | '`' | '\\' | '/' => letter,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(start),
            _ => return None,
        };
        self.at += 1;
        Some(meant)
    }

    /// At the `u` of `\uXXXX`, or of a pair of surrogates.
    fn unicode(&mut self, start: usize) -> Option<char> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 5)?.strip_prefix('u')?;
            if digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                u32::from_str_radix(digits, 16).ok()
            } else {
                None
            }
        };
        let first = unit(self.at)?;
        let pair = if self.text[self.at + 5..].starts_with('\\') {
            unit(self.at + 6)
        } else {
            None
        };
        self.at += 5;
        match (first, pair) {
            (0xD800..=0xDBFF, Some(second @ 0xDC00..=0xDFFF)) => {
                self.at += 6;
                char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
            }
            _ => char::from_u32(first).or_else(|| {
                self.error("bad-escape", start, "half of a surrogate pair is no character", None);
                Some(char::REPLACEMENT_CHARACTER)
            }),
        }
    }
}
