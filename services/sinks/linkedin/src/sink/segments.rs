//! Which segment an audience has: found, created, ready for members, and in which state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_connect::budget::WallClock;
use millrace_model::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Stop, TOUCHED_AFTER_MS};
use crate::client::{CallError, Client, REST, Request};
use crate::config::{Config, SegmentRef};

/// A new segment takes no members for this long.
const PREPARED_MS: i64 = 5_000;
/// A segment that is not shown this long after it was created is gone.
const MISSING_MS: i64 = 5 * 60_000;
/// How long to wait for a segment that is not shown yet.
const SHOWN_AGAIN: Duration = Duration::from_secs(10);

/// Segments of one page.
const PAGE: usize = 100;

/// LinkedIn delivers to a segment from this number of matched members on.
const FLOOR: u64 = 300;

/// The segments of a destination, without the thread that it runs on.
pub(crate) struct Segments {
    pub(super) config: Config,
    pub(super) client: Arc<Client>,
    pub(super) now: WallClock,
    known: BTreeMap<String, Known>,
}

/// The segment of an audience.
#[derive(Clone, Debug)]
struct Known {
    id: u64,
    /// When it was created, or first seen.
    since: Timestamp,
    /// It takes members.
    ready: bool,
    /// It has taken some.
    took: bool,
    shown: Option<Shown>,
}

/// A segment as LinkedIn shows it.
#[derive(Clone, Debug)]
struct Shown {
    id: u64,
    name: String,
    source_id: String,
    kind: String,
    status: String,
    created_at: Timestamp,
    modified_at: Timestamp,
    matched: u64,
    size: u64,
    submitted: u64,
}

impl Shown {
    fn of(element: &Value) -> Option<Shown> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let at = |value: &Value| Timestamp(value.as_i64().unwrap_or_default());
        let destinations = element["destinations"].as_array();
        let linkedin = destinations
            .into_iter()
            .flatten()
            .find(|one| one["destination"] == "LINKEDIN")
            .unwrap_or(&Value::Null);
        Some(Shown {
            id: element["id"].as_u64()?,
            name: text(&element["name"]),
            source_id: text(&element["sourceSegmentId"]),
            kind: text(&element["type"]),
            status: text(&linkedin["status"]),
            created_at: at(&element["created"]),
            modified_at: at(&element["lastModified"]).max(at(&linkedin["lastModified"])),
            matched: linkedin["matchedCount"].as_u64().unwrap_or_default(),
            size: linkedin["audienceSize"].as_u64().unwrap_or_default(),
            submitted: element["inputCount"].as_u64().unwrap_or_default(),
        })
    }

    /// Its members are gone.
    fn expired(&self) -> bool {
        self.status == "EXPIRED"
    }

    fn failed(&self) -> bool {
        matches!(self.status.as_str(), "FAILED" | "ERROR")
    }
}

impl Segments {
    pub(super) fn new(config: Config, client: Arc<Client>, now: WallClock) -> Segments {
        Segments {
            config,
            client,
            now,
            known: BTreeMap::new(),
        }
    }

    pub(super) fn id(&self, audience: &str) -> Option<u64> {
        self.known.get(audience).map(|known| known.id)
    }

    /// The segment of an audience, ready for members.
    pub(super) async fn ready(&mut self, audience: &str) -> Result<u64, Stop> {
        if let Some(known) = self.known.get(audience).filter(|known| known.ready) {
            return Ok(known.id);
        }
        let now = (self.now)();
        if let Some(known) = self.known.get(audience) {
            let age = now.0 - known.since.0;
            if age < PREPARED_MS {
                return Err(prepared(PREPARED_MS - age));
            }
        }
        match self.found(audience).await? {
            Some(shown) => self.take(audience, shown).await,
            None if self.known.get(audience).is_some_and(|known| now.0 - known.since.0 < MISSING_MS) => {
                Err(Stop::Later("LinkedIn does not show the new segment yet".to_owned(), Some(SHOWN_AGAIN)))
            }
            None => {
                self.create(audience).await?;
                Err(prepared(PREPARED_MS))
            }
        }
    }

    /// A segment that LinkedIn shows becomes that of an audience.
    async fn take(&mut self, audience: &str, shown: Shown) -> Result<u64, Stop> {
        if shown.failed() {
            let reason = format!(
                "LinkedIn could not process segment {} ({}); delete it there, and a new one is filled",
                shown.id, shown.status
            );
            return Err(Stop::Later(reason, Some(REST)));
        }
        let now = (self.now)();
        let own = self
            .known
            .get(audience)
            .map(|known| known.id)
            .filter(|own| *own != shown.id && !self.fixed(audience));
        let id = shown.id;
        let before = self.known.get(audience).filter(|known| known.id == id);
        let (since, took) = before.map_or((now, false), |known| (known.since, known.took));
        // The clocks need not agree.
        let age = (now.0 - shown.created_at.0).max(now.0 - since.0);
        let ready = age >= PREPARED_MS;
        let known = Known {
            id,
            since,
            ready,
            took,
            shown: Some(shown),
        };
        self.known.insert(audience.to_owned(), known);
        if let Some(own) = own {
            // Another process created one at the same time, and before this one.
            tracing::info!(audience, segment = own, kept = id, "two segments were created; the later one is deleted");
            self.delete(own).await?;
        }
        if ready { Ok(id) } else { Err(prepared(PREPARED_MS - age)) }
    }

    fn fixed(&self, audience: &str) -> bool {
        matches!(self.config.segments.get(audience), Some(SegmentRef::Id(_)))
    }

    /// The segment of an audience at LinkedIn; of several the one with the least id.
    async fn found(&self, audience: &str) -> Result<Option<Shown>, Stop> {
        if let Some(SegmentRef::Id(id)) = self.config.segments.get(audience) {
            let path = format!("dmpSegments/{id}");
            let (body, _) = self.client.call(&get(&path, &[])).await.map_err(|error| match error {
                CallError::NotFound(reason) => Stop::Later(reason, Some(REST)),
                other => other.into(),
            })?;
            return Ok(Shown::of(&body));
        }
        let listed = self.listed(Some(audience)).await?;
        Ok(self.chosen(audience, &listed).cloned())
    }

    fn chosen<'a>(&self, audience: &str, listed: &'a [Shown]) -> Option<&'a Shown> {
        let fits = |shown: &&Shown| match self.config.segments.get(audience) {
            Some(SegmentRef::Id(id)) => shown.id == *id,
            Some(SegmentRef::Name(_)) | None => shown.source_id == audience && shown.kind == self.config.ids.segment_type() && !shown.expired(),
        };
        listed.iter().filter(fits).min_by_key(|shown| shown.id)
    }

    /// The account's segments of this app; those with one foreign key, where it is given.
    async fn listed(&self, source_id: Option<&str>) -> Result<Vec<Shown>, Stop> {
        let mut listed = Vec::new();
        loop {
            let mut query = vec![
                ("q", "account".to_owned()),
                ("account", self.config.account.clone()),
                ("sourcePlatform", self.config.source_platform.clone()),
                ("start", listed.len().to_string()),
                ("count", PAGE.to_string()),
            ];
            query.extend(source_id.map(|id| ("sourceSegmentId", id.to_owned())));
            let (body, _) = self.client.call(&get("dmpSegments", &query)).await.map_err(not_of_members)?;
            let page = body["elements"].as_array().map_or(&[][..], Vec::as_slice);
            listed.extend(page.iter().filter_map(Shown::of));
            if page.len() < PAGE {
                return Ok(listed);
            }
        }
    }

    async fn create(&mut self, audience: &str) -> Result<(), Stop> {
        if !self.config.create_segments {
            return Err(Stop::Later(format!("LinkedIn has no segment of audience `{audience}`"), Some(REST)));
        }
        let name = match self.config.segments.get(audience) {
            Some(SegmentRef::Name(name)) => name.as_str(),
            Some(SegmentRef::Id(_)) | None => audience,
        };
        let body = json!({
            "name": name, "sourcePlatform": self.config.source_platform, "sourceSegmentId": audience, "account": self.config.account,
            "type": self.config.ids.segment_type(), "destinations": [{"destination": "LINKEDIN"}],
        });
        let request = Request {
            verb: Method::POST,
            path: "dmpSegments",
            query: &[],
            method: None,
            body: Some(&body),
        };
        let (_, id) = self.client.call(&request).await.map_err(not_of_members)?;
        let id = id.ok_or_else(|| Stop::Later("LinkedIn names no id of the new segment".to_owned(), None))?;
        tracing::info!(audience, segment = id, name, "segment created");
        let known = Known {
            id,
            since: (self.now)(),
            ready: false,
            took: false,
            shown: None,
        };
        self.known.insert(audience.to_owned(), known);
        Ok(())
    }

    async fn delete(&self, id: u64) -> Result<(), Stop> {
        let path = format!("dmpSegments/{id}");
        let request = Request {
            verb: Method::DELETE,
            path: &path,
            query: &[],
            method: None,
            body: None,
        };
        match self.client.call(&request).await {
            Ok(_) | Err(CallError::NotFound(_)) => Ok(()),
            Err(error) => Err(not_of_members(error)),
        }
    }

    /// LinkedIn answered that an audience's segment is not there: a new one is not there yet, any
    /// other one is looked up again.
    pub(super) fn not_found(&mut self, audience: &str) {
        let now = (self.now)();
        if self.known.get(audience).is_some_and(|known| known.took || now.0 - known.since.0 >= MISSING_MS) {
            self.known.remove(audience);
        }
    }

    /// The segment of an audience has taken members.
    pub(super) fn took(&mut self, audience: &str) {
        if let Some(known) = self.known.get_mut(audience) {
            known.took = true;
        }
    }

    /// An error where the segment of an audience takes no members any more.
    pub(super) async fn still_takes_members(&mut self, audience: &str) -> Result<(), Stop> {
        let found = self.found(audience).await?;
        let own = self.id(audience);
        match found {
            Some(shown) if shown.failed() => self.take(audience, shown).await.map(|_| ()),
            Some(shown) if Some(shown.id) == own && !shown.expired() => Ok(()),
            _ => {
                self.known.remove(audience);
                Err(Stop::Later("the segment takes no members any more; it is created anew".to_owned(), None))
            }
        }
    }

    /// Asks for the status of the segments of audiences with members. Those that are gone are created
    /// anew; returns those that were quiet for so long that LinkedIn would soon archive them.
    pub(super) async fn look_after(&mut self, audiences: &[String]) -> Result<Vec<String>, Stop> {
        if audiences.is_empty() {
            return Ok(Vec::new());
        }
        let listed = self.listed(None).await?;
        let now = (self.now)();
        let mut quiet = Vec::new();
        for audience in audiences {
            let Some(shown) = self.chosen(audience, &listed).cloned() else {
                let new = self.known.get(audience).is_some_and(|known| now.0 - known.since.0 < MISSING_MS);
                if !new && !self.fixed(audience) {
                    self.create(audience).await?;
                }
                continue;
            };
            if now.0 - shown.modified_at.0 >= TOUCHED_AFTER_MS && shown.submitted > 0 && !shown.failed() {
                quiet.push(audience.clone());
            }
            match self.known.get_mut(audience) {
                Some(known) if known.id == shown.id => known.shown = Some(shown),
                _ => match self.take(audience, shown).await {
                    // One that is not ready, or not well, says so at the next delivery.
                    Ok(_) | Err(Stop::Later(..)) => {}
                    Err(stop) => return Err(stop),
                },
            }
        }
        Ok(quiet)
    }

    /// What LinkedIn says about the segment of an audience.
    pub(super) fn remark(&self, audience: &str) -> Option<String> {
        let shown = self.known.get(audience)?.shown.as_ref()?;
        let mut remark = format!(
            "segment {} `{}` {}: {} matched of {} submitted, size {}",
            shown.id, shown.name, shown.status, shown.matched, shown.submitted, shown.size
        );
        if shown.matched < FLOOR {
            remark.push_str(&format!("; LinkedIn delivers to it from {FLOOR} matched members on"));
        }
        Some(remark)
    }
}

fn prepared(ms: i64) -> Stop {
    let wait = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    Stop::Later("LinkedIn prepares the new segment".to_owned(), Some(wait))
}

/// A refusal of a call about segments is no fault of members: nothing is halved.
fn not_of_members(error: CallError) -> Stop {
    match error {
        CallError::Refused(reason) => Stop::Later(reason, Some(REST)),
        other => other.into(),
    }
}

fn get<'a>(path: &'a str, query: &'a [(&'a str, String)]) -> Request<'a> {
    Request {
        verb: Method::GET,
        path,
        query,
        method: None,
        body: None,
    }
}
