//! Who may ask what: every route with the roles it is open to, the parameters and the body it takes.
//!
//! The router refuses a route that is not listed here, so none can be forgotten. The tests' table,
//! the one in `docs/security.md` and the description of the API are generated from this list.

use std::fmt;
use std::str::FromStr;

use axum::http::Method;

/// The role of a client, where authentication is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees profiles with personal fields masked, and segments.
    Viewer,
    /// Sees everything, changes segments and audiences, sends records.
    Operator,
    /// As an operator; later also rights that only few should have.
    Admin,
    /// A program: sends records and members. Sees nothing.
    Service,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::Admin, Role::Service];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
            Role::Service => "service",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is not a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; the roles are viewer, operator, admin, service")]
pub struct NoRole(pub String);

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Role, NoRole> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| NoRole(text.to_owned()))
    }
}

/// The content of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    /// A segment, as YAML or JSON.
    Definition,
    /// Any number of them.
    Definitions,
    /// JSON, one object per line.
    Lines,
    /// One JSON object.
    Json,
    /// Bytes between instances.
    Rows,
}

/// One route and its requirements.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub method: &'static str,
    /// As the router matches it.
    pub path: &'static str,
    /// The roles let in; everybody where it is empty.
    pub roles: &'static [Role],
    pub body: Body,
    /// Names of its query's parameters; others are refused.
    pub parameters: &'static [&'static str],
}

const ANYBODY: &[Role] = &[];
const SEE: &[Role] = &[Role::Viewer, Role::Operator, Role::Admin];
const OPERATE: &[Role] = &[Role::Operator, Role::Admin];
const SEND: &[Role] = &[Role::Operator, Role::Admin, Role::Service];
/// Parameters of lists that come in parts, and of explanations.
pub(crate) const PAGE: &[&str] = &["limit", "after"];
pub(crate) const EXPLAIN: &[&str] = &["segment", "at"];
const FIND: &[&str] = &["q", "limit", "after"];

/// Other instances only: `http.internal_token` is asked for where the rows are read (`internal`), and no role replaces it.
const INSTANCE: &[Role] = &[];

/// Shows data.
const fn see(path: &'static str) -> Route {
    route("GET", path, SEE, Body::None)
}

/// Takes a body, so that no identity appears in a URL.
const fn look_up(path: &'static str) -> Route {
    route("POST", path, SEE, Body::Json)
}

const fn route(method: &'static str, path: &'static str, roles: &'static [Role], body: Body) -> Route {
    Route {
        method,
        path,
        roles,
        body,
        parameters: &[],
    }
}

/// Every route of the API's port.
pub const ROUTES: &[Route] = &[
    route("GET", "/", ANYBODY, Body::None),
    see("/v1/persons").taking(FIND),
    see("/v1/persons/{id}"),
    see("/v1/persons/{id}/events").taking(PAGE),
    see("/v1/persons/{id}/explain").taking(EXPLAIN),
    see("/v1/persons/{id}/{rest}"),
    look_up("/v1/persons/lookup"),
    look_up("/v1/persons/lookup/events"),
    look_up("/v1/persons/lookup/explain"),
    see("/v1/accounts").taking(FIND),
    see("/v1/accounts/{key}"),
    see("/v1/accounts/{key}/persons").taking(PAGE),
    see("/v1/accounts/{key}/opportunities").taking(PAGE),
    see("/v1/accounts/{key}/explain").taking(EXPLAIN),
    see("/v1/sources"),
    see("/v1/sources/{name}"),
    route("POST", "/v1/sources/{name}/pause", OPERATE, Body::None),
    route("POST", "/v1/sources/{name}/resume", OPERATE, Body::None),
    see("/v1/destinations"),
    see("/v1/destinations/{name}"),
    route("POST", "/v1/destinations/{name}/orders", OPERATE, Body::Json),
    route("GET", "/v1/destinations/{name}/preview", OPERATE, Body::None).taking(&["sample"]),
    see("/v1/segments"),
    see("/v1/segments/{name}"),
    see("/v1/segments/{name}/members").taking(PAGE),
    see("/v1/segments/{name}/versions"),
    route("POST", "/v1/segments/{name}", OPERATE, Body::Definition).taking(&["sample"]),
    route("POST", "/v1/segments", OPERATE, Body::Definitions),
    route("PUT", "/v1/segments/{name}", OPERATE, Body::Definition),
    route("DELETE", "/v1/segments/{name}", OPERATE, Body::None),
    route("POST", "/v1/segments/{name}/rollback", OPERATE, Body::None).taking(&["to"]),
    route("POST", "/v1/audiences/{name}/members", SEND, Body::Lines).taking(&["replace", "allowEmpty"]),
    route("POST", "/v1/records", SEND, Body::Lines).taking(&["strict"]),
    route("GET", "/v1/changes", OPERATE, Body::None).taking(&["from", "follow"]),
    route("GET", "/v1/dead-letters", OPERATE, Body::None).taking(&["limit"]),
    route("GET", "/openapi.json", ANYBODY, Body::None),
    route("POST", "/internal/v1/shards/{shard}/get", INSTANCE, Body::Rows),
    route("POST", "/internal/v1/shards/{shard}/scan", INSTANCE, Body::Rows),
    route("GET", "/internal/v1/destinations/{name}", INSTANCE, Body::None),
    route("POST", "/internal/v1/destinations/{name}/orders", INSTANCE, Body::Json),
];

impl Route {
    const fn taking(self, parameters: &'static [&'static str]) -> Route {
        Route { parameters, ..self }
    }

    /// The route of a method and a matched path; a `HEAD` is a `GET`.
    pub fn of(method: &Method, path: &str) -> Option<&'static Route> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        ROUTES.iter().find(|route| route.method == method.as_str() && route.path == path)
    }

    pub fn admits(&self, role: Role) -> bool {
        self.roles.is_empty() || self.roles.contains(&role)
    }
}
