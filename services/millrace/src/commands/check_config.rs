//! `--check-config`: the effective configuration and its topics; touches nothing.

use millrace_config::Config;
use serde_json::json;

use crate::budgets::Budgets;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::{shown, sinks, sources};

/// Makes every sink and source and drops them again: nothing is called, and nothing is written.
///
/// # Errors
/// A refusal with all that is wrong with their settings, a line each.
pub fn connectors(config: &Config) -> Result<(), Refusal> {
    let budgets = Budgets::default();
    let sinks = config.destinations.keys().map(|name| sinks::destination(name, config, &budgets).map(drop));
    let sources = config
        .sources
        .iter()
        .map(|(name, source)| sources::make(config, name, source, &budgets).map(drop));
    let wrong: Vec<String> = sinks.chain(sources).filter_map(|made| Some(format!("{:#}", made.err()?))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Refusal(wrong.join("\n"))) }
}

/// `with_connectors` also makes the sinks and sources: for commands whose process may run them, and
/// so has their secrets.
pub fn run(settings: &Settings, with_connectors: bool) -> anyhow::Result<()> {
    settings.config.check_secrets()?;
    if with_connectors {
        connectors(&settings.config)?;
    }
    let topology = settings.topology();
    let mut topics: Vec<_> = topology.specs(settings.config.topics.source_partitions);
    topics.extend(settings.destination_topics());
    let listed: Vec<_> = topics
        .iter()
        .map(|spec| json!({"name": spec.name, "partitions": spec.partitions, "cleanup": if spec.compacted { "compact" } else { "delete" }}))
        .collect();
    let answer = json!({"configuration": settings.config.effective, "topics": listed});
    shown::show(settings.output, &answer, |_| {
        let yaml = settings.config.shown();
        let lines = topics.iter().map(|spec| {
            let cleanup = if spec.compacted { "compact" } else { "delete" };
            format!("  {}  {}, {cleanup}\n", spec.name, shown::counted(spec.partitions.into(), "partition"))
        });
        format!("{yaml}\n# topics\n{}", lines.map(|line| format!("#{line}")).collect::<String>())
    })
}
