//! CloudEvents' binding to Kafka: from a record to an event. Pure.
//!
//! ```text
//! content-type: application/cloudevents+json   structured: the value is the event
//! ce_specversion: 1.0                          binary: the headers ce_* are its attributes, content-type
//!                                              the type of its data, the value its data
//! neither, and the value is an event           structured too: senders that put the type of the data
//!                                              into content-type
//! anything else                                no CloudEvent
//! ```
//!
//! Names of headers are compared without case, and the last header of a name counts.

use millrace_events::{Arrival, Facts, Sender, cloud};
use millrace_log::Record;
use millrace_model::Rejection;
use millrace_model::json::unreadable;
use millrace_wire::Reason;
use serde_json::{Map, Value};

const CONTENT_TYPE: &str = "content-type";

/// What the media types of whole events begin with, in any format.
const EVENT_TYPES: &str = "application/cloudevents";

/// The attribute that says of which type the data is.
const DATA_TYPE: &str = "datacontenttype";

/// What the event of a record says.
///
/// # Errors
/// Where the record is no CloudEvent that can be used; the detail says why.
pub(crate) fn facts(record: &Record, sender: &Sender, arrival: &Arrival) -> Facts {
    let head = Head::of(record)?;
    let value = record.value.as_deref().unwrap_or_default();
    if let Some(format) = head.media_type().strip_prefix(EVENT_TYPES) {
        return cloud::structured(&whole(format, value)?, sender, arrival, 0);
    }
    if head.attributes.contains_key("specversion") {
        return cloud::apart(&head.attributes, head.data_type(), value, sender, arrival);
    }
    match undeclared(value, head.content_type.as_deref()) {
        Some(event) => cloud::structured(&event, sender, arrival, 0),
        None if record.value.is_none() => Err(Reason::TombstoneOnActivity.because("no value and no attributes: nothing says which event is meant")),
        None => Err(Reason::UnknownEncoding.because("no CloudEvent: neither `content-type: application/cloudevents+json` nor a header `ce_specversion`")),
    }
}

/// The headers of the binding; all others are the transport's.
#[derive(Default)]
struct Head {
    content_type: Option<String>,
    /// The headers `ce_*`, without that.
    attributes: Map<String, Value>,
}

impl Head {
    fn of(record: &Record) -> Result<Head, Rejection> {
        let mut head = Head::default();
        for (name, value) in &record.headers {
            let name = name.to_ascii_lowercase();
            let attribute = name.strip_prefix("ce_");
            if attribute.is_none() && name != CONTENT_TYPE {
                continue;
            }
            let text = str::from_utf8(value).map_err(|error| Reason::BadUtf8.because(format!("header `{name}`: {error}")))?;
            match attribute {
                Some(attribute) => drop(head.attributes.insert(attribute.to_owned(), Value::from(text))),
                None => head.content_type = Some(text.to_owned()),
            }
        }
        Ok(head)
    }

    /// In lower case, without parameters such as `charset`; empty where the record has none.
    fn media_type(&self) -> String {
        let whole = self.content_type.as_deref().unwrap_or_default();
        whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Some senders state it as an attribute like any other.
    fn data_type(&self) -> Option<&str> {
        let attribute = || self.attributes.get(DATA_TYPE).and_then(Value::as_str);
        self.content_type.as_deref().or_else(attribute)
    }
}

/// The event that a value declared as one holds; `format` is the end of its media type.
fn whole(format: &str, value: &[u8]) -> Result<Map<String, Value>, Rejection> {
    match format {
        "" | "+json" => {}
        batch if batch.starts_with("-batch") => {
            return Err(Reason::UnknownEncoding.because("a batch: on Kafka every event is a record of its own"));
        }
        other => {
            return Err(Reason::UnknownEncoding.because(format!("`{EVENT_TYPES}{other}` cannot be read; `{EVENT_TYPES}+json` can")));
        }
    }
    if value.is_empty() {
        return Err(Reason::Empty.because("no value: in structured form the value is the event"));
    }
    let event: Value = serde_json::from_slice(value).map_err(|error| Reason::MalformedJson.because(unreadable(&error)))?;
    match event {
        Value::Object(event) => Ok(event),
        Value::Array(_) => Err(Reason::WrongType.because("a list: on Kafka every event is a record of its own")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(Reason::WrongType.because("in structured form the value is an object")),
    }
}

/// The event of a value that is one, though the content type is that of its data, or missing.
fn undeclared(value: &[u8], content_type: Option<&str>) -> Option<Map<String, Value>> {
    let mut event: Map<String, Value> = serde_json::from_slice(value).ok()?;
    if !event.contains_key("specversion") {
        return None;
    }
    if let Some(content_type) = content_type {
        event.entry(DATA_TYPE).or_insert_with(|| Value::from(content_type));
    }
    Some(event)
}
