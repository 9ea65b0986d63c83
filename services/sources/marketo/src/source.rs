//! Decides what to read next. The progress is in rows:
//!
//! ```text
//! since             when reading began: the first paging tokens are of this instant, before the first load, so that no change is missed
//! load              the first load: which extract, of which window, how many bytes of it are read; gone when it is done
//! feed/<feed>       the paging token of a change feed, and the newest date seen in it
//! list/<id> …       lists and programs that are known; todo/list/<id>: its members must be read, from this page
//! merged/<loser>    the winner of a merge;  gone/<lead>: when it was deleted
//! assets            when lists and programs were last looked for
//! ```

mod feeds;
mod load;
mod members;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_connect::budget::WallClock;
use millrace_connect::mapping::Fields;
use millrace_connect::source::{Batch, Emitted, Rows, Sample, Source, SourceError, Step};
use millrace_model::Timestamp;
use serde_json::{Value, json};

use crate::config::Config;
use crate::mapping::{self, Keys};
use millrace_marketo::{CallError, Client, Parameters, result};

/// Leads of one page, and ids of one filter.
pub const PAGE_MAX: usize = 300;

/// Persons shown in a preview.
const PREVIEW: usize = 5;

/// One Marketo instance as a source.
pub struct MarketoSource {
    client: Arc<Client>,
    config: Config,
    keys: Keys,
    now: WallClock,
    /// The requested fields of leads, without those that the instance does not have.
    fields: Option<Vec<String>>,
    round: feeds::Round,
    chunk_bytes: u64,
}

impl MarketoSource {
    pub fn new(client: Arc<Client>, config: Config, now: WallClock) -> MarketoSource {
        let keys = Keys {
            munchkin: config.instance.munchkin.clone(),
            crm: config.crm.clone(),
        };
        MarketoSource {
            client,
            config,
            keys,
            now,
            fields: None,
            round: feeds::Round::default(),
            chunk_bytes: load::CHUNK_BYTES,
        }
    }

    async fn step(&mut self, rows: &Rows) -> Result<Batch, SourceError> {
        if rows.get("since").is_none() {
            return self.begin().await;
        }
        if let Some(load) = rows.get("load") {
            return self.load(rows, load.clone()).await;
        }
        if self.assets_due(rows) {
            return self.assets(rows).await;
        }
        if let Some((what, todo)) = rows.under("todo/").next() {
            return self.members(what.to_owned(), todo.clone()).await;
        }
        self.feed(rows).await
    }

    /// Fixes the instant from which the feeds are read, before anything else is read.
    async fn begin(&mut self) -> Result<Batch, SourceError> {
        self.client.take_usage().await?;
        self.lead_fields().await?;
        let now = (self.now)();
        let token = self.paging_token(now).await?;
        let mut batch = Batch::default();
        for feed in self.feeds() {
            batch.rows.push((format!("feed/{}", feed.name), Some(json!({"token": token, "seen": now.0}))));
        }
        batch.rows.push(("since".to_owned(), Some(json!(now.0))));
        batch.rows.push(("load".to_owned(), Some(load::first(self.config.created_from))));
        Ok(batch)
    }

    async fn paging_token(&self, since: Timestamp) -> Result<String, SourceError> {
        // Whole seconds, rounded down.
        let since = Timestamp(since.0 - since.0.rem_euclid(1_000)).to_string();
        let envelope = self.client.get("rest/v1/activities/pagingtoken.json", &vec![("sinceDatetime", since)]).await?;
        let token = envelope["nextPageToken"].as_str();
        token
            .map(str::to_owned)
            .ok_or_else(|| SourceError::Refused("Marketo gives no paging token".into()))
    }

    /// The fields of leads to request: those that rules read and the instance has.
    async fn lead_fields(&mut self) -> Result<Vec<String>, SourceError> {
        if let Some(fields) = &self.fields {
            return Ok(fields.clone());
        }
        let envelope = self.client.get("rest/v1/leads/describe.json", &Vec::new()).await?;
        let known = result(&envelope).iter().filter_map(|field| field["rest"]["name"].as_str());
        let wanted = self.config.mappings.reads();
        let fields: Vec<String> = known
            .filter(|name| wanted.as_ref().is_none_or(|wanted| wanted.contains(*name)))
            .map(str::to_owned)
            .collect();
        self.fields = Some(fields.clone());
        Ok(fields)
    }

    /// The present values of leads, without deleted ones.
    async fn leads(&mut self, ids: &[String]) -> Result<Vec<Fields>, SourceError> {
        let fields = self.lead_fields().await?.join(",");
        let parameters: Parameters = vec![
            ("filterType", "id".to_owned()),
            ("filterValues", ids.join(",")),
            ("fields", fields),
            ("batchSize", PAGE_MAX.to_string()),
        ];
        match self.client.get("rest/v1/leads.json", &parameters).await {
            Ok(envelope) => Ok(result(&envelope).iter().filter_map(|lead| lead.as_object().cloned()).collect()),
            Err(CallError::Code { code, message }) if code == "1006" => {
                // A field was removed from the instance: request the list of fields again.
                self.fields = None;
                Err(SourceError::Retry {
                    reason: format!("Marketo answers {code}: {message}").into(),
                    after: None,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn lead_records(&mut self, ids: &[String]) -> Result<Vec<Emitted>, SourceError> {
        let observed = (self.now)();
        let leads = self.leads(ids).await?;
        Ok(leads
            .iter()
            .flat_map(|lead| mapping::lead(lead, &self.config.mappings, &self.keys, observed))
            .collect())
    }

    async fn sample(&mut self) -> Result<Vec<Sample>, SourceError> {
        let since = (self.now)().plus_ms(-millrace_model::DAY_MS);
        let mut token = self.paging_token(since).await?;
        let mut samples = Vec::new();
        let mut ids: Vec<String> = Vec::new();
        // A page may be empty although more follows; a few are enough for a preview.
        for _ in 0..10 {
            let group: Vec<String> = self
                .config
                .activities
                .groups()
                .into_iter()
                .next()
                .unwrap_or_default()
                .iter()
                .map(u32::to_string)
                .collect();
            let parameters = vec![("nextPageToken", token.clone()), ("activityTypeIds", group.join(","))];
            let envelope = self.client.get("rest/v1/activities.json", &parameters).await?;
            for row in result(&envelope).iter().take(PREVIEW) {
                let activity = row.as_object().and_then(mapping::Activity::read);
                ids.extend(activity.as_ref().map(|activity| activity.lead.clone()));
                let emitted = activity.and_then(|activity| activity.event(&self.config.activities, &self.keys));
                samples.extend(emitted.map(|emitted| Sample::of(row.clone(), emitted)));
            }
            if envelope["moreResult"] != Value::Bool(true) || !samples.is_empty() {
                break;
            }
            token = envelope["nextPageToken"].as_str().unwrap_or_default().to_owned();
        }
        if ids.is_empty() {
            ids = (1..=300).map(|id| id.to_string()).collect();
        }
        let observed = (self.now)();
        for lead in self.leads(&ids).await?.into_iter().take(PREVIEW) {
            let mapped = mapping::lead(&lead, &self.config.mappings, &self.keys, observed);
            samples.extend(mapped.into_iter().map(|emitted| Sample::of(Value::Object(lead.clone()), emitted)));
        }
        Ok(samples)
    }
}

impl Source for MarketoSource {
    fn next<'a>(&'a mut self, rows: &'a Rows) -> Step<'a, Batch> {
        Box::pin(self.step(rows))
    }

    fn preview(&mut self) -> Step<'_, Vec<Sample>> {
        Box::pin(self.sample())
    }
}

/// Rows as they will be after the batch: later records of a page see rows set by earlier ones.
struct Overlay<'a> {
    rows: &'a Rows,
    set: BTreeMap<String, Option<Value>>,
}

impl<'a> Overlay<'a> {
    fn new(rows: &'a Rows) -> Overlay<'a> {
        Overlay { rows, set: BTreeMap::new() }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        match self.set.get(name) {
            Some(set) => set.as_ref(),
            None => self.rows.get(name),
        }
    }

    fn set(&mut self, name: String, value: Option<Value>) {
        self.set.insert(name, value);
    }
}

/// Milliseconds in a row.
fn stamp(value: Option<&Value>) -> Timestamp {
    Timestamp(value.and_then(Value::as_i64).unwrap_or_default())
}

/// An instant as filters of extracts take it: whole seconds.
fn whole_seconds(at: Timestamp) -> String {
    let text = Timestamp(at.0 - at.0.rem_euclid(1_000)).to_string();
    text.replace(".000Z", "Z")
}

/// Without a pause.
const AT_ONCE: Duration = Duration::ZERO;
