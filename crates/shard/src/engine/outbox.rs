//! What a step sends on: messages, outputs and measurements, with the fact that caused them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use millrace_model::metric::Counter;
use millrace_model::{ShardId, Text};

use crate::format;
use crate::machine::{Measure, Measurement, Output, OutputTopic, Partition};
use crate::message::{Envelope, Message};
use crate::origin::Origin;

/// Everything that leaves a step, in order.
pub(super) struct Outbox {
    shard: ShardId,
    shards: u32,
    /// The fact that is being handled: the cause of all that is sent and marked meanwhile.
    pub cause: Origin,
    /// Messages for this shard.
    queue: VecDeque<Envelope>,
    outputs: Vec<Output>,
    measurements: Vec<Measurement>,
    /// Records by stage, topic and outcome.
    records: BTreeMap<(&'static str, &'static str, &'static str), u64>,
}

impl Outbox {
    /// The outbox of one of this number of shards.
    pub fn new(shard: ShardId, shards: u32) -> Outbox {
        Outbox {
            shard,
            shards,
            cause: Origin::timer(),
            queue: VecDeque::new(),
            outputs: Vec::new(),
            measurements: Vec::new(),
            records: BTreeMap::new(),
        }
    }

    /// Sends a message to its stage: into the queue if that is at this shard, otherwise through the
    /// inbox of the other.
    pub fn send(&mut self, message: Message) {
        self.send_through(OutputTopic::Inbox, None, message);
    }

    /// Sends a source record to its node, through the topic of records.
    pub fn forward(&mut self, key: Option<Bytes>, message: Message) {
        self.send_through(OutputTopic::Records, key, message);
    }

    fn send_through(&mut self, topic: OutputTopic, key: Option<Bytes>, message: Message) {
        let shard = message.to().shard(self.shards);
        let origin = self.cause.clone();
        let envelope = Envelope { origin, message };
        if shard == self.shard {
            self.queue.push_back(envelope);
            return;
        }
        self.outputs.push(Output {
            topic,
            partition: Partition::Shard(shard),
            key,
            value: Some(Bytes::from(format::encode(&envelope))),
            headers: Vec::new(),
        });
    }

    /// A message of another shard has arrived.
    pub fn receive(&mut self, envelope: Envelope) {
        self.queue.push_back(envelope);
    }

    /// The next message for this shard; its cause becomes the present one.
    pub fn next(&mut self) -> Option<Message> {
        let Envelope { origin, message } = self.queue.pop_front()?;
        self.cause = origin;
        Some(message)
    }

    /// Appends a record to a topic that leaves the shards.
    pub fn post(&mut self, output: Output) {
        self.outputs.push(output);
    }

    pub fn measure<const N: usize>(&mut self, value: Measure, labels: [Text; N]) {
        self.measurements.push(Measurement::new(value, labels));
    }

    pub fn count<const N: usize>(&mut self, counter: Counter, labels: [Text; N]) {
        self.measure(Measure::Add(counter, 1), labels);
    }

    /// Counts a record by the stage that handled it, its topic and what the stage did.
    pub fn count_record(&mut self, stage: &'static str, topic: &'static str, outcome: &'static str) {
        *self.records.entry((stage, topic, outcome)).or_default() += 1;
    }

    /// Everything that was sent, at the end of the step.
    pub fn finish(mut self) -> (Vec<Output>, Vec<Measurement>) {
        debug_assert!(self.queue.is_empty(), "a step handles all its messages");
        for ((stage, topic, outcome), count) in std::mem::take(&mut self.records) {
            let labels = [stage, topic, outcome].map(Text::const_new);
            self.measure(Measure::Add(Counter::Records, count), labels);
        }
        (self.outputs, self.measurements)
    }
}
