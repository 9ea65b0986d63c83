//! Aggregates over an account's persons or opportunities that are updated child by child: one of a
//! hundred thousand persons costs an account as much as one of ten.
//!
//! A rule over `persons` or `opportunities` mostly asks how many of them satisfy a condition, or
//! for a total of their values. Both depend on each child alone, and each child sends its features.
//! So the owner of the account (the engine) judges a child when it is added, changed or removed,
//! and keeps totals. The owners of the features handle their dependence on time; a condition that
//! depends on time itself is not such an aggregate.

use std::sync::Arc;

use millrace_model::{Relation, SubjectKind, Timestamp, Value};

use crate::core::{Asked, Bind, Core, Op, SUBJECT, Var, children};
use crate::eval::{Context, Evaluator, Object, Val};
use crate::view::{Item, KinId, Unknown};

/// An aggregate as rules write it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KinShape {
    relation: Relation,
    pub asked: Asked,
    /// On the child, as `SUBJECT`; reads its features and nothing else.
    condition: Core,
    /// The aggregated value; `None`: the existence of the child.
    value: Option<Core>,
}

impl KinShape {
    /// The shape of an expression of a residual; `None` for other expressions.
    pub fn of(core: &Core) -> Option<KinShape> {
        if let Core::Bind {
            bind: Bind::AtLeast(count),
            source,
            var,
            body,
        } = core
            && let Some(relation) = children(source)
        {
            return Some(KinShape {
                relation,
                asked: Asked::whether_at_least(*count),
                condition: of_child(body, *var)?,
                value: None,
            });
        }
        let (asked, list) = Asked::of(core)?;
        let (value, list) = if let Core::Bind {
            bind: Bind::Map,
            source,
            var,
            body,
        } = list
        {
            (Some(of_child(body, *var)?), &**source)
        } else {
            (None, list)
        };
        let (relation, condition) = if let Core::Bind {
            bind: Bind::Filter,
            source,
            var,
            body,
        } = list
        {
            (children(source)?, of_child(body, *var)?)
        } else {
            (children(list)?, Core::bool(true))
        };
        // Only values can be repeated, added up and ordered; things cannot.
        (asked.counts_items() || value.is_some()).then_some(KinShape {
            relation,
            asked,
            condition,
            value,
        })
    }

    /// The same text for the same aggregate.
    pub fn canonical(&self) -> String {
        let value = self.value.as_ref().map(Core::canonical).unwrap_or_default();
        format!("{:?} {:?} {} {value}", self.relation, self.asked, self.condition.canonical())
    }

    /// Every part whose value settings may change.
    pub fn expressions(&self) -> impl Iterator<Item = &Core> {
        [&self.condition].into_iter().chain(&self.value)
    }
}

/// An expression that depends on one child alone, and not on time, as one of `SUBJECT`.
fn of_child(body: &Core, var: Var) -> Option<Core> {
    let elsewhere = |node: &Core| matches!(node, Core::Kept { .. } | Core::Apply(Op::InSegment(_) | Op::Relation(_), _));
    let alone = body.free().iter().all(|free| *free == var) && !body.temporal() && !body.any(&elsewhere);
    alone.then(|| body.clone().substitute(var, &Core::Var(SUBJECT)))
}

/// An aggregate to be kept for accounts.
#[derive(Clone, Debug)]
pub struct Kin {
    /// A hash of what is kept and of the settings it depends on.
    pub id: KinId,
    pub(crate) shape: Arc<KinShape>,
    pub(crate) context: Context,
}

impl Kin {
    /// The kind of the children it is over.
    pub fn child(&self) -> SubjectKind {
        self.shape.relation.children().unwrap_or(SubjectKind::Person)
    }

    /// The question about the values.
    pub fn asked(&self) -> Asked {
        self.shape.asked
    }

    /// The contribution of a child; `None` if it does not count.
    ///
    /// # Errors
    /// If a deciding feature of the child is not known yet.
    pub fn judge(&self, child: &Item) -> Result<Option<Value>, Unknown> {
        // Nothing here depends on time.
        let mut machine = Evaluator::over(
            vec![(SUBJECT, Val::Object(Object::Item(child, self.shape.relation)))],
            &self.context,
            Timestamp(0),
        );
        if !machine.test(&self.shape.condition)?.0 {
            return Ok(None);
        }
        let value = match &self.shape.value {
            None => Value::Bool(true),
            Some(value) => machine.eval(value)?.0.into_value(),
        };
        Ok(Some(value).filter(|value| !value.is_null()))
    }
}
