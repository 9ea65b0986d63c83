//! Bytes in, bytes out: one handler takes every request, passes the gate, and answers as LinkedIn
//! does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_log::random::Random;
use millrace_model::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::gate::{Faults, Gate, Headers, Limits, Stop};
use super::members::{self, Turn};
use super::segments;
use super::world::{Settings, World};
use crate::serve::{Task, dropped};

/// No call has a larger body, whatever the limit of the account.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Returns the present instant.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A running account; stops when dropped. Clones share it.
#[derive(Clone)]
pub struct LinkedIn {
    shared: Arc<Shared>,
    pub address: SocketAddr,
    _task: Arc<Task>,
}

struct Shared {
    state: Mutex<Account>,
    clock: Clock,
}

struct Account {
    world: World,
    gate: Gate,
    random: Random,
    history: Vec<Request>,
    /// Calls in progress by path.
    in_flight: BTreeMap<String, u64>,
}

/// A call that was answered, or whose answer was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub at: Timestamp,
    /// Such as `POST dmpSegments/10804/users`.
    pub call: String,
    pub elements: usize,
    /// 0: the connection ended.
    pub status: u16,
    pub took_ms: u64,
}

/// A request as the calls see it.
pub struct Call {
    /// `GET`, `POST`, `DELETE`, whatever carried it.
    pub verb: String,
    /// The Rest.li method in capitals.
    pub method: Option<String>,
    pub path: Vec<String>,
    pub parameters: Vec<(String, String)>,
    pub body: Value,
    pub bytes: usize,
}

impl Call {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn name(&self) -> String {
        format!("{} {}", self.verb, self.path.get(1..).unwrap_or_default().join("/"))
    }
}

/// A success.
pub enum Answer {
    Body(Value),
    /// 201, empty; the id is in a header.
    Created(u64),
    /// 204.
    Empty,
    Status(u16, Value),
}

impl LinkedIn {
    /// Listens on `address`, such as `127.0.0.1:0`. `seed` decides ids, tokens and faults.
    ///
    /// # Errors
    /// Where the address is taken.
    pub async fn start(address: SocketAddr, settings: Settings, seed: u64, clock: Clock) -> std::io::Result<LinkedIn> {
        let mut random = Random::new(seed);
        let account = Account {
            world: World::new(settings, random.next_u64(), clock()),
            gate: Gate::default(),
            random,
            history: Vec::new(),
            in_flight: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(account),
            clock,
        });
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // Ends with the task; an error of the listener ends it too, and callers see no answer.
            let _ = axum::serve(listener, router).await;
        });
        Ok(LinkedIn {
            shared,
            address,
            _task: Arc::new(Task(task)),
        })
    }

    /// `http://host:port`, of the interface and of the OAuth service.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Reads or changes the content of the account, at the present instant.
    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut state = self.shared.state();
        state.world.pass((self.shared.clock)());
        act(&mut state.world)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().gate.faults = faults;
    }

    pub fn set_limits(&self, limits: Limits) {
        self.shared.state().gate.limits = limits;
    }

    /// What a member who consents sends back to the app: a code to be exchanged once.
    pub fn code(&self) -> String {
        let Account { gate, random, .. } = &mut *self.shared.state();
        gate.tokens.code(random)
    }

    /// A consent given now: its access token and its refresh token.
    pub fn consent(&self) -> (String, String) {
        let now = (self.shared.clock)();
        let Account { gate, random, .. } = &mut *self.shared.state();
        gate.tokens.consent(random, now)
    }

    /// Ends all access tokens; refresh tokens stay.
    pub fn end_tokens(&self) {
        let now = (self.shared.clock)();
        self.shared.state().gate.tokens.end(now);
    }

    /// The member withdraws the consent.
    pub fn withdraw(&self) {
        self.shared.state().gate.tokens.withdraw();
    }

    /// Access tokens granted over the interface.
    pub fn granted(&self) -> u64 {
        self.shared.state().gate.tokens.granted
    }

    /// Every call so far, without those of the OAuth service.
    pub fn history(&self) -> Vec<Request> {
        self.shared.state().history.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Account> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let call = read_call(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), &parts.headers, &body);
    if call.path.first().is_some_and(|first| first == "oauth") {
        return oauth(&shared, &call);
    }
    let (name, began) = (call.name(), Instant::now());
    let slow = {
        let mut state = shared.state();
        *state.in_flight.entry(name.clone()).or_default() += 1;
        let Account { gate, random, .. } = &mut *state;
        if random.chance(gate.faults.slow) { gate.faults.slow_ms } else { 0 }
    };
    let flight = InFlight(Arc::clone(&shared), name.clone());
    tokio::time::sleep(Duration::from_millis(slow)).await;
    let (status, response) = answer(&shared, &parts.headers, &call);
    drop(flight);
    let request = Request {
        at: (shared.clock)(),
        call: name,
        elements: call.body["elements"].as_array().map_or(0, Vec::len),
        status,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    shared.state().history.push(request);
    response
}

/// A call in progress, also after its client hangs up.
struct InFlight(Arc<Shared>, String);

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(count) = self.0.state().in_flight.get_mut(&self.1) {
            *count -= 1;
        }
    }
}

fn answer(shared: &Shared, headers: &HeaderMap, call: &Call) -> (u16, Response) {
    let now = (shared.clock)();
    let mut state = shared.state();
    let alone = state.in_flight.get(&call.name()).is_none_or(|count| *count <= 1);
    let Account { world, gate, random, .. } = &mut *state;
    world.pass(now);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let sent = Headers {
        bearer: text("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned)),
        version: text("linkedin-version"),
        protocol: text("x-restli-protocol-version"),
    };
    let members = call.verb == "POST" && call.path.last().is_some_and(|last| last == "users" || last == "companies");
    let lost = random.chance(gate.faults.dropped / 2);
    if lost {
        return (0, dropped());
    }
    let done = gate.admit(&sent, members, &world.settings, random, now);
    let done = done.and_then(|()| {
        if call.bytes > gate.limits.body_bytes {
            return Err(Stop::new(413, "REQUEST_ENTITY_TOO_LARGE", "Request entity too large"));
        }
        route(world, gate, random, alone, call)
    });
    if random.chance(gate.faults.dropped / 2) {
        return (0, dropped());
    }
    match done {
        Ok(Answer::Body(body)) => (200, axum::Json(body).into_response()),
        Ok(Answer::Created(id)) => (201, (StatusCode::CREATED, [("x-restli-id", id.to_string())]).into_response()),
        Ok(Answer::Empty) => (204, StatusCode::NO_CONTENT.into_response()),
        Ok(Answer::Status(status, Value::Null)) => (status, code(status).into_response()),
        Ok(Answer::Status(status, body)) => (status, (code(status), axum::Json(body)).into_response()),
        Err(stop) => (stop.status, stopped(&stop, world.settings.retry_after)),
    }
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn stopped(stop: &Stop, retry_after: bool) -> Response {
    let body = json!({"status": stop.status, "code": stop.code, "serviceErrorCode": 100, "message": stop.message});
    let mut response = (code(stop.status), axum::Json(body)).into_response();
    if stop.status == 429 && retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("17"));
    }
    response
}

fn oauth(shared: &Shared, call: &Call) -> Response {
    let now = (shared.clock)();
    let Account { world, gate, random, .. } = &mut *shared.state();
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let (status, body) = match path.as_slice() {
        ["oauth", "v2", "accessToken"] => gate.tokens.grant(&call.parameters, &world.settings, random, now),
        ["oauth", "v2", "introspectToken"] => gate.tokens.introspect(&call.parameters, &world.settings, now),
        _ => (404, json!({"error": "not_found"})),
    };
    (code(status), axum::Json(body)).into_response()
}

fn read_call(method: &axum::http::Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Call {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut parameters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        parameters.extend(url::form_urlencoded::parse(body).into_owned());
    }
    // A query that is too long for an address travels in the body, under another method.
    let verb = header("x-http-method-override").unwrap_or(method.as_str()).to_ascii_uppercase();
    Call {
        verb,
        method: header("x-restli-method").map(str::to_ascii_uppercase),
        path: path.trim_matches('/').split('/').map(str::to_owned).collect(),
        parameters,
        body: serde_json::from_slice(body).unwrap_or_default(),
        bytes: body.len(),
    }
}

fn route(world: &mut World, gate: &Gate, random: &mut Random, alone: bool, call: &Call) -> Result<Answer, Stop> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match (call.verb.as_str(), path.as_slice()) {
        ("GET", ["rest", "dmpSegments"]) => segments::find(world, call),
        ("POST", ["rest", "dmpSegments"]) => segments::create(world, call, gate.limits.segments),
        ("GET", ["rest", "dmpSegments", id]) => segments::one(world, id),
        ("POST", ["rest", "dmpSegments", id]) if call.method.as_deref() == Some("PARTIAL_UPDATE") => segments::update(world, call, id),
        ("DELETE", ["rest", "dmpSegments", id]) => segments::delete(world, id),
        ("GET", ["rest", "dmpSegments", id, "destinations", name]) => segments::destination_of(world, id, name),
        ("POST", ["rest", "dmpSegments", id, kind @ ("users" | "companies")]) => {
            let mut turn = Turn {
                limits: gate.limits,
                faults: gate.faults,
                random,
                alone,
            };
            members::write(world, call, id, *kind == "companies", &mut turn)
        }
        _ => Err(Stop::new(404, "RESOURCE_NOT_FOUND", format!("No virtual resource found: {}", call.name()))),
    }
}
