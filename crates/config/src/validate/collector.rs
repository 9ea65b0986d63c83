//! The collector's section.

use super::{Check, TOKEN_BYTES_MIN};
use crate::{Collector, Config, Secret, WriteKey, raw};

pub(super) fn collector(raw: &raw::Collector, check: &mut Check<'_>) -> Collector {
    let origin = |origin: &String| origin.trim().trim_end_matches('/').to_ascii_lowercase();
    let origins: Vec<String> = raw.origins.iter().map(origin).collect();
    for (at, origin) in origins.iter().enumerate() {
        let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if authority.is_none_or(|authority| authority.is_empty() || authority.contains(['/', '*'])) {
            check.wrong(&format!("collector.origins[{at}]"), "expected an origin, such as `https://www.example.com`");
        }
    }
    Collector {
        address: check.address("collector.address", &raw.address),
        origins,
        keys: raw.keys.iter().map(|(name, one)| (name.clone(), write_key(name, one, check))).collect(),
    }
}

/// Ports of one process differ.
pub(super) fn port_of_its_own(config: &Config, check: &mut Check<'_>) {
    let address = config.collector.address;
    let taken = [config.http.api_address, config.http.metrics_address].contains(&address);
    if taken && address.port() != 0 && !config.collector.keys.is_empty() {
        check.wrong("collector.address", "the API or the metrics listen there already");
    }
}

fn write_key(name: &str, raw: &raw::WriteKey, check: &mut Check<'_>) -> WriteKey {
    let place = format!("collector.keys.{name}");
    if !raw.key.starts_with("file:") && raw.key.len() < TOKEN_BYTES_MIN {
        check.wrong(&format!("{place}.key"), &format!("a write key has at least {TOKEN_BYTES_MIN} bytes"));
    }
    let source = raw.source.as_deref().unwrap_or(name).trim();
    if source.is_empty() || !source.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        check.wrong(&format!("{place}.source"), "a source's name is made of a-z, 0-9 and hyphens");
    }
    let mut namespace = |key: &str, text: &str| {
        let key = format!("{place}.{key}");
        let text = check.filled(&key, text).to_ascii_lowercase();
        if text.contains(':') || text.starts_with("b2b_") {
            check.wrong(&key, "expected a namespace of your own, without a colon");
        }
        text
    };
    WriteKey {
        key: Secret::new("token", &raw.key),
        source: source.to_owned(),
        public: raw.public,
        user_namespace: raw.user_namespace.as_deref().map(|text| namespace("user_namespace", text)),
        device_namespace: namespace("device_namespace", &raw.device_namespace),
    }
}
