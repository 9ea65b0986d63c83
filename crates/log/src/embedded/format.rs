//! Bodies of frames, batches and records as bytes; the layout is drawn in the parent module.

use bytes::Bytes;
use millrace_model::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Delivered, LogError, Offset, Record, TopicPartition, TopicSpec};

/// Bytes before a batch: its checksum.
pub(super) const BATCH_HEADER: usize = 8;

/// The layout of a catalogue.
const CATALOGUE_FORMAT: u8 = 1;
const KIND_CATALOGUE: u8 = 1;
const KIND_COMMIT: u8 = 2;
const KIND_END: u8 = 3;
const PART_BATCH: u8 = 1;
const PART_POSITION: u8 = 2;

/// What the log knows of its topics and groups, apart from records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalogue {
    /// A topic's number is its place here.
    pub topics: Vec<CatalogueTopic>,
    /// Group, topic, partition, position.
    pub positions: Vec<(String, u32, u32, Offset)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CatalogueTopic {
    pub name: String,
    pub compacted: bool,
    pub settings: Vec<(String, String)>,
    /// Start and next offset per partition.
    pub partitions: Vec<(Offset, Offset)>,
}

impl Catalogue {
    pub fn add(&mut self, spec: &TopicSpec) {
        self.topics.push(CatalogueTopic {
            name: spec.name.clone(),
            compacted: spec.compacted,
            settings: spec.settings.clone(),
            partitions: vec![(0, 0); spec.partitions as usize],
        });
    }
}

/// A batch without its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub topic: u32,
    pub partition: u32,
    pub base: Offset,
    pub last: Offset,
    pub records: u32,
    pub timestamp_max: Timestamp,
    /// Where the batch's checksum is: from the beginning of the body when read, from that of the
    /// file in the index.
    pub position: u64,
    /// Bytes of the records, without the checksum.
    pub length: u32,
}

/// A part of a commit frame, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Batch(BatchHead),
    Position {
        topic: u32,
        partition: u32,
        position: Offset,
        group: String,
    },
}

impl Part {
    /// Topic and partition.
    pub fn partition_ref(&self) -> (u32, u32) {
        match self {
            Part::Batch(head) => (head.topic, head.partition),
            Part::Position { topic, partition, .. } => (*topic, *partition),
        }
    }

    pub fn records(&self) -> u64 {
        match self {
            Part::Batch(head) => u64::from(head.records),
            Part::Position { .. } => 0,
        }
    }
}

/// A frame's body, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Catalogue { cleaned: bool, catalogue: Catalogue },
    Commit(Vec<Part>),
    End,
}

/// Bytes that violate the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) fn put_catalogue(out: &mut Vec<u8>, cleaned: bool, catalogue: &Catalogue) {
    out.extend_from_slice(&[KIND_CATALOGUE, CATALOGUE_FORMAT, u8::from(cleaned)]);
    out.extend_from_slice(&postcard::to_stdvec(catalogue).expect("a catalogue is plain data, which postcard always takes"));
}

pub(super) fn put_commit(out: &mut Vec<u8>) {
    out.push(KIND_COMMIT);
}

/// Without it at its end, a closed segment could be cut short at the beginning of a frame
/// unnoticed.
pub(super) fn put_end(out: &mut Vec<u8>) {
    out.push(KIND_END);
}

pub(super) fn put_position(out: &mut Vec<u8>, topic: u32, partition: u32, position: Offset, group: &str) {
    out.push(PART_POSITION);
    put_varint(out, u64::from(topic));
    put_varint(out, u64::from(partition));
    put_varint(out, position.max(0) as u64);
    put_bytes(out, group.as_bytes());
}

/// A batch under construction.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    pub base: Offset,
    last: Offset,
    records: u32,
    timestamp_max: Timestamp,
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// `timestamp_max`: the greatest of the records that will be put.
    pub fn new(base: Offset, timestamp_max: Timestamp) -> BatchBuilder {
        BatchBuilder {
            base,
            last: base,
            records: 0,
            timestamp_max,
            bytes: Vec::new(),
        }
    }

    /// Offsets ascend.
    pub fn put(&mut self, offset: Offset, timestamp: Timestamp, record: &Record) {
        self.last = offset;
        self.records += 1;
        let out = &mut self.bytes;
        put_varint(out, (offset - self.base) as u64);
        put_varint(out, self.timestamp_max.0.wrapping_sub(timestamp.0) as u64);
        put_optional(out, record.key.as_deref());
        put_optional(out, record.value.as_deref());
        put_varint(out, record.headers.len() as u64);
        for (name, value) in &record.headers {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value);
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the batch as a part. The head's position is the place in `out`.
    pub fn finish(self, out: &mut Vec<u8>, topic: u32, partition: u32) -> BatchHead {
        out.push(PART_BATCH);
        put_varint(out, u64::from(topic));
        put_varint(out, u64::from(partition));
        put_varint(out, self.base as u64);
        put_varint(out, (self.last - self.base) as u64);
        put_varint(out, u64::from(self.records));
        out.extend_from_slice(&self.timestamp_max.0.to_le_bytes());
        put_varint(out, self.bytes.len() as u64);
        let position = out.len() as u64;
        out.extend_from_slice(&xxh3_64(&self.bytes).to_le_bytes());
        out.extend_from_slice(&self.bytes);
        let (base, last, records, timestamp_max) = (self.base, self.last, self.records, self.timestamp_max);
        BatchHead {
            topic,
            partition,
            base,
            last,
            records,
            timestamp_max,
            position,
            length: self.bytes.len() as u32,
        }
    }
}

/// A body of a commit with only those parts of another one that are kept; `None` where none is.
/// The parts keep their bytes.
pub(super) fn keep_parts(body: &[u8], keep: impl Fn(&Part) -> bool) -> Result<Option<Vec<u8>>, Malformed> {
    let mut input = Input { bytes: body, at: 1 };
    let mut kept = vec![KIND_COMMIT];
    while !input.done() {
        let begin = input.at;
        if keep(&read_part(&mut input)?) {
            kept.extend_from_slice(&body[begin..input.at]);
        }
    }
    Ok((kept.len() > 1).then_some(kept))
}

/// Reads a body; positions of batches count from its beginning. Batches are not parsed.
pub(super) fn read_body(body: &[u8]) -> Result<Body, Malformed> {
    let mut input = Input { bytes: body, at: 0 };
    match input.byte()? {
        KIND_CATALOGUE => {
            if input.byte()? != CATALOGUE_FORMAT {
                return Err(Malformed);
            }
            let cleaned = input.byte()? != 0;
            let catalogue = postcard::from_bytes(&body[input.at..]).map_err(|_| Malformed)?;
            Ok(Body::Catalogue { cleaned, catalogue })
        }
        KIND_COMMIT => {
            let mut parts = Vec::new();
            while !input.done() {
                parts.push(read_part(&mut input)?);
            }
            Ok(Body::Commit(parts))
        }
        KIND_END if input.done() => Ok(Body::End),
        _ => Err(Malformed),
    }
}

fn read_part(input: &mut Input<'_>) -> Result<Part, Malformed> {
    let kind = input.byte()?;
    let topic = input.varint_u32()?;
    let partition = input.varint_u32()?;
    match kind {
        PART_BATCH => {
            let base = input.varint()? as Offset;
            let last = base.checked_add(input.varint()? as Offset).ok_or(Malformed)?;
            let records = input.varint_u32()?;
            let timestamp_max = Timestamp(i64::from_le_bytes(input.take(8)?.try_into().map_err(|_| Malformed)?));
            let length = input.varint_u32()?;
            let position = input.at as u64;
            input.take(BATCH_HEADER.checked_add(length as usize).ok_or(Malformed)?)?;
            Ok(Part::Batch(BatchHead {
                topic,
                partition,
                base,
                last,
                records,
                timestamp_max,
                position,
                length,
            }))
        }
        PART_POSITION => {
            let position = input.varint()? as Offset;
            let group = input.sized()?;
            let group = String::from_utf8(group.to_vec()).map_err(|_| Malformed)?;
            Ok(Part::Position {
                topic,
                partition,
                position,
                group,
            })
        }
        _ => Err(Malformed),
    }
}

/// Reads the records of a batch, its checksum in front, from offset `from` on, at most `limit` of
/// them, without copying keys and values.
pub(super) fn read_batch(
    bytes: &Bytes,
    head: &BatchHead,
    source: &TopicPartition,
    from: Offset,
    limit: usize,
    each: &mut dyn FnMut(Delivered),
) -> Result<(), LogError> {
    let damaged = |_| LogError::Failure(format!("batch at offset {} of {}/{} is damaged", head.base, source.topic, source.partition).into());
    let checksum = bytes.get(..BATCH_HEADER).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    if checksum != Some(xxh3_64(&bytes[BATCH_HEADER..])) {
        return Err(damaged(Malformed));
    }
    let mut input = Input { bytes, at: BATCH_HEADER };
    let mut taken = 0;
    while !input.done() && taken < limit {
        let (offset, timestamp, record) = read_record(&mut input, bytes, head).map_err(damaged)?;
        if offset >= from {
            taken += 1;
            each(Delivered {
                source: source.clone(),
                offset,
                timestamp,
                record,
            });
        }
    }
    Ok(())
}

fn read_record(input: &mut Input<'_>, bytes: &Bytes, head: &BatchHead) -> Result<(Offset, Timestamp, Record), Malformed> {
    let offset = head.base.checked_add(input.varint()? as Offset).ok_or(Malformed)?;
    let timestamp = Timestamp(head.timestamp_max.0.wrapping_sub(input.varint()? as i64));
    let key = input.optional()?.map(|part| bytes.slice_ref(part));
    let value = input.optional()?.map(|part| bytes.slice_ref(part));
    let count = input.varint()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = String::from_utf8(input.sized()?.to_vec()).map_err(|_| Malformed)?;
        headers.push((name, bytes.slice_ref(input.sized()?)));
    }
    Ok((offset, timestamp, Record { key, value, headers }))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            put_varint(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let part = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(part)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn varint_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed)
    }

    fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        self.take(length)
    }

    fn optional(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match usize::try_from(self.varint()?).map_err(|_| Malformed)? {
            0 => Ok(None),
            length => self.take(length - 1).map(Some),
        }
    }
}
