//! The steps of every case: send records, let the cluster settle, check the members.

use std::collections::BTreeSet;

use millrace_model::Timestamp;
use millrace_oracle::worlds::NOON_MS;
use millrace_oracle::worlds::random::Random;
use millrace_oracle::{Config, Oracle, Rule, SourceRecord, Subject};
use millrace_test_scenarios::Cluster;

const SHARDS: u32 = 3;
/// The number of arrival orders to try where all would be too many.
const ORDERS_MAX: usize = 60;

/// Rules, and the content of the topics.
pub struct Stage {
    pub cluster: Cluster,
    rules: Vec<Rule>,
    sent: Vec<SourceRecord>,
}

impl Stage {
    /// A cluster with these rules about persons, at noon.
    pub fn new(rules: &[&str]) -> Stage {
        Stage::with(1, Subject::Person, rules)
    }

    pub fn about_accounts(rules: &[&str]) -> Stage {
        Stage::with(1, Subject::Account, rules)
    }

    fn with(seed: u64, subject: Subject, rules: &[&str]) -> Stage {
        let mut cluster = Cluster::new(SHARDS, seed, Timestamp(NOON_MS));
        let rule = |(at, pql): (usize, &&str)| Rule {
            name: name(at),
            subject,
            time_zone: "UTC".to_owned(),
            pql: (*pql).to_owned(),
        };
        let rules: Vec<Rule> = rules.iter().enumerate().map(rule).collect();
        rules.iter().for_each(|rule| cluster.publish(rule));
        cluster.settle();
        assert!(cluster.dead_letters.is_empty(), "{:?}", cluster.refused);
        Stage {
            cluster,
            rules,
            sent: Vec::new(),
        }
    }

    /// Appends a record, and processes its consequences.
    pub fn send(&mut self, record: SourceRecord) {
        self.cluster.source(&record);
        self.sent.push(record);
        self.cluster.settle();
    }

    /// The members of each rule, in the rules' order, by engine and oracle alike.
    pub fn members(&mut self) -> Vec<BTreeSet<String>> {
        assert!(self.cluster.dead_letters.is_empty(), "{:?}", self.cluster.refused);
        self.cluster.check_derived();
        let world = Oracle::evaluate(&self.sent, &self.rules, self.cluster.now.0, &Config::default());
        let of_rule = |rule: &Rule| {
            let members = self.cluster.members(&rule.name);
            assert_eq!(members, world.members[&rule.name], "engine and oracle, {}", rule.pql);
            members
        };
        self.rules.iter().map(of_rule).collect()
    }

    /// Expects the members of the first rule.
    pub fn expect(&mut self, when: &str, expected: &[&str]) {
        assert_eq!(self.members()[0], ids(expected), "{when}: {}", self.rules[0].pql);
    }

    /// The name of the first rule's segment.
    pub fn segment() -> String {
        name(0)
    }
}

fn name(at: usize) -> String {
    format!("rule-{at}")
}

pub fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// In every order of arrival, each of the rules about persons has these members.
pub fn check(about: &str, records: &[SourceRecord], cases: &[(&str, &[&str])]) {
    check_of(Subject::Person, about, records, cases);
}

pub fn check_of(subject: Subject, about: &str, records: &[SourceRecord], cases: &[(&str, &[&str])]) {
    let rules: Vec<&str> = cases.iter().map(|(pql, _)| *pql).collect();
    for (seed, order) in orders(records.len()).into_iter().enumerate() {
        let mut stage = Stage::with(seed as u64, subject, &rules);
        for at in &order {
            stage.cluster.source(&records[*at]);
            stage.sent.push(records[*at].clone());
            // Some arrive while others are still in transit.
            if (seed + at) % 2 == 0 {
                stage.cluster.settle();
            }
        }
        stage.cluster.settle();
        for ((pql, expected), members) in cases.iter().zip(stage.members()) {
            assert_eq!(members, ids(expected), "{about}, in the order {order:?}: {pql}");
        }
    }
}

/// All orders of this number of things, or some of them.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut random = Random::new(count as u64);
    let mut orders: Vec<Vec<usize>> = vec![(0..count).collect(), (0..count).rev().collect()];
    while orders.len() < ORDERS_MAX {
        let mut order: Vec<usize> = (0..count).collect();
        (1..count).rev().for_each(|at| order.swap(at, random.below(at + 1)));
        orders.push(order);
    }
    orders.sort();
    orders.dedup();
    orders
}
