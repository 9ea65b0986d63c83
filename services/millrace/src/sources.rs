//! The sources of this process: made from the configuration, each on a thread of its own; their
//! pauses and metrics.

mod control;
mod foreign;
mod make;
mod programs;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use millrace_api::backend::BackendError;
use millrace_api::dto::ReadyView;
use millrace_api::sources::Sources;
use millrace_config::Config;
use millrace_connect::backoff::Backoff;
use millrace_connect::source::{SourceTask, Status, Stop, Topics, system_clock};
use millrace_log::Log;
use millrace_model::SourceKind;
use millrace_shard::machine::{InputTopic, OutputTopic};
use millrace_shard::murmur::partition_of;
use millrace_telemetry::Metrics;
use serde_json::Value;
use tokio::sync::watch;

pub use self::control::put_pause;
pub use self::make::{make, marketo_config};
use crate::assembly;
use crate::budgets::Budgets;

/// Running sources.
pub struct RunningSources {
    log: Arc<dyn Log>,
    config: Config,
    sources: Vec<Running>,
    ended: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

struct Running {
    status: Arc<Status>,
    control: watch::Sender<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl RunningSources {
    /// Starts the configured sources, or only those of these names.
    ///
    /// # Errors
    /// Where a source's configuration is invalid; nothing has been started then.
    pub fn start(config: &Config, log: &Arc<dyn Log>, metrics: &Metrics, budgets: &Budgets, only: Option<&BTreeSet<String>>) -> anyhow::Result<RunningSources> {
        let chosen = config.sources.iter().filter(|(name, _)| only.is_none_or(|only| only.contains(*name)));
        let made = chosen
            .map(|(name, source)| make(config, name, source, budgets))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut sources = Vec::with_capacity(made.len());
        for (status, make) in made {
            let (control, signal) = watch::channel(Stop::default());
            let seed = u64::from(millrace_shard::murmur::partition_of(status.name().as_bytes(), 1 << 30)) ^ u64::from(std::process::id());
            let task = SourceTask {
                log: Arc::clone(log),
                topics: topics(config, status.name()),
                make,
                status: Arc::clone(&status),
                now: system_clock(),
                backoff: Backoff::standard(seed),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new()
                .name(format!("source-{}", status.name()))
                .spawn(move || drop(runtime.block_on(task.run(signal))))
                .context("cannot start a thread")?;
            sources.push(Running {
                status,
                control,
                thread: Some(thread),
            });
        }
        let ended = Arc::new(AtomicBool::new(false));
        let watcher = control::watch(
            config,
            log,
            metrics,
            &ended,
            sources.iter().map(|one| (Arc::clone(&one.status), one.control.clone())).collect(),
        )?;
        Ok(RunningSources {
            log: Arc::clone(log),
            config: config.clone(),
            sources,
            ended,
            watcher,
        })
    }

    /// The sources that are not ready, with reasons; empty where all are well.
    pub fn waiting_for(&self) -> Vec<String> {
        self.sources.iter().filter_map(|one| one.status.ready().err()).collect()
    }

    /// The number of sources.
    pub fn len(&self) -> usize {
        self.sources.len()
    }
}

impl Drop for RunningSources {
    /// Stops all and waits for them.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for one in &self.sources {
            one.control.send_modify(|now| now.stopped = true);
        }
        let threads = self.sources.iter_mut().filter_map(|one| one.thread.take()).chain(self.watcher.take());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("the thread of a source panicked");
            }
        }
    }
}

impl Sources for RunningSources {
    fn views(&self) -> Vec<Value> {
        let now = system_clock()();
        let views = self.sources.iter().map(|one| serde_json::to_value(one.status.view(now)));
        views.filter_map(Result::ok).collect()
    }

    fn ready(&self) -> ReadyView {
        let waiting_for = self.waiting_for();
        ReadyView {
            ready: waiting_for.is_empty(),
            waiting_for,
        }
    }

    fn pause(&self, name: &str, paused: bool) -> Result<(), BackendError> {
        if !self.sources.iter().any(|one| one.status.name() == name) {
            return Err(BackendError::NotFound(format!("this process runs no source `{name}`")));
        }
        put_pause(&self.config, &*self.log, name, paused).map_err(|error| BackendError::Failure {
            context: "writing to the control topic of sources".to_owned(),
            source: Box::new(error),
        })
    }
}

fn topics(config: &Config, name: &str) -> Topics {
    let topology = assembly::topology(config);
    Topics {
        records: SourceKind::ALL
            .into_iter()
            .map(|kind| (kind, topology.input(InputTopic::Source(kind))))
            .collect(),
        dead_letters: topology.output(&OutputTopic::DeadLetter),
        rows: topology.source_spec(name),
        transactional_id: topology.source_transactional_id(name),
        group: topology.positions_group(),
        place: partition_of,
    }
}
