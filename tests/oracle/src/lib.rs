//! The oracle: the right memberships, computed as plainly as possible.
//!
//! From the whole content of the source topics, the rules and an instant it computes the world at
//! that instant and the members of each segment, by replaying every key, merging every cluster and
//! evaluating every rule's syntax tree for every subject. Whatever the engine does, and in whatever
//! order records reach it, its memberships must equal these.
//!
//! What it is *not*: fast, incremental, or built from the engine's code. It shares the rule parser
//! with the engine and nothing else. It refuses nothing: records that the pipeline would
//! dead-letter (a record without its key, an event more than five minutes ahead on arrival) must
//! not be passed, and rules are assumed to be well-typed.
//!
//! # Where the contract leaves room
//!
//! * Versions of an `_id` replace each other under the same best identity first; the surviving
//!   version holds the links. Within a person the greatest version of an `_id` is the event. So a
//!   link of a replaced version is gone, and a replaced version under another identity still links
//!   the identities it carries.
//! * An event up to five minutes ahead links its identities at once; rules see it, and it makes a
//!   subject, from its own time on.
//! * Of an event's identities the first by rank is the home, and carries the others. Of a link's
//!   members, the least.
//! * A person known from events alone is a live thing: its rows tie it to accounts in both
//!   directions.
//! * A deal belongs to the account of its merged `accountKey`; a person to those of all its
//!   records.
//! * A partial update of a part of money changes that part, and the whole is as new as its newest
//!   part; one of a part of a key changes the key.
//!   One of the `val` of a consent is a decision of its own; one of its reason or time leaves the
//!   decision, and is no newer one.
//!   A currency without an amount does not count where another record has an amount.
//! * A path follows each thing once, in `select r.opportunity.x from opportunityRoles r` and
//!   `opportunityRoles.sum(opportunity.x)` too; `map`, and an expression that is not a path, give a
//!   value for each item.
//! * Mapping a list leaves nulls out, so `count` does not count them; `groupBy`, `topN` and
//!   `bottomN` leave out items whose key is null.
//! * `<= n units after X` mirrors `before`: `T - n units <= X <= T`. `= n units before X` means
//!   that the fact's calendar unit is the n-th before that of X; `on X` means X's day; `date(…)` is
//!   midnight in the rule's time zone.
//! * A partial update without paths changes nothing, and makes no record.
//! * In a sequence a label means the last event its step took; events at one instant have no order,
//!   and none lies between the others.
//!
//! `worlds` holds the Bodea case and seeded random worlds, for tests of every level.

use std::collections::{BTreeMap, BTreeSet};

use evaluate::{Program, qualifies};
use graph::{Graph, Kind};

mod calendar;
mod evaluate;
mod graph;
mod identity;
mod record;
mod value;
pub mod worlds;

/// A record as it lies in a source topic.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRecord {
    /// Last part of the topic's name, such as `person`, `account-link`, `activity`.
    pub topic: String,
    /// The Kafka key.
    pub key: String,
    /// `None` is a tombstone.
    pub value: Option<serde_json::Value>,
    /// The broker's timestamp, milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// The subject of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Person,
    Account,
}

/// A segment definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub name: String,
    pub subject: Subject,
    /// IANA name, such as `Europe/Berlin`.
    pub time_zone: String,
    pub pql: String,
}

/// The configuration of a deployment that results depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// An event is kept while it is younger than this.
    pub retention_ms: i64,
    /// The most identities of one person, and of one account.
    pub max_identities_per_person: usize,
    pub max_identities_per_account: usize,
    pub guards: Guards,
    /// Namespaces after `b2b_*`, best first; those not named follow by name.
    pub namespace_priority: Vec<String>,
    /// Of amounts that carry no currency. Amounts in any other are null.
    pub default_currency: String,
}

/// What must not be united, beyond the sizes of clusters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guards {
    /// Namespaces of which a cluster holds at most one identity.
    pub unique: Vec<String>,
    /// By namespace: the most records or events' identities that may carry an identity.
    pub claims_max: BTreeMap<String, usize>,
    /// Identities (`namespace:id`) that unite nothing.
    pub blocked: BTreeSet<String>,
}

/// A unified subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Every identity of the cluster, as `namespace:id`, without those set aside.
    pub identities: BTreeSet<String>,
    /// Those that its records or events carry and that are set aside.
    pub aside: BTreeSet<String>,
    /// The merged record.
    pub attributes: serde_json::Value,
    /// Canonical ids of a person's accounts; of an account, none.
    pub accounts: BTreeSet<String>,
    /// `_id`s of a person's events up to now, in order of time.
    pub events: Vec<String>,
}

/// The world at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Every person that is a subject, by canonical id (`namespace:id`).
    pub persons: BTreeMap<String, Profile>,
    /// Every account that is a subject, by canonical id.
    pub accounts: BTreeMap<String, Profile>,
    /// Canonical ids of the members, by rule. Every rule has an entry.
    pub members: BTreeMap<String, BTreeSet<String>>,
}

/// The naive evaluator.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

impl Default for Config {
    fn default() -> Config {
        Config {
            retention_ms: 400 * 86_400_000,
            max_identities_per_person: 50,
            max_identities_per_account: 1_000,
            guards: Guards::default(),
            namespace_priority: vec!["email".to_owned(), "ecid".to_owned()],
            default_currency: "USD".to_owned(),
        }
    }
}

impl Oracle {
    /// The world at `now_ms` (milliseconds since the epoch), given everything in the source topics
    /// in order of arrival.
    ///
    /// # Panics
    /// Where a rule does not parse, or names a time zone or function that does not exist: a defect
    /// of the test.
    pub fn evaluate(records: &[SourceRecord], rules: &[Rule], now_ms: i64, config: &Config) -> World {
        let graph = Graph::at(now_ms, records, config);
        let programs: Vec<Program> = rules.iter().map(program).collect();
        let members = programs.iter().map(|program| {
            let subjects = graph.population(program.kind).into_iter();
            (
                program.name.clone(),
                subjects.filter(|id| qualifies(&graph, &programs, program, id, now_ms, config)).collect(),
            )
        });
        let members = members.collect();
        let persons = profiles(&graph, Kind::Person);
        let accounts = profiles(&graph, Kind::Account);
        World { persons, accounts, members }
    }
}

fn program(rule: &Rule) -> Program {
    let expr = millrace_pql::parse(&rule.pql).unwrap_or_else(|error| panic!("rule {}: {error:?}\n{}", rule.name, rule.pql));
    let zone = rule
        .time_zone
        .parse()
        .unwrap_or_else(|_| panic!("rule {}: no time zone {}", rule.name, rule.time_zone));
    let kind = match rule.subject {
        Subject::Person => Kind::Person,
        Subject::Account => Kind::Account,
    };
    Program {
        name: rule.name.clone(),
        kind,
        zone,
        expr,
    }
}

fn profiles(graph: &Graph, kind: Kind) -> BTreeMap<String, Profile> {
    let profile = |id: String| {
        let accounts = if kind == Kind::Person { graph.accounts(&id) } else { BTreeSet::new() };
        let profile = Profile {
            identities: graph.identities(kind, &id),
            aside: graph.aside(kind, &id),
            attributes: graph.attributes(kind, &id).clone(),
            accounts,
            events: graph.events(&id),
        };
        (id, profile)
    };
    graph.population(kind).into_iter().map(profile).collect()
}

#[cfg(test)]
mod tests;
