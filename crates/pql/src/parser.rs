//! Tokens to syntax tree: recursive descent, with precedence climbing for operators.
//!
//! From loose to tight: `or`, `and`, `not`, comparisons with `in`, `like` and `occurs` (which do
//! not chain), `+ -`, `* / %`, sign and `!`, postfix. Forms that end in `where …`, `=> …` or `in …`
//! reach as far as they can.
//!
//! **Errors.** A function that cannot continue reports one diagnostic and returns `Failed`; the
//! nearest enclosing operand of `and`/`or` or list item skips to the beginning of the next one and
//! substitutes a null, so that one slip costs one diagnostic. A mistyped keyword is reported and
//! taken for the intended one.
//!
//! **Bounds.** Text, nodes, nesting while parsing and height of the tree are bounded, so no code
//! that walks a tree needs its own guard. Long chains of `and` or `or` are built balanced (see
//! `operands`), all others lean to the left. Time is linear in the text.

mod cursor;
pub(crate) mod forms;
mod operators;

use crate::ast::{Binary, Expr, Node, Span};
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, did_you_mean};
use crate::functions;
use crate::lexer::{self, Kind, Token};
use crate::words::{self, aggregate, is_keyword, is_reserved, keyword, quantifier, unit};
pub use forms::CLIMB_MAX;
pub(crate) use operators::{Level, binds};

/// Levels of a rule's nesting: brackets in the text, and conditions within conditions.
pub const NESTING_MAX: usize = 128;
/// Levels of a syntax tree, so that walks of it fit a 2 MiB stack. Chains of operators add levels
/// that are not visible as nesting.
pub const DEPTH_MAX: usize = 256;
/// Nodes of a syntax tree: far beyond what people write, small enough to check at once.
pub const NODES_MAX: usize = 20_000;
/// Bytes of a rule's text.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

fn met_limit(diagnostic: &Diagnostic) -> bool {
    matches!(diagnostic.code, "too-deep" | "too-large")
}

/// The first bracket that is nested too deeply.
fn too_deep(tokens: &[Token<'_>]) -> Option<Diagnostic> {
    let mut open = 0_usize;
    for token in tokens {
        match token.kind {
            Kind::Sign("(" | "[" | "{") => open += 1,
            Kind::Sign(")" | "]" | "}") => open = open.saturating_sub(1),
            Kind::Sign(_) | Kind::Word(_) | Kind::Quoted(_) | Kind::Text(_) | Kind::Int(_) | Kind::Decimal(_) => {}
            Kind::Parameter(_) | Kind::End => {}
        }
        if open > NESTING_MAX {
            return Some(Diagnostic::error("too-deep", token.span, nested_too_deep()));
        }
    }
    None
}

/// The message of every stage.
pub fn nested_too_deep() -> String {
    format!("the rule is nested deeper than {NESTING_MAX} levels")
}

/// Parses a rule.
///
/// # Errors
/// All errors, in order of place, at most about twenty findings; never empty.
pub fn parse(text: &str) -> Result<Expr, Vec<Diagnostic>> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the rule has {} bytes, more than {TEXT_BYTES_MAX}", text.len());
        return Err(vec![Diagnostic::error("too-long", Span::default(), message)]);
    }
    let mut diagnostics = Vec::new();
    let tokens = lexer::tokens(text, &mut diagnostics);
    if let Some(problem) = too_deep(&tokens) {
        return Err(vec![problem]);
    }
    let comprehensions = comprehensions(&tokens);
    let mut parser = Parser {
        tokens,
        comprehensions,
        at: 0,
        depth: 0,
        height: 0,
        nodes: 0,
        plain_in: false,
        diagnostics,
    };
    let expr = parser.rule();
    if parser.diagnostics.is_empty() {
        return Ok(expr);
    }
    let mut diagnostics = parser.diagnostics;
    // If a limit ended the reading, all other findings follow from that.
    if diagnostics.iter().any(met_limit) {
        diagnostics.retain(met_limit);
    }
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
    diagnostics.truncate(DIAGNOSTICS_MAX);
    Err(diagnostics)
}

/// A diagnostic has been reported; the caller recovers or passes it on.
#[derive(Debug)]
struct Failed;

type Parsed<T = Expr> = Result<T, Failed>;

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    /// By token: whether it is an aggregate's word with an `over` of its own.
    comprehensions: Vec<bool>,
    at: usize,
    /// Nesting of calls to `expression`.
    depth: usize,
    /// Height of the tree returned last.
    height: usize,
    nodes: usize,
    /// Inside the value of a `let`, where a bare `in` ends the value. Brackets end that.
    plain_in: bool,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    fn rule(&mut self) -> Expr {
        if matches!(self.kind(), Kind::End) {
            let _: Parsed<()> = self.fail(Diagnostic::error("empty-rule", self.span(), "the rule is empty").expecting("a condition"));
        }
        let expr = self.condition();
        while !matches!(self.kind(), Kind::End) {
            // Either the text continues after its expected end, or an operand was skipped; the rest
            // may hold further slips.
            let _: Parsed<()> = self.unexpected("`and`, `or`, another operator or the end of the rule");
            self.at += 1;
            self.skip();
            if self.word(&["and", "or"]).is_some() {
                self.at += 1;
                self.condition();
            }
        }
        expr
    }

    /// A whole expression; never fails, so it may be followed by anything that closes it.
    fn condition(&mut self) -> Expr {
        let parsed = self.expression(Level::Or);
        self.recovered(parsed)
    }

    /// As `condition`, between brackets of some kind: `in` is an operator again.
    fn enclosed(&mut self) -> Expr {
        let plain_in = std::mem::replace(&mut self.plain_in, false);
        let expr = self.condition();
        self.plain_in = plain_in;
        expr
    }

    /// An expression of operators that bind at least as tightly as `level`.
    fn expression(&mut self, level: Level) -> Parsed {
        if self.depth >= DEPTH_MAX {
            return self.refuse("too-deep", self.span(), nested_too_deep());
        }
        self.depth += 1;
        let parsed = if level <= Level::And {
            Ok(self.chained(level))
        } else {
            self.operators(level)
        };
        self.depth -= 1;
        parsed
    }

    /// An operand with what follows it closely: `.field`, `.method(…)`, `[condition]`.
    fn postfixed(&mut self) -> Parsed {
        let start = self.span();
        let mut of = self.primary()?;
        loop {
            let mut below = self.height;
            if self.take_sign(".") {
                let name = match self.kind() {
                    Kind::Word(word) => (*word).to_owned(),
                    Kind::Quoted(name) => name.clone().into_owned(),
                    Kind::Text(_) | Kind::Int(_) | Kind::Decimal(_) | Kind::Parameter(_) | Kind::Sign(_) | Kind::End => {
                        return self.unexpected("the name of a field or method");
                    }
                };
                self.advance();
                of = if self.is_sign("(") {
                    let arguments = self.arguments()?;
                    below = below.max(self.height);
                    self.node(start, method(of, name, arguments), below)?
                } else {
                    self.node(start, Node::Field { of: Box::new(of), name }, below)?
                };
            } else if self.is_sign("[") {
                let open = self.span();
                self.advance();
                let condition = self.enclosed();
                below = below.max(self.height);
                self.expect_close(open, "]", "")?;
                of = self.node(
                    start,
                    Node::Filter {
                        of: Box::new(of),
                        condition: Box::new(condition),
                    },
                    below,
                )?;
            } else {
                return Ok(of);
            }
        }
    }

    /// `(a, b, …)`; `height` is the highest argument's afterwards.
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.items("(", ")")
    }

    /// Items between brackets, commas between them.
    fn items(&mut self, open: &'static str, close: &'static str) -> Parsed<Vec<Expr>> {
        let opened = self.span();
        self.expect_sign(open)?;
        let mut items = Vec::new();
        let mut below = 0;
        while !self.is_sign(close) {
            items.push(self.enclosed());
            below = below.max(self.height);
            if !self.take_sign(",") {
                break;
            }
        }
        self.height = below;
        self.expect_close(opened, close, "`,` or ")?;
        Ok(items)
    }

    fn primary(&mut self) -> Parsed {
        let start = self.span();
        match self.kind().clone() {
            Kind::Int(number) => match i64::try_from(number) {
                Ok(number) => self.leaf(Node::Int(number)),
                Err(_) => self.leaf(Node::Decimal(number.into())),
            },
            Kind::Decimal(number) => self.leaf(Node::Decimal(number)),
            Kind::Text(text) => self.leaf(Node::Text(text.into_owned())),
            Kind::Parameter(number) => self.leaf(Node::Parameter(number)),
            Kind::Quoted(name) if self.sign_at(1) == Some("(") => self.call(name.into_owned()),
            Kind::Quoted(name) => self.leaf(Node::Name(name.into_owned())),
            Kind::Sign("(") if self.lambda_ahead() => self.lambda(),
            Kind::Sign("(") => {
                self.advance();
                let inner = self.enclosed();
                self.expect_close(start, ")", "an operator or ")?;
                Ok(inner)
            }
            Kind::Sign("[") => {
                let items = self.items("[", "]")?;
                self.node(start, Node::Array(items), self.height)
            }
            Kind::Sign("{") => self.object(),
            Kind::Sign("^") => self.climb(),
            Kind::Sign("-" | "!") => self.expression(Level::Sign),
            Kind::Word(word) => self.introduced(word),
            Kind::Sign(_) | Kind::End => self.unexpected("an expression"),
        }
    }

    /// An operand that begins with a word: a literal, one of the forms, a call or a name.
    fn introduced(&mut self, word: &'a str) -> Parsed {
        if let Some(found) = keyword(word, &["true", "false", "null", "not", "select", "let"]) {
            return match found {
                "true" => self.leaf(Node::Bool(true)),
                "false" => self.leaf(Node::Bool(false)),
                "null" => self.leaf(Node::Null),
                "not" => self.expression(Level::Not),
                "select" => self.select(),
                _ => self.binding_of_value(),
            };
        }
        if self.comprehensions[self.at]
            && let Some(aggregate) = aggregate(word)
        {
            return self.aggregate(aggregate);
        }
        // `sum v.x from …`, where an `over` was forgotten or mistyped.
        let named = self.name_at(1).is_some();
        let follows = named && self.bare(1).is_none_or(|next| unit(next).is_none() && words::direction(next).is_none());
        let ranges = named && self.bare(2).is_some_and(|word| is_keyword(word, "from"));
        match self.sign_at(1) {
            Some("(") if is_keyword(word, "chain") => return self.chain(),
            Some("(") if !is_reserved(word) || keyword(word, &["in", "notIn"]).is_some() => return self.call(word.to_owned()),
            Some("=>") if !is_reserved(word) => return self.lambda(),
            _ if follows || ranges => {
                if let Some(quantifier) = quantifier(word) {
                    return self.quantified(quantifier);
                }
                if follows && let Some(aggregate) = aggregate(word) {
                    return self.aggregate(aggregate);
                }
            }
            _ => {}
        }
        if let Some(moment) = self.moment() {
            return moment;
        }
        // `al days from now` is a number of days, not a mistyped `all`.
        if follows
            && ranges
            && let Some(meant) = did_you_mean(word, ["exists", "some", "forall", "all", "none", "one", "select"])
        {
            let report = Diagnostic::error("unexpected-token", self.span(), format!("found `{word}`"));
            let _: Parsed<()> = self.fail(report.expecting("a quantifier or `select`").suggesting(Some(meant)));
            return match quantifier(meant) {
                Some(quantifier) => self.quantified(quantifier),
                None => self.select(),
            };
        }
        if is_reserved(word) {
            self.unexpected("an expression")
        } else {
            self.leaf(Node::Name(word.to_owned()))
        }
    }

    /// At a name followed by `(`.
    fn call(&mut self, name: String) -> Parsed {
        let start = self.span();
        let bare = self.bare(0).is_some();
        self.advance();
        let arguments = self.arguments()?;
        let below = self.height;
        let node = if bare {
            call(name, arguments)
        } else {
            Node::Call { function: name, arguments }
        };
        self.node(start, node, below)
    }
}

/// The meaning of a call written with a bare name.
pub(crate) fn call(name: String, mut arguments: Vec<Expr>) -> Node {
    if let (Some(word), 2) = (keyword(&name, &["in", "notIn"]), arguments.len()) {
        let right = arguments.swap_remove(1);
        return membership(word, arguments.swap_remove(0), right);
    }
    match (words::instant(&name), functions::keyword(&name)) {
        (Some(moment), _) if arguments.is_empty() => Node::Moment(moment),
        (_, Some(word)) => Node::Call {
            function: word.to_owned(),
            arguments,
        },
        _ => Node::Call { function: name, arguments },
    }
}

/// Whether a bare `name(…)` with this number of arguments is a call of that name, and not some
/// other form.
pub(crate) fn is_normal_call(name: &str, arguments: usize) -> bool {
    let renamed = functions::keyword(name).is_some_and(|word| word != name);
    let moment = arguments == 0 && words::instant(name).is_some();
    !(renamed || moment || is_keyword(name, "chain") || is_reserved(name))
}

/// The meaning of a method call.
pub(crate) fn method(of: Expr, name: String, mut arguments: Vec<Expr>) -> Node {
    match keyword(&name, &["in", "notIn"]) {
        Some(word) if arguments.len() == 1 => membership(word, of, arguments.swap_remove(0)),
        _ => Node::Method {
            of: Box::new(of),
            name,
            arguments,
        },
    }
}

/// `in` and `notIn` in any of their three forms are one operator.
fn membership(word: &str, left: Expr, right: Expr) -> Node {
    Node::Binary {
        operator: if word == "in" { Binary::In } else { Binary::NotIn },
        left: Box::new(left),
        right: Box::new(right),
    }
}

/// Which words begin `AGGREGATE E over …`: each `over` belongs to the last aggregate's word before
/// it between the same brackets. Found beforehand, since `sum (a + b) over v from c` begins like a
/// call and `count - 1 over v from c` like a difference.
fn comprehensions(tokens: &[Token<'_>]) -> Vec<bool> {
    let mut heads = vec![false; tokens.len()];
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new()];
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Sign("(" | "[" | "{") => waiting.push(Vec::new()),
            Kind::Sign(")" | "]" | "}") if waiting.len() > 1 => {
                waiting.pop();
            }
            Kind::Sign(",") => {
                if let Some(level) = waiting.last_mut() {
                    level.clear();
                }
            }
            Kind::Word(word) if at == 0 || tokens[at - 1].kind != Kind::Sign(".") => {
                if is_keyword(word, "over") {
                    if let Some(head) = waiting.last_mut().and_then(Vec::pop) {
                        heads[head] = true;
                    }
                } else if aggregate(word).is_some()
                    && let Some(level) = waiting.last_mut()
                {
                    level.push(at);
                }
            }
            Kind::Sign(_) | Kind::Word(_) | Kind::Quoted(_) | Kind::Text(_) | Kind::Int(_) | Kind::Decimal(_) => {}
            Kind::Parameter(_) | Kind::End => {}
        }
    }
    heads
}

#[cfg(test)]
mod tests;
