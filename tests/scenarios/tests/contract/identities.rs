//! Identities: which records become one thing, which do not, and how much is too much.

use millrace_model::Timestamp;
use millrace_oracle::worlds::{DAY_MS, NOON_MS, event, key, record, tombstone};
use millrace_oracle::{SourceRecord, Subject};
use serde_json::{Value as Json, json};

use super::stage::{Stage, check, check_of};

fn person(source_key: &str, fields: Json) -> SourceRecord {
    record("person", source_key, NOON_MS, fields)
}

fn email(address: &str) -> Json {
    json!({ "workEmail": { "address": address } })
}

fn twin_of(source_key: &str) -> Json {
    json!({ "extSourceSystemAudit": { "externalKey": key(source_key) } })
}

#[test]
fn identities_compare_normalised() {
    let listed = |namespace: &str, id: &str| json!({ "identities": [{ "namespace": namespace, "id": id }] });
    let one: &[(&str, &[&str])] = &[("true", &["b2b_person:1@m.M"])];
    let two: &[(&str, &[&str])] = &[("true", &["b2b_person:1@m.M", "b2b_person:2@m.M"])];
    let table = [
        ("e-mails in any spelling", email("Ann@Acme.com"), email("  ann@ACME.com "), one),
        ("an e-mail among identities", email("Ann@Acme.com"), listed("Email", " ann@acme.com"), one),
        ("namespaces in any case", listed("ECID", "e1"), listed("ecid", " e1 "), one),
        (
            "namespaces of the deployment's own",
            listed("crm_login", "ann"),
            listed("CRM_Login", "ann"),
            one,
        ),
        ("other values keep their case", listed("ecid", "E1"), listed("ecid", "e1"), two),
        ("other namespaces are other identities", listed("ecid", "ann"), listed("crm_login", "ann"), two),
        ("blank is nothing", email(" "), email(" "), two),
        ("by source key", json!({}), listed("B2B_Person", "1@m.M"), one),
        ("by external key", json!({}), twin_of(" 1@m.M "), one),
    ];
    for (about, a, b, expected) in table {
        check(about, &[person("1@m.M", a), person("2@m.M", b)], expected);
    }
}

#[test]
fn an_external_key_unites_things_and_not_rows() {
    let me: &[&str] = &["b2b_person:0@c.S"];
    let records = [
        person(
            "1@m.M",
            json!({ "extSourceSystemAudit": { "externalKey": key("0@c.S") }, "b2b": { "accountKey": key("a@m.M") } }),
        ),
        record("account", "a@c.S", NOON_MS, json!({ "accountName": "Acme" })),
        record("account", "a@m.M", NOON_MS, twin_of("a@c.S")),
        record(
            "opportunity",
            "o@c.S",
            NOON_MS,
            json!({ "accountKey": key("a@c.S"), "campaignKey": key("c@c.S") }),
        ),
        record(
            "opportunity",
            "o@m.M",
            NOON_MS,
            json!({ "accountKey": key("a@m.M"), "extSourceSystemAudit": { "externalKey": key("o@c.S") } }),
        ),
        record("campaign", "c@c.S", NOON_MS, json!({ "campaignName": "Spring" })),
        record(
            "campaign",
            "c@m.M",
            NOON_MS,
            json!({ "campaignType": "Webinar", "extSourceSystemAudit": { "externalKey": key("c@c.S") } }),
        ),
        record("marketing-list", "l@c.S", NOON_MS, json!({ "marketingListName": "L" })),
        record("marketing-list", "l@m.M", NOON_MS, twin_of("l@c.S")),
        record(
            "marketing-list-member",
            "x@m.M",
            NOON_MS,
            json!({ "marketingListKey": key("l@m.M"), "personKey": key("1@m.M") }),
        ),
        // On rows it is a field like any other.
        record(
            "account-person",
            "r@m.M",
            NOON_MS,
            json!({ "accountKey": key("a@m.M"), "personKey": key("1@m.M"), "extSourceSystemAudit": { "externalKey": key("r@c.S") } }),
        ),
        record(
            "account-person",
            "r@c.S",
            NOON_MS,
            json!({ "accountKey": key("a@c.S"), "personKey": key("0@c.S") }),
        ),
    ];
    let cases: &[(&str, &[&str])] = &[
        ("accounts.count() = 1", me),
        ("accounts.opportunities.count() = 1", me),
        (
            r#"exists o from accounts.opportunities where o.campaign.campaignName = "Spring" and o.campaign.campaignType = "Webinar""#,
            me,
        ),
        (r#"exists m from listMemberships where m.list.marketingListName = "L""#, me),
        ("accountRelations.count() = 2", me),
    ];
    check("persons, accounts, deals, campaigns, lists", &records, cases);
}

#[test]
fn links_unite_accounts_while_they_hold() {
    let accounts = ["a@1.S", "b@2.S", "c@3.S"].map(|source_key| record("account", source_key, NOON_MS, json!({ "accountName": source_key })));
    let members = |members: &[&str]| json!({ "members": members.iter().map(|member| key(member)).collect::<Vec<_>>() });
    let link = |keys: &[&str]| record("account-link", "k@mdm.MDM", NOON_MS, members(keys));
    let linked = |members: &[&str]| [&accounts[..], &[link(members)]].concat();
    let of = |ids: &'static [&'static str]| [("true", ids)];
    check_of(
        Subject::Account,
        "two of three",
        &linked(&["b@2.S", "c@3.S"]),
        &of(&["b2b_account:a@1.S", "b2b_account:b@2.S"]),
    );
    check_of(Subject::Account, "three", &linked(&["c@3.S", "b@2.S", "a@1.S"]), &of(&["b2b_account:a@1.S"]));
    let second = record("account-link", "j@mdm.MDM", NOON_MS, members(&["x@9.S", "c@3.S"]));
    let chained = [&linked(&["b@2.S", "x@9.S"])[..], &[second]].concat();
    check_of(
        Subject::Account,
        "over one without a record",
        &chained,
        &of(&["b2b_account:a@1.S", "b2b_account:b@2.S"]),
    );

    let mut stage = Stage::about_accounts(&["true"]);
    accounts[..2].iter().cloned().for_each(|record| stage.send(record));
    let dated = json!({ "members": [key("a@1.S"), key("b@2.S")], "validFrom": "2026-03-19", "validTo": "2026-03-20T00:00:00Z" });
    stage.send(record("account-link", "k@mdm.MDM", NOON_MS, dated.clone()));
    let (apart, one): (&[&str], &[&str]) = (&["b2b_account:a@1.S", "b2b_account:b@2.S"], &["b2b_account:a@1.S"]);
    stage.expect("before it is valid", apart);
    let midnight = NOON_MS + DAY_MS / 2;
    for (at, expected) in [(midnight - 1, apart), (midnight, one), (midnight + DAY_MS - 1, one), (midnight + DAY_MS, apart)] {
        stage.cluster.advance(Timestamp(at));
        stage.expect(&format!("at {at}"), expected);
    }
    let mut longer = dated;
    longer["validTo"] = Json::Null;
    stage.send(record("account-link", "k@mdm.MDM", NOON_MS + 1, longer));
    stage.expect("valid again", one);
    stage.send(tombstone("account-link", "k@mdm.MDM", NOON_MS));
    stage.expect("withdrawn", apart);
}

/// Fifty identities make a person; an address that would exceed that unites nobody, whoever arrived
/// first.
#[test]
fn a_person_has_fifty_identities() {
    let source_key = |number: usize| format!("{number:02}@m.M");
    let mut stage = Stage::new(&["true"]);
    for number in (0..51).rev() {
        stage.cluster.source(&person(&source_key(number), email("info@acme.com")));
    }
    stage.cluster.settle();
    let members = |stage: &Stage| stage.cluster.members(&Stage::segment()).len();
    assert_eq!(members(&stage), 51, "strangers stay apart");
    stage.cluster.source(&tombstone("person", &source_key(7), NOON_MS));
    stage.cluster.settle();
    assert_eq!(members(&stage), 50, "fifty and their address are still too many");
    stage.cluster.source(&tombstone("person", &source_key(0), NOON_MS));
    stage.cluster.settle();
    assert_eq!(members(&stage), 1, "forty-nine and their address fit");
    stage.cluster.source(&person(&source_key(7), email("info@acme.com")));
    stage.cluster.settle();
    assert_eq!(members(&stage), 50);
    assert!(stage.cluster.dead_letters.is_empty());
    stage.cluster.check_derived();
}

#[test]
fn an_account_has_a_thousand_identities() {
    let mut stage = Stage::about_accounts(&["true"]);
    let source_key = |number: usize| format!("{number:04}@c.S");
    for number in [0, 999, 1_000] {
        stage.cluster.source(&record("account", &source_key(number), NOON_MS, json!({})));
    }
    let members: Vec<Json> = (0..=1_000).map(|number| key(&source_key(number))).collect();
    stage
        .cluster
        .source(&record("account-link", "k@mdm.MDM", NOON_MS, json!({ "members": members })));
    stage.cluster.settle();
    let members: Vec<String> = stage.cluster.members(&Stage::segment()).into_iter().collect();
    assert_eq!(members, ["b2b_account:0000@c.S", "b2b_account:1000@c.S"]);
}

/// Another order of the same facts, another way to the same persons.
#[test]
fn chains_of_evidence() {
    let records = [
        person("3@m.M", email("ann@acme.com")),
        event("login", NOON_MS - 1, &["email:ann@acme.com", "ecid:e1"], json!({ "eventType": "login" })),
        person(
            "2@m.M",
            json!({ "identities": [{ "namespace": "ECID", "id": "e1" }, { "namespace": "phone", "id": "+1" }] }),
        ),
        person("1@c.S", json!({ "identities": [{ "namespace": "Phone", "id": " +1" }] })),
        event("v", NOON_MS - 1, &["phone:+1"], json!({ "eventType": "call" })),
    ];
    check("one person at the end of the chain", &records, &[("xEvent.count() = 2", &["b2b_person:1@c.S"])]);
}
