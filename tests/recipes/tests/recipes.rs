//! The recipes of the documents, each with every condition broken alone and every way out and in again.

use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS, event, visit};
use millrace_test_recipes::cases::{Table, made, of};
use millrace_test_recipes::recipes;
use serde_json::{Value as Json, json};

/// Monday of the week of `NOON_MS`, a Wednesday.
const MONDAY_MS: i64 = NOON_MS - 2 * DAY_MS - 12 * HOUR_MS;

fn person(fields: Json) -> SourceRecord {
    made("person", "p", fields)
}

/// A person at the account.
fn employee(mut fields: Json) -> SourceRecord {
    fields["b2b"]["accountKey"] = of("a");
    person(fields)
}

fn account(fields: Json) -> SourceRecord {
    made("account", "a", fields)
}

/// A deal of the account.
fn deal(mut fields: Json) -> SourceRecord {
    fields["accountKey"] = of("a");
    made("opportunity", "o", fields)
}

fn role(fields: Json) -> SourceRecord {
    role_on("r", "p", "o", fields)
}

fn role_on(id: &str, person: &str, deal: &str, mut fields: Json) -> SourceRecord {
    fields["personKey"] = of(person);
    fields["opportunityKey"] = of(deal);
    made("opportunity-person", id, fields)
}

fn decides() -> Json {
    json!({ "personRole": "Decision Maker" })
}

fn money(amount: f64) -> Json {
    json!({ "amount": amount })
}

/// The person's visit of a page, so long ago.
fn visited(id: &str, page: &str, ago_ms: i64) -> SourceRecord {
    visited_by("p", id, page, NOON_MS - ago_ms)
}

fn visited_by(person: &str, id: &str, page: &str, at: i64) -> SourceRecord {
    SourceRecord {
        timestamp_ms: NOON_MS,
        ..visit(id, at, page, &[&format!("b2b_person:{person}@crm.Salesforce")])
    }
}

/// An event about a page that is no visit of it.
fn clicked(id: &str, page: &str) -> SourceRecord {
    let fields = json!({ "eventType": "web.webinteraction.linkClicks", "web": { "webPageDetails": { "name": page } } });
    SourceRecord {
        timestamp_ms: NOON_MS,
        ..event(id, NOON_MS - HOUR_MS, &["b2b_person:p@crm.Salesforce"], fields)
    }
}

#[test]
fn every_recipe_is_there() {
    let recipes = recipes();
    assert_eq!(recipes.iter().map(|recipe| recipe.number).collect::<Vec<_>>(), (1..=17).collect::<Vec<_>>());
    let names: std::collections::BTreeSet<_> = recipes.iter().map(|recipe| &recipe.name).collect();
    assert_eq!(names.len(), 17, "every recipe has a name of its own");
}

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

#[test]
fn finance_decision_maker_at_pricing() {
    let finance = account(json!({ "accountOrganization": { "industry": "Finance" } }));
    let (deal, row, seen) = (deal(json!({})), role(decides()), visited("v", "Pricing", HOUR_MS));
    Table::of(4, "+", vec![person(json!({})), finance.clone(), deal.clone(), row.clone(), seen.clone()])
        .line("another role", "-", [role(json!({ "personRole": "Influencer" }))])
        .line("another industry", "-", [account(json!({ "accountOrganization": { "industry": "Retail" } }))])
        .line("no industry", "-", [account(json!({}))])
        .line(
            "role and industry on two rows",
            "-",
            [
                role(json!({ "personRole": "Influencer" })),
                role_on("r2", "p", "elsewhere", decides()),
                made("opportunity", "elsewhere", json!({ "accountKey": of("b") })),
                made("account", "b", json!({ "accountOrganization": { "industry": "Retail" } })),
            ],
        )
        .line("another page", "-", [visited("v", "Home", HOUR_MS)])
        .line("no visit, a click", "-", [clicked("v", "Pricing")])
        .line("three days ago", "+", [visited("v", "Pricing", 3 * DAY_MS)])
        .line("a millisecond earlier", "-", [visited("v", "Pricing", 3 * DAY_MS + 1)])
        .line("in a minute", "-", [visited("v", "Pricing", -MINUTE_MS)])
        .line(
            "somebody else's visit",
            "-",
            [visited_by("q", "v2", "Pricing", NOON_MS - HOUR_MS), visited("v", "Home", HOUR_MS)],
        )
        .line("an older visit as well", "+", [visited("v2", "Pricing", 9 * DAY_MS)])
        .without("no account", "-", &finance)
        .without("no deal", "-", &deal)
        .without("no row", "-", &row)
        .without("no visit", "-", &seen)
        .at(NOON_MS - HOUR_MS + 3 * DAY_MS, "+")
        .at(NOON_MS - HOUR_MS + 3 * DAY_MS + 1, "-")
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
fn vice_president_at_pricing() {
    let titled = |title: &str| employee(json!({ "extendedWorkDetails": { "jobTitle": title } }));
    let worth = |amount: f64| account(json!({ "accountOrganization": { "annualRevenue": money(amount) } }));
    // February 26th at noon, March 8th, an hour ago.
    let (first, second, third) = (
        visited("v1", "Pricing", 20 * DAY_MS),
        visited("v2", "Pricing", 10 * DAY_MS),
        visited("v3", "Pricing", HOUR_MS),
    );
    let all = vec![titled("Vice President"), worth(1e8), first.clone(), second, third];
    Table::of(6, "+-", all)
        .line("another title", "--", [titled("President")])
        .line("a longer title", "--", [titled("Senior Vice President")])
        .line("no title", "--", [employee(json!({}))])
        .line("a smaller account", "--", [worth(99_999_999.99)])
        .line("no revenue", "--", [account(json!({}))])
        .line(
            "two small accounts",
            "--",
            [
                worth(6e7),
                made("account", "b", json!({ "accountOrganization": { "annualRevenue": money(6e7) } })),
                made("account-person", "ap", json!({ "personKey": of("p"), "accountKey": of("b") })),
            ],
        )
        .line(
            "at another account",
            "--",
            [person(json!({ "extendedWorkDetails": { "jobTitle": "Vice President" } }))],
        )
        .line("the third is of another page", "--", [visited("v3", "Home", HOUR_MS)])
        .line("the third is a click", "--", [clicked("v3", "Pricing")])
        .line("the first is a month old", "+-", [visited("v1", "Pricing", 28 * DAY_MS)])
        .line("the first is older", "--", [visited("v1", "Pricing", 28 * DAY_MS + 1)])
        .line(
            "all late in February",
            "++",
            [
                visited("v1", "Pricing", 19 * DAY_MS),
                visited("v2", "Pricing", 20 * DAY_MS),
                visited("v3", "Pricing", 21 * DAY_MS),
            ],
        )
        .line(
            "all early in February",
            "-+",
            [
                visited("v1", "Pricing", 40 * DAY_MS),
                visited("v2", "Pricing", 41 * DAY_MS),
                visited("v3", "Pricing", 42 * DAY_MS),
            ],
        )
        .line("a fourth", "+-", [visited("v4", "Pricing", 2 * HOUR_MS)])
        .without("no account", "--", &worth(1e8))
        .without("two visits", "--", &first)
        .at(NOON_MS + 8 * DAY_MS, "+-")
        .at(NOON_MS + 8 * DAY_MS + 1, "--")
        .run();
}

#[test]
fn lost_decision_maker_at_pricing() {
    lost_decision_maker(7, ["++", "+-"], 3 * DAY_MS);
}

#[test]
fn lost_decision_maker_today() {
    lost_decision_maker(14, ["++", "++"], DAY_MS);
}

/// Both rules hold or none does, but where nobody said whether the deal was won.
fn lost_decision_maker(number: usize, [both, unsaid]: [&'static str; 2], window_ms: i64) {
    let (lost, row, seen) = (
        deal(json!({ "isClosed": true, "isWon": false })),
        role(decides()),
        visited("v", "Pricing", HOUR_MS),
    );
    Table::of(number, both, vec![person(json!({})), lost.clone(), row.clone(), seen.clone()])
        .line("another role", "--", [role(json!({ "personRole": "Influencer" }))])
        .line("won", "--", [deal(json!({ "isClosed": true, "isWon": true }))])
        .line("open", "--", [deal(json!({ "isClosed": false, "isWon": false }))])
        .line("nobody said whether it is closed", "--", [deal(json!({ "isWon": false }))])
        .line("nobody said whether it was won", unsaid, [deal(json!({ "isClosed": true }))])
        .line(
            "decides on an open deal, has a role on a lost one",
            "--",
            [
                role(json!({ "personRole": "Influencer" })),
                role_on("r2", "p", "o2", decides()),
                made("opportunity", "o2", json!({ "isClosed": false })),
            ],
        )
        .line(
            "closed is one deal, not won another",
            "--",
            [
                deal(json!({ "isClosed": true, "isWon": true })),
                role_on("r2", "p", "o2", decides()),
                made("opportunity", "o2", json!({ "isClosed": false, "isWon": false })),
            ],
        )
        .line("another page", "--", [visited("v", "Home", HOUR_MS)])
        .line("no visit, a click", "--", [clicked("v", "Pricing")])
        .line("just in time", both, [visited("v", "Pricing", window_ms)])
        .line("a millisecond earlier", "--", [visited("v", "Pricing", window_ms + 1)])
        .line("in a minute", "--", [visited("v", "Pricing", -MINUTE_MS)])
        .without("no deal", "--", &lost)
        .without("no row", "--", &row)
        .without("no visit", "--", &seen)
        .at(NOON_MS - HOUR_MS + window_ms, both)
        .at(NOON_MS - HOUR_MS + window_ms + 1, "--")
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

#[test]
fn busy_on_pricing() {
    let at_account = |id: &str, address: &str| made("person", id, json!({ "workEmail": { "address": address }, "b2b": { "accountKey": of("a") } }));
    let third = at_account("s", "s@acme.example");
    let seen = visited_by("s", "v3", "Pricing", NOON_MS - HOUR_MS);
    let base = vec![
        account(json!({})),
        at_account("p", "p@acme.example"),
        at_account("q", "q@acme.example"),
        third.clone(),
        visited_by("p", "v1", "Pricing", MONDAY_MS),
        visited_by("q", "v2", "Pricing", NOON_MS - DAY_MS),
        seen.clone(),
    ];
    Table::of(16, "++", base)
        .line(
            "three visits by two",
            "--",
            [
                visited_by("s", "v3", "Home", NOON_MS - HOUR_MS),
                visited_by("q", "v4", "Pricing", NOON_MS - HOUR_MS),
            ],
        )
        .line("a fourth visit", "++", [visited_by("q", "v4", "Pricing", NOON_MS - HOUR_MS)])
        .line("one on Sunday", "-+", [visited_by("p", "v1", "Pricing", MONDAY_MS - 1)])
        .line("one seven days ago", "-+", [visited_by("p", "v1", "Pricing", NOON_MS - 7 * DAY_MS)])
        .line("one earlier still", "--", [visited_by("p", "v1", "Pricing", NOON_MS - 7 * DAY_MS - 1)])
        .line("one on another page", "--", [visited_by("s", "v3", "Home", NOON_MS - HOUR_MS)])
        .line("one in a minute", "--", [visited_by("s", "v3", "Pricing", NOON_MS + MINUTE_MS)])
        .line(
            "one of another account",
            "--",
            [
                made("person", "s", json!({ "b2b": { "accountKey": of("b") } })),
                made("account", "b", json!({})),
            ],
        )
        .line("two are one", "--", [at_account("s", "q@acme.example")])
        .without("two people", "--", &third)
        .without("two visits", "--", &seen)
        .without("no account", "--", &account(json!({})))
        .at(MONDAY_MS + 7 * DAY_MS - 1, "++")
        .at(MONDAY_MS + 7 * DAY_MS, "-+")
        .at(MONDAY_MS + 7 * DAY_MS + 1, "--")
        .run();
}

#[test]
fn new_product_upsell() {
    let sold = |id: &str, account: &str, amount: f64, closed: bool, won: bool| {
        made(
            "opportunity",
            id,
            json!({ "accountKey": of(account), "opportunityAmount": money(amount), "isClosed": closed, "isWon": won }),
        )
    };
    let other = made("account", "b", json!({}));
    let row = made("account-person", "ap", json!({ "personKey": of("p"), "accountKey": of("b") }));
    let (first, second) = (sold("o", "a", 600_000.0, true, true), sold("o2", "b", 400_001.0, true, true));
    let seen = visited("v", "New product", HOUR_MS);
    let base = vec![
        employee(json!({})),
        account(json!({})),
        other.clone(),
        row.clone(),
        first.clone(),
        second.clone(),
        seen.clone(),
    ];
    Table::of(17, "+-", base)
        .line("a million exactly", "--", [sold("o2", "b", 400_000.0, true, true)])
        .line("one is lost", "--", [sold("o2", "b", 400_001.0, true, false)])
        .line("one is open", "--", [sold("o2", "b", 400_001.0, false, true)])
        .line(
            "one has no amount",
            "--",
            [made("opportunity", "o2", json!({ "accountKey": of("b"), "isClosed": true, "isWon": true }))],
        )
        .line(
            "one is another account's",
            "--",
            [sold("o2", "c", 400_001.0, true, true), made("account", "c", json!({}))],
        )
        .line("a lost one as well", "+-", [sold("o3", "a", 9e6, true, false)])
        .line("roles on both", "++", [role_on("r1", "p", "o", json!({})), role_on("r2", "p", "o2", json!({}))])
        .line(
            "two roles on one",
            "+-",
            [role_on("r1", "p", "o", json!({})), role_on("r2", "p", "o", json!({}))],
        )
        .line(
            "both accounts are one",
            "+-",
            [made("account-link", "link", json!({ "members": [of("a"), of("b")] }))],
        )
        .line("another page", "--", [visited("v", "Pricing", HOUR_MS)])
        .line("no visit, a click", "--", [clicked("v", "New product")])
        .line("a month ago", "+-", [visited("v", "New product", 28 * DAY_MS)])
        .line("a millisecond earlier", "--", [visited("v", "New product", 28 * DAY_MS + 1)])
        .without("not at the other account", "--", &row)
        .without("no other account", "--", &other)
        .without("one deal", "--", &second)
        .without("no visit", "--", &seen)
        .at(NOON_MS - HOUR_MS + 31 * DAY_MS, "+-")
        .at(NOON_MS - HOUR_MS + 31 * DAY_MS + 1, "--")
        .run();
}
