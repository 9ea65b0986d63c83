//! The parser's cursor over its tokens: looking, taking, expecting; reporting and skipping;
//! building bounded nodes.

use super::{DEPTH_MAX, Failed, NODES_MAX, Parsed, Parser, nested_too_deep};
use crate::ast::{Expr, Node, Span};
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, did_you_mean};
use crate::lexer::Kind;
use crate::words::{is_reserved, keyword};

const UNCLOSED: &str = "unclosed-bracket";

impl<'a> Parser<'a> {
    // Tokens.

    pub(super) fn kind(&self) -> &Kind<'a> {
        self.kind_at(0)
    }

    pub(super) fn kind_at(&self, ahead: usize) -> &Kind<'a> {
        // The last token is `End`, and nothing moves past it.
        &self.tokens[(self.at + ahead).min(self.tokens.len() - 1)].kind
    }

    pub(super) fn span(&self) -> Span {
        self.tokens[self.at.min(self.tokens.len() - 1)].span
    }

    /// From `start` to the end of the token before the current one.
    pub(super) fn since(&self, start: Span) -> Span {
        let end = if self.at == 0 {
            start.end
        } else {
            self.tokens[(self.at - 1).min(self.tokens.len() - 1)].span.end
        };
        Span {
            start: start.start,
            end: end.max(start.start),
        }
    }

    pub(super) fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    /// The current word, if it is one and not a quoted name.
    pub(super) fn bare(&self, ahead: usize) -> Option<&'a str> {
        if let Kind::Word(word) = self.kind_at(ahead) { Some(word) } else { None }
    }

    /// Which of `keywords` the current token is.
    pub(super) fn word(&self, keywords: &[&'static str]) -> Option<&'static str> {
        self.bare(0).and_then(|word| keyword(word, keywords))
    }

    pub(super) fn sign_at(&self, ahead: usize) -> Option<&'static str> {
        if let Kind::Sign(sign) = self.kind_at(ahead) { Some(sign) } else { None }
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        self.sign_at(0) == Some(sign)
    }

    pub(super) fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn take_word(&mut self, word: &'static str) -> bool {
        let found = self.word(&[word]).is_some();
        if found {
            self.advance();
        }
        found
    }

    /// A name that is not a reserved word, or any name between backquotes.
    pub(super) fn name_at(&self, ahead: usize) -> Option<String> {
        match self.kind_at(ahead) {
            Kind::Word(word) if !is_reserved(word) => Some((*word).to_owned()),
            Kind::Quoted(name) => Some(name.clone().into_owned()),
            Kind::Word(_) | Kind::Text(_) | Kind::Int(_) | Kind::Decimal(_) | Kind::Parameter(_) | Kind::Sign(_) | Kind::End => None,
        }
    }

    pub(super) fn expect_name(&mut self, what: &str) -> Parsed<String> {
        match self.name_at(0) {
            Some(name) => {
                self.advance();
                Ok(name)
            }
            None => self.unexpected(what),
        }
    }

    pub(super) fn expect_sign(&mut self, sign: &'static str) -> Parsed<()> {
        if self.take_sign(sign) {
            Ok(())
        } else {
            self.unexpected(&format!("`{sign}`"))
        }
    }

    /// The bracket that closes the one at `open`.
    pub(super) fn expect_close(&mut self, open: Span, close: &'static str, or: &str) -> Parsed<()> {
        if self.take_sign(close) {
            return Ok(());
        }
        if *self.kind() != Kind::End {
            return self.unexpected(&format!("{or}`{close}`"));
        }
        // One is enough: the brackets around it are open as well.
        if self.diagnostics.iter().any(|earlier| earlier.code == UNCLOSED) {
            return Err(Failed);
        }
        self.fail(Diagnostic::error(UNCLOSED, open, "the bracket is not closed").expecting(format!("`{close}` before the end of the rule")))
    }

    /// A keyword; a word one slip away from it is reported and taken for it.
    pub(super) fn expect_word(&mut self, keywords: &[&'static str]) -> Parsed<&'static str> {
        if let Some(found) = self.word(keywords) {
            self.advance();
            return Ok(found);
        }
        let expected = one_of(keywords);
        let meant = self.bare(0).and_then(|word| did_you_mean(word, keywords.iter().copied()));
        let span = self.span();
        let found = self.kind().describe();
        let failed = self.fail(
            Diagnostic::error("unexpected-token", span, format!("found {found}"))
                .expecting(expected)
                .suggesting(meant),
        );
        match meant {
            // `did_you_mean` gives one of the candidates.
            Some(meant) => {
                self.advance();
                keywords.iter().copied().find(|keyword| *keyword == meant).ok_or(Failed)
            }
            None => failed,
        }
    }

    // Reports and recovery.

    pub(super) fn fail<T>(&mut self, diagnostic: Diagnostic) -> Parsed<T> {
        // A finding that follows from another at the same place is noise.
        let known = self.diagnostics.iter().rev().take(4).any(|earlier| earlier.span.start == diagnostic.span.start);
        if !known {
            self.diagnostics.push(diagnostic);
        }
        if self.diagnostics.len() >= DIAGNOSTICS_MAX {
            self.at = self.tokens.len() - 1;
        }
        Err(Failed)
    }

    /// Refuses the whole rule: nothing further is read.
    pub(super) fn refuse<T>(&mut self, code: &'static str, span: Span, message: String) -> Parsed<T> {
        let failed = self.fail(Diagnostic::error(code, span, message));
        self.at = self.tokens.len() - 1;
        failed
    }

    pub(super) fn unexpected<T>(&mut self, expected: &str) -> Parsed<T> {
        let (span, found) = (self.span(), self.kind().describe());
        self.fail(Diagnostic::error("unexpected-token", span, format!("found {found}")).expecting(expected))
    }

    /// To the next place where an operand or item may end: a comma, a closing bracket, `and`, `or`,
    /// `where` or the end. Bracketed parts are skipped whole.
    pub(super) fn skip(&mut self) {
        let mut open = 0_usize;
        loop {
            match self.kind() {
                Kind::End => return,
                Kind::Sign("(" | "[" | "{") => open += 1,
                Kind::Sign(")" | "]" | "}") if open == 0 => return,
                Kind::Sign(")" | "]" | "}") => open -= 1,
                Kind::Sign(",") if open == 0 => return,
                Kind::Word(_) if open == 0 && self.word(&["and", "or", "where"]).is_some() => return,
                Kind::Sign(_) | Kind::Word(_) | Kind::Quoted(_) | Kind::Text(_) | Kind::Int(_) | Kind::Decimal(_) => {}
                Kind::Parameter(_) => {}
            }
            self.advance();
        }
    }

    /// The result, or a null in its place with the parser after the unreadable part.
    pub(super) fn recovered(&mut self, parsed: Parsed) -> Expr {
        parsed.unwrap_or_else(|Failed| {
            let start = self.span();
            self.skip();
            self.height = 1;
            Expr {
                span: self.since(start),
                node: Node::Null,
            }
        })
    }

    // Trees.

    /// A node above children, the highest of which has height `below`.
    pub(super) fn node(&mut self, start: Span, node: Node, below: usize) -> Parsed {
        let span = self.since(start);
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return self.refuse("too-large", start, format!("the rule has more than {NODES_MAX} parts"));
        }
        if below >= DEPTH_MAX {
            return self.refuse("too-deep", start, nested_too_deep());
        }
        self.height = below + 1;
        Ok(Expr { span, node })
    }

    pub(super) fn leaf(&mut self, node: Node) -> Parsed {
        let start = self.span();
        self.advance();
        self.node(start, node, 0)
    }
}

fn one_of(keywords: &[&str]) -> String {
    let mut list = String::new();
    for (i, keyword) in keywords.iter().enumerate() {
        if i > 0 {
            list.push_str(if i + 1 == keywords.len() { " or " } else { ", " });
        }
        list.push('`');
        list.push_str(keyword);
        list.push('`');
    }
    list
}
