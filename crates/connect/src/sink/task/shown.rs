//! The task's report about itself.

use super::SinkTask;
use crate::sink::partition::Partition;
use crate::sink::status::{Answers, AudienceStatus, SinkStatus};

impl SinkTask {
    /// What the destination has answered so far.
    pub fn answers(&self) -> Answers {
        self.answers
    }

    /// The status of the task.
    pub fn status(&mut self) -> SinkStatus {
        let now = self.now();
        let minute_ago = now.0 / 1_000 - 60;
        self.pace.retain(|second, _| *second > minute_ago);
        let mut status = SinkStatus {
            destination: self.context.name.clone(),
            partitions: self.partitions(),
            quota_left: self.destination.quota_left(),
            calls: self.calls,
            acknowledged: self.answers.acknowledged,
            error: self.lanes.values().find_map(|lane| lane.error.clone()),
            warnings: self.destination.warnings(),
            drift: self.drift.clone(),
            readable: self.destination.readable(),
            at: now.to_string(),
            ..SinkStatus::default()
        };
        for name in self.audiences(None) {
            let audience = self.audience_status(&name);
            status.desired += audience.desired;
            status.delivered += audience.delivered;
            status.pending += audience.pending;
            status.refused += audience.refused;
            status.audiences.insert(name, audience);
        }
        let oldest = self.pending.all().map(|waiting| waiting.since).min();
        status.oldest_pending_ms = oldest.map(|since| u64::try_from(now.0 - since.0).unwrap_or_default());
        let unread: u64 = self.partitions.values().map(Partition::unread).sum();
        // What the brake holds waits for a person, for nobody knows how long.
        let held = status.audiences.values().any(|audience| audience.held);
        status.finished_in_ms = if held { None } else { self.finished_in(status.pending + unread) };
        status
    }

    fn audience_status(&self, name: &str) -> AudienceStatus {
        let counts = self.pending.counts(name);
        let members = self.partitions.values().filter_map(|partition| partition.members.get(name));
        let (delivered, refused) = members.fold((0, 0), |(delivered, refused), members| {
            (delivered + members.delivered, refused + members.refused)
        });
        AudienceStatus {
            desired: (delivered + counts.adds + refused).saturating_sub(counts.removes),
            delivered,
            pending: counts.all(),
            refused,
            held: self.held(name),
            remark: self.destination.remark(name),
        }
    }

    fn finished_in(&self, waiting: u64) -> Option<u64> {
        let (first, _) = self.pace.first_key_value()?;
        let seconds = u64::try_from(self.now().0 / 1_000 - first).unwrap_or_default().max(1);
        let done: u64 = self.pace.values().sum();
        (waiting > 0 && done > 0).then(|| waiting.saturating_mul(1_000).saturating_mul(seconds) / done)
    }
}
