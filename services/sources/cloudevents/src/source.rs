//! Topics of CloudEvents as an interpretation of foreign records: an event that the shards would
//! refuse is refused here, where its place in the foreign topic is known.

use millrace_connect::budget::WallClock;
use millrace_connect::source::{Emitted, Interpret, Unusable};
use millrace_events::{Arrival, Fact};
use millrace_log::Delivered;
use millrace_model::{Cause, Rejection};
use millrace_wire::{DecodeError, Decoder};
use serde_json::{Map, Value, json};

use crate::binding;
use crate::config::Config;

/// Topics of CloudEvents.
pub struct EventTopics {
    config: Config,
    decoder: Decoder,
    now: WallClock,
}

impl EventTopics {
    /// `decoder` reads records as the deployment's shards do; `now` says how far ahead an event is.
    pub fn new(config: Config, decoder: Decoder, now: WallClock) -> EventTopics {
        EventTopics { config, decoder, now }
    }

    fn read(&self, delivered: &Delivered) -> Result<Vec<Emitted>, Rejection> {
        let arrival = Arrival {
            at: delivered.timestamp,
            // Every CloudEvent has an id, so this is part of none.
            nonce: String::new(),
        };
        let facts = binding::facts(&delivered.record, &self.config.sender, &arrival)?;
        facts.into_iter().map(|fact| self.judged(fact)).collect()
    }

    fn judged(&self, fact: Fact) -> Result<Emitted, Rejection> {
        let Fact { kind, key, value } = fact;
        let (bytes, now) = (value.to_string(), (self.now)());
        match self.decoder.decode(kind, Some(key.as_bytes()), Some(bytes.as_bytes()), now, now) {
            // JSON waits for no registry.
            Ok(_) | Err(DecodeError::Retry(_)) => Ok(Emitted::Record { kind, key, value: Some(value) }),
            Err(DecodeError::Rejected(rejection)) => Err(rejection),
        }
    }
}

impl Interpret for EventTopics {
    fn topics(&self) -> Vec<String> {
        self.config.topics.clone()
    }

    /// A repeated event is a repeated record: its `_id` counts once, for as long as the event is
    /// kept, so nothing is remembered here.
    fn interpret(&self, delivered: &Delivered, _: &mut Value) -> Result<Vec<Emitted>, Cause> {
        let unusable = |rejection| {
            vec![Emitted::Unusable(Box::new(Unusable {
                place: delivered.source.clone(),
                offset: delivered.offset,
                record: delivered.record.clone(),
                rejection,
            }))]
        };
        Ok(self.read(delivered).unwrap_or_else(unusable))
    }

    /// Headers are half of an event in binary form.
    fn shown(&self, delivered: &Delivered) -> Value {
        let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
        let headers = delivered.record.headers.iter().map(|(name, value)| (name.clone(), text(value)));
        let headers: Map<String, Value> = headers.collect();
        let value = delivered.record.value.as_deref();
        let value = value.map(|value| serde_json::from_slice(value).unwrap_or_else(|_| text(value)));
        json!({"headers": headers, "value": value})
    }
}
