//! resolve: keyed by source record and by identity node.
//!
//! A record's changes are ordered here, once; what is left goes to the owner of the record's node. A node knows its canonical id, who claims it, and
//! who follows it. Claims stay here until they matter: the identity writer hears of a node when two homes claim it, or when one does and the node
//! carries data of its own or could name the cluster. The writer's verdict on a node passes through here too, so that owners hear of a move behind all data sent before it.

use std::collections::BTreeSet;

use millrace_identity::Claim as ClaimId;
use millrace_identity::{Edge, Evidence};
use millrace_model::{CanonicalId, Change, Event, Identity, SourceKind, SubjectKind, Text, Timestamp, Value, namespace};

use super::{IDENTITY_SHARD, Step};
use crate::key::{self, Parts};
use crate::message::{Claim, Data, Message, Origin, RowId};
use crate::record::{Applied, Fragment};
use crate::row::{ClaimRow, NodeRow, RecordRow, SubjectId};
use crate::state::StateError;

impl Step<'_> {
    /// A change of a keyed record.
    pub(super) fn change(&mut self, change: Change, origin: &Origin) -> Result<(), StateError> {
        let kind = change.kind;
        let row_id = RowId { kind, key: change.key.clone() };
        let node = change.node();
        let row_key = key::record(kind, &change.key);
        let mut row: RecordRow = self.tx.get(&row_key)?.unwrap_or_default();
        if row.state.apply(change) == Applied::Stale {
            self.count_record("resolve", kind.name(), "stale");
            return Ok(());
        }
        row.sequence += 1;
        let fragment = row.state.fragment();
        let current = fragment.as_ref().map(|fragment| current(kind, fragment));
        match node {
            Some(node) => {
                let mut claims = current.as_ref().map(|value| identities_of(kind, value)).unwrap_or_default();
                claims.remove(&node);
                for gone in row.claims.difference(&claims) {
                    let message = Message::Claim {
                        node: gone.clone(),
                        home: node.clone(),
                        claim: Claim::Record,
                        present: false,
                    };
                    self.send_to_node(gone, message, origin);
                }
                for new in claims.difference(&row.claims) {
                    let message = Message::Claim {
                        node: new.clone(),
                        home: node.clone(),
                        claim: Claim::Record,
                        present: true,
                    };
                    self.send_to_node(new, message, origin);
                }
                row.claims = claims;
                let node_row = self.anchored(&node, origin)?;
                self.route(
                    node,
                    node_row,
                    Data::Fragment {
                        sequence: row.sequence,
                        fragment,
                    },
                    origin,
                );
            }
            None if kind == SourceKind::AccountLink => self.link(&row_id, &mut row, current.as_ref(), origin),
            None => {
                let nodes = current.as_ref().map(|value| ends_of(kind, value)).unwrap_or_default();
                for gone in row.attached.difference(&nodes) {
                    let message = Message::Attach {
                        node: gone.clone(),
                        row: row_id.clone(),
                        sequence: row.sequence,
                        value: None,
                    };
                    self.send_to_node(gone, message, origin);
                }
                for node in &nodes {
                    let message = Message::Attach {
                        node: node.clone(),
                        row: row_id.clone(),
                        sequence: row.sequence,
                        value: current.clone(),
                    };
                    self.send_to_node(node, message, origin);
                }
                row.attached = nodes;
            }
        }
        self.tx.put(row_key, &row);
        Ok(())
    }

    /// An MDM link: edges between its least member and the others, while it is valid.
    fn link(&mut self, id: &RowId, row: &mut RecordRow, current: Option<&Value>, origin: &Origin) {
        let mut edges = BTreeSet::new();
        let mut timer = None;
        if let Some(value) = current {
            let from = value.field("validFrom").as_time().unwrap_or(Timestamp::MIN);
            let to = value.field("validTo").as_time().unwrap_or(Timestamp::MAX);
            let members: BTreeSet<Identity> = value.field("members").as_list().unwrap_or_default().iter().filter_map(account_of).collect();
            if from <= self.now && self.now < to {
                let mut members = members.into_iter();
                if let Some(least) = members.next() {
                    edges = members.map(|other| (least.clone(), other)).collect();
                }
            }
            timer = [from, to]
                .into_iter()
                .filter(|at| *at > self.now && *at < Timestamp::MAX)
                .min()
                .filter(|_| from < to);
        }
        let claim = ClaimId(format!("link {}", id.key).into());
        for (a, b) in row.edges.difference(&edges) {
            let Some(edge) = Edge::new(a.clone(), b.clone()) else { continue };
            self.send(IDENTITY_SHARD, Message::Evidence(Evidence::Withdraw { edge, claim: claim.clone() }), origin);
        }
        for (a, b) in edges.difference(&row.edges) {
            for end in [a, b] {
                self.send_to_node(end, Message::Anchor { node: end.clone() }, origin);
            }
            let Some(edge) = Edge::new(a.clone(), b.clone()) else { continue };
            self.send(IDENTITY_SHARD, Message::Evidence(Evidence::Assert { edge, claim: claim.clone() }), origin);
        }
        row.edges = edges;
        if row.timer != timer {
            if let Some(at) = row.timer {
                self.tx.delete(super::derive::link_timer(at, &id.key));
            }
            if let Some(at) = timer {
                self.tx.put_bytes(super::derive::link_timer(at, &id.key), Vec::new());
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
        let mut origin = Origin::timer();
        origin.topic = format!("{}source.account-link", self.config.topic_prefix).into();
        origin.key = link.into();
        self.link(&id, &mut row, current.as_ref(), &origin);
        self.tx.put(row_key, &row);
        Ok(())
    }

    /// An event on its way to the owner of its home.
    pub(super) fn route_event(&mut self, home: Identity, event: Event, origin: &Origin) -> Result<(), StateError> {
        let row = self.anchored(&home, origin)?;
        self.route(home, row, Data::Event(event), origin);
        Ok(())
    }

    /// A relation row, on its way to the owner of a node it names.
    pub(super) fn attach(&mut self, node: Identity, row: RowId, sequence: u64, value: Option<Value>, origin: &Origin) -> Result<(), StateError> {
        let node_row = self.anchored(&node, origin)?;
        self.route(node, node_row, Data::Row { row, sequence, value }, origin);
        Ok(())
    }

    fn route(&mut self, node: Identity, row: NodeRow, data: Data, origin: &Origin) {
        let subject = owner(&node, row.canonical);
        let message = Message::Data {
            subject: subject.clone(),
            node,
            epoch: row.epoch,
            data,
        };
        self.send_to_subject(&subject, message, origin);
    }

    fn node(&self, node: &Identity) -> Result<NodeRow, StateError> {
        Ok(self.tx.get(&key::node(node))?.unwrap_or_default())
    }

    /// A link names the node.
    pub(super) fn anchor(&mut self, node: &Identity, origin: &Origin) -> Result<(), StateError> {
        self.anchored(node, origin).map(drop)
    }

    /// The node's row. It matters by itself from now on: one claim suffices to tell the writer.
    fn anchored(&mut self, node: &Identity, origin: &Origin) -> Result<NodeRow, StateError> {
        let mut row = self.node(node)?;
        if !row.anchored {
            row.anchored = true;
            self.escalate(node, &mut row, None, origin)?;
            self.tx.put(key::node(node), &row);
        }
        Ok(row)
    }

    pub(super) fn claim(&mut self, node: &Identity, home: &Identity, claim: Claim, present: bool, origin: &Origin) -> Result<(), StateError> {
        let claim_key = key::claim(node, home);
        let before: ClaimRow = self.tx.get(&claim_key)?.unwrap_or_default();
        let mut after = before;
        match claim {
            Claim::Record => after.by_record = present,
            Claim::Events { epoch } if epoch >= before.events_epoch => {
                after.by_events = present;
                after.events_epoch = epoch;
            }
            Claim::Events { .. } => return Ok(()),
        }
        if after == before {
            return Ok(());
        }
        if after == ClaimRow::default() {
            self.tx.delete(claim_key)
        } else {
            self.tx.put(claim_key, &after)
        }
        if before.present() == after.present() {
            return Ok(());
        }
        let mut row = self.node(node)?;
        row.homes = if after.present() { row.homes + 1 } else { row.homes.saturating_sub(1) };
        self.escalate(node, &mut row, Some((home, after.present())), origin)?;
        self.tx.put(key::node(node), &row);
        Ok(())
    }

    /// Tells the writer what it has to know of a node's claims, after `changed` came or went.
    fn escalate(&mut self, node: &Identity, row: &mut NodeRow, changed: Option<(&Identity, bool)>, origin: &Origin) -> Result<(), StateError> {
        // A claimed source key may be less than its home, and name the cluster; any other identity is never less than a home that claims it.
        let may_name = SubjectKind::ALL.iter().any(|kind| kind.namespace() == node.namespace());
        let matters = row.homes >= 2 || (row.homes >= 1 && (row.anchored || may_name));
        match (row.escalated, matters) {
            (false, true) => {
                for home in self.claimants(node)? {
                    self.tell_writer(node, &home, true, origin);
                }
            }
            (true, true) => {
                if let Some((home, present)) = changed {
                    self.tell_writer(node, home, present, origin);
                }
            }
            (true, false) => {
                if let Some((home, _)) = changed {
                    self.tell_writer(node, home, false, origin);
                }
                for home in self.claimants(node)? {
                    self.tell_writer(node, &home, false, origin);
                }
            }
            (false, false) => {}
        }
        row.escalated = matters;
        Ok(())
    }

    fn tell_writer(&mut self, node: &Identity, home: &Identity, present: bool, origin: &Origin) {
        let Some(edge) = Edge::new(home.clone(), node.clone()) else { return };
        // Both ends may claim each other; each end's word is a claim of its own.
        let claim = ClaimId(format!("record {home}").into());
        let evidence = if present {
            Evidence::Assert { edge, claim }
        } else {
            Evidence::Withdraw { edge, claim }
        };
        self.send(IDENTITY_SHARD, Message::Evidence(evidence), origin);
    }

    /// The homes that claim the node now.
    fn claimants(&self, node: &Identity) -> Result<Vec<Identity>, StateError> {
        let mut homes = Vec::new();
        for (claim_key, value) in self.tx.scan_prefix(&key::claims(node))? {
            let claim: ClaimRow = crate::row::decode(&value)?;
            if claim.present() {
                homes.extend(Parts::of(&claim_key).node());
            }
        }
        Ok(homes)
    }

    /// The writer's verdict: the node belongs to `to` from `epoch` on.
    pub(super) fn canonical(&mut self, node: Identity, from: CanonicalId, to: CanonicalId, epoch: u64, origin: &Origin) -> Result<(), StateError> {
        let mut row = self.node(&node)?;
        if epoch <= row.epoch {
            return Ok(());
        }
        row.epoch = epoch;
        row.canonical = (to.0 != node).then(|| to.clone());
        self.tx.put(key::node(&node), &row);
        for shard in row.followers {
            self.send(
                shard,
                Message::Alias {
                    node: node.clone(),
                    canonical: to.clone(),
                    epoch,
                },
                origin,
            );
        }
        let subject = owner(&node, Some(from));
        self.send_to_subject(&subject.clone(), Message::Move { subject, node, to, epoch }, origin);
        Ok(())
    }

    pub(super) fn follow(&mut self, node: &Identity, shard: u32, on: bool, origin: &Origin) -> Result<(), StateError> {
        let mut row = self.node(node)?;
        let changed = if on { row.followers.insert(shard) } else { row.followers.remove(&shard) };
        if on {
            let canonical = row.canonical.clone().unwrap_or_else(|| CanonicalId(node.clone()));
            self.send(
                shard,
                Message::Alias {
                    node: node.clone(),
                    canonical,
                    epoch: row.epoch,
                },
                origin,
            );
        }
        if changed {
            self.tx.put(key::node(node), &row);
        }
        Ok(())
    }
}

fn owner(node: &Identity, canonical: Option<CanonicalId>) -> SubjectId {
    SubjectId {
        kind: SubjectKind::of_namespace(node.namespace()),
        id: canonical.unwrap_or_else(|| CanonicalId(node.clone())),
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

/// A record's fields as they hold now; a membership's validity counts from its `modifiedAt`, so that is one of them.
fn current(kind: SourceKind, fragment: &Fragment) -> Value {
    let mut value = fragment.current();
    if kind == SourceKind::AudienceMember && fragment.at > Timestamp::MIN {
        crate::record::set(&mut value, &[Text::const_new("modifiedAt")], Value::Time(fragment.at));
    }
    value
}

/// The nodes a relation row belongs to.
fn ends_of(kind: SourceKind, value: &Value) -> BTreeSet<Identity> {
    let mut ends = BTreeSet::new();
    if kind == SourceKind::AudienceMember {
        ends.extend(value.field("member").as_str().and_then(|member| Identity::parse(member).ok()));
        ends.extend(key_at(value, "accountKey", SubjectKind::Account));
    }
    ends.extend(key_at(value, "personKey", SubjectKind::Person));
    if kind == SourceKind::OpportunityPerson {
        ends.extend(key_at(value, "opportunityKey", SubjectKind::Opportunity));
    }
    ends
}

/// The node that a key object in `field` names.
pub fn key_at(value: &Value, field: &str, kind: SubjectKind) -> Option<Identity> {
    Identity::new(kind.namespace(), value.at(field).field("sourceKey").as_str()?)
}

fn account_of(member: &Value) -> Option<Identity> {
    Identity::new(namespace::ACCOUNT, member.field("sourceKey").as_str()?)
}
