//! A subject as residuals see it: stored rows, read on demand.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use elsa::FrozenBTreeMap;
use millrace_model::relation::{By, End, Hop};
use millrace_model::{CanonicalId, Identity, Relation, SourceKind, SubjectId, SubjectKind, Text, Timestamp, Value};
use millrace_segment::plan::Keep;
use millrace_segment::view::{EventRow, Features, Item, Kept, KinId, PartId, QueryId, Tallied, Target, Timed, Truth, Unknown, View};

use crate::format;
use crate::key::{self, Bucket, table};
use crate::program::Program;
use crate::row::{self, AliasRow, KeptRow, KinRow, KinState, ProfileRow, QueryRows, ReplicaRow, SequenceRow, TallyRow, VerdictRow};
use crate::state::{Row, StateError};

/// Read access to rows: a step's overlay, or committed state.
pub trait RowView {
    /// # Errors
    /// Where the store failed.
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;
    /// Every row under a prefix.
    ///
    /// # Errors
    /// Where the store failed.
    fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError>;
    /// The kept rows of a subject's newest events.
    ///
    /// # Errors
    /// Where the store failed.
    fn kept(&self, subject: &SubjectId, bucket: Bucket) -> Result<Cow<'_, KeptRow>, StateError> {
        let bytes = self.row(&key::kept(subject, bucket))?;
        Ok(Cow::Owned(bytes.as_deref().map(format::decode).transpose()?.unwrap_or_default()))
    }
}

const RELATIONS: usize = 15;

/// One subject during one evaluation.
pub struct SubjectView<'a> {
    rows: &'a dyn RowView,
    subject: &'a SubjectId,
    program: &'a Program,
    id: OnceCell<Text>,
    profile: OnceCell<ProfileRow>,
    related: [OnceCell<Result<Vec<Item>, Unknown>>; RELATIONS],
    queries: BTreeMap<QueryId, OnceCell<QueryRows>>,
    kept: FrozenBTreeMap<Bucket, Box<Cow<'a, KeptRow>>>,
    segments: BTreeMap<Text, Option<Timed<bool>>>,
    /// The first failure of the store: the evaluation's result is void then.
    failure: RefCell<Option<StateError>>,
    /// A rule needed too many items since this was asked.
    exhausted: Cell<bool>,
    /// The truths of conditions that read no event: those that are kept, and those computed since.
    truths: RefCell<BTreeMap<PartId, Truth>>,
}

impl<'a> SubjectView<'a> {
    /// `queries`: those that may be read.
    pub fn new(rows: &'a dyn RowView, subject: &'a SubjectId, program: &'a Program, queries: impl IntoIterator<Item = QueryId>) -> SubjectView<'a> {
        SubjectView {
            rows,
            subject,
            program,
            id: OnceCell::new(),
            profile: OnceCell::new(),
            related: Default::default(),
            queries: queries.into_iter().map(|id| (id, OnceCell::new())).collect(),
            kept: FrozenBTreeMap::new(),
            segments: BTreeMap::new(),
            failure: RefCell::new(None),
            exhausted: Cell::new(false),
            truths: RefCell::default(),
        }
    }

    /// With the truths that are kept of this subject, as of facts that have not changed since.
    #[must_use]
    pub fn with_truths(self, kept: BTreeMap<PartId, Truth>) -> SubjectView<'a> {
        SubjectView {
            truths: RefCell::new(kept),
            ..self
        }
    }

    /// More queries that may be read.
    pub fn read_too(&mut self, queries: &[QueryId]) {
        for query in queries {
            self.queries.entry(*query).or_default();
        }
    }

    /// The known membership of the subject in another segment; `None`: open.
    pub fn set_segment(&mut self, name: Text, member: Option<Timed<bool>>) {
        self.segments.insert(name, member);
    }

    /// Whether a rule that was evaluated since the last call needed too many items.
    pub fn take_exhausted(&self) -> bool {
        self.exhausted.take()
    }

    /// The truths to keep.
    ///
    /// # Errors
    /// The store's failure, where there was one.
    pub fn finish(self) -> Result<BTreeMap<PartId, Truth>, StateError> {
        self.failure.into_inner().map_or(Ok(self.truths.into_inner()), Err)
    }

    /// The subject's merged records, read once; empty where it has none, or the store failed.
    pub fn profile(&self) -> &ProfileRow {
        self.profile
            .get_or_init(|| self.read(&key::of_subject(table::PROFILE, self.subject)).unwrap_or_default())
    }

    fn note<T>(&self, result: Result<T, StateError>) -> Option<T> {
        result.map_err(|error| self.failure.borrow_mut().get_or_insert(error).to_string()).ok()
    }

    fn read<R: serde::de::DeserializeOwned>(&self, row_key: &[u8]) -> Option<R> {
        let bytes = self.note(self.rows.row(row_key))??;
        self.note(format::decode(&bytes))
    }

    /// Which thing a node is; unknown until its alias arrives.
    fn thing(&self, node: &Identity) -> Result<SubjectId, Unknown> {
        let alias: Option<AliasRow> = self.read(&key::alias(node));
        let canonical = alias.and_then(|alias| alias.canonical).ok_or(Unknown)?;
        Ok(SubjectId::of(node, canonical))
    }

    fn target_of_thing(&self, thing: &SubjectId) -> Target {
        match self.read::<ReplicaRow>(&key::of_subject(table::REPLICA, thing)) {
            Some(replica) if replica.known && replica.exists => Target::Known {
                id: thing.text(),
                features: Arc::new(replica.features),
            },
            Some(replica) if replica.known => Target::Missing,
            _ => Target::Unknown,
        }
    }

    /// The things that a relation of this subject names, whether or not they have a record.
    pub fn named(&self, relation: Relation) -> Result<BTreeSet<CanonicalId>, Unknown> {
        let hop = Hop::from_thing(self.subject.kind, relation);
        let nodes = hop.map_or_else(Vec::new, |hop| self.profile().named(hop.by));
        nodes.into_iter().map(|node| self.thing(node).map(|thing| thing.id)).collect()
    }

    fn compute(&self, relation: Relation) -> Result<Vec<Item>, Unknown> {
        let Some(hop) = Hop::from_thing(self.subject.kind, relation) else {
            return Ok(Vec::new());
        };
        match (hop.by, hop.to) {
            (By::Children(_), End::Things(kind)) => Ok(self.children(kind)),
            (By::Rows, End::Rows(kind)) => Ok(self.relation_rows(kind, relation)),
            (by, _) => {
                let mut items = self.things(self.profile().named(by).into_iter())?;
                // A person with one account needs only the bands of its numbers.
                if self.subject.kind == SubjectKind::Person
                    && let [
                        Item {
                            target: Target::Known { features, .. },
                            ..
                        },
                    ] = items.as_mut_slice()
                {
                    *features = Arc::new(self.program.unbanded(std::mem::take(Arc::make_mut(features))));
                }
                Ok(items)
            }
        }
    }

    /// The distinct live things of some nodes.
    fn things<'n>(&self, nodes: impl Iterator<Item = &'n Identity>) -> Result<Vec<Item>, Unknown> {
        let mut distinct: BTreeSet<CanonicalId> = BTreeSet::new();
        let mut items = Vec::new();
        for node in nodes {
            let thing = self.thing(node)?;
            if !distinct.insert(thing.id.clone()) {
                continue;
            }
            let target = self.target_of_thing(&thing);
            if target != Target::Missing {
                items.push(Item {
                    id: thing.text(),
                    row: Value::Null,
                    target,
                });
            }
        }
        items.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(items)
    }

    fn relation_rows(&self, kind: SourceKind, relation: Relation) -> Vec<Item> {
        let leads = Hop::of_row(relation).is_some();
        let rows = self.profile().rows.iter().filter(|row| row.kind == kind);
        let item = |row: &row::ProfileRelation| {
            let target = match row.target.as_ref().filter(|_| leads) {
                None => Target::Missing,
                Some(node) => self.thing(node).map_or(Target::Unknown, |thing| self.target_of_thing(&thing)),
            };
            Item {
                id: row.key.clone(),
                row: row.value.clone(),
                target,
            }
        };
        let mut items: Vec<Item> = rows.map(item).collect();
        items.sort_by(|a, b| a.id.cmp(&b.id));
        items
    }

    fn kept(&self, bucket: Bucket) -> &KeptRow {
        let read = || Box::new(self.note(self.rows.kept(self.subject, bucket)).unwrap_or_default());
        self.kept.get(&bucket).unwrap_or_else(|| self.kept.insert(bucket, read()))
    }

    /// The events of a query that keeps all, ascending by time.
    fn verdicts(&self, query: QueryId) -> QueryRows {
        let rows = self.note(self.rows.rows(&key::verdicts(self.subject, query))).unwrap_or_default();
        let mut events = Vec::with_capacity(rows.len());
        for (verdict_key, value) in rows {
            let mut parts = key::Parts::of(&verdict_key);
            let _ = parts.number();
            let (Some(id), Some(verdict)) = (parts.text(), self.note(format::decode::<VerdictRow>(&value))) else {
                continue;
            };
            events.push(EventRow {
                at: verdict.at,
                id: id.into(),
                columns: verdict.columns,
            });
        }
        events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        events
    }

    /// The events of a chain, ascending by time.
    fn sequenced(&self, query: QueryId) -> QueryRows {
        let rows = self.note(self.rows.rows(&key::all_sequenced(self.subject, query))).unwrap_or_default();
        rows.iter()
            .filter_map(|(event_key, value)| self.note(super::sequence::event(event_key, value))?)
            .collect()
    }

    fn children(&self, kind: SubjectKind) -> Vec<Item> {
        let rows = self.note(self.rows.rows(&key::children(self.subject, kind))).unwrap_or_default();
        let mut items = Vec::with_capacity(rows.len());
        for (child_key, value) in rows {
            let (Some(child), Some(features)) = (key::Parts::of(&child_key).subject(), self.note(format::decode::<Features>(&value))) else {
                continue;
            };
            items.push(child_item(&child, features));
        }
        items.sort_by(|a, b| a.id.cmp(&b.id));
        items
    }
}

/// A child as rules see it.
pub(super) fn child_item(child: &SubjectId, features: Features) -> Item {
    let id = child.text();
    Item {
        id: id.clone(),
        row: Value::Null,
        target: Target::Known {
            id,
            features: Arc::new(features),
        },
    }
}

impl View for SubjectView<'_> {
    fn id(&self) -> &str {
        self.id.get_or_init(|| self.subject.text())
    }

    fn attributes(&self) -> &Value {
        &self.profile().attributes
    }

    fn related(&self, relation: Relation) -> Result<&[Item], Unknown> {
        let cell = &self.related[relation as usize];
        match cell.get_or_init(|| self.compute(relation)) {
            Ok(items) => Ok(items),
            Err(unknown) => Err(*unknown),
        }
    }

    fn events(&self, query: QueryId) -> &[EventRow] {
        let (Some(cell), Some(plan)) = (self.queries.get(&query), self.program.query(query)) else {
            return &[];
        };
        match plan.keep {
            Keep::All | Keep::Tally => cell.get_or_init(|| self.verdicts(query)),
            Keep::Progress => cell.get_or_init(|| self.sequenced(query)),
            Keep::Newest(_) => self.kept(Bucket::of(plan)).0.get(&query).map_or(&[], Vec::as_slice),
        }
    }

    fn tally(&self, query: QueryId, now: Timestamp) -> Option<Tallied> {
        let head: TallyRow = self.read(&key::tally(self.subject, query)).unwrap_or_default();
        // Beyond that the rows must be read: by questions about other instants than the engine's.
        (head.valid_until > now).then_some(Tallied {
            totals: head.totals,
            extreme: head.extreme,
            valid_until: head.valid_until,
        })
    }

    fn truth(&self, part: PartId) -> Option<Truth> {
        self.truths.borrow().get(&part).copied()
    }

    fn keep_truth(&self, part: PartId, truth: Truth) {
        self.truths.borrow_mut().insert(part, truth);
    }

    fn kin(&self, id: KinId) -> Option<Kept> {
        let child = self.program.kin_child(id)?;
        let row: KinRow = self.read(&key::kin(self.subject, child))?;
        let tally = row.get(&id).filter(|tally| tally.state == KinState::Full)?.clone();
        Some(Kept {
            children: tally.children,
            unknown: tally.unknown,
            totals: tally.totals,
            extreme: tally.extreme,
        })
    }

    fn progress(&self, query: QueryId, now: Timestamp) -> Option<Timed<bool>> {
        let head: Option<SequenceRow> = self.read(&key::sequence(self.subject, query));
        // If there is no row, there was no event.
        head.or_else(|| Some(SequenceRow::new(self.program.query(query)?.sequence.as_ref()?.start())))?
            .holds(now)
    }

    fn exhausted(&self) {
        self.exhausted.set(true);
    }

    fn in_segment(&self, name: &str) -> Option<Timed<bool>> {
        self.segments.get(name).copied().unwrap_or(Some(Timed::lasting(false)))
    }
}
