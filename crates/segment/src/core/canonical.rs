//! The text from which names are hashed.

use std::fmt::Write;

use millrace_model::Value;

use super::{Core, Op, SUBJECT, Var};

impl Core {
    /// The same text for expressions that differ in the numbers of their variables only; ids
    /// are hashed from. Part of stored state: changing it renames every feature and query.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut vec![SUBJECT], &mut out);
        out
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other operator shows what it holds")]
    fn write(&self, names: &mut Vec<Var>, out: &mut String) {
        // Writing to a String cannot fail.
        match self {
            Core::Literal(value) => write_value(value, out),
            Core::Var(var) => {
                let _ = match names.iter().position(|known| known == var) {
                    Some(at) => write!(out, "${at}"),
                    None => write!(out, "$?{}", number(*var)),
                };
            }
            Core::Moment(moment) => {
                let _ = write!(out, "{moment:?}");
            }
            Core::Rows(query) => {
                let _ = write!(out, "{query:?}");
            }
            Core::Kept { whole, .. } => whole.write(names, out),
            Core::Apply(op, operands) => {
                let _ = match op {
                    Op::Field(name) => write!(out, "(.{name:?}"),
                    Op::Matches(pattern) => write!(out, "(Matches {:?}", pattern.0.as_str()),
                    Op::RegexGroup(pattern, group) => write!(out, "(RegexGroup {:?} {group}", pattern.0.as_str()),
                    op => write!(out, "({op:?}"),
                };
                for operand in operands {
                    out.push(' ');
                    operand.write(names, out);
                }
                out.push(')');
            }
            Core::Bind { bind, source, var, body } => {
                let _ = write!(out, "({bind:?} ");
                source.write(names, out);
                names.push(*var);
                let _ = write!(out, " ${}: ", names.len() - 1);
                body.write(names, out);
                names.pop();
                out.push(')');
            }
            Core::Groups { source, key, group, body } => {
                out.push_str("(Groups ");
                source.write(names, out);
                names.extend([*key, *group]);
                out.push_str(": ");
                body.write(names, out);
                names.truncate(names.len() - 2);
                out.push(')');
            }
            Core::Chain(steps) => {
                out.push_str("(Chain");
                let depth = names.len();
                for step in steps {
                    let _ = write!(out, " [{} {} ", if step.negated { "not" } else { "step" }, step.count);
                    step.source.write(names, out);
                    names.push(step.var);
                    out.push_str(": ");
                    step.body.write(names, out);
                    out.push(']');
                }
                names.truncate(depth);
                out.push(')');
            }
        }
    }
}

/// The number of a variable that nothing binds: in a window since the event before, part of stored
/// names.
fn number(var: Var) -> u32 {
    match var {
        Var::Subject => 0,
        Var::Bound(number) => number,
        Var::Host => u32::MAX,
        Var::Anchor => u32::MAX - 1,
        Var::Previous => u32::MAX - 2,
    }
}

fn write_value(value: &Value, out: &mut String) {
    let _ = match value {
        Value::Time(instant) => write!(out, "@{}", instant.0),
        Value::Text(text) => write!(out, "{text:?}"),
        Value::Decimal(number) => write!(out, "{number}"),
        Value::Date(date) => write!(out, "@{date}"),
        Value::Int(number) => write!(out, "{number}"),
        Value::Bool(flag) => write!(out, "{flag}"),
        Value::Null => write!(out, "null"),
        Value::List(items) => {
            out.push('[');
            for item in items {
                write_value(item, out);
                out.push(',');
            }
            write!(out, "]")
        }
        Value::Map(map) => {
            out.push('{');
            for (name, value) in map.iter() {
                let _ = write!(out, "{name:?}:");
                write_value(value, out);
                out.push(',');
            }
            write!(out, "}}")
        }
    };
}
