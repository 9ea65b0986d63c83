//! The API against a backend of one person.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use millrace_model::{Identity, SubjectKind, Timestamp};
use millrace_telemetry::Metrics;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::access::{ROUTES, Role};
use crate::auth::{Auth, Token};
use crate::backend::{BackendError, ChangeLog, ChangeReader, ChangesFrom, Commands, PageRequest, Placed, Positions, Queries, Replace, Subject, Within};
use crate::destinations::{Sinks, destinations_router};
use crate::dto::*;
use crate::sources::Sources;
use crate::{Backend, Cancel, Policy, api_router, health_router, sources_router};

mod described;
mod pages;

/// Knows `email:p2@townsend.com` and segment `upsell`; remembers the commands it received.
#[derive(Default)]
struct One {
    received: Mutex<Vec<String>>,
}

fn missing<T>(what: impl ToString) -> Result<T, BackendError> {
    Err(BackendError::NotFound(format!("no {}", what.to_string())))
}

impl Queries for One {
    fn person(&self, identity: &Identity) -> Result<PersonView, BackendError> {
        if identity.to_string() != "email:p2@townsend.com" {
            return missing(identity);
        }
        Ok(PersonView {
            id: "b2b_person:2@m1.Marketo".to_owned(),
            identities: Vec::new(),
            set_aside: Vec::new(),
            attributes: json!({"person": {"name": {"firstName": "Pia"}}}),
            provenance: Default::default(),
            computed: Default::default(),
            accounts: Vec::new(),
            relations: Vec::new(),
            segments: Vec::new(),
            events: 1,
            merged_into: None,
        })
    }

    fn find(&self, kind: SubjectKind, text: &str, within: Within, _: &PageRequest) -> Result<Page<FoundView>, BackendError> {
        let found = |id| vec![id].into_iter().filter(|_| within == Within::Everything).collect();
        Ok(Page {
            items: found(FoundView {
                id: format!("{}:{text}", kind.name()),
                name: None,
                identities: Vec::new(),
            }),
            next: None,
        })
    }

    fn person_events(&self, _: &Identity, page: &PageRequest) -> Result<Page<EventView>, BackendError> {
        Ok(Page {
            items: Vec::new(),
            next: Some(format!("{}/{:?}", page.limit, page.after)),
        })
    }

    fn explain(&self, subject: &Subject, segment: &str, at: Option<Timestamp>) -> Result<ExplainView, BackendError> {
        missing(format!("{subject:?} {segment} {at:?}"))
    }

    fn account(&self, identity: &Identity) -> Result<AccountView, BackendError> {
        missing(identity)
    }

    fn account_persons(&self, identity: &Identity, _: &PageRequest) -> Result<Page<ReferenceView>, BackendError> {
        missing(identity)
    }

    fn account_opportunities(&self, _: &Identity, _: &PageRequest) -> Result<Page<OpportunityView>, BackendError> {
        Err(BackendError::Unavailable("shard 3 is being restored".to_owned()))
    }

    fn segments(&self) -> Result<Vec<SegmentView>, BackendError> {
        Ok(Vec::new())
    }

    fn segment(&self, name: &str) -> Result<SegmentView, BackendError> {
        missing(name)
    }

    fn versions(&self, name: &str) -> Result<Vec<VersionView>, BackendError> {
        self.version_to_restore(name, None).map(|version| vec![version])
    }

    fn version_to_restore(&self, name: &str, to: Option<u64>) -> Result<VersionView, BackendError> {
        match (name, to) {
            ("upsell", None | Some(3)) => Ok(VersionView {
                version: 3,
                accepted_at: "2026-03-18T12:00:00.000Z".to_owned(),
                status: Some("published".to_owned()),
                in_force: false,
                text: "kind: Segment".to_owned(),
            }),
            ("upsell", Some(other)) => Err(BackendError::Refused(format!("there is no version {other}"))),
            _ => missing(name),
        }
    }

    fn members(&self, name: &str, _: &PageRequest) -> Result<Page<MemberView>, BackendError> {
        missing(name)
    }

    fn preview(&self, text: &str, sample_max: usize, _: &Cancel) -> Result<PreviewView, BackendError> {
        Err(BackendError::InvalidDefinition(vec![format!("line 1: {text} {sample_max}")]))
    }

    fn ready(&self) -> ReadyView {
        ReadyView {
            ready: false,
            waiting_for: vec!["shard 3".to_owned()],
        }
    }
}

impl Commands for One {
    fn put_segment(&self, name: &str, text: &str) -> Result<(), BackendError> {
        if text.is_empty() {
            return Err(BackendError::InvalidDefinition(vec!["line 1: unknown field x.y".to_owned()]));
        }
        self.received.lock().unwrap().push(format!("{name}: {text}"));
        Ok(())
    }

    fn apply(&self, text: &str) -> Result<AppliedView, BackendError> {
        Ok(AppliedView {
            segments: vec![text.to_owned()],
            warnings: Vec::new(),
        })
    }

    fn delete_segment(&self, name: &str) -> Result<(), BackendError> {
        match name {
            "base" => Err(BackendError::InUse("`base` is used by `upsell`".to_owned())),
            _ => Ok(()),
        }
    }

    fn append(&self, lines: Vec<Result<RecordLine, String>>, strict: bool) -> Result<AppendView, BackendError> {
        let rejected = (1..).zip(&lines).filter_map(|(line, parsed)| {
            Some(RejectedLine {
                line,
                reason: parsed.as_ref().err()?.clone(),
            })
        });
        let rejected: Vec<RejectedLine> = rejected.collect();
        Ok(AppendView {
            accepted: (lines.len() - rejected.len()) as u64,
            rejected,
            unknown_fields: if strict { [("strict".to_owned(), 1)].into() } else { Default::default() },
            ..AppendView::default()
        })
    }

    fn import(&self, audience: &str, lines: Vec<Result<MemberLine, String>>, replace: Replace) -> Result<ImportView, BackendError> {
        if audience != "partners" {
            return missing(audience);
        }
        Ok(ImportView {
            accepted: lines.iter().filter(|line| line.is_ok()).count() as u64,
            removed: u64::from(replace != Replace::Nobody),
            rejected: Vec::new(),
            rejected_more: 0,
        })
    }

    fn dead_letters(&self, _: usize) -> Result<Vec<DeadLetterView>, BackendError> {
        Ok(Vec::new())
    }
}

impl Sources for One {
    fn views(&self) -> Vec<Value> {
        vec![json!({"name": "marketo-1", "state": "running"})]
    }

    fn pause(&self, name: &str, paused: bool) -> Result<(), BackendError> {
        self.received.lock().unwrap().push(format!("{name} paused: {paused}"));
        Ok(())
    }

    fn ready(&self) -> ReadyView {
        Queries::ready(self)
    }
}

impl Sinks for One {
    fn all(&self) -> Vec<Value> {
        vec![json!({"name": "crm"})]
    }

    fn one(&self, name: &str) -> Option<Value> {
        (name == "crm").then(|| json!({"name": name}))
    }

    fn preview(&self, name: &str, sample: usize) -> Result<Value, BackendError> {
        if name == "crm" {
            Ok(json!({"destination": name, "sample": sample}))
        } else {
            missing(name)
        }
    }

    fn order(&self, name: &str, _: Value) -> Result<(), BackendError> {
        if name == "crm" { Ok(()) } else { missing(name) }
    }
}

impl ChangeLog for One {
    fn open(&self, from: &ChangesFrom) -> Result<Box<dyn ChangeReader>, BackendError> {
        Ok(Box::new(Two(if *from == ChangesFrom::End { 2 } else { 0 })))
    }
}

/// A topic of two changes; the next offset.
struct Two(i64);

impl ChangeReader for Two {
    fn next(&mut self, _: bool) -> Result<Vec<Placed>, BackendError> {
        let (partition, offset) = (0, self.0);
        let Some(status) = ["realized", "exited"].get(offset as usize) else {
            return Ok(Vec::new());
        };
        self.0 += 1;
        let line = json!({"status": status}).to_string();
        Ok(vec![Placed { partition, offset, line }])
    }

    fn caught_up(&mut self) -> Result<bool, BackendError> {
        Ok(self.0 == 2)
    }

    fn positions(&self) -> Positions {
        [(0, self.0)].into()
    }
}

fn policy(auth: Option<Auth>) -> Policy {
    Policy {
        hosts: vec!["cdp.example.com".to_owned()],
        origins: vec!["https://console.example.com".to_owned()],
        auth: auth.map(Arc::new),
        internal_token: false,
    }
}

fn router(one: &Arc<One>, auth: Option<Auth>) -> Router {
    let backend = Backend {
        queries: one.clone(),
        commands: one.clone(),
        changes: one.clone(),
    };
    api_router(backend, policy(auth), sources_router(one.clone()).merge(destinations_router(one.clone())))
}

/// Status, content type and body of one request, as a peer at `address` sees it.
async fn ask(router: Router, address: &str, request: Request<Body>) -> String {
    let mut request = request;
    let peer: SocketAddr = address.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.oneshot(request).await.unwrap();
    let kind = response
        .headers()
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    format!("{status} {kind} {}", String::from_utf8_lossy(&body))
}

async fn api(method: &str, uri: &str, body: &str) -> String {
    let one = Arc::new(One::default());
    let request = Request::builder().method(method).uri(uri).body(Body::from(body.to_owned())).unwrap();
    ask(router(&one, None), "127.0.0.1:5000", request).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn routes_answer() {
    let table = [
        (
            "GET",
            "/v1/persons/email/P2@Townsend.com",
            "",
            "200 application/json {\"id\":\"b2b_person:2@m1.Marketo\"",
        ),
        (
            "GET",
            "/v1/persons/email:p2@townsend.com",
            "",
            "200 application/json {\"id\":\"b2b_person:2@m1.Marketo\"",
        ),
        (
            "GET",
            "/v1/persons/email%3Ap2@townsend.com/events?limit=5&after=x",
            "",
            "200 application/json {\"items\":[],\"next\":\"5/Some(\\\"x\\\")\"}",
        ),
        (
            "GET",
            "/v1/persons/p2",
            "",
            "400 application/problem+json {\"type\":\"urn:millrace:problem:bad-request\"",
        ),
        (
            "GET",
            "/v1/persons/email/p9@townsend.com",
            "",
            "404 application/problem+json {\"type\":\"urn:millrace:problem:not-found\"",
        ),
        ("GET", "/v1/persons/email:p2@townsend.com/events?limit=0", "", "400 application/problem+json"),
        ("GET", "/v1/persons/email:p2@townsend.com/explain", "", "400 application/problem+json"),
        ("GET", "/v1/accounts/b2b_account:1@crm1.SFDC/opportunities", "", "503 application/problem+json"),
        ("PUT", "/v1/segments/upsell", "kind: Segment", "204  "),
        (
            "PUT",
            "/v1/segments/upsell",
            "",
            "422 application/problem+json {\"type\":\"urn:millrace:problem:invalid-definition\"",
        ),
        ("DELETE", "/v1/segments/upsell", "", "204  "),
        (
            "DELETE",
            "/v1/segments/base",
            "",
            "409 application/problem+json {\"type\":\"urn:millrace:problem:in-use\"",
        ),
        ("GET", "/v1/segments/upsell/versions", "", "200 application/json [{\"version\":3,"),
        ("POST", "/v1/segments/upsell/rollback", "", "200 application/json {\"version\":3}"),
        ("POST", "/v1/segments/upsell/rollback?to=4", "", "400 application/problem+json"),
        ("POST", "/v1/segments/upsell/rollback?to=last", "", "400 application/problem+json"),
        ("POST", "/v1/segments/other/rollback", "", "404 application/problem+json"),
        (
            "POST",
            "/v1/audiences/partners/members?replace=true",
            "{\"member\":\"email:a@b.c\"}\nx\n",
            "200 application/json {\"accepted\":1,\"removed\":1,",
        ),
        ("POST", "/v1/audiences/partners/members?replace=maybe", "", "400 application/problem+json"),
        ("POST", "/v1/audiences/others/members", "", "404 application/problem+json"),
        (
            "POST",
            "/v1/segments/preview?sample=3",
            "pql",
            "422 application/problem+json {\"type\":\"urn:millrace:problem:invalid-definition\",\"title\":\"The definition does not hold\",\"status\":422,\
             \"detail\":\"1 fault to correct\",\"errors\":[\"line 1: pql 3\"]}",
        ),
        ("POST", "/v1/segments/preview?sample=101", "", "400 application/problem+json"),
        ("POST", "/v1/segments/upsell", "", "405 application/problem+json"),
        (
            "GET",
            "/v1/accounts/1@crm1.SFDC/explain?segment=upsell&at=yesterday",
            "",
            "400 application/problem+json",
        ),
        (
            "GET",
            "/v1/accounts/1@crm1.SFDC/explain?segment=upsell&at=2026-03-31T12:00:00Z",
            "",
            "404 application/problem+json",
        ),
        ("PATCH", "/v1/segments", "", "405 application/problem+json"),
        ("POST", "/v1/segments", "both", "200 application/json {\"segments\":[\"both\"]}"),
        ("GET", "/v1/persons?q=Ann", "", "200 application/json {\"items\":[{\"id\":\"person:Ann\""),
        ("GET", "/v1/accounts?q=Town", "", "200 application/json {\"items\":[{\"id\":\"account:Town\""),
        ("GET", "/v1/persons?q=%20", "", "400 application/problem+json"),
        ("GET", "/", "", "200 text/html; charset=utf-8 <!doctype html>"),
        ("POST", "/v1/records?strict=perhaps", "", "400 application/problem+json"),
        (
            "POST",
            "/v1/records?strict=true",
            "{\"topic\":\"person\",\"value\":{}}",
            "200 application/json {\"accepted\":1,\"rejected\":[],\"unknownFields\":",
        ),
        ("GET", "/v1/sources", "", "200 application/json {\"items\":[{\"name\":\"marketo-1\""),
        ("GET", "/v1/sources/marketo-1", "", "200 application/json {\"name\":\"marketo-1\""),
        ("GET", "/v1/sources/marketo-2", "", "404 application/problem+json"),
        (
            "POST",
            "/v1/sources/marketo-1/pause",
            "",
            "200 application/json {\"name\":\"marketo-1\",\"paused\":true}",
        ),
        ("GET", "/v1/destinations", "", "200 application/json [{\"name\":\"crm\"}]"),
        ("GET", "/v1/destinations/erp", "", "404 application/problem+json"),
        (
            "GET",
            "/v1/destinations/crm/preview?sample=3",
            "",
            "200 application/json {\"destination\":\"crm\",\"sample\":3}",
        ),
        ("POST", "/v1/destinations/crm/orders", "{\"do\":\"pause\"}", "202 application/json"),
        ("GET", "/v2", "", "404 application/problem+json"),
        (
            "GET",
            "/v1/changes?follow=false",
            "",
            "200 application/x-ndjson {\"status\":\"realized\"}\n{\"status\":\"exited\"}\n",
        ),
        ("GET", "/v1/changes?from=middle", "", "400 application/problem+json"),
    ];
    for (method, uri, body, expected) in table {
        let answer = api(method, uri, body).await;
        assert!(answer.starts_with(expected), "{method} {uri}\n{answer}");
    }
}

/// The framework's own refusals look like all others.
#[tokio::test]
async fn every_error_is_a_problem_document() {
    let one = Arc::new(One::default());
    let api = || router(&one, None);
    let health = || health_router(one.clone(), Metrics::new().unwrap());
    let request = |method: &str, uri: &str| Request::builder().method(method).uri(uri);
    let put = |kind: &str| {
        request("PUT", "/v1/segments/upsell")
            .header("content-type", kind)
            .body(Body::from("kind: Segment"))
            .unwrap()
    };
    let table = [
        (api(), request("GET", "/v1/accounts/%FF").body(Body::empty()).unwrap(), "400", "bad-request"),
        (api(), request("GET", "/v1/persons/%FF/%FE").body(Body::empty()).unwrap(), "400", "bad-request"),
        (
            api(),
            request("PUT", "/v1/segments/upsell").body(Body::from(vec![0xff])).unwrap(),
            "400",
            "bad-request",
        ),
        (
            api(),
            request("PUT", "/v1/segments/upsell").body(Body::from(vec![b' '; (2 << 20) + 1])).unwrap(),
            "413",
            "too-large",
        ),
        (api(), put("image/png"), "415", "unsupported-media-type"),
        (
            api(),
            request("PATCH", "/v1/segments").body(Body::empty()).unwrap(),
            "405",
            "method-not-allowed",
        ),
        (health(), request("POST", "/metrics").body(Body::empty()).unwrap(), "405", "method-not-allowed"),
        (health(), request("GET", "/metric").body(Body::empty()).unwrap(), "404", "not-found"),
    ];
    for (router, request, status, word) in table {
        let shown = format!("{} {}", request.method(), request.uri());
        let answer = ask(router, "127.0.0.1:5000", request).await;
        let expected = format!("{status} application/problem+json {{\"type\":\"urn:millrace:problem:{word}\"");
        assert!(answer.starts_with(&expected), "{shown}\n{answer}");
    }
    for kind in ["application/json", "application/yaml; charset=utf-8", "Application/X-YAML", "text/yaml"] {
        assert!(ask(api(), "127.0.0.1:5000", put(kind)).await.starts_with("204"), "{kind}");
    }
    let response = health().oneshot(request("POST", "/metrics").body(Body::empty()).unwrap()).await.unwrap();
    assert!(response.headers()["allow"].to_str().unwrap().contains("GET"));
}

#[tokio::test]
async fn records_are_taken_line_by_line_and_from_this_machine_only() {
    let lines = "{\"topic\":\"person\",\"key\":\"1@m.M\",\"value\":{}}\nnot json\n{\"topic\":\"person\",\"colour\":\"red\"}\n{\"topic\":\"person\",\"key\":\"1@m.M\",\"value\":null}\n";
    let answer = api("POST", "/v1/records", lines).await;
    assert!(
        answer.starts_with("200 application/json {\"accepted\":2,\"rejected\":[{\"line\":2,") && answer.contains("unknown field `colour`"),
        "{answer}"
    );
    // A byte-order mark, CRLF and a byte that is no text concern their lines alone. A line without `value` is no tombstone.
    let one = Arc::new(One::default());
    let bytes = b"\xEF\xBB\xBF{\"topic\":\"person\",\"value\":{}}\r\n\xFF\r\n{\"topic\":\"person\",\"value\":null}\r\n{\"topic\":\"person\"}";
    let request = Request::builder().method("POST").uri("/v1/records").body(Body::from(bytes.to_vec())).unwrap();
    let answer = ask(router(&one, None), "127.0.0.1:5000", request).await;
    assert!(
        answer.starts_with("200 application/json {\"accepted\":2,\"rejected\":[{\"line\":2,\"reason\":\"no UTF-8"),
        "{answer}"
    );
    let one = Arc::new(One::default());
    let request = Request::builder().method("POST").uri("/v1/records").body(Body::from("")).unwrap();
    let answer = ask(router(&one, None), "10.0.0.7:5000", request).await;
    assert!(answer.starts_with("403 application/problem+json"), "{answer}");
}

#[tokio::test]
async fn health_metrics_and_readiness_are_served() {
    for (uri, expected) in [
        ("/healthz", "200 text/plain; charset=utf-8 ok"),
        ("/readyz", "503 application/json {\"ready\":false,\"waitingFor\":[\"shard 3\"]}"),
        ("/metrics", "200 text/plain; version=0.0.4; charset=utf-8 # HELP millrace_"),
    ] {
        let router = health_router(Arc::new(One::default()), Metrics::new().unwrap());
        let answer = ask(router, "127.0.0.1:5000", Request::builder().uri(uri).body(Body::empty()).unwrap()).await;
        assert!(answer.starts_with(expected), "{uri}\n{answer}");
    }
}

/// Every route of the list with every role, and without one: the list alone decides access.
#[tokio::test]
async fn every_route_admits_the_roles_it_lists_and_nobody_else() {
    let one = Arc::new(One::default());
    let secret = |role: Role| format!("token-of-the-{role}-role");
    let tokens = || {
        let token = |role: Role| Token {
            name: role.to_string(),
            secret: secret(role),
            role,
        };
        Auth::new(Role::ALL.into_iter().map(token).collect())
    };
    // Routes of other instances are served by a router of their own.
    for route in ROUTES.iter().filter(|route| !route.path.starts_with("/internal/")) {
        let uri = route
            .path
            .replace("{id}", "email:x")
            .replace("{rest}", "y")
            .replace("{key}", "k")
            .replace("{name}", "n");
        let taken = |pair: &&str| route.parameters.iter().any(|name| pair.starts_with(*name));
        let query: Vec<&str> = ["follow=false", "q=n", "segment=n"].into_iter().filter(taken).collect();
        let uri = format!("{uri}?{}", query.join("&"));
        for role in Role::ALL.into_iter().map(Some).chain([None]) {
            let mut request = Request::builder().method(route.method).uri(&uri);
            if let Some(role) = role {
                request = request.header("authorization", format!("Bearer {}", secret(role)));
            }
            let answer = ask(router(&one, Some(tokens())), "10.0.0.7:5000", request.body(Body::empty()).unwrap()).await;
            let allowed = route.roles.is_empty() || role.is_some_and(|role| route.admits(role));
            let refused = answer.starts_with("401") || answer.starts_with("403");
            assert_eq!(allowed, !refused, "{} {} as {role:?}\n{answer}", route.method, route.path);
        }
    }
    let wrong = Request::builder()
        .uri("/v1/segments")
        .header("authorization", "Bearer token-of-the-viewer-rolf")
        .body(Body::empty())
        .unwrap();
    assert!(ask(router(&one, Some(tokens())), "127.0.0.1:1", wrong).await.starts_with("401"));
}

/// A viewer sees subjects by their source system's id, and nothing that names a person.
#[tokio::test]
async fn a_viewer_sees_no_personal_value() {
    let one = Arc::new(One::default());
    let tokens = || {
        let token = |role: Role| Token {
            name: role.to_string(),
            secret: format!("token-of-the-{role}-role"),
            role,
        };
        Auth::new(Role::ALL.into_iter().map(token).collect())
    };
    for (role, shown) in [(Role::Viewer, false), (Role::Operator, true)] {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/persons/lookup")
            .header("authorization", format!("Bearer token-of-the-{role}-role"))
            .header("content-type", "application/json")
            .body(Body::from("{\"id\":\"email:p2@townsend.com\"}"))
            .unwrap();
        let answer = ask(router(&one, Some(tokens())), "10.0.0.7:1", request).await;
        assert!(answer.starts_with("200") && answer.contains("b2b_person:2@m1.Marketo"), "{answer}");
        assert_eq!(answer.contains("Pia"), shown, "{role}: {answer}");
        // A search over what is masked would show it.
        let request = Request::builder()
            .uri("/v1/persons?q=hidden")
            .header("authorization", format!("Bearer token-of-the-{role}-role"))
            .body(Body::empty())
            .unwrap();
        let answer = ask(router(&one, Some(tokens())), "10.0.0.7:1", request).await;
        assert_eq!(answer.contains("person:hidden"), shown, "{role}: {answer}");
    }
}

/// Requests of another site's web page, a rebound DNS name, and a proxy.
#[tokio::test]
async fn only_this_machine_is_heard_without_authentication() {
    let yaml = ("content-type", "application/yaml");
    let put = |headers: &[(&str, &str)]| {
        let mut request = Request::builder().method("PUT").uri("/v1/segments/upsell");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from("kind: Segment")).unwrap()
    };
    let one = Arc::new(One::default());
    for (peer, headers, expected) in [
        ("127.0.0.1:1", vec![("host", "localhost:8080"), yaml], "204"),
        ("127.0.0.1:1", vec![("host", "127.0.0.1:8080"), yaml], "204"),
        ("[::1]:1", vec![("host", "[::1]:8080"), yaml], "204"),
        ("127.0.0.1:1", vec![("host", "cdp.example.com"), yaml], "204"),
        ("127.0.0.1:1", vec![("host", "localhost:8080")], "204"),
        ("127.0.0.1:1", vec![("host", "rebound.example.net:8080"), yaml], "421"),
        ("127.0.0.1:1", vec![("host", "localhost.example.net"), yaml], "421"),
        ("127.0.0.1:1", vec![("host", "localhost:8080"), ("origin", "https://example.net"), yaml], "403"),
        ("127.0.0.1:1", vec![("host", "localhost:8080"), ("origin", "null"), yaml], "403"),
        (
            "127.0.0.1:1",
            vec![("host", "localhost:8080"), ("origin", "http://localhost:8080"), yaml],
            "204",
        ),
        (
            "127.0.0.1:1",
            vec![("host", "localhost:8080"), ("origin", "https://console.example.com"), yaml],
            "204",
        ),
        ("127.0.0.1:1", vec![("host", "localhost:8080"), ("sec-fetch-site", "cross-site"), yaml], "403"),
        ("127.0.0.1:1", vec![("host", "localhost:8080"), ("origin", "http://localhost:8080")], "415"),
        ("127.0.0.1:1", vec![("host", "localhost:8080"), ("content-type", "text/plain")], "415"),
        (
            "127.0.0.1:1",
            vec![("host", "localhost:8080"), ("content-type", "application/x-www-form-urlencoded")],
            "415",
        ),
        ("127.0.0.1:1", vec![("host", "localhost:8080"), ("x-forwarded-for", "10.0.0.9"), yaml], "403"),
        ("127.0.0.1:1", vec![("host", "localhost:8080"), ("via", "1.1 gateway"), yaml], "403"),
        ("10.0.0.7:1", vec![("host", "localhost:8080"), yaml], "403"),
    ] {
        let answer = ask(router(&one, None), peer, put(&headers)).await;
        assert!(answer.starts_with(expected), "{peer} {headers:?}: expected {expected}\n{answer}");
    }
}
