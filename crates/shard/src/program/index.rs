//! The indexes of a program: from what changes to what must be evaluated.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::relation::Hop;
use millrace_model::{SubjectKind, Text, Value};
use millrace_segment::plan::{Demand, Plan, Reads};
use millrace_segment::view::{FeatureId, QueryId};

/// The queries that demand a text in one field.
#[derive(Default)]
pub(super) struct Demanded {
    by_text: BTreeMap<Text, Vec<usize>>,
    all: Vec<usize>,
}

impl Demanded {
    fn add(&mut self, demand: &Demand, query: usize) {
        demand.texts.iter().for_each(|text| self.by_text.entry(text.clone()).or_default().push(query));
        self.all.push(query);
    }

    /// Those whose demand an event may meet.
    pub fn of(&self, event: &Value, path: &[Text]) -> &[usize] {
        let mut value = event;
        for name in path {
            // A path through a list leads to several values.
            let Value::Map(fields) = value else {
                return if value.is_null() { &[] } else { &self.all };
            };
            match fields.get(name) {
                Some(field) => value = field,
                None => return &[],
            }
        }
        match value {
            Value::Null => &[],
            Value::Text(text) => self.by_text.get(text).map_or(&[], Vec::as_slice),
            Value::Bool(_) | Value::Int(_) | Value::Decimal(_) | Value::Date(_) | Value::Time(_) | Value::List(_) | Value::Map(_) => &self.all,
        }
    }
}

/// From what changes, or is asked for, to places in the plan.
#[derive(Default)]
pub(super) struct Index {
    /// Places in `plan.queries` by the field in which they demand a text, and by the text; those
    /// without a demand apart.
    pub by_demand: BTreeMap<Vec<Text>, Demanded>,
    pub undemanding: Vec<usize>,
    pub query_at: BTreeMap<QueryId, usize>,
    /// Features that dependents read, by kind of the thing.
    pub down: BTreeMap<SubjectKind, BTreeSet<FeatureId>>,
    /// Kinds of things whose features, as sent downwards, features of others depend on.
    pub passed_on: BTreeSet<SubjectKind>,
    /// The features that bands belong to.
    pub of_bands: BTreeMap<FeatureId, FeatureId>,
    /// Features that an account's rules read of its opportunities and persons.
    pub up: BTreeMap<SubjectKind, BTreeSet<FeatureId>>,
    /// Kinds of things that account rules reach as children.
    pub child_kinds: BTreeSet<SubjectKind>,
    /// Places in `plan.kin`, by the kind of the children.
    pub kin: BTreeMap<SubjectKind, Vec<usize>>,
    /// Places in `plan.segments`, ascending: by subject, by what a segment reads, by the segment it
    /// depends on, by name.
    pub of_subject: BTreeMap<SubjectKind, Vec<usize>>,
    pub by_query: BTreeMap<QueryId, Vec<usize>>,
    pub by_feature: BTreeMap<(SubjectKind, FeatureId), Vec<usize>>,
    pub by_related: BTreeMap<(SubjectKind, SubjectKind), Vec<usize>>,
    pub by_segment: BTreeMap<Text, Vec<usize>>,
    pub by_name: BTreeMap<Text, usize>,
}

impl Index {
    pub fn of(plan: &Plan) -> Index {
        let mut index = Index::default();
        for (at, query) in plan.queries.iter().enumerate() {
            index.query_at.insert(query.id, at);
            match &query.demand {
                Some(demand) => index.by_demand.entry(demand.path.clone()).or_default().add(demand, at),
                None => index.undemanding.push(at),
            }
        }
        let kinds: BTreeMap<FeatureId, SubjectKind> = plan.features.iter().map(|feature| (feature.id, feature.kind)).collect();
        index.of_bands = plan.bands.iter().map(|(id, bands)| (bands.id, *id)).collect();
        let readers = plan.segments.iter().chain(&plan.attributes).map(|segment| (segment.subject, &segment.reads));
        let readers = readers.chain(plan.features.iter().map(|feature| (feature.kind, &feature.reads)));
        for (reader, reads) in readers {
            for feature in &reads.features {
                let Some(kind) = kinds.get(feature) else { continue };
                let side = if is_child(reader, *kind) { &mut index.up } else { &mut index.down };
                side.entry(*kind).or_default().insert(*feature);
            }
            for relation in &reads.relations {
                if let Some(child) = relation.children().filter(|child| is_child(reader, *child)) {
                    index.child_kinds.insert(child);
                }
            }
        }
        let below = plan
            .features
            .iter()
            .flat_map(|feature| feature.reads.features.iter().map(|read| (feature.kind, read)));
        let sent_down = below.filter_map(|(reader, read)| kinds.get(read).copied().filter(|kind| !is_child(reader, *kind)));
        index.passed_on = sent_down.collect();
        for (at, segment) in plan.segments.iter().enumerate() {
            index.by_name.insert(segment.name.clone(), at);
            index.of_subject.entry(segment.subject).or_default().push(at);
            segment
                .reads
                .queries
                .iter()
                .for_each(|query| index.by_query.entry(*query).or_default().push(at));
            segment
                .reads
                .segments
                .iter()
                .for_each(|name| index.by_segment.entry(name.clone()).or_default().push(at));
            segment
                .reads
                .features
                .iter()
                .for_each(|feature| index.by_feature.entry((segment.subject, *feature)).or_default().push(at));
            for kind in SubjectKind::ALL.into_iter().filter(|kind| reaches(&segment.reads, *kind)) {
                index.by_related.entry((segment.subject, kind)).or_default().push(at);
            }
        }
        for (at, kin) in plan.kin.iter().enumerate() {
            index.kin.entry(kin.child()).or_default().push(at);
        }
        index
    }
}

/// Whether readers of the first kind see things of the second as children, sent upwards, and not as
/// replicas.
fn is_child(reader: SubjectKind, kind: SubjectKind) -> bool {
    Hop::upwards(reader, kind).is_some()
}

/// Whether a change of related things of `kind` can affect these reads.
pub fn reaches(reads: &Reads, kind: SubjectKind) -> bool {
    reads.relations.iter().any(|relation| relation.leads_to() == Some(kind))
}
