//! Small worlds for tests: written as JSON, read by the whole-rule evaluator directly and by plans
//! through views.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono_tz::Tz;
use millrace_model::relation::Hop;
use millrace_model::{Relation, Schema, SourceKind, SubjectKind, Text, Timestamp, Type, Value};
use serde_json::Value as Json;

use crate::kin::Kin;
use crate::plan::{Plan, Reads};
use crate::sequence::Sequence;
use crate::settings::Settings;
use crate::tally::Tally;
use crate::totals::Totals;
use crate::view::{EventRow, Features, Item, Kept, KinId, QueryId, Tallied, Target, Timed, Unknown, View};
use crate::{Compiled, Definition, Link, Status, World, WorldEvent};

/// Things, relations and events.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    things: BTreeMap<(SubjectKind, Text), Value>,
    links: BTreeMap<(SubjectKind, Text, Relation), Vec<Link>>,
    events: BTreeMap<Text, Vec<WorldEvent>>,
    pub segments: BTreeSet<(SubjectKind, Text, Text)>,
}

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("instant")
}

pub fn schema() -> Schema {
    Schema::built_in().expect("schema")
}

/// JSON as the decoder types it.
pub fn typed(json: &Json, ty: &Type) -> Value {
    match (ty, json) {
        (Type::Time, Json::String(text)) => Value::Time(at(text)),
        (Type::Date, Json::String(text)) => Value::Date(millrace_model::Date::parse_written(text).expect("date")),
        (Type::Number, Json::Number(number)) => Value::from_json(&Json::Number(number.clone())),
        (Type::List(item), Json::Array(items)) => Value::List(items.iter().map(|json| typed(json, item)).collect()),
        (Type::Map(value), Json::Object(fields)) => Value::Map(fields.iter().map(|(name, json)| (Text::new(name), typed(json, value))).collect()),
        (Type::Record(record), Json::Object(fields)) => {
            let field = |(name, json): (&String, &Json)| {
                let ty = record.fields.get(name.as_str()).map_or(&Type::Any, |field| &field.ty);
                (Text::new(name), typed(json, ty))
            };
            Value::Map(fields.iter().map(field).collect())
        }
        (_, json) => Value::from_json(json),
    }
}

fn record(kind: SourceKind, json: &Json) -> Value {
    typed(json, &Type::Record(schema_once().record(kind).clone()))
}

/// Reading the schema takes a while; tests share it.
pub fn schema_once() -> &'static Schema {
    static SCHEMA: std::sync::OnceLock<Schema> = std::sync::OnceLock::new();
    SCHEMA.get_or_init(schema)
}

impl Tree {
    /// `{"person": {id: {…}}, …, "accountRelations": [{"id", "person", "to", "row"}], …, "events":
    /// {person: [{…}]}}`; opportunities, parents and related accounts are read from the records.
    pub fn read(json: &Json) -> Tree {
        let mut tree = Tree::default();
        for kind in SubjectKind::ALL {
            for (id, fields) in json.get(kind.name()).and_then(Json::as_object).into_iter().flatten() {
                tree.things.insert((kind, Text::new(id)), record(kind.source(), fields));
            }
        }
        let rows = [
            Relation::AccountRelations,
            Relation::OpportunityRoles,
            Relation::CampaignMemberships,
            Relation::ListMemberships,
        ];
        for relation in rows {
            for row in json.get(relation.name()).and_then(Json::as_array).into_iter().flatten() {
                let text = |name: &str| Text::new(row[name].as_str().expect("text"));
                let kind = relation.leads_to().expect("row");
                let target = Some(text("to")).filter(|id| tree.things.contains_key(&(kind, id.clone())));
                let value = record(relation.row().expect("row"), row.get("row").unwrap_or(&Json::Null));
                let link = Link {
                    id: text("id"),
                    row: value,
                    target: target.clone(),
                };
                if relation == Relation::OpportunityRoles
                    && let Some(id) = &target
                {
                    tree.link(SubjectKind::Opportunity, id, Relation::Roles, Link { target: None, ..link.clone() });
                }
                if relation == Relation::AccountRelations
                    && let Some(id) = &target
                {
                    tree.join(&text("person"), id);
                }
                tree.link(SubjectKind::Person, &text("person"), relation, link);
            }
        }
        let things: Vec<((SubjectKind, Text), Value)> = tree.things.clone().into_iter().collect();
        for ((kind, id), value) in things {
            let key = |path: &str| value.at(path).as_str().map(Text::new);
            match kind {
                SubjectKind::Person => {
                    if let Some(account) = key("b2b.accountKey.sourceKey") {
                        tree.join(&id, &account);
                    }
                }
                SubjectKind::Opportunity => {
                    if let Some(account) = key("accountKey.sourceKey") {
                        tree.thing_link(SubjectKind::Account, &account, Relation::Opportunities, SubjectKind::Opportunity, &id);
                        tree.thing_link(kind, &id, Relation::Account, SubjectKind::Account, &account);
                    }
                    if let Some(campaign) = key("campaignKey.sourceKey") {
                        tree.thing_link(kind, &id, Relation::Campaign, SubjectKind::Campaign, &campaign);
                    }
                }
                SubjectKind::Account => {
                    if let Some(parent) = key("accountParentKey.sourceKey") {
                        tree.thing_link(kind, &id, Relation::Parent, SubjectKind::Account, &parent);
                    }
                    for related in value.field("relatedAccountKeys").as_list().into_iter().flatten() {
                        if let Some(other) = related.field("sourceKey").as_str() {
                            tree.thing_link(kind, &id, Relation::Related, SubjectKind::Account, &Text::new(other));
                        }
                    }
                }
                _ => {}
            }
        }
        for (person, events) in json.get("events").and_then(Json::as_object).into_iter().flatten() {
            for event in events.as_array().into_iter().flatten() {
                tree.event(person, event);
            }
        }
        tree
    }

    pub fn event(&mut self, person: &str, event: &Json) {
        let value = record(SourceKind::Activity, event);
        let row = WorldEvent {
            at: value.field("timestamp").as_time().expect("timestamp"),
            id: Text::new(value.field("_id").as_str().expect("_id")),
            value,
        };
        let events = self.events.entry(Text::new(person)).or_default();
        events.push(row);
        events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    }

    fn join(&mut self, person: &Text, account: &Text) {
        self.thing_link(SubjectKind::Person, person, Relation::Accounts, SubjectKind::Account, account);
        self.thing_link(SubjectKind::Account, account, Relation::Persons, SubjectKind::Person, person);
    }

    fn thing_link(&mut self, kind: SubjectKind, id: &Text, relation: Relation, target: SubjectKind, other: &Text) {
        if self.things.contains_key(&(target, other.clone())) {
            self.link(
                kind,
                id,
                relation,
                Link {
                    id: other.clone(),
                    row: Value::Null,
                    target: Some(other.clone()),
                },
            );
        }
    }

    fn link(&mut self, kind: SubjectKind, id: &Text, relation: Relation, link: Link) {
        let links = self.links.entry((kind, id.clone(), relation)).or_default();
        if !links.iter().any(|known| known.id == link.id) {
            links.push(link);
            links.sort_by(|a, b| a.id.cmp(&b.id));
        }
    }

    pub fn ids(&self, kind: SubjectKind) -> Vec<Text> {
        self.things.keys().filter(|(known, _)| *known == kind).map(|(_, id)| id.clone()).collect()
    }
}

impl World for Tree {
    fn attributes(&self, kind: SubjectKind, id: &str) -> &Value {
        const NULL: &Value = &Value::Null;
        self.things.get(&(kind, Text::new(id))).unwrap_or(NULL)
    }

    fn related(&self, kind: SubjectKind, id: &str, relation: Relation) -> &[Link] {
        self.links.get(&(kind, Text::new(id), relation)).map_or(&[], Vec::as_slice)
    }

    fn events(&self, person: &str) -> &[WorldEvent] {
        self.events.get(person).map_or(&[], Vec::as_slice)
    }

    fn in_segment(&self, kind: SubjectKind, id: &str, name: &str) -> Timed<bool> {
        Timed::lasting(self.segments.contains(&(kind, Text::new(id), Text::new(name))))
    }
}

/// A thing of a tree as a plan's residual sees it, with everything that residual reads.
pub struct TreeView<'t> {
    tree: &'t Tree,
    kind: SubjectKind,
    id: Text,
    related: BTreeMap<Relation, Vec<Item>>,
    events: BTreeMap<QueryId, Vec<EventRow>>,
    tallies: BTreeMap<QueryId, Tally>,
    kin: BTreeMap<KinId, Kin>,
    sequences: BTreeMap<QueryId, Sequence>,
    /// Relations whose items are not known.
    unlisted: BTreeSet<Relation>,
}

impl<'t> TreeView<'t> {
    pub fn new(tree: &'t Tree, plan: &Plan, kind: SubjectKind, id: &str, reads: &Reads, now: Timestamp) -> TreeView<'t> {
        let mut view = TreeView {
            tree,
            kind,
            id: Text::new(id),
            related: BTreeMap::new(),
            events: BTreeMap::new(),
            tallies: BTreeMap::new(),
            kin: plan.kin.iter().map(|kin| (kin.id, Kin::clone(kin))).collect(),
            sequences: BTreeMap::new(),
            unlisted: BTreeSet::new(),
        };
        for relation in reads.relations.iter().copied().filter(|relation| Hop::from_thing(kind, *relation).is_some()) {
            let mut items = Vec::new();
            for link in tree.related(kind, id, relation) {
                let target_kind = relation.leads_to();
                let target = match (&link.target, target_kind) {
                    (Some(target), Some(kind)) => {
                        let features = view.features(plan, kind, target, reads, now);
                        Target::Known {
                            id: target.clone(),
                            features: Arc::new(features),
                        }
                    }
                    _ => Target::Missing,
                };
                items.push(Item {
                    id: link.id.clone(),
                    row: link.row.clone(),
                    target,
                });
            }
            view.related.insert(relation, items);
        }
        for id in &reads.queries {
            let query = plan.queries.iter().find(|query| query.id == *id).expect("query of the plan");
            let mut rows: Vec<EventRow> = Vec::new();
            for event in tree.events(&view.id) {
                let eligible = query
                    .event_types
                    .as_ref()
                    .is_none_or(|types| event.value.field("eventType").as_str().is_some_and(|ty| types.contains(&Text::new(ty))));
                match query.matches(&event.value) {
                    Some(columns) => {
                        assert!(eligible, "the predicate holds of an event whose type it excludes");
                        rows.push(EventRow {
                            at: event.at,
                            id: event.id.clone(),
                            columns,
                        });
                    }
                    None => continue,
                }
            }
            if let crate::plan::Keep::Newest(count) = query.keep {
                let ahead = rows.partition_point(|row| row.at <= now);
                rows.drain(..ahead.saturating_sub(count));
            }
            view.events.insert(*id, rows);
            view.tallies.extend(query.tally.clone().map(|tally| (*id, tally)));
            view.sequences.extend(query.sequence.clone().map(|sequence| (*id, sequence)));
        }
        view
    }

    /// Forgets what `hidden` selects, called once for each relation, target and feature.
    pub fn forget(&mut self, hidden: &mut dyn FnMut() -> bool) {
        for (relation, items) in &mut self.related {
            if hidden() {
                self.unlisted.insert(*relation);
            }
            for item in items {
                if let Target::Known { features, .. } = &mut item.target {
                    let mut known = (**features).clone();
                    known.retain(|_, _| !hidden());
                    *features = Arc::new(known);
                }
                if item.target != Target::Missing && hidden() {
                    item.target = Target::Unknown;
                }
            }
        }
    }

    fn features(&self, plan: &Plan, kind: SubjectKind, id: &str, reads: &Reads, now: Timestamp) -> Features {
        let mut features = Features::new();
        for feature in plan
            .features
            .iter()
            .filter(|feature| feature.kind == kind && reads.features.contains(&feature.id))
        {
            let view = TreeView::new(self.tree, plan, kind, id, &feature.reads, now);
            features.insert(feature.id, feature.residual.foresee(&view, now, now).expect("nothing is unknown in a tree"));
        }
        features
    }
}

impl View for TreeView<'_> {
    fn id(&self) -> &str {
        &self.id
    }

    fn attributes(&self) -> &Value {
        self.tree.attributes(self.kind, &self.id)
    }

    fn related(&self, relation: Relation) -> Result<&[Item], Unknown> {
        match self.related.get(&relation) {
            Some(_) if self.unlisted.contains(&relation) => Err(Unknown),
            Some(items) => Ok(items),
            None => panic!("{relation:?} of a {} is read and not declared", self.kind.name()),
        }
    }

    fn events(&self, query: QueryId) -> &[EventRow] {
        self.events.get(&query).expect("what is read is declared")
    }

    /// From scratch, as the engine keeps it: verdict by verdict.
    fn tally(&self, query: QueryId, now: Timestamp) -> Option<Tallied> {
        self.tallies.get(&query).map(|tally| {
            let mut totals = Totals::default();
            let mut values: BTreeSet<Value> = BTreeSet::new();
            let mut valid_until = Timestamp::MAX;
            for verdict in self.events(query).iter().map(|row| tally.judge(row, now)) {
                valid_until = valid_until.min(verdict.valid_until);
                if let Some(value) = verdict.value {
                    totals.add(&value);
                    values.insert(value);
                }
            }
            totals.distinct = values.len() as u64;
            let extreme = if tally.asked().greatest() { values.pop_last() } else { values.pop_first() };
            Tallied { totals, extreme, valid_until }
        })
    }

    /// From scratch, as the engine keeps it: child by child.
    fn kin(&self, kin: KinId) -> Option<Kept> {
        let kin = &self.kin[&kin];
        let relation = match kin.child() {
            SubjectKind::Opportunity => Relation::Opportunities,
            _ => Relation::Persons,
        };
        let items = self.related(relation).ok()?.iter().filter(|item| item.target != Target::Missing);
        let (mut children, mut unknown) = (0, 0);
        let mut totals = Totals::default();
        let mut values: BTreeSet<Value> = BTreeSet::new();
        for item in items {
            children += 1;
            match (&item.target, kin.judge(item)) {
                (Target::Unknown, _) | (_, Err(Unknown)) => unknown += 1,
                (_, Ok(value)) => {
                    value.iter().for_each(|value| totals.add(value));
                    values.extend(value);
                }
            }
        }
        totals.distinct = values.len() as u64;
        let extreme = if kin.asked().greatest() { values.pop_last() } else { values.pop_first() };
        Some(Kept {
            children,
            unknown,
            totals,
            extreme,
        })
    }

    /// From scratch, as the engine keeps it: instant by instant.
    fn progress(&self, query: QueryId, now: Timestamp) -> Option<Timed<bool>> {
        self.sequences.get(&query).map(|sequence| {
            let (mut progress, mut changes) = (sequence.start(), Timestamp::MAX);
            for simultaneous in self.events(query).chunk_by(|a, b| a.at == b.at) {
                changes = changes.min(if simultaneous[0].at > now { simultaneous[0].at } else { Timestamp::MAX });
                if simultaneous[0].at <= now {
                    sequence.fold(&mut progress, simultaneous, now);
                    changes = simultaneous.iter().map(|event| sequence.turns_at(event, now)).fold(changes, Timestamp::min);
                }
            }
            let Timed { value, valid_until } = progress.holds(now);
            Timed {
                value,
                valid_until: valid_until.min(changes),
            }
        })
    }

    fn in_segment(&self, name: &str) -> Option<Timed<bool>> {
        Some(self.tree.in_segment(self.kind, &self.id, name))
    }
}

pub fn definition(subject: SubjectKind, zone: Tz, pql: &str) -> Definition {
    Definition {
        kind: crate::Kind::Segment,
        name: Text::const_new("rule"),
        description: String::new(),
        subject,
        status: Status::Published,
        time_zone: zone,
        pql: pql.to_owned(),
        destinations: Vec::new(),
    }
}

pub fn compiled(subject: SubjectKind, zone: Tz, pql: &str) -> Compiled {
    match crate::compile(&definition(subject, zone, pql), schema_once()) {
        Ok(compiled) => compiled,
        Err(problems) => panic!("{}", millrace_pql::render_all(&problems, pql)),
    }
}

pub fn settings() -> Settings {
    Settings {
        rates: [(Text::const_new("EUR"), millrace_model::Decimal::TWO)].into(),
        ..Settings::default()
    }
}

/// A rule's value for a subject at an instant, in three ways that must agree: as written, in normal
/// form, and through its plan.
pub fn value(rule: &Compiled, plan: &Plan, tree: &Tree, id: &str, now: Timestamp) -> Timed<bool> {
    let settings = settings();
    let whole = rule.evaluate(tree, id, &settings, now).expect("nothing is unknown in a tree");
    let normal = rule
        .evaluate_core(&rule.normal(), tree, id, &settings, now)
        .expect("nothing is unknown in a tree");
    let segment = &plan.segments[0];
    let view = TreeView::new(tree, plan, segment.subject, id, &segment.reads, now);
    let split = segment.residual.foresee(&view, now, now).expect("nothing is unknown in a tree");
    let pql = &rule.definition().pql;
    assert_eq!(
        whole.value,
        normal.value,
        "normal form of {pql}\nfor {id} at {now}\n{}",
        rule.normal().canonical()
    );
    assert_eq!(
        Some(whole.value),
        split.value.as_bool(),
        "plan of {pql}\nfor {id} at {now}\n{}",
        segment.residual.core.canonical()
    );
    let valid_until = normal.valid_until.max(whole.valid_until).max(split.valid_until);
    assert!(valid_until > now, "{pql}: valid until {valid_until}, at {now}");
    Timed {
        value: whole.value,
        valid_until,
    }
}

/// Those of a kind for which a rule holds.
pub fn members(subject: SubjectKind, pql: &str, tree: &Tree, now: Timestamp) -> Vec<String> {
    let rule = compiled(subject, Tz::UTC, pql);
    let plan = match Plan::build(std::slice::from_ref(&rule), &settings()) {
        Ok(plan) => plan,
        Err(problems) => panic!("{}", millrace_pql::render_all(&problems, pql)),
    };
    let ids = tree.ids(subject);
    ids.into_iter()
        .filter(|id| value(&rule, &plan, tree, id, now).value)
        .map(|id| id.to_string())
        .collect()
}
