//! From facts to records: what the shards would refuse is refused here, where the sender hears it.
//! Pure.

use std::sync::Arc;

use bytes::Bytes;
use millrace_events::Fact;
use millrace_log::Record;
use millrace_model::{Rejection, SourceKind, Timestamp};
use millrace_wire::{DeadLetterOrigin, DecodeError, Decoder, dead_letter_headers};

use crate::body::Sent;
use crate::intake::{Outgoing, Topics};

/// The header of a record that names its sender.
const SOURCE_HEADER: &str = "millrace.source";

pub struct Judge {
    pub decoder: Decoder,
    pub topics: Topics,
}

/// The outcome of an event: all of its records, or a dead letter and the reason.
pub enum Verdict {
    Accepted(Vec<Outgoing>),
    Refused(Outgoing, Rejection),
}

impl Judge {
    pub fn verdict(&self, sent: Sent, source: &str, now: Timestamp) -> Verdict {
        let Sent { id, facts, raw } = sent;
        let records = facts.and_then(|facts| facts.into_iter().map(|fact| self.record(fact, source, now)).collect());
        match records {
            Ok(records) => Verdict::Accepted(records),
            Err(rejection) => Verdict::Refused(self.dead_letter(id, raw, source, &rejection), rejection),
        }
    }

    fn record(&self, fact: Fact, source: &str, now: Timestamp) -> Result<Outgoing, Rejection> {
        let Fact { kind, key, value } = fact;
        let (key, value) = (Bytes::from(key), Bytes::from(value.to_string()));
        match self.decoder.decode(kind, Some(&key), Some(&value), now, now) {
            // JSON waits for no registry.
            Ok(_) | Err(DecodeError::Retry(_)) => Ok(Outgoing {
                topic: self.topic(kind),
                record: Record {
                    key: Some(key),
                    value: Some(value),
                    headers: vec![(SOURCE_HEADER.to_owned(), Bytes::copy_from_slice(source.as_bytes()))],
                },
            }),
            Err(DecodeError::Rejected(rejection)) => Err(rejection),
        }
    }

    fn topic(&self, kind: SourceKind) -> Arc<str> {
        self.topics.records.get(&kind).map_or_else(|| Arc::from(kind.name()), Arc::clone)
    }

    fn dead_letter(&self, id: String, raw: String, source: &str, rejection: &Rejection) -> Outgoing {
        let origin = DeadLetterOrigin {
            topic: &self.topic(SourceKind::Activity),
            partition: -1,
            offset: -1,
            stage: &format!("collector {source}"),
        };
        let headers = dead_letter_headers(origin, rejection);
        Outgoing {
            topic: Arc::clone(&self.topics.dead_letters),
            record: Record {
                key: Some(Bytes::from(id)),
                value: Some(Bytes::from(raw)),
                headers: headers.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value))).collect(),
            },
        }
    }
}
