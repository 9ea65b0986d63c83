//! Tests of recipes: records that satisfy the rules, and changes of them, each tried in two ways.
//!
//! The result of a change must not depend on its time. So each is tried as a near miss (all records
//! as the change leaves them, at once) and as an exit (all records sent, then the change, then its
//! reversal). Whatever a step expects, engine and oracle must agree on all rules.
//!
//! Expectations are texts with one letter per rule of the recipe: `+` member, `-` not.

use std::collections::BTreeMap;

use millrace_model::Timestamp;
use millrace_oracle::worlds::{DAY_MS, NOON_MS, key, record};
use millrace_oracle::{Config, Oracle, SourceRecord, Subject};
use millrace_test_scenarios::Cluster;
use serde_json::{Value as Json, json};

use crate::{Recipe, recipes};

/// The person all recipes are about, and the account.
pub const PERSON: &str = "p@crm.Salesforce";
pub const ACCOUNT: &str = "a@crm.Salesforce";

/// When the records of a recipe were made.
const MADE_MS: i64 = NOON_MS - 40 * DAY_MS;

/// A change, and which rules have the subject as a member after it.
struct Line {
    label: &'static str,
    expected: &'static str,
    change: Vec<SourceRecord>,
}

/// A recipe with its records and changes.
pub struct Table {
    recipe: Recipe,
    base: Vec<SourceRecord>,
    expected: &'static str,
    lines: Vec<Line>,
    instants: Vec<(i64, &'static str)>,
}

/// A record of a keyed topic, short of its instance.
pub fn made(topic: &str, id: &str, fields: Json) -> SourceRecord {
    let mut record = record(topic, &format!("{id}@crm.Salesforce"), MADE_MS, fields);
    record.timestamp_ms = NOON_MS;
    record
}

/// A key object, short of its instance.
pub fn of(id: &str) -> Json {
    key(&format!("{id}@crm.Salesforce"))
}

/// The record as its source deletes it.
#[must_use]
pub fn deleted(record: &SourceRecord) -> SourceRecord {
    let mut record = record.clone();
    if let Some(value) = &mut record.value {
        value["isDeleted"] = json!(true);
    }
    record
}

/// A null value for the record's key.
#[must_use]
pub fn withdrawn(record: &SourceRecord) -> SourceRecord {
    SourceRecord { value: None, ..record.clone() }
}

/// What a later record replaces: a key of a topic, an event's id.
fn place(record: &SourceRecord) -> (String, String) {
    let id = record
        .value
        .as_ref()
        .filter(|_| record.topic == "activity")
        .and_then(|value| value["_id"].as_str());
    (record.topic.clone(), id.map_or_else(|| record.key.clone(), str::to_owned))
}

impl Table {
    /// A recipe by its number in the document, with records for which its rules are as expected.
    ///
    /// # Panics
    /// Where there is no such recipe.
    pub fn of(number: usize, expected: &'static str, base: Vec<SourceRecord>) -> Table {
        let recipe = recipes()
            .into_iter()
            .find(|recipe| recipe.number == number)
            .unwrap_or_else(|| panic!("there is no recipe {number}"));
        Table {
            recipe,
            base,
            expected,
            lines: Vec::new(),
            instants: Vec::new(),
        }
    }

    /// A change of the records.
    #[must_use]
    pub fn line<const N: usize>(mut self, label: &'static str, expected: &'static str, change: [SourceRecord; N]) -> Table {
        self.lines.push(Line {
            label,
            expected,
            change: change.into(),
        });
        self
    }

    /// The same outcome whether the source deletes the record or a tombstone withdraws it; events
    /// have no tombstones, so only the former.
    #[must_use]
    pub fn without(self, label: &'static str, expected: &'static str, record: &SourceRecord) -> Table {
        let table = self.line(label, expected, [deleted(record)]);
        if record.topic == "activity" {
            table
        } else {
            table.line(label, expected, [withdrawn(record)])
        }
    }

    /// The expected result at an instant (milliseconds since the epoch) when only time passes. In
    /// ascending order.
    #[must_use]
    pub fn at(mut self, instant_ms: i64, expected: &'static str) -> Table {
        self.instants.push((instant_ms, expected));
        self
    }

    /// Runs everything.
    ///
    /// # Panics
    /// Where engine or oracle are not as expected.
    pub fn run(self) {
        let own = |label: &str| format!("recipe {} ({}), {label}", self.recipe.number, self.recipe.name);
        for (seed, line) in self.lines.iter().enumerate() {
            let mut story = Story::new(&self.recipe, seed as u64);
            let mut records: BTreeMap<_, _> = self.base.iter().map(|record| (place(record), record)).collect();
            records.extend(line.change.iter().map(|record| (place(record), record)));
            for record in records.into_values().filter(|record| record.value.is_some()) {
                story.send(record.clone());
            }
            story.expect(&own(&format!("from the first: {}", line.label)), line.expected);
            story.end();
        }
        let mut story = Story::new(&self.recipe, 1_000);
        self.base.iter().for_each(|record| story.send(record.clone()));
        story.expect(&own("everything sent"), self.expected);
        for line in &self.lines {
            line.change.iter().for_each(|record| story.send(record.clone()));
            story.expect(&own(&format!("then: {}", line.label)), line.expected);
            for record in &line.change {
                let before = self.base.iter().find(|known| place(known) == place(record)).cloned();
                let back = before.unwrap_or_else(|| if record.topic == "activity" { deleted(record) } else { withdrawn(record) });
                story.send(back);
            }
            story.expect(&own(&format!("taken back: {}", line.label)), self.expected);
        }
        // Whatever else is removed, engine and oracle agree on it.
        for record in &self.base {
            story.send(deleted(record));
            story.agree(&own(&format!("without {} {}", record.topic, record.key)));
            story.send(record.clone());
            story.expect(&own(&format!("again with {} {}", record.topic, record.key)), self.expected);
        }
        for (instant, expected) in &self.instants {
            story.cluster.advance(Timestamp(*instant));
            story.expect(&own(&format!("at {}", Timestamp(*instant))), expected);
        }
        story.end();
    }
}

/// A cluster with a recipe's rules, and everything sent so far.
struct Story<'r> {
    recipe: &'r Recipe,
    cluster: Cluster,
    sent: Vec<SourceRecord>,
}

impl<'r> Story<'r> {
    fn new(recipe: &'r Recipe, seed: u64) -> Story<'r> {
        let mut cluster = Cluster::new(2, seed, Timestamp(NOON_MS));
        recipe.rules.iter().for_each(|rule| cluster.publish(rule));
        Story {
            recipe,
            cluster,
            sent: Vec::new(),
        }
    }

    /// Each record is newer than those before it.
    fn send(&mut self, mut record: SourceRecord) {
        if let Some(value) = &mut record.value {
            value["modifiedAt"] = json!(MADE_MS + self.sent.len() as i64);
        }
        self.cluster.source(&record);
        self.sent.push(record);
    }

    /// Engine and oracle agree on every rule; returns, per rule, whether the subject is a member.
    fn agree(&mut self, when: &str) -> String {
        self.cluster.settle();
        let world = Oracle::evaluate(&self.sent, &self.recipe.rules, self.cluster.now.0, &Config::default());
        let mut found = String::new();
        for rule in &self.recipe.rules {
            let right = &world.members[&rule.name];
            assert_eq!(
                &self.cluster.members(&rule.name),
                right,
                "engine (left) and oracle (right) on {}, {when}",
                rule.name
            );
            let subject = if rule.subject == Subject::Person {
                format!("b2b_person:{PERSON}")
            } else {
                format!("b2b_account:{ACCOUNT}")
            };
            found.push(if right.contains(&subject) { '+' } else { '-' });
        }
        found
    }

    fn expect(&mut self, when: &str, expected: &str) {
        let found = self.agree(when);
        assert_eq!(
            found, expected,
            "members of {} and its variants (left) as expected (right), {when}",
            self.recipe.name
        );
    }

    fn end(mut self) {
        assert_eq!(self.cluster.dead_letters, Vec::<String>::new(), "every record and rule is accepted");
        self.cluster.check_derived();
    }
}
