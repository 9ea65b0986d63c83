//! Pauses, which live on a topic and survive restarts; and the statuses of sources as metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use bytes::Bytes;
use millrace_config::Config;
use millrace_connect::source::{SourceView, Status, Stop, system_clock};
use millrace_log::{EARLIEST, Log, LogError, PollLimits, Reader, Record, TopicPartition};
use millrace_model::{Timestamp, chain};
use millrace_telemetry::{Counter, Gauge, Metrics};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::assembly;

/// How long one poll of the topic waits for news; metrics are updated as often.
const LOOK: PollLimits = PollLimits {
    records_max: 1_000,
    bytes_max: 1 << 20,
    wait_ms_max: 500,
};

fn topic(config: &Config) -> TopicPartition {
    TopicPartition {
        topic: assembly::topology(config).source_control().into(),
        partition: 0,
    }
}

/// Publishes on the control topic that a source is paused, or is not.
///
/// # Errors
/// Where the log cannot be written.
pub fn put_pause(config: &Config, log: &dyn Log, name: &str, paused: bool) -> Result<(), LogError> {
    let value = paused.then(|| Bytes::from(json!({"paused": true}).to_string()));
    let record = Record {
        key: Some(Bytes::copy_from_slice(name.as_bytes())),
        value,
        headers: Vec::new(),
    };
    log.append(vec![(topic(config), record)])
}

type Watched = Vec<(Arc<Status>, watch::Sender<Stop>)>;

/// Starts the thread that passes pauses to sources and their statuses to metrics; `None` where
/// there are no sources.
pub fn watch(config: &Config, log: &Arc<dyn Log>, metrics: &Metrics, ended: &Arc<AtomicBool>, sources: Watched) -> anyhow::Result<Option<JoinHandle<()>>> {
    if sources.is_empty() {
        return Ok(None);
    }
    let mut watcher = Watcher {
        log: Arc::clone(log),
        topic: topic(config),
        reader: None,
        metrics: metrics.clone(),
        sources,
        counted: BTreeMap::new(),
    };
    let ended = Arc::clone(ended);
    let thread = std::thread::Builder::new().name("source-control".to_owned()).spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            if let Err(error) = watcher.look() {
                tracing::warn!(reason = chain(&error), "the control topic of sources cannot be read");
                watcher.reader = None;
                std::thread::sleep(std::time::Duration::from_millis(LOOK.wait_ms_max));
            }
            watcher.measure();
        }
    });
    Ok(Some(thread.context("cannot start a thread")?))
}

struct Watcher {
    log: Arc<dyn Log>,
    topic: TopicPartition,
    reader: Option<Box<dyn Reader>>,
    metrics: Metrics,
    sources: Watched,
    /// The counts already reported to counters, by source and outcome.
    counted: BTreeMap<(&'static str, String, String), u64>,
}

impl Watcher {
    fn look(&mut self) -> Result<(), LogError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(self.log.reader(&[(self.topic.clone(), EARLIEST)])?),
        };
        for delivered in reader.poll(LOOK)? {
            let value = delivered.record.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
            let paused = value.is_some_and(|value| value["paused"] == true);
            let named = self
                .sources
                .iter()
                .filter(|(status, _)| delivered.record.key.as_deref() == Some(status.name().as_bytes()));
            named.for_each(|(_, control)| {
                control.send_if_modified(|now| std::mem::replace(&mut now.paused, paused) != paused);
            });
        }
        Ok(())
    }

    fn measure(&mut self) {
        let views: Vec<SourceView> = self.sources.iter().map(|(status, _)| status.view(system_clock()())).collect();
        for view in views {
            let name = view.name.as_str();
            if let Some(lag) = view.lag_seconds {
                self.metrics.set(Gauge::SourceLag, &[name], lag);
            }
            if let Some(left) = view.quota_left {
                self.metrics.set(Gauge::SourceQuotaLeft, &[name], left as f64);
            }
            let resets_at = view.quota_resets_at.as_deref().and_then(|at| Timestamp::parse(at).ok());
            if let Some(at) = resets_at {
                self.metrics.set(Gauge::SourceQuotaResets, &[name], at.0 as f64 / 1_000.0);
            }
            let loaded = view.snapshot.map_or(1.0, |progress| progress.done as f64 / progress.total.max(1) as f64);
            self.metrics.set(Gauge::SourceLoad, &[name], loaded);
            self.count(Counter::SourceRecords, "records", name, "appended", view.records);
            self.count(Counter::SourceRecords, "records", name, "rejected", view.rejected);
            for (outcome, count) in &view.requests {
                self.count(Counter::SourceRequests, "requests", name, outcome, *count);
            }
        }
    }

    fn count(&mut self, counter: Counter, word: &'static str, name: &str, outcome: &str, total: u64) {
        let before = self.counted.insert((word, name.to_owned(), outcome.to_owned()), total).unwrap_or_default();
        if total > before {
            self.metrics.add(counter, &[name, outcome], total - before);
        }
    }
}
