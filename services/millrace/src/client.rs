//! The HTTP client of a running instance.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::Context;
use millrace_api::Problem;
use millrace_api::backend::{BackendError, ChangeReader, ChangesFrom, Commands, Placed, Positions, Replace};
use millrace_api::dto::{AppendView, AppliedView, DeadLetterView, ImportView, MemberLine, RecordLine, RejectedLine};
use millrace_config::Secret;
use reqwest::blocking::{Client as Http, Response};
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;
use crate::settings::Settings;

/// A restore may delay an answer; a stream has no end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The client of one instance.
pub struct Client {
    base: Url,
    http: Http,
    /// Sent with every request.
    token: Option<String>,
}

impl Client {
    /// For the instance that the settings name.
    ///
    /// # Errors
    /// A refusal where that is not a URL; where the token cannot be read.
    pub fn of(settings: &Settings) -> anyhow::Result<Client> {
        let token = settings
            .config
            .client_token
            .as_ref()
            .map(Secret::reveal)
            .transpose()
            .context("auth.client_token")?;
        Client::new(&settings.server_url(), token)
    }

    fn new(base: &str, token: Option<String>) -> anyhow::Result<Client> {
        let base = address("--server", base)?;
        let http = Http::builder()
            .timeout(None::<Duration>)
            .connect_timeout(Duration::from_secs(5))
            .build()
            .context("cannot set an HTTP client up")?;
        Ok(Client { base, http, token })
    }

    /// `GET` of the path made of `steps`, each percent-encoded as needed.
    ///
    /// # Errors
    /// The instance's error, or that it did not answer.
    pub fn get<T: DeserializeOwned>(&self, steps: &[&str], query: &[(&str, &str)]) -> anyhow::Result<T> {
        let response = self.send(Method::GET, steps, query, None, Some(TIMEOUT))?;
        response.json().context("the instance answers in a form this version cannot read")
    }

    /// As `get`; `None` where the instance has no such thing.
    ///
    /// # Errors
    /// As for `get`.
    pub fn look_up<T: DeserializeOwned>(&self, steps: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Option<T>> {
        match self.get(steps, query) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is::<NotFound>() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `POST`, with a text or without a body. Waits for the answer without a limit: a preview reads
    /// all subjects.
    ///
    /// # Errors
    /// As for `get`.
    pub fn post<T: DeserializeOwned>(&self, steps: &[&str], query: &[(&str, &str)], body: Option<String>) -> anyhow::Result<T> {
        let response = self.send(Method::POST, steps, query, body, None)?;
        response.json().context("the instance answers in a form this version cannot read")
    }

    fn send(&self, method: Method, steps: &[&str], query: &[(&str, &str)], body: Option<String>, timeout: Option<Duration>) -> anyhow::Result<Response> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(steps);
        }
        let mut request = self.http.request(method, url).query(query);
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request
            .send()
            .with_context(|| format!("no instance answers at {}; start one with `millrace run`, or name one with --server", self.base))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refused(response))
        }
    }
}

/// The URL of an instance, from `host:port` or a URL; `option` is named where it is neither.
///
/// # Errors
/// A refusal that says how to write it.
pub fn address(option: &str, text: &str) -> Result<Url, Refusal> {
    let text = text.trim().trim_end_matches('/');
    // As a URL, `localhost:8080` would have a scheme called `localhost`.
    let (whole, is_url) = if text.contains("://") {
        (text.to_owned(), true)
    } else {
        (format!("http://{text}"), false)
    };
    let url = Url::parse(&whole).ok().filter(|url| !url.cannot_be_a_base() && url.has_host());
    let wrong = |why: &str| Refusal(format!("{option}: `{text}` {why}; write `host:port` or a URL, such as `localhost:8080`"));
    let url = url.ok_or_else(|| wrong("is no address"))?;
    if url.path().trim_end_matches('/').ends_with("/v1") {
        return Err(wrong("ends in `/v1`, which commands add"));
    }
    if is_url {
        return Ok(url);
    }
    // A URL takes a bare number for the host 0.0.31.144, and a missing port for port 80.
    let host = text.split('/').next().unwrap_or_default();
    if host.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("names no host"));
    }
    let port = host
        .rsplit_once(':')
        .map(|(_, port)| port)
        .filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    if port.is_some() { Ok(url) } else { Err(wrong("names no port")) }
}

/// The instance has no such thing; its own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(String);

/// The problem document as an error; an invalid definition is a refusal.
fn refused(response: Response) -> anyhow::Error {
    let status = response.status();
    match response.json::<Problem>() {
        Ok(problem) if status == StatusCode::UNPROCESSABLE_ENTITY => Refusal(format!("{}\n{}", problem.title.to_lowercase(), problem.errors.join("\n"))).into(),
        Ok(problem) if matches!(status, StatusCode::CONFLICT | StatusCode::BAD_REQUEST) => Refusal(problem.detail).into(),
        Ok(problem) if status == StatusCode::UNAUTHORIZED => Refusal(format!("{}; commands take theirs from `auth.client_token`", problem.detail)).into(),
        Ok(problem) if status == StatusCode::NOT_FOUND => NotFound(problem.detail).into(),
        Ok(problem) => anyhow::anyhow!("{}", problem.detail),
        Err(_) => anyhow::anyhow!("what answers there is no Millrace instance: {status}"),
    }
}

fn failure(error: anyhow::Error) -> BackendError {
    match error.downcast::<Refusal>() {
        Ok(refusal) => BackendError::InvalidDefinition(vec![refusal.0]),
        Err(error) => BackendError::Failure {
            context: "asking the instance".to_owned(),
            source: error.into(),
        },
    }
}

/// The readable lines, as a body, and their places among all; the errors of the others.
fn readable<T: Serialize>(lines: &[Result<T, String>]) -> Result<(String, Vec<u64>, Vec<RejectedLine>), BackendError> {
    let (mut body, mut numbers, mut rejected) = (String::new(), Vec::new(), Vec::new());
    for (number, line) in (1..).zip(lines) {
        match line {
            Ok(line) => {
                body.push_str(&serde_json::to_string(line).map_err(|error| BackendError::Refused(error.to_string()))?);
                body.push('\n');
                numbers.push(number);
            }
            Err(reason) => rejected.push(RejectedLine {
                line: number,
                reason: reason.clone(),
            }),
        }
    }
    Ok((body, numbers, rejected))
}

/// Maps the instance's findings to the lines' places among all.
fn renumber(found: &mut [RejectedLine], numbers: &[u64]) {
    for rejected in found {
        let at = usize::try_from(rejected.line).unwrap_or_default().wrapping_sub(1);
        rejected.line = numbers.get(at).copied().unwrap_or_default();
    }
}

impl Commands for Client {
    fn put_segment(&self, name: &str, text: &str) -> Result<(), BackendError> {
        self.send(Method::PUT, &["v1", "segments", name], &[], Some(text.to_owned()), Some(TIMEOUT))
            .map(drop)
            .map_err(failure)
    }

    fn apply(&self, text: &str) -> Result<AppliedView, BackendError> {
        self.post(&["v1", "segments"], &[], Some(text.to_owned())).map_err(failure)
    }

    fn delete_segment(&self, name: &str) -> Result<(), BackendError> {
        self.send(Method::DELETE, &["v1", "segments", name], &[], None, Some(TIMEOUT))
            .map(drop)
            .map_err(failure)
    }

    fn append(&self, lines: Vec<Result<RecordLine, String>>, strict: bool) -> Result<AppendView, BackendError> {
        let (body, numbers, rejected) = readable(&lines)?;
        let mut view = AppendView::default();
        if !numbers.is_empty() {
            let strict = if strict { "true" } else { "false" };
            let response = self
                .send(Method::POST, &["v1", "records"], &[("strict", strict)], Some(body), Some(TIMEOUT))
                .map_err(failure)?;
            view = response.json().map_err(|error| failure(error.into()))?;
            renumber(&mut view.rejected, &numbers);
            renumber(&mut view.dead_letters, &numbers);
        }
        view.rejected.extend(rejected);
        view.rejected.sort_by_key(|rejected| rejected.line);
        Ok(view)
    }

    fn import(&self, audience: &str, lines: Vec<Result<MemberLine, String>>, replace: Replace) -> Result<ImportView, BackendError> {
        let (body, numbers, rejected) = readable(&lines)?;
        if replace != Replace::Nobody && !rejected.is_empty() {
            // The others would count as the complete list.
            return Ok(ImportView {
                rejected,
                ..ImportView::default()
            });
        }
        let query: &[(&str, &str)] = match replace {
            Replace::Nobody => &[],
            Replace::All => &[("replace", "true")],
            Replace::AllEvenByNobody => &[("replace", "true"), ("allowEmpty", "true")],
        };
        let response = self
            .send(Method::POST, &["v1", "audiences", audience, "members"], query, Some(body), None)
            .map_err(failure)?;
        let mut view: ImportView = response.json().map_err(|error| failure(error.into()))?;
        renumber(&mut view.rejected, &numbers);
        view.rejected.extend(rejected);
        view.rejected.sort_by_key(|rejected| rejected.line);
        Ok(view)
    }

    fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetterView>, BackendError> {
        self.get(&["v1", "dead-letters"], &[("limit", &limit.to_string())]).map_err(failure)
    }
}

impl Client {
    /// Membership changes; without `follow` only those present now.
    pub fn stream(&self, from: &ChangesFrom, follow: bool) -> Result<Box<dyn ChangeReader>, BackendError> {
        let from = if *from == ChangesFrom::Start { "start" } else { "end" };
        let follow = if follow { "true" } else { "false" };
        let response = self
            .send(Method::GET, &["v1", "changes"], &[("from", from), ("follow", follow)], None, None)
            .map_err(failure)?;
        Ok(Box::new(Lines {
            lines: BufReader::new(response),
            ended: false,
        }))
    }
}

/// A stream of JSON lines; ends where the instance ends it.
struct Lines {
    lines: BufReader<Response>,
    ended: bool,
}

impl ChangeReader for Lines {
    fn next(&mut self, _: bool) -> Result<Vec<Placed>, BackendError> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).map_err(|error| failure(error.into()))?;
        if read == 0 {
            self.ended = true;
            return Ok(Vec::new());
        }
        // The instance keeps the places to itself.
        let (partition, offset, line) = (0, 0, line.trim_end().to_owned());
        Ok(vec![Placed { partition, offset, line }])
    }

    fn positions(&self) -> Positions {
        Positions::new()
    }

    fn caught_up(&mut self) -> Result<bool, BackendError> {
        Ok(self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (text, expected) in [
            ("localhost:8080", Ok("http://localhost:8080/")),
            ("http://cdp.example.com", Ok("http://cdp.example.com/")),
            ("https://cdp.example.com/millrace/", Ok("https://cdp.example.com/millrace")),
            ("[::1]:8080", Ok("http://[::1]:8080/")),
            ("8080", Err("`8080` names no host")),
            ("localhost", Err("`localhost` names no port")),
            ("[::1]", Err("`[::1]` names no port")),
            (":8080", Err("`:8080` is no address")),
            ("localhost:8080/v1/", Err("ends in `/v1`, which commands add")),
            ("", Err("`` is no address")),
        ] {
            match (address("--server", text), expected) {
                (Ok(url), expected) => assert_eq!(Ok(url.as_str()), expected, "{text}"),
                (Err(refusal), expected) => assert!(refusal.0.contains(expected.unwrap_err()), "{text}: {refusal}"),
            }
        }
    }
}
