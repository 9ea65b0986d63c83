//! `source <type>`: the configured sources of one type as a service. `source
//! list|preview|pause|resume`: shows and controls them.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use millrace_api::sources::Sources;
use millrace_api::{gated, sources_health_router, sources_router};
use millrace_config::Config;
use millrace_segment::did_you_mean;
use millrace_telemetry::Metrics;
use serde_json::{Value, json};

use crate::assembly;
use crate::budgets::Budgets;
use crate::client::Client;
use crate::commands::topics;
use crate::ports::Ports;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown;
use crate::sources::{RunningSources, make, put_pause};

/// Runs the sources of a type until stopped: all of them, or the named ones.
pub fn run(settings: &Settings, kind: &str, names: &[String]) -> anyhow::Result<()> {
    settings.init_logs()?;
    let config = &settings.config;
    let chosen = chosen(config, kind, names)?;
    let ports = Ports::take(config)?;
    let log = topics::open_log(settings)?;
    let metrics = Metrics::new()?;
    let sources = Arc::new(RunningSources::start(config, &log, &metrics, &Budgets::configured(config), Some(&chosen))?);
    tracing::info!(sources = sources.len(), kind, "sources started");
    let shown: Arc<dyn Sources> = sources;
    let api = gated(sources_router(Arc::clone(&shown)), ports.policy());
    ports.serve(api, sources_health_router(shown, metrics), std::future::pending())
}

fn chosen(config: &Config, kind: &str, names: &[String]) -> Result<BTreeSet<String>, Refusal> {
    let known: BTreeSet<String> = config
        .sources
        .iter()
        .filter(|(_, source)| source.kind == kind)
        .map(|(name, _)| name.clone())
        .collect();
    if known.is_empty() {
        return Err(Refusal(format!("no source of type `{kind}` is configured; `sources.<name>.type` names one")));
    }
    match names.iter().find(|name| !known.contains(*name)) {
        Some(name) => {
            let near = did_you_mean(name, known.iter().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Err(Refusal(format!("no source `{name}` of type `{kind}` is configured{near}")))
        }
        None if names.is_empty() => Ok(known),
        None => Ok(names.iter().cloned().collect()),
    }
}

/// The status of the running instance's sources.
pub fn list(settings: &Settings) -> anyhow::Result<()> {
    let answer: Value = Client::of(settings)?.get(&["v1", "sources"], &[])?;
    shown::show(settings.output, &answer, |answer| {
        let views = answer["items"].as_array().cloned().unwrap_or_default();
        let mut text = format!(
            "{:<20} {:<10} {:<10} {:>10} {:>9}  {}\n",
            "source", "type", "state", "records", "rejected", "reason"
        );
        for view in views {
            let word = |name: &str| view[name].as_str().unwrap_or_default().to_owned();
            text.push_str(&format!(
                "{:<20} {:<10} {:<10} {:>10} {:>9}  {}\n",
                word("name"),
                word("type"),
                word("state"),
                view["records"],
                view["rejected"],
                word("reason")
            ));
        }
        text
    })
}

/// Pauses a source, or resumes it: on the topic if the log is shared, otherwise over HTTP at the
/// instance that holds the log.
pub fn pause(settings: &Settings, name: &str, paused: bool) -> anyhow::Result<()> {
    if settings.log_is_shared() {
        if !settings.config.sources.contains_key(name) {
            return Err(Refusal(format!("no source `{name}` is configured")).into());
        }
        let log = assembly::kafka_log(&settings.config)?;
        put_pause(&settings.config, &log, name, paused).context("writing to the control topic of sources")?;
    } else {
        let step = if paused { "pause" } else { "resume" };
        let _: Value = Client::of(settings)?.post(&["v1", "sources", name, step], &[], None)?;
    }
    let answer = json!({"name": name, "paused": paused});
    shown::show(settings.output, &answer, |_| {
        format!("{name} {}\n", if paused { "is paused" } else { "goes on" })
    })
}

/// Reads a handful of real records and shows them raw and mapped; writes nothing.
pub fn preview(settings: &Settings, name: &str) -> anyhow::Result<()> {
    let source = settings
        .config
        .sources
        .get(name)
        .ok_or_else(|| Refusal(format!("no source `{name}` is configured")))?;
    let (_, make) = make(&settings.config, name, source, &Budgets::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let samples = runtime.block_on(async { make().preview().await }).with_context(|| format!("source {name}"))?;
    let answer = serde_json::to_value(&samples)?;
    shown::show(settings.output, &answer, |_| {
        let mut text = String::new();
        for sample in &samples {
            let mapped = sample
                .mapped
                .as_ref()
                .map_or_else(|error| format!("rejected: {error}"), |value| format!("{value:#}"));
            text.push_str(&format!("--- {}\n{:#}\n->\n{mapped}\n", sample.topic, sample.raw));
        }
        if samples.is_empty() {
            text.push_str("the source has no records to show\n");
        }
        text
    })
}
