//! Changes: each round asks every object for what has a `SystemModstamp` since shortly before the
//! last round, deleted records among it; and from time to time the log of deletions.
//!
//! A transaction that ran long commits records with an older stamp: therefore rounds overlap. What
//! the overlap shows again, this process has seen and leaves out.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use millrace_connect::mapping::Fields;
use millrace_connect::source::{Batch, Rows, SourceError};
use millrace_model::{DAY_MS, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AT_ONCE, Overlay, Page, SalesforceSource, literal, losers, records};
use crate::client::{CallError, Reply};
use crate::mapping::{self, Keys, Object, Shape};

/// How far back Salesforce's log of deletions reaches, a little less.
const LOG_MS: i64 = 15 * DAY_MS - 3_600_000;

/// The log ignores seconds, and wants a minute at least.
const MINUTE_MS: i64 = 60_000;

/// The place in a round over all objects; a cache, a new source begins a new round.
#[derive(Default)]
pub struct Round {
    turn: usize,
    began: Option<Timestamp>,
    /// This round asked the first question of the object whose turn it is. Pages that an earlier
    /// process left are as of its question.
    asked: bool,
    /// Calls that were made when the round began.
    calls: u64,
    /// What was emitted of the overlap: stamp and content of each record.
    seen: BTreeMap<(Object, String), (Timestamp, u64)>,
}

/// The row `at/<Object>`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct At {
    /// Everything up to this instant of the org has been read.
    to: i64,
    /// Inside a round: when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun: Option<i64>,
    /// Inside a round: stamp and id of the last record read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reached: Option<(i64, String)>,
    /// Inside a round: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl SalesforceSource {
    /// A page of the object whose turn it is.
    pub(super) async fn changes(&mut self, rows: &Rows, shapes: &[Shape], keys: &Keys) -> Result<Batch, SourceError> {
        let began = match self.round.began {
            Some(began) => began,
            None => {
                self.round.calls = self.client.calls();
                *self.round.began.insert((self.now)())
            }
        };
        let shape = &shapes[self.round.turn.min(shapes.len() - 1)];
        let name = format!("at/{}", shape.object.name());
        let mut at: At = rows.get(&name).cloned().and_then(|row| serde_json::from_value(row).ok()).unwrap_or_default();
        let from = Timestamp(at.to).plus_ms(-i64::try_from(self.config.overlap.as_millis()).unwrap_or(i64::MAX));
        let Some(reply) = self.answer(shape, &mut at, from).await? else {
            return Ok(kept(name, &at));
        };
        if at.begun.is_none() {
            self.round.asked = true;
            at.begun = Some(reply.at().unwrap_or(began).0);
        }
        let body = reply.json()?;
        let news = self.news(shape, records(&body), from);
        let mut overlay = Overlay::new(rows);
        let read = news.iter().map(|(row, ..)| mapping::read(shape, row, keys));
        let page: Page = self.page_records(shape, read, &mut overlay, keys).await?;
        // Nothing is awaited after this: the batch is returned.
        for (_, id, stamp, content) in news {
            self.round.seen.insert((shape.object, id), (stamp, content));
        }
        if let Some(last) = records(&body).last() {
            at.reached = stamp_of(last).zip(id_of(last)).map(|(stamp, id)| (stamp.0, id));
        }
        at.next = body["nextRecordsUrl"].as_str().map(str::to_owned);
        let more = body["done"] == Value::Bool(false) && at.next.is_some();
        if !more {
            at = At {
                to: at.begun.unwrap_or(at.to).max(at.to),
                ..At::default()
            };
            // What an earlier process asked is older than this round: the object is asked again.
            self.round.turn += usize::from(std::mem::take(&mut self.round.asked));
        }
        let mut batch = kept(name, &at);
        batch.records = page;
        batch.rows.extend(overlay.set);
        self.end_of_round(&mut batch, shapes.len(), began);
        Ok(batch)
    }

    /// The next page of an object; `None`: that page is gone, and `at` no longer names it.
    async fn answer(&mut self, shape: &Shape, at: &mut At, from: Timestamp) -> Result<Option<Reply>, SourceError> {
        let sent = match &at.next {
            Some(next) => self.client.get(next, &[]).await,
            None => {
                let question = question(shape, from, at.reached.as_ref());
                self.client.get("queryAll", &[("q", question.as_str())]).await
            }
        };
        match sent {
            Ok(reply) => Ok(Some(reply)),
            Err(CallError::Code { code, .. }) if code == "INVALID_QUERY_LOCATOR" && at.next.is_some() => {
                at.next = None;
                Ok(None)
            }
            Err(CallError::Code { code, message }) if matches!(code.as_str(), "INVALID_FIELD" | "INVALID_TYPE") => Err(self.describe_again(&code, &message)),
            Err(error) => Err(error.into()),
        }
    }

    fn end_of_round(&mut self, batch: &mut Batch, objects: usize, began: Timestamp) {
        if self.round.turn < objects {
            return;
        }
        batch.read_to = Some(began);
        batch.pause = self.pause(self.client.calls() - self.round.calls);
        (self.round.turn, self.round.began) = (0, None);
    }

    /// The rows that this process has not emitted, with id, stamp and content.
    fn news<'a>(&mut self, shape: &Shape, rows: impl Iterator<Item = &'a Fields>, from: Timestamp) -> Vec<(&'a Fields, String, Timestamp, u64)> {
        self.round.seen.retain(|(object, _), (stamp, _)| *object != shape.object || *stamp >= from);
        let news = rows.filter_map(|row| {
            let (id, stamp) = (id_of(row).unwrap_or_default(), stamp_of(row).unwrap_or_default());
            let mut content = DefaultHasher::new();
            Value::Object(row.clone()).to_string().hash(&mut content);
            let content = content.finish();
            let seen = self.round.seen.get(&(shape.object, id.clone())) == Some(&(stamp, content));
            (!seen).then_some((row, id, stamp, content))
        });
        news.collect()
    }

    /// The interval as configured, or longer where the calls left would not last until the day's
    /// end.
    fn pause(&self, calls_of_round: u64) -> Duration {
        let left = self.client.left();
        let Some(calls) = left.calls else { return self.config.interval };
        let milliseconds = u64::try_from(left.resets_at.0 - (self.now)().0).unwrap_or_default();
        let rounds = calls / calls_of_round.max(1);
        self.config.interval.max(Duration::from_millis(milliseconds / rounds.max(1)))
    }

    /// The object whose log of deletions should be read now.
    pub(super) fn sweep_due<'a>(&self, rows: &Rows, shapes: &'a [Shape]) -> Option<&'a Shape> {
        let every = i64::try_from(self.config.deletions_interval.as_millis()).unwrap_or(i64::MAX).max(2 * MINUTE_MS);
        let due = |shape: &&Shape| {
            let swept = rows.get(&format!("swept/{}", shape.object.name())).and_then(Value::as_i64);
            shape.logs_deletions && swept.is_some_and(|swept| (self.now)().0.saturating_sub(swept) >= every)
        };
        // Not inside a round: a round's pages belong together.
        shapes.iter().find(due).filter(|_| self.round.began.is_none())
    }

    /// Deletions that no round could see, because the record left the recycle bin before.
    pub(super) async fn sweep(&mut self, rows: &Rows, shape: &Shape, keys: &Keys) -> Result<Batch, SourceError> {
        let name = format!("swept/{}", shape.object.name());
        let now = (self.now)();
        let held = Timestamp(rows.get(&name).and_then(Value::as_i64).unwrap_or_default());
        let from = held.max(now.plus_ms(-LOG_MS));
        if from > held {
            tracing::warn!(
                object = shape.object.name(),
                since = held.to_string(),
                "the log of deletions reaches back 15 days: what was deleted and purged before is not known"
            );
        }
        // A minute before, because seconds are ignored.
        let (start, end) = (literal(from.plus_ms(-MINUTE_MS)), literal(now));
        let path = format!("sobjects/{}/deleted/", shape.object.name());
        let reply = match self.client.get(&path, &[("start", start.as_str()), ("end", end.as_str())]).await {
            Ok(reply) => reply.json()?,
            Err(CallError::Code { code, message }) => {
                tracing::warn!(object = shape.object.name(), code, message, "the log of deletions cannot be read");
                json!({})
            }
            Err(error) => return Err(error.into()),
        };
        let mut overlay = Overlay::new(rows);
        let mut batch = Batch::default();
        for one in reply["deletedRecords"].as_array().into_iter().flatten() {
            let at = one["deletedDate"].as_str().and_then(|text| Timestamp::parse(text).ok());
            let Some((id, at)) = one["id"].as_str().map(mapping::id18).zip(at) else {
                continue;
            };
            // The loser of a merge is deleted too; its key lives on.
            if rows.get(&format!("merged/{id}")).is_none() {
                losers::deleted(shape.object, &id, at, &mut overlay, keys, &mut batch.records);
            }
        }
        let covered = reply["latestDateCovered"].as_str().and_then(|text| Timestamp::parse(text).ok());
        overlay.set(name, Some(json!(covered.unwrap_or(now).min(now).0)));
        batch.rows = overlay.set.into_iter().collect();
        Ok(batch)
    }
}

fn kept(name: String, at: &At) -> Batch {
    Batch {
        rows: vec![(name, Some(serde_json::to_value(at).expect("a row of texts and numbers is JSON")))],
        pause: AT_ONCE,
        ..Batch::default()
    }
}

fn question(shape: &Shape, from: Timestamp, reached: Option<&(i64, String)>) -> String {
    let since = match reached {
        Some((stamp, id)) => {
            let stamp = literal(Timestamp(*stamp));
            format!("SystemModstamp > {stamp} OR (SystemModstamp = {stamp} AND Id > '{id}')")
        }
        None => format!("SystemModstamp >= {}", literal(from)),
    };
    format!("{} WHERE {since} ORDER BY SystemModstamp, Id", shape.select())
}

fn id_of(row: &Fields) -> Option<String> {
    row.get("Id").and_then(Value::as_str).map(str::to_owned)
}

fn stamp_of(row: &Fields) -> Option<Timestamp> {
    Timestamp::parse(row.get("SystemModstamp")?.as_str()?).ok()
}
