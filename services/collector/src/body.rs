//! Bodies: how large they may be, and how one is taken apart into events. Pure.

use std::io::Read;

use millrace_events::segment::{Call, Envelope};
use millrace_events::{Arrival, Facts, Sender, activity, cloud, segment};
use millrace_model::json::unreadable;
use millrace_model::{Rejection, Timestamp};
use millrace_wire::Reason;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The most bytes of a request, compressed or not: what Segment takes.
pub const BODY_BYTES_MAX: usize = 500 << 10;

/// The most bytes of one event: what Segment takes.
pub const EVENT_BYTES_MAX: usize = 32 << 10;

/// The most events of a request: what Segment takes.
pub const EVENTS_MAX: usize = 2_500;

/// Why a body as a whole cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    TooLarge(String),
    Malformed(String),
}

/// What a request holds, by its path and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Call(Call),
    Batch,
    /// Contract activities: one, a list, or a line each.
    Activities,
    CloudEvent,
    CloudEvents,
}

/// One event of a body.
#[derive(Debug)]
pub struct Sent {
    /// As the sender names it; empty where it does not.
    pub id: String,
    pub facts: Facts,
    /// Its bytes, for the dead-letter topic.
    pub raw: String,
}

/// The bytes of a gzip body.
///
/// # Errors
/// Where they are more than a body may have, or not gzip.
pub fn unzip(bytes: &[u8]) -> Result<Vec<u8>, Unusable> {
    let mut plain = Vec::new();
    let limit = BODY_BYTES_MAX as u64 + 1;
    let read = flate2::read::MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut plain);
    read.map_err(|error| Unusable::Malformed(format!("the body says that it is gzip: {error}")))?;
    if plain.len() > BODY_BYTES_MAX { Err(body_too_large()) } else { Ok(plain) }
}

pub fn body_too_large() -> Unusable {
    Unusable::TooLarge(format!("a request has at most 500 KiB ({BODY_BYTES_MAX} bytes); send its events in parts"))
}

/// The parts of a Segment body that concern the request as a whole.
#[derive(Deserialize)]
struct Outer<'b> {
    #[serde(borrow)]
    batch: Vec<&'b RawValue>,
    #[serde(rename = "sentAt")]
    sent_at: Option<Value>,
    #[serde(default)]
    context: Option<Map<String, Value>>,
}

/// The write key that a body names, of a call or a batch.
pub fn key_in(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Keyed {
        #[serde(rename = "writeKey")]
        write_key: Option<String>,
    }
    serde_json::from_slice::<Keyed>(body).ok()?.write_key
}

/// The events of a body. One that says nothing is among them, with the reason.
///
/// # Errors
/// Where the body as a whole cannot be read, or exceeds a limit.
pub fn events(form: Form, body: &[u8], source: &Sender, arrival: &Arrival) -> Result<Vec<Sent>, Unusable> {
    let text = str::from_utf8(body).map_err(|error| Unusable::Malformed(format!("the body is not UTF-8: {error}")))?;
    match form {
        Form::Call(call) => {
            let one = bounded(text.trim())?;
            Ok(vec![sent(one, "messageId", 0, |item, _| {
                segment::facts(call, item, &Envelope::default(), source, arrival, 0)
            })])
        }
        Form::Batch => batch(text, source, arrival),
        Form::Activities => all(items(text)?, "_id", |item, index| activity(item.clone(), arrival, index)),
        Form::CloudEvent => all(vec![text], "id", |item, index| cloud::structured(item, source, arrival, index)),
        Form::CloudEvents => all(items(text)?, "id", |item, index| cloud::structured(item, source, arrival, index)),
    }
}

fn batch(text: &str, source: &Sender, arrival: &Arrival) -> Result<Vec<Sent>, Unusable> {
    // A list of three would be read as well.
    if !text.trim_start().starts_with('{') {
        return Err(Unusable::Malformed("a batch is an object with a list `batch`".to_owned()));
    }
    let outer: Outer<'_> = serde_json::from_str(text).map_err(malformed)?;
    let envelope = Envelope {
        sent_at: outer.sent_at,
        context: outer.context.unwrap_or_default(),
    };
    all(outer.batch.iter().map(|item| item.get()).collect(), "messageId", |item, index| {
        segment::facts(Call::of(item)?, item, &envelope, source, arrival, index)
    })
}

/// The events of a list, of lines, or the one event.
fn items(text: &str) -> Result<Vec<&str>, Unusable> {
    let text = text.trim();
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(malformed)?;
        return Ok(items.iter().map(|item| item.get()).collect());
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.map(|item| item.map(RawValue::get).map_err(malformed)).collect()
}

fn malformed(error: serde_json::Error) -> Unusable {
    Unusable::Malformed(format!("the body is no JSON of this form: {}", unreadable(&error)))
}

fn bounded(text: &str) -> Result<&str, Unusable> {
    if text.len() <= EVENT_BYTES_MAX {
        return Ok(text);
    }
    Err(Unusable::TooLarge(format!(
        "an event has at most 32 KiB ({EVENT_BYTES_MAX} bytes); this one has {}",
        text.len()
    )))
}

fn all(items: Vec<&str>, id: &str, read: impl Fn(&Map<String, Value>, usize) -> Facts) -> Result<Vec<Sent>, Unusable> {
    if items.len() > EVENTS_MAX {
        return Err(Unusable::TooLarge(format!(
            "a request has at most {EVENTS_MAX} events; this one has {}",
            items.len()
        )));
    }
    Ok(items.into_iter().enumerate().map(|(index, item)| sent(item, id, index, &read)).collect())
}

fn sent(text: &str, id: &str, index: usize, read: impl Fn(&Map<String, Value>, usize) -> Facts) -> Sent {
    if let Err(Unusable::TooLarge(detail) | Unusable::Malformed(detail)) = bounded(text) {
        let start = text
            .char_indices()
            .take_while(|(at, _)| *at < 1_024)
            .map(|(at, sign)| at + sign.len_utf8())
            .last()
            .unwrap_or(0);
        return Sent {
            id: String::new(),
            facts: Err(Reason::Oversize.because(detail)),
            // The whole would be as large again for each refusal.
            raw: text[..start].to_owned(),
        };
    }
    let parsed: Result<Map<String, Value>, Rejection> =
        serde_json::from_str(text).map_err(|error| Reason::MalformedJson.because(format!("an event is an object: {}", unreadable(&error))));
    Sent {
        id: parsed
            .as_ref()
            .ok()
            .and_then(|item| item.get(id)?.as_str().map(str::to_owned))
            .unwrap_or_default(),
        facts: parsed.and_then(|item| read(&item, index)),
        raw: text.to_owned(),
    }
}

/// The one event of a binary CloudEvent.
///
/// # Errors
/// Where it exceeds the limit of an event.
pub fn binary(attributes: &[(&str, &str)], content_type: Option<&str>, body: &[u8], source: &Sender, arrival: &Arrival) -> Result<Vec<Sent>, Unusable> {
    if body.len() > EVENT_BYTES_MAX {
        return Err(Unusable::TooLarge(format!(
            "an event has at most 32 KiB ({EVENT_BYTES_MAX} bytes); this one has {}",
            body.len()
        )));
    }
    let id = attributes
        .iter()
        .find(|(name, _)| *name == "id")
        .map(|(_, id)| (*id).to_owned())
        .unwrap_or_default();
    Ok(vec![Sent {
        id,
        facts: cloud::binary(attributes, content_type, body, source, arrival),
        raw: String::from_utf8_lossy(body).into_owned(),
    }])
}

/// A nonce that no other request has: the instant and random digits.
pub fn nonce(at: Timestamp, random: u64) -> String {
    format!("{:x}-{random:016x}", at.0)
}
