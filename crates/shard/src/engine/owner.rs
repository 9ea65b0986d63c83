//! The owner of a subject: fragments, relation rows and events by node, and the moves of nodes
//! between owners.
//!
//! A profile is a union of data by node, so a node can be taken out and put elsewhere exactly.
//! resolve is the only sender of a node's data and of its moves, in order. So an owner that
//! receives `Move` has everything sent to it before, and nothing arrives after it except from other
//! former owners: an `Arrive` under an older epoch than the move is passed on. Data is applied or
//! passed on, never both; fragments and rows by their sequence, events by their version, so that
//! direct data may arrive before the arrival it overtakes.

use millrace_model::{CanonicalId, Identity, SourceKind, SubjectId};

use super::Step;
use crate::format;
use crate::key::{self, Parts, table};
use crate::message::{Bundle, Data, Message, RowId};
use crate::row::{Arrival, AsideRow, FragmentRow, MovedRow, PartialArrival, RelationRow};
use crate::state::StateError;
use millrace_identity::Epoch;

impl Step<'_> {
    /// Data of a node from resolve.
    pub(super) fn data(&mut self, subject: SubjectId, node: Identity, epoch: Epoch, data: Data) -> Result<(), StateError> {
        if let Some(moved) = self.settle_here(&subject, &node, epoch)? {
            let subject = SubjectId {
                kind: subject.kind,
                id: moved.to,
            };
            self.out.send(Message::Data { subject, node, epoch, data });
            return Ok(());
        }
        match data {
            Data::Fragment { sequence, fragment } => self.put_fragment(&subject, &node, epoch, FragmentRow { sequence, fragment }),
            Data::Row { row, sequence, value } => self.put_row(&subject, &node, epoch, &row, RelationRow { sequence, value }),
            Data::Event(event) => self.put_event(&subject, &node, epoch, event),
            Data::Aside {
                node: carried,
                sequence,
                reason,
            } => self.put_aside(&subject, &node, epoch, &carried, AsideRow { sequence, reason }),
        }
    }

    /// Where a message about `node` under `epoch` belongs: elsewhere, if the node moved away later
    /// than that; otherwise here, and then it is back.
    fn settle_here(&mut self, subject: &SubjectId, node: &Identity, epoch: Epoch) -> Result<Option<MovedRow>, StateError> {
        if epoch == Epoch::NEVER {
            // The node never moved when this was sent, so it cannot have left before; if it left
            // since, `Move` was sent after this message.
            return Ok(None);
        }
        let moved_key = key::of_subject_node(table::MOVED, subject, node);
        match self.tx.get::<MovedRow>(&moved_key)? {
            Some(moved) if moved.epoch > epoch => Ok(Some(moved)),
            Some(_) => {
                self.tx.delete(moved_key);
                if *node == subject.id.0 {
                    self.tx.subject(subject)?.merged_into = None;
                }
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn put_fragment(&mut self, subject: &SubjectId, node: &Identity, epoch: Epoch, new: FragmentRow) -> Result<(), StateError> {
        let row_key = key::of_subject_node(table::FRAGMENT, subject, node);
        if self.tx.get::<FragmentRow>(&row_key)?.is_some_and(|known| known.sequence >= new.sequence) {
            return Ok(());
        }
        // Before the first move nothing older can be in transit to here, so a removal needs no
        // memory.
        if new.fragment.is_none() && epoch == Epoch::NEVER {
            self.tx.delete(row_key)
        } else {
            self.tx.put(row_key, &new)
        }
        self.mark(subject).profile = true;
        Ok(())
    }

    fn put_row(&mut self, subject: &SubjectId, node: &Identity, epoch: Epoch, id: &RowId, new: RelationRow) -> Result<(), StateError> {
        let row_key = key::row(subject, node, id.kind, &id.key);
        if self.tx.get::<RelationRow>(&row_key)?.is_some_and(|known| known.sequence >= new.sequence) {
            return Ok(());
        }
        if new.value.is_none() && epoch == Epoch::NEVER {
            self.tx.delete(row_key)
        } else {
            self.tx.put(row_key, &new)
        }
        self.mark(subject).profile = true;
        Ok(())
    }

    fn put_aside(&mut self, subject: &SubjectId, node: &Identity, epoch: Epoch, carried: &Identity, new: AsideRow) -> Result<(), StateError> {
        let row_key = key::aside(subject, node, carried);
        let known: Option<AsideRow> = self.tx.get(&row_key)?;
        if known.as_ref().is_some_and(|known| known.sequence >= new.sequence) {
            return Ok(());
        }
        self.count_asides(subject, known.is_some_and(|known| known.reason.is_some()), new.reason.is_some())?;
        if new.reason.is_none() && epoch == Epoch::NEVER {
            self.tx.delete(row_key)
        } else {
            self.tx.put(row_key, &new)
        }
        self.mark(subject).profile = true;
        Ok(())
    }

    fn count_asides(&mut self, subject: &SubjectId, before: bool, after: bool) -> Result<(), StateError> {
        let row = self.tx.subject(subject)?;
        row.asides = row.asides.saturating_add(u32::from(after)).saturating_sub(u32::from(before));
        Ok(())
    }

    /// The node leaves: its data goes to `to`.
    pub(super) fn depart(&mut self, subject: SubjectId, node: Identity, to: CanonicalId, epoch: Epoch) -> Result<(), StateError> {
        let moved_key = key::of_subject_node(table::MOVED, &subject, &node);
        if self.tx.get::<MovedRow>(&moved_key)?.is_some_and(|moved| moved.epoch >= epoch) {
            return Ok(());
        }
        let mut part = Bundle::default();
        let fragment_key = key::of_subject_node(table::FRAGMENT, &subject, &node);
        if let Some(row) = self.tx.get::<FragmentRow>(&fragment_key)? {
            part.fragment = Some((row.sequence, row.fragment));
            self.tx.delete(fragment_key);
        }
        let rows_of_node = key::of_subject_node(table::ROW, &subject, &node);
        for (row_key, value) in self.tx.scan_prefix(&rows_of_node)? {
            let row: RelationRow = format::decode(&value)?;
            if let Some(id) = row_id(&row_key) {
                part.rows.push((id, row.sequence, row.value));
            }
            self.tx.delete(row_key);
        }
        for (aside_key, value) in self.tx.scan_prefix(&key::of_subject_node(table::ASIDE, &subject, &node))? {
            let mut parts = Parts::of(&aside_key);
            parts.node();
            let row: AsideRow = format::decode(&value)?;
            self.count_asides(&subject, row.reason.is_some(), false)?;
            part.aside.extend(parts.node().map(|carried| (carried, row)));
            self.tx.delete(aside_key);
        }
        let links = self.tx.scan_prefix(&key::of_subject_node(table::EVENT_LINK, &subject, &node))?;
        let links_left = u32::try_from(links.len()).unwrap_or(u32::MAX);
        links.into_iter().for_each(|(link_key, _)| self.tx.delete(link_key));
        self.tx.put(moved_key, &MovedRow { to: to.clone(), epoch });
        let row = self.tx.subject(&subject)?;
        // The rest of an earlier arrival is passed on from now on.
        part.unfinished = row.arriving.extract_if(.., |unfinished| unfinished.arrival.node == node).collect();
        row.event_links = row.event_links.saturating_sub(links_left);
        row.departing += 1;
        // Any node may leave; a subject was absorbed if the node that names it left.
        if node == subject.id.0 {
            row.merged_into = Some(to.clone());
        }
        let dirty = self.mark(&subject);
        dirty.profile = true;
        dirty.all = true;
        self.send_events(&subject, node, to, epoch, part)
    }

    /// A part of a former owner's data of the node.
    pub(super) fn arrive(&mut self, subject: SubjectId, arrival: Arrival, part: Bundle, of: Option<u32>) -> Result<(), StateError> {
        let Arrival { from, node, epoch } = arrival.clone();
        if let Some(moved) = self.settle_here(&subject, &node, epoch)? {
            let subject = SubjectId {
                kind: subject.kind,
                id: moved.to,
            };
            self.out.send(Message::Arrive {
                subject,
                from,
                node,
                epoch,
                part,
                of,
            });
            return Ok(());
        }
        if let Some((sequence, fragment)) = part.fragment {
            self.put_fragment(&subject, &node, epoch, FragmentRow { sequence, fragment })?;
        }
        for (id, sequence, value) in part.rows {
            self.put_row(&subject, &node, epoch, &id, RelationRow { sequence, value })?;
        }
        for (carried, row) in part.aside {
            self.put_aside(&subject, &node, epoch, &carried, row)?;
        }
        for (id, copy) in part.events {
            self.put_copy(&subject, &id, epoch, copy, true)?;
        }
        for unfinished in part.unfinished {
            self.count_parts(&subject, unfinished)?;
        }
        self.count_parts(&subject, PartialArrival { arrival, received: 1, of })
    }

    /// Parts of an arrival have come, here or where the node was before.
    fn count_parts(&mut self, subject: &SubjectId, more: PartialArrival) -> Result<(), StateError> {
        let row = self.tx.subject(subject)?;
        let known = row.arriving.iter().position(|known| known.arrival == more.arrival);
        let mut unfinished = known.map_or_else(|| PartialArrival::none_of(more.arrival), |at| row.arriving.remove(at));
        unfinished.received += more.received;
        unfinished.of = unfinished.of.or(more.of);
        if unfinished.is_whole() {
            row.arrivals.push(unfinished.arrival);
            // The subject was not evaluated at the parts before.
            self.mark(subject).all |= unfinished.received > 1;
        } else {
            row.arriving.push(unfinished);
        }
        Ok(())
    }

    /// A departed node has arrived, and the consequences there are known.
    pub(super) fn arrived(&mut self, subject: &SubjectId) -> Result<(), StateError> {
        let row = self.tx.subject(subject)?;
        row.departing = row.departing.saturating_sub(1);
        if row.departing == 0 {
            self.mark(subject).all = true;
        }
        Ok(())
    }

    /// Reports to a home that its events carry another identity, or no longer do.
    pub(super) fn event_claim(&mut self, home: &Identity, other: &Identity, epoch: Epoch, present: bool) {
        let message = Message::Carry {
            home: home.clone(),
            node: other.clone(),
            epoch,
            present,
        };
        self.out.send(message);
    }
}

/// The relation row that a key of `ROW` is of.
pub(super) fn row_id(row_key: &[u8]) -> Option<RowId> {
    let mut parts = Parts::of(row_key);
    parts.node()?;
    let kind = parts.byte()?;
    let kind = SourceKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
    Some(RowId {
        kind,
        key: parts.text()?.into(),
    })
}
