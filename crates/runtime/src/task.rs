//! One shard: opens it, restores its store, steps its machine, commits, recovers.
//!
//! ```text
//! poll ─▶ machine.step(view, inputs, now) ─▶ transaction: changed rows, meta row, outputs, positions ─▶ commit ─▶ store.apply ─▶ machine.committed
//! ```
//!
//! Nothing local happens before the commit, so the store is never ahead of the log, and every
//! failure gets the same answer: drop session and machine, reopen the shard, and read from the
//! changelog what is committed. The store is flushed by time; after a crash the changelog restores
//! what it lost.

mod open;
mod pace;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millrace_log::{Delivered, Disposition, Log, LogError, Offset, PollLimits, Record, ShardSession, TopicPartition, Transaction};
use millrace_model::metric::{Counter, Gauge, Histogram};
use millrace_model::{DAY_MS, ShardId, Text, Timestamp, chain};
use millrace_shard::machine::{Budget, Effects, Input, InputTopic, Machine, Measure, Measurement, Output, OutputTopic, Partition, RESERVED};
use millrace_shard::state::{DERIVED, StateError, StateStore, StateView};

use crate::clock::Clock;
use crate::meta::{META_KEY, Meta, UnknownMeta};
use crate::observe::Observer;
use crate::state::ShardState;
use crate::topology::Topology;
use millrace_shard::murmur::partition_of;
use pace::Pace;

/// The settings of a task.
#[derive(Clone, Copy, Debug)]
pub struct TaskConfig {
    /// The most that one step takes; the wait is how long an idle loop sleeps when no timer is due
    /// sooner.
    pub poll: PollLimits,
    /// Timers per step. A thousand keep a transaction in the range of tens of milliseconds.
    pub timers_max: usize,
    /// Background work per step, in subjects or rows.
    pub background_max: usize,
    /// How long a step spends on background work while inputs wait for it.
    pub background_ms: i64,
    /// How long a step should take at most, its commit included. A longer one is counted and
    /// logged, and the following ones take fewer inputs.
    pub step_ms_max: i64,
    /// How often the store is flushed: the period whose changes a crash leaves to be restored.
    pub flush_every_ms: i64,
    /// Positions that moved over records without effect are committed at least this often.
    pub idle_commit_ms: i64,
    /// A meta row is committed at least this often, so that the store's age shows how current it
    /// is, and the log forgets neither producer nor group.
    pub heartbeat_ms: i64,
    /// A store whose last commit is older is discarded: the changelog may have forgotten tombstones
    /// since. Half of their retention.
    pub store_age_ms_max: i64,
    /// How often topics are checked for new partitions.
    pub topology_check_ms: i64,
    /// How often lag and size are measured.
    pub measure_every_ms: i64,
    /// The pause after a failed attempt: the first one, doubled with each further, up to the
    /// second.
    pub backoff_ms: (i64, i64),
    /// Whether a panic of the machine causes a recovery and, if the same input causes it again,
    /// fails this shard alone.
    pub panics_contained: bool,
}

impl Default for TaskConfig {
    fn default() -> TaskConfig {
        TaskConfig {
            poll: PollLimits {
                records_max: 2_000,
                bytes_max: 4 << 20,
                wait_ms_max: 50,
            },
            timers_max: 1_000,
            background_max: 5_000,
            background_ms: 10,
            step_ms_max: 100,
            flush_every_ms: 60_000,
            idle_commit_ms: 10_000,
            heartbeat_ms: 3_600_000,
            store_age_ms_max: 7 * DAY_MS / 2,
            topology_check_ms: 60_000,
            measure_every_ms: 5_000,
            backoff_ms: (100, 10_000),
            panics_contained: true,
        }
    }
}

/// Makes the machine of a shard; called again at every recovery.
pub type MakeMachine = dyn Fn(ShardId) -> Box<dyn Machine> + Send + Sync;

/// The environment of a task, shared with others.
#[derive(Clone)]
pub struct TaskContext {
    /// The topics of the deployment.
    pub topology: Topology,
    /// Where inputs come from and commits go.
    pub log: Arc<dyn Log>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Takes measurements and changes of state.
    pub observer: Arc<dyn Observer>,
    /// Makes the machine of a shard, at every opening anew.
    pub make_machine: Arc<MakeMachine>,
    /// Limits and intervals.
    pub config: TaskConfig,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The log; its error says what to do.
    #[error("log")]
    Log(#[from] LogError),
    /// The store, or what a machine met while it asked the store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The row of positions is of a version that this one does not read.
    #[error(transparent)]
    Meta(#[from] UnknownMeta),
    /// The machine panicked, with this message. Once is forgiven.
    #[error("machine panicked: {0}")]
    Panicked(String),
    /// State or machine violate a rule that no recovery repairs.
    #[error("{0}")]
    Broken(String),
}

/// The result of a call of `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// It did something; call again at once.
    Worked,
    /// Nothing to do before this instant, unless input arrives, which the next call waits for.
    Idle(Timestamp),
    /// The next attempt to open the shard is due at this instant; do not call before.
    Waiting(Timestamp),
    /// The state is final.
    Ended,
}

/// One shard in this process. Single-threaded: its owner calls `step` in a loop.
pub struct ShardTask {
    shard: ShardId,
    context: TaskContext,
    store: Box<dyn StateStore>,
    state: ShardState,
    /// While running.
    live: Option<Live>,
    /// The greatest instant seen, and the `now` of the last step.
    now: Timestamp,
    failures: u32,
    store_failures: u32,
    /// Input ranges of the step that panicked last.
    suspects: Option<Vec<(TopicPartition, Offset, Offset)>>,
    flushed_at: Timestamp,
    flush_due: bool,
    /// Inputs that the next step takes at most: as many as the last ones processed in half the time
    /// that a step may take.
    records_max: usize,
    pace: Pace,
    /// The last attempt failed because the store's disk was full.
    no_room: bool,
    room_checked_at: Timestamp,
}

/// The parts that exist only while the shard runs.
struct Live {
    session: Box<dyn ShardSession>,
    machine: Box<dyn Machine>,
    inputs: BTreeMap<TopicPartition, InputTopic>,
    changelog: TopicPartition,
    /// As of the last commit.
    meta: Meta,
    /// Those that moved since the last commit.
    moved: BTreeMap<TopicPartition, Offset>,
    outputs: BTreeMap<OutputTopic, (Arc<str>, u32)>,
    /// Background work waits.
    more: bool,
    /// Definitions that were read and not taken yet: they are read again after a recovery.
    held: Vec<Delivered>,
    committed_at: Timestamp,
    topology_checked_at: Timestamp,
    measured_at: Timestamp,
}

impl ShardTask {
    /// A task that opens its shard at the first step.
    pub fn new(shard: ShardId, context: TaskContext, store: Box<dyn StateStore>) -> ShardTask {
        context.observer.state_changed(shard, &ShardState::Opening);
        let now = context.clock.now();
        let records_max = context.config.poll.records_max;
        ShardTask {
            shard,
            context,
            store,
            state: ShardState::Opening,
            live: None,
            now,
            failures: 0,
            store_failures: 0,
            suspects: None,
            flushed_at: now,
            flush_due: false,
            records_max,
            pace: Pace::default(),
            no_room: false,
            room_checked_at: Timestamp(0),
        }
    }

    /// The number of the shard.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The state of the shard.
    pub fn state(&self) -> &ShardState {
        &self.state
    }

    /// Committed state, for readers on other threads. Current while the shard runs.
    pub fn reader(&self) -> Arc<dyn StateView + Send + Sync> {
        self.store.reader()
    }

    /// Does one thing: opens the shard, or runs the loop once.
    pub fn step(&mut self) -> Stepped {
        self.now = self.now.max(self.context.clock.now());
        let outcome = match &self.state {
            ShardState::Opening => self.open().map(|live| {
                self.live = Some(live);
                self.enter(ShardState::Running);
                Stepped::Worked
            }),
            // The wall clock, because after a recovery `now` may be ahead of it.
            ShardState::Waiting { until, .. } if self.context.clock.now() < *until => return Stepped::Waiting(*until),
            ShardState::Waiting { reason, .. } if self.no_room && self.store.room().is_err() => return self.wait_for_room(reason.clone()),
            ShardState::Waiting { .. } => {
                self.enter(ShardState::Opening);
                Ok(Stepped::Worked)
            }
            ShardState::Running => self.run(),
            ShardState::Released | ShardState::Failed { .. } => return Stepped::Ended,
        };
        outcome.unwrap_or_else(|error| self.fail(&error))
    }

    /// Keeps waiting for room, silently: it was logged once.
    fn wait_for_room(&mut self, reason: String) -> Stepped {
        let until = self.context.clock.now().plus_ms(ROOM_CHECK_MS);
        self.state = ShardState::Waiting { until, reason };
        self.report_room();
        Stepped::Waiting(until)
    }

    /// Before input is taken: whether there is room to store its effects.
    fn check_room(&mut self) -> Result<(), TaskError> {
        if self.now.0 - self.room_checked_at.0 >= ROOM_CHECK_MS {
            if self.store.is_damaged() {
                return Err(StateError::store("a reader met damaged rows").into());
            }
            self.store.room()?;
            self.room_checked_at = self.now;
        }
        Ok(())
    }

    fn report_room(&self) {
        if let Some(free) = self.store.free_bytes() {
            self.report(vec![Measurement::new(Measure::Set(Gauge::StateDiskFree, free as f64), [])]);
        }
    }

    /// Stops cleanly: flushes the store. Every committed step is in the log already.
    ///
    /// # Errors
    /// Where the store failed; the next owner restores the missing rows.
    pub fn close(mut self) -> Result<(), StateError> {
        self.live = None;
        self.store.flush()
    }

    /// The loop, once.
    fn run(&mut self) -> Result<Stepped, TaskError> {
        self.check_room()?;
        let Some(live) = self.live.as_mut() else {
            return Err(TaskError::Broken("running without a session".to_owned()));
        };
        let due = live.machine.next_timer(&*self.store)?;
        let idle_ms = if live.more || !live.held.is_empty() {
            0
        } else {
            due.0.saturating_sub(self.now.0).max(0) as u64
        };
        let limits = PollLimits {
            wait_ms_max: self.context.config.poll.wait_ms_max.min(idle_ms),
            records_max: self.records_max,
            ..self.context.config.poll
        };
        let mut delivered = live.session.poll(limits)?;
        // A step plans its definitions together, whatever their number.
        if self.records_max < DEFINITIONS_MAX && delivered.iter().any(|record| live.is_control(record)) {
            let (wait_ms_max, records_max) = (0, DEFINITIONS_MAX);
            delivered.extend(live.session.poll(PollLimits {
                wait_ms_max,
                records_max,
                ..limits
            })?);
        }
        self.now = self.now.max(self.context.clock.now());
        let inputs = live.take(delivered);
        let work = !inputs.is_empty() || live.more || due <= self.now;
        if work {
            self.work(&inputs)?;
        }
        self.maintain(due)?;
        Ok(if work { Stepped::Worked } else { Stepped::Idle(due) })
    }

    /// One step of the machine and, where it had effects, one commit.
    fn work(&mut self, inputs: &[Input]) -> Result<(), TaskError> {
        let clock = Arc::clone(&self.context.clock);
        let begun = clock.now();
        let effects = self.step_machine(inputs)?;
        let stepped = clock.now();
        let live = self.live.as_mut().expect("the machine just stepped");
        live.more = effects.more;
        let size = (effects.rows.len(), effects.outputs.len());
        if effects.nothing() {
            live.machine.committed();
            self.report(effects.measurements);
        } else {
            self.commit(effects)?;
        }
        self.watch(inputs, size, stepped.0 - begun.0, clock.now().0 - stepped.0);
        Ok(())
    }

    fn step_machine(&mut self, inputs: &[Input]) -> Result<Effects, TaskError> {
        let live = self.live.as_mut().expect("only a running task steps");
        let clock = Arc::clone(&self.context.clock);
        let (store, now, mut pace) = (&*self.store, self.now, self.pace);
        // Definitions come first. Nobody knows yet what it takes to catch up with these.
        if inputs.first().is_some_and(|input| input.topic == InputTopic::Control) {
            pace = Pace::slowest();
        }
        let mut step = || {
            let budget = Budget {
                timers_max: self.context.config.timers_max,
                background: &mut pace.portions(&self.context.config, inputs.len(), &*clock),
            };
            live.machine.step(store, inputs, now, budget)
        };
        // The machine is dropped after a panic, and the view only reads, so no half-made change is
        // seen again.
        let outcome = if self.context.config.panics_contained {
            catch_unwind(AssertUnwindSafe(step))
        } else {
            Ok(step())
        };
        self.pace = pace;
        match outcome {
            Ok(effects) => effects.map_err(TaskError::from),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                let text = text.unwrap_or_else(|| "no message".to_owned());
                Err(self.suspect(inputs, text))
            }
        }
    }

    /// Remembers which inputs caused a panic; the second panic on them is the last.
    fn suspect(&mut self, inputs: &[Input], text: String) -> TaskError {
        let mut ranges: BTreeMap<TopicPartition, (Offset, Offset)> = BTreeMap::new();
        for input in inputs {
            let partition = TopicPartition {
                topic: self.context.topology.input(input.topic).into(),
                partition: input.partition,
            };
            let range = ranges.entry(partition).or_insert((input.offset, input.offset));
            range.1 = input.offset;
        }
        let ranges: Vec<_> = ranges.into_iter().map(|(partition, (first, last))| (partition, first, last)).collect();
        let again = self.suspects.as_ref().is_some_and(|before| {
            let overlap = |range: &(TopicPartition, Offset, Offset)| before.iter().any(|old| old.0 == range.0 && old.1 <= range.2 && range.1 <= old.2);
            (before.is_empty() && ranges.is_empty()) || ranges.iter().any(overlap)
        });
        let id = Text::const_new("machine-panicked");
        self.report(vec![Measurement::new(Measure::Add(Counter::InvariantViolations, 1), [id])]);
        if again {
            let places: Vec<String> = ranges
                .iter()
                .map(|(partition, first, last)| format!("{}/{} {first}..={last}", partition.topic, partition.partition))
                .collect();
            return TaskError::Broken(format!("machine panicked twice over the same input, {}: {text}", places.join(", ")));
        }
        self.suspects = Some(ranges);
        TaskError::Panicked(text)
    }

    /// Commits effects and moved positions to the log, then to the store.
    fn commit(&mut self, effects: Effects) -> Result<(), TaskError> {
        let begun = Instant::now();
        let Effects {
            mut rows,
            outputs,
            measurements,
            ..
        } = effects;
        let live = self.live.as_mut().expect("only a running task commits");
        (live.meta.shard, live.meta.clock) = (Some(self.shard.0), self.now);
        let mut transaction = Transaction::default();
        for (source, offset) in std::mem::take(&mut live.moved) {
            let topic = live.inputs[&source];
            live.meta.positions.insert((topic.to_string(), source.partition), offset);
            // Every shard reads the control topic, so one position of the group could not
            // distinguish them.
            if topic != InputTopic::Control {
                transaction.positions.push((source, offset));
            }
        }
        let meta = live.meta.encode();
        for (key, value) in &rows {
            match key.first() {
                None | Some(&RESERVED) => return Err(TaskError::Broken(format!("machine wrote to the reserved table: {key:?}"))),
                Some(&table) if table >= DERIVED => {}
                Some(_) => transaction.records.push((live.changelog.clone(), row_record(key, value.as_deref()))),
            }
        }
        transaction.records.push((live.changelog.clone(), row_record(META_KEY, Some(&meta))));
        for output in outputs {
            transaction.records.push(live.place(output, &self.context)?);
        }
        let receipt = live.session.commit(transaction)?;
        let end = receipt
            .changelog_end
            .ok_or_else(|| TaskError::Broken("a commit with a meta row moved no changelog".to_owned()))?;

        rows.push((META_KEY.to_vec(), Some(meta)));
        self.store.apply(rows, end)?;
        live.machine.committed();
        live.committed_at = self.now;
        self.flush_due = true;
        self.failures = 0;
        self.store_failures = 0;
        self.report(measurements);
        let seconds = begun.elapsed().as_secs_f64();
        self.report(vec![Measurement::new(Measure::Sample(Histogram::Commit, seconds), [])]);
        Ok(())
    }

    /// Work triggered by time rather than by input.
    fn maintain(&mut self, due: Timestamp) -> Result<(), TaskError> {
        let (now, shard) = (self.now, self.shard);
        let config = self.context.config;
        let live = self.live.as_mut().expect("only a running task is maintained");
        let quiet_ms = now.0 - live.committed_at.0;
        if (!live.moved.is_empty() && quiet_ms >= config.idle_commit_ms) || quiet_ms >= config.heartbeat_ms {
            self.commit(Effects::default())?;
        }
        if self.flush_due && now.0 - self.flushed_at.0 >= config.flush_every_ms {
            self.store.flush()?;
            self.flushed_at = now;
            self.flush_due = false;
        }
        let live = self.live.as_mut().expect("only a running task is maintained");
        if now.0 - live.measured_at.0 >= config.measure_every_ms {
            live.measured_at = now;
            let mut measurements = live.lag();
            let store = Text::from(format!("shard-{shard}"));
            let bytes = Measure::Set(Gauge::StateBytes, self.store.size_bytes() as f64);
            measurements.push(Measurement::new(bytes, [store]));
            let overdue_ms = if due == Timestamp::MAX { 0 } else { now.0.saturating_sub(due.0).max(0) };
            let in_hand = f64::from(u8::from(live.more));
            measurements.push(Measurement::new(Measure::Set(Gauge::WorkInHand, in_hand), [Text::from(shard.to_string())]));
            measurements.push(Measurement::new(Measure::Set(Gauge::TimersDueLag, overdue_ms as f64 / 1_000.0), []));
            self.report(measurements);
            self.report_room();
        }
        let live = self.live.as_mut().expect("only a running task is maintained");
        if now.0 - live.topology_checked_at.0 >= config.topology_check_ms {
            live.topology_checked_at = now;
            let inputs = self.context.topology.inputs(&*self.context.log, shard)?;
            if inputs.into_iter().collect::<BTreeMap<_, _>>() != live.inputs {
                return Err(LogError::Unavailable("the partitions of a source have changed".into()).into());
            }
        }
        Ok(())
    }

    /// Drops what depends on the failed attempt and enters the state that follows from the error.
    fn fail(&mut self, error: &TaskError) -> Stepped {
        self.live = None;
        self.no_room = matches!(error, TaskError::State(StateError::NoRoom(_)));
        let reason = chain(error);
        let disposition = match error {
            TaskError::Log(error) => error.disposition(),
            TaskError::State(StateError::Store(_)) if self.store_failures >= 2 => Disposition::Stop,
            TaskError::Panicked(_) | TaskError::State(_) => Disposition::Recover,
            TaskError::Meta(_) | TaskError::Broken(_) => Disposition::Stop,
        };
        self.store_failures += u32::from(matches!(error, TaskError::State(StateError::Store(_))));
        let next = match disposition {
            Disposition::Release => ShardState::Released,
            Disposition::Stop => ShardState::Failed { reason },
            Disposition::Recover => {
                let (first, most) = self.context.config.backoff_ms;
                let pause_ms = first.saturating_mul(1 << self.failures.min(20)).min(most);
                self.failures += 1;
                let cause = Text::from(cause(error));
                self.report(vec![Measurement::new(Measure::Add(Counter::TransactionsAborted, 1), [cause])]);
                ShardState::Waiting {
                    until: self.context.clock.now().plus_ms(pause_ms),
                    reason,
                }
            }
        };
        let progress = match &next {
            ShardState::Waiting { until, .. } => Stepped::Waiting(*until),
            _ => Stepped::Ended,
        };
        self.enter(next);
        if self.no_room {
            self.report_room();
        }
        progress
    }

    fn enter(&mut self, next: ShardState) {
        debug_assert!(self.state.may_become(&next), "{:?} to {next:?}", self.state);
        let shard = self.shard.0;
        match &next {
            ShardState::Opening => tracing::debug!(shard, "shard opens"),
            ShardState::Running => tracing::info!(shard, "shard runs"),
            ShardState::Waiting { reason, .. } if self.no_room => tracing::warn!(shard, reason, "shard takes no input"),
            ShardState::Waiting { reason, .. } => tracing::warn!(shard, reason, "shard recovers"),
            ShardState::Released => tracing::info!(shard, "shard released to another process"),
            ShardState::Failed { reason } => tracing::error!(shard, reason, "shard failed; a person must act"),
        }
        self.state = next;
        self.context.observer.state_changed(self.shard, &self.state);
    }

    fn report(&self, mut measurements: Vec<Measurement>) {
        if measurements.is_empty() {
            return;
        }
        let now = self.context.clock.now();
        for measurement in &mut measurements {
            if let Measure::SecondsSince(histogram, instant) = measurement.value {
                measurement.value = Measure::Sample(histogram, now.0.saturating_sub(instant.0).max(0) as f64 / 1_000.0);
            }
        }
        self.context.observer.measured(self.shard, &measurements);
    }
}

/// Definitions that a step takes, if they are there, however slow the last step was: fewer would
/// plan too often, more would take too long.
const DEFINITIONS_MAX: usize = 64;
/// How often a store's disk is checked. A disk that takes 500 MB a second takes 100 MB meanwhile,
/// less than is kept free.
const ROOM_CHECK_MS: i64 = 200;

impl Live {
    /// Notes the positions after the records and returns them as inputs: definitions first, then
    /// messages, records, sources; per partition in order.
    fn take(&mut self, delivered: Vec<Delivered>) -> Vec<Input> {
        let mut inputs = Vec::with_capacity(delivered.len());
        let mut definitions = 0;
        for delivered in std::mem::take(&mut self.held).into_iter().chain(delivered) {
            let Some(&topic) = self.inputs.get(&delivered.source) else { continue };
            definitions += usize::from(topic == InputTopic::Control);
            if topic == InputTopic::Control && definitions > DEFINITIONS_MAX {
                self.held.push(delivered);
                continue;
            }
            let Delivered {
                source,
                offset,
                timestamp,
                record,
            } = delivered;
            let partition = source.partition;
            self.moved.insert(source, offset + 1);
            inputs.push(Input {
                topic,
                partition,
                offset,
                timestamp,
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
        }
        inputs.sort_by_key(|input| input.topic);
        inputs
    }

    fn place(&mut self, output: Output, context: &TaskContext) -> Result<(TopicPartition, Record), TaskError> {
        let Output {
            topic,
            partition,
            key,
            value,
            headers,
        } = output;
        let (name, count) = match self.outputs.get(&topic) {
            Some(known) => known,
            None => {
                let found = output_topic(&topic, context)?;
                self.outputs.entry(topic).or_insert(found)
            }
        };
        let partition = match partition {
            Partition::Shard(shard) if shard.0 < *count => shard.0,
            Partition::Shard(shard) => return Err(TaskError::Broken(format!("output to partition {shard} of {name}, which has {count}"))),
            Partition::Hash(bytes) => partition_of(&bytes, *count),
        };
        Ok((
            TopicPartition {
                topic: Arc::clone(name),
                partition,
            },
            Record { key, value, headers },
        ))
    }

    fn is_control(&self, delivered: &Delivered) -> bool {
        self.inputs.get(&delivered.source) == Some(&InputTopic::Control)
    }

    fn lag(&self) -> Vec<Measurement> {
        let gauge = |(source, records): (TopicPartition, u64)| {
            let labels = [Text::from(&*source.topic), Text::from(source.partition.to_string())];
            Measurement::new(Measure::Set(Gauge::ConsumerLag, records as f64), labels)
        };
        self.session.lag().into_iter().map(gauge).collect()
    }
}

/// The name and the number of partitions of a topic; a destination's topic is created where it is
/// missing.
fn output_topic(topic: &OutputTopic, context: &TaskContext) -> Result<(Arc<str>, u32), TaskError> {
    let name = context.topology.output(topic);
    let count = match (context.log.partitions(&name)?, topic) {
        (Some(count), _) => count,
        (None, OutputTopic::Destination(destination)) => {
            let spec = context.topology.destination_spec(destination);
            context.log.create_topic(&spec)?;
            spec.partitions
        }
        (None, _) => return Err(LogError::NoSuchTopic(name).into()),
    };
    Ok((name.into(), count))
}

fn row_record(key: &[u8], value: Option<&[u8]>) -> Record {
    Record {
        key: Some(Bytes::copy_from_slice(key)),
        value: value.map(Bytes::copy_from_slice),
        headers: Vec::new(),
    }
}

/// The cause, as the metric's label.
fn cause(error: &TaskError) -> &'static str {
    match error {
        TaskError::Log(LogError::Fenced) => "fenced",
        TaskError::Log(LogError::OutcomeUnknown(_)) => "outcome-unknown",
        TaskError::Log(LogError::Aborted(_)) => "aborted",
        TaskError::Log(LogError::Unavailable(_) | LogError::NoSuchTopic(_)) => "unavailable",
        TaskError::Log(LogError::OffsetLost { .. } | LogError::Failure(_)) => "log-failure",
        TaskError::State(StateError::Store(_) | StateError::Away(_)) => "store",
        TaskError::State(StateError::NotYet(_)) => "not-yet",
        TaskError::State(StateError::NoRoom(_)) => "no-room",
        TaskError::Panicked(_) | TaskError::Meta(_) | TaskError::Broken(_) => "invariant",
    }
}
