//! The engine's view of a set of rules: sub-expressions moved to where they can be computed, and
//! residuals evaluated over their results.
//!
//! A rule about a person uses the person's own fields, events, and things reached through
//! relations. Each maximal sub-expression that depends on one related thing alone becomes a
//! *feature* of that thing (computed at the thing's owner, sent when its value changes); each that
//! depends on one event alone, and not on time, becomes a column or the predicate of an *event
//! query* (computed once when the event arrives, its matching rows kept with the person). The rest
//! is the *residual*: small, and evaluated over features, rows and the subject's own fields.
//! Features may themselves depend on features of further things.

mod bands;
pub(crate) mod build;
mod demand;
mod eventless;
mod rules;
mod split;

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_model::{Relation, SubjectKind, Text, Timestamp, Value};
use millrace_pql::Diagnostic;

use crate::compile::Compiled;
use crate::condition::Condition;
use crate::core::Core;
use crate::eval::{Context, Evaluator};
use crate::kin::Kin;
use crate::sequence::Sequence;
use crate::settings::Settings;
use crate::tally::Tally;
use crate::view::{FeatureId, QueryId, Timed, Unknown, View};

pub use bands::Bands;
pub use demand::Demand;
pub use rules::{Prepared, Problems, Rules};

/// How many rows of a query must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every matching event within the retained history.
    All,
    /// This number of newest events, and those ahead of now.
    Newest(usize),
    /// No rows: the aggregate is kept as a tally, event by event.
    Tally,
    /// No rows: the progress through a chain is kept, in order of time.
    Progress,
}

/// What a compiled expression reads: the input of the engine's inverted index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Reads the subject's own attributes at all.
    pub attributes: bool,
    /// Relations of the subject, each once, ascending.
    pub relations: Vec<Relation>,
    /// Features of related things, each once, ascending.
    pub features: Vec<FeatureId>,
    /// Queries over the subject's events, each once, ascending.
    pub queries: Vec<QueryId>,
    /// Names of other segments, each once, ascending.
    pub segments: Vec<Text>,
}

/// A set of rules, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In order of evaluation: dependencies first, otherwise by name.
    pub segments: Vec<Arc<SegmentPlan>>,
    /// Computed attributes, by name: each yields a value, and no other part of the plan depends on
    /// one.
    pub attributes: Vec<Arc<SegmentPlan>>,
    /// Each once; dependencies first.
    pub features: Vec<Arc<FeaturePlan>>,
    /// Of features, where bands are all that persons with one account need of the value.
    pub bands: BTreeMap<FeatureId, Bands>,
    /// Each once, by id.
    pub queries: Vec<Arc<EventQuery>>,
    /// Each once, by id.
    pub kin: Vec<Arc<Kin>>,
}

impl Plan {
    /// Takes rules apart, all of them together. The ids of a rule's features and queries do not
    /// depend on the other rules.
    ///
    /// # Errors
    /// Segments that refer to each other in a circle or to a segment of another kind of subject,
    /// names that are used twice, and rules that cannot be kept incrementally, each with the
    /// reason. The definitions must be changed.
    pub fn build(compiled: &[Compiled], settings: &Settings) -> Result<Plan, Vec<Diagnostic>> {
        let rules = Rules::of_linked(compiled, settings);
        let rules = rules.map_err(|problems| problems.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>())?;
        Ok(rules.plan())
    }
}

/// A segment's rule, or a computed attribute's expression, as it is evaluated for each subject.
#[derive(Clone, Debug)]
pub struct SegmentPlan {
    /// The definition's name.
    pub name: Text,
    /// A hash of the rule and the settings it depends on: if it differs between two plans, their
    /// answers may differ.
    pub fingerprint: u64,
    /// Whose members or values they are: `Person` or `Account`.
    pub subject: SubjectKind,
    /// For a segment it yields a boolean.
    pub residual: Residual,
    /// What the residual depends on: a change of any other fact leaves the answer as it is.
    pub reads: Reads,
    /// Its rule, linked: for answers over whole data.
    pub rule: Compiled,
    /// The conditions of the rule as written, for explanations.
    pub(crate) conditions: Condition<Residual>,
}

/// A value of one thing that rules about other things depend on.
#[derive(Clone, Debug)]
pub struct FeaturePlan {
    /// A hash of its kind and its normalised expression.
    pub id: FeatureId,
    /// What kind of thing has the value.
    pub kind: SubjectKind,
    /// Yields any value, null and lists among them.
    pub residual: Residual,
    /// What the residual depends on.
    pub reads: Reads,
}

/// The events a rule uses, and what it reads of each.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// A hash of its predicate, its columns and what is kept.
    pub id: QueryId,
    /// Which of the matching events are kept, and in which form.
    pub keep: Keep,
    /// The event types the predicate allows; `None` if it does not restrict them. Events of other
    /// types never match.
    pub event_types: Option<Vec<Text>>,
    /// What an event must contain to match; `None` if the predicate demands no text.
    pub demand: Option<Demand>,
    /// With `Keep::Tally`, and only then.
    pub tally: Option<Tally>,
    /// With `Keep::Progress`, and only then.
    pub sequence: Option<Sequence>,
    predicate: Arc<Core>,
    columns: Arc<Vec<Core>>,
    context: Context,
}

impl EventQuery {
    /// The columns of an event that matches, in the order of `EventRow`; `None` if it does not
    /// match. The event is the map of typed fields with `_id` and `timestamp`. Does not depend on
    /// time.
    pub fn matches(&self, event: &Value) -> Option<Vec<Value>> {
        let mut machine = Evaluator::over_event(event, &self.context);
        // Nothing about a single event is unknown.
        if !machine.test(&self.predicate).is_ok_and(|(flag, _)| flag) {
            return None;
        }
        Some(
            self.columns
                .iter()
                .map(|column| machine.eval(column).map_or(Value::Null, |(val, _)| val.into_value()))
                .collect(),
        )
    }

    /// Whether every event matches.
    pub(crate) fn takes_all(&self) -> bool {
        *self.predicate == Core::bool(true)
    }

    /// Columns of each row.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }
}

/// The rest of an expression: evaluated over a `View`.
#[derive(Clone, Debug)]
pub struct Residual {
    pub(crate) core: Arc<Core>,
    pub(crate) context: Context,
    /// Yields a boolean whatever the expression does.
    pub(crate) condition: bool,
}

impl Residual {
    /// The value at `now`, and the earliest later instant at which the subject must be evaluated
    /// again because of time alone. That instant is a lower bound, later than `now`. It does not
    /// depend on how long features and memberships of other segments hold: their owners evaluate
    /// them then, and send the new values.
    ///
    /// `Unknown` also if a deciding fact no longer holds at `at`.
    /// `Unknown` if a deciding fact is not known yet. Evaluate again when it arrives.
    pub fn evaluate(&self, view: &dyn View, now: Timestamp) -> Result<Timed<Value>, Unknown> {
        self.run(Evaluator::over_view(view, &self.context, now), view)
    }

    /// The value at `at`, now or later, as far as the view at `now` determines it, and the earliest
    /// later instant at which time alone could change it anywhere: in the subject, in related
    /// things, in other segments.
    ///
    /// # Errors
    /// `Unknown` also where something that decides holds no longer at `at`.
    pub fn foresee(&self, view: &dyn View, now: Timestamp, at: Timestamp) -> Result<Timed<Value>, Unknown> {
        self.run(
            Evaluator {
                read_at: Some(now),
                ..Evaluator::over_view(view, &self.context, at)
            },
            view,
        )
    }

    fn run<'a>(&'a self, mut machine: Evaluator<'a>, view: &dyn View) -> Result<Timed<Value>, Unknown> {
        let result = if self.condition {
            machine.test(&self.core).map(|(flag, until)| (Value::Bool(flag), until))
        } else {
            machine.eval(&self.core).map(|(val, until)| (val.into_value(), until))
        };
        match result {
            Ok((value, valid_until)) => Ok(Timed { value, valid_until }),
            Err(Unknown) if machine.is_exhausted() => {
                view.exhausted();
                let value = if self.condition { Value::Bool(false) } else { Value::Null };
                let valid_until = Timestamp::MAX;
                Ok(Timed { value, valid_until })
            }
            Err(Unknown) => Err(Unknown),
        }
    }
}
