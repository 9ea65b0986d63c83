//! Recipes about the records of a person or an account and things one step away.

use millrace_test_recipes::cases::{Table, made, of};
use serde_json::{Value as Json, json};

use super::{account, employee, money, person};

#[test]
fn high_score() {
    let scored = |score: Json| person(json!({ "b2b": { "personScore": score } }));
    Table::of(9, "+", vec![scored(json!(81))])
        .line("80 exactly", "-", [scored(json!(80))])
        .line("a little more", "+", [scored(json!(80.5))])
        .line("less", "-", [scored(json!(-3))])
        .line("no score", "-", [person(json!({}))])
        .without("no person", "-", &scored(json!(81)))
        .run();
}

#[test]
fn rich_parent() {
    let child = |parent: &str| account(json!({ "accountParentKey": of(parent) }));
    let parent = |amount: f64| made("account", "b", json!({ "accountOrganization": { "annualRevenue": money(amount) } }));
    Table::of(10, "++", vec![employee(json!({})), child("b"), parent(100_000_001.0)])
        .line("a hundred million exactly", "--", [parent(1e8)])
        .line("no revenue", "--", [made("account", "b", json!({}))])
        .line(
            "a currency without a rate",
            "--",
            [made(
                "account",
                "b",
                json!({ "accountOrganization": { "annualRevenue": { "amount": 2e8, "currencyCode": "EUR" } } }),
            )],
        )
        .line("no parent", "--", [account(json!({}))])
        .line(
            "rich itself",
            "--",
            [account(json!({ "accountOrganization": { "annualRevenue": money(2e8) } }))],
        )
        .line("another parent", "--", [child("c"), made("account", "c", json!({}))])
        .line(
            "a rich grandparent",
            "--",
            [child("c"), made("account", "c", json!({ "accountParentKey": of("b") }))],
        )
        .line("nobody works there", "+-", [person(json!({}))])
        .without("the parent is gone", "--", &parent(100_000_001.0))
        .without("the account is gone", "--", &child("b"))
        .run();
}

#[test]
fn manager_at_acme() {
    let row = |account: &str, role: &str, active: Json| {
        made(
            "account-person",
            "ap",
            json!({ "personKey": of("p"), "accountKey": of(account), "personRole": role, "isActive": active }),
        )
    };
    let acme = account(json!({ "accountName": "Acme" }));
    let beta = made("account", "b", json!({ "accountName": "Beta" }));
    let whole = row("a", "Manager", json!(true));
    let second = |role: &str, active: bool| {
        made(
            "account-person",
            "ap2",
            json!({ "personKey": of("p"), "accountKey": of("b"), "personRole": role, "isActive": active }),
        )
    };
    Table::of(11, "++", vec![person(json!({})), acme.clone(), whole.clone()])
        .line("another role", "--", [row("a", "Intern", json!(true))])
        .line("another account", "--", [row("b", "Manager", json!(true)), beta.clone()])
        .line("renamed", "--", [account(json!({ "accountName": "ACME" }))])
        .line("no longer active", "--", [row("a", "Manager", json!(false))])
        .line("nobody said whether active", "--", [row("a", "Manager", json!(null))])
        .line(
            "former manager, active elsewhere",
            "-+",
            [row("a", "Manager", json!(false)), second("Intern", true), beta.clone()],
        )
        .line(
            "manager elsewhere, intern here",
            "-+",
            [row("a", "Intern", json!(true)), second("Manager", true), beta.clone()],
        )
        .line("another row as well", "++", [second("Intern", false), beta])
        .without("no account", "--", &acme)
        .without("no row", "--", &whole)
        .run();
}

#[test]
fn over_budget_campaign() {
    let campaign = |cost: Json, budget: Json| made("campaign", "c", json!({ "actualCost": cost, "budgetedCost": budget }));
    let member = |campaign: &str| made("campaign-member", "m", json!({ "personKey": of("p"), "campaignKey": of(campaign) }));
    Table::of(12, "+", vec![person(json!({})), campaign(money(120.0), money(100.0)), member("c")])
        .line("as much as planned", "-", [campaign(money(100.0), money(100.0))])
        .line("less", "-", [campaign(money(99.0), money(100.0))])
        .line("no budget", "-", [campaign(money(120.0), json!(null))])
        .line("no cost", "-", [campaign(json!(null), money(100.0))])
        .line(
            "a currency without a rate",
            "-",
            [campaign(json!({ "amount": 120.0, "currencyCode": "EUR" }), money(100.0))],
        )
        .line(
            "cost and budget of two campaigns",
            "-",
            [
                campaign(money(120.0), json!(null)),
                made("campaign", "d", json!({ "budgetedCost": money(100.0) })),
                made("campaign-member", "m2", json!({ "personKey": of("p"), "campaignKey": of("d") })),
            ],
        )
        .line("targeted by another", "-", [member("d"), made("campaign", "d", json!({}))])
        .line(
            "another campaign as well",
            "+",
            [made("campaign-member", "m2", json!({ "personKey": of("p"), "campaignKey": of("d") }))],
        )
        .without("no campaign", "-", &campaign(money(120.0), money(100.0)))
        .without("no row", "-", &member("c"))
        .run();
}

#[test]
fn anniversary() {
    let list = |name: &str| made("marketing-list", "l", json!({ "marketingListName": name }));
    let member = |person: &str, list: &str| made("marketing-list-member", "m", json!({ "personKey": of(person), "marketingListKey": of(list) }));
    Table::of(13, "+", vec![person(json!({})), list("Anniversary users"), member("p", "l")])
        .line("renamed", "-", [list("Anniversary")])
        .line("no name", "-", [made("marketing-list", "l", json!({}))])
        .line("somebody else's row", "-", [member("q", "l")])
        .line(
            "on another list",
            "-",
            [member("p", "k"), made("marketing-list", "k", json!({ "marketingListName": "Newsletter" }))],
        )
        .without("off the list", "-", &member("p", "l"))
        .without("no list", "-", &list("Anniversary users"))
        .run();
}

#[test]
fn no_chiefs() {
    let titled = |title: &str| json!({ "extendedWorkDetails": { "jobTitle": title } });
    let second = |account: &str, title: &str| {
        let mut fields = titled(title);
        fields["b2b"]["accountKey"] = of(account);
        made("person", "q", fields)
    };
    let member = employee(titled("CEO"));
    Table::of(15, "++", vec![account(json!({})), member.clone()])
        .line("becomes COO", "--", [employee(titled("COO"))])
        .line("becomes CMO", "--", [employee(titled("CMO"))])
        .line("a CMO comes", "--", [second("a", "CMO")])
        .line(
            "a CMO comes by a row",
            "--",
            [
                made("person", "q", titled("CMO")),
                made("account-person", "ap", json!({ "personKey": of("q"), "accountKey": of("a") })),
            ],
        )
        .line("a COO elsewhere", "++", [second("b", "COO"), made("account", "b", json!({}))])
        .line("no title", "++", [employee(json!({}))])
        .line("in small letters", "++", [employee(titled("coo"))])
        .line("a COO who left", "+-", [person(titled("COO"))])
        .without("nobody is known", "+-", &member)
        .without("no account", "--", &account(json!({})))
        .run();
}
