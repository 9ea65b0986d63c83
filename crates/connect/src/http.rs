//! HTTP to foreign systems: one way to build a client, one way to sort answers by what to do about
//! them.

use std::time::{Duration, SystemTime};

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode};

use crate::backoff::retry_after;

/// How clients of foreign systems name themselves.
const USER_AGENT: &str = concat!("millrace/", env!("CARGO_PKG_VERSION"));

/// A server that does not accept a connection in this time is unavailable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer, or one that broke off: whether the call took effect is unknown.
    #[error("no answer from {host}")]
    NoAnswer {
        /// The host of the address, or `the server`; never path or query, which may hold secrets.
        host: String,
        /// What the client reports, without the address.
        #[source]
        source: reqwest::Error,
    },
    /// The server asks for patience: 408, 425, 429, 5xx.
    #[error("{host} answers {status}")]
    Busy {
        /// The host of the address.
        host: String,
        /// The status of the answer.
        status: StatusCode,
        /// The wait that the server asks for; `None`: it names none.
        after: Option<Duration>,
    },
    /// The server refuses these credentials: 401, 403, 407.
    #[error("{host} refuses the credentials with {status}: {body}")]
    Denied {
        /// The host of the address.
        host: String,
        /// The status of the answer.
        status: StatusCode,
        /// The beginning of the answer's text, at most 500 characters.
        body: String,
    },
    /// The server refuses this call; the same call again would be refused again.
    #[error("{host} answers {status}: {body}")]
    Refused {
        /// The host of the address.
        host: String,
        /// The status of the answer.
        status: StatusCode,
        /// The beginning of the answer's text, at most 500 characters.
        body: String,
    },
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Repeat the same call, but not before this.
    Retry {
        /// The wait that the server asks for; `None`: the caller's own back-off.
        after: Option<Duration>,
    },
    /// Nothing works until a person or a new token changes the credentials.
    Denied,
    /// This call will never work.
    Refused,
}

impl HttpError {
    /// What the caller does about it; from the status alone, never from the text.
    pub fn disposition(&self) -> Disposition {
        match self {
            HttpError::NoAnswer { .. } => Disposition::Retry { after: None },
            HttpError::Busy { after, .. } => Disposition::Retry { after: *after },
            HttpError::Denied { .. } => Disposition::Denied,
            HttpError::Refused { .. } => Disposition::Refused,
        }
    }

    /// From an error of the client, the address without its query: that may hold personal data.
    pub fn no_answer(error: reqwest::Error) -> HttpError {
        HttpError::NoAnswer {
            host: error.url().and_then(|url| url.host_str()).unwrap_or("the server").to_owned(),
            source: error.without_url(),
        }
    }
}

/// A client whose calls end after `timeout` at the latest.
///
/// # Errors
/// Where the system's certificates cannot be read.
pub fn client(timeout: Duration) -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .build()
}

/// How much of a refusal's text is kept.
const BODY_CHARS_MAX: usize = 500;

/// The answer where it is a success, else what it means.
///
/// # Errors
/// Every status that is not a success.
pub async fn checked(response: Response) -> Result<Response, HttpError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let host = response.url().host_str().unwrap_or("the server").to_owned();
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = header.and_then(|header| retry_after(header, SystemTime::now()));
        return Err(HttpError::Busy { host, status, after });
    }
    let body: String = response.text().await.unwrap_or_default().chars().take(BODY_CHARS_MAX).collect();
    if matches!(status.as_u16(), 401 | 403 | 407) {
        return Err(HttpError::Denied { host, status, body });
    }
    Err(HttpError::Refused { host, status, body })
}
