//! Salesforce's REST API: tokens, errors in arrays, the org's count of its calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, Header};
use millrace_connect::backoff::retry_after;
use millrace_connect::budget::{Budget, WallClock};
use millrace_connect::http::{self, HttpError};
use millrace_connect::secret::Confidential;
use millrace_connect::source::{SourceError, Status};
use millrace_connect::token::{Grant, TokenCache};
use millrace_model::{Cause, Timestamp};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::config::{Config, Credentials};
use crate::mapping::id18;

/// Longer than Salesforce lets a query run (120 s).
const TIMEOUT: Duration = Duration::from_secs(150);

/// Salesforce does not say how long a session lives, and use extends it. One that ended is replaced
/// when a call is refused, so this only bounds how long a token is kept.
const TOKEN_LIVES: Duration = Duration::from_secs(12 * 3_600);

/// An assertion may end at most three minutes from now; both clocks may be wrong by some seconds.
const ASSERTION_MS: i64 = 120_000;

/// The calls of any 24 hours are spent: some become free all the time.
const SPENT_WAIT: Duration = Duration::from_secs(15 * 60);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The frame of sources knows what to do about it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The call is refused by a code that says something about the call.
    #[error("Salesforce answers {code}: {message}")]
    Code { code: String, message: String },
}

impl From<CallError> for SourceError {
    fn from(error: CallError) -> SourceError {
        match error {
            CallError::Source(error) => error,
            other => SourceError::Refused(Cause::of(other.to_string(), other)),
        }
    }
}

/// An answer.
pub struct Reply {
    headers: HeaderMap,
    pub text: String,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// Where it is something else: a proxy or a maintenance page answered.
    pub fn json(&self) -> Result<Value, SourceError> {
        serde_json::from_str(&self.text).map_err(|error| SourceError::Retry {
            reason: Cause::of("an answer of Salesforce is no JSON", error),
            after: None,
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The org's own clock at the answer, in whole seconds.
    pub fn at(&self) -> Option<Timestamp> {
        let date = httpdate::parse_http_date(self.header(DATE.as_str())?).ok()?;
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Timestamp(i64::try_from(since.as_millis()).ok()?))
    }
}

/// Where the org answers, and which one it is.
#[derive(Clone, Debug)]
struct Org {
    base: Url,
    id: String,
}

/// The client of one source.
pub struct Client {
    http: reqwest::Client,
    config: Config,
    tokens: TokenCache,
    org: Mutex<Option<Org>>,
    budget: Arc<Budget>,
    now: WallClock,
    status: Arc<Status>,
    /// Calls made, without those for tokens.
    calls: AtomicU64,
}

impl Client {
    /// # Errors
    /// Where the system's certificates cannot be read.
    pub fn new(config: &Config, budget: Arc<Budget>, status: Arc<Status>, now: WallClock) -> Result<Client, reqwest::Error> {
        Ok(Client {
            http: http::client(TIMEOUT)?,
            config: config.clone(),
            tokens: TokenCache::default(),
            org: Mutex::new(None),
            budget,
            now,
            status,
            calls: AtomicU64::new(0),
        })
    }

    /// The id of the org, eighteen characters.
    pub async fn org(&self) -> Result<String, SourceError> {
        self.token().await?;
        Ok(self.held()?.id)
    }

    /// Reads a path after `/services/data/<version>/`, or the whole path of a next page.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Reply, CallError> {
        self.call(Method::GET, path, parameters, None).await
    }

    /// Begins a job.
    pub async fn post(&self, path: &str, body: Value) -> Result<Reply, CallError> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    /// Calls made so far, without those for tokens.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The calls of the org that are left, shared by everything that calls it.
    pub fn left(&self) -> millrace_connect::budget::Left {
        self.budget.left(self.status.name())
    }

    /// One call. A session that ended is replaced once; a second refusal means that the app lost its
    /// rights.
    async fn call(&self, method: Method, path: &str, parameters: &[(&str, &str)], body: Option<Value>) -> Result<Reply, CallError> {
        let mut renewed = false;
        loop {
            let token = self.token().await?;
            let reply = {
                let _permit = self.budget.acquire(self.status.name()).await.map_err(SourceError::from)?;
                self.calls.fetch_add(1, Ordering::Relaxed);
                let mut url = self.url(path)?;
                if !parameters.is_empty() {
                    url.query_pairs_mut().extend_pairs(parameters);
                }
                let mut request = self.http.request(method.clone(), url).bearer_auth(token.reveal());
                if let Some(body) = &body {
                    request = request.json(body);
                }
                self.answered(request.send().await).await?
            };
            match reply {
                Ok(reply) => {
                    self.status.request("ok");
                    return Ok(reply);
                }
                Err(refusal) if refusal.code == "INVALID_SESSION_ID" || refusal.status == StatusCode::UNAUTHORIZED => {
                    self.status.request(&refusal.code);
                    self.tokens.refused(&token).await;
                    if std::mem::replace(&mut renewed, true) {
                        let reason = format!("Salesforce refuses a new access token with {}: {}", refusal.code, refusal.message);
                        return Err(SourceError::Denied(reason.into()).into());
                    }
                }
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
    }

    /// The whole answer; takes what the org says about its calls.
    async fn answered(&self, sent: Result<reqwest::Response, reqwest::Error>) -> Result<Result<Reply, Refusal>, SourceError> {
        let response = sent.map_err(|error| self.unavailable(HttpError::no_answer(error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.map_err(|error| self.unavailable(HttpError::no_answer(error)))?;
        let reply = Reply { headers, text };
        if let Some((spent, allowed)) = reply.header("sforce-limit-info").and_then(usage) {
            if self.config.learns_limits {
                self.budget.allows(allowed);
            }
            self.budget.seen(spent);
            self.status.quota(self.left());
        }
        if status.is_success() {
            return Ok(Ok(reply));
        }
        Ok(Err(Refusal::new(status, &reply)))
    }

    fn unavailable(&self, error: HttpError) -> SourceError {
        self.status.request("unavailable");
        SourceError::Retry {
            reason: Cause::of(error.to_string(), error),
            after: None,
        }
    }

    /// What a refusal means.
    fn refused(&self, refusal: Refusal) -> CallError {
        let Refusal { status, code, message, after } = refusal;
        self.status.request(&code);
        let said: Cause = format!("Salesforce answers {code}: {message}").into();
        if code == "REQUEST_LIMIT_EXCEEDED" && message.starts_with("TotalRequests") {
            self.budget.close_for(SPENT_WAIT);
            return SourceError::Retry {
                reason: said,
                after: Some(SPENT_WAIT),
            }
            .into();
        }
        let patience = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        if patience || matches!(code.as_str(), "REQUEST_LIMIT_EXCEEDED" | "QUERY_TIMEOUT" | "UNABLE_TO_LOCK_ROW") {
            return SourceError::Retry { reason: said, after }.into();
        }
        if status == StatusCode::FORBIDDEN {
            return SourceError::Denied(said).into();
        }
        CallError::Code { code, message }
    }

    fn url(&self, path: &str) -> Result<Url, SourceError> {
        let mut url = self.held()?.base;
        if path.starts_with('/') {
            // A next page: a path of the org, whatever its answer may say of hosts.
            url.set_path(path);
        } else {
            url.set_path(&format!("/services/data/v{}/{path}", self.config.version));
        }
        Ok(url)
    }

    fn held(&self) -> Result<Org, SourceError> {
        let org = self.org.lock().unwrap_or_else(PoisonError::into_inner).clone();
        org.ok_or_else(|| SourceError::Refused("no token says which org this is".into()))
    }

    async fn token(&self) -> Result<Confidential, SourceError> {
        self.tokens.get(|| self.ask()).await
    }

    /// Asks for a token, and notes which org grants it and where that answers.
    async fn ask(&self) -> Result<Grant, SourceError> {
        let mut url = self.config.url.clone();
        url.set_path("/services/oauth2/token");
        let form = self.form()?;
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
        let reply = match self.answered(request.send().await).await? {
            Ok(reply) => reply.json()?,
            Err(refusal) => return Err(self.no_token(refusal)),
        };
        let org = reply["id"].as_str().and_then(|id| id.rsplit('/').nth(1)).map(id18);
        let base = reply["instance_url"].as_str().and_then(|url| Url::parse(url).ok());
        let (Some(token), Some(id), Some(base)) = (reply["access_token"].as_str(), org, base) else {
            return Err(SourceError::Refused("Salesforce grants no access token".into()));
        };
        *self.org.lock().unwrap_or_else(PoisonError::into_inner) = Some(Org { base, id });
        Ok(Grant {
            token: Confidential::new(token),
            lives: TOKEN_LIVES,
        })
    }

    fn form(&self) -> Result<Vec<(&'static str, String)>, SourceError> {
        match &self.config.credentials {
            Credentials::Secret(secret) => Ok(vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", self.config.client_id.clone()),
                ("client_secret", secret.reveal().to_owned()),
            ]),
            Credentials::Key { user, audience, key } => {
                // Seconds, not milliseconds.
                let ends = (self.now)().plus_ms(ASSERTION_MS).0 / 1_000;
                let claims = json!({"iss": self.config.client_id, "sub": user, "aud": audience, "exp": ends});
                let assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, key);
                let assertion = assertion.map_err(|error| SourceError::Denied(Cause::of("the private key cannot sign", error)))?;
                Ok(vec![
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
                    ("assertion", assertion),
                ])
            }
        }
    }

    /// Why there is no token; its errors are OAuth's, not those of the API.
    fn no_token(&self, refusal: Refusal) -> SourceError {
        let Refusal { status, code, message, after } = refusal;
        self.status.request(&code);
        let said: Cause = format!("Salesforce refuses the credentials with {code}: {message}").into();
        let patience = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if patience || matches!(code.as_str(), "server_error" | "temporarily_unavailable" | "rate_limit_exceeded") {
            return SourceError::Retry { reason: said, after };
        }
        SourceError::Denied(said)
    }
}

/// A call refused.
struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    after: Option<Duration>,
}

impl Refusal {
    /// From an array of errors, an error of OAuth, or a page that is neither.
    fn new(status: StatusCode, reply: &Reply) -> Refusal {
        let body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let code = text(&body[0]["errorCode"]).or_else(|| text(&body["error"]));
        let message = text(&body[0]["message"]).or_else(|| text(&body["error_description"]));
        let after = reply.header(RETRY_AFTER.as_str());
        Refusal {
            status,
            code: code.unwrap_or_else(|| status.as_u16().to_string()),
            message: message.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason").to_owned()),
            after: after.and_then(|header| retry_after(header, std::time::SystemTime::now())),
        }
    }
}

/// Calls spent and allowed, from `api-usage=18/5000; per-app-api-usage=17/250(appName=x)`.
fn usage(header: &str) -> Option<(u64, u64)> {
    let of_org = header.split(';').find_map(|part| part.trim().strip_prefix("api-usage="))?;
    let (spent, allowed) = of_org.split_once('/')?;
    Some((spent.trim().parse().ok()?, allowed.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::usage;

    #[test]
    fn the_count_of_the_org_is_read() {
        let table = [
            ("api-usage=18/5000", Some((18, 5_000))),
            ("api-usage=25/5000; per-app-api-usage=17/250(appName=x)", Some((25, 5_000))),
            ("per-app-api-usage=17/250(appName=x)", None),
            ("", None),
        ];
        for (header, expected) in table {
            assert_eq!(usage(header), expected, "{header}");
        }
    }
}
