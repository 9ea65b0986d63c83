//! How much a step does: inputs and background work, from what the last ones took.

use std::collections::BTreeMap;

use millrace_log::Offset;
use millrace_model::Text;
use millrace_model::metric::Counter;
use millrace_shard::machine::{Input, InputTopic, Measure, Measurement};

use super::{ShardTask, TaskConfig};
use crate::clock::Clock;

/// Subjects or rows of background work between two looks at the clock, at most.
const PORTION_MAX: usize = 32;
/// At least one background subject per eight inputs, so that overload slows background work but
/// never stops it.
const INPUTS_A_BACKGROUND: usize = 8;
/// A step without inputs may work this many times as long, so that its commit weighs less.
const IDLE_TIMES: i64 = 4;

/// How much background work is done between two looks at the clock, from what the last took: a
/// subject may have a handful of rules to catch up with, or thousands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    portion: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { portion: PORTION_MAX }
    }
}

impl Pace {
    /// One subject or row at a time.
    pub fn slowest() -> Pace {
        Pace { portion: 1 }
    }

    /// The portions of background work in a step with this number of inputs: as long as there is
    /// time for them, from the first one on.
    pub fn portions<'a>(&'a mut self, config: &TaskConfig, inputs: usize, clock: &'a dyn Clock) -> impl FnMut() -> usize + use<'a> {
        let least = inputs / INPUTS_A_BACKGROUND;
        let most = config.background_max;
        let time_ms = config.background_ms.saturating_mul(if inputs == 0 { IDLE_TIMES } else { 1 });
        let (mut begun, mut last, mut given) = (None, None, 0);
        move || {
            let now = clock.now().0;
            let taken_ms = now - *begun.get_or_insert(now);
            if let Some(before) = last.replace(now) {
                self.learn(now - before, time_ms);
            }
            let portion = if given == 0 || given < least || taken_ms < time_ms {
                self.portion.min(most - given)
            } else {
                0
            };
            given += portion;
            portion
        }
    }

    fn learn(&mut self, taken_ms: i64, time_ms: i64) {
        if taken_ms > time_ms {
            self.portion = (self.portion / 2).max(1);
        } else if taken_ms <= time_ms / 2 {
            self.portion = (self.portion * 2).min(PORTION_MAX);
        }
    }
}

impl ShardTask {
    /// Checks how long a step took. One that was too long is counted, and logged with what it did;
    /// the next step's input limit follows from it.
    pub(super) fn watch(&mut self, inputs: &[Input], (rows, outputs): (usize, usize), machine_ms: i64, commit_ms: i64) {
        let config = self.context.config;
        let half_ms = (config.step_ms_max / 2).max(1);
        self.records_max = if machine_ms > half_ms {
            // In proportion, because most of a step's cost grows with its inputs.
            let share = inputs.len() as i64 * half_ms / machine_ms;
            usize::try_from(share).unwrap_or(0).clamp(1, config.poll.records_max)
        } else {
            self.records_max.saturating_mul(2).min(config.poll.records_max)
        };
        if machine_ms + commit_ms <= config.step_ms_max {
            return;
        }
        let part = if machine_ms >= commit_ms { "machine" } else { "commit" };
        // By place and not by key: keys name people.
        let mut read: BTreeMap<(InputTopic, u32), (usize, Offset)> = BTreeMap::new();
        for input in inputs {
            read.entry((input.topic, input.partition)).or_insert((0, input.offset)).0 += 1;
        }
        let read: Vec<String> = read
            .into_iter()
            .map(|((topic, partition), (count, first))| format!("{count} from {topic:?}/{partition} offset {first}"))
            .collect();
        tracing::warn!(
            shard = self.shard.0,
            machine_ms,
            commit_ms,
            rows,
            outputs,
            ?read,
            "step took longer than loop.step_time_max"
        );
        self.report(vec![Measurement::new(Measure::Add(Counter::SlowSteps, 1), [Text::const_new(part)])]);
    }
}
