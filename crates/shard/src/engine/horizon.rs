//! Until when memberships hold: for reports, and not used to decide them.
//!
//! A membership may end by time because of facts in three places: at the subject, at related
//! things, in other segments. The subject is woken for its own facts (`Membership::valid_until`)
//! and for nothing else. The owner of a feature is woken for that feature, and sends it when it
//! changes. So nobody is evaluated because somebody else's instant moved; the instant travels with
//! the value, and is read for reports.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Text, Timestamp};
use millrace_segment::plan::SegmentPlan;
use millrace_segment::view::Timed;

use super::view::SubjectView;
use crate::program::Program;
use crate::row::Membership;

/// How often the search for the end of a membership continues past instants at which nothing
/// changes. A bound: after it, the last such instant is reported.
const STEPS_MAX: usize = 64;

/// The instants at which time alone ends the present answers of these segments, as far as is known
/// at `now`; also of those that they depend on. The view receives those, and may read everything
/// that any of them reads.
pub fn ends<'n>(
    view: &mut SubjectView<'_>,
    program: &Program,
    memberships: &[Membership],
    segments: impl IntoIterator<Item = &'n Text>,
    now: Timestamp,
) -> BTreeMap<Text, Timestamp> {
    // Dependencies come first in a plan, so in ascending order of places as well.
    let mut places = BTreeSet::new();
    let mut waiting: Vec<usize> = segments.into_iter().filter_map(|name| program.segment_place(name)).collect();
    while let Some(place) = waiting.pop() {
        if places.insert(place) {
            waiting.extend(
                program.plan.segments[place]
                    .reads
                    .segments
                    .iter()
                    .filter_map(|name| program.segment_place(name)),
            );
        }
    }
    let member = |name: &Text| memberships.iter().any(|membership| membership.segment == *name && membership.realized);
    let mut ends = BTreeMap::new();
    for segment in places.into_iter().map(|place| &program.plan.segments[place]) {
        view.read_too(&segment.reads.queries);
        for name in &segment.reads.segments {
            let valid_until = ends.get(name).copied().unwrap_or(Timestamp::MAX);
            view.set_segment(
                name.clone(),
                Some(Timed {
                    value: member(name),
                    valid_until,
                }),
            );
        }
        ends.insert(segment.name.clone(), end_of(view, segment, member(&segment.name), now));
    }
    ends
}

/// The instant at which time alone ends an answer: instants at which it stays the same are skipped.
fn end_of(view: &SubjectView<'_>, segment: &SegmentPlan, answer: bool, now: Timestamp) -> Timestamp {
    let mut at = now;
    for _ in 0..STEPS_MAX {
        match segment.residual.foresee(view, now, at) {
            Ok(Timed { value, valid_until }) if value.as_bool().unwrap_or(false) == answer => at = valid_until,
            _ => break,
        }
        if at == Timestamp::MAX {
            break;
        }
    }
    // For an answer that is open now there is no instant.
    if at > now { at } else { Timestamp::MAX }
}
