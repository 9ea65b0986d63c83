//! Whole data out of committed rows, for rules that have no plan: previews, and answers about the
//! past.
//!
//! `Things` keeps accounts, opportunities, campaigns and lists once they are read, one by one or all of a
//! kind in one pass (`hold`). A `Sight` keeps a person's profile and events for one evaluation: a
//! walk over the population holds one person at a time.
//!
//! Rows are read as committed at the time of the read. A failed read is noted, and voids the
//! evaluation: see `finish`.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use elsa::FrozenBTreeMap;
use millrace_model::relation::{By, End, Hop};
use millrace_model::{CanonicalId, Identity, Relation, ShardId, SourceKind, SubjectId, SubjectKind, Text, Timestamp, Value};
use millrace_segment::view::Timed;
use millrace_segment::{Link, World, WorldEvent};

use super::walk::{Pages, Walk};
use super::{Query, QueryError, get};
use crate::engine::is_alive;
use crate::key::{self, table};
use crate::placement::shard_of_node;
use crate::program::Program;
use crate::row::{self, LedgerRow, NodeRow, ProfileRow, SubjectRow};
use crate::state::Row;
use crate::tx::prefix_end;

/// The instant of an evaluation, and the events it sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub at: Timestamp,
    /// Events at or before this instant are not kept.
    pub retained_from: Timestamp,
    /// An instant of the past: later events are ignored, and other segments are answered by their
    /// rules.
    pub past: bool,
}

/// The part of a unified thing that rules see.
pub(super) struct Thing {
    pub alive: bool,
    /// The segments it is in now.
    pub segments: BTreeSet<Text>,
    pub profile: ProfileRow,
}

impl Thing {
    pub fn new(kind: SubjectKind, row: SubjectRow, profile: ProfileRow, at: Timestamp) -> Thing {
        let alive = is_alive(kind, &row, at);
        let segments = row
            .memberships
            .into_iter()
            .filter(|membership| membership.realized)
            .map(|membership| membership.segment)
            .collect();
        Thing { alive, segments, profile }
    }
}

/// Everything but persons.
pub(super) struct Things<'q> {
    query: &'q Query,
    program: &'q Program,
    moment: Moment,
    /// Kinds that are completely in `known` and `moved`.
    held: BTreeSet<SubjectKind>,
    moved: BTreeMap<Identity, CanonicalId>,
    known: FrozenBTreeMap<(SubjectKind, Text), Box<Option<Thing>>>,
    links: FrozenBTreeMap<(SubjectKind, Text, Relation), Vec<Link>>,
    /// For an account, if gathered ahead: ids of its opportunities and persons, by kind.
    children: BTreeMap<SubjectKind, BTreeMap<CanonicalId, BTreeSet<Text>>>,
    failure: RefCell<Option<QueryError>>,
    /// Things and events that may still be read.
    left: Cell<usize>,
    limit: usize,
}

impl<'q> Things<'q> {
    /// `limit`: how many things and events may be read, before everything fails with
    /// `QueryError::TooLong`.
    pub fn new(query: &'q Query, program: &'q Program, moment: Moment, limit: usize) -> Things<'q> {
        Things {
            left: Cell::new(limit),
            limit,
            query,
            program,
            moment,
            held: BTreeSet::new(),
            moved: BTreeMap::new(),
            known: FrozenBTreeMap::new(),
            links: FrozenBTreeMap::new(),
            children: BTreeMap::new(),
            failure: RefCell::new(None),
        }
    }

    /// Reads everything of a kind other than persons in one pass over all shards.
    ///
    /// # Errors
    /// Where a shard cannot be read.
    pub fn hold(&mut self, kind: SubjectKind) -> Result<(), QueryError> {
        for shard in ShardId::all(self.query.config.shards) {
            let mut walk = Walk::over(self.query, shard, kind, false);
            while let Some(met) = walk.next()? {
                if let Some(canonical) = met.moved {
                    self.moved.insert(met.node.clone(), canonical);
                }
                if let Some(row) = met.row {
                    let thing = Thing::new(kind, row, met.profile, self.moment.at);
                    self.known.insert((kind, met.node.to_string().into()), Box::new(Some(thing)));
                }
            }
        }
        self.held.insert(kind);
        Ok(())
    }

    /// Gathers an account's opportunities or persons in one pass over all shards: their ids are held,
    /// persons themselves are not.
    ///
    /// # Errors
    /// Where a shard cannot be read.
    pub fn gather(&mut self, kind: SubjectKind) -> Result<(), QueryError> {
        let mut children: BTreeMap<CanonicalId, BTreeSet<Text>> = BTreeMap::new();
        let up = Hop::upwards(SubjectKind::Account, kind).and_then(|up| Hop::from_thing(kind, up));
        for shard in ShardId::all(self.query.config.shards) {
            let mut walk = Walk::over(self.query, shard, kind, false);
            while let Some(found) = walk.next_subject()? {
                if !is_alive(kind, &found.row, self.moment.at) {
                    continue;
                }
                for node in up.map_or_else(Vec::new, |hop| found.profile.named(hop.by)) {
                    children.entry(self.thing_of(node)?.id).or_default().insert(found.subject.text());
                }
            }
        }
        self.children.insert(kind, children);
        Ok(())
    }

    /// # Errors
    /// The first failed read, if there was one: the evaluation since is void.
    pub fn finish(&self) -> Result<(), QueryError> {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }

    fn note<T>(&self, result: Result<T, QueryError>) -> Option<T> {
        result.map_err(|error| self.failure.borrow_mut().get_or_insert(error).to_string()).ok()
    }

    /// Counts further reads against the limit.
    fn spend(&self, rows: usize) -> Result<(), QueryError> {
        let left = self.left.get().checked_sub(rows);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or(QueryError::TooLong(self.limit))
    }

    fn load(&self, kind: SubjectKind, id: &str) -> Result<Option<Thing>, QueryError> {
        self.spend(1)?;
        let Ok(identity) = Identity::parse(id) else { return Ok(None) };
        let reader = self.query.owner_of(&identity)?;
        let subject = SubjectId {
            kind,
            id: CanonicalId(identity),
        };
        let Some(row) = get::<SubjectRow>(&reader, &key::of_subject(table::SUBJECT, &subject))? else {
            return Ok(None);
        };
        let profile = get(&reader, &key::of_subject(table::PROFILE, &subject))?.unwrap_or_default();
        Ok(Some(Thing::new(kind, row, profile, self.moment.at)))
    }

    fn thing(&self, kind: SubjectKind, id: &str) -> Option<&Thing> {
        let place = (kind, Text::new(id));
        if let Some(known) = self.known.get(&place) {
            return known.as_ref();
        }
        let loaded = if self.held.contains(&kind) { None } else { self.note(self.load(kind, id))? };
        self.known.insert(place, Box::new(loaded)).as_ref()
    }

    fn thing_of(&self, node: &Identity) -> Result<SubjectId, QueryError> {
        let kind = SubjectKind::of_namespace(node.namespace());
        let canonical = if self.held.contains(&kind) {
            self.moved.get(node).cloned()
        } else {
            get::<NodeRow>(&self.query.owner_of(node)?, &key::node(node))?.and_then(|row| row.canonical)
        };
        Ok(SubjectId {
            kind,
            id: canonical.unwrap_or_else(|| CanonicalId(node.clone())),
        })
    }

    /// The distinct live things of some nodes.
    fn distinct<'n>(&self, nodes: impl Iterator<Item = &'n Identity>) -> Vec<Link> {
        let mut ids: BTreeSet<Text> = BTreeSet::new();
        for node in nodes {
            let Some(thing) = self.note(self.thing_of(node)) else { continue };
            if self.thing(thing.kind, &thing.text()).is_some_and(|thing| thing.alive) {
                ids.insert(thing.text());
            }
        }
        ids.into_iter()
            .map(|id| Link {
                id: id.clone(),
                row: Value::Null,
                target: Some(id),
            })
            .collect()
    }

    fn links(&self, kind: SubjectKind, id: &str, profile: &ProfileRow, relation: Relation) -> Vec<Link> {
        let Some(hop) = Hop::from_thing(kind, relation) else { return Vec::new() };
        match (hop.by, hop.to) {
            (By::Children(_), End::Things(child)) => self.children_of(id, child),
            (By::Rows, End::Rows(rows)) => self.rows(profile, rows, relation),
            (by, _) => self.distinct(profile.named(by).into_iter()),
        }
    }

    fn rows(&self, profile: &ProfileRow, kind: SourceKind, relation: Relation) -> Vec<Link> {
        let leads = Hop::of_row(relation).is_some();
        let target = |node: &Identity| {
            let thing = self.note(self.thing_of(node))?;
            self.thing(thing.kind, &thing.text()).filter(|thing| thing.alive).map(|_| thing.text())
        };
        let link = |row: &row::ProfileRelation| Link {
            id: row.key.clone(),
            row: row.value.clone(),
            target: row.target.as_ref().filter(|_| leads).and_then(target),
        };
        let mut links: Vec<Link> = profile.rows.iter().filter(|row| row.kind == kind).map(link).collect();
        links.sort_by(|a, b| a.id.cmp(&b.id));
        links
    }

    /// As gathered ahead, otherwise as kept for published rules.
    fn children_of(&self, account: &str, kind: SubjectKind) -> Vec<Link> {
        let Ok(id) = Identity::parse(account).map(CanonicalId) else {
            return Vec::new();
        };
        let ids: BTreeSet<Text> = match self.children.get(&kind) {
            Some(gathered) => gathered.get(&id).cloned().unwrap_or_default(),
            None => {
                let children: Vec<SubjectId> = self
                    .note(self.query.kept_children(
                        &SubjectId {
                            kind: SubjectKind::Account,
                            id,
                        },
                        kind,
                    ))
                    .unwrap_or_default();
                children.iter().map(SubjectId::text).collect()
            }
        };
        ids.into_iter()
            .map(|id| Link {
                id: id.clone(),
                row: Value::Null,
                target: Some(id),
            })
            .collect()
    }

    fn read_events(&self, person: &str) -> Result<Vec<WorldEvent>, QueryError> {
        let Ok(identity) = Identity::parse(person) else { return Ok(Vec::new()) };
        let shard = shard_of_node(&identity, self.query.config.shards);
        let subject = SubjectId {
            kind: SubjectKind::Person,
            id: CanonicalId(identity),
        };
        let ledger = key::of_subject(table::EVENT, &subject);
        let mut pages = Pages::over(self.query, shard, ledger.clone(), prefix_end(&ledger));
        let mut rows = Vec::new();
        while let Some(row) = pages.next()? {
            self.spend(1)?;
            rows.push(row);
        }
        self.events_of(&rows)
    }

    /// The events that count, from ledger rows.
    fn events_of(&self, rows: &[Row]) -> Result<Vec<WorldEvent>, QueryError> {
        let mut events = Vec::new();
        for (event_key, value) in rows {
            let (Some(subject), Some(id)) = (key::subject_of(event_key), key::event_id(event_key)) else {
                continue;
            };
            let event = LedgerRow::decode(&subject, &id, value)?;
            let Moment { at: now, retained_from, past } = self.moment;
            let seen = event
                .effective()
                .filter(|copy| copy.occurred_at > retained_from && !(past && copy.occurred_at > now));
            if let Some(copy) = seen {
                events.push(WorldEvent {
                    at: copy.occurred_at,
                    id,
                    value: copy.body.clone().unwrap_or_default(),
                });
            }
        }
        events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        Ok(events)
    }
}

/// A person during one evaluation.
struct Person {
    thing: Option<Thing>,
    events: OnceCell<Vec<WorldEvent>>,
}

/// Whole data for the evaluation of one subject.
pub(super) struct Sight<'t> {
    things: &'t Things<'t>,
    persons: FrozenBTreeMap<Text, Box<Person>>,
    links: FrozenBTreeMap<(Text, Relation), Vec<Link>>,
}

impl<'t> Sight<'t> {
    pub fn new(things: &'t Things<'t>) -> Sight<'t> {
        Sight {
            things,
            persons: FrozenBTreeMap::new(),
            links: FrozenBTreeMap::new(),
        }
    }

    /// A person that is already read, with the rows of the ledger.
    ///
    /// # Errors
    /// Where a row cannot be read.
    pub fn with_person(things: &'t Things<'t>, id: Text, thing: Thing, events: &[Row]) -> Result<Sight<'t>, QueryError> {
        let sight = Sight::new(things);
        let events = things.events_of(events)?.into();
        sight.persons.insert(id, Box::new(Person { thing: Some(thing), events }));
        Ok(sight)
    }

    fn person(&self, id: &str) -> &Person {
        if let Some(known) = self.persons.get(id) {
            return known;
        }
        let thing = self.things.note(self.things.load(SubjectKind::Person, id)).flatten();
        self.persons.insert(
            Text::new(id),
            Box::new(Person {
                thing,
                events: OnceCell::new(),
            }),
        )
    }

    pub fn thing(&self, kind: SubjectKind, id: &str) -> Option<&Thing> {
        if kind == SubjectKind::Person {
            self.person(id).thing.as_ref()
        } else {
            self.things.thing(kind, id)
        }
    }
}

impl World for Sight<'_> {
    fn attributes(&self, kind: SubjectKind, id: &str) -> &Value {
        const NULL: &Value = &Value::Null;
        self.thing(kind, id).filter(|thing| thing.alive).map_or(NULL, |thing| &thing.profile.attributes)
    }

    fn related(&self, kind: SubjectKind, id: &str, relation: Relation) -> &[Link] {
        let compute = || {
            let thing = self.thing(kind, id).filter(|thing| thing.alive);
            thing.map_or_else(Vec::new, |thing| self.things.links(kind, id, &thing.profile, relation))
        };
        if kind == SubjectKind::Person {
            let place = (Text::new(id), relation);
            return self.links.get(&place).unwrap_or_else(|| self.links.insert(place, compute()));
        }
        let place = (kind, Text::new(id), relation);
        self.things.links.get(&place).unwrap_or_else(|| self.things.links.insert(place, compute()))
    }

    fn events(&self, person: &str) -> &[WorldEvent] {
        self.person(person)
            .events
            .get_or_init(|| self.things.note(self.things.read_events(person)).unwrap_or_default())
    }

    /// Now: as last decided, without its end. At an instant of the past: by the other segment's
    /// present rule.
    fn in_segment(&self, kind: SubjectKind, id: &str, name: &str) -> Timed<bool> {
        let things = self.things;
        match things.program.segment(name).filter(|_| things.moment.past) {
            Some(plan) => {
                let whole = plan.rule.whole(&things.query.config.settings);
                whole.evaluate(self, id, things.moment.at).unwrap_or(Timed::lasting(false))
            }
            None => Timed::lasting(self.thing(kind, id).is_some_and(|thing| thing.segments.contains(name))),
        }
    }
}
