//! Single calls of LinkedIn's interface: access tokens, the version, and what each refusal means for
//! the calls after it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use millrace_connect::backoff::retry_after;
use millrace_connect::budget::{Budget, WallClock};
use millrace_connect::http::{self, HttpError};
use millrace_connect::secret::Confidential;
use millrace_connect::token::{Grant, TokenCache};
use millrace_model::{Timestamp, chain};
use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

use crate::config::{Config, Credentials};
use crate::mapping::masked;

/// A call with 5,000 members takes seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// LinkedIn names no wait where a minute's calls are spent.
const THROTTLED: Duration = Duration::from_secs(60);
/// The most that is added to `THROTTLED`, so that several processes do not come back together.
const JITTER_MS: i64 = 15_000;
/// Throttled for this long, the day's calls must be spent: LinkedIn answers both in the same words.
const DAY_SPENT_AFTER_MS: i64 = 5 * 60_000;

/// How long a call rests that only a person can make succeed.
pub const REST: Duration = Duration::from_secs(300);

/// The life of an access token that cannot be asked about; a shorter one is noticed by its refusal.
const ACCESS_LIVES: Duration = Duration::from_secs(60 * 86_400);

/// The most characters of an answer that a message shows.
const TEXT_CHARS_MAX: usize = 300;

/// Why a call has no usable answer. No text holds an address or a token.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The same call may succeed later; `None`: after the frame's own back-off.
    #[error("{0}")]
    Later(String, Option<Duration>),
    /// Nothing changes until a person acts.
    #[error("{0}")]
    Held(String),
    /// There is no such segment, or not yet.
    #[error("{0}")]
    NotFound(String),
    /// The call itself is refused: 400, 413 and the like.
    #[error("{0}")]
    Refused(String),
}

/// What is known of LinkedIn beyond single calls.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    access_ends: Option<Timestamp>,
    consent_ends: Option<Timestamp>,
    /// No call before this.
    closed_until: Option<Timestamp>,
    throttled_since: Option<Timestamp>,
    version_dead: bool,
}

/// The ends that a person should know of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Of an access token that nothing renews.
    pub access: Option<Timestamp>,
    /// Of the consent, with its refresh token.
    pub consent: Option<Timestamp>,
    /// LinkedIn has ended the version.
    pub version_dead: bool,
}

/// A call before it is made.
pub struct Request<'a> {
    pub verb: reqwest::Method,
    /// After `/rest/`.
    pub path: &'a str,
    pub query: &'a [(&'a str, String)],
    /// The Rest.li method where it does not follow from the verb.
    pub method: Option<&'static str>,
    pub body: Option<&'a Value>,
}

/// The answer to a successful call: the body, null where it is empty, and the id of what was created.
pub type Called = (Value, Option<u64>);

/// The client of one destination.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    auth_url: Url,
    version: String,
    credentials: Credentials,
    tokens: TokenCache,
    budget: Arc<Budget>,
    /// The name under which the budget counts.
    user: String,
    now: WallClock,
    known: Mutex<Known>,
    /// Calls made, without those for tokens.
    calls: AtomicU64,
}

impl Client {
    /// `user`: the destination's name, under which the budget counts.
    ///
    /// # Errors
    /// Where the system's certificates cannot be read.
    pub fn new(config: &Config, budget: Arc<Budget>, user: &str, now: WallClock) -> Result<Client, reqwest::Error> {
        Ok(Client {
            http: http::client(TIMEOUT)?,
            url: config.url.clone(),
            auth_url: config.auth_url.clone(),
            version: config.version.clone(),
            credentials: config.credentials.clone(),
            tokens: TokenCache::default(),
            budget,
            user: user.to_owned(),
            now,
            known: Mutex::default(),
            calls: AtomicU64::new(0),
        })
    }

    /// Calls made so far, without those for tokens.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls left today, where that is known.
    pub fn quota_left(&self) -> Option<u64> {
        self.budget.left(&self.user).calls
    }

    /// How long this number of calls takes at least.
    pub fn takes(&self, calls: u64) -> Duration {
        self.budget.takes(calls, &self.user)
    }

    pub fn ends(&self) -> Ends {
        let known = self.known();
        Ends {
            access: known.access_ends.filter(|_| matches!(self.credentials, Credentials::Access { .. })),
            consent: known.consent_ends,
            version_dead: known.version_dead,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call. An access token that ended is replaced once; a second refusal means that the consent
    /// is gone.
    pub async fn call(&self, request: &Request<'_>) -> Result<Called, CallError> {
        let mut renewed = false;
        loop {
            self.open()?;
            let token = self.token().await?;
            let response = {
                let permit = self.budget.acquire(&self.user).await;
                let _permit = permit.map_err(|spent| CallError::Later(spent.to_string(), Some(self.until(spent.resets_at))))?;
                self.calls.fetch_add(1, Ordering::Relaxed);
                self.request(request).bearer_auth(token.reveal()).send().await.map_err(no_answer)?
            };
            let status = response.status();
            if status.is_success() {
                self.known().throttled_since = None;
                return called(response).await;
            }
            let error = self.refused(response).await;
            if status != StatusCode::UNAUTHORIZED {
                return Err(error);
            }
            self.tokens.refused(&token).await;
            if renewed {
                return Err(CallError::Held(format!("{error}; a member must consent again")));
            }
            renewed = true;
        }
    }

    /// An error while LinkedIn wants no calls.
    fn open(&self) -> Result<(), CallError> {
        let now = (self.now)();
        let closed = self.known().closed_until.filter(|until| *until > now);
        match closed {
            Some(until) => Err(CallError::Later(
                format!("LinkedIn's limit of calls is reached; more at {until}"),
                Some(self.until(until)),
            )),
            None => Ok(()),
        }
    }

    fn until(&self, at: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(at.0 - (self.now)().0).unwrap_or_default())
    }

    fn request(&self, request: &Request<'_>) -> RequestBuilder {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/rest/{}", self.url.path().trim_end_matches('/'), request.path));
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        let mut built = self
            .http
            .request(request.verb.clone(), url)
            .header("LinkedIn-Version", &self.version)
            .header("X-Restli-Protocol-Version", "2.0.0");
        if let Some(method) = request.method {
            built = built.header("X-RestLi-Method", method);
        }
        match request.body {
            Some(body) => built.json(body),
            None => built,
        }
    }

    /// The meaning of an answer that is no success.
    async fn refused(&self, response: Response) -> CallError {
        let status = response.status();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = header.and_then(|header| retry_after(header, SystemTime::now()));
        let text = response.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let code = body["code"].as_str().unwrap_or_default();
        let said: String = masked(body["message"].as_str().unwrap_or(&text)).chars().take(TEXT_CHARS_MAX).collect();
        let reason = format!("LinkedIn answers {} {code}: {said}", status.as_u16());
        match status.as_u16() {
            401 | 403 => CallError::Held(reason),
            404 => CallError::NotFound(reason),
            426 => {
                self.known().version_dead = true;
                CallError::Held(format!("{reason}; set a newer `version`"))
            }
            // No limit of calls: an account holds 1,000 segments.
            429 if code == "SEGMENT_LIMIT_EXCEEDED" => CallError::Held(format!("{reason}; delete segments that are not used")),
            429 => {
                let wait = self.throttled(after);
                let again = (self.now)().plus_ms(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
                CallError::Later(format!("{reason}; more at {again}"), Some(wait))
            }
            408 | 409 | 425 | 500..=599 => CallError::Later(reason, after),
            _ => CallError::Refused(reason),
        }
    }

    /// Closes the way to LinkedIn for as long as a 429 means: as long as it says; else a minute, and
    /// where minutes do not help, until the day ends.
    fn throttled(&self, after: Option<Duration>) -> Duration {
        let now = (self.now)();
        let mut known = self.known();
        let since = *known.throttled_since.get_or_insert(now);
        let wait = match after {
            Some(after) => after,
            None if now.0 - since.0 >= DAY_SPENT_AFTER_MS => {
                let ends = self.budget.exhausted().resets_at;
                Duration::from_millis(u64::try_from(ends.0 - now.0).unwrap_or_default())
            }
            None => THROTTLED + Duration::from_millis(u64::try_from(now.0.rem_euclid(JITTER_MS)).unwrap_or_default()),
        };
        known.closed_until = Some(now.plus_ms(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
        wait
    }

    async fn token(&self) -> Result<Confidential, CallError> {
        self.tokens
            .get(|| async {
                match &self.credentials {
                    Credentials::Refresh {
                        client_id,
                        client_secret,
                        refresh_token,
                    } => {
                        let form = [
                            ("grant_type", "refresh_token"),
                            ("refresh_token", refresh_token.reveal()),
                            ("client_id", client_id),
                            ("client_secret", client_secret.reveal()),
                        ];
                        self.refreshed(&form).await
                    }
                    Credentials::Access { access_token, app } => {
                        if let Some((client_id, client_secret)) = app {
                            let form = [
                                ("token", access_token.reveal()),
                                ("client_id", client_id),
                                ("client_secret", client_secret.reveal()),
                            ];
                            self.introspected(&form).await?;
                        }
                        Ok(Grant {
                            token: access_token.clone(),
                            lives: ACCESS_LIVES,
                        })
                    }
                }
            })
            .await
    }

    /// A new access token. The refresh token keeps its end, which the answer names.
    async fn refreshed(&self, form: &[(&str, &str)]) -> Result<Grant, CallError> {
        let body = self.ask("accessToken", form).await?;
        let now = (self.now)();
        let ends = |field: &str| Some(now.plus_ms(body[field].as_i64()?.saturating_mul(1_000)));
        let (Some(token), Some(seconds)) = (body["access_token"].as_str(), body["expires_in"].as_u64()) else {
            return Err(CallError::Held("LinkedIn grants no access token".to_owned()));
        };
        self.known().consent_ends = ends("refresh_token_expires_in");
        Ok(Grant {
            token: Confidential::new(token),
            lives: Duration::from_secs(seconds),
        })
    }

    async fn introspected(&self, form: &[(&str, &str)]) -> Result<(), CallError> {
        let body = self.ask("introspectToken", form).await?;
        if body["active"] == Value::Bool(false) {
            return Err(CallError::Held(
                "the access token has ended or was revoked; a member must consent again".to_owned(),
            ));
        }
        self.known().access_ends = body["expires_at"].as_i64().map(|seconds| Timestamp(seconds.saturating_mul(1_000)));
        Ok(())
    }

    async fn ask(&self, path: &str, form: &[(&str, &str)]) -> Result<Value, CallError> {
        let mut url = self.auth_url.clone();
        url.set_path(&format!("{}/oauth/v2/{path}", self.auth_url.path().trim_end_matches('/')));
        let response = self.http.post(url).form(form).send().await.map_err(no_answer)?;
        let status = response.status();
        if status.is_success() {
            return Ok(called(response).await?.0);
        }
        let text = response.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = masked(body["error_description"].as_str().unwrap_or_default());
        let error = masked(body["error"].as_str().unwrap_or_default());
        let reason = format!("LinkedIn's token service answers {} {error}: {said}", status.as_u16());
        match status.as_u16() {
            408 | 425 | 429 | 500..=599 => Err(CallError::Later(reason, None)),
            _ => Err(CallError::Held(format!("{reason}; a member must consent again"))),
        }
    }
}

async fn called(response: Response) -> Result<Called, CallError> {
    let id = response.headers().get("x-restli-id").or_else(|| response.headers().get("x-linkedin-id"));
    let id = id.and_then(|value| value.to_str().ok()?.parse().ok());
    let text = response.text().await.map_err(no_answer)?;
    if text.is_empty() {
        return Ok((Value::Null, id));
    }
    match serde_json::from_str(&text) {
        Ok(body) => Ok((body, id)),
        Err(error) => Err(CallError::Later(format!("LinkedIn's answer is no JSON: {error}"), None)),
    }
}

fn no_answer(error: reqwest::Error) -> CallError {
    CallError::Later(chain(&HttpError::no_answer(error)), None)
}
