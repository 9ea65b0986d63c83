//! `topics create|check`: the topics of this deployment on Kafka.

use anyhow::{Context, bail};
use millrace_kafka::KafkaLog;
use millrace_log::{Log, TopicSpec};
use millrace_runtime::topology::Topology;
use serde::Serialize;

use crate::engine;
use crate::settings::Settings;
use crate::shown;

/// What was found of one topic.
#[derive(Serialize)]
pub struct Finding {
    topic: String,
    /// `there`, `created`, `missing`, `differs`.
    state: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
}

pub fn create(settings: &Settings) -> anyhow::Result<()> {
    settings.require_kafka("topics create")?;
    let findings = create_missing(settings)?;
    shown::show(settings.output, findings.as_slice(), told)
}

/// Fails where a topic is missing or is not as it should be.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    settings.require_kafka("topics check")?;
    let log = engine::kafka_log(&settings.config)?;
    let findings: Vec<Finding> = catalogue(settings)
        .iter()
        .map(|wanted| compare(&log, wanted, settings))
        .collect::<anyhow::Result<_>>()?;
    shown::show(settings.output, findings.as_slice(), told)?;
    match findings.iter().filter(|finding| finding.state != "there").count() {
        0 => Ok(()),
        wrong => bail!("{wrong} topics are not as they should be"),
    }
}

/// Creates what is missing, and leaves what is there: whether it fits, `check` says.
pub fn create_missing(settings: &Settings) -> anyhow::Result<Vec<Finding>> {
    let log = engine::kafka_log(&settings.config)?;
    let mut findings = Vec::new();
    for wanted in catalogue(settings) {
        let there = log.partitions(&wanted.name).context("Kafka does not answer")?.is_some();
        if !there {
            log.create_topic(&wanted).with_context(|| format!("topic {}", wanted.name))?;
        }
        findings.push(Finding {
            topic: wanted.name,
            state: if there { "there" } else { "created" },
            differences: Vec::new(),
        });
    }
    Ok(findings)
}

/// Every topic of the deployment, those of configured destinations included.
fn catalogue(settings: &Settings) -> Vec<TopicSpec> {
    let topology = settings.topology();
    let mut topics = topology.specs(settings.config.topics.source_partitions);
    topics.push(ownership(&topology));
    topics.extend(settings.config.destinations.keys().map(|name| topology.destination_spec(name)));
    topics
}

fn ownership(topology: &Topology) -> TopicSpec {
    let day_ms = ("retention.ms".to_owned(), millrace_model::DAY_MS.to_string());
    TopicSpec {
        name: topology.ownership(),
        partitions: topology.shards(),
        compacted: false,
        settings: vec![day_ms],
    }
}

fn compare(log: &KafkaLog, wanted: &TopicSpec, settings: &Settings) -> anyhow::Result<Finding> {
    let Some(found) = log.describe_topic(&wanted.name).context("Kafka does not answer")? else {
        return Ok(Finding {
            topic: wanted.name.clone(),
            state: "missing",
            differences: Vec::new(),
        });
    };
    let mut differences = Vec::new();
    // Anyone may have made a source topic, with as many partitions as they like.
    let source = wanted.name.starts_with(&format!("{}source.", settings.config.topics.prefix));
    if found.partitions != wanted.partitions && !source {
        differences.push(format!("{} partitions, expected {}", found.partitions, wanted.partitions));
    }
    if found.compacted != wanted.compacted {
        let policy = |compacted| if compacted { "compact" } else { "delete" };
        differences.push(format!("cleanup.policy {}, expected {}", policy(found.compacted), policy(wanted.compacted)));
    }
    for (name, value) in wanted.settings.iter().filter(|(name, _)| !name.starts_with("millrace.")) {
        match found.settings.iter().find(|(known, _)| known == name) {
            Some((_, set)) if set == value => {}
            Some((_, set)) => differences.push(format!("{name} {set}, expected {value}")),
            None => differences.push(format!("{name} is not set, expected {value}")),
        }
    }
    let state = if differences.is_empty() { "there" } else { "differs" };
    Ok(Finding {
        topic: wanted.name.clone(),
        state,
        differences,
    })
}

fn told(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        format!("{:8} {} {}", finding.state, finding.topic, finding.differences.join("; "))
            .trim_end()
            .to_owned()
            + "\n"
    };
    findings.iter().map(line).collect()
}
