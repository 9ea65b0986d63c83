//! Delivery by HTTP calls.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_config::Secret;
use millrace_connect::backoff::retry_after;
use millrace_connect::secret::Confidential;
use millrace_connect::sink::{Answer, BatchLimits, Change, Delivery, Destination, Refusal};
use millrace_connect::token::{Grant, TokenCache};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::client;
use crate::config::{Authentication, Config, ConfigError, Results};
use crate::mapping::{self, Template};

/// How much of an answer a dead letter keeps.
const ANSWER_CHARS_MAX: usize = 2_000;

/// A larger answer is not read: no such system sends one.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Any system with an HTTP interface.
pub struct HttpSink {
    config: Config,
    method: Method,
    url: Url,
    proof: Proof,
    template: Template,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

/// The authentication of calls, with secrets read.
enum Proof {
    None,
    Bearer(Confidential),
    Basic(String, Confidential),
    Oauth(Box<Oauth>),
    Webhook(Vec<u8>),
    Hmac(String, Vec<u8>),
}

struct Oauth {
    token_url: Url,
    client_id: String,
    client_secret: Confidential,
    scope: Option<String>,
    cache: TokenCache,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// The outcome of one call.
enum Called {
    Answered { status: u16, wait: Option<Duration>, body: String },
    Failed(String),
}

impl HttpSink {
    /// # Errors
    /// Where settings, secrets or certificates cannot be used.
    pub fn new(config: Config) -> Result<HttpSink, ConfigError> {
        let template = Template::new(config.body.as_deref()).map_err(ConfigError::Template)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| ConfigError::File {
                path: "the event queue".to_owned(),
                source,
            })?;
        Ok(HttpSink {
            method: Method::from_bytes(config.method.as_bytes()).unwrap_or(Method::POST),
            url: config.url()?,
            proof: proof(&config.authentication)?,
            client: client::build(&config)?,
            template,
            runtime,
            config,
        })
    }

    /// The body that these changes would be sent with, for a preview.
    ///
    /// # Errors
    /// Where the template fails on them.
    pub fn preview(&self, changes: &[Change]) -> Result<String, String> {
        self.template.body(changes)
    }

    async fn call(&self, changes: &[Change], body: &str) -> Called {
        let mut request = self
            .client
            .request(self.method.clone(), self.url.clone())
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        let (request, token) = match self.prove(request, changes, body).await {
            Ok(proven) => proven,
            Err(reason) => return Called::Failed(reason),
        };
        let response = match request.body(body.to_owned()).send().await {
            Ok(response) => response,
            Err(error) => return Called::Failed(client::said(error)),
        };
        let status = response.status().as_u16();
        if status == 401
            && let (Proof::Oauth(oauth), Some(token)) = (&self.proof, token)
        {
            oauth.cache.refused(&token).await;
        }
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = header.and_then(|header| retry_after(header, SystemTime::now()));
        if response.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX as u64) {
            return Called::Failed("the answer is too large".to_owned());
        }
        match response.text().await {
            Ok(body) => Called::Answered { status, wait, body },
            Err(error) => Called::Failed(client::said(error)),
        }
    }

    async fn prove(&self, request: RequestBuilder, changes: &[Change], body: &str) -> Result<(RequestBuilder, Option<Confidential>), String> {
        Ok(match &self.proof {
            Proof::None => (request, None),
            Proof::Bearer(token) => (request.bearer_auth(token.reveal()), None),
            Proof::Basic(user, password) => (request.basic_auth(user, Some(password.reveal())), None),
            Proof::Oauth(oauth) => {
                let token = oauth.cache.get(|| self.grant(oauth)).await?;
                (request.bearer_auth(token.reveal()), Some(token))
            }
            Proof::Webhook(key) => {
                let id = mapping::message_id(changes);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let now = i64::try_from(now).unwrap_or(i64::MAX);
                let signature = mapping::webhook_signature(key, &id, now, body);
                let request = request
                    .header("webhook-id", id)
                    .header("webhook-timestamp", now)
                    .header("webhook-signature", signature);
                (request, None)
            }
            Proof::Hmac(header, key) => (request.header(header, mapping::hex_signature(key, body)), None),
        })
    }

    async fn grant(&self, oauth: &Oauth) -> Result<Grant, String> {
        let mut form = vec![("grant_type", "client_credentials")];
        if let Some(scope) = &oauth.scope {
            form.push(("scope", scope));
        }
        let request = self
            .client
            .post(oauth.token_url.clone())
            .basic_auth(&oauth.client_id, Some(oauth.client_secret.reveal()))
            .form(&form);
        let response = request.send().await.map_err(client::said)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("the identity service answers {status}"));
        }
        let answer: TokenAnswer = response.json().await.map_err(client::said)?;
        Ok(Grant {
            token: Confidential::new(answer.access_token),
            lives: Duration::from_secs(answer.expires_in.unwrap_or(300)),
        })
    }

    /// The result of each change, from the answer to a call.
    fn answers(&self, changes: &[Change], body: &str, called: Called) -> (Vec<Answer>, Option<Duration>) {
        let same = |answer: Answer| vec![answer; changes.len()];
        let (status, wait, text) = match called {
            Called::Failed(reason) => return (same(Answer::Later(reason)), None),
            Called::Answered { status, wait, body } => (status, wait, body),
        };
        if self.config.repeats(status) {
            return (same(Answer::Later(format!("status {status}"))), wait);
        }
        let refusal = |reason: String| Refusal {
            reason,
            request: body.to_owned(),
            answer: text.chars().take(ANSWER_CHARS_MAX).collect(),
        };
        if !self.config.takes(status) {
            return (same(Answer::Together(refusal(format!("status {status}")))), wait);
        }
        let Some(results) = &self.config.results else {
            return (same(Answer::Accepted), wait);
        };
        let items = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| value.pointer(&results.items)?.as_array().cloned());
        match items {
            Some(items) if items.len() == changes.len() => (items.iter().map(|item| one(results, item, &refusal)).collect(), wait),
            _ => {
                let reason = format!("the answer has no array of {} results at `{}`", changes.len(), results.items);
                (same(Answer::Later(reason)), wait)
            }
        }
    }
}

fn one(results: &Results, item: &Value, refusal: &impl Fn(String) -> Refusal) -> Answer {
    let found = item.pointer(&results.field).unwrap_or(&Value::Null);
    if results.accepted.contains(found) {
        Answer::Accepted
    } else if results.retry.contains(found) {
        Answer::Later(format!("`{}` is {found}", results.field))
    } else {
        Answer::Refused(refusal(format!("`{}` is {found}", results.field)))
    }
}

impl Destination for HttpSink {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records_max: self.config.records_per_call * self.config.calls_at_once,
            wait: Duration::from_millis(self.config.wait_ms),
        }
    }

    fn calls(&self, batch: &[Change]) -> u64 {
        batch.len().div_ceil(self.config.records_per_call) as u64
    }

    fn request(&self, batch: &[Change]) -> Option<String> {
        let first = batch.chunks(self.config.records_per_call).next()?;
        Some(self.preview(first).unwrap_or_else(|reason| format!("the template fails: {reason}")))
    }

    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        let sink = &*self;
        let calls: Vec<_> = batch
            .chunks(sink.config.records_per_call)
            .map(|changes| async move {
                match sink.template.body(changes) {
                    Ok(body) => {
                        let called = sink.call(changes, &body).await;
                        (sink.answers(changes, &body, called), 1)
                    }
                    Err(reason) => {
                        let refusal = Refusal {
                            reason,
                            request: String::new(),
                            answer: String::new(),
                        };
                        ((vec![Answer::Together(refusal); changes.len()], None), 0)
                    }
                }
            })
            .collect();
        let outcomes = self.runtime.block_on(all(calls));
        let mut delivery = Delivery {
            answers: Vec::with_capacity(batch.len()),
            wait: None,
            calls: 0,
        };
        for ((answers, wait), calls) in outcomes {
            // A call of one change that is refused together is refused; the frame halves only its
            // own batches.
            let alone = answers.len() == 1;
            delivery.answers.extend(answers.into_iter().map(|answer| match answer {
                Answer::Together(refusal) if alone => Answer::Refused(refusal),
                other => other,
            }));
            delivery.wait = delivery.wait.max(wait);
            delivery.calls += calls;
        }
        delivery
    }
}

/// Drives every call to its end, all at the same time on this thread.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (slot, outcome) in waiting.iter_mut().zip(&mut done) {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => {
                    *outcome = Some(output);
                    *slot = None;
                }
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}

fn proof(authentication: &Authentication) -> Result<Proof, ConfigError> {
    let read = |text: &str| Secret::new("secret", text).reveal().map_err(ConfigError::Secret);
    Ok(match authentication {
        Authentication::None => Proof::None,
        Authentication::Bearer(token) => Proof::Bearer(Confidential::new(read(token)?)),
        Authentication::Basic { user, password } => Proof::Basic(user.clone(), Confidential::new(read(password)?)),
        Authentication::Oauth {
            token_url,
            client_id,
            client_secret,
            scope,
        } => Proof::Oauth(Box::new(Oauth {
            token_url: Url::parse(token_url).map_err(|error| ConfigError::Value(format!("`tokenUrl`: {error}")))?,
            client_id: client_id.clone(),
            client_secret: Confidential::new(read(client_secret)?),
            scope: scope.clone(),
            cache: TokenCache::default(),
        })),
        Authentication::Webhook { secret } => Proof::Webhook(mapping::webhook_key(&read(secret)?).map_err(ConfigError::Value)?),
        Authentication::Hmac { header, secret } => Proof::Hmac(header.clone(), read(secret)?.into_bytes()),
    })
}
