//! Recipes about deals: named roles on them, and everybody at the company.

use millrace_oracle::SourceRecord;
use millrace_test_recipes::cases::{Table, made, of};
use serde_json::{Value as Json, json};

use super::{account, deal, decides, employee, money, person, role, role_on};

#[test]
fn decision_maker() {
    let (deal, row) = (deal(json!({})), role(decides()));
    Table::of(1, "++", vec![person(json!({})), deal.clone(), row.clone()])
        .line("another role", "--", [role(json!({ "personRole": "Influencer" }))])
        .line("no role named", "--", [role(json!({}))])
        .line("the row is somebody else's", "--", [role_on("r", "q", "o", decides())])
        .line("a deal that was never delivered", "+-", [role_on("r", "p", "nowhere", decides())])
        .line(
            "a second row with another role",
            "++",
            [role_on("r2", "p", "o", json!({ "personRole": "Influencer" }))],
        )
        .without("no row", "--", &row)
        .without("no deal", "+-", &deal)
        .run();
}

#[test]
fn role_on_large_deal() {
    let (large, row) = (deal(json!({ "opportunityAmount": money(1_000_001.0) })), role(json!({})));
    Table::of(2, "++", vec![employee(json!({})), account(json!({})), large.clone(), row.clone()])
        .line("a million exactly", "--", [deal(json!({ "opportunityAmount": money(1_000_000.0) }))])
        .line(
            "a little more than a million",
            "++",
            [deal(json!({ "opportunityAmount": money(1_000_000.01) }))],
        )
        .line("no amount", "--", [deal(json!({}))])
        .line(
            "a currency without a rate",
            "--",
            [deal(json!({ "opportunityAmount": { "amount": 5_000_000.0, "currencyCode": "EUR" } }))],
        )
        .line(
            "a role on another deal",
            "-+",
            [
                role_on("r", "p", "small", json!({})),
                made("opportunity", "small", json!({ "opportunityAmount": money(5.0) })),
            ],
        )
        .line(
            "two deals that are large together",
            "--",
            [
                deal(json!({ "opportunityAmount": money(600_000.0) })),
                made("opportunity", "o2", json!({ "accountKey": of("a"), "opportunityAmount": money(600_000.0) })),
                role_on("r2", "p", "o2", json!({})),
            ],
        )
        .line("at another company", "+-", [person(json!({}))])
        .line(
            "the deal of another company",
            "+-",
            [made(
                "opportunity",
                "o",
                json!({ "accountKey": of("b"), "opportunityAmount": money(1_000_001.0) }),
            )],
        )
        .without("no row", "-+", &row)
        .without("no deal", "--", &large)
        .run();
}

#[test]
fn role_on_canadian_deal() {
    let canada = account(json!({ "accountBillingAddress": { "country": "Canada" } }));
    let (deal, row) = (deal(json!({})), role(json!({})));
    Table::of(3, "++", vec![person(json!({})), canada.clone(), deal.clone(), row.clone()])
        .line("another country", "--", [account(json!({ "accountBillingAddress": { "country": "USA" } }))])
        .line("no country", "--", [account(json!({}))])
        .line(
            "shipped to Canada",
            "--",
            [account(json!({ "accountShippingAddress": { "country": "Canada" } }))],
        )
        .line("spelt otherwise", "-+", [account(json!({ "accountBillingAddress": { "country": "CA" } }))])
        .line("as a code", "-+", [account(json!({ "accountBillingAddress": { "countryCode": "CA" } }))])
        .line(
            "a deal of another account",
            "--",
            [made("opportunity", "o", json!({ "accountKey": of("b") })), made("account", "b", json!({}))],
        )
        .line("a deal of no account", "--", [made("opportunity", "o", json!({}))])
        .line(
            "a person in Canada",
            "--",
            [account(json!({})), person(json!({ "homeAddress": { "country": "Canada" } }))],
        )
        .line(
            "at a Canadian account, without a role",
            "--",
            [role_on("r", "q", "o", json!({})), employee(json!({}))],
        )
        .without("no account", "--", &canada)
        .without("no deal", "--", &deal)
        .without("no row", "--", &row)
        .run();
}

/// The deal of recipes 5 and 8.
fn open(id: &str, account: &str, fields: Json) -> SourceRecord {
    let mut all = json!({ "accountKey": of(account), "opportunityAmount": money(1_000_000.0), "isClosed": false });
    all.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    made("opportunity", id, all)
}

fn in_departments(departments: &[&str]) -> Json {
    json!({ "extendedWorkDetails": { "departments": departments } })
}

#[test]
fn hr_with_open_deal() {
    let (hr, customer, large) = (in_departments(&["IT", "HR"]), account(json!({})), open("o", "a", json!({})));
    Table::of(5, "++", vec![employee(hr.clone()), customer.clone(), large.clone()])
        .line("another department", "--", [employee(in_departments(&["IT"]))])
        .line("no department", "--", [employee(json!({}))])
        .line("a little less", "--", [open("o", "a", json!({ "opportunityAmount": money(999_999.99) }))])
        .line("no amount", "--", [open("o", "a", json!({ "opportunityAmount": null }))])
        .line("closed", "--", [open("o", "a", json!({ "isClosed": true }))])
        .line("nobody said whether it is closed", "+-", [open("o", "a", json!({ "isClosed": null }))])
        .line(
            "one large and one open deal",
            "--",
            [
                open("o", "a", json!({ "isClosed": true })),
                open("o2", "a", json!({ "opportunityAmount": money(5.0) })),
            ],
        )
        .line(
            "the deal of another account",
            "--",
            [open("o", "b", json!({})), made("account", "b", json!({}))],
        )
        .line("at another account", "--", [person(hr.clone())])
        .line(
            "at the account by a row",
            "++",
            [person(hr), made("account-person", "ap", json!({ "personKey": of("p"), "accountKey": of("a") }))],
        )
        .without("no account", "--", &customer)
        .without("no deal", "--", &large)
        .run();
}

#[test]
fn hr_with_open_deal_around() {
    let hr = in_departments(&["HR"]);
    let related = |ids: &[&str]| account(json!({ "relatedAccountKeys": ids.iter().map(|id| of(id)).collect::<Vec<_>>() }));
    let other = |fields: Json| made("account", "b", fields);
    let large = open("o", "b", json!({}));
    Table::of(8, "+", vec![employee(hr.clone()), related(&["b"]), other(json!({})), large.clone()])
        .line("another department", "-", [employee(in_departments(&["IT"]))])
        .line("a little less", "-", [open("o", "b", json!({ "opportunityAmount": money(999_999.99) }))])
        .line("closed", "-", [open("o", "b", json!({ "isClosed": true }))])
        .line(
            "one large and one open deal",
            "-",
            [
                open("o", "b", json!({ "isClosed": true })),
                open("o2", "b", json!({ "opportunityAmount": money(5.0) })),
            ],
        )
        .line("not related", "-", [related(&[])])
        .line("related to another", "-", [related(&["c"]), made("account", "c", json!({}))])
        .line(
            "listed by the other account alone",
            "-",
            [related(&[]), other(json!({ "relatedAccountKeys": [of("a")] }))],
        )
        .line(
            "two steps away",
            "-",
            [related(&["c"]), made("account", "c", json!({ "relatedAccountKeys": [of("b")] }))],
        )
        .line("the account's own deal", "+", [related(&[]), open("o", "a", json!({}))])
        .line(
            "the account's own deal, closed",
            "-",
            [related(&[]), open("o", "a", json!({ "isClosed": true }))],
        )
        .line("at another account", "-", [person(hr)])
        .without("no account", "-", &related(&["b"]))
        .without("no related account", "-", &other(json!({})))
        .without("no deal", "-", &large)
        .run();
}
