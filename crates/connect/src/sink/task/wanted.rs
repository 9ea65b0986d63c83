//! Whether a desired state that was read is sent.

use millrace_log::Offset;

use crate::sink::change::Change;
use crate::sink::ledger::{Acknowledged, LedgerRow};
use crate::sink::pending::Waiting;

/// Where a desired state was read.
pub(super) struct Read {
    pub offset: Offset,
    pub first_owner: bool,
    /// An earlier owner may have sent this one, or one between it and the ledger's last.
    pub uncertain: bool,
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
