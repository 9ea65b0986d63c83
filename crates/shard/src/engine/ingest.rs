//! ingest: source records, decoded, validated and sent to their node. Stateless.
//!
//! Records of a batch are decoded together, so that what they need is fetched together.

use bytes::Bytes;
use millrace_model::metric::Counter;
use millrace_model::{Event, EventOperation, Identity, Operation, Rejection, SourceChange, SourceKind, Text, Timestamp, Value};
use millrace_segment::Settings;
use millrace_wire::{DecodeError, Decoded};

use super::outbox::Outbox;
use crate::deployment::Deployment;
use crate::machine::{Input, InputTopic, Output, OutputTopic, Partition};
use crate::message::Message;
use crate::origin::{CauseKind, Origin};
use crate::state::StateError;

/// Decodes one record of a source topic.
pub(super) fn decode(deployment: &Deployment, now: Timestamp, kind: SourceKind, input: &Input) -> Result<Result<Decoded, Rejection>, StateError> {
    let decoded = deployment
        .decoder
        .decode(kind, input.key.as_deref(), input.value.as_deref(), input.timestamp, now);
    match decoded {
        Ok(decoded) => Ok(Ok(decoded)),
        Err(DecodeError::Rejected(rejection)) => Ok(Err(rejection)),
        // The registry does not answer: nothing of this batch is committed, and the shard
        // retries it.
        Err(error @ DecodeError::Retry(_)) => Err(StateError::NotYet(Box::new(error))),
    }
}

/// Handles one record of a source topic.
pub(super) fn ingest(deployment: &Deployment, out: &mut Outbox, kind: SourceKind, input: &Input, decoded: Result<Decoded, Rejection>) {
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(rejection) => return dead_letter(deployment, out, input, &rejection),
    };
    count_amounts_without_rate(&deployment.settings, out, &decoded.change);
    let outcome = match (decoded.clock_ahead, decoded.unknown_fields.is_empty()) {
        (true, _) => "accepted-with-modified-at-ahead",
        (false, false) => "accepted-with-unknown-fields",
        (false, true) => "accepted",
    };
    out.count_record("ingest", kind.name(), outcome);
    let mut origin = Origin {
        cause: if kind == SourceKind::AccountLink {
            CauseKind::Link
        } else {
            CauseKind::Record
        },
        topic: deployment.topic(input.topic),
        key: input.key.as_deref().map(text_of).unwrap_or_default(),
        event_id: None,
        ingested_at: Some(input.timestamp),
        trace: input
            .headers
            .iter()
            .rev()
            .find(|(name, _)| name == "traceparent")
            .map(|(_, value)| text_of(value)),
    };
    let message = match decoded.change {
        SourceChange::Record(change) => Message::Change(change),
        SourceChange::Event(event) => {
            origin.event_id = Some(event.id.clone());
            let Some(home) = home(deployment, &event) else { return };
            Message::Event { home, event }
        }
    };
    out.cause = origin;
    out.forward(input.key.clone(), message);
}

/// Counts amounts in a currency without a rate, which are null to every rule.
fn count_amounts_without_rate(settings: &Settings, out: &mut Outbox, change: &SourceChange) {
    let value = match change {
        SourceChange::Record(change) => match &change.operation {
            Operation::Replace(value) | Operation::Patch { value, .. } => value,
            Operation::Delete | Operation::Tombstone => return,
        },
        SourceChange::Event(event) => match &event.operation {
            EventOperation::Put(value) => value,
            EventOperation::Delete => return,
        },
    };
    let mut codes = Vec::new();
    codes_without_rate(settings, value, &mut codes);
    for code in codes {
        out.count(Counter::AmountsWithoutRate, [code]);
    }
}

/// The identity an event is filed under: its least by namespace priority. Ingest lets no event without identity through.
pub(super) fn home(deployment: &Deployment, event: &Event) -> Option<Identity> {
    let priority = deployment.policy.priority();
    event.identities.iter().min_by(|a, b| priority.compare(a, b)).cloned()
}

/// Sends an input that nobody can use to the dead letters.
pub(super) fn dead_letter(deployment: &Deployment, out: &mut Outbox, input: &Input, rejection: &Rejection) {
    let topic = deployment.topic(input.topic);
    out.count_record("ingest", input_name(input), "rejected");
    out.count(Counter::DeadLetters, [topic.clone(), rejection.reason.clone()]);
    let mut headers = input.headers.clone();
    let place = millrace_wire::DeadLetterOrigin {
        topic: &topic,
        partition: i32::try_from(input.partition).unwrap_or(i32::MAX),
        offset: input.offset,
        stage: "ingest",
    };
    let added = millrace_wire::dead_letter_headers(place, rejection);
    headers.extend(added.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value))));
    let partition = Partition::Hash(input.key.clone().unwrap_or_default());
    out.post(Output {
        topic: OutputTopic::DeadLetter,
        partition,
        key: input.key.clone(),
        value: input.value.clone(),
        headers,
    });
}

/// Bytes as text, whatever they are.
fn text_of(bytes: impl AsRef<[u8]>) -> Text {
    Text::from(String::from_utf8_lossy(bytes.as_ref()))
}

/// The currencies of the amounts in a value that have no rate, each as often as it stands there. What lies under `extra` is no money.
fn codes_without_rate(settings: &Settings, value: &Value, codes: &mut Vec<Text>) {
    match value {
        Value::List(items) => items.iter().for_each(|item| codes_without_rate(settings, item, codes)),
        Value::Map(fields) => {
            for (name, field) in fields.iter() {
                match name.as_str() {
                    "extra" => {}
                    "currencyCode" => codes.extend(code_without_rate(settings, value)),
                    _ => codes_without_rate(settings, field, codes),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) | Value::Text(_) | Value::Date(_) | Value::Time(_) => {}
    }
}

/// The currency of an amount without a rate. A text that is not a code counts as `other`, so that
/// typing errors in records do not become series of metrics.
fn code_without_rate(settings: &Settings, money: &Value) -> Option<Text> {
    let code = settings.currency_without_rate(money)?;
    let well_formed = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    Some(if well_formed {
        Text::from(code.to_ascii_uppercase())
    } else {
        Text::from("other")
    })
}

fn input_name(input: &Input) -> &'static str {
    match input.topic {
        InputTopic::Source(kind) => kind.name(),
        InputTopic::Control => "control.segments",
        InputTopic::Records => "records",
        InputTopic::Inbox => "inbox",
    }
}
