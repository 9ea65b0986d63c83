//! Things that subjects of this shard refer to: which thing a node is (*follow*), what is known of it (*subscribe*), and children that name a parent.
//!
//! A shard follows each node its subjects refer to, once, and subscribes to each thing those nodes are, once, however many subjects refer to it.
//! Whatever arrives starts a fan-out over the dependents.

use std::collections::BTreeSet;

use millrace_model::{CanonicalId, Identity, SubjectKind};
use millrace_segment::plan::Features;

use super::{Step, derive};
use crate::key::{self, Key, Parts, table};
use crate::message::{Message, Origin};
use crate::row::{AliasRow, FanoutRow, ReplicaRow, SubjectId};
use crate::state::StateError;

impl Step<'_> {
    /// A subject's references changed.
    pub(super) fn refer(&mut self, subject: &SubjectId, before: &BTreeSet<Identity>, after: &BTreeSet<Identity>, origin: &Origin) -> Result<(), StateError> {
        for node in after.difference(before) {
            self.tx.put_bytes(derive::dependent(node, subject), Vec::new());
            let alias_key = Key::new(table::ALIAS).node(node).done();
            let mut alias: AliasRow = self.tx.get(&alias_key)?.unwrap_or_default();
            alias.dependents += 1;
            if alias.dependents == 1 {
                self.send_to_node(node, Message::Follow { node: node.clone(), shard: self.number, on: true }, origin);
            }
            self.tx.put(alias_key, &alias);
        }
        for node in before.difference(after) {
            self.tx.delete(derive::dependent(node, subject));
            let alias_key = Key::new(table::ALIAS).node(node).done();
            let Some(mut alias) = self.tx.get::<AliasRow>(&alias_key)? else { continue };
            alias.dependents = alias.dependents.saturating_sub(1);
            if alias.dependents > 0 {
                self.tx.put(alias_key, &alias);
                continue;
            }
            self.send_to_node(node, Message::Follow { node: node.clone(), shard: self.number, on: false }, origin);
            if let Some(canonical) = &alias.canonical {
                self.release(node, canonical, origin)?;
            }
            self.tx.delete(alias_key);
        }
        Ok(())
    }

    /// Which thing a followed node is.
    pub(super) fn alias(&mut self, node: &Identity, canonical: CanonicalId, epoch: u64, origin: &Origin) -> Result<(), StateError> {
        let alias_key = Key::new(table::ALIAS).node(node).done();
        // No row: everyone who referred to it is gone since.
        let Some(mut alias) = self.tx.get::<AliasRow>(&alias_key)? else { return Ok(()) };
        if alias.epoch > epoch || alias.canonical.as_ref() == Some(&canonical) {
            return Ok(());
        }
        if let Some(old) = alias.canonical.replace(canonical.clone()) {
            self.release(node, &old, origin)?;
        }
        alias.epoch = epoch;
        self.tx.put(alias_key, &alias);
        let thing = thing_of(node, canonical);
        self.tx.put_bytes(derive::alias_of(&thing, node), Vec::new());
        let replica_key = key::of_subject(table::REPLICA, &thing);
        let mut replica: ReplicaRow = self.tx.get(&replica_key)?.unwrap_or_default();
        replica.nodes += 1;
        if replica.nodes == 1 {
            self.send_to_subject(&thing.clone(), Message::Subscribe { subject: thing, shard: self.number, on: true }, origin);
        }
        self.tx.put(replica_key, &replica);
        self.fan_out(node, origin);
        Ok(())
    }

    /// A node is not this thing any more, or nobody here cares.
    fn release(&mut self, node: &Identity, canonical: &CanonicalId, origin: &Origin) -> Result<(), StateError> {
        let thing = thing_of(node, canonical.clone());
        self.tx.delete(derive::alias_of(&thing, node));
        let replica_key = key::of_subject(table::REPLICA, &thing);
        let Some(mut replica) = self.tx.get::<ReplicaRow>(&replica_key)? else { return Ok(()) };
        replica.nodes = replica.nodes.saturating_sub(1);
        if replica.nodes > 0 {
            self.tx.put(replica_key, &replica);
            return Ok(());
        }
        self.tx.delete(replica_key);
        self.send_to_subject(&thing.clone(), Message::Subscribe { subject: thing, shard: self.number, on: false }, origin);
        Ok(())
    }

    /// At the owner: a shard wants to know, or no longer.
    pub(super) fn subscribe(&mut self, subject: &SubjectId, shard: u32, on: bool, origin: &Origin) -> Result<(), StateError> {
        let row = self.subject(subject)?;
        if on {
            row.subscribers.insert(shard);
            self.mark(subject, origin).greet.insert(shard);
        } else {
            row.subscribers.remove(&shard);
        }
        Ok(())
    }

    /// At a subscribed shard: what is known of a thing.
    pub(super) fn replica(&mut self, thing: &SubjectId, exists: bool, features: Features, origin: &Origin) -> Result<(), StateError> {
        let replica_key = key::of_subject(table::REPLICA, thing);
        let Some(mut replica) = self.tx.get::<ReplicaRow>(&replica_key)? else { return Ok(()) };
        if replica.known && replica.exists == exists && replica.features == features {
            return Ok(());
        }
        replica.known = true;
        replica.exists = exists;
        replica.features = features;
        self.tx.put(replica_key, &replica);
        let aliases = derive::aliases_of(thing);
        for (alias_key, _) in self.tx.scan_prefix(&aliases)? {
            let mut parts = Parts::of(&alias_key);
            let _ = parts.subject();
            if let Some(node) = parts.node() {
                self.fan_out(&node, origin);
            }
        }
        Ok(())
    }

    /// At the parent's owner: a child came, changed or went.
    pub(super) fn child(&mut self, parent: &SubjectId, child: &SubjectId, features: Option<Features>, origin: &Origin) -> Result<(), StateError> {
        let child_key = key::child(parent, child);
        match features {
            Some(features) => self.tx.put(child_key, &features),
            None => self.tx.delete(child_key),
        }
        self.mark(parent, origin).related.insert(child.kind);
        Ok(())
    }

    fn fan_out(&mut self, node: &Identity, origin: &Origin) {
        self.fanouts.insert(node.clone(), Some(FanoutRow { cursor: None, origin: origin.clone() }));
    }
}

/// The thing that a node of some kind is.
pub(super) fn thing_of(node: &Identity, canonical: CanonicalId) -> SubjectId {
    SubjectId { kind: SubjectKind::of_namespace(node.namespace()), id: canonical }
}
