//! Guards: an identity that would break one is set aside whole, in every order of arrival, and
//! listed as such.

use std::collections::BTreeSet;

use millrace_identity::Policy;
use millrace_model::{CanonicalId, Identity, SubjectId, SubjectKind, Timestamp};
use millrace_oracle::worlds::random::{self, Random};
use millrace_oracle::worlds::{NOON_MS, event, record, rules, tombstone};
use millrace_oracle::{Config, Oracle, Profile, Rule, SourceRecord, Subject};
use millrace_test_scenarios::{Cluster, config};
use millrace_test_seeds::seeds;
use serde_json::{Value as Json, json};

const SHARDS: u32 = 3;

/// The same guards, in the oracle's form and in the engine's.
#[derive(Clone, Default)]
struct Guards(Config);

impl Guards {
    fn unique(mut self, namespace: &str) -> Guards {
        self.0.guards.unique.push(namespace.to_owned());
        self
    }

    fn claims_max(mut self, namespace: &str, max: usize) -> Guards {
        self.0.guards.claims_max.insert(namespace.to_owned(), max);
        self
    }

    fn blocked(mut self, identity: &str) -> Guards {
        self.0.guards.blocked.insert(identity.to_owned());
        self
    }

    fn sizes(mut self, person: usize, account: usize) -> Guards {
        (self.0.max_identities_per_person, self.0.max_identities_per_account) = (person, account);
        self
    }

    fn random(random: &mut Random) -> Guards {
        let mut guards = Guards::default();
        if random.chance(50) {
            guards = guards.unique(random.pick(&["email", "ecid", "b2b_person"]));
        }
        if random.chance(40) {
            guards = guards.claims_max(random.pick(&["email", "ecid", "b2b_person"]), 1 + random.below(2));
        }
        if random.chance(40) {
            guards = guards.blocked(random.pick(&["email:ann@townsend.com", "ecid:e1", "b2b_person:1@m1.Marketo"]));
        }
        if random.chance(60) {
            guards = guards.sizes(1 + random.below(6), 1 + random.below(4));
        }
        guards
    }

    fn policy(&self) -> Policy {
        let Config {
            max_identities_per_person,
            max_identities_per_account,
            guards,
            ..
        } = &self.0;
        let mut policy = config(SHARDS)
            .policy
            .with_identities_max(SubjectKind::Person, *max_identities_per_person as u64)
            .with_identities_max(SubjectKind::Account, *max_identities_per_account as u64);
        for namespace in &guards.unique {
            policy = policy.with_unique(namespace);
        }
        for (namespace, max) in &guards.claims_max {
            policy = policy.with_claims_max(namespace, *max as u64);
        }
        for identity in guards.blocked.iter().map(|text| Identity::parse(text).expect("an identity")) {
            policy = policy.with_blocked(identity.namespace(), identity.id());
        }
        policy
    }

    fn config(&self) -> millrace_shard::deployment::Deployment {
        millrace_shard::deployment::Deployment {
            policy: self.policy(),
            ..config(SHARDS)
        }
    }
}

/// The first difference between the engine and the oracle, in members or in the lists of profiles.
fn compare(cluster: &Cluster, records: &[SourceRecord], rules: &[Rule], guards: &Guards) -> Option<String> {
    let world = Oracle::evaluate(records, rules, cluster.now.0, &guards.0);
    let of_rules = rules.iter().find_map(|rule| {
        let (expected, found) = (&world.members[&rule.name], cluster.members(&rule.name));
        (*expected != found).then(|| format!("{} should hold {expected:?} and holds {found:?}\n{}", rule.name, rule.pql))
    });
    let query = cluster.query();
    let listed = |kind: SubjectKind, (id, expected): (&String, &Profile)| {
        let id = CanonicalId(Identity::parse(id).expect("the oracle's ids are identities"));
        let found = query
            .profile(&SubjectId { kind, id: id.clone() }, cluster.now)
            .expect("the shards are open")
            .expect("whoever is a subject has a profile");
        let identities: BTreeSet<String> = found.identities.iter().map(ToString::to_string).collect();
        let aside: BTreeSet<String> = found.aside.iter().map(|(identity, _)| identity.to_string()).collect();
        (identities != expected.identities || aside != expected.aside).then(|| {
            format!(
                "{} lists {identities:?} and aside {aside:?}, and should {:?} and {:?}",
                id.0, expected.identities, expected.aside
            )
        })
    };
    of_rules.or_else(|| world.persons.iter().find_map(|entry| listed(SubjectKind::Person, entry)))
}

fn story(records: &[SourceRecord]) -> String {
    let line = |record: &SourceRecord| {
        let value = record.value.as_ref().map_or("tombstone".into(), ToString::to_string);
        format!("{} {} {} {value}", record.timestamp_ms, record.topic, record.key)
    };
    records.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A stream under guards, and under different ones after half of it.
fn difference(seed: u64, records: &[SourceRecord], start_ms: i64) -> Option<String> {
    let mut random = Random::new(seed ^ 0x0ead);
    let guards = [Guards::random(&mut random), Guards::random(&mut random)];
    let rules = rules::all();
    let mut config = guards[0].config();
    config.history_rows = [1, 3, config.history_rows][random.below(3)];
    let mut cluster = Cluster::with(config, seed, Timestamp(start_ms));
    rules.iter().for_each(|rule| cluster.publish(rule));
    cluster.settle();
    let mut in_force = &guards[0];
    for (at, record) in records.iter().enumerate() {
        cluster.advance_unsettled(Timestamp(record.timestamp_ms));
        cluster.source(record);
        if at == records.len() / 2 && random.chance(50) {
            cluster.settle();
            in_force = &guards[1];
            cluster.restart(in_force.config());
        }
        if random.chance(15) || at + 1 == records.len() {
            cluster.settle();
            if let Some(found) = compare(&cluster, &records[..=at], &rules, in_force) {
                return Some(format!("after record {at}, guards {:?}: {found}", in_force.0));
            }
        }
    }
    cluster.check_derived();
    None
}

#[test]
fn random_worlds_under_random_guards() {
    for seed in seeds!(0..120) {
        let stream = random::stream(seed, 40);
        if let Some(found) = difference(seed, &stream.records, stream.start_ms) {
            let least = millrace_oracle::worlds::shrink::shrink(&stream.records, |records| difference(seed, records, stream.start_ms).is_some());
            panic!(
                "seed {seed}: {found}\nshrunk to {:?}:\n{}",
                difference(seed, &least, stream.start_ms),
                story(&least)
            );
        }
    }
}

fn person(source_key: &str, identities: &[&str]) -> SourceRecord {
    let listed: Vec<Json> = identities
        .iter()
        .map(|text| text.split_once(':').expect("an identity is namespace:id"))
        .map(|(namespace, id)| json!({ "namespace": namespace, "id": id }))
        .collect();
    record("person", source_key, NOON_MS, json!({ "identities": listed }))
}

/// Sends records in a few orders, and expects these persons, each with its list and the identities
/// set aside.
fn check(about: &str, guards: &Guards, records: &[SourceRecord], expected: &[(&str, &str, &str)]) {
    let rule = Rule {
        name: "all".to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: "true".to_owned(),
    };
    for seed in seeds!(0..12) {
        let mut random = Random::new(seed);
        let mut records = records.to_vec();
        (1..records.len()).rev().for_each(|at| records.swap(at, random.below(at + 1)));
        let mut cluster = Cluster::with(guards.config(), seed, Timestamp(NOON_MS));
        cluster.publish(&rule);
        for record in &records {
            cluster.source(record);
            if random.chance(50) {
                cluster.settle();
            }
        }
        cluster.settle();
        assert_eq!(compare(&cluster, &records, std::slice::from_ref(&rule), guards), None, "{about}");
        let query = cluster.query();
        let mut found = Vec::new();
        for id in cluster.members("all") {
            let id = CanonicalId(Identity::parse(&id).expect("members are identities"));
            let kind = SubjectKind::Person;
            let profile = query
                .profile(&SubjectId { kind, id: id.clone() }, cluster.now)
                .expect("state can be read")
                .expect("members have profiles");
            let identities: Vec<String> = profile.identities.iter().map(ToString::to_string).collect();
            let aside: Vec<String> = profile.aside.iter().map(|(identity, reason)| format!("{identity}: {reason}")).collect();
            found.push((id.0.to_string(), identities.join(" "), aside.join("; ")));
        }
        let expected: Vec<_> = expected
            .iter()
            .map(|(id, identities, aside)| ((*id).to_owned(), (*identities).to_owned(), (*aside).to_owned()))
            .collect();
        assert_eq!(found, expected, "{about}");
        cluster.check_derived();
    }
}

#[test]
fn two_addresses_and_one_device_are_two_persons() {
    check(
        "one e-mail a person",
        &Guards::default().unique("email"),
        &[person("1@m.M", &["email:a@x", "ecid:d"]), person("2@m.M", &["email:b@x", "ecid:d"])],
        &[
            (
                "b2b_person:1@m.M",
                "b2b_person:1@m.M email:a@x",
                "ecid:d: all that carry it would together hold more than one identity of email",
            ),
            (
                "b2b_person:2@m.M",
                "b2b_person:2@m.M email:b@x",
                "ecid:d: all that carry it would together hold more than one identity of email",
            ),
        ],
    );
}

#[test]
fn a_record_alone_breaks_a_guard_too() {
    check(
        "two e-mails in one record, three identities a person",
        &Guards::default().unique("email").sizes(3, 1_000),
        &[person("1@m.M", &["email:b@x", "email:a@x", "ecid:2", "ecid:1"])],
        &[(
            "b2b_person:1@m.M",
            "b2b_person:1@m.M ecid:1 email:a@x",
            "ecid:2: all that carry it would together hold more than 3 identities; \
             email:b@x: all that carry it would together hold more than one identity of email",
        )],
    );
}

#[test]
fn sixty_strangers_with_one_address_stay_strangers() {
    let mut cluster = Cluster::with(Guards::default().config(), 1, Timestamp(NOON_MS));
    let rule = Rule {
        name: "all".to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: "true".to_owned(),
    };
    cluster.publish(&rule);
    let mut records: Vec<SourceRecord> = (0..60).map(|number| person(&format!("{number:02}@m.M"), &["email:info@x"])).collect();
    // An event of the address and a device belongs to the device's owner.
    records.push(person("60@m.M", &["ecid:d"]));
    records.push(event("v", NOON_MS - 1, &["email:info@x", "ecid:d"], json!({ "eventType": "visit" })));
    records.iter().for_each(|record| cluster.source(record));
    cluster.settle();
    assert_eq!(compare(&cluster, &records, std::slice::from_ref(&rule), &Guards::default()), None);
    assert_eq!(cluster.members("all").len(), 61);
    let query = cluster.query();
    let address = Identity::parse("email:info@x").expect("an identity");
    assert_eq!(query.resolve(&address).unwrap().id.0.to_string(), "b2b_person:60@m.M");
    // One leaves after the other, until the rest may be one person.
    for number in 0..11 {
        records.push(tombstone("person", &format!("{number:02}@m.M"), NOON_MS));
        cluster.source(records.last().expect("pushed"));
    }
    cluster.settle();
    assert_eq!(compare(&cluster, &records, std::slice::from_ref(&rule), &Guards::default()), None);
    assert_eq!(
        cluster.members("all").len(),
        2,
        "the address is considered first and fits; with it the device does not"
    );
    for number in 11..13 {
        records.push(tombstone("person", &format!("{number:02}@m.M"), NOON_MS));
        cluster.source(records.last().expect("pushed"));
    }
    cluster.settle();
    assert_eq!(compare(&cluster, &records, std::slice::from_ref(&rule), &Guards::default()), None);
    assert_eq!(cluster.members("all").len(), 1);
    cluster.check_derived();
}
