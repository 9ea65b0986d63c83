//! Things that subjects of this shard refer to: which thing a node is (*follow*), what is known of
//! it (*subscribe*), and children that name a parent.
//!
//! A shard follows each node its subjects refer to, once, and subscribes to each thing of those
//! nodes, once, however many subjects refer to it. Every arrival starts a fan-out over the
//! dependents. If rules only compare a number with constants, and no subject here adds it to
//! another, the shard requests its band alone (`Detail`), and receives no changes within.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{CanonicalId, Identity, ShardId, SubjectId, SubjectKind, Timestamp};
use millrace_segment::view::Features;

use super::{Step, derive};
use crate::key::{self, Parts, table};
use crate::message::Message;
use crate::program::same_values;
use crate::row::{AliasRow, Detail, FanoutRow, ProfileRow, Reach, RelatedChange, ReplicaRow, Standing, Unrest};
use crate::state::StateError;
use millrace_identity::Epoch;

impl Step<'_> {
    /// A subject's references changed, or the detail that it needs of their things.
    pub(super) fn refer(&mut self, subject: &SubjectId, before: &BTreeMap<Identity, Detail>, after: &BTreeMap<Identity, Detail>) -> Result<(), StateError> {
        for (node, detail) in before {
            if after.get(node) != Some(detail) {
                self.tx.delete(key::dependent(node, *detail, subject));
            }
        }
        for (node, detail) in after {
            if before.get(node) != Some(detail) {
                self.tx.put_bytes(key::dependent(node, *detail, subject), Vec::new());
            }
        }
        let nodes: BTreeSet<&Identity> = before.keys().chain(after.keys()).collect();
        for node in nodes {
            self.depend(node, before.get(node).copied(), after.get(node).copied())?;
        }
        Ok(())
    }

    /// One subject changes its reference to a node.
    fn depend(&mut self, node: &Identity, before: Option<Detail>, after: Option<Detail>) -> Result<(), StateError> {
        if before == after {
            return Ok(());
        }
        let alias_key = key::alias(node);
        let mut alias: AliasRow = self.tx.get(&alias_key)?.unwrap_or_default();
        let known = alias.detail();
        adjust(&mut alias.dependents, before.is_some(), after.is_some());
        adjust(&mut alias.exact, before == Some(Detail::Exact), after == Some(Detail::Exact));
        if known.is_some() != alias.detail().is_some() {
            let follow = Message::Follow {
                node: node.clone(),
                shard: self.id,
                on: known.is_none(),
            };
            self.out.send(follow);
        }
        if let Some(canonical) = &alias.canonical {
            self.reference_changed(node, canonical, known, alias.detail())?;
        }
        if alias.dependents == 0 {
            self.tx.delete(alias_key)
        } else {
            self.tx.put(alias_key, &alias)
        }
        Ok(())
    }

    /// Which thing a followed node is.
    pub(super) fn alias(&mut self, node: &Identity, canonical: CanonicalId, epoch: Epoch) -> Result<(), StateError> {
        let alias_key = key::alias(node);
        // No row: the last subject that referred to it is gone since.
        let Some(mut alias) = self.tx.get::<AliasRow>(&alias_key)? else {
            return Ok(());
        };
        if alias.epoch > epoch || alias.canonical.as_ref() == Some(&canonical) {
            return Ok(());
        }
        if let Some(old) = alias.canonical.replace(canonical.clone()) {
            self.reference_changed(node, &old, alias.detail(), None)?;
            alias.unrest = Some(Unrest::again(alias.unrest, self.tx.now, self.deployment.settle_ms));
        }
        self.reference_changed(node, &canonical, None, alias.detail())?;
        alias.epoch = epoch;
        self.tx.put(alias_key, &alias);
        let replica: Option<ReplicaRow> = self.tx.get(&key::of_subject(table::REPLICA, &SubjectId::of(node, canonical)))?;
        // Nothing can be decided before a new thing is known, and then every dependent is
        // evaluated. But subjects that send to a parent know the receiver now.
        if replica.is_some_and(|replica| replica.known) || self.program.reads_children() {
            self.fan_out(node, Reach::All, &RelatedChange::Anything)?;
        }
        Ok(())
    }

    /// A node of this thing is referred to in a new way; `None`: not at all. The subscription to
    /// the thing's owner follows.
    fn reference_changed(&mut self, node: &Identity, canonical: &CanonicalId, before: Option<Detail>, after: Option<Detail>) -> Result<(), StateError> {
        if before == after {
            return Ok(());
        }
        let thing = SubjectId::of(node, canonical.clone());
        match (before, after) {
            (None, Some(_)) => self.tx.put_bytes(key::alias_of(&thing, node), Vec::new()),
            (Some(_), None) => self.tx.delete(key::alias_of(&thing, node)),
            _ => {}
        }
        let replica_key = key::of_subject(table::REPLICA, &thing);
        let mut replica: ReplicaRow = self.tx.get(&replica_key)?.unwrap_or_default();
        let asked = replica.detail();
        adjust(&mut replica.nodes, before.is_some(), after.is_some());
        adjust(&mut replica.exact, before == Some(Detail::Exact), after == Some(Detail::Exact));
        let detail = replica.detail();
        if detail != asked {
            self.out.send(Message::Subscribe {
                subject: thing,
                shard: self.id,
                detail,
            });
        }
        if replica.nodes == 0 {
            self.tx.delete(replica_key)
        } else {
            self.tx.put(replica_key, &replica)
        }
        Ok(())
    }

    /// At the owner: a shard subscribes, or no longer.
    pub(super) fn subscribe(&mut self, subject: &SubjectId, shard: ShardId, detail: Option<Detail>) -> Result<(), StateError> {
        let row = self.tx.subject(subject)?;
        match detail {
            Some(detail) => {
                row.subscribers.insert(shard, detail);
                self.mark(subject).greet.insert(shard);
            }
            None => drop(row.subscribers.remove(&shard)),
        }
        Ok(())
    }

    /// At a subscribed shard: what is known of a thing.
    pub(super) fn replica(&mut self, thing: &SubjectId, standing: Standing, features: Features) -> Result<(), StateError> {
        let replica_key = key::of_subject(table::REPLICA, thing);
        let Some(mut replica) = self.tx.get::<ReplicaRow>(&replica_key)? else {
            return Ok(());
        };
        if standing == Standing::Absorbed {
            // Its nodes have become another thing, and the message about that is in transit: until
            // then nothing is known of it.
            self.tx.put(
                replica_key,
                &ReplicaRow {
                    nodes: replica.nodes,
                    exact: replica.exact,
                    ..ReplicaRow::default()
                },
            );
            return Ok(());
        }
        let exists = standing == Standing::Alive;
        if replica.known && replica.exists == exists && replica.features == features {
            return Ok(());
        }
        let heard = replica.known && replica.exists == exists;
        let (before, after) = (self.program.banded(&replica.features), self.program.banded(&features));
        let numbers_moved = !same_values(&replica.features, &features);
        // How long a value holds is read for reports. Only features that depend on it are sent
        // again.
        let instants_moved = before != after && self.program.passes_on(thing.kind);
        let reach = match (numbers_moved, instants_moved) {
            _ if !heard || !same_values(&before, &after) => Some(Reach::All),
            (true, true) => Some(Reach::All),
            // Dependents that need only bands are not affected by a number that moved within its
            // band.
            (true, false) => Some(Reach::Exact),
            (false, true) => Some(Reach::Things),
            (false, false) => None,
        };
        let moved = if heard {
            RelatedChange::Features(self.program.changed(&replica.features, &features))
        } else {
            RelatedChange::Anything
        };
        let reach = match &moved {
            // Rules that read it come later, and with them a backfill.
            RelatedChange::Features(moved) if !moved.iter().any(|feature| self.program.reads_down(thing.kind, *feature)) => None,
            // Only new rules read features that were not sent before, and for those the backfill
            // visits every person anyway, in the order of their rows.
            RelatedChange::Features(moved) if !self.program.has_any(&replica.features, moved) && self.backfill_comes_to_persons()? => {
                reach.filter(|reach| *reach != Reach::Exact).map(|_| Reach::Things)
            }
            RelatedChange::Features(_) | RelatedChange::Anything => reach,
        };
        replica.known = true;
        replica.exists = exists;
        replica.features = features;
        self.tx.put(replica_key, &replica);
        let Some(reach) = reach else { return Ok(()) };
        let aliases = key::aliases_of(thing);
        for (alias_key, _) in self.tx.scan_prefix(&aliases)? {
            let mut parts = Parts::of(&alias_key);
            let _ = parts.subject();
            if let Some(node) = parts.node() {
                self.fan_out(&node, reach, &moved)?;
            }
        }
        Ok(())
    }

    /// At the parent's owner: a child was added, changed or removed.
    pub(super) fn child(&mut self, parent: &SubjectId, child: &SubjectId, features: Option<Features>) -> Result<(), StateError> {
        let child_key = key::child(parent, child);
        let before: Option<Features> = self.tx.get(&child_key)?;
        match &features {
            Some(features) => self.tx.put(child_key, features),
            None => self.tx.delete(child_key),
        }
        self.count_child(parent, child, before, features)?;
        self.mark(parent).moved(child.kind, &RelatedChange::Anything);
        Ok(())
    }

    /// Until when a subject's references have not come to rest, if that is later than now.
    pub(super) fn unrest(&self, kind: SubjectKind, profile: &ProfileRow) -> Result<Option<Timestamp>, StateError> {
        let settle_ms = self.deployment.settle_ms;
        if settle_ms == 0 {
            return Ok(None);
        }
        let mut latest = None;
        for node in derive::references(kind, profile).keys() {
            let alias: Option<AliasRow> = self.tx.get(&key::alias(node))?;
            latest = latest.max(alias.and_then(|alias| alias.unrest).map(|unrest| unrest.until(settle_ms)));
        }
        Ok(latest.filter(|until| *until > self.tx.now))
    }

    /// Every dependent of a node must be evaluated, from the beginning, also for the causes of a
    /// running job.
    fn fan_out(&mut self, node: &Identity, reach: Reach, moved: &RelatedChange) -> Result<(), StateError> {
        let mut job = FanoutRow {
            cursor: None,
            reach,
            moved: moved.clone(),
            origin: self.out.cause.clone(),
        };
        if let Some(running) = self.fanout(node)? {
            job.reach = running.reach.and(reach);
            job.moved.add(&running.moved);
        }
        self.agenda.fanouts.put(node.clone(), job);
        Ok(())
    }
}

/// Adjusts a count by one, if membership among those counted changed.
fn adjust(count: &mut u64, before: bool, after: bool) {
    *count = count.saturating_add(u64::from(after)).saturating_sub(u64::from(before));
}
