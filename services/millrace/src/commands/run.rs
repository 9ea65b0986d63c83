//! `run`: everything in one process. On Kafka it creates missing topics and shares the shards with
//! other processes.

use millrace_config::LogKind;

use crate::collector::CollectorPort;
use crate::commands::{check_config, topics};
use crate::instance::{Instance, configured_parts};
use crate::memory;
use crate::ports::Ports;
use crate::settings::Settings;

pub fn run(settings: &Settings) -> anyhow::Result<()> {
    settings.config.check_secrets()?;
    check_config::connectors(&settings.config)?;
    settings.init_logs()?;
    memory::require_enough(&settings.config)?;
    let ports = Ports::take(&settings.config)?;
    let collector = CollectorPort::take(&settings.config)?;
    if settings.config.log.kind == LogKind::Kafka {
        topics::refuse_unfit(&topics::create_missing(settings)?)?;
    }
    Instance::start(&settings.config, configured_parts(settings)?)?
        .with_sources(&settings.config)?
        .with_collector(&settings.config, collector)?
        .serve(ports)
}
