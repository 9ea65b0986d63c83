//! The whole engine in memory: several shards, a virtual clock, and messages between shards that
//! take their time.
//!
//! A scenario publishes source records, lets the cluster settle, moves the clock, and checks the
//! members of segments. Nothing here fails or crashes (the simulation does that); the seed varies
//! the order in which messages of different senders arrive and how they are batched.

mod counting;
pub mod long;
pub mod paths;
mod solo;
pub mod visits;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use millrace_model::metric::Counter;
use millrace_model::{Schema, ShardId, SourceKind, SubjectKind, Timestamp};
use millrace_oracle::worlds::random::Random;
use millrace_oracle::{Rule, SourceRecord, Subject};
use millrace_shard::deployment::Deployment;
use millrace_shard::engine::Shard;
use millrace_shard::format;
use millrace_shard::key;
use millrace_shard::machine::{Budget, Input, InputTopic, Machine, Measure, Output, OutputTopic, Partition};
use millrace_shard::message::{Envelope, Message};
use millrace_shard::placement::shard_of;
use millrace_shard::query::{Query, Reader, Shards};
use millrace_shard::state::{DERIVED, RowChange, StateError, StateView};
use millrace_wire::{Batch, Decoder, DestinationState, Membership, OutputCodec, Status};

use counting::Counting;

pub use solo::Solo;

/// Steps after which a cluster that does not settle is declared stuck.
const STEPS_MAX: usize = 1_000_000;

/// Committed rows in memory.
#[derive(Clone, Debug, Default)]
pub struct Table(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl StateView for Table {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        if lower >= upper {
            return Ok(Vec::new());
        }
        Ok(self
            .0
            .range(lower.to_vec()..upper.to_vec())
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl Table {
    fn apply(&mut self, rows: Vec<RowChange>) {
        for (key, value) in rows {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }
}

/// Where a record waits: its sender (`None`: an outside producer), its reader's input.
type Channel = (Option<u32>, u32, InputTopic);

struct Node {
    machine: Shard,
    table: Table,
}

/// Some shards and the messages between them.
pub struct Cluster {
    config: Arc<Deployment>,
    nodes: Vec<Node>,
    channels: BTreeMap<Channel, VecDeque<Input>>,
    offsets: BTreeMap<(u32, InputTopic), i64>,
    random: Random,
    /// Messages to a shard arrive in the order in which they were sent, whoever sent them, as from
    /// one partition of a log; otherwise only each sender's do.
    pub one_inbox: bool,
    pub now: Timestamp,
    /// The membership topic, in order of commit.
    pub changes: Vec<Membership>,
    /// Places in `changes` of the last one by key, and by subject.
    last_of_key: HashMap<String, usize>,
    last_of_subject: HashMap<String, usize>,
    /// The last value per key of the destination topics.
    pub destinations: BTreeMap<(String, String), DestinationState>,
    /// Every record of the destination topics.
    pub activations: Vec<DestinationState>,
    /// Reasons of dead letters.
    pub dead_letters: Vec<String>,
    /// Messages in which an owner sent features of a thing to another shard.
    pub feature_messages: usize,
    /// The membership topic as it was written, alongside `changes`.
    pub written: Vec<Output>,
    /// The dead letters themselves, alongside `dead_letters`.
    pub refused: Vec<Output>,
    /// How many records had which outcome, by the words of `millrace_records_total`: stage, topic,
    /// outcome.
    pub counted: BTreeMap<String, u64>,
    /// The largest message from shard to shard, in bytes.
    pub message_bytes_max: usize,
    more: BTreeSet<u32>,
    /// Rows that all steps have read, and the most that one has read.
    pub rows_read: usize,
    pub rows_read_max: usize,
    /// Of that step, by the byte of the table.
    pub rows_read_of_max: BTreeMap<u8, usize>,
    /// The most rows that a step has written.
    pub rows_written_max: usize,
}

/// The configuration of a test deployment.
pub fn config(shards: u32) -> Deployment {
    // The same for every deployment, and slow to read.
    static BUILT: LazyLock<(Arc<Schema>, Arc<Decoder>)> = LazyLock::new(|| {
        let schema = Arc::new(Schema::built_in().expect("the schemas of the build parse"));
        let decoder = Decoder::builder(Arc::clone(&schema)).expect("the schemas of the build are Avro").build();
        (schema, Arc::new(decoder))
    });
    let (schema, decoder) = BUILT.clone();
    let priority = millrace_identity::Priority::new(["email", "ecid"]);
    Deployment {
        shards,
        topic_prefix: "millrace.".to_owned(),
        schema,
        decoder,
        output: Arc::new(OutputCodec::Json),
        policy: millrace_identity::Policy::default().with_priority(priority),
        settings: millrace_segment::Settings::default(),
        destinations: BTreeMap::new(),
        // The oracle is evaluated at the same instant.
        settle_ms: 0,
        history_rows: millrace_shard::deployment::HISTORY_ROWS,
    }
}

impl Cluster {
    pub fn new(shards: u32, seed: u64, now: Timestamp) -> Cluster {
        Cluster::with(config(shards), seed, now)
    }

    pub fn with(config: Deployment, seed: u64, now: Timestamp) -> Cluster {
        let config = Arc::new(config);
        let node = |number| {
            let mut machine = Shard::new(ShardId(number), Arc::clone(&config));
            let table = Table::default();
            machine.start(&table).expect("an empty table can be read");
            Node { machine, table }
        };
        Cluster {
            nodes: (0..config.shards).map(node).collect(),
            config,
            channels: BTreeMap::new(),
            offsets: BTreeMap::new(),
            random: Random::new(seed),
            one_inbox: false,
            now,
            changes: Vec::new(),
            last_of_key: HashMap::new(),
            last_of_subject: HashMap::new(),
            destinations: BTreeMap::new(),
            activations: Vec::new(),
            dead_letters: Vec::new(),
            feature_messages: 0,
            written: Vec::new(),
            refused: Vec::new(),
            counted: BTreeMap::new(),
            message_bytes_max: 0,
            more: BTreeSet::new(),
            rows_read: 0,
            rows_read_max: 0,
            rows_read_of_max: BTreeMap::new(),
            rows_written_max: 0,
        }
    }

    /// All processes stop and start under another configuration, with the rows they had.
    ///
    /// # Panics
    /// Where the number of shards is another: that is fixed for ever.
    pub fn restart(&mut self, config: Deployment) {
        assert_eq!(config.shards, self.config.shards);
        self.config = Arc::new(config);
        for (number, node) in (0..).zip(&mut self.nodes) {
            node.machine = Shard::new(ShardId(number), Arc::clone(&self.config));
            node.machine.start(&node.table).expect("tables in memory can be read");
            self.more.insert(number);
        }
    }

    /// Puts a definition on the control topic.
    pub fn define(&mut self, name: &str, text: Option<&str>) {
        self.define_in(name, text, None);
    }

    /// Puts definitions on the control topic that belong together.
    pub fn define_together(&mut self, id: &str, definitions: &[(&str, Option<String>)]) {
        let Some((last, others)) = definitions.split_last() else { return };
        self.define_some_of(id, others);
        let batch = Batch { id: id.into(), last: true };
        self.define_in(last.0, last.1.as_deref(), Some(&batch));
    }

    /// As `define_together`, without the last of them.
    pub fn define_some_of(&mut self, id: &str, definitions: &[(&str, Option<String>)]) {
        let batch = Batch { id: id.into(), last: false };
        definitions.iter().for_each(|(name, text)| self.define_in(name, text.as_deref(), Some(&batch)));
    }

    fn define_in(&mut self, name: &str, text: Option<&str>, batch: Option<&Batch>) {
        let header = |batch: &Batch| {
            let (name, value) = batch.header();
            (name, Bytes::from(value))
        };
        let headers: Vec<(String, Bytes)> = batch.map(header).into_iter().collect();
        for shard in 0..self.config.shards {
            let (key, value) = (
                Some(Bytes::copy_from_slice(name.as_bytes())),
                text.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            );
            self.enqueue(None, shard, InputTopic::Control, self.now, key, value, headers.clone());
        }
    }

    /// Puts a rule on the control topic, published.
    pub fn publish(&mut self, rule: &Rule) {
        self.define(&rule.name, Some(&definition(rule, "published")));
    }

    /// Appends to a source topic; every key to one partition, as producers do.
    ///
    /// # Panics
    /// On a topic that does not exist: a defect of the test.
    pub fn source(&mut self, record: &SourceRecord) {
        self.source_with(record, Vec::new());
    }

    /// As `source`, with headers.
    ///
    /// # Panics
    /// On a topic that does not exist: a defect of the test.
    pub fn source_with(&mut self, record: &SourceRecord, headers: Vec<(String, Bytes)>) {
        let value = record.value.as_ref().map(|value| Bytes::from(value.to_string()));
        self.append(&record.topic, Some(record.key.as_bytes()), value, record.timestamp_ms, headers);
    }

    /// As `source`, with any bytes.
    ///
    /// # Panics
    /// On a topic that does not exist: a defect of the test.
    pub fn source_bytes(&mut self, topic: &str, key: Option<&[u8]>, value: Option<Bytes>, timestamp_ms: i64) {
        self.append(topic, key, value, timestamp_ms, Vec::new());
    }

    fn append(&mut self, topic: &str, key: Option<&[u8]>, value: Option<Bytes>, timestamp_ms: i64, headers: Vec<(String, Bytes)>) {
        let kind = SourceKind::from_name(topic).unwrap_or_else(|| panic!("no source topic {topic}"));
        // As placed by a producer that hashes differently: a record reaches its shard through
        // another one.
        let shard = shard_of(&format!("{}?", String::from_utf8_lossy(key.unwrap_or_default())), self.config.shards).0;
        self.enqueue(
            None,
            shard,
            InputTopic::Source(kind),
            Timestamp(timestamp_ms),
            key.map(Bytes::copy_from_slice),
            value,
            headers,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one delivery")]
    fn enqueue(
        &mut self,
        sender: Option<u32>,
        shard: u32,
        topic: InputTopic,
        timestamp: Timestamp,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<(String, Bytes)>,
    ) {
        let input = Input {
            topic,
            partition: shard,
            offset: 0,
            timestamp,
            key,
            value,
            headers,
        };
        self.channels.entry((sender, shard, topic)).or_default().push_back(input);
    }

    /// Delivers everything, in a random order that keeps each sender's, until nothing is left to do
    /// at this instant.
    ///
    /// # Panics
    /// Where it never ends, or an invariant of the output is broken.
    pub fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.act() {
                return;
            }
        }
        panic!("the cluster does not settle");
    }

    /// One step of one shard; false where nothing is left to do at this instant.
    pub fn act(&mut self) -> bool {
        let waiting: Vec<Channel> = self
            .channels
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(channel, _)| *channel)
            .collect();
        let (shard, inputs) = if waiting.is_empty() {
            let busy = self.more.pop_first();
            let due = (0..self.config.shards).find(|shard| self.next_timer(*shard) <= self.now);
            match busy.or(due) {
                Some(shard) => (shard, Vec::new()),
                None => return false,
            }
        } else {
            let channel = waiting[self.random.below(waiting.len())];
            let count = 1 + self.random.below(4);
            (channel.1, self.take(channel, count))
        };
        self.step(shard, &inputs);
        true
    }

    fn take(&mut self, channel: Channel, count: usize) -> Vec<Input> {
        let Some(queue) = self.channels.get_mut(&channel) else { return Vec::new() };
        let count = count.min(queue.len());
        let mut inputs: Vec<Input> = queue.drain(..count).collect();
        for input in &mut inputs {
            let offset = self.offsets.entry((channel.1, channel.2)).or_default();
            input.offset = *offset;
            *offset += 1;
        }
        inputs
    }

    fn step(&mut self, shard: u32, inputs: &[Input]) {
        let timers_max = 1 + self.random.below(20);
        let mut portions: Vec<usize> = (0..=self.random.below(3)).map(|_| 1 + self.random.below(20)).collect();
        let budget = Budget {
            timers_max,
            background: &mut || portions.pop().unwrap_or(0),
        };
        let node = &mut self.nodes[shard as usize];
        let view = Counting::new(&node.table);
        let effects = node
            .machine
            .step(&view, inputs, self.now, budget)
            .unwrap_or_else(|error| panic!("shard {shard}: {error:?}"));
        let read = view.rows.get();
        self.rows_read += read;
        if read > self.rows_read_max {
            (self.rows_read_max, self.rows_read_of_max) = (read, view.tables.into_inner());
        }
        self.rows_written_max = self.rows_written_max.max(effects.rows.len());
        node.machine.committed();
        node.table.apply(effects.rows);
        if effects.more {
            self.more.insert(shard);
        }
        for output in effects.outputs {
            self.route(shard, output);
        }
        for measurement in effects.measurements {
            if let Measure::Add(Counter::Records | Counter::AmountsWithoutRate, count) = measurement.value {
                *self.counted.entry(measurement.labels.join(" ")).or_default() += count;
            }
        }
    }

    fn route(&mut self, sender: u32, output: Output) {
        if matches!(output.topic, OutputTopic::Inbox | OutputTopic::Records) {
            self.message_bytes_max = self.message_bytes_max.max(output.value.as_ref().map_or(0, Bytes::len));
        }
        match (output.topic.clone(), output.partition.clone()) {
            (OutputTopic::Inbox, Partition::Shard(ShardId(to))) => {
                let envelope: Envelope = format::decode(output.value.as_deref().expect("a message has a value")).expect("our own message can be read");
                self.feature_messages += usize::from(matches!(envelope.message, Message::Features { .. }));
                let sender = (!self.one_inbox).then_some(sender);
                self.enqueue(sender, to, InputTopic::Inbox, self.now, output.key, output.value, output.headers);
            }
            (OutputTopic::Records, Partition::Shard(ShardId(to))) => {
                self.enqueue(Some(sender), to, InputTopic::Records, self.now, output.key, output.value, output.headers);
            }
            (OutputTopic::Membership, _) => {
                let value = output.value.as_ref().expect("a change of membership has a value");
                let change = OutputCodec::decode_membership(value, None).expect("our own output can be read");
                self.check_change(&change);
                assert_eq!(output.key.as_deref(), Some(change.key().as_bytes()));
                assert_eq!(
                    output.partition,
                    Partition::Hash(Bytes::from(change.subject_id.clone())),
                    "one subject, one partition"
                );
                self.last_of_key.insert(change.key(), self.changes.len());
                self.last_of_subject.insert(change.subject_id.clone(), self.changes.len());
                self.changes.push(change);
                self.written.push(output);
            }
            (OutputTopic::Destination(name), _) => {
                let value = output.value.expect("a destination state has a value");
                let state = OutputCodec::decode_destination_state(&value, None).expect("our own output can be read");
                assert_eq!(output.key.as_deref(), Some(state.key().as_bytes()));
                self.destinations.insert((name.to_string(), state.key()), state.clone());
                self.activations.push(state);
            }
            (OutputTopic::DeadLetter, _) => {
                let reason = output
                    .headers
                    .iter()
                    .find(|(name, _)| name == "millrace.reason")
                    .map(|(_, value)| String::from_utf8_lossy(value).into_owned());
                self.dead_letters.push(reason.expect("a dead letter says why"));
                self.refused.push(output);
            }
            (topic, partition) => panic!("output to {topic:?} {partition:?}"),
        }
    }

    /// The promises of the membership topic: `realized` and `exited` alternate per key; `sequence`
    /// grows and `evaluatedAt` never runs backwards per subject.
    fn check_change(&self, change: &Membership) {
        let last = self.last_of_key.get(&change.key()).map(|at| &self.changes[*at]);
        let expected = if last.is_none_or(|last| last.status == Status::Exited) {
            Status::Realized
        } else {
            Status::Exited
        };
        assert_eq!(change.status, expected, "{change:?} after {last:?}");
        if let Some(last) = self.last_of_subject.get(&change.subject_id).map(|at| &self.changes[*at]) {
            assert!(
                change.sequence > last.sequence && change.evaluated_at >= last.evaluated_at,
                "{change:?} after {last:?}"
            );
        }
    }

    fn next_timer(&self, shard: u32) -> Timestamp {
        let node = &self.nodes[shard as usize];
        node.machine.next_timer(&node.table).expect("tables in memory can be read")
    }

    /// Moves the clock, stopping at every instant at which something is due.
    pub fn advance(&mut self, to: Timestamp) {
        self.settle();
        while let Some(next) = (0..self.config.shards).map(|shard| self.next_timer(shard)).min().filter(|next| *next <= to) {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = self.now.max(to);
        self.settle();
    }

    /// Moves the clock without delivering what waits; stops for nothing.
    pub fn advance_unsettled(&mut self, to: Timestamp) {
        self.now = self.now.max(to);
    }

    /// Canonical ids of the members of a segment, from the membership topic.
    pub fn members(&self, segment: &str) -> BTreeSet<String> {
        let mut members = BTreeSet::new();
        for change in self.changes.iter().filter(|change| change.segment == segment) {
            match change.status {
                Status::Realized => members.insert(change.subject_id.clone()),
                Status::Exited => members.remove(&change.subject_id),
            };
        }
        members
    }

    /// Derived rows are exactly those that follow from the base rows.
    ///
    /// # Panics
    /// Where they are not.
    pub fn check_derived(&mut self) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let base: Vec<RowChange> = node
                .table
                .0
                .iter()
                .filter(|(key, _)| key[0] < DERIVED)
                .map(|(key, value)| (key.clone(), Some(value.clone())))
                .collect();
            let mut derived = Table::default();
            derived.apply(node.machine.derive(&Table::default(), &base).expect("tables in memory can be read"));
            let kept: BTreeMap<_, _> = node.table.0.range(vec![DERIVED]..).map(|(key, value)| (key.clone(), value.clone())).collect();
            assert_eq!(kept, derived.0, "derived rows of shard {number}");
        }
    }

    /// Questions to the cluster.
    pub fn query(&self) -> Query {
        let readers = self.nodes.iter().map(|node| Arc::new(node.table.clone()) as Reader).collect();
        Query::new(Arc::clone(&self.config), Arc::new(Readers(readers)))
    }

    /// The hot rows of every person, for a failing test's message.
    ///
    /// # Panics
    /// Where a row cannot be read.
    pub fn persons(&self) -> String {
        let (first, end) = key::nodes(SubjectKind::Person);
        let mut lines = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let persons = node
                .table
                .0
                .range(first.clone()..end.clone())
                .filter(|(row_key, _)| key::table_of(row_key) == Some(key::table::SUBJECT));
            for (row_key, value) in persons {
                let subject = key::subject_of(row_key).expect("a subject's key");
                let row: millrace_shard::row::SubjectRow = millrace_shard::format::decode(value).expect("a subject's row");
                lines.push(format!("shard {number} {subject:?} {row:?}"));
            }
        }
        lines.join("\n")
    }

    /// Rows of one table over all shards, for tests that count them.
    pub fn rows(&self, table: u8) -> usize {
        self.nodes
            .iter()
            .map(|node| node.table.0.keys().filter(|row_key| key::table_of(row_key) == Some(table)).count())
            .sum()
    }
}

struct Readers(Vec<Reader>);

impl Shards for Readers {
    fn here(&self, shard: ShardId) -> Option<Reader> {
        self.0.get(shard.index()).cloned()
    }
}

/// The definition document of a rule.
pub fn definition(rule: &Rule, status: &str) -> String {
    let subject = match rule.subject {
        Subject::Person => "person",
        Subject::Account => "account",
    };
    serde_json::json!({
        "kind": "Segment",
        "metadata": { "name": rule.name },
        "spec": { "subject": subject, "status": status, "timeZone": rule.time_zone, "pql": rule.pql },
    })
    .to_string()
}
