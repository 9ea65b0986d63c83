//! The JSON form of a rule: nodes with a `nodeType`, as in published definitions of format
//! `pql/json`.
//!
//! | nodeType | members |
//! |---|---|
//! | `literal` | `literalType` (`Null`, `Boolean`, `Integer`, `Double`, `String`, `List`, `Object`, `RelativeTime`; as `value` has it where it is missing), `value` |
//! | `parameterReference` | `position`, from one; `explicit: true` for a written `$1` |
//! | `fieldLookup` | `fieldName`, `object`; a bare name is looked up in parameter 1, which also stands in for a missing `object` |
//! | `varRef` | `varName`, of a declaration around it |
//! | `varDecl` | `varName`, `from`, `where` |
//! | `fnApply` | `fnName`, `params`: operators (words in small or capital letters), methods (the object first), functions; `form` where the name alone is ambiguous |
//! | `fnCreate` | `params` (`varDecl` without `from`), `body` |
//! | `select`, `quantification`, `aggregation` | `variables` (`varDecl`), `expression`; `quantifier`; `fnName` |
//! | `let` | `varName`, `value`, `body` |
//! | `chainStep` | `label`, `negated`, `what`, `when`, `where`, `count`; only in the list of `chain` |
//!
//! Published documents do not define `occurs`, `chain`, `let`, comprehensions and words of time.
//! Here `occurs` takes the subject and a window, an application of a comparison, `before`, `after`,
//! `from`, `on` or `between`; `chain` takes events, timestamp and a list of steps. A `List` holds
//! plain values, and nodes where an item is not a plain value; an `Object` holds a list of `key`
//! and `value`. Runs of `and` and `or` are one application, so that long rules stay shallow.

mod read;
mod write;

use serde_json::Value;

use crate::ast::Expr;
use crate::diagnostic::Diagnostic;
use crate::functions::Function;
use crate::words;

/// The JSON form of a rule.
#[must_use]
pub fn to_json(expr: &Expr) -> Value {
    write::node(expr, &mut Vec::new())
}

/// Reads the JSON form of a rule. Unknown members of a node are skipped.
///
/// # Errors
/// All errors, each with the path of its node in the message; never empty. Spans are empty.
pub fn from_json(value: &Value) -> Result<Expr, Vec<Diagnostic>> {
    read::rule(value)
}

/// How to read an application that does not say so itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Function,
    Method,
    /// One of the language's own signs and words.
    Operator,
}

/// The sign or word of the language that an application's name is, words in small letters.
fn operator(name: &str) -> Option<&str> {
    const SIGNS: [&str; 4] = ["-", "!", "^", "[]"];
    const WORDS: [&str; 7] = ["and", "or", "not", "in", "notIn", "occurs", "chain"];
    let sign = SIGNS.contains(&name) || words::operator(name).is_some();
    if sign { Some(name) } else { words::keyword(name, &WORDS) }
}

fn form(name: &str, params: usize) -> Form {
    if operator(name).is_some() {
        Form::Operator
    } else if Function::named(name).is_some() || params == 0 {
        Form::Function
    } else {
        Form::Method
    }
}

#[cfg(test)]
mod tests;
