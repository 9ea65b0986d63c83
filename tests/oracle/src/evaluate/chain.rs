//! Sequences, by trying every choice of events.

use millrace_pql::ast::{EventStep, Expr};

use super::Evaluation;
use crate::value::Value;

/// What has been chosen so far.
#[derive(Clone)]
struct Progress<'s> {
    /// The time of the last event chosen.
    last_at: i64,
    /// Negated steps since: no such event before the next one chosen.
    forbidden: Vec<&'s EventStep>,
}

impl Evaluation<'_> {
    /// Whether events can be chosen so that every step has its own, each step's events strictly
    /// later than the ones before.
    pub(super) fn chain(&mut self, events: Vec<Value>, timestamp: &Expr, steps: &[EventStep]) -> bool {
        let timed: Vec<(i64, Value)> = events
            .into_iter()
            .filter_map(|event| Some((self.for_item(timestamp, event.clone()).time()?, event)))
            .collect();
        self.continues(
            &timed,
            steps,
            Progress {
                last_at: i64::MIN,
                forbidden: Vec::new(),
            },
        )
    }

    fn continues(&mut self, events: &[(i64, Value)], steps: &[EventStep], progress: Progress) -> bool {
        let Some((step, rest)) = steps.split_first() else {
            return self.absent(events, &progress, i64::MAX);
        };
        if step.negated {
            let mut progress = progress;
            progress.forbidden.push(step);
            return self.continues(events, rest, progress);
        }
        let candidates: Vec<&(i64, Value)> = events
            .iter()
            .filter(|(at, event)| *at > progress.last_at && self.matches(step, *at, event))
            .collect();
        let wanted = self.wanted(step);
        if wanted == 0 {
            return self.continues(events, rest, progress);
        }
        choices(&candidates, wanted).into_iter().any(|chosen| {
            let (first, last) = (chosen[0], chosen[chosen.len() - 1]);
            self.absent(events, &progress, first.0)
                && self.with_variables([(step.label.clone(), last.1.clone())], |e| {
                    e.continues(
                        events,
                        rest,
                        Progress {
                            last_at: last.0,
                            forbidden: Vec::new(),
                        },
                    )
                })
        })
    }

    /// Whether none of the forbidden steps happened strictly between the last event chosen and
    /// `until`.
    fn absent(&mut self, events: &[(i64, Value)], progress: &Progress, until: i64) -> bool {
        progress.forbidden.iter().all(|step| {
            let between: Vec<&(i64, Value)> = events.iter().filter(|(at, _)| progress.last_at < *at && *at < until).collect();
            let found = between.into_iter().filter(|(at, event)| self.matches(step, *at, event)).count();
            found < self.wanted(step).max(1)
        })
    }

    fn wanted(&mut self, step: &EventStep) -> usize {
        step.count
            .as_ref()
            .map_or(1, |count| self.value(count).whole().map_or(1, |count| usize::try_from(count).unwrap_or(0)))
    }

    /// Whether an event fits a step; the step's own label and the implicit item are the event.
    fn matches(&mut self, step: &EventStep, at: i64, event: &Value) -> bool {
        self.with_variables([(step.label.clone(), event.clone())], |e| {
            e.with_item(event.clone(), |e| {
                step.what.as_ref().is_none_or(|what| e.holds(what))
                    && step.when.as_ref().is_none_or(|when| e.occurs(&Value::Time(at), when))
                    && step.condition.as_ref().is_none_or(|condition| e.holds(condition))
            })
        })
    }
}

/// Every choice of `wanted` of the candidates, in their order.
fn choices<'a>(candidates: &[&'a (i64, Value)], wanted: usize) -> Vec<Vec<&'a (i64, Value)>> {
    if wanted == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (place, first) in candidates.iter().enumerate() {
        for mut rest in choices(&candidates[place + 1..], wanted - 1) {
            rest.insert(0, first);
            all.push(rest);
        }
    }
    all
}
