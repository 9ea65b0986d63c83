//! Sequences whose progress is kept: the cost of one event does not depend on how many come before
//! it.
//!
//! A chain is a small machine that reads a subject's events in order of time. Its *stages* are the
//! beginnings of the chain; a step with `COUNT(n)` is n stages. Each stage has the *ways* in which
//! the events so far lead to it. A way keeps only what later events can ask about: when its last
//! step ended (if a window begins there), until when it holds, and how many events of the following
//! absences were seen. A way that another one equals or beats in all of these is dropped. Later
//! ways mostly beat earlier ones, so there is usually one way per stage, seldom a few.
//!
//! Events of one instant belong together (`Instant`): steps are strictly one after the other, while
//! events of one step may be simultaneous.
//!
//! A condition on an event is *lasting* if it holds from the event on until a known end. That end
//! becomes part of the way, and progress itself shows how the answer changes with time. Other
//! conditions (those that begin to hold later, and absences that time may end) are judged as of
//! now: when such a verdict changes, the owner of the rows (the engine) folds again from its event
//! on.

use std::sync::Arc;

use millrace_model::Timestamp;
use millrace_pql::ast::{Comparison, Direction, Moment, Unit};
use serde::{Deserialize, Serialize};

use crate::calendar::fixed_ms;
use crate::core::{Bind, ChainStep, Core, Op, SUBJECT, Var, newest_first};
use crate::eval::{Context, Evaluator, NEVER, Object, Val};
use crate::view::{EventRow, Timed};

/// Stages of a chain whose progress can be kept. All of them are in one row, which every event
/// writes.
const STAGES_MAX: usize = 64;

/// A step as a question about one event.
#[derive(Clone, Debug, PartialEq)]
struct PlannedStep {
    negated: bool,
    count: u32,
    /// On the event, as `SUBJECT`; depends on time and on nothing else.
    condition: Core,
    /// Whether `condition`, if it holds for an event at all, holds from the event on until an end.
    lasting: bool,
    /// How close it must be to the last event of the positive step before, `Var::Previous`, if it
    /// must.
    near: Option<Core>,
}

/// A chain as rules write it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChainShape(Vec<PlannedStep>);

impl ChainShape {
    /// Whether a chain, not yet split, can be kept as progress: its steps refer to each event
    /// alone, and at most to the time since the step before.
    pub fn fits(steps: &[ChainStep]) -> bool {
        let stages: usize = steps.iter().filter(|step| !step.negated).map(|step| step.count as usize).sum();
        let mut previous = None;
        let each = steps.iter().all(|step| {
            let alone = match candidates(&step.source) {
                (Core::Apply(Op::Events, of), Some((var, condition))) => of[0] == Core::Var(SUBJECT) && condition.free().iter().all(|free| *free == var),
                (Core::Apply(Op::Events, of), None) => of[0] == Core::Var(SUBJECT),
                _ => false,
            };
            let near = step
                .body
                .clone()
                .conjuncts()
                .iter()
                .all(|part| previous.is_some_and(|previous| is_near(part, step.var, previous)));
            let plain = step.body == Core::bool(true);
            if !step.negated {
                previous = Some(step.var);
            }
            alone && (plain || near && !step.negated && step.count == 1)
        });
        each && stages < STAGES_MAX
    }

    /// The shape of such a chain, once it is split.
    pub fn of(steps: &[ChainStep]) -> ChainShape {
        let mut previous = None;
        let step = |step: &ChainStep| {
            let condition = match candidates(&step.source).1 {
                Some((var, condition)) => condition.clone().substitute(var, &Core::Var(SUBJECT)),
                None => Core::bool(true),
            };
            let near = previous.filter(|_| step.body != Core::bool(true)).map(|previous| {
                let near = step.body.clone().substitute(step.var, &Core::Var(SUBJECT));
                near.substitute(previous, &Core::Var(Var::Previous))
            });
            if !step.negated {
                previous = Some(step.var);
            }
            let lasting = if step.negated { !condition.temporal() } else { lasts(&condition) };
            PlannedStep {
                negated: step.negated,
                count: step.count,
                condition,
                lasting,
                near,
            }
        };
        ChainShape(steps.iter().map(step).collect())
    }

    /// The same text for the same chain.
    pub fn canonical(&self) -> String {
        let step = |step: &PlannedStep| {
            let near = step.near.as_ref().map(Core::canonical).unwrap_or_default();
            format!(
                "[{} {} {}: {near}]",
                if step.negated { "not" } else { "step" },
                step.count,
                step.condition.canonical()
            )
        };
        self.0.iter().map(step).collect()
    }

    /// Every part whose value settings may change.
    pub fn conditions(&self) -> impl Iterator<Item = &Core> {
        self.0.iter().flat_map(|step| [&step.condition].into_iter().chain(&step.near))
    }
}

/// The list of a step's events, and the condition on each.
pub(crate) fn candidates(source: &Core) -> (&Core, Option<(Var, &Core)>) {
    if let Core::Bind {
        bind: Bind::Filter,
        source,
        var,
        body,
    } = source
    {
        (source, Some((*var, body)))
    } else {
        (source, None)
    }
}

/// Whether a condition is a window since the event before that admits every later event before if
/// it admits one.
pub(crate) fn is_near(condition: &Core, event: Var, previous: Var) -> bool {
    let at = |var| Core::field(Core::Var(var), "timestamp");
    let Core::Apply(
        Op::Window {
            comparison: Comparison::Less | Comparison::LessOrEqual,
            unit,
            direction,
        },
        operands,
    ) = condition
    else {
        return false;
    };
    let (fact, anchor) = match direction {
        Direction::After | Direction::From => (event, previous),
        // Months after different days may end in reverse order.
        Direction::Before if fixed_ms(*unit).is_some() => (previous, event),
        Direction::Before => return false,
    };
    matches!(operands.as_slice(), [own, Core::Literal(_), other] if *own == at(fact) && *other == at(anchor))
}

/// Whether a condition on the event `SUBJECT`, if it holds at all, holds from the event on until an
/// exactly known end.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other condition lasts as long as its event is the newest one needed"
)]
fn lasts(condition: &Core) -> bool {
    // Within a day, a change of the clocks may repeat the span.
    let fine = |moment: Moment| matches!(moment, Moment::This(unit) | Moment::Last(unit) | Moment::Next(unit) if fixed_ms(unit).is_some() && !matches!(unit, Unit::Day | Unit::Week));
    match condition {
        _ if !condition.temporal() => true,
        Core::Apply(Op::And | Op::Or, operands) => operands.iter().all(lasts),
        _ => newest_first(condition, SUBJECT) && !condition.any(&|node| matches!(node, Core::Moment(moment) if fine(*moment))),
    }
}

/// A beginning of a chain.
#[derive(Clone, Debug)]
struct Stage {
    /// The step whose next event leads on; `None` for the last stage.
    step: Option<usize>,
    /// Whether that is the step's first event. Until it arrives, the absences are watched.
    first: bool,
    /// The steps that must not happen meanwhile.
    absences: Vec<usize>,
}

/// A chain whose progress is kept.
#[derive(Clone, Debug)]
pub struct Sequence {
    shape: Arc<ChainShape>,
    stages: Arc<Vec<Stage>>,
    layout: Arc<Vec<u64>>,
    context: Context,
}

/// One way in which events lead to a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Way {
    /// When its last step ended, if the next one must be near.
    end: Option<Timestamp>,
    /// When the first of its events ceases to fit.
    until: Timestamp,
    /// Events of each absence since.
    seen: Vec<u32>,
}

impl Way {
    /// Whether every continuation of the other continues this one too, and for as long.
    fn serves_for(&self, other: &Way) -> bool {
        self.end >= other.end && self.until >= other.until && self.seen.iter().zip(&other.seen).all(|(own, others)| own <= others)
    }

    /// Adds it to a stage's ways; ways that others equal or beat are dropped.
    fn join(self, ways: &mut Vec<Way>) {
        if ways.iter().any(|known| known.serves_for(&self)) {
            return;
        }
        ways.retain(|known| !self.serves_for(known));
        // The same ways in the same order, whatever their history.
        ways.insert(ways.partition_point(|known| *known < self), self);
    }
}

/// The progress of the events up to some instant: by stage, the ways to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainProgress(Vec<Vec<Way>>);

impl ChainProgress {
    /// Whether the chain holds at `now`, and until when if no event is added, deleted or changes
    /// its verdict.
    pub fn holds(&self, now: Timestamp) -> Timed<bool> {
        match self.0.last().into_iter().flatten().map(|way| way.until).max() {
            Some(until) if until > now => Timed {
                value: true,
                valid_until: until,
            },
            _ => Timed {
                value: false,
                valid_until: NEVER,
            },
        }
    }
}

/// An instant while its events are taken, one by one: many at one instant cost as much as the same
/// number at many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    before: ChainProgress,
    /// By stage, the ways to it through this instant's events.
    led: Vec<Vec<Way>>,
    /// By step, how many of the events fit it.
    happened: Vec<u32>,
}

impl Sequence {
    pub(crate) fn new(shape: ChainShape, layout: Arc<Vec<u64>>, context: Context) -> Sequence {
        let mut stages = Vec::new();
        let mut absences = Vec::new();
        for (index, step) in shape.0.iter().enumerate() {
            if step.negated {
                absences.push(index);
                continue;
            }
            for taken in 0..step.count {
                stages.push(Stage {
                    step: Some(index),
                    first: taken == 0,
                    absences: std::mem::take(&mut absences),
                });
            }
        }
        stages.push(Stage {
            step: None,
            first: true,
            absences,
        });
        Sequence {
            shape: Arc::new(shape),
            stages: Arc::new(stages),
            layout,
            context,
        }
    }

    /// Before any event.
    pub fn start(&self) -> ChainProgress {
        let mut stages = vec![Vec::new(); self.stages.len()];
        stages[0].push(Way {
            end: None,
            until: NEVER,
            seen: vec![0; self.stages[0].absences.len()],
        });
        ChainProgress(stages)
    }

    /// Continues through the events of one instant, the next that has any, none of them ahead of
    /// `now`.
    pub fn fold(&self, progress: &mut ChainProgress, events: &[EventRow], now: Timestamp) {
        let Some(at) = events.first().map(|event| event.at) else { return };
        let mut instant = self.begin(std::mem::take(progress));
        events.iter().for_each(|event| self.take(&mut instant, event, now));
        *progress = self.end(instant, at);
    }

    /// Begins an instant: `before` is the progress of all earlier ones.
    pub fn begin(&self, before: ChainProgress) -> Instant {
        Instant {
            before,
            led: vec![Vec::new(); self.stages.len()],
            happened: vec![0; self.shape.0.len()],
        }
    }

    /// Takes one more event of the instant, in any order, none of them ahead of `now`.
    pub fn take(&self, instant: &mut Instant, event: &EventRow, now: Timestamp) {
        let fitting: Vec<Option<Timestamp>> = self.shape.0.iter().map(|step| self.fits(step, event, now)).collect();
        // From the end, so that one event leads a way on by one stage.
        for from in (0..self.stages.len()).rev() {
            if let Some(until) = self.stages[from].step.and_then(|step| fitting[step]) {
                self.lead_on(instant, from, event, until);
            }
        }
        for (happened, fitting) in instant.happened.iter_mut().zip(&fitting) {
            *happened += u32::from(fitting.is_some());
        }
    }

    /// The progress once all events of an instant are taken. An instant without events changes
    /// nothing.
    pub fn end(&self, instant: Instant, at: Timestamp) -> ChainProgress {
        let Instant { before, led, happened } = instant;
        let mut stages = before.0;
        for (place, led) in led.into_iter().enumerate() {
            let absences = &self.stages[place].absences;
            if !absences.is_empty() {
                stages[place].retain_mut(|way| {
                    way.seen.iter_mut().zip(absences).for_each(|(seen, step)| *seen += happened[*step]);
                    way.seen.iter().zip(absences).all(|(seen, step)| *seen < self.shape.0[*step].count)
                });
            }
            // After the absences: an event at the instant itself does not come after it.
            led.into_iter().for_each(|way| way.join(&mut stages[place]));
        }
        // A way that is over at an event's own time is over at every later `now`.
        stages.iter_mut().for_each(|ways| ways.retain(|way| way.until > at));
        ChainProgress(stages)
    }

    /// When time next changes the verdict on an event, apart from an end that `fold` knows of; for
    /// events ahead, after they have appeared.
    pub fn turns_at(&self, event: &EventRow, now: Timestamp) -> Timestamp {
        let turning = self.shape.0.iter().filter(|step| !step.lasting);
        turning
            .map(|step| self.judge(&step.condition, event, None, now.max(event.at)).1)
            .min()
            .unwrap_or(NEVER)
    }

    /// An event that fits the step after a stage leads every way there on to the next stage. Steps
    /// are strictly one after the other, so only within a step may ways continue that the same
    /// instant created.
    fn lead_on(&self, instant: &mut Instant, from: usize, event: &EventRow, until: Timestamp) {
        let (near, end) = (self.near(from), self.near(from + 1).map(|_| event.at));
        let (led, after) = instant.led.split_at_mut(from + 1);
        let led = led[from].iter().filter(|_| !self.stages[from].first);
        for way in instant.before.0[from].iter().chain(led) {
            if near.is_none_or(|near| self.judge(near, event, way.end, event.at).0) {
                Way {
                    end,
                    until: way.until.min(until),
                    seen: vec![0; self.stages[from + 1].absences.len()],
                }
                .join(&mut after[0]);
            }
        }
    }

    /// The window since the step before in which the event that leads on from a stage must lie.
    fn near(&self, stage: usize) -> Option<&Core> {
        self.stages[stage].step.and_then(|step| self.shape.0[step].near.as_ref())
    }

    /// Until when an event fits a step, if it does.
    fn fits(&self, step: &PlannedStep, event: &EventRow, now: Timestamp) -> Option<Timestamp> {
        let (flag, until) = self.judge(&step.condition, event, None, if step.lasting { event.at } else { now });
        flag.then_some(if step.lasting { until } else { NEVER })
    }

    fn judge(&self, condition: &Core, event: &EventRow, previous: Option<Timestamp>, now: Timestamp) -> (bool, Timestamp) {
        let previous = EventRow {
            at: previous.unwrap_or(Timestamp::MIN),
            id: Default::default(),
            columns: Vec::new(),
        };
        let bound = vec![
            (SUBJECT, Val::Object(Object::Event(event, &self.layout))),
            (Var::Previous, Val::Object(Object::Event(&previous, &[]))),
        ];
        let mut machine = Evaluator::over(bound, &self.context, now);
        // Nothing about a single event is unknown.
        machine.test(condition).unwrap_or((false, NEVER))
    }
}
