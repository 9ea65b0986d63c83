//! The part of the order that a change can touch, taken again: the long way of [`crate::apply`].
//!
//! The region begins as the clusters of the changed edge's ends, in the state they had at its place. Its later edges are taken in order: the linked ones
//! are known, the waiting ones come from *cursors*, one for each node and namespace of other ends, for within these the order is that of the rows.
//! An edge that leads out of the region was waiting. If it is linked now, the cluster behind it joins the region, in the state it had at that place.
//! Every node whose cluster differs from before at some place is in the region from that place on, so what lies outside never needs a look.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_model::{CanonicalId, Identity};

use crate::apply::{Content, Writer, between};
use crate::evidence::Edge;
use crate::policy::{Place, Policy};
use crate::rows::{ClusterRow, EdgeRow, Rows, Status, TypedRows};
use crate::store::GraphStore;

/// Rows a cursor reads at once. Most cursors end after one or two; tests read the fewest that make progress, so that their small graphs have pages.
const CURSOR_ROWS: usize = if cfg!(test) { 2 } else { 16 };

/// A linked edge no longer counts (its row says so already): takes all behind it again.
pub(crate) fn without<S: GraphStore>(writer: &mut Writer<'_, S>, edge: &Edge) -> Rows<(), S> {
    let place = writer.policy.place(edge);
    let canonical = writer.store.canonical_of(edge.a())?;
    let mut replay = Replay::default();
    replay.load(writer, &canonical, &place)?;
    replay.run(writer)?;
    replay.write(writer)
}

/// An edge is linked at its place, although the clusters of its ends do not fit together as they are now: takes all behind it again.
pub(crate) fn with<S: GraphStore>(writer: &mut Writer<'_, S>, edge: &Edge, before: Option<Status>, claims: u64) -> Rows<(), S> {
    let place = writer.policy.place(edge);
    let mut replay = Replay::default();
    for end in [edge.a(), edge.b()] {
        let canonical = writer.store.canonical_of(end)?;
        replay.load(writer, &canonical, &place)?;
    }
    writer.put_edge(
        edge,
        before,
        Some(EdgeRow {
            claims,
            status: Status::Linked,
        }),
    )?;
    replay.join(edge, &place);
    replay.run(writer)?;
    replay.write(writer)
}

/// Whether the clusters of an edge's ends, which differ at the end of the order, fit together as they are at the edge's place.
pub(crate) fn fits_at<S: GraphStore>(writer: &Writer<'_, S>, edge: &Edge, place: &Place) -> Rows<bool, S> {
    let (a, b) = (reach(writer, edge.a(), place)?, reach(writer, edge.b(), place)?);
    Ok(a.fits(&b, writer.policy.identities_max(edge.a())))
}

/// The cluster of a node outside of every region, as it is at a place in the order.
fn reach<S: GraphStore>(writer: &Writer<'_, S>, node: &Identity, place: &Place) -> Rows<Content, S> {
    let mut content = Content::default();
    let mut seen = BTreeSet::from([node.clone()]);
    let mut open = vec![node.clone()];
    while let Some(node) = open.pop() {
        content.add(&node, writer.policy);
        for other in writer.store.others(&node, Status::Linked)? {
            if !seen.contains(&other) && writer.policy.place(&between(&node, &other)) < *place {
                seen.insert(other.clone());
                open.push(other);
            }
        }
    }
    Ok(content)
}

/// The region, as a forest of groups over the nodes' numbers.
#[derive(Default)]
struct Replay {
    numbers: BTreeMap<Identity, usize>,
    nodes: Vec<Node>,
    /// What is to be decided, by its place: linked edges of the region, and the next edge of each cursor, with these cursors.
    queue: BTreeMap<Place, Vec<Cursor>>,
    /// Nodes of which waiting edges were left unread, because their cluster was full.
    unread: BTreeSet<usize>,
}

struct Node {
    identity: Identity,
    /// The canonical id in the rows.
    canonical: CanonicalId,
    /// The rows hold a cluster of two or more.
    clustered: bool,
    /// Number of a node nearer to the root; its own at the root.
    parent: usize,
    /// Invariant: that of the whole group at the root; of no meaning elsewhere.
    content: Content,
    /// The last linked edge of the group, at the root.
    last: Option<Place>,
}

/// The waiting edges of one node to one namespace, behind a place.
struct Cursor {
    node: usize,
    namespace: String,
    read: VecDeque<Identity>,
    /// The rows may hold more behind those read.
    more: bool,
}

/// The first edge a cursor reads.
enum Start {
    First,
    At(Identity),
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

    /// Takes a whole cluster into the region, in the state it has at `place`, and queues what comes behind.
    fn load<S: GraphStore>(&mut self, writer: &Writer<'_, S>, canonical: &CanonicalId, place: &Place) -> Rows<(), S> {
        let members = writer.store.cluster_members(canonical)?;
        let clustered = members.len() > 1;
        for identity in &members {
            let number = self.nodes.len();
            let mut content = Content::default();
            content.add(identity, writer.policy);
            self.numbers.insert(identity.clone(), number);
            self.nodes.push(Node {
                identity: identity.clone(),
                canonical: canonical.clone(),
                clustered,
                parent: number,
                content,
                last: None,
            });
        }
        for identity in &members {
            for other in writer.store.others(identity, Status::Linked)? {
                if *identity < other {
                    let edge = between(identity, &other);
                    let at = writer.policy.place(&edge);
                    if at < *place {
                        self.join(&edge, &at);
                    } else {
                        self.queue.entry(at).or_default();
                    }
                }
            }
            for namespace in writer.store.namespaces(identity, Status::Waiting)? {
                let cursor = Cursor {
                    node: self.numbers[identity],
                    namespace,
                    read: VecDeque::new(),
                    more: true,
                };
                match cursor.start(identity, writer.policy, place) {
                    Some(Start::First) => self.advance(writer, cursor, None, place)?,
                    Some(Start::At(other)) => self.advance(writer, cursor, Some(other), place)?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Queues a cursor at its next edge behind `place`, reading from `from` on where it has to.
    fn advance<S: GraphStore>(&mut self, writer: &Writer<'_, S>, mut cursor: Cursor, mut from: Option<Identity>, place: &Place) -> Rows<(), S> {
        let identity = self.nodes[cursor.node].identity.clone();
        loop {
            while let Some(other) = cursor.read.pop_front() {
                let at = writer.policy.place(&between(&identity, &other));
                if at > *place {
                    // It stays, to say where the next page begins.
                    cursor.read.push_front(other);
                    self.queue.entry(at).or_default().push(cursor);
                    return Ok(());
                }
                from = Some(other);
            }
            if !cursor.more {
                return Ok(());
            }
            let page = writer
                .store
                .others_from(&identity, Status::Waiting, &cursor.namespace, from.as_ref(), CURSOR_ROWS)?;
            cursor.more = page.len() == CURSOR_ROWS;
            // It may begin with the last one read, which is not behind `place`.
            cursor.read = page.into();
        }
    }

    /// Makes the groups of two nodes of the region one.
    fn join(&mut self, edge: &Edge, place: &Place) {
        let (a, b) = (self.root(self.numbers[edge.a()]), self.root(self.numbers[edge.b()]));
        let (great, small) = if self.nodes[a].content.size >= self.nodes[b].content.size {
            (a, b)
        } else {
            (b, a)
        };
        if great != small {
            let Content { size, mut unique } = std::mem::take(&mut self.nodes[small].content);
            let last = self.nodes[small].last.take();
            self.nodes[small].parent = great;
            let root = &mut self.nodes[great];
            root.content.size += size;
            root.content.unique.append(&mut unique);
            root.last = root.last.take().max(last);
        }
        let root = &mut self.nodes[great];
        root.last = root.last.take().max(Some(place.clone()));
    }

    /// Decides all that is queued, in order.
    fn run<S: GraphStore>(&mut self, writer: &mut Writer<'_, S>) -> Rows<(), S> {
        while let Some((place, cursors)) = self.queue.pop_first() {
            let edge = between(&place.strong, &place.weak);
            let row = writer.edge_row(&edge)?;
            let linked = self.decide(writer, &edge, &place)?;
            let status = if linked { Status::Linked } else { Status::Waiting };
            if status != row.status {
                writer.put_edge(&edge, Some(row.status), Some(EdgeRow { claims: row.claims, status }))?;
            }
            for mut cursor in cursors {
                let root = self.root(cursor.node);
                if self.nodes[root].content.size >= writer.policy.identities_max(&place.strong) {
                    self.unread.insert(cursor.node);
                } else {
                    let from = cursor.read.pop_front();
                    self.advance(writer, cursor, from, &place)?;
                }
            }
        }
        self.link_unread(writer)
    }

    /// Whether an edge is linked; if so its groups are one afterwards.
    fn decide<S: GraphStore>(&mut self, writer: &Writer<'_, S>, edge: &Edge, place: &Place) -> Rows<bool, S> {
        let max = writer.policy.identities_max(edge.a());
        let fits = match (self.numbers.get(edge.a()).copied(), self.numbers.get(edge.b()).copied()) {
            (Some(a), Some(b)) => {
                let (a, b) = (self.root(a), self.root(b));
                a == b || self.nodes[a].content.fits(&self.nodes[b].content, max)
            }
            (Some(inside), None) => self.draw_in(writer, inside, edge.b(), place, max)?,
            (None, Some(inside)) => self.draw_in(writer, inside, edge.a(), place, max)?,
            (None, None) => unreachable!("every queued edge has an end in the region"),
        };
        if fits {
            self.join(edge, place);
        }
        Ok(fits)
    }

    /// Whether a cluster outside fits to a group of the region; if so it is taken in.
    fn draw_in<S: GraphStore>(&mut self, writer: &Writer<'_, S>, inside: usize, outside: &Identity, place: &Place, max: u64) -> Rows<bool, S> {
        let root = self.root(inside);
        if self.nodes[root].content.size >= max {
            return Ok(false);
        }
        let content = reach(writer, outside, place)?;
        let fits = self.nodes[root].content.fits(&content, max);
        if fits {
            self.load(writer, &writer.store.canonical_of(outside)?, place)?;
        }
        Ok(fits)
    }

    /// Of the edges left unread only those within one group count; both their ends left some unread.
    fn link_unread<S: GraphStore>(&mut self, writer: &mut Writer<'_, S>) -> Rows<(), S> {
        let mut groups = BTreeMap::<usize, BTreeSet<Identity>>::new();
        for number in std::mem::take(&mut self.unread) {
            let root = self.root(number);
            groups.entry(root).or_default().insert(self.nodes[number].identity.clone());
        }
        for group in groups.into_values().filter(|group| group.len() > 1) {
            for node in &group {
                let waiting = writer.store.others_up_to(node, Status::Waiting, group.len())?;
                let candidates: Vec<Identity> = if waiting.len() < group.len() {
                    waiting
                } else {
                    group.iter().cloned().collect()
                };
                for other in candidates.into_iter().filter(|other| node < other && group.contains(other)) {
                    let edge = between(node, &other);
                    if let Some(EdgeRow {
                        claims,
                        status: Status::Waiting,
                    }) = writer.store.edge(&edge)?
                    {
                        writer.put_edge(
                            &edge,
                            Some(Status::Waiting),
                            Some(EdgeRow {
                                claims,
                                status: Status::Linked,
                            }),
                        )?;
                        self.join(&edge, &writer.policy.place(&edge));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes what the region's clusters are now.
    fn write<S: GraphStore>(mut self, writer: &mut Writer<'_, S>) -> Rows<(), S> {
        let mut groups = BTreeMap::<usize, Vec<usize>>::new();
        for number in 0..self.nodes.len() {
            groups.entry(self.root(number)).or_default().push(number);
        }
        let before: BTreeSet<&CanonicalId> = self.nodes.iter().filter(|node| node.clustered).map(|node| &node.canonical).collect();
        let mut after = BTreeMap::new();
        for (root, numbers) in &groups {
            let members = numbers.iter().map(|&number| &self.nodes[number].identity);
            let least = members.min_by(|a, b| writer.policy.priority().compare(a, b)).expect("a group holds its root");
            let canonical = CanonicalId(least.clone());
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
                after.insert(
                    canonical,
                    ClusterRow {
                        size: numbers.len() as u64,
                        last: between(&last.strong, &last.weak),
                    },
                );
            }
        }
        for gone in before.into_iter().filter(|canonical| !after.contains_key(canonical)) {
            writer.store.set_cluster(gone, None)?;
        }
        after.iter().try_for_each(|(canonical, row)| writer.store.set_cluster(canonical, Some(row)))
    }
}

impl Cursor {
    /// Where to begin reading so as to miss no edge behind `place` and to read few before it; `None` where all are before it.
    ///
    /// Within the edges of one node to one namespace the order is that of the other ends.
    fn start(&self, node: &Identity, policy: &Policy, place: &Place) -> Option<Start> {
        let Place { strong, weak, .. } = place;
        match policy.compare_class(node.namespace(), &self.namespace, place) {
            Ordering::Less => None,
            Ordering::Greater => Some(Start::First),
            Ordering::Equal if node == strong => Some(Start::At(weak.clone())),
            Ordering::Equal if node == weak => Some(Start::At(strong.clone())),
            // The node is the weaker end of all its edges: those of lesser strong ends come before.
            Ordering::Equal if self.namespace != node.namespace() && self.namespace == strong.namespace() => Some(Start::At(strong.clone())),
            Ordering::Equal if node < strong => None,
            Ordering::Equal if self.namespace == node.namespace() => Some(Start::At(strong.clone())),
            Ordering::Equal => Some(Start::First),
        }
    }
}
