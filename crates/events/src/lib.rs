//! From what senders send to contract records, whichever way it arrives. Pure: the instant of
//! arrival and the ids of events that have none are arguments.
//!
//! ```text
//! calls of the Segment specification ─▶ segment ─┐
//! CloudEvents                        ─▶ cloud   ─┼─▶ Fact { kind, key, value }
//! activities of the contract         ─▶ here    ─┘
//! ```
//!
//! The collector reads them from HTTP, and the source of CloudEvents from Kafka, so that an event
//! means the same either way, and one that takes both counts once (`decisions/0039`).
//!
//! What it is *not*: it knows no transport, and whether the fields of a fact have the right types is
//! for `millrace-wire` to judge.
//!
//! ```
//! use millrace_events::{Arrival, Sender, cloud};
//! use millrace_model::Timestamp;
//! use serde_json::json;
//!
//! let event = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid", "subject": "42"});
//! let sender = Sender { name: "shop".to_owned(), user_namespace: None, device_namespace: "anonymous_id".to_owned() };
//! let arrival = Arrival { at: Timestamp(0), nonce: String::new() };
//! let facts = cloud::structured(event.as_object().expect("an object"), &sender, &arrival, 0).expect("a CloudEvent");
//! assert_eq!(facts[0].key, "b2b_person:42@shop.Segment");
//! assert_eq!(facts[0].value["_id"], "/shop#1");
//! ```

#![warn(missing_docs)]

pub mod cloud;
pub mod segment;
mod traits;

use millrace_model::{Identity, Rejection, SourceKind, Timestamp, namespace};
use millrace_wire::Reason;
use serde_json::{Map, Value, json};

/// Whose ids a sender's ids are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The instance in the keys of records: `42@<name>.Segment`.
    pub name: String,
    /// The identity namespace of user ids, where other systems know them too.
    pub user_namespace: Option<String>,
    /// The identity namespace of anonymous ids.
    pub device_namespace: String,
}

/// The arrival of a request, or of a record in its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// By our clock.
    pub at: Timestamp,
    /// Differs between any two requests: the ids of events that have none begin with it.
    pub nonce: String,
}

impl Arrival {
    fn id(&self, index: usize) -> String {
        format!("{}-{index}", self.nonce)
    }
}

/// A contract record and its key in the topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Which source topic it goes to.
    pub kind: SourceKind,
    /// The key of the record.
    pub key: String,
    /// The record itself.
    pub value: Value,
}

/// What one event says, or why it says nothing.
pub type Facts = Result<Vec<Fact>, Rejection>;

/// One activity as the contract has it. An absent `_id` is made, an absent `timestamp` is the
/// arrival.
///
/// # Errors
/// Where it names no person.
pub fn activity(mut fields: Map<String, Value>, arrival: &Arrival, index: usize) -> Facts {
    if absent(fields.get("_id")) {
        fields.insert("_id".to_owned(), json!(arrival.id(index)));
    }
    if absent(fields.get("timestamp")) {
        fields.insert("timestamp".to_owned(), json!(arrival.at.to_string()));
    }
    let key = key_of(&fields).ok_or_else(|| Reason::NoIdentity.because("neither `personKey` nor `identities` names a person"))?;
    Ok(vec![Fact {
        kind: SourceKind::Activity,
        key,
        value: Value::Object(fields),
    }])
}

/// The key of an activity: the person's source key, or else the first identity.
fn key_of(fields: &Map<String, Value>) -> Option<String> {
    let person = fields.get("personKey").and_then(|key| key["sourceKey"].as_str());
    let person = person.and_then(|key| Identity::new(namespace::PERSON, key));
    let first = || {
        let items = fields.get("identities")?.as_array()?;
        items.iter().find_map(|item| Identity::new(item["namespace"].as_str()?, item["id"].as_str()?))
    };
    person.or_else(first).map(|identity| identity.to_string())
}

fn absent(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()))
}

/// A text, or a number as text; `None` where it is absent, blank or something else.
fn words(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An instant: RFC 3339, epoch milliseconds, or a date-time without a zone, which is in UTC as the
/// Segment specification has it. `None` where it is absent.
///
/// # Errors
/// Where it is no instant.
fn instant(name: &str, value: Option<&Value>) -> Result<Option<Timestamp>, Rejection> {
    let Some(value) = value.filter(|value| !absent(Some(value))) else {
        return Ok(None);
    };
    let read = match value {
        Value::String(text) => Timestamp::parse(text).ok().or_else(|| Timestamp::parse(&format!("{}Z", text.trim())).ok()),
        Value::Number(number) => number.as_i64().map(Timestamp),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let wrong = || Reason::WrongType.because(format!("`{name}` is {value}; expected RFC 3339, such as 2026-03-31T12:00:00Z"));
    read.map(Some).ok_or_else(wrong)
}

/// Puts a value under a dotted path.
fn put(fields: &mut Map<String, Value>, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        fields.insert((*first).to_owned(), value);
        return;
    }
    let inner = fields.entry((*first).to_owned()).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    if let Some(inner) = inner.as_object_mut() {
        put(inner, rest, value);
    }
}
