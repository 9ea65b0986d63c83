//! Comparing a destination with the ledger, and repairing the differences.

use std::collections::BTreeSet;

use millrace_model::Identity;
use millrace_shard::murmur::partition_of;

use super::super::pending::Counts;
use super::{Answer, Change, Drift, SinkError, SinkTask};
use crate::sink::Actual;
use crate::sink::partition::audience_of;

/// Missing members are read from the log again and sent; members that nobody desires are removed at
/// once, as far as the brake allows.
pub(super) fn run(task: &mut SinkTask, audiences: &[String], actual: &[Actual]) -> Result<(), (u32, SinkError)> {
    let there: BTreeSet<(&str, &str)> = actual.iter().map(|member| (member.audience.as_str(), member.id.as_str())).collect();
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    let mut namespace = None;
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for (number, partition) in &task.partitions {
        let scanned = partition.each_row(|key, row| {
            let Some((audience, identity)) = split(key) else { return };
            namespace.get_or_insert_with(|| identity.namespace().to_owned());
            if !row.delivered() || !audiences.iter().any(|name| name == audience) {
                return;
            }
            if !there.contains(&(audience, identity.id())) {
                missing.insert(key.to_owned());
            }
            known.insert((audience.to_owned(), identity.id().to_owned()));
        });
        scanned.map_err(|error| (*number, error.into()))?;
    }
    let unexpected: Vec<Change> = actual
        .iter()
        .filter(|member| !known.contains(&(member.audience.clone(), member.id.clone())))
        .filter_map(|member| absence(namespace.as_deref()?, member))
        .filter(|change| task.owns(&change.key) && task.pending.get(&change.key).is_none())
        .collect();
    let mut drift = Drift {
        missing: missing.len() as u64,
        unexpected: unexpected.len() as u64,
        repaired: 0,
        at: task.now().to_string(),
    };
    drift.repaired = task.take_out(&unexpected)?;
    if !missing.is_empty() {
        drift.repaired += task.read_anew(|key, _| missing.contains(key), |row| crate::sink::LedgerRow { acknowledged: None, ..row })?;
    }
    tracing::info!(
        destination = task.context.name,
        missing = drift.missing,
        unexpected = drift.unexpected,
        repaired = drift.repaired,
        "compared"
    );
    task.drift = Some(drift);
    Ok(())
}

fn split(key: &str) -> Option<(&str, Identity)> {
    let (audience, identity) = key.split_once('|')?;
    Some((audience, Identity::parse(identity).ok()?))
}

fn absence(namespace: &str, member: &Actual) -> Option<Change> {
    let identity = Identity::new(namespace, &member.id)?;
    Some(Change {
        key: format!("{}|{identity}", member.audience),
        audience: member.audience.clone(),
        identity,
        present: false,
        attributes: std::collections::BTreeMap::new(),
        changed_at: millrace_model::Timestamp(0),
        id: 0,
    })
}

impl SinkTask {
    /// Whether this task owns the partition of a key.
    fn owns(&self, key: &str) -> bool {
        let count = self.context.partitions;
        self.partitions.contains_key(&partition_of(key.as_bytes(), count))
    }

    /// Sends absences of members that nobody desires, unless they are more than the brake allows.
    fn take_out(&mut self, unexpected: &[Change]) -> Result<u64, (u32, SinkError)> {
        let mut repaired = 0;
        let mut rest: Vec<&Change> = unexpected.iter().collect();
        while let Some(first) = rest.first() {
            let (audience, lane) = (first.audience.clone(), self.destination.lane(first));
            let (batch, others): (Vec<&Change>, Vec<&Change>) = rest
                .into_iter()
                .partition(|change| change.audience == audience && self.destination.lane(change) == lane);
            rest = others;
            let delivered: u64 = self.partitions.values().map(|partition| partition.delivered(audience_of(&batch[0].key))).sum();
            let removes = Counts {
                removes: batch.len() as u64,
                ..Counts::default()
            };
            let window = super::brake::together(self.partitions.values().map(|partition| partition.window(&audience)));
            if self.context.brake.holds(window, removes, delivered + removes.removes) {
                tracing::warn!(
                    destination = self.context.name,
                    audience,
                    count = batch.len(),
                    "more members than the brake lets pass are there by another's hand"
                );
                continue;
            }
            for chunk in batch.chunks(self.destination.limits().records_max.max(1)) {
                let changes: Vec<Change> = chunk.iter().map(|change| (*change).clone()).collect();
                let delivery = self.destination.deliver(&changes);
                self.calls += delivery.calls;
                repaired += delivery.answers.iter().filter(|answer| **answer == Answer::Accepted).count() as u64;
            }
        }
        Ok(repaired)
    }
}
