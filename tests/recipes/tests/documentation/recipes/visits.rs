//! Recipes with visits: sliding windows and fixed ones.

use millrace_oracle::worlds::{DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS};
use millrace_test_recipes::cases::{Table, made, of};
use serde_json::json;

use super::{MONDAY_MS, account, clicked, deal, decides, employee, money, person, role, role_on, visited, visited_by};

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

/// Both rules hold or neither does, except where no record says whether the deal was won.
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
