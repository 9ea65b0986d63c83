//! All verdicts again, under a changed policy.

use std::collections::BTreeSet;

use crate::evidence::Outcome;
use crate::policy::Policy;
use crate::rows::{GraphResult, TypedRows};
use crate::store::GraphStore;
use crate::writer::Writer;

/// Edges read at once.
const PAGE_ROWS: usize = 1024;

/// Decides all identities again. Call it once when the policy differs from the one that the rows
/// were written under; [`Outcome::cluster_size`] is 0.
///
/// Holds the whole graph in memory and writes all of it in one transaction: a rare act of an
/// operator, not part of the stream.
///
/// # Errors
/// Where the store failed or a row is damaged. Some rows may be written then: abort the
/// transaction.
pub fn rebuild<S: GraphStore>(store: &mut S, policy: &Policy) -> GraphResult<Outcome, S> {
    let mut writer = Writer::new(store, policy)?;
    let mut edges = Vec::new();
    loop {
        let page = writer.store.edges_after(edges.last().map(|(edge, _)| edge), PAGE_ROWS)?;
        let last_page = page.len() < PAGE_ROWS;
        edges.extend(page);
        if last_page {
            break;
        }
    }
    edges.iter().try_for_each(|(edge, row)| writer.forget(edge, row))?;
    let nodes: BTreeSet<_> = edges.iter().flat_map(|(edge, _)| [edge.home(), edge.node()]).collect();
    nodes.into_iter().try_for_each(|node| writer.forget_node(node))?;
    edges.iter().try_for_each(|(edge, row)| writer.begin(edge, row.claims))?;
    // In the order of their places, each node meets clusters that are complete: nothing is
    // replayed.
    writer.decide()?;
    writer.outcome()
}
