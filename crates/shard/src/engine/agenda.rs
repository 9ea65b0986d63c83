//! What a step still has to do, apart from messages: subjects to evaluate, evidence to weigh,
//! definitions to plan, fan-outs and other background work.

use std::collections::{BTreeMap, BTreeSet};

use millrace_identity::Evidence;
use millrace_model::{ShardId, SubjectId, SubjectKind};
use millrace_segment::view::QueryId;

use super::background::Fanouts;
use crate::lifecycle::Arrival;
use crate::origin::{CauseKind, Origin};
use crate::row::{RelatedChange, Revision};

/// The work of one step.
pub(super) struct Agenda {
    dirty: BTreeMap<Rank, Dirty>,
    /// Evidence for the identity writer, weighed together.
    pub evidence: Vec<(Evidence, Origin)>,
    /// Definitions that arrived and are not planned yet.
    pub definitions: Vec<Arrival>,
    pub fanouts: Fanouts,
    /// Subjects whose earliest event may be gone.
    pub oldest_gone: BTreeSet<SubjectId>,
    /// No chore, review or backfill waits.
    pub idle: bool,
}

impl Agenda {
    /// `idle`: no chore, review or backfill is stored.
    pub fn new(fanouts: Fanouts, idle: bool) -> Agenda {
        Agenda {
            dirty: BTreeMap::new(),
            evidence: Vec::new(),
            definitions: Vec::new(),
            fanouts,
            oldest_gone: BTreeSet::new(),
            idle,
        }
    }

    /// A subject must be evaluated because of this fact. Of several facts the last one is reported,
    /// but time only if there is no other.
    pub fn mark(&mut self, subject: &SubjectId, cause: &Origin) -> &mut Dirty {
        let dirty = self.dirty.entry(Rank::of(subject)).or_insert_with(|| Dirty::new(cause.clone()));
        if cause.cause != CauseKind::Timer {
            dirty.origin = cause.clone();
        }
        dirty
    }

    /// As `mark`, for a cause that gives way to any other fact.
    pub fn mark_unless_marked(&mut self, subject: &SubjectId, cause: Origin) -> &mut Dirty {
        debug_assert!(matches!(cause.cause, CauseKind::Definition | CauseKind::Timer));
        self.dirty.entry(Rank::of(subject)).or_insert_with(|| Dirty::new(cause))
    }

    /// The next subject to evaluate: things before the persons who refer to them.
    pub fn next(&mut self) -> Option<(SubjectId, Dirty)> {
        self.dirty.pop_first().map(|(Rank(_, subject), dirty)| (subject, dirty))
    }
}

/// Why, and how much of, a subject must be evaluated again.
#[derive(Debug)]
pub(super) struct Dirty {
    /// The latest fact that marked it.
    pub origin: Origin,
    /// Fragments or rows changed: merge them again.
    pub profile: bool,
    /// Evaluate everything.
    pub all: bool,
    /// Evaluate what was added after this revision.
    pub since: Option<Revision>,
    /// A wake-up is due.
    pub due: bool,
    /// Event queries whose rows changed.
    pub queries: BTreeSet<QueryId>,
    /// Changes of related things, by their kind.
    pub related: BTreeMap<SubjectKind, RelatedChange>,
    /// Shards that subscribed just now.
    pub greet: BTreeSet<ShardId>,
}

impl Dirty {
    fn new(origin: Origin) -> Dirty {
        Dirty {
            origin,
            profile: false,
            all: false,
            since: None,
            due: false,
            queries: BTreeSet::new(),
            related: BTreeMap::new(),
            greet: BTreeSet::new(),
        }
    }

    /// Whether nothing but events and time changed.
    pub fn is_of_events(&self) -> bool {
        !self.profile && !self.all && self.since.is_none() && self.related.is_empty()
    }

    /// A related thing of this kind changed.
    pub fn moved(&mut self, kind: SubjectKind, moved: &RelatedChange) {
        self.related.entry(kind).and_modify(|known| known.add(moved)).or_insert_with(|| moved.clone());
    }
}

/// The order in which dirty subjects are evaluated: dependencies first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u8, SubjectId);

impl Rank {
    fn of(subject: &SubjectId) -> Rank {
        let rank = match subject.kind {
            SubjectKind::Campaign => 0,
            SubjectKind::List => 1,
            SubjectKind::Opportunity => 2,
            SubjectKind::Account => 3,
            SubjectKind::Person => 4,
        };
        Rank(rank, subject.clone())
    }
}
