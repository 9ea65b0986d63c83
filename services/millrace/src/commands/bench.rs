//! `bench`: the performance of this machine, measured on a deployment of its own that is deleted
//! when the command ends.
//!
//! The real shards on the real log and RocksDB, records through the source topics, changes from a
//! committed reader. Records are made in the same process, on the same processors. Figures are
//! reported, never judged.

mod child;
mod collector;
mod machine;
mod meter;
mod report;
mod scenarios;
mod site;
mod watch;
mod world;

use std::path::Path;

use anyhow::Context;

use self::report::{Figure, Report, table};
use self::scenarios::Bench;
use self::site::{Site, settings_apart};
use self::world::Population;
use crate::cli::{BenchOptions, Scenario};
use crate::settings::Settings;
use crate::shown;

pub fn run(settings: &Settings, options: &BenchOptions) -> anyhow::Result<()> {
    settings.init_logs()?;
    let folder = tempfile::tempdir().context("cannot make a folder for the measurement")?;
    let (shards, mut figures) = if options.only == [Scenario::Collector] {
        (0, Vec::new())
    } else {
        with_shards(settings, options, folder.path())?
    };
    if wanted(options, Scenario::Collector) {
        figures.extend(collector::measure(settings, folder.path(), options.kafka, options.seconds)?);
    }
    let report = Report {
        log: if options.kafka { "kafka" } else { "embedded" },
        persons: options.persons,
        shards,
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        figures,
    };
    shown::show(settings.output, &report, table)
}

fn wanted(options: &BenchOptions, scenario: Scenario) -> bool {
    options.only.is_empty() || options.only.contains(&scenario)
}

/// What needs a population: the number of shards, and the figures.
fn with_shards(settings: &Settings, options: &BenchOptions, folder: &Path) -> anyhow::Result<(u32, Vec<Figure>)> {
    let apart = settings_apart(settings, folder, options.kafka)?;
    let topics = &apart.config.topics;
    let (shards, world) = (topics.shards, Population::new(apart.topology(), topics.source_partitions, options.persons));
    let mut bench = Bench::new(options, world);
    let site = Site::start(apart)?;
    bench.load(&site)?;
    let wanted = |scenario| wanted(options, scenario);
    if wanted(Scenario::Visits) {
        bench.visits(&site)?;
    }
    if wanted(Scenario::Backfill) {
        bench.backfill(&site)?;
    }
    if wanted(Scenario::FanOut) {
        bench.fan_out(&site)?;
    }
    if wanted(Scenario::Expiry) {
        bench.expiry(&site)?;
    }
    if wanted(Scenario::Recovery) {
        bench.recovery(site)?;
    } else {
        site.stop()?;
    }
    Ok((shards, bench.figures))
}
