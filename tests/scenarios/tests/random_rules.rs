//! Random well-typed rules over random worlds at random instants: the engine, which keeps
//! everything incrementally, and the oracle, which evaluates everything from the beginning, find
//! the same members.

use std::collections::BTreeMap;

use millrace_model::{Schema, Timestamp};
use millrace_oracle::worlds::random::{self, Random};
use millrace_oracle::worlds::random_rules;
use millrace_oracle::{Config, Oracle, Rule, SourceRecord};
use millrace_segment::{Plan, Settings, compile, parse_definitions};
use millrace_test_scenarios::{Cluster, definition};
use millrace_test_seeds::seeds;

/// Valid rules of a seed; the generator does not count relations, so some go too far.
fn rules(seed: u64, schema: &Schema) -> Vec<Rule> {
    let all = (0..4).map(|number| random_rules::rule(seed * 4 + number, &format!("r{number}")));
    all.filter(|rule| holds(rule, schema)).collect()
}

fn holds(rule: &Rule, schema: &Schema) -> bool {
    let definitions = parse_definitions(&definition(rule, "published")).expect("a definition");
    match compile(&definitions[0], schema) {
        Ok(compiled) => {
            Plan::build(&[compiled], &Settings::default()).unwrap_or_else(|problems| panic!("{}\n{problems:?}", rule.pql));
            true
        }
        Err(problems) => {
            assert!(problems.iter().all(|problem| problem.code == "too-far"), "{}\n{problems:?}", rule.pql);
            false
        }
    }
}

fn compare(seed: u64, cluster: &mut Cluster, sent: &[SourceRecord], rules: &[Rule]) {
    cluster.settle();
    let world = Oracle::evaluate(sent, rules, cluster.now.0, &Config::default());
    for rule in rules {
        let right = &world.members[&rule.name];
        assert_eq!(
            &cluster.members(&rule.name),
            right,
            "engine (left) and oracle (right), seed {seed} at {}: {} in {}",
            cluster.now,
            rule.pql,
            rule.time_zone
        );
    }
}

#[test]
fn engine_and_oracle_agree_on_random_rules() {
    let schema = Schema::built_in().expect("the schemas of the build parse");
    for seed in seeds!(0..150) {
        let mut random = Random::new(seed ^ 0x51ed);
        let stream = random::stream(seed, 12 + random.below(25));
        let rules = rules(seed, &schema);
        let mut cluster = Cluster::new(2, seed, Timestamp(stream.end_ms));
        rules.iter().for_each(|rule| cluster.publish(rule));
        for (at, record) in stream.records.iter().enumerate() {
            cluster.source(record);
            if random.chance(10) {
                compare(seed, &mut cluster, &stream.records[..=at], &rules);
            }
        }
        compare(seed, &mut cluster, &stream.records, &rules);
        let mut borders = random::borders(&stream.records, stream.end_ms);
        for _ in 0..3 {
            borders.retain(|border| *border > cluster.now.0);
            if borders.is_empty() {
                break;
            }
            cluster.advance(Timestamp(borders[random.below(borders.len())]));
            compare(seed, &mut cluster, &stream.records, &rules);
        }
    }
}

/// Names get rules, others, none, and the first again, while records arrive and before the work of
/// the last change is done.
#[test]
fn definitions_come_change_and_go() {
    let schema = Schema::built_in().expect("the schemas of the build parse");
    for seed in seeds!(0..150) {
        let mut random = Random::new(seed ^ 0xdef5);
        let stream = random::stream(seed, 12 + random.below(25));
        let mut cluster = Cluster::new(2, seed, Timestamp(stream.end_ms));
        let mut published: BTreeMap<String, Rule> = BTreeMap::new();
        for (at, record) in stream.records.iter().enumerate() {
            cluster.source(record);
            for _ in 0..random.below(3) {
                // Few rules and names, so that one comes back often, under its own name or another.
                let (name, rule) = (format!("r{}", random.below(3)), seed * 4 + random.below(4) as u64);
                let rule = random_rules::rule(rule, &name);
                if random.chance(25) {
                    cluster.define(&name, random.chance(50).then(|| definition(&rule, "inactive")).as_deref());
                    published.remove(&name);
                } else if holds(&rule, &schema) {
                    cluster.publish(&rule);
                    published.insert(name, rule);
                }
            }
            (0..random.below(40)).for_each(|_| _ = cluster.act());
            if random.chance(15) {
                compare_all(seed, &mut cluster, &stream.records[..=at], &published);
            }
        }
        compare_all(seed, &mut cluster, &stream.records, &published);
        if let Some(border) = random::borders(&stream.records, stream.end_ms)
            .into_iter()
            .find(|border| *border > cluster.now.0)
        {
            cluster.advance(Timestamp(border));
            compare_all(seed, &mut cluster, &stream.records, &published);
        }
        cluster.check_derived();
    }
}

fn compare_all(seed: u64, cluster: &mut Cluster, sent: &[SourceRecord], published: &BTreeMap<String, Rule>) {
    let rules: Vec<Rule> = published.values().cloned().collect();
    compare(seed, cluster, sent, &rules);
    for name in (0..3).map(|number| format!("r{number}")).filter(|name| !published.contains_key(name)) {
        assert!(cluster.members(&name).is_empty(), "seed {seed}: {name} is no more");
    }
}
