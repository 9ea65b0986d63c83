//! A drafted definition over the whole population: how many, which, why, and the changes against
//! the published version.
//!
//! A draft has no maintained features, so its rule is evaluated naively over whole data. Accounts,
//! opportunities, campaigns and lists that it reaches are held in memory; persons are read one by one.
//! Nothing is written, and no shard waits: rows are read page by page as they are committed, so
//! under live input the answer is exact for rows that did not change meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Relation, ShardId, SubjectId, SubjectKind, Text, Timestamp};
use millrace_segment::Span;
use millrace_segment::plan::{Plan, Reads};
use millrace_segment::{Compiled, Diagnostic, Explanation, Kind, Status, Whole, compile, link, lint};
use xxhash_rust::xxh3::xxh3_64;

use super::walk::{Found, Walk};
use super::world::{Moment, Sight, Thing, Things};
use super::{Query, QueryError};
use crate::program::Program;

/// The most subjects a sample shows.
pub const SAMPLE_MAX: usize = 100;

/// The effect of a draft.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The draft's name.
    pub name: Text,
    /// The kind of subjects it is about.
    pub subject: SubjectKind,
    /// The instant of the evaluation.
    pub evaluated_at: Timestamp,
    /// Subjects evaluated: all that live.
    pub population: u64,
    /// Those in the draft's audience.
    pub audience: Sampled,
    /// The version in force under the same name, if it is published; otherwise everyone in the
    /// audience enters.
    pub published: Option<u64>,
    /// Members of the published version.
    pub members: u64,
    /// Those who would enter.
    pub entering: Sampled,
    /// Those who would leave.
    pub leaving: Sampled,
    /// Accepted, but probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// How many, and some of them: the same subjects for the same set, spread evenly.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// How many there are.
    pub count: u64,
    /// In no meaningful order.
    pub sample: Vec<Reasoned>,
}

/// A subject and why the draft includes it, or does not.
#[derive(Clone, Debug)]
pub struct Reasoned {
    /// A subject of the sample.
    pub subject: SubjectId,
    /// Why the draft's rule holds, or does not.
    pub explanation: Explanation,
}

/// Keeps those with the least hashes of their ids: a uniform sample, whatever the order they come
/// in.
struct Sampler {
    count: u64,
    sample_max: usize,
    kept: BTreeMap<(u64, Text), Reasoned>,
}

impl Sampler {
    fn new(sample_max: usize) -> Sampler {
        Sampler {
            count: 0,
            sample_max,
            kept: BTreeMap::new(),
        }
    }

    fn offer(&mut self, subject: &SubjectId, explain: impl FnOnce() -> Explanation) {
        self.count += 1;
        let id = subject.text();
        let place = (xxh3_64(id.as_bytes()), id);
        if self.kept.len() >= self.sample_max && self.kept.last_key_value().is_none_or(|(last, _)| *last < place) {
            return;
        }
        self.kept.insert(
            place,
            Reasoned {
                subject: subject.clone(),
                explanation: explain(),
            },
        );
        if self.kept.len() > self.sample_max {
            self.kept.pop_last();
        }
    }

    fn done(self) -> Sampled {
        Sampled {
            count: self.count,
            sample: self.kept.into_values().collect(),
        }
    }
}

/// One preview in progress.
struct Draft {
    whole: Whole,
    name: Text,
    now: Timestamp,
    population: u64,
    members: u64,
    audience: Sampler,
    entering: Sampler,
    leaving: Sampler,
}

impl Draft {
    fn judge(&mut self, subject: &SubjectId, alive: bool, member: bool, sight: &Sight<'_>) {
        let id = subject.text();
        // A world knows everything; nothing is unknown in it.
        let taken = alive && self.whole.evaluate(sight, &id, self.now).is_ok_and(|answer| answer.value);
        let explain = || self.whole.explain(sight, &id, self.now);
        self.population += u64::from(alive);
        self.members += u64::from(member);
        if taken {
            self.audience.offer(subject, explain);
        }
        match (member, taken) {
            (false, true) => self.entering.offer(subject, explain),
            (true, false) => self.leaving.offer(subject, explain),
            _ => {}
        }
    }
}

impl Query {
    /// What a rule would do if it were published at `now`, over every shard; `inSegment` is
    /// answered by present memberships.
    ///
    /// # Errors
    /// `Invalid` where it conflicts with the other definitions. Where a shard cannot be read: there
    /// is no answer for a part of the population.
    pub fn preview(&self, compiled: &Compiled, sample_max: usize, now: Timestamp) -> Result<Preview, QueryError> {
        self.preview_while(compiled, sample_max, now, &|| true)
    }

    /// As `preview`, as long as somebody waits for the answer.
    ///
    /// # Errors
    /// As for `preview`; `Cancelled` once nobody does.
    pub fn preview_while(&self, compiled: &Compiled, sample_max: usize, now: Timestamp, wanted: &dyn Fn() -> bool) -> Result<Preview, QueryError> {
        let program = self.program()?;
        let definition = compiled.definition();
        let (linked, reads, warnings) = self.draft(&program, compiled, now)?;
        let moment = Moment {
            at: now,
            retained_from: now.plus_ms(-self.config.retention_ms()),
            past: false,
        };
        let mut things = Things::new(self, &program, moment, usize::MAX);
        for kind in reads.kinds(definition.subject) {
            things.hold(kind)?;
        }
        for kind in reads.children() {
            things.gather(kind)?;
        }
        let published = program
            .segment(&definition.name)
            .and_then(|_| program.definitions.get(&definition.name))
            .map(|accepted| accepted.row.version);
        let sampler = || Sampler::new(sample_max.min(SAMPLE_MAX));
        let mut draft = Draft {
            whole: linked.whole(&self.config.settings),
            name: definition.name.clone(),
            now,
            population: 0,
            members: 0,
            audience: sampler(),
            entering: sampler(),
            leaving: sampler(),
        };
        for shard in ShardId::all(self.config.shards) {
            let mut walk = Walk::over(self, shard, definition.subject, definition.subject == SubjectKind::Person && reads.events);
            while let Some(Found { subject, row, profile, events }) = walk.next_subject()? {
                if !wanted() {
                    return Err(QueryError::Cancelled);
                }
                let thing = Thing::new(subject.kind, row, profile, now);
                let (alive, member) = (thing.alive, thing.segments.contains(&draft.name));
                let sight = if subject.kind == SubjectKind::Person {
                    Sight::with_person(&things, subject.text(), thing, &events)?
                } else {
                    Sight::new(&things)
                };
                draft.judge(&subject, alive, member, &sight);
                things.finish()?;
            }
        }
        Ok(Preview {
            name: draft.name,
            subject: definition.subject,
            evaluated_at: now,
            population: draft.population,
            audience: draft.audience.done(),
            published,
            members: draft.members,
            entering: draft.entering.done(),
            leaving: draft.leaving.done(),
            warnings,
        })
    }

    /// The draft with the computed attributes that it names filled in, and what it reads, once it
    /// is clear that it is valid together with the other definitions.
    fn draft(&self, program: &Program, compiled: &Compiled, now: Timestamp) -> Result<(Compiled, Needs, Vec<Diagnostic>), QueryError> {
        let mut definition = compiled.definition().clone();
        if definition.kind == Kind::ComputedAttribute {
            let message = "a computed attribute is a value and has no audience; preview a segment that names it".to_owned();
            return Err(QueryError::Invalid(vec![Diagnostic::error("no-audience", Span::default(), message)]));
        }
        definition.status = Status::Published;
        let published = compile(&definition, &self.config.schema).map_err(QueryError::Invalid)?;
        let change = BTreeMap::from([(definition.name.clone(), Some(published.clone().into()))]);
        let together = program.definitions.rules().clone().change(change, &self.config.schema);
        together.map_err(|problems| QueryError::Invalid(problems.into_iter().map(|(_, problem)| problem).collect()))?;
        let attributes = program
            .definitions
            .published()
            .filter(|accepted| accepted.compiled.definition().kind == Kind::ComputedAttribute);
        let alone: Vec<Compiled> = attributes.map(|accepted| accepted.compiled.clone()).chain([published]).collect();
        let alone = link(&alone, &self.config.schema).map_err(QueryError::Invalid)?;
        let plan = Plan::build(&alone, &self.config.settings).map_err(QueryError::Invalid)?;
        let reads = plan
            .segments
            .iter()
            .map(|segment| &segment.reads)
            .chain(plan.features.iter().map(|feature| &feature.reads));
        let needs = Needs::of(reads, !plan.queries.is_empty());
        let own = |(name, warning): (Text, Diagnostic)| (name == definition.name).then_some(warning);
        let warnings = lint(&alone, &self.config.settings, now).into_iter().filter_map(own).collect();
        let linked = alone.into_iter().find(|compiled| compiled.definition().name == definition.name);
        Ok((linked.unwrap_or_else(|| compiled.clone()), needs, warnings))
    }
}

/// The kinds that a rule reaches.
struct Needs {
    relations: BTreeSet<Relation>,
    events: bool,
}

impl Needs {
    fn of<'r>(reads: impl Iterator<Item = &'r Reads>, events: bool) -> Needs {
        Needs {
            relations: reads.flat_map(|reads| reads.relations.iter().copied()).collect(),
            events,
        }
    }

    /// Kinds to hold: every kind that is reached, and the subjects' own, except persons.
    fn kinds(&self, subject: SubjectKind) -> BTreeSet<SubjectKind> {
        let reached = self.relations.iter().filter_map(|relation| relation.leads_to());
        reached.chain([subject]).filter(|kind| *kind != SubjectKind::Person).collect()
    }

    /// Kinds reached as an account's children.
    fn children(&self) -> BTreeSet<SubjectKind> {
        self.relations.iter().filter_map(|relation| relation.children()).collect()
    }
}
