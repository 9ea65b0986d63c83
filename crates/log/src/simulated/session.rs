//! Sessions and readers of the simulated log.

use xxhash_rust::xxh3::Xxh3;

use super::{Broker, SimulatedLog};
use crate::{Delivered, LogError, Offset, PollLimits, Reader, Receipt, ShardIdentity, ShardSession, TopicPartition, Transaction};

#[derive(Default)]
pub(super) struct Cursor {
    inputs: Vec<(TopicPartition, Offset)>,
}

impl Cursor {
    pub(super) fn new(broker: &Broker, from: &[(TopicPartition, Offset)]) -> Result<Cursor, LogError> {
        let mut inputs = Vec::with_capacity(from.len());
        for (partition, offset) in from {
            let held = broker.partition(partition)?;
            let position = if *offset < 0 { held.start } else { *offset };
            if position < held.start || position > held.next {
                return Err(lost(partition, position));
            }
            inputs.push((partition.clone(), position));
        }
        Ok(Cursor { inputs })
    }

    /// Reads up to `limit` records, beginning with the input `turn`.
    fn read(&mut self, broker: &Broker, limit: usize, turn: usize) -> Result<Vec<Delivered>, LogError> {
        let mut delivered = Vec::new();
        let count = self.inputs.len();
        for step in 0..count {
            let (partition, position) = &mut self.inputs[(turn + step) % count];
            let held = broker.partition(partition)?;
            if *position < held.start {
                return Err(lost(partition, *position));
            }
            for entry in broker.readable(held, *position).take(limit - delivered.len()) {
                delivered.push(entry.delivered(partition));
                *position = entry.offset + 1;
            }
        }
        Ok(delivered)
    }

    fn unread(&self, broker: &Broker) -> Vec<(TopicPartition, u64)> {
        let count = |(partition, position): &(TopicPartition, Offset)| {
            let held = broker
                .partition(partition)
                .map(|held| held.entries.iter().filter(|entry| entry.offset >= *position).count());
            (partition.clone(), held.unwrap_or(0) as u64)
        };
        self.inputs.iter().map(count).collect()
    }
}

fn lost(partition: &TopicPartition, offset: Offset) -> LogError {
    LogError::OffsetLost {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        offset,
    }
}

pub(super) struct Session {
    pub(super) log: SimulatedLog,
    pub(super) identity: ShardIdentity,
    pub(super) epoch: u64,
    /// Saw an error; by protocol it must be dropped.
    pub(super) broken: bool,
    pub(super) cursor: Cursor,
}

impl Session {
    fn usable(&self) -> Result<(), LogError> {
        if self.broken {
            Err(LogError::Failure("a session was used after an error".into()))
        } else {
            Ok(())
        }
    }

    fn fail<T>(&mut self, error: LogError) -> Result<T, LogError> {
        self.broken = true;
        Err(error)
    }
}

impl ShardSession for Session {
    fn restore(&mut self, from: Offset, apply: &mut dyn FnMut(Delivered)) -> Result<Offset, LogError> {
        self.usable()?;
        let (records, end, cut) = {
            let mut broker = self.log.broker();
            let changelog = self.identity.changelog.clone();
            let mut cursor = Cursor::new(&broker, &[(changelog.clone(), from)])?;
            let records = cursor.read(&broker, usize::MAX, 0)?;
            let end = broker.partition(&changelog)?.next;
            let cut = broker
                .fault(|faults| faults.restore_cut)
                .then(|| broker.random.below(records.len() as u64 + 1) as usize);
            broker
                .trace
                .add(format!("restore {} from {from} to {end} cut {cut:?}", self.identity.transactional_id));
            (records, end, cut)
        };
        // Outside of the lock: the caller may look at the log.
        let taken = cut.unwrap_or(records.len());
        records.into_iter().take(taken).for_each(apply);
        if cut.is_some() {
            self.fail(LogError::Unavailable("simulated, midway of a restore".into()))
        } else {
            Ok(end)
        }
    }

    fn assign(&mut self, inputs: &[(TopicPartition, Offset)]) -> Result<(), LogError> {
        self.usable()?;
        self.cursor = Cursor::new(&self.log.broker(), inputs)?;
        Ok(())
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        self.usable()?;
        let log = self.log.clone();
        let mut broker = log.broker();
        if broker.fault(|faults| faults.poll_unavailable) {
            return self.fail(LogError::Unavailable("simulated".into()));
        }
        let most = limits.records_max.max(1);
        let short = broker.fault(|faults| faults.poll_short);
        let limit = if short { 1 + broker.random.below(most.min(10) as u64) as usize } else { most };
        let turn = broker.random.below(self.cursor.inputs.len() as u64) as usize;
        let delivered = self.cursor.read(&broker, limit, turn)?;
        if !delivered.is_empty() {
            let line = format!("poll {} {} records", self.identity.transactional_id, delivered.len());
            broker.trace.add(line);
        }
        Ok(delivered)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<Receipt, LogError> {
        self.usable()?;
        if transaction.records.is_empty() && transaction.positions.is_empty() {
            return Ok(Receipt { changelog_end: None });
        }
        let log = self.log.clone();
        let mut broker = log.broker();
        let id = self.identity.transactional_id.clone();
        if broker.epochs.get(&id) != Some(&self.epoch) {
            broker.trace.add(format!("fenced {id} epoch {}", self.epoch));
            return self.fail(LogError::Fenced);
        }
        if broker.fault(|faults| faults.commit_aborted) {
            broker.abort(&transaction)?;
            broker.trace.add(format!("aborted {id}"));
            return self.fail(LogError::Aborted("simulated".into()));
        }
        let unknown = broker.fault(|faults| faults.commit_unknown);
        if unknown && broker.random.chance(500) {
            broker.abort(&transaction)?;
            broker.trace.add(format!("unknown {id}, not committed"));
            return self.fail(LogError::OutcomeUnknown("simulated".into()));
        }
        let line = format!("commit {id} {} records {:016x}", transaction.records.len(), digest(&transaction));
        let receipt = broker.commit(&self.identity, transaction)?;
        broker.trace.add(line);
        if unknown {
            broker.trace.add(format!("unknown {id}, committed"));
            return self.fail(LogError::OutcomeUnknown("simulated".into()));
        }
        Ok(receipt)
    }

    fn lag(&self) -> Vec<(TopicPartition, u64)> {
        self.cursor.unread(&self.log.broker())
    }
}

pub(super) struct PlainReader {
    pub(super) log: SimulatedLog,
    pub(super) cursor: Cursor,
}

impl Reader for PlainReader {
    fn poll(&mut self, limits: PollLimits) -> Result<Vec<Delivered>, LogError> {
        self.cursor.read(&self.log.broker(), limits.records_max.max(1), 0)
    }

    fn caught_up(&mut self) -> Result<bool, LogError> {
        Ok(self.cursor.unread(&self.log.broker()).iter().all(|(_, unread)| *unread == 0))
    }
}

fn digest(transaction: &Transaction) -> u64 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for (partition, record) in &transaction.records {
        part(partition.topic.as_bytes());
        part(&partition.partition.to_le_bytes());
        part(record.key.as_deref().unwrap_or_default());
        part(record.value.as_deref().unwrap_or_default());
        part(&[u8::from(record.key.is_some()), u8::from(record.value.is_some())]);
        for (name, value) in &record.headers {
            part(name.as_bytes());
            part(value);
        }
    }
    for (partition, offset) in &transaction.positions {
        part(partition.topic.as_bytes());
        part(&partition.partition.to_le_bytes());
        part(&offset.to_le_bytes());
    }
    hash.digest()
}
