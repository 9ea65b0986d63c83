//! Sources that read topics of a Kafka that others write to.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_config::{Config as Deployment, LogKind, Source as Configured};
use millrace_connect::source::{Interpret, Make, Source, Status, TopicSource, system_clock};
use millrace_kafka::KafkaLog;
use millrace_log::Log;
use millrace_source_debezium::{ChangeStream, Config, Documents, Raw, RegistrySettings};
use millrace_wire::{HttpSettings, RegistryClient};
use serde_json::{Map, Value};

use crate::assembly;
use crate::refusal::Refusal;
use crate::settings::{revealed, typed};

/// # Errors
/// A refusal that names every wrong key; where a secret cannot be read.
pub fn debezium(deployment: &Deployment, name: &str, source: &Configured) -> anyhow::Result<(Arc<Status>, Make)> {
    let key = format!("sources.{name}");
    let settings = secrets_revealed(&key, &source.settings)?;
    let raw: Raw = typed(&key, settings)?;
    let config = Config::new(raw).map_err(|error| Refusal::keys(&key, &error.0))?;
    let log = foreign_log(deployment, &key, config.kafka.as_ref())?;
    let registry = registry(deployment, &key, config.registry.as_ref())?;
    let earliest = config.restarts_at_earliest;
    let interpret: Arc<dyn Interpret> = Arc::new(ChangeStream::new(config, Documents::new(registry)));
    Ok((Arc::new(Status::new(name, "debezium")), topics(log, interpret, earliest)))
}

fn topics(log: Arc<dyn Log>, interpret: Arc<dyn Interpret>, earliest: bool) -> Make {
    Arc::new(move || Box::new(TopicSource::new(Arc::clone(&log), Arc::clone(&interpret), system_clock(), earliest)) as Box<dyn Source>)
}

/// The settings with the secrets of both services in them.
fn secrets_revealed(key: &str, settings: &Map<String, Value>) -> anyhow::Result<Value> {
    let mut settings = settings.clone();
    for part in ["kafka", "registry"] {
        if let Some(Value::Object(inner)) = settings.get_mut(part) {
            let shown = revealed(&format!("{key}.{part}"), inner)?;
            settings.insert(part.to_owned(), shown);
        }
    }
    Ok(Value::Object(settings))
}

/// The Kafka of these properties; without them the deployment's own. Nothing is connected yet.
fn foreign_log(deployment: &Deployment, key: &str, properties: Option<&BTreeMap<String, String>>) -> anyhow::Result<Arc<dyn Log>> {
    match properties {
        Some(properties) if properties.contains_key("bootstrap.servers") => {
            let log = KafkaLog::new(properties.clone()).map_err(|error| Refusal(format!("{key}.kafka: {}", millrace_model::chain(&error))))?;
            Ok(Arc::new(log))
        }
        Some(_) => Err(Refusal(format!("{key}.kafka: `bootstrap.servers` is missing")).into()),
        None if deployment.log.kind == LogKind::Kafka => Ok(Arc::new(assembly::kafka_log(deployment)?)),
        None => Err(Refusal(format!(
            "{key}.kafka: the deployment has an embedded log, so the source names the Kafka that it reads"
        ))
        .into()),
    }
}

/// The registry of these settings; without them the deployment's own, if it has one.
fn registry(deployment: &Deployment, key: &str, settings: Option<&RegistrySettings>) -> anyhow::Result<Option<Arc<RegistryClient>>> {
    let Some(settings) = settings else {
        return assembly::registry(deployment);
    };
    let basic = settings.user.clone().map(|user| (user, settings.password.clone().unwrap_or_default()));
    let settings = HttpSettings {
        urls: assembly::registry_urls(&format!("{key}.registry.urls"), &settings.urls)?,
        basic,
        bearer: settings.token.clone(),
        authorities: None,
        timeout: assembly::REGISTRY_TIMEOUT,
    };
    Ok(Some(assembly::registry_of(settings)?))
}
