//! Calls that add users or companies to a segment and remove them.

use millrace_log::random::Random;
use serde_json::{Value, json};

use super::gate::{Faults, Limits, Stop};
use super::segments::unknown;
use super::server::{Answer, Call};
use super::world::{Early, Refusals, World};

/// Fields that identify a company; a removal must repeat all those that the addition had.
const IDENTIFYING: [&str; 6] = [
    "companyEmailDomain",
    "companyName",
    "companyPageUrl",
    "companyWebsiteDomain",
    "organizationUrn",
    "stockSymbol",
];

/// Longest texts by field.
const LENGTHS: [(&str, usize); 6] = [
    ("firstName", 35),
    ("lastName", 35),
    ("title", 50),
    ("company", 50),
    ("companyPageUrl", 100),
    ("stockSymbol", 5),
];

/// An element that was read: whether it adds, and what identifies the member.
type Change = (bool, Vec<String>);

/// What a call passes on to the members of a segment.
pub struct Turn<'a> {
    pub limits: Limits,
    pub faults: Faults,
    pub random: &'a mut Random,
    /// No other call of the segment is in progress.
    pub alone: bool,
}

pub fn write(world: &mut World, call: &Call, id: &str, companies: bool, turn: &mut Turn<'_>) -> Result<Answer, Stop> {
    let batch = call.body.get("elements").and_then(Value::as_array);
    let elements = match (batch, call.method.as_deref()) {
        (Some(elements), Some("BATCH_CREATE")) => elements.clone(),
        (Some(_), _) => return Err(Stop::new(400, "ILLEGAL_ARGUMENT", "a batch needs the method BATCH_CREATE")),
        (None, Some("BATCH_CREATE")) => return Err(Stop::new(400, "ILLEGAL_ARGUMENT", "no elements")),
        (None, _) => vec![call.body.clone()],
    };
    if elements.is_empty() || elements.len() > turn.limits.elements {
        return Err(Stop::new(
            400,
            "ILLEGAL_ARGUMENT",
            format!("{} elements; at most {} are accepted", elements.len(), turn.limits.elements),
        ));
    }
    let (now, settings) = (world.now, world.settings.clone());
    let segment = id.parse().ok().and_then(|id: u64| world.segments.get_mut(&id)).ok_or_else(|| unknown(id))?;
    let ready = now.0 - segment.created_at.0 >= settings.ready_ms;
    if !ready && settings.early == Early::NotFound {
        return Err(unknown(id));
    }
    if segment.companies != companies {
        return Err(Stop::new(400, "ILLEGAL_ARGUMENT", "the segment is of another type"));
    }
    if segment.expired() || segment.failed {
        return Err(Stop::new(400, "INVALID_SEGMENT_STATE", "the segment accepts no members"));
    }
    let mut read: Vec<Result<Change, Value>> = elements.iter().map(|element| change(element, companies)).collect();
    if settings.refusals == Refusals::Whole
        && let Some(Err(refused)) = read.iter().find(|one| one.is_err())
    {
        return Err(Stop::new(400, "ILLEGAL_ARGUMENT", refused["message"].as_str().unwrap_or_default()));
    }
    for one in &mut read {
        if one.is_ok() && turn.random.chance(turn.faults.element_unavailable) {
            *one = Err(json!({"status": 500, "message": "try again"}));
        }
    }
    let results: Vec<Value> = read.iter().map(|one| one.as_ref().err().cloned().unwrap_or(json!({"status": 201}))).collect();
    if ready {
        let changes = read.into_iter().filter_map(Result::ok).collect();
        segment.accept(changes, turn.alone, settings.processing_ms, turn.random, now);
    }
    Ok(match batch {
        Some(_) => Answer::Body(json!({ "elements": results })),
        None => match results.first() {
            Some(result) if result["status"] != 201 => Answer::Status(400, result.clone()),
            _ => Answer::Status(201, Value::Null),
        },
    })
}

fn change(element: &Value, companies: bool) -> Result<Change, Value> {
    let refused = |message: String| json!({"status": 400, "message": message});
    let add = match element["action"].as_str() {
        Some("ADD") => true,
        Some("REMOVE") => false,
        other => return Err(refused(format!("/action :: {other:?} is not a member of the enum"))),
    };
    for (field, most) in LENGTHS {
        if element[field].as_str().is_some_and(|text| text.chars().count() > most) {
            return Err(refused(format!("/{field} :: is longer than {most}")));
        }
    }
    if element["industries"].as_array().is_some_and(|industries| industries.len() > 3) {
        return Err(refused("/industries :: more than 3".to_owned()));
    }
    if let Some(country) = element["country"].as_str()
        && !(country.len() == 2 && country.bytes().all(|letter| letter.is_ascii_uppercase()))
    {
        return Err(refused("/country :: is no ISO 3166 code of two letters".to_owned()));
    }
    let member = if companies { company(element) } else { user(element).map_err(refused)? };
    if member.is_empty() {
        return Err(refused("nothing identifies the member".to_owned()));
    }
    Ok((add, member))
}

fn user(element: &Value) -> Result<Vec<String>, String> {
    let ids = element["userIds"].as_array().cloned().unwrap_or_default();
    let one = |id: &Value| {
        let (kind, value) = (id["idType"].as_str().unwrap_or_default(), id["idValue"].as_str().unwrap_or_default());
        let hex = |length: usize| value.len() == length && value.bytes().all(|sign| matches!(sign, b'0'..=b'9' | b'a'..=b'f'));
        let right = match kind {
            "SHA256_EMAIL" => hex(64),
            "SHA512_EMAIL" => hex(128),
            "GOOGLE_AID" => !value.is_empty(),
            _ => return Err(format!("/userIds/idType :: \"{kind}\" is not a member of the enum")),
        };
        right
            .then(|| format!("{kind} {value}"))
            .ok_or_else(|| format!("/userIds/idValue :: \"{value}\" is no {kind}"))
    };
    ids.iter().map(one).collect()
}

/// What identifies a company, as one text.
fn company(element: &Value) -> Vec<String> {
    let fields = IDENTIFYING
        .iter()
        .filter_map(|field| Some(format!("{field}={}", element[*field].as_str()?.to_lowercase())));
    let text = fields.collect::<Vec<_>>().join(" ");
    if text.is_empty() { Vec::new() } else { vec![text] }
}
