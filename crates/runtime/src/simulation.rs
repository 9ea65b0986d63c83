//! Whole deployments under virtual time: real tasks and machines on a simulated log and disks that
//! crash.
//!
//! ```text
//! let mut simulation = Simulation::new(seed, SimulationConfig::hostile(4), make_machine);
//! simulation.send(SourceKind::Activity, key, Some(value));   // as often as you like, between steps
//! simulation.run_steps(100);                                 // faults, crashes and zombies as the seed decides
//! simulation.run_until_quiet();                              // everything that was sent is processed
//! simulation.run_until(instant);                             // time passes, timers fire
//! simulation.view(shard), simulation.content(topic)          // the outcome
//! ```
//!
//! Each decision is drawn from the seed, so equal seeds and calls give the same trace: `trace_hash`
//! is its hash, `trace` its last lines. Processes crash (the disk keeps any prefix after its last
//! flush, or is lost) and are superseded while they live on as zombies; shards come back on their
//! own disk, an empty one, or one that a predecessor left long ago.

mod node;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use millrace_log::random::Random;
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{Delivered, Log, Record, TopicPartition};
use millrace_model::{ShardId, SourceKind, Timestamp};
use millrace_shard::machine::InputTopic;

use self::node::Node;
use crate::clock::ManualClock;
use crate::memory_store::MemoryDisk;
use crate::observe::Unobserved;
use crate::task::{MakeMachine, Stepped, TaskConfig, TaskContext};
use crate::topology::Topology;
use millrace_shard::murmur::partition_of;

/// The settings of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct SimulationConfig {
    /// Shards of the deployment.
    pub shards: u32,
    /// Partitions of every source topic.
    pub source_partitions: u32,
    /// The instant at which the simulation begins.
    pub start: Timestamp,
    /// The faults of the log.
    pub faults: Faults,
    /// Per step of the simulation, in times per thousand: a process dies, and its shard is
    /// reopened.
    pub crash: u32,
    /// A shard is opened elsewhere while its owner, unaware, continues.
    pub zombie: u32,
    /// After a crash or a take-over, the new owner begins with an empty disk.
    pub disk_lost: u32,
    /// After a take-over, the new owner begins with a disk that an earlier owner left.
    pub disk_stale: u32,
    /// A disk is flushed, in addition to the task's timed flushes.
    pub flush: u32,
    /// By how much the wall clock may lag at a step.
    pub clock_jitter_ms: i64,
    /// Virtual time that passes at a step, at most.
    pub step_ms_max: i64,
    /// How the tasks are configured.
    pub task: TaskConfig,
}

impl SimulationConfig {
    /// No faults, for tests of logic alone.
    pub fn calm(shards: u32) -> SimulationConfig {
        let task = TaskConfig {
            panics_contained: false,
            backoff_ms: (10, 100),
            ..TaskConfig::default()
        };
        SimulationConfig {
            shards,
            source_partitions: shards,
            start: Timestamp(1_700_000_000_000),
            faults: Faults::default(),
            crash: 0,
            zombie: 0,
            disk_lost: 0,
            disk_stale: 0,
            flush: 0,
            clock_jitter_ms: 0,
            step_ms_max: 5,
            task,
        }
    }

    /// Every fault, often.
    pub fn hostile(shards: u32) -> SimulationConfig {
        let faults = Faults {
            open_unavailable: 50,
            poll_unavailable: 10,
            poll_short: 500,
            commit_aborted: 30,
            commit_unknown: 60,
            delayed: 300,
            delay_ms_max: 200,
            gap: 300,
            duplicate: 50,
            restore_cut: 50,
            compacted: 300,
        };
        let calm = SimulationConfig::calm(shards);
        SimulationConfig {
            // Most records come to their shard over another one.
            source_partitions: shards + 1,
            faults,
            crash: 15,
            zombie: 10,
            disk_lost: 200,
            disk_stale: 300,
            flush: 50,
            clock_jitter_ms: 20,
            // Too much work for a single step.
            task: TaskConfig {
                background_max: 20,
                ..calm.task
            },
            ..calm
        }
    }
}

/// A deployment in virtual time.
pub struct Simulation {
    config: SimulationConfig,
    random: Random,
    log: SimulatedLog,
    clock: Arc<ManualClock>,
    now: Timestamp,
    topology: Topology,
    context: TaskContext,
    nodes: Vec<Node>,
    /// Owners that do not know they were superseded.
    zombies: Vec<Node>,
    /// Disks that earlier owners left, by shard.
    shelf: Vec<(ShardId, MemoryDisk)>,
    /// No more faults.
    calm: bool,
}

/// A run that is not quiet after this number of rounds never will be.
const ROUNDS_MAX: usize = 200_000;

impl Simulation {
    /// A deployment with all its topics and one process per shard, none of which has opened its
    /// shard yet.
    pub fn new(seed: u64, config: SimulationConfig, make_machine: Arc<MakeMachine>) -> Simulation {
        let mut random = Random::new(seed);
        let log = SimulatedLog::new(random.next_u64(), config.faults, config.start);
        let topology = Topology::new("sim.", config.shards);
        for spec in topology.specs(config.source_partitions) {
            log.create_topic(&spec).expect("a new log has no topics that could be in the way");
        }
        let clock = Arc::new(ManualClock::new(config.start));
        let context = TaskContext {
            topology: topology.clone(),
            log: Arc::new(log.clone()),
            clock: clock.clone(),
            observer: Arc::new(Unobserved),
            make_machine,
            config: config.task,
        };
        let nodes = ShardId::all(config.shards)
            .map(|shard| Node::new(shard, &context, MemoryDisk::default()))
            .collect();
        let (now, zombies, shelf) = (config.start, Vec::new(), Vec::new());
        Simulation {
            config,
            random,
            log,
            clock,
            now,
            topology,
            context,
            nodes,
            zombies,
            shelf,
            calm: false,
        }
    }

    /// Appends to a source topic, placed by key as producers do.
    pub fn send(&mut self, kind: SourceKind, key: &str, value: Option<Bytes>) {
        let topic = self.topology.input(InputTopic::Source(kind));
        let partition = partition_of(key.as_bytes(), self.config.source_partitions);
        self.append(&topic, partition, Some(Bytes::copy_from_slice(key.as_bytes())), value);
    }

    /// Appends to the control topic.
    pub fn send_control(&mut self, key: &str, value: Option<Bytes>) {
        let topic = self.topology.input(InputTopic::Control);
        self.append(&topic, 0, Some(Bytes::copy_from_slice(key.as_bytes())), value);
    }

    /// Appends to any topic.
    ///
    /// # Panics
    /// Where there is no such partition.
    pub fn append(&mut self, topic: &str, partition: u32, key: Option<Bytes>, value: Option<Bytes>) {
        let partition = TopicPartition {
            topic: topic.into(),
            partition,
        };
        let record = Record {
            key,
            value,
            headers: Vec::new(),
        };
        self.log
            .append(vec![(partition, record)])
            .expect("the topic exists, and appends meet no faults but duplicates");
    }

    /// Runs this number of steps: each lets one process do one thing, with faults and crashes as
    /// the seed decides.
    pub fn run_steps(&mut self, steps: usize) {
        for _ in 0..steps {
            let passed_ms = self.random.below(self.config.step_ms_max.max(0) as u64 + 1) as i64;
            self.set_time(self.now.plus_ms(passed_ms));
            self.harm();
            let population = self.nodes.len() + self.zombies.len();
            let chosen = self.random.below(population as u64) as usize;
            self.step_node(chosen);
        }
    }

    /// Runs until everything sent is processed, readable, and nothing is due at this instant.
    /// Faults go on meanwhile, crashes and zombies as well.
    ///
    /// # Panics
    /// Where that never happens, or where a shard fails; the message ends with the trace.
    pub fn run_until_quiet(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.harm();
            let mut worked = false;
            let mut wake: Option<Timestamp> = None;
            for index in 0..self.nodes.len() {
                match self.step_node(index) {
                    Stepped::Worked | Stepped::Ended => worked = true,
                    Stepped::Waiting(until) => wake = wake.max(Some(until)),
                    Stepped::Idle(due) if due <= self.now => worked = true,
                    Stepped::Idle(_) => {}
                }
            }
            wake = wake.max(self.log.hidden_until());
            match wake {
                _ if worked => {}
                Some(until) => self.set_time(until.max(self.now.plus_ms(1))),
                None => return,
            }
        }
        self.give_up("does not become quiet");
    }

    /// Lets time pass up to an instant, from timer to timer, quiet at each.
    ///
    /// # Panics
    /// As `run_until_quiet`.
    pub fn run_until(&mut self, instant: Timestamp) {
        loop {
            self.run_until_quiet();
            if self.now >= instant {
                return;
            }
            let due = self.nodes.iter().map(Node::next_timer).min().unwrap_or(Timestamp::MAX);
            self.set_time(due.max(self.now.plus_ms(1)).min(instant));
        }
    }

    /// From now on nothing fails or crashes; zombies end.
    pub fn calm(&mut self) {
        self.calm = true;
        self.log.set_faults(Faults::default());
        self.zombies.clear();
        self.set_time(self.now);
    }

    /// The virtual instant.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The topics of the deployment.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The log itself, to read topics, lose records, or look at the trace.
    pub fn log(&self) -> &SimulatedLog {
        &self.log
    }

    /// Committed state of a shard, as its present owner has it.
    pub fn view(&self, shard: ShardId) -> MemoryDisk {
        self.nodes[shard.index()].disk.clone()
    }

    /// The readable records of a topic, partition by partition.
    pub fn content(&self, topic: &str) -> Vec<Delivered> {
        self.log.content(topic)
    }

    /// A hash over everything that happened.
    pub fn trace_hash(&self) -> u64 {
        self.log.trace_hash()
    }

    /// Kills the owner of a shard now; it comes back on its own disk, with a random prefix after
    /// the last flush.
    pub fn crash(&mut self, shard: ShardId) {
        let disk = self.nodes[shard.index()].disk.clone();
        let keep = self.random.below(disk.unflushed() as u64 + 1) as usize;
        self.log.note(format!("crash {shard} keeps {keep}"));
        disk.crash(keep);
        let lost = self.random.chance(self.config.disk_lost);
        self.nodes[shard.index()] = Node::new(shard, &self.context, if lost { MemoryDisk::default() } else { disk });
    }

    /// Opens a shard elsewhere, while its owner continues as a zombie.
    pub fn supersede(&mut self, shard: ShardId) {
        let stale = self
            .shelf
            .iter()
            .position(|(of, _)| *of == shard)
            .filter(|_| self.random.chance(self.config.disk_stale));
        self.log.note(format!("supersede {shard} stale {}", stale.is_some()));
        let disk = stale.map(|place| self.shelf.remove(place).1).unwrap_or_default();
        let new = Node::new(shard, &self.context, disk);
        let old = std::mem::replace(&mut self.nodes[shard.index()], new);
        self.zombies.push(old);
    }

    fn harm(&mut self) {
        if self.calm {
            return;
        }
        let shard = ShardId(self.random.below(u64::from(self.config.shards)) as u32);
        if self.random.chance(self.config.crash) {
            self.crash(shard);
        } else if self.random.chance(self.config.zombie) {
            self.supersede(shard);
        } else if self.random.chance(self.config.flush) {
            self.nodes[shard.index()].flush();
        }
        if !self.zombies.is_empty() && self.random.chance(300) {
            let zombie = self.random.below(self.zombies.len() as u64) as usize;
            self.step_node(self.nodes.len() + zombie);
        }
    }

    /// Lets one process do one thing: an owner or, beyond the last of those, a zombie.
    fn step_node(&mut self, chosen: usize) -> Stepped {
        if self.config.clock_jitter_ms > 0 {
            let lag_ms = self.random.below(self.config.clock_jitter_ms as u64) as i64;
            self.clock.set(if self.calm { self.now } else { self.now.plus_ms(-lag_ms) });
        }
        if let Some(zombie) = chosen.checked_sub(self.nodes.len()) {
            let progress = self.zombies[zombie].step();
            if progress == Stepped::Ended {
                let gone = self.zombies.remove(zombie);
                self.shelf.push((gone.shard, gone.disk.clone()));
            }
            return progress;
        }
        let progress = self.nodes[chosen].step();
        if progress != Stepped::Ended {
            return progress;
        }
        if let Some(reason) = self.nodes[chosen].failure() {
            self.give_up(&format!("shard {chosen} failed: {reason}"));
        }
        // A zombie that recovered took the shard back: belief against belief. The rightful owner
        // reopens it.
        let disk = self.nodes[chosen].disk.clone();
        self.log.note(format!("reopen {chosen}"));
        self.nodes[chosen] = Node::new(ShardId(chosen as u32), &self.context, disk);
        progress
    }

    fn set_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.clock.set(self.now);
        self.log.advance(self.now);
    }

    fn give_up(&self, reason: &str) -> ! {
        panic!("{reason}\n{}", self.log.trace().join("\n"));
    }
}

/// A simulated log without faults and topics.
#[cfg(test)]
pub(crate) fn plain_log() -> SimulatedLog {
    SimulatedLog::new(0, Faults::default(), Timestamp(0))
}
