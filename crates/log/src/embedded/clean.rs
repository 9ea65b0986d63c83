//! Cleaning: retention, and rewriting segments without dead records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::{Arc, PoisonError};

use millrace_model::Timestamp;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::format::{self, BatchBuilder, Catalogue};
use super::frame::Seal;
use super::index::{Batch, PartitionRef};
use super::segment::{self, Segment};
use super::session::read_bytes;
use super::{Shared, failure};
use crate::{Delivered, LogError, Offset, TopicPartition};

/// Scattered records of one partition are gathered into batches of about this size.
const BATCH_BYTES: usize = 256 << 10;

/// The newest offset of each key in the segments not cleaned yet. A hash of 128 bits stands for the
/// key: two keys with the same hash are not expected.
type Newest = HashMap<(PartitionRef, u128), Offset>;

/// What may be removed: older values, old tombstones, records freed by retention.
struct Verdict<'a> {
    newest: &'a Newest,
    now: Timestamp,
}

impl Shared {
    /// Retention first; then, where `all` is set or it pays, a rewrite of closed segments.
    pub(super) fn clean(&self, now: Timestamp, all: bool) -> Result<(), LogError> {
        let _one_at_a_time = self.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
        self.index().retain(now);
        self.drop_empty_segments()?;
        loop {
            let closed = self.closed_segments();
            let weigh = |cleaned: bool| {
                closed
                    .iter()
                    .filter(|segment| segment.cleaned == cleaned)
                    .map(|segment| segment.bytes)
                    .sum::<u64>()
            };
            let (fresh, cleaned) = (weigh(false), weigh(true));
            if fresh == 0 || !(all || fresh >= cleaned.max(2 * self.config.segment_bytes)) {
                return Ok(());
            }
            // Fresh segments follow the cleaned ones. If they have more keys than the memory may
            // hold, the rest waits for the next round.
            let mut newest = Newest::new();
            let mut round = Vec::new();
            for segment in closed {
                if newest.len() >= self.config.clean_keys_max && !segment.cleaned {
                    break;
                }
                if !segment.cleaned {
                    self.note_newest(&segment, &mut newest)?;
                }
                round.push(segment);
            }
            self.write_starts()?;
            let verdict = Verdict { newest: &newest, now };
            for group in groups(round, self.config.segment_bytes) {
                self.rewrite(&group, &verdict)?;
            }
        }
    }

    fn closed_segments(&self) -> Vec<Arc<Segment>> {
        let index = self.index();
        index.segments.values().filter(|segment| segment.first != index.active).cloned().collect()
    }

    fn drop_empty_segments(&self) -> Result<(), LogError> {
        let mut empty = self.closed_segments();
        let live: BTreeSet<u32> = {
            let index = self.index();
            let partitions = index.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.flat_map(|partition| &partition.batches).map(|batch| batch.segment).collect()
        };
        empty.retain(|segment| !live.contains(&segment.first));
        if empty.is_empty() {
            return Ok(());
        }
        self.write_starts()?;
        let gone: Vec<u32> = empty.iter().map(|segment| segment.first).collect();
        self.change_manifest(|manifest| manifest.closed.retain(|first, _| !gone.contains(first)))
            .map_err(|failed| failed.error)?;
        for segment in empty {
            self.index().segments.remove(&segment.first);
            let path = segment::path(&self.dir, segment.first, segment.last);
            fs::remove_file(&path).map_err(failure("remove", &path))?;
        }
        Ok(())
    }

    /// Makes the starts of partitions durable, before records below are removed.
    fn write_starts(&self) -> Result<(), LogError> {
        let mut writer = self.writer();
        let catalogue = self.index().catalogue();
        writer.write_catalogue(&catalogue, self.config.durability)
    }

    /// The batches of a group of segments, by partition, in order of offsets; and whether their
    /// topic is compacted.
    fn batches_of(&self, segments: &[Arc<Segment>]) -> BTreeMap<PartitionRef, Vec<Batch>> {
        let index = self.index();
        let (first, last) = (segments[0].first, segments[segments.len() - 1].last);
        let mut found = BTreeMap::new();
        for (topic, entry) in index.topics.iter().enumerate() {
            for (partition, held) in entry.partitions.iter().enumerate() {
                // Batches of a partition lie in the order of the segments.
                let from = held.batches.partition_point(|batch| batch.segment < first);
                let to = held.batches.partition_point(|batch| batch.segment <= last);
                if from < to {
                    found.insert((topic as u32, partition as u32), held.batches[from..to].to_vec());
                }
            }
        }
        found
    }

    fn note_newest(&self, segment: &Arc<Segment>, newest: &mut Newest) -> Result<(), LogError> {
        let batches = self.batches_of(std::slice::from_ref(segment));
        for (place, batches) in batches.into_iter().filter(|(place, _)| self.index().topics[place.0 as usize].compacted) {
            let source = self.source(place);
            for batch in batches {
                let bytes = read_bytes(segment, &batch.head)?;
                format::read_batch(&bytes, &batch.head, &source, 0, usize::MAX, &mut |delivered| {
                    if let Some(key) = &delivered.record.key {
                        newest.insert((place, xxh3_128_with_seed(key, 0)), delivered.offset);
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Writes neighbouring segments as one, without dead records, and replaces them with it.
    fn rewrite(&self, group: &[Arc<Segment>], verdict: &Verdict<'_>) -> Result<(), LogError> {
        let (first, last) = (group[0].first, group[group.len() - 1].last);
        let size: u64 = group.iter().map(|segment| segment.bytes).sum();
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let seal = Seal::new(self.log, first, last);
        seal.put_preamble(&mut bytes);
        seal.frame(&mut bytes, 0, |body| format::put_catalogue(body, true, &Catalogue::default()));
        let mut written: BTreeMap<PartitionRef, Vec<Batch>> = BTreeMap::new();
        for (place, batches) in self.batches_of(group) {
            let mut gathered: Vec<Delivered> = Vec::new();
            let mut gathered_bytes = 0;
            let kept = written.entry(place).or_default();
            for batch in batches {
                let segment = group
                    .iter()
                    .find(|segment| segment.first == batch.segment)
                    .expect("the batch lies in the group");
                gathered_bytes += self.read_live(segment, &batch, place, verdict, &mut gathered)?;
                if gathered_bytes >= BATCH_BYTES {
                    kept.extend(put_batch(&mut bytes, &seal, place, std::mem::take(&mut gathered)));
                    gathered_bytes = 0;
                }
            }
            kept.extend(put_batch(&mut bytes, &seal, place, gathered));
        }
        seal.frame(&mut bytes, 0, format::put_end);
        let file = segment::create(&self.dir, &seal, &bytes, self.config.durability)?;
        self.change_manifest(|manifest| {
            manifest.closed.retain(|number, _| !group.iter().any(|segment| segment.first == *number));
            manifest.closed.insert(first, last);
        })
        .map_err(|failed| failed.error)?;

        {
            let mut index = self.index();
            for (place, batches) in written {
                let held = index.partition_mut(place).expect("topics are never deleted");
                let from = held.batches.partition_point(|batch| batch.segment < first);
                let to = held.batches.partition_point(|batch| batch.segment <= last);
                held.batches.splice(from..to, batches);
            }
            for segment in group {
                index.segments.remove(&segment.first);
            }
            index.segments.insert(
                first,
                Arc::new(Segment {
                    first,
                    last,
                    cleaned: true,
                    bytes: bytes.len() as u64,
                    file,
                }),
            );
        }
        for segment in group.iter().filter(|segment| (segment.first, segment.last) != (first, last)) {
            let path = segment::path(&self.dir, segment.first, segment.last);
            fs::remove_file(&path).map_err(failure("remove", &path))?;
        }
        Ok(())
    }

    /// Reads a batch's live records; returns their bytes, roughly.
    fn read_live(&self, segment: &Segment, batch: &Batch, place: PartitionRef, verdict: &Verdict<'_>, into: &mut Vec<Delivered>) -> Result<usize, LogError> {
        let (compacted, start, tombstones_ms) = {
            let index = self.index();
            let topic = &index.topics[place.0 as usize];
            (topic.compacted, index.partition(place).start, topic.delete_retention_ms)
        };
        let bytes = read_bytes(segment, &batch.head)?;
        let mut live_bytes = 0;
        format::read_batch(&bytes, &batch.head, &self.source(place), start, usize::MAX, &mut |delivered| {
            if !compacted || verdict.lives(place, &delivered, tombstones_ms) {
                let record = &delivered.record;
                live_bytes += 16 + record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |value| value.len());
                into.push(delivered);
            }
        })?;
        Ok(live_bytes)
    }

    fn source(&self, place: PartitionRef) -> TopicPartition {
        TopicPartition {
            topic: Arc::clone(&self.index().topics[place.0 as usize].name),
            partition: place.1,
        }
    }
}

impl Verdict<'_> {
    fn lives(&self, place: PartitionRef, delivered: &Delivered, tombstones_ms: i64) -> bool {
        let Some(key) = &delivered.record.key else { return true };
        let replaced = self
            .newest
            .get(&(place, xxh3_128_with_seed(key, 0)))
            .is_some_and(|newest| *newest > delivered.offset);
        let forgotten = delivered.record.value.is_none() && delivered.timestamp.plus_ms(tombstones_ms) < self.now;
        !replaced && !forgotten
    }
}

/// Groups of neighbours that fit one segment together; a segment that is longer forms a group alone.
fn groups(segments: Vec<Arc<Segment>>, bytes_max: u64) -> Vec<Vec<Arc<Segment>>> {
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let mut bytes = 0;
    for segment in segments {
        bytes += segment.bytes;
        match groups.last_mut() {
            Some(group) if bytes <= bytes_max => group.push(segment),
            _ => {
                bytes = segment.bytes;
                groups.push(vec![segment]);
            }
        }
    }
    groups
}

/// Appends a frame with one batch of the records; nothing where there are none.
fn put_batch(bytes: &mut Vec<u8>, seal: &Seal, place: PartitionRef, records: Vec<Delivered>) -> Option<Batch> {
    let base = records.first()?.offset;
    let timestamp_max = records.iter().map(|delivered| delivered.timestamp).max()?;
    let mut builder = BatchBuilder::new(base, timestamp_max);
    records
        .iter()
        .for_each(|delivered| builder.put(delivered.offset, delivered.timestamp, &delivered.record));
    let mut head = None;
    seal.frame(bytes, 0, |body| {
        format::put_commit(body);
        head = Some(builder.finish(body, place.0, place.1));
    });
    head.map(|head| Batch { segment: seal.first, head })
}
