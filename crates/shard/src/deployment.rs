//! The configuration that all shards of a deployment share.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use millrace_model::{Path, Schema, Text};
use millrace_segment::Settings;
use millrace_wire::{Decoder, OutputCodec};
use serde::Serialize;

use crate::machine::InputTopic;

/// The configuration of every shard of a deployment, fixed at its start.
pub struct Deployment {
    /// Shards in all; fixed when the deployment is created.
    pub shards: u32,
    /// Prefix of topic names, for the causes in outputs.
    pub topic_prefix: String,
    /// The types of source records.
    pub schema: Arc<Schema>,
    /// Reads source records, in the formats that their topics may have.
    pub decoder: Arc<Decoder>,
    /// Writes changes of membership, in the format that is configured.
    pub output: Arc<OutputCodec>,
    /// Namespace priority and guardrails.
    pub policy: millrace_identity::Policy,
    /// The default currency, the rates of the others, and how long events are kept.
    pub settings: Settings,
    /// The foreign systems that receive audiences, by name.
    pub destinations: BTreeMap<Text, Destination>,
    /// How long changes of membership are held back after a merge or split of a referenced thing,
    /// in milliseconds; 0: not at all.
    pub settle_ms: i64,
    /// The most rows of one person's ledger that one message or evaluation walks over. Work on more
    /// rows runs in portions, and ledgers with more events are dated. A fraction of what a step may
    /// take; tests take less, so that their small histories are long.
    pub history_rows: usize,
}

/// `Deployment::history_rows` of a deployment.
pub const HISTORY_ROWS: usize = 256;

impl Deployment {
    /// The full name of a topic.
    pub fn topic(&self, topic: InputTopic) -> Text {
        let mut name = Text::new(&self.topic_prefix);
        // Writing to a text in memory cannot fail.
        let _ = write!(name, "{topic}");
        name
    }

    /// How long events are kept, in milliseconds.
    pub fn retention_ms(&self) -> i64 {
        self.settings.retention_ms
    }
}

/// The namespace by which a destination identifies its members, and the attributes it receives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// The namespace of the identities that it knows.
    pub namespace: Text,
    /// The profile field whose texts the destination knows its members by; `None`: it knows them by
    /// the identities of the namespace. In the namespace `domain` the texts become domains.
    // Left out, it leaves the configuration's fingerprint as it was before there was this field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_by: Option<Path>,
    /// The destination's attribute name, and the profile field it takes.
    pub attributes: BTreeMap<Text, Path>,
}
