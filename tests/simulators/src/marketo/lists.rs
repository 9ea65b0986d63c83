//! Static lists and programs, with their members.

use millrace_model::Timestamp;
use serde_json::{Map, Value, json};

use super::calls::{PAGE_MAX, ids, page, picked, skipped};
use super::server::{Answer, Call};
use super::world::{List, Program, World, instant};

const ASSET_PAGE: usize = 20;
const ASSET_PAGE_MAX: usize = 200;

fn shown(id: u64, list: &List) -> Value {
    json!({
        "id": id, "name": list.name, "workspaceName": "Default",
        "createdAt": instant(list.created_at), "updatedAt": instant(list.updated_at),
    })
}

pub fn lists(world: &World, call: &Call, id: Option<&str>) -> Answer {
    if let Some(id) = id {
        let id: u64 = id.parse().unwrap_or_default();
        return match world.lists.get(&id) {
            Some(list) => Answer::result(json!([shown(id, list)])),
            None => no_list(id),
        };
    }
    let (ids, names) = (call.all("id"), call.all("name"));
    let wanted = |id: u64, list: &List| (ids.is_empty() || ids.contains(&id.to_string())) && (names.is_empty() || names.contains(&list.name));
    let all = world.lists.iter().filter(|(id, list)| wanted(**id, list)).map(|(id, list)| shown(*id, list));
    page(all.collect(), call)
}

fn no_list(id: u64) -> Answer {
    Answer::refused("1013", format!("List with id {id} not found"))
}

/// The list of a path, or why there is none.
fn known(world: &World, id: &str) -> Result<u64, Answer> {
    let id = id.parse().unwrap_or_default();
    if world.lists.contains_key(&id) { Ok(id) } else { Err(no_list(id)) }
}

/// `GET`, `POST` and `DELETE` of a list's leads.
pub fn members(world: &mut World, call: &Call, id: &str) -> Answer {
    let id = match known(world, id) {
        Ok(id) => id,
        Err(answer) => return answer,
    };
    if call.get {
        let members = world.lists[&id].members.iter().filter_map(|lead| world.leads.get(lead));
        let rows = members.map(|lead| {
            picked(
                &world.shown_lead(lead),
                &call.all("fields"),
                &["id", "email", "firstName", "lastName", "createdAt", "updatedAt"],
            )
        });
        return page(rows.collect(), call);
    }
    let leads = ids(call);
    if leads.is_empty() || leads.len() > PAGE_MAX {
        return Answer::refused("1003", "input must hold 1 to 300 leads");
    }
    let (add, done) = if call.delete { (false, "removed") } else { (true, "added") };
    let mut result = Vec::with_capacity(leads.len());
    for lead in leads {
        if !world.leads.contains_key(&lead) {
            result.push(skipped("1004", format!("Lead '{lead}' not found")));
            continue;
        }
        if !add && !world.lists[&id].members.contains(&lead) {
            let mut row = skipped("1015", format!("Lead '{lead}' not in list"));
            row["id"] = json!(lead);
            result.push(row);
            continue;
        }
        world.set_member(id, lead, add);
        result.push(json!({"id": lead, "status": done}));
    }
    Answer::result(result)
}

pub fn is_member(world: &World, call: &Call, id: &str) -> Answer {
    let id = match known(world, id) {
        Ok(id) => id,
        Err(answer) => return answer,
    };
    let leads = ids(call);
    if leads.is_empty() || leads.len() > PAGE_MAX {
        return Answer::refused("1003", "input must hold 1 to 300 leads");
    }
    let members = &world.lists[&id].members;
    let status = |lead: u64| match (world.leads.contains_key(&lead), members.contains(&lead)) {
        (false, _) => skipped("1004", format!("Lead '{lead}' not found")),
        (true, true) => json!({"id": lead, "status": "memberof"}),
        (true, false) => json!({"id": lead, "status": "notmemberof"}),
    };
    Answer::result(leads.into_iter().map(status).collect::<Vec<_>>())
}

pub fn of_lead(world: &World, lead: &str) -> Answer {
    let lead: u64 = lead.parse().unwrap_or_default();
    if !world.leads.contains_key(&lead) {
        return Answer::refused("1004", format!("Lead '{lead}' not found"));
    }
    let lists = world.lists.iter().filter(|(_, list)| list.members.contains(&lead));
    let rows = lists.map(|(id, list)| json!({"id": id, "listId": id, "createdAt": instant(list.created_at), "updatedAt": instant(list.updated_at)}));
    Answer::result(rows.collect::<Vec<_>>())
}

/// The asset API writes instants in a shape of its own.
fn asset_instant(at: Timestamp) -> String {
    format!("{}+0000", instant(at))
}

fn asset(id: u64, list: &List) -> Value {
    json!({
        "id": id, "name": list.name, "createdAt": asset_instant(list.created_at), "updatedAt": asset_instant(list.updated_at),
        "folder": {"id": 13, "type": "Folder"}, "computedUrl": format!("https://app.example/#ST{id}A1"),
    })
}

/// One page of an asset list; an empty one carries a warning and no result.
fn asset_page(all: Vec<Value>, call: &Call) -> Answer {
    let size = call.number("maxReturn").unwrap_or(ASSET_PAGE).clamp(1, ASSET_PAGE_MAX);
    let shown: Vec<Value> = all.into_iter().skip(call.number("offset").unwrap_or(0)).take(size).collect();
    if shown.is_empty() {
        Answer::with([("warnings", json!(["No assets found for the given search criteria."]))])
    } else {
        Answer::result(shown)
    }
}

pub fn static_lists(world: &mut World, call: &Call, id: Option<&str>) -> Answer {
    if !call.get {
        let Some(name) = call.parameter("name").filter(|name| !name.is_empty()) else {
            return Answer::refused("701", "name cannot be blank");
        };
        let name = name.to_owned();
        if call.parameter("folder").is_none() {
            return Answer::refused("701", "folder cannot be blank");
        }
        if world.lists.values().any(|list| list.name == name) {
            return Answer::refused("709", "Asset name already exists");
        }
        let id = world.create_list(&name);
        return Answer::result(json!([asset(id, &world.lists[&id])]));
    }
    let all = world.lists.iter();
    match id {
        None => asset_page(all.map(|(id, list)| asset(*id, list)).collect(), call),
        Some("byName") => {
            let name = call.parameter("name").unwrap_or_default();
            asset_page(all.filter(|(_, list)| list.name == name).map(|(id, list)| asset(*id, list)).collect(), call)
        }
        Some(id) => asset_page(
            all.filter(|(known, _)| known.to_string() == id).map(|(id, list)| asset(*id, list)).collect(),
            call,
        ),
    }
}

pub fn programs(world: &World, call: &Call) -> Answer {
    let show = |(id, program): (&u64, &Program)| {
        json!({
            "id": id, "name": program.name, "type": "Default", "channel": "Webinar", "status": "", "workspace": "Default",
            "createdAt": asset_instant(program.created_at), "updatedAt": asset_instant(program.updated_at),
        })
    };
    asset_page(world.programs.iter().map(show).collect(), call)
}

/// Days that the filter `updatedAt` may span.
const MEMBERS_DAYS_MAX: i64 = 7;

pub fn program_members(world: &World, call: &Call, id: &str) -> Answer {
    let id: u64 = id.parse().unwrap_or_default();
    let Some(program) = world.programs.get(&id) else {
        return Answer::refused("1013", format!("Program with id {id} not found"));
    };
    let instants = ["startAt", "endAt"].map(|name| call.parameter(name).and_then(|text| Timestamp::parse(text).ok()));
    let values = call.all("filterValues");
    let rows = program
        .members
        .iter()
        .filter(|(lead, (status, success, updated))| match (call.parameter("filterType"), instants) {
            (Some("updatedAt"), [Some(from), Some(to)]) => (from..=to).contains(updated),
            (Some("leadId"), _) => values.contains(&lead.to_string()),
            (Some("statusName"), _) => values.contains(status),
            (Some("reachedSuccess"), _) => values.contains(&success.to_string()),
            _ => false,
        });
    match (call.parameter("filterType"), instants) {
        (Some("updatedAt"), [Some(from), Some(to)]) if to.0 - from.0 > MEMBERS_DAYS_MAX * millrace_model::DAY_MS => {
            return Answer::refused("1003", "startAt and endAt must be within 7 days");
        }
        (Some("updatedAt" | "leadId" | "statusName" | "reachedSuccess"), _) => {}
        _ => return Answer::refused("1003", "filterType is invalid"),
    }
    page(rows.map(|(lead, member)| member_row(id, *lead, member, call)).collect(), call)
}

/// A program member by its field names.
pub fn member_fields(program: u64, lead: u64, (status, success, updated): &(String, bool, Timestamp)) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("programId".to_owned(), json!(program));
    fields.insert("leadId".to_owned(), json!(lead));
    fields.insert("statusName".to_owned(), json!(status));
    fields.insert("reachedSuccess".to_owned(), json!(success));
    fields.insert("membershipDate".to_owned(), json!(instant(*updated)));
    fields.insert("updatedAt".to_owned(), json!(instant(*updated)));
    fields.insert("acquiredBy".to_owned(), json!(false));
    fields
}

fn member_row(program: u64, lead: u64, member: &(String, bool, Timestamp), call: &Call) -> Value {
    let default = ["acquiredBy", "leadId", "membershipDate", "programId", "reachedSuccess"];
    picked(&member_fields(program, lead, member), &call.all("fields"), &default)
}
