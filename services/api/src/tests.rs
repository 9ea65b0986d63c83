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

use crate::backend::{BackendError, Changes, ChangesFrom, Commands, PageRequest, Queries, Replace, Subject};
use crate::dto::*;
use crate::{api_router, health_router, openapi};

/// Knows `email:p2@townsend.com` and segment `upsell`; remembers what it was told.
#[derive(Default)]
struct One {
    told: Mutex<Vec<String>>,
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

    fn find(&self, kind: SubjectKind, text: &str, _: &PageRequest) -> Result<Page<FoundView>, BackendError> {
        Ok(Page {
            items: vec![FoundView {
                id: format!("{}:{text}", kind.name()),
                name: None,
                identities: Vec::new(),
            }],
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

    fn preview(&self, text: &str, sample_max: usize) -> Result<PreviewView, BackendError> {
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
        self.told.lock().unwrap().push(format!("{name}: {text}"));
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
            dead_letters: Vec::new(),
            unknown_fields: if strict { [("strict".to_owned(), 1)].into() } else { Default::default() },
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
        })
    }

    fn changes(&self, _: ChangesFrom) -> Result<Box<dyn Changes>, BackendError> {
        Ok(Box::new(Two(vec![json!({"status": "exited"}), json!({"status": "realized"})])))
    }

    fn dead_letters(&self, _: usize) -> Result<Vec<DeadLetterView>, BackendError> {
        Ok(Vec::new())
    }
}

struct Two(Vec<Value>);

impl Changes for Two {
    fn next(&mut self) -> Result<Vec<Value>, BackendError> {
        Ok(self.0.pop().into_iter().collect())
    }

    fn caught_up(&mut self) -> Result<bool, BackendError> {
        Ok(self.0.is_empty())
    }
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
    ask(api_router(one.clone(), one), "127.0.0.1:5000", request).await
}

#[tokio::test]
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
            "",
            "200 application/json {\"accepted\":0,\"rejected\":[],\"unknownFields\":",
        ),
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

/// What the framework refuses by itself is refused as everything else is.
#[tokio::test]
async fn every_error_is_a_problem_document() {
    let one = Arc::new(One::default());
    let api = || api_router(one.clone(), one.clone());
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
            request("PUT", "/v1/segments/upsell").body(Body::from(vec![b' '; (16 << 20) + 1])).unwrap(),
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
    for kind in [
        "application/json",
        "application/yaml; charset=utf-8",
        "Application/X-YAML",
        "text/yaml",
        "text/plain",
    ] {
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
    // A byte-order mark, CRLF and a byte that is no text concern their lines alone.
    let one = Arc::new(One::default());
    let bytes = b"\xEF\xBB\xBF{\"topic\":\"person\"}\r\n\xFF\r\n{\"topic\":\"person\"}";
    let request = Request::builder().method("POST").uri("/v1/records").body(Body::from(bytes.to_vec())).unwrap();
    let answer = ask(api_router(one.clone(), one), "127.0.0.1:5000", request).await;
    assert!(
        answer.starts_with("200 application/json {\"accepted\":2,\"rejected\":[{\"line\":2,\"reason\":\"no UTF-8"),
        "{answer}"
    );
    let one = Arc::new(One::default());
    let request = Request::builder().method("POST").uri("/v1/records").body(Body::from("")).unwrap();
    let answer = ask(api_router(one.clone(), one), "10.0.0.7:5000", request).await;
    assert!(answer.starts_with("403 application/problem+json"), "{answer}");
}

#[tokio::test]
async fn health_metrics_and_readiness_are_told() {
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

/// Everything described is served: no described operation meets the router's own 404 or 405.
#[tokio::test]
async fn every_described_operation_is_served() {
    let description = openapi();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let uri = path
                .replace("{id}", "email:x")
                .replace("{namespace}", "email")
                .replace("{sourceKey}", "k")
                .replace("{name}", "n");
            let answer = api(&method.to_uppercase(), &format!("{uri}?segment=n&follow=false&q=n"), "").await;
            assert!(!answer.starts_with("405") && !answer.contains("nothing is served"), "{method} {path}\n{answer}");
        }
    }
    assert!(
        description["components"]["schemas"]["PersonView"]["properties"]["provenance"].is_object(),
        "{description}"
    );
}
