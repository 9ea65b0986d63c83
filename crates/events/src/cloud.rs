//! CloudEvents 1.0: each is an activity.
//!
//! `source` and `id` together are its `_id`, `type` its event type, `time` its timestamp. Data that
//! is an object has the activity's fields; what the schema does not know of it is kept under
//! `extra`. Other data is `extra.data`. The person is who the data names with `personKey` or
//! `identities`; where it names nobody, `subject` does: `namespace:id`, or a user id of the sender.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_model::Rejection;
use millrace_wire::Reason;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::{Arrival, Facts, Sender, absent, activity, instant, put, words};

/// The attributes that are fields of the activity; all others are kept under `extra.ce`.
const TAKEN: [&str; 7] = ["specversion", "id", "type", "time", "data", "data_base64", "datacontenttype"];

/// An event in structured form.
///
/// # Errors
/// Where it is no CloudEvent of version 1.0, or names nobody.
pub fn structured(event: &Map<String, Value>, sender: &Sender, arrival: &Arrival, index: usize) -> Facts {
    let data = match (event.get("data"), event.get("data_base64")) {
        (Some(data), _) => data.clone(),
        (None, Some(bytes)) => decoded(bytes, event)?,
        (None, None) => Value::Null,
    };
    facts(event, data, sender, arrival, index)
}

/// An event in binary form over HTTP: its attributes are the headers `ce-*`, whose names come
/// without that and whose values are percent-encoded.
///
/// # Errors
/// As for `structured`, or where JSON cannot be read.
pub fn binary(attributes: &[(&str, &str)], content_type: Option<&str>, body: &[u8], sender: &Sender, arrival: &Arrival) -> Facts {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let event = attributes
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Value::String(decode(text))))
        .collect();
    apart(&event, content_type, body, sender, arrival)
}

/// An event whose attributes and data came apart, the attributes as they are: binary form on Kafka.
///
/// # Errors
/// As for `binary`.
pub fn apart(event: &Map<String, Value>, content_type: Option<&str>, body: &[u8], sender: &Sender, arrival: &Arrival) -> Facts {
    let data = if body.is_empty() { Value::Null } else { data_of(content_type, body)? };
    facts(event, data, sender, arrival, 0)
}

/// Base64 data. JSON is read as such.
fn decoded(bytes: &Value, event: &Map<String, Value>) -> Result<Value, Rejection> {
    let text = bytes.as_str().unwrap_or_default();
    let decoded = STANDARD
        .decode(text)
        .map_err(|error| Reason::WrongType.because(format!("`data_base64`: {error}")))?;
    data_of(event.get("datacontenttype").and_then(Value::as_str), &decoded)
}

/// JSON as a value, other text as a text, anything else as base64.
fn data_of(content_type: Option<&str>, body: &[u8]) -> Result<Value, Rejection> {
    let essence = content_type
        .unwrap_or("application/json")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        return serde_json::from_slice(body).map_err(|error| Reason::MalformedJson.because(format!("data: {error}")));
    }
    match str::from_utf8(body) {
        Ok(text) => Ok(json!(text)),
        Err(_) => Ok(json!(STANDARD.encode(body))),
    }
}

fn facts(event: &Map<String, Value>, data: Value, sender: &Sender, arrival: &Arrival, index: usize) -> Facts {
    let required = |name: &str| words(event.get(name)).ok_or_else(|| Reason::MissingId.because(format!("`{name}` is missing, which every CloudEvent has")));
    let version = required("specversion")?;
    if version != "1.0" {
        return Err(Reason::WrongType.because(format!("`specversion` is `{version}`; 1.0 is taken")));
    }
    let (origin, id, kind) = (required("source")?, required("id")?, required("type")?);
    let time = instant("time", event.get("time"))?.unwrap_or(arrival.at);
    let mut fields = match data {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        other => [("extra".to_owned(), json!({"data": other}))].into_iter().collect(),
    };
    fields.insert("_id".to_owned(), json!(format!("{origin}#{id}")));
    fields.insert("timestamp".to_owned(), json!(time.to_string()));
    fields.insert("eventType".to_owned(), json!(kind));
    let named = fields.get("identities").is_some_and(|list| !list.as_array().is_some_and(Vec::is_empty)) || !absent(fields.get("personKey"));
    if let Some(subject) = words(event.get("subject")).filter(|_| !named) {
        match subject.split_once(':') {
            Some((namespace, id)) => fields.insert("identities".to_owned(), json!([{"namespace": namespace, "id": id}])),
            None => fields.insert("personKey".to_owned(), json!({"sourceKey": format!("{subject}@{}.Segment", sender.name)})),
        };
    }
    for (name, value) in event.iter().filter(|(name, _)| !TAKEN.contains(&name.as_str())) {
        if fields.get("extra").is_none_or(Value::is_object) {
            put(&mut fields, &["extra", "ce", name], value.clone());
        }
    }
    activity(fields, arrival, index)
}
