//! Decides what to read next. The progress is in rows:
//!
//! ```text
//! org                which org was read: a source never goes on with a different one
//! load/<Object>      the first load of an object: its job, and the locator of the next page; gone when it is done
//! at/<Object>        up to which instant of the org changes were read; inside a round, the last record seen and the next page
//! swept/<Object>     up to which instant the log of deletions was read
//! derived            relations of contacts to accounts follow from their field `AccountId`
//! merged/<loser>     the winner of a merge, and the stamp of its loser
//! ```

mod changes;
mod load;
mod losers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_connect::budget::WallClock;
use millrace_connect::mapping::Fields;
use millrace_connect::source::{Batch, Emitted, Rows, Sample, Source, SourceError, Step};
use millrace_model::Timestamp;
use serde_json::{Value, json};

use crate::client::{CallError, Client};
use crate::config::Config;
use crate::mapping::{self, Keys, Object, Relations, Said, Shape};

/// Records of each object in a preview.
const PREVIEW: usize = 5;

/// How often objects are described again: new fields, new objects, new rights.
const DESCRIBED_MS: i64 = 3_600_000;

/// Salesforce refuses addresses of 16 KiB; a query takes three bytes for a comma or a blank.
const SELECT_BYTES_MAX: usize = 10_000;

/// Without a pause.
const AT_ONCE: Duration = Duration::ZERO;

/// One org as a source.
pub struct SalesforceSource {
    client: Arc<Client>,
    config: Config,
    now: WallClock,
    /// What the org has, and when it was asked.
    shapes: Option<(Timestamp, Vec<Shape>)>,
    round: changes::Round,
    /// How many failed jobs the frame has heard of.
    failures_said: u32,
}

impl SalesforceSource {
    pub fn new(client: Arc<Client>, config: Config, now: WallClock) -> SalesforceSource {
        SalesforceSource {
            client,
            config,
            now,
            shapes: None,
            round: changes::Round::default(),
            failures_said: 0,
        }
    }

    async fn step(&mut self, rows: &Rows) -> Result<Batch, SourceError> {
        let org = self.client.org().await?;
        match rows.get("org").and_then(Value::as_str) {
            None => {
                return Ok(Batch {
                    rows: vec![("org".to_owned(), Some(json!(org)))],
                    ..Batch::default()
                });
            }
            Some(held) if held != org => {
                let reason = format!("this source has read org {held}, and the address is now org {org}: give the new org a source of its own");
                return Err(SourceError::Refused(reason.into()));
            }
            Some(_) => {}
        }
        let shapes = self.described().await?;
        let keys = self.keys(org, rows, &shapes);
        if let Some(batch) = begin(rows, &shapes) {
            return Ok(batch);
        }
        let loading = shapes
            .iter()
            .find_map(|shape| Some((shape, rows.get(&format!("load/{}", shape.object.name()))?)));
        if let Some((shape, row)) = loading {
            return self.load(rows, &shapes, shape, row.clone(), &keys).await;
        }
        if let Some(shape) = self.sweep_due(rows, &shapes) {
            return self.sweep(rows, shape, &keys).await;
        }
        self.changes(rows, &shapes, &keys).await
    }

    fn keys(&self, org: String, rows: &Rows, shapes: &[Shape]) -> Keys {
        let has = shapes.iter().any(|shape| shape.object == Object::AccountContactRelation);
        let relations = match (has, rows.get("derived").is_some()) {
            (false, _) => Relations::Derived,
            (true, true) => Relations::NoLongerDerived,
            (true, false) => Relations::Own,
        };
        Keys {
            org,
            currency: self.config.currency.clone(),
            relations,
        }
    }

    /// The objects that the org has and the user may read.
    async fn described(&mut self) -> Result<Vec<Shape>, SourceError> {
        let now = (self.now)();
        if let Some((at, shapes)) = &self.shapes
            && now.0 - at.0 < DESCRIBED_MS
        {
            return Ok(shapes.clone());
        }
        let mut shapes = Vec::new();
        for object in self.config.objects.clone() {
            let reply = match self.client.get(&format!("sobjects/{}/describe", object.name()), &[]).await {
                Ok(reply) => reply,
                Err(CallError::Code { code, message }) => {
                    tracing::info!(object = object.name(), code, message, "the org has no such object, or the user may not read it");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let at = reply.at().unwrap_or(now);
            let shape = Shape::new(object, &reply.json()?, &self.config.rules, at);
            let shape = shape.map_err(|error| SourceError::Refused(format!("mapping.{}: {error}", object.name()).into()))?;
            if shape.select().len() > SELECT_BYTES_MAX {
                let reason = format!("the fields of {} do not fit in one query: name fewer in custom_fields", object.name());
                return Err(SourceError::Refused(reason.into()));
            }
            shapes.push(shape);
        }
        if shapes.is_empty() {
            return Err(SourceError::Denied("the user may read none of the objects".into()));
        }
        self.shapes = Some((now, shapes.clone()));
        Ok(shapes)
    }

    /// A field or an object went away: the next step describes everything again.
    fn describe_again(&mut self, code: &str, message: &str) -> SourceError {
        self.shapes = None;
        SourceError::Retry {
            reason: format!("Salesforce answers {code}: {message}").into(),
            after: None,
        }
    }

    async fn sample(&mut self) -> Result<Vec<Sample>, SourceError> {
        let org = self.client.org().await?;
        let shapes = self.described().await?;
        let keys = self.keys(org, &Rows::default(), &shapes);
        let mut samples = Vec::new();
        for shape in &shapes {
            let query = format!("{} ORDER BY SystemModstamp DESC LIMIT {PREVIEW}", shape.select());
            let reply = self.client.get("query", &[("q", query.as_str())]).await?.json()?;
            for row in records(&reply) {
                if let Said::Live(emitted) = mapping::read(shape, row, &keys) {
                    samples.extend(emitted.into_iter().map(|emitted| Sample::of(Value::Object(row.clone()), emitted)));
                }
            }
        }
        Ok(samples)
    }
}

impl Source for SalesforceSource {
    fn next<'a>(&'a mut self, rows: &'a Rows) -> Step<'a, Batch> {
        Box::pin(self.step(rows))
    }

    fn preview(&mut self) -> Step<'_, Vec<Sample>> {
        Box::pin(self.sample())
    }
}

/// Objects that are read for the first time are loaded; changes are read from the instant before
/// that, so that none is missed.
fn begin(rows: &Rows, shapes: &[Shape]) -> Option<Batch> {
    let mut batch = Batch::default();
    for shape in shapes {
        let name = shape.object.name();
        if rows.get(&format!("at/{name}")).is_none() {
            batch.rows.push((format!("at/{name}"), Some(json!({"to": shape.at.0}))));
            batch.rows.push((format!("swept/{name}"), Some(json!(shape.at.0))));
            batch.rows.push((format!("load/{name}"), Some(load::first())));
        }
    }
    if batch.rows.is_empty() {
        return None;
    }
    let relations = shapes.iter().any(|shape| shape.object == Object::AccountContactRelation);
    if !relations {
        batch.rows.push(("derived".to_owned(), Some(json!(true))));
    } else if rows.get("derived").is_some() && shapes.iter().any(|shape| shape.object == Object::Contact) {
        // The org has relations of its own now: contacts are read again to withdraw derived ones.
        batch.rows.push(("load/Contact".to_owned(), Some(load::first())));
    }
    Some(batch)
}

/// The records of an answer to a query.
fn records(reply: &Value) -> impl Iterator<Item = &Fields> {
    reply["records"].as_array().into_iter().flatten().filter_map(Value::as_object)
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

    fn set(&mut self, name: String, value: Option<Value>) {
        self.set.insert(name, value);
    }

    /// The rows under a prefix, without it.
    fn under(&self, prefix: &str) -> BTreeMap<String, Value> {
        let mut all: BTreeMap<String, Value> = self.rows.under(prefix).map(|(name, value)| (name.to_owned(), value.clone())).collect();
        for (name, value) in &self.set {
            let Some(name) = name.strip_prefix(prefix) else { continue };
            match value {
                Some(value) => drop(all.insert(name.to_owned(), value.clone())),
                None => drop(all.remove(name)),
            }
        }
        all
    }
}

/// An instant as queries take it: whole seconds, rounded down.
fn literal(at: Timestamp) -> String {
    Timestamp(at.0 - at.0.rem_euclid(1_000)).to_string().replace(".000Z", "Z")
}

/// The records of a page, whatever each row says.
type Page = Vec<Emitted>;
