//! From a definition to a checked rule.

use std::convert::Infallible;
use std::sync::Arc;

use millrace_model::{Schema, Text, Value};
use millrace_pql::ast::{Binary, Expr, Node, Span};
use millrace_pql::{Diagnostic, Severity};

use crate::check::{Attribute, Checker, Library, SIZE_MAX, operands};
use crate::condition::Condition;
use crate::core::{Core, Fresh};
use crate::cost::{DEGREE_MAX, LONG_MAX, cost};
use crate::definition::{Definition, Kind};
use crate::eval::ITEMS_MAX;
use crate::normal::normalise;
use crate::ordered::chained;

/// A definition whose rule parses and fits the schema. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compiled(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    definition: Definition,
    ast: Expr,
    conditions: Condition<Core>,
    fresh: Fresh,
    warnings: Vec<Diagnostic>,
    segments: Vec<(Text, Span)>,
    attributes: Vec<(Text, Span)>,
}

impl Library {
    /// The library of a set of definitions.
    pub fn of<'c>(definitions: impl IntoIterator<Item = &'c Compiled>) -> Library {
        let attributes = definitions.into_iter().filter(|compiled| compiled.definition().kind == Kind::ComputedAttribute);
        let named = attributes.map(|compiled| {
            let definition = compiled.definition();
            (
                definition.name.clone(),
                Attribute {
                    subject: definition.subject,
                    zone: definition.time_zone,
                    expr: compiled.ast().clone(),
                },
            )
        });
        Library::new(named.collect())
    }
}

/// Parses and type-checks a definition's rule, or the expression of a computed attribute. Other
/// computed attributes that it names are not known yet, and count as null; `link` fills them in.
///
/// # Errors
/// All its errors, with places in `definition.pql`.
pub fn compile(definition: &Definition, schema: &Schema) -> Result<Compiled, Vec<Diagnostic>> {
    compile_with(definition, schema, &Library::default())
}

/// Definitions that are in force together, with the computed attributes that they name filled in.
///
/// # Errors
/// The errors of definitions after that, each message with the definition's name.
pub fn link(definitions: &[Compiled], schema: &Schema) -> Result<Vec<Compiled>, Vec<Diagnostic>> {
    let library = Library::of(definitions);
    let mut problems = Vec::new();
    let mut rules = Vec::with_capacity(definitions.len());
    for compiled in definitions {
        match linked(compiled, schema, &library) {
            Ok(rule) => rules.push(rule),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// A rule with the computed attributes that it names filled in.
pub(crate) fn linked(compiled: &Compiled, schema: &Schema, library: &Library) -> Result<Compiled, Vec<Diagnostic>> {
    if compiled.attributes().is_empty() {
        return Ok(compiled.clone());
    }
    let name = &compiled.definition().name;
    let named = |problem: Diagnostic| Diagnostic {
        message: format!("in `{name}`: {}", problem.message),
        span: Span::default(),
        ..problem
    };
    compile_with(compiled.definition(), schema, library).map_err(|found| found.into_iter().map(named).collect())
}

/// As `compile`, where the computed attributes are known.
///
/// # Errors
/// As for `compile`.
pub fn compile_with(definition: &Definition, schema: &Schema, library: &Library) -> Result<Compiled, Vec<Diagnostic>> {
    let ast = millrace_pql::parse(&definition.pql)?;
    let attribute = definition.kind == Kind::ComputedAttribute;
    let mut checker = Checker::new(
        schema,
        definition.subject,
        definition.time_zone,
        library,
        attribute.then(|| definition.name.clone()),
    );
    let conditions = if attribute {
        Condition::Leaf {
            span: ast.span,
            text: definition.pql.clone(),
            of: checker.plain(&ast).core,
        }
    } else {
        rule(&mut checker, &ast, &definition.pql)
    };
    if !checker.errors.is_empty() {
        return Err(checker.errors);
    }
    let mut fresh = checker.unused();
    let conditions = if attribute { conditions } else { ordered(&conditions, &mut fresh) };
    let mut size = 0;
    conditions.leaves(&mut |leaf, _| size += leaf.size());
    if size > SIZE_MAX {
        let message = format!("the rule has {size} steps once `let` and functions are filled in, more than {SIZE_MAX}");
        return Err(vec![Diagnostic::error("too-large", ast.span, message)]);
    }
    let mut warnings = std::mem::take(&mut checker.warnings);
    let mut costly = Vec::new();
    conditions.leaves(&mut |leaf, span| match combined(leaf, span) {
        Some(finding) if finding.severity == Severity::Error => costly.push(finding),
        found => warnings.extend(found),
    });
    if !costly.is_empty() {
        return Err(costly);
    }
    conditions.leaves(&mut |leaf, span| {
        if !attribute && let Core::Literal(value) = normalise(leaf.clone(), &mut fresh) {
            let always = if value == Value::Bool(true) { "true" } else { "false" };
            warnings.push(Diagnostic::warning("constant", span, format!("this condition is always {always}")));
        }
    });
    let segments = std::mem::take(&mut checker.segments);
    let attributes = std::mem::take(&mut checker.attributes);
    Ok(Compiled(Arc::new(Inner {
        definition: definition.clone(),
        ast,
        conditions,
        fresh,
        warnings,
        segments,
        attributes,
    })))
}

/// The conditions of a rule, down to where `and`, `or` and `not` end.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other form is one condition")]
fn rule(checker: &mut Checker<'_>, expr: &Expr, text: &str) -> Condition<Core> {
    match &expr.node {
        Node::Binary {
            operator: operator @ (Binary::And | Binary::Or),
            ..
        } => {
            let of = operands(*operator, expr).into_iter().map(|operand| rule(checker, operand, text)).collect();
            if *operator == Binary::And {
                Condition::All { span: expr.span, of }
            } else {
                Condition::Any { span: expr.span, of }
            }
        }
        Node::Lambda { parameters, body } if parameters.len() == 1 => checker.naming_subject(&parameters[0], |checker| rule(checker, body, text)),
        Node::Not(of) => Condition::Not {
            span: expr.span,
            of: Box::new(rule(checker, of, text)),
        },
        _ => {
            let core = checker.condition(expr);
            let place = expr.span.start as usize..expr.span.end as usize;
            let text = text
                .get(place)
                .filter(|text| !text.is_empty())
                .map_or_else(|| millrace_pql::format(expr), str::to_owned);
            Condition::Leaf {
                span: expr.span,
                text,
                of: core,
            }
        }
    }
}

/// What the lists that a condition combines cost: an error where nobody can pay it, a warning where
/// a long history cannot.
fn combined(condition: &Core, span: Span) -> Option<Diagnostic> {
    let cost = cost(condition);
    if cost.degree > DEGREE_MAX {
        let message = format!(
            "{} lists are combined, every item of one with every item of the others; more than {DEGREE_MAX} take too long",
            cost.degree
        );
        return Some(Diagnostic::error("too-costly", span, message).expecting("conditions that speak of fewer lists, or earlier steps, at once"));
    }
    if cost.long > LONG_MAX {
        let message = format!(
            "{} lists of events or persons are compared with each other; more than {LONG_MAX} take too long for someone with a long history",
            cost.long
        );
        return Some(Diagnostic::error("too-costly", span, message).expecting("a chain, or conditions that speak of fewer events at once"));
    }
    if cost.long < 2 && cost.degree < 3 {
        return None;
    }
    let listed = if cost.long > 1 { "events or persons" } else { "the items of three lists" };
    let message = format!(
        "{listed} are compared with each other: every evaluation goes through all combinations of those that match, and counts as false where they are more than {ITEMS_MAX}"
    );
    Some(Diagnostic::warning("expensive", span, message).expecting("a chain without conditions between its steps, or narrower conditions on each side"))
}

/// The conditions with events in an order of time as chains.
fn ordered(conditions: &Condition<Core>, fresh: &mut Fresh) -> Condition<Core> {
    let rewritten = conditions.try_map(&mut |core: &Core, _| Ok::<Core, Infallible>(chained(core.clone(), fresh)));
    match rewritten {
        Ok(conditions) => conditions,
        Err(never) => match never {},
    }
}

impl Compiled {
    /// The definition that the rule was read from.
    pub fn definition(&self) -> &Definition {
        &self.0.definition
    }

    /// The rule as written, names unresolved.
    pub fn ast(&self) -> &Expr {
        &self.0.ast
    }

    /// Warnings: accepted, but probably not meant. `lint` finds more, over rules together.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.0.warnings
    }

    /// The segments the rule refers to, with places.
    pub fn segments(&self) -> &[(Text, Span)] {
        &self.0.segments
    }

    /// The computed attributes the rule refers to, with places.
    pub fn attributes(&self) -> &[(Text, Span)] {
        &self.0.attributes
    }

    /// The rule in normal form, as one expression.
    #[cfg(test)]
    pub(crate) fn normal(&self) -> Core {
        let mut next = self.0.fresh;
        normalise(self.0.conditions.join(), &mut next)
    }

    pub(crate) fn conditions(&self) -> &Condition<Core> {
        &self.0.conditions
    }

    /// Variables that the rule does not use.
    pub(crate) fn unused(&self) -> Fresh {
        self.0.fresh
    }
}
