//! Definitions, how far each shard is with them, and their members.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{ShardId, SubjectId, Text};

use super::{Query, QueryError, get, scan};
use crate::format;
use crate::key::{self, Parts, table};
use crate::lifecycle::{Accepted, Version};
use crate::program;
use crate::row::{BackfillRow, DefinitionRow, Revision, VersionRow};
use crate::tx::prefix_end;

/// A segment and its progress.
#[derive(Clone)]
pub struct SegmentState {
    /// The definition in force.
    pub accepted: Accepted,
    /// The draft beside it.
    pub draft: Option<Accepted>,
    /// Subjects that are in it, over all shards.
    pub members: u64,
    /// The progress of each shard that is here, ascending.
    pub progress: Vec<ShardProgress>,
}

/// How many of a shard's subjects have been evaluated under a definition since it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardProgress {
    /// The shard that evaluates them.
    pub shard: ShardId,
    /// Subjects evaluated.
    pub done: u64,
    /// Subjects in all.
    pub of: u64,
    /// Every subject is evaluated.
    pub complete: bool,
}

impl SegmentState {
    /// Subjects done and in all, over all shards; and whether every shard is done.
    pub fn whole(&self) -> (u64, u64, bool) {
        let sum = |of: &dyn Fn(&ShardProgress) -> u64| self.progress.iter().map(of).sum();
        (
            sum(&|shard| shard.done),
            sum(&|shard| shard.of),
            self.progress.iter().all(|shard| shard.complete),
        )
    }
}

impl Query {
    /// An accepted definition.
    ///
    /// # Errors
    /// Where no shard is open, or a store failed.
    pub fn definition(&self, name: &str) -> Result<Option<Accepted>, QueryError> {
        Ok(self.program()?.definitions.get(name).cloned())
    }

    /// Every accepted definition with its state over all shards.
    ///
    /// # Errors
    /// Where a shard is not open, or a store failed: there is no count of a part of the members.
    pub fn segments(&self) -> Result<Vec<SegmentState>, QueryError> {
        let program = self.program()?;
        let state = |accepted: &Accepted| SegmentState {
            draft: program.definitions.draft(&accepted.compiled.definition().name).cloned(),
            accepted: accepted.clone(),
            members: 0,
            progress: Vec::new(),
        };
        let mut states: Vec<SegmentState> = program.definitions.iter().map(state).collect();
        let rest_on = resting(&states);
        for shard in ShardId::all(self.config.shards) {
            let reader = self.at(shard)?;
            let backfill: Option<BackfillRow> = get(&reader, &key::single(table::BACKFILL))?;
            let complete_at: Revision = get(&reader, &key::single(table::BACKFILLED))?.unwrap_or_default();
            let of: u64 = get(&reader, &key::single(table::POPULATION))?.unwrap_or_default();
            let revisions = states.iter().map(|state| {
                let version = key::version(state.accepted.name(), state.accepted.row.version);
                Ok(get::<VersionRow>(&reader, &version)?.map(|version| version.revision))
            });
            let revisions: Vec<Option<Revision>> = revisions.collect::<Result<_, QueryError>>()?;
            for (state, rest_on) in states.iter_mut().zip(&rest_on) {
                let members: u64 = get(&reader, &key::named(table::AUDIENCE, state.accepted.name()))?.unwrap_or_default();
                state.members += members;
                // A change of what a rule rests on changes its members as well.
                let revision = rest_on.iter().map(|at| revisions[*at]).collect::<Option<Vec<_>>>();
                let revision = revision.and_then(|revisions| revisions.into_iter().max());
                // A shard that has not taken up the version yet has evaluated nobody under it.
                let complete = revision.is_some_and(|revision| revision <= complete_at);
                let running = backfill
                    .as_ref()
                    .filter(|backfill| revision.is_some_and(|revision| revision <= backfill.revision));
                let done = if complete {
                    of
                } else {
                    running.map_or(0, |backfill| backfill.scanned.min(of))
                };
                state.progress.push(ShardProgress { shard, done, of, complete });
            }
        }
        Ok(states)
    }

    /// The kept versions of a name, ascending; none where there is no such name.
    ///
    /// # Errors
    /// Where no shard is open, or its store failed.
    pub fn versions(&self, name: &str) -> Result<Vec<Version>, QueryError> {
        let reader = self.any()?;
        let in_force: Option<DefinitionRow> = get(&reader, &key::named(table::DEFINITION, name))?;
        let mut versions = Vec::new();
        for (version_key, value) in scan(&reader, &key::named(table::VERSION, name))? {
            let mut parts = Parts::of(&version_key);
            let _ = parts.text();
            let Some(number) = parts.number() else { continue };
            let row: VersionRow = format::decode(&value)?;
            let in_force = in_force.as_ref().is_some_and(|in_force| in_force.version == number);
            versions.push(Version {
                number,
                compiled: program::compile(&row.text, &self.config).ok(),
                row,
                in_force,
            });
        }
        Ok(versions)
    }

    /// Members of a segment, in ascending order of canonical ids, after `after`.
    ///
    /// # Errors
    /// Where a shard is not open, or a store failed: a list without the members of a shard would
    /// look whole.
    pub fn members(&self, segment: &str, after: Option<&SubjectId>, limit: usize) -> Result<Vec<SubjectId>, QueryError> {
        let prefix = key::members(segment);
        let lower = after.map_or_else(|| prefix.clone(), |after| prefix_end(&key::member(segment, after)));
        let mut members = Vec::new();
        for shard in ShardId::all(self.config.shards) {
            let reader = self.at(shard)?;
            for (member_key, _) in reader.scan(&lower, &prefix_end(&prefix), limit)? {
                let mut parts = Parts::of(&member_key);
                let _ = parts.text();
                members.extend(parts.subject());
            }
        }
        members.sort();
        members.truncate(limit);
        Ok(members)
    }
}

/// Of each definition the places of those that it rests on, by `inSegment` or as a computed
/// attribute, directly or through others, and its own.
fn resting(states: &[SegmentState]) -> Vec<BTreeSet<usize>> {
    let places: BTreeMap<&Text, usize> = states.iter().enumerate().map(|(at, state)| (state.accepted.name(), at)).collect();
    let named = |at: usize| {
        let compiled = &states[at].accepted.compiled;
        let names = compiled.segments().iter().chain(compiled.attributes());
        names.filter_map(|(name, _)| places.get(name).copied()).collect::<Vec<_>>()
    };
    let all = |at: usize| {
        let (mut found, mut waiting) = (BTreeSet::from([at]), vec![at]);
        while let Some(next) = waiting.pop() {
            waiting.extend(named(next).into_iter().filter(|other| found.insert(*other)));
        }
        found
    };
    (0..states.len()).map(all).collect()
}
