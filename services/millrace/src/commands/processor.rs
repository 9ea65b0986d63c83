//! `processor`: the shards assigned to this process, on Kafka.

use crate::cli::ProcessorOptions;
use crate::commands::topics;
use crate::instance::{Instance, Parts, configured_parts};
use crate::memory;
use crate::ports::Ports;
use crate::settings::Settings;

pub fn run(settings: &Settings, options: &ProcessorOptions) -> anyhow::Result<()> {
    settings.require_kafka("processor")?;
    settings.config.check_secrets()?;
    settings.init_logs()?;
    memory::require_enough(&settings.config)?;
    let ports = Ports::take(&settings.config)?;
    if options.create_topics {
        topics::refuse_unfit(&topics::create_missing(settings)?)?;
    } else {
        topics::require_fit(settings)?;
    }
    // Sinks have processes of their own: `millrace sink`.
    let parts = Parts {
        sinks: None,
        ..configured_parts(settings)?
    };
    Instance::start(&settings.config, parts)?.serve(ports)
}
