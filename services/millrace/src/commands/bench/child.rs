//! The deployment in a process of its own, to be killed without warning.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use millrace_config::LogKind;
use millrace_telemetry::Counter;
use reqwest::blocking::Client;

use super::site::variables;
use crate::cli::Cli;
use crate::settings::Settings;

/// A start takes longer than this only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running process of the deployment; killed when dropped.
pub struct Process {
    child: Child,
    begun: Instant,
    metrics: String,
    http: Client,
}

impl Process {
    /// Starts `millrace run`, or `millrace processor` on Kafka.
    pub fn start(settings: &Settings) -> anyhow::Result<Process> {
        let program = std::env::current_exe().context("cannot find the own program")?;
        let [api, metrics] = free_addresses()?;
        let mut command = Command::new(program);
        // Settings from the file alone, such as the security of Kafka, apply to the child as well.
        if let Some(file) = Cli::parse().common.config {
            command.arg("--config").arg(file);
        }
        command.arg(if settings.config.log.kind == LogKind::Kafka { "processor" } else { "run" });
        command
            .envs(variables(&settings.config))
            .env("MILLRACE__HTTP__API_ADDRESS", &api)
            .env("MILLRACE__HTTP__METRICS_ADDRESS", &metrics)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let http = Client::builder()
            .timeout(Duration::from_secs(2))
            .build()
            .context("cannot set an HTTP client up")?;
        let begun = Instant::now();
        let child = command.spawn().context("cannot start a process")?;
        Ok(Process { child, begun, metrics, http })
    }

    /// Waits until records are being processed; returns the time since the start of the process.
    pub fn processes(&mut self) -> anyhow::Result<Duration> {
        while self.ingested() == 0.0 {
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended: {status}");
            }
            if self.begun.elapsed() > PATIENCE {
                bail!("nothing was processed within {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(self.begun.elapsed())
    }

    /// Lets it process for a while, or until it has ingested this number of records.
    pub fn works_on(&mut self, long: Duration, records: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < long && self.ingested() < records as f64 {
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended: {status}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Records ingested since its start; 0 as long as it does not answer.
    fn ingested(&self) -> f64 {
        let answer = self
            .http
            .get(format!("http://{}/metrics", self.metrics))
            .send()
            .and_then(|answer| answer.text());
        ingested(&answer.unwrap_or_default())
    }

    /// Ends it at once, as a crash does.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill the process")?;
        self.child.wait().context("cannot wait for the process")?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ingested(metrics: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.strip_prefix(Counter::Records.name()).is_some_and(|rest| rest.starts_with('{')) && line.contains(r#"stage="ingest""#));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Two different ones: both are held until both are known.
fn free_addresses() -> anyhow::Result<[String; 2]> {
    let listen = || TcpListener::bind(("127.0.0.1", 0)).context("no free port");
    let (first, second) = (listen()?, listen()?);
    Ok([first.local_addr()?.to_string(), second.local_addr()?.to_string()])
}

#[cfg(test)]
mod tests {
    use super::ingested;

    #[test]
    fn ingested_records_of_all_topics() {
        let metrics = "# TYPE millrace_records_total counter\n\
            millrace_records_total{outcome=\"accepted\",stage=\"ingest\",topic=\"activity\"} 40\n\
            millrace_records_total{outcome=\"accepted\",stage=\"ingest\",topic=\"person\"} 2\n\
            millrace_records_total{outcome=\"stale\",stage=\"person\",topic=\"activity\"} 7\n";
        assert_eq!(ingested(metrics).to_bits(), 42.0_f64.to_bits());
    }
}
