//! The recipes of the documents, each with every condition broken alone and every way out and in
//! again.

use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{DAY_MS, HOUR_MS, NOON_MS, event, visit};
use millrace_test_recipes::cases::{made, of};
use millrace_test_recipes::recipes;
use serde_json::{Value as Json, json};

mod facts;
mod roles;
mod visits;

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

/// The person's visit of a page, this long ago.
fn visited(id: &str, page: &str, ago_ms: i64) -> SourceRecord {
    visited_by("p", id, page, NOON_MS - ago_ms)
}

fn visited_by(person: &str, id: &str, page: &str, at: i64) -> SourceRecord {
    SourceRecord {
        timestamp_ms: NOON_MS,
        ..visit(id, at, page, &[&format!("b2b_person:{person}@crm.Salesforce")])
    }
}

/// An event about a page that is not a visit.
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
