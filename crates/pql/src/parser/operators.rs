//! Operators and their operands, by how tightly they bind: `and` and `or` in chains, all others by
//! precedence climbing.

use millrace_model::Decimal;

use super::{DEPTH_MAX, NODES_MAX, Parsed, Parser, nested_too_deep};
use crate::ast::{Binary, Expr, Node};
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::functions::{Method, Spelling};
use crate::lexer::Kind;
use crate::operands;
use crate::words::{self, is_keyword, is_reserved, keyword};

/// How tightly an operator binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Sign,
    Postfix,
}

/// How tightly an operator binds.
pub(crate) fn binds(operator: Binary) -> Level {
    match operator {
        Binary::Or => Level::Or,
        Binary::And => Level::And,
        Binary::Add | Binary::Subtract => Level::Sum,
        Binary::Multiply | Binary::Divide | Binary::Remainder => Level::Product,
        Binary::Equal | Binary::NotEqual | Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => Level::Comparison,
        Binary::In | Binary::NotIn => Level::Comparison,
    }
}

/// What stands between two operands.
enum Infix {
    Binary(Binary),
    Like,
    Occurs,
}

/// The level that binds more tightly than this one, and no other.
fn next(level: Level) -> Level {
    match level {
        Level::Or => Level::And,
        Level::And => Level::Not,
        Level::Not => Level::Comparison,
        Level::Comparison => Level::Sum,
        Level::Sum => Level::Product,
        Level::Product => Level::Sign,
        Level::Sign | Level::Postfix => Level::Postfix,
    }
}

impl Parser<'_> {
    /// `a or b or …`, `a and b and …`.
    pub(super) fn chained(&mut self, level: Level) -> Expr {
        let (operator, words, next): (_, &[&'static str], _) = if level == Level::Or {
            (Binary::Or, &["or"], Level::And)
        } else {
            (Binary::And, &["and"], Level::Not)
        };
        let mut operands = Vec::new();
        let mut below = 0;
        loop {
            let operand = if next == Level::And {
                self.chained(next)
            } else {
                let parsed = self.operators(next);
                self.recovered(parsed)
            };
            below = below.max(self.height);
            operands.push(operand);
            if next == Level::Not {
                self.strange_word();
            }
            if self.word(words).is_none() {
                break;
            }
            self.advance();
        }
        let count = operands.len();
        if count == 1 {
            self.height = below;
            return operands.swap_remove(0);
        }
        self.nodes += count - 1;
        let height = below + operands::height(count);
        if self.nodes > NODES_MAX || height > DEPTH_MAX {
            let (start, deep) = (operands[0].span, height > DEPTH_MAX);
            let failed = if deep {
                self.refuse("too-deep", start, nested_too_deep())
            } else {
                self.refuse("too-large", start, format!("the rule has more than {NODES_MAX} parts"))
            };
            return self.recovered(failed);
        }
        self.height = height;
        operands::build(operator, operands)
    }

    /// After an operand of `and`: a word that continues nothing. A mistyped operator is reported
    /// and skipped with its operand.
    fn strange_word(&mut self) {
        const MEANT: [&str; 9] = ["over", "from", "where", "and", "or", "in", "notIn", "occurs", "like"];
        let Some(word) = self.bare(0) else { return };
        if is_keyword(word, "not") && self.bare(1).is_some_and(|next| is_keyword(next, "in")) {
            let span = self.span();
            let report = Diagnostic::error("unexpected-token", span, "found `not in`")
                .expecting("an operator")
                .suggesting(Some("notIn"));
            let _: Parsed<()> = self.fail(report);
            self.skip();
            return;
        }
        if MEANT.iter().any(|meant| is_keyword(word, meant)) || is_reserved(word) {
            return;
        }
        let span = self.span();
        let report = |meant: &str| {
            Diagnostic::error("unexpected-token", span, format!("found `{word}`"))
                .expecting("an operator")
                .suggesting(Some(meant))
        };
        if Method::named(word).is_some_and(|method| method.spelling() == Spelling::OperatorLike) {
            let message = format!("`{word}` is a method");
            let _: Parsed<()> = self.fail(Diagnostic::error("method-as-operator", span, message).suggesting(Some(format!(".{word}(…)"))));
            self.skip();
        } else if let Some(meant @ ("and" | "or" | "in" | "notIn" | "occurs" | "like")) = did_you_mean(word, MEANT) {
            let _: Parsed<()> = self.fail(report(meant));
            if matches!(meant, "and" | "or") {
                self.advance();
                let parsed = self.operators(Level::Not);
                self.recovered(parsed);
            } else {
                self.skip();
            }
        }
    }

    /// Operators tighter than `and`.
    pub(super) fn operators(&mut self, level: Level) -> Parsed {
        let start = self.span();
        let mut left = self.prefixed()?;
        let mut compared = false;
        while let Some((operator, binds)) = self.operator().filter(|(_, binds)| *binds >= level) {
            if binds == Level::Comparison && std::mem::replace(&mut compared, true) {
                let report = Diagnostic::error("chained-comparison", self.span(), "comparisons do not chain");
                return self.fail(report.expecting("`and`, `or`, or parentheses around the first comparison"));
            }
            let below = self.height;
            self.advance();
            left = match operator {
                Infix::Binary(operator) => {
                    let tighter = if binds == Level::Comparison || binds == Level::Sum {
                        next(binds)
                    } else {
                        Level::Sign
                    };
                    let right = self.operand(tighter)?;
                    let below = below.max(self.height);
                    self.node(
                        start,
                        Node::Binary {
                            operator,
                            left: Box::new(left),
                            right: Box::new(right),
                        },
                        below,
                    )?
                }
                Infix::Like => {
                    let right = self.operand(Level::Sum)?;
                    let below = below.max(self.height);
                    self.node(
                        start,
                        Node::Method {
                            of: Box::new(left),
                            name: "like".to_owned(),
                            arguments: vec![right],
                        },
                        below,
                    )?
                }
                Infix::Occurs => {
                    let when = self.when()?;
                    let below = below.max(self.height);
                    self.node(start, Node::Occurs { subject: Box::new(left), when }, below)?
                }
            };
        }
        Ok(left)
    }

    /// The right side of an operator, or of a word that takes a tight operand.
    pub(super) fn operand(&mut self, level: Level) -> Parsed {
        self.expression(level)
    }

    fn operator(&self) -> Option<(Infix, Level)> {
        let binary = |text| words::operator(text).map(|operator| (Infix::Binary(operator), binds(operator)));
        match self.kind() {
            Kind::Sign(sign) => binary(sign),
            Kind::Word(word) => match keyword(word, &["in", "notIn", "like", "occurs"])? {
                "in" if self.plain_in => None,
                "like" => Some((Infix::Like, Level::Comparison)),
                "occurs" => Some((Infix::Occurs, Level::Comparison)),
                word => binary(word),
            },
            Kind::Quoted(_) | Kind::Text(_) | Kind::Int(_) | Kind::Decimal(_) | Kind::Parameter(_) | Kind::End => None,
        }
    }

    /// An operand with its prefixes: `not`, `!`, `-`.
    fn prefixed(&mut self) -> Parsed {
        let start = self.span();
        if self.take_word("not") {
            let inner = self.expression(Level::Comparison)?;
            return self.node(start, Node::Not(Box::new(inner)), self.height);
        }
        if self.take_sign("!") {
            let inner = self.expression(Level::Sign)?;
            return self.node(start, Node::Not(Box::new(inner)), self.height);
        }
        if self.take_sign("-") {
            if let Some(number) = self.negative_number() {
                self.advance();
                return self.node(start, number, 0);
            }
            let inner = self.expression(Level::Sign)?;
            return self.node(start, Node::Negate(Box::new(inner)), self.height);
        }
        self.postfixed()
    }

    /// The current token with the minus before it, if it is a number without a postfix.
    fn negative_number(&self) -> Option<Node> {
        if matches!(self.kind_at(1), Kind::Sign("." | "[")) {
            return None;
        }
        match *self.kind() {
            Kind::Int(number) => Some(match 0_i64.checked_sub_unsigned(number) {
                Some(number) => Node::Int(number),
                None => Node::Decimal(-Decimal::from(number)),
            }),
            Kind::Decimal(number) => Some(Node::Decimal(-number)),
            Kind::Word(_) | Kind::Quoted(_) | Kind::Text(_) | Kind::Parameter(_) | Kind::Sign(_) | Kind::End => None,
        }
    }
}
