//! resolve: keyed by source record and by identity node.
//!
//! This stage orders a record's changes, once, and sends the result to the owner of the record's
//! node. A node knows its canonical id, its claimants and its followers; a home also knows what it
//! carries. The writer's verdict on a node passes through here too, so that owners receive a move
//! after all data sent before it.
//!
//! The writer should see real links only, and whole clusters of them, because guards count every
//! identity of a record. So a node *matters* when two homes claim it, or when one does and the node
//! carries data of its own or could name the cluster; then it reports that to its homes. A home
//! whose node matters, that carries one that does, or that breaks a guard alone, *joins*: it sends
//! the writer all that it carries. A home that never joins is a cluster of its own, which holds
//! what it carries, and the writer would decide the same.

use std::collections::BTreeSet;

use millrace_identity::Claim as ClaimId;
use millrace_identity::{Edge, Epoch, Evidence, Reason};
use millrace_model::relation::Role;
use millrace_model::{CanonicalId, Change, Event, Identity, ShardId, SourceKind, SubjectId, SubjectKind, Text, Timestamp, Value, namespace};

use super::outbox::Outbox;
use super::transaction::Transaction;
use crate::deployment::Deployment;
use crate::format;
use crate::key::{self, Parts};
use crate::machine::InputTopic;
use crate::message::{Data, Message, RowId};
use crate::origin::Origin;
use crate::record::{Applied, Fragment};
use crate::row::{CarriedRow, NodeRow, RecordRow, Sequence};
use crate::state::StateError;

/// Why a home carries an identity.
#[derive(Clone, Copy)]
enum Carrier<'c> {
    /// Its source record carries it: all that it carries now, which is not stored yet.
    Record(&'c BTreeSet<Identity>),
    /// Its retained events carry it.
    Events,
}

/// The stage with the parts of a step that it needs.
pub(super) struct Resolve<'s, 'a> {
    pub deployment: &'s Deployment,
    pub tx: &'s mut Transaction<'a>,
    pub out: &'s mut Outbox,
}

impl Resolve<'_, '_> {
    /// A change of a keyed record.
    pub(super) fn change(&mut self, change: Change) -> Result<(), StateError> {
        let kind = change.kind;
        let row_id = RowId { kind, key: change.key.clone() };
        let node = change.node();
        let row_key = key::record(kind, &change.key);
        let mut row: RecordRow = self.tx.get(&row_key)?.unwrap_or_default();
        if row.state.apply(change) == Applied::Stale {
            self.out.count_record("resolve", kind.name(), "stale");
            return Ok(());
        }
        row.sequence = row.sequence.next();
        let fragment = row.state.fragment();
        let current = fragment.as_ref().map(|fragment| current(kind, fragment));
        match node {
            Some(node) => {
                let mut claims = current.as_ref().map(|value| identities_of(kind, value)).unwrap_or_default();
                claims.remove(&node);
                let before = std::mem::replace(&mut row.claims, claims);
                let changed: Vec<(Identity, bool)> = before
                    .difference(&row.claims)
                    .map(|gone| (gone.clone(), false))
                    .chain(row.claims.difference(&before).map(|new| (new.clone(), true)))
                    .collect();
                let node_row = self.carries(&node, &changed, Carrier::Record(&row.claims))?;
                self.route(
                    node,
                    node_row,
                    Data::Fragment {
                        sequence: row.sequence,
                        fragment,
                    },
                );
            }
            None if kind == SourceKind::AccountLink => self.link(&row_id, &mut row, current.as_ref()),
            None => {
                let nodes = current.as_ref().map(|value| kind.named(Role::End, value).collect()).unwrap_or_default();
                for gone in row.attached.difference(&nodes) {
                    let message = Message::Attach {
                        node: gone.clone(),
                        row: row_id.clone(),
                        sequence: row.sequence,
                        value: None,
                    };
                    self.out.send(message);
                }
                for node in &nodes {
                    let message = Message::Attach {
                        node: node.clone(),
                        row: row_id.clone(),
                        sequence: row.sequence,
                        value: current.clone(),
                    };
                    self.out.send(message);
                }
                row.attached = nodes;
            }
        }
        self.tx.put(row_key, &row);
        Ok(())
    }

    /// An MDM link: edges between its least member and the others, while it is valid.
    fn link(&mut self, id: &RowId, row: &mut RecordRow, current: Option<&Value>) {
        let mut edges = BTreeSet::new();
        let mut timer = None;
        if let Some(value) = current {
            let from = value.field("validFrom").as_time().unwrap_or(Timestamp::MIN);
            let to = value.field("validTo").as_time().unwrap_or(Timestamp::MAX);
            let members: BTreeSet<Identity> = id.kind.named(Role::Member, value).collect();
            if from <= self.tx.now && self.tx.now < to {
                let mut members = members.into_iter();
                if let Some(least) = members.next() {
                    edges = members.map(|other| (least.clone(), other)).collect();
                }
            }
            timer = [from, to]
                .into_iter()
                .filter(|at| *at > self.tx.now && *at < Timestamp::MAX)
                .min()
                .filter(|_| from < to);
        }
        let claim = ClaimId(format!("link {}", id.key).into());
        for (a, b) in row.edges.difference(&edges) {
            let Some(edge) = Edge::new(a.clone(), b.clone()) else { continue };
            self.out.send(Message::Evidence(Evidence::Withdraw { edge, claim: claim.clone() }));
        }
        for (a, b) in edges.difference(&row.edges) {
            for end in [a, b] {
                self.out.send(Message::Anchor { node: end.clone() });
            }
            let Some(edge) = Edge::new(a.clone(), b.clone()) else { continue };
            self.out.send(Message::Evidence(Evidence::Assert { edge, claim: claim.clone() }));
        }
        row.edges = edges;
        if row.timer != timer {
            if let Some(at) = row.timer {
                self.tx.delete(key::link_timer(at, &id.key));
            }
            if let Some(at) = timer {
                self.tx.put_bytes(key::link_timer(at, &id.key), Vec::new());
            }
            row.timer = timer;
        }
    }

    /// A link's validity begins or ends now.
    pub(super) fn link_due(&mut self, link: &str) -> Result<(), StateError> {
        let row_key = key::record(SourceKind::AccountLink, link);
        let Some(mut row) = self.tx.get::<RecordRow>(&row_key)? else { return Ok(()) };
        let current = row.state.fragment().map(|fragment| fragment.current());
        let id = RowId {
            kind: SourceKind::AccountLink,
            key: link.into(),
        };
        self.out.cause = Origin {
            topic: self.deployment.topic(InputTopic::Source(SourceKind::AccountLink)),
            key: link.into(),
            ..Origin::timer()
        };
        self.link(&id, &mut row, current.as_ref());
        self.tx.put(row_key, &row);
        Ok(())
    }

    /// Sends an event to the owner of its home.
    pub(super) fn route_event(&mut self, home: Identity, event: Event) -> Result<(), StateError> {
        let row = self.anchored(&home)?;
        self.route(home, row, Data::Event(event));
        Ok(())
    }

    /// Sends a relation row to the owner of a node it names.
    pub(super) fn attach(&mut self, node: Identity, row: RowId, sequence: Sequence, value: Option<Value>) -> Result<(), StateError> {
        let node_row = self.anchored(&node)?;
        self.route(node, node_row, Data::Row { row, sequence, value });
        Ok(())
    }

    fn route(&mut self, node: Identity, row: NodeRow, data: Data) {
        let message = Message::Data {
            subject: row.subject(&node),
            node,
            epoch: row.epoch,
            data,
        };
        self.out.send(message);
    }

    fn node(&self, node: &Identity) -> Result<NodeRow, StateError> {
        Ok(self.tx.get(&key::node(node))?.unwrap_or_default())
    }

    /// A link names the node.
    pub(super) fn anchor(&mut self, node: &Identity) -> Result<(), StateError> {
        self.anchored(node).map(drop)
    }

    /// The node's row. It matters by itself from now on: one claim suffices to report it to the
    /// writer.
    fn anchored(&mut self, node: &Identity) -> Result<NodeRow, StateError> {
        let mut row = self.node(node)?;
        if !row.anchored {
            row.anchored = true;
            self.escalate(node, &mut row, None)?;
            self.tx.put(key::node(node), &row);
        }
        Ok(row)
    }

    /// Changes what a record, or events, of a home carry. Returns the home's row.
    fn carries(&mut self, home: &Identity, changed: &[(Identity, bool)], by: Carrier<'_>) -> Result<NodeRow, StateError> {
        let mut row = self.anchored(home)?;
        let mut net = Vec::new();
        for (node, present) in changed {
            let other = match by {
                Carrier::Record(_) => row.carried > 0 && self.tx.get::<CarriedRow>(&key::carried(home, node))?.is_some_and(|carried| carried.present),
                Carrier::Events => self.recorded(home)?.contains(node),
            };
            if !other {
                net.push((node, *present));
            }
        }
        for (node, present) in &net {
            let message = Message::Claim {
                node: (*node).clone(),
                home: home.clone(),
                present: *present,
            };
            self.out.send(message);
            if row.joined {
                self.send_to_writer(home, node, *present);
            }
        }
        if !net.is_empty() {
            let recorded = match by {
                Carrier::Record(claims) => claims.clone(),
                Carrier::Events => self.recorded(home)?,
            };
            self.look_again(home, &mut row, recorded)?;
            self.tx.put(key::node(home), &row);
        }
        Ok(row)
    }

    /// Retained events of a home carry a node, or no longer do; reported by the home's owner under
    /// this epoch of the home.
    pub(super) fn carry(&mut self, home: &Identity, node: &Identity, epoch: Epoch, present: bool) -> Result<(), StateError> {
        let carried_key = key::carried(home, node);
        let before: CarriedRow = self.tx.get(&carried_key)?.unwrap_or_default();
        if epoch < before.epoch {
            return Ok(());
        }
        if !present && epoch == Epoch::NEVER {
            self.tx.delete_if_present(carried_key)?;
        } else {
            self.tx.put(carried_key, &CarriedRow { present, epoch });
        }
        if before.present == present {
            return Ok(());
        }
        let mut row = self.anchored(home)?;
        row.carried = if present { row.carried + 1 } else { row.carried.saturating_sub(1) };
        self.tx.put(key::node(home), &row);
        self.carries(home, &[(node.clone(), present)], Carrier::Events).map(drop)
    }

    /// The identities that the record of a home carries.
    fn recorded(&self, home: &Identity) -> Result<BTreeSet<Identity>, StateError> {
        let kind = SubjectKind::of_namespace(home.namespace()).source();
        if kind.subject().is_none_or(|subject| subject.namespace() != home.namespace()) {
            return Ok(BTreeSet::new());
        }
        let row: Option<RecordRow> = self.tx.get(&key::record(kind, home.id()))?;
        Ok(row.map(|row| row.claims).unwrap_or_default())
    }

    /// All that a home carries, with what its record does.
    fn all_carried(&self, home: &Identity, row: &NodeRow, recorded: BTreeSet<Identity>) -> Result<BTreeSet<Identity>, StateError> {
        let mut all = recorded;
        if row.carried > 0 {
            for (carried_key, value) in self.tx.scan_prefix(&key::all_carried(home))? {
                if format::decode::<CarriedRow>(&value)?.present {
                    all.extend(Parts::of(&carried_key).node());
                }
            }
        }
        Ok(all)
    }

    /// The identities of a home, or the guards, changed: it may break one now, or no longer.
    fn look_again(&mut self, home: &Identity, row: &mut NodeRow, recorded: BTreeSet<Identity>) -> Result<(), StateError> {
        let max = self.deployment.policy.identities_max(home);
        if u64::from(row.carried) >= max {
            // This many are not read each time that one arrives or leaves.
            row.breaks = true;
            return self.join(home, row, Some(recorded));
        }
        let all = self.all_carried(home, row, recorded)?;
        row.breaks = !self.deployment.policy.holds(home, &all);
        self.join(home, row, Some(all))
    }

    /// Makes a home join the writer's graph with all that it carries, or leave it, as its row now
    /// says.
    fn join(&mut self, home: &Identity, row: &mut NodeRow, recorded: Option<BTreeSet<Identity>>) -> Result<(), StateError> {
        let joins = row.breaks || row.escalated || row.mattering > 0;
        if joins != row.joined {
            row.joined = joins;
            let recorded = recorded.map_or_else(|| self.recorded(home), Ok)?;
            for node in self.all_carried(home, row, recorded)? {
                self.send_to_writer(home, &node, joins);
            }
        }
        Ok(())
    }

    /// The guards changed: checks whether the home breaks one now.
    pub(super) fn review(&mut self, home: &Identity) -> Result<(), StateError> {
        let Some(mut row) = self.tx.get::<NodeRow>(&key::node(home))? else {
            return Ok(());
        };
        let before = (row.breaks, row.joined);
        let recorded = self.recorded(home)?;
        self.look_again(home, &mut row, recorded)?;
        if before != (row.breaks, row.joined) {
            self.tx.put(key::node(home), &row);
        }
        Ok(())
    }

    /// At a home: a node that it carries matters, or no longer does.
    pub(super) fn matter(&mut self, home: &Identity, on: bool) -> Result<(), StateError> {
        let mut row = self.node(home)?;
        row.mattering = if on { row.mattering + 1 } else { row.mattering.saturating_sub(1) };
        self.join(home, &mut row, None)?;
        self.tx.put(key::node(home), &row);
        Ok(())
    }

    /// At a home: the writer has set a node aside that it carries, or no longer does. The home's
    /// owner must know.
    pub(super) fn set_aside(&mut self, home: Identity, node: Identity, reason: Option<Reason>) -> Result<(), StateError> {
        let mut row = self.anchored(&home)?;
        row.verdicts = row.verdicts.next();
        self.tx.put(key::node(&home), &row);
        let sequence = row.verdicts;
        self.route(home, row, Data::Aside { node, sequence, reason });
        Ok(())
    }

    /// A home claims a node, or no longer does.
    pub(super) fn claim(&mut self, node: &Identity, home: &Identity, present: bool) -> Result<(), StateError> {
        let claim_key = key::claim(node, home);
        if self.tx.get_bytes(&claim_key)?.is_some() == present {
            return Ok(());
        }
        if present {
            self.tx.put(claim_key, &());
        } else {
            self.tx.delete(claim_key);
        }
        let mut row = self.node(node)?;
        row.homes = if present { row.homes + 1 } else { row.homes.saturating_sub(1) };
        self.escalate(node, &mut row, Some((home, present)))?;
        self.tx.put(key::node(node), &row);
        Ok(())
    }

    /// Reports to the homes of a node whether it matters, after `changed` was added or removed.
    fn escalate(&mut self, node: &Identity, row: &mut NodeRow, changed: Option<(&Identity, bool)>) -> Result<(), StateError> {
        // A claimed source key may be less than its home, and name the cluster; any other identity
        // is never less than a home that claims it.
        let may_name = SubjectKind::ALL.iter().any(|kind| kind.namespace() == node.namespace());
        let matters = row.homes >= 2 || (row.homes >= 1 && (row.anchored || may_name));
        let before = std::mem::replace(&mut row.escalated, matters);
        if before && let Some((home, false)) = changed {
            self.send_to_home(home, false);
        }
        match (before, matters) {
            (true, true) => {
                if let Some((home, true)) = changed {
                    self.send_to_home(home, true);
                }
            }
            (false, false) => {}
            _ => {
                for home in self.claimants(node)? {
                    self.send_to_home(&home, matters);
                }
            }
        }
        // A home that others claim is a part of their clusters.
        self.join(node, row, None)
    }

    fn send_to_home(&mut self, home: &Identity, on: bool) {
        self.out.send(Message::Matter { home: home.clone(), on });
    }

    fn send_to_writer(&mut self, home: &Identity, node: &Identity, present: bool) {
        let Some(edge) = Edge::new(home.clone(), node.clone()) else { return };
        let claim = ClaimId(format!("record {home}").into());
        let evidence = if present {
            Evidence::Assert { edge, claim }
        } else {
            Evidence::Withdraw { edge, claim }
        };
        self.out.send(Message::Evidence(evidence));
    }

    /// The homes that claim the node now.
    fn claimants(&self, node: &Identity) -> Result<Vec<Identity>, StateError> {
        let mut homes = Vec::new();
        for (claim_key, _) in self.tx.scan_prefix(&key::claims(node))? {
            homes.extend(Parts::of(&claim_key).node());
        }
        Ok(homes)
    }

    /// The writer's verdict: the node belongs to `to` from `epoch` on.
    pub(super) fn canonical(&mut self, node: Identity, from: CanonicalId, to: CanonicalId, epoch: Epoch) -> Result<(), StateError> {
        let mut row = self.node(&node)?;
        if epoch <= row.epoch {
            return Ok(());
        }
        row.epoch = epoch;
        row.canonical = (to.0 != node).then(|| to.clone());
        self.tx.put(key::node(&node), &row);
        for shard in row.followers.clone() {
            self.out.send(Message::Alias {
                shard,
                node: node.clone(),
                canonical: to.clone(),
                epoch,
            });
        }
        // For a node that never carried data there is nothing to move.
        if row.anchored {
            let subject = SubjectId::of(&node, from);
            self.out.send(Message::Move { subject, node, to, epoch });
        }
        Ok(())
    }

    pub(super) fn follow(&mut self, node: &Identity, shard: ShardId, on: bool) -> Result<(), StateError> {
        let mut row = self.node(node)?;
        let changed = if on { row.followers.insert(shard) } else { row.followers.remove(&shard) };
        if on {
            let canonical = row.canonical.clone().unwrap_or_else(|| CanonicalId(node.clone()));
            self.out.send(Message::Alias {
                shard,
                node: node.clone(),
                canonical,
                epoch: row.epoch,
            });
        }
        if changed {
            self.tx.put(key::node(node), &row);
        }
        Ok(())
    }
}

/// The identities a record of a unified thing carries.
pub fn identities_of(kind: SourceKind, value: &Value) -> BTreeSet<Identity> {
    let Some(subject) = kind.subject() else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    found.extend(
        value
            .at("extSourceSystemAudit.externalKey.sourceKey")
            .as_str()
            .and_then(|key| Identity::new(subject.namespace(), key)),
    );
    if kind == SourceKind::Person {
        found.extend(value.at("workEmail.address").as_str().and_then(|email| Identity::new(namespace::EMAIL, email)));
        for item in value.field("identities").as_list().unwrap_or_default() {
            if let (Some(namespace), Some(id)) = (item.field("namespace").as_str(), item.field("id").as_str()) {
                found.extend(Identity::new(namespace, id));
            }
        }
    }
    found
}

/// A record's fields as they hold now; a membership's validity counts from its `modifiedAt`, so
/// that is one of them.
fn current(kind: SourceKind, fragment: &Fragment) -> Value {
    let mut value = fragment.current();
    if kind == SourceKind::AudienceMember && fragment.at > Timestamp::MIN {
        crate::record::set(&mut value, &[Text::const_new("modifiedAt")], Value::Time(fragment.at));
    }
    value
}
