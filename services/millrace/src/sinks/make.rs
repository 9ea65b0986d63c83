//! From a configured destination to its foreign system: secrets read, settings checked by its
//! connector.

use std::sync::Arc;

use anyhow::Context;
use millrace_config::{Config, Destination as Configured};
use millrace_connect::settings::ConfigError;
use millrace_connect::sink::Destination;
use millrace_connect::source::{Status, system_clock};

use crate::budgets::Budgets;
use crate::refusal::Refusal;
use crate::settings::{revealed, typed};

/// The kinds of sinks.
pub const KINDS: [&str; 6] = ["http", "webhook", "marketo", "linkedin", "kafka", "postgres"];

/// The foreign system that a destination's settings describe; `None` where it has no sink.
///
/// # Errors
/// A refusal where the settings cannot be used.
pub fn destination(name: &str, config: &Config, budgets: &Budgets) -> anyhow::Result<Option<Box<dyn Destination>>> {
    let Some(configured) = config.destinations.get(name) else { return Ok(None) };
    let Some(kind) = configured.sink.as_deref() else { return Ok(None) };
    match kind {
        "http" | "webhook" => http(name, configured).map(Some),
        "marketo" => marketo(name, configured, config, budgets).map(Some),
        "linkedin" => linkedin(name, configured, budgets).map(Some),
        "kafka" => kafka(name, configured, config).map(Some),
        "postgres" => postgres(name, configured).map(Some),
        other => Err(Refusal(format!(
            "destinations.{name}.sink: `{other}` is no kind of sink; expected `http`, `webhook`, `marketo`, `linkedin`, `kafka` or `postgres`"
        ))
        .into()),
    }
}

fn http(name: &str, configured: &Configured) -> anyhow::Result<Box<dyn Destination>> {
    let refused = |error: anyhow::Error| Refusal(format!("destinations.{name}.settings: {error:#}"));
    let config: millrace_sink_http::Config = typed(&format!("destinations.{name}.settings"), configured.settings.clone())?;
    config.check().map_err(|error| refused(error.into()))?;
    let sink = millrace_sink_http::HttpSink::new(config).map_err(|error| refused(error.into()))?;
    Ok(Box::new(sink))
}

/// Keys that identify a Marketo instance. A destination that names a source takes them from it.
const INSTANCE: [&str; 7] = ["munchkin", "client_id", "client_secret", "url", "day_calls", "reserve_calls", "shares"];

fn marketo(name: &str, configured: &Configured, config: &Config, budgets: &Budgets) -> anyhow::Result<Box<dyn Destination>> {
    let key = format!("destinations.{name}.settings");
    let mut settings = configured.settings.as_object().cloned().unwrap_or_default();
    if let Some(source) = settings.remove("source") {
        let found = source
            .as_str()
            .and_then(|source| config.sources.get(source))
            .filter(|source| source.kind == "marketo");
        let found = found.ok_or_else(|| Refusal(format!("{key}.source: {source} is no source of type `marketo`")))?;
        let of_source = INSTANCE.iter().filter_map(|key| Some(((*key).to_owned(), found.settings.get(*key)?.clone())));
        settings = of_source.chain(settings).collect();
    }
    let raw = typed(&key, revealed(&key, &settings)?)?;
    let config = millrace_sink_marketo::Config::new(raw).map_err(|error| Refusal::keys(&key, &error.0))?;
    let budget = budgets.of(config.instance.budget_key(), &config.instance.limits);
    let client = millrace_marketo::Client::new(&config.instance, budget, Arc::new(Status::new(name, "marketo"))).context("cannot set an HTTP client up")?;
    let sink = millrace_sink_marketo::MarketoSink::new(config, &configured.namespace, Arc::new(client), system_clock());
    Ok(Box::new(sink.context("cannot set an event queue up")?))
}

fn linkedin(name: &str, configured: &Configured, budgets: &Budgets) -> anyhow::Result<Box<dyn Destination>> {
    let key = format!("destinations.{name}.settings");
    let settings = configured.settings.as_object().cloned().unwrap_or_default();
    let raw = typed(&key, revealed(&key, &settings)?)?;
    let attributes: Vec<&str> = configured.attributes.keys().map(|name| &**name).collect();
    let config = millrace_sink_linkedin::Config::new(raw, &attributes).map_err(|error| beside_attributes(name, &error))?;
    let budget = budgets.of(config.budget_key(), &config.limits);
    let client = millrace_sink_linkedin::Client::new(&config, budget, name, system_clock()).context("cannot set an HTTP client up")?;
    let sink = millrace_sink_linkedin::LinkedInSink::new(config, Arc::new(client), system_clock());
    Ok(Box::new(sink.context("cannot set an event queue up")?))
}

/// Errors of settings, among which attributes are named; these stand beside the settings.
fn beside_attributes(name: &str, error: &ConfigError) -> Refusal {
    let place = |line: &String| match line.starts_with("attributes.") {
        true => format!("destinations.{name}.{line}"),
        false => format!("destinations.{name}.settings.{line}"),
    };
    Refusal(error.0.iter().map(place).collect::<Vec<_>>().join("\n"))
}

fn postgres(name: &str, configured: &Configured) -> anyhow::Result<Box<dyn Destination>> {
    let key = format!("destinations.{name}.settings");
    let settings = configured.settings.as_object().cloned().unwrap_or_default();
    let raw = typed(&key, revealed(&key, &settings)?)?;
    let attributes: Vec<&str> = configured.attributes.keys().map(|name| &**name).collect();
    let config = millrace_sink_postgres::Config::new(raw, &attributes).map_err(|error| beside_attributes(name, &error))?;
    Ok(Box::new(
        millrace_sink_postgres::PostgresSink::new(config, name).context("cannot set an event queue up")?,
    ))
}

fn kafka(name: &str, configured: &Configured, config: &Config) -> anyhow::Result<Box<dyn Destination>> {
    let key = format!("destinations.{name}.settings");
    let settings: millrace_sink_kafka::Config = typed(&key, configured.settings.clone())?;
    settings.check(&config.topics.prefix).map_err(|error| Refusal(format!("{key}.{error}")))?;
    Ok(Box::new(millrace_sink_kafka::KafkaSink::new(settings)))
}
