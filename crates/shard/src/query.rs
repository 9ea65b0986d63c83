//! Queries on committed state: profiles, events, memberships, and explanations.
//!
//! Answers are read from the stores of the shards that own the keys; a question may touch several.
//! Nothing here writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_identity::{ClusterReport, Reason};
use millrace_model::relation::Hop;
use millrace_model::{CanonicalId, Identity, Relation, Schema, ShardId, SourceKind, SubjectId, SubjectKind, Text, Timestamp, Value};
use millrace_segment::plan::SegmentPlan;
use millrace_segment::view::Timed;
use millrace_segment::{Diagnostic, Evidence, Explanation, World};

use crate::deployment::Deployment;
use crate::engine::{CommittedGraph, RowView, SubjectView, asides, ends, is_alive};
use crate::format;
use crate::key::{self, Parts, table};
use crate::lifecycle::{Accepted, Version};
use crate::merge::{Merged, merge};
use crate::placement::{IDENTITY_SHARD, shard_of_node};
use crate::program::{self, Program};
use crate::record::Fragment;
use crate::row::{
    self, AsideRow, BackfillRow, FragmentRow, LedgerRow, NodeRow, OwnFeature, ProfileRelation, ProfileRow, ReplicaRow, Revision, Standing, SubjectRow,
    VersionRow,
};
use crate::state::{Row, StateError, StateView};
use crate::tx::prefix_end;

mod children;
mod find;
mod past;
mod preview;
mod world;

pub use find::{FoundPart, LOOKED_AT_MAX};
pub use past::Past;
pub use preview::{Preview, Reasoned, SAMPLE_MAX, Sampled};
use world::{Moment, Sight, Things};

/// Events and related things that one explanation examines: about a second. Beyond that, conditions
/// are shown with their kept values.
pub const EXPLAINED_MAX: usize = 10_000;

/// Edges and claims shown of a cluster: an address shared by thousands has thousands, and nobody
/// reads them.
const CLUSTER_EDGES_MAX: usize = 200;

/// Committed state of one shard.
pub type Reader = Arc<dyn StateView + Send + Sync>;

/// Finds the committed state of shards.
pub trait Shards: Send + Sync {
    /// A shard that is open in this process.
    fn here(&self, shard: ShardId) -> Option<Reader>;

    /// A shard wherever it is open; `None` where no process is known to have it open now.
    fn reader(&self, shard: ShardId) -> Option<Reader> {
        self.here(shard)
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The owning shard is open nowhere: being restored, or between two owners. Try again.
    #[error("shard {0} is not open now")]
    NotOpen(ShardId),
    #[error(transparent)]
    State(#[from] StateError),
    /// A draft that conflicts with the other definitions.
    #[error("the definition does not hold")]
    Invalid(Vec<Diagnostic>),
    /// The answer depends on more than one question examines.
    #[error("more than {0} events and related things would have to be gone through")]
    TooLong(usize),
    /// Nobody waits for the answer any more.
    #[error("the asker has left")]
    Cancelled,
    /// An instant without an answer, and why.
    #[error("{0}")]
    Instant(String),
}

/// Questions to a deployment.
pub struct Query {
    config: Arc<Deployment>,
    shards: Arc<dyn Shards>,
    /// As of a record of the control topic.
    program: Mutex<Option<(u64, Arc<Program>)>>,
    explained_max: usize,
}

/// A subject as it is.
#[derive(Clone, Debug)]
pub struct Profile {
    pub subject: SubjectId,
    /// Whether it is in the population: a live record or a retained event.
    pub alive: bool,
    pub identities: Vec<Identity>,
    /// Identities that its records or events carry and that are set aside, each with the reason.
    pub aside: Vec<(Identity, Reason)>,
    /// Merged fields and their sources.
    pub merged: Merged,
    /// The source records that make it up.
    pub records: Vec<(Identity, Fragment)>,
    pub rows: Vec<ProfileRelation>,
    /// Segments the subject is in or was in, as last written to the membership topic. Ascending by
    /// name.
    pub memberships: Vec<WrittenMembership>,
    /// Ascending by name.
    pub computed: row::ComputedRow,
    /// Retained events.
    pub events: u64,
    /// A person's accounts.
    pub accounts: Vec<CanonicalId>,
    /// The heir, for a subject that was absorbed.
    pub merged_into: Option<CanonicalId>,
}

/// The last record of a subject and a segment on the membership topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenMembership {
    pub segment: Text,
    pub realized: bool,
    /// When the subject last entered.
    pub qualified_at: Timestamp,
    /// When that was written: the entry, or the exit.
    pub evaluated_at: Timestamp,
    /// The instant until which it holds as far as is known now; `MAX` for an exit.
    pub valid_until: Timestamp,
}

/// One retained event.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub id: Text,
    pub occurred_at: Timestamp,
    pub home: Identity,
    pub body: Value,
}

/// A segment and its progress.
#[derive(Clone)]
pub struct SegmentState {
    pub accepted: Accepted,
    /// Its draft.
    pub draft: Option<Accepted>,
    pub members: u64,
    /// The progress of each shard that is here, ascending.
    pub progress: Vec<ShardProgress>,
}

/// How many of a shard's subjects have been evaluated under a definition since it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardProgress {
    pub shard: ShardId,
    pub done: u64,
    pub of: u64,
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

/// Why a subject is, or is not, in a segment.
#[derive(Clone, Debug)]
pub struct Explained {
    pub subject: SubjectId,
    pub segment: Text,
    pub version: u64,
    /// As last written to the membership topic; `None`: no record ever was.
    pub membership: Option<WrittenMembership>,
    /// As evaluated for this answer.
    pub explanation: Explanation,
    /// It depends on more than `EXPLAINED_MAX` events and things, which are not shown.
    pub shortened: bool,
    /// The source records of the things in the answer.
    pub records: BTreeMap<Text, Vec<Identity>>,
    pub evaluated_at: Timestamp,
    /// For an instant of the past: the basis of the answer.
    pub past: Option<Past>,
}

/// Committed rows of one shard, as evaluation reads them.
struct Committed(Reader);

impl RowView for Committed {
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.0.get(key)
    }

    fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
        self.0.scan(prefix, &prefix_end(prefix), usize::MAX)
    }
}

/// Committed rows of one shard, with other shards' things as their owners have them: replicas may
/// hold numbers in bands.
struct Exact<'q> {
    query: &'q Query,
    program: &'q Program,
    committed: Committed,
}

impl Exact<'_> {
    /// The replica that a thing's owner would send; `None` if the owner is not open, or knows no
    /// such thing.
    fn replica(&self, replica_key: &[u8]) -> Result<Option<ReplicaRow>, StateError> {
        let Some(thing) = key::subject_of(replica_key) else { return Ok(None) };
        let Ok(owner) = self.query.owner_of(&thing.id.0) else { return Ok(None) };
        let Some(row) = get::<SubjectRow>(&owner, &key::of_subject(table::SUBJECT, &thing))? else {
            return Ok(None);
        };
        let features = row.features.into_iter().filter(|feature| self.program.reads_down(thing.kind, feature.id));
        let features = features
            .map(|OwnFeature { id, value, valid_until, .. }| (id, Timed { value, valid_until }))
            .collect();
        Ok(Some(ReplicaRow {
            known: true,
            exists: row.announced == Standing::Alive,
            features,
            ..ReplicaRow::default()
        }))
    }
}

impl RowView for Exact<'_> {
    fn row(&self, row_key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if key::table_of(row_key) == Some(table::REPLICA)
            && let Some(replica) = self.replica(row_key)?
        {
            return Ok(Some(format::encode(&replica)));
        }
        self.committed.row(row_key)
    }

    fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
        self.committed.rows(prefix)
    }
}

fn get<R: serde::de::DeserializeOwned>(reader: &Reader, row_key: &[u8]) -> Result<Option<R>, StateError> {
    reader.get(row_key)?.as_deref().map(format::decode).transpose()
}

fn scan(reader: &Reader, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
    reader.scan(prefix, &prefix_end(prefix), usize::MAX)
}

/// The things an answer depends on: those next to the subject that the rule uses, more distant ones
/// that decided, and the accounts of opportunities that did.
fn reached(sight: &Sight<'_>, subject: &SubjectId, plan: &SegmentPlan, explanation: &Explanation) -> BTreeMap<Text, SubjectId> {
    let mut reached = BTreeMap::new();
    let mut reach = |kind: SubjectKind, id: &Text| {
        if let Ok(identity) = Identity::parse(id) {
            reached.insert(
                id.clone(),
                SubjectId {
                    kind,
                    id: CanonicalId(identity),
                },
            );
        }
    };
    for relation in &plan.reads.relations {
        if let Some(kind) = relation.leads_to() {
            let links = sight.related(subject.kind, &subject.text(), *relation);
            links.iter().filter_map(|link| link.target.as_ref()).for_each(|id| reach(kind, id));
        }
    }
    explanation.each_evidence(&mut |piece| {
        let Evidence::Thing { kind, id, .. } = piece else { return };
        reach(*kind, id);
        if *kind == SubjectKind::Opportunity {
            let accounts = sight.related(*kind, id, Relation::Account);
            accounts.iter().for_each(|account| reach(SubjectKind::Account, &account.id));
        }
    });
    reached
}

impl Query {
    pub fn new(config: Arc<Deployment>, shards: Arc<dyn Shards>) -> Query {
        Query {
            config,
            shards,
            program: Mutex::new(None),
            explained_max: EXPLAINED_MAX,
        }
    }

    /// With another `EXPLAINED_MAX`.
    #[must_use]
    pub fn explaining_at_most(self, explained_max: usize) -> Query {
        Query { explained_max, ..self }
    }

    /// The types for checking definitions.
    pub fn schema(&self) -> &Schema {
        &self.config.schema
    }

    fn at(&self, shard: ShardId) -> Result<Reader, QueryError> {
        self.shards.reader(shard).ok_or(QueryError::NotOpen(shard))
    }

    fn owner_of(&self, node: &Identity) -> Result<Reader, QueryError> {
        self.at(shard_of_node(node, self.config.shards))
    }

    fn shard_of(&self, subject: &SubjectId) -> ShardId {
        shard_of_node(&subject.id.0, self.config.shards)
    }

    /// Changes with a subject's records, not with its events: merged fields, identities, relations.
    ///
    /// # Errors
    /// Where its shard is not open, or its store failed.
    pub fn profile_row(&self, subject: &SubjectId) -> Result<ProfileRow, QueryError> {
        let reader = self.owner_of(&subject.id.0)?;
        Ok(get(&reader, &key::of_subject(table::PROFILE, subject))?.unwrap_or_default())
    }

    /// A shard, preferably one that is here: every shard has the definitions.
    fn any(&self) -> Result<Reader, QueryError> {
        let all = || ShardId::all(self.config.shards);
        let here = all().find_map(|shard| self.shards.here(shard));
        here.or_else(|| all().find_map(|shard| self.shards.reader(shard)))
            .ok_or(QueryError::NotOpen(ShardId::FIRST))
    }

    /// The definitions of a shard.
    fn program(&self) -> Result<Arc<Program>, QueryError> {
        let shard = self.any()?;
        let control: u64 = get(&shard, &key::single(table::CONTROL))?.unwrap_or_default();
        let mut cached = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((known, program)) if *known == control => Ok(Arc::clone(program)),
            _ => {
                let program = Arc::new(Program::load(&*shard, &self.config)?);
                *cached = Some((control, Arc::clone(&program)));
                Ok(program)
            }
        }
    }

    /// The thing of an identity. An identity that only one home claims belongs to that home.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed.
    pub fn resolve(&self, node: &Identity) -> Result<SubjectId, QueryError> {
        let reader = self.owner_of(node)?;
        let row: NodeRow = get(&reader, &key::node(node))?.unwrap_or_default();
        let kind = SubjectKind::of_namespace(node.namespace());
        if let Some(canonical) = row.canonical {
            return Ok(SubjectId { kind, id: canonical });
        }
        if !row.escalated && row.homes > 0 {
            for (claim_key, _) in scan(&reader, &key::claims(node))? {
                let Some(home) = Parts::of(&claim_key).node() else { continue };
                let subject = self.resolve(&home)?;
                let owner = self.owner_of(&subject.id.0)?;
                let aside: Option<AsideRow> = get(&owner, &key::aside(&subject, &home, node))?;
                if aside.is_none_or(|aside| aside.reason.is_none()) {
                    return Ok(subject);
                }
            }
        }
        Ok(SubjectId {
            kind,
            id: CanonicalId(node.clone()),
        })
    }

    /// A subject's profile; `None` if nothing is known of it.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed.
    pub fn profile(&self, subject: &SubjectId, now: Timestamp) -> Result<Option<Profile>, QueryError> {
        let reader = self.owner_of(&subject.id.0)?;
        let Some(row) = get::<SubjectRow>(&reader, &key::of_subject(table::SUBJECT, subject))? else {
            return Ok(None);
        };
        let profile: ProfileRow = get(&reader, &key::of_subject(table::PROFILE, subject))?.unwrap_or_default();
        let records = self.records(&reader, subject)?;
        let record_type = self.config.schema.record(subject.kind.source());
        let merged = merge(records.iter().map(|(node, fragment)| (node, fragment)), record_type);
        let mut identities = profile.identities.clone();
        identities.insert(subject.id.0.clone());
        for (link_key, _) in scan(&reader, &key::of_subject(table::EVENT_LINK, subject))? {
            let mut parts = Parts::of(&link_key);
            identities.extend(parts.node());
            identities.extend(parts.node());
        }
        let aside = asides(scan(&reader, &key::of_subject(table::ASIDE, subject))?)?;
        identities.retain(|identity| *identity == subject.id.0 || !aside.contains_key(identity));
        let computed = get(&reader, &key::of_subject(table::COMPUTED, subject))?.unwrap_or_default();
        let program = self.program()?;
        let exact = Exact {
            query: self,
            program: &program,
            committed: Committed(reader),
        };
        let mut view = SubjectView::new(&exact, subject, &program, []);
        let accounts = if subject.kind == SubjectKind::Person {
            view.named(Relation::Accounts).unwrap_or_default()
        } else {
            Default::default()
        };
        let segments = row
            .memberships
            .iter()
            .filter(|membership| membership.realized)
            .map(|membership| &membership.segment);
        let ends = ends(&mut view, &program, &row.memberships, segments, now);
        view.finish()?;
        let memberships = self.written(subject, &row, &ends)?;
        Ok(Some(Profile {
            alive: is_alive(subject.kind, &row, now),
            identities: identities.into_iter().collect(),
            aside: aside.into_iter().collect(),
            merged,
            records,
            rows: profile.rows,
            memberships,
            computed,
            events: row.events,
            accounts: accounts.into_iter().collect(),
            merged_into: row.merged_into,
            subject: subject.clone(),
        }))
    }

    /// The last written memberships of a subject, in the order of their segments.
    fn written(&self, subject: &SubjectId, row: &SubjectRow, ends: &BTreeMap<Text, Timestamp>) -> Result<Vec<WrittenMembership>, QueryError> {
        let realized = row.memberships.iter().filter(|membership| membership.realized);
        let mut written: Vec<WrittenMembership> = realized
            .map(|membership| WrittenMembership {
                segment: membership.segment.clone(),
                realized: true,
                qualified_at: membership.qualified_at,
                evaluated_at: membership.qualified_at,
                valid_until: ends.get(&membership.segment).copied().unwrap_or(Timestamp::MAX),
            })
            .collect();
        let reader = self.owner_of(&subject.id.0)?;
        for (exit_key, value) in scan(&reader, &key::of_subject(table::EXITED, subject))? {
            let Some(segment) = Parts::of(&exit_key).text() else { continue };
            let row::ExitRow { qualified_at, exited_at } = format::decode(&value)?;
            written.push(WrittenMembership {
                segment: segment.into(),
                realized: false,
                qualified_at,
                evaluated_at: exited_at,
                valid_until: Timestamp::MAX,
            });
        }
        written.sort_by(|a, b| a.segment.cmp(&b.segment));
        Ok(written)
    }

    fn records(&self, reader: &Reader, subject: &SubjectId) -> Result<Vec<(Identity, Fragment)>, StateError> {
        let mut records = Vec::new();
        for (fragment_key, value) in scan(reader, &key::of_subject(table::FRAGMENT, subject))? {
            let row: FragmentRow = format::decode(&value)?;
            if let (Some(node), Some(fragment)) = (Parts::of(&fragment_key).node(), row.fragment) {
                records.push((node, fragment));
            }
        }
        Ok(records)
    }

    /// A person's retained events, newest first.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed.
    pub fn events(&self, subject: &SubjectId, limit: usize) -> Result<Vec<StoredEvent>, QueryError> {
        let reader = self.owner_of(&subject.id.0)?;
        let mut events = Vec::new();
        for (event_key, value) in scan(&reader, &key::of_subject(table::EVENT, subject))? {
            let Some(id) = key::event_id(&event_key) else { continue };
            if let Some(copy) = LedgerRow::decode(subject, &id, &value)?.effective() {
                let body = copy.body.clone().unwrap_or_default();
                events.push(StoredEvent {
                    id,
                    occurred_at: copy.occurred_at,
                    home: copy.home.clone(),
                    body,
                });
            }
        }
        events.sort_by(|a, b| (b.occurred_at, &a.id).cmp(&(a.occurred_at, &b.id)));
        events.truncate(limit);
        Ok(events)
    }

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
        for shard in ShardId::all(self.config.shards) {
            let reader = self.at(shard)?;
            let backfill: Option<BackfillRow> = get(&reader, &key::single(table::BACKFILL))?;
            let complete_at: Revision = get(&reader, &key::single(table::BACKFILLED))?.unwrap_or_default();
            let of: u64 = get(&reader, &key::single(table::POPULATION))?.unwrap_or_default();
            for state in &mut states {
                let name = &state.accepted.compiled.definition().name;
                let members: u64 = get(&reader, &key::named(table::AUDIENCE, name))?.unwrap_or_default();
                state.members += members;
                let version = key::version(name, state.accepted.row.version);
                let revision = get::<VersionRow>(&reader, &version)?.map(|version| version.revision);
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
        let in_force: Option<row::DefinitionRow> = get(&reader, &key::named(table::DEFINITION, name))?;
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

    /// Why a subject is, or is not, in a published segment, as at `now`; `None` if there is no such
    /// segment. The answer is the maintained one; its evidence comes from the rule over whole data.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed.
    pub fn explain(&self, subject: &SubjectId, segment: &str, now: Timestamp) -> Result<Option<Explained>, QueryError> {
        let program = self.program()?;
        let Some(plan) = program.segment(segment).filter(|plan| plan.subject == subject.kind) else {
            return Ok(None);
        };
        let reader = self.owner_of(&subject.id.0)?;
        let row: SubjectRow = get(&reader, &key::of_subject(table::SUBJECT, subject))?.unwrap_or_default();
        let exact = Exact {
            query: self,
            program: &program,
            committed: Committed(reader),
        };
        let mut view = SubjectView::new(&exact, subject, &program, plan.reads.queries.iter().copied());
        let ends = ends(&mut view, &program, &row.memberships, plan.reads.segments.iter().chain([&plan.name]), now);
        for name in &plan.reads.segments {
            let value = row.memberships.iter().any(|membership| membership.segment == *name && membership.realized);
            view.set_segment(
                name.clone(),
                Some(Timed {
                    value,
                    valid_until: ends.get(name).copied().unwrap_or(Timestamp::MAX),
                }),
            );
        }
        let moment = Moment {
            at: now,
            retained_from: now.plus_ms(-self.config.retention_ms()),
            past: false,
        };
        let things = Things::new(self, &program, moment, self.explained_max);
        let sight = Sight::new(&things);
        let whole = plan.rule.whole(&self.config.settings).explain(&sight, &subject.text(), now);
        let shortened = match things.finish() {
            Err(QueryError::TooLong(_)) => true,
            read => read.map(|()| false)?,
        };
        let (explanation, reached) = if shortened {
            (millrace_segment::explain_kept(plan, &view, now), BTreeMap::new())
        } else {
            let explanation = millrace_segment::explain(plan, &view, now).shown_by(whole);
            let reached = reached(&sight, subject, plan, &explanation);
            things.finish()?;
            (explanation, reached)
        };
        view.finish()?;
        Ok(Some(Explained {
            shortened,
            subject: subject.clone(),
            segment: segment.into(),
            version: program.definitions.get(segment).map_or(0, |accepted| accepted.row.version),
            membership: self.written(subject, &row, &ends)?.into_iter().find(|membership| membership.segment == segment),
            explanation,
            records: self.supporting(reached)?,
            evaluated_at: now,
            past: None,
        }))
    }

    fn supporting(&self, things: BTreeMap<Text, SubjectId>) -> Result<BTreeMap<Text, Vec<Identity>>, QueryError> {
        things.into_iter().map(|(id, thing)| Ok((id, self.supporting_records(&thing)?))).collect()
    }

    /// The source records of a thing and, for an account, of its opportunities.
    fn supporting_records(&self, thing: &SubjectId) -> Result<Vec<Identity>, QueryError> {
        let reader = self.owner_of(&thing.id.0)?;
        let mut records: Vec<Identity> = self.records(&reader, thing)?.into_iter().map(|(node, _)| node).collect();
        for deal in self.kept_children(thing, SubjectKind::Opportunity)? {
            let owner = self.owner_of(&deal.id.0)?;
            records.extend(self.records(&owner, &deal)?.into_iter().map(|(node, _)| node));
        }
        Ok(records)
    }

    /// The identity graph around an identity: edges, their claims, what is parked and why.
    ///
    /// # Errors
    /// Where the identity writer is not open, or its store failed.
    pub fn cluster(&self, node: &Identity) -> Result<ClusterReport, QueryError> {
        let reader = self.at(IDENTITY_SHARD)?;
        let graph = CommittedGraph(&*reader);
        millrace_identity::explain(&graph, &self.config.policy, node, CLUSTER_EDGES_MAX).map_err(|error| QueryError::State(StateError::store(error)))
    }

    /// The source kinds whose rows a person carries and that lead to other things; for listings.
    pub fn row_kinds() -> impl Iterator<Item = SourceKind> {
        let rows = Hop::all_from(SubjectKind::Person).filter(|hop| Hop::of_row(hop.relation).is_some());
        rows.filter_map(|hop| hop.relation.row())
    }
}
