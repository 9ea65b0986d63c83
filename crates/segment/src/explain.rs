//! Why a subject is in a segment or not: the rule's conditions as written, each with its value and
//! what decided it.

use std::collections::VecDeque;

use millrace_model::{Timestamp, Value};
use millrace_pql::ast::Span;

use crate::condition::Condition;
use crate::core::{Core, Op};
use crate::eval::{Evaluator, Evidence, ITEMS_MAX, NEVER, Val};
use crate::plan::{Residual, SegmentPlan};
use crate::view::{Unknown, View};

/// One condition of a rule, evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// `and`, `or`, `not`, or the condition's own text.
    pub text: String,
    /// Its place in the rule.
    pub span: Span,
    /// `None`: a deciding fact is not known yet.
    pub value: Option<bool>,
    /// The earliest later instant at which time alone could change the value; for an unknown value
    /// there is none (`Timestamp::MAX`).
    pub valid_until: Timestamp,
    /// For a comparison, the compared values; `None` if they are unknown, and for lists, which
    /// would be long.
    pub compared: Option<Compared>,
    /// The deciding evidence, in the order of evaluation: the first `EVIDENCE_MAX`, and of events
    /// the last of that number.
    pub evidence: Vec<Evidence>,
    /// For `and`, `or` and `not` the conditions they join, in the order of the rule; otherwise
    /// empty.
    pub of: Vec<Explanation>,
}

impl Explanation {
    /// The same answer with the evidence from whole data: a plan keeps sums without the opportunities, and
    /// whether there are enough without the number. Where the two differ, facts are in transit; the
    /// condition then keeps the evidence of its own answer.
    #[must_use]
    pub fn shown_by(mut self, whole: Explanation) -> Explanation {
        if self.of.is_empty() && self.value == whole.value {
            self.compared = whole.compared;
            self.evidence = whole.evidence;
        }
        self.of = self.of.into_iter().zip(whole.of).map(|(own, whole)| own.shown_by(whole)).collect();
        self
    }

    /// The evidence of every condition, in the order of the conditions.
    pub fn each_evidence(&self, f: &mut dyn FnMut(&Evidence)) {
        self.evidence.iter().for_each(&mut *f);
        self.of.iter().for_each(|child| child.each_evidence(f));
    }
}

/// The sides of a comparison as evaluated; null where a side is null. For a window of time the fact
/// and its anchor, for `between` both ends on the right.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The left side of the operator, or the fact that a window tests.
    pub left: Value,
    /// The right side of the operator, or the anchor of a window.
    pub right: Value,
}

/// Pieces of evidence shown for one condition, events and others each: nobody reads more.
pub const EVIDENCE_MAX: usize = 20;

/// Evaluates the conditions of a segment one by one, for one subject at `now`.
pub fn explain(segment: &SegmentPlan, view: &dyn View, now: Timestamp) -> Explanation {
    explain_with(segment, view, now, true)
}

/// As `explain`, from kept values: without the events and children of an aggregate or a sequence,
/// and so without evidence.
pub fn explain_kept(segment: &SegmentPlan, view: &dyn View, now: Timestamp) -> Explanation {
    explain_with(segment, view, now, false)
}

fn explain_with(segment: &SegmentPlan, view: &dyn View, now: Timestamp, shown: bool) -> Explanation {
    let explanation = explained(&segment.conditions, &|leaf: &Residual| observed(machine(leaf, view, now), &leaf.core, shown));
    explanation.limited(machine(&segment.residual, view, now), &segment.residual.core)
}

fn machine<'a>(of: &'a Residual, view: &'a dyn View, now: Timestamp) -> Evaluator<'a> {
    Evaluator {
        read_at: Some(now),
        ..Evaluator::over_view(view, &of.context, now)
    }
}

impl Explanation {
    /// A rule that needs too many items for one evaluation is false, though each condition alone may be decided.
    pub(crate) fn limited<'a>(mut self, mut machine: Evaluator<'a>, rule: &'a Core) -> Explanation {
        if machine.test(rule).is_err() && machine.is_exhausted() {
            (self.value, self.valid_until) = (Some(false), NEVER);
            if !self.is_open() {
                self.text += &beyond("counts as false");
            }
        }
        self
    }

    /// Whether a condition is not decided.
    fn is_open(&self) -> bool {
        if self.of.is_empty() {
            self.value.is_none()
        } else {
            self.of.iter().any(Explanation::is_open)
        }
    }
}

fn beyond(outcome: &str) -> String {
    format!(" ({outcome}: more than {ITEMS_MAX} items to go through)")
}

/// The observation of one leaf.
pub(crate) struct Observed {
    value: Option<bool>,
    valid_until: Timestamp,
    compared: Option<Compared>,
    evidence: Vec<Evidence>,
    /// It needs more items than a rule may go through.
    exhausted: bool,
}

/// The tree of conditions with the values of its leaves.
pub(crate) fn explained<T>(condition: &Condition<T>, observe: &dyn Fn(&T) -> Observed) -> Explanation {
    let junction = |word: &str, span: Span, of: &[Condition<T>], deciding: bool| {
        let of: Vec<Explanation> = of.iter().map(|child| explained(child, observe)).collect();
        let settling = of.iter().filter(|child| child.value == Some(deciding)).map(|child| child.valid_until).max();
        let (value, valid_until) = match settling {
            Some(until) => (Some(deciding), until),
            None if of.iter().any(|child| child.value.is_none()) => (None, Timestamp::MAX),
            None => (Some(!deciding), of.iter().map(|child| child.valid_until).min().unwrap_or(Timestamp::MAX)),
        };
        Explanation {
            text: word.to_owned(),
            span,
            value,
            valid_until,
            compared: None,
            evidence: Vec::new(),
            of,
        }
    };
    match condition {
        Condition::All { span, of } => junction("and", *span, of, false),
        Condition::Any { span, of } => junction("or", *span, of, true),
        Condition::Not { span, of } => {
            let of = explained(of, observe);
            let (value, valid_until) = (of.value.map(|flag| !flag), of.valid_until);
            Explanation {
                text: "not".to_owned(),
                span: *span,
                value,
                valid_until,
                compared: None,
                evidence: Vec::new(),
                of: vec![of],
            }
        }
        Condition::Leaf { span, text, of } => {
            let Observed {
                value,
                valid_until,
                compared,
                evidence,
                exhausted,
            } = observe(of);
            let limit = if exhausted { beyond("not decided") } else { String::new() };
            Explanation {
                text: format!("{text}{limit}"),
                span: *span,
                value,
                valid_until,
                compared,
                evidence,
                of: Vec::new(),
            }
        }
    }
}

/// Evaluates one leaf with a machine of its own. Each piece of evidence is reported once, if any is
/// wanted.
pub(crate) fn observed<'a>(mut machine: Evaluator<'a>, core: &'a Core, shown: bool) -> Observed {
    let compared = compared(&mut machine, core);
    machine.items = 0;
    machine.trace = shown.then(Vec::new);
    let (value, valid_until) = match machine.test(core) {
        Ok((flag, until)) => (Some(flag), until),
        Err(Unknown) => (None, Timestamp::MAX),
    };
    let exhausted = machine.is_exhausted();
    let (mut evidence, mut events): (Vec<Evidence>, VecDeque<Evidence>) = Default::default();
    for piece in machine.trace.unwrap_or_default() {
        if let Evidence::Event { .. } = piece {
            // The latest: they keep a window open.
            if !events.contains(&piece) {
                events.drain(..(events.len() + 1).saturating_sub(EVIDENCE_MAX));
                events.push_back(piece);
            }
        } else if evidence.len() < EVIDENCE_MAX && !evidence.contains(&piece) {
            evidence.push(piece);
        }
    }
    evidence.extend(events);
    Observed {
        value,
        valid_until,
        compared,
        evidence,
        exhausted,
    }
}

/// The sides of a leaf that compares plain values.
fn compared<'a>(machine: &mut Evaluator<'a>, core: &'a Core) -> Option<Compared> {
    let mut plain = |core: &'a Core| match machine.eval(core).ok()?.0 {
        Val::Object(_) => None,
        val @ (Val::Own(_) | Val::Ref(_) | Val::List(_) | Val::Map(_)) => {
            Some(val.into_value()).filter(|value| !matches!(value, Value::List(_) | Value::Map(_)))
        }
    };
    let Core::Apply(op, operands) = core else { return None };
    let (left, right) = match (op, operands.as_slice()) {
        (Op::Compare(_) | Op::Text { .. } | Op::Relative(_) | Op::On, [left, right]) => (plain(left)?, plain(right)?),
        (Op::Window { .. }, [fact, _, anchor]) => (plain(fact)?, plain(anchor)?),
        (Op::Between, [fact, from, to]) => (plain(fact)?, Value::List(vec![plain(from)?, plain(to)?])),
        _ => return None,
    };
    Some(Compared { left, right })
}
