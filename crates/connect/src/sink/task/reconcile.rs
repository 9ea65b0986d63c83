//! Comparing a destination with the ledger, and repairing the differences.
//!
//! The ledger knows who was acknowledged. With which attributes is in the log: where the destination
//! shows attributes, the desired states that were acknowledged are read again and compared there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_log::{Delivered, EARLIEST, TopicPartition};
use millrace_model::{Identity, chain};
use millrace_shard::murmur::partition_of;
use millrace_wire::OutputError;

use super::super::pending::Counts;
use super::preview::each_from;
use super::wanted::state_of;
use super::{Answer, Change, Drift, SinkError, SinkTask};
use crate::sink::partition::audience_of;
use crate::sink::{Acknowledged, Actual, LedgerRow};

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
    let unexpected: Vec<(&Actual, Change)> = actual
        .iter()
        .filter(|member| !known.contains(&(member.audience.clone(), member.id.clone())))
        .filter_map(|member| Some((member, absence(namespace.as_deref()?, member)?)))
        .filter(|(_, change)| task.owns(&change.key) && task.pending.get(&change.key).is_none())
        .collect();
    let different = task.different(audiences, &missing)?;
    let mut drift = Drift {
        missing: missing.len() as u64,
        unexpected: unexpected.len() as u64,
        different: different.len() as u64,
        repaired: 0,
        at: task.now().to_string(),
    };
    // The absence of an id in another spelling would take off the member who bears the id.
    let named = |(member, change): &(&Actual, Change)| (change.identity.id() == member.id).then(|| change.clone());
    let absences: Vec<Change> = unexpected.iter().filter_map(named).collect();
    drift.repaired = task.take_out(&absences)?;
    if !missing.is_empty() {
        drift.repaired += task.read_anew(|key, _| missing.contains(key), |row| LedgerRow { acknowledged: None, ..row })?;
    }
    if !different.is_empty() {
        let doubtful = Some(Acknowledged::doubtful(true, task.now()));
        drift.repaired += task.read_anew(|key, _| different.contains(key), |row| LedgerRow { acknowledged: doubtful, ..row })?;
    }
    tracing::info!(
        destination = task.context.name,
        missing = drift.missing,
        unexpected = drift.unexpected,
        different = drift.different,
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

    /// Members that the destination holds with other attributes than those that it acknowledged.
    fn different(&mut self, audiences: &[String], missing: &BTreeSet<String>) -> Result<BTreeSet<String>, (u32, SinkError)> {
        let mut different = BTreeSet::new();
        if !self.destination.compares_attributes() {
            return Ok(different);
        }
        for number in self.partitions() {
            let from = TopicPartition {
                topic: self.context.topic.as_str().into(),
                partition: number,
            };
            let log = Arc::clone(&self.context.log);
            let mut batches: BTreeMap<String, Vec<Change>> = BTreeMap::new();
            let read = each_from(&*log, &[(from, EARLIEST)], |delivered| {
                let Some(change) = self.acknowledged_state(number, &delivered)? else {
                    return Ok(());
                };
                if missing.contains(&change.key) || !audiences.contains(&change.audience) {
                    return Ok(());
                }
                let batch = batches.entry(change.audience.clone()).or_default();
                batch.push(change);
                if batch.len() >= self.destination.limits().records_max {
                    self.compare(&std::mem::take(batch), &mut different);
                }
                Ok(())
            });
            read.map_err(|error| (number, error))?;
            for batch in batches.values() {
                self.compare(batch, &mut different);
            }
        }
        Ok(different)
    }

    /// The desired state in a record, if it is the one that was acknowledged last and has the key
    /// present.
    fn acknowledged_state(&self, number: u32, delivered: &Delivered) -> Result<Option<Change>, SinkError> {
        let change = match state_of(&self.context.name, self.context.registry.as_deref(), delivered) {
            Ok(state) => Change::new(state),
            Err(OutputError::Unreadable(_)) => return Ok(None),
            Err(error) => return Err(SinkError::NotYet(error)),
        };
        let Some(partition) = self.partitions.get(&number) else { return Ok(None) };
        let known = partition.row(&change.key)?.and_then(|row| row.acknowledged);
        let same = known.is_some_and(|known| known.present && change.present && known.fingerprint == change.fingerprint());
        Ok((same && self.pending.get(&change.key).is_none()).then_some(change))
    }

    fn compare(&mut self, batch: &[Change], different: &mut BTreeSet<String>) {
        match self.destination.different(batch) {
            Ok(places) => different.extend(places.into_iter().filter_map(|place| Some(batch.get(place)?.key.clone()))),
            Err(error) => tracing::warn!(destination = self.context.name, error = chain(&error), "cannot compare attributes"),
        }
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
                let delivery = self.deliver_as(&changes)?;
                self.calls += delivery.calls;
                repaired += delivery.answers.iter().filter(|answer| **answer == Answer::Accepted).count() as u64;
            }
        }
        Ok(repaired)
    }
}
