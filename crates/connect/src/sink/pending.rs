//! Changes read and not acknowledged: the newest desired state per key, in the order in which keys
//! began to wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use millrace_log::Offset;
use millrace_model::Timestamp;

use super::Change;

/// A key that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub change: Change,
    pub lane: String,
    pub partition: u32,
    /// Of the oldest record of the key that is not acknowledged: the committed position does not
    /// pass it.
    pub first_offset: Offset,
    /// Of the record that holds the newest desired state.
    pub offset: Offset,
    /// When the oldest was appended.
    pub since: Timestamp,
    /// The newest record's value, for a dead letter.
    pub value: Option<Bytes>,
    /// The largest batch that may include this change.
    pub together_max: usize,
    /// Whether the key is already present at the destination, by the ledger.
    pub delivered: bool,
    /// Whether it, or an older state of the key, may have been sent with an unknown outcome.
    pub sent: bool,
}

/// How many keys of an audience wait, by what they will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub adds: u64,
    pub removes: u64,
    /// Attribute changes of a present member, or the absence of a suppressed one.
    pub others: u64,
}

impl Counts {
    fn of(&mut self, waiting: &Waiting) -> &mut u64 {
        match (waiting.change.present, waiting.delivered) {
            (true, false) => &mut self.adds,
            (false, true) => &mut self.removes,
            _ => &mut self.others,
        }
    }

    pub fn all(&self) -> u64 {
        self.adds + self.removes + self.others
    }
}

/// All keys that wait, of all partitions of a task.
#[derive(Debug, Default)]
pub struct Pending {
    /// Ascending tickets: a key keeps its own while newer desires replace older ones.
    keys: HashMap<String, u64>,
    lanes: BTreeMap<String, BTreeMap<u64, Waiting>>,
    /// Lane of a ticket.
    lane_of: HashMap<u64, String>,
    /// First offsets of the waiting keys, by partition.
    offsets: BTreeMap<u32, BTreeMap<Offset, u64>>,
    counts: BTreeMap<String, Counts>,
    next: u64,
}

impl Pending {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn get(&self, key: &str) -> Option<&Waiting> {
        let ticket = self.keys.get(key)?;
        self.lanes.get(self.lane_of.get(ticket)?)?.get(ticket)
    }

    /// Adds a desired state; it replaces an older one of the key.
    pub fn put(&mut self, mut waiting: Waiting) {
        let key = waiting.change.key.clone();
        let ticket = match self.remove(&key) {
            Some((ticket, before)) => {
                waiting.first_offset = before.first_offset;
                waiting.since = before.since;
                waiting.sent |= before.sent;
                ticket
            }
            None => {
                self.next += 1;
                self.next
            }
        };
        self.offsets.entry(waiting.partition).or_default().insert(waiting.first_offset, ticket);
        *self.counts.entry(waiting.change.audience.clone()).or_default().of(&waiting) += 1;
        self.keys.insert(key, ticket);
        self.lane_of.insert(ticket, waiting.lane.clone());
        self.lanes.entry(waiting.lane.clone()).or_default().insert(ticket, waiting);
    }

    /// Removes a key: it is acknowledged, refused, or no longer this task's.
    pub fn take(&mut self, key: &str) -> Option<Waiting> {
        self.remove(key).map(|(_, waiting)| waiting)
    }

    fn remove(&mut self, key: &str) -> Option<(u64, Waiting)> {
        let ticket = self.keys.remove(key)?;
        let lane = self.lane_of.remove(&ticket)?;
        let members = self.lanes.get_mut(&lane)?;
        let waiting = members.remove(&ticket)?;
        if members.is_empty() {
            self.lanes.remove(&lane);
        }
        if let Some(counts) = self.counts.get_mut(&waiting.change.audience) {
            *counts.of(&waiting) -= 1;
        }
        if let Some(offsets) = self.offsets.get_mut(&waiting.partition) {
            offsets.remove(&waiting.first_offset);
        }
        Some((ticket, waiting))
    }

    /// Changes what does not decide its place: neither key, lane, audience nor its effect.
    pub fn update(&mut self, key: &str, change: impl FnOnce(&mut Waiting)) {
        if let Some(waiting) = self
            .keys
            .get(key)
            .and_then(|ticket| self.lanes.get_mut(self.lane_of.get(ticket)?)?.get_mut(ticket))
        {
            change(waiting);
        }
    }

    pub fn lanes(&self) -> impl Iterator<Item = (&String, &BTreeMap<u64, Waiting>)> {
        self.lanes.iter()
    }

    pub fn counts(&self, audience: &str) -> Counts {
        self.counts.get(audience).copied().unwrap_or_default()
    }

    pub fn all(&self) -> impl Iterator<Item = &Waiting> {
        self.lanes.values().flat_map(BTreeMap::values)
    }

    /// The least offset that waits in a partition.
    pub fn first_offset(&self, partition: u32) -> Option<Offset> {
        self.offsets.get(&partition)?.keys().next().copied()
    }

    /// The same once these keys are finished.
    pub fn first_offset_without(&self, partition: u32, finished: &BTreeSet<&str>) -> Option<Offset> {
        let offsets = self.offsets.get(&partition)?;
        let stays = |ticket: &u64| {
            let waiting = self.lane_of.get(ticket).and_then(|lane| self.lanes.get(lane)?.get(ticket));
            waiting.is_some_and(|waiting| !finished.contains(waiting.change.key.as_str()))
        };
        offsets.iter().find(|(_, ticket)| stays(ticket)).map(|(offset, _)| *offset)
    }

    /// Forgets a partition that is no longer this task's, or will be read again.
    pub fn forget(&mut self, partition: u32) {
        let keys: Vec<String> = self
            .all()
            .filter(|waiting| waiting.partition == partition)
            .map(|waiting| waiting.change.key.clone())
            .collect();
        for key in keys {
            self.remove(&key);
        }
    }
}
