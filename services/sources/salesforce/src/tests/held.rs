//! What the topics hold, and what they must hold.

use std::collections::BTreeMap;

use millrace_connect::source::Emitted;
use millrace_log::simulated::SimulatedLog;
use millrace_model::Timestamp;
use millrace_simulators::salesforce::{Row, World};
use serde_json::{Value, json};

use crate::Config;
use crate::mapping::{self, Keys, Object, Relations, Said, Shape};

/// The newest version of every record of a kind that is not withdrawn, by key.
pub fn held(log: &SimulatedLog, kind: &str) -> BTreeMap<String, Value> {
    let mut held: BTreeMap<String, (Timestamp, Value)> = BTreeMap::new();
    for delivered in log.content(kind) {
        let value: Value = serde_json::from_slice(delivered.record.value.as_deref().unwrap_or(b"null")).expect("JSON");
        let key = delivered.record.key.as_deref().unwrap_or_default();
        let key = String::from_utf8_lossy(key).into_owned();
        let at = Timestamp::parse(value["modifiedAt"].as_str().unwrap_or_default()).expect("an instant");
        if held.get(&key).is_none_or(|(before, _)| *before <= at) {
            held.insert(key, (at, value));
        }
    }
    let live = held.into_iter().filter(|(_, (_, value))| value["isDeleted"] != json!(true));
    live.map(|(key, (_, value))| (key, value)).collect()
}

fn shape(world: &World, config: &Config, object: Object) -> Option<Shape> {
    let held = world.objects.get(object.name())?;
    let fields: Vec<Value> = held
        .fields
        .iter()
        .map(|field| json!({"name": field.name, "type": field.kind, "custom": field.custom()}))
        .collect();
    Some(Shape::new(object, &json!({"fields": fields}), &config.rules, world.now).expect("rules that hold"))
}

/// The records that the live rows of an object stand for, by key.
fn live(world: &World, config: &Config, object: &str) -> BTreeMap<String, Value> {
    let object = Object::ALL.into_iter().find(|known| known.name() == object).expect("a known object");
    let Some(shape) = shape(world, config, object) else {
        return BTreeMap::new();
    };
    let keys = Keys {
        org: world.settings.org.clone(),
        currency: config.currency.clone(),
        relations: if world.settings.relations { Relations::Own } else { Relations::Derived },
    };
    let rows = world.objects[object.name()].rows.values();
    let said = rows.map(|row: &Row| mapping::read(&shape, row, &keys));
    let emitted = said.flat_map(|said| match said {
        Said::Live(emitted) => emitted,
        Said::Deleted { .. } | Said::Merged { .. } => Vec::new(),
    });
    let records = emitted.filter_map(|emitted| match emitted {
        Emitted::Record { kind, key, value: Some(value) } => (value["isDeleted"] != json!(true)).then_some((kind, key, value)),
        _ => None,
    });
    records.map(|(_, key, value)| (key, value)).collect()
}

/// Keys of losers whose last winner lives.
fn losers(world: &World, objects: [&str; 2]) -> Vec<String> {
    let mut losers = Vec::new();
    for object in objects {
        let Some(held) = world.objects.get(object) else { continue };
        for (id, row) in &held.rows {
            let mut last = row;
            while let Some(winner) = last["MasterRecordId"].as_str().and_then(|winner| held.rows.get(winner)) {
                last = winner;
            }
            if row["MasterRecordId"].is_string() && last["IsDeleted"] == json!(false) {
                losers.push(format!("{id}@{}.Salesforce", world.settings.org));
            }
        }
    }
    losers.sort();
    losers
}

/// Takes the records that only name another key out of those that are held.
fn bare(held: &mut BTreeMap<String, Value>) -> Vec<String> {
    let (bare, whole): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(held).into_iter().partition(|(_, value)| {
        value.as_object().is_some_and(|value| value.len() == 3) && (value.get("identities").is_some() || value.get("extSourceSystemAudit").is_some())
    });
    *held = whole;
    bare.into_keys().collect()
}

/// The topics hold exactly the org's contents.
pub fn check(world: &World, config: &Config, log: &SimulatedLog) {
    let live = |object: &str| live(world, config, object);
    let mut persons = held(log, "person");
    assert_eq!(bare(&mut persons), losers(world, ["Contact", "Lead"]), "losers of merges among persons");
    let (derived, mut expected): (BTreeMap<_, _>, BTreeMap<_, _>) = live("Contact").into_iter().partition(|(key, _)| key.contains(".account@"));
    expected.extend(live("Lead"));
    assert_eq!(persons, expected, "persons");
    let mut accounts = held(log, "account");
    assert_eq!(bare(&mut accounts), losers(world, ["Account", ""]), "losers of merges among accounts");
    assert_eq!(accounts, live("Account"), "accounts");
    let mut relations = live("AccountContactRelation");
    relations.extend(derived);
    assert_eq!(held(log, "account-person"), relations, "relations");
    for (kind, object) in [
        ("opportunity", "Opportunity"),
        ("opportunity-person", "OpportunityContactRole"),
        ("campaign", "Campaign"),
        ("campaign-member", "CampaignMember"),
    ] {
        assert_eq!(held(log, kind), live(object), "{kind}");
    }
}
