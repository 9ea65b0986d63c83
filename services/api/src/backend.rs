//! The API's port to its process.

use std::collections::BTreeMap;

use millrace_model::{Identity, SubjectKind, Timestamp};

use crate::dto::{
    AccountView, AppendView, AppliedView, DeadLetterView, EventView, ExplainView, FoundView, ImportView, MemberLine, MemberView, OpportunityView, Page,
    PersonView, PreviewView, ReadyView, RecordLine, ReferenceView, SegmentView, VersionView,
};
use crate::queue::Cancel;

/// The requested part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// 1 to 1,000.
    pub limit: usize,
    /// `Page::next` of the part before; `None`: from the first.
    pub after: Option<String>,
}

/// The subject whose membership is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Person(Identity),
    Account(Identity),
}

/// Why a question or a command failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The person, account or segment does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The client's mistake; retrying does not help.
    #[error("{0}")]
    Refused(String),
    /// Others depend on what the command would remove; they are named.
    #[error("{0}")]
    InUse(String),
    /// An invalid definition: one entry per diagnostic, each with its place.
    #[error("the definition does not hold")]
    InvalidDefinition(Vec<String>),
    /// Not now: a shard is being restored, or is not here. Retry later.
    #[error("{0}")]
    Unavailable(String),
    /// The client has disconnected.
    #[error("the asker has left")]
    Cancelled,
    #[error("{context}")]
    Failure {
        context: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a search looks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Names and all identities.
    Everything,
    /// Ids that source systems assigned: all that a viewer sees of a person. A search over more
    /// would reveal it letter by letter.
    SourceKeys,
}

/// Questions, answered from committed state. All methods block; the API calls them on threads meant
/// for that.
///
/// A person or account is named by any of its identities, the canonical one included.
pub trait Queries: Send + Sync {
    /// # Errors
    /// `NotFound` where no subject has the identity.
    fn person(&self, identity: &Identity) -> Result<PersonView, BackendError>;

    /// Persons or accounts of which `within` contains `text`, ignoring letter case. A call
    /// looks at a bounded number of them: its page may hold fewer than requested, even none, and
    /// still name a next one.
    ///
    /// # Errors
    /// `Refused` where `page.after` is not a place; where the state cannot be read.
    fn find(&self, kind: SubjectKind, text: &str, within: Within, page: &PageRequest) -> Result<Page<FoundView>, BackendError>;

    /// Newest first.
    ///
    /// # Errors
    /// As for `person`.
    fn person_events(&self, identity: &Identity, page: &PageRequest) -> Result<Page<EventView>, BackendError>;

    /// Why a subject is in a segment, or is not: now, or at an instant of the past.
    ///
    /// # Errors
    /// `NotFound` where there is no such subject or segment, `Refused` where the segment is about
    /// the other kind of subject, or where there is no answer for the instant.
    fn explain(&self, subject: &Subject, segment: &str, at: Option<Timestamp>) -> Result<ExplainView, BackendError>;

    /// # Errors
    /// `NotFound` where no subject has the identity.
    fn account(&self, identity: &Identity) -> Result<AccountView, BackendError>;

    /// In ascending order of ids.
    ///
    /// # Errors
    /// As for `account`.
    fn account_persons(&self, identity: &Identity, page: &PageRequest) -> Result<Page<ReferenceView>, BackendError>;

    /// In ascending order of ids.
    ///
    /// # Errors
    /// As for `account`.
    fn account_opportunities(&self, identity: &Identity, page: &PageRequest) -> Result<Page<OpportunityView>, BackendError>;

    /// All definitions in force, by name.
    ///
    /// # Errors
    /// Where the state cannot be read.
    fn segments(&self) -> Result<Vec<SegmentView>, BackendError>;

    /// # Errors
    /// `NotFound` where there is no such segment.
    fn segment(&self, name: &str) -> Result<SegmentView, BackendError>;

    /// The kept versions of a definition, newest first.
    ///
    /// # Errors
    /// As for `segment`.
    fn versions(&self, name: &str) -> Result<Vec<VersionView>, BackendError>;

    /// The version that a rollback restores: `to`, otherwise the one in force before.
    ///
    /// # Errors
    /// As for `segment`; `Refused` where there is no such version, or it is a draft.
    fn version_to_restore(&self, name: &str, to: Option<u64>) -> Result<VersionView, BackendError>;

    /// In ascending order of subject ids.
    ///
    /// # Errors
    /// As for `segment`.
    fn members(&self, name: &str, page: &PageRequest) -> Result<Page<MemberView>, BackendError>;

    /// What the definition in `text` (YAML or JSON, one document) would do if it were published,
    /// with at most `sample_max` subjects of each kind shown. Changes nothing; takes as long as
    /// reading all subjects.
    ///
    /// # Errors
    /// `InvalidDefinition` with every diagnostic, `Unavailable` where another preview is running or
    /// a shard is missing.
    fn preview(&self, text: &str, sample_max: usize, cancel: &Cancel) -> Result<PreviewView, BackendError>;

    /// Whether every shard of this process answers.
    fn ready(&self) -> ReadyView;
}

/// Commands, and reads of the log. All methods block.
pub trait Commands: Send + Sync {
    /// Checks the definition in `text` (YAML or JSON, one document whose name is `name`), by itself
    /// and together with the others, and puts it on the control topic.
    ///
    /// # Errors
    /// `InvalidDefinition` with every diagnostic, `Refused` where the name differs, `InUse` where
    /// published segments depend on one that this would remove.
    fn put_segment(&self, name: &str, text: &str) -> Result<(), BackendError>;

    /// As `put_segment`, for all definitions in `text` (one document each): applies all of them, or
    /// none.
    ///
    /// # Errors
    /// As for `put_segment`.
    fn apply(&self, text: &str) -> Result<AppliedView, BackendError>;

    /// Deletes a definition; its members exit. Deleting a missing one is not an error.
    ///
    /// # Errors
    /// `InUse` where published segments depend on it; where the log cannot be written.
    fn delete_segment(&self, name: &str) -> Result<(), BackendError>;

    /// Appends records to source topics, in order. Invalid lines are reported, the others appended.
    /// Unusable records, which become dead letters, and fields in no schema are reported as well.
    /// With `strict` a record with such a field is refused.
    ///
    /// # Errors
    /// Where the log cannot be written.
    fn append(&self, lines: Vec<Result<RecordLine, String>>, strict: bool) -> Result<AppendView, BackendError>;

    /// Imports members into an external audience.
    ///
    /// # Errors
    /// `NotFound` where no external audience has the name; `Refused` where the audience would
    /// become empty and that was not allowed; where the log cannot be read or written.
    fn import(&self, audience: &str, lines: Vec<Result<MemberLine, String>>, replace: Replace) -> Result<ImportView, BackendError>;

    /// The newest dead letters, newest first.
    ///
    /// # Errors
    /// Where the log cannot be read.
    fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetterView>, BackendError>;
}

/// Whether imported members replace those present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// The others stay.
    Nobody,
    /// The lines are the complete list: the import removes all other members that records of the
    /// topic list. One line that is not a member stops the whole import, and so does a file without
    /// any, or one whose members have all expired.
    All,
    /// As `All`, and the list may be empty.
    AllEvenByNobody,
}

/// The next offset of each partition; a missing one is at its beginning.
pub type Positions = BTreeMap<u32, i64>;

/// Where a stream of membership changes begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangesFrom {
    /// The earliest change in the log.
    Start,
    /// Only changes from now on.
    End,
    /// These offsets and later ones.
    At(Positions),
}

/// A membership change and its place on the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub partition: u32,
    pub offset: i64,
    /// The membership record as JSON, on one line.
    pub line: String,
}

/// The membership topic.
pub trait ChangeLog: Send + Sync {
    /// Blocks.
    ///
    /// # Errors
    /// Where the log cannot be read.
    fn open(&self, from: &ChangesFrom) -> Result<Box<dyn ChangeReader>, BackendError>;
}

/// A reader of membership changes. All methods block; it may move from thread to thread between
/// calls.
pub trait ChangeReader: Send {
    /// The next changes. If there are none, with `wait` it waits up to about half a second,
    /// otherwise it returns at once.
    ///
    /// # Errors
    /// Where the log cannot be read; the reader must be dropped.
    fn next(&mut self, wait: bool) -> Result<Vec<Placed>, BackendError>;

    /// Whether everything present when this was called has been returned.
    ///
    /// # Errors
    /// As for `next`.
    fn caught_up(&mut self) -> Result<bool, BackendError>;

    /// After the last change returned.
    fn positions(&self) -> Positions;
}
