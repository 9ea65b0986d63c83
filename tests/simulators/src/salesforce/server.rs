//! Bytes in, bytes out: one handler takes every request, passes the gate, and answers as Salesforce
//! does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_log::random::Random;
use millrace_model::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::gate::{Faults, Gate, Limits, Stop};
use super::jobs::Jobs;
use super::oauth;
use super::rest::{self, Pages};
use super::world::{Settings, World};
use crate::serve::{Task, dropped};

/// More than any call of a connector sends.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Salesforce accepts addresses of sixteen kilobytes.
const URI_BYTES_MAX: usize = 16 << 10;

/// A running org; stops when dropped. Clones share it.
#[derive(Clone)]
pub struct Salesforce {
    shared: Arc<Shared>,
    pub address: SocketAddr,
    _task: Arc<Task>,
}

struct Shared {
    state: Mutex<Org>,
    /// Milliseconds that tests have moved the clock on.
    moved_ms: Mutex<i64>,
    url: String,
}

struct Org {
    world: World,
    gate: Gate,
    pages: Pages,
    jobs: Jobs,
    random: Random,
}

/// The answer to a call.
pub enum Answer {
    Json(StatusCode, Value),
    Csv { locator: String, rows: usize, body: String },
    Refused(StatusCode, &'static str, String),
}

impl Answer {
    pub fn refused(status: u16, code: &'static str, message: impl Into<String>) -> Answer {
        Answer::Refused(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), code, message.into())
    }
}

/// A request as the calls see it.
struct Call {
    method: String,
    /// After `/services/data/`.
    path: Vec<String>,
    parameters: Vec<(String, String)>,
    body: Value,
}

impl Call {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Salesforce {
    /// Listens on `address`, such as `127.0.0.1:0`. `seed` decides ids, tokens and faults.
    ///
    /// # Errors
    /// Where the address is taken.
    pub async fn start(address: SocketAddr, settings: Settings, seed: u64) -> std::io::Result<Salesforce> {
        let mut random = Random::new(seed);
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(Org {
                world: World::new(settings, random.next_u64(), wall_clock()),
                gate: Gate::default(),
                pages: Pages::default(),
                jobs: Jobs::default(),
                random,
            }),
            moved_ms: Mutex::new(0),
            url: format!("http://{address}"),
        });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // Ends with the task; an error of the listener ends it too, and callers see no answer.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Salesforce {
            shared,
            address,
            _task: Arc::new(Task(task)),
        })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// Reads or changes the contents of the org, at the present instant.
    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let now = self.shared.now();
        let mut state = self.shared.state();
        state.world.now = now;
        act(&mut state.world)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().gate.faults = faults;
    }

    pub fn set_limits(&self, limits: Limits) {
        self.shared.state().gate.limits = limits;
    }

    /// Ends all sessions.
    pub fn revoke_sessions(&self) {
        self.shared.state().gate.revoke();
    }

    /// Moves the org's clock on.
    pub fn advance(&self, by: Duration) {
        *self.shared.moved_ms.lock().unwrap_or_else(PoisonError::into_inner) += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    }

    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Calls executed so far, by path without ids.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.shared.state().gate.calls.clone()
    }

    /// Calls refused so far, by code.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.shared.state().gate.errors.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Org> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        wall_clock().plus_ms(*self.moved_ms.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if request.uri().to_string().len() > URI_BYTES_MAX {
        return StatusCode::URI_TOO_LONG.into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let query = parts.uri.query().unwrap_or_default();
    let mut answer = if parts.uri.path() == "/services/oauth2/token" {
        token(&shared, &parts.headers, &body)
    } else {
        let call = Call {
            method: parts.method.to_string(),
            path: parts.uri.path().trim_matches('/').split('/').skip(2).map(str::to_owned).collect(),
            parameters: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let slow = {
            let mut state = shared.state();
            let Org { gate, random, .. } = &mut *state;
            if random.chance(gate.faults.slow) { gate.faults.slow_ms } else { 0 }
        };
        tokio::time::sleep(Duration::from_millis(slow)).await;
        answer(&shared, authorization(&parts.headers, "Bearer "), &call)
    };
    // The org's own clock.
    let seconds = u64::try_from(shared.now().0 / 1_000).unwrap_or_default();
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    if let Ok(date) = HeaderValue::from_str(&date) {
        answer.headers_mut().insert(header::DATE, date);
    }
    answer
}

fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix(scheme))
}

fn token(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Response {
    let now = shared.now();
    let mut state = shared.state();
    let Org { world, gate, random, .. } = &mut *state;
    world.now = now;
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let (status, answer) = oauth::token(world, gate, random, &shared.url, &form, authorization(headers, "Basic "));
    (status, axum::Json(answer)).into_response()
}

fn answer(shared: &Shared, bearer: Option<&str>, call: &Call) -> Response {
    let now = shared.now();
    let mut state = shared.state();
    let org = &mut *state;
    org.world.now = now;
    match org.gate.admit(bearer, &mut org.random, now) {
        Ok(()) => {}
        Err(Stop::Code(status, code, message)) => return refused(StatusCode::from_u16(status).unwrap_or_default(), code, message),
        Err(Stop::Maintenance) => {
            let page = axum::response::Html("<html><body>Salesforce is down for maintenance</body></html>");
            return (StatusCode::SERVICE_UNAVAILABLE, page).into_response();
        }
    }
    if org.random.chance(org.gate.faults.dropped / 2) {
        return dropped();
    }
    *org.gate.calls.entry(named(call)).or_default() += 1;
    let answer = route(org, call);
    if org.random.chance(org.gate.faults.dropped / 2) {
        return dropped();
    }
    let mut response = match answer {
        Answer::Json(status, Value::Null) => status.into_response(),
        Answer::Json(status, body) => (status, axum::Json(body)).into_response(),
        Answer::Csv { locator, rows, body } => {
            let headers = [
                ("content-type", "text/csv".to_owned()),
                ("sforce-locator", locator),
                ("sforce-numberofrecords", rows.to_string()),
            ];
            (headers, body).into_response()
        }
        Answer::Refused(status, code, message) => {
            *org.gate.errors.entry(code.to_owned()).or_default() += 1;
            refused(status, code, &message)
        }
    };
    let usage = format!("api-usage={}/{}", org.gate.spent(now), org.gate.limits.day_calls);
    if let Ok(usage) = HeaderValue::from_str(&usage) {
        response.headers_mut().insert("sforce-limit-info", usage);
    }
    response
}

/// The call without its ids and its version.
fn named(call: &Call) -> String {
    let id = |part: &&str| part.len() >= 15 && part.bytes().any(|sign| sign.is_ascii_digit());
    let parts: Vec<&str> = call.path.iter().skip(1).map(String::as_str).filter(|part| !id(part)).collect();
    parts.join("/")
}

fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    (status, axum::Json(json!([{"message": message, "errorCode": code}]))).into_response()
}

fn route(org: &mut Org, call: &Call) -> Answer {
    let Org { world, gate, pages, jobs, .. } = org;
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let Some((version, path)) = path.split_first().filter(|(version, _)| version.starts_with('v')) else {
        return rest::not_found();
    };
    match (call.method.as_str(), path) {
        ("GET", ["query" | "queryAll"]) => {
            let Some(text) = call.parameter("q") else {
                return Answer::refused(400, "MALFORMED_QUERY", "no query");
            };
            rest::query(world, gate, pages, version, text, path[0] == "queryAll")
        }
        ("GET", ["query" | "queryAll", locator]) => rest::more(world, gate, pages, version, locator),
        ("GET", ["sobjects"]) => rest::objects(world),
        ("GET", ["sobjects", object, "describe"]) => rest::describe(world, object),
        ("GET", ["sobjects", object, "deleted"]) => rest::deleted(world, object, call.parameter("start"), call.parameter("end")),
        ("GET", ["sobjects", object, id]) => rest::record(world, version, object, id),
        ("GET", ["limits"]) => rest::limits(world, gate),
        ("POST", ["jobs", "query"]) => jobs.create(world, gate, &call.body),
        ("GET", ["jobs", "query", id]) => jobs.status(world, id),
        ("PATCH", ["jobs", "query", id]) => jobs.abort(world, id),
        ("DELETE", ["jobs", "query", id]) => jobs.delete(id),
        ("GET", ["jobs", "query", id, "results"]) => {
            let rows = call.parameter("maxRecords").and_then(|text| text.parse().ok());
            jobs.results(world, gate, id, call.parameter("locator"), rows)
        }
        _ => rest::not_found(),
    }
}
