//! Evaluates one rule over a few facts, without a shard: `cargo run -p millrace-examples --bin rule`.
//!
//! A rule is compiled against the schema of source records and evaluated over a [`World`], which answers what the rule asks. The answer says until when
//! it holds if nothing but time passes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use millrace_model::{DAY_MS, Relation, Schema, SubjectKind, Text, Timestamp, Value};
use millrace_segment::view::Timed;
use millrace_segment::{Link, Settings, World, WorldEvent, compile, parse_definitions};
use serde_json::json;

const DEFINITION: &str = r#"
kind: Segment
metadata: { name: hot-buyers }
spec:
  subject: person
  status: published
  timeZone: UTC
  pql: >
    sum(select o.opportunityAmount.amount from accounts.opportunities where o.isWon) > 1000
    and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews" and v.timestamp occurs <= 7 days before now
"#;

/// One person, one account, one deal and one visit.
struct Facts {
    things: BTreeMap<(SubjectKind, String), Value>,
    links: BTreeMap<(String, Relation), Vec<Link>>,
    visits: Vec<WorldEvent>,
}

impl Facts {
    fn new(visited_at: Timestamp) -> Facts {
        let thing = |id: &'static str| Link {
            id: Text::new(id),
            row: Value::Null,
            target: Some(Text::new(id)),
        };
        let deal = json!({ "isWon": true, "opportunityAmount": { "amount": 1500, "currencyCode": "USD" } });
        let visit = json!({ "eventType": "web.webpagedetails.pageViews" });
        Facts {
            things: BTreeMap::from([
                ((SubjectKind::Person, "ann".to_owned()), Value::from_json(&json!({}))),
                ((SubjectKind::Account, "acme".to_owned()), Value::from_json(&json!({ "accountName": "Acme" }))),
                ((SubjectKind::Opportunity, "deal".to_owned()), Value::from_json(&deal)),
            ]),
            links: BTreeMap::from([
                (("ann".to_owned(), Relation::Accounts), vec![thing("acme")]),
                (("acme".to_owned(), Relation::Opportunities), vec![thing("deal")]),
            ]),
            visits: vec![WorldEvent {
                at: visited_at,
                id: Text::new("v1"),
                value: Value::from_json(&visit),
            }],
        }
    }
}

impl World for Facts {
    fn attributes(&self, kind: SubjectKind, id: &str) -> &Value {
        self.things.get(&(kind, id.to_owned())).unwrap_or(&Value::Null)
    }

    fn related(&self, _: SubjectKind, id: &str, relation: Relation) -> &[Link] {
        self.links.get(&(id.to_owned(), relation)).map_or(&[], Vec::as_slice)
    }

    fn events(&self, person: &str) -> &[WorldEvent] {
        if person == "ann" { &self.visits } else { &[] }
    }

    fn in_segment(&self, _: SubjectKind, _: &str, _: &str) -> Timed<bool> {
        Timed::lasting(false)
    }
}

fn main() -> Result<()> {
    let schema = Schema::built_in()?;
    let definitions = parse_definitions(DEFINITION).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let definition = definitions.first().context("one definition")?;
    let rule = compile(definition, &schema).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;

    let visited_at = Timestamp::parse("2026-11-01T12:00:00Z")?;
    let facts = Facts::new(visited_at);
    for days in [1, 8] {
        let now = visited_at.plus_ms(days * DAY_MS);
        let answer = rule.evaluate(&facts, "ann", &Settings::default(), now);
        let answer = answer.ok().context("facts that are all here are known")?;
        let until = if answer.valid_until == Timestamp::MAX {
            "for ever".to_owned()
        } else {
            format!("until {}", answer.valid_until)
        };
        println!("{now}: ann {} in {}, {until}", if answer.value { "is" } else { "is not" }, definition.name);
    }
    Ok(())
}
