//! The engine on one thread, on a log of its own and under a clock of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use millrace_api::backend::{ChangeLog, ChangeReader, ChangesFrom, Commands};
use millrace_api::dto::RecordLine;
use millrace_config::Config;
use millrace_log::{Durability, EmbeddedConfig, EmbeddedLog, Log};
use millrace_model::{Identity, ShardId, Timestamp};
use millrace_runtime::clock::{Clock, ManualClock};
use millrace_runtime::host::AllShards;
use millrace_runtime::memory_store::MemoryDisk;
use millrace_runtime::observe::Unobserved;
use millrace_runtime::task::{ShardTask, Stepped, TaskContext};
use millrace_segment::Explanation;
use millrace_shard::query::{Query, Reader, Shards};
use millrace_shard::state::{StateError, StateStore};

use crate::assembly;
use crate::gateway::failure;
use crate::instance::{Instance, Parts, machines};
use crate::orders::LogOrders;

/// The story's engine.
pub struct Stage {
    // In this order: tasks hold the log, the log holds the folder's files.
    tasks: Vec<ShardTask>,
    changes: Box<dyn ChangeReader>,
    orders: LogOrders,
    query: Query,
    clock: Arc<ManualClock>,
    disks: Vec<MemoryDisk>,
    settle_ms: i64,
    log: Arc<dyn Log>,
    folder: tempfile::TempDir,
}

/// Committed state of the story's shards.
struct Readers(BTreeMap<ShardId, Reader>);

impl Shards for Readers {
    fn here(&self, shard: ShardId) -> Option<Reader> {
        self.0.get(&shard).cloned()
    }
}

impl Stage {
    /// Everything is empty, and it is `begins`.
    pub fn open(config: &Config, begins: Timestamp) -> anyhow::Result<Stage> {
        let folder = tempfile::tempdir().context("cannot make a folder for the demo")?;
        // Nobody needs the story after a power loss.
        let durability = EmbeddedConfig {
            durability: Durability::Never,
            ..EmbeddedConfig::default()
        };
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), durability)?);
        let topology = assembly::topology(config);
        for spec in topology.specs(config.topics.source_partitions) {
            log.create_topic(&spec)?;
        }
        let engine = Arc::new(assembly::deployment(config)?);
        let clock = Arc::new(ManualClock::new(begins));
        let mut task_config = assembly::task_config(config);
        task_config.poll.wait_ms_max = 0;
        let context = TaskContext {
            topology,
            log: Arc::clone(&log),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            observer: Arc::new(Unobserved),
            make_machine: machines(&engine),
            config: task_config,
        };
        let disks: Vec<MemoryDisk> = (0..config.topics.shards).map(|_| MemoryDisk::default()).collect();
        let tasks: Vec<ShardTask> = ShardId::all(config.topics.shards)
            .zip(&disks)
            .map(|(shard, disk)| ShardTask::new(shard, context.clone(), Box::new(disk.open())))
            .collect();
        let readers = Readers(tasks.iter().map(|task| (task.shard(), task.reader())).collect());
        let settle_ms = engine.settle_ms;
        let query = Query::new(engine, Arc::new(readers));
        let orders = LogOrders::new(Arc::clone(&log), config)?;
        let changes = orders.open(&ChangesFrom::Start).map_err(failure)?;
        Ok(Stage {
            tasks,
            changes,
            orders,
            query,
            clock,
            disks,
            settle_ms,
            log,
            folder,
        })
    }

    /// Puts a definition in force and waits until it is.
    pub fn define(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        self.orders.put_segment(name, text).map_err(failure)?;
        self.settle().map(drop)
    }

    /// Appends records and waits until all their consequences are committed, held-back changes
    /// included.
    pub fn append(&mut self, records: Vec<RecordLine>) -> anyhow::Result<()> {
        let answer = self.orders.append(records.into_iter().map(Ok).collect(), false).map_err(failure)?;
        if let Some(rejected) = answer.rejected.first() {
            bail!("the story's record {}: {}", rejected.line, rejected.reason);
        }
        self.pass_until(self.clock.now().plus_ms(self.settle_ms))
    }

    /// Lets time pass, from one due timer to the next, so that each is met at its own instant.
    pub fn pass_until(&mut self, instant: Timestamp) -> anyhow::Result<()> {
        loop {
            let due = self.settle()?;
            if due >= instant {
                break;
            }
            self.clock.set(due.max(self.clock.now()));
        }
        self.clock.set(instant);
        self.settle().map(drop)
    }

    /// Membership records since the last call, in the order of the topic's partitions.
    pub fn changes(&mut self) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut changes = Vec::new();
        while !self.changes.caught_up().map_err(failure)? {
            for placed in self.changes.next(false).map_err(failure)? {
                changes.push(serde_json::from_str(&placed.line)?);
            }
        }
        Ok(changes)
    }

    /// Canonical ids of a segment's members.
    pub fn members(&self, segment: &str) -> anyhow::Result<Vec<String>> {
        let members = self.query.members(segment, None, usize::MAX)?;
        Ok(members.iter().map(|member| member.id.0.to_string()).collect())
    }

    /// Why a person is in a segment, or is not.
    pub fn explain(&self, id: &str, segment: &str) -> anyhow::Result<Option<Explanation>> {
        let subject = self.query.resolve(&Identity::parse(id)?)?;
        let explained = self.query.explain(&subject, segment, self.clock.now())?;
        Ok(explained.map(|explained| explained.explanation))
    }

    /// Hands log and state over to a process under the machine's clock, which keeps the folder
    /// until it ends.
    pub fn into_instance(self, config: &Config) -> anyhow::Result<Instance> {
        let Stage { tasks, disks, log, folder, .. } = self;
        for task in tasks {
            task.close()?;
        }
        let open_store = Arc::new(move |shard: u32| -> Result<Box<dyn StateStore>, StateError> {
            // The log owns the folder: it lives as long as stores can be opened.
            let _ = folder.path();
            let disk = disks
                .get(shard as usize)
                .ok_or_else(|| StateError::store(format!("there is no shard {shard}")))?;
            Ok(Box::new(disk.open()))
        });
        Instance::start(
            config,
            Parts {
                log,
                ownership: Box::new(AllShards::new(config.topics.shards)),
                open_store,
                instance: None,
                sinks: None,
            },
        )
    }

    /// Steps every shard until none has anything to do; returns the instant of the earliest timer.
    fn settle(&mut self) -> anyhow::Result<Timestamp> {
        loop {
            let mut due = Timestamp::MAX;
            let mut quiet = true;
            for task in &mut self.tasks {
                match task.step() {
                    Stepped::Worked => quiet = false,
                    Stepped::Idle(next) => due = due.min(next),
                    Stepped::Waiting(_) | Stepped::Ended => bail!("shard {} stopped: {:?}", task.shard(), task.state()),
                }
            }
            if quiet {
                return Ok(due);
            }
        }
    }
}
