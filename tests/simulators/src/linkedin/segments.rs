//! Calls on segments: create, find, read, update, delete.

use serde_json::{Value, json};

use super::gate::Stop;
use super::server::{Answer, Call};
use super::world::{Segment, World};

const PAGE_MAX: usize = 100;

fn shown(world: &World, segment: &Segment) -> Value {
    json!({
        "id": segment.id, "name": segment.name, "type": if segment.companies { "COMPANY" } else { "USER" },
        "account": world.settings.account, "sourcePlatform": world.settings.source_platform,
        "sourceSegmentId": segment.source_segment_id, "description": segment.description, "inputCount": segment.input_count,
        "created": segment.created_at.0, "lastModified": segment.modified_at.0, "destinations": [destination(world, segment)],
    })
}

fn destination(world: &World, segment: &Segment) -> Value {
    json!({
        "destination": "LINKEDIN", "destinationSegmentId": format!("urn:li:adSegment:{}", segment.id + 1_000_000),
        "status": segment.status(&world.settings, world.now), "audienceSize": segment.audience_size(&world.settings),
        "matchedCount": segment.matched(&world.settings), "created": segment.created_at.0, "lastModified": segment.modified_at.0,
    })
}

fn known<'a>(world: &'a World, id: &str) -> Result<&'a Segment, Stop> {
    let found = id.parse().ok().and_then(|id: u64| world.segments.get(&id));
    found.ok_or_else(|| unknown(id))
}

pub fn unknown(id: &str) -> Stop {
    Stop::new(404, "NOT_FOUND", format!("DMP segment {id} not found"))
}

pub fn one(world: &World, id: &str) -> Result<Answer, Stop> {
    Ok(Answer::Body(shown(world, known(world, id)?)))
}

pub fn destination_of(world: &World, id: &str, name: &str) -> Result<Answer, Stop> {
    let segment = known(world, id)?;
    if name != "LINKEDIN" {
        return Err(Stop::new(404, "NOT_FOUND", format!("destination {name} not found")));
    }
    Ok(Answer::Body(destination(world, segment)))
}

/// The finder `account`.
pub fn find(world: &World, call: &Call) -> Result<Answer, Stop> {
    if call.parameter("q") != Some("account") {
        return Err(Stop::new(400, "ILLEGAL_ARGUMENT", "No such finder"));
    }
    if call.parameter("account") != Some(&world.settings.account) {
        return Err(Stop::new(403, "ACCESS_DENIED", "Not enough permissions to access the account"));
    }
    let alike = |name: &str, value: &str| call.parameter(name).is_none_or(|wanted| wanted == value);
    let found: Vec<Value> = world
        .segments
        .values()
        .filter(|segment| alike("sourcePlatform", &world.settings.source_platform) && alike("sourceSegmentId", &segment.source_segment_id))
        .map(|segment| shown(world, segment))
        .collect();
    let number = |name: &str, default: usize| call.parameter(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (start, count) = (number("start", 0), number("count", 10).clamp(1, PAGE_MAX));
    let total = found.len();
    let page: Vec<Value> = found.into_iter().skip(start).take(count).collect();
    Ok(Answer::Body(
        json!({"paging": {"start": start, "count": count, "total": total, "links": []}, "elements": page}),
    ))
}

/// A second segment with the same foreign key is a second segment.
pub fn create(world: &mut World, call: &Call, most: usize) -> Result<Answer, Stop> {
    let text = |name: &str| call.body[name].as_str().unwrap_or_default();
    let wrong = |field: &str| Stop::new(400, "ILLEGAL_ARGUMENT", format!("/{field} :: is not valid"));
    if call.body.get("accessPolicy").is_some() {
        return Err(wrong("accessPolicy"));
    }
    for (field, expected) in [("account", &world.settings.account), ("sourcePlatform", &world.settings.source_platform)] {
        if text(field) != expected {
            return Err(wrong(field));
        }
    }
    let companies = match text("type") {
        "USER" => false,
        "COMPANY" => true,
        _ => return Err(wrong("type")),
    };
    if text("name").is_empty() || call.body["destinations"][0]["destination"] != "LINKEDIN" {
        return Err(wrong("name or /destinations"));
    }
    if world.segments.len() >= most {
        return Err(Stop::new(
            429,
            "SEGMENT_LIMIT_EXCEEDED",
            format!("The ad account has {most} DMP segments; delete unused ones"),
        ));
    }
    let (name, source) = (text("name").to_owned(), text("sourceSegmentId").to_owned());
    let description = call.body["description"].as_str().map(str::to_owned);
    let id = world.create(&name, &source, companies, description);
    Ok(Answer::Created(id))
}

/// `PARTIAL_UPDATE` of the name or the description.
pub fn update(world: &mut World, call: &Call, id: &str) -> Result<Answer, Stop> {
    let id = known(world, id)?.id;
    let set = call.body["patch"]["$set"].as_object().cloned();
    let (Some(set), Some(segment)) = (set, world.segments.get_mut(&id)) else {
        return Err(Stop::new(400, "ILLEGAL_ARGUMENT", "no patch"));
    };
    for (field, value) in set {
        match (field.as_str(), value.as_str()) {
            ("name", Some(name)) => name.clone_into(&mut segment.name),
            ("description", Some(text)) => segment.description = Some(text.to_owned()),
            _ => return Err(Stop::new(400, "ILLEGAL_ARGUMENT", format!("/patch/{field} :: cannot be set"))),
        }
    }
    Ok(Answer::Empty)
}

pub fn delete(world: &mut World, id: &str) -> Result<Answer, Stop> {
    let id = known(world, id)?.id;
    world.segments.remove(&id);
    Ok(Answer::Empty)
}
