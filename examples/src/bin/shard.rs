//! Runs one shard in memory over JSON lines: `cargo run -p millrace-examples --bin shard < examples/records.jsonl`.
//!
//! The shard is a machine `(view, inputs, now) -> effects`. This program is its whole runtime: it hands each line over as an input, applies the rows
//! that the step returns, and prints the memberships among the outputs. `millrace-runtime` does the same over a log, with transactions and recovery.

use std::io::BufRead;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use millrace_model::{Schema, ShardId, SourceKind, Timestamp};
use millrace_runtime::memory_store::{MemoryDisk, MemoryStore};
use millrace_shard::deployment::{Deployment, HISTORY_ROWS};
use millrace_shard::engine::Shard;
use millrace_shard::machine::{Budget, Input, InputTopic, Machine, OutputTopic};
use millrace_shard::state::StateStore;
use millrace_wire::{Decoder, OutputCodec};
use serde_json::Value;

const SEGMENT: &str = r#"
kind: Segment
metadata: { name: leads }
spec: { subject: person, status: published, timeZone: UTC, pql: "b2b.personScore >= 50" }
"#;

fn config() -> Result<Deployment> {
    let schema = Arc::new(Schema::built_in()?);
    Ok(Deployment {
        shards: 1,
        topic_prefix: "millrace.".to_owned(),
        decoder: Arc::new(Decoder::builder(Arc::clone(&schema))?.build()),
        schema,
        output: Arc::new(OutputCodec::Json),
        policy: millrace_identity::Policy::default(),
        settings: millrace_segment::Settings::default(),
        destinations: std::collections::BTreeMap::new(),
        settle_ms: 0,
        history_rows: HISTORY_ROWS,
    })
}

/// A shard and its committed rows.
struct Engine {
    shard: Shard,
    store: MemoryStore,
    /// Inputs so far.
    read: i64,
}

impl Engine {
    fn new() -> Result<Engine> {
        let store = MemoryDisk::default().open();
        let mut shard = Shard::new(ShardId::FIRST, Arc::new(config()?));
        shard.start(&store)?;
        Ok(Engine { shard, store, read: 0 })
    }

    /// Hands one record over, and steps until no work is left. Prints the memberships that changed.
    fn take(&mut self, topic: InputTopic, key: &str, value: &str, now: Timestamp) -> Result<()> {
        let mut inputs = vec![Input {
            topic,
            partition: 0,
            offset: self.read,
            timestamp: now,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: Vec::new(),
        }];
        self.read += 1;
        loop {
            let mut portions = 1;
            let budget = Budget {
                timers_max: 100,
                background: &mut || std::mem::take(&mut portions) * 100,
            };
            let effects = self.shard.step(&self.store, &inputs, now, budget)?;
            self.store.apply(effects.rows, self.read)?;
            self.shard.committed();
            for output in effects.outputs.iter().filter(|output| output.topic == OutputTopic::Membership) {
                let value = output.value.as_deref().context("memberships have a value")?;
                let change = OutputCodec::decode_membership(value, None)?;
                println!("{} {:?} {}", change.subject_id, change.status, change.segment);
            }
            if !effects.more {
                return Ok(());
            }
            inputs.clear();
        }
    }
}

fn main() -> Result<()> {
    let now = Timestamp::parse("2026-11-02T00:00:00Z")?;
    let mut engine = Engine::new()?;
    engine.take(InputTopic::Control, "leads", SEGMENT, now)?;
    for line in std::io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let text = |name: &str| line[name].as_str().with_context(|| format!("`{name}` is no text"));
        let kind = SourceKind::from_name(text("topic")?).context("no such topic")?;
        engine.take(InputTopic::Source(kind), text("key")?, &line["value"].to_string(), now)?;
    }
    Ok(())
}
