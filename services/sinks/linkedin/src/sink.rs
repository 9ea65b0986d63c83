//! Keeps DMP segments equal to audiences.
//!
//! ```text
//! batch ─▶ segment of the audience: known, found or created, ready ─▶ one call ─▶ an answer per change
//! ```
//!
//! * **One segment per audience**, found by its foreign key, which is the audience's name, and its
//!   type. Where two processes created one at the same time, the one with the lower id stays.
//! * **New segments** take no members for some seconds, and lose what is sent earlier: the sink
//!   waits, and asks for them until they are shown.
//! * **Repeats** are harmless: LinkedIn takes the addition of a member and the removal of an absent
//!   one. One call holds each member once, since it promises no order within one.
//! * **No reading back.** A segment that is gone or has lost its members is created anew; its id is
//!   its place in the ledger, so the frame sends everybody again.

use std::sync::Arc;
use std::time::Duration;

use millrace_connect::budget::WallClock;
use millrace_connect::sink::{Answer, BatchLimits, Change, Delivery, Destination, Refusal, Upkeep};
use millrace_model::DAY_MS;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::client::{CallError, Client, REST, Request};
use crate::config::Config;
use crate::mapping::{self, masked};

mod segments;
mod warnings;

pub(crate) use segments::Segments;

/// How often segments are asked for their status.
const STATUS_EVERY: Duration = Duration::from_secs(3_600);
/// And when they could not be.
const STATUS_AGAIN: Duration = Duration::from_secs(300);

/// LinkedIn archives a segment after 30 days without a change: one member is sent again before.
const TOUCHED_AFTER_MS: i64 = 25 * DAY_MS;

/// Elements of a call that a preview shows.
const SHOWN: usize = 3;

/// Segments of one ad account.
pub struct LinkedInSink {
    pub(crate) segments: Segments,
    pub(crate) runtime: Runtime,
}

/// Why a batch has no answer.
#[derive(Debug)]
pub(crate) enum Stop {
    Later(String, Option<Duration>),
    Together(String),
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Stop {
        match error {
            CallError::Later(reason, wait) => Stop::Later(reason, wait),
            CallError::Held(reason) => Stop::Later(reason, Some(REST)),
            CallError::NotFound(reason) => Stop::Later(reason, None),
            CallError::Refused(reason) => Stop::Together(reason),
        }
    }
}

impl LinkedInSink {
    /// # Errors
    /// Where the system has no event queue available.
    pub fn new(config: Config, client: Arc<Client>, now: WallClock) -> std::io::Result<LinkedInSink> {
        Ok(LinkedInSink {
            segments: Segments::new(config, client, now),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }
}

impl Destination for LinkedInSink {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records_max: self.segments.config.records_per_call,
            wait: self.segments.config.wait,
        }
    }

    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        self.runtime.block_on(self.segments.deliver(batch))
    }

    fn place(&self, audience: &str) -> Option<String> {
        self.segments.id(audience).map(|id| id.to_string())
    }

    fn upkeep(&mut self, audiences: &[String]) -> Upkeep {
        match self.runtime.block_on(self.segments.look_after(audiences)) {
            Ok(touch) => Upkeep {
                again: Some(STATUS_EVERY),
                touch,
            },
            Err(Stop::Later(reason, _) | Stop::Together(reason)) => {
                tracing::warn!(reason, "the status of LinkedIn's segments is not known");
                Upkeep {
                    again: Some(STATUS_AGAIN),
                    touch: Vec::new(),
                }
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        warnings::of(&self.segments.config, self.segments.client.ends(), (self.segments.now)())
    }

    fn remark(&self, audience: &str) -> Option<String> {
        self.segments.remark(audience)
    }

    fn request(&self, batch: &[Change]) -> Option<String> {
        let ids = self.segments.config.ids;
        let elements: Vec<Value> = batch.iter().filter_map(|change| ids.element(change).ok()).take(SHOWN).collect();
        Some(json!({ "elements": elements }).to_string())
    }

    fn takes(&mut self, calls: u64) -> Option<Duration> {
        Some(self.segments.client.takes(calls))
    }

    fn quota_left(&self) -> Option<u64> {
        self.segments.client.quota_left()
    }
}

impl Segments {
    pub(crate) async fn deliver(&mut self, batch: &[Change]) -> Delivery {
        let calls = self.client.calls();
        let elements: Vec<Result<Value, String>> = batch.iter().map(|change| self.config.ids.element(change)).collect();
        let sent: Vec<Value> = elements.iter().filter_map(|element| element.as_ref().ok()).cloned().collect();
        let (outcome, wait) = match self.send(batch, &sent).await {
            Ok(answers) => (Ok(answers), None),
            Err(Stop::Later(reason, wait)) => (Err(Answer::Later(reason)), wait),
            Err(Stop::Together(reason)) => (Err(together(batch, &reason)), None),
        };
        let mut answers = outcome.map(|answers| answers.into_iter());
        let mut next = || match &mut answers {
            Ok(answers) => answers.next().unwrap_or_else(|| Answer::Later("no answer".to_owned())),
            Err(answer) => answer.clone(),
        };
        let answers = elements.iter().zip(batch).map(|(element, change)| match element {
            Ok(_) => next(),
            // What LinkedIn could never take was never sent.
            Err(_) if !change.present => Answer::Accepted,
            Err(reason) => Answer::Refused(unsent(change, reason)),
        });
        Delivery {
            answers: answers.collect(),
            wait,
            calls: self.client.calls() - calls,
        }
    }

    async fn send(&mut self, batch: &[Change], elements: &[Value]) -> Result<Vec<Answer>, Stop> {
        let Some(audience) = batch.first().map(|change| change.audience.clone()).filter(|_| !elements.is_empty()) else {
            return Ok(Vec::new());
        };
        let id = self.ready(&audience).await?;
        let path = format!("dmpSegments/{id}/{}", self.config.ids.path());
        let body = json!({ "elements": elements });
        let request = Request {
            verb: Method::POST,
            path: &path,
            query: &[],
            method: Some("BATCH_CREATE"),
            body: Some(&body),
        };
        match self.client.call(&request).await {
            Ok((body, _)) => {
                self.took(&audience);
                let answers = mapping::answers(&body, id, elements);
                answers.ok_or_else(|| Stop::Later(format!("LinkedIn's answers do not fit the call of {} members", elements.len()), None))
            }
            Err(CallError::NotFound(reason)) => {
                self.not_found(&audience);
                Err(Stop::Later(reason, None))
            }
            // A segment that is no longer one refuses everything: that is no fault of the members.
            Err(CallError::Refused(reason)) => {
                self.still_takes_members(&audience).await?;
                Err(Stop::Together(reason))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn together(batch: &[Change], reason: &str) -> Answer {
    let request = match batch {
        [one] => request_of(one),
        several => format!("a call of {} members", several.len()),
    };
    Answer::Together(Refusal {
        reason: reason.to_owned(),
        request,
        answer: reason.to_owned(),
    })
}

fn unsent(change: &Change, reason: &str) -> Refusal {
    Refusal {
        reason: reason.to_owned(),
        request: request_of(change),
        answer: String::new(),
    }
}

fn request_of(change: &Change) -> String {
    let act = if change.present { "ADD" } else { "REMOVE" };
    masked(&format!("{act} {} at {}", change.identity.id(), change.audience))
}
