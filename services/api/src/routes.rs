//! The routes of the API and their handlers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use millrace_model::{Identity, SubjectKind, Timestamp, namespace};
use serde::Deserialize;

use crate::access::{EXPLAIN, PAGE, Role};
use crate::auth::Principal;
use crate::backend::{BackendError, ChangeLog, ChangesFrom, Commands, PageRequest, Queries, Replace, Subject, Within};
use crate::dto::{
    AccountView, AppendView, AppliedView, DeadLetterView, EventView, ExplainView, FoundView, ImportView, MemberView, OpportunityView, Page, PersonView,
    PreviewView, ReferenceView, RollbackView, SegmentView, VersionView,
};
use crate::feed::Feed;
use crate::gate::{Gate, Policy, known_parameter, pass};
use crate::openapi::openapi;
use crate::portions;
use crate::problem::{Problem, tell_as_problem};
use crate::queue::{Cancel, Queue};
use crate::sources::SOURCES_MAX;

/// Items of a list if the client gives no number, and the most of one answer.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Subjects of each kind that a preview shows if the client gives no number, and the most.
const SAMPLE_DEFAULT: usize = 10;
const SAMPLE_MAX: usize = 100;

/// The API's ports.
#[derive(Clone)]
pub struct Backend {
    pub queries: Arc<dyn Queries>,
    pub commands: Arc<dyn Commands>,
    pub changes: Arc<dyn ChangeLog>,
}

#[derive(Clone)]
struct Api {
    queries: Arc<dyn Queries>,
    commands: Arc<dyn Commands>,
    feed: Arc<Feed>,
    queues: Arc<Queues>,
}

/// Work on blocking threads, separated by cost. Together they are fewer than the threads
/// (`BLOCKING_THREADS_MAX`).
struct Queues {
    /// A few rows.
    cheap: Queue,
    /// A history, a list, the log: as long as it is.
    dear: Queue,
    /// All subjects.
    preview: Queue,
    /// Commands, one after the other where they must be.
    orders: Queue,
    /// Replacements of whole audiences, which are held in memory.
    imports: Queue,
}

/// The blocking threads that a runtime which serves the API needs: all queues full, that of sources
/// included, and eight for followers that catch up with changes.
pub const BLOCKING_THREADS_MAX: usize = 12 + 4 + 1 + 6 + 1 + SOURCES_MAX + 8;

impl Queues {
    fn new() -> Queues {
        Queues {
            cheap: Queue::new("look-ups", 12, 500),
            dear: Queue::new("explanations, histories and lists", 4, 100),
            preview: Queue::new("previews", 1, 8),
            orders: Queue::new("orders", 6, 100),
            imports: Queue::new("imports", 1, 8),
        }
    }
}

type Parameters = Query<BTreeMap<String, String>>;

/// The router of the API's port; `others` are the routes of this process that the backend does not
/// serve. Serve it with connection information (`serve` does).
pub fn api_router(backend: Backend, policy: Policy, others: Router) -> Router {
    let api = Api {
        queries: backend.queries,
        commands: backend.commands,
        feed: Feed::new(backend.changes),
        queues: Arc::new(Queues::new()),
    };
    let router = Router::new()
        .route("/", get(welcome))
        .route("/v1/persons", get(find_persons))
        .route("/v1/persons/{id}", get(person))
        .route("/v1/persons/{id}/events", get(person_events))
        .route("/v1/persons/{id}/explain", get(explain_person))
        .route("/v1/persons/{id}/{rest}", get(person_by_namespace))
        .route("/v1/persons/lookup", post(look_up))
        .route("/v1/persons/lookup/events", post(look_up_events))
        .route("/v1/persons/lookup/explain", post(look_up_explanation))
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
        .route("/v1/audiences/{name}/members", post(import))
        .route("/v1/records", post(records))
        .route("/v1/changes", get(changes))
        .route("/v1/dead-letters", get(dead_letters))
        .route("/openapi.json", get(|| async { Json(openapi()) }))
        .with_state(api);
    gated(router.merge(others), policy)
}

/// Routes with the gate in front of them: every route of the API's port goes through it.
pub fn gated(router: Router, policy: Policy) -> Router {
    // The gate limits bodies, route by route.
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Gate::new(policy), pass))
        .layer(map_response(tell_as_problem))
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

impl Api {
    /// Runs a question in its turn. The work can see whether the client has disconnected.
    async fn ask<T: Send + 'static>(
        self,
        queue: fn(&Queues) -> &Queue,
        work: impl FnOnce(&Api, &Cancel) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, Problem> {
        let queues = Arc::clone(&self.queues);
        queue(&queues).run(move |cancel| work(&self, cancel)).await
    }

    async fn cheap<T: Send + 'static>(self, work: impl FnOnce(&Api) -> Result<T, BackendError> + Send + 'static) -> Result<T, Problem> {
        self.ask(|queues| &queues.cheap, move |api, _| work(api)).await
    }

    async fn dear<T: Send + 'static>(self, work: impl FnOnce(&Api) -> Result<T, BackendError> + Send + 'static) -> Result<T, Problem> {
        self.ask(|queues| &queues.dear, move |api, _| work(api)).await
    }

    async fn order<T: Send + 'static>(self, work: impl FnOnce(&Api) -> Result<T, BackendError> + Send + 'static) -> Result<T, Problem> {
        self.ask(|queues| &queues.orders, move |api, _| work(api)).await
    }
}

/// For people who open the address in a browser.
async fn welcome() -> Html<&'static str> {
    Html(include_str!("welcome.html"))
}

async fn find_persons(State(api): State<Api>, Extension(principal): Extension<Principal>, Query(query): Parameters) -> Result<Json<Page<FoundView>>, Problem> {
    let within = if principal.role == Some(Role::Viewer) {
        Within::SourceKeys
    } else {
        Within::Everything
    };
    find(api, SubjectKind::Person, within, &query).await
}

async fn find_accounts(State(api): State<Api>, Query(query): Parameters) -> Result<Json<Page<FoundView>>, Problem> {
    find(api, SubjectKind::Account, Within::Everything, &query).await
}

async fn find(api: Api, kind: SubjectKind, within: Within, query: &BTreeMap<String, String>) -> Result<Json<Page<FoundView>>, Problem> {
    let page = page(query)?;
    let text = query.get("q").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Problem::bad_request(format!("`q` is missing: /v1/{}s?q=<part of a name or an identity>", kind.name())))?;
    api.dear(move |api| api.queries.find(kind, &text, within, &page)).await.map(Json)
}

async fn person(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<PersonView>, Problem> {
    let identity = canonical(&id)?;
    api.cheap(move |api| api.queries.person(&identity)).await.map(Json)
}

async fn person_by_namespace(State(api): State<Api>, Path((namespace, id)): Path<(String, String)>) -> Result<Json<PersonView>, Problem> {
    let identity = Identity::new(&namespace, &id).ok_or_else(|| Problem::bad_request("an identity needs a namespace and an id"))?;
    api.cheap(move |api| api.queries.person(&identity)).await.map(Json)
}

async fn person_events(State(api): State<Api>, Path(id): Path<String>, Query(query): Parameters) -> Result<Json<Page<EventView>>, Problem> {
    let (identity, page) = (canonical(&id)?, page(&query)?);
    api.dear(move |api| api.queries.person_events(&identity, &page)).await.map(Json)
}

async fn explain_person(State(api): State<Api>, Path(id): Path<String>, Query(query): Parameters) -> Result<Json<ExplainView>, Problem> {
    explain(api, Subject::Person(canonical(&id)?), &query).await
}

/// The person of a look-up, and the parameters that would otherwise be in the URL: so that no
/// identity appears in one.
#[derive(Deserialize, schemars::JsonSchema)]
pub struct LookUp {
    /// Absent: `id` is `namespace:id`.
    namespace: Option<String>,
    id: String,
    /// Parameters of the same names as on the equivalent GET routes.
    #[serde(default, flatten)]
    parameters: BTreeMap<String, Parameter>,
}

/// JSON has numbers, a query has only text: `"limit": 5` is `?limit=5`.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "a parameter is a text or a whole number")]
enum Parameter {
    Text(String),
    Number(u64),
}

impl Parameter {
    fn text(self) -> String {
        match self {
            Parameter::Text(text) => text,
            Parameter::Number(number) => number.to_string(),
        }
    }
}

impl LookUp {
    /// Whom the body names, and those of the parameters `known` that it has.
    fn read(body: &Bytes, known: &[&str]) -> Result<(Identity, BTreeMap<String, String>), Problem> {
        let asked: LookUp = serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("{error}; expected {{\"id\": \"namespace:id\"}}")))?;
        let identity = match &asked.namespace {
            Some(namespace) => Identity::new(namespace, &asked.id).ok_or_else(|| Problem::bad_request("an identity needs a namespace and an id"))?,
            None => canonical(&asked.id)?,
        };
        asked.parameters.keys().try_for_each(|name| known_parameter(name, known))?;
        let parameters = asked.parameters.into_iter().map(|(name, value)| (name, value.text()));
        Ok((identity, parameters.collect()))
    }
}

async fn look_up(State(api): State<Api>, body: Bytes) -> Result<Json<PersonView>, Problem> {
    let (identity, _) = LookUp::read(&body, &[])?;
    api.cheap(move |api| api.queries.person(&identity)).await.map(Json)
}

async fn look_up_events(State(api): State<Api>, body: Bytes) -> Result<Json<Page<EventView>>, Problem> {
    let (identity, query) = LookUp::read(&body, PAGE)?;
    let page = page(&query)?;
    api.dear(move |api| api.queries.person_events(&identity, &page)).await.map(Json)
}

async fn look_up_explanation(State(api): State<Api>, body: Bytes) -> Result<Json<ExplainView>, Problem> {
    let (identity, query) = LookUp::read(&body, EXPLAIN)?;
    explain(api, Subject::Person(identity), &query).await
}

async fn account(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<AccountView>, Problem> {
    let identity = account_identity(&key)?;
    api.cheap(move |api| api.queries.account(&identity)).await.map(Json)
}

async fn account_persons(State(api): State<Api>, Path(key): Path<String>, Query(query): Parameters) -> Result<Json<Page<ReferenceView>>, Problem> {
    let (identity, page) = (account_identity(&key)?, page(&query)?);
    api.dear(move |api| api.queries.account_persons(&identity, &page)).await.map(Json)
}

async fn account_opportunities(State(api): State<Api>, Path(key): Path<String>, Query(query): Parameters) -> Result<Json<Page<OpportunityView>>, Problem> {
    let (identity, page) = (account_identity(&key)?, page(&query)?);
    api.dear(move |api| api.queries.account_opportunities(&identity, &page)).await.map(Json)
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
    api.dear(move |api| api.queries.explain(&subject, &segment, at)).await.map(Json)
}

async fn segments(State(api): State<Api>) -> Result<Json<Vec<SegmentView>>, Problem> {
    api.dear(move |api| api.queries.segments()).await.map(Json)
}

async fn segment(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<SegmentView>, Problem> {
    api.cheap(move |api| api.queries.segment(&name)).await.map(Json)
}

/// Answers once the definition is on the control topic; the shards take it up from there.
async fn put_segment(State(api): State<Api>, Path(name): Path<String>, text: String) -> Result<StatusCode, Problem> {
    api.order(move |api| api.commands.put_segment(&name, &text))
        .await
        .map(|()| StatusCode::NO_CONTENT)
}

/// `POST /v1/segments`: applies all definitions of the body, or none.
async fn apply(State(api): State<Api>, text: String) -> Result<Json<AppliedView>, Problem> {
    api.order(move |api| api.commands.apply(&text)).await.map(Json)
}

async fn delete_segment(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    api.order(move |api| api.commands.delete_segment(&name)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn versions(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Vec<VersionView>>, Problem> {
    api.cheap(move |api| api.queries.versions(&name)).await.map(Json)
}

/// `to=VERSION` names the version; without it the one in force before comes back.
async fn rollback(State(api): State<Api>, Path(name): Path<String>, Query(query): Parameters) -> Result<Json<RollbackView>, Problem> {
    let to = query.get("to").map(|text| text.parse::<u64>());
    let to = to.transpose().map_err(|_| Problem::bad_request("`to` is the number of a version"))?;
    let rolled_back = api.order(move |api| {
        let restored = api.queries.version_to_restore(&name, to)?;
        api.commands.put_segment(&name, &restored.text)?;
        Ok(RollbackView { version: restored.version })
    });
    rolled_back.await.map(Json)
}

/// `POST /v1/segments/preview`. A segment may still be called `preview`: the other methods are
/// about it.
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
    let previewed = api.ask(|queues| &queues.preview, move |api, cancel| api.queries.preview(&text, sample_max, cancel));
    previewed.await.map(Json)
}

async fn members(State(api): State<Api>, Path(name): Path<String>, Query(query): Parameters) -> Result<Json<Page<MemberView>>, Problem> {
    let page = page(&query)?;
    api.dear(move |api| api.queries.members(&name, &page)).await.map(Json)
}

/// `strict=true` refuses records with fields in no schema.
async fn records(State(api): State<Api>, Query(query): Parameters, body: Bytes) -> Result<Json<AppendView>, Problem> {
    let strict = flag(&query, "strict")?;
    api.order(move |api| portions::append(&*api.commands, &body, strict)).await.map(Json)
}

async fn import(State(api): State<Api>, Path(name): Path<String>, Query(query): Parameters, body: Bytes) -> Result<Json<ImportView>, Problem> {
    let replace = match (flag(&query, "replace")?, flag(&query, "allowEmpty")?) {
        (false, _) => Replace::Nobody,
        (true, false) => Replace::All,
        (true, true) => Replace::AllEvenByNobody,
    };
    let imported = api.ask(|queues| &queues.imports, move |api, _| portions::import(&*api.commands, &name, &body, replace));
    imported.await.map(Json)
}

/// Membership changes, one JSON object per line. `from=start|end`; `follow=false` ends when
/// everything present has been sent.
async fn changes(State(api): State<Api>, Query(query): Parameters) -> Result<Response, Problem> {
    let from = match query.get("from").map(String::as_str) {
        None | Some("start") => ChangesFrom::Start,
        Some("end") => ChangesFrom::End,
        Some(other) => return Err(Problem::bad_request(format!("`from` is `{other}`; expected `start` or `end`"))),
    };
    let follow = query.get("follow").map(|_| flag(&query, "follow")).transpose()?.unwrap_or(true);
    let body = api.feed.body(from, follow).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

async fn dead_letters(State(api): State<Api>, Query(query): Parameters) -> Result<Json<Vec<DeadLetterView>>, Problem> {
    let limit = number(&query, "limit", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    api.dear(move |api| api.commands.dead_letters(limit)).await.map(Json)
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
