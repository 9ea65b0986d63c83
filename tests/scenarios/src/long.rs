//! Persons with long histories and accounts with many children: stories about them, in a chosen
//! size, with the largest step of each.
//!
//! The tests (`tests/histories.rs`, `tests/large_accounts.rs`) run these in thousands,
//! `benches/long.rs` in a hundred thousand. Every story checks its own end: the rules expect exact
//! numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millrace_model::{DAY_MS, Timestamp};
use millrace_oracle::worlds::{MINUTE_MS, NOON_MS, event, record, tombstone};
use millrace_oracle::{Rule, SourceRecord, Subject};
use serde_json::json;

use crate::{Cluster, config};

/// Rows that a step may read or write, however long a history is. Most come from a company of as
/// many accounts as allowed: for each of the 1,000 the identity writer reads seven rows where links
/// end, once per step, and a merge reads its record. In addition, each of the few rules walks over
/// `HISTORY_ROWS` rows at most, and a step here has up to four inputs and three portions of twenty
/// rows of background work.
pub const STEP_ROWS_MAX: usize = 10_000;

/// A cluster whose steps are watched.
pub struct Watched {
    pub cluster: Cluster,
    pub longest: Duration,
    begun: Instant,
    steps: usize,
}

/// The cost of a part of a story.
#[derive(Debug)]
pub struct Part {
    pub story: String,
    pub steps: usize,
    pub rows_read: usize,
    pub rows_read_max: usize,
    /// Of the largest step, by the byte of the table.
    pub rows_read_of_max: BTreeMap<u8, usize>,
    pub rows_written_max: usize,
    pub longest: Duration,
    pub taken: Duration,
}

impl Watched {
    fn new(rules: &[Rule]) -> Watched {
        let mut cluster = Cluster::with(config(2), 1, Timestamp(NOON_MS));
        rules.iter().for_each(|rule| cluster.publish(rule));
        cluster.settle();
        Watched {
            cluster,
            longest: Duration::ZERO,
            begun: Instant::now(),
            steps: 0,
        }
    }

    /// Ann's visits, and then the rules.
    fn with_history(count: i64, order: &str, rules: &[Rule]) -> Watched {
        let mut watched = Watched::new(&[]);
        watched.take(visits(count, order));
        rules.iter().for_each(|rule| watched.cluster.publish(rule));
        watched.settle();
        watched.check(rules, Some(ANN));
        watched.part(format!("{count} events before"));
        watched
    }

    fn take(&mut self, records: impl IntoIterator<Item = SourceRecord>) {
        for record in records {
            self.cluster.source(&record);
        }
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let step = Instant::now();
            if !self.cluster.act() {
                return;
            }
            self.steps += 1;
            self.longest = self.longest.max(step.elapsed());
        }
    }

    /// Nothing happens until then: everything that falls due meanwhile is found at once.
    fn sleep_until(&mut self, at: i64) {
        self.cluster.advance_unsettled(Timestamp(at));
        self.settle();
    }

    /// Ends a part of a story, and begins the next.
    ///
    /// # Panics
    /// Where a step was too large.
    fn part(&mut self, story: String) -> Part {
        let cluster = &mut self.cluster;
        let part = Part {
            story,
            steps: std::mem::take(&mut self.steps),
            rows_read: std::mem::take(&mut cluster.rows_read),
            rows_read_max: std::mem::take(&mut cluster.rows_read_max),
            rows_read_of_max: std::mem::take(&mut cluster.rows_read_of_max),
            rows_written_max: std::mem::take(&mut cluster.rows_written_max),
            longest: std::mem::take(&mut self.longest),
            taken: std::mem::replace(&mut self.begun, Instant::now()).elapsed(),
        };
        assert!(part.rows_read_max <= STEP_ROWS_MAX && part.rows_written_max <= STEP_ROWS_MAX, "{part:?}");
        part
    }

    fn members(&self, rules: &[Rule]) -> Vec<(String, BTreeSet<String>)> {
        rules.iter().map(|rule| (rule.name.clone(), self.cluster.members(&rule.name))).collect()
    }

    /// The subject alone is in every rule whose name does not begin with `never…`.
    ///
    /// # Panics
    /// Where that is not true.
    fn check(&self, rules: &[Rule], member: Option<&str>) {
        let expected = rules.iter().map(|rule| {
            let members = member.filter(|_| !rule.name.starts_with("never")).map(str::to_owned);
            (rule.name.clone(), members.into_iter().collect::<BTreeSet<_>>())
        });
        assert_eq!(self.members(rules), expected.collect::<Vec<_>>());
    }
}

pub fn rule(name: &str, subject: Subject, pql: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        subject,
        time_zone: "UTC".to_owned(),
        pql: pql.to_owned(),
    }
}

/// How the ids of events relate to their times.
pub const ORDERS: [&str; 3] = ["ascending", "descending", "equal"];

/// Visits by an address, one a minute up to noon, with ids in the order of time or in the opposite
/// one, or all at one instant.
pub fn visits(count: i64, order: &str) -> impl Iterator<Item = SourceRecord> + use<'_> {
    (0..count).map(move |number| {
        let at = if order == "equal" { NOON_MS - 1 } else { NOON_MS - 1 - number * MINUTE_MS };
        let id = if order == "descending" { number } else { count - number };
        let n = number % 7;
        let fields = json!({
            "eventType": "visit",
            "extra": { "n": n },
            "commerce": { "order": { "priceTotal": n } },
            "web": { "webPageDetails": { "name": format!("page {n}") } },
        });
        event(&format!("{id:08}"), at, &["email:ann@acme.com"], fields)
    })
}

/// Rules that use this number of visits in all kinds of ways, each of them exactly.
fn rules_of_visits(count: i64, order: &str) -> Vec<Rule> {
    let person = |name, pql: &str| rule(name, Subject::Person, pql);
    let visits = r#"xEvent where v.eventType = "visit""#;
    let sum: i64 = (0..count).map(|number| number % 7).sum();
    let mut rules = vec![
        person("visited", &format!("exists v from {visits}")),
        person("often", &format!("(select v from {visits}).count() >= 10")),
        person("all", &format!("(select v from {visits}).count() >= {count}")),
        person("never-more", &format!("(select v from {visits}).count() > {count}")),
        person("sum", &format!("sum(select v.commerce.order.priceTotal from {visits}) = {sum}")),
        person("kinds", &format!("count(distinct(select v.web.webPageDetails.name from {visits})) = 7")),
        person("never-greater", &format!("max(select v.commerce.order.priceTotal from {visits}) > 6")),
    ];
    // Of events at one instant none comes after another.
    let name = if order == "equal" { "never-returned" } else { "returned" };
    let step = |letter, n| format!(r#"{letter}: WHAT(eventType = "visit" and extra.n = {n})"#);
    let chain = format!("chain(xEvent, timestamp, [{}, {}, {}])", step("A", 3), step("B", 5), step("C", 5));
    rules.push(person(name, &chain));
    let counted = r#"chain(xEvent, timestamp, [A: WHAT(eventType = "visit" and extra.n = 3) COUNT(12), B: not WHAT(eventType = "never")])"#;
    rules.push(person("a-dozen-times", counted));
    rules
}

fn person(source_key: &str, address: &str) -> SourceRecord {
    record("person", source_key, NOON_MS, json!({ "workEmail": { "address": address } }))
}

const ANN: &str = "email:ann@acme.com";

/// A long history moves to a person record, and moves back.
pub fn moves(count: i64, order: &str) -> Vec<Part> {
    let rules = rules_of_visits(count, order);
    let mut watched = Watched::with_history(count, order, &rules);
    let mut parts = Vec::new();
    watched.take([person("1@m.M", "ann@acme.com")]);
    watched.check(&rules, Some("b2b_person:1@m.M"));
    parts.push(watched.part(format!("{order}: they move")));
    watched.take([tombstone("person", "1@m.M", NOON_MS)]);
    watched.check(&rules, Some(ANN));
    parts.push(watched.part(format!("{order}: they are withdrawn")));
    watched.cluster.check_derived();
    parts
}

/// A long history expires: event by event where `watched_over`, else all of it is found at once.
pub fn expires(count: i64, order: &str, watched_over: bool) -> Vec<Part> {
    let rules = rules_of_visits(count, order);
    let mut watched = Watched::with_history(count, order, &rules);
    let end = NOON_MS + 400 * DAY_MS;
    if watched_over {
        watched.cluster.advance(Timestamp(end));
    }
    watched.sleep_until(end);
    watched.check(&rules, None);
    watched.cluster.check_derived();
    let how = if watched_over { "expire one by one" } else { "expire at once" };
    vec![watched.part(format!("{order}: {count} events {how}"))]
}

/// Rules about a long history arrive late, are removed, and come back before they are completely
/// forgotten.
pub fn rules_come_and_go(count: i64, order: &str) -> Vec<Part> {
    let rules = rules_of_visits(count, order);
    let mut watched = Watched::with_history(count, order, &[]);
    rules.iter().for_each(|rule| watched.cluster.publish(rule));
    watched.settle();
    watched.check(&rules, Some(ANN));
    let mut parts = vec![watched.part(format!("{order}: rules come to {count} events"))];
    rules.iter().for_each(|rule| watched.cluster.define(&rule.name, None));
    // After some steps, rows of the rule are not yet forgotten.
    for _ in 0..40 {
        watched.cluster.act();
    }
    rules.iter().for_each(|rule| watched.cluster.publish(rule));
    watched.settle();
    watched.check(&rules, Some(ANN));
    parts.push(watched.part(format!("{order}: rules go and come back")));
    rules.iter().for_each(|rule| watched.cluster.define(&rule.name, None));
    watched.settle();
    watched.check(&rules, None);
    watched.cluster.check_derived();
    parts.push(watched.part(format!("{order}: rules go")));
    parts
}

/// Rules that come one by one to a hundred persons: how long the last ones take beside all others.
///
/// # Panics
/// Where the members are not those that the rules describe.
pub fn many_definitions(count: i64) -> Vec<Part> {
    let person = |number: i64| {
        let fields = json!({ "b2b": { "personScore": number } });
        record("person", &format!("{number}@m1.Marketo"), NOON_MS, fields)
    };
    let text = |number: i64| match number % 4 {
        0 => format!("b2b.personScore >= {}", number % 100),
        1 => format!("exists v from xEvent where v.eventType = \"t-{number}\" and v.timestamp occurs <= 30 days before now"),
        2 => format!("computed.score >= {}", number % 100),
        _ => format!("accounts.opportunities[isWon].opportunityAmount.amount.sum() > {number}"),
    };
    let named = |number: i64| rule(&format!("rule-{number}"), Subject::Person, &text(number));
    let attribute = |pql: &str| json!({ "kind": "ComputedAttribute", "metadata": { "name": "score" }, "spec": { "pql": pql } }).to_string();
    let check = |watched: &Watched, number: i64, members: usize| assert_eq!(watched.cluster.members(&format!("rule-{number}")).len(), members, "{number}");

    let mut watched = Watched::new(&[]);
    watched.cluster.define("score", Some(&attribute("b2b.personScore")));
    watched.take((0..100).map(person));
    (0..count).for_each(|number| watched.cluster.publish(&named(number)));
    watched.settle();
    check(&watched, 40, 60);
    check(&watched, 42, 58);
    let mut parts = vec![watched.part(format!("{count} definitions"))];
    (count..count + 10).for_each(|number| watched.cluster.publish(&named(number)));
    watched.settle();
    parts.push(watched.part(format!("10 after {count} definitions")));
    watched.cluster.define("score", Some(&attribute("b2b.personScore + 1")));
    watched.settle();
    check(&watched, 42, 59);
    parts.push(watched.part(format!("an attribute that {} of {count} definitions name", count / 4)));
    assert_eq!(watched.cluster.dead_letters, Vec::<String>::new());
    watched.cluster.check_derived();
    parts
}

/// Rules that use an account's persons, this number of them, in all kinds of ways, each of them
/// exactly.
fn rules_of_staff(count: i64) -> Vec<Rule> {
    let account = |name, pql: &str| rule(name, Subject::Account, pql);
    let (chiefs, sum) = ((count + 9) / 10, (0..count).map(|number| number % 100).sum::<i64>());
    let title = r#"p.extendedWorkDetails.jobTitle = "Chief""#;
    vec![
        account("chiefs", &format!("count(select p from persons where {title}) = {chiefs}")),
        account("never-more", &format!("count(select p from persons where {title}) > {chiefs}")),
        account("sum", &format!("sum(select p.b2b.personScore from persons where true) = {sum}")),
        account("kinds", "count(distinct(select p.b2b.personScore from persons where true)) = 100"),
        account("best", "max(select p.b2b.personScore from persons where true) = 99"),
        account("no-clown", r#"not(exists p from persons where p.extendedWorkDetails.jobTitle = "Clown")"#),
        account("everybody", &format!("persons.count() >= {count}")),
    ]
}

fn member_of_staff(number: i64, title: &str, account: &str) -> SourceRecord {
    let fields = json!({
        "extendedWorkDetails": { "jobTitle": title },
        "b2b": { "personScore": number % 100, "accountKey": { "sourceKey": account } },
    });
    record("person", &format!("{number}@m.M"), NOON_MS, fields)
}

fn staff(count: i64) -> impl Iterator<Item = SourceRecord> {
    (0..count).map(|number| member_of_staff(number, if number % 10 == 0 { "Chief" } else { "Clerk" }, "1@c.C"))
}

/// An account gets many persons, one of them changes, rules arrive late and are removed, and the
/// account is linked to another one and parted from it again.
pub fn many_persons(count: i64) -> Vec<Part> {
    let rules = rules_of_staff(count);
    let (early, late) = rules.split_at(3);
    let mut watched = Watched::new(early);
    let account = |key: &str| record("account", key, NOON_MS, json!({}));
    watched.take([account("1@c.C")]);
    watched.take(staff(count));
    watched.check(early, Some("b2b_account:1@c.C"));
    let mut parts = vec![watched.part(format!("{count} persons come to an account"))];
    watched.take([member_of_staff(0, "Clown", "1@c.C")]);
    assert!(watched.cluster.members("chiefs").is_empty());
    watched.take([member_of_staff(0, "Chief", "1@c.C")]);
    watched.check(early, Some("b2b_account:1@c.C"));
    parts.push(watched.part("one of them changes, and changes back".to_owned()));
    late.iter().for_each(|rule| watched.cluster.publish(rule));
    watched.settle();
    watched.check(&rules, Some("b2b_account:1@c.C"));
    parts.push(watched.part("rules about them come late".to_owned()));
    let members = json!([{ "sourceKey": "0@c.C" }, { "sourceKey": "1@c.C" }]);
    watched.take([account("0@c.C"), record("account-link", "1@mdm.MDM", NOON_MS, json!({ "members": members }))]);
    watched.check(&rules, Some("b2b_account:0@c.C"));
    parts.push(watched.part("they go over to another account".to_owned()));
    watched.take([tombstone("account-link", "1@mdm.MDM", NOON_MS)]);
    let rules_but: Vec<Rule> = rules.iter().filter(|rule| rule.name != "no-clown").cloned().collect();
    watched.check(&rules_but, Some("b2b_account:1@c.C"));
    parts.push(watched.part("they come back".to_owned()));
    rules.iter().for_each(|rule| watched.cluster.define(&rule.name, None));
    watched.settle();
    watched.check(&rules, None);
    watched.cluster.check_derived();
    parts.push(watched.part("the rules go".to_owned()));
    parts
}

/// Twelve hundred links make one company of a thousand accounts, and end at once: by tombstones, or
/// by time.
pub fn many_links(by_time: bool) -> Vec<Part> {
    let key = |number: usize| json!({ "sourceKey": format!("{number:04}@c.S") });
    let ends_at = NOON_MS + DAY_MS;
    let link = |number: usize| {
        let mut fields = json!({ "members": [key(0), key(number % 999 + 1)] });
        if by_time {
            fields["validTo"] = json!(ends_at);
        }
        record("account-link", &format!("{number}@mdm.MDM"), NOON_MS, fields)
    };
    let rules = [rule("all", Subject::Account, "true")];
    let mut watched = Watched::new(&rules);
    watched.take((0..1_000).map(|number| record("account", &format!("{number:04}@c.S"), NOON_MS, json!({}))));
    watched.take((0..1_200).map(link));
    watched.check(&rules, Some("b2b_account:0000@c.S"));
    let mut parts = vec![watched.part("1,200 links unite 1,000 accounts".to_owned())];
    if by_time {
        watched.sleep_until(ends_at);
    } else {
        watched.take((0..1_200).map(|number| tombstone("account-link", &format!("{number}@mdm.MDM"), NOON_MS)));
    }
    assert_eq!(watched.cluster.members("all").len(), 1_000);
    watched.cluster.check_derived();
    parts.push(watched.part(format!("the links end {}", if by_time { "by time" } else { "one by one" })));
    parts
}
