//! Where the process listens, and who may call it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the process listens, and what it lets in. Without tokens under `auth` the API listens on
/// the loopback address only, and refuses what a proxy forwards.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// The API: profiles, segments, explanations. An address that other machines can reach needs a
    /// token under `auth.tokens`.
    pub api_address: String,
    /// Metrics, health and readiness, for Prometheus and Kubernetes.
    pub metrics_address: String,
    /// Where other instances reach this one's API, as `host:port` or a URL: they read rows of this
    /// instance's shards there. Left out: `api_address`, with this machine's name in place of an
    /// address that means all interfaces. In Kubernetes set it to the pod's IP address and port.
    pub advertised_address: Option<String>,
    /// The token with which instances read each other's rows under `/internal` of the API's port;
    /// the same on all of them; may be a `file:<path>`. Left out: anyone who reaches the port can
    /// read there, so let no gateway pass `/internal` on, and admit only instances (a network
    /// policy).
    pub internal_token: Option<String>,
    /// Names by which clients may call the API in `Host`, without port, besides addresses,
    /// `localhost` and the name in `advertised_address`. A request under any other name comes from
    /// a web page that pointed its own name here. Where tokens are configured, none given means any
    /// name.
    pub hosts: Vec<String>,
    /// Origins whose web pages may call the API besides its own, such as `https://cdp.example.com`.
    pub origins: Vec<String>,
    /// A PEM file with the certificate of the API's port and its chain: with it the port speaks
    /// TLS. A changed file takes effect within ten seconds, without a restart.
    pub tls_certificate: Option<String>,
    /// A PEM file with the certificate's private key.
    pub tls_key: Option<String>,
}

/// Who may call the API. With one token or more, every route that shows or changes data requires
/// one: `authorization: Bearer <token>`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// One entry per client, under a name of your choice. Its keys: `role`, which is `viewer`
    /// (sees segments, and profiles with personal fields masked), `operator` or `admin` (see and
    /// change everything), or `service` (sends records and members, and sees nothing); `token`, at
    /// least 16 bytes that nobody can guess, better a `file:<path>`, which is read again within ten
    /// seconds after a change.
    pub tokens: BTreeMap<String, Token>,
    /// The token that the commands of this program send to a running instance; may be a
    /// `file:<path>`.
    pub client_token: Option<String>,
}

/// A token and what it allows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// At least 16 bytes that nobody can guess; better a `file:<path>`, which is read again within
    /// ten seconds after a change.
    pub token: String,
    /// `viewer` sees profiles with personal fields masked, and segments; `operator` and `admin` see
    /// and change everything; `service` sends records and members, and sees nothing.
    pub role: Role,
}

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees segments, and profiles with personal fields masked.
    Viewer,
    /// Sees and changes everything.
    Operator,
    /// As `Operator`.
    Admin,
    /// Sends records and members, and sees nothing.
    Service,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            api_address: "127.0.0.1:8080".to_owned(),
            metrics_address: "127.0.0.1:9090".to_owned(),
            advertised_address: None,
            internal_token: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            tls_certificate: None,
            tls_key: None,
        }
    }
}
