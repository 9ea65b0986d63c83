//! The stages of a shard composed: `(state view, messages, now) -> effects`.
//!
//! Pure: no clock, no thread, no file, no socket.
//!
//! # The path of a step
//!
//! ```text
//! inputs ─▶ ingest ─▶ resolve ─▶ owner ─▶ things (features) ─▶ evaluate ─▶ outputs: memberships, desired states
//!              │          │ ▲                                      ▲
//!         dead letters    ▼ │ moves                         timers, backfill
//!                       identity (shard 0)
//! ```
//!
//! * [`machine`] is the port: [`machine::Machine::step`] takes inputs and a read-only
//!   [`state::StateView`], and returns [`machine::Effects`]: changed rows, outputs, measurements.
//!   All of one step become visible together or not at all.
//! * [`engine::Shard`] is the machine. One file a stage below `engine/`; a stage speaks to a key of
//!   another stage in [`message::Message`]s, within the step where the key is of this shard, else
//!   through a topic.
//! * [`key`] and [`row`] say what is stored under what; [`program`] is the plan of all definitions
//!   in force.
//! * [`query`] answers questions over the rows of all shards: profiles, members, explanations,
//!   previews.
//!
//! What it is *not*: it does not know Kafka, RocksDB or how commits are made; `millrace-runtime`
//! drives it through [`machine`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use bytes::Bytes;
//! use millrace_model::{Schema, ShardId, SourceKind, Timestamp};
//! use millrace_shard::deployment::{Deployment, HISTORY_ROWS};
//! use millrace_shard::engine::Shard;
//! use millrace_shard::machine::{Budget, Input, InputTopic, Machine, OutputTopic};
//! use millrace_shard::state::{Row, StateError, StateView};
//! use millrace_wire::{Decoder, OutputCodec};
//!
//! /// A store without rows.
//! struct Empty;
//!
//! impl StateView for Empty {
//!     fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
//!         Ok(None)
//!     }
//!
//!     fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, StateError> {
//!         Ok(Vec::new())
//!     }
//! }
//!
//! let schema = Arc::new(Schema::built_in().expect("the schemas of the build parse"));
//! let deployment = Deployment {
//!     shards: 1,
//!     topic_prefix: "millrace.".to_owned(),
//!     decoder: Arc::new(Decoder::builder(Arc::clone(&schema)).expect("the schemas of the build are Avro").build()),
//!     schema,
//!     output: Arc::new(OutputCodec::Json),
//!     policy: millrace_identity::Policy::default(),
//!     settings: millrace_segment::Settings::default(),
//!     destinations: Default::default(),
//!     settle_ms: 0,
//!     history_rows: HISTORY_ROWS,
//! };
//! let mut shard = Shard::new(ShardId(0), Arc::new(deployment));
//! shard.start(&Empty)?;
//!
//! // A record that nobody can use is no error: it goes to the dead letters.
//! let input = Input {
//!     topic: InputTopic::Source(SourceKind::Person),
//!     partition: 0,
//!     offset: 0,
//!     timestamp: Timestamp(0),
//!     key: Some(Bytes::from("1@crm.Salesforce")),
//!     value: Some(Bytes::from("{")),
//!     headers: Vec::new(),
//! };
//! let budget = Budget { timers_max: 10, background: &mut || 0 };
//! let effects = shard.step(&Empty, &[input], Timestamp(0), budget)?;
//! assert_eq!(effects.outputs.len(), 1);
//! assert_eq!(effects.outputs[0].topic, OutputTopic::DeadLetter);
//! # Ok::<(), StateError>(())
//! ```

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

pub mod state;

pub mod machine;

pub mod deployment;
pub mod engine;
pub mod format;
pub mod key;
pub mod lifecycle;
pub mod merge;
pub mod message;
pub mod murmur;
pub mod origin;
pub mod placement;
pub mod program;
pub mod query;
pub mod record;
pub mod row;
pub mod tx;
