//! The folders of this process: their holder, the log of their state, and the handling of damaged
//! state.
//!
//! State of this log may be recreated at any time: the changelog has all of it. State of another
//! log, or of no log, is never touched.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use millrace_config::{Config, LogKind};
use millrace_log::Log;
use millrace_model::chain;
use millrace_runtime::host::OpenStore;
use millrace_shard::state::{StateError, StateStore};
use millrace_store::{Disposition, Limits, Resources, RocksStore, StoreError};
use millrace_telemetry::{Gauge, Metrics};

use crate::settings::Settings;
use crate::sinks::OpenLedgers;

/// A ledger has few rows compared with a shard: this part of the memory serves it.
const LEDGER_SHARE: u64 = 8;

/// The folder of the state, held by this process.
pub struct HeldState {
    root: PathBuf,
    _lock: File,
}

/// Takes the state's folder, which two processes with shards never share.
pub fn hold_state(config: &Config) -> anyhow::Result<Arc<HeldState>> {
    hold(config.state.path.clone())
}

fn hold(root: PathBuf) -> anyhow::Result<Arc<HeldState>> {
    let path = root.join("lock");
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make the folder {} (state.path)", root.display()))?;
    let lock = File::create(&path).with_context(|| format!("cannot use the folder {} (state.path)", root.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Arc::new(HeldState { root, _lock: lock })),
        Err(TryLockError::WouldBlock) => bail!("the folder {} (state.path) is in use by another process", root.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

impl HeldState {
    // Uses the whole of `self`, so that a closure that calls this holds the lock as well.
    fn folder(&self, shard: u32) -> PathBuf {
        folder(&self.root, shard)
    }
}

/// The folders of shards under the state's folder, without those set aside.
fn shards(config: &Config) -> impl Iterator<Item = PathBuf> {
    let root = config.state.path.clone();
    (0..config.topics.shards).map(move |shard| folder(&root, shard))
}

fn folder(root: &Path, shard: u32) -> PathBuf {
    root.join(format!("shard-{shard}"))
}

/// The log of the state, as its folders remember it: the log's identity and the changelog's name,
/// because one Kafka may hold several deployments.
pub fn origin(settings: &Settings, log: &dyn Log) -> anyhow::Result<Option<String>> {
    let identity = log.identity().context("cannot learn which log this is")?;
    Ok(identity.map(|identity| format!("{identity} {}", settings.topology().changelog())))
}

/// # Errors
/// Where the state was built from a log that is missing now: a new log would only make it harder to
/// restore the missing one.
pub fn refuse_without_log(config: &Config) -> anyhow::Result<()> {
    for path in shards(config) {
        if RocksStore::origin(&path)?.is_some() {
            bail!(
                "the log {} is gone, and the state in {} was built from it. Nothing was changed. Put the log back, or, to begin anew without what it \
                 held, remove {}",
                config.log.path.display(),
                config.state.path.display(),
                config.state.path.display()
            );
        }
    }
    Ok(())
}

/// RocksDB stores under the configured folder.
///
/// # Errors
/// Where one of them belongs to another log: then none is opened.
pub fn rocks_stores(config: &Config, held: Arc<HeldState>, origin: Option<String>) -> anyhow::Result<Arc<OpenStore>> {
    if let Some(expected) = &origin {
        for path in shards(config) {
            // A damaged store is handled when it is opened.
            if let Ok(Some(found)) = RocksStore::origin(&path)
                && found != *expected
            {
                let expected = expected.clone();
                return Err(StoreError::OtherLog { path, found, expected }.into());
            }
        }
    }
    let resources = Resources::new(limits(config, 1));
    Ok(Arc::new(move |shard| open_store(&held.folder(shard), origin.as_deref(), &resources)))
}

/// The ledgers of a destination's sink by its name, next to the shards' stores. A process holds
/// those of its destinations, so that sinks may run beside a processor with the same folder.
pub fn ledgers(config: &Config, origin: Option<String>) -> Box<OpenLedgers> {
    let config = config.clone();
    Box::new(move |name| {
        let (held, origin) = (hold(config.state.path.join(format!("sink-{name}")))?, origin.clone());
        let resources = Resources::new(limits(&config, LEDGER_SHARE));
        Ok(Arc::new(move |partition| {
            let path = held.root.join(format!("partition-{partition}"));
            open_store(&path, origin.as_deref(), &resources)
        }))
    })
}

/// The configured memory, divided.
fn limits(config: &Config, share: u64) -> Limits {
    Limits {
        block_cache_bytes: bytes(config.state.cache_bytes / share),
        write_buffers_bytes: bytes(config.state.write_buffers_bytes / share),
        disk_free_min_bytes: config.state.disk_free_min_bytes,
    }
}

/// The space to keep free on the disk of the embedded log, in bytes: the queued commits that one
/// write appends.
const LOG_DISK_FREE_MIN: u64 = 32 << 20;

/// The free space on the disk of the embedded log, measured at intervals. A log that cannot grow
/// refuses new records; the processing of earlier ones continues.
pub struct LogDisk {
    path: PathBuf,
    metrics: Metrics,
}

impl LogDisk {
    const MEASURED_EVERY: Duration = Duration::from_secs(10);

    /// Measures until the returned value is dropped; `None` where the log is not on this machine's
    /// disk.
    pub fn watch(config: &Config, metrics: &Metrics) -> anyhow::Result<Option<Arc<LogDisk>>> {
        if config.log.kind != LogKind::Embedded {
            return Ok(None);
        }
        let disk = Arc::new(LogDisk {
            path: config.log.path.clone(),
            metrics: metrics.clone(),
        });
        let held = Arc::downgrade(&disk);
        std::thread::Builder::new()
            .name("log-disk".to_owned())
            .spawn(move || {
                while let Some(disk) = held.upgrade() {
                    disk.shortage();
                    drop(disk);
                    std::thread::park_timeout(LogDisk::MEASURED_EVERY);
                }
            })
            .context("cannot start a thread")?;
        Ok(Some(disk))
    }

    /// Why the log may refuse records; `None` if it does not, or if the disk cannot be measured.
    pub fn shortage(&self) -> Option<String> {
        let free = millrace_store::system_probe(&self.path).ok()?;
        let path = self.path.display().to_string();
        self.metrics.set(Gauge::LogDiskFree, &[&path], free as f64);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        (free < LOG_DISK_FREE_MIN).then(|| {
            let (free, needed) = (mib(free), mib(LOG_DISK_FREE_MIN));
            format!("the disk of the log {path} has {free:.1} MiB free and needs {needed:.1} MiB: what is sent may be refused until there is room")
        })
    }
}

/// Opens a store. A damaged one is made anew, and the runtime fills it from the changelog.
fn open_store(path: &Path, origin: Option<&str>, resources: &Resources) -> Result<Box<dyn StateStore>, StateError> {
    let opened = RocksStore::open(path, origin, resources).or_else(|error| match error.disposition() {
        Disposition::Rebuild => {
            tracing::warn!(path = %path.display(), reason = chain(&error), "the store is damaged; it is rebuilt from the changelog");
            RocksStore::destroy(path, origin).and_then(|()| RocksStore::open(path, origin, resources))
        }
        Disposition::SetAside => {
            let aside = RocksStore::set_aside(path)?;
            tracing::warn!(
                path = %path.display(), aside = %aside.display(), reason = chain(&error),
                "the store is damaged; it is set aside, and rebuilt from the changelog. What was set aside may be removed"
            );
            RocksStore::open(path, origin, resources)
        }
        _ => Err(error),
    });
    opened.map(|store| Box::new(store) as Box<dyn StateStore>).map_err(StateError::store)
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
