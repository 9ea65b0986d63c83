//! What the engine knows, in the shapes of the API.

use millrace_api::dto::{
    ComparedView, ConditionView, DraftView, EvaluationView, EventView, EvidenceView, ExplainView, IdentityView, MembershipView, PastView, PreviewView,
    ProvenanceView, ReasonedView, SampleView, SegmentView, SetAsideView, ShardEvaluationView, VersionView,
};
use millrace_identity::Reason;
use millrace_model::relation::Hop;
use millrace_model::{Identity, Relation, SourceKind, SubjectKind, Timestamp, Value};
use millrace_segment::{Evidence, Explanation};
use millrace_shard::lifecycle::Version;
use millrace_shard::query::{Explained, Past, Preview, Profile, Reasoned, Sampled, SegmentState, StoredEvent, WrittenMembership};

pub fn identity_view(identity: &Identity) -> IdentityView {
    IdentityView {
        namespace: identity.namespace().to_owned(),
        id: identity.id().to_owned(),
    }
}

pub fn set_aside_view((identity, reason): &(Identity, Reason)) -> SetAsideView {
    SetAsideView {
        namespace: identity.namespace().to_owned(),
        id: identity.id().to_owned(),
        reason: reason.to_string(),
    }
}

pub fn instant(at: Timestamp) -> Option<String> {
    (at != Timestamp::MAX && at != Timestamp::MIN).then(|| at.to_string())
}

pub fn status(realized: bool) -> String {
    if realized { "realized" } else { "exited" }.to_owned()
}

pub fn membership_view(membership: &WrittenMembership) -> MembershipView {
    MembershipView {
        segment: membership.segment.to_string(),
        status: status(membership.realized),
        last_qualification_time: instant(membership.qualified_at),
        evaluated_at: instant(membership.evaluated_at),
        valid_until: instant(membership.valid_until),
    }
}

/// The computed attributes that have a value.
pub fn computed(profile: &Profile) -> std::collections::BTreeMap<String, serde_json::Value> {
    let known = profile.computed.iter().filter(|kept| !kept.value.is_null());
    known.map(|kept| (kept.attribute.to_string(), kept.value.to_json())).collect()
}

pub fn provenance(profile: &Profile) -> std::collections::BTreeMap<String, ProvenanceView> {
    let shown = profile.merged.provenance.iter().map(|(path, from)| {
        let view = ProvenanceView {
            source_key: from.node.id().to_owned(),
            modified_at: from.modified_at.to_string(),
        };
        (path.clone(), view)
    });
    shown.collect()
}

/// Its display name.
pub fn name_of(kind: SubjectKind, record: &Value) -> Option<String> {
    let text = |path: &str| record.at(path).as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match kind {
        SubjectKind::Person => {
            let parts: Vec<String> = [text("person.name.firstName"), text("person.name.lastName")].into_iter().flatten().collect();
            if parts.is_empty() { text("workEmail.address") } else { Some(parts.join(" ")) }
        }
        SubjectKind::Account => text("accountName"),
        SubjectKind::Opportunity => text("opportunityName"),
        SubjectKind::Campaign => text("campaignName"),
        SubjectKind::List => text("marketingListName"),
    }
}

pub fn relation_name(kind: SourceKind) -> &'static str {
    let mut relations = Hop::all_from(SubjectKind::Person).map(|hop| hop.relation);
    relations.find(|relation| relation.row() == Some(kind)).map_or(kind.name(), Relation::name)
}

pub fn event_place(event: &StoredEvent) -> String {
    format!("{}|{}", event.occurred_at.0, event.id)
}

pub fn event_view(event: &StoredEvent) -> EventView {
    EventView {
        id: event.id.to_string(),
        timestamp: event.occurred_at.to_string(),
        event_type: event.body.field("eventType").as_str().map(str::to_owned),
        fields: event.body.to_json(),
    }
}

pub fn segment_view(state: &SegmentState) -> SegmentView {
    let definition = state.accepted.compiled.definition();
    let (done, of, complete) = state.whole();
    let shards = state.progress.iter().map(|progress| ShardEvaluationView {
        shard: progress.shard.0,
        done: progress.done,
        of: progress.of,
        complete: progress.complete,
    });
    SegmentView {
        name: definition.name.to_string(),
        kind: definition.kind.name().to_owned(),
        description: (!definition.description.is_empty()).then(|| definition.description.clone()),
        subject: definition.subject.name().to_owned(),
        status: definition.status.name().to_owned(),
        version: state.accepted.row.version,
        time_zone: definition.time_zone.name().to_owned(),
        pql: definition.pql.clone(),
        destinations: definition.destinations.iter().map(ToString::to_string).collect(),
        members: state.members,
        progress: (!complete).then(|| done as f64 / of.max(1) as f64),
        evaluation: EvaluationView {
            done,
            of,
            complete,
            shards: shards.collect(),
        },
        draft: state.draft.as_ref().map(|draft| DraftView {
            version: draft.row.version,
            accepted_at: draft.row.accepted_at.to_string(),
            pql: draft.compiled.definition().pql.clone(),
        }),
    }
}

pub fn version_view(version: &Version) -> VersionView {
    VersionView {
        version: version.number,
        accepted_at: version.row.accepted_at.to_string(),
        status: version.compiled.as_ref().map(|compiled| compiled.definition().status.name().to_owned()),
        in_force: version.in_force,
        text: version.row.text.clone(),
    }
}

pub fn explain_view(explained: &Explained) -> ExplainView {
    let records = explained
        .records
        .iter()
        .map(|(thing, nodes)| (thing.to_string(), nodes.iter().map(ToString::to_string).collect()));
    ExplainView {
        segment: explained.segment.to_string(),
        segment_version: explained.version,
        subject_type: explained.subject.kind.name().to_owned(),
        subject_id: explained.subject.id.0.to_string(),
        value: explained.explanation.value,
        status: explained.membership.as_ref().map(|membership| status(membership.realized)),
        membership: explained.membership.as_ref().map(membership_view),
        evaluated_at: explained.evaluated_at.to_string(),
        valid_until: instant(explained.explanation.valid_until),
        condition: condition_view(&explained.explanation),
        shortened: explained.shortened,
        past: explained.past.as_ref().map(past_view),
        records: records.collect(),
    }
}

pub fn past_view(past: &Past) -> PastView {
    PastView {
        records_as_of: past.records_as_of.to_string(),
        events_from: past.events_from.to_string(),
    }
}

pub fn preview_view(preview: &Preview, pql: &str) -> PreviewView {
    PreviewView {
        segment: preview.name.to_string(),
        subject_type: preview.subject.name().to_owned(),
        evaluated_at: preview.evaluated_at.to_string(),
        population: preview.population,
        audience: sample_view(&preview.audience),
        published_version: preview.published,
        members: preview.members,
        entering: sample_view(&preview.entering),
        leaving: sample_view(&preview.leaving),
        warnings: preview.warnings.iter().map(|warning| warning.render(pql)).collect(),
    }
}

pub fn sample_view(sampled: &Sampled) -> SampleView {
    let reasoned = |Reasoned { subject, explanation }: &Reasoned| ReasonedView {
        subject_id: subject.id.0.to_string(),
        condition: condition_view(explanation),
    };
    SampleView {
        count: sampled.count,
        sample: sampled.sample.iter().map(reasoned).collect(),
    }
}

pub fn condition_view(explanation: &Explanation) -> ConditionView {
    ConditionView {
        text: explanation.text.clone(),
        value: explanation.value,
        valid_until: instant(explanation.valid_until),
        compared: explanation.compared.as_ref().map(|compared| ComparedView {
            left: compared.left.to_json(),
            right: compared.right.to_json(),
        }),
        evidence: explanation.evidence.iter().map(evidence_view).collect(),
        conditions: explanation.of.iter().map(condition_view).collect(),
    }
}

pub fn evidence_view(evidence: &Evidence) -> EvidenceView {
    let (kind, id, value) = match evidence {
        Evidence::Event { at, id } => ("event", id.to_string(), at.to_string().into()),
        Evidence::Thing { kind, id, value } => (kind.name(), id.to_string(), value.to_json()),
        Evidence::Row { relation, id } => (relation.name(), id.to_string(), serde_json::Value::Null),
        Evidence::Attribute { path, value } => ("attribute", path.clone(), value.to_json()),
        Evidence::Segment { name, member } => ("segment", name.to_string(), (*member).into()),
    };
    EvidenceView {
        kind: kind.to_owned(),
        id,
        value,
    }
}
