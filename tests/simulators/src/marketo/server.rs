//! Bytes in, bytes out: one handler takes every request, passes the gate, and answers in Marketo's
//! envelope.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_log::random::Random;
use millrace_model::Timestamp;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::gate::{Faults, Gate, Limits, Stop};
use super::world::{Settings, World};
use super::{bulk, calls, lists, objects};
use crate::serve::{Task, dropped};

/// Marketo accepts requests of one megabyte.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Marketo accepts addresses of eight kilobytes.
const URI_BYTES_MAX: usize = 8 << 10;

/// A running instance; stops when dropped. Clones share it.
#[derive(Clone)]
pub struct Marketo {
    shared: Arc<Shared>,
    pub address: SocketAddr,
    _task: Arc<Task>,
}

struct Shared {
    state: Mutex<Instance>,
    /// Milliseconds that tests have moved the clock on.
    moved_ms: Mutex<i64>,
}

struct Instance {
    world: World,
    gate: Gate,
    random: Random,
}

/// A request as the calls see it: path without `.json`, parameters of query and form together, the
/// body as JSON.
pub struct Call {
    pub get: bool,
    pub delete: bool,
    pub path: Vec<String>,
    pub parameters: Vec<(String, String)>,
    pub body: Value,
    pub range: Option<String>,
}

impl Call {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Values of a parameter that may be repeated or hold a list with commas.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self
            .parameters
            .iter()
            .filter(|(known, _)| known == name || known.trim_end_matches("[]") == name);
        values
            .flat_map(|(_, value)| value.split(','))
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
            .collect()
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.parameter(name).and_then(|value| value.parse().ok())
    }
}

/// The answer to a call.
pub enum Answer {
    /// Members of the envelope in addition to `requestId` and `success`.
    Done(Map<String, Value>),
    Refused(&'static str, String),
    File(StatusCode, Vec<u8>),
    NotFound,
}

impl Answer {
    pub fn result(result: impl Into<Value>) -> Answer {
        Answer::with([("result", result.into())])
    }

    pub fn with<const N: usize>(members: [(&str, Value); N]) -> Answer {
        Answer::Done(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub fn refused(code: &'static str, message: impl Into<String>) -> Answer {
        Answer::Refused(code, message.into())
    }
}

impl Marketo {
    /// Listens on `address`, such as `127.0.0.1:0`. `seed` decides ids, tokens and faults.
    ///
    /// # Errors
    /// Where the address is taken.
    pub async fn start(address: SocketAddr, settings: Settings, seed: u64) -> std::io::Result<Marketo> {
        let mut random = Random::new(seed);
        let instance = Instance {
            world: World::new(settings, random.next_u64(), wall_clock()),
            gate: Gate::default(),
            random,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(instance),
            moved_ms: Mutex::new(0),
        });
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // Ends with the task; an error of the listener ends it too, and callers see no answer.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Marketo {
            shared,
            address,
            _task: Arc::new(Task(task)),
        })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Reads or changes the contents of the instance, at the present instant.
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

    /// Ends the access token in force.
    pub fn revoke_token(&self) {
        let now = self.shared.now();
        self.shared.state().gate.revoke(now);
    }

    /// Moves the instance's clock on.
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
    fn state(&self) -> MutexGuard<'_, Instance> {
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
    let call = read_call(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), &parts.headers, &body);
    if call.path == ["identity", "oauth", "token"] {
        return token(&shared, &call);
    }
    let slow = {
        let mut state = shared.state();
        state.gate.in_flight += 1;
        let Instance { gate, random, .. } = &mut *state;
        // Every call takes a moment, so that simultaneous calls are seen as such.
        1 + if random.chance(gate.faults.slow) { gate.faults.slow_ms } else { 0 }
    };
    let flight = InFlight(Arc::clone(&shared));
    tokio::time::sleep(Duration::from_millis(slow)).await;
    let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let answer = answer(&shared, bearer.and_then(|value| value.strip_prefix("Bearer ")), &call);
    drop(flight);
    answer
}

/// A call in progress, also after its client hangs up.
struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state().gate.in_flight -= 1;
    }
}

fn answer(shared: &Shared, bearer: Option<&str>, call: &Call) -> Response {
    let now = shared.now();
    let mut state = shared.state();
    let Instance { world, gate, random } = &mut *state;
    world.now = now;
    let request_id = format!("{:04x}#{:012x}", random.next_u64() & 0xffff, random.next_u64() >> 16);
    match gate.admit(bearer, random, now) {
        Ok(()) => {}
        Err(Stop::Code(code, message)) => return refused(&request_id, code, message),
        Err(Stop::BadGateway) => return StatusCode::BAD_GATEWAY.into_response(),
    }
    let drop_before = random.chance(gate.faults.dropped / 2);
    if drop_before {
        return dropped();
    }
    let name: Vec<&str> = call
        .path
        .iter()
        .map(String::as_str)
        .filter(|part| part.parse::<u64>().is_err() && part.len() < 30)
        .collect();
    *gate.calls.entry(name.join("/")).or_default() += 1;
    let answer = route(world, gate, call);
    if random.chance(gate.faults.dropped / 2) {
        return dropped();
    }
    match answer {
        Answer::Done(mut members) => {
            members.insert("requestId".to_owned(), json!(request_id));
            members.insert("success".to_owned(), json!(true));
            axum::Json(Value::Object(members)).into_response()
        }
        Answer::Refused(code, message) => {
            *gate.errors.entry(code.to_owned()).or_default() += 1;
            refused(&request_id, code, &message)
        }
        Answer::File(status, bytes) => (status, [(header::CONTENT_TYPE, "text/csv")], bytes).into_response(),
        Answer::NotFound => StatusCode::NOT_FOUND.into_response(),
    }
}

fn refused(request_id: &str, code: &str, message: &str) -> Response {
    let errors = json!([{"code": code, "message": message}]);
    axum::Json(json!({"requestId": request_id, "success": false, "errors": errors})).into_response()
}

fn token(shared: &Shared, call: &Call) -> Response {
    let now = shared.now();
    let mut state = shared.state();
    let Instance { world, gate, random } = &mut *state;
    let known = call.parameter("client_id") == Some(&world.settings.client_id) && call.parameter("client_secret") == Some(&world.settings.client_secret);
    if !known {
        let body = json!({"error": "unauthorized", "error_description": "No client with requested id"});
        return (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
    }
    let (token, seconds) = gate.token(random, now);
    axum::Json(json!({"access_token": token, "token_type": "bearer", "expires_in": seconds, "scope": "api-user@example.com"})).into_response()
}

fn read_call(method: &axum::http::Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Call {
    let mut parameters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if form {
        parameters.extend(url::form_urlencoded::parse(body).into_owned());
    }
    let mut get = method == "GET";
    // In the query or in the form: a read whose parameters are too long for an address.
    if let Some(at) = parameters.iter().position(|(name, value)| name == "_method" && value == "GET") {
        parameters.remove(at);
        get = true;
    }
    let path = path.trim_matches('/').trim_end_matches(".json");
    Call {
        get,
        delete: method == "DELETE",
        path: path.split('/').map(str::to_owned).collect(),
        parameters,
        body: serde_json::from_slice(body).unwrap_or_default(),
        range: headers.get(header::RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned),
    }
}

fn route(world: &mut World, gate: &Gate, call: &Call) -> Answer {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["rest", "v1", rest @ ..] => match rest {
            ["leads", "describe" | "describe2"] => calls::describe(world, rest[1] == "describe2"),
            ["lead", id] => calls::lead(world, call, id),
            ["leads"] if call.get => calls::leads(world, call),
            ["leads"] if call.delete => calls::delete_leads(world, call),
            ["leads"] => calls::sync_leads(world, call),
            ["leads", "delete"] => calls::delete_leads(world, call),
            ["leads", id, "merge"] => calls::merge(world, call, id),
            ["leads", id, "listMembership"] => lists::of_lead(world, id),
            ["activities", "pagingtoken"] => calls::paging_token(world, call),
            ["activities", "types"] => calls::types(),
            ["activities"] => calls::activities(world, gate, call),
            ["activities", "leadchanges"] => calls::lead_changes(world, gate, call),
            ["activities", "deletedleads"] => calls::deleted_leads(world, gate, call),
            ["activities", "external"] => calls::add_activities(world, call),
            ["stats", "usage"] => calls::usage(world, gate),
            ["stats", "errors"] => calls::errors(world, gate),
            ["lists"] | ["lists", _] => lists::lists(world, call, rest.get(1).copied()),
            ["lists" | "list", id, "leads"] => lists::members(world, call, id),
            ["lists", id, "leads", "ismember"] => lists::is_member(world, call, id),
            ["programs", id, "members"] => lists::program_members(world, call, id),
            ["companies", rest @ ..] => objects::companies(world, call, rest),
            ["opportunities", "roles", rest @ ..] => objects::objects(world, call, &objects::ROLES, rest),
            ["opportunities", rest @ ..] => objects::objects(world, call, &objects::OPPORTUNITIES, rest),
            ["namedaccounts", rest @ ..] => objects::objects(world, call, &objects::NAMED_ACCOUNTS, rest),
            _ => unknown(call),
        },
        ["rest", "asset", "v1", rest @ ..] => match rest {
            ["staticLists"] | ["staticList", _] => lists::static_lists(world, call, rest.get(1).copied()),
            ["programs"] => lists::programs(world, call),
            _ => unknown(call),
        },
        ["bulk", "v1", "program", "members", rest @ ..] => bulk::call(world, call, "program/members", rest),
        ["bulk", "v1", "leads", rest @ ..] => bulk::call(world, call, "leads", rest),
        ["bulk", "v1", "activities", rest @ ..] => bulk::call(world, call, "activities", rest),
        _ => unknown(call),
    }
}

fn unknown(call: &Call) -> Answer {
    Answer::refused("610", format!("Requested resource '/{}' not found", call.path.join("/")))
}
