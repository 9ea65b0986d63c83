//! What a sink would send now, without a call that changes anything: from the destination's topic
//! and the ledger's changelog. It needs no running sink, and disturbs none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_log::{Delivered, EARLIEST, Log, LogError, Offset, PollLimits, TopicPartition};
use millrace_model::{Cause, Identity};
use millrace_wire::{OutputError, RegistryClient};
use serde::Serialize;

use super::SinkError;
use super::wanted::{Read, state_of, wanted};
use crate::budget::WallClock;
use crate::sink::brake::{self, Brake};
use crate::sink::ledger::{self, LedgerRow, META_KEY, Meta, Window};
use crate::sink::partition::audience_of;
use crate::sink::pending::Counts;
use crate::sink::{Change, Destination};

/// How much is read at once.
const READ: PollLimits = PollLimits {
    records_max: 10_000,
    bytes_max: 8 << 20,
    wait_ms_max: 100,
};

/// What a preview reads.
pub struct PreviewContext {
    /// The destination's name.
    pub name: String,
    /// Read and never written.
    pub log: Arc<dyn Log>,
    /// `destination.<name>` with its prefix.
    pub topic: String,
    /// The ledger's changelog.
    pub changelog: String,
    /// For records in Confluent wire format; `None`: such a record is unreadable.
    pub registry: Option<Arc<RegistryClient>>,
    /// How much of an audience one edit may change.
    pub brake: Brake,
    /// The namespace and ids that must never be present.
    pub suppressed: Arc<dyn Fn(&Identity) -> bool + Send + Sync>,
    /// The wall clock.
    pub clock: WallClock,
    /// Changes shown of each audience.
    pub sample: usize,
}

/// What would be sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The name under which the deployment configures it.
    pub destination: String,
    /// Changes that would be sent, those that the brake holds included.
    pub changes: u64,
    /// Calls at most.
    pub calls: u64,
    /// Calls that the destination allows today; `None`: no limit, or not known.
    pub quota_left: Option<u64>,
    /// How long the calls take at least under the destination's limits, in milliseconds; `None`: no
    /// limit is known.
    pub takes_ms: Option<u64>,
    /// By the name of the segment.
    pub audiences: BTreeMap<String, PreviewAudience>,
    /// RFC 3339.
    pub at: String,
}

/// One audience of a preview.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviewAudience {
    /// Present at the destination by the ledger.
    pub delivered: u64,
    /// Members that would be sent as present.
    pub adds: u64,
    /// Members that would be sent as absent.
    pub removes: u64,
    /// Changed attributes, and absences of those who are absent as far as is known.
    pub others: u64,
    /// Changes that the destination refused; `retry` sends them again.
    pub refused: u64,
    /// Calls at most.
    pub calls: u64,
    /// The brake would hold it.
    pub held: bool,
    /// The first changes, as many as `PreviewContext::sample` allows.
    pub sample: Vec<PreviewChange>,
    /// What the first call would send, where the destination can show it.
    pub request: Option<String>,
}

/// One change that would be sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviewChange {
    /// The identity by which the destination knows the member, `namespace:id`.
    pub identity: String,
    /// Whether it would be sent as present.
    pub present: bool,
    /// By the destination's own field names; empty where the member is absent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, serde_json::Value>,
}

/// The ledger of all partitions, from its changelog.
#[derive(Default)]
struct Known {
    rows: BTreeMap<String, LedgerRow>,
    metas: BTreeMap<u32, Meta>,
}

/// Reads to the present end of the log, and counts.
///
/// # Errors
/// Where the log fails or holds what cannot be read.
pub fn preview(context: &PreviewContext, destination: &mut dyn Destination) -> Result<Preview, SinkError> {
    let known = known(context)?;
    let changes = changes(context, destination, &known)?;
    let now = (context.clock)();
    let mut preview = Preview {
        destination: context.name.clone(),
        at: now.to_string(),
        ..Preview::default()
    };
    for (key, row) in &known.rows {
        let audience = preview.audiences.entry(audience_of(key).to_owned()).or_default();
        audience.delivered += u64::from(row.delivered());
        audience.refused += u64::from(row.refused.is_some_and(|refused| refused.present));
    }
    let mut lanes: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    for change in changes.into_values() {
        let delivered = known.rows.get(&change.key).is_some_and(LedgerRow::delivered);
        let audience = preview.audiences.entry(change.audience.clone()).or_default();
        *match (change.present, delivered) {
            (true, false) => &mut audience.adds,
            (false, true) => &mut audience.removes,
            _ => &mut audience.others,
        } += 1;
        if audience.sample.len() < context.sample {
            audience.sample.push(PreviewChange {
                identity: change.identity.to_string(),
                present: change.present,
                attributes: change.attributes.clone(),
            });
        }
        lanes.entry(destination.lane(&change)).or_default().push(change);
    }
    for batch in lanes.values().flat_map(|changes| changes.chunks(destination.limits().records_max.max(1))) {
        let calls = destination.calls(batch);
        preview.changes += batch.len() as u64;
        preview.calls += calls;
        let audience = preview.audiences.entry(batch[0].audience.clone()).or_default();
        audience.calls += calls;
        if audience.request.is_none() {
            audience.request = destination.request(batch);
        }
    }
    for (name, audience) in &mut preview.audiences {
        let waiting = Counts {
            adds: audience.adds,
            removes: audience.removes,
            others: audience.others,
        };
        let windows = known.metas.values().map(|meta| meta.windows.get(name).copied().unwrap_or_default());
        let before: Window = brake::together(windows);
        let window = context.brake.window(before, now, audience.delivered, false);
        audience.held = context.brake.holds(window, waiting, audience.delivered);
    }
    preview.takes_ms = destination
        .takes(preview.calls)
        .map(|time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    preview.quota_left = destination.quota_left();
    Ok(preview)
}

fn known(context: &PreviewContext) -> Result<Known, SinkError> {
    let mut known = Known::default();
    let failure = |error| LogError::Failure(Cause::of("reading the ledger", error));
    each(context, &context.changelog, &BTreeMap::new(), |delivered| {
        let Some(key) = delivered.record.key.as_deref() else { return Ok(()) };
        let partition = delivered.source.partition;
        match (ledger::key_of(key), &delivered.record.value) {
            (None, Some(value)) if key == META_KEY => drop(known.metas.insert(partition, ledger::decode(value).map_err(failure)?)),
            (Some(key), Some(value)) => drop(known.rows.insert(key, ledger::decode(value).map_err(failure)?)),
            (Some(key), None) => drop(known.rows.remove(&key)),
            (None, _) => {}
        }
        Ok(())
    })?;
    Ok(known)
}

/// The newest desired states that are not acknowledged, by key.
fn changes(context: &PreviewContext, destination: &dyn Destination, known: &Known) -> Result<BTreeMap<String, Change>, SinkError> {
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    let positions = known.metas.iter().map(|(partition, meta)| (*partition, meta.position)).collect();
    each(context, &context.topic, &positions, |delivered| {
        let state = match state_of(&context.name, context.registry.as_deref(), &delivered) {
            Ok(state) => state,
            // It will be a dead letter.
            Err(OutputError::Unreadable(millrace_wire::DecodeError::Rejected(_))) => return Ok(()),
            Err(error) => return Err(SinkError::NotYet(error)),
        };
        let mut change = Change::new(state);
        if !destination.concerns(&change.identity) {
            return Ok(());
        }
        if change.present && (context.suppressed)(&change.identity) {
            change.present = false;
            change.attributes.clear();
        }
        let read = Read {
            offset: delivered.offset,
            first_owner: destination.topic().is_some() || !known.metas.contains_key(&delivered.source.partition),
            uncertain: false,
        };
        if wanted(&change, known.rows.get(&change.key), None, &read) {
            changes.insert(change.key.clone(), change);
        } else {
            changes.remove(&change.key);
        }
        Ok(())
    })?;
    Ok(changes)
}

/// Every committed record of a topic from these positions on; none where there is no such topic.
fn each(
    context: &PreviewContext,
    topic: &str,
    positions: &BTreeMap<u32, Offset>,
    visit: impl FnMut(Delivered) -> Result<(), SinkError>,
) -> Result<(), SinkError> {
    let Some(count) = context.log.partitions(topic)? else { return Ok(()) };
    let from: BTreeSet<(u32, Offset)> = (0..count)
        .map(|partition| (partition, positions.get(&partition).copied().unwrap_or(EARLIEST)))
        .collect();
    let place = |partition| TopicPartition {
        topic: topic.into(),
        partition,
    };
    let from: Vec<(TopicPartition, Offset)> = from.into_iter().map(|(partition, offset)| (place(partition), offset)).collect();
    each_from(&*context.log, &from, visit)
}

/// Every committed record from these positions on.
pub(super) fn each_from(log: &dyn Log, from: &[(TopicPartition, Offset)], mut visit: impl FnMut(Delivered) -> Result<(), SinkError>) -> Result<(), SinkError> {
    let mut reader = log.reader(from)?;
    loop {
        let done = reader.caught_up()?;
        let records = reader.poll(READ)?;
        if records.is_empty() && done {
            return Ok(());
        }
        records.into_iter().try_for_each(&mut visit)?;
    }
}
