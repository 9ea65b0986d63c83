//! Lists and programs, and their members when first seen; later changes come by the feeds.

use millrace_connect::source::{Batch, Rows, SourceError};
use millrace_model::DAY_MS;
use serde_json::{Value, json};

use super::{AT_ONCE, MarketoSource, Overlay, PAGE_MAX, stamp};
use crate::mapping;
use millrace_marketo::{CallError, Parameters, result};

/// How often new lists and programs are looked for.
const ASSETS_MS: i64 = 3_600_000;

/// How long a deletion is remembered: longer than a merge's activity may arrive after it.
const GONE_KEPT_MS: i64 = 30 * DAY_MS;

/// Programs of one page.
const ASSET_PAGE: usize = 200;

impl MarketoSource {
    pub(super) fn assets_due(&self, rows: &Rows) -> bool {
        (self.now)().0 - stamp(rows.get("assets")).0 >= ASSETS_MS
    }

    /// All lists and programs. The members of newly seen ones must be read.
    pub(super) async fn assets(&mut self, rows: &Rows) -> Result<Batch, SourceError> {
        let now = (self.now)();
        self.client.take_usage().await?;
        let mut overlay = Overlay::new(rows);
        let mut batch = Batch::default();
        let mut parameters: Parameters = vec![("batchSize", PAGE_MAX.to_string())];
        loop {
            let envelope = self.client.get("rest/v1/lists.json", &parameters).await?;
            for one in result(&envelope).iter().filter_map(Value::as_object) {
                let Some((id, emitted)) = mapping::list(one, &self.keys) else { continue };
                if self.config.own_lists.iter().any(|own| own.to_string() == id) {
                    continue;
                }
                self.met(&mut overlay, "list", &id);
                batch.records.push(emitted);
            }
            match envelope["nextPageToken"].as_str() {
                Some(token) => parameters = vec![("batchSize", PAGE_MAX.to_string()), ("nextPageToken", token.to_owned())],
                None => break,
            }
        }
        for page in 0.. {
            let parameters = vec![("maxReturn", ASSET_PAGE.to_string()), ("offset", (page * ASSET_PAGE).to_string())];
            let envelope = self.client.get("rest/asset/v1/programs.json", &parameters).await?;
            let programs = result(&envelope);
            for one in programs.iter().filter_map(Value::as_object) {
                let Some((id, emitted)) = mapping::program(one, &self.keys) else { continue };
                self.met(&mut overlay, "program", &id);
                batch.records.push(emitted);
            }
            if programs.len() < ASSET_PAGE {
                break;
            }
        }
        let old = rows.under("gone/").filter(|(_, at)| now.0 - stamp(Some(at)).0 > GONE_KEPT_MS);
        old.for_each(|(lead, _)| overlay.set(format!("gone/{lead}"), None));
        overlay.set("assets".to_owned(), Some(json!(now.0)));
        batch.rows = overlay.set.into_iter().collect();
        Ok(batch)
    }

    fn met(&self, overlay: &mut Overlay<'_>, what: &str, id: &str) {
        let name = format!("{what}/{id}");
        if overlay.get(&name).is_none() {
            overlay.set(name, Some(json!(true)));
            // Dates of activities are whole seconds: one of the same second must not seem older
            // than this reading.
            let now = (self.now)().0;
            overlay.set(format!("todo/{what}/{id}"), Some(json!({"begun": now - now.rem_euclid(1_000)})));
        }
    }

    /// The next page of the members of a list or program.
    ///
    /// They are as of the moment before the first page: a person who leaves while it is read has a
    /// later activity for that.
    pub(super) async fn members(&mut self, what: String, todo: Value) -> Result<Batch, SourceError> {
        let begun = stamp(todo.get("begun"));
        let (kind, id) = what.split_once('/').unwrap_or_default();
        let mut parameters: Parameters = vec![("batchSize", PAGE_MAX.to_string())];
        let path = if kind == "list" {
            parameters.push(("fields", "id".to_owned()));
            format!("rest/v1/lists/{id}/leads.json")
        } else {
            parameters.push(("filterType", "reachedSuccess".to_owned()));
            parameters.push(("filterValues", "true,false".to_owned()));
            parameters.push(("fields", "leadId,statusName,reachedSuccess,updatedAt".to_owned()));
            format!("rest/v1/programs/{id}/members.json")
        };
        parameters.extend(todo["page"].as_str().map(|page| ("nextPageToken", page.to_owned())));
        let envelope = match self.client.get(&path, &parameters).await {
            Ok(envelope) => envelope,
            // The list was removed since, or has more members than the call returns.
            Err(CallError::Code { code, message }) => {
                tracing::warn!(what, code, message, "members cannot be read");
                json!({})
            }
            Err(error) => return Err(error.into()),
        };
        let mut batch = Batch {
            pause: AT_ONCE,
            ..Batch::default()
        };
        for row in result(&envelope).iter().filter_map(Value::as_object) {
            let text = |field: &str| row.get(field).and_then(mapping::words);
            let record = if kind == "list" {
                text("id").map(|lead| mapping::list_member(id, &lead, true, begun, &self.keys))
            } else {
                let success = text("reachedSuccess").map(|text| text == "true");
                let at = row.get("updatedAt").and_then(mapping::instant).unwrap_or(begun);
                text("leadId").map(|lead| mapping::program_member(id, &lead, json!(text("statusName")), success, at, &self.keys))
            };
            batch.records.extend(record);
        }
        let next = envelope["nextPageToken"].as_str().map(|page| json!({"begun": begun.0, "page": page}));
        batch.rows.push((format!("todo/{what}"), next));
        Ok(batch)
    }
}
