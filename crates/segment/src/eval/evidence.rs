//! The evidence of an evaluation.

use millrace_model::{Relation, SubjectKind, Text, Timestamp, Value};

use super::{Object, Val};
use crate::core::{Core, Op};

/// A fact that a condition depends on.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// An event that satisfies the condition.
    Event {
        /// When it occurred.
        at: Timestamp,
        /// Its id within the person's events.
        id: Text,
    },
    /// A related thing that satisfies the condition (`true`) or fails a `forall` (`false`), or its
    /// contribution to an aggregate.
    Thing {
        /// What kind of thing.
        kind: SubjectKind,
        /// Its canonical id.
        id: Text,
        /// Which of the two it does, or what it contributes.
        value: Value,
    },
    /// A row that satisfies the condition.
    Row {
        /// The relation that the row belongs to; it has rows of its own (`Relation::row`).
        relation: Relation,
        /// The row's source key.
        id: Text,
    },
    /// A field of the subject's own.
    Attribute {
        /// The names that lead to it, divided by dots.
        path: String,
        /// Its value; null where it is absent.
        value: Value,
    },
    /// Whether the subject is in another segment.
    Segment {
        /// That segment's name.
        name: Text,
        /// Whether the subject is in it.
        member: bool,
    },
}

impl Evidence {
    /// A list item that decided, as evidence; `value` is its content.
    pub(crate) fn of(val: &Val<'_>, source: &Core, value: Value) -> Option<Evidence> {
        match val {
            Val::Object(Object::Item(item, relation)) => Some(match relation.row() {
                Some(_) => Evidence::Row {
                    relation: *relation,
                    id: item.id.clone(),
                },
                None => Evidence::Thing {
                    kind: relation.target()?,
                    id: item.id.clone(),
                    value,
                },
            }),
            Val::Object(Object::Target(id, _)) => Some(Evidence::Thing {
                kind: kind_in(source)?,
                id: (*id).clone(),
                value,
            }),
            Val::Object(Object::WorldThing(kind, id)) => Some(Evidence::Thing {
                kind: *kind,
                id: Text::new(id),
                value,
            }),
            Val::Object(Object::WorldRow(link, relation)) => Some(Evidence::Row {
                relation: *relation,
                id: link.id.clone(),
            }),
            Val::Own(_) | Val::Ref(_) | Val::Object(_) | Val::List(_) | Val::Map(_) => Evidence::event(val),
        }
    }

    /// A list item from which a value is taken: its contribution. Null contributes nothing, and a
    /// list or a thing leads further.
    pub(crate) fn contributed(item: &Val<'_>, val: &Val<'_>, source: &Core) -> Option<Evidence> {
        match &*val.value() {
            Value::Null | Value::List(_) => None,
            Value::Map(_) => Evidence::of(item, source, Value::Bool(true)),
            value @ (Value::Bool(_) | Value::Int(_) | Value::Decimal(_) | Value::Text(_) | Value::Date(_) | Value::Time(_)) => {
                Evidence::of(item, source, value.clone())
            }
        }
    }

    /// Whether it stands for the examined items; otherwise it is the subject's own.
    pub(crate) fn item(&self) -> bool {
        !matches!(self, Evidence::Attribute { .. } | Evidence::Segment { .. })
    }

    pub(crate) fn event(val: &Val<'_>) -> Option<Evidence> {
        Some(Evidence::Event {
            at: val.at()?,
            id: Text::new(val.id()?),
        })
    }
}

/// The kind of things in a list of row targets.
fn kind_in(core: &Core) -> Option<SubjectKind> {
    if let Core::Apply(Op::Relation(relation), _) = core
        && let Some(kind) = relation.target()
    {
        return Some(kind);
    }
    let mut found = None;
    core.each(&mut |child| found = found.or_else(|| kind_in(child)));
    found
}
