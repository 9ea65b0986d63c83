//! What a sink reports about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A destination as one process sees it: the partitions it owns; or several processes' together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    /// The name under which the deployment configures it.
    pub destination: String,
    /// Those this process owns, each once, ascending.
    pub partitions: Vec<u32>,
    /// Identities that should be present.
    pub desired: u64,
    /// Identities acknowledged as present.
    pub delivered: u64,
    /// Changes that wait to be sent or sent again.
    pub pending: u64,
    /// Changes refused permanently, as long as they are still desired.
    pub refused: u64,
    /// Age of the oldest change that waits, in milliseconds.
    pub oldest_pending_ms: Option<u64>,
    /// Calls that the destination allows today; `None`: no limit, or not known.
    pub quota_left: Option<u64>,
    /// At the pace of the last minute, in milliseconds; `None`: nothing waits, nothing moves, or the
    /// brake holds an audience.
    pub finished_in_ms: Option<u64>,
    /// Calls made since the process began.
    pub calls: u64,
    /// Changes acknowledged since the process began.
    pub acknowledged: u64,
    /// The last failure, while it holds something up.
    pub error: Option<String>,
    /// What a person should do before it becomes an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// By the name of the segment: those that the partitions have a member or a change of.
    pub audiences: BTreeMap<String, AudienceStatus>,
    /// Whether the destination can be read, and so compared.
    #[serde(default)]
    pub readable: bool,
    /// What the last comparison found.
    pub drift: Option<Drift>,
    /// RFC 3339.
    pub at: String,
    /// Processes with partitions of the destination that did not answer, with the reason: the numbers
    /// are without theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<String>,
}

/// One audience at the destination, over the partitions that this process owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AudienceStatus {
    /// Identities that should be present.
    pub desired: u64,
    /// Identities acknowledged as present.
    pub delivered: u64,
    /// Changes that wait to be sent or sent again.
    pub pending: u64,
    /// Changes refused permanently, as long as they are still desired.
    pub refused: u64,
    /// The brake holds it: `millrace destination confirm` releases it.
    pub held: bool,
    /// What the destination itself says about it, where it says anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// What the destination answered to the changes that were sent, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The destination is as desired.
    pub acknowledged: u64,
    /// Refused permanently; a dead letter each.
    pub refused: u64,
    /// Not taken this time; sent again later, alone or with fewer others. A change counts once for each time.
    pub retried: u64,
}

impl Answers {
    /// Each number with its word in the label `outcome` of `millrace_sink_deliveries_total`.
    pub fn by_outcome(self) -> [(&'static str, u64); 3] {
        [("acknowledged", self.acknowledged), ("refused", self.refused), ("retried", self.retried)]
    }
}

/// The difference between the ledger and the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Acknowledged once and since removed by somebody else.
    pub missing: u64,
    /// Added by somebody else, or left over.
    pub unexpected: u64,
    /// There with other attributes than those that were acknowledged.
    #[serde(default)]
    pub different: u64,
    /// How many of them all were repaired.
    pub repaired: u64,
    /// RFC 3339.
    pub at: String,
}

impl Drift {
    /// Of other partitions of the same destination.
    fn and(self, other: Drift) -> Drift {
        Drift {
            missing: self.missing + other.missing,
            unexpected: self.unexpected + other.unexpected,
            different: self.different + other.different,
            repaired: self.repaired + other.repaired,
            at: self.at.max(other.at),
        }
    }
}

impl SinkStatus {
    /// The same destination as several processes see it.
    #[must_use]
    pub fn merged(mut self, other: SinkStatus) -> SinkStatus {
        // A process that has no estimate for what waits there leaves none for all.
        let without = |status: &SinkStatus| status.pending > 0 && status.finished_in_ms.is_none();
        self.finished_in_ms = match without(&self) || without(&other) {
            true => None,
            false => self.finished_in_ms.max(other.finished_in_ms),
        };
        self.partitions.extend(other.partitions);
        self.partitions.sort_unstable();
        self.partitions.dedup();
        self.desired += other.desired;
        self.delivered += other.delivered;
        self.pending += other.pending;
        self.refused += other.refused;
        self.oldest_pending_ms = self.oldest_pending_ms.max(other.oldest_pending_ms);
        self.quota_left = [self.quota_left, other.quota_left].into_iter().flatten().min();
        self.calls += other.calls;
        self.acknowledged += other.acknowledged;
        self.error = self.error.or(other.error);
        self.readable |= other.readable;
        self.warnings.extend(other.warnings);
        self.warnings.sort_unstable();
        self.warnings.dedup();
        self.at = self.at.max(other.at);
        for (name, audience) in other.audiences {
            let sum = self.audiences.entry(name).or_default();
            sum.desired += audience.desired;
            sum.delivered += audience.delivered;
            sum.pending += audience.pending;
            sum.refused += audience.refused;
            sum.held |= audience.held;
            sum.remark = sum.remark.take().or(audience.remark);
        }
        self.drift = match (self.drift, other.drift) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        self.unheard.extend(other.unheard);
        self
    }
}
