//! The operator's settings of an HTTP destination.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

/// The settings of one HTTP destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where calls go. No redirect is followed.
    pub url: String,
    #[serde(default = "post")]
    pub method: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub authentication: Authentication,
    /// Template of the body, in Jinja's language, over `changes` and `audience`; it must make JSON.
    /// Absent: the webhook's own form.
    #[serde(default)]
    pub body: Option<String>,
    /// Changes in one call. 1 to 10,000.
    #[serde(default = "one")]
    pub records_per_call: usize,
    /// Calls at the same time. 1 to 64.
    #[serde(default = "four")]
    pub calls_at_once: usize,
    /// How long a change waits for others to fill a call, in milliseconds.
    #[serde(default = "wait")]
    pub wait_ms: u64,
    /// How long a call may take, in milliseconds.
    #[serde(default = "timeout")]
    pub timeout_ms: u64,
    /// Statuses that mean success. Empty: 200 to 299.
    #[serde(default)]
    pub accepted: Vec<u16>,
    /// Statuses that mean: try again later. Empty: 401, 403, 408, 425, 429 and 500 to 599. Refused
    /// credentials are not a fault of the records.
    #[serde(default)]
    pub retry: Vec<u16>,
    /// Where a successful answer gives the result of each change.
    #[serde(default)]
    pub results: Option<Results>,
    /// Whether the host may have a private or loopback address.
    #[serde(default)]
    pub private_addresses: bool,
    /// Certificates in PEM form, trusted in addition to the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Own certificate and key in one PEM file, for mutual TLS.
    #[serde(default)]
    pub identity_file: Option<PathBuf>,
}

/// How the answer to a call gives the results of single changes, in the order of the call.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Results {
    /// JSON pointer to the array, such as `/results`.
    pub items: String,
    /// JSON pointer within an item to the deciding value, such as `/status`.
    pub field: String,
    /// Values that mean that the change was accepted.
    pub accepted: Vec<serde_json::Value>,
    /// Values that mean: try again later. Any other value is a refusal.
    #[serde(default)]
    pub retry: Vec<serde_json::Value>,
}

/// How calls authenticate. Values that begin with `file:` name a file that holds the secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Authentication {
    #[default]
    None,
    Bearer(String),
    Basic {
        user: String,
        password: String,
    },
    /// OAuth 2 client credentials.
    #[serde(rename_all = "camelCase")]
    Oauth {
        token_url: String,
        client_id: String,
        client_secret: String,
        #[serde(default)]
        scope: Option<String>,
    },
    /// Standard Webhooks: a secret of the form `whsec_<base64>`.
    Webhook {
        secret: String,
    },
    /// HMAC-SHA-256 of the body, in hexadecimal, in a header.
    Hmac {
        header: String,
        secret: String,
    },
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0}")]
    Value(String),
    #[error("template of the body")]
    Template(#[source] minijinja::Error),
    #[error("secret of the destination")]
    Secret(#[source] millrace_config::SecretError),
    #[error("cannot read {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("HTTP client")]
    Client(#[source] reqwest::Error),
}

fn post() -> String {
    "POST".to_owned()
}

const fn one() -> usize {
    1
}

const fn four() -> usize {
    4
}

const fn wait() -> u64 {
    200
}

const fn timeout() -> u64 {
    30_000
}

impl Config {
    /// # Errors
    /// Where a field has no usable value.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.url()?;
        if !(1..=10_000).contains(&self.records_per_call) {
            return Err(ConfigError::Value("`recordsPerCall` is 1 to 10,000".to_owned()));
        }
        if !(1..=64).contains(&self.calls_at_once) {
            return Err(ConfigError::Value("`callsAtOnce` is 1 to 64".to_owned()));
        }
        reqwest::Method::from_bytes(self.method.as_bytes()).map_err(|_| ConfigError::Value(format!("`{}` is no HTTP method", self.method)))?;
        Ok(())
    }

    pub(crate) fn url(&self) -> Result<Url, ConfigError> {
        let url = Url::parse(&self.url).map_err(|error| ConfigError::Value(format!("`url`: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(ConfigError::Value(format!("`url` is `{}`; expected http or https with a host", self.url)));
        }
        Ok(url)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) fn takes(&self, status: u16) -> bool {
        if self.accepted.is_empty() {
            (200..300).contains(&status)
        } else {
            self.accepted.contains(&status)
        }
    }

    pub(crate) fn repeats(&self, status: u16) -> bool {
        if self.retry.is_empty() {
            matches!(status, 401 | 403 | 408 | 425 | 429) || status >= 500
        } else {
            self.retry.contains(&status)
        }
    }
}
