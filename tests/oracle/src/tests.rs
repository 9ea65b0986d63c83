//! Each sentence of the contract about things, relations and time, as a table of small worlds.

use millrace_test_seeds::seeds;
use serde_json::{Value as Json, json};

use crate::worlds::{DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS, PAGE_VIEW, event, key, random, random_rules, record, rules, tombstone, visit};
use crate::{Config, Oracle, Rule, SourceRecord, Subject, World};

const AT: i64 = NOON_MS - 10 * DAY_MS;

fn world_at(records: &[SourceRecord], now: i64) -> World {
    Oracle::evaluate(records, &[], now, &Config::default())
}

fn world(records: &[SourceRecord]) -> World {
    world_at(records, NOON_MS)
}

fn members(records: &[SourceRecord], subject: Subject, pql: &str) -> Vec<String> {
    let rule = Rule {
        name: "r".to_owned(),
        subject,
        time_zone: "UTC".to_owned(),
        pql: pql.to_owned(),
    };
    Oracle::evaluate(records, &[rule], NOON_MS, &Config::default()).members["r"]
        .iter()
        .cloned()
        .collect()
}

fn person(source_key: &str, fields: Json) -> SourceRecord {
    record("person", source_key, AT, fields)
}

fn account(source_key: &str, fields: Json) -> SourceRecord {
    record("account", source_key, AT, fields)
}

fn link(members: &[&str]) -> SourceRecord {
    record(
        "account-link",
        "link",
        AT,
        json!({ "members": members.iter().map(|member| key(member)).collect::<Vec<_>>() }),
    )
}

fn mail(address: &str) -> Json {
    json!({ "workEmail": { "address": address } })
}

fn twin(source_key: &str) -> Json {
    json!({ "extSourceSystemAudit": { "externalKey": key(source_key) } })
}

fn relation(source_key: &str, person: &str, account: &str) -> SourceRecord {
    record(
        "account-person",
        source_key,
        AT,
        json!({ "personKey": key(person), "accountKey": key(account) }),
    )
}

fn deleted(mut of: SourceRecord, modified_at: i64) -> SourceRecord {
    let kept = ["personKey", "accountKey", "linkKey", "_id", "identities", "timestamp"];
    let value = of.value.as_mut().and_then(Json::as_object_mut).unwrap();
    value.retain(|name, _| kept.contains(&name.as_str()));
    value.insert("isDeleted".to_owned(), json!(true));
    value.insert("modifiedAt".to_owned(), json!(modified_at));
    of
}

#[test]
fn persons_are_clusters_of_identities() {
    let ecid = |id: &str| json!({ "identities": [{ "namespace": "ECID", "id": id }] });
    let table: Vec<(&str, Vec<SourceRecord>, &[&str])> = vec![
        (
            "its own",
            vec![person("1", json!({})), person("2", json!({}))],
            &["b2b_person:1", "b2b_person:2"],
        ),
        (
            "e-mails are trimmed and lower-cased",
            vec![person("1", mail("a@x")), person("2", mail(" A@X "))],
            &["b2b_person:1"],
        ),
        ("the external key", vec![person("2", twin("1"))], &["b2b_person:1"]),
        (
            "two records with one external key",
            vec![person("3", twin("1")), person("2", twin("1"))],
            &["b2b_person:1"],
        ),
        ("listed identities", vec![person("1", ecid("e")), person("2", ecid("e"))], &["b2b_person:1"]),
        (
            "a deleted record asserts nothing",
            vec![person("1", mail("a@x")), person("2", mail("a@x")), deleted(person("2", mail("a@x")), AT + 1)],
            &["b2b_person:1"],
        ),
        (
            "nor does one removed by a tombstone",
            vec![person("1", twin("2")), person("2", json!({})), tombstone("person", "1", AT)],
            &["b2b_person:2"],
        ),
        (
            "an e-mail taken away by a partial update",
            vec![
                person("1", mail("a@x")),
                person("2", mail("a@x")),
                record("person", "2", AT + 1, json!({ "changedFields": ["workEmail.address"] })),
            ],
            &["b2b_person:1", "b2b_person:2"],
        ),
        (
            "an event links the identities it carries",
            vec![person("1", mail("a@x")), person("2", ecid("e")), visit("v", AT, "p", &["ecid:e", "email:a@x"])],
            &["b2b_person:1"],
        ),
        (
            "until it is deleted",
            vec![
                person("1", mail("a@x")),
                visit("v", AT, "p", &["email:a@x", "ecid:e"]),
                visit("w", AT, "p", &["ecid:e"]),
                deleted(visit("v", AT, "p", &["email:a@x", "ecid:e"]), AT + 1),
            ],
            &["b2b_person:1", "ecid:e"],
        ),
        (
            "a person known from events only",
            vec![visit("v", AT, "p", &["ecid:e", "email:a@x"])],
            &["email:a@x"],
        ),
        ("not from relation rows only", vec![relation("r", "1", "a"), account("a", json!({}))], &[]),
        (
            "an event further ahead than five minutes is a dead letter",
            vec![visit("v", NOON_MS + 5 * MINUTE_MS + 1, "p", &["ecid:e"])],
            &[],
        ),
        (
            "one closer ahead exists from its own time on",
            vec![visit("v", NOON_MS + 1, "p", &["ecid:e"]), visit("w", NOON_MS, "p", &["ecid:f"])],
            &["ecid:f"],
        ),
        (
            "but links its identities at once",
            vec![
                visit("v", NOON_MS + 5 * MINUTE_MS, "p", &["ecid:e", "ecid:f"]),
                visit("w", NOON_MS, "p", &["ecid:f"]),
            ],
            &["ecid:e"],
        ),
        (
            "an event as old as the retention is gone",
            vec![visit("v", NOON_MS - 400 * DAY_MS, "p", &["ecid:e"])],
            &[],
        ),
        (
            "one a millisecond younger is not",
            vec![visit("v", NOON_MS - 400 * DAY_MS + 1, "p", &["ecid:e"])],
            &["ecid:e"],
        ),
        (
            "identities of other kinds are no persons",
            vec![account("a", twin("1")), person("1", json!({}))],
            &["b2b_person:1"],
        ),
    ];
    for (sentence, records, expected) in table {
        assert_eq!(world(&records).persons.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{sentence}");
        let reversed: Vec<SourceRecord> = records.iter().rev().cloned().collect();
        if records.iter().all(|record| record.value.is_some()) {
            assert_eq!(world(&reversed), world(&records), "{sentence}, in the other order");
        }
    }
}

#[test]
fn accounts_are_united_by_links_and_external_keys() {
    let between = |from: Option<i64>, to: Option<i64>| {
        record(
            "account-link",
            "link",
            AT,
            json!({ "members": [key("1"), key("2")], "validFrom": from, "validTo": to }),
        )
    };
    let both = || vec![account("1", json!({})), account("2", json!({}))];
    let with = |record: SourceRecord| [both(), vec![record]].concat();
    let one: &[&str] = &["b2b_account:1"];
    let two: &[&str] = &["b2b_account:1", "b2b_account:2"];
    let table: Vec<(&str, Vec<SourceRecord>, &[&str])> = vec![
        ("no link", both(), two),
        ("a link", with(link(&["1", "2"])), one),
        (
            "withdrawn",
            with(link(&["1", "2"])).into_iter().chain([deleted(link(&["1", "2"]), AT + 1)]).collect(),
            two,
        ),
        (
            "withdrawn before it was made anew",
            with(link(&["1", "2"])).into_iter().chain([deleted(link(&["1", "2"]), AT - 1)]).collect(),
            one,
        ),
        (
            "over a third without a record",
            [
                both(),
                vec![record("account-link", "k", AT, json!({ "members": [key("3"), key("2")] })), link(&["1", "3"])],
            ]
            .concat(),
            one,
        ),
        ("valid from now", with(between(Some(NOON_MS), None)), one),
        ("not before", with(between(Some(NOON_MS + 1), None)), two),
        ("valid until after now", with(between(None, Some(NOON_MS + 1))), one),
        ("not to now", with(between(None, Some(NOON_MS))), two),
        ("an external key", vec![account("1", json!({})), account("2", twin("1"))], one),
        (
            "of a deleted record",
            vec![account("1", json!({})), account("2", twin("1")), deleted(account("2", json!({})), AT + 1)],
            one,
        ),
        ("no account where no record lives", vec![link(&["1", "2"])], &[]),
        (
            "named by the least identity, record or not",
            vec![account("2", json!({})), link(&["1", "2"])],
            one,
        ),
    ];
    for (sentence, records, expected) in table {
        assert_eq!(world(&records).accounts.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{sentence}");
    }
}

#[test]
fn a_person_s_accounts() {
    let at_account = |source_key: &str| json!({ "b2b": { "accountKey": key(source_key) } });
    let accounts = || vec![account("a", json!({})), account("b", json!({}))];
    let with = |records: Vec<SourceRecord>| [accounts(), records].concat();
    let table: Vec<(&str, Vec<SourceRecord>, &[&str])> = vec![
        ("by the record's key", with(vec![person("1", at_account("a"))]), &["a"]),
        (
            "of all its records, not the merged one",
            with(vec![
                person("1", at_account("a")),
                record(
                    "person",
                    "2",
                    AT + 1,
                    json!({ "b2b": { "accountKey": key("b") }, "extSourceSystemAudit": { "externalKey": key("1") } }),
                ),
            ]),
            &["a", "b"],
        ),
        ("by rows", with(vec![person("1", json!({})), relation("r", "1", "b")]), &["b"]),
        (
            "of rows of all its identities",
            with(vec![person("1", twin("0")), relation("r", "0", "b")]),
            &["b"],
        ),
        (
            "ended rows too",
            with(vec![
                person("1", json!({})),
                record(
                    "account-person",
                    "r",
                    AT,
                    json!({ "personKey": key("1"), "accountKey": key("a"), "isActive": false, "relationEndDate": "2020-01-01" }),
                ),
            ]),
            &["a"],
        ),
        (
            "not deleted rows",
            with(vec![person("1", json!({})), relation("r", "1", "b"), tombstone("account-person", "r", AT)]),
            &[],
        ),
        (
            "once each",
            with(vec![
                person("1", at_account("a")),
                relation("r", "1", "a"),
                relation("s", "1", "b"),
                link(&["a", "b"]),
            ]),
            &["a"],
        ),
        ("not without a live record", vec![person("1", at_account("a"))], &[]),
        (
            "nor with a deleted one, whose rows stay",
            with(vec![person("1", json!({})), relation("r", "1", "a"), deleted(account("a", json!({})), AT + 1)]),
            &[],
        ),
        (
            "which work again when it comes back",
            with(vec![
                person("1", json!({})),
                relation("r", "1", "a"),
                deleted(account("a", json!({})), AT + 1),
                record("account", "a", AT + 2, json!({})),
            ]),
            &["a"],
        ),
    ];
    for (sentence, records, expected) in table {
        let expected: Vec<String> = expected.iter().map(|id| format!("b2b_account:{id}")).collect();
        let persons = world(&records).persons;
        let accounts: Vec<&String> = persons.values().flat_map(|person| &person.accounts).collect();
        assert_eq!(accounts, expected.iter().collect::<Vec<_>>(), "{sentence}");
    }
}

#[test]
fn an_event_counts_once_per_person() {
    let ecids = || {
        person(
            "1",
            json!({ "identities": [{ "namespace": "ecid", "id": "e" }, { "namespace": "ecid", "id": "f" }] }),
        )
    };
    let version = |modified_at: i64, page: &str, identity: &str| {
        let mut record = visit("v", AT, page, &[identity]);
        record.value.as_mut().unwrap()["modifiedAt"] = json!(modified_at);
        record
    };
    let gone = |modified_at: i64, identity: &str| deleted(version(modified_at, "x", identity), modified_at);
    let table: Vec<(&str, Vec<SourceRecord>, &[&str])> = vec![
        ("repeated", vec![version(1, "a", "ecid:e"), version(1, "a", "ecid:e")], &["a"]),
        ("a later version replaces", vec![version(1, "a", "ecid:e"), version(2, "b", "ecid:e")], &["b"]),
        ("an older one does not", vec![version(2, "b", "ecid:e"), version(1, "a", "ecid:e")], &["b"]),
        (
            "of equal ones the later in the topic",
            vec![version(1, "a", "ecid:e"), version(1, "b", "ecid:e")],
            &["b"],
        ),
        ("deleted", vec![version(1, "a", "ecid:e"), gone(2, "ecid:e")], &[]),
        ("deleted before it came", vec![gone(2, "ecid:e"), version(1, "a", "ecid:e")], &[]),
        ("sent anew after that", vec![gone(2, "ecid:e"), version(3, "a", "ecid:e")], &["a"]),
        (
            "under two identities of one person",
            vec![version(2, "b", "ecid:e"), version(1, "a", "ecid:f")],
            &["b"],
        ),
        ("deleted under the other", vec![version(1, "a", "ecid:e"), gone(2, "ecid:f")], &[]),
        (
            "under identities of two persons",
            vec![version(1, "a", "ecid:e"), version(2, "b", "ecid:other")],
            &["a"],
        ),
        ("ahead of now it is not there yet", vec![visit("w", NOON_MS + 1, "a", &["ecid:e"])], &[]),
        ("at now it is", vec![visit("w", NOON_MS, "a", &["ecid:e"])], &["a"]),
        (
            "a person key is an identity too",
            vec![event("w", AT, &["b2b_person:1"], json!({ "web": { "webPageDetails": { "name": "a" } } }))],
            &["a"],
        ),
    ];
    for (sentence, mut records, expected) in table {
        records.push(ecids());
        for page in ["a", "b"] {
            let pql = format!(r#"xEvent[web.webPageDetails.name = "{page}"].count() = 1 and xEvent.count() = 1"#);
            let is_member = members(&records, Subject::Person, &pql).contains(&"b2b_person:1".to_owned());
            assert_eq!(is_member, expected.contains(&page), "{sentence}: {page}");
        }
    }
}

#[test]
fn relations_of_deals_campaigns_and_lists() {
    let deal = |source_key: &str, amount: i64| {
        record(
            "opportunity",
            source_key,
            AT,
            json!({ "accountKey": key("a"), "campaignKey": key("c"), "opportunityAmount": { "amount": amount } }),
        )
    };
    let role = |source_key: &str, deal: &str| {
        record(
            "opportunity-person",
            source_key,
            AT,
            json!({ "personKey": key("1"), "opportunityKey": key(deal), "personRole": "Buyer" }),
        )
    };
    let base = || {
        vec![
            person("1", json!({ "b2b": { "accountKey": key("a") } })),
            account(
                "a",
                json!({ "accountName": "Acme", "accountParentKey": key("p"), "relatedAccountKeys": [key("q"), key("q"), key("gone")] }),
            ),
            account("p", json!({ "accountName": "Parent" })),
            account("q", json!({ "accountName": "Other" })),
            deal("d", 10),
            // The same deal in another system.
            record(
                "opportunity",
                "e",
                AT - 1,
                json!({ "accountKey": key("a"), "opportunityAmount": { "amount": 7 }, "extSourceSystemAudit": { "externalKey": key("d") } }),
            ),
            role("r", "d"),
            role("s", "e"),
            role("t", "unknown"),
            record(
                "campaign",
                "c",
                AT,
                json!({ "campaignName": "C", "budgetedCost": { "amount": 1 }, "actualCost": { "amount": 2 } }),
            ),
            record(
                "campaign-member",
                "m",
                AT,
                json!({ "personKey": key("1"), "campaignKey": key("c"), "hasResponded": true }),
            ),
            record("marketing-list", "l", AT, json!({ "marketingListName": "L" })),
            record("marketing-list-member", "m", AT, json!({ "personKey": key("1"), "marketingListKey": key("l") })),
        ]
    };
    let persons: &[(&str, bool)] = &[
        ("accounts.opportunities.count() = 1", true),
        ("accounts.opportunities.opportunityAmount.amount.sum() = 10", true),
        ("opportunityRoles.count() = 3", true),
        ("opportunityRoles.opportunity.count() = 1", true),
        ("opportunityRoles.opportunity.opportunityAmount.amount.sum() = 10", true),
        (r#"exists r from opportunityRoles where r.opportunity.account.accountName = "Acme""#, true),
        (r#"exists r from opportunityRoles where r.opportunity.campaign.campaignName = "C""#, true),
        ("exists r from opportunityRoles where r.opportunity.isNull()", true),
        ("opportunityRoles.opportunity.roles.count() = 2", true),
        ("exists a from accounts where a.parent.accountName = \"Parent\"", true),
        ("accounts.related.count() = 1", true),
        (
            "exists a from accounts where a.parent.parent.isNull() and a.parent.accountName.isNotNull()",
            true,
        ),
        (
            "exists m from campaignMemberships where m.hasResponded and m.campaign.actualCost.amount > m.campaign.budgetedCost.amount",
            true,
        ),
        (
            r#"exists m from listMemberships where m.list.marketingListName = "L" and m.isDeleted = false"#,
            true,
        ),
        ("listMemberships.count() = 2", false),
    ];
    for (pql, expected) in persons {
        assert_eq!(
            members(&base(), Subject::Person, pql),
            if *expected { vec!["b2b_person:1"] } else { vec![] },
            "{pql}"
        );
    }
    let accounts: &[(&str, &[&str])] = &[
        ("opportunities.count() = 1", &["a"]),
        ("exists p from persons where p.opportunityRoles.count() = 3", &["a"]),
        ("parent.isNotNull()", &["a"]),
        ("persons.count() = 0", &["p", "q"]),
        ("exists o from opportunities where o.roles.count() = 2 and o.account = o.roles.personKey", &[]),
        (r#"not(accountName = "Acme") and accountName != "Parent""#, &["q"]),
    ];
    for (pql, expected) in accounts {
        let expected: Vec<String> = expected.iter().map(|id| format!("b2b_account:{id}")).collect();
        assert_eq!(members(&base(), Subject::Account, pql), expected, "{pql}");
    }
}

#[test]
fn a_visit_makes_a_person_of_someone_known_from_a_row() {
    let records = [account("a", json!({})), relation("r", "1", "a"), visit("v", AT, "p", &["b2b_person:1"])];
    assert_eq!(members(&records, Subject::Account, "persons.count() = 1"), ["b2b_account:a"]);
    assert_eq!(
        members(&records, Subject::Person, "accounts.count() = 1 and xEvent.count() = 1"),
        ["b2b_person:1"]
    );
}

#[test]
fn every_rule_has_members_in_some_random_world() {
    let rules = rules::all();
    let mut touched = std::collections::BTreeSet::new();
    for seed in 0..120 {
        let stream = random::stream(seed, 160);
        for length in [60, 100, 130, 160] {
            let now = stream.records[length - 1].timestamp_ms;
            let world = Oracle::evaluate(&stream.records[..length], &rules, now, &Config::default());
            touched.extend(world.members.into_iter().filter(|(_, members)| !members.is_empty()).map(|(rule, _)| rule));
        }
    }
    let untouched: Vec<&String> = rules.iter().map(|rule| &rule.name).filter(|name| !touched.contains(*name)).collect();
    assert!(untouched.is_empty(), "no member ever: {untouched:?}");
}

#[test]
fn what_is_sent_twice_counts_once() {
    let rules = rules::all();
    for seed in seeds!(0..20) {
        let stream = random::stream(seed, 80);
        let twice: Vec<SourceRecord> = stream.records.iter().flat_map(|record| [record.clone(), record.clone()]).collect();
        let evaluate = |records: &[SourceRecord]| Oracle::evaluate(records, &rules, stream.end_ms, &Config::default());
        assert_eq!(evaluate(&twice), evaluate(&stream.records), "seed {seed}");
    }
}

#[test]
fn keys_may_arrive_in_any_interleaving() {
    let rules = rules::all();
    for seed in seeds!(0..20) {
        let stream = random::stream(seed, 80);
        let mut sorted = stream.records.clone();
        // Stable: the order within a key is kept, and equal versions of an event come under equal
        // identities only.
        sorted.sort_by(|a, b| (&a.topic, &a.key).cmp(&(&b.topic, &b.key)));
        let (left, right) = (
            Oracle::evaluate(&stream.records, &rules, stream.end_ms, &Config::default()),
            Oracle::evaluate(&sorted, &rules, stream.end_ms, &Config::default()),
        );
        assert_eq!(left, right, "seed {seed}");
    }
}

#[test]
fn random_rules_are_true_of_some_and_false_of_others() {
    let rules: Vec<Rule> = (0..300).map(|seed| random_rules::rule(seed, &format!("r{seed}"))).collect();
    let (mut some, mut all) = (0, 0);
    let mut split = std::collections::BTreeSet::new();
    for seed in 0..6 {
        let stream = random::stream(seed, 120);
        let world = Oracle::evaluate(&stream.records, &rules, stream.end_ms, &Config::default());
        for rule in &rules {
            let population = if rule.subject == Subject::Person {
                world.persons.len()
            } else {
                world.accounts.len()
            };
            let members = world.members[&rule.name].len();
            some += usize::from(members > 0);
            all += usize::from(members == population);
            if members > 0 && members < population {
                split.insert(&rule.name);
            }
        }
    }
    assert!(
        split.len() > 100,
        "only {} of 300 rules ever distinguish subjects ({some} have members, {all} have all)",
        split.len()
    );
}

#[test]
fn a_stream_is_the_same_for_the_same_seed() {
    assert_eq!(random::stream(7, 50), random::stream(7, 50));
    assert_ne!(random::stream(7, 50), random::stream(8, 50));
    let stream = random::stream(7, 50);
    assert!(stream.records.is_sorted_by_key(|record| record.timestamp_ms));
    assert!(random::borders(&stream.records, stream.start_ms).iter().all(|at| *at >= stream.start_ms));
}

#[test]
fn page_views_have_the_public_name() {
    assert_eq!(visit("v", NOON_MS - HOUR_MS, "p", &["ecid:e"]).value.unwrap()["eventType"], json!(PAGE_VIEW));
}
