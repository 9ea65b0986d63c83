//! `--check-config`: the effective configuration and its topics; touches nothing.

use serde_json::json;

use crate::settings::Settings;
use crate::shown;

pub fn run(settings: &Settings) -> anyhow::Result<()> {
    settings.config.check_secrets()?;
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
