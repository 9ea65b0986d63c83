//! The routes of the API and their handlers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use millrace_model::{Identity, SubjectKind, Timestamp, namespace};
use serde::de::DeserializeOwned;

use crate::backend::{BackendError, ChangesFrom, Commands, PageRequest, Queries, Replace, Subject};
use crate::dto::{
    AccountView, AppendView, AppliedView, DeadLetterView, EventView, ExplainView, FoundView, ImportView, MemberLine, MemberView, OpportunityView, Page,
    PersonView, PreviewView, RecordLine, ReferenceView, RollbackView, SegmentView, VersionView,
};
use crate::openapi::openapi;
use crate::problem::{Problem, tell_as_problem};
use crate::stream;

/// A batch of records, or a definition, is not larger than this; senders split.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A whole audience is replaced by one request: about two million members.
const IMPORT_BYTES_MAX: usize = 128 << 20;

/// Items of a list where the asker names no number, and the most of one answer.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Subjects a preview shows of each kind where the asker names no number, and the most.
const SAMPLE_DEFAULT: usize = 10;
const SAMPLE_MAX: usize = 100;

#[derive(Clone)]
struct Api {
    queries: Arc<dyn Queries>,
    commands: Arc<dyn Commands>,
}

type Parameters = Query<BTreeMap<String, String>>;

/// The router of the API's port. Serve it with connection information (`serve` does): records are taken from this machine only.
pub fn api_router(queries: Arc<dyn Queries>, commands: Arc<dyn Commands>) -> Router {
    Router::new()
        .route("/", get(welcome))
        .route("/v1/persons", get(find_persons))
        .route("/v1/persons/{id}", get(person))
        .route("/v1/persons/{id}/events", get(person_events))
        .route("/v1/persons/{id}/explain", get(explain_person))
        .route("/v1/persons/{id}/{rest}", get(person_by_namespace))
        .route("/v1/accounts", get(find_accounts))
        .route("/v1/accounts/{key}", get(account))
        .route("/v1/accounts/{key}/persons", get(account_persons))
        .route("/v1/accounts/{key}/opportunities", get(account_opportunities))
        .route("/v1/accounts/{key}/explain", get(explain_account))
        .route("/v1/segments", get(segments).post(apply))
        .route("/v1/segments/{name}", get(segment).put(put_segment).delete(delete_segment).post(preview))
        .route("/v1/segments/{name}/members", get(members))
        .route("/v1/segments/{name}/versions", get(versions))
        .route("/v1/segments/{name}/rollback", post(rollback))
        .route("/v1/audiences/{name}/members", post(import).layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX)))
        .route("/v1/records", post(records))
        .route("/v1/changes", get(changes))
        .route("/v1/dead-letters", get(dead_letters))
        .route("/openapi.json", get(|| async { Json(openapi()) }))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(map_response(tell_as_problem))
        .with_state(Api { queries, commands })
}

pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    Problem::not_found(format!("nothing is served at {}; /openapi.json lists what is", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "The method is not served here",
        format!("{method} {}", uri.path()),
    )
}

/// Runs what blocks on a thread meant for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, BackendError> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(Problem::from),
        Err(panic) => {
            tracing::error!(error = %panic, "request handler panicked");
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "failure",
                "The server failed; its log says why",
                "internal error",
            ))
        }
    }
}

/// For whoever opens the address in a browser.
async fn welcome() -> Html<&'static str> {
    Html(include_str!("welcome.html"))
}

async fn find_persons(State(api): State<Api>, Query(query): Parameters) -> Result<Json<Page<FoundView>>, Problem> {
    find(api, SubjectKind::Person, &query).await
}

async fn find_accounts(State(api): State<Api>, Query(query): Parameters) -> Result<Json<Page<FoundView>>, Problem> {
    find(api, SubjectKind::Account, &query).await
}

async fn find(api: Api, kind: SubjectKind, query: &BTreeMap<String, String>) -> Result<Json<Page<FoundView>>, Problem> {
    let page = page(query)?;
    let text = query.get("q").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Problem::bad_request(format!("`q` is missing: /v1/{}s?q=<part of a name or an identity>", kind.name())))?;
    blocking(move || api.queries.find(kind, &text, &page)).await.map(Json)
}

async fn person(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<PersonView>, Problem> {
    let identity = canonical(&id)?;
    blocking(move || api.queries.person(&identity)).await.map(Json)
}

async fn person_by_namespace(State(api): State<Api>, Path((namespace, id)): Path<(String, String)>) -> Result<Json<PersonView>, Problem> {
    let identity = Identity::new(&namespace, &id).ok_or_else(|| Problem::bad_request("an identity needs a namespace and an id"))?;
    blocking(move || api.queries.person(&identity)).await.map(Json)
}

async fn person_events(State(api): State<Api>, Path(id): Path<String>, Query(query): Parameters) -> Result<Json<Page<EventView>>, Problem> {
    let (identity, page) = (canonical(&id)?, page(&query)?);
    blocking(move || api.queries.person_events(&identity, &page)).await.map(Json)
}

async fn explain_person(State(api): State<Api>, Path(id): Path<String>, Query(query): Parameters) -> Result<Json<ExplainView>, Problem> {
    explain(api, Subject::Person(canonical(&id)?), &query).await
}

async fn account(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<AccountView>, Problem> {
    let identity = account_identity(&key)?;
    blocking(move || api.queries.account(&identity)).await.map(Json)
}

async fn account_persons(State(api): State<Api>, Path(key): Path<String>, Query(query): Parameters) -> Result<Json<Page<ReferenceView>>, Problem> {
    let (identity, page) = (account_identity(&key)?, page(&query)?);
    blocking(move || api.queries.account_persons(&identity, &page)).await.map(Json)
}

async fn account_opportunities(State(api): State<Api>, Path(key): Path<String>, Query(query): Parameters) -> Result<Json<Page<OpportunityView>>, Problem> {
    let (identity, page) = (account_identity(&key)?, page(&query)?);
    blocking(move || api.queries.account_opportunities(&identity, &page)).await.map(Json)
}

async fn explain_account(State(api): State<Api>, Path(key): Path<String>, Query(query): Parameters) -> Result<Json<ExplainView>, Problem> {
    explain(api, Subject::Account(account_identity(&key)?), &query).await
}

async fn explain(api: Api, subject: Subject, query: &BTreeMap<String, String>) -> Result<Json<ExplainView>, Problem> {
    let segment = query
        .get("segment")
        .cloned()
        .ok_or_else(|| Problem::bad_request("`segment` is missing: /explain?segment=<name>"))?;
    let at = query.get("at").map(|text| instant(text)).transpose()?;
    blocking(move || api.queries.explain(&subject, &segment, at)).await.map(Json)
}

async fn segments(State(api): State<Api>) -> Result<Json<Vec<SegmentView>>, Problem> {
    blocking(move || api.queries.segments()).await.map(Json)
}

async fn segment(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<SegmentView>, Problem> {
    blocking(move || api.queries.segment(&name)).await.map(Json)
}

/// How a definition may be said to be written; without a word it is one of these.
const DEFINITION_TYPES: [&str; 5] = ["application/json", "application/yaml", "application/x-yaml", "text/yaml", "text/plain"];

fn require_definition_type(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !DEFINITION_TYPES.contains(&essence) {
            let detail = format!(
                "a definition is YAML or JSON, sent as one of {}; this is `{essence}`",
                DEFINITION_TYPES.join(", ")
            );
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body is of a type that is not taken here",
                detail,
            ));
        }
    }
    Ok(())
}

/// Answers once the definition is on the control topic; the shards take it up from there.
async fn put_segment(State(api): State<Api>, Path(name): Path<String>, headers: HeaderMap, text: String) -> Result<StatusCode, Problem> {
    require_definition_type(&headers)?;
    blocking(move || api.commands.put_segment(&name, &text)).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /v1/segments`: all definitions of the body are put in force, or none.
async fn apply(State(api): State<Api>, headers: HeaderMap, text: String) -> Result<Json<AppliedView>, Problem> {
    require_definition_type(&headers)?;
    blocking(move || api.commands.apply(&text)).await.map(Json)
}

async fn delete_segment(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    blocking(move || api.commands.delete_segment(&name)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn versions(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Vec<VersionView>>, Problem> {
    blocking(move || api.queries.versions(&name)).await.map(Json)
}

/// `to=VERSION` names the version; without it the last other one that was in force comes back.
async fn rollback(State(api): State<Api>, Path(name): Path<String>, Query(query): Parameters) -> Result<Json<RollbackView>, Problem> {
    let to = query.get("to").map(|text| text.parse::<u64>());
    let to = to.transpose().map_err(|_| Problem::bad_request("`to` is the number of a version"))?;
    blocking(move || {
        let restored = api.queries.version_to_restore(&name, to)?;
        api.commands.put_segment(&name, &restored.text)?;
        Ok(RollbackView { version: restored.version })
    })
    .await
    .map(Json)
}

/// `POST /v1/segments/preview`. A segment may be called `preview` all the same: the other methods are about it.
async fn preview(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Parameters,
    method: Method,
    uri: Uri,
    text: String,
) -> Result<Json<PreviewView>, Problem> {
    if name != "preview" {
        return Err(no_such_method(method, uri).await);
    }
    let sample_max = number(&query, "sample", SAMPLE_DEFAULT, 0..=SAMPLE_MAX)?;
    blocking(move || api.queries.preview(&text, sample_max)).await.map(Json)
}

async fn members(State(api): State<Api>, Path(name): Path<String>, Query(query): Parameters) -> Result<Json<Page<MemberView>>, Problem> {
    let page = page(&query)?;
    blocking(move || api.queries.members(&name, &page)).await.map(Json)
}

/// Records are taken from this machine only.
fn near(peer: SocketAddr) -> Result<(), Problem> {
    if peer.ip().is_loopback() {
        return Ok(());
    }
    let detail = "records are taken from this machine only; produce to the source topics instead";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not from where you are", detail))
}

/// Each line as JSON, or what is wrong with it. A byte-order mark, CRLF and bytes that are no text concern their own line alone.
fn json_lines<T: DeserializeOwned>(body: &[u8]) -> Vec<Result<T, String>> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let read = |line: &[u8]| {
        let line = std::str::from_utf8(line).map_err(|error| format!("no UTF-8 text from byte {} on", error.valid_up_to() + 1))?;
        serde_json::from_str(line).map_err(|error| error.to_string())
    };
    let whole = body.strip_suffix(b"\n").unwrap_or(body);
    if whole.is_empty() {
        Vec::new()
    } else {
        whole.split(|byte| *byte == b'\n').map(read).collect()
    }
}

/// `strict=true` refuses records with fields that no schema knows.
async fn records(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(query): Parameters,
    body: Bytes,
) -> Result<Json<AppendView>, Problem> {
    near(peer)?;
    let strict = flag(&query, "strict")?;
    blocking(move || api.commands.append(json_lines::<RecordLine>(&body), strict)).await.map(Json)
}

async fn import(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    Query(query): Parameters,
    body: Bytes,
) -> Result<Json<ImportView>, Problem> {
    near(peer)?;
    let replace = match (flag(&query, "replace")?, flag(&query, "allowEmpty")?) {
        (false, _) => Replace::Nobody,
        (true, false) => Replace::All,
        (true, true) => Replace::AllEvenByNobody,
    };
    blocking(move || api.commands.import(&name, json_lines::<MemberLine>(&body), replace))
        .await
        .map(Json)
}

/// Membership changes, one JSON object a line. `from=start|end`; `follow=false` ends when everything that was there has been sent.
async fn changes(State(api): State<Api>, Query(query): Parameters) -> Result<Response, Problem> {
    let from = match query.get("from").map(String::as_str) {
        None | Some("start") => ChangesFrom::Start,
        Some("end") => ChangesFrom::End,
        Some(other) => return Err(Problem::bad_request(format!("`from` is `{other}`; expected `start` or `end`"))),
    };
    let follow = match query.get("follow").map(String::as_str) {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(Problem::bad_request(format!("`follow` is `{other}`; expected `true` or `false`"))),
    };
    let changes = blocking(move || api.commands.changes(from)).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], stream::body(changes, follow)).into_response())
}

async fn dead_letters(State(api): State<Api>, Query(query): Parameters) -> Result<Json<Vec<DeadLetterView>>, Problem> {
    let limit = page(&query)?.limit;
    blocking(move || api.commands.dead_letters(limit)).await.map(Json)
}

/// `namespace:id`, as profiles show it.
fn canonical(text: &str) -> Result<Identity, Problem> {
    Identity::parse(text).map_err(|error| Problem::bad_request(format!("{error}; ask /v1/persons/{{namespace}}/{{id}} or /v1/persons/{{namespace:id}}")))
}

/// A source key, or `b2b_account:` and a source key.
fn account_identity(text: &str) -> Result<Identity, Problem> {
    let key = text.strip_prefix(namespace::ACCOUNT).and_then(|rest| rest.strip_prefix(':')).unwrap_or(text);
    Identity::new(namespace::ACCOUNT, key).ok_or_else(|| Problem::bad_request("an account is asked for by its source key"))
}

fn flag(query: &BTreeMap<String, String>, name: &str) -> Result<bool, Problem> {
    match query.get(name).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Problem::bad_request(format!("`{name}` is `{other}`; expected `true` or `false`"))),
    }
}

fn page(query: &BTreeMap<String, String>) -> Result<PageRequest, Problem> {
    Ok(PageRequest {
        limit: number(query, "limit", PAGE_DEFAULT, 1..=PAGE_MAX)?,
        after: query.get("after").cloned(),
    })
}

fn number(query: &BTreeMap<String, String>, name: &str, absent: usize, range: RangeInclusive<usize>) -> Result<usize, Problem> {
    match query.get(name).map(|text| text.parse::<usize>()) {
        None => Ok(absent),
        Some(Ok(number)) if range.contains(&number) => Ok(number),
        Some(_) => Err(Problem::bad_request(format!("`{name}` is a number from {} to {}", range.start(), range.end()))),
    }
}

fn instant(text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).map_err(|_| Problem::bad_request(format!("`at` is `{text}`; expected RFC 3339, such as 2026-03-31T12:00:00Z")))
}
