//! The port to a foreign system.

use std::time::Duration;

use millrace_log::{Offset, Record, TopicSpec};
use millrace_model::{Cause, Identity};

use super::Change;

/// How much a destination takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Changes of one lane per `deliver`. Not 0.
    pub records_max: usize,
    /// How long a change waits for others before a smaller batch goes.
    pub wait: Duration,
}

/// A permanent refusal of one change: it goes to the dead letters with these texts, which hold no
/// credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the destination says, such as its code and message.
    pub reason: String,
    /// What was sent.
    pub request: String,
    /// What came back.
    pub answer: String,
}

/// The outcome of one change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The destination is as desired, by this call or before it.
    Accepted,
    /// The destination will never accept it.
    Refused(Refusal),
    /// Not now; retry after the lane's back-off.
    Later(String),
    /// The batch was refused as a whole: alone, each change may get a different answer. For a batch
    /// of one this is a refusal.
    Together(Refusal),
}

/// The outcome of a batch: one answer per change, in the batch's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Of each change, in the batch's order.
    pub answers: Vec<Answer>,
    /// The least wait before the lane's next call; `None`: the frame's own back-off, where a change
    /// must be sent again.
    pub wait: Option<Duration>,
    /// Requests made, to compare with the ideal number of calls.
    pub calls: u64,
}

impl Delivery {
    /// Every change of the batch has the same answer.
    pub fn all(answer: &Answer, count: usize, calls: u64) -> Delivery {
        Delivery {
            answers: vec![answer.clone(); count],
            wait: None,
            calls,
        }
    }

    /// The same answers, with the least wait before the lane's next call.
    #[must_use]
    pub fn not_before(self, wait: Option<Duration>) -> Delivery {
        Delivery { wait, ..self }
    }
}

/// What follows from `Destination::upkeep`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// When to call it again; `None`: never.
    pub again: Option<Duration>,
    /// Audiences of which one member is sent again, because the destination drops quiet ones.
    pub touch: Vec<String>,
}

/// A destination cannot be read now; a later comparison may succeed.
#[derive(Debug, thiserror::Error)]
#[error("destination cannot be read")]
pub struct DestinationError(#[source] pub Cause);

/// One member that the destination holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actual {
    /// The name of the segment.
    pub audience: String,
    /// The id within the destination's namespace.
    pub id: String,
}

/// One owner's time at a partition, for a destination that distinguishes owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Of the destination's topic.
    pub partition: u32,
    /// Higher than that of every owner before.
    pub epoch: u64,
    /// Once the batch is delivered, every change before this offset is at the destination or was
    /// refused.
    pub position: Offset,
}

/// The outcome of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// From now on no delivery of an owner with a lower epoch takes effect.
    Taken,
    /// This epoch is there already, and not lower than the one that claims.
    Behind(u64),
}

/// A foreign system.
///
/// Protocol: one thread calls `deliver`, with changes of one lane, each key at most once; it
/// returns when each change has its answer. It may make several calls at the same time. The frame
/// does the waiting and repeating: `deliver` repeats only what costs the destination nothing. Every
/// change must be safe to send twice. A panic ends the task. `actual` is called between deliveries.
pub trait Destination: Send {
    /// Asked for every batch, so it may change from one to the next.
    fn limits(&self) -> BatchLimits;

    /// Which changes may share a batch and which wait together after a failure. By default one lane
    /// per audience.
    fn lane(&self, change: &Change) -> String {
        change.audience.clone()
    }

    /// Whether the destination can know an identity at all. Others of its namespace are skipped:
    /// they are neither desired nor refused.
    fn concerns(&self, identity: &Identity) -> bool {
        let _ = identity;
        true
    }

    /// Sends a batch and returns one answer per change, in the batch's order.
    fn deliver(&mut self, batch: &[Change]) -> Delivery;

    /// Whether it distinguishes the owners of a partition, and refuses those that were replaced. Then `claim`
    /// comes before an owner's first delivery, and again after a delivery that was put off; the frame
    /// calls `deliver_as` in the place of `deliver`.
    fn fences(&self) -> bool {
        false
    }

    /// Makes an owner the only one of a partition whose deliveries take effect. What an earlier one has
    /// begun is over when this returns. Epochs ascend in the order in which owners took the partition
    /// over.
    ///
    /// # Errors
    /// Where it does not answer now.
    fn claim(&mut self, partition: u32, epoch: u64) -> Result<Claim, DestinationError> {
        let _ = (partition, epoch);
        Ok(Claim::Taken)
    }

    /// Sends a batch as the owner of its partitions, each of which it names once.
    fn deliver_as(&mut self, batch: &[Change], tenures: &[Tenure]) -> Delivery {
        let _ = tenures;
        self.deliver(batch)
    }

    /// For a destination that is a topic of the same log: its full name. `deliver` sends nothing then;
    /// it decides which changes are accepted. `record` of each is appended in the transaction that
    /// records the acknowledgement, so it is there exactly once.
    fn topic(&self) -> Option<&str> {
        None
    }

    /// How `topic` is created where it is missing; `None`: it is waited for.
    fn topic_spec(&self) -> Option<TopicSpec> {
        None
    }

    /// The record of an accepted change on `topic`; its partition follows from its key.
    fn record(&self, change: &Change) -> Option<Record> {
        let _ = change;
        None
    }

    /// What names the far side of an audience, such as the id of its list; `None`: not known now, or
    /// without meaning. Asked after each delivery and after `upkeep`. The ledger keeps it: where it
    /// is no longer the one that was acknowledged, as with a recreated list, the frame compares the
    /// audience, or sends all of it again where it cannot be read.
    fn place(&self, audience: &str) -> Option<String> {
        let _ = audience;
        None
    }

    /// Work that no change causes, such as asking for the status of the lists of these audiences, which
    /// have members there.
    /// Called between deliveries, for the first time at the beginning, and then when it asks for it.
    fn upkeep(&mut self, audiences: &[String]) -> Upkeep {
        let _ = audiences;
        Upkeep::default()
    }

    /// What a person should do before it becomes an error, such as renewing a consent.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the destination itself says about an audience.
    fn remark(&self, audience: &str) -> Option<String> {
        let _ = audience;
        None
    }

    /// Whether its members can be read, and so compared with the desired ones.
    fn readable(&self) -> bool {
        false
    }

    /// The members at the destination, for the audiences named. Called only where it is readable.
    ///
    /// # Errors
    /// Where it does not answer now.
    fn actual(&mut self, audiences: &[String]) -> Result<Vec<Actual>, DestinationError> {
        let _ = audiences;
        Ok(Vec::new())
    }

    /// Whether it shows the attributes of its members, so that they can be compared as well.
    fn compares_attributes(&self) -> bool {
        false
    }

    /// Which of these desired members of one audience it holds with other attributes, by their places.
    /// Members that it does not hold are none of them. Called only where it compares attributes.
    ///
    /// # Errors
    /// Where it does not answer now.
    fn different(&mut self, members: &[Change]) -> Result<Vec<usize>, DestinationError> {
        let _ = members;
        Ok(Vec::new())
    }

    /// The calls that a batch takes at most, for a preview.
    fn calls(&self, batch: &[Change]) -> u64 {
        u64::from(!batch.is_empty())
    }

    /// What the first call for a batch would send, for a preview; `None`: it is not known before the
    /// call, or of no interest to a person.
    fn request(&self, batch: &[Change]) -> Option<String> {
        let _ = batch;
        None
    }

    /// How long this number of calls takes at least under the destination's limits, for a preview;
    /// `None`: no limit is known. May read from the destination what was spent of a limit.
    fn takes(&mut self, calls: u64) -> Option<Duration> {
        let _ = calls;
        None
    }

    /// Calls left today; `None`: no such limit, or not known.
    fn quota_left(&self) -> Option<u64> {
        None
    }
}
