//! `processor`: the shards this process is given, on Kafka.

use crate::node::{Node, configured_parts};
use crate::settings::Settings;

pub fn run(settings: &Settings) -> anyhow::Result<()> {
    settings.require_kafka("processor")?;
    settings.init_logs()?;
    Node::start(&settings.config, configured_parts(settings)?)?.serve(&settings.config)
}
