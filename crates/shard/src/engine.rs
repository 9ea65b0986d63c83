//! The stages of one shard, composed: the machine that the runtime drives.
//!
//! A step takes its inputs in order. Each becomes messages; messages for this shard are handled at
//! once, in order of arrival, until none is left. They write rows and mark subjects *dirty*. Then
//! dirty subjects are evaluated, things before persons, once each however often they were marked:
//! that sends features and memberships on and may mark further subjects. Due timers and background
//! work (fan-out, backfill) only mark subjects, within the budget of the step.
//!
//! Each stage is one file: `ingest`, `resolve`, `identity` (the writer's adapter), `owner`
//! (fragments, rows, events, moves), `ledger`, `history`, `tally`, `sequence`, `kin`, `related`
//! (follow, subscribe, replicas), `evaluate`, `horizon`, `computed`, `activation`, `background`,
//! `definitions`, `configuration`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use millrace_model::metric::Counter;
use millrace_model::{Identity, SubjectId, SubjectKind, Text, Timestamp};
use millrace_segment::view::QueryId;

use crate::format;
use crate::origin::{CauseKind, Origin};
use crate::deployment::Deployment;
use crate::key::{self, table};
use crate::machine::{Budget, Effects, Input, InputTopic, Machine, Measure, Measurement, Output, OutputTopic, Partition};
use crate::message::{Envelope, Message};
use crate::placement::shard_of_node;
use crate::program::Program;
use crate::row::{Moved, SubjectRow};
use crate::state::{RowChange, StateError, StateView};
use crate::tx::Tx;
use subjects::{CachedSubject, Subjects};

mod activation;
mod background;
mod computed;
mod configuration;
mod definitions;
mod derive;
mod evaluate;
mod history;
mod horizon;
mod identity;
mod ingest;
mod kin;
mod ledger;
mod owner;
mod related;
mod resolve;
mod sequence;
mod subjects;
mod tally;
mod view;

pub(crate) use derive::{aliases_of, dependent_of, dependents};
pub use evaluate::{asides, is_alive, source_kind};
pub use horizon::ends;
pub use identity::CommittedGraph;
pub use view::{Rows, SubjectView};

/// One shard.
pub struct Shard {
    number: u32,
    config: Arc<Deployment>,
    program: Arc<Program>,
    /// No timer is registered before this instant: keeps scans of the timer table off its deleted
    /// front.
    timers_from: Timestamp,
    /// The gauge of late timers is above zero.
    lagging: bool,
    /// No fan-out job is stored before this key.
    fanouts_from: Vec<u8>,
    /// No chore, review or backfill is stored.
    idle: bool,
    started: bool,
    /// A first step compares the configuration and reports the sizes of audiences.
    stepped: bool,
}

impl Shard {
    pub fn new(number: u32, config: Arc<Deployment>) -> Shard {
        Shard {
            number,
            config,
            program: Arc::new(Program::default()),
            timers_from: Timestamp::MIN,
            lagging: false,
            fanouts_from: Vec::new(),
            idle: false,
            started: false,
            stepped: false,
        }
    }
}

impl Machine for Shard {
    fn derive(&mut self, view: &dyn StateView, rows: &[RowChange]) -> Result<Vec<RowChange>, StateError> {
        derive::derive(view, rows)
    }

    fn start(&mut self, view: &dyn StateView) -> Result<(), StateError> {
        self.program = Arc::new(Program::load(view, &self.config)?);
        self.timers_from = Timestamp::MIN;
        self.fanouts_from = vec![table::FANOUT];
        self.idle = false;
        self.started = true;
        Ok(())
    }

    fn step(&mut self, view: &dyn StateView, inputs: &[Input], now: Timestamp, budget: Budget<'_>) -> Result<Effects, StateError> {
        debug_assert!(self.started, "the runtime starts a machine before it steps it");
        let mut step = Step {
            number: self.number,
            config: Arc::clone(&self.config),
            program: Arc::clone(&self.program),
            now,
            tx: Tx::new(view),
            queue: VecDeque::new(),
            subjects: Subjects::default(),
            buckets: ledger::Buckets::default(),
            evidence: Vec::new(),
            oldest_gone: BTreeSet::new(),
            chores: 0,
            idle: self.idle,
            dirty: BTreeMap::new(),
            fanouts: background::Fanouts::new(self.fanouts_from.clone()),
            audiences: BTreeMap::new(),
            outputs: Vec::new(),
            measurements: Vec::new(),
            controls: Vec::new(),
            records: BTreeMap::new(),
        };
        let first = !std::mem::replace(&mut self.stepped, true);
        if first {
            step.adopt_configuration()?;
        }
        for input in inputs {
            step.take(input)?;
        }
        step.plan()?;
        let mut timers_from = self.timers_from;
        let timers_left = step.mark_due(&mut timers_from, &mut self.lagging, budget.timers_max)?;
        if first {
            step.report_audiences()?;
        }
        let background_left = step.settle(budget.background)?;
        self.timers_from = timers_from;
        self.program = Arc::clone(&step.program);
        self.fanouts_from = step.write_fanouts()?;
        self.idle = step.idle;
        step.finish(timers_left || background_left)
    }

    fn next_timer(&self, view: &dyn StateView) -> Result<Timestamp, StateError> {
        let lower = key::Key::new(table::TIMER).instant(self.timers_from).done();
        let first = view.scan(&lower, &[table::TIMER + 1], 1)?;
        Ok(first.first().and_then(|(key, _)| key::Parts::of(key).instant()).unwrap_or(Timestamp::MAX))
    }

    fn committed(&mut self) {}
}

/// Why, and how much of, a subject must be evaluated again.
#[derive(Debug)]
struct Dirty {
    /// The latest fact that marked it.
    origin: Origin,
    /// Fragments or rows changed: merge them again.
    profile: bool,
    /// Evaluate everything.
    all: bool,
    /// Evaluate what was added after this revision.
    since: Option<u64>,
    /// A wake-up is due.
    due: bool,
    /// Event queries whose rows changed.
    queries: BTreeSet<QueryId>,
    /// Changes of related things, by their kind.
    related: BTreeMap<SubjectKind, Moved>,
    /// Shards that subscribed just now.
    greet: BTreeSet<u32>,
}

impl Dirty {
    fn new(origin: Origin) -> Dirty {
        Dirty {
            origin,
            profile: false,
            all: false,
            since: None,
            due: false,
            queries: BTreeSet::new(),
            related: BTreeMap::new(),
            greet: BTreeSet::new(),
        }
    }

    /// A related thing of this kind changed.
    fn moved(&mut self, kind: SubjectKind, moved: &Moved) {
        self.related.entry(kind).and_modify(|known| known.add(moved)).or_insert_with(|| moved.clone());
    }
}

/// The order in which dirty subjects are evaluated: dependencies first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn(u8, SubjectId);

impl Turn {
    fn of(subject: &SubjectId) -> Turn {
        let rank = match subject.kind {
            SubjectKind::Campaign => 0,
            SubjectKind::List => 1,
            SubjectKind::Opportunity => 2,
            SubjectKind::Account => 3,
            SubjectKind::Person => 4,
        };
        Turn(rank, subject.clone())
    }
}

/// One step in progress.
struct Step<'a> {
    number: u32,
    config: Arc<Deployment>,
    program: Arc<Program>,
    now: Timestamp,
    tx: Tx<'a>,
    queue: VecDeque<Envelope>,
    subjects: Subjects,
    buckets: ledger::Buckets,
    /// Evidence for the identity writer, weighed together.
    evidence: Vec<(millrace_identity::Evidence, Origin)>,
    /// Subjects whose earliest event may be gone.
    oldest_gone: BTreeSet<SubjectId>,
    /// Chores that began, minus those that ended.
    chores: i64,
    /// No chore, review or backfill waits.
    idle: bool,
    dirty: BTreeMap<Turn, Dirty>,
    fanouts: background::Fanouts,
    /// Change of the number of members, by segment.
    audiences: BTreeMap<Text, i64>,
    outputs: Vec<Output>,
    measurements: Vec<Measurement>,
    /// Definitions that arrived and are not planned yet.
    controls: Vec<definitions::Control>,
    /// Records by stage, topic and outcome.
    records: BTreeMap<(&'static str, &'static str, &'static str), u64>,
}

impl Step<'_> {
    /// Handles one input record and every message for this shard that follows from it.
    fn take(&mut self, input: &Input) -> Result<(), StateError> {
        if input.topic == InputTopic::Control {
            return self.define(input);
        }
        // Inputs after a definition meet it in force.
        self.plan()?;
        match input.topic {
            InputTopic::Control => {}
            InputTopic::Source(kind) => self.ingest(kind, input)?,
            InputTopic::Records | InputTopic::Inbox => {
                let Some(value) = &input.value else { return Ok(()) };
                let envelope: Envelope = format::decode(value)?;
                self.queue.push_back(envelope);
            }
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<(), StateError> {
        while let Some(Envelope { origin, message }) = self.queue.pop_front() {
            self.handle(message, &origin)?;
        }
        Ok(())
    }

    fn handle(&mut self, message: Message, origin: &Origin) -> Result<(), StateError> {
        match message {
            Message::Change(change) => self.change(change, origin),
            Message::Event { home, event } => self.route_event(home, event, origin),
            Message::Claim { node, home, present } => self.claim(&node, &home, present, origin),
            Message::Carry { home, node, epoch, present } => self.carry(&home, &node, epoch, present, origin),
            Message::Matter { home, on } => self.matter(&home, on, origin),
            Message::Aside { home, node, reason } => self.set_aside(home, node, reason, origin),
            Message::Anchor { node } => self.anchor(&node, origin),
            Message::Attach { node, row, sequence, value } => self.attach(node, row, sequence, value, origin),
            Message::Follow { node, shard, on } => self.follow(&node, shard, on, origin),
            Message::Evidence(evidence) => {
                self.evidence.push((evidence, origin.clone()));
                Ok(())
            }
            Message::Canonical { node, from, to, epoch } => self.canonical(node, from, to, epoch, origin),
            Message::Data { subject, node, epoch, data } => self.data(subject, node, epoch, data, origin),
            Message::Move { subject, node, to, epoch } => self.depart(subject, node, to, epoch, origin),
            Message::Arrive {
                subject,
                from,
                node,
                epoch,
                part,
                last,
            } => self.arrive(subject, from, node, epoch, part, last, origin),
            Message::Arrived { subject, node, epoch } => self.arrived(&subject, &node, epoch, origin),
            Message::Child { parent, child, features } => self.child(&parent, &child, features, origin),
            Message::Alias { node, canonical, epoch } => self.alias(&node, canonical, epoch, origin),
            Message::Subscribe { subject, shard, detail } => self.subscribe(&subject, shard, detail, origin),
            Message::Features { subject, standing, features } => self.replica(&subject, standing, features, origin),
            Message::Activate {
                key,
                subject,
                present,
                attributes,
            } => self.activate(&key, subject, present, attributes),
        }
    }

    /// Evaluates dirty subjects, then runs background work in portions, until nothing is left or no
    /// portion is given. Returns whether work is left.
    fn settle(&mut self, background: &mut dyn FnMut() -> usize) -> Result<bool, StateError> {
        loop {
            self.drain()?;
            if !self.evidence.is_empty() {
                self.weigh()?;
                continue;
            }
            if let Some((Turn(_, subject), dirty)) = self.dirty.pop_first() {
                self.evaluate(&subject, dirty)?;
                continue;
            }
            let Some(job) = self.next_job()? else { return Ok(false) };
            match background() {
                0 => return Ok(true),
                portion => self.go_on(job, portion)?,
            }
        }
    }

    fn finish(mut self, more: bool) -> Result<Effects, StateError> {
        for ((stage, topic, outcome), count) in std::mem::take(&mut self.records) {
            let labels = [stage, topic, outcome].map(Text::const_new);
            self.measurements.push(Measurement::new(Measure::Add(Counter::Records, count), labels));
        }
        self.write_audiences()?;
        self.write_chores()?;
        self.write_buckets();
        let mut appeared: i64 = 0;
        for (subject, CachedSubject { row, before }) in self.subjects.take() {
            let empty = SubjectRow {
                revision: row.revision,
                ..SubjectRow::default()
            } == row;
            let value = format::encode(&row);
            if before.as_ref().map_or(empty, |(before, _)| *before == value) {
                continue;
            }
            let registered = before.as_ref().map_or(Timestamp::MAX, |(_, registered)| *registered);
            if registered != row.timer.0 {
                if registered != Timestamp::MAX {
                    self.tx.delete(derive::subject_timer(registered, &subject));
                }
                if row.timer.0 != Timestamp::MAX {
                    self.tx.put_bytes(derive::subject_timer(row.timer.0, &subject), Vec::new());
                }
            }
            let row_key = key::of_subject(table::SUBJECT, &subject);
            appeared += i64::from(before.is_none()) - i64::from(empty);
            if empty { self.tx.delete(row_key) } else { self.tx.put_bytes(row_key, value) }
        }
        if appeared != 0 {
            let row_key = key::Key::new(table::POPULATION).done();
            let population: u64 = self.tx.get(&row_key)?.unwrap_or_default();
            self.tx.put(row_key, &population.saturating_add_signed(appeared));
        }
        Ok(Effects {
            rows: self.tx.into_rows(),
            outputs: self.outputs,
            measurements: self.measurements,
            more,
        })
    }

    /// Sends a message to the stage at `shard`: into the queue if that is this one, otherwise
    /// through the inbox.
    fn send(&mut self, shard: u32, message: Message, origin: &Origin) {
        let envelope = Envelope {
            origin: origin.clone(),
            message,
        };
        if shard == self.number {
            self.queue.push_back(envelope);
            return;
        }
        let value = Bytes::from(format::encode(&envelope));
        self.outputs.push(Output {
            topic: OutputTopic::Inbox,
            partition: Partition::Shard(shard),
            key: None,
            value: Some(value),
            headers: Vec::new(),
        });
    }

    fn send_to_node(&mut self, node: &Identity, message: Message, origin: &Origin) {
        self.send(shard_of_node(node, self.config.shards), message, origin);
    }

    fn send_to_subject(&mut self, subject: &SubjectId, message: Message, origin: &Origin) {
        self.send(shard_of_node(&subject.id.0, self.config.shards), message, origin);
    }

    /// The subject's hot row, as this step left it.
    fn subject(&mut self, subject: &SubjectId) -> Result<&mut SubjectRow, StateError> {
        if !self.subjects.contains(subject) {
            let stored = self.tx.get_bytes(&key::of_subject(table::SUBJECT, subject))?;
            self.cache_subject(subject, stored)?;
        }
        // The branch above has just inserted a missing one.
        Ok(self.subjects.get_mut(subject).expect("cached above"))
    }

    /// Takes a hot row as it is stored, unless this step has it already.
    fn cache_subject(&mut self, subject: &SubjectId, stored: Option<Vec<u8>>) -> Result<(), StateError> {
        if !self.subjects.contains(subject) {
            let known: Option<SubjectRow> = stored.as_deref().map(format::decode).transpose()?;
            let before = stored.zip(known.as_ref().map(|row| row.timer.0));
            // A new subject starts under the present plan: there is nothing older to upgrade.
            let row = known.unwrap_or_else(|| SubjectRow {
                revision: self.program.revision,
                ..SubjectRow::default()
            });
            self.subjects.insert(subject, CachedSubject { row, before });
        }
        Ok(())
    }

    fn mark(&mut self, subject: &SubjectId, origin: &Origin) -> &mut Dirty {
        let dirty = self.dirty.entry(Turn::of(subject)).or_insert_with(|| Dirty::new(origin.clone()));
        if origin.cause != CauseKind::Timer {
            dirty.origin = origin.clone();
        }
        dirty
    }

    fn count<const N: usize>(&mut self, counter: Counter, labels: [Text; N]) {
        self.measurements.push(Measurement::new(Measure::Add(counter, 1), labels));
    }
}
