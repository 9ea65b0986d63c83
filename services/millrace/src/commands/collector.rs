//! `collector`: the collector as a service of its own.

use std::sync::Arc;

use millrace_api::dto::ReadyView;
use millrace_api::service_health_router;
use millrace_telemetry::Metrics;

use crate::collector::{CollectorPort, RunningCollector};
use crate::commands::topics;
use crate::ports::Ports;
use crate::refusal::Refusal;
use crate::settings::Settings;

/// Runs until stopped. There is no API in this process: its port serves the collector too, where
/// gateways and the Helm chart expect a service.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = &settings.config;
    config.check_secrets()?;
    settings.init_logs()?;
    let port = CollectorPort::take(config)?;
    let port = port.ok_or_else(|| Refusal("no write key is configured; `collector.keys.<name>.key` names one".to_owned()))?;
    let ports = Ports::take(config)?;
    let log = topics::open_log(settings)?;
    let metrics = Metrics::new()?;
    let collector = Arc::new(RunningCollector::start(config, port, &log, &metrics)?);
    // It ends with this command, on this thread.
    let of_health = Arc::downgrade(&collector);
    let ready = move || {
        let waiting_for = of_health.upgrade().map(|collector| collector.waiting_for()).unwrap_or_default();
        ReadyView {
            ready: waiting_for.is_empty(),
            waiting_for,
        }
    };
    let health = service_health_router(Arc::new(ready), metrics);
    ports.serve(collector.router(), health, std::future::pending())
}
