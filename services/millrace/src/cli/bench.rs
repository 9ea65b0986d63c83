//! The options of `bench`.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub struct BenchOptions {
    /// What to measure once the population is loaded, separated by commas; everything if left out
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Scenario>,
    /// Persons of the population; accounts are a tenth of them
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub persons: u32,
    /// How long visits are measured, in seconds: once as fast as possible, once at a rate
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Visits per second while latency is measured; half of the measured throughput if left out
    #[arg(long)]
    pub rate: Option<u32>,
    /// Persons of the one account of the fan-out
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub account_persons: u32,
    /// Memberships that expire within one second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub timers: u32,
    /// On the configured Kafka, in topics of its own, which are not deleted; on an embedded log of
    /// its own if left out
    #[arg(long)]
    pub kafka: bool,
}

/// A measurement of `bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Only the population: time, memory, state
    Load,
    /// Visits by known persons: throughput, then latency at half of it
    Visits,
    /// One more segment under live input
    Backfill,
    /// A deal that concerns everybody of a large account
    FanOut,
    /// Memberships that end by silence at the same time
    Expiry,
    /// Killed without warning: with its disk, and without
    Recovery,
    /// Events over HTTP into the log, which nothing reads meanwhile; where it is the only one,
    /// nothing is loaded before
    Collector,
}
