//! The routes of the collector's port, and what each request passes.
//!
//! ```text
//! origin ─▶ write key of the head ─▶ body, within its bounds ─▶ write key of the body ─▶ events ─▶ verdicts ─▶ log ─▶ answer
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt;
use millrace_api::Problem;
use millrace_events::Arrival;
use millrace_events::segment::Call;
use millrace_model::Timestamp;
use millrace_model::metric::{Counter, Gauge};
use millrace_telemetry::Metrics;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::{self, BODY_BYTES_MAX, Form, Sent, Unusable};
use crate::intake::Intake;
use crate::judge::{Judge, Verdict};
use crate::keys::{Keys, WriteKey, in_head};
use crate::{cors, snippet};

/// Bodies that are arriving or wait for the log, of all requests together. Beyond it senders are
/// asked to wait.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Memory of bodies is counted in blocks of this size.
const BLOCK_BYTES: usize = 8 << 10;

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Refused events that an answer names; it counts the others.
const ERRORS_MAX: usize = 100;

/// What the routes need.
pub struct Collector {
    keys: Keys,
    /// Lower case, without a trailing slash.
    pub(crate) origins: Vec<String>,
    intake: Arc<Intake>,
    judge: Judge,
    metrics: Metrics,
    held: Arc<Semaphore>,
    now: fn() -> Timestamp,
}

impl Collector {
    pub fn new(keys: Keys, origins: Vec<String>, intake: Arc<Intake>, judge: Judge, metrics: Metrics, now: fn() -> Timestamp) -> Collector {
        Collector {
            keys,
            origins,
            intake,
            judge,
            metrics,
            held: Arc::new(Semaphore::new(HELD_BYTES_MAX / BLOCK_BYTES)),
            now,
        }
    }
}

type Shared = State<Arc<Collector>>;

/// The router of the collector's port.
pub fn collector_router(collector: Arc<Collector>) -> Router {
    let mut router = Router::new().route("/v1/collect", post(collect)).route(
        "/v1/batch",
        post(|State(collector): Shared, request: Request| async move { collector.segment(Form::Batch, request).await }),
    );
    for call in Call::ALL {
        let handler = move |State(collector): Shared, request: Request| async move { collector.segment(Form::Call(call), request).await };
        router = router.route(&format!("/v1/{}", call.name()), post(handler));
    }
    router
        .route("/v1/collect.js", get(snippet::serve))
        .fallback(async || Problem::not_found("the collector serves /v1/collect, the calls of the Segment specification under /v1, and /v1/collect.js"))
        .method_not_allowed_fallback(async |method: Method| {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not served here",
                format!("events are sent by POST, not by {method}"),
            )
        })
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&collector), pass))
        .with_state(collector)
}

/// Origins, preflight requests, and the count of answers.
async fn pass(State(collector): Shared, request: Request, next: Next) -> Response {
    let (origin, host) = (request.headers().get(header::ORIGIN).cloned(), request.headers().get(header::HOST).cloned());
    let allowed = cors::allowed(origin.as_ref(), host.as_ref(), &collector.origins);
    let mut response = match allowed {
        Err(problem) => problem.into_response(),
        Ok(()) => {
            let mut response = match *request.method() {
                Method::OPTIONS => cors::preflight(request.headers()),
                _ => next.run(request).await,
            };
            if let Some(origin) = origin {
                cors::admit(&mut response, origin);
            }
            response
        }
    };
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    collector.metrics.add(Counter::CollectorRequests, &[response.status().as_str()], 1);
    response
}

async fn collect(State(collector): Shared, request: Request) -> Result<Response, Problem> {
    let kind = essence(request.headers());
    let form = if kind.starts_with("application/cloudevents-batch") {
        Some(Form::CloudEvents)
    } else if kind.starts_with("application/cloudevents") {
        Some(Form::CloudEvent)
    } else if request.headers().contains_key("ce-specversion") {
        None
    } else {
        takes(&kind, &["application/json", "application/x-ndjson", "application/jsonl"])?;
        Some(Form::Activities)
    };
    if kind.starts_with("application/cloudevents") && !kind.ends_with("+json") {
        takes(&kind, &["application/cloudevents+json", "application/cloudevents-batch+json"])?;
    }
    collector.open(form, request).await
}

impl Collector {
    async fn segment(&self, form: Form, request: Request) -> Result<Response, Problem> {
        // Beacons of browsers send text.
        takes(&essence(request.headers()), &["application/json", "text/plain"])?;
        let (parts, body) = request.into_parts();
        let key = in_head(&parts.headers).map(|secret| self.known(&secret)).transpose()?;
        let (body, held) = self.body(&parts.headers, body).await?;
        let key = match key {
            Some(key) => key,
            None => body::key_in(&body)
                .as_deref()
                .map(|secret| self.known(secret))
                .transpose()?
                .ok_or_else(no_key)?,
        };
        let arrival = self.arrival()?;
        let events = body::events(form, &body, &key.source, &arrival).map_err(unusable)?;
        self.take(events, &key, &arrival, form == Form::Batch, held).await
    }

    /// Activities and CloudEvents; `None`: a CloudEvent whose attributes are in the head.
    async fn open(&self, form: Option<Form>, request: Request) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let key = self.known(&in_head(&parts.headers).ok_or_else(no_key)?)?;
        if key.public {
            let detail = "the write key is public; with it only the calls of the Segment specification are taken: /v1/track, /v1/batch and the others";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "The write key does not allow it", detail));
        }
        let (body, held) = self.body(&parts.headers, body).await?;
        let arrival = self.arrival()?;
        let events = match form {
            Some(form) => body::events(form, &body, &key.source, &arrival),
            None => {
                let attributes = parts
                    .headers
                    .iter()
                    .filter_map(|(name, text)| Some((name.as_str().strip_prefix("ce-")?, text.to_str().ok()?)));
                let attributes: Vec<_> = attributes.collect();
                let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                body::binary(&attributes, kind, &body, &key.source, &arrival)
            }
        };
        let several = matches!(form, Some(Form::Activities | Form::CloudEvents));
        self.take(events.map_err(unusable)?, &key, &arrival, several, held).await
    }

    fn known(&self, secret: &str) -> Result<Arc<WriteKey>, Problem> {
        self.keys.find(secret).ok_or_else(no_key)
    }

    fn arrival(&self) -> Result<Arrival, Problem> {
        let at = (self.now)();
        let random = getrandom::u64().map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failure", "The server failed", error.to_string()))?;
        Ok(Arrival {
            at,
            nonce: body::nonce(at, random),
        })
    }

    /// Judges the events and answers once all of their records are durable.
    async fn take(&self, events: Vec<Sent>, key: &WriteKey, arrival: &Arrival, several: bool, held: Held) -> Result<Response, Problem> {
        let (mut records, mut accepted, mut refused, mut errors) = (Vec::new(), 0_u64, 0_u64, Vec::new());
        for (index, event) in events.into_iter().enumerate() {
            let id = event.id.clone();
            match self.judge.verdict(event, &key.source.name, arrival.at) {
                Verdict::Accepted(own) => {
                    accepted += 1;
                    records.extend(own);
                }
                Verdict::Refused(letter, rejection) => {
                    refused += 1;
                    records.push(letter);
                    if errors.len() < ERRORS_MAX {
                        errors.push(json!({"index": index, "messageId": id, "reason": format!("{}: {}", rejection.reason, rejection.detail)}));
                    }
                }
            }
        }
        self.gauge();
        let appended = self.intake.append(records).await;
        drop(held);
        self.gauge();
        appended.map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now; send it again", why))?;
        self.metrics.add(Counter::CollectorEvents, &[&key.source.name, "accepted"], accepted);
        self.metrics.add(Counter::CollectorEvents, &[&key.source.name, "refused"], refused);
        answer(accepted, refused, errors, several)
    }

    fn gauge(&self) {
        let free = self.held.available_permits();
        self.metrics.set(Gauge::CollectorHeld, &[], (HELD_BYTES_MAX - free * BLOCK_BYTES) as f64);
    }

    /// The whole body, unpacked, and its share of the memory for all bodies.
    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, Held), Problem> {
        let length: Option<usize> = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length| length > BODY_BYTES_MAX) {
            return Err(unusable(body::body_too_large()));
        }
        let arrived = tokio::time::timeout(BODY_WITHIN, self.arrive(body)).await;
        let (body, mut held) = arrived.map_err(|_| {
            let detail = format!("a body is sent within {} s", BODY_WITHIN.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The body did not arrive in time", detail)
        })??;
        match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok((body, held)),
            Some(b"gzip") => {
                let plain = body::unzip(&body).map_err(unusable)?;
                self.hold(&mut held, plain.len())?;
                Ok((plain.into(), held))
            }
            Some(_) => Err(unsupported("a body comes plain or with `content-encoding: gzip`")),
        }
    }

    async fn arrive(&self, mut body: Body) -> Result<(Bytes, Held), Problem> {
        let (mut read, mut held) = (Vec::new(), Held::default());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::bad_request(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > BODY_BYTES_MAX {
                return Err(unusable(body::body_too_large()));
            }
            self.hold(&mut held, read.len() + data.len())?;
            read.extend_from_slice(&data);
        }
        Ok((read.into(), held))
    }

    /// Holds at least this many bytes of the memory for bodies.
    fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Problem> {
        let blocks = bytes.div_ceil(BLOCK_BYTES);
        let more = u32::try_from(blocks.saturating_sub(held.blocks)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.held).try_acquire_many_owned(more).map_err(|_| {
            let detail = format!("bodies of {} MiB wait for the log at this moment; send it again later", HELD_BYTES_MAX >> 20);
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", "More is sent than the log takes", detail)
        })?;
        held.blocks = held.blocks.max(blocks);
        held.permits.push(permit);
        Ok(())
    }
}

/// A request's share of the memory for bodies.
#[derive(Default)]
struct Held {
    blocks: usize,
    permits: Vec<OwnedSemaphorePermit>,
}

fn answer(accepted: u64, refused: u64, errors: Vec<Value>, several: bool) -> Result<Response, Problem> {
    if !several && accepted == 0 {
        let reason = errors.first().and_then(|error| error["reason"].as_str()).unwrap_or_default().to_owned();
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "refused-event",
            "The event cannot be used; it is a dead letter",
            reason,
        ));
    }
    let mut said = json!({"success": true, "accepted": accepted});
    if refused > 0 {
        said["refused"] = json!(refused);
        said["errors"] = Value::Array(errors);
    }
    Ok(Json(said).into_response())
}

fn essence(headers: &HeaderMap) -> String {
    let said = headers
        .get(header::CONTENT_TYPE)
        .map(|kind| String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase());
    said.as_deref()
        .map(|kind| kind.split(';').next().unwrap_or_default().trim().to_owned())
        .unwrap_or_default()
}

/// That a type is one of these, or absent.
fn takes(kind: &str, types: &[&str]) -> Result<(), Problem> {
    if kind.is_empty() || types.contains(&kind) {
        return Ok(());
    }
    Err(unsupported(&format!("a body is not taken as `{kind}`; taken are {}", types.join(", "))))
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "The body is of a type that is not taken here",
        detail,
    )
}

fn no_key() -> Problem {
    let detail =
        "send a write key: as user name of Basic authentication, as a bearer token, or, with the calls of the Segment specification, as `writeKey` of the body";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "The write key is missing or wrong", detail)
}

fn unusable(why: Unusable) -> Problem {
    match why {
        Unusable::TooLarge(detail) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is larger than is taken at once", detail),
        Unusable::Malformed(detail) => Problem::bad_request(detail),
    }
}
