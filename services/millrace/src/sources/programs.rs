//! Sources that are programs of others, run as child processes.

use std::sync::Arc;

use anyhow::Context;
use millrace_child::protocol::Protocol;
use millrace_child::{ChildSource, Config, Raw};
use millrace_config::{Secret, Source as Configured};
use millrace_connect::backoff::Backoff;
use millrace_connect::secret::Confidential;
use millrace_connect::settings::ConfigError;
use millrace_connect::source::{Make, Source, Status, system_clock};
use millrace_shard::murmur::partition_of;
use serde_json::Value;

use crate::refusal::Refusal;
use crate::settings::typed;

/// A Singer tap.
///
/// # Errors
/// A refusal that names every wrong key; where a secret cannot be read.
pub fn singer(name: &str, source: &Configured) -> anyhow::Result<(Arc<Status>, Make)> {
    let config = checked(name, source, millrace_source_singer::config)?;
    Ok(made(name, "singer", config, millrace_source_singer::Tap::default))
}

/// A connector of Airbyte's.
///
/// # Errors
/// As for `singer`.
pub fn airbyte(name: &str, source: &Configured) -> anyhow::Result<(Arc<Status>, Make)> {
    let config = checked(name, source, millrace_source_airbyte::config)?;
    Ok(made(name, "airbyte", config, millrace_source_airbyte::Connector::default))
}

type Check = fn(Raw, Vec<Confidential>) -> Result<Config, ConfigError>;

fn checked(name: &str, source: &Configured, check: Check) -> anyhow::Result<Config> {
    let key = format!("sources.{name}");
    let mut settings = source.settings.clone();
    let mut secrets = Vec::new();
    for part in ["config", "env"] {
        if let Some(inner) = settings.get_mut(part) {
            reveal(&format!("{key}.{part}"), inner, &mut secrets)?;
        }
    }
    let raw: Raw = typed(&key, Value::Object(settings))?;
    check(raw, secrets).map_err(|error| Refusal::keys(&key, &error.0).into())
}

fn made<P: Protocol + 'static>(name: &str, kind: &str, config: Config, protocol: fn() -> P) -> (Arc<Status>, Make) {
    let status = Arc::new(Status::new(name, kind));
    let shared = Arc::clone(&status);
    let seed = u64::from(partition_of(name.as_bytes(), 1 << 30)) ^ u64::from(std::process::id());
    let make: Make = Arc::new(move || {
        let backoff = Backoff::standard(seed);
        Box::new(ChildSource::new(config.clone(), protocol(), Arc::clone(&shared), system_clock(), backoff)) as Box<dyn Source>
    });
    (status, make)
}

/// Replaces `file:` references at any depth by the contents of the files; adds what must not appear
/// in logs to `secrets`. A text that begins with `file://` is an address and stays.
fn reveal(key: &str, value: &mut Value, secrets: &mut Vec<Confidential>) -> anyhow::Result<()> {
    match value {
        Value::String(text) if text.starts_with("file://") => {}
        Value::String(text) => {
            let secret = Secret::new(key, text);
            *text = secret.reveal().with_context(|| key.to_owned())?;
            if secret.is_confidential() {
                secrets.push(Confidential::new(text.clone()));
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                reveal(&format!("{key}[{at}]"), item, secrets)?;
            }
        }
        Value::Object(object) => {
            for (name, item) in object.iter_mut() {
                reveal(&format!("{key}.{name}"), item, secrets)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_revealed_at_any_depth_and_masked() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hush\n").expect("writable");
        let reference = format!("file:{}", file.path().display());
        let mut config = json!({"host": "h", "credentials": {"client_secret": "inline", "tokens": [reference]}, "url": "file:///data/x.csv"});
        let mut secrets = Vec::new();
        reveal("sources.crm.config", &mut config, &mut secrets).expect("readable");
        let expected = json!({"host": "h", "credentials": {"client_secret": "inline", "tokens": ["hush"]}, "url": "file:///data/x.csv"});
        assert_eq!(config, expected);
        let mut hidden: Vec<&str> = secrets.iter().map(Confidential::reveal).collect();
        hidden.sort_unstable();
        assert_eq!(hidden, ["hush", "inline"]);
        let missing = reveal("sources.crm.config", &mut json!({"password": "file:/nowhere"}), &mut secrets);
        assert!(missing.is_err_and(|error| error.to_string() == "sources.crm.config.password"));
    }
}
