//! The change feeds: changed values and new persons, activities, deletions; read in turn, page by
//! page.

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_connect::mapping::Fields;
use millrace_connect::source::{Batch, Emitted, Rows, SourceError};
use millrace_model::Timestamp;
use serde_json::{Value, json};

use super::{AT_ONCE, MarketoSource, Overlay, PAGE_MAX, stamp};
use crate::mapping::{self, Activity};
use millrace_marketo::{CallError, Parameters, result};

/// How far before the newest date seen a feed restarts when its token is refused: activities arrive
/// late.
const OVERLAP_MS: i64 = 3_600_000;

/// The place in a round over all feeds; a cache, a new source begins a new round.
#[derive(Default)]
pub struct Round {
    turn: usize,
    began: Option<Timestamp>,
}

/// One feed: its name in rows, its path, its parameters.
pub struct Feed {
    pub name: String,
    path: &'static str,
    parameters: Parameters,
}

impl MarketoSource {
    /// Every feed. Fields of leads that are not known yet are left out, and requested before the
    /// feed is read.
    pub(super) fn feeds(&self) -> Vec<Feed> {
        let watched = self.fields.clone().unwrap_or_default();
        let mut feeds = vec![Feed {
            name: "changes".to_owned(),
            path: "rest/v1/activities/leadchanges.json",
            parameters: vec![("fields", watched.join(","))],
        }];
        for group in self.config.activities.groups() {
            let types: Vec<String> = group.iter().map(u32::to_string).collect();
            let types = types.join(",");
            feeds.push(Feed {
                name: format!("activities/{types}"),
                path: "rest/v1/activities.json",
                parameters: vec![("activityTypeIds", types)],
            });
        }
        feeds.push(Feed {
            name: "deleted".to_owned(),
            path: "rest/v1/activities/deletedleads.json",
            parameters: Vec::new(),
        });
        feeds
    }

    /// Reads a page of the feed whose turn it is.
    pub(super) async fn feed(&mut self, rows: &Rows) -> Result<Batch, SourceError> {
        self.lead_fields().await?;
        let feeds = self.feeds();
        let began = *self.round.began.get_or_insert_with(|| (self.now)());
        let feed = &feeds[self.round.turn.min(feeds.len() - 1)];
        let name = format!("feed/{}", feed.name);
        let held = rows.get(&name).cloned().unwrap_or_default();
        let Some(token) = held["token"].as_str() else {
            // A feed added by configuration begins where reading began.
            return self.begin_feed(name, stamp(rows.get("since"))).await;
        };
        let mut parameters = feed.parameters.clone();
        parameters.push(("nextPageToken", token.to_owned()));
        parameters.push(("batchSize", PAGE_MAX.to_string()));
        let envelope = match self.client.get(feed.path, &parameters).await {
            Ok(envelope) => envelope,
            Err(CallError::Code { code, message }) if code == "1003" => {
                tracing::warn!(
                    feed = feed.name,
                    message,
                    "a paging token is refused; the feed begins again an hour before its newest date"
                );
                return self.begin_feed(name, stamp(held.get("seen")).plus_ms(-OVERLAP_MS)).await;
            }
            Err(error) => return Err(error.into()),
        };
        let Some(next) = envelope["nextPageToken"].as_str() else {
            return Err(SourceError::Refused("a feed of Marketo gives no token to go on with".into()));
        };
        let mut overlay = Overlay::new(rows);
        let mut batch = Batch::default();
        let seen = self.page(&feed.name, result(&envelope), &mut overlay, &mut batch.records).await?;
        let seen = seen.unwrap_or_default().max(stamp(held.get("seen")));
        overlay.set(name, Some(json!({"token": next, "seen": seen.0})));
        batch.rows = overlay.set.into_iter().collect();
        // An empty page does not mean the end: only the flag does.
        if envelope["moreResult"] != Value::Bool(true) {
            self.round.turn += 1;
        }
        if self.round.turn >= feeds.len() {
            self.round = Round::default();
            batch.read_to = Some(began);
            batch.pause = self.pause(feeds.len());
        }
        Ok(batch)
    }

    async fn begin_feed(&mut self, name: String, since: Timestamp) -> Result<Batch, SourceError> {
        let token = self.paging_token(since).await?;
        Ok(Batch {
            rows: vec![(name, Some(json!({"token": token, "seen": since.0})))],
            pause: AT_ONCE,
            ..Batch::default()
        })
    }

    /// The interval as configured, or longer where the calls left would not last until the day's
    /// end.
    fn pause(&self, feeds: usize) -> Duration {
        let left = self.client.budget().left(self.client.user());
        let Some(calls) = left.calls else { return self.config.interval };
        let milliseconds = u64::try_from(left.resets_at.0 - (self.now)().0).unwrap_or_default();
        // A round reads each feed once and, where something changed, persons.
        let rounds = calls / (feeds as u64 + 1);
        let lasting = Duration::from_millis(milliseconds / rounds.max(1));
        self.config.interval.max(lasting)
    }

    /// The records of a page; the newest date in it.
    async fn page(&mut self, feed: &str, page: &[Value], overlay: &mut Overlay<'_>, records: &mut Vec<Emitted>) -> Result<Option<Timestamp>, SourceError> {
        let mut seen = None;
        let mut changed = BTreeSet::new();
        // Dates are whole seconds and pages only roughly in order: of one second the greater id is
        // the later.
        let mut page: Vec<&Fields> = page.iter().filter_map(Value::as_object).collect();
        page.sort_by_key(|row| (row.get("activityDate").and_then(mapping::instant), row.get("id").and_then(Value::as_u64)));
        for row in page {
            let activity = Activity::read(row);
            seen = seen.max(activity.as_ref().map(|activity| activity.at));
            match (feed, activity) {
                ("changes", Some(activity)) => {
                    changed.insert(activity.lead);
                }
                ("deleted", Some(activity)) => self.deleted(&activity, overlay, records),
                (_, Some(activity)) if activity.kind == 32 => {
                    changed.insert(activity.lead.clone());
                    self.activity(row, overlay, records);
                }
                _ => self.activity(row, overlay, records),
            }
        }
        if !changed.is_empty() {
            let ids: Vec<String> = changed.into_iter().collect();
            records.extend(self.lead_records(&ids).await?);
        }
        Ok(seen)
    }

    /// An activity as an event, with its other effects.
    pub(super) fn activity(&self, row: &Fields, overlay: &mut Overlay<'_>, records: &mut Vec<Emitted>) {
        let Some(activity) = Activity::read(row) else {
            records.push(Emitted::Rejected {
                kind: millrace_model::SourceKind::Activity,
                id: row.get("marketoGUID").and_then(mapping::words).unwrap_or_default(),
                raw: Value::Object(row.clone()),
                detail: "`marketoGUID`, `leadId`, `activityDate` or `activityTypeId` is missing or cannot be read".to_owned(),
            });
            return;
        };
        let own = |list: &String| self.config.own_lists.iter().any(|own| own.to_string() == *list);
        match (activity.kind, &activity.primary_id) {
            // A change that our own sink made to its own list is not a fact about the person.
            (24 | 25, Some(list)) if own(list) => return,
            (24 | 25, Some(list)) => records.push(mapping::list_member(list, &activity.lead, activity.kind == 24, activity.at, &self.keys)),
            (104, Some(program)) => {
                let status = json!(activity.attribute("New Status"));
                records.push(mapping::program_member(
                    program,
                    &activity.lead,
                    status,
                    activity.success(),
                    activity.at,
                    &self.keys,
                ));
            }
            (32, _) => self.merged(&activity, overlay, records),
            _ => {}
        }
        records.extend(activity.event(&self.config.activities, &self.keys));
    }

    /// Lists or programs that a lead may be on.
    fn known(overlay: &Overlay<'_>, what: &str) -> Vec<String> {
        overlay.rows.under(what).map(|(id, _)| id.to_owned()).collect()
    }

    fn merged(&self, activity: &Activity, overlay: &mut Overlay<'_>, records: &mut Vec<Emitted>) {
        let (lists, programs) = (Self::known(overlay, "list/"), Self::known(overlay, "program/"));
        for loser in activity.losers() {
            // If the loser's deletion was read first, this must be the later version.
            let deleted = stamp(overlay.get(&format!("gone/{loser}"))).plus_ms(1);
            let at = activity.at.max(deleted);
            overlay.set(format!("merged/{loser}"), Some(json!(activity.lead)));
            records.extend(mapping::merged(&loser, &activity.lead, at, &self.keys, &lists, &programs));
        }
    }

    /// A lead is deleted; so are those that were merged into it. A loser of a merge is not: its key
    /// lives on in the winner.
    fn deleted(&self, activity: &Activity, overlay: &mut Overlay<'_>, records: &mut Vec<Emitted>) {
        if overlay.get(&format!("merged/{}", activity.lead)).is_some() {
            return;
        }
        let (lists, programs) = (Self::known(overlay, "list/"), Self::known(overlay, "program/"));
        let losers = overlay.rows.under("merged/").filter(|(_, winner)| winner.as_str() == Some(&activity.lead));
        let losers: Vec<String> = losers.map(|(loser, _)| loser.to_owned()).collect();
        // Dates are whole seconds, and ids never return: the deletion is the last version of its
        // second, also when a feed is read again.
        let at = activity.at.plus_ms(999);
        for lead in losers.into_iter().chain([activity.lead.clone()]) {
            overlay.set(format!("gone/{lead}"), Some(json!(at.0)));
            records.extend(mapping::deleted(&lead, at, &self.keys, &lists, &programs));
        }
    }
}
