//! Replays the part of the order that a change can touch: the long way of [`crate::apply`].
//!
//! The region begins as the clusters of the nodes that lost something, in the state they had at the
//! first place where anything changed. Its later nodes are decided in order: the linked ones are
//! known; the waiting ones come from *cursors*, one for each home and namespace that it carries,
//! because within these the rows are in order. A node that leads out of the region was waiting. If
//! it is linked now, the clusters of its homes join the region, in the state they had at that
//! place. Every node whose cluster differs from before at some place is in the region from that
//! place on, so the rest of the graph needs no look.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_model::{CanonicalId, Identity};

use crate::policy::{Place, Policy};
use crate::rows::{ClusterRow, GraphResult, NodeRow, Status, TypedRows};
use crate::store::GraphStore;
use crate::writer::{Content, Writer};

/// Rows a cursor reads at once. Most cursors end after one or two; tests read the fewest that make
/// progress, so that their small graphs have pages.
const CURSOR_ROWS: usize = if cfg!(test) { 2 } else { 16 };

/// The nodes to replay.
#[derive(Default)]
pub(crate) struct Task {
    /// Nodes whose clusters may hold together less than they did.
    shrunk: BTreeSet<Place>,
    /// Nodes to be decided.
    undecided: BTreeSet<Place>,
}

impl Task {
    /// The node was linked, and no longer holds together all that it did, or may displace later
    /// ones.
    pub fn shrink(&mut self, place: Place) {
        self.shrunk.insert(place);
    }

    /// Queues the node for a decision at its place.
    pub fn decide(&mut self, place: Place) {
        self.undecided.insert(place);
    }

    pub fn run<S: GraphStore>(self, writer: &mut Writer<'_, S>) -> GraphResult<(), S> {
        let Some(from) = self.shrunk.first().into_iter().chain(self.undecided.first()).min().cloned() else {
            return Ok(());
        };
        let mut replay = Replay::default();
        for place in self.undecided {
            replay.queue.entry(place).or_default();
        }
        for place in self.shrunk {
            replay.load_cluster_of(writer, &place.node, &from)?;
        }
        replay.run(writer)?;
        replay.write(writer)
    }
}

/// The cluster of a node outside of every region, as it is at a place in the order.
fn reach<S: GraphStore>(writer: &Writer<'_, S>, node: &Identity, place: &Place) -> GraphResult<(Content, BTreeSet<Identity>), S> {
    let mut content = Content::default();
    let mut seen = BTreeSet::from([node.clone()]);
    let mut open = vec![node.clone()];
    while let Some(node) = open.pop() {
        content.add(Content::of(&node, writer.policy));
        let mut next = Vec::new();
        let status = writer.store.node(&node)?.and_then(|row| row.status);
        if status == Some(Status::Linked) && writer.policy.place(&node) < *place {
            next.extend(writer.store.homes(&node, usize::MAX)?);
        }
        let carried = writer.store.carried(&node, Status::Linked, usize::MAX)?;
        next.extend(carried.into_iter().filter(|carried| writer.policy.place(carried) < *place));
        open.extend(next.into_iter().filter(|next| seen.insert(next.clone())));
    }
    Ok((content, seen))
}

/// The region, as a forest of groups over the nodes' numbers.
#[derive(Default)]
struct Replay {
    numbers: BTreeMap<Identity, usize>,
    nodes: Vec<Member>,
    /// The undecided nodes, by place, with the cursors there.
    queue: BTreeMap<Place, Vec<Cursor>>,
}

struct Member {
    identity: Identity,
    /// The canonical id in the rows.
    canonical: CanonicalId,
    /// The rows hold a cluster of two or more.
    clustered: bool,
    /// Number of a node nearer to the root; its own at the root.
    parent: usize,
    /// Invariant: that of the whole group at the root; of no meaning elsewhere.
    content: Content,
    /// The last linked node of the group, at the root.
    last: Option<Place>,
}

/// The waiting nodes of one namespace that a home carries, after a place.
struct Cursor {
    home: usize,
    namespace: String,
    read: VecDeque<Identity>,
    /// The rows may hold more after those read.
    more: bool,
}

impl Replay {
    fn root(&mut self, mut number: usize) -> usize {
        while self.nodes[number].parent != number {
            let next = self.nodes[number].parent;
            self.nodes[number].parent = self.nodes[next].parent;
            number = next;
        }
        number
    }

    /// Takes the whole cluster of a node into the region, in the state it has at `place`, and
    /// queues its nodes from there on.
    fn load_cluster_of<S: GraphStore>(&mut self, writer: &Writer<'_, S>, node: &Identity, place: &Place) -> GraphResult<(), S> {
        if self.numbers.contains_key(node) {
            return Ok(());
        }
        let canonical = writer.store.canonical_of(node)?;
        let members = writer.store.cluster_members(&canonical)?;
        let clustered = members.len() > 1;
        for identity in &members {
            let number = self.nodes.len();
            self.numbers.insert(identity.clone(), number);
            self.nodes.push(Member {
                identity: identity.clone(),
                canonical: canonical.clone(),
                clustered,
                parent: number,
                content: Content::of(identity, writer.policy),
                last: None,
            });
        }
        for identity in &members {
            let at = writer.policy.place(identity);
            match writer.store.node(identity)?.and_then(|row| row.status) {
                Some(Status::Linked) if at < *place => {
                    let homes = writer.store.homes(identity, usize::MAX)?;
                    self.join(homes.iter().chain([identity]), &at);
                }
                Some(Status::Linked | Status::Waiting) if at >= *place => drop(self.queue.entry(at).or_default()),
                _ => {}
            }
            for namespace in writer.store.namespaces(identity, Status::Waiting)? {
                let from = match writer.policy.compare_namespace(&namespace, place) {
                    Ordering::Less => continue,
                    Ordering::Greater => None,
                    Ordering::Equal => Some(place.node.clone()),
                };
                let home = self.numbers[identity];
                let cursor = Cursor {
                    home,
                    namespace,
                    read: VecDeque::new(),
                    more: true,
                };
                self.advance(writer, cursor, from, None)?;
            }
        }
        Ok(())
    }

    /// Queues a cursor at its next node after `after`, reading from `from` on where it has to.
    fn advance<S: GraphStore>(&mut self, writer: &Writer<'_, S>, mut cursor: Cursor, mut from: Option<Identity>, after: Option<&Place>) -> GraphResult<(), S> {
        let home = self.nodes[cursor.home].identity.clone();
        loop {
            while let Some(node) = cursor.read.pop_front() {
                let at = writer.policy.place(&node);
                if after.is_none_or(|after| at > *after) {
                    // It stays, to mark where the next page begins.
                    cursor.read.push_front(node);
                    self.queue.entry(at).or_default().push(cursor);
                    return Ok(());
                }
                from = Some(node);
            }
            if !cursor.more {
                return Ok(());
            }
            let page = writer
                .store
                .carried_from(&home, Status::Waiting, &cursor.namespace, from.as_ref(), CURSOR_ROWS)?;
            cursor.more = page.len() == CURSOR_ROWS;
            // It may begin with the last one read, which is not after.
            cursor.read = page.into();
        }
    }

    /// Unites the groups of nodes of the region, because the node at `place` is linked.
    fn join<'n>(&mut self, members: impl IntoIterator<Item = &'n Identity>, place: &Place) {
        let roots: BTreeSet<usize> = members.into_iter().map(|member| self.numbers[member]).collect();
        let roots: BTreeSet<usize> = roots.into_iter().map(|number| self.root(number)).collect();
        let Some(&great) = roots.iter().max_by_key(|root| self.nodes[**root].content.size) else {
            return;
        };
        let mut last = Some(place.clone());
        for root in roots {
            last = last.max(self.nodes[root].last.take());
            if root != great {
                let content = std::mem::take(&mut self.nodes[root].content);
                self.nodes[root].parent = great;
                self.nodes[great].content.add(content);
            }
        }
        self.nodes[great].last = last;
    }

    /// Decides all that is queued, in order.
    fn run<S: GraphStore>(&mut self, writer: &mut Writer<'_, S>) -> GraphResult<(), S> {
        while let Some((place, mut cursors)) = self.queue.pop_first() {
            let row = writer.node_row(&place.node)?;
            let status = if self.link(writer, &place, &row)? { Status::Linked } else { Status::Waiting };
            writer.set_status(&place.node, Some(status))?;
            // Clusters that were drawn in have queued the node itself, because they were loaded at
            // its place.
            cursors.extend(self.queue.remove(&place).unwrap_or_default());
            for mut cursor in cursors {
                let root = self.root(cursor.home);
                // A full cluster admits no more: any node it could still be linked to is in it
                // already, and queued by itself.
                if self.nodes[root].content.size < writer.policy.identities_max(&place.node) {
                    let from = cursor.read.pop_front();
                    self.advance(writer, cursor, from, Some(&place))?;
                }
            }
        }
        Ok(())
    }

    /// Links the node at `place` to all its homes where their clusters fit together at that place;
    /// returns whether they do.
    fn link<S: GraphStore>(&mut self, writer: &Writer<'_, S>, place: &Place, row: &NodeRow) -> GraphResult<bool, S> {
        let max = writer.policy.identities_max(&place.node);
        if row.degree >= max {
            return Ok(false);
        }
        let mut members = writer.store.homes(&place.node, usize::MAX)?;
        members.push(place.node.clone());
        let mut together: Option<Content> = None;
        let (mut inside, mut outside) = (BTreeSet::new(), BTreeSet::new());
        for member in &members {
            let content = match self.numbers.get(member).copied() {
                Some(number) => {
                    let root = self.root(number);
                    if !inside.insert(root) {
                        continue;
                    }
                    self.nodes[root].content.clone()
                }
                None if outside.contains(member) => continue,
                None => {
                    let (content, seen) = reach(writer, member, place)?;
                    outside.extend(seen);
                    content
                }
            };
            match &mut together {
                Some(together) if !together.fits(&content, max) => return Ok(false),
                Some(together) => together.add(content),
                None => together = Some(content),
            }
        }
        for member in &members {
            self.load_cluster_of(writer, member, place)?;
        }
        self.join(&members, place);
        Ok(true)
    }

    /// Writes the region's clusters as they are now.
    fn write<S: GraphStore>(mut self, writer: &mut Writer<'_, S>) -> GraphResult<(), S> {
        let mut groups = BTreeMap::<usize, Vec<usize>>::new();
        for number in 0..self.nodes.len() {
            groups.entry(self.root(number)).or_default().push(number);
        }
        let before: BTreeSet<&CanonicalId> = self.nodes.iter().filter(|node| node.clustered).map(|node| &node.canonical).collect();
        let mut after = BTreeMap::new();
        for (root, numbers) in &groups {
            let canonical = CanonicalId(self.least(numbers, writer.policy).clone());
            for &number in numbers {
                let node = &self.nodes[number];
                let (was, is) = (node.clustered.then_some(&node.canonical), (numbers.len() > 1).then_some(&canonical));
                if was != is {
                    if let Some(was) = was {
                        writer.store.set_member(was, &node.identity, false)?;
                    }
                    if let Some(is) = is {
                        writer.store.set_member(is, &node.identity, true)?;
                    }
                }
                if node.canonical != canonical {
                    writer.set_canonical(&node.identity, &canonical)?;
                }
            }
            if let Some(last) = &self.nodes[*root].last {
                let (size, last) = (numbers.len() as u64, last.node.clone());
                after.insert(canonical, ClusterRow { size, last });
            }
        }
        for gone in before.into_iter().filter(|canonical| !after.contains_key(canonical)) {
            writer.store.set_cluster(gone, None)?;
        }
        after.iter().try_for_each(|(canonical, row)| writer.store.set_cluster(canonical, Some(row)))
    }

    fn least(&self, numbers: &[usize], policy: &Policy) -> &Identity {
        let members = numbers.iter().map(|&number| &self.nodes[number].identity);
        members.min_by(|a, b| policy.priority().compare(a, b)).expect("a group holds its root")
    }
}
