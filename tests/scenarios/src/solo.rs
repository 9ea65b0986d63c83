//! One shard alone, for measurements.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_model::{ShardId, SourceKind, Timestamp};
use millrace_shard::deployment::Deployment;
use millrace_shard::engine::Shard;
use millrace_shard::machine::{Budget, Effects, Input, InputTopic, Machine, OutputTopic};
use millrace_shard::state::{DERIVED, StateView};

use crate::Table;
use crate::counting::Counting;

/// One shard alone, for measurements.
pub struct Solo {
    machine: Shard,
    table: Table,
    now: Timestamp,
    offset: i64,
}

impl Solo {
    /// # Panics
    /// Where the configuration has more than one shard.
    pub fn new(config: Deployment, now: Timestamp) -> Solo {
        assert_eq!(config.shards, 1);
        let mut machine = Shard::new(ShardId::FIRST, Arc::new(config));
        let table = Table::default();
        machine.start(&table).expect("an empty table can be read");
        Solo {
            machine,
            table,
            now,
            offset: 0,
        }
    }

    /// Puts a rule about persons in force, and brings everybody up to it.
    ///
    /// # Panics
    /// Where the engine refuses it.
    pub fn define(&mut self, name: &str, pql: &str) {
        self.define_all([(name.to_owned(), pql.to_owned())]);
    }

    /// As `define`, for many rules at once.
    ///
    /// # Panics
    /// Where the engine refuses one.
    pub fn define_all(&mut self, rules: impl IntoIterator<Item = (String, String)>) {
        let input = |(name, pql): (String, String)| {
            let text = serde_json::json!({ "kind": "Segment", "metadata": { "name": name }, "spec": { "subject": "person", "pql": pql } }).to_string();
            self.input(InputTopic::Control, &name, Bytes::from(text))
        };
        let inputs = rules.into_iter().map(input).collect();
        self.run(inputs);
    }

    /// Takes a record, and processes all consequences.
    ///
    /// # Panics
    /// Where the engine refuses it.
    pub fn take(&mut self, kind: SourceKind, key: &str, value: Bytes) {
        let input = self.input(InputTopic::Source(kind), key, value);
        self.run(vec![input]);
    }

    /// The effect of a record, in bytes of changed rows; nothing is kept.
    ///
    /// # Panics
    /// Where the step fails.
    #[inline(never)] // `scripts/instructions` counts from its entry to its end.
    pub fn weigh(&mut self, kind: SourceKind, key: &str, value: Bytes) -> usize {
        let input = self.input(InputTopic::Source(kind), key, value);
        let effects = step(&mut self.machine, &self.table, &[input], self.now);
        effects
            .rows
            .iter()
            .filter(|(key, _)| key[0] < DERIVED)
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
            .sum()
    }

    /// How many rows a record makes the engine read, by the byte of the table; its effect is not
    /// kept. Derived tables are left out.
    pub fn reads(&mut self, kind: SourceKind, key: &str, value: Bytes) -> BTreeMap<u8, usize> {
        let input = self.input(InputTopic::Source(kind), key, value);
        let counting = Counting::new(&self.table);
        step(&mut self.machine, &counting, &[input], self.now);
        let mut tables = counting.tables.into_inner();
        tables.retain(|table, _| *table < DERIVED);
        tables
    }

    fn run(&mut self, mut inputs: Vec<Input>) {
        loop {
            let effects = step(&mut self.machine, &self.table, &inputs, self.now);
            self.table.apply(effects.rows);
            let refused = effects.outputs.iter().any(|output| output.topic == OutputTopic::DeadLetter);
            assert!(!refused, "{:?}", effects.outputs);
            inputs.clear();
            if !effects.more {
                return;
            }
        }
    }

    fn input(&mut self, topic: InputTopic, key: &str, value: Bytes) -> Input {
        self.offset += 1;
        let key = Some(Bytes::copy_from_slice(key.as_bytes()));
        Input {
            topic,
            partition: 0,
            offset: self.offset,
            timestamp: self.now,
            key,
            value: Some(value),
            headers: Vec::new(),
        }
    }
}

/// A step without time pressure.
fn step(machine: &mut Shard, view: &dyn StateView, inputs: &[Input], now: Timestamp) -> Effects {
    let budget = Budget {
        timers_max: 1_000,
        background: &mut || 1_000,
    };
    machine.step(view, inputs, now, budget).expect("rows in memory can be read")
}
