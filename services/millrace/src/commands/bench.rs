//! `bench`: visits through one process on the embedded log and RocksDB, as fast as this machine can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use millrace_api::backend::Commands;
use millrace_api::dto::RecordLine;
use millrace_log::{EmbeddedConfig, EmbeddedLog, Log};
use millrace_runtime::clock::SystemClock;
use millrace_runtime::host::{AllShards, Host};
use millrace_runtime::observe::Observer;
use millrace_runtime::state::ShardState;
use millrace_runtime::task::TaskContext;
use millrace_runtime::topology::Topology;
use millrace_shard::machine::{Measure, Measurement};
use serde_json::json;

use crate::cli::BenchOptions;
use crate::engine;
use crate::gateway::told;
use crate::node::{machines, rocks_stores};
use crate::orders::LogOrders;
use crate::settings::Settings;
use crate::shown;

const SEGMENT: &str = "bench-visitors";
const DEFINITION: &str = "kind: Segment
metadata: { name: bench-visitors }
spec:
  subject: person
  status: published
  pql: (exists a from accounts where a.accountName = \"Townsend\") and xEvent[eventType = \"web.webpagedetails.pageViews\" and timestamp occurs <= 1 month before now].count() >= 3
";

/// Records appended at once.
const BATCH: u32 = 1_000;
/// Without progress for so long the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts what shards committed.
#[derive(Default)]
struct Counts {
    ingested: AtomicU64,
    changes: AtomicU64,
    running: AtomicU64,
}

impl Observer for Counts {
    fn measured(&self, _: u32, measurements: &[Measurement]) {
        for measurement in measurements {
            if let Measure::Add(amount) = measurement.value {
                match measurement.name {
                    "millrace_records_total" if measurement.labels.iter().any(|(name, value)| *name == "stage" && value == "ingest") => {
                        self.ingested.fetch_add(amount, Ordering::Relaxed);
                    }
                    "millrace_membership_changes_total" => {
                        self.changes.fetch_add(amount, Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
        }
    }

    fn state_changed(&self, _: u32, state: &ShardState) {
        if *state == ShardState::Running {
            self.running.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub fn run(settings: &Settings, options: &BenchOptions) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder for the measurement")?;
    let mut config = millrace_config::parse(None, std::iter::empty())?;
    config.topics = settings.config.topics.clone();
    config.budget = settings.config.budget;
    config.state.path = folder.path().join("state");
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&folder.path().join("log"), EmbeddedConfig::default())?);
    let topology = Topology::new(config.topics.prefix.clone(), config.topics.shards);
    for spec in topology.specs(config.topics.source_partitions) {
        log.create_topic(&spec)?;
    }
    let counts = Arc::new(Counts::default());
    let context = TaskContext {
        topology,
        log: Arc::clone(&log),
        clock: Arc::new(SystemClock),
        observer: Arc::clone(&counts) as Arc<dyn Observer>,
        make_machine: machines(&Arc::new(engine::engine_config(&config)?)),
        config: engine::task_config(&config),
    };
    let orders = LogOrders::new(log, &config)?;
    orders.put_segment(SEGMENT, DEFINITION).map_err(told)?;
    append(&orders, 1, |_| account())?;
    append(&orders, options.persons, person)?;
    let host = Host::new(context, rocks_stores(&config));
    let (handle, shards) = (host.handle(), config.topics.shards);
    let thread = std::thread::spawn(move || host.run(Box::new(AllShards::new(shards))));
    let measured = measure(&orders, &counts, options);
    handle.stop();
    let ended = thread.join();
    let (seconds, visits) = measured?;
    if !matches!(ended, Ok(Ok(()))) {
        bail!("the shards did not end in good order");
    }
    let changes = counts.changes.load(Ordering::Relaxed);
    let answer =
        json!({"visits": visits, "seconds": seconds, "visitsPerSecond": (visits as f64 / seconds).round(), "membershipChanges": changes, "shards": shards});
    shown::show(settings.output, &answer, |_| {
        format!(
            "{visits} visits of {} persons in {seconds:.1} s: {:.0} visits/s, {changes} membership changes, {shards} shards\n",
            options.persons,
            visits as f64 / seconds
        )
    })
}

/// Lets persons settle, then appends all visits and waits until they are ingested.
fn measure(orders: &LogOrders, counts: &Counts, options: &BenchOptions) -> anyhow::Result<(f64, u64)> {
    wait_for(counts, u64::from(options.persons) + 1)?;
    let persons = options.persons.max(1);
    let begun = Instant::now();
    append(orders, options.visits, |number| visit(number, number % persons))?;
    wait_for(counts, u64::from(options.persons) + 1 + u64::from(options.visits))?;
    Ok((begun.elapsed().as_secs_f64(), options.visits.into()))
}

fn wait_for(counts: &Counts, ingested: u64) -> anyhow::Result<()> {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        let now = counts.ingested.load(Ordering::Relaxed);
        if now >= ingested {
            return Ok(());
        }
        if now > seen {
            (seen, since) = (now, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            bail!(
                "{now} of {ingested} records after {} s without progress, {} shards running",
                PATIENCE.as_secs(),
                counts.running.load(Ordering::Relaxed)
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn append(orders: &LogOrders, count: u32, line: impl Fn(u32) -> RecordLine) -> anyhow::Result<()> {
    let mut next = 0;
    while next < count {
        let end = (next + BATCH).min(count);
        orders.append((next..end).map(|number| Ok(line(number))).collect()).map_err(told)?;
        next = end;
    }
    Ok(())
}

/// The one account all persons belong to.
fn account() -> RecordLine {
    let value = json!({"accountKey": {"sourceKey": "townsend@bench.Bench"}, "accountName": "Townsend"});
    RecordLine {
        topic: "account".to_owned(),
        key: Some("townsend@bench.Bench".to_owned()),
        value: Some(value),
        timestamp: None,
    }
}

fn person(number: u32) -> RecordLine {
    let key = format!("{number}@bench.Bench");
    let value = json!({"personKey": {"sourceKey": key}, "b2b": {"accountKey": {"sourceKey": "townsend@bench.Bench"}}});
    RecordLine {
        topic: "person".to_owned(),
        key: Some(key),
        value: Some(value),
        timestamp: None,
    }
}

fn visit(number: u32, person: u32) -> RecordLine {
    let key = format!("{person}@bench.Bench");
    let now = millrace_runtime::clock::Clock::now(&SystemClock);
    let value = json!({
        "_id": format!("visit-{number}"),
        "timestamp": now.0,
        "eventType": "web.webpagedetails.pageViews",
        "personKey": {"sourceKey": key},
        "web": {"webPageDetails": {"name": "New product"}},
    });
    RecordLine {
        topic: "activity".to_owned(),
        key: Some(key),
        value: Some(value),
        timestamp: None,
    }
}
