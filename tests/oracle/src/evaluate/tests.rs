//! The language, one line per case, with results worked out by hand.

use serde_json::{Value as Json, json};

use crate::worlds::{DAY_MS, HOUR_MS, NOON_MS, event, key, record};
use crate::{Config, Oracle, Rule, SourceRecord, Subject};

const AT: i64 = NOON_MS - 10 * DAY_MS;

fn rule(name: &str, time_zone: &str, pql: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        subject: Subject::Person,
        time_zone: time_zone.to_owned(),
        pql: pql.to_owned(),
    }
}

fn holds_at(records: &[SourceRecord], pql: &str, time_zone: &str, now: i64) -> bool {
    !Oracle::evaluate(records, &[rule("r", time_zone, pql)], now, &Config::default()).members["r"].is_empty()
}

fn person() -> SourceRecord {
    let fields = json!({
        "workEmail": { "address": "ann@townsend.com" },
        "person": { "name": { "firstName": "Ann" }, "birthDate": "1990-06-15" },
        "homeAddress": { "countryCode": "CA", "stateProvince": "ON" },
        "workAddress": { "stateProvince": "ON" },
        "b2b": { "personScore": 81, "isConverted": true, "accountKey": key("a") },
        "extendedWorkDetails": { "departments": ["HR", "Sales"] },
        "consents": { "marketing": { "email": { "val": "y" }, "call": { "val": "n" } } },
        "extra": { "tier": "5", "since": "2026-03-10", "tags": ["x", "y"], "flag": "true", "none": null },
    });
    record("person", "1", AT, fields)
}

fn visit(id: &str, at: i64, page: &str, items: Json) -> SourceRecord {
    event(
        id,
        at,
        &["b2b_person:1"],
        json!({ "eventType": "view", "web": { "webPageDetails": { "name": page } }, "productListItems": items }),
    )
}

/// One person with an account of two deals and a foreign one, and four events: a, then b and c at
/// once, then a again.
fn records() -> Vec<SourceRecord> {
    let deal = |source_key: &str, fields: Json| record("opportunity", source_key, AT, fields);
    vec![
        person(),
        record(
            "account",
            "a",
            AT,
            json!({ "accountName": "Acme", "accountOrganization": { "annualRevenue": { "amount": 5, "currencyCode": "USD" } } }),
        ),
        deal(
            "d",
            json!({ "accountKey": key("a"), "opportunityAmount": { "amount": 10 }, "isClosed": true, "isWon": true }),
        ),
        deal(
            "e",
            json!({ "accountKey": key("a"), "opportunityAmount": { "amount": 30, "currencyCode": "USD" }, "isClosed": false }),
        ),
        deal(
            "f",
            json!({ "accountKey": key("a"), "opportunityAmount": { "amount": 100, "currencyCode": "EUR" }, "isClosed": true, "isWon": false }),
        ),
        visit(
            "1",
            NOON_MS - 4 * HOUR_MS,
            "a",
            json!([{ "SKU": "PS", "quantity": 2 }, { "SKU": "LR", "quantity": 1 }]),
        ),
        visit("2", NOON_MS - 3 * HOUR_MS, "b", json!([{ "SKU": "LR", "quantity": 3 }])),
        visit("3", NOON_MS - 3 * HOUR_MS, "c", json!([])),
        visit("4", NOON_MS - 2 * HOUR_MS, "a", Json::Null),
    ]
}

fn check(table: &[(&str, bool)]) {
    for (pql, expected) in table {
        assert_eq!(holds_at(&records(), pql, "UTC", NOON_MS), *expected, "{pql}");
    }
}

#[test]
fn null_makes_comparisons_false() {
    check(&[
        ("b2b.personStatus = \"x\"", false),
        ("b2b.personStatus != \"x\"", false),
        ("not(b2b.personStatus = \"x\")", true),
        ("\"x\" != b2b.personStatus", false),
        ("b2b.personStatus in [\"x\"]", false),
        ("b2b.personStatus notIn [\"x\"]", false),
        ("\"x\" in extra.none", false),
        ("\"x\" notIn extra.none", false),
        ("extra.none < 1", false),
        ("extra.none >= 1", false),
        ("b2b.isMarketingSuspended", false),
        ("not(b2b.isMarketingSuspended)", true),
        ("b2b.personStatus.isNull()", true),
        ("b2b.personStatus.isNotNull()", false),
        ("homeAddress.isNotNull()", true),
        ("b2b.personStatus.startsWith(\"x\")", false),
        ("b2b.personStatus.doesNotStartWith(\"x\")", false),
        ("b2b.personStatus.notEqualTo(\"x\")", false),
        ("b2b.personScore / 0 > 1", false),
        ("(b2b.personScore / 0).isNull()", true),
        ("(b2b.personScore % 0).isNull()", true),
        ("extra.none + 1 = 1", false),
        ("productListItems.count() = 0", true),
    ]);
}

#[test]
fn values_compare_as_the_first_s_type() {
    check(&[
        ("b2b.personScore = 81", true),
        ("b2b.personScore = \"81\"", true),
        ("extra.tier = 5", true),
        ("extra.flag = true", true),
        ("b2b.isConverted = \"true\"", true),
        ("homeAddress.stateProvince = workAddress.stateProvince", true),
        ("$1.homeAddress.countryCode = \"CA\"", true),
        (
            "(P) => P.homeAddress.countryCode = \"CA\" and homeAddress.countryCode = \"CA\" and xEvent.count() = 4",
            true,
        ),
        (
            "b2b.personScore >= 81 and b2b.personScore <= 81 and not(b2b.personScore > 81) and not(b2b.personScore < 81)",
            true,
        ),
        ("b2b.personScore in [80, 81]", true),
        ("b2b.personScore notIn [80]", true),
        ("extra.tags = [\"y\", \"x\"]", true),
        ("extra.tags != [\"x\"]", true),
        ("isDeleted = false", true),
        (
            "b2b.personScore - 1 = 8 * 10 and 7 / 2 = 3.5 and 7 % 4 = 3 and 1 + 2 * 3 = 7 and -b2b.personScore < 0",
            true,
        ),
        ("if(b2b.personScore > 80, \"high\", \"low\") = \"high\"", true),
        ("let S = b2b.personScore in (S > 80 and S < 82)", true),
    ]);
}

#[test]
fn a_deal_reached_through_two_roles_counts_once() {
    let role = |id: &str, name: &str| {
        let fields = json!({ "personKey": key("1"), "opportunityKey": key("d"), "personRole": name });
        record("opportunity-person", id, AT, fields)
    };
    let mut records = records();
    records.extend([role("r1", "Champion"), role("r2", "Buyer")]);
    for (pql, expected) in [
        ("opportunityRoles.count() = 2 and opportunityRoles.opportunity.count() = 1", true),
        ("sum(select r.opportunity.opportunityAmount.amount from opportunityRoles r) = 10", true),
        (
            "sum(select r.opportunity.opportunityAmount.amount from opportunityRoles where r.personRole.isNotNull()) = 10",
            true,
        ),
        ("(sum r.opportunity.opportunityAmount.amount over r from opportunityRoles) = 10", true),
        ("opportunityRoles.sum(opportunity.opportunityAmount.amount) = 10", true),
        ("opportunityRoles.sum((r) => r.opportunity.opportunityAmount.amount) = 10", true),
        ("opportunityRoles.map((r) => r.opportunity.opportunityAmount.amount).sum() = 20", true),
        ("sum(select r.opportunity.opportunityAmount.amount * 2 from opportunityRoles r) = 40", true),
    ] {
        assert_eq!(holds_at(&records, pql, "UTC", NOON_MS), expected, "{pql}");
    }
}

#[test]
fn texts() {
    check(&[
        ("workEmail.address.startsWith(\"ann\")", true),
        ("workEmail.address.startsWith(\"ANN\")", false),
        ("workEmail.address.startsWith(\"ANN\", false)", true),
        ("workEmail.address.doesNotStartWith(\"bob\")", true),
        ("workEmail.address.endsWith(\".com\")", true),
        ("workEmail.address.doesNotEndWith(\".COM\", false)", false),
        ("workEmail.address.contains(\"@town\")", true),
        ("workEmail.address.doesNotContain(\"@town\")", false),
        ("person.name.firstName.equals(\"ann\", false)", true),
        ("person.name.firstName.equals(\"bob\", \"ANN\", false)", true),
        ("person.name.firstName.equals(\"bob\", \"ANN\")", false),
        ("person.name.firstName.notEqualTo(\"ann\")", true),
        ("workEmail.address like \"a__@%.com\"", true),
        ("workEmail.address like \"a_@%\"", false),
        ("person.name.firstName like \"%\"", true),
        ("workEmail.address.matches(\"(?i)TOWN\")", true),
        ("workEmail.address.matches(\"^town\")", false),
        (r#"workEmail.address.regexGroup("@(\\w+)", 1) = "townsend""#, true),
        (r#"workEmail.address.regexGroup("@(\\d+)", 1).isNull()"#, true),
    ]);
}

#[test]
fn lists_sets_and_maps() {
    check(&[
        ("extendedWorkDetails.departments.includes(\"HR\")", true),
        ("extendedWorkDetails.departments.includes([\"HR\", \"Sales\"])", true),
        ("extendedWorkDetails.departments.includes([\"HR\", \"IT\"])", false),
        ("xEvent.some(web.webPageDetails.name = \"a\") and xEvent.all(eventType = \"view\")", true),
        ("xEvent.forall(web.webPageDetails.name = \"a\")", false),
        (
            "xEvent.none(web.webPageDetails.name = \"z\") and xEvent.one(web.webPageDetails.name = \"b\")",
            true,
        ),
        ("xEvent.one((v) => v.web.webPageDetails.name = \"a\") or xEvent.none() or xEvent.one()", false),
        ("xEvent.some() and xEvent[eventType = \"z\"].none()", true),
        ("\"HR\" in extendedWorkDetails.departments", true),
        ("extendedWorkDetails.departments.intersects([\"HR\", \"IT\"])", true),
        ("extendedWorkDetails.departments.intersects([\"IT\"])", false),
        ("extendedWorkDetails.departments.intersection([\"HR\", \"IT\"]) = [\"HR\"]", true),
        ("extendedWorkDetails.departments.subsetOf([\"HR\", \"IT\", \"Sales\"])", true),
        ("extendedWorkDetails.departments.supersetOf([\"HR\"])", true),
        ("extendedWorkDetails.departments.supersetOf([\"HR\", \"IT\"])", false),
        ("xEvent.web.webPageDetails.name.count() = 4", true),
        ("xEvent.web.webPageDetails.name.distinct().count() = 3", true),
        ("xEvent.productListItems.SKU.count() = 3", true),
        ("xEvent.productListItems[quantity > 1].count() = 2", true),
        ("xEvent.groupBy(web.webPageDetails.name).get(\"a\").count() = 2", true),
        (
            "xEvent.groupBy(web.webPageDetails.name).map((K, G) => mapEntry(K, G.count())).get(\"a\") = 2",
            true,
        ),
        ("xEvent.groupBy(web.webPageDetails.name).keys().count() = 3", true),
        ("consents.marketing.keys() = [\"call\", \"email\"]", true),
        ("consents.marketing.get(\"email\").val = \"y\" and consents.marketing.email.val = \"y\"", true),
        ("consents.marketing.values().val = [\"n\", \"y\"]", true),
        ("xEvent.map(web.webPageDetails.name) = [\"a\", \"b\", \"c\"]", true),
        ("xEvent.filter(web.webPageDetails.name = \"a\").count() = 2", true),
        ("xEvent.filter((e) => e.web.webPageDetails.name = \"a\").count() = 2", true),
        ("xEvent.exists(web.webPageDetails.name = \"b\")", true),
        (
            "xEvent.topN(timestamp, 1).head().web.webPageDetails.name = \"a\" and xEvent.topN(timestamp, 1).head()._id = \"4\"",
            true,
        ),
        // Of two at once the first in order of time, then id.
        ("xEvent.topN(timestamp, 2).filter(_id = \"2\").count() = 1", true),
        ("xEvent.bottomN(timestamp, 1).head()._id = \"1\"", true),
        ("xEvent.topN(timestamp, 9).count() = 4", true),
        ("accounts.opportunities.topN(opportunityAmount.amount, 9).count() = 2", true),
        ("xEvent[web.webPageDetails.name = \"none\"].head().isNull()", true),
    ]);
}

#[test]
fn aggregates_quantifiers_and_filters() {
    check(&[
        ("xEvent.count() = 4", true),
        ("xEvent[eventType = \"none\"].count() = 0", true),
        ("xEvent[eventType = \"none\"].productListItems.quantity.sum() = 0", true),
        ("xEvent[eventType = \"none\"].productListItems.quantity.average().isNull()", true),
        ("xEvent[eventType = \"none\"].productListItems.quantity.max().isNull()", true),
        ("xEvent.productListItems.sum(quantity) = 6", true),
        ("xEvent.productListItems.average(quantity) = 2", true),
        ("xEvent.productListItems.quantity.min() = 1 and max(xEvent.productListItems.quantity) = 3", true),
        ("sum(select i.quantity from xEvent.productListItems where i.SKU = \"LR\") = 4", true),
        ("(sum i.quantity over i from xEvent.productListItems where i.SKU = \"LR\") = 4", true),
        (
            "count(select I.quantity from xEvent E, I from E.productListItems where I.SKU = \"LR\") = 2",
            true,
        ),
        ("select e from xEvent where e.web.webPageDetails.name = \"a\"", true),
        ("select e from xEvent where e.web.webPageDetails.name = \"none\"", false),
        ("xEvent[productListItems[SKU = \"PS\"]]", true),
        ("xEvent[productListItems[SKU = \"PS\"]].count() = 1", true),
        (
            "xEvent[productListItems[SKU = \"PS\" and ^.web.webPageDetails.name = \"a\" and ^^.homeAddress.countryCode = \"CA\"]].count() = 1",
            true,
        ),
        (
            "xEvent[productListItems[SKU = \"PS\" and ^^.homeAddress.countryCode = \"US\"]].count() = 0",
            true,
        ),
        (
            "exists e from xEvent where (e.web.webPageDetails.name = \"a\"), i from e.productListItems where i.SKU = \"PS\"",
            true,
        ),
        (
            "exists e from xEvent where (e.web.webPageDetails.name = \"b\"), i from e.productListItems where i.SKU = \"PS\"",
            false,
        ),
        ("exists e from xEvent : e.web.webPageDetails.name = \"c\"", true),
        ("forall e from xEvent where e.eventType = \"view\"", true),
        ("forall e from xEvent where e.web.webPageDetails.name = \"a\"", false),
        ("forall e from xEvent[eventType = \"none\"] where false", true),
        ("none e from xEvent where e.web.webPageDetails.name = \"d\"", true),
        ("one e from xEvent where e.web.webPageDetails.name = \"b\"", true),
        ("one e from xEvent where e.web.webPageDetails.name = \"a\"", false),
        ("some e from xEvent where e.web.webPageDetails.name = \"b\"", true),
        ("all e from xEvent where e.eventType = \"view\"", true),
        // `where` reaches past `or`.
        ("exists e from xEvent where e.eventType = \"none\" or true", true),
        ("(exists e from xEvent where e.eventType = \"none\") or b2b.personScore = 81", true),
    ]);
}

#[test]
fn amounts_in_other_currencies_are_null() {
    check(&[
        ("accounts.opportunities.count() = 3", true),
        ("accounts.opportunities.opportunityAmount.amount.sum() = 40", true),
        ("accounts.opportunities[isClosed].opportunityAmount.amount.sum() = 10", true),
        ("exists o from accounts.opportunities where o.opportunityAmount.amount > 50", false),
        (
            "exists o from accounts.opportunities where o.opportunityAmount.currencyCode = \"EUR\" and o.opportunityAmount.amount.isNull()",
            true,
        ),
        ("accounts.accountOrganization.annualRevenue.amount.sum() = 5", true),
    ]);
}

#[test]
fn segments_of_segments() {
    let rules = [
        rule("high", "UTC", "b2b.personScore > 80"),
        rule("visited", "UTC", "exists e from xEvent"),
        rule("both", "UTC", "inSegment(\"high\") and inSegment(\"visited\")"),
        rule("unknown", "UTC", "inSegment(\"no-such\")"),
        rule("not-unknown", "UTC", "not(inSegment(\"no-such\"))"),
    ];
    let world = Oracle::evaluate(&records(), &rules, NOON_MS, &Config::default());
    let members: Vec<&str> = world
        .members
        .iter()
        .filter(|(_, members)| !members.is_empty())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(members, ["both", "high", "not-unknown", "visited"]);
}

#[test]
fn windows_end_at_an_instant() {
    let visited = crate::calendar::parse_instant("2026-01-31T10:00:00Z").unwrap();
    let records = [visit("1", visited, "a", Json::Null)];
    // The instant of the visit, windows, first instant at which each holds and first at which it no
    // longer does ("" never).
    let table = [
        ("<= 3 days before now", "2026-01-31T10:00:00Z", "2026-02-03T10:00:00.001Z"),
        ("< 3 days before now", "2026-01-31T10:00:00Z", "2026-02-03T10:00:00Z"),
        ("> 3 days before now", "2026-02-03T10:00:00.001Z", ""),
        (">= 3 days before now", "2026-02-03T10:00:00Z", ""),
        ("<= 1 month before now", "2026-01-31T10:00:00Z", "2026-02-28T10:00:00.001Z"),
        ("<= 1 day before today", "2026-02-01", "2026-02-02"),
        ("= 3 days before now", "2026-02-03", "2026-02-04"),
        ("= 3 hours before now", "2026-01-31T13:00:00Z", "2026-01-31T14:00:00Z"),
        ("today", "2026-01-31T10:00:00Z", "2026-02-01"),
        ("yesterday", "2026-02-01", "2026-02-02"),
        ("this week", "2026-01-31T10:00:00Z", "2026-02-02"),
        ("last week", "2026-02-02", "2026-02-09"),
        ("last month", "2026-02-01", "2026-03-01"),
        ("this year", "2026-01-31T10:00:00Z", "2027-01-01"),
        // Events are kept for 400 days.
        ("last year", "2027-01-01", "2027-03-07T10:00:00Z"),
        ("before today", "2026-02-01", ""),
        ("before yesterday", "2026-02-02", ""),
        ("after yesterday", "2026-01-31T10:00:00Z", "2026-02-01"),
        ("after last week", "2026-01-31T10:00:00Z", "2026-02-02"),
        ("between yesterday and today", "2026-01-31T10:00:00Z", "2026-02-02"),
        ("between yesterday and now", "2026-01-31T10:00:00Z", "2026-02-02"),
        ("between date(2026, 1, 31) and now", "2026-01-31T10:00:00Z", ""),
        ("on date(2026, 1, 31)", "2026-01-31T10:00:00Z", ""),
        ("before now", "2026-01-31T10:00:00.001Z", ""),
    ];
    for (window, from, to) in table {
        let pql = format!("exists e from xEvent where e.timestamp occurs {window}");
        let at = |text: &str| crate::calendar::parse_instant(text).unwrap();
        assert!(!holds_at(&records, &pql, "UTC", at(from) - 1), "{window} before");
        assert!(holds_at(&records, &pql, "UTC", at(from)), "{window} from");
        if !to.is_empty() {
            assert!(holds_at(&records, &pql, "UTC", at(to) - 1), "{window} to");
            assert!(!holds_at(&records, &pql, "UTC", at(to)), "{window} after");
        }
    }
}

#[test]
fn windows_ahead() {
    let closes = |date: &str| {
        [
            person(),
            record("account", "a", AT, json!({})),
            record("opportunity", "d", AT, json!({ "accountKey": key("a"), "expectedCloseDate": date })),
        ]
    };
    // Now is 2026-03-18T12:00Z.
    let table = [
        ("<= 2 days after now", "2026-03-18", false),
        ("<= 2 days after now", "2026-03-19", true),
        ("<= 2 days after now", "2026-03-20", true),
        ("<= 2 days after now", "2026-03-21", false),
        ("<= 2 days from now", "2026-03-20", true),
        ("> 2 days after now", "2026-03-20", false),
        ("> 2 days after now", "2026-03-21", true),
        (">= 2 days after today", "2026-03-20", true),
        ("after now", "2026-03-18", false),
        ("after today", "2026-03-18", false),
        ("after today", "2026-03-19", true),
        ("from now", "2026-03-19", true),
        ("next month", "2026-04-30", true),
        ("next month", "2026-05-01", false),
        ("tomorrow", "2026-03-19", true),
        ("= 1 month after now", "2026-04-01", true),
    ];
    for (window, date, expected) in table {
        let pql = format!("exists o from accounts.opportunities where o.expectedCloseDate occurs {window}");
        assert_eq!(holds_at(&closes(date), &pql, "UTC", NOON_MS), expected, "{date} {window}");
    }
}

#[test]
fn words_of_time_follow_the_rule_s_zone() {
    let at = |text: &str| crate::calendar::parse_instant(text).unwrap();
    let records = [visit("1", at("2026-03-28T23:30:00Z"), "a", Json::Null)];
    let pql = "exists e from xEvent where e.timestamp occurs today";
    // In Berlin it is half past midnight of the 29th, a day of 23 hours; in New York the 28th.
    let table = [
        ("UTC", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T22:00:00Z"),
        ("America/New_York", "2026-03-29T04:00:00Z"),
    ];
    for (zone, end) in table {
        assert!(holds_at(&records, pql, zone, at(end) - 1), "{zone}");
        assert!(!holds_at(&records, pql, zone, at(end)), "{zone}");
    }
}

#[test]
fn parts_of_dates() {
    check(&[
        (
            "person.birthDate.getMonth() = 6 and person.birthDate.getYear() in [1990] and person.birthDate.getDayOfMonth() <= 15",
            true,
        ),
        ("currentMonth() = 3 and currentYear() = 2026 and currentDayOfMonth() = 18", true),
        ("extra.since occurs <= 9 days before now", true),
        ("extra.since occurs <= 8 days before now", false),
        ("person.birthDate = date(1990, 6, 15)", true),
        ("person.birthDate < now", true),
    ]);
}

#[test]
fn chains() {
    let name = |page: &str| format!("web.webPageDetails.name = \"{page}\"");
    let (a, b, c, d) = (name("a"), name("b"), name("c"), name("d"));
    // Order of events: a, then b and c at one instant, then a.
    let table = [
        (format!("X: WHAT({a})"), true),
        (format!("X: WHAT({d})"), false),
        (format!("X: WHAT({a}), Y: WHAT({b})"), true),
        (format!("X: WHAT({b}), Y: WHAT({a})"), true),
        (format!("X: WHAT({a}), Y: WHAT({b}), Z: WHAT({a})"), true),
        // Strictly in order: what happens at once is no sequence.
        (format!("X: WHAT({b}), Y: WHAT({c})"), false),
        (format!("X: WHAT({c}), Y: WHAT({b})"), false),
        (format!("X: WHAT({a}) COUNT(2)"), true),
        (format!("X: WHAT({a}) COUNT(3)"), false),
        (format!("X: WHAT({a}) COUNT(2), Y: WHAT({b})"), false),
        ("X: WHAT(eventType = \"view\") COUNT(3), Y: WHAT(eventType = \"view\")".to_owned(), true),
        (
            "X: WHAT(eventType = \"view\") COUNT(2), Y: WHAT(eventType = \"view\") COUNT(2)".to_owned(),
            false,
        ),
        (
            "X: WHAT(eventType = \"view\"), Y: WHAT(eventType = \"view\") COUNT(2), Z: WHAT(eventType = \"view\")".to_owned(),
            true,
        ),
        (format!("X: WHAT({a}) WHEN(<= 2 hours before now)"), true),
        (format!("X: WHAT({b}) WHEN(<= 2 hours before now)"), false),
        (format!("X: WHAT({b}) WHEN(today)"), true),
        (format!("X: WHAT({a}), N: not WHAT({d}), Y: WHAT({a})"), true),
        (format!("X: WHAT({a}), N: not WHAT({b}), Y: WHAT({a})"), false),
        // Other events may be chosen so that nothing lies between.
        (format!("X: WHAT({a}), N: not WHAT({c}), Y: WHAT({b})"), true),
        (format!("X: WHAT({b}), N: not WHAT({a})"), false),
        (format!("X: WHAT({a}), N: not WHAT({a})"), true),
        (format!("X: WHAT({a}), N: not WHAT({a}), Y: WHAT({b})"), true),
        (format!("N: not WHAT({a}), X: WHAT({b})"), false),
        (format!("N: not WHAT({b}), X: WHAT({a})"), true),
        (format!("N: not WHAT({d})"), true),
        (format!("N: not WHAT({a})"), false),
        (format!("X: WHAT({a}), Y: WHAT({b}) WHERE(Y.eventType = X.eventType)"), true),
        (
            format!("X: WHAT({a}), Y: WHAT({b}) WHERE(Y.web.webPageDetails.name = X.web.webPageDetails.name)"),
            false,
        ),
        (
            "X: WHAT(eventType = \"view\"), Y: WHAT(eventType = \"view\") WHERE(Y.web.webPageDetails.name = X.web.webPageDetails.name)".to_owned(),
            true,
        ),
        (format!("X: WHAT({a}), Y: WHAT({b}) WHEN(<= 1 hour after X)"), true),
        (format!("X: WHAT({a}), Y: WHAT({b}) WHEN(< 1 hour after X)"), false),
    ];
    for (steps, expected) in table {
        assert_eq!(
            holds_at(&records(), &format!("chain(xEvent, timestamp, [{steps}])"), "UTC", NOON_MS),
            expected,
            "{steps}"
        );
    }
    check(&[
        (r#"not(chain(xEvent, timestamp, [A: WHAT(eventType = "homePageView")]))"#, true),
        (
            r#"homeAddress.countryCode = "CA" and CHAIN(xEvent, timestamp, [C0: WHAT(eventType.equals("VIEW", false)) WHEN(<= 24 hours before now)])"#,
            true,
        ),
    ]);
}
