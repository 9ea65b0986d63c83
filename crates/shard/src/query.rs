//! Queries on committed state: profiles, events, memberships, and explanations.
//!
//! Answers are read from the stores of the shards that own the keys; a question may touch several.
//! Nothing here writes.

use std::sync::{Arc, Mutex, PoisonError};

use millrace_identity::ClusterReport;
use millrace_model::relation::Hop;
use millrace_model::{CanonicalId, Identity, Schema, ShardId, SourceKind, SubjectId, SubjectKind};
use millrace_segment::Diagnostic;

use crate::deployment::Deployment;
use crate::engine::CommittedGraph;
use crate::format;
use crate::key::{self, Parts, table};
use crate::placement::{IDENTITY_SHARD, shard_of_node};
use crate::program::Program;
use crate::row::{AsideRow, NodeRow};
use crate::state::{Row, StateError, StateView};
use crate::tx::prefix_end;

mod children;
mod committed;
mod explain;
mod find;
mod past;
mod preview;
mod profile;
mod segments;
mod walk;
mod world;

pub use explain::{EXPLAINED_MAX, Explained};
pub use find::{FoundPart, LOOKED_AT_MAX};
pub use past::Past;
pub use preview::{Preview, Reasoned, SAMPLE_MAX, Sampled};
pub use profile::{Profile, StoredEvent, WrittenMembership};
pub use segments::{SegmentState, ShardProgress};

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
    /// Reading failed.
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

fn get<R: serde::de::DeserializeOwned>(reader: &Reader, row_key: &[u8]) -> Result<Option<R>, StateError> {
    reader.get(row_key)?.as_deref().map(format::decode).transpose()
}

fn scan(reader: &Reader, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
    reader.scan(prefix, &prefix_end(prefix), usize::MAX)
}

impl Query {
    /// Questions to these shards of a deployment.
    pub fn new(config: Arc<Deployment>, shards: Arc<dyn Shards>) -> Query {
        Query {
            config,
            shards,
            program: Mutex::new(None),
            explained_max: EXPLAINED_MAX,
        }
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
                let before = cached.as_ref().map(|(_, program)| &**program);
                let program = Arc::new(Program::load(&*shard, &self.config, before)?);
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
