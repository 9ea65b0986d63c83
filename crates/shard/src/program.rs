//! The definitions of a shard, compiled: the plan, and the indexes from changes to what must be
//! evaluated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_model::{SubjectKind, Text, Value};
use millrace_segment::kin::Kin;
use millrace_segment::plan::{EventQuery, FeaturePlan, Plan, SegmentPlan};
use millrace_segment::view::{FeatureId, Features, KinId, QueryId, Timed};
use millrace_segment::{Compiled, Diagnostic};
use millrace_wire::Batch;
use serde::de::DeserializeOwned;

use crate::deployment::Deployment;
use crate::format;
use crate::key::{self, Parts, table};
use crate::lifecycle::{Accepted, Arrival, Definitions, Intake};
use crate::row::{DefinitionRow, Revision, RevisionRow, WaitingRow};
use crate::state::{StateError, StateView};
use crate::tx::prefix_end;
use index::Index;

mod index;

pub use index::reaches;

/// The compiled set of definitions.
pub struct Program {
    /// Grows with every change of the set.
    pub revision: Revision,
    /// The published segments, as they are evaluated together.
    pub plan: Plan,
    /// Every accepted definition, drafts included.
    pub definitions: Definitions,
    introduced: BTreeMap<QueryId, Revision>,
    queries_left: Revision,
    segments_introduced: BTreeMap<Text, (u64, Revision)>,
    /// Places in `plan.segments` by the revision at which they were added or changed.
    by_revision: BTreeMap<SubjectKind, BTreeSet<(Revision, usize)>>,
    all_anew: Revision,
    index: Index,
}

impl Program {
    /// From the stored definitions. What they have in common with `before` is not compiled again.
    /// One that no longer compiles (a newer program refuses what an older accepted) is left out and
    /// logged.
    pub fn load(view: &dyn StateView, config: &Deployment, before: Option<&Program>) -> Result<Program, StateError> {
        let none = Definitions::new(&config.settings);
        let before = before.map_or(&none, |before| &before.definitions);
        let in_force = stored(view, config, table::DEFINITION, |name| before.get(name))?;
        let drafts = stored(view, config, table::DRAFT, |name| before.draft(name))?;
        let revision: RevisionRow = view
            .get(&key::single(table::REVISION))?
            .as_deref()
            .map(format::decode)
            .transpose()?
            .unwrap_or_default();
        match Definitions::stored(before, in_force, drafts, &config.schema) {
            Ok(definitions) => Ok(Program::new(definitions, revision)),
            Err(problems) => {
                tracing::error!(?problems, "stored definitions do not fit together; no segment is evaluated");
                Ok(Program::empty(config))
            }
        }
    }

    /// Without a definition.
    pub fn empty(config: &Deployment) -> Program {
        Program::new(Definitions::new(&config.settings), RevisionRow::default())
    }

    /// The rules of definitions, planned together.
    pub fn new(definitions: Definitions, revision: RevisionRow) -> Program {
        let plan = definitions.rules().plan();
        let RevisionRow {
            revision,
            queries,
            mut queries_left,
            segments,
            all_anew,
        } = revision;
        let present: BTreeSet<QueryId> = plan.queries.iter().map(|query| query.id).collect();
        if queries.keys().any(|id| !present.contains(id)) {
            queries_left = revision;
        }
        let known = |segment: &SegmentPlan| segments.get(&segment.name).filter(|(fingerprint, _)| *fingerprint == segment.fingerprint);
        let introduced = |segment: &SegmentPlan| known(segment).copied().unwrap_or((segment.fingerprint, revision));
        let mut segments_introduced = BTreeMap::new();
        let mut by_revision: BTreeMap<SubjectKind, BTreeSet<(Revision, usize)>> = BTreeMap::new();
        for (at, segment) in plan.segments.iter().enumerate() {
            let (fingerprint, revision) = introduced(segment);
            segments_introduced.insert(segment.name.clone(), (fingerprint, revision));
            by_revision.entry(segment.subject).or_default().insert((revision, at));
        }
        Program {
            revision,
            definitions,
            introduced: queries,
            queries_left,
            segments_introduced,
            by_revision,
            all_anew,
            index: Index::of(&plan),
            plan,
        }
    }

    /// A published segment.
    pub fn segment(&self, name: &str) -> Option<&SegmentPlan> {
        self.segment_place(name).map(|at| &*self.plan.segments[at])
    }

    /// The place of a segment in `plan.segments`.
    pub fn segment_place(&self, name: &str) -> Option<usize> {
        self.index.by_name.get(name).copied()
    }

    /// Places of a subject kind's segments, in order of evaluation.
    pub fn segments_of(&self, subject: SubjectKind) -> &[usize] {
        self.index.of_subject.get(&subject).map_or(&[], Vec::as_slice)
    }

    /// Places of the segments that read an event query.
    pub fn segments_reading(&self, query: QueryId) -> &[usize] {
        self.index.by_query.get(&query).map_or(&[], Vec::as_slice)
    }

    /// Places of a subject kind's segments that use related things of a kind.
    pub fn segments_reaching(&self, subject: SubjectKind, kind: SubjectKind) -> &[usize] {
        self.index.by_related.get(&(subject, kind)).map_or(&[], Vec::as_slice)
    }

    /// Places of a subject kind's segments that read a feature of related things.
    pub fn segments_reading_feature(&self, subject: SubjectKind, feature: FeatureId) -> &[usize] {
        self.index.by_feature.get(&(subject, feature)).map_or(&[], Vec::as_slice)
    }

    /// Every query that the segments at these places, or their dependents, read.
    pub fn queries_of(&self, places: &BTreeSet<usize>) -> BTreeSet<QueryId> {
        let mut queries = BTreeSet::new();
        let mut seen = places.clone();
        let mut waiting: Vec<usize> = places.iter().copied().collect();
        while let Some(place) = waiting.pop() {
            let segment = &self.plan.segments[place];
            queries.extend(segment.reads.queries.iter().copied());
            waiting.extend(self.segments_resting_on(&segment.name).iter().filter(|resting| seen.insert(**resting)));
        }
        queries
    }

    /// Places of the segments that depend on another: all after it.
    pub fn segments_resting_on(&self, name: &str) -> &[usize] {
        self.index.by_segment.get(name).map_or(&[], Vec::as_slice)
    }

    /// A subject kind's computed attributes, by name.
    pub fn attributes_of(&self, subject: SubjectKind) -> impl Iterator<Item = &SegmentPlan> {
        self.plan
            .attributes
            .iter()
            .map(Arc::as_ref)
            .filter(move |attribute| attribute.subject == subject)
    }

    /// What accounts' rules read of their children of a kind, child by child.
    pub fn kin_of(&self, child: SubjectKind) -> impl Iterator<Item = &Kin> {
        self.index.kin.get(&child).into_iter().flatten().map(|at| &*self.plan.kin[*at])
    }

    /// The kind of children that an aggregate is over.
    pub fn kin_child(&self, id: KinId) -> Option<SubjectKind> {
        self.plan.kin.binary_search_by_key(&id, |kin| kin.id).ok().map(|at| self.plan.kin[at].child())
    }

    /// Dependencies first.
    pub fn features(&self, kind: SubjectKind) -> impl Iterator<Item = &FeaturePlan> {
        self.plan.features.iter().map(Arc::as_ref).filter(move |feature| feature.kind == kind)
    }

    /// Queries that an event could match.
    pub fn queries_for(&self, event: &Value) -> impl Iterator<Item = &EventQuery> {
        let demanding = self.index.by_demand.iter().flat_map(|(path, demanded)| demanded.of(event, path));
        demanding.chain(&self.index.undemanding).map(|at| &*self.plan.queries[*at])
    }

    /// An event query of the plan.
    pub fn query(&self, id: QueryId) -> Option<&EventQuery> {
        self.index.query_at.get(&id).map(|at| &*self.plan.queries[*at])
    }

    /// The revision at which a query was added.
    pub fn introduced(&self, id: QueryId) -> Revision {
        self.introduced.get(&id).copied().unwrap_or(self.revision)
    }

    /// Places of a subject kind's segments that were added or changed after a revision.
    pub fn segments_since(&self, subject: SubjectKind, revision: Revision) -> impl Iterator<Item = usize> {
        let by_revision = self.by_revision.get(&subject);
        let since = by_revision.into_iter().flat_map(move |places| places.range((revision.next(), 0)..));
        since.map(|(_, place)| *place)
    }

    /// Whether queries of a revision may have left the plan, or must be filled again.
    pub fn queries_left_since(&self, revision: Revision) -> bool {
        self.queries_left > revision || self.all_anew_since(revision)
    }

    /// Whether nothing computed at a revision can be kept: the configuration has changed since.
    pub fn all_anew_since(&self, revision: Revision) -> bool {
        self.all_anew > revision
    }

    /// The revision row that belongs to this program.
    pub fn revision_row(&self) -> RevisionRow {
        let queries = self.plan.queries.iter().map(|query| (query.id, self.introduced(query.id))).collect();
        RevisionRow {
            revision: self.revision,
            queries,
            queries_left: self.queries_left,
            segments: self.segments_introduced.clone(),
            all_anew: self.all_anew,
        }
    }

    /// Whether dependents of a thing of this kind read this feature of it.
    pub fn reads_down(&self, kind: SubjectKind, feature: FeatureId) -> bool {
        self.index.down.get(&kind).is_some_and(|features| features.contains(&feature))
    }

    /// Whether things pass on features that they receive from things of this kind.
    pub fn passes_on(&self, kind: SubjectKind) -> bool {
        self.index.passed_on.contains(&kind)
    }

    /// These features, with numbers in bands where rules need no more.
    pub fn banded(&self, features: &Features) -> Features {
        let banded = |(id, feature): (&FeatureId, &Timed<Value>)| match self.plan.bands.get(id) {
            // It stays in its band at least as long as it keeps its value.
            Some(bands) => (
                bands.id,
                Timed {
                    value: bands.of(&feature.value),
                    ..*feature
                },
            ),
            None => (*id, feature.clone()),
        };
        features.iter().map(banded).collect()
    }

    /// Features in which numbers may be bands, with the numbers replaced by those, for a reader
    /// that adds no other number.
    pub fn unbanded(&self, mut features: Features) -> Features {
        let number = |(id, band): (&FeatureId, &Timed<Value>)| Some((*self.index.of_bands.get(id)?, band.clone()));
        let numbers: Features = features.iter().filter_map(number).collect();
        for (id, band) in numbers {
            features.entry(id).or_insert(band);
        }
        features
    }

    /// The features that differ between two messages about a thing. The number stands for its band.
    pub fn changed(&self, before: &Features, after: &Features) -> BTreeSet<FeatureId> {
        let changed = before.keys().chain(after.keys()).filter(|id| before.get(id) != after.get(id));
        changed.map(|id| self.number_of(*id)).collect()
    }

    /// Whether a message has any of these features, or its band.
    pub fn has_any(&self, sent: &Features, features: &BTreeSet<FeatureId>) -> bool {
        sent.keys().any(|id| features.contains(&self.number_of(*id)))
    }

    /// The number that a band is of; other features are themselves.
    fn number_of(&self, id: FeatureId) -> FeatureId {
        self.index.of_bands.get(&id).copied().unwrap_or(id)
    }

    /// Whether the rules of accounts read this feature of their children of a kind.
    pub fn reads_up(&self, kind: SubjectKind, feature: FeatureId) -> bool {
        self.index.up.get(&kind).is_some_and(|features| features.contains(&feature))
    }

    /// Whether account rules use any thing as an account's child.
    pub fn reads_children(&self) -> bool {
        !self.index.child_kinds.is_empty()
    }

    /// Whether account rules use things of this kind as an account's children.
    pub fn has_parents(&self, kind: SubjectKind) -> bool {
        self.index.child_kinds.contains(&kind)
    }
}

/// Whether two messages differ at most in how long the values hold.
pub fn same_values(a: &Features, b: &Features) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((id, now), (other, then))| id == other && now.value == then.value)
}

/// The definitions of a table, by name; those that are known already as they are.
fn stored<'k>(view: &dyn StateView, config: &Deployment, of: u8, known: impl Fn(&str) -> Option<&'k Accepted>) -> Result<BTreeMap<Text, Accepted>, StateError> {
    let mut definitions = BTreeMap::new();
    for (name, row) in named_rows::<DefinitionRow>(view, of)? {
        let same = known(&name).filter(|known| known.row == row);
        if let Some(accepted) = same.cloned().or_else(|| compiled(&name, row, config)) {
            definitions.insert(name, accepted);
        }
    }
    Ok(definitions)
}

/// The records of the control topic that wait for the rest of their batch.
pub fn waiting(view: &dyn StateView, config: &Deployment) -> Result<Intake, StateError> {
    let arrival = |(name, row): (Text, WaitingRow)| {
        let WaitingRow {
            text,
            version,
            arrived_at,
            batch,
        } = row;
        let accepted = match text {
            None => None,
            Some(text) => {
                let accepted_at = arrived_at;
                Some(Arc::new(compiled(&name, DefinitionRow { text, version, accepted_at }, config)?))
            }
        };
        let batch = Some(Batch { id: batch, last: false });
        Some(Arrival {
            name,
            version,
            arrived_at,
            accepted,
            prepared: None,
            batch,
        })
    };
    let mut waiting: Vec<Arrival> = named_rows(view, table::WAITING)?.into_iter().filter_map(arrival).collect();
    waiting.sort_by_key(|arrival| arrival.version);
    Ok(Intake::waiting(waiting))
}

/// A stored definition, if this program can read it.
fn compiled(name: &str, row: DefinitionRow, config: &Deployment) -> Option<Accepted> {
    let compiled = compile(&row.text, config);
    let logged = compiled.inspect_err(|problems| tracing::error!(segment = name, problems, "stored definition does not compile; the segment is left out"));
    logged.ok().map(|compiled| Accepted { row, compiled })
}

/// The rows of a table that is keyed by name.
fn named_rows<R: DeserializeOwned>(view: &dyn StateView, of: u8) -> Result<Vec<(Text, R)>, StateError> {
    let lower = key::single(of);
    let mut rows = Vec::new();
    for (row_key, value) in view.scan(&lower, &prefix_end(&lower), usize::MAX)? {
        if let Some(name) = Parts::of(&row_key).text() {
            rows.push((Text::from(name), format::decode(&value)?));
        }
    }
    Ok(rows)
}

/// Parses and type-checks one stored definition.
///
/// # Errors
/// Its errors, each with its place: in the document, or in the rule if the document is valid.
pub fn compile(text: &str, config: &Deployment) -> Result<Compiled, String> {
    let definitions = millrace_segment::parse_definitions(text).map_err(|problems| describe(&problems, text))?;
    match definitions.as_slice() {
        [definition] => millrace_segment::compile(definition, &config.schema).map_err(|problems| describe(&problems, &definition.pql)),
        _ => Err(format!("expected one definition, found {}", definitions.len())),
    }
}

/// Problems with their places in a text.
pub fn describe(problems: &[Diagnostic], text: &str) -> String {
    problems.iter().map(|problem| problem.render(text)).collect::<Vec<_>>().join("\n")
}
