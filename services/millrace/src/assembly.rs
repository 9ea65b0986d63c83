//! From the configuration to the settings of the engine, the log and the stores.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use millrace_config::{Config, OutputEncoding, Secret};
use millrace_identity::{Policy, Priority};
use millrace_kafka::KafkaLog;
use millrace_model::{Schema, SubjectKind, Text};
use millrace_runtime::task::TaskConfig;
use millrace_runtime::topology::Topology;
use millrace_segment::Settings as RuleSettings;
use millrace_shard::deployment::{Deployment, Destination, HISTORY_ROWS};
use millrace_shard::machine::OutputTopic;
use millrace_wire::{Decoder, HttpSchemaSource, HttpSettings, Limits as DecodeLimits, OutputCodec, RegistryClient};

use crate::refusal::Refusal;

/// A schema registry answers at once or not at all.
pub const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of this deployment's shards. Calls the registry where one is configured and Avro is
/// written.
pub fn deployment(config: &Config) -> anyhow::Result<Deployment> {
    let schema = Arc::new(Schema::built_in()?);
    let registry = registry(config)?;
    let decoder = decoder(config, &schema, registry.as_ref())?;
    Ok(Deployment {
        shards: config.topics.shards,
        topic_prefix: config.topics.prefix.clone(),
        schema,
        decoder: Arc::new(decoder),
        output: Arc::new(output_codec(config, registry.as_deref())?),
        policy: policy(config),
        settings: rule_settings(config),
        destinations: config
            .destinations
            .iter()
            .map(|(name, destination)| (Text::from(name), destination_settings(destination)))
            .collect(),
        settle_ms: i64::try_from(config.identity.settle.as_millis()).unwrap_or(i64::MAX),
        history_rows: HISTORY_ROWS,
    })
}

/// How far ahead a record's own time may lie, in milliseconds.
pub fn future_ms_max(config: &Config) -> i64 {
    i64::try_from(config.events.future_limit.as_millis()).unwrap_or(i64::MAX)
}

/// Reads source records as this deployment does.
pub fn decoder(config: &Config, schema: &Arc<Schema>, registry: Option<&Arc<RegistryClient>>) -> anyhow::Result<Decoder> {
    let mut decoder = Decoder::builder(Arc::clone(schema))?.limits(DecodeLimits {
        future_ms_max: future_ms_max(config),
        ..DecodeLimits::default()
    });
    if let Some(registry) = registry {
        decoder = decoder.registry(Arc::clone(registry));
    }
    Ok(decoder.build())
}

/// The names of the deployment's own topics.
pub fn topology(config: &Config) -> Topology {
    Topology::new(config.topics.prefix.clone(), config.topics.shards).with_application(&config.kafka.application_id)
}

/// The settings for rules.
pub fn rule_settings(config: &Config) -> RuleSettings {
    RuleSettings {
        default_currency: Text::from(&config.currency.default),
        rates: config.currency.rates.iter().map(|(name, rate)| (Text::from(name), *rate)).collect(),
        retention_ms: i64::try_from(config.events.retention.as_millis()).unwrap_or(i64::MAX),
        ..RuleSettings::default()
    }
}

fn destination_settings(destination: &millrace_config::Destination) -> Destination {
    let attributes = destination.attributes.iter().map(|(name, path)| (Text::from(name), path.clone())).collect();
    Destination {
        namespace: Text::from(&destination.namespace),
        known_by: destination.known_by.clone(),
        attributes,
    }
}

fn policy(config: &Config) -> Policy {
    let rules = &config.identity;
    let mut policy = Policy::default()
        .with_priority(Priority::new(rules.namespace_priority.iter().map(String::as_str)))
        .with_identities_max(SubjectKind::Person, rules.max_identities_person.into())
        .with_identities_max(SubjectKind::Account, rules.max_identities_account.into());
    for namespace in &rules.unique_per_cluster {
        policy = policy.with_unique(namespace);
    }
    for (namespace, limit) in &rules.max_claims_per_identity {
        policy = policy.with_claims_max(namespace, (*limit).into());
    }
    for identity in &rules.blocked {
        policy = policy.with_blocked(identity.namespace(), identity.id());
    }
    policy
}

fn output_codec(config: &Config, registry: Option<&RegistryClient>) -> anyhow::Result<OutputCodec> {
    match (config.output, registry) {
        (OutputEncoding::Json, _) => Ok(OutputCodec::Json),
        (OutputEncoding::Avro, None) => Ok(OutputCodec::SingleObject),
        (OutputEncoding::Avro, Some(registry)) => {
            let topology = topology(config);
            let destinations: Vec<String> = config
                .destinations
                .keys()
                .map(|name| topology.output(&OutputTopic::Destination(Text::from(name))))
                .collect();
            OutputCodec::confluent(registry, &topology.output(&OutputTopic::Membership), &destinations).context("cannot register the output schemas")
        }
    }
}

/// The client of the configured registry; `None` where none is configured.
pub fn registry(config: &Config) -> anyhow::Result<Option<Arc<RegistryClient>>> {
    let rules = &config.registry;
    if rules.urls.is_empty() {
        return Ok(None);
    }
    let basic = rules
        .basic
        .as_ref()
        .map(|(user, password)| password.reveal().map(|password| (user.clone(), password)))
        .transpose()?;
    let bearer = rules.token.as_ref().map(Secret::reveal).transpose()?;
    let settings = HttpSettings {
        urls: registry_urls("registry.urls", &rules.urls)?,
        basic,
        bearer,
        authorities: rules.ca_file.as_ref().map(read_authorities).transpose()?,
        timeout: REGISTRY_TIMEOUT,
    };
    Ok(Some(registry_of(settings)?))
}

/// The client of a registry; a call blocks.
pub fn registry_of(settings: HttpSettings) -> anyhow::Result<Arc<RegistryClient>> {
    Ok(Arc::new(RegistryClient::new(Box::new(HttpSchemaSource::new(settings)?))))
}

/// The addresses of a registry; `key` is their place in the configuration.
pub fn registry_urls(key: &str, urls: &[String]) -> Result<Vec<reqwest::Url>, Refusal> {
    let parsed = urls
        .iter()
        .map(|url| reqwest::Url::parse(url).map_err(|error| Refusal(format!("{key}: `{url}`: {error}"))));
    parsed.collect()
}

fn read_authorities(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Refusal(format!("registry.ca_file: cannot read {}: {error}", path.display())).into())
}

/// The configured Kafka cluster.
pub fn kafka_log(config: &Config) -> anyhow::Result<KafkaLog> {
    let mut properties = BTreeMap::new();
    for (name, value) in &config.kafka.properties {
        properties.insert(name.clone(), value.reveal().with_context(|| format!("kafka.properties.{name}"))?);
    }
    properties.insert("bootstrap.servers".to_owned(), config.kafka.bootstrap.join(","));
    properties.entry("client.id".to_owned()).or_insert_with(|| config.kafka.application_id.clone());
    KafkaLog::new(properties).map_err(|error| Refusal(format!("kafka.properties: {error}")).into())
}

/// How each shard works.
pub fn task_config(config: &Config) -> TaskConfig {
    let budget = &config.budget;
    let mut task = TaskConfig::default();
    task.poll.records_max = budget.poll_records;
    task.poll.bytes_max = budget.poll_bytes;
    task.poll.wait_ms_max = u64::try_from(budget.poll_wait.as_millis()).unwrap_or(u64::MAX);
    task.timers_max = budget.timers;
    task.background_max = budget.background;
    task.background_ms = i64::try_from(budget.background_time.as_millis()).unwrap_or(i64::MAX);
    task.step_ms_max = i64::try_from(budget.step_time_max.as_millis()).unwrap_or(i64::MAX);
    task.flush_every_ms = i64::try_from(budget.flush_interval.as_millis()).unwrap_or(i64::MAX);
    task
}
