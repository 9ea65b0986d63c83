//! One process of a simulation: a task and its disk.

use millrace_model::{ShardId, Timestamp};
use millrace_shard::state::StateStore;

use crate::memory_store::MemoryDisk;
use crate::state::ShardState;
use crate::task::{ShardTask, Stepped, TaskContext};

pub(super) struct Node {
    pub shard: ShardId,
    pub disk: MemoryDisk,
    task: ShardTask,
    next_timer: Timestamp,
}

impl Node {
    pub fn new(shard: ShardId, context: &TaskContext, disk: MemoryDisk) -> Node {
        let task = ShardTask::new(shard, context.clone(), Box::new(disk.open()));
        Node {
            shard,
            disk,
            task,
            next_timer: Timestamp::MAX,
        }
    }

    pub fn step(&mut self) -> Stepped {
        let progress = self.task.step();
        if let Stepped::Idle(due) = progress {
            self.next_timer = due;
        }
        progress
    }

    /// As of the last idle step.
    pub fn next_timer(&self) -> Timestamp {
        self.next_timer
    }

    pub fn flush(&self) {
        // A memory store's flush cannot fail.
        let _ = self.disk.open().flush();
    }

    pub fn failure(&self) -> Option<String> {
        match self.task.state() {
            ShardState::Failed { reason } => Some(reason.clone()),
            _ => None,
        }
    }
}
