//! The messages between stages and shards.
//!
//! A message for a key of the same shard is handled at once, in the same commit; others travel
//! through `internal.records` (source records to their node) and `internal.inbox` (everything
//! else), which keep the order of each sender. The protocols below depend on that order and say
//! where they do. Bytes: as rows, a version byte and postcard.

use millrace_identity::{Epoch, Evidence, Reason};
use millrace_model::{CanonicalId, Change, Event, Identity, ShardId, SourceKind, SubjectId, Text, Value};
use millrace_segment::view::Features;
use serde::{Deserialize, Serialize};

use crate::origin::Origin;
use crate::placement::{IDENTITY_SHARD, shard_of, shard_of_node};
use crate::record::Fragment;
use crate::row::{ActivationKey, AsideRow, Detail, EventCopy, PartialArrival, Sequence, Standing};

/// A message with what caused it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The fact at the beginning: whatever follows from the message carries it on.
    pub origin: Origin,
    /// What the receiver is to do, or to know.
    pub message: Message,
}

/// A message to a stage: `to` says to which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// resolve of the record.
    Change(Change),
    /// resolve of the home: the event's least identity.
    Event {
        /// The receiver.
        home: Identity,
        /// The event, with its other identities.
        event: Event,
    },
    /// resolve of `node`: `home` claims that they are one, or no longer does.
    Claim {
        /// The receiver.
        node: Identity,
        /// The node whose record or events carry `node`.
        home: Identity,
        /// Whether it claims it now.
        present: bool,
    },
    /// resolve of `home`: its retained events carry `node`, or no longer do; sent by the home's
    /// owner under this epoch of the home.
    Carry {
        /// The receiver.
        home: Identity,
        /// The identity that the events carry.
        node: Identity,
        /// The home's epoch as the sender knows it: of two senders the later owner counts.
        epoch: Epoch,
        /// Whether any retained event carries it now.
        present: bool,
    },
    /// resolve of `home`: a node that it carries matters to others than the home, or no longer
    /// does. The two alternate.
    Matter {
        /// The receiver.
        home: Identity,
        /// Whether it matters now.
        on: bool,
    },
    /// resolve of `home`, from the identity writer: a node that it carries is set aside, or no
    /// longer is.
    Aside {
        /// The receiver.
        home: Identity,
        /// The identity set aside.
        node: Identity,
        /// Why; `None` if it no longer is.
        reason: Option<Reason>,
    },
    /// resolve of `node`: a link names the node.
    Anchor {
        /// The receiver.
        node: Identity,
    },
    /// resolve of `node`: a relation row belongs to the node; without a value it no longer does.
    Attach {
        /// The receiver.
        node: Identity,
        /// The record that the row is.
        row: RowId,
        /// The order among what is sent about this record.
        sequence: Sequence,
        /// The record's fields.
        value: Option<Value>,
    },
    /// resolve of `node`: send this shard the node's thing, now and at every change.
    Follow {
        /// The receiver.
        node: Identity,
        /// The shard that follows.
        shard: ShardId,
        /// Whether it follows from now on, or no longer.
        on: bool,
    },
    /// The identity writer.
    Evidence(Evidence),
    /// resolve of `node`, from the identity writer, epochs ascending.
    Canonical {
        /// The receiver.
        node: Identity,
        /// The cluster that it leaves.
        from: CanonicalId,
        /// The cluster that it belongs to from now on.
        to: CanonicalId,
        /// The number of this move.
        epoch: Epoch,
    },
    /// Owner: data of a node. From resolve, after every `Move` with a lower epoch.
    Data {
        /// The receiver: what the node belongs to under `epoch`.
        subject: SubjectId,
        /// The node that the data is of.
        node: Identity,
        /// The node's last move before this was sent.
        epoch: Epoch,
        /// A piece of the node's data, whole: it replaces the last one of its kind and id.
        data: Data,
    },
    /// Owner of `subject`: everything of the node goes to `to`.
    Move {
        /// The receiver: what the node belonged to.
        subject: SubjectId,
        /// The node that leaves.
        node: Identity,
        /// Where it goes.
        to: CanonicalId,
        /// The number of the move.
        epoch: Epoch,
    },
    /// Owner of `subject`: the node's data from `from`, in one part or several. A part that another
    /// former owner passes on may come later than those sent after it.
    Arrive {
        /// The receiver: what the node belongs to under `epoch`.
        subject: SubjectId,
        /// What it belonged to.
        from: CanonicalId,
        /// The node that arrives.
        node: Identity,
        /// The number of the move.
        epoch: Epoch,
        /// A part of its data.
        part: Bundle,
        /// How many parts were sent, in the one sent last.
        of: Option<u32>,
    },
    /// Owner of `subject`: a node that left it has arrived.
    Arrived {
        /// The receiver: what the node belonged to.
        subject: SubjectId,
        /// The node: nothing of it is on its way from the receiver any more.
        node: Identity,
        /// The number of the move.
        epoch: Epoch,
    },
    /// Owner of `parent`: a thing that names it as its parent, with the features the parent's rules
    /// read; `None`: no longer. A change of only how long a feature holds is sent for opportunities, and
    /// not for persons: each visit moves such instants.
    Child {
        /// The receiver.
        parent: SubjectId,
        /// The thing that names it.
        child: SubjectId,
        /// Its features, whole.
        features: Option<Features>,
    },
    /// Follower shard: which thing a node is.
    Alias {
        /// The receiver; not a part of the bytes, which are at that shard.
        #[serde(skip)]
        shard: ShardId,
        /// The node that the shard follows.
        node: Identity,
        /// The thing it is.
        canonical: CanonicalId,
        /// The node's last move: of two messages the one with the greater counts.
        epoch: Epoch,
    },
    /// Owner of `subject`: send this shard its features, now and at every change, in this detail;
    /// `None`: no longer.
    Subscribe {
        /// The receiver.
        subject: SubjectId,
        /// The shard that subscribes.
        shard: ShardId,
        /// How much it needs.
        detail: Option<Detail>,
    },
    /// Subscribed shard. Also sent if only the time changed for which a feature holds.
    Features {
        /// As for `Alias`.
        #[serde(skip)]
        shard: ShardId,
        /// The thing that the shard subscribes to.
        subject: SubjectId,
        /// Whether it exists.
        standing: Standing,
        /// Its features, whole.
        features: Features,
    },
    /// activation of the key: whether the subject counts for it.
    Activate {
        /// The receiver: a destination identity of an audience.
        key: ActivationKey,
        /// The member, or former member, that holds the identity.
        subject: SubjectId,
        /// Whether it counts now.
        present: bool,
        /// What the destination would receive of it.
        attributes: Value,
    },
}

/// The stage that receives a message, and for which key.
#[derive(Debug)]
pub enum Address<'m> {
    /// resolve of a record: of its node, or of its key where it has none.
    Record(&'m Change),
    /// resolve of a node.
    Node(&'m Identity),
    /// The identity writer.
    Writer,
    /// The owner of a subject.
    Owner(&'m SubjectId),
    /// A shard that follows a node or subscribes to a thing.
    Follower(ShardId),
    /// activation of a key.
    Activation(&'m ActivationKey),
}

impl Address<'_> {
    /// The shard where the receiver is, of this number.
    pub fn shard(&self, shards: u32) -> ShardId {
        match self {
            Address::Record(change) => match change.node() {
                Some(node) => shard_of_node(&node, shards),
                None => shard_of(&change.key, shards),
            },
            Address::Node(node) => shard_of_node(node, shards),
            Address::Writer => IDENTITY_SHARD,
            Address::Owner(subject) => shard_of_node(&subject.id.0, shards),
            Address::Follower(shard) => *shard,
            Address::Activation(key) => shard_of(&format!("{}|{}|{}", key.destination, key.audience, key.identity), shards),
        }
    }
}

impl Message {
    /// The receiver.
    pub fn to(&self) -> Address<'_> {
        match self {
            Message::Change(change) => Address::Record(change),
            Message::Event { home, .. } | Message::Carry { home, .. } | Message::Matter { home, .. } | Message::Aside { home, .. } => Address::Node(home),
            Message::Claim { node, .. }
            | Message::Anchor { node }
            | Message::Attach { node, .. }
            | Message::Follow { node, .. }
            | Message::Canonical { node, .. } => Address::Node(node),
            Message::Evidence(_) => Address::Writer,
            Message::Data { subject, .. }
            | Message::Move { subject, .. }
            | Message::Arrive { subject, .. }
            | Message::Arrived { subject, .. }
            | Message::Subscribe { subject, .. } => Address::Owner(subject),
            Message::Child { parent, .. } => Address::Owner(parent),
            Message::Alias { shard, .. } | Message::Features { shard, .. } => Address::Follower(*shard),
            Message::Activate { key, .. } => Address::Activation(key),
        }
    }
}

/// The source record that a relation row is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowId {
    /// The kind of the record: the topic that it came from.
    pub kind: SourceKind,
    /// Its source key, as the key of its topic spells it.
    pub key: Text,
}

/// Data of one node for its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Data {
    /// The node's own source record.
    Fragment {
        /// The order among what is sent about this record.
        sequence: Sequence,
        /// `None`: it was deleted.
        fragment: Option<Fragment>,
    },
    /// A relation row that belongs to the node.
    Row {
        /// The record that the row is.
        row: RowId,
        /// The order among what is sent about this record.
        sequence: Sequence,
        /// `None`: it was deleted, or belongs to the node no longer.
        value: Option<Value>,
    },
    /// An event whose home the node is.
    Event(Event),
    /// Another identity that the node carries is set aside, or no longer is.
    Aside {
        /// The identity that the node carries.
        node: Identity,
        /// The order among the verdicts on what this node carries.
        sequence: Sequence,
        /// Why; `None` if it no longer is.
        reason: Option<Reason>,
    },
}

/// A part of a move: each piece as its former owner stored it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// The node's own source record, in the first part; deleted ones are kept as `None`.
    pub fragment: Option<(Sequence, Option<Fragment>)>,
    /// Its relation rows, in the first part; deleted ones are kept as `None`.
    pub rows: Vec<(RowId, Sequence, Option<Value>)>,
    /// Identities set aside.
    pub aside: Vec<(Identity, AsideRow)>,
    /// Copies of events that have the node for their home, by event id.
    pub events: Vec<(Text, EventCopy)>,
    /// Earlier moves of the node to the sender, of which the receiver gets the parts that the
    /// sender has not received; in the first part.
    pub unfinished: Vec<PartialArrival>,
}
