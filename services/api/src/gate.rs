//! The gate that every request passes before its handler: target, origin, client and body.
//!
//! ```text
//! Host, Origin, proxies ─▶ authentication ─▶ role ─▶ parameters ─▶ content type ─▶ body, within its bounds ─▶ handler ─▶ masking
//! ```
//!
//! Without authentication the port listens on the loopback address only (`Config` ensures it), and
//! these rules keep web pages out: a page of another origin sends `Origin`; one that rebinds its
//! DNS name sends that name as `Host`; and a request that a proxy forwards is not from this
//! machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{ConnectInfo, MatchedPath, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use crate::access::{Body, ROUTES, Role, Route};
use crate::auth::{Auth, Principal};
use crate::limits::{BODIES_BYTES_MAX, BODY_WITHIN, URI_BYTES_MAX, body_bytes_max};
use crate::mask;
use crate::problem::Problem;

/// Headers that only a proxy sends.
const PROXIED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// The path of reads between instances; a token of its own guards it.
const INTERNAL: &str = "/internal/";

/// The requirements for a request.
pub struct Policy {
    /// Names allowed in `Host` besides addresses and `localhost`; lower case, without port. Where
    /// authentication is configured, none means any.
    pub hosts: Vec<String>,
    /// Origins whose pages may call the API besides the server's own, such as
    /// `https://cdp.example.com`.
    pub origins: Vec<String>,
    /// `None`: anyone who reaches the port may do everything.
    pub auth: Option<Arc<Auth>>,
    /// Whether instances authenticate with a token under `/internal`: then they may call from other
    /// machines.
    pub internal_token: bool,
}

pub(crate) struct Gate {
    policy: Policy,
    /// Kibibytes of bodies in memory.
    bodies: Semaphore,
}

impl Gate {
    pub fn new(policy: Policy) -> Arc<Gate> {
        Arc::new(Gate {
            policy,
            bodies: Semaphore::new(BODIES_BYTES_MAX >> 10),
        })
    }
}

/// The middleware.
pub(crate) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.admit(request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

impl Gate {
    async fn admit(&self, request: Request, next: Next) -> Result<Response, Problem> {
        self.comes_in_person(&request)?;
        let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let Some(path) = matched else {
            // The router's own 404.
            return Ok(next.run(request).await);
        };
        let Some(route) = Route::of(request.method(), &path) else {
            return Ok(no_such_method(request.method(), request.uri(), &path));
        };
        let principal = match &self.policy.auth {
            // Their own token guards the rows of instances.
            _ if path.starts_with(INTERNAL) => Principal::anybody(),
            None => Principal::anybody(),
            Some(auth) => admitted(route, auth.principal(request.headers())?)?,
        };
        // Routes open to everybody hold nothing personal.
        let masked = principal.role == Some(Role::Viewer) && !route.roles.is_empty();
        let (mut parts, body) = request.into_parts();
        takes_parameters(route, &parts.uri)?;
        has_right_type(route, &parts.headers)?;
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let (body, held) = self.read(route, length, body).await?;
        parts.extensions.insert(principal);
        let response = next.run(Request::from_parts(parts, HttpBody::from(body))).await;
        drop(held);
        Ok(if masked { mask::response(response).await } else { response })
    }

    /// Checks that the request is meant for this server, and not sent by another site's web page.
    fn comes_in_person(&self, request: &Request) -> Result<(), Problem> {
        let (uri, headers) = (request.uri(), request.headers());
        if uri.path_and_query().is_some_and(|path| path.as_str().len() > URI_BYTES_MAX) {
            let detail = format!("a path and its query have at most {URI_BYTES_MAX} bytes");
            return Err(Problem::new(
                StatusCode::URI_TOO_LONG,
                "too-large",
                "The address is longer than is taken",
                detail,
            ));
        }
        let host = host(uri, headers)?;
        if let Some(host) = &host {
            self.is_own_name(host)?;
        }
        self.is_own_page(request.method(), headers, host.as_deref())?;
        if self.policy.auth.is_some() {
            return Ok(());
        }
        if self.policy.internal_token && uri.path().starts_with(INTERNAL) {
            return Ok(());
        }
        if let Some(name) = PROXIED.iter().find(|name| headers.contains_key(**name)) {
            let detail = format!(
                "the request comes through a proxy (`{name}`), and without authentication only this machine may ask; configure tokens under `auth.tokens`"
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not from where you are", detail));
        }
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        if peer.is_some_and(|peer| !peer.to_canonical().is_loopback()) {
            let detail = "without authentication only this machine may ask; configure tokens under `auth.tokens`";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not from where you are", detail));
        }
        Ok(())
    }

    fn is_own_name(&self, authority: &str) -> Result<(), Problem> {
        let name = without_port(authority);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let open = self.policy.auth.is_some() && self.policy.hosts.is_empty();
        if open || name == "localhost" || bare.parse::<IpAddr>().is_ok() || self.policy.hosts.iter().any(|host| host == name) {
            return Ok(());
        }
        let detail = format!("this server is not called `{name}`; where it is, name it in `http.hosts`");
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown-host",
            "The request is meant for another host",
            detail,
        ))
    }

    fn is_own_page(&self, method: &Method, headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
        let foreign = |origin: &str| {
            let detail = format!("pages of `{origin}` may not ask this server; where they may, name the origin in `http.origins`");
            Problem::new(StatusCode::FORBIDDEN, "foreign-origin", "A web page of another origin asks", detail)
        };
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            let own = authority.is_some() && authority == host;
            return if own || self.policy.origins.contains(&origin) {
                Ok(())
            } else {
                Err(foreign(&origin))
            };
        }
        let sent = |name: &str| headers.get(name).map(|value| value.as_bytes());
        // A link may lead here; an image or a script of another site may not make this server work.
        let followed = matches!(*method, Method::GET | Method::HEAD) && sent("sec-fetch-mode") == Some(b"navigate");
        match sent("sec-fetch-site") {
            Some(b"cross-site" | b"same-site") if !followed => Err(foreign("another site")),
            _ => Ok(()),
        }
    }

    /// The whole body, once it is within its limit, and its share of the memory for all bodies.
    async fn read(&self, route: &Route, length: Option<usize>, body: HttpBody) -> Result<(Bytes, Vec<tokio::sync::SemaphorePermit<'_>>), Problem> {
        let bytes_max = body_bytes_max(route);
        if length.is_some_and(|length| length > bytes_max) {
            return Err(too_large(route, bytes_max));
        }
        let arriving = self.arrive(route, bytes_max, body);
        tokio::time::timeout(BODY_WITHIN, arriving).await.map_err(|_| {
            let detail = format!("a body is sent within {} s", BODY_WITHIN.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The body did not arrive in time", detail)
        })?
    }

    async fn arrive(&self, route: &Route, bytes_max: usize, mut body: HttpBody) -> Result<(Bytes, Vec<tokio::sync::SemaphorePermit<'_>>), Problem> {
        let mut read = Vec::new();
        let mut held = Vec::new();
        let mut held_bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::bad_request(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > bytes_max {
                return Err(too_large(route, bytes_max));
            }
            while held_bytes < read.len() + data.len() {
                held.push(self.bodies.try_acquire_many(BLOCK_KIB).map_err(|_| no_memory())?);
                held_bytes += (BLOCK_KIB as usize) << 10;
            }
            read.extend_from_slice(&data);
        }
        Ok((Bytes::from(read), held))
    }
}

/// Memory of bodies is counted in blocks of this size.
const BLOCK_KIB: u32 = 64;

fn no_memory() -> Problem {
    let detail = format!(
        "bodies of {} MiB are being taken at this moment, and no more are; ask again later",
        BODIES_BYTES_MAX >> 20
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many such requests at a time", detail)
}

fn too_large(route: &Route, bytes_max: usize) -> Problem {
    let shown = if bytes_max >= 1 << 20 {
        format!("{} MiB", bytes_max >> 20)
    } else {
        format!("{} KiB", bytes_max >> 10)
    };
    let detail = format!(
        "a body of {} {} has at most {shown} ({bytes_max} bytes); send it in parts",
        route.method, route.path
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is larger than is taken at once", detail)
}

/// A parameter that nobody reads must not be overlooked: `replce=true` would add where a replacement is meant. Pages take any, which are for the browser.
fn takes_parameters(route: &Route, uri: &Uri) -> Result<(), Problem> {
    if route.path == "/" {
        return Ok(());
    }
    let given = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| Problem::bad_request(error.to_string()))?;
    let mut seen = BTreeSet::new();
    for (name, _) in &given.0 {
        known_parameter(name, route.parameters)?;
        if !seen.insert(name) {
            return Err(Problem::bad_request(format!("`{name}` is given twice")));
        }
    }
    Ok(())
}

/// That a parameter is one of these.
pub(crate) fn known_parameter(name: &str, known: &[&str]) -> Result<(), Problem> {
    if known.contains(&name) {
        return Ok(());
    }
    let known = match known {
        [] => "none is taken".to_owned(),
        known => format!("taken: `{}`", known.join("`, `")),
    };
    Err(Problem::bad_request(format!("there is no parameter `{name}` here; {known}")))
}

fn admitted(route: &Route, principal: Principal) -> Result<Principal, Problem> {
    match principal.role {
        Some(role) if route.admits(role) => Ok(principal),
        _ if route.roles.is_empty() => Ok(principal),
        None => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "The token is missing or wrong",
            "send `authorization: Bearer <token>`",
        )),
        Some(role) => {
            let roles: Vec<&str> = route.roles.iter().map(|role| role.name()).collect();
            let detail = format!("`{}` is {role}; this takes one of: {}", principal.name, roles.join(", "));
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "The role does not allow it", detail))
        }
    }
}

/// A method that no route of the path has; the answer lists the methods that exist.
fn no_such_method(method: &Method, uri: &Uri, path: &str) -> Response {
    let allowed: Vec<&str> = ROUTES.iter().filter(|route| route.path == path).map(|route| route.method).collect();
    let detail = format!("{method} {}", uri.path());
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not served here", detail);
    let mut response = problem.into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// The authority of a request: that of an absolute URL before that of the header. Lower case.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut named = headers.get_all(header::HOST).iter();
    let header = named.next().map(|host| String::from_utf8_lossy(host.as_bytes()).trim().to_ascii_lowercase());
    if named.next().is_some() {
        return Err(Problem::bad_request("a request has one `host`"));
    }
    let absolute = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    Ok(absolute.or(header))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => authority,
    }
}

/// The content types allowed for a body. The first is the one that refusals recommend.
fn types(body: Body) -> &'static [&'static str] {
    match body {
        Body::None | Body::Rows => &[],
        Body::Definition | Body::Definitions => &["application/yaml", "application/json", "application/x-yaml", "text/yaml", "text/x-yaml"],
        Body::Lines => &["application/x-ndjson", "application/json", "application/jsonl", "application/x-jsonlines"],
        Body::Json => &["application/json"],
    }
}

/// A web page can send bodies of some types without asking for permission. None of them is
/// accepted; a missing type is accepted only from clients that are not browsers.
fn has_right_type(route: &Route, headers: &HeaderMap) -> Result<(), Problem> {
    let types = types(route.body);
    let Some(first) = types.first() else { return Ok(()) };
    let remedy = format!(
        "send it with `content-type: {first}` (curl: -H 'content-type: {first}'); taken are {}",
        types.join(", ")
    );
    let said = headers
        .get(header::CONTENT_TYPE)
        .map(|kind| String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase());
    let detail = match said.as_deref().map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
        Some(essence) if types.contains(&essence) => return Ok(()),
        Some(essence) => format!("a body of {} {} is not taken as `{essence}`; {remedy}", route.method, route.path),
        None if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") => format!("a page must say what it sends; {remedy}"),
        None => return Ok(()),
    };
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "The body is of a type that is not taken here",
        detail,
    ))
}
