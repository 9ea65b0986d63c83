//! The command line: what can be asked for, and the help that says so.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Real-time B2B customer data platform: who is in which audience, the moment the last fact arrives, and why.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version,
    max_term_width = 110,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Configuration file, TOML or YAML; `docs/configuration.md` lists the keys. Variables MILLRACE__SECTION__KEY go over it
    #[arg(long, global = true, value_name = "FILE", env = "MILLRACE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Show the effective configuration and the topics it means, touch nothing
    #[arg(long, global = true)]
    pub check_config: bool,
    /// How answers are written
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// The running instance that is asked; the configured API address if absent
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell the Bodea story on this machine, with nothing installed: who is in the audience after each fact, and why
    Demo(DemoOptions),
    /// Run everything in one process: on the embedded log, or on Kafka where that is configured
    Run,
    /// Run the shards that this process is given, on Kafka
    Processor,
    /// Topics of this deployment
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Segment definitions
    #[command(subcommand)]
    Segment(SegmentCommand),
    /// External audiences
    #[command(subcommand)]
    Audience(AudienceCommand),
    /// Unified persons
    #[command(subcommand)]
    Person(PersonCommand),
    /// Unified accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Records nobody could use
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
    /// Foreign systems that audiences are sent to
    #[command(subcommand)]
    Destination(DestinationCommand),
    /// Put records into the source topics
    #[command(subcommand)]
    Source(SourceCommand),
    /// Take membership changes out
    #[command(subcommand)]
    Sink(SinkCommand),
    /// Measure this machine: load, visits, latency, fan-out, expiry, backfill, recovery
    Bench(BenchOptions),
}

#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Keep the API up after the story, to look around
    #[arg(long)]
    pub serve: bool,
}

#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create the topics that are missing; leave those that are there
    Create,
    /// Compare the topics with the catalogue
    Check,
}

#[derive(Debug, Subcommand)]
pub enum SegmentCommand {
    /// Check definitions and put them in force: all of them, or none where one is wrong
    Apply {
        /// YAML or JSON files; `-`: standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check definitions, touch nothing
    Lint {
        /// YAML or JSON files; `-`: standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// How many and whom a definition would take now, why, and who would enter and leave; changes nothing
    Preview {
        /// A YAML or JSON file with one definition; `-`: standard input
        file: PathBuf,
        /// Subjects shown of each kind
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=100))]
        sample: u16,
    },
    /// Lay out the rules of definitions, or rules by themselves, in the one form; without options to standard output
    Fmt(FmtOptions),
    /// Turn rules between text and JSON form, in definitions or by themselves; to standard output
    Convert {
        /// The form to turn them into
        #[arg(long, value_enum)]
        to: RuleForm,
        /// YAML or JSON files of definitions, or files with one rule; `-`: standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// The definitions in force, with their numbers of members
    List,
    /// One definition
    Show { name: String },
    /// The versions of a definition, newest first
    History { name: String },
    /// Put an earlier version in force again, as a new version
    Rollback {
        name: String,
        /// The version; the last other one that was in force where this is left out
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
    },
    /// Take a definition back with its history; its members exit
    Delete { name: String },
}

#[derive(Debug, Args)]
pub struct FmtOptions {
    /// Write nothing, say which files would change; exit status 1 where one would
    #[arg(long, conflicts_with = "write")]
    pub check: bool,
    /// Write the files that change
    #[arg(long)]
    pub write: bool,
    /// YAML or JSON files of definitions, or files with one rule; `-`: standard input
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// A form of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RuleForm {
    /// As people write them.
    Text,
    /// The tree that programs exchange.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum AudienceCommand {
    /// Bring members in: JSON lines {"member": "namespace:id"[, "validUntil"]}, or a .csv file with a head that names `member` or `namespace` and `id`
    Import {
        name: String,
        /// `-`: JSON lines on standard input
        file: PathBuf,
        /// The file holds all members there are: take everybody else out
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum PersonCommand {
    /// Everything known of a person, and where it is from
    Show {
        /// `namespace:id` (`email:p2@townsend.com`), or a canonical id
        id: String,
    },
    /// Why a person is in a segment, or is not
    Explain {
        /// `namespace:id` (`email:p2@townsend.com`), or a canonical id
        id: String,
        #[arg(long)]
        segment: String,
        /// An instant of the past within the retained history, RFC 3339; now if absent
        #[arg(long, value_name = "INSTANT")]
        at: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Everything known of an account, and where it is from
    Show {
        /// The source key of any of its records, such as `1001@crm1.Salesforce`
        key: String,
    },
    /// Why an account is in a segment, or is not
    Explain {
        /// The source key of any of its records
        key: String,
        #[arg(long)]
        segment: String,
        /// An instant of the past within the retained history, RFC 3339; now if absent
        #[arg(long, value_name = "INSTANT")]
        at: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// The newest, with their reasons
    List {
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

#[derive(Debug, Subcommand)]
pub enum DestinationCommand {
    /// The destinations that the asked instance serves, with their state
    List,
    /// One destination: what is desired, delivered, pending and refused, and what holds it up
    Status { name: String },
    /// Let pass what the brake holds
    Confirm {
        name: String,
        /// One audience; all of the destination where this is left out
        #[arg(long)]
        audience: Option<String>,
    },
    /// Send again what the destination refused
    Retry {
        name: String,
        #[arg(long)]
        audience: Option<String>,
    },
    /// Compare a destination that can be read with what it acknowledged, and set right what differs
    Reconcile {
        name: String,
        #[arg(long)]
        audience: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// JSON lines {"topic", "key", "value"[, "timestamp"]}; the topic may be the kind alone, such as `person`
    File {
        /// `-`: standard input
        #[arg(default_value = "-")]
        path: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum SinkCommand {
    /// Membership changes as JSON lines
    File(SinkFileOptions),
}

#[derive(Debug, Args)]
pub struct SinkFileOptions {
    /// `-`: standard output
    #[arg(default_value = "-")]
    pub path: PathBuf,
    /// Only changes from now on
    #[arg(long)]
    pub from_end: bool,
    /// End when everything that was there has been written
    #[arg(long, conflicts_with = "from_end")]
    pub once: bool,
}

#[derive(Debug, Args)]
pub struct BenchOptions {
    /// What to measure once the population is loaded, separated by commas; everything where this is left out
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Scenario>,
    /// Persons of the population; accounts are a tenth of them
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub persons: u32,
    /// How long visits are measured, in seconds: once as fast as they are taken, once at a rate
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Visits a second while latency is measured; half of the measured throughput where this is left out
    #[arg(long)]
    pub rate: Option<u32>,
    /// Persons of the one account of the fan-out
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub account_persons: u32,
    /// Memberships that expire within one second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub timers: u32,
    /// On the configured Kafka, in topics of its own, which stay there; on an embedded log of its own where this is left out
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
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
