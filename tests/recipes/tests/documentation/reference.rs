//! The tables of the reference: each expression has its value for the profile shown, in the engine
//! and in the oracle.

use std::collections::BTreeSet;

use millrace_model::{SubjectKind, Timestamp};
use millrace_oracle::worlds::NOON_MS;
use millrace_oracle::{Config, Oracle, Rule, Subject};
use millrace_segment::{Kind, parse_definitions};
use millrace_test_recipes::{REFERENCE, blocks, records, rows, rule};
use millrace_test_scenarios::Cluster;

const ZOE: &str = "b2b_person:zoe@crm.Salesforce";

/// The condition that an expression has a value.
fn condition(expression: &str, value: &str) -> String {
    match value {
        "true" => expression.to_owned(),
        "false" => format!("not({expression})"),
        "null" => format!("({expression}).isNull()"),
        value => format!("({expression}) = {value}"),
    }
}

/// The segments of the reference that are about people, for `inSegment`.
fn published() -> Vec<Rule> {
    let mut rules = Vec::new();
    for block in blocks(REFERENCE).into_iter().filter(|block| block.language == "yaml") {
        let definitions = parse_definitions(&block.text).expect("another test reads them as well");
        let segments = definitions.into_iter().filter(|definition| definition.kind == Kind::Segment);
        for definition in segments.filter(|definition| definition.subject == SubjectKind::Person) {
            let time_zone = definition.time_zone.name().to_owned();
            rules.push(Rule {
                name: definition.name.to_string(),
                subject: Subject::Person,
                time_zone,
                pql: definition.pql,
            });
        }
    }
    rules
}

#[test]
fn every_expression_has_its_value() {
    let cases = rows(REFERENCE, ("Expression", "Value"));
    assert!(cases.len() > 120, "{} cases", cases.len());
    let profile = blocks(REFERENCE).into_iter().find(|block| block.language == "jsonl").expect("a profile");
    let profile = records(&profile.text, NOON_MS);
    let mut rules = published();
    rules.extend(
        cases
            .iter()
            .map(|(line, expression, value)| rule(&format!("line-{line}"), Subject::Person, &condition(expression, value))),
    );

    let mut cluster = Cluster::new(1, 1, Timestamp(NOON_MS));
    rules.iter().for_each(|rule| cluster.publish(rule));
    cluster.settle();
    assert_eq!(cluster.dead_letters, Vec::<String>::new(), "every rule is accepted");
    profile.iter().for_each(|record| cluster.source(record));
    cluster.settle();
    assert_eq!(cluster.dead_letters, Vec::<String>::new(), "every record is accepted");

    let world = Oracle::evaluate(&profile, &rules, NOON_MS, &Config::default());
    assert_eq!(world.persons.keys().collect::<Vec<_>>(), [ZOE]);
    let zoe = BTreeSet::from([ZOE.to_owned()]);
    let mut wrong = Vec::new();
    for ((line, expression, value), rule) in cases.iter().zip(&rules[rules.len() - cases.len()..]) {
        if cluster.members(&rule.name) != zoe {
            wrong.push(format!("line {line}: the engine does not find {value} for {expression}"));
        }
        if world.members[&rule.name] != zoe {
            wrong.push(format!("line {line}: the oracle does not find {value} for {expression}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A row that is true of every value would test nothing: the opposite of a condition never has the
/// member.
#[test]
fn no_expression_has_another_value() {
    let cases = rows(REFERENCE, ("Expression", "Value"));
    let truths: Vec<_> = cases.iter().filter(|(_, _, value)| ["true", "false"].contains(value)).collect();
    assert!(truths.len() > 50 && truths.iter().any(|(_, _, value)| *value == "false"));
    let profile = blocks(REFERENCE).into_iter().find(|block| block.language == "jsonl").expect("a profile");
    let mut rules = published();
    let opposite = |value: &str| if value == "true" { "false" } else { "true" };
    rules.extend(
        truths
            .iter()
            .map(|(line, expression, value)| rule(&format!("line-{line}"), Subject::Person, &condition(expression, opposite(value)))),
    );
    let world = Oracle::evaluate(&records(&profile.text, NOON_MS), &rules, NOON_MS, &Config::default());
    for (line, expression, value) in truths {
        assert!(
            world.members[&format!("line-{line}")].is_empty(),
            "line {line}: {expression} is {value}, and also not"
        );
    }
}
