//! What the rows of a page become: records as they are, deletions, and the losers of merges, whose
//! keys live on in their winners as long as those live.

use std::collections::{BTreeMap, BTreeSet};

use millrace_connect::source::SourceError;
use millrace_model::Timestamp;
use serde_json::{Value, json};

use super::{Overlay, Page, SalesforceSource, records};
use crate::mapping::{self, Keys, Object, Said, Shape};

/// Ids of one question: its address stays below 8 KiB.
const IDS: usize = 200;

/// A winner may have lost to another one, and so on; more than this is a circle.
const MERGES_MAX: usize = 10;

impl SalesforceSource {
    /// The records that a page's rows stand for, in order.
    pub(super) async fn page_records(
        &self,
        shape: &Shape,
        said: impl Iterator<Item = Said>,
        overlay: &mut Overlay<'_>,
        keys: &Keys,
    ) -> Result<Page, SourceError> {
        let said: Vec<Said> = said.collect();
        let merges = said.iter().filter_map(|said| match said {
            Said::Merged { id, winner, .. } => Some((id.clone(), winner.clone())),
            Said::Live(_) | Said::Deleted { .. } => None,
        });
        let winners = self.winners(shape.object, merges.collect()).await?;
        let mut page = Page::new();
        for one in said {
            match one {
                Said::Live(emitted) => page.extend(emitted),
                Said::Deleted { id, at } => deleted(shape.object, &id, at, overlay, keys, &mut page),
                Said::Merged { id, at, .. } => match winners.get(&id) {
                    Some(winner) => {
                        // Those that lost to this one before now lose to its winner.
                        for (loser, at) in losers_of(&id, overlay) {
                            overlay.set(format!("merged/{loser}"), Some(json!({"winner": winner, "at": at.0})));
                        }
                        overlay.set(format!("merged/{id}"), Some(json!({"winner": winner, "at": at.0})));
                        page.extend(mapping::merged(shape.object, &id, winner, at, keys));
                    }
                    None => deleted(shape.object, &id, at, overlay, keys, &mut page),
                },
            }
        }
        Ok(page)
    }

    /// The last winner of each loser, where it lives. It may have been deleted since the merge, and
    /// its deletion read before the merge: both have the same second.
    async fn winners(&self, object: Object, mut of: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, SourceError> {
        for _ in 0..MERGES_MAX {
            let asked: Vec<String> = of.values().cloned().collect::<BTreeSet<_>>().into_iter().collect();
            let mut rows = BTreeMap::new();
            for ids in asked.chunks(IDS) {
                let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
                let query = format!("SELECT Id, IsDeleted, MasterRecordId FROM {} WHERE Id IN ({})", object.name(), list.join(","));
                let mut reply = self.client.get("queryAll", &[("q", query.as_str())]).await?.json()?;
                loop {
                    for row in records(&reply) {
                        let id = row.get("Id").and_then(Value::as_str).map(mapping::id18).unwrap_or_default();
                        let master = row.get("MasterRecordId").and_then(Value::as_str).map(mapping::id18);
                        rows.insert(id, (row.get("IsDeleted") == Some(&Value::Bool(true)), master));
                    }
                    let Some(next) = reply["nextRecordsUrl"].as_str().map(str::to_owned) else {
                        break;
                    };
                    reply = self.client.get(&next, &[]).await?.json()?;
                }
            }
            let mut settled = true;
            of.retain(|_, winner| match rows.get(winner.as_str()) {
                Some((false, _)) => true,
                Some((true, Some(master))) => {
                    winner.clone_from(master);
                    settled = false;
                    true
                }
                Some((true, None)) | None => false,
            });
            if settled {
                break;
            }
        }
        Ok(of)
    }
}

/// A record is deleted; so are those that were merged into it.
pub(super) fn deleted(object: Object, id: &str, at: Timestamp, overlay: &mut Overlay<'_>, keys: &Keys, page: &mut Page) {
    for (loser, stamp) in losers_of(id, overlay) {
        overlay.set(format!("merged/{loser}"), None);
        page.extend(mapping::gone(object, &loser, at.max(stamp), keys));
    }
    overlay.set(format!("merged/{id}"), None);
    page.extend(mapping::gone(object, id, at, keys));
}

/// Who lost to this winner, with the stamp that each has since.
fn losers_of(winner: &str, overlay: &Overlay<'_>) -> Vec<(String, Timestamp)> {
    let all = overlay.under("merged/").into_iter().filter(|(_, row)| row["winner"].as_str() == Some(winner));
    all.map(|(loser, row)| (loser, Timestamp(row["at"].as_i64().unwrap_or_default()))).collect()
}
