//! Desired states as they are read: what a record says, and whether it is sent.

use std::collections::BTreeMap;

use millrace_log::{Delivered, Offset};
use millrace_model::Identity;
use millrace_wire::{DestinationState, OutputCodec, OutputError, Presence, Reason, RegistryClient};

use crate::sink::change::Change;
use crate::sink::ledger::{Acknowledged, LedgerRow};
use crate::sink::partition::Partition;
use crate::sink::pending::Waiting;

/// Where a desired state was read.
pub(super) struct Read {
    pub offset: Offset,
    pub first_owner: bool,
    /// An earlier owner may have sent this one, or one between it and the ledger's last.
    pub uncertain: bool,
}

impl Read {
    /// `within_commit`: what is sent is part of a commit, and so nowhere else, whoever owned the
    /// partition.
    pub(super) fn of(delivered: &Delivered, partition: &Partition, within_commit: bool) -> Read {
        Read {
            offset: delivered.offset,
            first_owner: partition.first_owner || within_commit,
            uncertain: !within_commit && partition.uncertain(delivered.timestamp),
        }
    }
}

/// Whether a desired state must be sent, given what is known of the key.
///
/// The last acknowledgement need not be what the destination holds: an earlier owner may have sent
/// another state in between and died before its commit. Where that is possible, the state is sent
/// again.
pub(super) fn wanted(change: &Change, row: Option<&LedgerRow>, before: Option<&Waiting>, read: &Read) -> bool {
    if before.is_some_and(|before| before.sent) {
        return true;
    }
    let Some(row) = row else { return change.present || !read.first_owner };
    let same = |known: Acknowledged| known.present == change.present && known.fingerprint == change.fingerprint();
    if row.refused.is_some_and(same) {
        return false;
    }
    match row.acknowledged {
        None => change.present || read.uncertain,
        Some(known) if known.in_doubt() => true,
        Some(known) if read.offset < known.offset => false,
        Some(known) => !same(known) || (read.uncertain && read.offset > known.offset),
    }
}

/// The desired state in a record. A tombstone is an absence.
///
/// # Errors
/// Where it is no desired state, or a schema registry does not answer.
pub(super) fn state_of(destination: &str, registry: Option<&RegistryClient>, delivered: &Delivered) -> Result<DestinationState, OutputError> {
    if let Some(value) = &delivered.record.value {
        return OutputCodec::decode_destination_state(value, registry);
    }
    let key = delivered.record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let parsed = key
        .split_once('|')
        .and_then(|(audience, identity)| Some((audience, Identity::parse(identity).ok()?)));
    let Some((audience, identity)) = parsed else {
        let rejection = Reason::MissingKey.because(format!("`{key}` is no key of a destination; expected <audience>|<namespace>:<id>"));
        return Err(OutputError::Unreadable(rejection.into()));
    };
    Ok(DestinationState {
        destination: destination.to_owned(),
        audience: audience.to_owned(),
        identity,
        state: Presence::Absent,
        attributes: BTreeMap::new(),
        changed_at: delivered.timestamp,
    })
}
