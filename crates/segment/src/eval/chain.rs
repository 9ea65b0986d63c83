//! Chains: steps strictly in time order, some of them absences.
//!
//! A step takes as many events as it counts: absences before it end at the first of them, those
//! after it begin at the last.
//!
//! Without conditions between steps a chain is decided in one pass over the steps: for the
//! following steps only the instants matter at which a step may have ended. Conditions that refer
//! to earlier steps need a search, which does not try twice what has failed: the rest depends only
//! on the instant reached and on the events still referred to. So its time is bounded by a power of
//! the number of events, one more than the steps referred to at once (see `cost`), and is linear in
//! the number of steps.

use std::collections::BTreeSet;

use millrace_model::Timestamp;

use super::{Evaluator, NEVER, Presence, Val};
use crate::core::{Bind, ChainStep, Core, linked};
use crate::eval::Evidence;
use crate::view::Unknown;

/// An event that satisfies its step's own condition now.
struct Candidate<'a> {
    at: Timestamp,
    /// Until when it satisfies it.
    until: Timestamp,
    val: Val<'a>,
}

/// The candidates of one step, in order of time.
struct Candidates<'a> {
    events: Vec<Candidate<'a>>,
    /// When the earliest event may be added to them.
    gained: Timestamp,
    /// When the earliest may be lost.
    lost: Timestamp,
}

/// A search through the candidates of all steps.
struct Search<'c, 'a> {
    steps: &'a [ChainStep],
    found: &'c [Candidates<'a>],
    /// By step: the earlier steps to which it and later steps refer.
    linked: Vec<Vec<usize>>,
    /// By step: the place of the event taken among the candidates.
    taken: Vec<usize>,
    /// The states from which it fails: the step, the instant reached, the events of the steps
    /// referred to.
    failed: BTreeSet<(usize, Option<Timestamp>, Vec<usize>)>,
    /// The least validity of the conditions tried.
    until: Timestamp,
}

impl<'a> Evaluator<'a> {
    pub(super) fn chain(&mut self, steps: &'a [ChainStep]) -> Result<(bool, Timestamp), Unknown> {
        let mut found = Vec::with_capacity(steps.len());
        for step in steps {
            found.push(self.candidates(&step.source)?);
        }
        let gained = found.iter().map(|step| step.gained).min().unwrap_or(NEVER);
        let lost = found.iter().map(|step| step.lost).min().unwrap_or(NEVER);
        let correlated = steps.iter().any(|step| step.body != Core::bool(true));
        if correlated {
            let linked = (0..steps.len()).map(|at| linked(steps, at)).collect();
            let taken = vec![0; steps.len()];
            let mut search = Search {
                steps,
                found: &found,
                linked,
                taken,
                failed: BTreeSet::new(),
                until: gained.min(lost),
            };
            let flag = self.search(&mut search, 0, None)?;
            return Ok((flag, search.until));
        }
        if steps.iter().any(|step| step.negated) {
            return Ok((decided(steps, &found), gained.min(lost)));
        }
        Ok(match latest(steps, &found) {
            Some((witness, until)) => {
                if let Some(trace) = &mut self.trace {
                    trace.extend(witness.into_iter().filter_map(|candidate| Evidence::event(&candidate.val)));
                }
                (true, until)
            }
            // Expiry cannot help; an event must be gained.
            None => (false, gained),
        })
    }

    fn candidates(&mut self, source: &'a Core) -> Result<Candidates<'a>, Unknown> {
        let (base, condition) = if let Core::Bind {
            bind: Bind::Filter,
            source,
            var,
            body,
        } = source
        {
            (&**source, Some((*var, &**body)))
        } else {
            (source, None)
        };
        let (slots, bound) = self.slots(base)?;
        let mut found = Candidates {
            events: Vec::new(),
            gained: bound,
            lost: bound,
        };
        for slot in slots {
            let Some(at) = slot.val.at() else { continue };
            if let Presence::From(from) = slot.presence {
                found.gained = found.gained.min(from);
                continue;
            }
            let (flag, until) = match condition {
                Some((var, body)) => self.with(var, slot.val.clone(), |machine| machine.test(body))?,
                None => (true, NEVER),
            };
            if flag {
                found.lost = found.lost.min(until);
                found.events.push(Candidate { at, until, val: slot.val });
            } else {
                found.gained = found.gained.min(until);
            }
        }
        // Lists other than stored ones may be in another order.
        found.events.sort_by_key(|candidate| candidate.at);
        Ok(found)
    }

    /// Depth first over the events a step may end with.
    fn search(&mut self, search: &mut Search<'_, 'a>, at: usize, before: Option<Timestamp>) -> Result<bool, Unknown> {
        let (steps, found) = (search.steps, search.found);
        let state = (
            at,
            before,
            search.linked.get(at).into_iter().flatten().map(|step| search.taken[*step]).collect(),
        );
        if search.failed.contains(&state) {
            return Ok(false);
        }
        let Some(step) = (at..steps.len()).find(|index| !steps[*index].negated) else {
            // Nothing may follow: the absences extend up to now.
            return self.absent(search, at..steps.len(), before, None);
        };
        let mut group: Vec<&Candidate<'a>> = Vec::new();
        for (place, candidate) in found[step]
            .events
            .iter()
            .enumerate()
            .filter(|(_, candidate)| before.is_none_or(|before| candidate.at > before))
        {
            self.go_through(1)?;
            let (flag, holds) = self.with(steps[step].var, candidate.val.clone(), |machine| machine.test(&steps[step].body))?;
            search.until = search.until.min(holds);
            if !flag {
                continue;
            }
            if steps[step].count == 1 {
                // It begins where it ends.
                group.clear();
            }
            group.push(candidate);
            if group.len() < steps[step].count as usize {
                continue;
            }
            // The earliest of the group leaves the least room before it.
            if group.len() == steps[step].count as usize && !self.absent(search, at..step, before, Some(group[0].at))? {
                break;
            }
            search.taken[step] = place;
            if self.with(steps[step].var, candidate.val.clone(), |machine| {
                machine.search(search, step + 1, Some(candidate.at))
            })? {
                if let Some(trace) = &mut self.trace {
                    trace.extend(group.iter().filter_map(|candidate| Evidence::event(&candidate.val)));
                }
                return Ok(true);
            }
        }
        search.failed.insert(state);
        Ok(false)
    }

    /// Whether none of the negated steps has its events strictly between two instants; without an
    /// end, up to now.
    fn absent(
        &mut self,
        search: &mut Search<'_, 'a>,
        range: std::ops::Range<usize>,
        after: Option<Timestamp>,
        end: Option<Timestamp>,
    ) -> Result<bool, Unknown> {
        let (steps, found) = (search.steps, search.found);
        for index in range {
            let mut count = 0;
            for candidate in &found[index].events {
                if after.is_some_and(|after| candidate.at <= after) || end.is_some_and(|end| candidate.at >= end) {
                    continue;
                }
                self.go_through(1)?;
                let (flag, holds) = self.with(steps[index].var, candidate.val.clone(), |machine| machine.test(&steps[index].body))?;
                search.until = search.until.min(holds);
                count += u32::from(flag);
            }
            if count >= steps[index].count {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A chain without negated steps, matched from its end: the witness consists of the latest events,
/// which stay longest in windows up to now.
fn latest<'c, 'a>(steps: &[ChainStep], found: &'c [Candidates<'a>]) -> Option<(Vec<&'c Candidate<'a>>, Timestamp)> {
    let mut before = NEVER;
    let mut witness = Vec::new();
    for (step, candidates) in steps.iter().zip(found).rev() {
        let end = candidates.events.partition_point(|candidate| candidate.at < before);
        let begin = end.checked_sub(step.count as usize)?;
        let taken = &candidates.events[begin..end];
        before = taken.first().map_or(before, |candidate| candidate.at);
        witness.extend(taken.iter().rev());
    }
    witness.reverse();
    let until = witness.iter().map(|candidate| candidate.until).min().unwrap_or(NEVER);
    Some((witness, until))
}

/// A chain with negated steps and no conditions between steps.
fn decided(steps: &[ChainStep], found: &[Candidates<'_>]) -> bool {
    // The instants at which the last positive step may have ended; `None`: there was none yet.
    let mut ends: Vec<Option<Timestamp>> = vec![None];
    let mut absences: Vec<usize> = Vec::new();
    let clear = |absences: &[usize], after: Option<Timestamp>, end: Option<Timestamp>| {
        absences.iter().all(|index| {
            let events = &found[*index].events;
            let from = after.map_or(0, |after| events.partition_point(|candidate| candidate.at <= after));
            let to = end.map_or(events.len(), |end| events.partition_point(|candidate| candidate.at < end));
            to.saturating_sub(from) < steps[*index].count as usize
        })
    };
    for (index, step) in steps.iter().enumerate() {
        if step.negated {
            absences.push(index);
            continue;
        }
        let events = &found[index].events;
        // The latest end before a candidate leaves the least room for what must be absent.
        let begins = |candidate: &&Candidate<'_>| {
            let before = ends[..ends.partition_point(|after| *after < Some(candidate.at))].last();
            before.is_some_and(|after| clear(&absences, *after, Some(candidate.at)))
        };
        let fitting: Vec<&Candidate<'_>> = if step.count == 1 {
            events.iter().filter(begins).collect()
        } else {
            // Once begun, it may end with any later one that leaves enough events between.
            let begin = events.iter().position(|candidate| begins(&candidate)).unwrap_or(events.len());
            events.iter().skip(begin + step.count as usize - 1).collect()
        };
        ends = fitting.iter().map(|candidate| Some(candidate.at)).collect();
        ends.dedup();
        if ends.is_empty() {
            return false;
        }
        absences.clear();
    }
    ends.iter().any(|after| clear(&absences, *after, None))
}
