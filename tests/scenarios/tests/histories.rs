//! Long histories: what concerns many rows costs in proportion to them, and no step has to do with many.
//!
//! Rows are counted, for times say little on a busy machine; `docs/figures.md` has those.

use millrace_model::Timestamp;
use millrace_oracle::worlds::{DAY_MS, MINUTE_MS, NOON_MS, event, record, tombstone};
use millrace_oracle::{Rule, SourceRecord, Subject};
use millrace_test_scenarios::{Cluster, config};
use serde_json::json;

/// Rows that a step may read or write: a few inputs, some portions of background work, and what 256 rows of a ledger have to do with.
const STEP_ROWS_MAX: usize = 6_000;

fn person(source_key: &str, address: &str) -> SourceRecord {
    record("person", source_key, NOON_MS, json!({ "workEmail": { "address": address } }))
}

/// Visits by an address, one a minute up to noon, with ids in the order of time or in the opposite one, or all at one instant.
fn visits(count: i64, ids: &str) -> Vec<SourceRecord> {
    let visit = |number: i64| {
        let at = if ids == "equal" { NOON_MS - 1 } else { NOON_MS - 1 - number * MINUTE_MS };
        let id = if ids == "descending" { number } else { count - number };
        let fields = json!({ "eventType": "visit", "extra": { "n": number % 7 } });
        event(&format!("{id:08}"), at, &["email:ann@acme.com"], fields)
    };
    (0..count).map(visit).collect()
}

fn rules() -> Vec<Rule> {
    let rule = |(name, pql): (&str, &str)| Rule {
        name: name.to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: pql.to_owned(),
    };
    let rules = [
        ("visited", r#"exists v from xEvent where v.eventType = "visit""#),
        ("often", r#"(select v from xEvent where v.eventType = "visit").count() >= 10"#),
        ("much", r#"sum(select v.extra.n from xEvent where v.eventType = "visit") > 100"#),
    ];
    rules.into_iter().map(rule).collect()
}

/// A cluster that has taken the records, with what it read until now forgotten.
fn told(records: &[SourceRecord]) -> Cluster {
    let mut cluster = Cluster::with(config(2), 1, Timestamp(NOON_MS));
    rules().iter().for_each(|rule| cluster.publish(rule));
    cluster.settle();
    records.iter().for_each(|record| cluster.source(record));
    cluster.settle();
    forget(&mut cluster);
    cluster
}

fn forget(cluster: &mut Cluster) {
    (cluster.rows_read, cluster.rows_read_max, cluster.rows_written_max) = (0, 0, 0);
}

fn check_steps(cluster: &Cluster, about: &str) {
    assert!(cluster.rows_read_max <= STEP_ROWS_MAX, "{about}: a step read {} rows", cluster.rows_read_max);
    assert!(
        cluster.rows_written_max <= STEP_ROWS_MAX,
        "{about}: a step wrote {} rows",
        cluster.rows_written_max
    );
}

fn members(cluster: &Cluster) -> Vec<String> {
    let of = |rule: &Rule| format!("{}: {:?}", rule.name, cluster.members(&rule.name));
    rules().iter().map(of).collect()
}

/// Every rule with its one member.
fn all(member: &str) -> Vec<String> {
    rules().iter().map(|rule| format!("{}: {{{member:?}}}", rule.name)).collect()
}

/// The rows read by something that concerns so many events and by the same with four times as many: about four times as many too.
fn check_linear(about: &str, events: i64, rows_read: impl Fn(i64) -> usize) {
    let (few, many) = (rows_read(events), rows_read(4 * events));
    assert!(many <= 6 * few, "{about}: {few} rows for {events} events, {many} for four times as many");
}

#[test]
fn a_history_moves_in_proportion_to_its_length() {
    for ids in ["ascending", "descending", "equal"] {
        check_linear(ids, 1_500, |count| {
            let mut cluster = told(&visits(count, ids));
            cluster.source(&person("1@m.M", "ann@acme.com"));
            cluster.settle();
            check_steps(&cluster, ids);
            assert_eq!(members(&cluster), all("b2b_person:1@m.M"));
            cluster.source(&tombstone("person", "1@m.M", NOON_MS));
            cluster.settle();
            check_steps(&cluster, ids);
            assert_eq!(members(&cluster), all("email:ann@acme.com"));
            cluster.check_derived();
            // Nobody is in or out of anything but once on the way.
            assert_eq!(cluster.changes.len(), rules().len() * 5, "{ids}");
            cluster.rows_read
        });
    }
}

#[test]
fn a_history_expires_in_proportion_to_its_length() {
    for ids in ["ascending", "equal"] {
        check_linear(ids, 400, |count| {
            let mut cluster = told(&visits(count, ids));
            cluster.advance(Timestamp(NOON_MS + 400 * DAY_MS));
            check_steps(&cluster, ids);
            let nobody: Vec<String> = rules().iter().map(|rule| format!("{}: {{}}", rule.name)).collect();
            assert_eq!(members(&cluster), nobody);
            cluster.check_derived();
            cluster.rows_read
        });
    }
}

/// A rule that comes late is filled from the ledger in portions.
#[test]
fn a_new_rule_reads_a_long_history_in_portions() {
    let mut cluster = told(&visits(6_000, "ascending"));
    let late = Rule {
        name: "late".to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: r#"(select v from xEvent where v.eventType = "visit" and v.extra.n = 3).count() >= 857"#.to_owned(),
    };
    cluster.publish(&late);
    cluster.settle();
    check_steps(&cluster, "a new rule");
    assert_eq!(cluster.members("late").len(), 1);
}

/// Twelve hundred links of one company are withdrawn at once: it is taken apart in proportion.
#[test]
fn many_links_withdrawn_at_once() {
    let key = |number: usize| json!({ "sourceKey": format!("{number:04}@c.S") });
    let link = |number: usize| {
        record(
            "account-link",
            &format!("{number}@mdm.MDM"),
            NOON_MS,
            json!({ "members": [key(0), key(number % 900 + 1)] }),
        )
    };
    let mut cluster = Cluster::with(config(2), 1, Timestamp(NOON_MS));
    let rule = Rule {
        name: "all".to_owned(),
        subject: Subject::Account,
        time_zone: "UTC".to_owned(),
        pql: "true".to_owned(),
    };
    cluster.publish(&rule);
    for number in 0..=900 {
        cluster.source(&record("account", &format!("{number:04}@c.S"), NOON_MS, json!({})));
    }
    (0..1_200).for_each(|number| cluster.source(&link(number)));
    cluster.settle();
    assert_eq!(cluster.members("all").len(), 1);
    (0..1_200).for_each(|number| cluster.source(&tombstone("account-link", &format!("{number}@mdm.MDM"), NOON_MS)));
    cluster.settle();
    assert_eq!(cluster.members("all").len(), 901);
    cluster.check_derived();
}
