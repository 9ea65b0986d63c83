//! `sink <type|name>`: sinks of configured destinations as a service, on Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use millrace_api::destinations::{Sinks, destinations_router, internal_destinations_router};
use millrace_api::dto::ReadyView;
use millrace_api::{gated, service_health_router};
use millrace_config::{Destination, Secret};
use millrace_log::Log;
use millrace_telemetry::{Gauge, Metrics};

use crate::budgets::Budgets;
use crate::cli::{SinkCommand, SinkOptions};
use crate::commands::{sink_file, topics};
use crate::hosts::Claims;
use crate::ports::Ports;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::sinks::{Everywhere, KINDS, SinkThreads};
use crate::{assembly, disk, instance};

/// A file of changes, or the sinks of destinations.
pub fn command(settings: &Settings, options: &SinkOptions) -> anyhow::Result<()> {
    match &options.command {
        Some(SinkCommand::File(file)) => sink_file::run(settings, file),
        None => run(settings, &options.which),
    }
}

/// Runs the sinks until stopped.
fn run(settings: &Settings, which: &[String]) -> anyhow::Result<()> {
    let config = &settings.config;
    let names = chosen(&config.destinations, which)?;
    settings.require_kafka(&format!("sink {}", which.join(" ")))?;
    config.check_secrets()?;
    settings.init_logs()?;
    let ports = Ports::take(config)?;
    topics::refuse_unfit(&topics::create_missing(settings)?)?;
    let metrics = Metrics::new()?;
    metrics.set(Gauge::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1.0);
    let kafka = Arc::new(assembly::kafka_log(config)?);
    let parts = instance::shared_sinks(settings, &kafka, disk::origin(settings, &*kafka)?);
    let log: Arc<dyn Log> = kafka;
    let budgets = Arc::new(Budgets::configured(config));
    let started = SinkThreads::start(config, &log, &parts, &metrics, &budgets, Some(&names));
    let sinks = Arc::new(started.context("cannot start the sinks")?);
    tracing::info!(?names, "sinks started");
    let token = config.http.internal_token.as_ref().map(Secret::reveal).transpose()?;
    // Beside a processor of the same configuration this is another process, with a row of its own.
    let instance = format!("{}/sink/{}", instance::name(config), which.join("/"));
    let claimed = Arc::clone(&sinks);
    let claims = move || Claims {
        sinks: claimed.partitions(),
        ..Claims::default()
    };
    let (peers, presence) = instance::announce(config, instance, &log, token.clone(), Box::new(claims))?;
    let everywhere = Everywhere::new(config, &log, &sinks, Some(peers), &budgets);
    let served = ports_served(ports, &sinks, everywhere, token, metrics);
    sinks.end();
    presence.stop();
    served
}

fn ports_served(ports: Ports, sinks: &Arc<SinkThreads>, everywhere: Everywhere, token: Option<String>, metrics: Metrics) -> anyhow::Result<()> {
    let mut routes = destinations_router(Arc::new(everywhere));
    if !ports.asks_who() || token.is_some() {
        routes = routes.merge(internal_destinations_router(Arc::clone(sinks) as Arc<dyn Sinks>, token));
    }
    let asked = Arc::clone(sinks);
    let ready = move || {
        let waiting_for = asked.waiting_for();
        ReadyView {
            ready: waiting_for.is_empty(),
            waiting_for,
        }
    };
    let api = gated(routes, ports.policy());
    ports.serve(api, service_health_router(Arc::new(ready), metrics), std::future::pending())
}

/// The destinations that the arguments mean.
fn chosen(destinations: &BTreeMap<String, Destination>, which: &[String]) -> anyhow::Result<BTreeSet<String>> {
    let kind_of = |name: &String| destinations.get(name).and_then(|destination| destination.sink.as_deref());
    let refused = |text: String| Err(Refusal(text).into());
    let (kind, names) = match which.split_first() {
        Some((first, rest)) if KINDS.contains(&first.as_str()) => (Some(first.as_str()), rest),
        _ => (None, which),
    };
    if let (Some(kind), []) = (kind, names) {
        let all: BTreeSet<String> = destinations.keys().filter(|name| kind_of(name) == Some(kind)).cloned().collect();
        if all.is_empty() {
            return refused(format!(
                "no destination with a sink of type `{kind}` is configured; `destinations.<name>.sink` names one"
            ));
        }
        return Ok(all);
    }
    for name in names {
        match (kind_of(name), kind) {
            (None, _) if destinations.contains_key(name) => {
                return refused(format!("destinations.{name} has no sink; `destinations.{name}.sink` names its type"));
            }
            (None, _) => {
                return refused(format!(
                    "no destination `{name}` is configured; types of sinks are {}, and `file`",
                    KINDS.map(|kind| format!("`{kind}`")).join(", ")
                ));
            }
            (Some(own), Some(kind)) if own != kind => return refused(format!("the sink of destinations.{name} is of type `{own}`, not `{kind}`")),
            (Some(_), _) => {}
        }
    }
    Ok(names.iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_means_all_of_it_and_names_mean_themselves() {
        let text = r#"
            [destinations]
            hook-1 = { namespace = "email", sink = "webhook", settings = { url = "https://a.example" } }
            hook-2 = { namespace = "email", sink = "webhook", settings = { url = "https://b.example" } }
            crm = { namespace = "email", sink = "http", settings = { url = "https://c.example" } }
            own = { namespace = "email" }
        "#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        std::fs::write(&path, text).unwrap();
        let config = millrace_config::load(Some(&path), std::iter::empty()).unwrap();
        let table: &[(&[&str], &str)] = &[
            (&["webhook"], "hook-1 hook-2"),
            (&["webhook", "hook-2"], "hook-2"),
            (&["hook-1", "crm"], "crm hook-1"),
            (&["marketo"], "no destination with a sink of type `marketo`"),
            (&["http", "hook-1"], "of type `webhook`, not `http`"),
            (&["own"], "destinations.own has no sink"),
            (&["linkedin"], "no destination with a sink of type `linkedin`"),
            (&["salesforce"], "no destination `salesforce`"),
        ];
        for (which, expected) in table {
            let which: Vec<String> = which.iter().map(|word| (*word).to_owned()).collect();
            let found = match chosen(&config.destinations, &which) {
                Ok(names) => names.into_iter().collect::<Vec<_>>().join(" "),
                Err(error) => error.to_string(),
            };
            assert!(found.contains(expected), "{which:?}: {found}");
        }
    }
}
