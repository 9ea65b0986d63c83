//! The collector, and the write keys it takes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Takes events of web sites and programs over HTTP, on a port of its own: in `millrace run` as
/// soon as there is a write key, or alone as `millrace collector`. `docs/collector.md` describes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Collector {
    /// Where it listens. Every request needs a write key, so the address may be reachable from
    /// everywhere. With `http.tls_certificate` it speaks TLS too.
    pub address: String,
    /// Origins whose web pages may send, such as `https://www.example.com`. Pages of the
    /// collector's own host always may.
    pub origins: Vec<String>,
    /// One entry per sender, under a name of your choice. Its keys: `key`, the write key, at least
    /// 16 bytes, better a `file:<path>`, which is read again within ten seconds after a change;
    /// `source`, which makes the keys of records (`42@<source>.Segment`), the entry's name where
    /// left out, the same for senders that share their user ids; `public = true` where the write
    /// key stands in web pages, so that it takes the calls of the Segment specification alone;
    /// `user_namespace`, an identity namespace for user ids, none where left out;
    /// `device_namespace`, that of anonymous ids, `anonymous_id` where left out.
    pub keys: BTreeMap<String, WriteKey>,
}

/// A write key and what its senders' ids mean.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteKey {
    pub key: String,
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub public: bool,
    #[serde(default)]
    pub user_namespace: Option<String>,
    #[serde(default = "device_namespace")]
    pub device_namespace: String,
}

fn device_namespace() -> String {
    "anonymous_id".to_owned()
}

impl Default for Collector {
    fn default() -> Collector {
        Collector {
            address: "127.0.0.1:8088".to_owned(),
            origins: Vec::new(),
            keys: BTreeMap::new(),
        }
    }
}
