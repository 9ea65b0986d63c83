//! The world at an instant: its things, what is known of them, and how they are related.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::identity::{Clusters, Identity};
use crate::record::{Record, instant, merge, modified_at, replay};
use crate::value::Value;
use crate::{Config, SourceRecord};

/// Events this far ahead of now are known already; those further ahead are dead letters.
const AHEAD_MS: i64 = 5 * 60 * 1000;

/// The most identities of one deal, campaign or list.
const OTHERS_MAX: usize = 50;

/// The kinds of unified thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Person,
    Account,
    Opportunity,
    Campaign,
    List,
}

/// A thing that rules can refer to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// By canonical id.
    Unified(Kind, String),
    /// A relation row, by topic and source key.
    Row(String, String),
    /// An event of a person, by canonical id and `_id`.
    Event(String, String),
}

#[derive(Debug, Default)]
struct Unified {
    records: Vec<Record>,
    attributes: Json,
    /// By `_id`; persons only; those ahead of now among them.
    events: BTreeMap<String, Event>,
}

/// One version of an event.
#[derive(Clone, Debug)]
struct Event {
    at: i64,
    deleted: bool,
    /// Modified at, then place in the topic: the greatest version of an `_id` holds.
    version: (i64, usize),
    /// Best namespace first, at least one.
    identities: Vec<Identity>,
    value: Json,
}

/// The world at an instant.
#[derive(Debug)]
pub(crate) struct Graph {
    now: i64,
    clusters: BTreeMap<Kind, Clusters>,
    things: BTreeMap<(Kind, String), Unified>,
    /// Live relation rows by topic and source key.
    rows: BTreeMap<(String, String), Record>,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Person, Kind::Account, Kind::Opportunity, Kind::Campaign, Kind::List];

    pub fn namespace(self) -> &'static str {
        match self {
            Kind::Person => "b2b_person",
            Kind::Account => "b2b_account",
            Kind::Opportunity => "b2b_opportunity",
            Kind::Campaign => "b2b_campaign",
            Kind::List => "b2b_marketing_list",
        }
    }

    fn of_namespace(namespace: &str) -> Kind {
        Kind::ALL.into_iter().find(|kind| kind.namespace() == namespace).unwrap_or(Kind::Person)
    }

    fn topic(self) -> &'static str {
        match self {
            Kind::Person => "person",
            Kind::Account => "account",
            Kind::Opportunity => "opportunity",
            Kind::Campaign => "campaign",
            Kind::List => "marketing-list",
        }
    }

    fn identity(self, source_key: &str) -> Option<Identity> {
        Identity::new(self.namespace(), source_key)
    }
}

/// A key object, or the bare source key.
fn source_key(value: &Json) -> Option<String> {
    if let Some(key) = value.as_str().or_else(|| value["sourceKey"].as_str()) {
        return Some(key.trim().to_owned());
    }
    let part = |name: &str| value[name].as_str();
    Some(format!("{}@{}.{}", part("sourceID")?, part("sourceInstanceID")?, part("sourceType")?))
}

/// The identities a record of a unified thing claims, its own first.
fn claimed(kind: Kind, record: &Record) -> Vec<Identity> {
    let twin = source_key(record.at("extSourceSystemAudit.externalKey"));
    let mut identities: Vec<Identity> = [Some(record.key.clone()), twin]
        .into_iter()
        .flatten()
        .filter_map(|key| kind.identity(&key))
        .collect();
    if kind == Kind::Person {
        identities.extend(record.at("workEmail.address").as_str().and_then(|address| Identity::new("email", address)));
        identities.extend(listed(record.at("identities")));
    }
    identities
}

fn listed(identities: &Json) -> Vec<Identity> {
    let pair = |item: &Json| Identity::new(item["namespace"].as_str()?, item["id"].as_str()?);
    identities.as_array().into_iter().flatten().filter_map(pair).collect()
}

/// Live records per topic, and every version of every event, from the topics' content.
fn read(source: &[SourceRecord], now: i64, config: &Config) -> (BTreeMap<String, Vec<Record>>, Vec<Event>) {
    let mut by_key: BTreeMap<(&str, &str), Vec<&SourceRecord>> = BTreeMap::new();
    let mut events = Vec::new();
    for (place, record) in source.iter().enumerate() {
        if record.topic == "activity" {
            events.extend(
                record
                    .value
                    .as_ref()
                    .and_then(|value| event(record, value, place, config))
                    .filter(|event| event.at <= now + AHEAD_MS),
            );
        } else {
            by_key.entry((&record.topic, record.key.trim())).or_default().push(record);
        }
    }
    let mut records: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for ((topic, key), changes) in by_key {
        records.entry(topic.to_owned()).or_default().extend(replay(key, &changes));
    }
    (records, events)
}

fn event(record: &SourceRecord, value: &Json, place: usize, config: &Config) -> Option<Event> {
    let mut identities = listed(&value["identities"]);
    identities.extend(source_key(&value["personKey"]).and_then(|key| Kind::Person.identity(&key)));
    if identities.is_empty() {
        identities.extend(match record.key.split_once(':') {
            Some((namespace, id)) => Identity::new(namespace, id),
            None => Kind::Person.identity(&record.key),
        });
    }
    identities.sort_by_key(|identity| identity.rank(config));
    identities.dedup();
    let deleted = value["isDeleted"] == Json::Bool(true);
    let version = (modified_at(value, record.timestamp_ms), place);
    // A deletion need not give the time of the event.
    let at = instant(&value["timestamp"]).or(deleted.then_some(version.0))?;
    value["_id"].as_str()?;
    (!identities.is_empty()).then(|| Event {
        at,
        deleted,
        version,
        identities,
        value: value.clone(),
    })
}

/// Of several versions of one event the greatest.
fn greatest<'a, K: Ord>(events: impl IntoIterator<Item = (K, &'a Event)>) -> BTreeMap<K, &'a Event> {
    let mut greatest: BTreeMap<K, &Event> = BTreeMap::new();
    for (key, event) in events {
        let held = greatest.entry(key).or_insert(event);
        if event.version > held.version {
            *held = event;
        }
    }
    greatest
}

impl Graph {
    pub fn at(now: i64, source: &[SourceRecord], config: &Config) -> Graph {
        let (mut records, versions) = read(source, now, config);
        let kept = |event: &Event| !event.deleted && event.at > now - config.retention_ms;
        // An `_id` under one identity has one version; that version decides which identities belong
        // together.
        let at_node = greatest(versions.iter().map(|event| ((event.identities[0].clone(), event.id()), event)));

        let mut clusters = BTreeMap::new();
        let mut things: BTreeMap<(Kind, String), Unified> = BTreeMap::new();
        for kind in Kind::ALL {
            let own = records.remove(kind.topic()).unwrap_or_default();
            let mut claims: Vec<Vec<Identity>> = own.iter().map(|record| claimed(kind, record)).collect();
            match kind {
                Kind::Person => claims.extend(at_node.values().filter(|event| kept(event)).map(|event| event.identities.clone())),
                Kind::Account => claims.extend(records.remove("account-link").unwrap_or_default().iter().filter_map(|link| members(link, now))),
                _ => {}
            }
            let size_max = match kind {
                Kind::Person => config.max_identities_per_person,
                Kind::Account => config.max_identities_per_account,
                Kind::Opportunity | Kind::Campaign | Kind::List => OTHERS_MAX,
            };
            let may_unite = |a: &Identity, b: &Identity| Kind::of_namespace(&a.namespace) == Kind::of_namespace(&b.namespace);
            let of_kind = Clusters::of(&claims, size_max, may_unite, config);
            for record in own {
                let id = kind.identity(&record.key).map(|identity| of_kind.canonical(&identity));
                things.entry((kind, id.unwrap_or_default())).or_default().records.push(record);
            }
            clusters.insert(kind, of_kind);
        }
        let of_person = greatest(
            at_node
                .values()
                .map(|event| ((clusters[&Kind::Person].canonical(&event.identities[0]), event.id()), *event)),
        );
        for ((person, id), event) in of_person {
            if kept(event) {
                things.entry((Kind::Person, person)).or_default().events.insert(id, event.clone());
            }
        }
        for thing in things.values_mut() {
            thing.attributes = merge(&thing.records.iter().collect::<Vec<_>>());
        }
        let mut rows = BTreeMap::new();
        for (topic, of_topic) in records {
            rows.extend(of_topic.into_iter().map(|row| ((topic.clone(), row.key.clone()), row)));
        }
        Graph { now, clusters, things, rows }
    }

    /// Canonical ids of all things of a kind.
    pub fn population(&self, kind: Kind) -> BTreeSet<String> {
        self.things
            .keys()
            .filter(|(known, id)| *known == kind && self.lives(kind, id))
            .map(|(_, id)| id.clone())
            .collect()
    }

    /// Whether a thing has a live record or, if it is a person, an event that has happened.
    fn lives(&self, kind: Kind, id: &str) -> bool {
        let thing = self.things.get(&(kind, id.to_owned()));
        thing.is_some_and(|thing| !thing.records.is_empty() || thing.events.values().any(|event| event.at <= self.now))
    }

    pub fn identities(&self, kind: Kind, id: &str) -> BTreeSet<String> {
        let aside = self.clusters[&kind].aside(id);
        let cluster = self.clusters[&kind].iter().find(|(canonical, _)| *canonical == id);
        let members = cluster.into_iter().flat_map(|(_, members)| members);
        let mut identities: BTreeSet<String> = members.filter(|member| !aside.contains(member)).map(ToString::to_string).collect();
        identities.insert(id.to_owned());
        identities
    }

    pub fn aside(&self, kind: Kind, id: &str) -> BTreeSet<String> {
        self.clusters[&kind].aside(id).into_iter().map(ToString::to_string).collect()
    }

    pub fn attributes(&self, kind: Kind, id: &str) -> &Json {
        &self.things[&(kind, id.to_owned())].attributes
    }

    /// The cluster a key object leads to, whether or not anything lives there.
    fn canonical(&self, kind: Kind, key: &Json) -> Option<String> {
        Some(self.clusters[&kind].canonical(&kind.identity(&source_key(key)?)?))
    }

    /// The live thing a key object leads to.
    fn lead(&self, kind: Kind, key: &Json) -> Option<String> {
        self.canonical(kind, key).filter(|id| self.lives(kind, id))
    }

    fn to_one(&self, kind: Kind, key: &Json) -> Value {
        self.lead(kind, key).map_or(Value::Null, |id| Value::Thing(Thing::Unified(kind, id)))
    }

    /// Live rows of a topic whose field `end` leads to the thing.
    fn rows(&self, topic: &str, end: &str, kind: Kind, id: &str) -> impl Iterator<Item = (&(String, String), &Json)> {
        let rows = self.rows.iter().filter(move |((known, _), _)| known == topic);
        rows.filter(move |(_, row)| self.canonical(kind, &row.fields[end]).as_deref() == Some(id))
            .map(|(key, row)| (key, &row.fields))
    }

    fn row_values(&self, topic: &str, end: &str, kind: Kind, id: &str) -> Value {
        Value::list(
            self.rows(topic, end, kind, id)
                .map(|((topic, key), _)| Value::Thing(Thing::Row(topic.clone(), key.clone()))),
        )
    }

    /// Live memberships of external audiences that name the thing, by any identity or by source
    /// key.
    fn audience_memberships(&self, kind: Kind, id: &str) -> Value {
        let end = match kind {
            Kind::Account => "accountKey",
            _ => "personKey",
        };
        let named = |fields: &Json| {
            let (namespace, name) = fields["member"].as_str()?.split_once(':')?;
            let identity = Identity::new(namespace, name)?;
            (Kind::of_namespace(&identity.namespace) == kind).then(|| self.clusters[&kind].canonical(&identity))
        };
        let of_topic = self.rows.iter().filter(|((topic, _), _)| topic == "audience-member");
        let found = of_topic.filter(|(_, row)| named(&row.fields).as_deref() == Some(id) || self.canonical(kind, &row.fields[end]).as_deref() == Some(id));
        Value::list(found.map(|((topic, key), _)| Value::Thing(Thing::Row(topic.clone(), key.clone()))))
    }

    /// The live accounts of a person, by all its records' keys and by relation rows.
    pub fn accounts(&self, person: &str) -> BTreeSet<String> {
        let records = self.things.get(&(Kind::Person, person.to_owned())).map_or(&[][..], |thing| &thing.records);
        let of_records = records.iter().filter_map(|record| self.lead(Kind::Account, record.at("b2b.accountKey")));
        let of_rows = self
            .rows("account-person", "personKey", Kind::Person, person)
            .filter_map(|(_, fields)| self.lead(Kind::Account, &fields["accountKey"]));
        of_records.chain(of_rows).collect()
    }

    /// The events of a person that have happened by now, in order of time, then `_id`.
    pub fn events(&self, person: &str) -> Vec<String> {
        let Some(thing) = self.things.get(&(Kind::Person, person.to_owned())) else {
            return Vec::new();
        };
        let mut events: Vec<(i64, &String)> = thing
            .events
            .iter()
            .filter(|(_, event)| event.at <= self.now)
            .map(|(id, event)| (event.at, id))
            .collect();
        events.sort();
        events.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// The things of a kind for which `belongs` is true.
    fn all(&self, kind: Kind, belongs: impl Fn(&str, &Json) -> bool) -> Value {
        let of_kind = self
            .things
            .iter()
            .filter(|((known, id), thing)| *known == kind && belongs(id, &thing.attributes));
        Value::list(of_kind.map(|((_, id), _)| Value::Thing(Thing::Unified(kind, id.clone()))))
    }

    /// A field of a thing, or the targets of a relation of that name.
    pub fn field(&self, thing: &Thing, name: &str) -> Value {
        if name == "isDeleted" {
            return Value::Bool(false);
        }
        let fields = match thing {
            Thing::Unified(kind, id) => {
                let attributes = &self.things[&(*kind, id.clone())].attributes;
                return self
                    .relation(*kind, id, attributes, name)
                    .unwrap_or_else(|| Value::of_field(name, &attributes[name]));
            }
            Thing::Row(topic, key) => &self.rows[&(topic.clone(), key.clone())].fields,
            Thing::Event(person, id) => &self.things[&(Kind::Person, person.clone())].events[id].value,
        };
        let target = match name {
            "account" => Kind::Account,
            "opportunity" => Kind::Opportunity,
            "campaign" => Kind::Campaign,
            "list" => Kind::List,
            _ => return Value::of_field(name, &fields[name]),
        };
        match thing {
            Thing::Row(..) if target == Kind::List => self.to_one(target, &fields["marketingListKey"]),
            Thing::Row(..) => self.to_one(target, &fields[format!("{name}Key").as_str()]),
            _ => Value::of_field(name, &fields[name]),
        }
    }

    fn relation(&self, kind: Kind, id: &str, attributes: &Json, name: &str) -> Option<Value> {
        Some(match (kind, name) {
            (Kind::Person, "accounts") => Value::list(
                self.accounts(id)
                    .into_iter()
                    .map(|account| Value::Thing(Thing::Unified(Kind::Account, account))),
            ),
            (Kind::Person, "accountRelations") => self.row_values("account-person", "personKey", kind, id),
            (Kind::Person, "opportunityRoles") => self.row_values("opportunity-person", "personKey", kind, id),
            (Kind::Person, "campaignMemberships") => self.row_values("campaign-member", "personKey", kind, id),
            (Kind::Person, "listMemberships") => self.row_values("marketing-list-member", "personKey", kind, id),
            (Kind::Person | Kind::Account, "audienceMemberships") => self.audience_memberships(kind, id),
            (Kind::Person, "xEvent") => Value::list(self.events(id).into_iter().map(|event| Value::Thing(Thing::Event(id.to_owned(), event)))),
            (Kind::Account, "opportunities") => self.all(Kind::Opportunity, |_, deal| {
                self.canonical(Kind::Account, &deal["accountKey"]).as_deref() == Some(id)
            }),
            (Kind::Account, "persons") => self.all(Kind::Person, |person, _| self.lives(Kind::Person, person) && self.accounts(person).contains(id)),
            (Kind::Account, "parent") => self.to_one(Kind::Account, &attributes["accountParentKey"]),
            (Kind::Account, "related") => Value::list(
                attributes["relatedAccountKeys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|key| self.to_one(Kind::Account, key)),
            ),
            (Kind::Opportunity, "account") => self.to_one(Kind::Account, &attributes["accountKey"]),
            (Kind::Opportunity, "campaign") => self.to_one(Kind::Campaign, &attributes["campaignKey"]),
            (Kind::Opportunity, "roles") => self.row_values("opportunity-person", "opportunityKey", kind, id),
            _ => return None,
        })
    }
}

/// The accounts a link unites, while it is valid.
fn members(link: &Record, now: i64) -> Option<Vec<Identity>> {
    let from = instant(link.at("validFrom")).unwrap_or(i64::MIN);
    let to = instant(link.at("validTo")).unwrap_or(i64::MAX);
    let accounts = link.at("members");
    (from <= now && now < to).then(|| {
        let mut members: Vec<Identity> = accounts
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|key| Kind::Account.identity(&source_key(key)?))
            .collect();
        // The least carries the others.
        members.sort();
        members
    })
}

impl Event {
    fn id(&self) -> String {
        self.value["_id"].as_str().unwrap_or_default().to_owned()
    }
}
