//! What the events of a batch will read, fetched before any of them is handled.
//!
//! An event needs the routing of its home, then the row of its subject, the event if it is known
//! already, and what the queries that it may match keep. A store finds the rows of a whole batch
//! with less work than one by one. Nothing depends on it: a row that was not foreseen is read when
//! it is needed.

use std::borrow::Cow;

use millrace_model::{Event, EventOperation, Identity, Rejection, SourceChange, SourceKind, SubjectId};
use millrace_segment::plan::{EventQuery, Keep};
use millrace_wire::Decoded;

use super::{Step, ingest};
use crate::format;
use crate::key::{self, Bucket, table};
use crate::machine::{Input, InputTopic};
use crate::message::{Envelope, Message};
use crate::placement::shard_of_node;
use crate::row::NodeRow;
use crate::state::StateError;

/// An input, decoded.
#[expect(clippy::large_enum_variant, reason = "a box for each message costs more than the space of one batch")]
pub(super) enum Opened {
    Definition,
    Record(SourceKind, Result<Decoded, Rejection>),
    Message(Envelope),
    /// A message topic has no use for a record without value.
    Nothing,
}

impl Step<'_> {
    /// Decodes an input.
    pub(super) fn open(&self, input: &Input) -> Result<Opened, StateError> {
        match input.topic {
            InputTopic::Control => Ok(Opened::Definition),
            InputTopic::Source(kind) => Ok(Opened::Record(kind, ingest::decode(&self.deployment, self.tx.now, kind, input)?)),
            InputTopic::Records | InputTopic::Inbox => {
                let envelope = input.value.as_deref().map(format::decode).transpose()?;
                Ok(envelope.map_or(Opened::Nothing, Opened::Message))
            }
        }
    }

    /// Fetches what the events among some inputs will read.
    pub(super) fn fetch_ahead(&mut self, inputs: &[Opened]) -> Result<(), StateError> {
        let events: Vec<(Cow<'_, Identity>, &Event)> = inputs
            .iter()
            .filter_map(|input| self.event_of(input))
            .filter(|(home, _)| shard_of_node(home, self.deployment.shards) == self.id)
            .collect();
        self.tx.fetch(events.iter().map(|(home, _)| key::node(home)).collect())?;
        let program = std::sync::Arc::clone(&self.program);
        let mut keys = Vec::with_capacity(3 * events.len());
        for (home, event) in events {
            let routing: NodeRow = self.tx.get(&key::node(&home))?.unwrap_or_default();
            let subject = routing.subject(&home);
            if shard_of_node(&subject.id.0, self.deployment.shards) != self.id {
                continue;
            }
            if let EventOperation::Put(body) = &event.operation {
                keys.extend(program.queries_for(body).filter_map(|query| kept_key(&subject, query)));
            }
            keys.push(key::event(&subject, &event.id));
            keys.push(key::of_subject(table::SUBJECT, &subject));
        }
        self.tx.fetch(keys)
    }

    fn event_of<'i>(&self, input: &'i Opened) -> Option<(Cow<'i, Identity>, &'i Event)> {
        match input {
            Opened::Record(
                _,
                Ok(Decoded {
                    change: SourceChange::Event(event),
                    ..
                }),
            ) => Some((Cow::Owned(ingest::home(&self.deployment, event)?), event)),
            Opened::Message(Envelope {
                message: Message::Event { home, event },
                ..
            }) => Some((Cow::Borrowed(home), event)),
            Opened::Definition | Opened::Record(..) | Opened::Message(_) | Opened::Nothing => None,
        }
    }
}

/// The row in which a query keeps something of every event that matches; none if each has its own.
fn kept_key(subject: &SubjectId, query: &EventQuery) -> Option<Vec<u8>> {
    match query.keep {
        Keep::All => None,
        Keep::Newest(_) => Some(key::kept(subject, Bucket::of(query))),
        Keep::Tally => Some(key::tally(subject, query.id)),
        Keep::Progress => Some(key::sequence(subject, query.id)),
    }
}
