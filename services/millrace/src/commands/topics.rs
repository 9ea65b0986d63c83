//! `topics create|check`: the topics of this deployment on Kafka.

use std::sync::Arc;

use anyhow::{Context, bail};
use millrace_config::LogKind;
use millrace_kafka::KafkaLog;
use millrace_log::{EmbeddedConfig, Log, TopicSpec};
use millrace_runtime::topology::Topology;
use serde::Serialize;

use crate::assembly;
use crate::instance;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown;

/// The findings about one topic.
#[derive(Serialize)]
pub struct Finding {
    topic: String,
    state: State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
    /// Whether shards cannot work with it.
    #[serde(skip)]
    unfit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    There,
    Created,
    Missing,
    Differs,
}

/// Fails if an existing topic is not as it should be: it is left unchanged.
pub fn create(settings: &Settings) -> anyhow::Result<()> {
    settings.require_kafka("topics create")?;
    report(settings, &create_missing(settings)?)
}

/// The configured log, with its topics there and as they should be.
pub fn open_log(settings: &Settings) -> anyhow::Result<Arc<dyn Log>> {
    Ok(match settings.config.log.kind {
        LogKind::Embedded => Arc::new(instance::embedded_log(settings, EmbeddedConfig::default())?),
        LogKind::Kafka => {
            refuse_unfit(&create_missing(settings)?)?;
            Arc::new(assembly::kafka_log(&settings.config)?)
        }
    })
}

/// Fails where a topic is missing or is not as it should be.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    settings.require_kafka("topics check")?;
    report(settings, &look(settings)?)
}

fn report(settings: &Settings, findings: &[Finding]) -> anyhow::Result<()> {
    shown::show(settings.output, findings, table)?;
    match findings
        .iter()
        .filter(|finding| matches!(finding.state, State::Missing | State::Differs))
        .count()
    {
        0 => Ok(()),
        1 => bail!("1 topic is not as it should be"),
        wrong => bail!("{wrong} topics are not as they should be"),
    }
}

fn look(settings: &Settings) -> anyhow::Result<Vec<Finding>> {
    let log = assembly::kafka_log(&settings.config)?;
    catalogue(settings).iter().map(|wanted| look_at(&log, wanted, settings)).collect()
}

fn look_at(log: &KafkaLog, wanted: &TopicSpec, settings: &Settings) -> anyhow::Result<Finding> {
    let found = log.describe_topic(&wanted.name).context("Kafka does not answer")?;
    Ok(compare(found.as_ref(), wanted, is_source(settings, wanted)))
}

/// Creates missing topics, and compares existing ones.
pub fn create_missing(settings: &Settings) -> anyhow::Result<Vec<Finding>> {
    let log = assembly::kafka_log(&settings.config)?;
    let make = |wanted: &TopicSpec| -> anyhow::Result<Finding> {
        let found = look_at(&log, wanted, settings)?;
        if found.state != State::Missing {
            return Ok(found);
        }
        log.create_topic(wanted).with_context(|| format!("topic {}", wanted.name))?;
        Ok(Finding {
            state: State::Created,
            unfit: false,
            ..found
        })
    };
    catalogue(settings).iter().map(make).collect()
}

/// Checks before a store or a session is opened: with a wrong number of partitions, records would
/// go to shards that do not know them, and a changelog that is not compacted forgets state.
///
/// # Errors
/// A refusal where shards cannot work with the topics as they are.
pub fn require_fit(settings: &Settings) -> anyhow::Result<()> {
    refuse_unfit(&look(settings)?)
}

/// # Errors
/// As for `require_fit`. Harmless differences are logged.
pub fn refuse_unfit(findings: &[Finding]) -> anyhow::Result<()> {
    for finding in findings.iter().filter(|finding| !finding.unfit && finding.state == State::Differs) {
        tracing::warn!(
            topic = finding.topic,
            differences = finding.differences.join("; "),
            "topic is not as it should be"
        );
    }
    let unfit: Vec<&Finding> = findings.iter().filter(|finding| finding.unfit).collect();
    if unfit.is_empty() {
        return Ok(());
    }
    let missing = unfit.iter().any(|finding| finding.state == State::Missing);
    let hint = if missing {
        "; `millrace topics create` makes those that are missing"
    } else {
        ""
    };
    let lines: String = unfit.into_iter().map(line).collect();
    Err(Refusal(format!("the topics do not suit this configuration{hint}\n{}", lines.trim_end())).into())
}

/// Every topic of the deployment, those of configured destinations included.
fn catalogue(settings: &Settings) -> Vec<TopicSpec> {
    let topology = settings.topology();
    let mut topics = topology.specs(settings.config.topics.source_partitions);
    topics.push(ownership(&topology));
    topics.extend(settings.destination_topics());
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

/// Anyone may have made a source topic, with as many partitions as they like.
pub fn is_source(settings: &Settings, topic: &TopicSpec) -> bool {
    topic.name.starts_with(&format!("{}source.", settings.config.topics.prefix))
}

fn compare(found: Option<&TopicSpec>, wanted: &TopicSpec, source: bool) -> Finding {
    let topic = wanted.name.clone();
    let Some(found) = found else {
        return Finding {
            topic,
            state: State::Missing,
            differences: Vec::new(),
            unfit: true,
        };
    };
    let mut differences = Vec::new();
    if found.partitions != wanted.partitions && !source {
        differences.push(format!("{} partitions, expected {}", found.partitions, wanted.partitions));
    }
    if found.compacted != wanted.compacted {
        let policy = |compacted| if compacted { "compact" } else { "delete" };
        differences.push(format!("cleanup.policy {}, expected {}", policy(found.compacted), policy(wanted.compacted)));
    }
    // The rest concerns times and sizes, which operators may know better.
    let unfit = !source && !differences.is_empty();
    for (name, value) in wanted.settings.iter().filter(|(name, _)| !name.starts_with("millrace.")) {
        match found.settings.iter().find(|(known, _)| known == name) {
            Some((_, set)) if set == value => {}
            Some((_, set)) => differences.push(format!("{name} {set}, expected {value}")),
            None => differences.push(format!("{name} is not set, expected {value}")),
        }
    }
    let state = if differences.is_empty() { State::There } else { State::Differs };
    Finding {
        topic,
        state,
        differences,
        unfit,
    }
}

fn table(findings: &[Finding]) -> String {
    findings.iter().map(line).collect()
}

fn line(finding: &Finding) -> String {
    let state = match finding.state {
        State::There => "there",
        State::Created => "created",
        State::Missing => "missing",
        State::Differs => "differs",
    };
    let text = format!("{state:8} {} {}", finding.topic, finding.differences.join("; "));
    text.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: u32, compacted: bool, settings: &[(&str, &str)]) -> TopicSpec {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TopicSpec {
            name: "t".to_owned(),
            partitions,
            compacted,
            settings,
        }
    }

    #[test]
    fn shards_start_on_topics_that_fit_alone() {
        let wanted = topic(4, true, &[("max.message.bytes", "9")]);
        let fit = topic(4, true, &[("max.message.bytes", "9")]);
        let cases = [
            (Some(fit), false, None, "there    t\n"),
            (None, false, Some("`millrace topics create`"), "missing  t\n"),
            (None, true, Some("`millrace topics create`"), "missing  t\n"),
            (
                Some(topic(3, true, &[("max.message.bytes", "9")])),
                false,
                Some("3 partitions, expected 4"),
                "differs  t 3 partitions, expected 4\n",
            ),
            (Some(topic(3, true, &[("max.message.bytes", "9")])), true, None, "there    t\n"),
            (
                Some(topic(4, false, &[("max.message.bytes", "9")])),
                false,
                Some("cleanup.policy delete"),
                "differs  t cleanup.policy delete, expected compact\n",
            ),
            (
                Some(topic(4, true, &[("max.message.bytes", "5")])),
                false,
                None,
                "differs  t max.message.bytes 5, expected 9\n",
            ),
        ];
        for (found, source, refused, shown) in cases {
            let finding = compare(found.as_ref(), &wanted, source);
            assert_eq!(line(&finding), shown);
            let refusal = refuse_unfit(&[finding]).err();
            assert_eq!(refusal.is_some(), refused.is_some(), "{shown}");
            if let (Some(refusal), Some(word)) = (refusal, refused) {
                assert!(refusal.is::<Refusal>() && refusal.to_string().contains(word), "{refusal}");
            }
        }
    }
}
