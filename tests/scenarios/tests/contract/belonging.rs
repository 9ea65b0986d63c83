//! Relations: accounts of persons, deals and roles, what a deletion removes, and what it does not.

use millrace_oracle::worlds::{NOON_MS, event, key, record};
use millrace_oracle::{SourceRecord, Subject};
use serde_json::{Value as Json, json};

use super::stage::{Stage, check, check_of};

const A: &str = "a@c.S";
const B: &str = "b@c.S";
const ME: &[&str] = &["b2b_person:1@m.M"];
const NOBODY: &[&str] = &[];

fn account(source_key: &str, name: &str) -> SourceRecord {
    record("account", source_key, NOON_MS, json!({ "accountName": name }))
}

fn person(fields: Json) -> SourceRecord {
    record("person", "1@m.M", NOON_MS, fields)
}

fn relation(fields: Json) -> SourceRecord {
    let mut fields = fields;
    fields["personKey"] = key("1@m.M");
    record("account-person", "r@c.S", NOON_MS, fields)
}

fn deal(source_key: &str, account: &str, amount: i64) -> SourceRecord {
    record(
        "opportunity",
        source_key,
        NOON_MS,
        json!({ "accountKey": key(account), "opportunityAmount": { "amount": amount } }),
    )
}

fn gone(record: &SourceRecord) -> SourceRecord {
    let mut gone = record.clone();
    let own = millrace_oracle::worlds::key_field(&record.topic);
    gone.value = Some(json!({ own: key(&record.key), "isDeleted": true, "modifiedAt": NOON_MS + 1 }));
    gone
}

#[test]
fn accounts_of_all_records_and_of_all_rows() {
    let records = [
        account(A, "Acme"),
        account(B, "Bodea"),
        person(json!({ "workEmail": { "address": "x@y.z" }, "b2b": { "accountKey": key(A) } })),
        record(
            "person",
            "2@c.S",
            NOON_MS + 5,
            json!({ "workEmail": { "address": "X@y.z" }, "b2b": { "accountKey": key(A) } }),
        ),
        relation(json!({ "accountKey": key(B), "isActive": false, "relationEndDate": "2020-01-01" })),
    ];
    let cases: &[(&str, &[&str])] = &[
        ("accounts.count() = 2", ME),
        (r#"exists a from accounts where a.accountName = "Bodea""#, ME),
        ("exists r from accountRelations where r.isActive", NOBODY),
        (
            "exists r from accountRelations where not(r.isActive) and r.relationEndDate occurs before now",
            ME,
        ),
    ];
    check("two accounts, one by an ended row", &records, cases);
}

#[test]
fn an_account_reached_twice_counts_once() {
    let link = record("account-link", "k@mdm.MDM", NOON_MS, json!({ "members": [key(A), key(B)] }));
    let twin = record("account", "9@m.M", NOON_MS, json!({ "extSourceSystemAudit": { "externalKey": key(A) } }));
    let records = [
        account(A, "Acme"),
        account(B, "Bodea"),
        twin,
        link,
        person(json!({ "b2b": { "accountKey": key("9@m.M") } })),
        relation(json!({ "accountKey": key(B) })),
        deal("o@c.S", A, 7),
        deal("p@c.S", B, 5),
    ];
    let cases: &[(&str, &[&str])] = &[
        ("accounts.count() = 1", ME),
        ("sum(select o.opportunityAmount.amount from accounts.opportunities) = 12", ME),
    ];
    check("one company under three keys", &records, cases);
}

#[test]
fn a_deleted_thing_takes_nobody_else_s_records_with_it() {
    let (acme, me) = (account(A, "Acme"), person(json!({ "b2b": { "accountKey": key(A) } })));
    let rest = [relation(json!({ "accountKey": key(A), "personRole": "Buyer" })), deal("o@c.S", A, 7)];
    let role = record(
        "opportunity-person",
        "or@c.S",
        NOON_MS,
        json!({ "personKey": key("1@m.M"), "opportunityKey": key("o@c.S"), "personRole": "Champion" }),
    );
    let with = |more: &[SourceRecord]| [&[acme.clone(), me.clone(), role.clone()], &rest[..], more].concat();
    let through_account = r#"exists r from accountRelations where r.account.accountName = "Acme""#;
    let cases: &[(&str, &[&str])] = &[
        ("accounts.opportunities.count() = 1", ME),
        (through_account, ME),
        ("opportunityRoles.opportunity.count() = 1", ME),
    ];
    check("everything lives", &with(&[]), cases);
    let cases: &[(&str, &[&str])] = &[
        ("accounts.count() = 0 and accounts.opportunities.count() = 0", ME),
        (
            r#"exists r from accountRelations where r.personRole = "Buyer" and r.account.accountName.isNull()"#,
            ME,
        ),
        ("exists r from opportunityRoles where r.opportunity.opportunityAmount.amount = 7", ME),
        ("exists r from opportunityRoles where r.opportunity.account.accountName.isNotNull()", NOBODY),
    ];
    check("the account is deleted", &with(&[gone(&acme)]), cases);
    let cases: &[(&str, &[&str])] = &[
        (r#"exists r from opportunityRoles where r.personRole = "Champion""#, ME),
        ("opportunityRoles.opportunity.count() = 0", ME),
        ("accounts.opportunities.count() = 0", ME),
    ];
    check("the deal is deleted", &with(&[gone(&rest[1])]), cases);
    check("the person is deleted, and rows make nobody", &with(&[gone(&me)]), &[("true", NOBODY)]);
    let acme_id: &[&str] = &["b2b_account:a@c.S"];
    let cases: &[(&str, &[&str])] = &[
        ("persons.count() = 0 and opportunities.count() = 1", acme_id),
        ("opportunities.roles.count() = 1", acme_id),
    ];
    check_of(Subject::Account, "nor does the account have it", &with(&[gone(&me)]), cases);
}

#[test]
fn things_come_back_with_all_that_rests_on_them() {
    let mut stage = Stage::new(&[r#"exists a from accounts where a.accountName = "Acme" and a.opportunities.count() = 1"#]);
    let acme = account(A, "Acme");
    for (record, expected) in [
        (relation(json!({ "accountKey": key(A) })), NOBODY),
        (deal("o@c.S", A, 7), NOBODY),
        (person(json!({})), NOBODY),
        (acme.clone(), ME),
        (gone(&acme), NOBODY),
        (record("account", A, NOON_MS + 2, json!({ "accountName": "Acme" })), ME),
        (gone(&relation(json!({}))), NOBODY),
    ] {
        stage.send(record);
        stage.expect("a path needs every step of it", expected);
    }
}

#[test]
fn events_make_a_person_and_rows_do_not() {
    let row = relation(json!({ "accountKey": key(A), "isActive": true }));
    check("a row alone", &[row.clone(), account(A, "Acme")], &[("true", NOBODY)]);
    let visit = event("v", NOON_MS, &["b2b_person:1@m.M"], json!({ "eventType": "x" }));
    let cases: &[(&str, &[&str])] = &[
        (r#"exists a from accounts where a.accountName = "Acme""#, ME),
        ("accountRelations.count() = 1", ME),
    ];
    check("a row and an event", &[row.clone(), account(A, "Acme"), visit.clone()], cases);
    let acme: &[&str] = &["b2b_account:a@c.S"];
    check_of(
        Subject::Account,
        "and the account has the person",
        &[row, account(A, "Acme"), visit],
        &[("persons.count() = 1", acme)],
    );
}

#[test]
fn rows_whose_ends_come_later_or_change() {
    let records = [
        record(
            "campaign-member",
            "cm@m.M",
            NOON_MS,
            json!({ "campaignKey": key("c@m.M"), "personKey": key("1@m.M"), "memberStatus": "Registered" }),
        ),
        record(
            "campaign",
            "c@m.M",
            NOON_MS,
            json!({ "campaignName": "Spring", "budgetedCost": { "amount": 1 }, "actualCost": { "amount": 2 } }),
        ),
        record(
            "marketing-list-member",
            "lm@m.M",
            NOON_MS,
            json!({ "marketingListKey": key("l@m.M"), "personKey": key("1@m.M") }),
        ),
        record("marketing-list", "l@m.M", NOON_MS, json!({ "marketingListName": "Old" })),
        record("marketing-list", "l@m.M", NOON_MS + 1, json!({ "marketingListName": "New" })),
        person(json!({})),
    ];
    let cases: &[(&str, &[&str])] = &[
        (
            "exists m from campaignMemberships where m.campaign.actualCost.amount > m.campaign.budgetedCost.amount",
            ME,
        ),
        (r#"exists m from listMemberships where m.list.marketingListName = "New""#, ME),
    ];
    check("campaign and list", &records, cases);
    let row = |at, person: &str| {
        record(
            "account-person",
            "r@c.S",
            NOON_MS + at,
            json!({ "accountKey": key(A), "personKey": key(person) }),
        )
    };
    let handed_on = [
        account(A, "Acme"),
        person(json!({})),
        record("person", "2@m.M", NOON_MS, json!({})),
        row(0, "1@m.M"),
        row(1, "2@m.M"),
    ];
    check("a row that changes hands", &handed_on, &[("accounts.count() = 1", &["b2b_person:2@m.M"])]);
}
