//! Companies, opportunities, roles and named accounts: one pattern, and the switch of native CRM
//! synchronisation.

use serde_json::{Value, json};

use super::calls::{PAGE_MAX, page, picked, skipped, text};
use super::server::{Answer, Call};
use super::world::{CrmSync, Fields, World, instant, object};

/// A kind of object known by `marketoGUID`.
pub struct Kind {
    pub name: &'static str,
    /// Fields that together name one.
    dedupe: &'static [&'static str],
    searchable: &'static [&'static str],
    /// Whether native synchronisation blocks it.
    synced: bool,
    shown: &'static [&'static str],
}

pub const OPPORTUNITIES: Kind = Kind {
    name: "opportunity",
    dedupe: &["externalOpportunityId"],
    searchable: &["marketoGUID", "externalOpportunityId"],
    synced: true,
    shown: &["marketoGUID", "externalOpportunityId", "createdAt", "updatedAt"],
};

pub const ROLES: Kind = Kind {
    name: "role",
    dedupe: &["externalOpportunityId", "leadId", "role"],
    searchable: &["marketoGUID", "externalOpportunityId", "leadId"],
    synced: true,
    shown: &["marketoGUID", "externalOpportunityId", "leadId", "role", "isPrimary"],
};

pub const NAMED_ACCOUNTS: Kind = Kind {
    name: "namedaccount",
    dedupe: &["name"],
    searchable: &["marketoGUID", "name"],
    synced: false,
    shown: &["marketoGUID", "name", "createdAt", "updatedAt"],
};

fn barred(world: &World, write: bool) -> Option<Answer> {
    match (world.settings.crm_sync, write) {
        (CrmSync::Disabled, _) => Some(Answer::refused("603", "Access denied")),
        (CrmSync::ReadOnly, true) => Some(Answer::refused("1018", "CRM Enabled")),
        _ => None,
    }
}

fn filter(call: &Call, searchable: &[&str]) -> Result<(String, Vec<String>), Answer> {
    let Some(name) = call.parameter("filterType").filter(|name| searchable.contains(name)) else {
        return Err(Answer::refused("1003", "Invalid filterType specified"));
    };
    let values: Vec<String> = call.all("filterValues").iter().map(|value| value.to_lowercase()).collect();
    if values.is_empty() || values.len() > PAGE_MAX {
        return Err(Answer::refused("1003", "filterValues must hold 1 to 300 values"));
    }
    Ok((name.to_owned(), values))
}

fn found<'a>(all: impl Iterator<Item = &'a Fields>, call: &Call, searchable: &[&str], shown: &[&str]) -> Answer {
    let (name, values) = match filter(call, searchable) {
        Ok(filter) => filter,
        Err(answer) => return answer,
    };
    let matches = all.filter(|fields| fields.get(&name).is_some_and(|value| values.contains(&text(value).to_lowercase())));
    let rows = matches.map(|fields| picked(fields, &call.all("fields"), shown)).collect::<Vec<_>>();
    let numbered = (0..).zip(rows).map(|(seq, mut row): (u64, Value)| {
        row["seq"] = json!(seq);
        row
    });
    page(numbered.collect(), call)
}

pub fn companies(world: &mut World, call: &Call, rest: &[&str]) -> Answer {
    let searchable = ["id", "externalCompanyId", "company"];
    if let Some(answer) = barred(world, !call.get) {
        return answer;
    }
    match rest {
        ["describe"] => Answer::result(
            json!([{"name": "Company", "idField": "id", "dedupeFields": ["externalCompanyId"], "searchableFields": [["id"], ["externalCompanyId"], ["company"]], "fields": []}]),
        ),
        [] if call.get => found(
            world.companies.values(),
            call,
            &searchable,
            &["id", "externalCompanyId", "company", "createdAt", "updatedAt"],
        ),
        [] => {
            let input = call.body.get("input").and_then(Value::as_array).cloned().unwrap_or_default();
            let result = (0..).zip(input).map(|(seq, fields)| sync_company(world, seq, fields));
            Answer::result(result.collect::<Vec<_>>())
        }
        _ => Answer::refused("610", "Requested resource not found"),
    }
}

fn sync_company(world: &mut World, seq: u64, fields: Value) -> Value {
    let key = fields.get("externalCompanyId").cloned();
    let same = |(_, company): &(&u64, &Fields)| key.is_some() && company.get("externalCompanyId") == key.as_ref();
    match world.companies.iter().find(same).map(|(id, _)| *id) {
        None => json!({"seq": seq, "id": world.create_company(fields), "status": "created"}),
        Some(id) => {
            let now = instant(world.now);
            if let Some(company) = world.companies.get_mut(&id) {
                company.extend(object(fields));
                company.insert("updatedAt".to_owned(), json!(now));
            }
            json!({"seq": seq, "id": id, "status": "updated"})
        }
    }
}

pub fn objects(world: &mut World, call: &Call, kind: &Kind, rest: &[&str]) -> Answer {
    if kind.synced
        && let Some(answer) = barred(world, !call.get)
    {
        return answer;
    }
    match rest {
        ["describe"] => {
            let searchable: Vec<Value> = kind.searchable.iter().map(|name| json!([name])).collect();
            Answer::result(json!([{"name": kind.name, "idField": "marketoGUID", "dedupeFields": kind.dedupe, "searchableFields": searchable, "fields": []}]))
        }
        [] if call.get => {
            let all = world.objects.get(kind.name);
            found(all.into_iter().flat_map(|all| all.values()), call, kind.searchable, kind.shown)
        }
        [] => {
            let input = call.body.get("input").and_then(Value::as_array).cloned().unwrap_or_default();
            if input.is_empty() || input.len() > PAGE_MAX {
                return Answer::refused("1003", "input must hold 1 to 300 records");
            }
            let result = (0..).zip(input).map(|(seq, fields)| sync(world, kind, seq, fields));
            Answer::result(result.collect::<Vec<_>>())
        }
        ["delete"] => {
            let input = call.body.get("input").and_then(Value::as_array).cloned().unwrap_or_default();
            let result = (0..).zip(input).map(|(seq, key)| delete(world, kind, seq, &key));
            Answer::result(result.collect::<Vec<_>>())
        }
        _ => Answer::refused("610", "Requested resource not found"),
    }
}

/// The id of the object with the same key.
fn same(world: &World, kind: &Kind, key: &Value) -> Option<String> {
    let alike = |fields: &Fields| {
        let by_id = key.get("marketoGUID").is_some_and(|id| fields.get("marketoGUID") == Some(id));
        by_id || kind.dedupe.iter().all(|name| key.get(*name).is_some() && fields.get(*name) == key.get(*name))
    };
    world.objects.get(kind.name)?.iter().find(|(_, fields)| alike(fields)).map(|(id, _)| id.clone())
}

fn sync(world: &mut World, kind: &Kind, seq: u64, fields: Value) -> Value {
    let missing = kind.dedupe.iter().find(|name| fields.get(**name).is_none());
    if let Some(name) = missing {
        let mut row = skipped("1002", format!("Missing value for '{name}'"));
        row["seq"] = json!(seq);
        return row;
    }
    let now = instant(world.now);
    let (id, status) = match same(world, kind, &fields) {
        Some(id) => (id, "updated"),
        None => (world.fresh_guid(), "created"),
    };
    let stored = world.objects.entry(kind.name).or_default().entry(id.clone()).or_default();
    stored.extend(object(fields.clone()));
    stored.insert("marketoGUID".to_owned(), json!(id));
    stored.entry("createdAt").or_insert(json!(now));
    stored.insert("updatedAt".to_owned(), json!(now));
    if kind.name == ROLES.name {
        log_role(world, &fields);
    } else if kind.name == OPPORTUNITIES.name && status == "updated" {
        log_update(world, &fields);
    }
    json!({"seq": seq, "marketoGUID": id, "status": status})
}

/// A role puts a person on an opportunity: type 34.
fn log_role(world: &mut World, role: &Value) {
    let (Some(lead), Some(deal)) = (role.get("leadId").and_then(Value::as_u64), role.get("externalOpportunityId").map(text)) else {
        return;
    };
    let attributes = vec![
        ("Role", role.get("role").cloned().unwrap_or_default()),
        ("External Opportunity ID", json!(deal)),
    ];
    world.log(lead, 34, world.now, Some((deal.len() as u64, deal.clone())), attributes);
}

/// A change of an opportunity shows at each person on it: type 36.
fn log_update(world: &mut World, deal: &Value) {
    let Some(deal) = deal.get("externalOpportunityId").map(text) else { return };
    let roles = world.objects.get(ROLES.name).into_iter().flat_map(|roles| roles.values());
    let on_it = roles.filter(|role| role.get("externalOpportunityId").map(text).as_deref() == Some(&deal));
    let leads: Vec<u64> = on_it.filter_map(|role| role.get("leadId").and_then(Value::as_u64)).collect();
    for lead in leads {
        world.log(
            lead,
            36,
            world.now,
            Some((deal.len() as u64, deal.clone())),
            vec![("External Opportunity ID", json!(deal))],
        );
    }
}

fn delete(world: &mut World, kind: &Kind, seq: u64, key: &Value) -> Value {
    let Some(id) = same(world, kind, key) else {
        let mut row = skipped("1013", "Record not found");
        row["seq"] = json!(seq);
        return row;
    };
    let gone = world.objects.get_mut(kind.name).and_then(|all| all.remove(&id));
    if kind.name == ROLES.name
        && let Some(role) = gone
        && let Some(lead) = role.get("leadId").and_then(Value::as_u64)
    {
        let deal = role.get("externalOpportunityId").map(text).unwrap_or_default();
        let attributes = vec![
            ("Role", role.get("role").cloned().unwrap_or_default()),
            ("External Opportunity ID", json!(deal)),
        ];
        world.log(lead, 35, world.now, Some((deal.len() as u64, deal.clone())), attributes);
    }
    json!({"seq": seq, "marketoGUID": id, "status": "deleted"})
}
