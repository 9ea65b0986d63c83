//! Sequences whose progress is kept: what one event costs does not depend on how many lie before it.
//!
//! A chain is a small machine that goes through a subject's events in order of time. Its *stages* are the beginnings of the chain; a step with
//! `COUNT(n)` is n stages. At each stage stand the *ways* in which the events so far lead there. Of a way is kept only what later events can ask of
//! it: when its last step ended (where a window begins there), until when it holds, and how many events of the absences after it were seen. A way
//! that another one serves as well in all of these is dropped. Later ways mostly serve better, so there is one way a stage, seldom a few.
//!
//! Events of one instant belong together (`Instant`): steps lie strictly one after the other, while events of one step may be simultaneous.
//!
//! A condition on an event is *lasting* where it holds from the event on until a known end; that end is put into the way, and progress says on its
//! own how the answer changes with time. Other conditions (those that begin to hold later, and absences that time may undo) are judged as of now:
//! when such a verdict turns, the owner of the rows (the engine) folds again from its event on.

use std::sync::Arc;

use millrace_model::Timestamp;
use millrace_pql::ast::{Comparison, Direction, Moment, Unit};
use serde::{Deserialize, Serialize};

use crate::calendar::fixed_ms;
use crate::core::{Bind, ChainStep, Core, Op, SUBJECT, Var, newest_first};
use crate::eval::{Context, Machine, NEVER, Object, Val};
use crate::view::{EventRow, Timed};

/// Stages of a chain that is kept so. All of them are in one row, which every event writes.
const STAGES_MAX: usize = 64;

/// A step as it is asked of one event.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    negated: bool,
    count: u32,
    /// Of the event, as `SUBJECT`; depends on time and on nothing else.
    condition: Core,
    /// Whether `condition`, where it holds of an event at all, holds from the event on until an end.
    lasting: bool,
    /// How close it must be to the last event of the positive step before, `Var::Previous`, where it must.
    near: Option<Core>,
}

/// A chain as rules write it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape(Vec<Step>);

impl Shape {
    /// Whether a chain, not yet split, can be kept as progress: its steps ask of each event alone, and at most for a time since the step before.
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
    pub fn of(steps: &[ChainStep]) -> Shape {
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
            Step {
                negated: step.negated,
                count: step.count,
                condition,
                lasting,
                near,
            }
        };
        Shape(steps.iter().map(step).collect())
    }

    /// The same text for the same chain.
    pub fn canonical(&self) -> String {
        let step = |step: &Step| {
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

    /// Everything whose value settings may change.
    pub fn conditions(&self) -> impl Iterator<Item = &Core> {
        self.0.iter().flat_map(|step| [&step.condition].into_iter().chain(&step.near))
    }
}

/// The list a step's events come from, and what is asked of each.
pub(crate) fn candidates(source: &Core) -> (&Core, Option<(Var, &Core)>) {
    match source {
        Core::Bind {
            bind: Bind::Filter,
            source,
            var,
            body,
        } => (source, Some((*var, body))),
        other => (other, None),
    }
}

/// Whether a condition is a window since the event before that admits every later event before if it admits one.
fn is_near(condition: &Core, event: Var, previous: Var) -> bool {
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
        // Months after different days may end the other way round.
        Direction::Before if fixed_ms(*unit).is_some() => (previous, event),
        Direction::Before => return false,
    };
    matches!(operands.as_slice(), [own, Core::Literal(_), other] if *own == at(fact) && *other == at(anchor))
}

/// Whether a condition on the event `SUBJECT`, where it holds at all, holds from the event on until an end that is exactly known.
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
    /// The step whose next event leads on; of the last stage, none.
    step: Option<usize>,
    /// Whether that is the step's first event. Until it comes, the absences are watched.
    first: bool,
    /// The steps that must not happen meanwhile.
    absences: Vec<usize>,
}

/// A chain whose progress is to be kept.
#[derive(Clone, Debug)]
pub struct Sequence {
    shape: Arc<Shape>,
    stages: Arc<Vec<Stage>>,
    layout: Arc<Vec<u64>>,
    context: Context,
}

/// One way in which events lead to a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Way {
    /// When its last step ended, where the next one has to be near.
    end: Option<Timestamp>,
    /// When the first of its events ceases to fit.
    until: Timestamp,
    /// Events of each absence since.
    seen: Vec<u32>,
}

impl Way {
    /// Whether whatever follows the other follows this one too, and for as long.
    fn serves_for(&self, other: &Way) -> bool {
        self.end >= other.end && self.until >= other.until && self.seen.iter().zip(&other.seen).all(|(own, others)| own <= others)
    }

    /// Adds it to a stage's ways; those that serve for no more than others go.
    fn join(self, ways: &mut Vec<Way>) {
        if ways.iter().any(|known| known.serves_for(&self)) {
            return;
        }
        ways.retain(|known| !self.serves_for(known));
        // The same ways in the same order, however they came about.
        ways.insert(ways.partition_point(|known| *known < self), self);
    }
}

/// How far the events up to some instant lead: by stage, the ways there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress(Vec<Vec<Way>>);

impl Progress {
    /// Whether the chain holds at `now`, and until when if no event comes, goes or turns.
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

/// An instant while its events are taken, one by one: many at one instant cost as much as the same number at many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    before: Progress,
    /// By stage, the ways that this instant's events led there.
    led: Vec<Vec<Way>>,
    /// By step, how many of the events fit it.
    happened: Vec<u32>,
}

impl Sequence {
    pub(crate) fn new(shape: Shape, layout: Arc<Vec<u64>>, context: Context) -> Sequence {
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
    pub fn start(&self) -> Progress {
        let mut stages = vec![Vec::new(); self.stages.len()];
        stages[0].push(Way {
            end: None,
            until: NEVER,
            seen: vec![0; self.stages[0].absences.len()],
        });
        Progress(stages)
    }

    /// Goes on through the events of one instant, the next at which there are any, none of them ahead of `now`.
    pub fn fold(&self, progress: &mut Progress, events: &[EventRow], now: Timestamp) {
        let Some(at) = events.first().map(|event| event.at) else { return };
        let mut instant = self.begin(std::mem::take(progress));
        events.iter().for_each(|event| self.take(&mut instant, event, now));
        *progress = self.end(instant, at);
    }

    /// Begins an instant: `before` is how far the events of all earlier ones lead.
    pub fn begin(&self, before: Progress) -> Instant {
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

    /// How far the events lead once all those of an instant are taken. An instant without events changes nothing.
    pub fn end(&self, instant: Instant, at: Timestamp) -> Progress {
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
            // Behind the absences: what happens at the instant itself does not come after it.
            led.into_iter().for_each(|way| way.join(&mut stages[place]));
        }
        // What is over at an event's own time is over at every `now` from then on.
        stages.iter_mut().for_each(|ways| ways.retain(|way| way.until > at));
        Progress(stages)
    }

    /// When time turns the verdict on an event next, other than by an end that `fold` knows of; for events ahead, after they have come.
    pub fn turns_at(&self, event: &EventRow, now: Timestamp) -> Timestamp {
        let turning = self.shape.0.iter().filter(|step| !step.lasting);
        turning
            .map(|step| self.judge(&step.condition, event, None, now.max(event.at)).1)
            .min()
            .unwrap_or(NEVER)
    }

    /// An event that fits the step after a stage leads every way there on to the next stage. Steps lie strictly one after the other, so only within
    /// a step do the ways serve that the same instant led there.
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

    /// The window in which the event that leads on from a stage must lie since the step before.
    fn near(&self, stage: usize) -> Option<&Core> {
        self.stages[stage].step.and_then(|step| self.shape.0[step].near.as_ref())
    }

    /// Until when an event fits a step, where it does.
    fn fits(&self, step: &Step, event: &EventRow, now: Timestamp) -> Option<Timestamp> {
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
        let mut machine = Machine::over(bound, &self.context, now);
        // Nothing about one event is unknown.
        machine.test(condition).unwrap_or((false, NEVER))
    }
}
