//! Random worlds: the preview of a draft equals the oracle's answer, and the result of publishing
//! the draft; the answer about a past instant equals the result at that time.

use std::collections::BTreeSet;

use millrace_model::{CanonicalId, Identity, SubjectId, SubjectKind, Timestamp};
use millrace_oracle::worlds::{DAY_MS, NOON_MS, bodea, random, record, rules};
use millrace_oracle::{Config, Oracle, Rule, SourceRecord, Subject};
use millrace_segment::{Compiled, compile, parse_definitions};
use millrace_shard::query::{Query, QueryError, SAMPLE_MAX, Sampled};
use millrace_test_scenarios::{Cluster, config, definition};
use millrace_test_seeds::seeds;

const SHARDS: u32 = 3;

fn draft(rule: &Rule, name: &str) -> Compiled {
    let text = definition(
        &Rule {
            name: name.to_owned(),
            ..rule.clone()
        },
        "draft",
    );
    let definition = parse_definitions(&text).expect("the form holds").pop().expect("one definition");
    compile(&definition, &config(SHARDS).schema).expect("the rule holds")
}

/// Every subject of a sample; the count is that of the sample.
fn ids(sampled: &Sampled) -> BTreeSet<String> {
    let ids: BTreeSet<String> = sampled.sample.iter().map(|reasoned| reasoned.subject.id.0.to_string()).collect();
    assert_eq!(sampled.count, ids.len() as u64, "these worlds fit into a sample");
    ids
}

fn audience(query: &Query, rule: &Rule, now: Timestamp) -> BTreeSet<String> {
    let preview = query.preview(&draft(rule, &rule.name), SAMPLE_MAX, now).expect("the rule holds");
    assert!(
        preview.audience.sample.iter().all(|reasoned| reasoned.explanation.value == Some(true)),
        "the reasons say so: {}",
        rule.name
    );
    assert_eq!(
        (preview.published, preview.members, preview.leaving.count),
        (None, 0, 0),
        "{} is not published",
        rule.name
    );
    assert_eq!(ids(&preview.entering), ids(&preview.audience), "everyone enters");
    ids(&preview.audience)
}

fn cluster(seed: u64, records: &[SourceRecord], start_ms: i64) -> Cluster {
    let mut cluster = Cluster::new(SHARDS, seed, Timestamp(start_ms));
    for record in records {
        cluster.advance_unsettled(Timestamp(record.timestamp_ms));
        cluster.source(record);
    }
    cluster.settle();
    cluster
}

#[test]
fn a_preview_knows_computed_attributes() {
    let mut cluster = Cluster::new(SHARDS, 1, Timestamp(NOON_MS));
    let attribute = |name: &str, pql: &str| format!("kind: ComputedAttribute\nmetadata: {{ name: {name} }}\nspec: {{ subject: person, pql: '{pql}' }}\n");
    cluster.define("score", Some(&attribute("score", "b2b.personScore")));
    cluster.define("doubled", Some(&attribute("doubled", "computed.score * 2")));
    for (key, score) in [("1@m.M", 40), ("2@m.M", 60)] {
        cluster.source(&record("person", key, NOON_MS, serde_json::json!({ "b2b": { "personScore": score } })));
    }
    cluster.settle();
    let rule = Rule {
        name: "hot".to_owned(),
        pql: "computed.doubled > 100".to_owned(),
        ..rules::all()[0].clone()
    };
    assert_eq!(audience(&cluster.query(), &rule, cluster.now), BTreeSet::from(["b2b_person:2@m.M".to_owned()]));
    let drafted = parse_definitions(&attribute("tripled", "computed.score * 3"))
        .expect("the form holds")
        .remove(0);
    let refused = cluster
        .query()
        .preview(&compile(&drafted, &config(SHARDS).schema).expect("it holds"), SAMPLE_MAX, cluster.now);
    assert!(matches!(refused, Err(QueryError::Invalid(problems)) if problems[0].message.contains("has no audience")));
}

/// An account's persons and deals depend on no rule.
#[test]
fn the_children_of_an_account_are_listed_without_any_rule() {
    let named = |at: &str| serde_json::json!({ "sourceKey": at });
    for seed in seeds!(0..20) {
        let stream = random::stream(seed, 30);
        let cluster = cluster(seed, &stream.records, stream.start_ms);
        let world = Oracle::evaluate(&stream.records, &[], cluster.now.0, &Config::default());
        let query = cluster.query();
        let subject = |kind, id: &String| SubjectId {
            kind,
            id: CanonicalId(Identity::parse(id).expect("the oracle's ids are identities")),
        };
        for id in world.accounts.keys() {
            let found = query
                .children(&subject(SubjectKind::Account, id), SubjectKind::Person, cluster.now)
                .expect("the shards are open");
            let expected = world.persons.iter().filter(|(_, profile)| profile.accounts.contains(id));
            let expected: Vec<SubjectId> = expected
                .map(|(person, _)| subject(SubjectKind::Person, person))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            assert_eq!(found, expected, "seed {seed}, persons of {id}");
        }
    }
    let deal = |key: &str, account: &str| record("opportunity", key, NOON_MS, serde_json::json!({ "accountKey": named(account) }));
    let account = |key: &str| record("account", key, NOON_MS, serde_json::json!({ "accountName": key }));
    let link = record(
        "account-link",
        "l@mdm.MDM",
        NOON_MS,
        serde_json::json!({ "members": [named("a@c.S"), named("b@c.S"), named("unseen@c.S")] }),
    );
    let lost = record("opportunity", "4@c.S", NOON_MS + 1, serde_json::json!({ "isDeleted": true }));
    let records = [
        account("a@c.S"),
        account("b@c.S"),
        link,
        deal("1@c.S", "a@c.S"),
        deal("2@c.S", "b@c.S"),
        deal("3@c.S", "unseen@c.S"),
        deal("4@c.S", "a@c.S"),
        lost,
    ];
    let cluster = cluster(1, &records, NOON_MS);
    let query = cluster.query();
    let townsend = query
        .resolve(&Identity::new("b2b_account", "b@c.S").expect("an identity"))
        .expect("the shards are open");
    let deals = query.children(&townsend, SubjectKind::Opportunity, cluster.now).expect("the shards are open");
    let deals: Vec<String> = deals.iter().map(|deal| deal.id.0.to_string()).collect();
    assert_eq!(deals, ["b2b_opportunity:1@c.S", "b2b_opportunity:2@c.S", "b2b_opportunity:3@c.S"]);
}

#[test]
fn a_preview_is_what_publishing_brings() {
    for seed in seeds!(0..40) {
        let stream = random::stream(seed, 30);
        let rules = rules::all();
        let mut cluster = cluster(seed, &stream.records, stream.start_ms);
        let world = Oracle::evaluate(&stream.records, &rules, cluster.now.0, &Config::default());
        for rule in &rules {
            let found = audience(&cluster.query(), rule, cluster.now);
            // Rules about other segments come after those in the list.
            assert_eq!(found, world.members[&rule.name], "seed {seed}, preview of {}: {}", rule.name, rule.pql);
            cluster.publish(rule);
            cluster.settle();
            assert_eq!(cluster.members(&rule.name), found, "seed {seed}, {} published", rule.name);
        }
    }
}

#[test]
fn a_preview_is_compared_with_the_published_version() {
    let person_rules: Vec<Rule> = rules::all()
        .into_iter()
        .filter(|rule| rule.subject == Subject::Person && !rule.pql.contains("inSegment"))
        .collect();
    let mut moved = 0;
    for seed in seeds!(100..120) {
        let stream = random::stream(seed, 40);
        let mut cluster = cluster(seed, &stream.records, stream.start_ms);
        person_rules.iter().for_each(|rule| cluster.publish(rule));
        cluster.settle();
        for (rule, other) in person_rules.iter().zip(person_rules.iter().skip(1)) {
            let preview = cluster
                .query()
                .preview(&draft(other, &rule.name), SAMPLE_MAX, cluster.now)
                .expect("the rule holds");
            let (members, wanted) = (cluster.members(&rule.name), cluster.members(&other.name));
            assert!(preview.published.is_some(), "{} is published", rule.name);
            assert_eq!(preview.members, members.len() as u64, "seed {seed}: {}", rule.name);
            assert_eq!(ids(&preview.audience), wanted);
            assert_eq!(ids(&preview.entering), wanted.difference(&members).cloned().collect());
            assert_eq!(ids(&preview.leaving), members.difference(&wanted).cloned().collect());
            assert!(
                preview.leaving.sample.iter().all(|reasoned| reasoned.explanation.value == Some(false)),
                "the reasons say so"
            );
            moved += preview.entering.count + preview.leaving.count;
        }
    }
    assert!(moved > 100, "the worlds are too poor to show anything: {moved}");
}

#[test]
fn a_sample_is_bounded_and_always_the_same() {
    let facts: Vec<SourceRecord> = bodea::facts().into_iter().map(|fact| fact.record).collect();
    let rule = Rule {
        name: "everyone".to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: "isDeleted = false".to_owned(),
    };
    let cluster = cluster(7, &facts, NOON_MS - 30 * DAY_MS);
    let preview = |sample_max| {
        cluster
            .query()
            .preview(&draft(&rule, "everyone"), sample_max, cluster.now)
            .expect("the rule holds")
    };
    let names = |sampled: &Sampled| sampled.sample.iter().map(|reasoned| reasoned.subject.id.0.to_string()).collect::<Vec<_>>();
    let (small, large) = (preview(2), preview(SAMPLE_MAX));
    assert_eq!((small.audience.count, small.population), (large.audience.count, large.population));
    assert_eq!((large.audience.count, small.audience.sample.len()), (3, 2));
    assert_eq!(names(&small.audience), names(&large.audience)[..2]);
}

#[test]
fn a_draft_that_does_not_fit_together_with_the_others_is_refused() {
    let mut cluster = cluster(1, &[], 0);
    let rule = |name: &str, subject, pql: &str| Rule {
        name: name.to_owned(),
        subject,
        time_zone: "UTC".to_owned(),
        pql: pql.to_owned(),
    };
    cluster.publish(&rule("a", Subject::Person, r#"inSegment("b")"#));
    cluster.publish(&rule("companies", Subject::Account, "isDeleted = false"));
    cluster.settle();
    for pql in [r#"inSegment("a")"#, r#"inSegment("b")"#, r#"inSegment("companies")"#] {
        let refused = cluster.query().preview(&draft(&rule("b", Subject::Person, pql), "b"), 10, cluster.now);
        assert!(
            refused.is_err_and(|error| matches!(error, QueryError::Invalid(problems) if !problems.is_empty())),
            "{pql}"
        );
    }
}

/// The stream with links that hold for ever: for the past, their validity is not known.
fn lasting(records: &[SourceRecord]) -> Vec<SourceRecord> {
    let mut records = records.to_vec();
    for value in records
        .iter_mut()
        .filter_map(|record| record.value.as_mut())
        .filter_map(|value| value.as_object_mut())
    {
        value.remove("validFrom");
        value.remove("validTo");
    }
    records
}

#[test]
fn the_past_is_explained_as_it_was() {
    let mut compared = 0;
    for seed in seeds!(200..220) {
        let stream = random::stream(seed, 40);
        let records = lasting(&stream.records);
        let rules = rules::all();
        let mut cluster = cluster(seed, &records, stream.start_ms);
        rules.iter().for_each(|rule| cluster.publish(rule));
        cluster.settle();
        let end = cluster.now;
        let borders = random::borders(&records, end.0).into_iter().filter(|at| *at < end.0 + 60 * DAY_MS);
        let snapshots: Vec<(Timestamp, Vec<BTreeSet<String>>)> = borders
            .step_by(5)
            .map(|at| {
                cluster.advance(Timestamp(at));
                (cluster.now, rules.iter().map(|rule| cluster.members(&rule.name)).collect())
            })
            .collect();
        let query = cluster.query();
        let world = Oracle::evaluate(&records, &rules, cluster.now.0, &Config::default());
        for (at, members) in &snapshots {
            for (rule, members) in rules.iter().zip(members) {
                let (kind, population) = match rule.subject {
                    Subject::Person => (SubjectKind::Person, &world.persons),
                    Subject::Account => (SubjectKind::Account, &world.accounts),
                };
                for id in population.keys() {
                    let subject = SubjectId {
                        kind,
                        id: CanonicalId(Identity::parse(id).expect("an id")),
                    };
                    let explained = match query.explain_past(&subject, &rule.name, *at, cluster.now) {
                        // It was created later.
                        Err(QueryError::Instant(_)) => false,
                        explained => explained.expect("everything is here").expect("published").explanation.value == Some(true),
                    };
                    assert_eq!(explained, members.contains(id), "seed {seed}, {id} at {at} in {}: {}", rule.name, rule.pql);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 10_000, "too little was compared: {compared}");
}

#[test]
fn of_instants_outside_the_retained_history_nothing_is_said() {
    let stream = random::stream(3, 40);
    let mut cluster = cluster(3, &stream.records, stream.start_ms);
    let rule = &rules::all()[1];
    cluster.publish(rule);
    cluster.settle();
    let (query, now) = (cluster.query(), cluster.now);
    let person = SubjectId {
        kind: SubjectKind::Person,
        id: CanonicalId(Identity::parse("email:ann@townsend.com").expect("an id")),
    };
    for (at, reason) in [(now.plus_ms(1), "ahead of now"), (now.plus_ms(-400 * DAY_MS), "before the retained history")] {
        match query.explain_past(&person, &rule.name, at, now) {
            Err(QueryError::Instant(said)) => assert!(said.contains(reason), "{said}"),
            other => panic!("{at}: {other:?}"),
        }
    }
}
