//! Sources that read topics of a Kafka that others write to.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_config::{Config as Deployment, LogKind, Source as Configured};
use millrace_connect::source::{Interpret, Make, Source, Status, TopicSource, system_clock};
use millrace_kafka::KafkaLog;
use millrace_log::Log;
use millrace_model::Schema;
use millrace_source_cloudevents::EventTopics;
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
    let registry = registry(deployment, &key, config.registry.as_ref())?;
    let (kafka, earliest) = (config.kafka.clone(), config.restarts_at_earliest);
    let stream = ChangeStream::new(config, Documents::new(registry));
    let make = topics(deployment, &key, kafka.as_ref(), Arc::new(stream), earliest)?;
    Ok((Arc::new(Status::new(name, "debezium")), make))
}

/// # Errors
/// As for `debezium`.
pub fn cloudevents(deployment: &Deployment, name: &str, source: &Configured) -> anyhow::Result<(Arc<Status>, Make)> {
    let key = format!("sources.{name}");
    let settings = secrets_revealed(&key, &source.settings)?;
    let raw: millrace_source_cloudevents::Raw = typed(&key, settings)?;
    let config = millrace_source_cloudevents::Config::new(raw).map_err(|error| Refusal::keys(&key, &error.0))?;
    let decoder = assembly::decoder(deployment, &Arc::new(Schema::built_in()?), None)?;
    let (kafka, earliest) = (config.kafka.clone(), config.restarts_at_earliest);
    let events = EventTopics::new(config, decoder, system_clock());
    let make = topics(deployment, &key, kafka.as_ref(), Arc::new(events), earliest)?;
    Ok((Arc::new(Status::new(name, "cloudevents")), make))
}

/// Reads the topics of the Kafka with these properties; without them of the deployment's own.
fn topics(deployment: &Deployment, key: &str, kafka: Option<&BTreeMap<String, String>>, interpret: Arc<dyn Interpret>, earliest: bool) -> anyhow::Result<Make> {
    if kafka.is_none() {
        refuse_own(deployment, key, &interpret.topics())?;
    }
    let log = foreign_log(deployment, key, kafka)?;
    Ok(Arc::new(move || {
        Box::new(TopicSource::new(Arc::clone(&log), Arc::clone(&interpret), system_clock(), earliest)) as Box<dyn Source>
    }))
}

/// A source that reads what the deployment writes would feed itself: each of its dead letters, for
/// one, would be read and become another.
fn refuse_own(deployment: &Deployment, key: &str, read: &[String]) -> Result<(), Refusal> {
    let own = assembly::topology(deployment).specs(deployment.topics.source_partitions);
    match read.iter().find(|topic| own.iter().any(|one| one.name == **topic)) {
        Some(topic) => Err(Refusal(format!(
            "{key}.topics: `{topic}` is a topic of this deployment; a source reads topics of others"
        ))),
        None => Ok(()),
    }
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
