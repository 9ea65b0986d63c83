//! Computed attributes: kept with each subject, and filled into the rules that name them.

use millrace_model::{DAY_MS, Identity, Timestamp, Value};
use millrace_oracle::worlds::random::{self, Random};
use millrace_oracle::worlds::{NOON_MS, event, record};
use millrace_oracle::{Config, Oracle, Rule, Subject};
use millrace_test_scenarios::Cluster;
use millrace_test_seeds::seeds;
use serde_json::{Value as Json, json};

const SHARDS: u32 = 3;

fn attribute(name: &str, subject: &str, pql: &str) -> String {
    json!({ "kind": "ComputedAttribute", "metadata": { "name": name }, "spec": { "subject": subject, "pql": pql } }).to_string()
}

fn segment(name: &str, pql: &str) -> String {
    json!({ "kind": "Segment", "metadata": { "name": name }, "spec": { "pql": pql } }).to_string()
}

/// The values kept with the subject of an identity, as JSON by name.
fn computed(cluster: &Cluster, namespace: &str, id: &str) -> Json {
    let query = cluster.query();
    let subject = query
        .resolve(&Identity::new(namespace, id).expect("an identity"))
        .expect("tables in memory can be read");
    let profile = query
        .profile(&subject, cluster.now)
        .expect("tables in memory can be read")
        .expect("the subject is there");
    let values = profile.computed.into_iter().filter(|kept| kept.value != Value::Null);
    values
        .map(|kept| (kept.attribute.to_string(), kept.value.to_json()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn visit(cluster: &mut Cluster, id: &str, at: i64, page: &str) {
    let value = json!({ "eventType": "web.webpagedetails.pageViews", "web": { "webPageDetails": { "name": page } } });
    cluster.source(&event(id, NOON_MS + at, &["b2b_person:1@m.M"], value));
}

#[test]
fn values_are_kept_and_follow_facts_and_time() {
    let mut cluster = Cluster::new(SHARDS, 1, Timestamp(NOON_MS));
    cluster.define(
        "recent",
        Some(&attribute("recent", "person", "xEvent[timestamp occurs <= 2 days before now].count()")),
    );
    cluster.define(
        "pages",
        Some(&attribute(
            "pages",
            "person",
            "xEvent.groupBy(web.webPageDetails.name).map((K, G) => mapEntry(K, G.count()))",
        )),
    );
    cluster.define(
        "won",
        Some(&attribute(
            "won",
            "account",
            "sum(select o.opportunityAmount.amount from opportunities where o.isWon)",
        )),
    );
    cluster.source(&record("person", "1@m.M", NOON_MS, json!({ "b2b": { "personScore": 5 } })));
    cluster.source(&record("account", "a@c.S", NOON_MS, json!({ "accountName": "Acme" })));
    let deal = json!({ "accountKey": { "sourceKey": "a@c.S" }, "opportunityAmount": { "amount": 250 }, "isWon": true });
    cluster.source(&record("opportunity", "o@c.S", NOON_MS, deal));
    visit(&mut cluster, "v1", -1, "Pricing");
    visit(&mut cluster, "v2", -2, "Pricing");
    visit(&mut cluster, "v3", -3 * DAY_MS, "Support");
    cluster.settle();
    assert_eq!(
        computed(&cluster, "b2b_person", "1@m.M"),
        json!({ "recent": 2, "pages": { "Pricing": 2, "Support": 1 } })
    );
    assert_eq!(computed(&cluster, "b2b_account", "a@c.S"), json!({ "won": 250 }));
    cluster.advance(Timestamp(NOON_MS + 3 * DAY_MS));
    assert_eq!(computed(&cluster, "b2b_person", "1@m.M")["recent"], 0, "by time alone");
    cluster.define("pages", None);
    cluster.define("recent", Some(&attribute("recent", "person", "xEvent.count() * 10")));
    cluster.settle();
    assert_eq!(computed(&cluster, "b2b_person", "1@m.M"), json!({ "recent": 30 }));
    assert!(cluster.changes.is_empty(), "attributes have no members: {:?}", cluster.changes);
    cluster.check_derived();
}

#[test]
fn an_edit_reaches_the_rules_that_name_it() {
    let mut cluster = Cluster::new(SHARDS, 2, Timestamp(NOON_MS));
    for score in 1..=9 {
        cluster.source(&record("person", &format!("{score}@m.M"), NOON_MS, json!({ "b2b": { "personScore": score } })));
    }
    // The rule comes first: until the attribute exists it counts as null.
    cluster.define("hot", Some(&segment("hot", "computed.rank > 7")));
    cluster.settle();
    assert_eq!(cluster.members("hot").len(), 0);
    cluster.define("rank", Some(&attribute("rank", "person", "b2b.personScore")));
    cluster.settle();
    assert_eq!(cluster.members("hot").len(), 2);
    let before = cluster.changes.len();
    cluster.define("rank", Some(&attribute("rank", "person", "b2b.personScore + 1")));
    cluster.settle();
    assert_eq!(
        (cluster.members("hot").len(), cluster.changes.len() - before),
        (3, 1),
        "the difference and no more"
    );
    // A type that the rule cannot use is refused, and the previous one stays.
    cluster.define("rank", Some(&attribute("rank", "person", "b2b.isConverted")));
    cluster.settle();
    assert_eq!((cluster.dead_letters.len(), cluster.members("hot").len()), (1, 3));
    cluster.define("rank", None);
    cluster.settle();
    assert_eq!(cluster.members("hot").len(), 0);
}

#[test]
fn circles_are_refused() {
    let mut cluster = Cluster::new(SHARDS, 3, Timestamp(NOON_MS));
    let table = [
        ("own", attribute("own", "person", "computed.own")),
        ("one", attribute("one", "person", "computed.two")),
        ("two", attribute("two", "person", "computed.one")),
        ("inner", attribute("inner", "person", r#"inSegment("loop")"#)),
        ("loop", segment("loop", "computed.inner")),
        ("none", segment("none", r#"inSegment("one")"#)),
    ];
    for (name, text) in table {
        cluster.define(name, Some(&text));
        cluster.settle();
    }
    assert_eq!(cluster.dead_letters, ["bad-definition"; 4]);
    let query = cluster.query();
    let accepted = query.segments().expect("tables in memory can be read");
    let names: Vec<&str> = accepted.iter().map(|state| state.accepted.compiled.definition().name.as_str()).collect();
    assert_eq!(names, ["inner", "one"]);
}

/// Attributes and rules over them, together with the same rules spelled out: the oracle reads the
/// latter.
const ATTRIBUTES: [(&str, &str, &str); 4] = [
    (
        "won",
        "person",
        "sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon)",
    ),
    (
        "views",
        "person",
        r#"xEvent[web.webPageDetails.name = "Pricing" and timestamp occurs <= 3 days before now].count()"#,
    ),
    ("both", "person", "computed.won > 500000 and computed.views >= 1"),
    ("score", "person", "b2b.personScore"),
];
const RULES: [(&str, &str, &str, &str); 4] = [
    (
        "rich",
        "person",
        "computed.won > 500000",
        "sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 500000",
    ),
    (
        "keen",
        "person",
        "computed.both or computed.views >= 2",
        r#"sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 500000
and xEvent[web.webPageDetails.name = "Pricing" and timestamp occurs <= 3 days before now].count() >= 1
or xEvent[web.webPageDetails.name = "Pricing" and timestamp occurs <= 3 days before now].count() >= 2"#,
    ),
    (
        "staff",
        "account",
        "persons[computed.score > 80].count() >= 1",
        "persons[b2b.personScore > 80].count() >= 1",
    ),
    (
        "rest",
        "person",
        r#"not(inSegment("keen")) and computed.score > 79"#,
        r#"not(inSegment("keen")) and b2b.personScore > 79"#,
    ),
];

#[test]
fn rules_over_attributes_equal_the_rules_spelled_out() {
    let spelled: Vec<Rule> = RULES
        .iter()
        .map(|(name, subject, _, pql)| Rule {
            name: (*name).to_owned(),
            subject: if *subject == "person" { Subject::Person } else { Subject::Account },
            time_zone: "UTC".to_owned(),
            pql: (*pql).to_owned(),
        })
        .collect();
    for seed in seeds!(0..60) {
        let stream = random::stream(seed, 40);
        let mut schedule = Random::new(seed);
        let mut cluster = Cluster::new(SHARDS, seed, Timestamp(stream.start_ms));
        let attributes = ATTRIBUTES.iter().map(|(name, subject, pql)| (*name, attribute(name, subject, pql)));
        let segments = RULES.iter().map(|(name, subject, pql, _)| {
            (
                *name,
                json!({ "kind": "Segment", "metadata": { "name": name }, "spec": { "subject": subject, "pql": pql } }).to_string(),
            )
        });
        let mut waiting: Vec<(&str, String)> = attributes.chain(segments).collect();
        for record in &stream.records {
            cluster.advance_unsettled(Timestamp(record.timestamp_ms));
            cluster.source(record);
            if !waiting.is_empty() && schedule.chance(30) {
                let (name, text) = waiting.swap_remove(schedule.below(waiting.len()));
                cluster.define(name, Some(&text));
            }
            if schedule.chance(10) {
                cluster.settle();
            }
        }
        waiting.into_iter().for_each(|(name, text)| cluster.define(name, Some(&text)));
        cluster.settle();
        for border in std::iter::once(cluster.now.0).chain(random::borders(&stream.records, cluster.now.0).into_iter().step_by(5)) {
            cluster.advance(Timestamp(border));
            let world = Oracle::evaluate(&stream.records, &spelled, cluster.now.0, &Config::default());
            for rule in &spelled {
                assert_eq!(
                    cluster.members(&rule.name),
                    world.members[&rule.name],
                    "seed {seed}: {} at {}",
                    rule.name,
                    cluster.now
                );
            }
        }
        assert_eq!(cluster.dead_letters, Vec::<String>::new());
        cluster.check_derived();
    }
}
