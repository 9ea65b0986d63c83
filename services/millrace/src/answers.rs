//! The API's questions, answered by the engine's committed state.

mod views;

use std::sync::{Arc, Mutex, TryLockError};

use millrace_api::backend::{BackendError, PageRequest, Queries, Subject, Within};
use millrace_api::dto::{
    AccountView, EventView, ExplainView, FoundView, MemberView, OpportunityView, Page, PersonView, PreviewView, ReadyView, ReferenceView, RelationView,
    SegmentView, VersionView,
};
use millrace_api::{Cancel, is_impersonal};
use millrace_model::{CanonicalId, Identity, SubjectId, SubjectKind, Timestamp, Value};
use millrace_runtime::clock::Clock;
use millrace_segment::{Kind, did_you_mean};
use millrace_shard::lifecycle::{Accepted, Version, to_restore};
use millrace_shard::query::{Profile, Query, QueryError, SegmentState};
use millrace_shard::row::{ProfileRelation, ProfileRow};
use millrace_shard::state::StateError;

use self::views::{
    computed, event_place, event_view, explain_view, identity_view, membership_view, name_of, preview_view, provenance, relation_name, segment_view,
    set_aside_view, version_view,
};
use crate::rules::check_one;

/// Reports whether the shards of this process answer.
pub type Readiness = dyn Fn() -> ReadyView + Send + Sync;

/// Questions to the shards of the deployment.
pub struct EngineQueries {
    query: Query,
    clock: Arc<dyn Clock>,
    readiness: Box<Readiness>,
    /// Held by the running preview: it reads all subjects, so there is one at a time.
    previewing: Mutex<()>,
}

impl EngineQueries {
    pub fn new(query: Query, clock: Arc<dyn Clock>, readiness: Box<Readiness>) -> EngineQueries {
        EngineQueries {
            query,
            clock,
            readiness,
            previewing: Mutex::new(()),
        }
    }

    /// The living subject of an identity.
    fn profile(&self, identity: &Identity) -> Result<Profile, BackendError> {
        let subject = self.query.resolve(identity).map_err(failure)?;
        let profile = self.query.profile(&subject, self.clock.now()).map_err(failure)?;
        profile
            .filter(|profile| profile.alive || profile.merged_into.is_some())
            .ok_or_else(|| BackendError::NotFound(format!("nothing is known of {identity}")))
    }

    fn reference(&self, subject: &SubjectId) -> Result<ReferenceView, BackendError> {
        let profile = self.query.profile(subject, self.clock.now()).map_err(failure)?;
        let source_keys = profile
            .iter()
            .flat_map(|profile| profile.records.iter().map(|(node, _)| node.id().to_owned()))
            .collect();
        let name = profile.and_then(|profile| name_of(subject.kind, &profile.merged.value));
        Ok(ReferenceView {
            id: subject.id.0.to_string(),
            name,
            source_keys,
        })
    }

    fn relation(&self, row: &ProfileRelation) -> Result<RelationView, BackendError> {
        let target = match &row.target {
            Some(node) => Some(self.reference(&self.query.resolve(node).map_err(failure)?)?),
            None => None,
        };
        Ok(RelationView {
            relation: relation_name(row.kind).to_owned(),
            key: row.key.to_string(),
            target,
            fields: row.value.to_json(),
        })
    }

    /// One part of a list of related things, from after `after` on.
    fn children(&self, account: &Identity, kind: SubjectKind, page: &PageRequest) -> Result<(Vec<SubjectId>, Option<String>), BackendError> {
        let account = self.profile(account)?.subject;
        let children = self.query.children(&account, kind, self.clock.now()).map_err(failure)?;
        let rest = children
            .into_iter()
            .filter(|child| page.after.as_ref().is_none_or(|after| child.id.0.to_string() > *after));
        Ok(cut(rest.collect(), page, |child| child.id.0.to_string()))
    }
}

impl Queries for EngineQueries {
    fn person(&self, identity: &Identity) -> Result<PersonView, BackendError> {
        let profile = self.profile(identity)?;
        let accounts = profile.accounts.iter().map(|id| self.reference(&account(id)));
        Ok(PersonView {
            id: profile.subject.id.0.to_string(),
            identities: profile.identities.iter().map(identity_view).collect(),
            set_aside: profile.aside.iter().map(set_aside_view).collect(),
            accounts: accounts.collect::<Result<_, _>>()?,
            relations: profile.rows.iter().map(|row| self.relation(row)).collect::<Result<_, _>>()?,
            segments: profile.memberships.iter().map(membership_view).collect(),
            events: profile.events,
            merged_into: profile.merged_into.as_ref().map(|id| id.0.to_string()),
            provenance: provenance(&profile),
            computed: computed(&profile),
            attributes: profile.merged.value.to_json(),
        })
    }

    fn find(&self, kind: SubjectKind, text: &str, within: Within, page: &PageRequest) -> Result<Page<FoundView>, BackendError> {
        let after = place(kind, page)?;
        let wanted = text.to_lowercase();
        let is_part = |of: &str| of.to_lowercase().contains(&wanted);
        let everything = within == Within::Everything;
        let is_meant = |subject: &SubjectId, profile: &ProfileRow| {
            let name = name_of(kind, &profile.attributes).filter(|_| everything);
            let mut identities = profile.identities.iter().chain([&subject.id.0]);
            name.is_some_and(|name| is_part(&name)) || identities.any(|identity| (everything || is_impersonal(identity.namespace())) && is_part(identity.id()))
        };
        let part = self
            .query
            .find(kind, after.as_ref(), page.limit, self.clock.now(), &is_meant)
            .map_err(failure)?;
        let view = |(subject, profile): &(SubjectId, ProfileRow)| FoundView {
            id: subject.id.0.to_string(),
            name: name_of(kind, &profile.attributes),
            identities: profile.identities.iter().map(ToString::to_string).collect(),
        };
        Ok(Page {
            items: part.found.iter().map(view).collect(),
            next: part.next.map(|next| next.id.0.to_string()),
        })
    }

    fn person_events(&self, identity: &Identity, page: &PageRequest) -> Result<Page<EventView>, BackendError> {
        let subject = self.profile(identity)?.subject;
        let mut events = self.query.events(&subject, usize::MAX).map_err(failure)?;
        if let Some(after) = &page.after {
            // Newest first; the place is the last event of the part before.
            let place = events.iter().position(|event| event_place(event) == *after);
            let place = place.ok_or_else(|| BackendError::Refused(format!("`after` names no event of this person: `{after}`")))?;
            events.drain(..=place);
        }
        let (events, next) = cut(events, page, event_place);
        Ok(Page {
            items: events.iter().map(event_view).collect(),
            next,
        })
    }

    fn explain(&self, subject: &Subject, segment: &str, at: Option<Timestamp>) -> Result<ExplainView, BackendError> {
        let (Subject::Person(identity) | Subject::Account(identity)) = subject;
        let subject = self.profile(identity)?.subject;
        let accepted = self.definition(segment)?;
        require_members(&accepted)?;
        let about = accepted.compiled.definition().subject;
        if about != subject.kind {
            return Err(BackendError::Refused(format!("segment `{segment}` is about {}s", about.name())));
        }
        let now = self.clock.now();
        let explained = match at {
            Some(at) => self.query.explain_past(&subject, segment, at, now),
            None => self.query.explain(&subject, segment, now),
        };
        explained.map_err(failure)?.map(|explained| explain_view(&explained)).ok_or_else(|| {
            let status = accepted.compiled.definition().status.name();
            BackendError::Refused(format!("segment `{segment}` is {status}; only published segments are evaluated"))
        })
    }

    fn account(&self, identity: &Identity) -> Result<AccountView, BackendError> {
        let profile = self.profile(identity)?;
        let named = |field: &Value| {
            let key = field
                .field("sourceKey")
                .as_str()
                .and_then(|key| Identity::new(SubjectKind::Account.namespace(), key));
            key.map(|key| self.query.resolve(&key).map_err(failure).and_then(|subject| self.reference(&subject)))
        };
        Ok(AccountView {
            id: profile.subject.id.0.to_string(),
            identities: profile.identities.iter().map(identity_view).collect(),
            set_aside: profile.aside.iter().map(set_aside_view).collect(),
            parent: named(profile.merged.value.field("accountParentKey")).transpose()?,
            related: profile
                .merged
                .value
                .field("relatedAccountKeys")
                .as_list()
                .unwrap_or_default()
                .iter()
                .filter_map(named)
                .collect::<Result<_, _>>()?,
            segments: profile.memberships.iter().map(membership_view).collect(),
            provenance: provenance(&profile),
            computed: computed(&profile),
            attributes: profile.merged.value.to_json(),
        })
    }

    fn account_persons(&self, identity: &Identity, page: &PageRequest) -> Result<Page<ReferenceView>, BackendError> {
        let (persons, next) = self.children(identity, SubjectKind::Person, page)?;
        Ok(Page {
            items: persons.iter().map(|person| self.reference(person)).collect::<Result<_, _>>()?,
            next,
        })
    }

    fn account_opportunities(&self, identity: &Identity, page: &PageRequest) -> Result<Page<OpportunityView>, BackendError> {
        let (deals, next) = self.children(identity, SubjectKind::Opportunity, page)?;
        let mut items = Vec::with_capacity(deals.len());
        for deal in deals {
            if let Some(profile) = self.query.profile(&deal, self.clock.now()).map_err(failure)? {
                let identities = profile.identities.iter().map(identity_view).collect();
                items.push(OpportunityView {
                    id: deal.id.0.to_string(),
                    identities,
                    attributes: profile.merged.value.to_json(),
                });
            }
        }
        Ok(Page { items, next })
    }

    fn segments(&self) -> Result<Vec<SegmentView>, BackendError> {
        Ok(self.query.segments().map_err(failure)?.iter().map(segment_view).collect())
    }

    fn segment(&self, name: &str) -> Result<SegmentView, BackendError> {
        self.state_of(name).map(|state| segment_view(&state))
    }

    fn versions(&self, name: &str) -> Result<Vec<VersionView>, BackendError> {
        Ok(self.versions_of(name)?.iter().rev().map(version_view).collect())
    }

    fn version_to_restore(&self, name: &str, to: Option<u64>) -> Result<VersionView, BackendError> {
        let versions = self.versions_of(name)?;
        let version = to_restore(&versions, to).map_err(|error| BackendError::Refused(format!("segment `{name}`: {error}")))?;
        Ok(version_view(version))
    }

    fn members(&self, name: &str, page: &PageRequest) -> Result<Page<MemberView>, BackendError> {
        let accepted = self.definition(name)?;
        require_members(&accepted)?;
        let kind = accepted.compiled.definition().subject;
        let after = place(kind, page)?;
        let members = self.query.members(name, after.as_ref(), page.limit + 1).map_err(failure)?;
        let (members, next) = cut(members, page, |member| member.id.0.to_string());
        let view = |member: &SubjectId| {
            let profile = self.query.profile_row(member).map_err(failure)?;
            Ok(MemberView {
                subject_id: member.id.0.to_string(),
                name: name_of(kind, &profile.attributes),
            })
        };
        Ok(Page {
            items: members.iter().map(view).collect::<Result<_, BackendError>>()?,
            next,
        })
    }

    fn preview(&self, text: &str, sample_max: usize, cancel: &Cancel) -> Result<PreviewView, BackendError> {
        let compiled = check_one(text, self.query.schema()).map_err(BackendError::InvalidDefinition)?;
        let definition = compiled.definition();
        let _turn = match self.previewing.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(BackendError::Unavailable(
                    "another preview is under way in this process; ask again when it is done".to_owned(),
                ));
            }
            Ok(turn) => turn,
            // A preview that panicked left no state.
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        };
        let preview = self
            .query
            .preview_while(&compiled, sample_max, self.clock.now(), &|| !cancel.cancelled())
            .map_err(|error| match error {
                QueryError::Cancelled => BackendError::Cancelled,
                QueryError::Invalid(problems) => {
                    let shown = problems
                        .iter()
                        .map(|problem| format!("segment {}: {}", definition.name, problem.render(&definition.pql)));
                    BackendError::InvalidDefinition(shown.collect())
                }
                error => failure(error),
            })?;
        Ok(preview_view(&preview, &definition.pql))
    }

    fn ready(&self) -> ReadyView {
        (self.readiness)()
    }
}

impl EngineQueries {
    fn definition(&self, segment: &str) -> Result<Accepted, BackendError> {
        let accepted = self.query.definition(segment).map_err(failure)?;
        accepted.ok_or_else(|| self.no_segment(segment))
    }

    fn state_of(&self, segment: &str) -> Result<SegmentState, BackendError> {
        let states = self.query.segments().map_err(failure)?;
        let state = states.into_iter().find(|state| state.accepted.compiled.definition().name == segment);
        state.ok_or_else(|| self.no_segment(segment))
    }

    /// Ascending.
    fn versions_of(&self, segment: &str) -> Result<Vec<Version>, BackendError> {
        let versions = self.query.versions(segment).map_err(failure)?;
        if versions.is_empty() { Err(self.no_segment(segment)) } else { Ok(versions) }
    }

    fn no_segment(&self, name: &str) -> BackendError {
        let states = self.query.segments().unwrap_or_default();
        let known = states.iter().map(|state| state.accepted.compiled.definition().name.as_str());
        let near = did_you_mean(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        BackendError::NotFound(format!("there is no segment `{name}`{near}"))
    }
}

/// # Errors
/// A refusal where the definition is a computed attribute: it has a value for everybody, and no
/// members.
fn require_members(accepted: &Accepted) -> Result<(), BackendError> {
    let definition = accepted.compiled.definition();
    if definition.kind != Kind::ComputedAttribute {
        return Ok(());
    }
    let (name, subject) = (&definition.name, definition.subject.name());
    Err(BackendError::Refused(format!(
        "`{name}` is a computed attribute: it has values and no members; `{subject} show` shows them"
    )))
}

/// The subject after which a part of a list begins.
fn place(kind: SubjectKind, page: &PageRequest) -> Result<Option<SubjectId>, BackendError> {
    let after = page.after.as_deref().map(Identity::parse).transpose();
    let after = after.map_err(|error| BackendError::Refused(format!("`after`: {error}")))?;
    Ok(after.map(|id| SubjectId { kind, id: CanonicalId(id) }))
}

/// The first `limit` of the rest, and where the next part begins if there is one.
fn cut<T>(mut rest: Vec<T>, page: &PageRequest, place: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let more = rest.len() > page.limit;
    rest.truncate(page.limit);
    let next = if more { rest.last().map(place) } else { None };
    (rest, next)
}

fn failure(error: QueryError) -> BackendError {
    match error {
        QueryError::NotOpen(shard) => BackendError::Unavailable(format!("no instance has shard {shard} open now; `/readyz` gives the reason")),
        QueryError::State(StateError::Away(why)) => BackendError::Unavailable(why.to_string()),
        QueryError::Instant(reason) => BackendError::Refused(reason),
        error @ QueryError::TooLong(_) => BackendError::Refused(error.to_string()),
        error => BackendError::Failure {
            context: "reading the state".to_owned(),
            source: Box::new(error),
        },
    }
}

fn account(id: &CanonicalId) -> SubjectId {
    SubjectId {
        kind: SubjectKind::Account,
        id: id.clone(),
    }
}
