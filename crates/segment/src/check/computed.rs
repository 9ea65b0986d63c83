//! `computed.name`: the expression of a computed attribute, checked at the place of its use.
//!
//! It is treated as if it were written there, about the thing it is applied to: parts that it
//! shares with other rules are computed once, as always.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use millrace_model::{SubjectKind, Text};
use millrace_pql::ast::{Expr, Node, Span};
use millrace_pql::{Diagnostic, did_you_mean};

use super::{Checker, Frame, SIZE_MAX, Typed};
use crate::core::Core;
use crate::types::Ty;

/// The word before the names of computed attributes.
const COMPUTED: &str = "computed";

/// The computed attributes that rules may name.
#[derive(Clone, Debug, Default)]
pub struct Library(BTreeMap<Text, Attribute>);

impl Library {
    pub(crate) fn new(attributes: BTreeMap<Text, Attribute>) -> Library {
        Library(attributes)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Text::as_str)
    }
}

/// A computed attribute that rules may name.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    pub subject: SubjectKind,
    pub zone: Tz,
    pub expr: Expr,
}

impl Checker<'_> {
    /// The thing whose computed attributes an expression means, if it does: `computed` alone, or
    /// after a person or account, or a list of such.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other form names the owner of an attribute")]
    pub(super) fn owner_of_computed(&mut self, of: &Expr) -> Option<Typed> {
        let has = |typed: &Typed| matches!(typed.ty.item(), Ty::Thing(SubjectKind::Person | SubjectKind::Account, _));
        match &of.node {
            Node::Name(name) if name == COMPUTED => {
                let shadowed = self.scopes.iter().any(|frame| matches!(frame, Frame::Named(known, _) if known == COMPUTED));
                self.implicit(0).filter(|typed| !shadowed && has(typed))
            }
            // Anything longer is a path, and cheap to check twice.
            Node::Field { of: owner, name } if name == COMPUTED => {
                let (errors, warnings, attributes, segments) = (self.errors.len(), self.warnings.len(), self.attributes.len(), self.segments.len());
                let owner = self.expr(owner);
                let found = Some(owner).filter(has);
                if found.is_none() {
                    self.errors.truncate(errors);
                    self.warnings.truncate(warnings);
                    self.attributes.truncate(attributes);
                    self.segments.truncate(segments);
                }
                found
            }
            _ => None,
        }
    }

    /// The value of a computed attribute; through a list, for each item.
    pub(super) fn computed(&mut self, owner: Typed, name: &str, span: Span) -> Typed {
        if let Ty::List(_) = owner.ty {
            return self.path(owner, |checker, item| checker.computed(item, name, span));
        }
        let Ty::Thing(kind, _) = owner.ty else { return Typed::broken() };
        self.attributes.push((Text::new(name), span));
        let library = self.library;
        let Some(attribute) = library.get(name) else {
            let near = did_you_mean(name, library.names()).map(str::to_owned);
            let message = format!("there is no published computed attribute `{name}`; it counts as null until there is");
            self.warnings.push(Diagnostic::warning("unknown-attribute", span, message).suggesting(near));
            return Typed::new(Core::null(), Ty::Any);
        };
        if attribute.subject != kind {
            let message = format!(
                "`computed.{name}` is about the {}, here it is asked of the {}",
                attribute.subject.name(),
                kind.name()
            );
            return self.refuse("subject", span, message);
        }
        if let Some(at) = self.expanding.iter().position(|known| known == name) {
            let circle: Vec<&str> = self.expanding[at..].iter().map(Text::as_str).chain([name]).collect();
            return self.refuse(
                "cycle",
                span,
                format!("computed attributes refer to each other in a circle: {}", circle.join(" → ")),
            );
        }
        let too_large = |checker: &mut Self| checker.refuse("too-large", span, format!("more than {SIZE_MAX} steps once computed attributes are filled in"));
        // Attributes that name others twice double with every level: one that is too large already
        // is not filled in further.
        if self.size > SIZE_MAX {
            return too_large(self);
        }
        let typed = self.expand(attribute, name, owner, span);
        self.size += typed.core.size();
        if self.size > SIZE_MAX {
            return too_large(self);
        }
        if typed.core.zoned() && attribute.zone != self.zone {
            let message = format!("`computed.{name}` is computed in the time zone {}, this rule in {}", attribute.zone, self.zone);
            return self.fail(Diagnostic::error("time-zone", span, message).expecting("the same `timeZone` in both definitions"));
        }
        typed
    }

    /// Checks an attribute's expression about `owner`, without the names of this rule. An error
    /// there is an error at `span` here.
    fn expand(&mut self, attribute: &Attribute, name: &str, owner: Typed, span: Span) -> Typed {
        let scopes = std::mem::replace(&mut self.scopes, vec![Frame::Implicit(owner)]);
        let lambdas = std::mem::take(&mut self.lambdas);
        let zone = std::mem::replace(&mut self.zone, attribute.zone);
        let (errors, warnings, segments, attributes) = (self.errors.len(), self.warnings.len(), self.segments.len(), self.attributes.len());
        self.expanding.push(Text::new(name));
        let mut typed = self.plain(&attribute.expr);
        self.expanding.pop();
        (self.scopes, self.lambdas, self.zone) = (scopes, lambdas, zone);
        // They were reported where the attribute is defined.
        self.warnings.truncate(warnings);
        self.segments[segments..]
            .iter_mut()
            .chain(&mut self.attributes[attributes..])
            .for_each(|(_, place)| *place = span);
        if let Some(problem) = self.errors.split_off(errors).into_iter().next() {
            let message = format!("`computed.{name}` cannot stand here: {}", problem.message);
            typed = self.fail(Diagnostic {
                span,
                message,
                suggestion: None,
                ..problem
            });
        }
        typed
    }
}
