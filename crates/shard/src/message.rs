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
use crate::row::{ActivationKey, AsideRow, Detail, EventCopy, Sequence, Standing};

/// A message with what caused it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub origin: Origin,
    pub message: Message,
}

/// A message to a stage: `to` says to which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// resolve of the record.
    Change(Change),
    /// resolve of the home: the event's least identity.
    Event { home: Identity, event: Event },
    /// resolve of `node`: `home` claims that they are one, or no longer does.
    Claim { node: Identity, home: Identity, present: bool },
    /// resolve of `home`: its retained events carry `node`, or no longer do; sent by the home's
    /// owner under this epoch of the home.
    Carry {
        home: Identity,
        node: Identity,
        epoch: Epoch,
        present: bool,
    },
    /// resolve of `home`: a node that it carries matters to others than the home, or no longer
    /// does. The two alternate.
    Matter { home: Identity, on: bool },
    /// resolve of `home`, from the identity writer: a node that it carries is set aside, or no
    /// longer is.
    Aside { home: Identity, node: Identity, reason: Option<Reason> },
    /// resolve of `node`: a link names the node.
    Anchor { node: Identity },
    /// resolve of `node`: a relation row belongs to the node; without a value it no longer does.
    Attach {
        node: Identity,
        row: RowId,
        sequence: Sequence,
        value: Option<Value>,
    },
    /// resolve of `node`: send this shard the node's thing, now and at every change.
    Follow { node: Identity, shard: ShardId, on: bool },
    /// The identity writer.
    Evidence(Evidence),
    /// resolve of `node`, from the identity writer, epochs ascending.
    Canonical {
        node: Identity,
        from: CanonicalId,
        to: CanonicalId,
        epoch: Epoch,
    },
    /// Owner: data of a node. From resolve, after every `Move` with a lower epoch.
    Data {
        subject: SubjectId,
        node: Identity,
        epoch: Epoch,
        data: Data,
    },
    /// Owner of `subject`: everything of the node goes to `to`.
    Move {
        subject: SubjectId,
        node: Identity,
        to: CanonicalId,
        epoch: Epoch,
    },
    /// Owner of `subject`: the node's data from `from`; several parts, in order.
    Arrive {
        subject: SubjectId,
        from: CanonicalId,
        node: Identity,
        epoch: Epoch,
        part: Bundle,
        last: bool,
    },
    /// Owner of `subject`: a node that left it has arrived.
    Arrived { subject: SubjectId, node: Identity, epoch: Epoch },
    /// Owner of `parent`: a thing that names it as its parent, with the features the parent's rules
    /// read; `None`: no longer. A change of only how long a feature holds is sent for opportunities, and
    /// not for persons: each visit moves such instants.
    Child {
        parent: SubjectId,
        child: SubjectId,
        features: Option<Features>,
    },
    /// Follower shard: which thing a node is.
    Alias {
        /// The receiver; not a part of the bytes, which are at that shard.
        #[serde(skip)]
        shard: ShardId,
        node: Identity,
        canonical: CanonicalId,
        epoch: Epoch,
    },
    /// Owner of `subject`: send this shard its features, now and at every change, in this detail;
    /// `None`: no longer.
    Subscribe {
        subject: SubjectId,
        shard: ShardId,
        detail: Option<Detail>,
    },
    /// Subscribed shard. Also sent if only the time changed for which a feature holds.
    Features {
        /// As for `Alias`.
        #[serde(skip)]
        shard: ShardId,
        subject: SubjectId,
        standing: Standing,
        features: Features,
    },
    /// activation of the key: whether the subject counts for it.
    Activate {
        key: ActivationKey,
        subject: SubjectId,
        present: bool,
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

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowId {
    pub kind: SourceKind,
    pub key: Text,
}

/// Data of one node for its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Data {
    Fragment {
        sequence: Sequence,
        fragment: Option<Fragment>,
    },
    Row {
        row: RowId,
        sequence: Sequence,
        value: Option<Value>,
    },
    Event(Event),
    /// Another identity that the node carries is set aside, or no longer is.
    Aside {
        node: Identity,
        sequence: Sequence,
        reason: Option<Reason>,
    },
}

/// A part of a move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    pub fragment: Option<(Sequence, Option<Fragment>)>,
    pub rows: Vec<(RowId, Sequence, Option<Value>)>,
    /// Identities set aside.
    pub aside: Vec<(Identity, AsideRow)>,
    pub events: Vec<(Text, EventCopy)>,
}
