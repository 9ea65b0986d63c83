//! Marketo's REST API: tokens, the envelope with its errors inside HTTP 200, the limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_connect::budget::Budget;
use millrace_connect::http::{self, HttpError};
use millrace_connect::secret::Confidential;
use millrace_connect::source::{SourceError, Status};
use millrace_connect::token::{Grant, TokenCache};
use millrace_model::Cause;
use reqwest::header::{CONTENT_TYPE, RANGE};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use url::Url;

use crate::instance::Instance;

/// Longer than the longest of Marketo's own time-outs for reads (300 s for a paging token).
const TIMEOUT: Duration = Duration::from_secs(310);

/// Marketo refuses addresses of 8 KiB; a longer query goes as a form.
const QUERY_BYTES_MAX: usize = 6_000;

const FORM: &str = "application/x-www-form-urlencoded";

/// Length of Marketo's window of calls.
const WINDOW: Duration = Duration::from_secs(20);

/// A call refused by one of Marketo's codes that says something about the call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The frame of sources and sinks knows what to do about it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// `code`, Marketo's number; `message`, Marketo's text.
    #[error("Marketo answers {code}: {message}")]
    Code {
        /// Marketo's number.
        code: String,
        /// Marketo's words.
        message: String,
    },
    /// HTTP 404: the file does not exist yet.
    #[error("Marketo has no such file")]
    NotFound,
}

impl From<CallError> for SourceError {
    fn from(error: CallError) -> SourceError {
        match error {
            CallError::Source(error) => error,
            other => SourceError::Refused(Cause::of(other.to_string(), other)),
        }
    }
}

/// Names and values of a query; a name may come several times.
pub type Parameters = Vec<(&'static str, String)>;

/// The client of one source or one sink for one instance.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    id: Confidential,
    secret: Confidential,
    tokens: TokenCache,
    budget: Arc<Budget>,
    /// The name under which the budget counts.
    user: String,
    status: Arc<Status>,
    /// Calls made, without those for tokens.
    calls: AtomicU64,
}

enum Body {
    Get,
    Post(Value),
    Form(Parameters),
    Delete(Value),
}

impl Client {
    /// # Errors
    /// Where the system's certificates cannot be read.
    pub fn new(instance: &Instance, budget: Arc<Budget>, status: Arc<Status>) -> Result<Client, reqwest::Error> {
        Ok(Client {
            http: http::client(TIMEOUT)?,
            base: instance.url.clone(),
            id: instance.client_id.clone(),
            secret: instance.client_secret.clone(),
            tokens: TokenCache::default(),
            budget,
            user: status.name().to_owned(),
            status,
            calls: AtomicU64::new(0),
        })
    }

    /// Reads; the envelope of a success.
    pub async fn get(&self, path: &str, parameters: &Parameters) -> Result<Value, CallError> {
        self.call(path, parameters, &Body::Get).await
    }

    /// Writes, or begins a job.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value, CallError> {
        self.call(path, &Vec::new(), &Body::Post(body)).await
    }

    /// Writes where Marketo requires a form.
    pub async fn post_form(&self, path: &str, form: Parameters) -> Result<Value, CallError> {
        self.call(path, &Vec::new(), &Body::Form(form)).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str, body: Value) -> Result<Value, CallError> {
        self.call(path, &Vec::new(), &Body::Delete(body)).await
    }

    /// Calls made so far, without those for tokens.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Part of a file, from byte `from` on, at most `length` bytes.
    pub async fn file(&self, path: &str, from: u64, length: u64) -> Result<Vec<u8>, CallError> {
        let token = self.token().await?;
        let _permit = self.budget.acquire(&self.user).await.map_err(SourceError::from)?;
        let range = format!("bytes={from}-{}", from + length - 1);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let request = self.http.get(self.url(path)).bearer_auth(token.reveal()).header(RANGE, range);
        let response = request.send().await.map_err(|error| self.failed(HttpError::no_answer(error)))?;
        if response.status() == StatusCode::NOT_FOUND {
            self.status.request("404");
            return Err(CallError::NotFound);
        }
        let whole = response.status() == StatusCode::OK;
        let response = http::checked(response).await.map_err(|error| self.failed(error))?;
        let bytes = response.bytes().await.map_err(|error| self.failed(HttpError::no_answer(error)))?;
        self.status.request("ok");
        // A refusal of the token comes as an envelope in place of the file.
        if let Ok(envelope) = serde_json::from_slice::<Value>(&bytes)
            && envelope.get("success") == Some(&Value::Bool(false))
        {
            return Err(self.refused(&envelope, &token).await);
        }
        let part = if whole {
            bytes.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default()
        } else {
            &bytes
        };
        Ok(part.to_vec())
    }

    /// Adds the calls of today, by all integrations as the instance reports them, to the budget.
    pub async fn take_usage(&self) -> Result<(), CallError> {
        let usage = self.get("rest/v1/stats/usage.json", &Vec::new()).await?;
        if let Some(total) = usage["result"][0]["total"].as_u64() {
            self.budget.seen(total);
        }
        Ok(())
    }

    /// The calls of the instance that are left, shared by everything that calls it.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The name under which the budget counts.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// One call. A token that expired during the call is replaced once; a second refusal means bad
    /// credentials.
    async fn call(&self, path: &str, parameters: &Parameters, body: &Body) -> Result<Value, CallError> {
        let mut renewed = false;
        loop {
            let token = self.token().await?;
            let envelope = {
                let _permit = self.budget.acquire(&self.user).await.map_err(SourceError::from)?;
                self.send(path, parameters, body, &token).await.map_err(|error| self.failed(error))?
            };
            self.status.quota(self.budget.left(&self.user));
            if envelope.get("success") == Some(&Value::Bool(true)) {
                self.status.request("ok");
                return Ok(envelope);
            }
            match self.refused(&envelope, &token).await {
                CallError::Code { code, .. } if matches!(code.as_str(), "601" | "602") && !renewed => renewed = true,
                CallError::Code { code, message } if matches!(code.as_str(), "601" | "602") => {
                    return Err(SourceError::Denied(format!("Marketo refuses a new access token with {code}: {message}").into()).into());
                }
                error => return Err(error),
            }
        }
    }

    async fn send(&self, path: &str, parameters: &Parameters, body: &Body, token: &Confidential) -> Result<Value, HttpError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let request = self.request(path, parameters, body).bearer_auth(token.reveal());
        let response = request.send().await.map_err(HttpError::no_answer)?;
        let response = http::checked(response).await?;
        response.json().await.map_err(HttpError::no_answer)
    }

    fn request(&self, path: &str, parameters: &Parameters, body: &Body) -> RequestBuilder {
        let mut url = self.url(path);
        match body {
            Body::Post(body) => self.http.post(url).json(body),
            Body::Delete(body) => self.http.delete(url).json(body),
            Body::Form(form) => self.http.post(url).header(CONTENT_TYPE, FORM).body(encoded(form)),
            Body::Get => {
                let query = encoded(parameters);
                if query.len() > QUERY_BYTES_MAX {
                    url.set_query(Some("_method=GET"));
                    return self.http.post(url).header(CONTENT_TYPE, FORM).body(query);
                }
                url.set_query((!query.is_empty()).then_some(&query));
                self.http.get(url)
            }
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    async fn token(&self) -> Result<Confidential, SourceError> {
        self.tokens
            .get(|| async {
                let mut url = self.url("identity/oauth/token");
                url.query_pairs_mut()
                    .append_pair("grant_type", "client_credentials")
                    .append_pair("client_id", self.id.reveal())
                    .append_pair("client_secret", self.secret.reveal());
                let response = self.http.get(url).send().await.map_err(HttpError::no_answer);
                let granted: Result<Value, HttpError> = async { http::checked(response?).await?.json().await.map_err(HttpError::no_answer) }.await;
                let granted = granted.map_err(|error| self.failed(error))?;
                let (Some(token), Some(seconds)) = (granted["access_token"].as_str(), granted["expires_in"].as_u64()) else {
                    return Err(SourceError::Refused("Marketo grants no access token".into()));
                };
                Ok(Grant {
                    token: Confidential::new(token),
                    lives: Duration::from_secs(seconds),
                })
            })
            .await
    }

    /// Counts the failed call, and sorts its error for the frame.
    fn failed(&self, error: HttpError) -> SourceError {
        let disposition = error.disposition();
        let cause = Cause::of(error.to_string(), error);
        match disposition {
            http::Disposition::Retry { after } => {
                self.status.request("unavailable");
                SourceError::Retry { reason: cause, after }
            }
            http::Disposition::Denied => {
                self.status.request("denied");
                SourceError::Denied(cause)
            }
            http::Disposition::Refused => {
                self.status.request("refused");
                SourceError::Refused(cause)
            }
        }
    }

    /// The meaning of an envelope without success.
    async fn refused(&self, envelope: &Value, token: &Confidential) -> CallError {
        let first = &envelope["errors"][0];
        let code = first["code"].as_str().unwrap_or("unknown").to_owned();
        let message = first["message"].as_str().unwrap_or_default().to_owned();
        self.status.request(&code);
        tracing::debug!(code, message, request = envelope["requestId"].as_str(), "Marketo refuses a call");
        let retry = |after| SourceError::Retry {
            reason: format!("Marketo answers {code}: {message}").into(),
            after,
        };
        match code.as_str() {
            "601" | "602" => {
                self.tokens.refused(token).await;
                CallError::Code { code, message }
            }
            "606" => {
                self.budget.close_for(WINDOW);
                retry(Some(WINDOW)).into()
            }
            "607" => SourceError::from(self.budget.exhausted()).into(),
            "604" | "608" | "611" | "614" | "615" | "713" | "719" => retry(None).into(),
            "603" | "616" => SourceError::Denied(format!("Marketo answers {code}: {message}").into()).into(),
            _ => CallError::Code { code, message },
        }
    }
}

/// The rows of an envelope; none where it has no result.
pub fn result(envelope: &Value) -> &[Value] {
    envelope["result"].as_array().map_or(&[], Vec::as_slice)
}

fn encoded(parameters: &Parameters) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}
